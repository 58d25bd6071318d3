"""Are the labels right? Suspected wrong labels, duplicates and leaks, outliers, calibration, and the fix list.

Knows: labels, probabilities, features, hashes. Does not know: DuckDB, pages, where decisions are kept.
"""

from core.labels.calibration import Bin, Calibration, ClassCalibration, Mend, calibration
from core.labels.duplicates import Duplicates, DuplicateSet, Outlier, duplicates, outliers
from core.labels.fixes import applying, fix_rows, new_labels, write_csv
from core.labels.suspects import Suspect, Suspects, suspects

__all__ = [
    "Bin",
    "Calibration",
    "ClassCalibration",
    "DuplicateSet",
    "Duplicates",
    "Mend",
    "Outlier",
    "Suspect",
    "Suspects",
    "applying",
    "calibration",
    "duplicates",
    "fix_rows",
    "new_labels",
    "outliers",
    "suspects",
    "write_csv",
]
