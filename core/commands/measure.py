"""Commands that look further into a finished run: check, discover, faithfulness and judge-card."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing

import numpy as np

from core import queries
from core.commands.read import existing
from core.commands.terminal import ProgressLine, printable, rows_table, write_table
from core.errors import RequestError
from core.findings.words import described
from core.pipeline.closer import look_closer
from core.pipeline.discover import discover as find_cues
from core.pipeline.faithfulness import check_faithfulness
from core.pipeline.report_card import card_of_run, set_high
from core.statistics import format_percent, format_rate
from core.store import Store

SHORT = ("verdict", "cue", "effect [low, high]", "placebo", "tested", "reason")
FULL = (
    "verdict", "cue", "words", "described", "n", "wrong", "wrong_rest", "effect", "low", "high", "placebo", "p",
    "reason",
)  # fmt: skip
VERDICTS = {"present but not used": "not used"}


def discover(arguments: argparse.Namespace) -> int:
    """Look for cues that no column lists, and test by interventions whether the classifier uses them."""
    store = existing(arguments.store)
    run = queries.run(store.reader(), arguments.run).name
    with closing(ProgressLine(quiet=arguments.quiet)) as line:
        found = find_cues(store, run, seconds=arguments.seconds, device=arguments.device, progress=line)
    rows = queries.cues(store.reader(), run)
    said = described(store.reader(), run)
    tested = [row for row in rows if row.tested]
    if arguments.format == "table":
        if tested:
            write_table(rows_table([_short(row) for row in tested], SHORT), "table")
        print("\n".join(_sentences(rows, said)))
    else:
        told = [{**vars(row), "described": said.get(row.cue, "")} for row in rows]
        write_table(rows_table(told, FULL), arguments.format)
    used = sum(row.verdict == "used" for row in rows)
    untested = len(rows) - len(tested)
    print(
        f"{used:,} of {len(rows):,} cues are used, {untested:,} could not be tested; {found.pictures:,} pictures in "
        f"{found.seconds:.0f} s.{' One in twenty of those called used may be chance.' * bool(used)}",
        file=sys.stderr,
    )
    return 0


def _short(row: queries.CueRow) -> dict[str, object]:
    """A tested cue in a narrow table; effects and placebos in points of probability."""
    known = row.effect is not None and row.low is not None and row.high is not None
    effect = f"{_points(row.effect)} [{_points(row.low)}, {_points(row.high)}]" if known else ""
    verdict = VERDICTS.get(row.verdict, row.verdict)
    return {**vars(row), "verdict": verdict, "effect [low, high]": effect, "placebo": _points(row.placebo)}


def _points(share: float | None) -> str:
    """A change of probability in whole points; nothing where there is none."""
    return "" if share is None else f"{round(100 * share)}"


def _sentences(rows: Sequence[queries.CueRow], described: Mapping[str, str]) -> list[str]:
    """Full sentences of what was tested, with the judge's words where they name a group; then what was not."""
    said = [""]
    for row in rows:
        if row.tested:
            said.append(printable(row.words))
            said += [f"  {printable(described[row.cue])}"] if described.get(row.cue) else []
    untested = [row for row in rows if not row.tested]
    if untested:
        said += ["", "Not tested:", *(f"  {printable(row.cue)}: {printable(row.reason)}" for row in untested)]
    if any("time" in row.reason for row in untested):
        said.append("With more time more can be tested: whylook discover --seconds 600")
    return said


def faithfulness(arguments: argparse.Namespace) -> int:
    """Measure a run's maps on a sample of its images."""
    store = existing(arguments.store)
    run = queries.run(store.reader(), arguments.run).name
    with closing(ProgressLine(quiet=arguments.quiet)) as line:
        check_faithfulness(
            store, run, sample=arguments.sample, masks=arguments.masks, device=arguments.device, progress=line
        )
    found = queries.map_faithfulness(store.reader(), run)
    assert found is not None  # just measured
    write_table(rows_table(found.rows(), ("measure", "value", "control", "better", "meaning")), arguments.format)
    return 0


def check(arguments: argparse.Namespace) -> int:
    """The causal check of one image, with more random regions than a run makes."""
    store = existing(arguments.store)
    run = queries.run(store.reader(), arguments.run).name
    found = look_closer(store, run, _image(store, run, arguments.image), draws=arguments.draws, device=arguments.device)
    drops = np.asarray(found.random_drops)
    rows = [
        {"hidden": "what it looked at", "lost": found.causal_drop, "low": None, "high": None},
        {
            "hidden": f"as much elsewhere ({drops.size} times)",
            "lost": drops.mean(),
            "low": drops.min(),
            "high": drops.max(),
        },
    ]
    write_table(rows_table(rows, ("hidden", "lost", "low", "high")), arguments.format)
    print(
        f"Probability of the predicted class lost. With all but what it looked at hidden it is "
        f"{format_percent(found.causal_keep)}.",
        file=sys.stderr if arguments.format != "table" else sys.stdout,
    )
    return 0


def _image(store: Store, run: str, asked: str) -> str:
    """The id of an image that is named by its id or by a path of the run."""
    rows = queries.fetch_rows(
        store.reader(), "SELECT image_id FROM samples WHERE run = ? AND (image_id = ? OR path = ?)", [run, asked, asked]
    )
    if not rows:
        raise RequestError(f"run {run} has no image {asked}: name its image_id or its path as whylook sql shows them")
    return str(rows[0]["image_id"])


def judge_card(arguments: argparse.Namespace) -> int:
    """Try a run's judge on a sample of its images, and set from which score attention counts as high."""
    if arguments.sample < 2:
        raise RequestError(f"a sample needs two images or more, got {arguments.sample}")
    store = existing(arguments.store)
    run = queries.run(store.reader(), arguments.run).name
    with closing(ProgressLine(quiet=arguments.quiet)) as line:
        card_of_run(store, run, sample=arguments.sample, progress=line)
    if arguments.high is not None:
        set_high(store, run, arguments.high)
    card = queries.judge_card(store.reader(), run)
    assert card is not None  # just made
    write_table(rows_table(card.rows(), ("measure", "value", "bar", "passes", "meaning")), arguments.format)
    high = queries.run(store.reader(), run).high_score
    said = [card.sentence, f"Attention is high from a score of {high:g} on."]
    if card.threshold is not None:
        said.append(card.threshold.sentence)
    if card.by_class:
        rates = ", ".join(f"{printable(name)} {format_rate(rate)}" for name, rate in card.by_class.items())
        said.append(f"True maps scored high, by class: {rates}.")
    print("\n".join(said), file=sys.stderr if arguments.format != "table" else sys.stdout)
    return 0
