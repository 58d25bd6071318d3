"""Pictures that belong together: a column of the metadata, named for a run or for one summary of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import queries
from core.errors import QueryError
from core.findings import summarise
from core.findings.frame import load
from core.store import Store
from tests.bench.findings import accused, named, videos
from tests.support.command_line import whylook
from tests.support.made_runs import harder, in_videos, made_run
from tests.support.store_factory import make_store
from tests.support.tiny_world import make_folder, make_model


def test_frames_of_one_video_are_one_group_and_lie_in_one_half() -> None:
    frame = videos(0, 400).frame()
    video = frame.codes("video")
    assert np.unique(frame.groups).size == np.unique(video).size == 20
    assert all(np.unique(frame.half[video == place]).size == 1 for place in range(20))


def test_without_the_column_frames_of_one_video_accuse_what_is_innocent() -> None:
    """The counterpart of the quiet worlds: had the column no effect, they would show it."""
    for seed in range(3):
        run = videos(seed, 3000)
        run.group = None
        assert accused(run.frame())


def test_what_is_true_of_many_videos_is_found() -> None:
    for seed in range(3):
        run = made_run(seed, n=600, hard=False)
        harder(run, run.has("time_of_day", "night"), 0.25)
        assert named(accused(in_videos(run, 5).frame()), ("night",))


def test_a_value_joins_near_duplicates_and_a_missing_one_joins_nothing() -> None:
    run = made_run(1, n=60)
    run.copies = 2
    run.columns["scene"] = np.asarray(["a"] * 10 + [None] * 50, dtype=object)
    frame = load(run.connect(), "r-made", group="scene")
    assert np.unique(frame.groups).size == 51
    assert np.unique(frame.groups[frame.is_value("scene", "a")]).size == 1


def test_a_column_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(QueryError, match=r"--group names no column of the metadata: patient; there are habitat, time"):
        load(made_run(1, n=60).connect(), "r-made", group="patient")
    bare = made_run(1, n=60)
    bare.columns = {}
    with pytest.raises(QueryError, match="patient; the pictures have no metadata"):
        load(bare.connect(), "r-made", group="patient")


def test_a_name_that_whylook_uses_itself_is_found_under_the_name_it_has_in_samples(tmp_path: Path) -> None:
    def with_score(tables: dict[str, list[Any]]) -> None:
        for place, entry in enumerate(tables["images"]):
            entry["metadata"]["score"] = place // 10

    store, name = make_store(tmp_path, rows=60, change=with_score, pictures=False)
    assert np.unique(load(store.reader(), name, group="score").groups).size == 6


def test_a_run_keeps_its_column_and_a_summary_may_name_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, folder = make_folder(tmp_path / "pictures", per_class=4), tmp_path / "store"
    paths = sorted(path.relative_to(pictures) for path in pictures.rglob("*.png"))
    rows = [f"{path},{place % 3},{place}" for place, path in enumerate(paths)]
    (pictures / "metadata.csv").write_text("\n".join(["path,scene,patient", *rows]))
    words = ["run", pictures, "--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm", "--store", folder]
    refused = whylook(capsys, *words, "--group", "video")
    assert (
        refused.code == 2 and "--group names no column of the metadata: video; there are scene, patient" in refused.err
    )
    assert not folder.exists()
    assert whylook(capsys, *words, "--device", "cpu", "--group", "scene").code == 0
    con = Store(folder).reader()
    run = queries.run(con)
    assert run.settings.group == "scene"
    assert np.unique(load(con, run.name, group=run.settings.group).groups).size <= 3
    assert summarise(con, run.name) == summarise(con, run.name, group="scene")
    assert whylook(capsys, "summary", "--store", folder, "--group", "patient").code == 0
    refused = whylook(capsys, "summary", "--store", folder, "--group", "video")
    assert refused.code == 2 and "video; there are scene, patient" in refused.err
