"""A run's report as one HTML file: pictures and charts inside it, no script, no address outside it.

Knows: escaping, thumbnails, overlays. Does not know: Streamlit.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core import queries
from core.findings import Finding
from core.images.masking import overlay
from core.queries import Connection
from core.report import charts
from core.report.facts import Facts, facts
from core.statistics import format_percent, wilson

PICTURES_PER_FINDING = 6
PICTURE_SIDE = 160

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5d6670;--paper:#fff;--panel:#f4f5f7;--line:#d9dde2;--accent:#2f5d8c}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#9aa4af;--paper:#14171b;
  --panel:#1e2329;--line:#343b44;--accent:#8ab4e0}}
body{font:17px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1060px;
  margin:2rem auto;padding:0 1.2rem}
h1{font-size:1.9rem;margin:0 0 1rem}h2{font-size:1.35rem;margin:2.4rem 0 .8rem}
dl.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:.8rem;margin:0}
dl.facts div{background:var(--panel);border-radius:6px;padding:.7rem .9rem}
dt{color:var(--soft);font-size:.85rem}dd{margin:0;font-weight:600;overflow-wrap:anywhere}
.note{border-left:3px solid var(--accent);padding:.2rem .9rem;margin:1rem 0}
ol.findings{padding:0;list-style:none}ol.findings>li{border-top:1px solid var(--line);padding:1.1rem 0}
.kind{color:var(--accent);font-size:.85rem;font-weight:600}
.sentence{font-size:1.12rem;margin:.15rem 0 .7rem;overflow-wrap:anywhere}
.pictures{display:flex;flex-wrap:wrap;gap:.7rem}.pictures figure{margin:0;width:160px}
.pictures .pair{display:flex;gap:2px}.pictures img{width:79px;height:79px;object-fit:cover;background:var(--panel)}
.pictures figcaption{font-size:.78rem;color:var(--soft);overflow-wrap:anywhere}
pre{background:var(--panel);border-radius:6px;padding:.7rem .9rem;white-space:pre-wrap;
  overflow-wrap:anywhere;font-size:.85rem}
summary{cursor:pointer;color:var(--soft);font-size:.9rem}
figure{margin:1rem 0}figcaption{color:var(--soft);font-size:.9rem}
svg{width:100%;height:auto}svg text{fill:var(--ink);font-size:13px}svg .big{font-size:24px;font-weight:600}
svg .bar,svg .heat{fill:var(--accent)}svg .other{fill:var(--accent);fill-opacity:.35}svg .cell{fill:var(--panel)}
svg .whisker{stroke:var(--ink);stroke-width:1.5;fill:none}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line)}
@media print{details{display:none}body{font-size:12px}}
"""


def html(con: Connection, run: str, findings: Sequence[Finding]) -> str:
    """The report as a self-contained page; everything that came from outside is escaped.

    Raises:
        QueryError: There is no such run.
    """
    known = facts(con, run)
    title = escape(f"What run {run} shows")
    body = [f"<h1>{title}</h1>", _headline(known), "<h2>Findings</h2>", _findings(con, run, findings)]
    body += ["<h2>Charts</h2>", *_charts(con, run), _failures(known)]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _headline(known: Facts) -> str:
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in known.headline)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in known.notes)
    return f'<dl class="facts">{items}</dl>{notes}'


def _findings(con: Connection, run: str, findings: Sequence[Finding]) -> str:
    if not findings:
        return "<p>Nothing stands out: no comparison survived its test.</p>"
    items = []
    for finding in findings:
        items.append(
            f'<li><div class="kind">{finding.rank}. {escape(finding.heading)} · {finding.n:,} pictures</div>'
            f'<p class="sentence">{escape(finding.sentence)}</p>{_pictures(con, run, finding)}'
            f"<details><summary>SQL</summary><pre>{escape(finding.sql)}</pre></details></li>"
        )
    return f'<ol class="findings">{"".join(items)}</ol>'


def _pictures(con: Connection, run: str, finding: Finding) -> str:
    """Some of the finding's pictures, each beside its overlay, the most confident mistakes first."""
    rows = con.execute(
        f"SELECT image_id, label, prediction, confidence FROM ({finding.sql}) "
        "ORDER BY correct NULLS LAST, confidence DESC NULLS LAST, image_id LIMIT ?",
        [PICTURES_PER_FINDING],
    ).fetchall()
    ids = [str(row[0]) for row in rows]
    thumbnails, maps = queries.thumbnails(con, ids), queries.maps(con, run, ids)
    figures = []
    for image_id, label, prediction, confidence in rows:
        if image_id not in thumbnails:
            continue
        images = [_inline(picture) for picture in _views(thumbnails[image_id], maps.get(image_id))]
        said = f"{label} → {prediction}" if prediction is not None else f"{label}: no prediction"
        sure = f" {format_percent(confidence)}" if confidence is not None else ""
        caption = escape(said + sure)
        pair = "".join(f'<img alt="{caption}" src="{data}">' for data in images)
        figures.append(f'<figure><div class="pair">{pair}</div><figcaption>{caption}</figcaption></figure>')
    return f'<div class="pictures">{"".join(figures)}</div>'


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


def _charts(con: Connection, run: str) -> list[str]:
    classes = [(str(row["label"]), wilson(row["correct"], row["n"])) for row in queries.per_class(con, run)]
    found = [charts.class_bars(classes)] if classes else []
    cells = queries.matrix(con, run)
    if any(row["n"] for row in cells if row["cell"] is not None):
        found += [charts.matrix(cells), charts.histogram(queries.histogram(con, run))]
    pairs = queries.confusion(con, run)
    return [*found, charts.confusion(pairs)] if pairs else found


def _failures(known: Facts) -> str:
    if not known.failures:
        return ""
    cells = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in known.failures)
    more = known.failure_count - len(known.failures)
    rest = f"<p>{more:,} more are in table failures.</p>" if more else ""
    head = "<tr><th>stage</th><th>picture</th><th>reason</th></tr>"
    return f"<h2>Failures ({known.failure_count:,})</h2><table>{head}{cells}</table>{rest}"
