"""`make bench-run`: what a whole run costs, beside a plain loop over the same pictures and pytorch-grad-cam's own loop.

Every contestant is a process of its own, from its start to its end; rounds are interleaved, and a ratio is of two
neighbours of one round. The network is ResNet-50 with drawn weights and the statistics that its batch norms would have.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from core.commands.run import DEMO

SIZE = (500, 375)
MODEL = """
import torch, torchvision
from torchvision.transforms import v2

def prepare():
    return torchvision.transforms.Compose([
        torchvision.transforms.Resize(256), torchvision.transforms.CenterCrop(224), torchvision.transforms.ToTensor(),
        torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])

def network():
    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 224, 224))
    return model.eval()

def classifier():
    return network(), prepare(), [f"class {number}" for number in range(1000)]
"""
REAL = """
import sys
sys.path.insert(0, {!r})
from efficientnet_lite import lite0 as classifier

def prepare():
    return classifier()[1]

def network():
    return classifier()[0]
"""
LOOP = """
import sys
BATCH = 16
sys.path.insert(0, sys.argv[1])
from model import network, prepare
import torch, torchvision
folder, workers, kind = sys.argv[2], int(sys.argv[3]), sys.argv[4]
if kind == "grad-cam":
    from pytorch_grad_cam import GradCAM
pictures = torchvision.datasets.ImageFolder(folder, prepare())
loader = torch.utils.data.DataLoader(pictures, batch_size=BATCH, num_workers=workers)
model = network()
if kind == "grad-cam":
    cam = GradCAM(model, [model.layer4[-1] if hasattr(model, "layer4") else model._blocks[-1]])
    told = [cam(input_tensor=batch, targets=None) for batch, _ in loader]
else:
    with torch.inference_mode():
        told = [model(batch).softmax(1) for batch, _ in loader]
print(sum(len(part) for part in told))
"""
BUSY = "while True: pass"


def make_pictures(folder: Path, count: int, size: tuple[int, int]) -> None:
    """So many distinct JPEG files of that size in class folders, from the demo's pictures with grain."""
    sources = sorted((DEMO / "evaluation").glob("*/*"))
    rng = np.random.default_rng(0)
    for number in range(count):
        source = sources[number % len(sources)]
        with Image.open(source) as opened:
            small = opened.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        grain = rng.normal(0, 6, (size[1], size[0], 1))
        pixels = np.clip(np.asarray(small, np.float32) + grain, 0, 255).astype(np.uint8)
        place = folder / f"class {number % 10}" / f"{number:05d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place, quality=90)


def copy_pictures(source: Path, folder: Path, count: int) -> None:
    """So many distinct files from real pictures in class folders: each again in another quality."""
    files = sorted(source.glob("*/*.jpg"))
    for number in range(count):
        file = files[number % len(files)]
        place = folder / file.parent.name / f"{file.stem}-{number // len(files)}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as opened:
            opened.convert("RGB").save(place, quality=95 - number // len(files))


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Seconds and peak resident MB of a process.

    Raises:
        SystemExit: it failed.
    """
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout is not None
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}\n{said}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def whylook(folder: Path, pictures: Path, spec: str, *options: str) -> Callable[[], tuple[float, float]]:
    """A whole run into a new store."""

    def contestant() -> tuple[float, float]:
        store = folder / "store"
        shutil.rmtree(store, ignore_errors=True)
        words = ["run", str(pictures), "--classifier", spec, "--store", str(store), *options]
        return timed([sys.executable, "-m", "core", *words])

    return contestant


def rounds(
    contestants: Mapping[str, Callable[[], tuple[float, float]]], count: int
) -> dict[str, list[tuple[float, float]]]:
    """Each contestant once a round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(count):
        for name, contestant in contestants.items():
            found[name].append(contestant())
            print(f"  {name}: {found[name][-1][0]:.1f} s, {found[name][-1][1]:,.0f} MB", flush=True)
    return found


def told(ratios: Sequence[float]) -> str:
    """Median with smallest and largest."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def price(folder: Path, count: int, repeats: int, data: Path | None) -> None:
    """A whole run beside the two loops: of the drawn network, or of a real one on real pictures."""
    pictures = folder / "pictures"
    if data is None:
        make_pictures(pictures, count, SIZE)
    else:
        copy_pictures(data / "imagenet300" / "pictures", pictures, count)
    (folder / "model.py").write_text(MODEL if data is None else REAL.format(str(data / "imagenet300")))
    (folder / "loop.py").write_text(LOOP)
    workers = str(os.cpu_count() or 1)
    spec = f"{folder / 'model.py'}:classifier"

    def loop(kind: str) -> Callable[[], tuple[float, float]]:
        return lambda: timed([sys.executable, str(folder / "loop.py"), str(folder), str(pictures), workers, kind])

    def run(*options: str) -> Callable[[], tuple[float, float]]:
        return whylook(folder, pictures, spec, "--no-vlm", *options)

    found = rounds(
        {
            "plain loop": loop("plain"),
            "pytorch-grad-cam's loop": loop("grad-cam"),
            "whylook, check on every picture": run("--causal-sample", str(count)),
            "whylook": run(),
            "whylook, no check": run("--causal-sample", "0"),
            "whylook, --precision auto": run("--precision", "auto"),
        },
        repeats,
    )
    network = "ResNet-50" if data is None else "EfficientNet-Lite0"
    print(f"{network}, {count:,} pictures, fp32, whole commands, n {repeats}")
    print(f"  {'':34}{'pictures/s':>11}  {'of the plain loop':26}{'of grad-cam':26}{'memory of plain':>16}")
    base, other = found["plain loop"], found["pytorch-grad-cam's loop"]
    for name, taken in found.items():
        rate = count / statistics.median(seconds for seconds, _ in taken)
        plain = [first[0] / own[0] for first, own in zip(base, taken, strict=True)]
        cam = [first[0] / own[0] for first, own in zip(other, taken, strict=True)]
        memory = statistics.median(own[1] / first[1] for first, own in zip(base, taken, strict=True))
        print(f"  {name:34}{rate:11.1f}  {told(plain):26}{told(cam):26}{memory:16.2f}")


@contextmanager
def busy(processes: int):  # type: ignore[no-untyped-def]
    """So many processes that never wait, beside what is measured."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def beside(folder: Path, count: int, repeats: int, data: Path | None) -> None:
    """What is left of the speed beside one busy process: of a run of small pictures, and of the judge."""
    small = folder / "small"
    make_pictures(small, count, (32, 32))
    (folder / "small.py").write_text(
        "import torch, torchvision\n"
        "def classifier():\n"
        "    torch.manual_seed(0)\n"
        "    model = torchvision.models.resnet18(num_classes=10)\n"
        "    model.train()(torch.randn(64, 3, 32, 32))\n"
        "    return model.eval(), torchvision.transforms.ToTensor(), [f'class {n}' for n in range(10)]\n"
    )
    judge = ("--vlm", str(DEMO / "judge" / "judge.gguf"), "--mmproj", str(DEMO / "judge" / "judge-mmproj.gguf"))
    contestants = {
        f"run of {count:,} pictures of 32 x 32": whylook(
            folder, small, f"{folder / 'small.py'}:classifier", "--no-vlm"
        ),
        "the demo with its judge": whylook(
            folder, DEMO / "evaluation", f"{DEMO / 'classifier.py'}:demo_classifier", *judge
        ),
    }
    print(f"beside one busy process, n {repeats}: share of the quiet speed that is left")
    for name, contestant in contestants.items():
        kept = []
        for _ in range(repeats):
            quiet = contestant()[0]
            with busy(1):
                loaded = contestant()[0]
            kept.append(quiet / loaded)
            print(f"  {name}: {quiet:.1f} s quiet, {loaded:.1f} s beside", flush=True)
        print(f"  {name:34}{told(kept)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder with imagenet300: a real classifier on real photographs")
    parser.add_argument("--only", choices=("price", "beside"))
    asked = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for name, section in {"price": price, "beside": beside}.items():
        if asked.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                section(Path(folder), asked.pictures, asked.repeats, asked.data)


if __name__ == "__main__":
    main()
