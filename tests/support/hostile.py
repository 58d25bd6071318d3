"""A store whose names and words are hostile to browsers, Markdown, LaTeX and SQL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.records import Failure
from core.store import Store, open_for_writing
from tests.support.store_factory import PRINTS, synthetic_rows

LONG = "W" * 300
OWNED = "document.title='owned'"
NAMES = (
    LONG,
    r"$$\frac{x}{y}$$ $z$ \(a\) \[b\]",
    f'<script>{OWNED}</script><img src=x onerror="{OWNED}"><iframe src="http://evil.example/">',
    f"![](http://evil.example/p.png) [click](javascript:{OWNED}) <http://evil.example/a>",
    ":red[x] :material/home: :smile: :streamlit: :rainbow[r] :small[s] :red-badge[b]",
    "\u202egnp.exe\u2066 rtl \u200f",
    "🐄👩\u200d👩\u200d👧 " + "🐄" * 140,
    "two\nlines\r\n# heading\n---\n> quote\n- item\n    code",
    '\'; DROP TABLE samples; -- "quoted" %s {x} {{y}}',
    "`code` ~~s~~ ***b*** __u__ | a | b | \\",
    f"javascript:{OWNED}",
    "http://evil.example/x www.evil.example mail@evil.example &lt;b&gt; &#36;",
)


def sentence(index: int) -> str:
    """A judge's sentence with one of the names in it, two thirds of them also with the words of all."""
    return f"I see {NAMES[index % len(NAMES)]}." + (" ".join(NAMES) if index % 3 else "")


def make_hostile_store(folder: Path, *, rows: int = 96) -> tuple[Store, str]:
    """A published store with one run whose classes, words, columns, settings, failures and slices are all hostile."""
    tables = synthetic_rows(rows, list(NAMES), seed=1, pictures=True)
    for index, row in enumerate(tables["images"]):
        odd = {f"column {name}"[:200]: name for name in NAMES}
        row |= {"path": f"{NAMES[index % len(NAMES)]}/{index}.png", "metadata": {**row["metadata"], **odd}}
        row["paths"] = [row["path"]]
    tables["judgements"] = [
        replace(row, description=sentence(index), justification=sentence(index + 1))
        if row.state == "ok"
        else replace(row, reason=sentence(index))
        for index, row in enumerate(tables["judgements"])
    ]
    store = Store(folder)
    prints = {**PRINTS, "images": f"hostile-{rows}"}
    stages = {"images": "images", "predictions": "classifier", "attributions": "attribution"}
    stages |= {"checks": "causal"}
    stages |= {"judgements": "judge", "embeddings": "embedding"}
    settings = {"images": f"/{LONG}/{NAMES[3]}", "classifier": f"/{NAMES[2]}{LONG}.py:{NAMES[1]}", "method": NAMES[4]}
    with open_for_writing(store.folder) as writer:
        run = writer.begin_run(settings, prints, class_names=NAMES, judge_note=" ".join(NAMES))
        for table, stage in stages.items():
            writer.write(table, tables[table], fingerprint=prints[stage])
        failures = [Failure("images", None, f"{name}/broken.png", f"broken {name}") for name in NAMES]
        writer.write("failures", failures, run=run)
        writer.finish_run(run, "interrupted", {"pictures": rows, "failures": len(failures)})
        writer.publish()
    for name in NAMES[:7]:
        store.save_slice(name[:80], "SELECT * FROM samples")
    return store, run
