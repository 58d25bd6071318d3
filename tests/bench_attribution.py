"""Grad-CAM with prediction against the libraries people use, side by side in one process; memory in a process each.

    python -m tests.bench_attribution [--models resnet50,vit_b_16,...] [--batch 32] [--rounds 5]

Knows: torchvision's models, the peers. Does not know: stores. Each round runs every contestant once, in a new order;
figures are medians of the rounds as ratios to plain inference in fp32, with the smallest and the largest ratio.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision import models

from core.attribution import attribute
from core.classifier import Classifier, computes_bf16, load_classifier, set_precision

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


def throughput(name: str, *, size: int, rounds: int) -> None:
    """Print the table of one model."""
    torch.manual_seed(0)
    batch = torch.rand(size, 3, 224, 224)
    taken: dict[str, list[float]] = {}
    found = contestants(name)
    for contestant in found.values():  # warm up
        contestant(batch[:2])
    shuffled = random.Random(0)
    for _ in range(rounds):
        for label in shuffled.sample(list(found), len(found)):
            began = time.perf_counter()
            own = found[label](batch)
            seconds = own if isinstance(own, float) else time.perf_counter() - began
            taken.setdefault(label, []).append(seconds)
    base = taken["inference"]
    print(f"\n{name}, 224 x 224, batch {size}, n {rounds}; pictures a second, ratio to inference (smallest to largest)")
    for label in found:
        ratios = [one / other for one, other in zip(base, taken[label], strict=True)]
        rate = size / statistics.median(taken[label])
        print(f"  {label:24}{rate:8.1f}   {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def peak(name: str, label: str, *, size: int) -> float:
    """Gigabytes that a process of its own takes at most for three batches."""
    words = [sys.executable, "-m", "tests.bench_attribution", "--peak", label, "--models", name, "--batch", str(size)]
    answer = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(answer.stdout.split()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.models.split(",")
    if arguments.peak:
        contestant = contestants(names[0])[arguments.peak]
        for _ in range(3):
            contestant(torch.rand(arguments.batch, 3, 224, 224))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
        return
    for name in names:
        assert hasattr(models, name)
        throughput(name, size=arguments.batch, rounds=arguments.rounds)
    labels = ("inference", "whylook", "torch-cam 0.5", "captum 0.9", "pytorch-grad-cam 1.5.7")
    print(f"\npeak memory, {names[0]}, batch {arguments.batch}, a process each")
    for label in labels if names[0] in CNN else labels[:2]:
        print(f"  {label:24}{peak(names[0], label, size=arguments.batch):6.2f} GB")


if __name__ == "__main__":
    main()
