"""The frozen records that cross module borders.

Knows: the words of the field. Does not know: files, models, DuckDB, Streamlit. NumPy is named in types only: the
command line reads this file, and its help must not wait for NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

State = Literal["ok", "abstained", "failed"]
Stage = Literal["images", "classifier", "attribution", "causal", "judge", "embedding"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Row = dict[str, Any]
"""A row of a query by column; the user's own columns may hold anything that DuckDB does."""
HIGH_SCORE = 2.5
"""Score from which attention counts as high (arXiv 2508.20227, section on dataset-level analysis)."""
ATTENDED = 0.4
"""Map value from which a cell counts as attended (the mask's edge, arXiv 2508.20227)."""
CAUSAL_SAMPLE = 256
"""Pictures that get the causal check where nobody says how many: a share of them is known to 6 points."""
CAUSAL_DRAWS = 6
"""Random regions of each of the first CAUSAL_SAMPLE pictures checked; of further ones, which serve the mean, one."""
FEWEST_DRAWS = 3
"""Random regions from which something is said of one picture. By one region a picture 67% of the demo's answers seem to
rest on what is attended, by three 79%, by six and by 24 84% (n 400); EfficientNet-Lite0's: 62, 70, 75 and 75% (n 200).
"""
MACHINE = "machine"
"""Key of a run's settings that holds what does not name the run: the device, batch sizes, the report card's sample, the
column of groups."""
Fill = Literal["black", "grey", "blur"]
"""What stands in the place of what the classifier did not attend to."""
View = Literal["masked", "side-by-side"]
"""What the judge is shown: the masked picture alone, or the whole picture on its left."""
WRONG_MAPS = ("inverted", "shuffled", "patch", "empty")
"""The wrong maps that the judge's report card shows in place of the true one."""


@dataclass(frozen=True)
class ImageEntry:
    """One distinct picture: its content hash, every path that holds those bytes, label and the user's metadata."""

    image_id: str
    path: Path
    relative_paths: tuple[str, ...]
    label: str | None
    metadata: Mapping[str, str | float | int | bool | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Something that did not work, with its reason: a row of table `failures`, never a missing picture."""

    stage: Stage
    image_id: str | None
    path: str
    reason: str


@dataclass(frozen=True)
class Prediction:
    """What the classifier said of one picture. `probabilities` has shape (classes,), float32, sums to 1."""

    image_id: str
    prediction: str
    confidence: float
    margin: float
    label_probability: float | None
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Attribution:
    """A class activation map at its own resolution, (h, w) float32 in [0, 1], and its statistics.

    The map is that of the classifier's input; `seen` is the part of the picture that it shows (see core/placing.py),
    None the whole.
    """

    image_id: str
    state: State
    reason: str | None
    map: NDArray[np.float32] | None
    attention_area: float | None = None
    attention_entropy: float | None = None
    attention_border: float | None = None
    attention_x: float | None = None
    attention_y: float | None = None
    attention_islands: int | None = None
    attention_agreement: float | None = None
    seen: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class CausalCheck:
    """What hiding the attended region of one picture cost, and as much elsewhere (mean); None without a map."""

    image_id: str
    causal_drop: float | None
    causal_drop_random: float | None
    causal_draws: int | None = None


@dataclass(frozen=True)
class JudgeRequest:
    """What the judge is shown: masked picture (H, W, 3) uint8 RGB and the class name the classifier predicted."""

    image_id: str
    masked: NDArray[np.uint8]
    prediction: str
    abstain_reason: str | None = None
    """Set when the map is flat or missing: the judge abstains without being asked."""
    label: str | None = None
    """What the picture is labelled: where that is not the prediction, it is scored, too."""


@dataclass(frozen=True)
class Judgement:
    """The judge's words and its score distribution over 0..5 (float32, sums to 1). Only state `ok` has a score."""

    image_id: str
    state: State
    reason: str | None
    description: str | None = None
    justification: str | None = None
    score: float | None = None
    score_entropy: float | None = None
    distribution: tuple[float, ...] | None = None
    seconds: float | None = None
    rubric_shift: float | None = None
    """Expected score under the rubric from 5 to 0 less that under the rubric from 0 to 5; None where one is asked."""
    label_asked: str | None = None
    """The label that was scored; None where it is the prediction, where there is none, and where no answer came."""
    label_score: float | None = None
    """Expected score of `label_asked`."""


@dataclass(frozen=True)
class Settings:
    """What was asked of a run, as far as others read it; `kept` holds all of it, as it was written."""

    images: str = ""
    """The folder or list of pictures; empty where a run names none."""
    classifier: str = ""
    """Its SPEC; empty where a run names none."""
    fill: Fill = "black"
    view: View = "masked"
    group: str | None = None
    """The metadata column whose equal values belong together."""
    kept: Mapping[str, object] = field(default_factory=dict)

    @property
    def classifier_name(self) -> str:
        """The classifier in a word, without the folders of this machine: `resnet50` of `torchvision:resnet50`."""
        path, _, name = self.classifier.rpartition(":")
        return name.replace("_", " ") if path.endswith(".py") else PurePath(name).name

    @property
    def images_name(self) -> str:
        """Last part of the folder or list of pictures."""
        return PurePath(self.images).name


@dataclass(frozen=True)
class Run:
    """A run: what was asked for, what its stages depend on, how far it came. Times are UTC without a time zone."""

    name: str
    """Column `run`, such as `r-3f9a21`."""
    state: str
    """running, done, interrupted or failed, as it was last written."""
    started: datetime
    finished: datetime | None
    settings: Settings
    fingerprints: Mapping[str, str]
    """One per stage that runs."""
    class_names: tuple[str, ...]
    """In the order of the logits."""
    counts: Mapping[str, int]
    seconds: Mapping[str, float]
    """What every stage took, over all attempts."""
    judge_note: str | None
    """A sentence when the judge knows only some pictures."""
    judge_limits: str | None
    """A sentence when its scores lack something whatever the pictures."""
    high_score: float
    """Score (0..5) from which attention counts as high."""
    version: str
    """The whylook that ran it last."""
    attempt: int

    @property
    def title(self) -> str:
        """What it is called where nobody gave it a name, such as `resnet50, 23 Nov 14:02`."""
        return f"{self.settings.classifier_name or self.name}, {self.started:%-d %b %H:%M}"


Verdict = Literal["right", "wrong", "unsure"]


@dataclass(frozen=True)
class LabelDecision:
    """What a person said of a picture's label; `should_be` where a wrong one's right one is known.

    It holds as long as the label is that.
    """

    image_id: str
    label: str | None
    verdict: Verdict
    should_be: str | None
    saved: datetime
    """UTC without a time zone."""


@dataclass(frozen=True)
class Sample:
    """One picture of a run: its row of view `samples`, and what lies beside it."""

    run: str
    image_id: str
    path: str
    label: str | None
    prediction: str | None
    correct: bool | None
    confidence: float | None
    margin: float | None
    label_probability: float | None
    cell: str | None
    score: float | None
    label_score: float | None
    mistake: str | None
    score_entropy: float | None
    judge_state: State | None
    description: str | None
    justification: str | None
    weight: float | None
    attention_area: float | None
    attention_entropy: float | None
    attention_border: float | None
    attention_x: float | None
    attention_y: float | None
    attention_islands: int | None
    attention_agreement: float | None
    causal_drop: float | None
    causal_drop_random: float | None
    causal_draws: int | None
    brightness: float | None
    contrast: float | None
    saturation: float | None
    warmth: float | None
    sharpness: float | None
    colour: str | None
    aspect: float | None
    strategy: str | None
    detail: str | None
    cue: str | None
    map_x: float | None
    map_y: float | None
    words_x: float | None
    words_y: float | None
    tags: list[str] | None
    columns: Mapping[str, object]
    """The columns of `samples` that come from the user's metadata, under the names they have there."""
    metadata: Mapping[str, str | float | int | bool | None]
    """The user's metadata under the user's own names."""
    paths: tuple[str, ...]
    """Every path that holds these bytes."""
    width: int | None
    height: int | None
    thumbnail: bytes | None
    """WebP; None where the picture could not be read."""
    probabilities: NDArray[np.float32] | None
    """Shape (classes,)."""
    top: tuple[tuple[str, float], ...]
    """The most probable classes, best first."""
    map: NDArray[np.float32] | None
    """Shape (h, w), values in [0, 1]."""
    attribution_state: State | None
    attribution_reason: str | None
    judge_reason: str | None
    distribution: tuple[float, ...] | None
    """The judge's probability of each score 0 to 5."""
