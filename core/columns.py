"""The columns of `samples`, written once: the view, the pages' help and the README's table are made from them.

In the formulas p are the class probabilities of a picture x, q the judge's distribution over the scores 0 to 5, v the
map of h x w cells in 0..1, and u = v / sum v.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.cells import CELLS, MISTAKES
from core.records import ATTENDED, CAUSAL_DRAWS, CAUSAL_SAMPLE, HIGH_SCORE


@dataclass(frozen=True)
class Column:
    """One column: its DuckDB type, what values it takes (in `unit`), what they mean and where they come from."""

    name: str
    type: str
    range: str
    meaning: str
    source: str
    """The table it is taken from, or its formula."""
    unit: str = ""
    phrase: str = ""
    """What the number is, for the middle of a sentence."""

    @property
    def values(self) -> str:
        """Its range with the unit: `0 to 1.79 nats`."""
        return f"{self.range} {self.unit}".rstrip()


_CELLS = ", ".join(cell.name for cell in CELLS[:-1]) + f" or {CELLS[-1].name}"
_MISTAKES = ", ".join(kind.name for kind in MISTAKES[:-1]) + f" or {MISTAKES[-1].name}"
_MARKED = f"{ATTENDED:g} or more"

# fmt: off
SAMPLE_COLUMNS: tuple[Column, ...] = (
    Column("run", "VARCHAR", "text", "name of the run", "runs"),
    Column("image_id", "VARCHAR", "32 hex digits", "hash of the picture's bytes; keep it to see pictures", "SHA-256"),
    Column("path", "VARCHAR", "text", "file, relative to the folder of the run", "images"),
    Column("label", "VARCHAR", "text", "what the folder or list calls it", "images"),
    Column("prediction", "VARCHAR", "text", "what the classifier calls it", "the class with the largest p"),
    Column("correct", "BOOLEAN", "true or false", "whether label and prediction agree", "prediction = label"),
    Column("confidence", "FLOAT", "0 to 1", "probability of the prediction", "max p"),
    Column("margin", "FLOAT", "0 to 1", "confidence less the probability of the second class", "max p - second p"),
    Column("label_probability", "FLOAT", "0 to 1", "probability of the label", "p(label)"),
    Column(
        "cell", "VARCHAR", _CELLS,
        f"prediction correct or wrong, score high (the run's high_score, {HIGH_SCORE:g}, or more) or low",
        "correct, score >= high_score",
    ),
    Column(
        "score", "FLOAT", "0 to 5", "judge: how well the attended part supports the prediction",
        "sum of s q(s), s = 0 to 5",
    ),
    Column(
        "label_score", "FLOAT", "0 to 5", "judge: how well the attended part supports the label",
        "score where the answer is right, else the same asked about the label",
    ),
    Column(
        "mistake", "VARCHAR", _MISTAKES, "a wrong answer: what the judge finds more support for in the attended part",
        "the greater of score and label_score, if >= high_score and not against the description",
    ),
    Column("score_entropy", "FLOAT", "0 to 1.79", "how unsure the judge is of its score", "-sum q ln q", unit="nats"),
    Column("judge_state", "VARCHAR", "ok, abstained or failed", "what came of the judgement", "judgements"),
    Column("description", "VARCHAR", "text", "judge: what can be seen where the classifier looked", "judgements"),
    Column("justification", "VARCHAR", "text", "judge: why that score", "judgements"),
    Column(
        "weight", "DOUBLE", "1 or more", "how many pictures this judgement stands for: 1 without a budget",
        "predicted / judged, among the wrong ones or among the others", unit="pictures",
    ),
    Column(
        "attention_area", "FLOAT", "0 to 1", f"share of the map at {_MARKED}", f"mean of v >= {ATTENDED:g}",
        phrase="attended share of the picture",
    ),
    Column(
        "attention_entropy", "FLOAT", "0 to 1",
        "spread of attention: 0 all in one cell of the map, 1 the same everywhere",
        "-sum u ln u / ln(h w)", phrase="spread of the attention (0 to 1)",
    ),
    Column(
        "attention_border", "FLOAT", "0 to 1", "share of attention in the outermost cells of the map",
        "sum of u over the outermost cells", phrase="share of attention at the edge",
    ),
    Column(
        "attention_x", "FLOAT", "0 to 1", "centre of attention from left to right", "sum of u (column + 0.5) / w",
        phrase="centre of attention from left (0) to right (1)",
    ),
    Column(
        "attention_y", "FLOAT", "0 to 1", "centre of attention from top to bottom", "sum of u (row + 0.5) / h",
        phrase="centre of attention from top (0) to bottom (1)",
    ),
    Column(
        "attention_islands", "INTEGER", "1 or more", f"connected components of the map at {_MARKED}",
        f"8-connected components of v >= {ATTENDED:g}",
    ),
    Column(
        "attention_agreement", "FLOAT", "-1 to 1", "rank correlation of the Grad-CAM and the LayerCAM map",
        "Spearman's rho of the two maps",
    ),
    Column(
        "causal_drop", "FLOAT", "-1 to 1", "probability of the prediction lost when the attended region is blurred",
        f"of a uniform sample: p(x) - p(x blurred where v >= {ATTENDED:g})",
    ),
    Column(
        "causal_drop_random", "FLOAT", "-1 to 1", "the same for random regions of its size",
        "that region mirrored and moved, mean over causal_draws",
    ),
    Column(
        "causal_draws", "INTEGER", "1 or more", "random regions behind causal_drop_random",
        f"{CAUSAL_DRAWS} of the first {CAUSAL_SAMPLE} pictures checked, else 1",
    ),
    Column(
        "brightness", "FLOAT", "0 to 1", "mean brightness of the picture", "mean luma (ITU-R BT.601)",
        phrase="brightness",
    ),
    Column(
        "contrast", "FLOAT", "0 to 0.5", "spread of the brightness", "standard deviation of luma", phrase="contrast",
    ),
    Column("saturation", "FLOAT", "0 to 1", "how colourful the picture is", "mean of S in HSV", phrase="saturation"),
    Column(
        "warmth", "FLOAT", "-1 to 1", "colour cast, from blue to red", "mean of red less blue",
        phrase="warmth (blue -1 to red 1)",
    ),
    Column(
        "sharpness", "FLOAT", "0 to about 1", "detail that is left at 128 pixels", "root mean square of the Laplacian",
        phrase="sharpness",
    ),
    Column("colour", "VARCHAR", "a hue or grey", "the commonest hue of the picture", "mode of H in HSV, by S V"),
    Column("aspect", "DOUBLE", "above 0", "width over height", "images", phrase="width over height"),
    Column(
        "strategy", "VARCHAR", "class and number",
        "discovery: which way to see this class, with its place (the commonest is number 1)", "strategies",
    ),
    Column("detail", "VARCHAR", "class and letter", "discovery: what lies where the answer rests most", "strategies"),
    Column(
        "cue", "VARCHAR", "text", "discovery: the strongest of the cues in this picture that the classifier uses",
        "strategies",
    ),
    Column("map_x", "FLOAT", "0 to 1", "place on the map of what the model saw, from left", "map: PaCMAP"),
    Column("map_y", "FLOAT", "0 to 1", "the same, from below", "map: PaCMAP"),
    Column("words_x", "FLOAT", "0 to 1", "place on the map of what the judge said, from left", "map: PaCMAP"),
    Column("words_y", "FLOAT", "0 to 1", "the same, from below", "map: PaCMAP"),
    Column(
        "tags", "VARCHAR[]", "list of text",
        "what people called this picture, and said of its label: label right, label not sure, should be X", "tags",
    ),
)
PROPERTIES = ("brightness", "contrast", "saturation", "warmth", "sharpness", "colour", "aspect")
"""Columns that describe the picture as a whole, from its pixels."""
# fmt: on
BY_NAME: Mapping[str, Column] = {column.name: column for column in SAMPLE_COLUMNS}
