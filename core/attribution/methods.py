"""Every attribution method's function, by the name that `--method` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from core.attribution import cam, linear, masked, names, smooth, tokens
from core.attribution.forward_pass import ForwardPass

Formula = Callable[[Tensor, Tensor], Tensor]
Maps = Callable[[ForwardPass], Tensor]


@dataclass(frozen=True)
class Method(names.MethodName):
    """A method that can be asked: `maps` turns a forward pass into raw maps (B, h, w) >= 0."""

    maps: Maps


def _formula(formula: Formula) -> Maps:
    return lambda seen: formula(seen.grid, seen.gradients)


def _captum(name: str) -> Maps:
    """A method of core.attribution.pixels; Captum is loaded when it is used."""

    def maps(seen: ForwardPass) -> Tensor:
        from core.attribution import pixels

        method: Maps = getattr(pixels, name)
        return method(seen)

    return maps


def _paired(functions: Mapping[str, Maps]) -> dict[str, Method]:
    """Methods in the order of their names; an ImportError where a name has no function or a function no name."""
    if unpaired := functions.keys() ^ names.METHODS.keys():
        raise ImportError(f"core.attribution.names and methods differ in {', '.join(sorted(unpaired))}")
    return {name: Method(**vars(method), maps=functions[name]) for name, method in names.METHODS.items()}


METHODS: dict[str, Method] = _paired(
    {
        "gradcam": _formula(cam.gradcam),
        "gradcam++": _formula(cam.gradcam_plus_plus),
        "layercam": _formula(cam.layercam),
        "xgradcam": _formula(cam.xgradcam),
        "hirescam": _formula(cam.hirescam),
        "cam": linear.cam,
        "eigencam": lambda seen: cam.eigencam(seen.grid),
        "smoothgradcam++": smooth.smooth_gradcam_plus_plus,
        "scorecam": masked.score_cam,
        "ablationcam": masked.ablation_cam,
        "rollout": tokens.rollout,
        "attention-gradient": tokens.gradient_attention,
        "occlusion": masked.occlusion,
        "integrated-gradients": _captum("integrated_gradients"),
        "gradient-shap": _captum("gradient_shap"),
        "deeplift": _captum("deeplift"),
        "guided-gradcam": _captum("guided_gradcam"),
        "feature-ablation": _captum("feature_ablation"),
    }
)
