"""The pages without a browser: each draws, an empty store offers the next step, errors are words, data is no markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import streamlit as st

from core.queries import literal
from core.records import HIGH_SCORE, Attribution, Judgement, Run, Settings
from core.store import Store
from pages import _confusion, _frame, _words
from tests.support.page_runs import opened, words_on
from tests.support.store_factory import make_store

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
PAGES = ("summary", "slices", "search", "sample", "labels", "compare", "runs")
ODD = ("cow", '<img src=x onerror="alert(1)">', 'o\'hara "q" 🐄 [a](http://evil.example)')


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_store(tmp_path_factory.mktemp("filled") / "store", rows=48, classes=ODD)


@pytest.fixture(autouse=True)
def _fresh_caches() -> Iterator[None]:
    st.cache_data.clear()
    yield


@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_a_run_with_odd_class_names(monkeypatch: pytest.MonkeyPatch, filled, page: str) -> None:
    store, run = filled
    app = opened(monkeypatch, page, store.folder, run=run)
    assert not app.exception
    assert not app.error, app.error[0].value
    assert app.title
    assert "run" in app.query_params


@pytest.mark.parametrize("page", PAGES)
def test_every_page_offers_the_next_step_when_there_is_no_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: str
) -> None:
    app = opened(monkeypatch, page, tmp_path / "nothing")
    assert not app.exception
    assert not app.error
    assert any("tart" in button.label for button in app.button)


@pytest.mark.parametrize("page", PAGES)
def test_a_run_without_judge_is_shown_without_scores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: str
) -> None:
    store, run = make_store(tmp_path / "store", rows=24, judged=False)
    app = opened(monkeypatch, page, store.folder, run=run)
    assert not app.exception
    assert not app.error


def _unlabelled(tables: dict[str, list[Any]]) -> None:
    tables["images"] = [{**row, "label": None} for row in tables["images"]]


def _without_maps(tables: dict[str, list[Any]]) -> None:
    tables["attributions"] = [
        Attribution(row.image_id, "failed", "no gradient", None) for row in tables["attributions"]
    ]
    tables["checks"] = []
    tables["judgements"] = [Judgement(row.image_id, "abstained", "there is no map") for row in tables["judgements"]]
    tables["embeddings"] = []


def _unclassified(tables: dict[str, list[Any]]) -> None:
    for name in ("predictions", "attributions", "checks", "judgements", "embeddings"):
        tables[name] = []


def _nothing(tables: dict[str, list[Any]]) -> None:
    for name in tables:
        tables[name] = []


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("change", [_unlabelled, _without_maps, _unclassified, _nothing])
def test_what_a_run_lacks_is_an_empty_state_and_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: str, change: Callable[[dict[str, list[Any]]], None]
) -> None:
    store, run = make_store(tmp_path / "store", rows=24, change=change)
    for query in (
        ({}, {"findings": "1"}) if page == "summary" else ({}, {"as": "Charts"}) if page == "slices" else ({},)
    ):
        app = opened(monkeypatch, page, store.folder, run=run, **query)
        assert not app.exception
        assert not app.error, app.error[0].value
        assert len(words_on(app)) > 40


def test_a_store_of_a_newer_version_is_one_clear_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, filled
) -> None:
    from core.errors import StoreError

    def newer(self: Store) -> bool:
        raise StoreError("this store was written by a newer whylook: update whylook")

    monkeypatch.setattr(Store, "exists", newer)
    app = opened(monkeypatch, "summary", tmp_path)
    assert not app.exception
    assert "newer whylook" in app.error[0].value


def test_an_unforeseen_error_shows_no_traceback(monkeypatch: pytest.MonkeyPatch, filled) -> None:
    store, run = filled

    def broken(self: Store) -> int:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(Store, "generation", broken)
    app = opened(monkeypatch, "summary", store.folder, run=run)
    assert not app.exception
    assert "secret detail" not in words_on(app)
    assert "could not be drawn" in app.error[0].value


@pytest.mark.parametrize(
    "sql",
    [
        "SELEC * FROM samples",
        "SELECT nothing FROM samples",
        "DROP TABLE runs",
        "SELECT 1; SELECT 2",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY samples TO '/tmp/x.csv'",
    ],
)
def test_wrong_or_harmful_sql_is_refused_in_words_beside_the_editor(
    monkeypatch: pytest.MonkeyPatch, filled, sql: str
) -> None:
    store, run = filled
    app = opened(monkeypatch, "slices", store.folder, run=run, sql=sql)
    assert not app.exception
    assert app.error
    assert "Traceback" not in app.error[0].value
    assert app.query_params["sql"] in (sql, [sql])


def test_a_slice_shows_its_accuracy_against_the_rest(monkeypatch: pytest.MonkeyPatch, filled) -> None:
    store, run = filled
    app = opened(monkeypatch, "slices", store.folder, run=run, sql="SELECT * FROM samples WHERE label = 'cow' -- yes")
    rows = store.reader().execute("SELECT label = 'cow', avg(correct::INT) FROM samples GROUP BY 1").fetchall()
    expected = {bool(cow): f"{rate:.0%}" for cow, rate in rows}
    values = {metric.label: metric.value for metric in app.metric}
    assert values["Accuracy"].rstrip("%").split(".")[0] == expected[True].rstrip("%")
    beside = next(metric.delta for metric in app.metric if metric.label == "Accuracy")
    assert f" · rest {expected[False][:-1]}" in beside


@pytest.mark.parametrize("condition", ["NOT correct", "cell = 'wrong_low'", "label = 'cow' AND prediction <> label"])
def test_a_slice_chosen_by_its_answers_is_given_no_accuracy(
    monkeypatch: pytest.MonkeyPatch, filled, condition: str
) -> None:
    store, run = filled
    app = opened(monkeypatch, "slices", store.folder, run=run, sql=f"SELECT * FROM samples WHERE {condition}")
    assert "Accuracy" not in {metric.label for metric in app.metric}


def test_a_finding_brings_its_sentence_and_numbers_to_its_slice(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    store, run = make_store(tmp_path / "store", rows=48)
    sql = f"SELECT * FROM samples WHERE run = {literal(run)} AND NOT correct"
    said = {"sentence": "It calls *cows* camels.", "evidence": "12% [3, 21] against 80%, n 30"}
    store.save_findings(run, [{"rank": 3, "kind": "confusion", "sql": sql, **said}])
    words = words_on(opened(monkeypatch, "slices", store.folder, run=run, sql=sql)).replace("\\", "")
    assert "finding 3" in words
    assert said["sentence"] in words and said["evidence"] in words
    other = words_on(opened(monkeypatch, "slices", store.folder, run=run, sql=f"{sql} AND confidence > 0"))
    assert "finding 3" not in other.replace("\\", "")


def test_a_query_over_several_runs_says_so_and_shows_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, first = make_store(tmp_path / "store", rows=24)
    _, second = make_store(tmp_path / "store", rows=12, classes=("x", "y", "z"))
    assert first != second
    app = opened(monkeypatch, "slices", store.folder, run=first, sql="SELECT * FROM samples", **{"as": "Table"})
    assert not app.exception and not app.error
    assert "rows of 2 runs" in words_on(app) and first in words_on(app).replace("\\", "")
    [shown] = [item.value for item in app.dataframe if "image_id" in item.value]
    assert len(shown) == 24 and set(shown["run"]) == {first}
    assert {metric.label: metric.value for metric in app.metric}["Slice"] == "24"


def test_next_follows_the_order_of_the_grid(monkeypatch: pytest.MonkeyPatch, filled) -> None:
    store, run = filled
    sql = f"SELECT * FROM samples WHERE run = {literal(run)}"
    rows = store.reader().execute(f"{sql} ORDER BY confidence, path, image_id").to_arrow_table().to_pylist()
    ids = [row["image_id"] for row in rows]
    order = "Confidence, lowest first"
    app = opened(monkeypatch, "sample", store.folder, run=run, image=ids[4], sql=sql, order=order)
    assert any("5 of 48" in text.value for text in app.caption)


def test_a_slice_without_pictures_is_a_table(monkeypatch: pytest.MonkeyPatch, filled) -> None:
    store, run = filled
    app = opened(
        monkeypatch, "slices", store.folder, run=run, sql="SELECT label, count(*) AS n FROM samples GROUP BY 1"
    )
    assert len(app.dataframe[-1].value) == len(ODD)
    assert "Add image_id" in words_on(app)


def test_an_empty_slice_offers_every_picture(monkeypatch: pytest.MonkeyPatch, filled) -> None:
    store, run = filled
    app = opened(monkeypatch, "slices", store.folder, run=run, sql="SELECT * FROM samples WHERE label = 'unicorn'")
    assert any(button.label == "Show every picture" for button in app.button)


def test_a_slice_can_be_saved_deleted_and_brought_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=12)
    app = opened(monkeypatch, "slices", store.folder, run=run)
    next(field for field in app.text_input if field.label == "Save this query as").set_value("all <b>of</b> it")
    next(button for button in app.button if button.label == "Save").click().run()
    assert [item["name"] for item in store.slices()] == ["all <b>of</b> it"]
    next(button for button in app.button if button.key == "drop-0").click().run()
    assert store.slices() == []
    next(button for button in app.button if button.label == "Undo").click().run()
    assert [item["name"] for item in store.slices()] == ["all <b>of</b> it"]
    assert not app.exception


def test_an_unknown_picture_or_run_is_said_in_words(monkeypatch: pytest.MonkeyPatch, filled) -> None:
    store, run = filled
    app = opened(monkeypatch, "sample", store.folder, run=run, image="<script>")
    assert not app.exception
    assert app.error
    other = opened(monkeypatch, "summary", store.folder, run="r-none")
    assert not other.exception
    assert "not in this store" in other.warning[0].value


def test_a_sample_shows_the_judges_words_and_the_threshold_changes_the_mask(
    monkeypatch: pytest.MonkeyPatch, filled
) -> None:
    store, run = filled
    app = opened(monkeypatch, "sample", store.folder, run=run)
    assert re.search(r"visible", words_on(app))
    app.slider[0].set_value(0.7).run()
    assert not app.exception
    assert "The judge saw the threshold of 0.4." in words_on(app)


@pytest.mark.parametrize(("score", "words"), [(4.0, "support for the label"), (1.0, "little support for answer or")])
def test_a_wrong_answer_says_what_the_judge_found_for_the_label(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, score: float, words: str
) -> None:
    def change(tables: dict[str, list[Any]]) -> None:
        answer = "horse" if tables["images"][0]["label"] != "horse" else "cow"
        tables["predictions"][0] = replace(tables["predictions"][0], prediction=answer)
        label = tables["images"][0]["label"]
        tables["judgements"][0] = replace(
            tables["judgements"][0], score=1.2, label_asked=label, label_score=score, description="Grass is visible."
        )

    store, run = make_store(tmp_path / "store", rows=3, change=change)
    wrong = (
        store.reader().execute("SELECT image_id FROM samples WHERE NOT correct AND label_score IS NOT NULL").fetchall()
    )
    app = opened(monkeypatch, "sample", store.folder, run=run, image=wrong[0][0])
    assert not app.exception
    assert words in " ".join(item.proto.body for item in app.get("html"))
    assert f"the label: score {score:.1f} of 5" in words_on(app)


def test_search_finds_words_and_says_when_nothing_fits(monkeypatch: pytest.MonkeyPatch, filled) -> None:
    from pages import _shared

    monkeypatch.setattr(_shared, "text_vector", lambda text: (None, "no model in this test"))
    store, run = filled
    app = opened(monkeypatch, "search", store.folder, run=run, q="ground")
    assert not app.exception
    assert " fit, by words or by meaning" in words_on(app)
    nothing = opened(monkeypatch, "search", store.folder, run=run, q="zzzzqqqq")
    assert "Nothing fits" in words_on(nothing)


def test_findings_are_sentences_with_pictures_and_sql(monkeypatch: pytest.MonkeyPatch, filled) -> None:
    pytest.importorskip("core.findings")
    store, run = filled
    app = opened(monkeypatch, "summary", store.folder, run=run, findings="1")
    assert not app.exception
    assert not app.error


def test_a_run_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pages import _launch

    monkeypatch.setattr(_launch, "may_start", lambda: True)
    app = opened(monkeypatch, "runs", tmp_path / "store")
    next(field for field in app.text_input if field.label == "Pictures").set_value(str(tmp_path / "not-there"))
    next(button for button in app.button if button.label == "Start").click().run()
    assert not app.exception
    assert "not\\-there" in app.error[0].value


def test_an_app_open_to_other_machines_starts_no_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pages import _launch

    monkeypatch.setattr(_launch, "may_start", lambda: False)
    app = opened(monkeypatch, "runs", tmp_path / "store")
    assert "reachable from other machines" in words_on(app)


def test_user_text_in_markdown_is_literal() -> None:
    shown = _words.plain("![x](http://evil) <b> :red[a] $x$ `c`\n# h")
    assert "\n" not in shown
    addresses = _words.plain("https://a.b www.a.b me@a.b").replace("\\", "")
    assert not re.search(r"https?://|www\.|\w@", addresses)
    for mark in "![](<:$`#":
        assert not re.search(r"(?<!\\)" + re.escape(mark), shown)


def test_marked_words_are_cut_out_without_markup_and_lose_nothing() -> None:
    text = "The <b>Sand</b> and sandy sand."
    pieces = _words.segments(text, ["sand", "sandy"])
    assert "".join(piece for piece, _ in pieces) == text
    assert [piece for piece, marked in pieces if marked] == ["Sand", "sandy", "sand"]


def test_a_clicks_sql_quotes_any_class_name() -> None:
    sql = _words.slice_sql("r-1", f"label = {literal(ODD[2])}")
    assert "'o''hara \"q\" 🐄" in sql


def test_the_example_of_a_column_called_like_a_keyword_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def rename(tables: dict[str, list[Any]]) -> None:
        for row in tables["images"]:
            row["metadata"] = {"order": row["metadata"]["habitat"]}

    store, run = make_store(tmp_path / "store", rows=12, change=rename)
    app = opened(monkeypatch, "slices", store.folder, run=run)
    next(button for button in app.button if button.label == "Accuracy by order").click().run()
    assert not app.exception and not app.error
    assert 'GROUP BY "order"' in str(app.query_params["sql"]) and "rows in" in words_on(app)


def test_downloads_are_named_after_run_and_slice() -> None:
    assert _words.file_name(("r-1", "../../etc/<x>"), ".csv") == "whylook-r-1-etc-x.csv"


def test_classes_confused_with_each_other_stand_side_by_side() -> None:
    counts = {("a", "c"): 9, ("c", "a"): 8, ("b", "d"): 9, ("d", "b"): 7, ("a", "a"): 50}
    order = _confusion.block_order(["a", "b", "c", "d"], counts)
    assert abs(order.index("a") - order.index("c")) == 1
    assert abs(order.index("b") - order.index("d")) == 1


def run_of(images: Path) -> Run:
    """A run that says no more than where its pictures lie."""
    return Run(
        "r-1", "done", datetime(2026, 1, 1), None, Settings(str(images)), {}, (), {}, {}, None, None, HIGH_SCORE, "0", 1
    )


def test_only_pictures_without_the_demo_worlds_truth_are_strange_to_its_judge(tmp_path: Path) -> None:
    (tmp_path / "world" / "evaluation").mkdir(parents=True)
    run = run_of(tmp_path / "world" / "evaluation")
    assert _frame.strange_pictures(run)
    (tmp_path / "world" / "truth").mkdir()
    (tmp_path / "world" / "truth" / "evaluation.csv").write_text("path\n")
    assert not _frame.strange_pictures(run)
    assert not _frame.strange_pictures(run_of(tmp_path / "gone"))
    assert not _frame.strange_pictures(run_of(ROOT / "data" / "demo" / "evaluation"))


def test_a_judge_that_does_not_know_the_pictures_is_warned_of_on_every_page_with_its_words(
    monkeypatch: pytest.MonkeyPatch, filled
) -> None:
    monkeypatch.setattr(_frame, "strange_pictures", lambda run: True)
    store, run = filled
    for page in ("summary", "slices", "search", "sample"):
        app = opened(monkeypatch, page, store.folder, run=run)
        assert "does not know these pictures" in app.warning[0].value


def test_large_counts_fit_a_cell_of_the_confusion_matrix_and_rare_errors_look_rare() -> None:
    rows = _confusion.confusion_rows("r-1", {("a", "a"): 97_000, ("a", "b"): 3000, ("b", "a"): 1}, ["a", "b"])
    assert [item["n"] for item in rows[0]["cells"]] == ["97k", "3k"]
    assert rows[0]["cells"][1]["strength"] < 0.05  # 3% of a, against 100% of b
    assert "3,000 pictures" in rows[0]["cells"][1]["hint"]
    assert rows[1]["cells"][1] is None


def test_runs_lists_its_runs_and_offers_the_repair_when_the_generation_is_damaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, run = make_store(tmp_path / "store", rows=12)
    for path in store.folder.rglob("*.duckdb"):
        path.write_bytes(b"x" * 20_000)
    st.cache_resource.clear()
    app = opened(monkeypatch, "runs", store.folder)
    assert not app.exception and not app.error
    assert "Run again" in app.warning[0].value
    assert app.dataframe[0].value["id"].tolist() == [run]
    assert "Run again" in [button.label for button in app.button]
