"""`--method auto`: the method and layer whose maps order the pixels of a probe sample best.

Knows: which methods cost what a prediction costs, candidates of layers. Does not know: formulas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from core.attribution import METHODS, attribute
from core.attribution.faithfulness import separation
from core.classifier import Classifier
from core.errors import ModelError, RequestError
from core.statistics import Interval, format_mean, mean_interval

CHEAP = ("gradcam", "layercam", "hirescam", "gradcam++", "xgradcam")
"""Candidates in the order in which a tie is decided; each costs one forward."""


def choose_method(classifier: Classifier, batch: Tensor) -> tuple[str, Classifier, str]:
    """The method and layer with the largest mean of lerf - morf on a probe batch (B, C, H, W).

    Returns:
        The method, the classifier with that layer, and a sentence that says why.

    Raises:
        RequestError: no candidate gives a map for any picture of the batch.
    """
    found: list[tuple[Interval, str, Classifier]] = []
    for candidate in _layers(classifier):
        for method in CHEAP:
            measured = _separation(candidate, batch, method)
            if measured.known:
                found.append((measured, method, candidate))
    if not found:
        raise RequestError("--method auto found no method with a map on the first pictures; take --method occlusion")
    best, method, chosen = max(found, key=lambda one: one[0].value)
    default = next((one for one in found if one[1] == "gradcam" and one[2].layer == classifier.layer), None)
    against = f", Grad-CAM at {classifier.layer} {format_mean(default[0])}" if default else ""
    why = (
        f"--method auto chose {method} at {chosen.layer}: removing the least instead of the most relevant pixels first "
        f"keeps {format_mean(best)} more of the probability{against}; {len(found)} candidates"
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


def _separation(classifier: Classifier, batch: Tensor, method: str) -> Interval:
    """Mean of lerf - morf over the pictures of the batch that have a map."""
    assert METHODS[method].needs == "layer"
    try:
        answer = attribute(classifier, batch, method=method)
        kept = torch.tensor([reason is None for reason in answer.reasons])
        if not kept.any():
            return mean_interval([])
        return mean_interval(separation(classifier, batch[kept], answer.maps[kept], answer.targets[kept]).numpy())
    except ModelError:
        return mean_interval([])
