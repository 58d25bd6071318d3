"""What `auto` means: the method whose maps order pixels best on a probe, the precision that is fast and agrees."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.attribution.attribute import BatchAttribution, attribute
from core.attribution.faithfulness import separation
from core.attribution.methods import METHODS
from core.classifier.loading import Classifier
from core.classifier.names import Precision
from core.classifier.precision import computes_bf16, is_channels_last, set_precision
from core.errors import ModelError, RequestError
from core.statistics import format_mean, mean_interval

CHEAP = ("hirescam", "layercam", "gradcam", "gradcam++", "xgradcam")
"""Candidates in the order in which a tie is decided, each at the price of one forward pass: first those that weigh
every place by its own gradient; HiResCAM marks no place that the logit does not use (Draelos & Carin 2020),
averages may."""
FASTER = 1.15
"""A precision must be this much faster than fp32 to be worth another set of numbers."""
ALIKE = 0.99
"""And its maps must correlate this much with those of fp32 (Pearson), each of them, and its predictions agree ..."""
TOSS_UP = 0.05
"""... save where the two most probable classes of fp32 are so near to each other in probability."""


def choose_precision(classifier: Classifier, batch: Tensor, *, method: str) -> tuple[Precision, str]:
    """The fastest precision that gives the same predictions and maps on a probe batch (B, C, H, W).

    Returns:
        The precision and a sentence that says why.
    """
    if isinstance(classifier.model, torch.jit.ScriptModule):
        return "fp32", "--precision auto: a TorchScript file runs in the precision it was saved in"
    plain = attribute(classifier, batch, method=method)
    seconds = _seconds(classifier, batch, method)
    told, best = [f"fp32 {1000 * seconds / len(batch):.1f} ms a picture"], (seconds / FASTER, "fp32")
    names: list[Precision] = [] if is_channels_last(classifier.model) else ["channels-last"]
    names += ["bf16"] if computes_bf16(classifier.device) else []
    for name in names:
        undo = set_precision(classifier.model, name, classifier.device)
        try:
            other = attribute(classifier, batch, method=method, target=plain.targets)
            taken = _seconds(classifier, batch, method)
        finally:
            undo()
        alike, differing = likeness(plain, other)
        said = f", other predictions on {differing} of {len(batch)}" if differing else ""
        told.append(f"{name} {1000 * taken / len(batch):.1f} ms, maps alike {alike:.3f}{said}")
        if alike >= ALIKE and not differing and taken < best[0]:
            best = (taken, name)
    chosen: Precision = next((name for name in names if name == best[1]), "fp32")
    return chosen, f"--precision auto chose {chosen}: {', '.join(told)}"


def likeness(first: BatchAttribution, second: BatchAttribution) -> tuple[float, int]:
    """Least Pearson correlation of any picture's two maps of the same class, and how many predictions differ.

    The correlation is 0 where one of the two has no map. A prediction does not count where the first is a toss-up.
    """
    top = first.logits.softmax(dim=1).topk(min(2, first.logits.shape[1]), dim=1)
    sure = top.values[:, 0] - top.values[:, -1] >= TOSS_UP if top.values.shape[1] > 1 else torch.ones(len(top.values))
    differing = int(((first.logits.argmax(1) != second.logits.argmax(1)) & sure.bool()).sum())
    if first.flat != second.flat:
        return 0.0, differing
    pairs = [(map_, other) for map_, other, flat in zip(first.maps, second.maps, first.flat, strict=True) if not flat]
    values = [float(torch.corrcoef(torch.stack([map_.flatten(), other.flatten()]))[0, 1]) for map_, other in pairs]
    return min(values, default=1.0), differing


def _seconds(classifier: Classifier, batch: Tensor, method: str) -> float:
    """Median seconds of three batches."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        attribute(classifier, batch, method=method)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def choose_method(classifier: Classifier, batch: Tensor) -> tuple[str, Classifier, str]:
    """The method and layer with the largest mean of lerf - morf on a probe batch (B, C, H, W), or a finer one as good.

    As good is a candidate whose paired difference to the best one has an interval that includes 0. Among those the
    finest grid is taken, for it says more of where, and of its methods the first of CHEAP.

    Returns:
        The method, the classifier with that layer, and a sentence that says why.

    Raises:
        RequestError: no candidate gives a map for any picture of the batch.
    """
    found: list[tuple[NDArray[np.float64], str, Classifier]] = []
    for candidate in _layers(classifier):
        for method in CHEAP:
            measured = _separation(candidate, batch, method)
            if np.isfinite(measured).any():
                found.append((measured, method, candidate))
    if not found:
        raise RequestError("--method auto found no method with a map on the first pictures; take --method occlusion")
    leader = max(found, key=lambda item: np.nanmean(item[0]))
    good = [item for item in found if item is leader or mean_interval(leader[0] - item[0]).low <= 0]
    best, method, chosen = max(good, key=lambda item: (item[2].layout.grid, -CHEAP.index(item[1])))
    default = next((item for item in found if item[1] == "gradcam" and item[2].layer == classifier.layer), None)
    against = f", Grad-CAM at {classifier.layer} {format_mean(mean_interval(default[0]))}" if default else ""
    why = (
        f"--method auto chose {method} at {chosen.layer}: removing the least instead of the most relevant pixels first "
        f"keeps {format_mean(mean_interval(best))} more of the probability{against}; {len(found)} candidates, "
        f"{len(good)} of them as good, of which the finest grid is taken"
    )
    return method, chosen, why


def _layers(classifier: Classifier) -> Iterator[Classifier]:
    """The classifier as it is, and with the last layer before it that has a finer grid."""
    yield classifier
    names = [layer.name for layer in classifier.layers]
    place = names.index(classifier.layer) if classifier.layer in names else 0
    for layer in reversed(classifier.layers[:place]):
        if layer.layout is not None and layer.layout.grid > classifier.layout.grid:
            yield dataclasses.replace(classifier, layer=layer.name, layout=layer.layout)
            return


def _separation(classifier: Classifier, batch: Tensor, method: str) -> NDArray[np.float64]:
    """What `separation` gives for each picture of the batch (B,), NaN where it has no map."""
    assert METHODS[method].needs == "layer"
    values = np.full(len(batch), np.nan)
    with suppress(ModelError):
        answer = attribute(classifier, batch, method=method)
        kept = torch.tensor([reason is None for reason in answer.reasons])
        if kept.any():
            values[kept.numpy()] = separation(classifier, batch[kept], answer.maps[kept], answer.targets[kept]).numpy()
    return values
