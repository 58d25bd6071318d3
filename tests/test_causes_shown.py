"""What discovery found, as pages and reports show it: stories, folded verdicts, how a picture was seen, odd names."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from PIL import Image

from core import queries, report
from core.images.outline import outlined
from core.queries import CueRow, Example
from core.store import Store
from pages import _causes, _launch
from tests.support.discovered import make_discovered_store
from tests.support.page_runs import opened, words_on
from tests.support.store_factory import make_store

ODD = ('<img src=x onerror="alert(1)">', "cow`s", "horse")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_discovered_store(tmp_path_factory.mktemp("found") / "store", classes=ODD)


@pytest.fixture(autouse=True)
def _fresh_caches() -> Iterator[None]:
    st.cache_data.clear()
    yield


def drawn(app: Any, kind: str) -> list[dict[str, Any]]:
    """The items of every component of one kind on a page, as it was given them."""
    given = [json.loads(item.proto.json) for item in app.get("bidi_component") if item.proto.json]
    return [item for data in given if data.get("kind") == kind for item in data["items"]]


def row(**changed: Any) -> CueRow:
    """A used cue."""
    known: dict[str, Any] = {
        "cue": "horse 1", "kind": "strategy", "answer": "horse", "words": "", "verdict": "used", "reason": "",
        "sql": "TRUE", "n": 9, "wrong": 0.5, "wrong_rest": 0.1, "effect": 0.39, "low": 0.3, "high": 0.48,
        "placebo": 0.0, "p": 0.002, "tested": 48, "region": None, "prototypes": (), "examples": (),
    }  # fmt: skip
    return CueRow(**{**known, **changed})


def test_what_goes_with_a_cue_is_said_by_its_kind_and_nothing_without_labels() -> None:
    assert row().harm == "They are wrong 50% of the time, the others called “horse” 10%."
    assert (
        row(kind="context").harm == "Such pictures of other classes are called “horse” 50% of the time, the others 10%."
    )
    assert row(kind="context", answer=None).harm == "Such pictures are wrong 50% of the time, the others 10%."
    assert row(wrong=None).harm == ""


def test_the_evidence_has_the_effect_with_its_interval_or_the_reason_why_there_is_none() -> None:
    assert (
        row().evidence
        == "+39 points [30, 48] beyond the placebo · 48 pictures changed · p 0.002, adjusted for all cues"
    )
    assert row(effect=None, low=None, high=None, reason="too few pictures").evidence == "too few pictures"


def test_a_change_says_what_the_picture_was_called_and_how_the_class_fared() -> None:
    example = Example("", "", "deer", "horse", 0.12, 0.83)
    assert example.words("horse") == ("deer → horse", "horse 12% → 83%")
    assert Example("", "", "deer", "deer", 0.9, 0.4).words(None) == ("still deer", "deer 90% → 40%")


def test_the_region_is_outlined_and_nothing_else_is_touched() -> None:
    grey = Image.new("RGB", (80, 40), (128, 128, 128))
    changed = np.argwhere((np.asarray(outlined(grey, (0.5, 0.25, 1.0, 0.75))) != 128).any(axis=2))
    assert changed.min(axis=0).tolist() == [20, 20] and changed.max(axis=0).tolist() == [39, 59]
    inside = np.asarray(outlined(grey, (0.5, 0.25, 1.0, 0.75)))[28:32, 30:50]
    assert (inside == 128).all()


def test_the_nearest_pictures_are_of_the_same_way_of_seeing_and_never_the_picture_itself(found) -> None:
    store, run = found
    con = store.reader()
    own = [item for item in queries.pictures(con, run, limit=100) if item["cue"]][0]
    way = queries.way_of_seeing(con, run, own["image_id"])
    assert way is not None and way.name == own["strategy"] and 0 < way.n < way.of
    assert way.nearest and own["image_id"] not in way.nearest
    kept = {item["image_id"]: item["strategy"] for item in queries.pictures(con, run, limit=100)}
    assert {kept[image_id] for image_id in way.nearest} == {own["strategy"]}
    other = [item for item in queries.pictures(con, run, limit=100) if item["strategy"] is None][0]
    assert queries.way_of_seeing(con, run, other["image_id"]) is None


@pytest.mark.slow
def test_summary_leads_with_used_cues_and_folds_the_others_with_their_counts(
    monkeypatch: pytest.MonkeyPatch, found
) -> None:
    store, run = found
    app = opened(monkeypatch, "summary", store.folder, run=run)
    assert not app.exception and not app.error
    titles = [item.value for item in app.header]
    assert titles.index("What do the answers rest on?") < titles.index("Does the attended part support the answer?")
    stories = drawn(app, "stories")
    assert [story["sentence"][:9] for story in stories] == ["The botto"]
    assert len(stories[0]["pictures"]) == 4 and len(stories[0]["pairs"]) == 3
    assert stories[0]["pairs"][0]["words"][1].endswith("12% → 83%")
    assert "strategy = '<img" in stories[0]["target"]["go"]["state"]["sql"]
    assert [item.label for item in app.expander if "·" in item.label] == ["There but not used · 1", "Not tested · 1"]
    assert len(drawn(app, "asides")) == 2


@pytest.mark.slow
def test_more_cues_than_fit_are_counted_and_can_be_opened(monkeypatch: pytest.MonkeyPatch, found) -> None:
    monkeypatch.setattr(_causes, "MOST", 0)
    store, run = found
    app = opened(monkeypatch, "summary", store.folder, run=run)
    assert drawn(app, "stories") == []
    next(item for item in app.toggle if item.label == "Show all 1 cues").set_value(True).run()
    assert len(drawn(app, "stories")) == 1


@pytest.mark.slow
def test_a_storys_query_gives_its_pictures(found) -> None:
    store, run = found
    cue = queries.cues(store.reader(), run)[0]
    result = queries.run_sql(store, f"SELECT * FROM samples WHERE run = '{run}' AND ({cue.sql})", max_rows=100)
    assert result.table.num_rows == cue.n


@pytest.mark.slow
def test_sample_shows_how_a_picture_was_seen_and_nothing_where_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, found
) -> None:
    store, run = found
    rows = queries.pictures(store.reader(), run, limit=100)
    held = [item for item in rows if item["cue"]][0]["image_id"]
    app = opened(monkeypatch, "sample", store.folder, run=run, image=held)
    assert not app.exception and not app.error
    assert "How it was seen" in [item.value for item in app.header]
    assert "It holds a cue that the classifier uses" in words_on(app)
    assert len(drawn(app, "stories")) == 1 and drawn(app, "stories")[0]["pictures"] == []
    bare = [item for item in rows if not item["strategy"]][0]["image_id"]
    app = opened(monkeypatch, "sample", store.folder, run=run, image=bare)
    assert "How it was seen" not in [item.value for item in app.header]


@pytest.mark.slow
def test_slices_groups_by_what_discovery_found_and_says_what_it_is(monkeypatch: pytest.MonkeyPatch, found) -> None:
    store, run = found
    app = opened(monkeypatch, "slices", store.folder, run=run, **{"as": "Charts", "by": "strategy"})
    assert not app.exception and not app.error
    by = next(item for item in app.selectbox if item.label == "Group by")
    assert {"strategy", "cue"} <= set(by.options) and "detail" not in by.options
    assert "which way to see this class" in words_on(app)
    assert "Holds a cue that the classifier uses" in [item.label for item in app.button]


@pytest.mark.slow
def test_a_run_without_features_says_so_and_offers_no_button(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=24)
    app = opened(monkeypatch, "summary", store.folder, run=run)
    assert "keeps nothing of what the model saw" in words_on(app)
    assert not [item for item in app.button if item.label.startswith("Look for causes")]


def test_reports_carry_the_verdicts_with_pictures_before_and_after_and_odd_names_are_no_markup(found) -> None:
    store, run = found
    con = store.reader()
    text, page = report.markdown(con, run, []), report.html(con, run, [])
    assert text.index("## Causes") < text.index("## Findings")
    assert "**There but not used (1)**" in text and "**Not tested (1)**" in text
    assert "+39 points [30, 48] beyond the placebo" in text and "+39 points [30, 48] beyond the placebo" in page
    assert page.count('alt="before"') == page.count('alt="after"') == 4
    assert page.count('alt="picture with the cue"') == 4
    assert "<img src=x" not in page and "<img src=x" not in re.sub(r"```sql.*?```", "", text, flags=re.S)


def test_a_report_says_nothing_of_causes_where_discovery_has_not_looked(tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=24)
    assert "Causes" not in report.markdown(store.reader(), run, []) + report.html(store.reader(), run, [])


def test_what_went_wrong_with_a_look_for_causes_is_its_last_words_and_only_of_its_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WHYLOOK_STORE", str(tmp_path))
    monkeypatch.setattr(_launch, "may_start", lambda: True)
    _launch.start_beside("discover", "r-1")  # there is no such run
    while (running := _launch.at_work("discover")) is not None:
        assert running == "r-1"
        time.sleep(0.1)
    assert "nothing to read in" in _launch.problem_of("discover", "r-1")
    assert _launch.problem_of("discover", "r-2") == ""
