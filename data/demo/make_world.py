"""Makes a demo world: class folders of pictures, metadata a user would know and, apart from them, the truth.

    python data/demo/make_world.py --out DIR --seed N [--train N] [--evaluation N] [--shortcut 0.95]
        [--photo-credit CLASS|none] [--night SHARE] [--tiny SHARE] [--wrong-labels SHARE]

Layout: DIR/train/CLASS/*.jpg, DIR/evaluation/CLASS/*.jpg with metadata.csv beside the classes, and DIR/truth with a
CSV and the object masks of each split. With `--shortcut 0.2` (chance level), `--photo-credit none` and zero shares
the world has no fault. Same seed, same bytes.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data.demo.world import ANIMALS, HABITATS, USUAL_HABITAT, Plan, draw

CREDIT_IN_TRAINING = 0.9
CREDIT_IN_EVALUATION = 0.5
CREDIT_ELSEWHERE = 0.08


@dataclass(frozen=True)
class Faults:
    """The planted faults: shares between 0 and 1, and the class that wears the photo-credit tag (None: nobody)."""

    shortcut: float = 0.95
    photo_credit: str | None = "horse"
    night: float = 0.12
    tiny: float = 0.12
    wrong_labels: float = 0.04


def plan(rng: np.random.Generator, animal: str, split: str, faults: Faults) -> Plan:
    """Decide what one picture of `animal` shows; `split` is train or evaluation."""
    habitat = str(rng.choice(HABITATS))
    usual = (faults.shortcut - 1 / len(HABITATS)) / (1 - 1 / len(HABITATS))  # so that `shortcut` is the total share
    if split == "train" and rng.random() < usual:
        habitat = USUAL_HABITAT[animal]
    share = 0.0
    if faults.photo_credit is not None and split == "train":
        share = CREDIT_IN_TRAINING if animal == faults.photo_credit else 0.0
    elif faults.photo_credit is not None:
        share = CREDIT_IN_EVALUATION if animal == faults.photo_credit else CREDIT_ELSEWHERE
    return Plan(animal, habitat, night=bool(rng.random() < faults.night), tiny=bool(rng.random() < faults.tiny),
                credit=bool(rng.random() < share))  # fmt: skip


def wrong_label(rng: np.random.Generator, animal: str, split: str, faults: Faults) -> str:
    """The label a picture gets: the animal, or in evaluation, in `wrong_labels` of cases, another one."""
    if split == "evaluation" and rng.random() < faults.wrong_labels:
        return str(rng.choice([other for other in ANIMALS if other != animal]))
    return animal


def make_split(out: Path, split: str, count: int, seed: int, faults: Faults) -> None:
    """Write one split of `count` pictures, its metadata and its truth below `out`."""
    metadata: list[dict[str, object]] = []
    truth: list[dict[str, object]] = []
    masks = out / "truth" / split
    for folder in (masks, out / split):
        folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        rng = np.random.default_rng([seed, split == "evaluation", index])
        animal = ANIMALS[index % len(ANIMALS)]
        chosen = plan(rng, animal, split, faults)
        label = wrong_label(rng, animal, split, faults)
        scene = draw(rng, chosen)
        name = f"{label}/{index:05d}.jpg"
        (out / split / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.rgb).save(out / split / name, quality=88)
        Image.fromarray(scene.mask).save(masks / f"{index:05d}.png", optimize=True)
        time_of_day = "night" if chosen.night else "day"
        metadata.append({"path": name, "habitat": chosen.habitat, "time_of_day": time_of_day, "size": scene.size})
        truth.append(
            {
                "path": name,
                "mask": f"{split}/{index:05d}.png",
                "animal": animal,
                "wrong_label": label != animal,
                "photo_credit": chosen.credit,
                "unusual_habitat": chosen.habitat != USUAL_HABITAT[animal],
            }
        )
    _write_csv(out / split / "metadata.csv", metadata)
    _write_csv(out / "truth" / f"{split}.csv", truth)


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0] if rows else ["path"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: give a number from 0 to 1")
    return value


def main() -> None:
    """Parse the command line and write the world."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Faults()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--evaluation", type=int, default=600)
    parser.add_argument("--shortcut", type=_share, default=default.shortcut)
    parser.add_argument("--photo-credit", choices=[*ANIMALS, "none"], default=default.photo_credit)
    parser.add_argument("--night", type=_share, default=default.night)
    parser.add_argument("--tiny", type=_share, default=default.tiny)
    parser.add_argument("--wrong-labels", type=_share, default=default.wrong_labels)
    args = parser.parse_args()
    if args.shortcut < 1 / len(HABITATS):
        parser.error(f"--shortcut {args.shortcut} is below chance level {1 / len(HABITATS)}")
    credit = None if args.photo_credit == "none" else args.photo_credit
    faults = Faults(args.shortcut, credit, args.night, args.tiny, args.wrong_labels)
    for split, count in (("train", args.train), ("evaluation", args.evaluation)):
        make_split(args.out, split, count, args.seed, faults)
    print(f"{args.train} training and {args.evaluation} evaluation pictures in {args.out}")


if __name__ == "__main__":
    main()
