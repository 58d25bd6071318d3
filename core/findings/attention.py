"""Findings about where the classifier looks.

None rests on the judge's scores: a judge may be blind for one class, and then accuses that class. On the demo all 27
lizards that it scored low, and whose answer rested on the attended part, showed the lizard there.
"""

from __future__ import annotations

import numpy as np

from core.findings.finding import Finding
from core.findings.frame import Frame
from core.queries.reasons import MEASURED_SQL
from core.statistics import format_percent, format_pictures, format_rate, format_spoken, weighted_rate

IDLE = f"{MEASURED_SQL} AND causal_drop <= causal_drop_random"


def idle_maps(frame: Frame) -> list[Finding]:
    """Pictures where removing the attended region matters no more than removing a random one."""
    drop, random = frame.numbers("causal_drop"), frame.numbers("causal_drop_random")
    known = np.isfinite(drop) & np.isfinite(random) & frame.masks([MEASURED_SQL])[0]
    if not known.any():
        return []
    idle = frame.masks([IDLE])[0]
    value = weighted_rate(idle[known])
    n = int(idle.sum())
    if not n:
        return []
    sentence = (
        f"In {format_spoken(value.value)} of the pictures removing what the map marks costs the answer no more than "
        "removing a random region of the same size: there the map does not show the cause."
    )
    tried = int(known.sum())
    of = "" if tried == len(known) else f", of {tried:,} that were tried, a uniform sample"
    evidence = (
        f"{format_rate(value)} ({format_pictures(n)}{of}). On average the marked region costs "
        f"{format_percent(float(drop[known].mean()))} of probability, a random one "
        f"{format_percent(float(random[known].mean()))}."
    )
    sql = frame.select(IDLE)
    return [Finding("attention", 0, sentence, value, None, sql, n, 0.5, evidence)]
