"""Batches side by side: copies of one classifier that share its weights, each in a thread with its share of the cores.

Threads that compute one operator together wait for the slowest of them after each: one busy process on two cores costs
more than half the speed. Threads with a batch of their own never wait for each other, and lose what the other takes.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psutil
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
LIGHT = 2**23
"""Batches up to so many bytes go side by side in any case: small pictures gain by it and take little memory."""
OTHERS = 0.25
"""Cores that others take from which larger ones do, too: else one batch at a time is as fast and takes less memory."""
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
        self._others = _Others()
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

    def parts(self, batch: Tensor) -> list[slice]:
        """A batch (B, C, H, W) in parts of nearly equal length, none too short for a lane of one thread."""
        return split(len(batch), self.count)

    def worth_it(self, batch: Tensor) -> bool:
        """Whether the parts of a batch had better be worked on at the same time."""
        others = self._others.cores()
        return self.count > 1 and (batch.nbytes <= LIGHT or others > OTHERS)

    def each(self, function: Callable[[Classifier, int, T], R], items: Sequence[T]) -> list[R]:
        """`function(classifier, lane, item)` of at most `count` items, at the same time."""
        if len(items) == 1 or self.count == 1:
            return self.in_turn(function, items)
        waiting = [
            self._pool.submit(function, classifier, lane, item)
            for lane, (classifier, item) in enumerate(zip(self._classifiers, items, strict=False))
        ]
        try:
            return [future.result() for future in waiting]
        finally:
            for future in waiting:  # nobody works on while the caller handles an error
                future.cancel() or future.exception()

    def in_turn(self, function: Callable[[Classifier, int, T], R], items: Sequence[T]) -> list[R]:
        """The same one after the other, in this thread, each with all cores."""
        return [function(self._classifiers[0], 0, item) for item in items]


class _Others:
    """How many cores of those that this process may use others take."""

    def __init__(self) -> None:
        """The clocks start."""
        self._last = self._now()

    def cores(self) -> float:
        """Since this was last asked; 0 where that is too short ago to say."""
        now = self._now()
        seconds, busy, own = (after - before for before, after in zip(self._last, now, strict=True))
        if seconds < 0.05:
            return 0.0
        self._last = now
        return max(0.0, busy - own) / seconds

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Seconds on the clock, those in which cores were busy, and those of this process."""
        mine = set(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else None
        spent = [
            sum(times) - times.idle - getattr(times, "iowait", 0.0)
            for core, times in enumerate(psutil.cpu_times(percpu=True))
            if mine is None or core in mine
        ]
        own = psutil.Process().cpu_times()
        return time.monotonic(), sum(spent), own.user + own.system


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
