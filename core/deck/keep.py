"""What people keep, as slides: slices, findings, cues and pictures, each number with the query that gives it.

Knows: queries behind the gate, findings, cues. Does not know: where the deck lies, pages. Tables: core/deck/tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from core import queries
from core.deck.figures import told
from core.deck.slide import Figure, Measure, Pair, Shot, Slide, View
from core.errors import RequestError
from core.queries import CueRow, SqlResult, literal
from core.records import Sample
from core.store import Store

if TYPE_CHECKING:
    from core.findings import Finding

MOST_TITLE, MOST_NOTES = 500, 5000
PICTURES, PAIRS = 6, 3
"""Pictures on a slide; a pair counts as two."""
MORE_ROWS = 100
Ask = Callable[[str], SqlResult]
_ANSWER = re.compile(r" AND prediction = ('(?:[^']|'')*')")
_WEAKER = re.compile(r"(are classified correctly|is recognised) [\d.]+% of the time.*", re.DOTALL)
_OFTENER = re.compile(r"((?:are|is) called “.*?”) [\d.]+% of the time.*", re.DOTALL)


def asking(store: Store) -> Ask:
    """Queries of a store as a person's SQL is run: behind the gate, in a process of its own."""
    return lambda sql: queries.run_sql(store, sql, max_rows=MORE_ROWS)


def key_of(kind: str, run: str, text: str) -> str:
    """The key of what is kept: the same thing kept twice is one slide."""
    return f"{kind}-{sha256(f'{kind} {run} {text}'.encode()).hexdigest()[:16]}"


def figure(ask: Ask, words: str, measure: Measure, sql: str) -> Figure:
    """A number with its query, which is run for it.

    Raises:
        QueryError: the query cannot run.
        RequestError: it does not give what the measure reads.
    """
    rows = [list(row.values()) for row in ask(sql).table.to_pylist()]
    if len(rows) != 1:
        raise RequestError(f"the query of “{words}” gives {len(rows)} rows, and a figure needs one")
    return Figure(words, measure, sql, *told(measure, rows[0]))


def edited(slide: Slide, *, title: str | None = None, notes: str | None = None, body: str | None = None) -> Slide:
    """The slide with another title, other notes or another body, of which each line is one.

    Raises:
        RequestError: the title is empty, or one of them is too long.
    """
    title = slide.title if title is None else " ".join(title.split())
    notes = slide.notes if notes is None else notes.strip()
    lines = slide.body if body is None else tuple(line.strip() for line in body.splitlines() if line.strip())
    if not title:
        raise RequestError("a slide needs a title")
    sizes = (("title", title, MOST_TITLE), ("notes", notes, MOST_NOTES), ("lines", "\n".join(lines), MOST_NOTES))
    for name, text, most in sizes:
        if len(text) > most:
            raise RequestError(f"{name} of {len(text):,} characters: a slide holds {most:,}; shorten it")
    return replace(slide, title=title, notes=notes, body=lines)


def of_slice(ask: Ask, run: str, sql: str, *, title: str = "", view: View = "original") -> Slide:
    """The pictures of a SELECT: how many of them are right, and of the others of the run.

    Raises:
        QueryError: it cannot run, or has no column image_id.
    """
    inner = sql.strip().rstrip(";").rstrip()
    columns = ask(f"SELECT * FROM (\n{inner}\n) LIMIT 1").columns
    if "image_id" not in columns:
        raise RequestError("this query gives no pictures: add image_id to the SELECT, then keep it")
    own = f" AND run = {literal(run)}" if "run" in columns else ""
    ids = f"(SELECT image_id FROM (\n{inner}\n) WHERE image_id IS NOT NULL{own})"
    rows = f"FROM samples WHERE run = {literal(run)} AND image_id"
    right = "SELECT count(*) FILTER (correct), count(correct)"
    here = figure(ask, "of these are right", "share", f"{right} {rows} IN {ids}")
    if here.quiet.endswith("n 0"):
        share = f"SELECT count(*) FILTER (image_id IN {ids}), count(*) FROM samples WHERE run = {literal(run)}"
        pair = (
            figure(ask, "pictures", "count", f"SELECT count(*) {rows} IN {ids}"),
            figure(ask, "of the run", "share", share),
        )
    else:
        pair = (here, figure(ask, "of the others", "share", f"{right} {rows} NOT IN {ids}"))
    return Slide(
        key_of("slice", run, inner), "slice", run, title or slice_title(inner), pair,
        shots=shots(ask, run, sql, view=view), sources=(inner,), page="slices", state=_state(run, sql=inner),
    )  # fmt: skip


def slice_title(sql: str) -> str:
    """The conditions of a SELECT in a line, to be put in better words by the presenter."""
    sql = re.sub(r"--[^\n]*", "", sql)
    found = re.search(r"\bWHERE\b(.*?)(?:\bORDER BY\b.*|\bLIMIT\b.*)?$", " ".join(sql.split()), re.IGNORECASE)
    parts = re.split(r"\s+AND\s+", found[1].strip()) if found else []
    kept = [part for part in parts if not re.match(r"run\s*=", part, re.IGNORECASE)]
    words = f"Pictures where {' and '.join(kept)}" if kept else "Pictures of the run"
    return words if len(words) <= 160 else words[:159].rstrip() + "…"


def shots(ask: Ask, run: str, sql: str, *, view: View = "original", most: int = PICTURES) -> tuple[Shot, ...]:
    """Some pictures of a SELECT: mistakes first, the surest of them first."""
    inner = sql.strip().rstrip(";").rstrip()
    rows = ask(
        f"SELECT image_id, label, prediction, correct FROM samples WHERE run = {literal(run)} AND image_id IN "
        f"(SELECT image_id FROM (\n{inner}\n)) "
        f"ORDER BY correct NULLS LAST, confidence DESC NULLS LAST, image_id LIMIT {most}"
    ).table.to_pylist()
    return tuple(Shot(row["image_id"], view, _said(row["label"], row["prediction"], row["correct"])) for row in rows)


def of_cue(ask: Ask, run: str, cue: CueRow) -> Slide:
    """What discovery found, with pictures before and after the change where it was tested."""
    select = f"SELECT * FROM samples WHERE run = {literal(run)} AND ({cue.sql})"
    moved = re.search(r"\b(lose|gain)\b", cue.words)
    loss = moved is not None and (moved[1] == "lose") == ((cue.effect or 0.0) >= 0)  # then effect counts what is lost
    change = "-effect AS effect, -high AS low, -low AS high" if loss else "effect, low, high"
    source = f"SELECT {change}, tested FROM cues WHERE run = {literal(run)} AND cue = {literal(cue.cue)}"
    figures = []
    if cue.effect is not None:
        figures.append(figure(ask, "points of probability, beyond the placebo", "change", source))
    figures.append(_harm(ask, run, cue))
    pairs = tuple(Pair(item.before, item.after, "\n".join(item.words(cue.answer))) for item in cue.examples[:PAIRS])
    held = tuple(Shot(image_id, "overlay" if cue.kind == "detail" else "original") for image_id in cue.prototypes)
    return Slide(
        key_of("cause", run, cue.cue), "cause", run, cue.words.partition(": ")[0].rstrip(".") + ".", tuple(figures),
        shots=() if pairs else held[:PICTURES], pairs=pairs,
        quiet="The placebo is a change of the same size without the cue." if cue.effect is not None else cue.reason,
        notes="\n".join(line for line in (cue.words, cue.harm, cue.evidence) if line), sources=(select,),
        page="slices", state=_state(run, sql=select),
    )  # fmt: skip


def _harm(ask: Ask, run: str, cue: CueRow) -> Figure:
    """How often its pictures go wrong: towards its class where it pulls there, else at all."""
    held = f"FROM samples WHERE run = {literal(run)} AND ({cue.sql})"
    if cue.answer is not None and cue.kind not in queries.GROUPS:
        sql = f"SELECT count(*) FILTER (prediction = {literal(cue.answer)}), count(correct) {held}"
        words = f"of such pictures of other classes are called “{cue.answer}”"
        return figure(ask, words, "share", f"{sql} AND label <> {literal(cue.answer)}")
    sql = f"SELECT count(*) FILTER (NOT correct), count(correct) {held}"
    return figure(ask, "of these pictures are wrong", "share", sql)


def of_finding(ask: Ask, run: str, finding: Finding) -> Slide:
    """A finding with its pictures; its numbers are counted over all pictures, and its test stands in the quiet line."""
    view: View = "overlay" if finding.kind == "attention" or "attention_" in finding.sql else "original"
    title = _OFTENER.sub(r"\1 more often.", _WEAKER.sub(r"\1 less often.", finding.sentence))
    title = title.partition(". ")[0].rstrip(".") + "."
    return Slide(
        key_of("finding", run, finding.sql), "finding", run, title, _figures(ask, run, finding),
        shots=shots(ask, run, finding.sql, view=view),
        quiet=("As tested: " if finding.rest else "") + _first_sentences(finding.evidence),
        notes=f"{finding.sentence}\n{finding.evidence}", sources=(finding.sql,),
        page="slices", state=_state(run, sql=finding.sql),
    )  # fmt: skip


def _figures(ask: Ask, run: str, finding: Finding) -> tuple[Figure, ...]:
    """Two counts: in the group and elsewhere; of what is no comparison, how many, and of which share of the run."""
    sql, own = finding.sql, f"FROM samples WHERE run = {literal(run)} AND correct IS NOT NULL"
    if finding.rest is not None and (answer := _ANSWER.search(sql)):
        called = f"SELECT count(*) FILTER (prediction = {answer[1]}), count(correct) FROM (\n"
        base = _ANSWER.sub("", sql, count=1)
        other = f"{own} AND image_id NOT IN (SELECT image_id FROM (\n{base}\n)) AND label <> {answer[1]}"
        words = f"called “{answer[1][1:-1].replace(chr(39) * 2, chr(39))}”"
        return (
            figure(ask, f"of these are {words}", "share", f"{called}{base}\n)"),
            figure(ask, f"of the others are {words}", "share", f"{called}SELECT * {other}\n)"),
        )
    if finding.rest is not None:
        right = "SELECT count(*) FILTER (correct), count(correct)"
        return (
            figure(ask, "of these are right", "share", f"{right} FROM (\n{sql}\n)"),
            figure(
                ask, "of the others", "share", f"{right} {own} AND image_id NOT IN (SELECT image_id FROM (\n{sql}\n))"
            ),
        )
    share = f"SELECT (SELECT count(*) FROM (\n{sql}\n)), count(*) FROM samples WHERE run = {literal(run)}"
    return (
        figure(ask, "pictures", "count", f"SELECT count(*) FROM (\n{sql}\n)"),
        figure(ask, "of the run", "share", share),
    )


def of_picture(ask: Ask, run: str, sample: Sample) -> Slide:
    """One picture: as it is, where the classifier looked, and what is left of it there."""
    row = f"FROM samples WHERE run = {literal(run)} AND image_id = {literal(sample.image_id)}"
    figures = []
    if sample.prediction is not None:
        words = f"sure of “{sample.prediction}”"
        figures.append(figure(ask, words, "single", f"SELECT confidence {row}"))
    if sample.causal_drop is not None:
        words = "of probability lost when what it looked at is hidden"
        figures.append(figure(ask, words, "single", f"SELECT causal_drop {row}"))
    views: tuple[View, ...] = ("original", "overlay", "masked") if sample.map is not None else ("original",)
    under = {"original": "as it is", "overlay": "where it looked", "masked": "where it looked most"}
    return Slide(
        key_of("picture", run, sample.image_id), "picture", run,
        f"{_said(sample.label, sample.prediction, sample.correct, by=' called ')}", tuple(figures),
        shots=tuple(Shot(sample.image_id, view, under[view]) for view in views),
        quiet=f"“{sample.description}”" if sample.description else "", sources=(f"SELECT * {row}",),
        page="sample", state=_state(run, image=sample.image_id),
    )  # fmt: skip


def _said(label: str | None, prediction: str | None, correct: bool | None, *, by: str = " → ") -> str:
    if prediction is None:
        return label or "not classified"
    return prediction if correct or label is None else f"{label}{by}{prediction}"


def _first_sentences(text: str, most: int = 200) -> str:
    """The beginning of a text, cut where a sentence ends."""
    kept = ""
    for sentence in re.split(r"(?<=[.;]) ", text):
        if kept and len(kept) + len(sentence) > most:
            break
        kept = f"{kept} {sentence}".strip()
    return kept.rstrip(";") + ("." if kept.endswith(";") else "")


def _state(run: str, **values: str) -> tuple[tuple[str, str], ...]:
    return (("run", run), *values.items())
