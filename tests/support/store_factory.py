"""Makes a real store with synthetic rows through the same API as the pipeline, for tests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.records import Attribution, CausalCheck, Failure, Judgement, Prediction
from core.store import Store, open_for_writing

HABITATS = ("meadow", "desert", "snow")
PRINTS = {stage: f"{stage}-1" for stage in ("images", "classifier", "attribution", "causal", "judge", "embedding")}


def prediction(image_id: str, name: str = "cow") -> Prediction:
    """A sure answer of two classes."""
    return Prediction(image_id, name, 0.9, 0.8, 0.9, np.array([0.9, 0.1], dtype=np.float32))


def image(image_id: str, **metadata: object) -> dict[str, object]:
    """A row of table `images` labelled cow."""
    return {"image_id": image_id, "path": f"cow/{image_id}.png", "label": "cow", "metadata": metadata}


def thumbnail(generator: np.random.Generator) -> bytes:
    """A small real WebP of random blocks, 224 x 224."""
    blocks = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(blocks).resize((224, 224), Image.Resampling.NEAREST).save(out, "WEBP", quality=60)
    return out.getvalue()


def synthetic_rows(rows: int, classes: Sequence[str], *, seed: int, pictures: bool = True) -> dict[str, list[Any]]:
    """Rows for every table: mostly right; of 24 pictures the judge abstains from one and fails one."""
    generator = np.random.default_rng(seed)
    tables: dict[str, list[Any]] = {
        name: [] for name in ("images", "predictions", "attributions", "checks", "judgements", "embeddings")
    }
    block = thumbnail(generator)
    for index in range(rows):
        image_id = f"{seed:04x}{index:028x}"
        label = classes[index % len(classes)]
        habitat = HABITATS[int(generator.integers(len(HABITATS)))]
        hard = habitat != HABITATS[index % len(HABITATS)]
        probabilities = generator.dirichlet(np.ones(len(classes)) * 0.4).astype(np.float32)
        best = classes.index(label) if generator.random() > (0.4 if hard else 0.05) else int(probabilities.argmax())
        top = int(probabilities.argmax())
        probabilities[[top, best]] = probabilities[[best, top]]
        prediction = classes[best]
        ordered = np.sort(probabilities)[::-1]
        path = f"{label}/{index:05d}.png"
        metadata = {
            "habitat": habitat,
            "night": bool(generator.random() < 0.2),
            "size": float(generator.uniform(0.1, 1)),
        }
        tables["images"].append(
            {"image_id": image_id, "path": path, "paths": [path], "label": label, "width": 320, "height": 240}
            | {"thumbnail": thumbnail(generator) if pictures else block, "metadata": metadata}
        )
        tables["predictions"].append(
            Prediction(
                image_id, prediction, float(ordered[0]), float(ordered[0] - ordered[1:2].sum()), None, probabilities
            )
        )
        heat, check = _attribution(image_id, generator, looked_away=hard)
        tables["attributions"].append(heat)
        tables["checks"].append(check)
        judgement = _judgement(image_id, index, prediction, habitat, generator, looked_away=hard)
        tables["judgements"].append(judgement)
        if judgement.state == "ok":
            vector = generator.normal(size=384).astype(np.float32)
            tables["embeddings"].append({"image_id": image_id, "vector": vector / np.linalg.norm(vector)})
    return tables


def _attribution(
    image_id: str, generator: np.random.Generator, *, looked_away: bool
) -> tuple[Attribution, CausalCheck]:
    rows, columns = np.mgrid[0:7, 0:7]
    y, x = (0.5, 5.5) if looked_away else (3, 3)
    heat = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 6).astype(np.float32)  # (7, 7)
    heat /= heat.max()
    drop = float(generator.uniform(0.3, 0.8))
    area = float((heat >= 0.4).mean())
    map_ = Attribution(image_id, "ok", None, heat, area, 0.8, 0.3, x / 6, y / 6)
    return map_, CausalCheck(image_id, drop, drop / 4, 6)


def _judgement(
    image_id: str, index: int, prediction: str, habitat: str, generator: np.random.Generator, *, looked_away: bool
) -> Judgement:
    if index % 24 == 11:
        return Judgement(image_id, "abstained", "the map is flat")
    if index % 24 == 23:
        return Judgement(image_id, "failed", "the judge's reply was empty")
    centre = 1.3 if looked_away else 4.2
    weights = np.exp(-((np.arange(6) - centre - generator.normal() * 0.5) ** 2))
    distribution = weights / weights.sum()
    score = float(distribution @ np.arange(6))
    entropy = float(-(distribution * np.log(distribution + 1e-12)).sum())
    seen = f"Only {habitat} ground is visible." if looked_away else f"The head of a {prediction} is clearly visible."
    why = "The attended region is background." if looked_away else f"It shows features of the {prediction}."
    return Judgement(image_id, "ok", None, seen, why, score, entropy, tuple(distribution.tolist()), 0.1)


def make_store(
    folder: Path,
    *,
    rows: int = 60,
    classes: Sequence[str] = ("cow", "camel", "horse"),
    judged: bool = True,
    seed: int = 0,
    pictures: bool = True,
    images: str = "synthetic",
    change: Callable[[dict[str, list[Any]]], None] = lambda tables: None,
) -> tuple[Store, str]:
    """A published store with one finished run of `rows` pictures and one failure, and the run's name.

    `images` is the folder that the run names; `change` may edit the rows of every table before they are written.
    """
    store = Store(folder)
    prints = {stage: name for stage, name in PRINTS.items() if judged or stage not in ("judge", "embedding")}
    tables = synthetic_rows(rows, list(classes), seed=seed, pictures=pictures)
    change(tables)
    stages = {"images": "images", "predictions": "classifier", "attributions": "attribution", "checks": "causal"}
    stages |= {"judgements": "judge", "embeddings": "embedding"} if judged else {}
    settings = {"images": images, "classifier": "synthetic", "rows": rows, "seed": seed, "judged": judged}
    note = "This judge knows the demo world only." if judged else None
    with open_for_writing(store.folder) as writer:
        prints["images"] += f"-{seed}-{rows}-{'-'.join(classes)}"
        run = writer.begin_run(json.loads(json.dumps(settings)), prints, class_names=classes, judge_note=note)
        for table, stage in stages.items():
            for start in range(0, len(tables[table]), 64):
                writer.write(table, tables[table][start : start + 64], fingerprint=prints[stage])
        writer.write("failures", [Failure("images", None, "cow/broken.png", "the file is empty")], run=run)
        writer.finish_run(run, "done", {"pictures": rows, "failures": 1})
        writer.publish()
    return store, run
