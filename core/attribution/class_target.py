"""Which class a map explains, as a function of the logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.attribution.names import QUESTIONS, Question
from core.errors import RequestError


@dataclass(frozen=True)
class ClassTarget:
    """The score S of each picture: logit of class `targets` (B,), less that of class `against` (B,) in a contrast."""

    targets: Tensor
    against: Tensor | None = None

    def of(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """S (N,) of logits (N, K); `rows` (N,) says which picture each row belongs to, else row i to picture i."""
        score = logits.gather(1, _pick(self.targets, rows)[:, None].clone())[:, 0]
        if self.against is None:
            return score
        return score - logits.gather(1, _pick(self.against, rows)[:, None].clone())[:, 0]

    def rows(self, index: Tensor) -> ClassTarget:
        """The class targets of some of the pictures."""
        return ClassTarget(self.targets[index], None if self.against is None else self.against[index])


def _pick(classes: Tensor, rows: Tensor | None) -> Tensor:
    return classes if rows is None else classes[rows]


def class_target(question: Question, logits: Tensor, labels: Tensor | None) -> ClassTarget:
    """What a question means for logits (B, K) and labels (B,), -1 or None where no class is known.

    - predicted: why this class?
    - label: what speaks for the labelled class? The predicted one where there is no label.
    - runner-up: what speaks for the second most probable class?
    - contrast: why this class and not that one, which is the label where the prediction is wrong ("why cow and not
      camel") and else the runner-up (Prabhushankar et al. 2020, arXiv 2008.00178: gradients of a difference).

    Raises:
        RequestError: no such question, a label out of range, or a runner-up of a model with one class.
    """
    if question not in QUESTIONS:
        raise RequestError(f"no question {question!r}; there are: {', '.join(QUESTIONS)}")
    known = logits.nan_to_num(nan=float("-inf"))
    predicted = known.argmax(dim=1)
    labelled = predicted if labels is None else _checked(labels, logits)
    labelled = torch.where(labelled < 0, predicted, labelled)
    if question == "predicted":
        return ClassTarget(predicted)
    if question == "label":
        return ClassTarget(labelled)
    if logits.shape[1] < 2:
        raise RequestError(f"the question {question!r} needs two classes, the model has one")
    second = known.scatter(1, predicted[:, None], float("-inf")).argmax(dim=1)
    if question == "runner-up":
        return ClassTarget(second)
    return ClassTarget(predicted, torch.where(labelled == predicted, second, labelled))


def _checked(labels: Tensor, logits: Tensor) -> Tensor:
    """Labels as indices on the device of the logits."""
    if labels.shape != (logits.shape[0],) or labels.is_floating_point():
        raise RequestError(f"labels must hold one class index per picture, got {labels.dtype} {tuple(labels.shape)}")
    if labels.numel() and int(labels.max()) >= logits.shape[1]:
        raise RequestError(f"target class out of range: the model has classes 0 to {logits.shape[1] - 1}")
    return labels.to(logits.device, torch.long)
