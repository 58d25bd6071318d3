"""What `whylook models` prints.

Knows: the forms of a classifier SPEC and where the demo's models lie. Does not know: how they are loaded.
"""

from __future__ import annotations

TEXT = """--classifier SPEC
  torchvision:NAME      a torchvision model; with --weights its state dict, without them untrained
  timm:NAME             a timm model (needs the package timm), with --weights
  hf:FOLDER_OR_ID       a Hugging Face image classifier
  torchscript:FILE      a TorchScript file (say --classes)
  FILE.py:FUNCTION      your function; returns a module, (module, transform) or (module, transform, class_names)

--method
  gradcam               Grad-CAM (Selvaraju et al. 2017), the default
  gradcam++             Grad-CAM++ (Chattopadhyay et al. 2018)
  layercam              LayerCAM (Jiang et al. 2021)

--vlm FILE.gguf --mmproj FILE.gguf
  any vision-language model that llama.cpp runs: the text file and its projector
  data/demo/judge/judge.gguf with data/demo/judge/judge-mmproj.gguf knows the demo world only
  --no-vlm runs without a judge"""
