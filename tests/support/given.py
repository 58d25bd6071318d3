"""A record with what attribution, the causal check and faithfulness ask of a classifier, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from core.classifier.layouts import Layout


@dataclass(frozen=True)
class Given:
    """A model with the layer whose output is explained: channels first and on the CPU unless said otherwise."""

    model: nn.Module
    layer: str = "features"
    layout: Layout = Layout()
    device: torch.device = torch.device("cpu")
