"""The map: what lies close is alike, drawn once and kept; a lasso in SQL is the polygon that it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from core import queries
from core.errors import QueryError, RequestError, StoreError
from core.pipeline.draw_map import draw_map
from core.projection import project
from core.sql.where import parse
from core.store import Store, open_for_writing
from pages._map import CORNERS, is_lasso, lassoed
from tests.support.command_line import whylook
from tests.support.store_factory import make_store


def planted(n: int, groups: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, 60) in groups that lie apart, and the group of each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, 60)) * 4
    group = rng.integers(groups, size=n)
    return (centres[group] + rng.normal(size=(n, 60))).astype(np.float32), group


def neighbours_agree(places: np.ndarray, group: np.ndarray, k: int = 5) -> float:
    """Share of the `k` nearest places that are of the same group."""
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return float((group[np.argsort(distance, axis=1)[:, :k]] == group[:, None]).mean())


def test_groups_that_lie_apart_stay_groups_and_a_seed_gives_the_same_map() -> None:
    vectors, group = planted(400, 8)
    told: list[float] = []
    places = project(vectors, progress=told.append)
    assert places.shape == (400, 2) and places.min() >= 0 and places.max() <= 1
    assert (
        neighbours_agree(places, group) > 0.95 > neighbours_agree(places, np.random.default_rng(1).permutation(group))
    )
    assert np.array_equal(places, project(vectors))
    assert len(told) > 10 and told == sorted(told) and told[-1] == 1.0


def test_equal_vectors_lie_side_by_side_and_few_are_laid_out_too() -> None:
    vectors, _ = planted(5, 5)
    places = project(np.repeat(vectors, 20, axis=0))
    assert len(np.unique(places, axis=0)) == 100
    assert neighbours_agree(places, np.repeat(np.arange(5), 20)) == 1.0
    assert project(np.zeros((3, 60), np.float32)).shape == (3, 2)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A judged run of 60 pictures whose map was drawn by the command."""
    folder = tmp_path_factory.mktemp("map") / "store"
    _, run = make_store(folder, rows=60)
    draw_map(Store(folder), run)
    return folder, run


def test_a_map_is_kept_as_columns_and_drawn_again_in_place(drawn: tuple[Path, str], capsys) -> None:
    folder, run = drawn
    found = queries.run_map(Store(folder).reader(), run, "explanations")
    assert found is not None and found.missing == 5  # those that the judge abstained on or failed
    assert queries.run_map(Store(folder).reader(), run, "features") is None  # this run keeps nothing of what was seen
    said = whylook(capsys, "map", "--store", folder)
    assert said.code == 0 and said.out.startswith("Laid out 55 pictures by explanations in ")
    assert Store(folder).reader().execute("SELECT count(*), count(words_x) FROM map").fetchall() == [(55, 55)]
    row = queries.at_place(Store(folder).reader(), run, 7)
    assert row is not None and row[0]["image_id"] == found.image_ids[7].as_py() and row[1]
    assert queries.at_place(Store(folder).reader(), run, 60) is None


def test_what_has_nothing_to_lay_out_by_or_cannot_be_kept_is_a_sentence(tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "few", rows=6)
    with pytest.raises(RequestError, match="takes 10 pictures or more"):
        draw_map(store, run)
    store, run = make_store(tmp_path / "blind", rows=24, judged=False)
    with pytest.raises(RequestError, match="run it again"):
        draw_map(store, run)
    store, run = make_store(tmp_path / "busy", rows=24)
    with open_for_writing(store.folder), pytest.raises(StoreError):
        draw_map(store, run)


@pytest.mark.parametrize("corners", [3, 4, 9, 16])
def test_a_lasso_in_sql_holds_the_places_inside_its_polygon(drawn: tuple[Path, str], corners: int) -> None:
    folder, run = drawn
    rng = np.random.default_rng(corners)
    outline = rng.uniform(0, 1, (corners, 2)).round(3)  # it may cross itself: the even-odd rule
    numbers = ", ".join(str(value) for value in outline.ravel())
    sql = f"SELECT image_id FROM samples WHERE in_lasso(words_x, words_y, [{numbers}])"
    inside = set(queries.run_sql(Store(folder), sql).table.column("image_id").to_pylist())
    drawn_map = queries.run_map(Store(folder).reader(), run, "explanations")
    assert drawn_map is not None
    crossed = sum(_crosses(drawn_map.places, a, b) for a, b in zip(outline, np.roll(outline, -1, axis=0), strict=True))
    wanted = {image for image, odd in zip(drawn_map.image_ids.to_pylist(), crossed % 2 == 1, strict=True) if odd}
    assert inside == wanted
    if corners == 3:
        assert wanted == set(np.asarray(drawn_map.image_ids)[Polygon(outline).contains_points(drawn_map.places)])


def _crosses(places: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether a ray to the right of each place crosses the edge from a to b."""
    x, y = places.astype(np.float64).T
    level = (a[1] > y) != (b[1] > y)
    return level & (x < a[0] + (y - a[1]) * (b[0] - a[0]) / (b[1] - a[1] or 1.0))


def test_a_lasso_is_a_condition_that_takes_the_place_of_an_earlier_one(drawn: tuple[Path, str]) -> None:
    folder, run = drawn
    query = parse(f"SELECT * FROM samples WHERE run = '{run}' AND label = 'cow'", run)
    angles = np.linspace(0, 2 * np.pi, 300)
    circle = np.stack([0.5 + 0.3 * np.cos(angles), 0.5 + 0.3 * np.sin(angles)], axis=1).tolist()
    once = parse(lassoed(query, "explanations", circle).text, run)
    assert [is_lasso(clause) for clause in once.clauses] == [False, False, True]
    assert 6 <= once.text.count(",") / 2 <= CORNERS + 1
    again = parse(lassoed(once, "explanations", [[0, 0], [1, 0], [1, 1], [0, 1]]).text, run)
    assert [is_lasso(clause) for clause in again.clauses] == [False, False, True]
    cows = queries.run_sql(Store(folder), query.text).table.num_rows
    assert queries.run_sql(Store(folder), again.text).table.num_rows == cows > 0
    assert lassoed(query, "explanations", [[0, 0], [1, 1]]).text == query.text
    with pytest.raises(QueryError):
        queries.run_sql(Store(folder), "SELECT in_lasso(words_x, words_y) FROM samples")
