"""Reports: self-contained, readable offline, true to the store, and deaf to markup in names."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from core import queries, report
from core.cells import CELLS, cell
from core.findings import summarise
from core.report import charts
from core.report.markdown import escape
from core.statistics import format_rate, wilson
from tests.support.store_factory import make_store, prediction

ODD = ("cow", '<img src=x onerror="alert(1)">', "a](http://evil.example) | **b** `c`")


class Reader(HTMLParser):
    """What a browser would make of a page: its tags, attributes and visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.charts: list[dict[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "svg":
            self.charts.append({name: value or "" for name, value in attrs})
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.text.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[queries.Connection, str, str, str]:
    """The store's connection, the run, its page and its Markdown."""
    store, run = make_store(tmp_path_factory.mktemp("report"), rows=120, classes=ODD)
    con = store.reader()
    findings = summarise(con, run)
    return con, run, report.html(con, run, findings), report.markdown(con, run, findings)


@pytest.fixture(scope="module")
def page(written) -> Reader:
    reader = Reader()
    reader.feed(written[2])
    reader.close()
    return reader


def test_the_page_needs_nothing_but_itself(written, page: Reader) -> None:
    assert page.open == []
    assert not set(page.tags) & {"script", "link", "iframe", "object", "embed", "form", "base"}
    addresses = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action", "srcset")]
    assert addresses and all(value.startswith("data:image/webp;base64,") for value in addresses)
    assert not re.search(r"url\(|@import|http-equiv=.refresh", written[2])
    policy = dict(page.attributes).get("content"), written[2]
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in policy[1]


def test_odd_names_are_text_and_never_markup(written, page: Reader) -> None:
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert ODD[1] in " ".join(page.text) and "x" not in [value for name, value in page.attributes if name == "src"]
    prose = re.sub(r"```+sql.*?```+", "", written[3], flags=re.DOTALL)
    assert "<" not in prose
    assert not re.search(r"(?<!\\)\]\(", prose)
    table = prose.split("## Classes")[1].split("##")[0].strip().splitlines()
    assert len(table) == 2 + len(ODD)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 5 for line in table)


def test_charts_are_named_for_screen_readers_and_follow_light_and_dark(written, page: Reader) -> None:
    visible = " ".join(page.text)
    assert len(page.charts) == 3
    assert all(chart["role"] == "img" and chart["aria-label"] in visible for chart in page.charts)
    painted = {value for name, value in page.attributes if name in ("fill", "stroke")}
    assert {"var(--ink)", "var(--accent)", *(kind.colour for kind in CELLS)} <= painted
    assert not {value for value in painted if not value.startswith("var(--")} - {
        "none",
        "transparent",
        *(kind.colour for kind in CELLS),
    }
    assert f"border-color:{cell('wrong_low').colour}" in written[2]


def test_charts_say_the_numbers_of_the_store(written, page: Reader) -> None:
    con, run, _, _ = written
    visible = " ".join(page.text)
    for row in queries.per_class(con, run):
        assert format_rate(wilson(row["correct"], row["n"])) in visible
    for row in queries.matrix(con, run):
        assert row["cell"] is None or cell(row["cell"]).words in visible
    assert {str(row["n"]) for row in queries.confusion(con, run)} <= set(page.text)
    assert set(ODD) <= set(page.text)  # in full beside the charts, which cut long names


def test_both_forms_say_every_finding_with_its_query(written, page: Reader) -> None:
    con, run, _, text = written
    findings = summarise(con, run)
    assert len(findings) >= 3
    visible = " ".join(page.text)
    for finding in findings:
        query = f"whylook labels --run {run}" if finding.kind == "wrong_label" else finding.sql
        assert finding.sentence in visible and query in visible
        assert escape(finding.sentence) in text and query in text
        assert f"{finding.rank}. {finding.heading} · {finding.n:,} pictures" in visible
    shown = page.tags.count("img")
    assert shown >= 2 * min(finding.n for finding in findings)


def test_a_finding_that_compares_shows_pictures_that_went_right_elsewhere(tmp_path: Path) -> None:
    def worse_at_night(tables: dict[str, list[Any]]) -> None:
        for place, entry in enumerate(tables["images"]):
            wrong = entry["metadata"]["night"] and place % 5 > 0
            name = "camel" if wrong == (entry["label"] == "cow") else "cow"
            tables["predictions"][place] = prediction(entry["image_id"], name)

    store, run = make_store(tmp_path, rows=300, classes=("cow", "camel"), pictures=False, change=worse_at_night)
    con = store.reader()
    compared = [finding for finding in summarise(con, run) if finding.contrast_sql]
    text = report.html(con, run, compared)
    assert compared and text.count("went right elsewhere") == text.count("went wrong here") == len(compared)
    assert "went right elsewhere" not in report.html(con, run, [replace(item, contrast_sql="") for item in compared])


def test_headline_numbers_are_those_of_the_store(written, page: Reader) -> None:
    con, run, _, text = written
    counts = queries.run_counts(con, run)
    for form in (" ".join(page.text), text):
        assert f"{100 * counts.correct / counts.labelled:.1f}% [" in form and f"n {counts.labelled}" in form
        assert f"{counts.judged} judged, {counts.abstained} abstained, {counts.judge_failed} failed" in form
        assert "This judge knows the demo world only" in form
        assert "the file is empty" in form  # the failure of the store


def test_a_run_without_a_judge_or_findings_is_a_report_too(tmp_path: Path) -> None:
    store, run = make_store(tmp_path, rows=6, judged=False)
    con = store.reader()
    for form in (report.html(con, run, []), report.markdown(con, run, [])):
        assert "none in this run" in form and "Nothing stands out: no comparison survived its test." in form
        assert "right reason" not in form


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("81.3% [79.6, 83.0] · n 2,000", "81.3% [79.6, 83.0] · n 2,000"),
        ("[a](b)", r"\[a\](b)"),
        ("[a]: b", r"\[a\]: b"),
        ("a_b*c`d|e#f", r"a\_b\*c\`d\|e\#f"),
        ("<b>&\n\n# x", r"&lt;b&gt;&amp; \# x"),
    ],
)
def test_markdown_is_escaped_only_where_it_would_be_markup(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize("name", ["🐄👩\u200d👩\u200d👧 " + "🐄" * 140, "W" * 300, "'\"\\ \u202egnp"])
def test_a_class_of_any_name_is_drawn(name: str) -> None:
    assert "</svg>" in charts.class_bars([(name, wilson(3, 10)), ("cow", wilson(9, 10))]).svg
    pairs = [{"label": label, "prediction": answer, "n": 2} for label in (name, "cow") for answer in (name, "cow")]
    assert "</svg>" in charts.confusion(pairs).svg


def test_of_many_classes_a_report_shows_the_worst_and_the_best_and_says_how_to_get_the_rest(tmp_path: Path) -> None:
    classes = [f"class{place:03}" for place in range(100)]
    store, run = make_store(tmp_path, rows=400, classes=classes, judged=False, pictures=False)
    con = store.reader()
    text, page = report.markdown(con, run, []), report.html(con, run, [])
    table = text.split("## Classes")[1].split("```")[0]
    assert len(re.findall(r"^\| class\d", table, re.MULTILINE)) == 40 and "The 30 worst and the 10 best of 100" in table
    command = text.split("```sh\n")[1].split("\n```")[0]
    query = re.search(r'"(.+)" --max-rows 100 --format csv', command)
    assert query and len(con.execute(query[1]).fetchall()) == 100
    assert "the 30 worst and the 10 best of 100 classes" in page
    assert all(name in page for name in classes)  # in the table below the chart


def test_every_class_is_shown_where_there_are_few(tmp_path: Path) -> None:
    store, run = make_store(tmp_path, rows=80, classes=[f"class{place:03}" for place in range(40)], pictures=False)
    text = report.markdown(store.reader(), run, [])
    assert len(re.findall(r"^\| class\d", text, re.MULTILINE)) == 40 and "worst and" not in text
