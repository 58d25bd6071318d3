"""Groups of a slice by columns that are no facet: texts of many values, and tags, several to a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from core.queries.facets import GroupCount
from core.queries.reads import columns
from core.queries.rows import Connection, narrowed
from core.store.quoting import identifier

NO_GROUPS = ("run", "image_id", "path", "tags")
"""Of these the first is the same everywhere, two are another for every picture, and tags are counted by themselves."""
UNKNOWN = "not known"
UNTAGGED = "no tag"


def text_columns(con: Connection, run: str, counted: Sequence[str]) -> list[str]:
    """The columns of a run that differ between pictures and are not `counted`, such as what the judge said."""
    names = [name for name, _ in columns(con) if name not in counted and name not in NO_GROUPS]
    if not names:
        return []
    differ = ", ".join(f"count(DISTINCT {identifier(name)}) > 1" for name in names)
    found = con.execute(f"SELECT {differ} FROM samples WHERE run = ?", [run]).fetchall()[0]
    return [name for name, differs in zip(names, found, strict=True) if differs]


def text_groups(con: Connection, run: str, column: str, *, ids: Sequence[str], most: int) -> list[GroupCount]:
    """A slice grouped by the values of a column, the `most` largest groups, largest first; not known comes last."""
    inside, parameters = narrowed(ids)
    rows = con.execute(
        f"""SELECT {identifier(column)}::VARCHAR AS value, count(*), count(*) FILTER (inside) AS n,
            count(correct) FILTER (inside), count(*) FILTER (inside AND correct)
        FROM (SELECT *, (true{inside}) AS inside FROM samples WHERE run = ?)
        GROUP BY value HAVING n > 0 ORDER BY value IS NULL, n DESC, value LIMIT ?""",
        [*parameters, run, most],
    ).fetchall()
    return [GroupCount(UNKNOWN if value is None else str(value), *counts) for value, *counts in rows]


def tag_groups(
    con: Connection, run: str, tags: Mapping[str, Iterable[str]], *, ids: Sequence[str], most: int
) -> list[GroupCount]:
    """A slice grouped by its tags as they are now; a picture counts for each that it has. Those without come last."""
    rows = con.execute("SELECT image_id, correct FROM samples WHERE run = ?", [run]).fetchall()
    chosen = set(ids)
    whole, inside, labelled, right = (Counter[str]() for _ in range(4))
    for image_id, correct in rows:
        for tag in set(tags.get(image_id, ())) or {UNTAGGED}:
            here = image_id in chosen
            whole[tag] += 1
            inside[tag] += here
            labelled[tag] += here and correct is not None
            right[tag] += here and bool(correct)
    names = sorted(inside, key=lambda tag: (tag == UNTAGGED, -inside[tag], tag))
    found = [GroupCount(tag, whole[tag], inside[tag], labelled[tag], right[tag]) for tag in names if inside[tag]]
    return found[:most]
