"""Attribution methods and questions by name, for the command line and the run form: importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Cost = Literal["at the price of the prediction", "a few forward passes", "many forward passes"]
Question = Literal["predicted", "label", "runner-up", "contrast"]

QUESTIONS: Mapping[str, str] = {
    "predicted": "why this class? (the default)",
    "label": "what speaks for the label?",
    "runner-up": "what speaks for the second most probable class?",
    "contrast": "why this class and not the label, or, where it is right, not the runner-up?",
}

AUTO = (
    "picks the most faithful of up to ten cheap method and layer pairs on twelve of your images, and the one with the "
    "finest grid among equals; it says why"
)
"""What `--method auto` does; no method of its own."""


@dataclass(frozen=True)
class MethodName:
    """One value of `--method`; `needs` a target layer, attention weights or only a model."""

    name: str
    needs: Literal["layer", "attention", "model"]
    cost: Cost
    about: str


_PREDICTION: Cost = "at the price of the prediction"
_FEW: Cost = "a few forward passes"
_MANY: Cost = "many forward passes"

METHODS: Mapping[str, MethodName] = {
    method.name: method
    for method in (
        MethodName("gradcam", "layer", _PREDICTION, "Grad-CAM (Selvaraju et al. 2017), the default"),
        MethodName("gradcam++", "layer", _PREDICTION, "Grad-CAM++ (Chattopadhay et al. 2018)"),
        MethodName("layercam", "layer", _PREDICTION, "LayerCAM (Jiang et al. 2021)"),
        MethodName("xgradcam", "layer", _PREDICTION, "XGrad-CAM (Fu et al. 2020)"),
        MethodName("hirescam", "layer", _PREDICTION, "HiResCAM (Draelos & Carin 2020)"),
        MethodName("cam", "layer", _PREDICTION, "CAM (Zhou et al. 2016); needs average pooling and one linear layer"),
        MethodName(
            "eigencam", "layer", _PREDICTION, "Eigen-CAM (Muhammad & Yeasin 2020); the same whatever the class"
        ),
        MethodName("smoothgradcam++", "layer", _FEW, "Smooth Grad-CAM++ (Omeiza et al. 2019); nine"),
        MethodName("scorecam", "layer", _MANY, "Score-CAM (Wang et al. 2020); one per channel"),
        MethodName(
            "ablationcam", "layer", _FEW, "Ablation-CAM (Desai & Ramaswamy 2020); the head once per channel"
        ),
        MethodName(
            "rollout", "attention", _PREDICTION,
            "attention rollout (Abnar & Zuidema 2020); transformers, the same whatever the class",
        ),
        MethodName(
            "attention-gradient", "attention", _FEW,
            "gradient-weighted attention (Chefer et al. 2021); transformers, about three",
        ),
        MethodName("occlusion", "model", _MANY, "occlusion (Zeiler & Fergus 2014); about 225"),
        MethodName(
            "integrated-gradients", "model", _MANY, "integrated gradients (Sundararajan et al. 2017); about 100"
        ),
        MethodName("gradient-shap", "model", _MANY, "gradient SHAP (Lundberg & Lee 2017); about 50"),
        MethodName("deeplift", "model", _FEW, "DeepLIFT (Shrikumar et al. 2017); about six"),
        MethodName("guided-gradcam", "layer", _FEW, "guided Grad-CAM (Selvaraju et al. 2017); about four"),
        MethodName("feature-ablation", "model", _MANY, "ablation of superpixels; about 50"),
    )
}  # fmt: skip
"""Every attribution method; the order is that of lists and messages."""
