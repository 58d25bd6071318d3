"""The forms of a classifier SPEC and the precisions by name, for the command line: importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

SPECS: Mapping[str, str] = {
    "torchvision:NAME": "a torchvision model; with --weights its state dict, without them untrained",
    "timm:NAME": "a timm model (needs the package timm), with --weights",
    "hf:FOLDER_OR_ID": "a Hugging Face image classifier",
    "torchscript:FILE": "a TorchScript file (say --classes)",
    "FILE.py:FUNCTION": "your function; returns a module, (module, transform) or (module, transform, class_names)",
}
SPECS_WARNING = "FILE.py and TorchScript run with your rights: only from people you trust"

Precision = Literal["fp32", "channels-last", "bf16"]
PRECISIONS: Mapping[str, str] = {
    "fp32": "single precision (the default)",
    "channels-last": "single precision, with the channels last in memory",
    "bf16": "channels last, and bfloat16 where it loses little (autocast)",
}
AUTO = "takes the fastest whose predictions and maps agree with fp32 on a probe"
"""What `--precision auto` does; no precision of its own."""
