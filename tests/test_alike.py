"""Pictures like one by what the model sees: the numbers, the page, and what is said where there is nothing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from core import queries
from core.queries import run_sql
from core.queries.alike import FLOOR
from pages._alike import _slice
from tests.support.page_runs import opened, words_on
from tests.support.seen_alike import ALONE, seen_store
from tests.support.store_factory import make_store


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory):
    return seen_store(tmp_path_factory.mktemp("alike") / "store")


def test_what_is_the_same_of_all_pictures_makes_none_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(8).standard_normal((20_000, 40)).astype(np.float32)
    numbers[:, 10:] = np.float16(0.3)
    pooled = tuple(map(str, range(len(numbers)))), numbers.copy()
    monkeypatch.setattr(import_module("core.queries.alike"), "pooled", lambda con, run: pooled)
    known = queries.seen(None, "r")  # type: ignore[arg-type]
    assert known is not None and not known.units[:, 10:].any()
    exact = (numbers[:, :10] - numbers[:, :10].mean(0)) / numbers[:, :10].std(0)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    np.testing.assert_allclose(known.units[:, :10], exact, atol=1e-5)


def test_the_nearest_are_those_of_the_cosine_of_standardised_features(filled) -> None:
    store, run, sketches = filled
    known = queries.seen(store.reader(), run)
    assert known is not None and np.isfinite(known.units).all()
    varying = sketches[:, 12:].astype(np.float64)
    units = (varying - varying.mean(0)) / varying.std(0)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    labels = dict(store.reader().execute("SELECT image_id, label FROM samples").fetchall())
    for place in (0, 7, 30):
        cosine = units @ units[place]
        cosine[place] = -1
        wanted = [known.image_ids[at] for at in np.argsort(-cosine) if cosine[at] >= FLOOR]
        found = queries.alike(known, known.image_ids[place], most=100)
        assert found is not None and [key for key, _ in found] == wanted and len(found) >= 10
        assert [value for _, value in found] == pytest.approx(sorted(cosine[cosine >= FLOOR])[::-1], abs=1e-4)
        assert {labels[key] for key, _ in found} == {labels[known.image_ids[place]]}
        assert queries.alike(known, known.image_ids[place], most=3) == found[:3]
    assert queries.alike(known, known.image_ids[ALONE], most=9) == []
    assert queries.alike(known, "unknown", most=9) is None


def test_the_page_shows_them_as_an_address_and_as_a_slice(monkeypatch: pytest.MonkeyPatch, filled) -> None:
    store, run, _ = filled
    known = queries.seen(store.reader(), run)
    first = known.image_ids[0]
    app = opened(monkeypatch, "search", store.folder, run=run, image=first, alike="seen")
    assert not app.exception and "Seen like this one" in words_on(app)
    near = [key for key, _ in queries.alike(known, first, most=48)]
    assert f"The {len(near)} pictures, nearest first" in words_on(app)
    asked = run_sql(store, _slice(run, [first, *near]))
    assert asked.table["image_id"].to_pylist() == [first, *near]
    said = opened(monkeypatch, "search", store.folder, run=run, image=first, alike="said")
    assert "Explained like this one" in words_on(said)
    alone = opened(monkeypatch, "search", store.folder, run=run, image=known.image_ids[ALONE], alike="seen")
    assert "No other picture of this run is seen like this one" in words_on(alone)
    gone = opened(monkeypatch, "search", store.folder, run=run, image="nothing", alike="seen")
    assert not gone.exception and len(gone.error) == 1


def test_a_run_without_features_says_what_to_do_and_one_without_a_judge_can_be_searched_by_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, run = make_store(tmp_path / "bare", rows=24)
    image = store.reader().execute("SELECT image_id FROM samples").fetchall()[0][0]
    app = opened(monkeypatch, "search", store.folder, run=run, image=image, alike="seen")
    assert "run it again into a new" in words_on(app)
    assert "Or search by a picture" not in words_on(opened(monkeypatch, "search", store.folder, run=run))
    unjudged, name, _ = seen_store(tmp_path / "unjudged", judged=False)
    app = opened(monkeypatch, "search", unjudged.folder, run=name, picture="COW/")
    assert "no explanations to search" in words_on(app) and "Choose one" in words_on(app)
    app = opened(monkeypatch, "search", unjudged.folder, run=name, image=image)
    assert "Seen like this one" in words_on(app)
