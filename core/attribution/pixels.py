"""Attributions per input pixel, computed by Captum.

Most need the graph of the whole network and several passes through it: slow, and open to any model that is
differentiable, also one without a spatial layer. Each returns the positive part of the sum over colour channels, (B, H,
W).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from captum.attr import (
    DeepLift,
    FeatureAblation,
    GradientShap,
    GuidedBackprop,
    IntegratedGradients,
)
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional as F

from core.attribution.cam import enlarge, gradcam
from core.attribution.causal import blurred
from core.attribution.class_target import ClassTarget
from core.attribution.forward_pass import ForwardPass
from core.attribution.head import frozen_eval
from core.errors import translate_errors
from core.model_outputs import logits_of

STEPS = 32
SHAP_SAMPLES = 16
SEGMENTS = 50
"""Superpixels of a picture, about."""


class Scored(nn.Module):
    """A model that answers with S (N,), the score of the class target of the picture in each row."""

    def __init__(self, model: nn.Module, target: ClassTarget) -> None:
        super().__init__()
        self.model, self.target = model, target

    def forward(self, inputs: Tensor, rows: Tensor) -> Tensor:
        """S (N,) of inputs (N, C, H, W) that belong to pictures `rows` (N,)."""
        return self.target.of(logits_of(self.model(inputs), inputs.shape[0]), rows)


@contextmanager
def _scored(seen: ForwardPass, *, separate: bool = False) -> Iterator[tuple[Scored, Tensor, Tensor]]:
    """The scored model, the batch and its rows; `separate` gives every call of an activation a module of its own."""
    model = _separate_activations(seen.classifier.model) if separate else seen.classifier.model
    rows = torch.arange(len(seen.batch), device=seen.batch.device)
    with ExitStack() as stack:
        for context in (
            torch.inference_mode(False),
            torch.enable_grad(),
            frozen_eval(model),
            translate_errors("Captum failed"),
        ):
            stack.enter_context(context)
        yield Scored(model, seen.target).eval(), seen.batch.detach().clone(), rows


def _separate_activations(model: nn.Module) -> nn.Module:
    """A traced copy whose every ReLU call is a module of its own, as Captum's hooks need; the model where that fails.

    torchvision's ResNets call one ReLU module several times, and many models call the function.
    """
    try:
        traced = fx.symbolic_trace(copy.deepcopy(model))
    except (fx.proxy.TraceError, TypeError, RuntimeError, NameError):  # control flow that depends on the data
        return model
    for node in list(traced.graph.nodes):
        called = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        function = node.op == "call_function" and node.target in (F.relu, torch.relu, torch.relu_)
        if isinstance(called, nn.ReLU) or function or (node.op == "call_method" and node.target in ("relu", "relu_")):
            name = f"separate_{node.name}"
            traced.add_submodule(name, nn.ReLU())
            node.op, node.target, node.args, node.kwargs = "call_module", name, node.args[:1], {}
    traced.recompile()
    return traced.eval()


def positive(attribution: Tensor) -> Tensor:
    """Attributions (B, C, H, W) to the positive part of their sum over channels (B, H, W)."""
    return attribution.detach().sum(dim=1).relu()


def integrated_gradients(seen: ForwardPass) -> Tensor:
    """Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365, equation 1), from the blurred picture x'.

    (x - x') times the mean of dS/dx on the line from x' to x, 32 steps of Gauss-Legendre quadrature.
    """
    with _scored(seen) as (model, batch, rows):
        size = max(len(batch), seen.copies // 4)
        options = {"additional_forward_args": (rows,), "n_steps": STEPS, "internal_batch_size": size}
        return positive(IntegratedGradients(model).attribute(batch, blurred(batch), **options))


def gradient_shap(seen: ForwardPass) -> Tensor:
    """Gradient SHAP (Lundberg & Lee 2017, arXiv 1705.07874), between the blurred and the black picture as baselines.

    Captum draws a batch's baselines for all its pictures together, so each picture goes alone, with a fixed seed.
    """
    parts = []
    options = {"n_samples": SHAP_SAMPLES, "stdevs": 0.05}
    with _scored(seen) as (model, batch, rows), _fixed_draws() as restart:
        for picture, row in zip(torch.split(batch, 1), torch.split(rows, 1), strict=True):
            restart()
            baselines = torch.cat([blurred(picture), torch.zeros_like(picture)])
            parts.append(GradientShap(model).attribute(picture, baselines, additional_forward_args=(row,), **options))
    return positive(torch.cat(parts))


@contextmanager
def _fixed_draws() -> Iterator[Callable[[], None]]:
    """A function that starts torch's and NumPy's global generators anew, as Captum draws from both; both restored."""

    def restart() -> None:
        torch.manual_seed(0)
        np.random.seed(0)

    state = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield restart
    finally:
        np.random.set_state(state)


def deeplift(seen: ForwardPass) -> Tensor:
    """DeepLIFT with the rescale rule (Shrikumar et al. 2017, arXiv 1704.02685), against the blurred picture."""
    with _scored(seen, separate=True) as (model, batch, rows):
        return positive(DeepLift(model).attribute(batch, blurred(batch), additional_forward_args=(rows,)))


def guided_gradcam(seen: ForwardPass) -> Tensor:
    """Guided Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391, section 3.2): guided backpropagation times Grad-CAM.

    It is sharp because guided backpropagation is, which depends little on the weights (Adebayo et al. 2018).
    """
    with _scored(seen, separate=True) as (model, batch, rows):
        guided = GuidedBackprop(model).attribute(batch, additional_forward_args=(rows,))
    map_ = enlarge(gradcam(seen.grid, seen.gradients), guided.shape[-2:])
    return positive(guided * map_[:, None])


def feature_ablation(seen: ForwardPass) -> Tensor:
    """Feature ablation over superpixels (SLIC, about 50 a picture): the score lost when one is blurred away."""
    parts = []
    with _scored(seen) as (model, batch, rows), torch.no_grad():
        for picture, row in zip(torch.split(batch, 1), torch.split(rows, 1), strict=True):
            segments = torch.from_numpy(superpixels(picture[0])).to(picture.device)[None, None]
            ablation = FeatureAblation(model)
            size = min(seen.copies, SEGMENTS)
            parts.append(ablation.attribute(picture, blurred(picture), None, row, segments, size))
    return positive(torch.cat(parts))


def superpixels(picture: Tensor) -> NDArray[np.int64]:
    """Labels 0.. (H, W) of a picture's superpixels: SLIC (Achanta et al. 2012), by scikit-image."""
    from skimage.segmentation import slic  # takes up to a second, and of all methods only this one needs it

    pixels = picture.detach().float().cpu()
    low, high = pixels.amin(dim=(1, 2), keepdim=True), pixels.amax(dim=(1, 2), keepdim=True)
    shown = ((pixels - low) / (high - low).clamp(min=1e-8)).permute(1, 2, 0).numpy()
    return np.asarray(slic(shown, n_segments=SEGMENTS, channel_axis=2, start_label=0), dtype=np.int64)
