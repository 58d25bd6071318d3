"""From logits to predictions: probabilities, and what is said of one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.records import ImageEntry, Prediction


def probabilities_of(logits: Tensor) -> NDArray[np.float64]:
    """Softmax (B, K) of logits (B, K) on the CPU, in double precision; a row that is not finite gives NaN."""
    probabilities: NDArray[np.float64] = logits.double().softmax(dim=1).numpy()
    return probabilities


def prediction_of(entry: ImageEntry, probabilities: NDArray[np.float64], class_names: Sequence[str]) -> Prediction:
    """The prediction for one picture; `probabilities` has shape (K,)."""
    best = int(probabilities.argmax())
    others = np.delete(probabilities, best)
    known = entry.label is not None and entry.label in class_names
    return Prediction(
        image_id=entry.image_id,
        prediction=class_names[best],
        confidence=float(probabilities[best]),
        margin=float(probabilities[best] - others.max()) if others.size else 1.0,
        label_probability=float(probabilities[class_names.index(str(entry.label))]) if known else None,
        probabilities=probabilities.astype(np.float32),
    )


def label_indices(entries: Sequence[ImageEntry], class_names: Sequence[str]) -> Tensor:
    """Class index (B,) of each picture's label, -1 where it has none that the classifier knows."""
    places = {name: index for index, name in enumerate(class_names)}
    return torch.tensor([places.get(entry.label or "", -1) for entry in entries])
