"""Search over explanations: by words (BM25) and by meaning (cosine), fused by rank."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.errors import QueryError
from core.queries.rows import Connection, fetch_rows, has_table, narrowed
from core.queries.search_terms import Asked, asked
from core.queries.vectors import VectorTable, vector_table
from core.records import Row

_RANK_CONSTANT = 60
"""Of reciprocal rank fusion: a hit's relevance is the sum over both lists of 1 / (60 + rank) (Cormack et al. 2009)."""
_DEPTH = 2_000
_COMMON, _MANY_TEXTS = 0.2, 50_000
_CANDIDATES = 4
"""So many times the depth are looked at before it is asked whose they are."""
FLOOR = 0.25
"""Cosine below which a text does not mean what is looked for. Of 221 searches that fit nothing (made-up words, other
subjects) the best of 600 explanations reached 0.23 at most; of 24 that fit something, 0.25 at least (all-MiniLM-L6-v2).
"""
CLOSE, VERY_CLOSE = 0.4, 0.6
_MAX_CHARACTERS = 2000


@dataclass(frozen=True)
class Hit:
    """One explanation that fits. `bm25` or `similarity` is None where that list does not hold it.

    `same`: the pictures of the result of which exactly the same is said, this one first. `has` of the `asked` words
    that say something are in it.
    """

    image_id: str
    path: str
    label: str | None
    prediction: str | None
    correct: bool | None
    score: float | None
    cell: str | None
    description: str | None
    justification: str | None
    relevance: float
    bm25: float | None
    similarity: float | None
    same: tuple[str, ...] = ()
    has: int = 0
    asked: int = 0

    @property
    def why(self) -> str:
        """Why it is here, in words."""
        said = []
        if self.has:
            some = f"has {self.has} of {self.asked} words"
            said.append(some if self.has < self.asked else "has the word" if self.asked == 1 else "has all words")
        if self.similarity is not None:
            close = "means nearly the same" if self.similarity >= VERY_CLOSE else "means something alike"
            said.append(close if self.similarity >= CLOSE else "may mean something alike")
        return " · ".join(said)


@dataclass(frozen=True)
class SearchResult:
    """Hits, best first, and the words of their texts that the query's words match, to be marked.

    `image_ids`: the pictures that fit, best first, those of which the same is said and those beyond the limit included;
    `cut`: there may be more, for a list was full.
    """

    hits: list[Hit]
    words: list[str]
    image_ids: tuple[str, ...] = ()
    cut: bool = False


def search(
    con: Connection,
    run: str,
    text: str,
    vector: NDArray[np.float32] | None = None,
    *,
    where_ids: Sequence[str] | None = None,
    limit: int = 50,
) -> SearchResult:
    """Explanations of a run that hold the words or mean the same.

    Args:
        con: a connection from Store.reader().
        run: the run to look through.
        text: what to look for: words, "phrases", -unwanted, OR.
        vector: the text's embedding (384,), normalised; None looks by words only.
        where_ids: look only among these pictures; the best of them are found, however bad they are elsewhere.
        limit: hits to give back at most; pictures of which the same is said are one hit.

    Raises:
        QueryError: the text is empty or too long, or the vector has a wrong size.
    """
    if not text.strip():
        raise QueryError("there is nothing to look for; type some words")
    if len(text) > _MAX_CHARACTERS:
        raise QueryError(f"the search text has {len(text):,} characters; at most {_MAX_CHARACTERS:,} can be looked for")
    wanted = asked(text)
    if not wanted.plain:
        raise QueryError("that only says what is not wanted; add a word to look for")
    depth = max(_DEPTH, limit)
    able = _allowed(con, run, wanted, where_ids)
    by_words = _by_words(con, run, wanted.plain, able, depth)
    by_meaning = {} if vector is None else _by_meaning(con, run, vector, able, depth)
    relevance: dict[str, float] = {}
    for ranking in (by_words, by_meaning):
        for rank, image_id in enumerate(ranking, start=1):
            relevance[image_id] = relevance.get(image_id, 0.0) + 1 / (_RANK_CONSTANT + rank)
    best = sorted(relevance, key=lambda image_id: (-relevance[image_id], image_id))
    rows = {row["image_id"]: row for row in _rows(con, run, best)}
    fits = [image_id for image_id in best if image_id in rows]
    hits = [
        Hit(
            **rows[image_id],
            relevance=relevance[image_id],
            bm25=by_words.get(image_id),
            similarity=by_meaning.get(image_id),
            same=same,
        )
        for image_id, same in _merged(rows, fits)[:limit]
    ]
    roots = _roots(con, wanted.plain, hits)
    marked = [replace(hit, has=_has(hit, roots), asked=roots[0]) for hit in hits]
    return SearchResult(marked, sorted(roots[1]), tuple(fits), max(len(by_words), len(by_meaning)) >= depth)


def plain_words(text: str) -> str:
    """A search without its operators, for its meaning."""
    return asked(text).plain


def _merged(rows: Mapping[str, Row], ids: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The first picture of each text, with all of which the same is said."""
    groups: dict[tuple[object, object], list[str]] = {}
    for image_id in ids:
        groups.setdefault((rows[image_id]["description"], rows[image_id]["justification"]), []).append(image_id)
    return [(same[0], tuple(same)) for same in groups.values()]


def _allowed(con: Connection, run: str, wanted: Asked, ids: Sequence[str] | None) -> Sequence[str] | None:
    """The pictures whose texts hold the phrases and none of the unwanted words; `ids` where any may."""
    condition, parameters = wanted.condition()
    if not condition:
        return ids
    where, narrow = narrowed(ids)
    rows = con.execute(
        f"""SELECT image_id FROM (
            SELECT image_id, lower(concat_ws(' ', description, justification)) AS said FROM samples
            WHERE run = ?{where}
        ) WHERE {condition}""",
        [run, *narrow, *parameters],
    ).fetchall()
    return [str(row[0]) for row in rows]


def _by_words(con: Connection, run: str, text: str, ids: Sequence[str] | None, depth: int) -> dict[str, float]:
    """BM25 (Robertson et al. 1994; k = 1.2, b = 0.75) by image_id, best first.

    The best of all texts are looked at first, and all of them only where too few of those are the run's. Of many texts,
    words that a fifth of them have only order what rarer words find.
    """
    if not has_table(con, "postings"):
        return _by_older_index(con, run, text, ids, depth)
    counts = con.execute(
        """SELECT word, count(*) AS texts, (SELECT count(*) FROM documents) AS all_texts FROM postings
        WHERE word IN (SELECT DISTINCT stem(unnest(fts_main_texts.tokenize(?)), 'porter'))
        GROUP BY word ORDER BY word""",
        [text],
    ).fetchall()
    many = bool(counts) and counts[0][2] > _MANY_TEXTS
    rare = [word for word, texts, all_texts in counts if not (many and texts > _COMMON * all_texts)]
    found = [word for word, _, _ in counts]
    weights = [math.log10((all_texts - texts + 0.5) / (texts + 0.5) + 1) for _, texts, all_texts in counts]
    among = (
        "AND document IN (SELECT document FROM postings WHERE list_contains(?, word))"
        if 0 < len(rare) < len(found)
        else ""
    )
    if not found:
        return {}
    where, parameters = narrowed(ids)
    for most in (_CANDIDATES * depth, None) if ids is None else (None,):
        rows = con.execute(
            f"""WITH weights AS (SELECT unnest(?::VARCHAR[]) AS word, unnest(?::DOUBLE[]) AS weight),
            best AS MATERIALIZED (
                SELECT document, sum(weight * n * 2.2 / (n + 1.2 * (0.25 + 0.75 * length / ?))) AS bm25
                FROM postings JOIN weights USING (word) WHERE word IN (SELECT word FROM weights) {among}
                GROUP BY document {"ORDER BY bm25 DESC, document LIMIT ?" if most else ""}
            ), named AS (
                SELECT d.image_id, bm25 FROM documents d JOIN best USING (document)
                WHERE d.fingerprint = (SELECT judge_fingerprint FROM runs WHERE run = ?)
            )
            SELECT image_id, bm25, (SELECT count(*) FROM best) FROM samples s JOIN named USING (image_id)
            WHERE s.run = ? AND s.judge_state IS NOT NULL{where}
            ORDER BY bm25 DESC, image_id LIMIT ?""",
            [found, weights, _mean_length(con), *([rare] if among else []), *([most] if most else []), run, run,
             *parameters, depth],
        ).fetchall()  # fmt: skip
        if most is None or len(rows) >= depth or (rows and rows[0][2] < most):  # none: the best are other runs'
            return {str(row[0]): float(row[1]) for row in rows}
    raise AssertionError("the second look is the last")


def _mean_length(con: Connection) -> float:
    """Words of a text that count, on average."""
    return float(con.execute("SELECT coalesce(nullif(avg(length), 0), 1) FROM documents").fetchall()[0][0])


def _by_older_index(con: Connection, run: str, text: str, ids: Sequence[str] | None, depth: int) -> dict[str, float]:
    """The same from a generation of before the words were kept so that new ones can be added."""
    where, parameters = narrowed(ids)
    if not con.execute("SELECT 1 FROM documents LIMIT 1").fetchall():
        return {}
    rows = con.execute(
        f"""SELECT image_id, bm25 FROM (
            SELECT d.image_id, fts_main_documents.match_bm25(d.document, ?) AS bm25
            FROM documents d JOIN runs r ON r.judge_fingerprint = d.fingerprint WHERE r.run = ?
        ) WHERE bm25 IS NOT NULL
        AND image_id IN (SELECT image_id FROM samples WHERE run = ? AND judge_state IS NOT NULL){where}
        ORDER BY bm25 DESC, image_id LIMIT ?""",
        [text, run, run, *parameters, depth],
    ).fetchall()
    return {str(row[0]): float(row[1]) for row in rows}


def _by_meaning(
    con: Connection, run: str, vector: NDArray[np.float32], ids: Sequence[str] | None, depth: int
) -> dict[str, float]:
    """Cosine by image_id, best first, after the conditions; exact, or of vectors of eight bits where there are many."""
    if vector.shape != (384,):
        raise QueryError(f"the search vector has shape {vector.shape}; expected (384,)")
    fingerprint = con.execute("SELECT embedding_fingerprint FROM runs WHERE run = ?", [run]).fetchall()
    if fingerprint and fingerprint[0][0] and (table := vector_table(con, fingerprint[0][0])):
        return _nearest(con, run, table, vector, ids, depth)
    where, parameters = narrowed(ids)
    rows = con.execute(
        f"""SELECT image_id, similarity FROM (
            SELECT e.image_id, array_inner_product(e.vector, ?::FLOAT[384]) AS similarity
            FROM embeddings e JOIN runs r ON r.embedding_fingerprint = e.fingerprint
            WHERE r.run = ?
        ) WHERE similarity >= {FLOOR}
        AND image_id IN (SELECT image_id FROM samples WHERE run = ? AND judge_state IS NOT NULL){where}
        ORDER BY similarity DESC, image_id LIMIT ?""",
        [vector.tolist(), run, run, *parameters, depth],
    ).fetchall()
    return {str(row[0]): float(row[1]) for row in rows}


def _nearest(
    con: Connection, run: str, table: VectorTable, vector: NDArray[np.float32], ids: Sequence[str] | None, depth: int
) -> dict[str, float]:
    for most in (depth, _CANDIDATES * depth, len(table.ids)):
        found = [(name, value) for name, value in table.nearest(vector, most, ids=ids) if value >= FLOOR]
        there = con.execute(
            """SELECT image_id FROM samples WHERE run = ? AND judge_state IS NOT NULL
            AND image_id IN (SELECT unnest(?::VARCHAR[]))""",
            [run, [name for name, _ in found]],
        ).fetchall()
        known = {row[0] for row in there}
        fits = [(name, value) for name, value in found if name in known]
        if len(fits) >= depth or len(found) < most:
            break
    return dict(sorted(fits, key=lambda item: (-item[1], item[0]))[:depth])


def _rows(con: Connection, run: str, ids: Sequence[str]) -> list[Row]:
    return fetch_rows(
        con,
        """SELECT image_id, path, label, prediction, correct, score, cell, description, justification
        FROM samples WHERE run = ? AND image_id IN (SELECT unnest(?::VARCHAR[]))""",
        [run, list(ids)],
    )


def _roots(con: Connection, text: str, hits: Sequence[Hit]) -> tuple[int, dict[str, str]]:
    """How many stems are asked for, and the hits' words of those stems, so that `camels` marks `camel`."""
    found = {word for hit in hits for word in _words(hit)}
    index = "fts_main_texts" if has_table(con, "postings") else "fts_main_documents"
    rows = (
        con.execute(
            f"""WITH asked AS (
            SELECT DISTINCT stem(word, 'porter') AS root FROM (SELECT unnest(?::VARCHAR[]) AS word)
            WHERE word NOT IN (SELECT sw FROM {index}.stopwords)
        )
        SELECT root, word FROM asked LEFT JOIN (
            SELECT word, stem(word, 'porter') AS root FROM (SELECT unnest(?::VARCHAR[]) AS word)
        ) USING (root)""",
            [sorted(set(re.findall(r"\w+", text.lower()))), sorted(found)],
        ).fetchall()
        if found
        else []
    )
    return len({root for root, _ in rows}), {str(word): str(root) for root, word in rows if word is not None}


def _words(hit: Hit) -> set[str]:
    return set(re.findall(r"\w+", f"{hit.description} {hit.justification}".lower()))


def _has(hit: Hit, roots: tuple[int, Mapping[str, str]]) -> int:
    """How many of the stems asked for are in a hit."""
    return len({root for word, root in roots[1].items() if word in _words(hit)})
