"""The command `labels`: ranked suspects, and what people decided as a fix list or a new list of labels."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core import labels as core_labels
from core import queries
from core.commands.read import existing
from core.commands.terminal import rows_table, write_file, write_table
from core.errors import RequestError
from core.labels.fixes import FIX_COLUMNS, LIST_COLUMNS
from core.records import LabelDecision
from core.statistics import format_number, format_percent, format_pictures, format_rate

COLUMNS = ("rank", "path", "label", "suggested", "support", "reasons", "verdict", "new_label", "image_id")


def labels(arguments: argparse.Namespace) -> int:
    """Ranked suspects, printed; or the fix list and the new list of labels, written."""
    store = existing(arguments.store)
    con = store.reader()
    run = queries.run(con, arguments.run).name
    rows = queries.label_rows(con, run)
    decided = core_labels.applying(rows, store.label_decisions())
    fixes: Path | None = arguments.fixes
    listed: Path | None = arguments.label_list
    if fixes is not None and listed is not None and fixes.resolve() == listed.resolve():
        raise RequestError(f"--fixes and --label-list both name {fixes}: give two files")
    if fixes is not None:
        write_file(fixes, core_labels.write_csv(FIX_COLUMNS, core_labels.fix_rows(rows, decided)).encode())
    if listed is not None:
        new = core_labels.new_labels(rows, decided, beside=listed.parent)
        write_file(listed, core_labels.write_csv(LIST_COLUMNS, new).encode())
    if fixes is not None or listed is not None:
        said = format_pictures(len(decided))
        print(f"whylook: {said} decided; decide more on the page Labels of whylook app", file=sys.stderr)
        return 0
    found = core_labels.suspects(rows, most=arguments.limit)
    write_table(rows_table([_row(item, decided) for item in found.listed], COLUMNS), arguments.format)
    for sentence in _sentences(rows, found):
        print(f"whylook: {sentence}", file=sys.stderr)
    return 0


def _row(item: core_labels.Suspect, decided: dict[str, LabelDecision]) -> dict[str, object]:
    verdict = decided.get(item.image_id)
    return {
        "rank": item.rank,
        "path": item.paths[0],
        "label": item.label,
        "suggested": item.suggested,
        "support": item.support,
        "reasons": item.reason,
        "verdict": verdict.verdict if verdict else None,
        "new_label": verdict.should_be if verdict else None,
        "image_id": item.image_id,
    }


def _sentences(rows: queries.LabelRows, found: core_labels.Suspects) -> list[str]:
    """What else is to be said of the labels: how many suspects, duplicates that disagree, calibration."""
    by = "the classifier and pictures that look alike" if found.with_features else "the classifier"
    said = [f"support is how probable the label is, 0 to 1, by {by}; ranks allow for what is usual in its class"]
    said = said if found.listed else []
    said += [found.note] if found.note else []
    if found.flagged:
        shown = f"; the first {len(found.listed):,} are shown (--limit)" if len(found.listed) < found.flagged else ""
        said.append(f"{found.headline}, of {found.looked_at:,}{shown}")
    sets = core_labels.duplicates(rows)
    if sets.exact or sets.near:
        said.append(
            f"sets of duplicates: {sets.exact:,} exact, {sets.near:,} near; {len(sets.across_labels):,} across labels, "
            f"{len(sets.across_splits):,} across splits"
        )
    measured = core_labels.calibration(rows)
    if measured is not None:
        said.append(
            f"certainty: the classifier is {format_percent(measured.confidence)} sure on average and right "
            f"{format_rate(measured.right)}; over all confidences the two differ by "
            f"{format_rate(measured.error, n=False)}; {_mending(measured.mend)}"
        )
    return said


def _mending(mend: core_labels.Mend) -> str:
    if not mend.helps:
        return "no temperature by which logits are divided would mend that"
    return f"a temperature of {format_number(mend.temperature)}, by which logits are divided, would mend that best"
