"""Seconds per stage of a run: which stage everything else waits for."""

from __future__ import annotations

from collections.abc import Mapping

BESIDE = ("decoding",)
"""What threads do while a stage computes. Its seconds say what it costs; it limits only where a stage has to wait."""


def shares(seconds: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """(stage, seconds, share of the time of all stages) of what ran one after the other, slowest first."""
    working = {stage: spent for stage, spent in seconds.items() if stage not in BESIDE and spent > 0}
    total = sum(working.values())
    return sorted(((stage, spent, spent / total) for stage, spent in working.items()), key=lambda item: -item[1])


def limiting(seconds: Mapping[str, float]) -> str:
    """The slowest stage with its share, as `causal check 61%`; empty when nothing took any time."""
    return next((f"{stage} {100 * share:.0f}%" for stage, _, share in shares(seconds)), "")
