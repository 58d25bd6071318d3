"""What attacks share."""

from __future__ import annotations

import pytest

from tests.support.tiny_world import make_folder, make_model


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run of 60 pictures in 15 batches, without its store."""
    folder = tmp_path_factory.mktemp("world")
    pictures, model = make_folder(folder / "pictures", per_class=20), make_model(folder)
    return ["run", str(pictures), "--classifier", f"{model}:tiny", "--no-vlm", "--device", "cpu", "--batch-size", "4"]
