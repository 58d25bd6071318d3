"""What a run is asked to do, what it reports while it works and what it hands back.

Knows: the options of a run and how they become fingerprints. Does not know: how any stage works, DuckDB.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

from core.errors import RequestError
from core.memory import free_memory
from core.records import Failure, Fill, ImageEntry, View

Protocol = Literal["calibrated", "paper"]
Question = Literal["predicted", "label", "runner-up", "contrast"]
RunState = Literal["done", "interrupted", "failed"]

VERSIONS: Mapping[str, str] = {"images": "1", "classifier": "1", "attribution": "2", "judge": "1", "embedding": "1"}
"""Raised by hand when a stage's code starts to give other results: old rows then no longer count as done."""


@dataclass(frozen=True)
class RunRequest:
    """Every option of `whylook run`. Paths may be relative to the working directory."""

    images: Path
    classifier: str
    weights: Path | None = None
    classes: Path | None = None
    metadata: Path | None = None
    vlm: Path | None = None
    mmproj: Path | None = None
    vlm_url: str | None = None
    vlm_model: str | None = None
    no_vlm: bool = False
    protocol: Protocol = "calibrated"
    prompts: Path | None = None
    fill: Fill = "black"
    view: View = "masked"
    judge_budget: int | None = None
    card_sample: int = 40
    method: str = "gradcam"
    question: Question = "predicted"
    layer: str | None = None
    precision: str = "fp32"
    device: str = "auto"
    store: Path = Path("whylook-store")
    batch_size: int | None = None
    judge_batch_size: int | None = None
    threads: int | None = None

    def check(self) -> None:
        """Look at what can be seen without loading anything.

        Raises:
            RequestError: An option contradicts another one or names a file that is not there, or the
                environment's WHYLOOK_MEMORY is no size.
        """
        free_memory()
        self._check_judge()
        if not self.images.exists():
            raise RequestError(f"no such folder or list of pictures: {self.images}")
        files = {
            "--weights": self.weights,
            "--classes": self.classes,
            "--metadata": self.metadata,
            "--vlm": self.vlm,
            "--mmproj": self.mmproj,
            "--prompts": self.prompts,
        }
        for option, path in files.items():
            if path is not None and not path.is_file():
                raise RequestError(f"{option}: {'a folder, not a file' if path.is_dir() else 'no such file'}: {path}")
        numbers = {"--batch-size": self.batch_size, "--judge-batch-size": self.judge_batch_size}
        if self.card_sample < 0:
            raise RequestError(f"--card-sample must be 0 or more, got {self.card_sample}")
        for option, number in (numbers | {"--threads": self.threads, "--judge-budget": self.judge_budget}).items():
            if number is not None and number < 1:
                raise RequestError(f"{option} must be 1 or more, got {number}")

    def _check_judge(self) -> None:
        """One judge, or none: files, a server, or --no-vlm."""
        files = self.vlm or self.mmproj
        asked = {"--no-vlm": self.no_vlm, "--vlm/--mmproj": files, "--vlm-url": self.vlm_url}
        chosen = [name for name, given in asked.items() if given]
        if len(chosen) > 1:
            raise RequestError(f"{' and '.join(chosen)} contradict each other: give one of them")
        if self.no_vlm and self.prompts:
            raise RequestError(
                "--no-vlm and --prompts contradict each other: without a judge there is nobody to prompt"
            )
        if self.vlm_model and not self.vlm_url:
            raise RequestError("--vlm-model names a model of a server: say --vlm-url, too")
        if self.vlm_url and ("@" in self.vlm_url or "?" in self.vlm_url):
            raise RequestError("--vlm-url must hold no key: put it into the environment, in WHYLOOK_VLM_API_KEY")
        if not (self.no_vlm or self.vlm_url or (self.vlm and self.mmproj)):
            missing = "--mmproj is" if self.vlm else "--vlm is" if self.mmproj else "--vlm and --mmproj are"
            raise RequestError(f"{missing} missing: the judge needs both GGUF files, or say --vlm-url or --no-vlm")

    def settings(self) -> dict[str, object]:
        """The options that say what is computed, with absolute paths: one run name per settings and fingerprints."""
        chosen = {key: value for key, value in asdict(self).items() if key not in _NOT_SETTINGS and value is not None}
        spec = Path(self.classifier.rpartition(":")[0]) if ":" in self.classifier else None
        if spec is not None and spec.suffix == ".py" and spec.exists():
            chosen["classifier"] = f"{spec.resolve()}:{self.classifier.rpartition(':')[2]}"
        return {key: str(value.resolve()) if isinstance(value, Path) else value for key, value in chosen.items()}

    def arguments(self) -> list[str]:
        """The words after `whylook run` that ask for this run again."""
        words = [str(self.images), "--classifier", self.classifier]
        if self.no_vlm:
            words.append("--no-vlm")
        defaults = {item.name: item.default for item in fields(self)}
        names = ("weights", "classes", "metadata", "vlm", "mmproj", "protocol", "prompts", "fill", "view", "method",
                 "question", "layer", "precision", "device")  # fmt: skip
        for name in names:
            value = getattr(self, name)
            if value is not None and value != defaults[name]:
                words += [f"--{name}", str(value)]
        for name in (
            "vlm_url",
            "vlm_model",
            "judge_budget",
            "card_sample",
            "batch_size",
            "judge_batch_size",
            "threads",
        ):
            if getattr(self, name) != defaults[name]:
                words += [f"--{name.replace('_', '-')}", str(getattr(self, name))]
        return [*words, "--store", str(self.store)]


_NOT_SETTINGS = frozenset({"store", "batch_size", "judge_batch_size", "threads", "device", "card_sample"})


def request_from_settings(settings: Mapping[str, object], *, store: Path) -> RunRequest:
    """The request that a stored run came from, so that it can be resumed.

    Raises:
        RequestError: The settings name no pictures or no classifier.
    """
    paths = {"images", "weights", "classes", "metadata", "vlm", "mmproj", "prompts"}
    known = {item.name for item in fields(RunRequest)} - {"store"}
    chosen = {key: value for key, value in settings.items() if key in known and value is not None}
    if "images" not in chosen or "classifier" not in chosen:
        raise RequestError("this run was not started by whylook run: its settings name no pictures or no classifier")
    values = {key: Path(str(value)) if key in paths else value for key, value in chosen.items()}
    return RunRequest(**values, store=store)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Progress:
    """One report: `done` of `total` pictures of `stage`; the rate counts only what this attempt worked on."""

    stage: str
    done: int
    total: int
    rate: float | None = None
    seconds_left: float | None = None
    message: str = ""
    limit: str = ""
    """The stage that limits now, with its share of the time."""


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended. `failures` are those of this attempt, as written to the store.

    `damaged` has a sentence per file of the store that turned out damaged, with what became of it.
    """

    run: str
    state: RunState
    counts: Mapping[str, int]
    failures: tuple[Failure, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


def fingerprint(*parts: object) -> str:
    """Hash of anything JSON can hold, 32 hex characters; the order of keys does not matter."""
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def prediction_fingerprint(classifier: str, precision: str) -> str:
    """Identity of predictions: the classifier's, and the precision in which it computes."""
    return fingerprint("classifier", VERSIONS["classifier"], classifier, *([precision] if precision != "fp32" else []))


def listing_fingerprint(entries: Sequence[ImageEntry]) -> str:
    """Identity of a folder's contents (bytes, paths, labels, metadata), one row at a time."""
    digest = hashlib.sha256(VERSIONS["images"].encode())
    for entry in entries:
        row = (entry.image_id, entry.relative_paths, entry.label, dict(entry.metadata))
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
        digest.update(b"\n")
    return digest.hexdigest()[:32]
