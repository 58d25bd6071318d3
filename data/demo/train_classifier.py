"""Trains the demo classifier on a world with planted faults.

    python data/demo/train_classifier.py --world DIR --out FILE.safetensors [--epochs N] [--threads N]

DIR is what make_world.py wrote. Prints accuracy on the evaluation split, in usual and in unusual habitats, against
the true animal's label as given (so the wrong labels count as errors).
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from data.demo.classifier import network, transform
from data.demo.world import ANIMALS


def load(split: Path, names: list[str]) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, 112, 112) float32 and labels (N,) int64 of `names`, relative to `split`."""
    prepare = transform()
    pictures = torch.stack([prepare(Image.open(split / name)) for name in names])
    labels = torch.tensor([ANIMALS.index(name.split("/")[0]) for name in names])
    return pictures, labels


def read_truth(world: Path, split: str) -> list[dict[str, str]]:
    """Rows of the split's truth.csv."""
    with (world / "truth" / f"{split}.csv").open() as file:
        return list(csv.DictReader(file))


def train(model: nn.Module, pictures: Tensor, labels: Tensor, *, epochs: int, batch: int = 64) -> None:
    """AdamW with a one-cycle schedule; random flips are the only augmentation."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    steps = epochs * (len(labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    model.train().to(memory_format=torch.channels_last)
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        for chosen in torch.split(torch.randperm(len(labels)), batch)[: len(labels) // batch]:
            x = pictures[chosen]
            if torch.rand(()) < 0.5:
                x = x.flip(3)
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(model(x.to(memory_format=torch.channels_last)), labels[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total / (len(labels) // batch):.3f}, "
              f"{time.perf_counter() - start:.1f} s", flush=True)  # fmt: skip


@torch.inference_mode()
def accuracy(model: nn.Module, world: Path) -> dict[str, float]:
    """Accuracy on the evaluation split: all, usual habitats, unusual habitats."""
    rows = read_truth(world, "evaluation")
    pictures, labels = load(world / "evaluation", [row["path"] for row in rows])
    right = torch.cat([model(part).argmax(1) for part in torch.split(pictures, 100)]) == labels
    unusual = torch.tensor([row["unusual_habitat"] == "True" for row in rows])
    return {"all": right.float().mean().item(), "usual": right[~unusual].float().mean().item(),
            "unusual": right[unusual].float().mean().item()}  # fmt: skip


def main() -> None:
    """Parse the command line, train, save, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    start = time.perf_counter()
    model = network()
    train(
        model, *load(args.world / "train", [row["path"] for row in read_truth(args.world, "train")]), epochs=args.epochs
    )
    model.eval().to(memory_format=torch.contiguous_format)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, args.out)
    shares = ", ".join(f"{name} {100 * value:.1f}%" for name, value in accuracy(model, args.world).items())
    print(f"accuracy on the evaluation split: {shares}; {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
