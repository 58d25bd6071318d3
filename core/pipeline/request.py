"""What a run is asked to do, what it reports while it works and what it hands back.

Knows: the options of a run and how they become fingerprints. Does not know: how any stage works, DuckDB.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.addresses import address_of
from core.attribution.names import METHODS, Question
from core.classifier.names import PRECISIONS, SPECS
from core.errors import RequestError
from core.judge.names import ProtocolName
from core.memory import free_memory
from core.pipeline.options import Widget, option, options_of, words_of
from core.records import CAUSAL_SAMPLE, MACHINE, Failure, Fill, ImageEntry, Run, View

RunState = Literal["done", "interrupted", "failed"]

VERSIONS: Mapping[str, str] = {
    "images": "1",
    "classifier": "1",
    "attribution": "2",
    "causal": "1",
    "judge": "1",
    "embedding": "1",
}
"""Raised by hand when a stage's code starts to give other results: old rows then no longer count as done."""


@dataclass(frozen=True)
class RunRequest:
    """Every option of `whylook run`, written once: parser, form, settings and words are made from these fields.

    Paths may be relative to the working directory.
    """

    # fmt: off
    images: Path = option(
        group="images and classifier",
        help="folder of class folders, or a CSV/Parquet list with a column path, or the address of one",
        widget=Widget("Pictures", help="A folder of class folders, a CSV or Parquet list, or the address of one."),
    )
    classifier: str = option(
        group="images and classifier", metavar="SPEC", help="see whylook models",
        widget=Widget("Classifier", help=f"{' · '.join(SPECS)} (runs that file)"),
    )
    weights: Path | None = option(
        None, group="images and classifier", metavar="FILE", help="state dict (.pt, .th, .safetensors)",
        widget=Widget("Weights", "safetensors or state dict"),
    )
    classes: Path | None = option(
        None, group="images and classifier", metavar="FILE",
        help="file with one class name per line, in the order of the logits",
        widget=Widget("Class names", "one per line, in logit order"),
    )
    metadata: Path | None = option(
        None, group="images and classifier", metavar="FILE",
        help="CSV with a column path and whatever is known of the images",
        widget=Widget("Metadata", "CSV with a column path"),
    )
    group: str | None = option(
        None, group="images and classifier", metavar="COLUMN", computes=False,
        help="metadata column whose equal values belong together (patient, video): findings count groups",
        widget=Widget("Belong together", "a metadata column", "Pictures with the same value of this column (patient, "
                      "video, scene) are one group: findings count groups, not pictures."),
    )
    vlm: Path | None = option(
        None, group="judge", metavar="FILE", help="the judge's GGUF file",
        widget=Widget("Vision-language model (GGUF)"),
    )
    mmproj: Path | None = option(
        None, group="judge", metavar="FILE", help="the judge's projector GGUF file",
        widget=Widget("Its projector (mmproj GGUF)"),
    )
    vlm_url: str | None = option(
        None, group="judge", metavar="URL", help="a server instead of the files; key: WHYLOOK_VLM_API_KEY",
        widget=Widget("Address", "http://127.0.0.1:8080", "An OpenAI-compatible server: llama-server, vLLM. Its key "
                      "comes from WHYLOOK_VLM_API_KEY where the app was started."),
    )
    vlm_model: str | None = option(
        None, group="judge", metavar="NAME", help="which of the server's models",
        widget=Widget("Model", "the only one of the server"),
    )
    no_vlm: bool = option(False, group="judge", help="run without a judge")
    protocol: ProtocolName = option(
        "calibrated", group="judge", help="how the judge is asked", widget=Widget("Protocol"),
    )
    prompts: Path | None = option(
        None, group="judge", metavar="FILE", help="your edited copy of a file of core/judge/prompts",
        widget=Widget("Prompts", "your copy of a prompt file"),
    )
    fill: Fill = option(
        "black", group="judge", help="what hides the unattended part from the judge",
        widget=Widget("Hidden part", help="What hides the part that the classifier did not attend to from the judge."),
    )
    view: View = option(
        "masked", group="judge", help="masked image alone, or beside the whole one", widget=Widget("The judge sees"),
    )
    judge_budget: int | None = option(
        None, group="judge", metavar="N", least=1, help="judge N images: wrong ones first, then a sample",
        widget=Widget("Judge at most", "all of them", "Pictures to judge: wrong ones first, then a sample."),
    )
    card_sample: int = option(
        40, group="judge", metavar="N", least=0, computes=False, help="images for the judge's report card; 0: none",
        widget=Widget("Report card on", help="Pictures on which the judge is tried before it is shown; 0 for none."),
    )
    method: str = option(
        "gradcam", group="map", metavar="METHOD", choices=(*METHODS, "auto"),
        help=f"{', '.join(METHODS)}, or auto; see whylook models", widget=Widget("Method"),
    )
    question: Question = option(
        "predicted", group="map", help="the class a map explains",
        widget=Widget("Question", help="The class a map explains: the predicted one, the label, the second most "
                      "probable, or why one and not the other."),
    )
    layer: str | None = option(
        None, group="map", metavar="NAME",
        help="dotted name of the target layer (default: the last with a spatial map)",
        widget=Widget("Target layer", "the last with a spatial map"),
    )
    causal_sample: int | None = option(
        None, group="map", metavar="N", least=0,
        help=f"images that get the causal check, a uniform sample (default: {CAUSAL_SAMPLE}); 0: none",
        widget=Widget("Causal check on", f"{CAUSAL_SAMPLE} of them", "Pictures on which hiding the attended region is "
                      "tried, a uniform sample: each costs two more forward passes. Any other picture can be checked "
                      "from its own page."),
    )
    precision: str = option(
        "fp32", group="map", choices=(*PRECISIONS, "auto"), help="auto: the fastest that agrees with fp32",
        widget=Widget("Precision"),
    )
    device: str = option(
        "auto", group="machine", computes=False, help="auto, cpu, cuda or mps",
        widget=Widget("Device", help="auto, cpu, cuda or mps."),
    )
    engine: str = option(
        "local", group="machine", computes=False, choices=("local", "ray"),
        help="ray: on a Ray cluster that sees the same files (needs whylook[ray])",
        widget=Widget("Engine", help="Where the work is done: on this machine, or on a Ray cluster that sees the same "
                      "files."),
    )
    address: str | None = option(
        None, group="machine", metavar="ADDRESS", computes=False,
        help="of the Ray cluster (default: that of this machine, else one started here)",
        widget=Widget("Ray cluster", "that of this machine", "Such as 10.0.0.5:6379 or ray://head:10001."),
    )
    store: Path = option(
        Path("whylook-store"), group="machine", metavar="DIR", computes=False, help="folder of the store",
    )
    batch_size: int | None = option(
        None, group="machine", metavar="N", least=1, computes=False, help="images per batch",
        widget=Widget("Batch size", "by the device"),
    )
    judge_batch_size: int | None = option(
        None, group="machine", metavar="N", least=1, computes=False, help="images the judge gets at a time",
        widget=Widget("Judge's batch size", "by the judge"),
    )
    threads: int | None = option(
        None, group="machine", metavar="N", least=1, computes=False, help="threads of the judge",
        widget=Widget("Judge's threads", "all cores"),
    )
    # fmt: on

    def check(self) -> None:
        """Look at what can be seen without loading anything.

        Raises:
            RequestError: An option contradicts another one or names a file that is not there, or the
                environment's WHYLOOK_MEMORY is no size.
        """
        free_memory()
        self._check_judge()
        if self.address and self.engine != "ray":
            raise RequestError("--address names a Ray cluster: say --engine ray, too")
        if not self.images.exists() and address_of(self.images) is None:
            raise RequestError(f"no such folder or list of pictures: {self.images}")
        for item in options_of(type(self)):
            value = getattr(self, item.name)
            if item.kind == "path" and item.name not in ("images", "store") and value is not None:
                _check_file(item.flag, value)
            if item.least is not None and value is not None and value < item.least:
                raise RequestError(f"{item.flag} must be {item.least} or more, got {value}")
            if item.choices and value not in item.choices:
                raise RequestError(f"{item.flag} must be one of {', '.join(item.choices)}, got {value!r}")

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
        """What is kept of a request: the options that name the run, and under MACHINE those that do not.

        Paths are absolute. The options that name the run say what is computed; the others are kept so that a resumed
        run goes on as it was started.
        """
        given = {item.name: getattr(self, item.name) for item in options_of(type(self)) if item.computes}
        given["classifier"] = _absolute_spec(self.classifier)
        machine = {
            item.name: getattr(self, item.name)
            for item in options_of(type(self))
            if not item.computes and item.name != "store" and getattr(self, item.name) != item.default
        }
        chosen = {key: _plain(value) for key, value in given.items() if value is not None}
        return {**chosen, MACHINE: machine} if machine else chosen

    def arguments(self) -> list[str]:
        """The words after `whylook run` that ask for this run again."""
        return words_of(self)


def _check_file(flag: str, path: Path) -> None:
    if not path.is_file():
        raise RequestError(f"{flag}: {'a folder, not a file' if path.is_dir() else 'no such file'}: {path}")


def _absolute_spec(spec: str) -> str:
    """A user's own file by its absolute path; other forms as they are."""
    file, colon, function = spec.rpartition(":")
    own = Path(file)
    return f"{own.resolve()}:{function}" if colon and own.suffix == ".py" and own.exists() else spec


def _plain(value: object) -> object:
    return str(value.resolve()) if isinstance(value, Path) else value


def stored_options(settings: Mapping[str, object]) -> dict[str, Any]:
    """The options that a stored run was started with, by the names of RunRequest's fields, without `store`."""
    machine = settings.get(MACHINE)
    known = {**settings, **(machine if isinstance(machine, Mapping) else {})}
    chosen = {}
    for item in options_of(RunRequest):
        value = known.get(item.name)
        if value is not None and item.name != "store":
            chosen[item.name] = Path(str(value)) if item.kind == "path" else value
    return chosen


def request_from_settings(settings: Mapping[str, object], *, store: Path) -> RunRequest:
    """The request that a stored run came from, so that it can be resumed.

    Raises:
        RequestError: The settings name no images or no classifier.
    """
    chosen = stored_options(settings)
    if "images" not in chosen or "classifier" not in chosen:
        raise RequestError("this run was not started by whylook run: its settings name no images or no classifier")
    return RunRequest(**chosen, store=store)


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


def state_now(run: Run, *, writing: str | None, busy: bool) -> str:
    """A run's state as it is now: one that says `running` while nothing writes was killed.

    Args:
        run: as it is on disk.
        writing: the run that the last progress is of; its record says `done` a moment before all is published.
        busy: whether any run works in this store.
    """
    if busy and writing == run.name:
        return "running"
    return "interrupted" if run.state == "running" and not busy else run.state
