"""A dataset folder that FiftyOne opens, without FiftyOne: two of its formats over the same pictures.

`samples.json` with `metadata.json` is fiftyone.types.FiftyOneDataset and holds everything, as FiftyOne wrote it before
it put its own version there: that is what can be written without its database. `labels.json` is
fiftyone.types.FiftyOneImageClassificationDataset, which has one label a picture and the rest as its attributes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from core.export.folders import JsonValue, json_list, placed, plain
from core.export.pictures import Picture, Pictures
from core.records import Row

DATA = "data"
_LABELS = ("label", "prediction", "confidence", "tags")
_TAKEN = frozenset(
    ("id", "filepath", "tags", "metadata", "media_type", "created_at", "last_modified_at", "dataset_id")
    + ("ground_truth", "prediction", "picture")
)
"""Fields that FiftyOne has itself, or that are written here."""


def write_fiftyone(out: Path, tables: Iterable[pa.Table], pictures: Pictures, classes: Sequence[str]) -> None:
    """Writes both formats into the folder `out`."""
    (out / "metadata.json").write_text(json.dumps({"info": {"classes": list(classes)}}), encoding="utf-8")
    names = json.dumps(list(classes), ensure_ascii=False)
    with (
        json_list(out / "samples.json", before='{"samples": [', after="]}") as samples,
        json_list(out / "labels.json", before=f'{{"classes": {names},\n"labels": {{', after="}}") as labels,
    ):
        for picture in placed(out / DATA, tables, pictures):
            samples.add(_sample(picture))
            labels.add(_label(picture.row), key=Path(picture.name).stem)


def _sample(picture: Picture) -> JsonValue:
    row = picture.row
    found: dict[str, JsonValue] = {"filepath": f"{DATA}/{picture.name}", "tags": row.get("tags") or []}
    found["ground_truth"] = _classification(row.get("label"))
    found["prediction"] = _classification(row.get("prediction"), row.get("confidence"))
    rest = {field_name(name): plain(value) for name, value in row.items() if name not in _LABELS}
    return {**found, **rest, "picture": picture.kind}


def _classification(name: str | None, confidence: float | None = None) -> JsonValue:
    if name is None:
        return None
    found = {"_cls": "Classification", "label": name}
    return found if confidence is None else {**found, "confidence": plain(confidence)}


def _label(row: Row) -> JsonValue:
    """The label, with what the classifier and the judge made of it; null where there is none."""
    if row.get("label") is None:
        return None
    known = ("prediction", "confidence", "correct", "score", "cell", "description")
    attributes = {name: plain(row[name]) for name in known if row.get(name) is not None}
    confidence = attributes.pop("confidence", None)
    if confidence is not None:
        attributes["prediction_confidence"] = confidence  # a label's own would be taken for that of the ground truth
    return {"label": row["label"], "attributes": attributes}


def field_name(name: str) -> str:
    """A column's name as a field of FiftyOne: none of its own, no `.` and `$`, no `_` in front."""
    name = name.replace(".", "_").replace("$", "_").replace("\0", "_").lstrip("_") or "column"
    return f"{name}_" if name in _TAKEN else name
