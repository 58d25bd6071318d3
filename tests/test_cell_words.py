"""The words of cells and mistakes are true of their pictures: a new demo world against its object masks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.cell_words import BAR, measured

pytestmark = pytest.mark.slow
PICTURES, ENOUGH = 240, 10


def test_the_words_of_cells_and_mistakes_are_true_of_their_pictures_and_not_of_any_picture(tmp_path: Path) -> None:
    found = {claim.name: claim for claim in measured(77, PICTURES, method="gradcam", folder=tmp_path)}
    tried = {name: claim for name, claim in found.items() if claim.true.n >= ENOUGH}
    assert {"correct_high", "correct_low", "wrong_low", "label supported", "little support"} <= set(tried)
    for name, claim in tried.items():
        assert claim.true.value >= BAR, (name, claim)
        assert claim.true.value > claim.anywhere.value + 0.1, (name, claim)
