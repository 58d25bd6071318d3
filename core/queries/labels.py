"""Labels, probabilities and what speaks for or against a label, of all pictures of a run, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.queries.reads import metadata_columns
from core.queries.rows import Connection, bytes_of, has_table
from core.queries.runs import run as run_record
from core.store.quoting import identifier

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LabelRows:
    """A run's pictures in the order of `image_ids`, n of them.

    `names` are the classes the classifier knows, in the order of its logits, then labels that it does not know.
    """

    image_ids: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]
    """Every path that holds the picture's bytes."""
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    """Places in `names`, (n,); -1 where there is none."""
    probabilities: Floats
    """(n, classes); a row of NaN where a picture was not classified."""
    features: Floats | None
    """(n, d), a row of NaN where a picture has none; None where the run has none."""
    scores: Floats
    """The judge's score of the prediction, (n,); NaN where there is none."""
    hashes: tuple[bytes | None, ...]
    splits: tuple[str | None, ...] | None
    """The metadata's column `split`; None where there is none."""
    high_score: float
    images: str
    """The folder or list of pictures, as the run names it."""
    left_out: int = 0
    """Pictures of the run that are not here: the probabilities of all would not fit, so these are a uniform sample."""

    @property
    def n(self) -> int:
        """Pictures in the run."""
        return len(self.image_ids)

    @property
    def classes(self) -> int:
        """Classes that the classifier knows."""
        return int(self.probabilities.shape[1])


MOST_PROBABILITIES = 100_000_000
"""Probabilities (pictures times classes) that are held at once: 0.4 GB, several times in what is made of them."""


def label_rows(con: Connection, run: str) -> LabelRows:
    """All that is known of a run's labels, or of those of a uniform sample where there are too many probabilities.

    The sample is the first pictures by image_id, which is a hash of their bytes.

    Raises:
        QueryError: there is no such run.
    """
    record = run_record(con, run)
    split = next((name for name, _ in metadata_columns(con) if name.casefold() == "split"), None)
    hashed = "near_hash" in {str(column[0]) for column in con.execute("SELECT * FROM images LIMIT 0").description or []}
    pictures = int(con.execute("SELECT count(*) FROM samples WHERE run = ?", [run]).fetchall()[0][0])
    most = min(pictures, MOST_PROBABILITIES // max(1, len(record.class_names)))
    last = _last(con, run, most) if most < pictures else "~"  # behind every hexadecimal number
    table = con.execute(
        f"""WITH s AS (FROM samples WHERE run = $run AND image_id <= $last)
        SELECT s.image_id, i.paths, s.path, s.label, s.score, p.probabilities,
            {"i.near_hash" if hashed else "NULL::BLOB"} AS near_hash,
            {f"s.{identifier(split)}::VARCHAR" if split else "NULL::VARCHAR"} AS split
        FROM s JOIN runs r USING (run)
        JOIN images i ON i.fingerprint = r.images_fingerprint AND i.image_id = s.image_id AND i.image_id <= $last
        LEFT JOIN predictions p
            ON p.fingerprint = r.classifier_fingerprint AND p.image_id = s.image_id AND p.image_id <= $last
        ORDER BY s.image_id""",
        {"run": run, "last": last},
    ).to_arrow_table()
    labels = table["label"].combine_chunks().dictionary_encode()
    known = list(record.class_names)
    there = set(known)  # of which two classes may be one: names keep their places
    names = known + [name for name in labels.dictionary.to_pylist() if name not in there]
    place = {name: index for index, name in enumerate(names)}
    coded = np.asarray([*(place[name] for name in labels.dictionary.to_pylist()), -1], dtype=np.int64)
    paths = zip(table["paths"].to_pylist(), table["path"].to_pylist(), strict=True)
    return LabelRows(
        image_ids=tuple(table["image_id"].to_pylist()),
        paths=tuple(tuple(several or [first]) for several, first in paths),
        names=tuple(names),
        labels=coded[np.asarray(labels.indices.fill_null(-1))],
        probabilities=_matrix(table["probabilities"].combine_chunks(), len(known)),
        features=_features(con, run, last),
        scores=np.asarray(table["score"].to_numpy(), dtype=np.float32),
        hashes=tuple(table["near_hash"].to_pylist()),
        splits=tuple(table["split"].to_pylist()) if split else None,
        high_score=record.high_score,
        images=record.settings.images,
        left_out=pictures - most,
    )


def _last(con: Connection, run: str, most: int) -> str:
    """The image_id of the last of the first `most`: as a value, so that nothing of large shards is read behind it."""
    order = "SELECT image_id FROM samples WHERE run = ? ORDER BY image_id LIMIT 1 OFFSET ?"
    return str(con.execute(order, [run, most - 1]).fetchall()[0][0])


def label_names(con: Connection, run: str) -> list[str]:
    """The labels that pictures of a run have, by name."""
    rows = con.execute(
        "SELECT DISTINCT label FROM samples WHERE run = ? AND label IS NOT NULL ORDER BY label", [run]
    ).fetchall()
    return [str(row[0]) for row in rows]


def _matrix(lists: pa.Array, width: int) -> Floats:
    """Lists of one length as rows, (n, width); NaN where there is none, or one of another length."""
    fits = np.asarray(lists.value_lengths().fill_null(-1)) == width
    if width and fits.all():
        return np.asarray(lists.flatten(), dtype=np.float32).reshape(-1, width)
    rows = np.full((len(lists), width), np.nan, dtype=np.float32)
    if width and fits.any():
        rows[fits] = np.asarray(lists.filter(pa.array(fits)).flatten(), dtype=np.float32).reshape(-1, width)
    return rows


def _features(con: Connection, run: str, last: str) -> Floats | None:
    """The pooled sketches of core.queries.features, (n, d), by image id up to `last`; None where there are none."""
    if not has_table(con, "features"):
        return None
    table = con.execute(
        """SELECT f.pooled FROM (FROM samples WHERE run = $run AND image_id <= $last) s JOIN runs r USING (run)
        LEFT JOIN features f
            ON f.fingerprint = r.attribution_fingerprint AND f.image_id = s.image_id AND f.image_id <= $last
        ORDER BY s.image_id""",
        {"run": run, "last": last},
    ).to_arrow_table()
    known = np.asarray(table["pooled"].is_valid())
    if not known.any():
        return None
    found = bytes_of(table["pooled"].drop_null()).view(np.float16)
    rows = np.full((known.size, found.shape[1]), np.nan, dtype=np.float32)
    rows[known] = found
    return rows
