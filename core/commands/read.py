"""Commands that read a store: sql, search, summary, runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from core import queries, report
from core.commands.terminal import rows_table, write_file, write_table
from core.errors import RequestError, StoreError
from core.findings import summarise
from core.pipeline.request import state_now
from core.statistics import format_rate
from core.store import Store


def sql(arguments: argparse.Namespace) -> int:
    """One SELECT over the store."""
    most = arguments.max_rows or queries.MOST_ROWS
    result = queries.run_sql(existing(arguments.store), arguments.query, max_rows=most)
    write_table(result.table, arguments.format, safe_csv=arguments.safe_csv)
    if result.truncated:
        print(f"whylook: only the first {most:,} rows are shown (--max-rows)", file=sys.stderr)
    return 0


def search(arguments: argparse.Namespace) -> int:
    """Explanations by words and by meaning."""
    con = existing(arguments.store).reader()
    run = queries.run(con, arguments.run)
    vector = None
    if "embedding" in run.fingerprints:
        from core.embedding import load_embedder  # only here: it brings torch along, which no other read waits for

        vector = load_embedder().embed([queries.plain_words(arguments.text)])[0]
    found = queries.search(con, run.name, arguments.text, vector, limit=arguments.limit)
    columns = (
        "relevance",
        "why",
        "pictures",
        "path",
        "label",
        "prediction",
        "score",
        "cell",
        "description",
        "justification",
    )
    rows = [{**vars(hit), "why": hit.why, "pictures": len(hit.same)} for hit in found.hits]
    write_table(rows_table(rows, columns), arguments.format)
    if not found.hits:
        print("whylook: nothing fits; explanations are searched, so the run needs a judge", file=sys.stderr)
    return 0


def summary(arguments: argparse.Namespace) -> int:
    """Ranked findings, printed or written as Markdown or HTML."""
    out: Path | None = arguments.out
    if out is not None and out.suffix.lower() not in (".md", ".html", ".htm"):
        raise RequestError(f"--out must end in .md or .html, got {out.name}")
    con = existing(arguments.store).reader()
    run = queries.run(con, arguments.run).name
    findings = summarise(con, run, group=arguments.group)
    page = out is not None and out.suffix.lower() != ".md"
    text = report.html(con, run, findings) if page else report.markdown(con, run, findings)
    if out is None:
        print(text)
        return 0
    write_file(out, text.encode())
    return 0


def runs(arguments: argparse.Namespace) -> int:
    """The runs in a store, as they are on disk now."""
    store = Store(arguments.store)
    found = queries.runs_on_disk(store) if arguments.store.exists() else []
    for sentence in store.damaged_records():
        print(f"damaged: {sentence}", file=sys.stderr)
    if not found:
        raise RequestError(f"no runs in {arguments.store} yet: start one with whylook demo or whylook run")
    writing, busy = (store.progress() or {}).get("run"), store.writer_alive()
    names, titles = store.run_names(), store.run_titles(found)
    right = _accuracies(store)
    records: list[dict[str, object]] = [
        {
            **vars(run),
            "run": run.name,
            "name": titles[run.name],
            "note": names[run.name].note if run.name in names else "",
            "right": format_rate(right[run.name].right) if run.name in right else "",
            "settings": run.settings.kept,
            "state": state_now(run, writing=writing, busy=busy),
        }
        for run in found
    ]
    columns = ["run", "name", "state", "started", "finished", "counts", "settings", "note"]
    if arguments.format == "table":
        columns[4:] = ["right", "pictures", "predicted", "judged", "abstained", "judge failed", "failures"]
        columns += ["images", "classifier", "method", "note"]
        records = [{**row, **run.counts, **_short(run.settings.kept)} for row, run in zip(records, found, strict=True)]
    write_table(rows_table(records, columns), arguments.format)
    return 0


def _accuracies(store: Store) -> dict[str, queries.RunAccuracy]:
    """What published runs are right on; nothing where that cannot be read, for the list shows what is on disk."""
    try:
        return queries.accuracies(store.reader()) if store.exists() else {}
    except StoreError:
        return {}


def _short(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings for a narrow table: names without their folders."""
    return {key: Path(str(settings[key])).name for key in ("images", "classifier", "method") if key in settings}


def existing(folder: Path) -> Store:
    """The store in a folder, once something has been published in it."""
    store = Store(folder)
    if not store.exists():
        raise RequestError(f"nothing to read in {store.folder} yet: start with whylook demo or whylook run")
    return store
