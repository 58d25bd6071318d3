"""Which stage limits: the arithmetic of seconds per stage."""

from __future__ import annotations

from core.pipeline.stages import limiting, shares


def test_the_slowest_stage_limits_and_threads_beside_it_do_not() -> None:
    seconds = {"decoding": 90.0, "attribution": 10.0, "causal check": 30.0, "waiting for pictures": 0.0}
    assert limiting(seconds) == "causal check 75%"
    assert shares(seconds) == [("causal check", 30.0, 0.75), ("attribution", 10.0, 0.25)]


def test_nothing_limits_before_anything_took_time() -> None:
    assert limiting({}) == ""
    assert limiting({"attribution": 0.0, "decoding": 3.0}) == ""
