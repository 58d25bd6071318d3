"""Summary says how far the maps can be trusted, or how to find out."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.store import open_for_writing
from tests.support.page_runs import opened, words_on
from tests.support.store_factory import make_store


def test_a_run_whose_maps_were_not_measured_says_what_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "a store", rows=12)
    app = opened(monkeypatch, "summary", store.folder, run=run)
    assert not app.exception
    assert any(f"--run {run}" in item.value and "'" in item.value for item in app.code)


def test_measured_maps_show_their_figures_with_intervals_and_n(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=12)
    fingerprint = next(record for record in store.run_records() if record["run"] == run)["fingerprints"]["attribution"]
    rows = [
        {"image_id": f"image-{i}", "morf": 0.2, "lerf": 0.9 if i else 0.1, "insertion": 0.8, "road": 0.3,
         "morf_random": 0.5, "insertion_random": 0.4, "randomised": 0.1}
        for i in range(4)
    ]  # fmt: skip
    with open_for_writing(store.folder) as writer:
        writer.write("faithfulness", rows, fingerprint=fingerprint)
        writer.publish()
    app = opened(monkeypatch, "summary", store.folder, run=run)
    assert not app.exception
    shown = {item.label: (item.value, item.delta) for item in app.metric}
    assert shown["In the right order"][0] == "75.0%" and "n 4" in shown["In the right order"][1]
    assert shown["ROAD"][0].startswith("0.3")
    assert "Map on the object" not in shown  # no masks were given
    assert "n 4 pictures" in words_on(app)
