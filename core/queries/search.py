"""Search over explanations: by words (BM25) and by meaning (cosine), fused by rank."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import QueryError
from core.queries.rows import Connection, fetch_rows, narrowed
from core.records import Row

_RANK_CONSTANT = 60
"""Of reciprocal rank fusion: a hit's relevance is the sum over both lists of 1 / (60 + rank) (Cormack et al. 2009)."""
_DEPTH = 200
_MAX_CHARACTERS = 2000


@dataclass(frozen=True)
class Hit:
    """One explanation that fits. `bm25` or `similarity` is None where that list does not hold it."""

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


@dataclass(frozen=True)
class SearchResult:
    """Hits, best first, and the words of their texts that the query's words match, to be marked."""

    hits: list[Hit]
    words: list[str]


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
        text: what to look for.
        vector: the text's embedding (384,), normalised; None looks by words only.
        where_ids: look only among these pictures; the best of them are found, however bad they are elsewhere.
        limit: hits to give back at most.

    Raises:
        QueryError: the text is empty or too long, or the vector has a wrong size.
    """
    if not text.strip():
        raise QueryError("there is nothing to look for; type some words")
    if len(text) > _MAX_CHARACTERS:
        raise QueryError(f"the search text has {len(text):,} characters; at most {_MAX_CHARACTERS:,} can be looked for")
    depth = max(_DEPTH, limit)
    by_words = _by_words(con, run, text, where_ids, depth)
    by_meaning = {} if vector is None else _by_meaning(con, run, vector, where_ids, depth)
    relevance: dict[str, float] = {}
    for ranking in (by_words, by_meaning):
        for rank, image_id in enumerate(ranking, start=1):
            relevance[image_id] = relevance.get(image_id, 0.0) + 1 / (_RANK_CONSTANT + rank)
    best = sorted(relevance, key=lambda image_id: (-relevance[image_id], image_id))[:limit]
    rows = {row["image_id"]: row for row in _rows(con, run, best)}
    hits = [
        Hit(
            **rows[image_id],
            relevance=relevance[image_id],
            bm25=by_words.get(image_id),
            similarity=by_meaning.get(image_id),
        )
        for image_id in best
        if image_id in rows
    ]
    return SearchResult(hits, _words_to_mark(con, text, hits))


def _by_words(con: Connection, run: str, text: str, ids: Sequence[str] | None, depth: int) -> dict[str, float]:
    """BM25 by image_id, best first. No index means that there is no text at all."""
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
    """Cosine by image_id, best first; exact, after the conditions."""
    if vector.shape != (384,):
        raise QueryError(f"the search vector has shape {vector.shape}; expected (384,)")
    where, parameters = narrowed(ids)
    rows = con.execute(
        f"""SELECT image_id, similarity FROM (
            SELECT e.image_id, array_inner_product(e.vector, ?::FLOAT[384]) AS similarity
            FROM embeddings e JOIN runs r ON r.embedding_fingerprint = e.fingerprint
            WHERE r.run = ?
        ) WHERE image_id IN (SELECT image_id FROM samples WHERE run = ? AND judge_state IS NOT NULL){where}
        ORDER BY similarity DESC, image_id LIMIT ?""",
        [vector.tolist(), run, run, *parameters, depth],
    ).fetchall()
    return {str(row[0]): float(row[1]) for row in rows}


def _rows(con: Connection, run: str, ids: Sequence[str]) -> list[Row]:
    return fetch_rows(
        con,
        """SELECT image_id, path, label, prediction, correct, score, cell, description, justification
        FROM samples WHERE run = ? AND image_id IN (SELECT unnest(?::VARCHAR[]))""",
        [run, list(ids)],
    )


def _words_to_mark(con: Connection, text: str, hits: Sequence[Hit]) -> list[str]:
    """Words of the hits whose stem is the stem of a word looked for, so that `camels` marks `camel`."""
    asked = set(re.findall(r"\w+", text.lower()))
    found = {word for hit in hits for word in re.findall(r"\w+", f"{hit.description} {hit.justification}".lower())}
    if not asked or not found:
        return []
    rows = con.execute(
        """WITH asked AS (SELECT DISTINCT stem(unnest(?::VARCHAR[]), 'porter') AS root)
        SELECT word FROM (SELECT unnest(?::VARCHAR[]) AS word) WHERE stem(word, 'porter') IN (SELECT root FROM asked)
        AND word NOT IN (SELECT sw FROM fts_main_documents.stopwords) ORDER BY word""",
        [sorted(asked), sorted(found)],
    ).fetchall()
    return [str(row[0]) for row in rows]
