"""How well wrong labels are found, beside cleanlab's own ways: `make bench-labels DATA=FOLDER`.

A real classifier on real pictures, some of whose labels are made wrong: FOLDER holds `cifar_resnet.py` with a function
`resnet20` that gives (model, transform, class names), and a folder `test` with a folder of pictures for each class.
Two classifiers: a linear head on frozen features, fitted in five folds to the very labels that are looked at, and the
network as it is, trained on labels that were right. `python -m tests.bench.labels FOLDER [WORLDS]`, 20 by default.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import average_precision_score

from core.attribution.features import POOLED, Sketcher
from core.labels.agreement import Codes, Floats, of_label, softmax, thresholds
from core.labels.suspects import suspicion
from core.statistics import format_mean, mean_interval

RATES = (0.05, 0.1, 0.2)
TODAY = (0.60, 0.76, 0.87)
"""Precision of the flags of the rule before this one, measured elsewhere: the bar at each rate."""
FOLDS = 5


@dataclass(frozen=True)
class Real:
    """What the network makes of the pictures: features (n, d), logits (n, classes), and labels that are right (n,).

    `kept` (n, 60) is what a store keeps of the features; the head is fitted to all of them.
    """

    features: NDArray[np.float32]
    kept: NDArray[np.float32]
    logits: Floats
    labels: Codes


@dataclass(frozen=True)
class World:
    """Labels some of which are wrong, and what a classifier says."""

    labels: Codes
    wrong: NDArray[np.bool_]
    probabilities: Floats
    features: NDArray[np.float32] | None


@dataclass(frozen=True)
class Answer:
    """A ranking, the higher the more suspicious, and flags, each (n,)."""

    ranking: Floats
    flagged: NDArray[np.bool_]


def real(folder: Path) -> Real:
    """Runs the network over the test pictures once."""
    spec = importlib.util.spec_from_file_location("cifar_resnet", folder / "cifar_resnet.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model, transform, names = module.resnet20()
    model.eval()
    seen: list[torch.Tensor] = []
    model.linear.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    logits, labels = [], []
    for place, name in enumerate(names):
        files = sorted((folder / "test" / name).iterdir())
        batch = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
        with torch.inference_mode():
            logits.append(model(batch))
        labels += [place] * len(files)
    features = torch.cat(seen)
    kept = Sketcher((1, 1))._sketch(features, POOLED).half().float().numpy()
    return Real(
        features.numpy().copy(), kept, torch.cat(logits).numpy().astype(np.float64), np.asarray(labels, dtype=np.int64)
    )


def wronged(data: Real, rate: float, rng: np.random.Generator, *, alike: bool = False) -> Codes:
    """Labels of which a share is wrong: any other class, or one for which the network takes the picture."""
    labels, classes = data.labels.copy(), data.logits.shape[1]
    chosen = rng.choice(labels.size, round(rate * labels.size), replace=False)
    likely = softmax(data.logits / 3) if alike else np.ones_like(data.logits)
    for place in chosen:
        weights = likely[place].copy()
        weights[labels[place]] = 0
        labels[place] = rng.choice(classes, p=weights / weights.sum())
    return labels


def head_logits(features: NDArray[np.float32], labels: Codes, rng: np.random.Generator, smoothing: float) -> Floats:
    """A linear head in five folds: logits of each picture by a head that did not see it, (n, classes)."""
    fold, classes = rng.permutation(labels.size) % FOLDS, int(labels.max()) + 1
    logits = np.zeros((labels.size, classes))
    rows, own = torch.from_numpy(features), torch.from_numpy(labels)
    for number in range(FOLDS):
        kept = torch.from_numpy(fold != number)
        head = torch.nn.Linear(features.shape[1], classes)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        steps = torch.optim.LBFGS(head.parameters(), max_iter=50, line_search_fn="strong_wolfe")

        def loss(
            head: torch.nn.Linear = head, kept: torch.Tensor = kept, steps: torch.optim.LBFGS = steps
        ) -> torch.Tensor:
            steps.zero_grad()
            found = F.cross_entropy(head(rows[kept]), own[kept], label_smoothing=smoothing)
            found = found + 1e-3 * (head.weight**2).sum()
            found.backward()
            return found

        steps.step(loss)
        with torch.inference_mode():
            logits[fold == number] = head(rows[~kept]).numpy()
    return logits


def floor(world: World) -> Answer:
    """Ranked by the probability of the label less that of the next best; every mistake is flagged."""
    own, best = of_label(world.probabilities, world.labels), world.probabilities.copy()
    best[np.arange(own.size), world.labels] = -1
    return Answer(best.max(axis=1) - own, best.max(axis=1) > own)


def label_probability(world: World) -> Answer:
    """Ranked by the probability of the label; flagged by the rule before this one: under 1%, and sure of another."""
    own, answers = of_label(world.probabilities, world.labels), world.probabilities.argmax(axis=1)
    usual = thresholds(world.probabilities, world.labels)
    sure = world.probabilities.max(axis=1) >= usual[answers]
    return Answer(-own, (answers != world.labels) & sure & (own < 0.01))


def ours(world: World) -> Answer:
    """whylook with features."""
    found = suspicion(world.probabilities, world.labels, world.features)
    return Answer(found.doubt, found.flagged)


def without_features(world: World) -> Answer:
    """whylook where a run has no features."""
    found = suspicion(world.probabilities, world.labels, None)
    return Answer(found.doubt, found.flagged)


def cleanlab_filter(world: World) -> Answer:
    """cleanlab's default filter, and its ranking."""
    quality = get_label_quality_scores(world.labels, world.probabilities)
    return Answer(-quality, find_label_issues(world.labels, world.probabilities, n_jobs=1))


def datalab(world: World) -> Answer:
    """cleanlab's Datalab, given probabilities and features; it needs the package `datasets`."""
    from cleanlab import Datalab

    lab = Datalab({"label": world.labels}, label_name="label", verbosity=0)
    lab.find_issues(pred_probs=world.probabilities, features=world.features, issue_types={"label": {}})
    found = lab.get_issues("label")
    return Answer(-found["label_score"].to_numpy(), found["is_label_issue"].to_numpy())


def datalab_features(world: World) -> Answer:
    """Datalab, given features alone: it asks the nearest neighbours."""
    from cleanlab import Datalab

    lab = Datalab({"label": world.labels}, label_name="label", verbosity=0)
    lab.find_issues(features=world.features, issue_types={"label": {}})
    found = lab.get_issues("label")
    return Answer(-found["label_score"].to_numpy(), found["is_label_issue"].to_numpy())


WAYS: dict[str, Callable[[World], Answer]] = {
    "margin (the floor)": floor,
    "label_probability, 1% rule": label_probability,
    "whylook": ours,
    "whylook, no features": without_features,
    "cleanlab filter": cleanlab_filter,
}
if importlib.util.find_spec("datasets") is not None:
    WAYS |= {"Datalab": datalab, "Datalab, features": datalab_features}
KINDS: dict[str, tuple[bool, float, float, bool]] = {
    "head, sharp": (True, 0.0, 1.0, False),
    "head, label smoothing 0.1": (True, 0.1, 1.0, False),
    "head, temperature 2": (True, 0.0, 2.0, False),
    "network, sharp": (False, 0.0, 1.0, False),
    "network, temperature 2": (False, 0.0, 2.0, False),
    "head, sharp, confusable classes": (True, 0.0, 1.0, True),
}
"""Whether a head is fitted, its label smoothing, the temperature, whether wrong labels are of confusable classes."""


def drawn(data: Real, kind: str, rate: float, seed: int) -> World:
    """A world of a kind."""
    fitted, smoothing, temperature, alike = KINDS[kind]
    rng = np.random.default_rng(seed)
    labels = wronged(data, rate, rng, alike=alike)
    logits = head_logits(data.features, labels, rng, smoothing) if fitted else data.logits
    return World(labels, labels != data.labels, softmax(logits / temperature), data.kept)


def measured(answer: Answer, world: World) -> tuple[float, float, float]:
    """Average precision, precision and recall of the flags."""
    hits = int((answer.flagged & world.wrong).sum())
    precision = hits / max(1, int(answer.flagged.sum()))
    return average_precision_score(world.wrong, answer.ranking), precision, hits / int(world.wrong.sum())


def table(data: Real, kind: str, worlds: int) -> None:
    """Prints a line for every rate and way, and how far whylook's ranking is above the floor, world by world."""
    for rate, bar in zip(RATES, TODAY, strict=True):
        made = [drawn(data, kind, rate, seed) for seed in range(worlds)]
        found = {name: np.asarray([measured(way(world), world) for world in made]) for name, way in WAYS.items()}
        print(f"{kind}, {rate:.0%} wrong (precision of flags: bar {bar})")
        for name, values in found.items():
            said = [format_mean(mean_interval(column), n=False) for column in values.T]
            print(f"  {name:28} average precision {said[0]}  precision {said[1]}  recall {said[2]}", flush=True)
        for other in ("margin (the floor)", "label_probability, 1% rule"):
            gain = found["whylook"][:, 0] - found[other][:, 0]
            print(f"  whylook above {other}: {format_mean(mean_interval(gain))}", flush=True)


def main() -> None:
    """Measures every kind of world."""
    if len(sys.argv) < 2:
        sys.exit("which folder? make bench-labels DATA=FOLDER (see the first lines of tests/bench/labels.py)")
    warnings.simplefilter("ignore")
    data = real(Path(sys.argv[1]))
    for kind in KINDS:
        table(data, kind, int(sys.argv[2]) if len(sys.argv) > 2 else 20)


if __name__ == "__main__":
    main()
