"""Batches side by side: copies of one classifier that share its weights, each in a thread with its share of the cores.

Threads that compute one operator together wait for the slowest of them after each: one busy process on two cores costs
more than half the speed. Threads with a batch of their own never wait for each other, and lose what the other takes.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor, nn

from core.attribution.names import METHODS
from core.classifier.loading import Classifier
from core.errors import WhylookError
from core.model_outputs import logits_of

MOST = 8
"""Lanes at most; more cores than that go to the operators inside them."""
LEAST = 16
"""Pictures a lane gets at least: with one thread PyTorch leaves oneDNN for smaller batches, at 1.6 times the price
(ConvParams::use_mkldnn in aten/src/ATen/native/Convolution.cpp)."""
T = TypeVar("T")
R = TypeVar("R")


class Lanes:
    """Runs a function over items, `count` of them at a time, each with a classifier of its own; closes like a file."""

    def __init__(self, classifier: Classifier, method: str, probe: Tensor | None = None) -> None:
        """Copies the classifier where that can be done; `probe` (1, C, H, W) shows whether the copies are true."""
        self._threads = torch.get_num_threads()
        wanted = lanes_for(classifier, method)
        copies = _copies(classifier, wanted - 1, probe) if wanted > 1 and probe is not None else []
        self._classifiers = [classifier, *copies]
        self.count = len(self._classifiers)
        self._pool = ThreadPoolExecutor(
            self.count, "whylook-lane", initializer=torch.set_num_threads, initargs=(self._threads // self.count,)
        )

    def __enter__(self) -> Lanes:
        """Nothing to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the threads; this one computes with all cores again."""
        self.close()

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)

    def each(self, function: Callable[[Classifier, int, T], R], items: Sequence[T]) -> list[R]:
        """`function(classifier, lane, item)` of at most `count` items; a single one has all cores, in this thread."""
        if len(items) == 1 or self.count == 1:
            return [function(self._classifiers[0], 0, item) for item in items]
        waiting = [
            self._pool.submit(function, classifier, lane, item)
            for lane, (classifier, item) in enumerate(zip(self._classifiers, items, strict=False))
        ]
        try:
            return [future.result() for future in waiting]
        finally:
            for future in waiting:  # nobody works on while the caller handles an error
                future.cancel() or future.exception()


def lanes_for(classifier: Classifier, method: str) -> int:
    """How many lanes this machine has for a method: one where it changes PyTorch for the while, or on other devices."""
    known = METHODS[method]
    alone = known.needs != "layer" or known.cost != "at the price of the prediction"
    return 1 if alone or classifier.device.type != "cpu" else min(MOST, torch.get_num_threads())


def split(count: int, lanes: int) -> list[slice]:
    """So many pictures as slices of nearly equal length, at most one per lane and none too short for one."""
    parts = max(1, min(count // LEAST, lanes))
    ends = [count * part // parts for part in range(parts + 1)]
    return [slice(first, last) for first, last in zip(ends, ends[1:], strict=False)]


def _copies(classifier: Classifier, count: int, probe: Tensor) -> list[Classifier]:
    """The classifier so many times more, weights shared; fewer where the network cannot be copied truly."""
    model = classifier.model
    if isinstance(model, torch.jit.ScriptModule):
        return []
    try:
        shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        copies: list[nn.Module] = [copy.deepcopy(model, dict(shared)) for _ in range(count)]
        with torch.inference_mode():
            told = logits_of(model(probe.clone()), len(probe))
            for other in copies:
                if not torch.allclose(told, logits_of(other(probe.clone()), len(probe)), equal_nan=True):
                    return []
    except (WhylookError, RuntimeError, TypeError, ValueError, AttributeError, RecursionError):
        return []  # one lane is as good, only slower beside other work
    return [dataclasses.replace(classifier, model=other) for other in copies]
