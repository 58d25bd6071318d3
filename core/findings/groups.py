"""Which pictures of a run belong together: near-duplicates, and those with one value of a column that is named."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from core import queries
from core.errors import QueryError
from core.images.near_duplicates import near_groups
from core.queries import Connection, identifier

Groups = NDArray[np.int64]


def groups_of(con: Connection, run: str, n: int, *, group: str | None = None) -> Groups:
    """The group of each of the `n` pictures of a run in the order of `image_id`, shape (n,), counted from 0.

    Raises:
        QueryError: There is no metadata column `group`.
    """
    column = None if group is None else _metadata_column(con, group)
    near = _near(con, run, n)
    return near if column is None else _united(con, run, near, column)


def _near(con: Connection, run: str, n: int) -> Groups:
    """Near-duplicates by picture (n,); every picture by itself where an older store has no hashes."""
    if "near_hash" not in {column[0] for column in con.execute("SELECT * FROM images LIMIT 0").description or []}:
        return np.arange(n)
    rows = con.execute(
        """SELECT i.near_hash FROM samples s JOIN runs r USING (run)
        JOIN images i ON i.fingerprint = r.images_fingerprint AND i.image_id = s.image_id
        WHERE s.run = ? ORDER BY s.image_id""",
        [run],
    ).fetchall()
    return near_groups([row[0] for row in rows]) if len(rows) == n else np.arange(n)


def _metadata_column(con: Connection, name: str) -> str:
    """A column of the user's metadata under the name it has in `samples`."""
    known = [column for column, _ in queries.metadata_columns(con)]
    for wanted in (name, f"meta_{name}"):  # a name that whylook uses itself is stored with meta_ before it
        if wanted in known:
            return wanted
    there = f"there are {', '.join(known)}" if known else "the pictures have no metadata"
    raise QueryError(f"--group names no column of the metadata: {name}; {there}")


def _united(con: Connection, run: str, groups: Groups, column: str) -> Groups:
    """Groups (n,) joined where pictures of two of them have the same value; NULL joins nothing."""
    values = con.execute(
        f"SELECT {identifier(column)} AS value FROM samples WHERE run = ? ORDER BY image_id", [run]
    ).to_arrow_table()["value"]
    codes = np.asarray(pc.fill_null(values.combine_chunks().dictionary_encode().indices, -1).to_numpy())
    known, size = codes >= 0, int(groups.max(initial=-1)) + 1
    nodes = size + int(codes.max(initial=-1)) + 1
    edges = coo_array((np.ones(int(known.sum()), np.int8), (groups[known], size + codes[known])), shape=(nodes, nodes))
    return np.asarray(connected_components(edges, directed=False)[1][groups], dtype=np.int64)
