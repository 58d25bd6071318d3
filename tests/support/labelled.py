"""LabelRows made by hand: labels some of which are wrong, with probabilities and features that know better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.queries import LabelRows


def labelled(
    n: int = 1000, *, classes: int = 5, wrong: float = 0.1, temperature: float = 1.0, seed: int = 0, spread: float = 1.0
) -> tuple[LabelRows, NDArray[np.bool_]]:
    """Pictures of classes that overlap a little, and which of their labels are wrong, (n,)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 16)) * 1.2
    true = rng.integers(0, classes, n)
    features = centres[true] + spread * rng.normal(size=(n, 16))
    seen = features + rng.normal(size=features.shape)  # the classifier sees worse than its features could
    logits = (seen @ centres.T - (centres**2).sum(1) / 2) / temperature
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    bad = rng.random(n) < wrong
    labels = np.where(bad, (true + rng.integers(1, classes, n)) % classes, true)
    names = tuple(f"class{place}" for place in range(classes))
    rows = LabelRows(
        image_ids=tuple(f"{place:032x}" for place in range(n)),
        paths=tuple((f"{names[label]}/{place}.png",) for place, label in enumerate(labels)),
        names=names,
        labels=labels.astype(np.int64),
        probabilities=(raised / raised.sum(axis=1, keepdims=True)).astype(np.float32),
        features=features.astype(np.float32),
        scores=np.full(n, np.nan, dtype=np.float32),
        hashes=tuple(rng.bytes(16) for _ in range(n)),
        splits=None,
        high_score=2.5,
        images="pictures",
    )
    return rows, bad


def without_features(rows: LabelRows) -> LabelRows:
    """The same run, of which no features are kept."""
    return replace(rows, features=None)
