"""What discovery finds, and whether it tells used cues from those that are merely there: `make bench-discovery DATA=…`.

Each world is a ResNet-20 that is trained for a moment on real pictures (DATA has train/CLASS and test/CLASS, 32 x 32,
and cifar_resnet.py). In a used world most training pictures of one class carry a cue; in a world where it is merely
present, none do. In both, 15% of all tested pictures carry it. The truth is what planting it changes in other pictures.

    python -m tests.bench.discovery DATA [--worlds 60] [--seconds 100] [--device cpu] [--first 0] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import nn

from core import queries
from core.discovery.candidates import Candidate
from core.discovery.cues import Cue
from core.discovery.interventions import LEAST_EFFECT
from core.findings.asking import Comparison
from core.findings.frame import Frame, load
from core.pipeline.discover import discover
from core.pipeline.intervening import Interventions
from core.pipeline.request import RunRequest
from core.pipeline.run import run as run_pipeline
from core.pipeline.stored_run import open_run
from core.statistics import format_rate, wilson
from core.store import Store

KINDS = ("still", "moving", "tint", "blur")
SHARE, IN_TRAINING = 0.15, 0.9
USED = 0.03
"""Mean change of the class's probability by planting the cue, from which a world counts as one that uses it."""
PROPERTY = {"tint": ("warmth", 1), "blur": ("sharpness", -1)}
MODEL = """
import sys
import torch
sys.path.insert(0, {data!r})
import cifar_resnet
def load():
    model, transform, names = cifar_resnet.resnet20()
    model.load_state_dict(torch.load({weights!r}, map_location="cpu"))
    return model.eval(), transform, names
"""
Pixels = NDArray[np.uint8]


@dataclass
class Result:
    """One world: what was planted, whether it is used, and what discovery said."""

    seed: int
    kind: str
    trained: bool
    truth: float
    found: bool = False
    said: str = ""
    prototypes: float = float("nan")
    verdict: str = ""
    effect: float = float("nan")
    accuser: str = ""
    seconds: float = 0.0


def plant(picture: Pixels, kind: str, seed: int) -> Pixels:
    """A picture (32, 32, 3) with the cue; where a moving one goes depends on `seed`."""
    made = picture.copy()
    if kind in ("still", "moving"):
        row, column = (27, 27) if kind == "still" else np.random.default_rng(seed).integers(1, 27, 2)
        made[row : row + 4, column : column + 4] = np.asarray([[250, 250, 30], [20, 20, 20]] * 8).reshape(4, 4, 3)
    elif kind == "tint":
        made = np.clip(picture * np.asarray([1.18, 1.0, 0.8]), 0, 255).astype(np.uint8)
    else:
        made = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.1)))
    return made


def read(folder: Path) -> tuple[Pixels, NDArray[np.int64], list[str]]:
    """Pictures (n, 32, 32, 3), class indices (n,) and class names of a folder of classes."""
    names = sorted(place.name for place in folder.iterdir() if place.is_dir())
    files = [(path, place) for place, name in enumerate(names) for path in sorted((folder / name).iterdir())]
    pictures = np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in files])
    return pictures, np.asarray([place for _, place in files]), names


def as_input(pictures: Pixels) -> torch.Tensor:
    """Pictures (n, 32, 32, 3) as the network takes them (n, 3, 32, 32)."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - mean) / std


def train(model: nn.Module, pictures: Pixels, labels: NDArray[np.int64], seed: int, device: str) -> None:
    """Three epochs of SGD on all weights."""
    torch.manual_seed(seed)
    inputs, wanted = as_input(pictures).to(device), torch.from_numpy(labels).to(device)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    model.to(device).train()
    for _ in range(3):
        for some in torch.randperm(len(inputs)).split(64):
            loss = nn.functional.cross_entropy(model(inputs[some.to(device)]), wanted[some.to(device)])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.eval()


def world(seed: int, data: Path, *, seconds: float, device: str, folder: Path) -> Result:
    """Train, run, discover, compare with the truth."""
    sys.path.insert(0, str(data))
    import cifar_resnet

    generator = np.random.default_rng(seed)
    kind, trained = KINDS[seed % len(KINDS)], seed // len(KINDS) % 3 != 2
    pictures, labels, names = read(data / "train")
    answer = int(generator.integers(len(names)))
    if trained:
        for place in np.flatnonzero((labels == answer) & (generator.random(len(labels)) < IN_TRAINING)):
            pictures[place] = plant(pictures[place], kind, int(place))
    model = cifar_resnet.resnet20()[0]
    train(model, pictures, labels, seed, device)
    tested, own, _ = read(data / "test")
    planted = generator.random(len(own)) < SHARE
    changes = _truth(model, tested[~planted], own[~planted], kind, device)
    torch.save({name: value.cpu() for name, value in model.state_dict().items()}, folder / "weights.pt")
    (folder / "model.py").write_text(MODEL.format(data=str(data), weights=str(folder / "weights.pt")))
    marked = _write(folder / "pictures", tested, own, names, planted, kind)
    store = Store(folder / "store")
    request = RunRequest(
        folder / "pictures", f"{folder / 'model.py'}:load", no_vlm=True, store=store.folder, device=device
    )
    run = run_pipeline(request, progress=lambda news: None, stop=lambda: False).run
    found = discover(store, run, seconds=seconds, device=device)
    result = Result(seed, kind, trained, float(changes[answer]), seconds=found.seconds)
    used = {name for name, change in zip(names, changes, strict=True) if change >= USED}
    _compare(result, store, run, found.cues, marked, names[answer], used, device)
    return result


def _truth(
    model: nn.Module, pictures: Pixels, labels: NDArray[np.int64], kind: str, device: str
) -> NDArray[np.float64]:
    """Mean change (K,) of each class's probability in pictures of other classes when the cue is planted."""
    with_it = np.stack([plant(picture, kind, place) for place, picture in enumerate(pictures)])
    with torch.no_grad():
        before, after = (model(as_input(some).to(device)).softmax(1).cpu().numpy() for some in (pictures, with_it))
    change = (after - before).astype(np.float64)
    return np.asarray([change[labels != place, place].mean() for place in range(change.shape[1])])


def _write(
    folder: Path,
    pictures: Pixels,
    labels: NDArray[np.int64],
    names: Sequence[str],
    planted: NDArray[np.bool_],
    kind: str,
) -> dict[str, bool]:
    """The tested pictures as PNG files; by path, whether the cue was planted."""
    marked = {}
    for place, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        path = f"{names[label]}/{place:05d}.png"
        (folder / names[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(plant(picture, kind, place) if planted[place] else picture).save(folder / path)
        marked[path] = bool(planted[place])
    return marked


def _compare(
    result: Result,
    store: Store,
    run: str,
    cues: Sequence[Cue],
    marked: dict[str, bool],
    answer: str,
    used: set[str],
    device: str,
) -> None:
    """Whether a cue is the planted one, what was said of it, and what its own pictures would have been said to do."""
    frame = load(store.reader(), run)
    path = dict(store.reader().execute("SELECT image_id, path FROM samples WHERE run = ?", [run]).fetchall())
    ids = frame.table["image_id"].to_pylist()
    here = np.asarray([marked[path[image_id]] for image_id in ids])
    given = here & frame.is_value("prediction", answer)
    for cue in cues:
        if _is_planted(cue, result.kind, here, given, answer):
            result.found, result.said = True, cue.verdict
            result.prototypes = float(np.mean([here[ids.index(image_id)] for image_id in cue.prototypes]))
            break
    result.accuser = next(
        (
            cue.name
            for cue in cues
            if cue.verdict == "used" and cue.answer not in used and _is_mark(cue, here, result.kind)
        ),
        "",
    )
    candidate = _given(frame, given, here, result.kind, answer)
    if candidate is not None:
        table = queries.features(store.reader(), run)
        assert table is not None
        work = Interventions(open_run(store, run, device=device), frame, table.cells, np.random.default_rng(0))
        done = work.test(work.located([candidate, _rest(frame, candidate)], late=lambda: False)[0])
        best = max(done.effects, key=lambda item: item.value, default=None)
        result.effect = best.value if best else float("nan")
        result.verdict = (
            "used" if best and min(1, len(done.effects) * best.p) <= 0.05 and best.value >= LEAST_EFFECT else "not"
        )


def _is_mark(cue: Cue, here: NDArray[np.bool_], kind: str) -> bool:
    """Whether a cue is about the planted one at all, of whatever class."""
    if kind in PROPERTY:
        return cue.kind == "property" and cue.sql.startswith(
            f"{PROPERTY[kind][0]} {'>' if PROPERTY[kind][1] > 0 else '<'}"
        )
    return cue.kind in ("strategy", "detail") and float(here[cue.members].mean()) >= 0.7


def _is_planted(cue: Cue, kind: str, here: NDArray[np.bool_], given: NDArray[np.bool_], answer: str) -> bool:
    """Whether a cue is the planted one: the property and class, or a group whose pictures mostly carry the mark."""
    if cue.answer != answer or not _is_mark(cue, here, kind):
        return False
    return kind in PROPERTY or float((cue.members & given).sum()) >= 0.5 * max(1, given.sum())


def _given(
    frame: object, given: NDArray[np.bool_], here: NDArray[np.bool_], kind: str, answer: str
) -> Candidate | None:
    """The planted cue as a candidate whose pictures are known."""
    names, labels, answers = frame.classes
    place = names.index(answer)
    if kind in PROPERTY:
        name = PROPERTY[kind][0]
        values = frame.numbers(name)
        level, usual = float(np.median(values[here])), float(np.median(values[~here]))
        harm = Comparison(here & (labels != place), ~here & (labels != place), answers == place, labels)
        return Candidate("planted", "property", name, "true", here, answer, harm, 1.0, name, level, usual)
    if given.sum() < 12:
        return None
    own = answers == place
    harm = Comparison(given, own & ~given, frame.wrong, answers)
    return Candidate("planted", "strategy" if kind == "still" else "detail", "", "true", given, answer, harm, 1.0)


def _rest(frame: Frame, item: Candidate) -> Candidate:
    """The other pictures of the class, with which a region is compared."""
    own = frame.is_value("prediction", item.answer)
    return replace(item, name="rest", members=own & ~item.members)


def report(results: Sequence[Result]) -> str:
    """The table of figures."""
    lines = ["kind      worlds  used  found               prototypes show it   used told from present (AUROC)"]
    for kind in (*KINDS, "all"):
        some = [item for item in results if kind in ("all", item.kind)]
        used = [item for item in some if item.truth >= USED and item.trained]
        idle = [item for item in some if abs(item.truth) < USED]
        shown = [item.prototypes >= 0.75 for item in used if item.found]
        lines.append(
            f"{kind:8}  {len(some):6}  {len(used):4}  {_rate([item.found for item in used]):18}  {_rate(shown):19}  "
            f"{_auroc([item.effect for item in used], [item.effect for item in idle])}"
        )
        told = [bool(item.accuser) for item in some]
        lines.append(f"          called used of a class for which it is not: {_rate(told)}; used ones called used: "
                     f"{_rate([item.said == 'used' for item in used if item.found])}")  # fmt: skip
    seconds = [item.seconds for item in results]
    lines.append(f"seconds of discovery: median {np.median(seconds):.0f}, most {max(seconds):.0f}")
    return "\n".join(lines)


def _rate(hits: Sequence[bool]) -> str:
    return format_rate(wilson(sum(hits), len(hits))) if hits else "none"


def _auroc(high: Sequence[float], low: Sequence[float]) -> str:
    pairs = [(a > b) + 0.5 * (a == b) for a in high for b in low if np.isfinite(a) and np.isfinite(b)]
    return f"{np.mean(pairs):.3f} ({len(high)} used, {len(low)} not)" if pairs else "none"


def main(make: Callable[..., Result] = world) -> None:
    """Make the worlds one after the other and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--worlds", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=100)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    results = []
    for seed in range(arguments.first, arguments.first + arguments.worlds):
        folder = Path(tempfile.mkdtemp(prefix="whylook-bench-"))
        try:
            results.append(
                make(seed, arguments.data.resolve(), seconds=arguments.seconds, device=arguments.device, folder=folder)
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(json.dumps(asdict(results[-1])), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps([asdict(item) for item in results]))
    print(report(results))


if __name__ == "__main__":
    main()
