"""whylook from Python: run it, and read a store, in a notebook or a script.

Knows: what is offered there and how options and errors look. Does not know: how anything is computed (`core`). Two
imports stand in functions: torch and the language model take seconds, which reading a store need not wait for.

    import whylook

    whylook.run("pictures", "my_model.py:load", no_vlm=True)
    samples = whylook.open("whylook-store").samples().df()
"""

from __future__ import annotations

import difflib
import io
import os
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm

from core import images as core_images
from core import queries
from core import store as core_store
from core.errors import ImageError, QueryError, RequestError, WhylookError
from core.findings import Finding, summarise
from core.images.masking import masked_image, overlay
from core.pipeline.options import Option, options_of
from core.pipeline.request import Progress, RunOutcome, RunRequest
from core.queries import Hit
from core.records import Sample

if TYPE_CHECKING:
    from core.embedding import Embedder

__all__ = ["Finding", "Hit", "Picture", "RunOutcome", "Store", "WhylookError", "open", "run"]

LONGEST_SIDE = 768
"""Pixels of a picture's longer side, at most."""
MOST_ROWS = 1_000_000
_NO_DETAILS = ("map", "thumbnail", "columns")
"""Fields of a sample that a Picture has in another form: as a picture, or each column by its own name."""


def run(
    images: str | Path,
    classifier: str,
    *,
    store: str | Path = "whylook-store",
    progress: bool = True,
    **options: Any,
) -> RunOutcome:
    """Explain a classifier over a folder of images, into a store.

    The same call again resumes a run that was interrupted, and computes nothing twice.

    Args:
        images: a folder of class folders, or a CSV or Parquet list with a column `path`.
        classifier: a SPEC such as `my_model.py:load` or `torchvision:resnet50`; `whylook models` lists the forms.
        store: the folder of the store, made where it is missing.
        progress: whether to show a progress bar.
        options: those of `whylook run` with `_` for `-`: `vlm`, `mmproj`, `no_vlm`, `method`, `device`, …

    Returns:
        The run's name, state, counts and failures.

    Raises:
        WhylookError: The request is wrong, or the run could not go on; what was done is kept.
    """
    known = {item.name: item for item in options_of(RunRequest)}
    given = {"images": images, "classifier": classifier, "store": store, **options}
    request = RunRequest(**{name: _value(known, name, value) for name, value in given.items()})
    from core.pipeline.run import run as run_pipeline

    with closing(_Bar()) as bar:
        return run_pipeline(request, progress=bar if progress else lambda news: None, stop=lambda: False)


def open(folder: str | Path = "whylook-store") -> Store:  # noqa: A001  whylook.open reads as it should
    """The store in a folder, to be read.

    Raises:
        WhylookError: There is none, nothing has been published in it, or a newer whylook wrote it.
    """
    return Store(Path(folder))


@dataclass(frozen=True)
class Picture:
    """One picture of a run: as it is, with its map laid over it, and as the judge saw it.

    `map` has shape (h, w) and values in [0, 1]. Without a map `overlay`, `masked` and `map` are None. `details` holds
    everything else that is known of it, by column.
    """

    image_id: str
    path: str
    label: str | None
    prediction: str | None
    score: float | None
    description: str | None
    justification: str | None
    picture: Image.Image
    overlay: Image.Image | None
    masked: Image.Image | None
    map: NDArray[np.float32] | None
    details: dict[str, Any]


class Store:
    """A published store. Where a `run` may be named, None means the newest; a store that grows is read as it is now."""

    def __init__(self, folder: Path) -> None:
        """The store in `folder`; a WhylookError where nothing has been published."""
        self.folder = folder
        self._store = core_store.Store(folder)
        self._store.current_path()

    def __repr__(self) -> str:
        """As it was opened."""
        return f"whylook.open({str(self.folder)!r})"

    def sql(self, query: str, *, max_rows: int = MOST_ROWS) -> duckdb.DuckDBPyRelation:
        """The rows of one SELECT, under the rules of `whylook sql`: the store's tables, a few seconds, no files.

        Raises:
            WhylookError: The query is refused, fails, takes too long or gives more than `max_rows` rows.
        """
        result = queries.run_sql(self._store, query, max_rows=max_rows)
        if result.truncated:
            raise QueryError(f"the query gives more than {max_rows:,} rows: narrow it, or raise max_rows")
        return duckdb.from_arrow(result.table)

    def runs(self) -> duckdb.DuckDBPyRelation:
        """The runs, newest first: a row per run with its state, settings and counts."""
        return self._rows("SELECT * FROM runs ORDER BY started DESC, run")

    def samples(self, run: str | None = None) -> duckdb.DuckDBPyRelation:
        """A row per picture of a run: label, prediction, confidence, score, attention statistics and your metadata."""
        return self._rows("SELECT * FROM samples WHERE run = ? ORDER BY path, image_id", self._run(run))

    def findings(self, run: str | None = None, *, group: str | None = None) -> list[Finding]:
        """What to tell the team, most important first; each with its number, interval, n and SQL.

        Pictures with the same value of the metadata column `group` belong together (default: the run's column).
        """
        return summarise(self._store.reader(), self._run(run), group=group)

    def search(self, text: str, run: str | None = None, *, limit: int = 20) -> list[Hit]:
        """Explanations that hold the words or mean the same, best first; none where the run had no judge."""
        con, name = self._store.reader(), self._run(run)
        embedded = "embedding" in queries.run(con, name).fingerprints
        vector = _embedder().embed([queries.plain_words(text)])[0] if embedded else None
        return queries.search(con, name, text, vector, limit=limit).hits

    def picture(self, image_id: str, run: str | None = None) -> Picture:
        """One picture with its map, from its file, or from the store's thumbnail where the file is not what it was.

        Raises:
            WhylookError: The run has no such picture, or it could never be read.
        """
        con, name = self._store.reader(), self._run(run)
        sample, settings = queries.sample(con, name, image_id), queries.run(con, name).settings
        picture = _file_picture(sample, settings.images) or _thumbnail(sample)
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        pixels, heat = np.asarray(picture), sample.map
        masked = None if heat is None else masked_image(pixels, heat, fill=settings.fill)
        everything = {**sample.columns, **vars(sample)}
        shown = ("image_id", "path", "label", "prediction", "score", "description", "justification")
        return Picture(
            **{column: everything[column] for column in shown},
            picture=picture,
            overlay=None if heat is None else Image.fromarray(overlay(pixels, heat)),
            masked=None if masked is None else Image.fromarray(masked),
            map=heat,
            details={column: value for column, value in everything.items() if column not in (*shown, *_NO_DETAILS)},
        )

    def _run(self, name: str | None) -> str:
        """The run called `name`, or the newest."""
        return queries.run(self._store.reader(), name).name

    def _rows(self, query: str, *parameters: object) -> duckdb.DuckDBPyRelation:
        return self._store.reader().sql(query, params=list(parameters))


# ---- inside ----


def _value(known: dict[str, Option], name: str, value: Any) -> Any:
    """An option's value as RunRequest takes it; a RequestError where it cannot be meant."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise RequestError(f"whylook.run has no option {name}" + (f"; the nearest is {near[0]}" if near else ""))
    kind = known[name].kind
    if value is None and not known[name].required:
        return known[name].default
    kinds: dict[str, tuple[type, ...]] = {
        "path": (str, os.PathLike), "text": (str,), "number": (int,), "switch": (bool,),
    }  # fmt: skip
    if not isinstance(value, kinds[kind]) or (kind == "number" and isinstance(value, bool)):
        raise RequestError(f"{name} must be a {kind}, got {value!r}")
    chosen: Any = value
    return Path(chosen) if kind == "path" else chosen


class _Bar:
    """A progress bar for each stage, in a terminal or a notebook."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._stage = ""

    def __call__(self, news: Progress) -> None:
        """Show one report."""
        if news.stage != self._stage:
            self.close()
            self._stage = news.stage
            form = None if news.total else "{desc} …"
            self._bar = tqdm(
                desc=news.stage, total=news.total or None, initial=news.done, unit=" images", bar_format=form,
                leave=bool(news.total),
            )  # fmt: skip
        if news.total:
            self._bar.n = news.done
            self._bar.set_postfix_str(f"slowest: {news.limit}" if news.limit and news.done else "", refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        """End the bar that is open."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@cache
def _embedder() -> Embedder:
    from core.embedding import load_embedder

    return load_embedder()


def _file_picture(sample: Sample, source: str) -> Image.Image | None:
    """The file itself, where it still has the very bytes that were explained."""
    folder = Path(source) if Path(source).is_dir() else Path(source).parent  # a list lies beside its pictures
    for name in sample.paths:
        try:
            with core_images.opened(folder / name, image_id=sample.image_id) as found:
                return found.picture
        except ImageError:
            continue
    return None


def _thumbnail(sample: Sample) -> Image.Image:
    if not sample.thumbnail:
        raise QueryError(f"{sample.path} could not be read, so there is no picture of it")
    with Image.open(io.BytesIO(sample.thumbnail)) as image:
        return image.convert("RGB")
