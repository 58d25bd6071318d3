"""Two runs against each other as a slide: how often each is right, and pictures that only one of them has right."""

from __future__ import annotations

from core.comparison import Comparison, sentences
from core.deck.keep import Ask, figure, key_of
from core.deck.slide import Figure, Shot, Slide
from core.queries import literal

SURE = 0.05
EACH = 3
"""Pictures of each side."""


def of_comparison(ask: Ask, found: Comparison, a: str, b: str) -> Slide:
    """A comparison; `a` and `b` are what the two runs are called.

    Raises:
        QueryError: a run is no longer there.
    """
    own = (
        "FROM samples b JOIN samples a ON a.image_id = b.image_id\n"
        f"WHERE a.run = {literal(found.a.name)} AND b.run = {literal(found.b.name)}"
    )
    told, shots, sources = found.accuracy, list[Shot](), [found.churn.sql]
    if told is None:
        title = f"{a} and {b}: how many answers differ?"
        sql = f"SELECT count(*) FILTER (a.prediction <> b.prediction), count(*) {own}"
        answered = "a.prediction IS NOT NULL AND b.prediction IS NOT NULL"
        figures: list[Figure] = [figure(ask, "of the answers differ", "share", f"{sql} AND {answered}")]
    else:
        better = b if told.difference.value > 0 else a
        stands = told.p < SURE
        title = f"{better} is right more often." if stands else f"The difference between {a} and {b} may be chance."
        known = f"{own} AND a.correct IS NOT NULL AND b.correct IS NOT NULL AND a.label IS NOT DISTINCT FROM b.label"
        figures = [
            figure(ask, f"{name} is right", "share", f"SELECT count(*) FILTER ({side}.correct), count(*) {known}")
            for name, side in ((a, "a"), (b, "b"))
        ]
        for name, pairs in ((a, told.regressions), (b, told.wins)):
            shots += [Shot(pair.image_id, "original", f"only {name} is right: {pair.label}") for pair in pairs[:EACH]]
        sources = [told.regressions_sql, told.wins_sql]
    said = sentences(found)
    return Slide(
        key_of("comparison", found.b.name, found.a.name), "comparison", found.b.name, title, tuple(figures),
        shots=tuple(shots), quiet=f"A is {a}, B is {b}. {said[0]}", notes="\n".join(said),
        sources=tuple(sources), page="compare",
        state=(("run", found.b.name), ("a", found.a.name), ("b", found.b.name)),
    )  # fmt: skip
