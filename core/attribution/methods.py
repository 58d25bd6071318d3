"""Every attribution method by the name that `--method` takes.

Knows: what each needs and costs. Does not know: how they work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from core.attribution import cam, linear, masked, smooth, tokens
from core.attribution.forward_pass import ForwardPass

Formula = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Method:
    """`maps` turns a pass into raw maps (B, h, w) >= 0; `needs` a target layer, attention weights or only a model."""

    name: str
    needs: Literal["layer", "attention", "model"]
    cost: str
    maps: Callable[[ForwardPass], Tensor]


def _formula(formula: Formula) -> Callable[[ForwardPass], Tensor]:
    return lambda seen: formula(seen.grid, seen.gradients)


def _captum(name: str) -> Callable[[ForwardPass], Tensor]:
    """A method of core.attribution.pixels; Captum is loaded when it is used."""

    def maps(seen: ForwardPass) -> Tensor:
        from core.attribution import pixels

        method: Callable[[ForwardPass], Tensor] = getattr(pixels, name)
        return method(seen)

    return maps


_INFERENCE = "one forward"
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("gradcam", "layer", _INFERENCE, _formula(cam.gradcam)),
        Method("gradcam++", "layer", _INFERENCE, _formula(cam.gradcam_plus_plus)),
        Method("layercam", "layer", _INFERENCE, _formula(cam.layercam)),
        Method("xgradcam", "layer", _INFERENCE, _formula(cam.xgradcam)),
        Method("hirescam", "layer", _INFERENCE, _formula(cam.hirescam)),
        Method("cam", "layer", _INFERENCE, linear.cam),
        Method("eigencam", "layer", _INFERENCE, lambda seen: cam.eigencam(seen.grid)),
        Method("smoothgradcam++", "layer", f"{1 + smooth.SAMPLES} forwards", smooth.smooth_gradcam_plus_plus),
        Method("scorecam", "layer", "a forward per channel", masked.score_cam),
        Method("ablationcam", "layer", "the head per channel", masked.ablation_cam),
        Method("rollout", "attention", _INFERENCE, tokens.rollout),
        Method("attention-gradient", "attention", "about three forwards", tokens.gradient_attention),
        Method("occlusion", "model", "about 225 forwards", masked.occlusion),
        Method("integrated-gradients", "model", "about 100 forwards", _captum("integrated_gradients")),
        Method("gradient-shap", "model", "about 50 forwards", _captum("gradient_shap")),
        Method("deeplift", "model", "about six forwards", _captum("deeplift")),
        Method("guided-gradcam", "layer", "about four forwards", _captum("guided_gradcam")),
        Method("feature-ablation", "model", "about 50 forwards", _captum("feature_ablation")),
    )
}
