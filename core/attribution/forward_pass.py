"""One forward pass of a batch and what a method may ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from core.attribution.class_target import ClassTarget
from core.attribution.head import Explained, frozen_eval, gradient
from core.errors import RequestError, translate_errors
from core.model_outputs import logits_of

BUDGET = {"cpu": 128 * 2**20, "cuda": 2**31, "mps": 512 * 2**20}
"""Bytes, by device, that the intermediate results of masked copies of a picture may take at a time."""


@dataclass
class ForwardPass:
    """A batch (B, C, H, W) that was predicted: `logits` (B, K), and the target layer's `activations` (B, C', h, w).

    Both carry the graph from the layer to the logits. `activations` is None for methods that work without a layer.
    """

    classifier: Explained
    batch: Tensor
    logits: Tensor
    target: ClassTarget
    activations: Tensor | None = None

    @property
    def grid(self) -> Tensor:
        """Activations (B, C', h, w) without a graph, in fp32."""
        if self.activations is None:
            raise RequestError("this method needs a target layer with a spatial map")
        return self.activations.detach().float()

    @cached_property
    def gradients(self) -> Tensor:
        """dS/dA (B, C', h, w) of the class target's score S, in fp32; one backward through the head."""
        assert self.activations is not None
        with torch.inference_mode(False), torch.enable_grad():
            scores = self.target.of(self.logits)
        return gradient(scores, self.activations, layer=self.classifier.layer).float()

    @cached_property
    def scores(self) -> Tensor:
        """S (B,) of the batch as it is."""
        return self.target.of(self.logits.detach().float())

    def predict(self, inputs: Tensor) -> Tensor:
        """Logits (N, K) of other inputs (N, C, H, W), without a graph.

        Raises:
            ModelError: the model raises.
        """
        with (
            frozen_eval(self.classifier.model),
            torch.no_grad(),
            translate_errors("the model failed on a masked picture"),
        ):
            output = self.classifier.model(inputs)
        return logits_of(output, inputs.shape[0]).float()

    @cached_property
    def copies(self) -> int:
        """How many copies of a picture the model may get at a time within `BUDGET`."""
        largest = 0

        def measure(module: nn.Module, inputs: object, output: object) -> None:
            nonlocal largest
            if isinstance(output, Tensor):
                largest = max(largest, output.numel() * output.element_size())

        model = self.classifier.model
        handles = [
            m.register_forward_hook(measure) for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)
        ]
        try:
            self.predict(self.batch[:1].clone())
        finally:
            for handle in handles:
                handle.remove()
        each = max(largest, self.batch[:1].numel() * 4)
        budget = BUDGET.get(self.batch.device.type, BUDGET["cpu"])
        return max(1, min(256, budget // (3 * each)))  # a layer's input, its output and one residual live at a time
