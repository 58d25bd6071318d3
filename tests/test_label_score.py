"""The score of the label beside that of a wrong answer: what is asked, what is kept, and which mistake it makes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from core import queries
from core.cells import MISTAKES, said
from core.judge.asking import Line, judgement
from core.judge.judge import LlamaJudge
from core.judge.loading import load_judge
from core.judge.prompts import load_prompts
from core.judge.url_questions import questions
from core.pipeline.request import RunRequest
from core.pipeline.run import run
from core.records import JudgeRequest
from core.store import Store
from data.demo import judge_pictures as pictures
from data.demo.world import ANIMALS
from tests.support.older import as_older_generation
from tests.support.store_factory import make_store
from tests.support.tiny_world import make_folder, make_model

DEMO = Path(__file__).parent.parent / "data" / "demo" / "judge"
FILES = {"vlm": DEMO / "judge.gguf", "mmproj": DEMO / "judge-mmproj.gguf"}
COUNT = 18


@pytest.fixture(scope="module")
def requests() -> list[JudgeRequest]:
    """Of three pictures one has another label than its prediction, one the same, one none."""
    pool, rng = pictures.draw_pool(COUNT, seed=32), np.random.default_rng(32)
    seen = [pictures.sample(pool, index, rng) for index in range(COUNT)]
    others = [str(rng.choice([name for name in ANIMALS if name != sample.animal])) for sample in seen]
    asked = []
    for index, (sample, other) in enumerate(zip(seen, others, strict=True)):
        told, label = [(other, sample.animal), (sample.animal, sample.animal), (other, None)][index % 3]
        asked.append(JudgeRequest(f"image-{index}", sample.masked.numpy(), told, label=label))
    return asked


@pytest.fixture(scope="module")
def judge() -> Iterator[LlamaJudge]:
    with load_judge(**FILES, workers=1) as loaded:
        assert isinstance(loaded, LlamaJudge)
        yield loaded


def test_the_label_is_scored_where_it_is_not_the_prediction_as_if_it_had_been_predicted(
    judge: LlamaJudge, requests: list[JudgeRequest]
) -> None:
    replies = judge.judge(requests)
    told = judge.judge([replace(request, prediction=request.label or "cow", label=None) for request in requests])
    for request, reply, as_label in zip(requests, replies, told, strict=True):
        if request.label in (None, request.prediction):
            assert (reply.label_asked, reply.label_score) == (None, None)
        else:
            assert reply.label_asked == request.label
            assert reply.label_score == pytest.approx(as_label.score, abs=0.01)
    assert any((reply.label_score or 0) > (reply.score or 0) + 1 for reply in replies)


def test_asking_about_the_label_changes_nothing_else(judge: LlamaJudge, requests: list[JudgeRequest]) -> None:
    for reply, plain in zip(
        judge.judge(requests), judge.judge([replace(request, label=None) for request in requests]), strict=True
    ):
        assert (reply.state, reply.description, reply.justification) == (
            plain.state, plain.description, plain.justification
        )  # fmt: skip
        assert reply.distribution == pytest.approx(plain.distribution, abs=0.005)


@pytest.mark.parametrize("size", [1, 5])
def test_the_labels_score_depends_neither_on_the_order_of_the_pictures_nor_on_the_batch(
    size: int, judge: LlamaJudge, requests: list[JudgeRequest]
) -> None:
    with load_judge(**FILES, batch_size=size, workers=1) as other:
        turned = other.judge(requests[::-1])[::-1]
    for reply, again in zip(judge.judge(requests), turned, strict=True):
        assert reply.label_asked == again.label_asked
        assert reply.label_score == pytest.approx(again.label_score, abs=0.01)


def test_the_papers_protocol_has_no_question_about_the_label(requests: list[JudgeRequest]) -> None:
    assert [question.label for question in questions(load_prompts("paper"), "cow", label="dog")] == [False]
    with load_judge(**FILES, protocol="paper", workers=1) as paper:
        assert {(reply.label_asked, reply.label_score) for reply in paper.judge(requests[:3])} == {(None, None)}


def test_a_server_is_asked_about_another_label_only() -> None:
    prompts = load_prompts("calibrated")
    about = [question for question in questions(prompts, "cow", label="dog") if question.label]
    assert [question.fields for question in about] == [("score",)] * 2
    assert all("dog" in question.text and "cow" not in question.text for question in about)
    for label in ("cow", None):
        assert not any(question.label for question in questions(prompts, "cow", label=label))


def lines(*label: Line) -> list[Line]:
    """A picture's replies, with some about its label."""
    scored = [Line([], distribution=np.eye(6)[1], mass=0.9) for _ in range(2)]
    return [Line([], texts={"description": "Part of a cow is visible."}), *scored, *label]


@pytest.mark.parametrize(
    ("scores", "failure", "kept"),
    [((4, 4), None, ("dog", 4.0)), ((0, 5), None, ("dog", None)), ((4, 4), "the reply did not end", (None, None))],
)
def test_a_label_without_a_usable_answer_takes_nothing_from_the_judgement(
    scores: tuple[int, int], failure: str | None, kept: tuple[str | None, float | None]
) -> None:
    about = [Line([], distribution=np.eye(6)[score], mass=0.9, label=True, failure=failure) for score in scores]
    request = JudgeRequest("a", np.zeros((8, 8, 3), np.uint8), "cow", label="dog")
    found = judgement(request, lines(*about), load_prompts("calibrated"), seconds=0.1)
    assert (found.state, found.score, found.reason) == ("ok", 1.0, None)
    assert (found.label_asked, found.label_score) == kept


def set_scores(tables: dict[str, list[Any]]) -> None:
    """Eight pictures: a right answer, then wrong ones with every order of score, label's score and 2.5."""
    scores = [(4, None), (4, 1), (3, 4), (1, 4), (1, 2), (4, None), (1, None), (3, 3)]
    for place, (score, label_score) in enumerate(scores):
        label = tables["images"][place]["label"]
        answer = label if place == 0 else "horse" if label != "horse" else "cow"
        tables["predictions"][place] = replace(tables["predictions"][place], prediction=answer)
        asked = None if label_score is None else label
        tables["judgements"][place] = replace(
            tables["judgements"][place], state="ok", score=score, label_score=label_score, label_asked=asked
        )


def test_a_wrong_answer_is_the_kind_of_mistake_that_the_greater_score_makes_it(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path / "store", rows=8, change=set_scores)
    rows = store.reader().execute("SELECT cell, label_score, mistake FROM samples ORDER BY image_id").fetchall()
    assert rows == [
        ("correct_high", 4, None),
        ("wrong_high", 1, "answer supported"),
        ("wrong_high", 4, "label supported"),
        ("wrong_low", 4, "label supported"),
        ("wrong_low", 2, "little support"),
        ("wrong_high", None, None),
        ("wrong_low", None, None),
        ("wrong_high", 3, "answer supported"),
    ]
    assert {row[2] for row in rows} - {None} == {kind.name for kind in MISTAKES}
    assert said("wrong_low", "label supported") != said("wrong_low") == said("wrong_low", None)


def test_a_judge_that_describes_the_other_of_the_two_names_no_mistake(tmp_path: Path) -> None:
    def change(tables: dict[str, list[Any]]) -> None:
        set_scores(tables)
        for place in (1, 3, 4):
            label, answer = tables["images"][place]["label"], tables["predictions"][place].prediction
            seen = {1: label, 3: answer, 4: answer}[place]
            tables["judgements"][place] = replace(tables["judgements"][place], description=f"A {seen.upper()} in snow.")
        both = f"A {tables['images'][2]['label']} beside a {tables['predictions'][2].prediction}."
        tables["judgements"][2] = replace(tables["judgements"][2], description=both)

    store, _ = make_store(tmp_path / "store", rows=8, change=change)
    rows = store.reader().execute("SELECT mistake FROM samples ORDER BY image_id LIMIT 5").fetchall()
    assert [row[0] for row in rows] == [None, None, "label supported", None, "little support"]


def test_a_users_column_called_as_one_of_samples_is_renamed(tmp_path: Path) -> None:
    def change(tables: dict[str, list[Any]]) -> None:
        for row in tables["images"]:
            row["metadata"] |= {"mistake": "mine", "described": "dark"}

    store, _ = make_store(tmp_path / "store", rows=8, change=change)
    row = store.reader().execute("SELECT DISTINCT meta_mistake, meta_described FROM samples").fetchall()
    assert row == [("mine", "dark")]


def test_a_label_score_of_another_label_is_not_shown(tmp_path: Path) -> None:
    def change(tables: dict[str, list[Any]]) -> None:
        set_scores(tables)
        tables["judgements"][3] = replace(tables["judgements"][3], label_asked="unicorn")

    store, _ = make_store(tmp_path / "store", rows=8, change=change)
    row = store.reader().execute("SELECT label_score, mistake FROM samples ORDER BY image_id OFFSET 3 LIMIT 1")
    assert row.fetchone() == (None, None)


def test_a_generation_of_before_the_label_was_scored_can_be_read(tmp_path: Path) -> None:
    store, name = make_store(tmp_path / "store", rows=8)
    drops = [f"ALTER TABLE sample_rows DROP {column}" for column in ("label_score", "mistake")]
    drops += [f"ALTER TABLE judgements DROP {column}" for column in ("label_score", "label_asked")]
    as_older_generation(store, *drops, "CREATE OR REPLACE VIEW samples AS SELECT * FROM sample_rows")
    con = Store(tmp_path / "store").reader()
    sample = queries.sample(con, name, queries.pictures(con, name, limit=1)[0]["image_id"])
    assert (sample.label_score, sample.mistake) == (None, None) and sample.score is not None


@pytest.fixture
def asked(tmp_path: Path) -> RunRequest:
    """Nine pictures that the demo judge judges; many are classified wrongly."""
    folder = make_folder(tmp_path / "pictures", per_class=3)
    return RunRequest(folder, f"{make_model(tmp_path)}:tiny", **FILES, card_sample=0, store=tmp_path / "store",
                      device="cpu")  # fmt: skip


def go(request: RunRequest) -> queries.Connection:
    outcome = run(request, progress=lambda news: None, stop=lambda: False)
    assert outcome.state == "done" and not outcome.failures
    return Store(request.store).reader()


def shards(request: RunRequest) -> set[Path]:
    return set((request.store / "shards" / "judgements").glob("part-*"))


WRONG = "FROM samples WHERE run = ? AND NOT correct"


def test_only_what_lacks_its_labels_score_is_judged_again_when_an_older_run_is_repeated(asked: RunRequest) -> None:
    con = go(asked)
    name = queries.runs(con)[0].name
    rows = con.execute(f"SELECT image_id, label_score, mistake {WRONG} ORDER BY ALL", [name]).fetchall()
    assert rows and all(row[1] is not None and row[2] for row in rows)
    for path in shards(asked):  # as an older whylook wrote them
        table = pq.read_table(path).drop_columns(["label_asked", "label_score"])
        pq.write_table(table, path.with_name("part-000001.parquet"))
        path.unlink()
    for path in [*asked.store.glob("store-*.duckdb"), asked.store / "CURRENT"]:
        path.unlink()
    before = shards(asked)
    con = go(asked)
    assert con.execute(f"SELECT image_id, label_score, mistake {WRONG} ORDER BY ALL", [name]).fetchall() == [
        (image_id, pytest.approx(score, abs=0.01), kind) for image_id, score, kind in rows
    ]
    (added,) = shards(asked) - before
    assert sorted(pq.read_table(added)["image_id"].to_pylist()) == [row[0] for row in rows]
    go(asked)
    assert shards(asked) - before == {added}, "a run whose labels are scored judged again"


def test_a_changed_label_is_asked_about_and_never_takes_the_score_of_the_old_one(asked: RunRequest) -> None:
    con = go(asked)
    moved = con.execute(
        "SELECT image_id, path, label, prediction, label_score FROM samples WHERE NOT correct"
    ).fetchone()
    assert moved is not None
    image_id, path, label, prediction, old = moved
    other = next(name for name in ("blue", "green", "red") if name not in (label, prediction))
    shutil.move(asked.images / path, asked.images / other / f"moved-{Path(path).name}")
    con = go(asked)
    new = {
        row[0]: row[1:]
        for row in con.execute(
            "SELECT run, label, label_score, mistake FROM samples WHERE image_id = ?", [image_id]
        ).fetchall()
    }
    assert len(new) == 2
    by_label = {row[0]: row[1:] for row in new.values()}
    assert by_label[label] == (None, None)
    assert by_label[other][0] is not None and by_label[other][0] != old and by_label[other][1]
