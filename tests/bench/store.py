"""What a large store costs: publishing, resuming, SQL, search, the summary.

`python -m tests.bench.store [--rows N] [--store DIR]`. Where there is none yet, a store of N pictures (1,300,000) with
judgements is made, in a temporary folder unless one is named: every table, 1,000 classes, thumbnails of 3 to 5 kB that
nothing compresses, explanations put together of some thousand words. The pages: `python -m tests.bench.pages --store`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from core import queries
from core.embedding import load_embedder
from core.findings import summarise
from core.records import HIGH_SCORE
from core.store import Store, open_for_writing
from core.store.shard_set import ShardSet
from core.store.shards import SCHEMAS, write_shard
from tests.support.store_factory import thumbnail

CLASSES = 1_000
AT_ONCE = 20_000
"""Rows of a shard of the made store, as those that whylook has merged."""
NEW = 1_000
PRINTS = {stage: f"made-{stage}" for stage in ("images", "classifier", "attribution", "causal", "judge", "embedding")}
HABITATS = np.array(["meadow", "desert", "snow", "street", "kitchen", "forest", "shore", "sky"])
SYLLABLES = ["ba", "dor", "lin", "me", "tor", "ran", "sol", "vi", "kel", "um", "ga", "phi"]
WORDS = np.array([a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES])
"""Made-up words beside those of the explanations."""
TYPICAL = (
    "SELECT * FROM samples WHERE NOT correct LIMIT 200",
    "SELECT * FROM samples WHERE label = 'class 7'",
    "SELECT * FROM samples WHERE label = 'class 7' AND NOT correct ORDER BY confidence DESC",
    "SELECT * FROM samples WHERE prediction = 'class 9' AND confidence > 0.9 LIMIT 500",
    "SELECT label, count(*) AS n, avg(correct::INT) AS accuracy FROM samples GROUP BY label ORDER BY accuracy",
    "SELECT habitat, avg(correct::INT) AS accuracy, count(*) AS n FROM samples GROUP BY habitat",
    "SELECT cell, count(*) AS n FROM samples GROUP BY cell",
    "SELECT * FROM samples WHERE cell = 'wrong_high' ORDER BY confidence DESC LIMIT 100",
    "SELECT * FROM samples WHERE score < 1 AND correct LIMIT 300",
    "SELECT label, prediction, count(*) AS n FROM samples WHERE NOT correct GROUP BY ALL ORDER BY n DESC LIMIT 50",
    "SELECT * FROM samples WHERE confidence < 0.3 ORDER BY confidence LIMIT 100",
    "SELECT * FROM samples WHERE attention_area < 0.1 AND NOT correct LIMIT 100",
    "SELECT avg(causal_drop) FROM samples WHERE causal_draws = 6",
    "SELECT * FROM samples WHERE night AND NOT correct LIMIT 100",
    "SELECT round(confidence, 1) AS bin, avg(correct::INT) AS accuracy FROM samples GROUP BY bin ORDER BY bin",
    "SELECT * FROM samples WHERE brightness < 0.1 LIMIT 100",
    "SELECT habitat, cell, count(*) AS n FROM samples GROUP BY ALL",
    "SELECT * FROM samples WHERE margin < 0.01 ORDER BY margin LIMIT 100",
    "SELECT count(*) FROM samples WHERE score >= 4 AND NOT correct",
    "SELECT mistake, count(*) AS n FROM samples WHERE NOT correct GROUP BY mistake",
)
SEARCHES = (
    "a dog in the snow",
    "only kitchen is visible",
    "head of class 12",
    "badorlin",
    "street at night",
    "meadow ground",
    "the texture of the fur",
    "forest and shore",
    "solvikel umgaphi",
    "features of class 900",
)


def rows(count: int, start: int, seed: int) -> dict[str, pa.Table]:
    """Tables of `count` pictures from number `start` on."""
    chance = np.random.default_rng((seed, start))
    ids = pa.array([f"{seed:04x}{number:028x}"[::-1] for number in range(start, start + count)])
    label = chance.integers(0, CLASSES, count)
    habitat = chance.integers(0, len(HABITATS), count)
    right = chance.random(count) < np.where(habitat == label % len(HABITATS), 0.9, 0.6)
    answer = np.where(right, label, (label + chance.integers(1, CLASSES, count)) % CLASSES)
    confidence = chance.beta(5, 2, count).astype(np.float32)
    rest = chance.random((count, CLASSES), dtype=np.float32) ** 8
    rest[np.arange(count), answer] = 0
    rest *= ((1 - confidence) / rest.sum(1))[:, None]
    rest[np.arange(count), answer] = confidence
    names = np.array([f"class {number}" for number in range(CLASSES)])
    path = [f"class {a}/{number:07d}.jpg" for a, number in zip(label, range(start, start + count), strict=True)]
    small = thumbnail(np.random.default_rng(seed))  # a picture, and bytes that every reader of WebP passes over
    ends = chance.integers(3_000, 5_000, count)
    noise = chance.bytes(int(ends.sum()) + 8)
    places = np.concatenate([[0], np.cumsum(ends)])
    pictures = [small + noise[a:b] for a, b in zip(places[:-1], places[1:], strict=True)]
    metadata = [
        f'{{"habitat": "{place}", "night": {str(bool(dark)).lower()}, "size": {size:.3f}}}'
        for place, dark, size in zip(HABITATS[habitat], chance.random(count) < 0.2, chance.random(count), strict=True)
    ]
    score = np.clip(np.where(right, 4, 2) + chance.normal(0, 1, count), 0, 5).astype(np.float32)
    said = WORDS[np.minimum((chance.pareto(1.0, (count, 6))).astype(int), len(WORDS) - 1)]
    described = [
        f"The head of a {name} in the {place} with {' '.join(words)} is visible."
        for name, place, words in zip(names[answer], HABITATS[habitat], said, strict=True)
    ]
    why = [
        f"It shows features of the {name}, and only some {place}."
        for name, place in zip(names[answer], HABITATS[habitat], strict=True)
    ]
    vectors = chance.standard_normal((count, 384), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    maps = chance.random((count, 49), dtype=np.float32)

    def table(name: str, stage: str, columns: dict[str, Any], keep: Any = None) -> pa.Table:
        given = {"fingerprint": pa.array([PRINTS[stage]] * count), "image_id": ids, **columns}
        made = pa.table(
            [
                pa.array(given[item.name]).cast(item.type) if item.name in given else pa.nulls(count, item.type)
                for item in SCHEMAS[name]
            ],
            schema=SCHEMAS[name],
        )
        return made if keep is None else made.filter(pa.array(keep))

    def lists(values: Any) -> Any:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])

    def draw(*names: str) -> dict[str, Any]:
        return {name: chance.random(count, dtype=np.float32) for name in names}

    def sketches(size: int) -> Any:
        numbers = chance.standard_normal((count, size), dtype=np.float32).astype(np.float16)
        return pa.array([row.tobytes() for row in numbers], pa.binary())

    seen = ("brightness", "contrast", "saturation", "warmth", "sharpness")
    looked = tuple(f"attention_{name}" for name in ("area", "entropy", "border", "x", "y"))
    return {
        "images": table(
            "images",
            "images",
            {"path": path, "paths": [[each] for each in path], "label": names[label], "metadata": metadata}
            | {"width": np.full(count, 500), "height": np.full(count, 375), "colour": HABITATS[habitat]}
            | {"thumbnail": pa.array(pictures, pa.binary())}
            | {"near_hash": pa.array([noise[a : a + 8] for a in places[:-1]], pa.binary()), **draw(*seen)},
        ),
        "predictions": table(
            "predictions",
            "classifier",
            {"prediction": names[answer], "confidence": confidence, "margin": confidence / 2}
            | {"label_probability": rest[np.arange(count), label], "probabilities": lists(rest)},
        ),
        "attributions": table(
            "attributions",
            "attribution",
            {"state": ["ok"] * count, "map": lists(maps), "attention_islands": chance.integers(1, 4, count)}
            | {"map_height": np.full(count, 7), "map_width": np.full(count, 7), **draw(*looked, "attention_agreement")},
        ),
        "checks": table(
            "checks",
            "causal",
            {**draw("causal_drop", "causal_drop_random"), "causal_draws": np.full(count, 6)},
            chance.random(count) < 256 / 1_300_000 * 4,
        ),
        "features": table(
            "features",
            "attribution",
            {"pooled": sketches(60), "places": sketches(96), "detail": sketches(96)}
            | {"cell": lists(np.full((count, 2), 3, np.int32))},
        ),
        "judgements": table(
            "judgements",
            "judge",
            {"state": ["ok"] * count, "description": described, "justification": why, "score": score}
            | {"label_asked": names[label], "label_score": np.clip(5 - score, 0, 5)}
            | {"distribution": lists(maps[:, :6]), **draw("score_entropy", "seconds")},
        ),
        "embeddings": table("embeddings", "embedding", {"vector": lists(vectors)}),
    }


def make(folder: Path, count: int) -> str:
    """Writes the shards of `count` pictures and publishes them; the run's name."""
    with open_for_writing(folder) as writer:
        names = [f"class {number}" for number in range(CLASSES)]
        settings = {"images": "/made/pictures", "classifier": "made", "causal_sample": 256}
        run = writer.begin_run(settings, PRINTS, class_names=names, judge_note=None)
        writer.set_high_score(run, HIGH_SCORE)
        began = time.perf_counter()
        for start in range(0, count, AT_ONCE):
            add(folder, rows(min(AT_ONCE, count - start), start, 1), start // AT_ONCE + 1)
        said("making the shards", time.perf_counter() - began, f"{size_of(folder / 'shards') / 1e9:.1f} GB")
        began = time.perf_counter()
        ShardSet(folder).merge(stop=lambda: False)
        said("merging them", time.perf_counter() - began)
        writer.finish_run(run, "done", {"pictures": count})
        began = time.perf_counter()
        writer.publish()
        said("first publication", time.perf_counter() - began, f"store {size_of(folder) / 1e9:.1f} GB, {memory()}")
    return run


def add(folder: Path, tables: dict[str, pa.Table], number: int) -> None:
    """Writes one shard of each table."""
    for name, table in tables.items():
        place = folder / "shards" / name
        place.mkdir(parents=True, exist_ok=True)
        write_shard(place, table, number=number)


def said(what: str, seconds: float, more: str = "") -> None:
    print(f"{what:<44}{seconds:8.2f} s  {more}", flush=True)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def memory() -> str:
    """The most that this process has held."""
    import resource

    return f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB"


def timed(what: str, act: Callable[[], Any], *, times: int = 5) -> None:
    """Prints median and slowest of some calls, of which the first does not count."""
    taken = []
    for turn in range(times + 1):
        began = time.perf_counter()
        act()
        taken += [time.perf_counter() - began] if turn else []
    said(what, statistics.median(taken), f"slowest {max(taken):.2f} s, n {times}")


def measure(folder: Path, run: str) -> None:
    """Everything that is asked of a large store."""
    for _ in range(4):
        with open_for_writing(folder) as writer:
            number = len(list((folder / "shards" / "images").glob("part-9*")))  # others than were added before
            add(folder, rows(NEW, 2_000_000 + number * NEW, 2), 900_000 + number)
            began = time.perf_counter()
            publication = writer.publish()
            said(f"publication with {NEW:,} new rows", time.perf_counter() - began, f"{publication.rows['images']:,}")
            began = time.perf_counter()
            writer.publish()
            said("publication with nothing new", time.perf_counter() - began)
    with open_for_writing(folder) as writer:
        began = time.perf_counter()
        writer.check()
        found = {stage: len(writer.done(stage, mark)) for stage, mark in PRINTS.items()}
        said("what a resumed run finds done", time.perf_counter() - began, f"{found['judge']:,} judged, {memory()}")
    store = Store(folder)
    taken = []
    for sql in TYPICAL:
        queries.run_sql(store, sql)
        times = []
        for _ in range(3):
            began = time.perf_counter()
            queries.run_sql(store, sql)
            times.append(time.perf_counter() - began)
        taken.append(statistics.median(times))
        if taken[-1] > 0.1:
            said("slow: " + sql[:60], taken[-1])
    said(
        "a slice by SQL, 95th percentile of 20",
        float(np.percentile(taken, 95)),
        f"median {statistics.median(taken):.3f} s",
    )
    con = store.reader()
    vectors = load_embedder().embed(SEARCHES)
    for with_meaning in (False, True):
        times = []
        for text, vector in zip(SEARCHES, vectors, strict=True):
            queries.search(con, run, text, vector if with_meaning else None)
            began = time.perf_counter()
            queries.search(con, run, text, vector if with_meaning else None)
            times.append(time.perf_counter() - began)
        words = "search by words and meaning" if with_meaning else "search by words"
        said(words, statistics.median(times), f"slowest {max(times):.2f} s, n {len(times)}")
    ids = [row[0] for row in con.execute("SELECT image_id FROM samples USING SAMPLE 60 ROWS").fetchall()]
    timed("60 thumbnails", lambda: queries.thumbnails(con, ids))
    timed("one picture with everything", lambda: queries.sample(con, run, ids[0]))
    timed("counts of a run", lambda: queries.run_counts(con, run))
    began = time.perf_counter()
    summarise(con, run)
    said("summary", time.perf_counter() - began, memory())


def main() -> None:
    """Makes a store, or takes one, and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_300_000)
    parser.add_argument("--store", type=Path)
    given = parser.parse_args()
    print(f"{given.rows:,} pictures, {os.cpu_count()} CPUs, {psutil.virtual_memory().total / 1e9:.0f} GB", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = given.store or Path(folder) / "store"
        run = Store(place).run_records()[0]["run"] if (place / "CURRENT").is_file() else make(place, given.rows)
        measure(place, run)


if __name__ == "__main__":
    main()
