"""Grad-CAM with prediction against the libraries people use, side by side in one process, then a process each.

python -m tests.bench.attribution [--models resnet50,vit_b_16,...] [--batch 32] [--rounds 5]

Each round runs every contestant once, in a new order; figures are medians of the rounds as ratios to a base of the same
round, with the smallest and the largest ratio. The base is plain inference in fp32; for the methods that only need
forwards it is the peer.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models

from core.attribution.attribute import attribute
from core.classifier.loading import Classifier, load_classifier
from core.classifier.precision import computes_bf16, set_precision
from core.classifier.streamline import streamline
from core.memory import keep_freed_memory

MODELS = ("resnet50", "vit_b_16", "swin_t", "convnext_tiny", "efficientnet_b0")
CNN = ("resnet50", "convnext_tiny", "efficientnet_b0")
Contestant = Callable[[Tensor], object]


def plain(model: nn.Module) -> Contestant:
    """The prediction alone."""

    def run(batch: Tensor) -> object:
        with torch.inference_mode():
            return model(batch)

    return run


def whylook(classifier: Classifier) -> Contestant:
    """Ours: logits and maps."""
    return lambda batch: attribute(classifier, batch)


def in_precision(contestant: Contestant, classifier: Classifier, name: str) -> Contestant:
    """A contestant with the network in another precision; switching is not counted as it is done once a run."""

    def run(batch: Tensor) -> object:
        undo = set_precision(classifier.model, name, torch.device("cpu"))  # type: ignore[arg-type]
        began = time.perf_counter()
        contestant(batch)
        taken = time.perf_counter() - began
        undo()
        return taken

    return run


def torch_cam(classifier: Classifier) -> Contestant:
    """Its maps need the scores: one forward, too."""
    from torchcam.methods import GradCAM

    def run(batch: Tensor) -> object:
        with GradCAM(classifier.model, classifier.layer) as cam:
            scores = classifier.model(batch)
            return cam(scores.argmax(1).tolist(), scores)

    return run


def captum(classifier: Classifier) -> Contestant:
    """A prediction first: Captum wants to be told the class."""
    from captum.attr import LayerGradCam

    explainer = LayerGradCam(classifier.model, classifier.model.get_submodule(classifier.layer))

    def run(batch: Tensor) -> object:
        with torch.inference_mode():
            targets = classifier.model(batch).argmax(1)
        return explainer.attribute(batch, target=targets.clone(), relu_attributions=True)

    return run


def pytorch_grad_cam(classifier: Classifier) -> Contestant:
    """Takes the predicted class itself when none is given."""
    from pytorch_grad_cam import GradCAM

    def run(batch: Tensor) -> object:
        with GradCAM(model=classifier.model, target_layers=[classifier.model.get_submodule(classifier.layer)]) as cam:
            return cam(input_tensor=batch, targets=None)

    return run


def one_by_one(classifier: Classifier) -> Contestant:
    """Ours a picture at a time, as the reference code of arXiv 2508.20227 goes."""
    return lambda batch: [attribute(classifier, batch[i : i + 1]) for i in range(len(batch))]


def contestants(name: str) -> dict[str, Contestant]:
    """By the name shown; the peers know no token grids and see CNNs only."""
    classifier = load_classifier(f"torchvision:{name}", device="cpu")
    found = {
        "inference": plain(classifier.model),
        "whylook": whylook(classifier),
        "whylook channels-last": in_precision(whylook(classifier), classifier, "channels-last"),
    }
    if computes_bf16(torch.device("cpu")):
        found["inference bf16"] = in_precision(plain(classifier.model), classifier, "bf16")
        found["whylook bf16"] = in_precision(whylook(classifier), classifier, "bf16")
    if name in CNN:
        found |= {
            "torch-cam 0.5": torch_cam(classifier),
            "captum 0.9": captum(classifier),
            "pytorch-grad-cam 1.5.7": pytorch_grad_cam(classifier),
        }
    if name == "resnet50":
        found["whylook one by one"] = one_by_one(classifier)
    return found


def forward_only() -> dict[str, dict[str, Contestant]]:
    """By method, the peer first; every one asks ResNet-18 about the same masked copies, 32 at a time or as it likes."""
    from captum.attr import Occlusion
    from pytorch_grad_cam import AblationCAM, ScoreCAM
    from torchcam.methods import ScoreCAM as TorchScoreCAM

    classifier = load_classifier("torchvision:resnet18", device="cpu")
    model, layer = classifier.model, classifier.model.get_submodule(classifier.layer)

    def grad_cam(method: type) -> Contestant:
        def run(batch: Tensor) -> object:
            with redirect_stderr(io.StringIO()), method(model=model, target_layers=[layer]) as cam:  # its progress bar
                cam.batch_size = 32
                return cam(input_tensor=batch, targets=None)

        return run

    def torch_score_cam(batch: Tensor) -> object:
        with torch.no_grad(), TorchScoreCAM(model, classifier.layer, batch_size=32) as cam:
            scores = model(batch)
            return cam(scores.argmax(1).tolist(), scores)

    def captum_occlusion(batch: Tensor) -> object:
        target, side = model(batch).argmax(1), batch.shape[-1] // 8
        windows, colour = (3, side, side), batch.mean(dim=(2, 3), keepdim=True)
        return Occlusion(model).attribute(
            batch, windows, strides=(3, side // 2, side // 2), target=target, baselines=colour.expand_as(batch),
            perturbations_per_eval=32,
        )  # fmt: skip

    def ours(method: str) -> dict[str, Contestant]:
        plain: Contestant = lambda batch: attribute(classifier, batch, method=method)  # noqa: E731
        found = {"whylook": plain, "whylook channels-last": in_precision(plain, classifier, "channels-last")}
        return found | (
            {"whylook bf16": in_precision(plain, classifier, "bf16")} if computes_bf16(torch.device("cpu")) else {}
        )

    return {
        "scorecam": {"pytorch-grad-cam": grad_cam(ScoreCAM), "torch-cam": torch_score_cam, **ours("scorecam")},
        "ablationcam": {"pytorch-grad-cam": grad_cam(AblationCAM), **ours("ablationcam")},
        "occlusion": {"captum": captum_occlusion, **ours("occlusion")},
    }


def throughput(title: str, found: dict[str, Contestant], *, size: int, rounds: int) -> None:
    """Print one table: every contestant beside the first."""
    torch.manual_seed(0)
    batch = torch.rand(size, 3, 224, 224)
    taken: dict[str, list[float]] = {}
    for contestant in found.values():  # warm up
        contestant(batch[:2])
    shuffled = random.Random(0)
    for _ in range(rounds):
        for label in shuffled.sample(list(found), len(found)):
            began = time.perf_counter()
            own = found[label](batch)
            seconds = own if isinstance(own, float) else time.perf_counter() - began
            taken.setdefault(label, []).append(seconds)
    first = next(iter(found))
    base = taken[first]
    print(f"\n{title}, 224 x 224, batch {size}, n {rounds}; pictures a second, ratio to {first} (smallest to largest)")
    for label in found:
        ratios = [plain / other for plain, other in zip(base, taken[label], strict=True)]
        rate = size / statistics.median(taken[label])
        print(f"  {label:24}{rate:8.1f}   {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def peak_of_this_process() -> float:
    """Gigabytes resident at most since this program started.

    Linux hands `ru_maxrss` of the parent on to a child, which would show the bench's own peak for every contestant.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.open() if line.startswith("VmHWM")) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def as_it_comes(name: str, label: str, *, size: int) -> None:
    """Print what a contestant takes in this process: seconds of the median batch, and gigabytes at most."""
    batch = torch.rand(size, 3, 224, 224)
    if label.startswith("whylook"):  # as in a run: the network is nobody else's
        classifier = load_classifier(f"torchvision:{name}", device="cpu")
        streamline(classifier.model, batch[:4], keep=frozenset({classifier.layer}))
        ours = whylook(classifier)
        contestant = in_precision(ours, classifier, "bf16") if label.endswith("bf16") else ours
    else:
        contestant = contestants(name)[label]
    contestant(batch)
    taken = []
    for _ in range(4):
        began = time.perf_counter()
        own = contestant(batch)
        taken.append(own if isinstance(own, float) else time.perf_counter() - began)
    print(statistics.median(taken), peak_of_this_process())


def _in_a_process(name: str, label: str, *, size: int) -> tuple[float, float]:
    """What `as_it_comes` finds in a new process; ours keeps freed memory from the start, as `whylook run` does."""
    keep = "from core.memory import keep_freed_memory; keep_freed_memory(); " if label.startswith("whylook") else ""
    program = f"{keep}from tests.bench.attribution import as_it_comes; as_it_comes({name!r}, {label!r}, size={size})"
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    seconds, gigabytes = map(float, answer.stdout.split()[-2:])
    return seconds, gigabytes


def alone(name: str, *, size: int, rounds: int) -> None:
    """Print what each contestant takes in a process of its own, as its users have it.

    Ours keeps freed memory, as `whylook run` does; the others run as they are. Interleaved, medians.
    """
    labels = ["inference", "whylook", "torch-cam 0.5", "captum 0.9", "pytorch-grad-cam 1.5.7"]
    labels = labels if name in CNN else labels[:2]
    if computes_bf16(torch.device("cpu")):
        labels.insert(2, "whylook bf16")
    figures: dict[str, list[tuple[float, float]]] = {label: [] for label in labels}
    for _ in range(rounds):
        for label in labels:
            figures[label].append(_in_a_process(name, label, size=size))
    base = [seconds for seconds, _ in figures["inference"]]
    print(f"\n{name}, batch {size}, a process each as its users have it, n {rounds}; ratio to inference; peak memory")
    for label, found in figures.items():
        ratios = [plain / seconds for plain, (seconds, _) in zip(base, found, strict=True)]
        rate = size / statistics.median(seconds for seconds, _ in found)
        most = statistics.median(gigabytes for _, gigabytes in found)
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {label:24}{rate:8.1f}   {statistics.median(ratios):5.2f} {spread}   {most:5.2f} GB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default="speed,forwards,alone")
    arguments = parser.parse_args()
    names = arguments.models.split(",")
    keep_freed_memory()  # for every contestant that shares a process with ours
    if "speed" in arguments.parts:
        for name in names:
            assert hasattr(models, name)
            throughput(name, contestants(name), size=arguments.batch, rounds=arguments.rounds)
    if "forwards" in arguments.parts:
        for method, found in forward_only().items():
            throughput(f"{method}, resnet18", found, size=2, rounds=arguments.rounds)
    if "alone" in arguments.parts:
        alone(names[0], size=arguments.batch, rounds=min(3, arguments.rounds))


if __name__ == "__main__":
    main()
