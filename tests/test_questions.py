"""A run may ask another question than why the predicted class: its maps are its own, and follow the labels."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core import queries
from core.pipeline.request import RunRequest
from core.pipeline.run import run
from core.store import Store
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow


def maps_of(request: RunRequest) -> tuple[str, dict[str, np.ndarray]]:
    outcome = run(request, progress=lambda news: None, stop=lambda: False)
    assert outcome.state == "done"
    con = Store(request.store).reader()
    ids = [row["image_id"] for row in queries.pictures(con, outcome.run, limit=100)]
    return outcome.run, queries.maps(con, outcome.run, ids)


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    pictures = make_folder(tmp_path / "pictures", per_class=2)
    return RunRequest(pictures, f"{make_model(tmp_path)}:tiny", no_vlm=True, store=tmp_path / "store", device="cpu")


def test_each_question_is_a_run_with_maps_of_its_own(request_: RunRequest) -> None:
    found = {q: maps_of(replace(request_, question=q)) for q in ("predicted", "runner-up", "contrast")}
    assert len({name for name, _ in found.values()}) == 3
    first, second = found["predicted"][1], found["runner-up"][1]
    assert any(key not in second or not np.allclose(first[key], second[key]) for key in first)


def test_a_question_about_labels_is_asked_again_when_a_picture_moves_to_another_class(request_: RunRequest) -> None:
    name, _ = maps_of(replace(request_, question="label"))
    classes = sorted(path for path in request_.images.iterdir() if path.is_dir())
    picture = next(classes[0].iterdir())
    shutil.move(picture, classes[1] / f"moved{picture.suffix}")
    again, _ = maps_of(replace(request_, question="label"))
    assert again != name
