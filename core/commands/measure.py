"""Commands that look further into a finished run: discover, faithfulness and judge-card."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from core import queries
from core.commands.read import existing
from core.commands.terminal import ProgressLine, printable, rows_table, write_table
from core.errors import RequestError
from core.findings.words import described
from core.pipeline.discover import discover as find_cues
from core.pipeline.faithfulness import check_faithfulness
from core.pipeline.report_card import card_of_run, set_high
from core.statistics import format_rate


def discover(arguments: argparse.Namespace) -> int:
    """Look for cues that no column lists, and test by interventions whether the classifier uses them."""
    store = existing(arguments.store)
    run = queries.run(store.reader(), arguments.run).name
    with closing(ProgressLine(quiet=arguments.quiet)) as line:
        found = find_cues(store, run, seconds=arguments.seconds, device=arguments.device, progress=line)
    rows = queries.cues(store.reader(), run)
    said = described(store.reader(), run)
    columns: tuple[str, ...] = (
        "verdict",
        "cue",
        "words",
        "described",
        "n",
        "wrong",
        "wrong_rest",
        "effect",
        "low",
        "high",
        "placebo",
        "p",
        "reason",
    )
    if arguments.format == "table":
        columns = ("verdict", "words", "described", "n", "wrong", "wrong_rest", "sql")
    write_table(
        rows_table([{**vars(row), "described": said.get(row.cue, "")} for row in rows], columns), arguments.format
    )
    used = sum(row.verdict == "used" for row in rows)
    untested = sum(not row.tested for row in rows)
    print(
        f"{used:,} of {len(rows):,} cues are used, {untested:,} could not be tested; {found.pictures:,} pictures in "
        f"{found.seconds:.0f} s. One in twenty of those called used may be chance.",
        file=sys.stderr,
    )
    return 0


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
