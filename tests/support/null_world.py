"""Stores whose mistakes depend on nothing at all: whatever a finding says of them beyond their rate is false."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from core.records import Attribution, CausalCheck, Prediction
from core.store import Store
from tests.support.store_factory import make_store

CLASSES = tuple(f"class{index}" for index in range(10))
VALUES = {"habitat": ("desert", "meadow", "snow", "street", "water"), "time_of_day": ("day", "night"), "size": "SML"}


def make_null_world(folder: Path, *, seed: int, rows: int = 600, accuracy: float = 0.75) -> tuple[Store, str]:
    """A published run with labels, answers, metadata and attention drawn independently of each other."""
    generator = np.random.default_rng(seed)

    def redraw(tables: dict[str, list[Any]]) -> None:
        for index, entry in enumerate(tables["images"]):
            entry["metadata"] = {name: str(generator.choice(list(values))) for name, values in VALUES.items()}
            label = index % len(CLASSES)
            wrong = generator.random() > accuracy
            answer = (label + int(wrong) * int(generator.integers(1, len(CLASSES)))) % len(CLASSES)
            sure = float(generator.uniform(0.3, 1))
            probabilities = np.full(len(CLASSES), (1 - sure) / (len(CLASSES) - 1), dtype=np.float32)
            probabilities[answer] = sure
            image_id = entry["image_id"]
            tables["predictions"][index] = Prediction(image_id, CLASSES[answer], sure, 0.1, None, probabilities)
            figures = [float(value) for value in generator.random(5)]
            heat = np.ones((7, 7), dtype=np.float32)
            tables["attributions"][index] = Attribution(image_id, "ok", None, heat, *figures)
            tables["checks"][index] = CausalCheck(image_id, 0.5, 0.2, 6)

    return make_store(folder, rows=rows, classes=CLASSES, judged=False, seed=seed, pictures=False, change=redraw)
