"""How late an answer may be in a test: the stated grace, or more where other work has the machine busy."""

from __future__ import annotations

import os

from core.sql.pool import GRACE_SECONDS


def grace() -> float:
    """GRACE_SECONDS, times the processes that wait for each core."""
    return GRACE_SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
