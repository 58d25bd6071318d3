"""A run's report as one HTML file: pictures and charts inside it, no script, no address outside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from core import queries
from core.findings import Finding
from core.findings.words import described
from core.images.masking import overlay
from core.queries import Connection
from core.report import charts
from core.report.cues import cues_of, prototypes, select
from core.report.facts import facts, source
from core.report.title import title
from core.statistics import format_percent, wilson

PICTURES_PER_FINDING = 6
CONTRAST_PICTURES = 3
PICTURE_SIDE = 160

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True)
class Shown:
    """A picture of a finding: what is said of it, and the data addresses of the picture and its overlay."""

    caption: str
    addresses: tuple[str, ...]


def html(con: Connection, run: str, findings: Sequence[Finding]) -> str:
    """The report as a self-contained page; everything that came from outside is escaped.

    Raises:
        QueryError: There is no such run.
    """
    known = facts(con, run)
    cells, found = queries.matrix(con, run), cues_of(con, run)
    judged = any(row["n"] for row in cells if row["cell"] is not None)
    return _TEMPLATES.get_template("page.html").render(
        title=title(con, run, found.used, findings),
        facts=known,
        cues=found,
        said=described(con, run),
        placebo=queries.PLACEBO,
        stories=[
            (cue, select(run, cue), [_inline(picture) for picture in prototypes(con, run, cue, side=PICTURE_SIDE)])
            for cue in found.used
        ],
        findings=[(finding, source(finding, run)[0], *_both_sides(con, run, finding)) for finding in findings],
        cells=charts.cell_counts(cells) if judged else [],
        drawings=_drawings(con, run, judged=judged),
    )


def _drawings(con: Connection, run: str, *, judged: bool) -> list[charts.Drawing]:
    """The charts that the run has rows for."""
    classes = [(str(row["label"]), wilson(row["correct"], row["n"])) for row in queries.per_class(con, run)]
    pairs = queries.confusion(con, run)
    found = [charts.histogram(queries.histogram(con, run))] if judged else []
    found += [charts.class_bars(classes)] if classes else []
    return [*found, charts.confusion(pairs)] if pairs else found


def _both_sides(con: Connection, run: str, finding: Finding) -> tuple[list[Shown], list[Shown]]:
    """Pictures of a finding, and of what it is compared with those that went right, of the same labels if there are."""
    here = _pictures(con, run, finding.sql, most=PICTURES_PER_FINDING)
    if not finding.contrast_sql:
        return here, []
    labels = f"SELECT label FROM ({finding.sql}) WHERE NOT correct"
    there = f"SELECT * FROM ({finding.contrast_sql}) WHERE label IN ({labels})"
    return here, _pictures(con, run, there, most=CONTRAST_PICTURES)


def _pictures(con: Connection, run: str, sql: str, *, most: int) -> list[Shown]:
    """Some pictures of a SELECT, each beside its overlay, the most confident mistakes first."""
    rows = con.execute(
        f"SELECT image_id, label, prediction, confidence FROM ({sql}) "
        "ORDER BY correct NULLS LAST, confidence DESC NULLS LAST, image_id LIMIT ?",
        [most],
    ).fetchall()
    ids = [str(row[0]) for row in rows]
    thumbnails, maps = queries.thumbnails(con, ids), queries.maps(con, run, ids)
    shown = []
    for image_id, label, prediction, confidence in rows:
        if image_id not in thumbnails:
            continue
        said = f"{label} → {prediction}" if prediction is not None else f"{label}: no prediction"
        sure = f" {format_percent(confidence)}" if confidence is not None else ""
        views = _views(thumbnails[image_id], maps.get(image_id))
        shown.append(Shown(said + sure, tuple(_inline(view) for view in views)))
    return shown


def _views(thumbnail: bytes, attention: NDArray[np.float32] | None) -> list[Image.Image]:
    """The picture and, where there is a map, its overlay."""
    picture = Image.open(io.BytesIO(thumbnail)).convert("RGB")
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    if attention is None:
        return [picture]
    return [picture, Image.fromarray(overlay(np.asarray(picture, dtype=np.uint8), attention))]


def _inline(picture: Image.Image) -> str:
    """A picture as a data address."""
    sink = io.BytesIO()
    picture.save(sink, "WEBP", quality=70)
    return "data:image/webp;base64," + base64.b64encode(sink.getvalue()).decode()
