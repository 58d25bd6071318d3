"""The first deck of a run: what was run, how often it is right, its stories, what to mend, how far to trust it.

Knows: findings, cues, cards, calibration. It says what is missing: no judge, no discovery, no story, no labels.
"""

from __future__ import annotations

from collections.abc import Sequence

from core import queries
from core.deck.keep import Ask, figure, key_of, of_cue, of_finding
from core.deck.slide import Figure, Slide
from core.deck.tables import of_groups, of_judge_card
from core.findings import Finding
from core.labels import calibration
from core.queries import Connection, CueRow, RunCounts, literal
from core.queries.cues import UNSURE
from core.records import Run

STORIES = 3
_EVERY_CLASS = "Add pictures of every class with it, and train again."
_MEND = {
    "strategy": "Add pictures of “{answer}” without it, and pictures of other classes with it, and train again.",
    "detail": "Add pictures of “{answer}” without it, and pictures of other classes with it, and train again.",
    "property": "Vary it when training, so that it tells nothing of the class.",
    "context": "Add pictures of other classes with it, and of “{answer}” without it.",
    "shortcut": "Add pictures that break the tie between the two, and test whether it is used.",
    "confusion": "Look at the pictures of both classes side by side: are the labels clear, are there enough of each?",
    "weak_class": "Look at its mistakes first: are there enough pictures of it, and are its labels right?",
    "weak_slice": "Add pictures like these, and measure this group by itself from now on.",
    "wrong_label": "Decide on these labels (page Labels) before training again: each wrong one costs twice.",
    "attention": "Do not show the maps of these pictures as an explanation.",
    "failures": "Look at the surest mistakes first.",
}


def first_deck(ask: Ask, con: Connection, run: str, findings: Sequence[Finding], *, called: str = "") -> list[Slide]:
    """The slides of a run's first deck, in order; each can be edited or deleted.

    `called` is the name that people gave the run, if they did.

    Raises:
        QueryError: there is no such run.
    """
    record, counts = queries.run(con, run), queries.run_counts(con, run)
    causes = queries.sections(queries.cues(con, run)).get(queries.CAUSE, [])[:STORIES]
    others = [item for item in findings if item.kind not in ("cue", "failures")][: STORIES - len(causes)]
    told = [*(of_cue(ask, run, cue) for cue in causes), *(of_finding(ask, run, item) for item in others)]
    deck = [_opening(record, told, called), _what_was_run(ask, con, record, counts), _accuracy(ask, run, counts)]
    deck += told or [_nothing(run, bool(queries.cues(con, run)), counts)]
    deck.append(_mend(ask, run, counts, causes, others))
    card = queries.judge_card(con, run)
    deck += [of_judge_card(ask, run, card)] if card is not None and card.n else []
    return [*deck, _trust(ask, con, record, counts)]


def _slide(record: Run, part: str, title: str, body: Sequence[str], figures: Sequence[Figure] = ()) -> Slide:
    return Slide(
        key_of("first", record.name, part), "text", record.name, title, tuple(figures), body=_lines(body),
        state=(("run", record.name),),
    )  # fmt: skip


def _opening(record: Run, told: Sequence[Slide], called: str) -> Slide:
    what = "What do its answers rest on?" if any(slide.kind == "cause" for slide in told) else "Where does it go wrong?"
    name, day = record.settings.classifier_name, f"{record.started:%-d %B %Y}"
    return Slide(
        key_of("first", record.name, "title"), "title", record.name,
        f"{name[:1].upper()}{name[1:]}: {what[0].lower()}{what[1:]}",
        body=_lines([called, f"Pictures: {record.settings.images_name}", day]),
        state=(("run", record.name),),
    )  # fmt: skip


def _what_was_run(ask: Ask, con: Connection, record: Run, counts: RunCounts) -> Slide:
    own = f"FROM samples WHERE run = {literal(record.name)}"
    figures = [
        figure(ask, "pictures", "count", f"SELECT count(*) {own}"),
        figure(ask, "classes among the labels", "count", f"SELECT count(DISTINCT label) {own}"),
    ]
    judged = counts.judged or counts.abstained or counts.judge_failed
    looked = bool(queries.cues(con, record.name)) or queries.discovered(con, record.name)
    lines = [
        f"Classifier: {record.settings.classifier_name}",
        f"Pictures: {record.settings.images_name}",
        "A judge said of each picture whether the attended part supports the answer." if judged else "No judge looked.",
        "Causes that no column lists were looked for, and tested by changing pictures."
        if looked
        else "Causes that no column lists were not looked for.",
        "" if record.state == "done" else "This run is not complete: the numbers are of the pictures done so far.",
    ]
    return _slide(record, "run", "What was run", lines, figures)


def _accuracy(ask: Ask, run: str, counts: RunCounts) -> Slide:
    if counts.labelled:
        return of_groups(ask, run, "label")
    line = "These pictures have no labels, so nobody can say how often it is right."
    return Slide(key_of("first", run, "accuracy"), "text", run, "How often it is right is not known.", body=(line,))


def _nothing(run: str, looked: bool, counts: RunCounts) -> Slide:
    lines = [
        "No group of pictures differs from the rest by more than chance."
        if counts.labelled
        else "Without labels no mistakes can be compared.",
        "No cue that it uses was found."
        if looked
        else "Causes that no column lists were not looked for: discovery can.",
        "That is no proof that there is none: small groups need more pictures.",
    ]
    return Slide(key_of("first", run, "nothing"), "text", run, "No story stands out.", body=_lines(lines))


def _mend(ask: Ask, run: str, counts: RunCounts, causes: Sequence[CueRow], others: Sequence[Finding]) -> Slide:
    """One line for each story: what to do about it."""
    lines = [f"{_bare(cue.words)}. {_advice(cue.kind, cue.answer)}" for cue in causes]
    lines += [f"{_bare(of_finding(ask, run, item).title)}. {_advice(item.kind, None)}" for item in others]
    figures = []
    own = f"FROM samples WHERE run = {literal(run)} AND correct IS NOT NULL"
    if counts.labelled:
        figures.append(figure(ask, "mistakes", "count", f"SELECT count(*) {own} AND NOT correct"))
    if counts.labelled > counts.correct and causes:
        held = " OR ".join(f"({cue.sql})" for cue in causes)
        sql = f"SELECT count(*) FILTER ({held}), count(*) {own} AND NOT correct"
        figures.append(figure(ask, "of them hold one of these causes", "share", sql))
    body = lines or ["Nothing calls for mending first: look at the surest mistakes, then at more pictures."]
    return Slide(
        key_of("first", run, "mend"), "text", run, "What to mend first", tuple(figures), body=tuple(body),
        quiet="Advice follows from the kind of each story; nobody has tried it on this classifier yet.",
        state=(("run", run),),
    )  # fmt: skip


def _bare(sentence: str) -> str:
    return sentence.partition(": ")[0].rstrip(".")


def _advice(kind: str, answer: str | None) -> str:
    if kind == "context" and answer is None:
        return _EVERY_CLASS
    return _MEND.get(kind, _MEND["weak_slice"]).format(answer=answer)


def _trust(ask: Ask, con: Connection, record: Run, counts: RunCounts) -> Slide:
    """What the judge, the confidence and the tests are worth, and what was not done."""
    run = record.name
    card, found = queries.judge_card(con, run), queries.sections(queries.cues(con, run))
    judged = counts.judged or counts.abstained
    lines = [
        card.sentence.partition(". ")[0].rstrip(".") + "." if card else
        "The judge has no report card: how far its scores can be trusted is not known." if judged else
        "No judge looked: nothing is said here of whether the attended part supports the answer.",
    ]  # fmt: skip
    if found:
        open_ = len(found.get(UNSURE, [])) + len(found.get(queries.UNTESTED, []))
        lines.append(
            f"Of {open_:,} more possible causes it cannot be told whether they are used, or they were not tested."
        )
        lines.append("One in twenty of the causes called used may be chance.")
    else:
        lines.append("Causes that no column lists were not looked for, so there may be some.")
    if counts.failures:
        lines.append(f"{counts.failures:,} things failed in this run and are missing from the numbers.")
    figures, means = [], calibration(queries.label_rows(con, run)) if counts.labelled else None
    if means is not None:
        own = f"FROM samples WHERE run = {literal(run)} AND correct IS NOT NULL"
        figures = [
            figure(
                ask, "sure on average (of 1)", "mean", f"SELECT avg(confidence), stddev(confidence), count(*) {own}"
            ),
            figure(ask, "right", "share", f"SELECT count(*) FILTER (correct), count(*) {own}"),
        ]
        off = means.confidence - means.right.value
        said = "It is surer than it is right." if off > 0 else "It is more often right than it says."
        lines.insert(1, "It means its confidence, on average." if abs(off) < 0.05 else said)
    lines.append("All numbers are of these pictures; others may differ. Wrong labels count as mistakes.")
    return _slide(record, "trust", "How far to trust this", lines, figures)


def _lines(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(line for line in texts if line)
