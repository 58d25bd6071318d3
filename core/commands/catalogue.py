"""What `whylook models` prints above the judges: classifiers, methods, questions, precisions, layers.

Knows: the forms of a classifier SPEC and where the demo's models lie. Does not know: how they are loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

METHODS = (
    "gradcam", "gradcam++", "layercam", "xgradcam", "hirescam", "cam", "eigencam", "smoothgradcam++", "scorecam",
    "ablationcam", "rollout", "attention-gradient", "occlusion", "integrated-gradients", "gradient-shap", "deeplift",
    "guided-gradcam", "feature-ablation",
)  # fmt: skip
PRECISIONS = ("fp32", "channels-last", "bf16")
QUESTIONS = ("predicted", "label", "runner-up", "contrast")
"""Names that core.attribution knows (a test compares them), without the seconds it takes to load torch."""
FILLS = ("black", "grey", "blur")
VIEWS = ("masked", "side-by-side")
"""Names of core.records.Fill and View."""

TEXT = """--classifier SPEC
  torchvision:NAME      a torchvision model; with --weights its state dict, without them untrained
  timm:NAME             a timm model (needs the package timm), with --weights
  hf:FOLDER_OR_ID       a Hugging Face image classifier
  torchscript:FILE      a TorchScript file (say --classes)
  FILE.py:FUNCTION      your function; returns a module, (module, transform) or (module, transform, class_names)
  FILE.py and TorchScript run with your rights: only from people you trust

--method, and what it costs a picture
  at the price of the prediction
    gradcam               Grad-CAM (Selvaraju et al. 2017), the default
    gradcam++             Grad-CAM++ (Chattopadhay et al. 2018)
    layercam              LayerCAM (Jiang et al. 2021)
    xgradcam              XGrad-CAM (Fu et al. 2020)
    hirescam              HiResCAM (Draelos & Carin 2020)
    cam                   CAM (Zhou et al. 2016); needs average pooling and one linear layer
    eigencam              Eigen-CAM (Muhammad & Yeasin 2020); the same whatever the class
    rollout               attention rollout (Abnar & Zuidema 2020); transformers, the same whatever the class
  a few forwards
    smoothgradcam++       Smooth Grad-CAM++ (Omeiza et al. 2019)
    attention-gradient    gradient-weighted attention (Chefer et al. 2021); transformers
    deeplift              DeepLIFT (Shrikumar et al. 2017)
    guided-gradcam        guided Grad-CAM (Selvaraju et al. 2017)
    ablationcam           Ablation-CAM (Desai & Ramaswamy 2020); the head once per channel
  many forwards
    scorecam              Score-CAM (Wang et al. 2020); one per channel
    occlusion             occlusion (Zeiler & Fergus 2014)
    integrated-gradients  integrated gradients (Sundararajan et al. 2017)
    gradient-shap         gradient SHAP (Lundberg & Lee 2017)
    feature-ablation      ablation of superpixels

  auto
    of ten cheap methods and layers one whose maps best order the pixels of twelve of your pictures, and of those as
    good one with the finest grid; it says why

--question
  predicted             why this class? (the default)
  label                 what speaks for the label?
  runner-up             what speaks for the second most probable class?
  contrast              why this class and not the label, or, where it is right, not the runner-up?

--precision
  fp32 (the default), channels-last, bf16; auto takes the fastest whose predictions and maps agree with fp32 on a probe

--layer NAME
  whylook models layers SPEC lists the layers that it may name and marks the one that is taken without it

--vlm FILE.gguf --mmproj FILE.gguf
  any vision-language model that llama.cpp runs: the text file and its projector
  data/demo/judge/judge.gguf with data/demo/judge/judge-mmproj.gguf knows the demo world only
  --vlm-url URL asks an OpenAI-compatible server instead (llama-server, vLLM); its key comes from WHYLOOK_VLM_API_KEY
  --no-vlm runs without a judge"""


def layer_rows(spec: str, *, weights: Path | None) -> list[dict[str, Any]]:
    """The layers of a classifier at which a map can be read, in the order in which they finish.

    Raises:
        RequestError: the classifier cannot be loaded, or has no such layer.
    """
    from core.classifier.loading import load_classifier

    classifier = load_classifier(spec, weights=weights, device="cpu")
    return [
        {
            "layer": layer.name,
            "shape": " x ".join(map(str, layer.shape)),
            "grid": " x ".join(map(str, layer.layout.grid)) if layer.layout else "",
            "default": "default" if layer.name == classifier.layer else "",
        }
        for layer in classifier.layers
    ]
