"""One query as one file or folder: rows from behind the SQL gate, pictures one at a time, progress on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from core import queries
from core.errors import RequestError, StoreError
from core.export.forms import FORMS, STORE_FORMS, TABLE_FORMS
from core.export.pictures import Kind, Pictures, Source, batches
from core.export.place import MARK, mark_text, place_for
from core.export.tables import of_run, write_csv, write_parquet
from core.statistics import format_pictures
from core.store import Store
from core.store.copies import copy_to_duckdb, copy_to_ducklake, copy_to_parquet
from core.version import package_version

MOST_ROWS = 1_000_000
SECONDS = 60.0
"""How long the query may take: longer than on a page, where someone waits for each step."""
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Exported:
    """What became of an export: rows, and how many pictures are original files, thumbnails or not there at all."""

    path: Path
    rows: int
    originals: int = 0
    thumbnails: int = 0
    missing: int = 0

    @property
    def note(self) -> str:
        """A sentence where not every picture is the original file; empty where all is well."""
        said = []
        if self.thumbnails:
            said.append(
                f"{format_pictures(self.thumbnails)} only as the kept thumbnail: the original is not where the run "
                "read it, or has other bytes now"
            )
        if self.missing:
            said.append(f"{format_pictures(self.missing)} left out or without a file: nothing is kept of them")
        return "; ".join(said) + ("." if said else "")


def rows_of(store: Store, run: str, sql: str) -> pa.Table:
    """Every row that a query gives; where it gives pictures of several runs, those of this one.

    Raises:
        QueryError: the query is refused or fails.
        RequestError: it gives more rows than can be written.
    """
    result = queries.run_sql(store, sql, seconds=SECONDS, max_rows=MOST_ROWS)
    if result.truncated:
        raise RequestError(f"the query gives more than {MOST_ROWS:,} rows: narrow it with WHERE or LIMIT")
    return of_run(result.table, run)


def export(
    store: Store,
    run: str,
    sql: str,
    to: Path,
    form: str,
    *,
    overlays: bool = False,
    safe_csv: bool = True,
    overwrite: bool = False,
    tell: Tell = lambda done, total: None,
) -> Exported:
    """Writes what a query gives of a run to a file or folder, which appears only when it is complete.

    Args:
        store: its newest generation is read.
        run: name of the run whose pictures are meant.
        sql: one SELECT; for pictures it must give `image_id`.
        to: the file, or for FiftyOne and Label Studio the folder.
        form: a name of `FORMS`.
        overlays: with the maps laid over the pictures; for the zip.
        safe_csv: no text of a CSV is run as a formula by a spreadsheet.
        overwrite: replace what stands there: a file, or a folder that an export made.
        tell: is told how many pictures are done, of how many.

    Raises:
        RequestError: there is nothing to write, the place is taken or cannot be written.
        QueryError: the query is refused or fails.
        StoreError: the store cannot be read.
    """
    if form not in FORMS:
        raise RequestError(f"--as is one of {', '.join(FORMS)}, got {form}")
    folder = form not in TABLE_FORMS and not FORMS[form].suffix
    if form in STORE_FORMS:
        with place_for(to, folder=folder, overwrite=overwrite) as place:
            return _whole_store(store, place, to, form, tell)
    with place_for(to, folder=folder, overwrite=overwrite) as place:  # before the query: a taken place is said at once
        table = rows_of(store, run, sql)
        if form in TABLE_FORMS:
            if form == "csv":
                write_csv(table, place, safe=safe_csv)
            else:
                write_parquet(table, place)
            return Exported(to, table.num_rows)
        ids = _ids(table, run)
        work = _Work(store, run, sql, ids, form, tell)
        _write(work, place, to.name, overlays=overlays)
        return work.done(to)


def _whole_store(store: Store, place: Path, to: Path, form: str, tell: Tell) -> Exported:
    """Every table of every run."""
    if form == "duckdb":
        return Exported(to, copy_to_duckdb(store, place, tell=tell))
    if form == "ducklake":
        rows = copy_to_ducklake(store, place, stands=to, tell=tell)
    else:
        rows = copy_to_parquet(store, place, tell=tell)
    made = {"made_by": f"whylook {package_version()}", "made": datetime.now(UTC).isoformat(timespec="seconds")}
    (place / MARK).write_text(mark_text({**made, "form": form, "rows": rows}), encoding="utf-8")
    return Exported(to, rows)


def _ids(table: pa.Table, run: str) -> list[str]:
    if "image_id" not in table.column_names:
        raise RequestError("the query gives no image_id, and so no pictures: add image_id to its SELECT")
    runs = table["run"].to_pylist() if "run" in table.column_names else [run] * len(table)
    pairs = zip(table["image_id"].to_pylist(), runs, strict=True)
    ids = list(dict.fromkeys(image_id for image_id, of in pairs if image_id and of == run))
    if not ids:
        raise RequestError(f"the query gives no picture of run {run}: nothing was written")
    return ids


class _Work:
    """The pictures of one export, counted while they are read."""

    def __init__(self, store: Store, run: str, sql: str, ids: list[str], form: str, tell: Tell) -> None:
        con = store.reader()
        self.record = queries.run(con, run)
        self.sql, self.ids, self.form, self.tell = sql, ids, form, tell
        listed = Path(self.record.settings.images)
        self.source = Source(con, run, listed if listed.is_dir() else listed.parent, _tags(store))
        self.counts: dict[Kind, int] = {"original": 0, "thumbnail": 0, "missing": 0}

    @property
    def classes(self) -> list[str]:
        """What the classifier knows, then labels of the slice that it does not know."""
        known = list(self.record.class_names)
        labels = queries.label_names(self.source.con, self.record.name)
        return known + [name for name in labels if name not in set(known)]

    def tables(self) -> Iterator[pa.Table]:
        """Rows of `samples`, a batch at a time."""
        return batches(self.source, self.ids)

    def pictures(self, *, maps: bool = False) -> Pictures:
        """What reads them."""
        return Pictures(self.source, maps=maps, done=self._count)

    def _count(self, kind: Kind) -> None:
        self.counts[kind] += 1
        self.tell(sum(self.counts.values()), len(self.ids))

    def about(self) -> str:
        """What this is an export of."""
        return mark_text(
            {
                "made_by": f"whylook {package_version()}",
                "made": datetime.now(UTC).isoformat(timespec="seconds"),
                "form": self.form,
                "run": self.record.name,
                "sql": self.sql,
                "pictures": len(self.ids),
                **{str(kind): n for kind, n in self.counts.items()},
            }
        )

    def done(self, to: Path) -> Exported:
        """What became of it."""
        counts = self.counts
        return Exported(to, sum(counts.values()), counts["original"], counts["thumbnail"], counts["missing"])


def _tags(store: Store) -> dict[str, list[str]]:
    """The tags that people gave; none where they cannot be read, which the pages say elsewhere."""
    found: dict[str, list[str]] = {}
    try:
        for row in store.tag_rows():
            found.setdefault(row["image_id"], []).append(row["tag"])
    except StoreError:
        return {}
    return found


def _write(work: _Work, place: Path, name: str, *, overlays: bool) -> None:
    """Writes one form; what writes it is loaded only here."""
    if work.form == "zip":
        from core.export.zipped import write_zip

        write_zip(place, work.tables(), work.pictures(maps=overlays), work.about, overlays=overlays)
        return
    if work.form == "huggingface":
        from core.export.hugging_face import write_hugging_face

        write_hugging_face(place, work.tables(), work.pictures(), work.classes)
        return
    if work.form == "fiftyone":
        from core.export.fiftyone import write_fiftyone

        write_fiftyone(place, work.tables(), work.pictures(), work.classes)
    else:
        from core.export.label_studio import write_label_studio

        write_label_studio(place, work.tables(), work.pictures(), work.classes, name=name, run=work.record.name)
    (place / MARK).write_text(work.about(), encoding="utf-8")
