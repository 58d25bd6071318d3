"""Tables and charts of a run as slides: the matrix, confusions, accuracy by group, the judge's report card."""

from __future__ import annotations

from collections.abc import Sequence

from core.cells import CELLS
from core.deck.keep import Ask, figure, key_of
from core.deck.slide import Bars, Grid, Slide
from core.errors import RequestError
from core.queries import JudgeCard, identifier, literal
from core.statistics import format_percent, wilson

BARS = 12
"""Bars, or classes of a table, that the back row can still read."""


def bars(ask: Ask, heading: str, sql: str) -> Bars:
    """A bar for each row (name, hits, n) of a query.

    Raises:
        QueryError: the query cannot run.
        RequestError: it gives no row with n of 1 or more.
    """
    rows = [tuple(row.values()) for row in ask(sql).table.to_pylist()]
    if not rows or any(not row[2] for row in rows):
        raise RequestError(f"there is nothing to draw for “{heading}”: the query gives no group with pictures")
    rates = [wilson(int(hits), int(n)) for _, hits, n in rows]
    return Bars(
        heading, tuple(str(row[0]) for row in rows), tuple(rate.value for rate in rates),
        tuple(rate.low for rate in rates), tuple(rate.high for rate in rates), sql,
    )  # fmt: skip


def of_groups(ask: Ask, run: str, column: str, *, within: str = "", title: str = "") -> Slide:
    """Accuracy by the values of a column, worst first; `within` is a SELECT whose pictures alone are counted.

    Raises:
        RequestError: no picture of it has a label and a prediction.
    """
    inner = within.strip().rstrip(";").rstrip()
    only = f" AND image_id IN (SELECT image_id FROM (\n{inner}\n))" if inner else ""
    rows = f"FROM samples WHERE run = {literal(run)} AND correct IS NOT NULL{only}"
    sql = (
        f"SELECT coalesce({identifier(column)}::VARCHAR, 'not known') AS name, count(*) FILTER (correct) AS hits, "
        f"count(*) AS n {rows} GROUP BY name ORDER BY hits / n, name LIMIT {BARS}"
    )
    right = figure(ask, "right" if not inner else "of these are right", "share",
                   f"SELECT count(*) FILTER (correct), count(*) {rows}")  # fmt: skip
    drawn = bars(
        ask, f"Right, by {column}: the {BARS} worst" if _more(ask, column, rows) else f"Right, by {column}", sql
    )
    return Slide(
        key_of("chart", run, f"{column} {inner}"), "chart", run, title or _about(drawn, right.shown), (right,),
        bars=drawn, sources=(sql,), page="slices" if inner else "summary",
        state=(("run", run), *((("sql", inner), ("as", "Charts"), ("by", column)) if inner else ())),
    )  # fmt: skip


def _more(ask: Ask, column: str, rows: str) -> bool:
    found = ask(f"SELECT count(DISTINCT coalesce({identifier(column)}::VARCHAR, 'not known')) AS n {rows}")
    return int(found.table.column(0).to_pylist()[0]) > BARS


def _about(drawn: Bars, overall: str) -> str:
    """What the bars say, if they say something: which group is worse than any other may be."""
    if len(drawn.names) > 1 and drawn.high[0] < min(drawn.values[1:]):
        return f"“{drawn.names[0]}” is recognised worst."
    if len(drawn.names) > 1 and drawn.high[0] < max(drawn.low[1:]):
        return f"“{drawn.names[0]}” is recognised worse than “{drawn.names[-1]}”."
    return f"It is right on {overall} of the pictures."


def of_matrix(ask: Ask, run: str) -> Slide:
    """Right and wrong against the judge's support, counted.

    Raises:
        RequestError: no picture has a score and a label.
    """
    names = ", ".join(f"({place}, {literal(cell.name)}, {literal(cell.words)})" for place, cell in enumerate(CELLS))
    own = f"samples WHERE run = {literal(run)} AND cell IS NOT NULL"
    sql = (
        f"SELECT c.words, count(s.cell) AS pictures, sum(s.weight) / (SELECT sum(weight) FROM {own}) AS share\n"
        f"FROM (VALUES {names}) c(place, cell, words) LEFT JOIN (SELECT * FROM {own}) s ON s.cell = c.cell\n"
        "GROUP BY c.place, c.words ORDER BY c.place"
    )
    rows = ask(sql).table.to_pylist()
    if not sum(row["pictures"] for row in rows):
        raise RequestError("there is no matrix to keep: no picture of this run has both a label and a judge's score")
    words = tuple((row["words"], f"{row['pictures']:,}", format_percent(row["share"] or 0.0)) for row in rows)
    judged = figure(ask, "pictures judged", "count", f"SELECT count(*) FROM {own}")
    return Slide(
        key_of("matrix", run, "attention"), "matrix", run, "Does the attended part support the answer?", (judged,),
        grid=Grid(("answer and support", "pictures", "share"), words, sql), sources=(sql,), state=(("run", run),),
        quiet="Shares are of all pictures of the run; where a sample was judged they are re-weighted.",
    )  # fmt: skip


def of_confusion(ask: Ask, run: str, names: Sequence[str]) -> Slide:
    """Labels against predictions for some classes, and the largest confusion.

    Raises:
        RequestError: there is no class to show.
    """
    shown = list(names)[:BARS]
    if not shown:
        raise RequestError("there is no confusion to keep: no picture of this run has both a label and a prediction")
    own = f"FROM samples WHERE run = {literal(run)} AND correct IS NOT NULL"
    columns = ", ".join(f"count(*) FILTER (prediction = {literal(name)}) AS {identifier(name)}" for name in shown)
    order = " ".join(f"WHEN {literal(name)} THEN {place}" for place, name in enumerate(shown))
    within = ", ".join(map(literal, shown))
    sql = f"SELECT label, {columns} {own} AND label IN ({within}) GROUP BY label ORDER BY CASE label {order} END"
    rows = [tuple(row.values()) for row in ask(sql).table.to_pylist()]
    worst = ask(
        f"SELECT label, prediction {own} AND NOT correct GROUP BY ALL ORDER BY count(*) DESC, label, prediction LIMIT 1"
    ).table
    figures, title = [], "Nothing is confused."
    for row in worst.to_pylist():
        called = f"count(*) FILTER (prediction = {literal(row['prediction'])}), count(*)"
        query = f"SELECT {called} {own} AND label = {literal(row['label'])}"
        figures = [figure(ask, f"of “{row['label']}” are called “{row['prediction']}”", "share", query)]
        title = f"“{row['label']}” is called “{row['prediction']}” most often."
    words = tuple((str(row[0]), *(f"{n:,}" for n in row[1:])) for row in rows)
    return Slide(
        key_of("matrix", run, "confusion"), "matrix", run, title, tuple(figures),
        grid=Grid(("label, called …", *shown), words, sql), sources=(sql,), state=(("run", run),),
        quiet="Rows are labels, columns answers, both counted.",
    )  # fmt: skip


def of_judge_card(ask: Ask, run: str, card: JudgeCard) -> Slide:
    """How often the judge scores true maps high, and wrong ones."""
    own = "FROM judge_card c JOIN runs r ON r.judge_fingerprint = c.fingerprint"
    here = f"WHERE r.run = {literal(run)} AND c.score IS NOT NULL"
    high = f"count(*) FILTER (c.score >= {card.high!r}), count(*)"
    sql = (
        f"SELECT CASE c.control WHEN 'true' THEN 'true map' ELSE c.control END AS name, {high} {own} {here} "
        "AND c.control <> 'again' GROUP BY c.control ORDER BY c.control <> 'true', name"
    )
    opening = card.sentence.partition(". ")[0].rstrip(".") + "."
    return Slide(
        key_of("report_card", run, "judge"), "report_card", run, opening,
        (
            figure(ask, "of the true maps are scored high", "share",
                   f"SELECT {high} {own} {here} AND c.control = 'true'"),
            figure(ask, "of wrong maps and names, too", "share",
                   f"SELECT {high} {own} {here} AND c.control NOT IN ('true', 'again')"),
        ),
        bars=bars(ask, f"Scored high ({card.high:g} or more of 5), by what it was shown", sql),
        quiet=" ".join(card.reasons), notes=card.sentence, sources=(sql,), state=(("run", run),),
    )  # fmt: skip
