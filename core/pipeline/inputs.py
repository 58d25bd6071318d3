"""The pictures of a finished run as its classifier sees them: read when needed, some kept, drawn in one order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core.attribution.head import forward, frozen_eval
from core.classifier.loading import Classifier
from core.errors import ImageError, ModelError
from core.findings.frame import Frame, Mask
from core.model_outputs import logits_of
from core.pipeline.reading import picture_and_input
from core.pipeline.stored_run import StoredRun
from core.records import ImageEntry

BATCH = 32
KEPT_BYTES = 2**29
"""Inputs that are kept, not read again."""


class Inputs:
    """The classifier's inputs, of one shape, by their place in the frame."""

    def __init__(self, opened: StoredRun, frame: Frame, generator: np.random.Generator) -> None:
        self._classifier: Classifier = opened.classifier
        self._entries: dict[str, ImageEntry] = {entry.image_id: entry for entry in opened.scan.entries}
        self._ids: list[str] = frame.table["image_id"].to_pylist()
        self._groups = frame.groups
        self._kept: OrderedDict[int, Tensor] = OrderedDict()
        self._order = generator.permutation(frame.n)
        self._shape: torch.Size | None = None

    def some(self, mask: Mask, most: int) -> list[int]:
        """Places of some pictures, one of each group, with inputs of one shape: in one order, so that few are read."""
        found: list[int] = []
        groups: set[int] = set()
        for place in self._order[mask[self._order]].tolist():
            if len(found) == most:
                break
            if (group := int(self._groups[place])) not in groups and self.input(place) is not None:
                found.append(place)
                groups.add(group)
        return found

    def input(self, place: int) -> Tensor | None:
        """A picture as the classifier sees it; None where it is gone or of another shape than the others."""
        if place not in self._kept:
            read = self.read(place)
            if read is None:
                return None
            self._kept[place] = read[1]
            while len(self._kept) * read[1].nbytes > KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(place)
        return self._kept[place]

    def tensor(self, place: int) -> Tensor:
        """An input that was there before."""
        tensor = self.input(place)
        if tensor is None:
            raise ModelError(f"{self._ids[place]} went away while it was worked on")
        return tensor

    def read(self, place: int) -> tuple[Image.Image, Tensor] | None:
        """A picture and its input; None where it is gone or of another shape than the others."""
        entry = self._entries.get(self._ids[place])
        if entry is None:
            return None
        try:
            picture, tensor = picture_and_input(entry, self._classifier)
        except (ImageError, ModelError):
            return None
        self._shape = self._shape or tensor.shape
        return (picture, tensor) if tensor.shape == self._shape else None

    def predict(self, pictures: Tensor) -> NDArray[np.float64]:
        """Probabilities (n, classes) of some inputs."""
        with frozen_eval(self._classifier.model), torch.inference_mode():
            output = self._classifier.model(pictures.clone().to(self._classifier.device))
        return logits_of(output, len(pictures)).float().softmax(dim=1).cpu().numpy().astype(np.float64)

    def grid(self, places: Sequence[int]) -> NDArray[np.float32]:
        """The target layer's activations (n, C, h, w) of some pictures; of none, an empty array."""
        parts = [
            forward(self._classifier, torch.stack([self.tensor(place) for place in places[start : start + BATCH]]))[0]
            for start in range(0, len(places), BATCH)
        ]
        return torch.cat([part.detach().float().cpu() for part in parts]).numpy() if parts else np.zeros(0, np.float32)
