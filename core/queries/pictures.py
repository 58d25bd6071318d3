"""Reads that end at pictures: rows of samples, one picture with everything, thumbnails, maps, neighbours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.columns import BY_NAME
from core.errors import QueryError
from core.placing import Part, placed
from core.queries.reads import columns
from core.queries.rows import Connection, fetch_rows, has_column, narrowed
from core.queries.vectors import VectorTable, vector_table
from core.records import Row, Sample
from core.store.quoting import identifier

_TOP = 5
_AT_ONCE = 200
_NEAREST = 256
_MAPS_AT_ONCE = 8_192


def pictures(
    con: Connection,
    run: str,
    *,
    cell: str | None = None,
    label: str | None = None,
    prediction: str | None = None,
    correct: bool | None = None,
    ids: Sequence[str] | None = None,
    order: str = "confidence",
    descending: bool = True,
    limit: int = 60,
    offset: int = 0,
) -> list[Row]:
    """Rows of samples that fit every condition given, in a stable order so that pages do not overlap.

    Raises:
        QueryError: `order` is no column of samples.
    """
    ordering = _ordering(con, order, descending)
    where, parameters = narrowed(ids)
    for name, value in (("cell", cell), ("label", label), ("prediction", prediction), ("correct", correct)):
        if value is not None:
            where += f" AND {name} = ?"
            parameters.append(value)
    return fetch_rows(
        con,
        f"SELECT * FROM samples WHERE run = ?{where} ORDER BY {ordering} LIMIT ? OFFSET ?",
        [run, *parameters, limit, offset],
    )


def with_name(con: Connection, run: str, part: str, *, limit: int) -> list[Row]:
    """Rows of samples whose path holds a text, whatever the case."""
    return fetch_rows(
        con,
        "SELECT * FROM samples WHERE run = ? AND contains(lower(path), lower(?)) ORDER BY path, image_id LIMIT ?",
        [run, part, limit],
    )


def in_order(con: Connection, run: str, ids: Sequence[str], column: str, *, descending: bool) -> list[str]:
    """Image ids of some pictures of a run by a column, in the same order as `pictures` gives their rows.

    Raises:
        QueryError: `column` is no column of samples.
    """
    where, parameters = narrowed(ids)
    rows = fetch_rows(
        con,
        f"SELECT image_id FROM samples WHERE run = ?{where} ORDER BY {_ordering(con, column, descending)}",
        [run, *parameters],
    )
    return [row["image_id"] for row in rows]


def sample_rows(con: Connection, run: str, ids: Sequence[str]) -> pa.Table:
    """Rows of samples of some pictures of a run with their types, in the order of `ids`; unknown ones are left out."""
    table = con.execute(
        "SELECT * FROM samples WHERE run = ? AND list_contains(?::VARCHAR[], image_id)", [run, list(ids)]
    ).to_arrow_table()
    place = {image_id: at for at, image_id in enumerate(table["image_id"].to_pylist())}
    return table.take(pa.array([place[image_id] for image_id in ids if image_id in place], pa.int64()))


def paths_of(con: Connection, run: str, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Every path that holds a picture's bytes, relative to the run's folder, by image id."""
    rows = con.execute(
        """SELECT i.image_id, coalesce(i.paths, [i.path]) FROM images i JOIN runs r
        ON i.fingerprint = r.images_fingerprint WHERE r.run = ? AND list_contains(?::VARCHAR[], i.image_id)""",
        [run, list(ids)],
    ).fetchall()
    return {str(row[0]): tuple(str(path) for path in row[1] if path) for row in rows}


def _ordering(con: Connection, column: str, descending: bool) -> str:
    if column not in {name for name, _ in columns(con)}:
        raise QueryError(f"samples has no column {column} to sort by")
    return f"{identifier(column)} {'DESC' if descending else 'ASC'} NULLS LAST, path, image_id"


def sample(con: Connection, run: str, image_id: str) -> Sample:
    """Everything about one picture: its row of samples, bytes, map, probabilities, the judge's reasons, metadata.

    Raises:
        QueryError: the run has no such picture.
    """
    rows = fetch_rows(con, "SELECT * FROM samples WHERE run = ? AND image_id = ?", [run, image_id])
    if not rows:
        raise QueryError(f"run {run} has no picture {image_id}")
    beside = fetch_rows(
        con,
        f"""SELECT i.paths, i.width, i.height, i.thumbnail, i.metadata, p.probabilities,
               a.map, a.map_height, a.map_width, {_seen(con)} AS seen,
               a.state AS attribution_state, a.reason AS attribution_reason, j.reason AS judge_reason,
               j.distribution::FLOAT[] AS distribution, r.class_names
        FROM samples s JOIN runs r USING (run)
        JOIN images i ON i.fingerprint = r.images_fingerprint AND i.image_id = s.image_id
        LEFT JOIN predictions p ON p.fingerprint = r.classifier_fingerprint AND p.image_id = s.image_id
        LEFT JOIN attributions a ON a.fingerprint = r.attribution_fingerprint AND a.image_id = s.image_id
        LEFT JOIN judgements j ON j.fingerprint = r.judge_fingerprint AND j.image_id = s.image_id
            AND s.judge_state IS NOT NULL
        WHERE s.run = ? AND s.image_id = ?""",
        [run, image_id],
    )
    row, found = rows[0], beside[0]
    known: Row = {name: row.get(name) for name in BY_NAME}  # an older generation lacks some
    names, values, shares = found["class_names"] or [], found["probabilities"], found["distribution"]
    return Sample(
        **known,
        columns={name: value for name, value in row.items() if name not in BY_NAME},
        metadata=json.loads(found["metadata"] or "{}"),
        paths=tuple(found["paths"] or [row["path"]]),
        width=found["width"],
        height=found["height"],
        thumbnail=found["thumbnail"],
        probabilities=None if values is None else np.asarray(values, dtype=np.float32),
        top=_top(names, values or []),
        map=_placed(found["map"], found["map_height"], found["map_width"], found["seen"]),
        attribution_state=found["attribution_state"],
        attribution_reason=found["attribution_reason"],
        judge_reason=found["judge_reason"],
        distribution=None if shares is None else tuple(shares),
    )


def _top(names: Sequence[str], values: Sequence[float]) -> tuple[tuple[str, float], ...]:
    best = sorted(range(len(values)), key=lambda index: -values[index])[:_TOP]
    return tuple((names[index] if index < len(names) else f"class {index}", float(values[index])) for index in best)


def _map(values: Sequence[float] | None, height: int | None, width: int | None) -> NDArray[np.float32] | None:
    if values is None or not height or not width:
        return None
    return np.asarray(values, dtype=np.float32).reshape(height, width)  # (h, w)


def _placed(
    values: Sequence[float] | None, height: int | None, width: int | None, seen: Sequence[float] | None
) -> NDArray[np.float32] | None:
    """The map of the whole picture, of which the classifier was shown the part `seen`."""
    heat = _map(values, height, width)
    return heat if heat is None else placed(heat, _part(seen))


def _part(seen: Sequence[float] | None) -> Part | None:
    return (seen[0], seen[1], seen[2], seen[3]) if seen else None


def _seen(con: Connection) -> str:
    """The column that says which part was shown; generations of an older whylook lack it."""
    return "a.seen" if has_column(con, "attributions", "seen") else "NULL"


def seen_parts(con: Connection, run: str, ids: Sequence[str]) -> dict[str, Part]:
    """The part of each picture that the classifier was shown, for those of which it is not the whole."""
    rows = con.execute(
        f"""SELECT a.image_id, {_seen(con)} AS part FROM attributions a
        JOIN runs r ON r.attribution_fingerprint = a.fingerprint
        WHERE r.run = ? AND part IS NOT NULL AND a.image_id IN (SELECT unnest(?::VARCHAR[]))""",
        [run, list(ids)],
    ).fetchall()
    return {str(row[0]): part for row in rows if (part := _part(row[1])) is not None}


def thumbnails(con: Connection, ids: Sequence[str]) -> dict[str, bytes]:
    """WebP bytes by image_id; the same bytes are the same picture in every run."""
    found: dict[str, bytes] = {}
    for start in range(0, len(ids), _AT_ONCE):
        # list_contains reads no thumbnail but those asked for; IN (SELECT ...) reads them all first
        rows = con.execute(
            """SELECT image_id, any_value(thumbnail) FROM images WHERE list_contains(?::VARCHAR[], image_id)
            AND thumbnail IS NOT NULL GROUP BY image_id""",
            [list(ids[start : start + _AT_ONCE])],
        ).fetchall()
        found.update((str(row[0]), bytes(row[1])) for row in rows)
    return found


def maps(con: Connection, run: str, ids: Sequence[str], *, of_input: bool = False) -> dict[str, NDArray[np.float32]]:
    """Maps (h, w) of whole pictures by image_id, where there is one; `of_input`: of what the classifier was shown."""
    rows = con.execute(
        f"""SELECT a.image_id, a.map, a.map_height, a.map_width, {_seen(con)} FROM attributions a
        JOIN runs r ON r.attribution_fingerprint = a.fingerprint
        WHERE r.run = ? AND a.map IS NOT NULL AND {_among(ids)}""",
        [run, list(ids)],
    ).fetchall()
    found = {str(row[0]): _placed(row[1], row[2], row[3], None if of_input else row[4]) for row in rows}
    return {image_id: heat for image_id, heat in found.items() if heat is not None}


def _among(ids: Sequence[str]) -> str:
    """SQL for being one of a parameter's ids: of a few, nothing else is read; a join would read every map first."""
    return (
        "list_contains(?::VARCHAR[], a.image_id)"
        if len(ids) <= _AT_ONCE
        else "a.image_id IN (SELECT unnest(?::VARCHAR[]))"
    )


@dataclass(frozen=True)
class MeanMaps:
    """The mean of all maps of a run and of each label's, (h, w) of the commonest size among them."""

    whole: NDArray[np.float32] | None
    by_label: Mapping[str, NDArray[np.float32]]


def mean_maps(con: Connection, run: str) -> MeanMaps:
    """The mean maps of a run, all in one pass over its maps."""
    labels = con.execute("SELECT DISTINCT label FROM samples WHERE run = ? AND label IS NOT NULL", [run]).fetchall()
    names = pa.array(sorted(str(row[0]) for row in labels), pa.string())
    reader = con.execute(
        """SELECT s.label, a.map_height, a.map_width, a.map FROM samples s JOIN runs r USING (run)
        JOIN attributions a ON a.fingerprint = r.attribution_fingerprint AND a.image_id = s.image_id
        WHERE s.run = ? AND a.state = 'ok' AND a.map IS NOT NULL""",
        [run],
    ).to_arrow_reader(_MAPS_AT_ONCE)
    sums: dict[int, Sizes] = {}
    whole: Sizes = {}
    for batch in reader:
        places = np.asarray(pc.index_in(batch.column(0), names).fill_null(len(names)))  # the last: without a label
        heights, widths = (np.asarray(batch.column(at)) for at in (1, 2))
        for height, width in {*zip(heights.tolist(), widths.tolist(), strict=True)}:
            rows = np.flatnonzero((heights == height) & (widths == width))
            rows = rows[np.argsort(places[rows], kind="stable")]
            maps_ = np.asarray(batch.column(3).take(pa.array(rows)).flatten()).reshape(-1, height * width)
            here, starts, counts = np.unique(places[rows], return_index=True, return_counts=True)
            totals = np.add.reduceat(maps_, starts, axis=0, dtype=np.float64)
            for place, n, total in zip(here.tolist(), counts.tolist(), totals, strict=True):
                _add(sums.setdefault(place, {}), (height, width), n, total)
            _add(whole, (height, width), len(rows), totals.sum(axis=0))
    by_label = {str(names[place]): _mean(sizes) for place, sizes in sorted(sums.items()) if place < len(names)}
    return MeanMaps(_mean(whole) if whole else None, by_label)


Sizes = dict[tuple[int, int], tuple[int, NDArray[np.float64]]]
"""By the size of maps: how many there are, and their sum (h * w,)."""


def _add(sizes: Sizes, size: tuple[int, int], n: int, total: NDArray[np.float64]) -> None:
    before, known = sizes.get(size, (0, 0.0))
    sizes[size] = before + n, known + total


def _mean(sizes: Sizes) -> NDArray[np.float32]:
    """The mean (h, w) of the commonest size."""
    size, (n, total) = min(sizes.items(), key=lambda item: (-item[1][0], item[0]))
    return (total / n).astype(np.float32).reshape(size)


def neighbours(con: Connection, run: str, image_id: str, k: int = 4, *, correct: bool | None = None) -> list[Row]:
    """The k pictures whose explanations mean most nearly the same (cosine): rows of samples and `similarity`."""
    prints = con.execute("SELECT embedding_fingerprint FROM runs WHERE run = ?", [run]).fetchall()
    if prints and prints[0][0] and (table := vector_table(con, prints[0][0])):
        return _neighbours_of(con, run, table, image_id, k, correct)
    return fetch_rows(
        con,
        """WITH r AS (SELECT run, embedding_fingerprint AS fingerprint FROM runs WHERE run = $run),
        mine AS (SELECT e.vector FROM embeddings e JOIN r USING (fingerprint) WHERE e.image_id = $image_id),
        close AS (
            SELECT e.image_id, array_inner_product(e.vector, mine.vector) AS similarity
            FROM embeddings e JOIN r USING (fingerprint), mine WHERE e.image_id <> $image_id
        )
        SELECT s.*, close.similarity FROM close JOIN samples s ON s.run = $run AND s.image_id = close.image_id
        WHERE s.judge_state IS NOT NULL AND ($correct IS NULL OR s.correct = $correct)
        ORDER BY close.similarity DESC, s.path LIMIT $k""",
        {"run": run, "image_id": image_id, "correct": correct, "k": k},
    )


def _neighbours_of(
    con: Connection, run: str, table: VectorTable, image_id: str, k: int, correct: bool | None
) -> list[Row]:
    """The same among vectors in memory."""
    vector = table.vector(image_id)
    rows: list[Row] = []
    for most in (_NEAREST, 16 * _NEAREST):
        if vector is None:
            break
        close = {name: value for name, value in table.nearest(vector, most) if name != image_id}
        rows = fetch_rows(
            con,
            """SELECT * FROM samples WHERE run = $run AND judge_state IS NOT NULL
            AND ($correct IS NULL OR correct = $correct) AND image_id IN (SELECT unnest($ids::VARCHAR[]))""",
            {"run": run, "correct": correct, "ids": list(close)},
        )
        rows = sorted(({**row, "similarity": close[row["image_id"]]} for row in rows),
                      key=lambda row: (-row["similarity"], row["path"]))[:k]  # fmt: skip
        if len(rows) == k:
            break
    return rows
