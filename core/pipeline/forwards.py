"""How much memory a classifier takes for a batch, measured on small pictures, and how many fit at a time."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core.attribution.attribute import attribute
from core.attribution.causal import causal_check
from core.attribution.methods import METHODS
from core.classifier.loading import Classifier
from core.errors import ModelError
from core.memory import check_room

SHARE = 0.25
"""Of the memory that is free, a batch may take this much on the CPU."""
UNMEASURED = 2**25
"""Batches up to these 32 MB are not measured: usual batches of resized pictures."""
NOTED_BYTES = 2**28
OVERHEAD = 2
"""Work space of convolutions and freed memory that is kept, as a factor: 1.9 for ResNet-18 at 6000 x 4000."""

_SIDES = (256, 512)
"""Roots of the pixel counts at which a forward pass is measured when pictures are larger than that."""
_MULTIPLE = 32


class Forwards:
    """What one classifier and method take, measured when the first large batch comes."""

    def __init__(self, classifier: Classifier, method: str) -> None:
        """Nothing is measured yet."""
        self._classifier = classifier
        self._method = method
        self._measured: dict[tuple[int, ...], int] = {}

    def batch_size(self, batch: Tensor) -> tuple[int, bool]:
        """How many pictures of a batch (B, C, H, W) fit at a time, and whether to note them for they need much.

        Anything fits where it cannot be known: on other devices, which say themselves that they are full, and for
        models that take no small pictures.

        Raises:
            NoRoom: one alone does not fit.
        """
        if self._classifier.device.type != "cpu" or batch.nbytes <= UNMEASURED:
            return len(batch), False
        try:
            needed = self.needed(batch[0])
        except ModelError:
            return 1, True
        room = check_room(needed, share=SHARE)
        return max(1, min(len(batch), room // needed)), needed > NOTED_BYTES

    def needed(self, picture: Tensor) -> int:
        """Bytes that prediction, map and causal check of one picture (C, H, W) take at their peak.

        Raises:
            ModelError: the model takes no smaller picture.
        """
        channels, height, width = picture.shape
        pixels = height * width
        if pixels <= _SIDES[1] ** 2:
            return OVERHEAD * self._peak(picture[None])
        small, large = (OVERHEAD * self._peak(_shrunk(picture, side)) for side in _SIDES)
        ratio = (_SIDES[1] / _SIDES[0]) ** 2
        growth = math.log(large / small) / math.log(ratio)
        if growth > 1:  # attention over all places grows with their square
            return int(large * (pixels / _SIDES[1] ** 2) ** min(growth, 2.0))
        slope = (large - small) / (_SIDES[1] ** 2 - _SIDES[0] ** 2)
        return int(large + max(0.0, slope) * (pixels - _SIDES[1] ** 2))

    def _peak(self, batch: Tensor) -> int:
        """Bytes at the peak for one picture (1, C, H, W), measured once per shape."""
        shape = tuple(batch.shape)
        if shape not in self._measured:
            with _Alive() as alive:
                self._work(batch.clone())
            self._measured[shape] = max(1, alive.peak)
        return self._measured[shape]

    def _work(self, batch: Tensor) -> None:
        """What a run does with one picture; a method that asks again and again keeps to a budget of its own."""
        method = METHODS[self._method]
        if method.needs == "layer" and method.name not in ("scorecam", "ablationcam"):
            answer = attribute(self._classifier, batch, method=method.name)
            maps, targets = answer.maps, answer.targets
        elif self._classifier.layer:
            answer = attribute(self._classifier, batch, method="gradcam")
            maps, targets = answer.maps, answer.targets
        else:
            maps, targets = torch.ones(1, 7, 7), torch.zeros(1, dtype=torch.long)
        causal_check(self._classifier, batch, maps, targets)


def _shrunk(picture: Tensor, side: int) -> Tensor:
    """A picture (C, H, W) as (1, C, h, w) of about `side` x `side` pixels in all, in its own shape."""
    height, width = picture.shape[-2:]
    scale = side / math.sqrt(height * width)
    size = [max(_MULTIPLE, round(length * scale / _MULTIPLE) * _MULTIPLE) for length in (height, width)]
    return F.interpolate(picture[None].float(), size=size, mode="nearest").to(picture.dtype)


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that operations make, for as long as each lives."""

    def __init__(self) -> None:
        """Nothing is alive yet."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        function: Callable[..., object],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run one operation."""
        for found in _storages((args, kwargs or {})):  # weights and inputs: what was there before is not ours
            self._meet(found, 0)
        output = function(*args, **(kwargs or {}))
        for found in _storages(output):
            self._meet(found, found.nbytes())
        self.peak = max(self.peak, self.now)
        return output

    def _meet(self, storage: torch.UntypedStorage, size: int) -> None:
        """Count a storage the first time it is seen, until it is gone."""
        key = id(storage)
        known = self._known.get(key)
        if known is not None and known() is storage:
            return

        def gone(_: object) -> None:
            self.now -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, gone)
        self.now += size


def _storages(found: object) -> list[torch.UntypedStorage]:
    """The storages of all tensors in something."""
    return [leaf.untyped_storage() for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
