"""The judge's choices by name, for the command line, the run form and the request: importing this loads no model code.

The prompt files that the protocols name are in `prompts`; fills and views are drawn by core.images.masking.
"""

from __future__ import annotations

from typing import Literal, get_args

from core.records import View

ProtocolName = Literal["calibrated", "paper"]
PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)
VIEWS: tuple[View, ...] = get_args(View)
