"""What models return, whatever form it has: a tensor, a tuple, an object with logits."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from core.errors import ModelError


def first(output: object) -> Any:
    """What a layer computed: some blocks return it in a tuple, before attention weights or sizes."""
    return output[0] if isinstance(output, tuple) and output else output


def with_first(output: object, changed: Tensor) -> object:
    """The layer's output with what it computed replaced."""
    return (changed, *output[1:]) if isinstance(output, tuple) else changed


def logits_of(output: object, pictures: int) -> Tensor:
    """The logits (B, K) in what a classifier returned: a tensor, or something with `logits` in it.

    Raises:
        ModelError: there is no (pictures, K) floating-point tensor in it.
    """
    logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", output)
    if not isinstance(logits, Tensor):
        raise ModelError(f"the model returned {type(output).__name__}, expected a tensor of logits (pictures, classes)")
    if logits.ndim != 2 or logits.shape[0] != pictures or logits.shape[1] < 1 or not logits.is_floating_point():
        raise ModelError(
            f"the model returned a {logits.dtype} tensor of shape {tuple(logits.shape)}, "
            f"expected floating-point logits of shape ({pictures}, classes)"
        )
    return logits
