"""Named reads of a published store, search over explanations, and user SQL behind its gate.

Knows: which functions other modules may call. Does not know: models, Streamlit, how rows got into the store.
"""

from core.queries.cues import CAUSE, PLACEBO, UNTESTED, CueRow, Example, cues, sections
from core.queries.facets import Bar, CodedRun, Facet, GroupCount, coded_run, facets, groups
from core.queries.faithfulness import Faithfulness, Measure, map_faithfulness
from core.queries.features import NO_FEATURES, FeatureTable, features, has_features
from core.queries.labels import LabelRows, label_rows
from core.queries.pictures import in_order, maps, mean_map, neighbours, pictures, sample, seen_parts, thumbnails
from core.queries.reads import (
    ClassRow,
    ConfusionRow,
    FailureRow,
    Group,
    MatrixRow,
    RunCounts,
    SliceStats,
    cells,
    columns,
    confusion,
    descriptions,
    failures,
    filled,
    histogram,
    labels_not_asked,
    matrix,
    metadata_columns,
    missing_rows,
    most_confused,
    per_class,
    run_counts,
    slice_stats,
    table_columns,
)
from core.queries.reasons import RESTS_SQL, Reasons, Share, reasons
from core.queries.report_card import CardMeasure, JudgeCard, Threshold, card_of, judge_card
from core.queries.rows import Connection, fetch_rows
from core.queries.runs import RunAccuracy, accuracies, run, runs, runs_on_disk
from core.queries.search import Hit, SearchResult, search
from core.queries.strategies import WayOfSeeing, discovered, way_of_seeing
from core.sql.gate import SqlError
from core.sql.pool import SqlResult, run_sql
from core.store.quoting import identifier, literal

__all__ = [
    "Bar",
    "CardMeasure",
    "ClassRow",
    "CodedRun",
    "ConfusionRow",
    "Connection",
    "CueRow",
    "Example",
    "Facet",
    "FailureRow",
    "FeatureTable",
    "Group",
    "GroupCount",
    "Hit",
    "LabelRows",
    "JudgeCard",
    "MatrixRow",
    "Measure",
    "NO_FEATURES",
    "CAUSE",
    "PLACEBO",
    "UNTESTED",
    "sections",
    "RESTS_SQL",
    "Reasons",
    "RunAccuracy",
    "RunCounts",
    "SearchResult",
    "Share",
    "SliceStats",
    "SqlError",
    "SqlResult",
    "Threshold",
    "WayOfSeeing",
    "Faithfulness",
    "accuracies",
    "card_of",
    "cells",
    "coded_run",
    "columns",
    "cues",
    "confusion",
    "descriptions",
    "discovered",
    "facets",
    "failures",
    "features",
    "fetch_rows",
    "filled",
    "groups",
    "has_features",
    "histogram",
    "identifier",
    "in_order",
    "label_rows",
    "judge_card",
    "labels_not_asked",
    "literal",
    "maps",
    "matrix",
    "mean_map",
    "metadata_columns",
    "missing_rows",
    "most_confused",
    "neighbours",
    "per_class",
    "pictures",
    "reasons",
    "run",
    "run_counts",
    "run_sql",
    "runs",
    "runs_on_disk",
    "sample",
    "search",
    "seen_parts",
    "slice_stats",
    "table_columns",
    "thumbnails",
    "map_faithfulness",
    "way_of_seeing",
]
