"""Caching wrappers: pages read a store through this file, or through its `store()` within a cache of their own.

Knows: Store, queries and Streamlit's caches. Does not know: how anything is drawn. Everything is keyed by the store's
generation, so that a page shows a new generation as soon as it is published and never a mixture.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from core import queries
from core.errors import QueryError, WhylookError
from core.store import Store
from pages._words import file_name

if TYPE_CHECKING:
    from core.embedding import Embedder
    from core.findings import Finding
    from core.findings.looks import Members

P = ParamSpec("P")
T = TypeVar("T")

# The embedder, findings and reports are imported where they are used: the first picture does not wait for them.


def store_folder() -> Path:
    """The folder of the store: WHYLOOK_STORE, or `whylook-store` in the working directory."""
    return Path(os.environ.get("WHYLOOK_STORE") or "whylook-store")


@st.cache_resource(show_spinner=False)
def _store(folder: str) -> Store:
    found = Store(Path(folder))
    if read_only():
        found.freeze()
    return found


def read_only() -> bool:
    """Whether this app only shows: nothing can be started or kept from it."""
    return os.environ.get("WHYLOOK_READ_ONLY") == "1"


def store() -> Store:
    """The store, one object per process so that its connections are shared."""
    return _store(str(store_folder()))


@st.cache_data(max_entries=512, show_spinner=False)
def _read(
    folder: str,
    generation: int,
    name: str,
    arguments: tuple[object, ...],
    options: dict[str, object],
    _query: Callable[..., object],
) -> object:
    return _query(store().reader(), *arguments, **options)


def read(query: Callable[Concatenate[queries.Connection, P], T], *arguments: P.args, **options: P.kwargs) -> T:
    """A read of core.queries on the newest generation, cached; the connection is put before the arguments."""
    name = f"{query.__module__}.{query.__qualname__}"  # Streamlit keeps what a name gave, and does not hash `_query`
    return cast(T, _read(str(store_folder()), store().generation(), name, arguments, options, _query=query))


@st.cache_data(max_entries=128, show_spinner=False)
def _read_of(
    folder: str,
    generation: int,
    name: str,
    run: str,
    mark: int,
    options: dict[str, object],
    _query: Callable[..., object],
    _ids: tuple[str, ...],
) -> object:
    return _query(store().reader(), run, ids=list(_ids), **options)


def read_of(query: Callable[..., T], run: str, ids: tuple[str, ...], **options: object) -> T:
    """A read about some pictures of a run, cached by a quick hash of their ids: there may be a hundred thousand."""
    name = f"{query.__module__}.{query.__qualname__}"
    key = (str(store_folder()), store().generation(), name, run, hash(ids), options)
    return cast(T, _read_of(*key, _query=query, _ids=ids))


@st.cache_data(max_entries=64, show_spinner=False)
def _sql(folder: str, generation: int, tags: int, text: str, max_rows: int) -> queries.SqlResult:
    return queries.run_sql(store(), text, max_rows=max_rows)


def sql(text: str, *, max_rows: int = queries.MOST_ROWS) -> queries.SqlResult:
    """A user's SQL behind the gate, cached. Raises QueryError in words."""
    return _sql(str(store_folder()), store().generation(), _tags_mark(), text, max_rows)


def _tags_mark() -> int:
    """Another number whenever people's tags are others."""
    return hash(tuple((row["image_id"], row["tag"]) for row in store().tag_rows()))


def run_file(run: str, *parts: str, suffix: str) -> str:
    """A download's name: what people call the run, then what is in it."""
    title = file_name((read(queries.run_title, run),), "").removeprefix("whylook").strip("-")
    return file_name((title[:40] or run, *parts), suffix)


def tags_by_picture() -> dict[str, list[str]]:
    """The tags of every picture that has some, with what was said of its label."""
    found: dict[str, list[str]] = {}
    for row in store().tag_rows():
        found.setdefault(row["image_id"], []).append(row["tag"])
    return found


MOST_PICTURES = 5_000_000
"""Of a slice; what a query may give back allows for two million."""


def slice_ids(text: str, run: str) -> tuple[str, ...]:
    """Image ids a user's SELECT gives for one run, in its order, once each, however many rows the table view shows."""
    return _slice_ids(str(store_folder()), store().generation(), _tags_mark(), text, run)


@st.cache_resource(max_entries=16, show_spinner=False)  # a tuple needs no copy, and a large one is slow to copy
def _slice_ids(folder: str, generation: int, tags: int, text: str, run: str) -> tuple[str, ...]:
    result = sql(text)
    if result.truncated and "image_id" in result.columns:
        of_run = f" WHERE run = {queries.literal(run)}" if "run" in result.columns else ""
        # The line break ends a trailing comment.
        whole = f"SELECT image_id FROM (\n{text.rstrip().rstrip(';')}\n){of_run}"
        result = queries.run_sql(store(), whole, max_rows=MOST_PICTURES)  # not cached: its ids are
        if result.truncated:
            raise QueryError("These are more pictures than can be shown at once; narrow the query with WHERE or LIMIT")
    return ids_of(result, run)


def ids_of(result: queries.SqlResult, run: str) -> tuple[str, ...]:
    """Image ids in a result, in order, once each; rows of other runs are left out."""
    if "image_id" not in result.columns:
        return ()
    ids = result.table.column("image_id")
    if "run" in result.columns:
        runs = result.table.column("run")
        if not pa.types.is_string(runs.type):  # a person's own column may hold lists
            runs = pa.chunked_array([pa.array([name if name == run else "" for name in runs.to_pylist()], pa.string())])
        ids = ids.filter(pc.equal(runs, run))
    return tuple(dict.fromkeys(str(image) for image in ids.to_pylist() if image))


@st.cache_data(max_entries=16, show_spinner=False)
def _findings(folder: str, generation: int, run: str) -> list[Finding]:
    from core.findings import summarise

    return summarise(store().reader(), run)


def findings(run: str) -> list[Finding]:
    """Ranked findings of a run."""
    return _findings(str(store_folder()), store().generation(), run)


@st.cache_resource(max_entries=4, show_spinner="Looking which pictures belong together …")
def _members(folder: str, generation: int, run: str) -> Members:
    from core.findings.looks import members

    con = store().reader()
    return members(con, run, group=queries.run(con, run).settings.group)


def members(run: str) -> Members:
    """The pictures of a run of which it is known whether they are right, with their groups."""
    return _members(str(store_folder()), store().generation(), run)


@st.cache_resource(max_entries=1, show_spinner=False)
def _label_rows(folder: str, generation: int, run: str) -> queries.LabelRows:
    return queries.label_rows(store().reader(), run)


def label_rows(run: str) -> queries.LabelRows:
    """Labels, probabilities and features of a run; one copy for all, since they may be large: change nothing in it."""
    return _label_rows(str(store_folder()), store().generation(), run)


@st.cache_data(max_entries=16, show_spinner=False)
def _of_labels(
    folder: str, generation: int, run: str, name: str, _ask: Callable[[queries.LabelRows], object]
) -> object:
    return _ask(label_rows(run))


def of_labels(run: str, ask: Callable[[queries.LabelRows], T]) -> T:
    """What a function of core.labels says of a run's labels, cached."""
    return cast(T, _of_labels(str(store_folder()), store().generation(), run, ask.__qualname__, _ask=ask))


@st.cache_resource(max_entries=4, show_spinner=False)
def _coded(folder: str, generation: int, run: str) -> queries.CodedRun:
    return queries.coded_run(store().reader(), run)


def coded_run(run: str) -> queries.CodedRun:
    """The columns of a run as numbers that can be counted; one copy for all: change nothing in it."""
    return _coded(str(store_folder()), store().generation(), run)


@st.cache_resource(max_entries=2, show_spinner=False)
def _seen(folder: str, generation: int, run: str) -> queries.Seen | None:
    return queries.seen(store().reader(), run)


def seen(run: str) -> queries.Seen | None:
    """What the model saw of a run's pictures, to be compared; one copy for all: change nothing in it."""
    return _seen(str(store_folder()), store().generation(), run)


@st.cache_data(max_entries=8, show_spinner=False)
def _report(folder: str, generation: int, run: str, kind: str) -> str:
    from core import report as core_report

    writer = core_report.markdown if kind == "md" else core_report.html
    return writer(store().reader(), run, findings(run))


def report(run: str, kind: str) -> str:
    """The findings as a document: `md` or `html`."""
    return _report(str(store_folder()), store().generation(), run, kind)


@st.cache_resource(show_spinner=False)
def _embedder() -> Embedder:
    from core.embedding import load_embedder

    return load_embedder()


_tried = Event()
_warming = Event()


def meaning_tried() -> bool:
    """Whether the language model was loaded, or failed to: from then on a search by meaning does not wait."""
    return _tried.is_set()


def load_meaning() -> None:
    """Loads the language model, seconds when it is the first time."""
    text_vector("warm")
    # Streamlit collects garbage after every run of a page, half a second each once a language model is imported.
    gc.freeze()
    atexit.register(gc.unfreeze)
    _tried.set()


def warm_up() -> None:
    """Loads the language model beside the page, once, so that the first question need not wait for it."""
    if not _warming.is_set():
        _warming.set()
        Thread(target=load_meaning, daemon=True).start()


@st.cache_data(max_entries=256, show_spinner=False)
def _vector(text: str) -> np.ndarray:
    return np.asarray(_embedder().embed([text])[0], dtype=np.float32)


def text_vector(text: str) -> tuple[np.ndarray | None, str | None]:
    """Embedding of a search text, or None with the reason (search by words goes on without it)."""
    try:
        return _vector(text), None
    except (WhylookError, ImportError, OSError) as problem:
        return None, str(problem)


def matches(
    run: str, text: str, *, within: Sequence[str] | None, limit: int
) -> tuple[queries.SearchResult, str | None]:
    """Explanations that match a text by words and by meaning; the second value says why meaning was left out."""
    vector, problem = text_vector(queries.plain_words(text))
    ids = list(within) if within is not None else None
    return read(queries.search, run, text, vector, where_ids=ids, limit=limit), problem
