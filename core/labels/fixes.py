"""The fix list: what a person said of labels, as rows with paths, and as a new list of pictures for `whylook run`.

Knows: LabelRows and decisions. Does not know: where decisions are kept.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from core.images.folders import LIST_SUFFIXES
from core.queries.labels import LabelRows
from core.records import LabelDecision

FIX_COLUMNS = ("path", "label", "verdict", "new_label", "image_id", "decided")
LIST_COLUMNS = ("path", "label")


def applying(rows: LabelRows, decisions: Sequence[LabelDecision]) -> dict[str, LabelDecision]:
    """Decisions by image id that are about these pictures under these labels; one of an older label says nothing."""
    places = {image_id: place for place, image_id in enumerate(rows.image_ids)}
    known = [item for item in decisions if item.image_id in places]
    return {item.image_id: item for item in known if _label(rows, places[item.image_id]) == item.label}


def _label(rows: LabelRows, place: int) -> str | None:
    return rows.names[rows.labels[place]] if rows.labels[place] >= 0 else None


def fix_rows(rows: LabelRows, decided: Mapping[str, LabelDecision]) -> list[tuple[str, ...]]:
    """A row of FIX_COLUMNS for every path of every picture that was decided, in the order of decisions."""
    paths = dict(zip(rows.image_ids, rows.paths, strict=True))
    return [
        (path, item.label or "", item.verdict, item.should_be or "", item.image_id, item.saved.isoformat())
        for item in decided.values()
        for path in paths[item.image_id]
    ]


def new_labels(
    rows: LabelRows, decided: Mapping[str, LabelDecision], *, beside: Path | None = None
) -> Iterator[tuple[str, ...]]:
    """A row of LIST_COLUMNS for every file of the run, with its label as decided, else as it is.

    One that is wrong while nobody said what it should be is left empty: the picture stays, without a label.

    Paths are relative to the folder `beside` where the pictures lie below it, else absolute, so that the list can lie
    anywhere; a metadata file, whose paths are relative, then needs the list beside the pictures.
    """
    source = Path(rows.images)
    folder = (source.parent if source.suffix.lower() in LIST_SUFFIXES else source).resolve()
    inside = beside is not None and folder.is_relative_to(beside.resolve())
    prefix = os.path.relpath(folder, beside.resolve()) if inside and beside is not None else str(folder)
    for place, paths in enumerate(rows.paths):
        item = decided.get(rows.image_ids[place])
        label = item.should_be if item is not None and item.verdict == "wrong" else _label(rows, place)
        for path in paths:
            yield Path(prefix, path).as_posix(), label or ""


def write_csv(columns: Sequence[str], rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> str:
    """Rows as CSV text with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()
