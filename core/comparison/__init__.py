"""Two runs over the same pictures: what differs, and is it more than chance?

Knows: published runs, their pictures, maps and judgements. Does not know: pages, the command line.
"""

from core.comparison.compare import compare
from core.comparison.result import (
    Accuracy,
    CellChange,
    Change,
    Changes,
    Churn,
    Comparison,
    ConfusionChange,
    Judges,
    Meant,
    Moved,
    Pair,
)
from core.comparison.words import sentences

__all__ = [
    "Accuracy",
    "CellChange",
    "Change",
    "Changes",
    "Churn",
    "Comparison",
    "ConfusionChange",
    "Judges",
    "Meant",
    "Moved",
    "Pair",
    "compare",
    "sentences",
]
