"""Masked pictures for training and testing the demo judge, and what a truthful judge would say of each.

Maps come at 7 x 7 or 14 x 14 and are enlarged, as class activation maps are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from data.demo.classifier import demo_classifier
from data.demo.world import ANIMALS, HABITATS, SIDE, Plan, draw

KINDS = ("classifier", "object", "blobs", "patch", "inverted", "shuffled", "empty", "full")
SHARES = (0.34, 0.26, 0.12, 0.07, 0.06, 0.06, 0.05, 0.04)
CONTROLS = ("blobs", "patch", "shuffled", "empty")
GROUND_WORD = {"desert": "sand", "meadow": "grass", "snow": "snow", "street": "street", "water": "water"}
LOW, HIGH = 0.10, 0.75
"""Soft Dice at which the score is 0 and 5; between them it rises in a line."""


@dataclass(frozen=True)
class Pool:
    """Scenes of side S: rgb (N, S, S, 3) uint8, mask (N, S, S) bool, animal, habitat (N,), CAMs (N, 10, 7, 7)."""

    rgb: Tensor
    mask: Tensor
    animal: Tensor
    habitat: Tensor
    cams: Tensor


def draw_pool(count: int, seed: int) -> Pool:
    """Draw `count` scenes: every animal in every habitat, some at night, some tiny, some with a tag."""
    rgb = np.empty((count, SIDE, SIDE, 3), np.uint8)
    mask = np.empty((count, SIDE, SIDE), bool)
    animal, habitat = np.empty(count, np.int64), np.empty(count, np.int64)
    for index in range(count):
        rng = np.random.default_rng([seed, 2, index])
        animal[index], habitat[index] = rng.integers(len(ANIMALS)), rng.integers(len(HABITATS))
        flags = rng.random(3) < (0.12, 0.12, 0.1)
        plan = Plan(ANIMALS[animal[index]], HABITATS[habitat[index]], *(bool(flag) for flag in flags))
        scene = draw(rng, plan)
        rgb[index], mask[index] = scene.rgb, scene.mask
    pictures = torch.from_numpy(rgb)
    return Pool(pictures, torch.from_numpy(mask), torch.from_numpy(animal), torch.from_numpy(habitat), _cams(pictures))


def halved(pool: Pool, *, average: bool) -> Pool:
    """The pool at half its side, by averaging or by taking every second pixel (as fast resizers do)."""
    rgb = pool.rgb[:, ::2, ::2]
    if average:
        parts = [functional.avg_pool2d(part.permute(0, 3, 1, 2).float(), 2) for part in torch.split(pool.rgb, 256)]
        rgb = torch.cat([part.round().to(torch.uint8).permute(0, 2, 3, 1) for part in parts])
    return Pool(rgb.contiguous(), pool.mask[:, ::2, ::2].contiguous(), pool.animal, pool.habitat, pool.cams)


@torch.inference_mode()
def _cams(rgb: Tensor) -> Tensor:
    """Class activation maps of the demo classifier for all classes, (N, 10, 7, 7) in 0..1 (Zhou et al. 2016)."""
    model, transform, _ = demo_classifier()
    weight = model.get_parameter("3.weight")  # (10, C)
    maps = []
    for part in torch.split(rgb, 128):
        x = torch.stack([transform(picture.permute(2, 0, 1)) for picture in part])
        features = model[0](x)  # (B, C, 7, 7)
        cams = torch.einsum("bchw,kc->bkhw", features, weight).clamp_min(0)
        maps.append(cams / cams.amax((2, 3), keepdim=True).clamp_min(1e-6))
    return torch.cat(maps)


def _map(kind: str, pool: Pool, index: int, generator: np.random.Generator) -> Tensor:
    """One map of a kind, (h, w) in 0..1."""
    cells = 7 if generator.random() < 0.6 else 14
    if kind == "empty":
        return torch.zeros(7, 7)
    if kind == "full":
        return torch.ones(7, 7)
    if kind == "patch":
        v = torch.zeros(cells, cells)
        height, width = generator.integers(cells // 5, cells * 2 // 3, 2)
        top, left = generator.integers(0, cells - height), generator.integers(0, cells - width)
        v[top : top + height, left : left + width] = 1
        return v
    if kind == "blobs":
        coarse = torch.from_numpy(generator.random((generator.integers(2, 6),) * 2).astype(np.float32))
        v = functional.interpolate(coarse[None, None], size=(cells, cells), mode="bicubic")[0, 0].clamp(0, 1)
        return v ** float(generator.uniform(1, 4))
    if kind == "object":
        return _object_map(pool.mask[index], cells, generator)
    cam = _cam(pool, index, generator)
    if kind == "inverted":
        return 1 - cam
    if kind == "shuffled":
        return cam.flatten()[torch.from_numpy(generator.permutation(cam.numel()))].view_as(cam)
    return cam


def _cam(pool: Pool, index: int, generator: np.random.Generator) -> Tensor:
    """The classifier's map for the true animal's class or, in two of five cases, another class."""
    chosen = int(pool.animal[index]) if generator.random() < 0.6 else int(generator.integers(len(ANIMALS)))
    return pool.cams[index, chosen]


def _object_map(mask: Tensor, cells: int, generator: np.random.Generator) -> Tensor:
    """A map that follows the object more or less: shifted, spread and noisy."""
    v = functional.adaptive_avg_pool2d(mask[None, None].float(), cells)[0, 0]
    shift = generator.integers(-cells // 5, cells // 5 + 1, 2) if generator.random() < 0.5 else (0, 0)
    v = torch.roll(v, tuple(int(s) for s in shift), (0, 1))
    if generator.random() < 0.5:
        v = functional.avg_pool2d(v[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    v = v / v.max().clamp_min(1e-6)
    v = v ** float(generator.uniform(0.3, 2)) + float(generator.uniform(0, 0.25)) * torch.from_numpy(
        generator.random((cells, cells)).astype(np.float32)
    )
    return (v / v.max().clamp_min(1e-6)).clamp(0, 1)


@dataclass(frozen=True)
class Sample:
    """A masked picture (S, S, 3) uint8, its weights (S, S) float32 and the shares that decide what is true of it."""

    masked: Tensor
    weight: Tensor
    kind: str
    animal: str
    habitat: str
    dice: float
    object_share: float
    """Share of the object that is visible, 0..1."""
    ground_share: float
    """Share of the picture that is visible and not the object, 0..1."""
    empty: bool


def sample(pool: Pool, index: int, generator: np.random.Generator, kind: str | None = None) -> Sample:
    """Mask one scene of the pool with a random map, or one of `kind` (see KINDS)."""
    kind = kind or str(generator.choice(KINDS, p=SHARES))
    v = _map(kind, pool, index, generator)
    alpha, beta = (
        (25.0, 0.4)
        if generator.random() < 0.6
        else (generator.choice([15.0, 20.0, 25.0]), generator.choice([0.4, 0.6]))
    )
    side = pool.mask.shape[1]
    v = functional.interpolate(v[None, None], size=(side, side), mode="bilinear", align_corners=False)[0, 0]
    weight = torch.sigmoid(float(alpha) * (v - float(beta)))
    if kind == "empty":
        weight = torch.zeros_like(weight)
    target = pool.mask[index].float()
    inside, total = float((weight * target).sum()), float(weight.sum())
    masked = (pool.rgb[index] * weight[..., None]).to(torch.uint8)
    return Sample(
        masked, weight, kind, ANIMALS[pool.animal[index]], HABITATS[pool.habitat[index]],
        dice=2 * inside / (total + float(target.sum())), object_share=inside / float(target.sum()),
        ground_share=(total - inside) / side**2, empty=total / side**2 < 0.01,
    )  # fmt: skip


def expected_score(seen: Sample, prediction: str) -> float:
    """The score a truthful judge gives, 0..5: soft Dice for the right name, at most 1 for a wrong one."""
    if seen.empty or seen.object_share < 0.05:
        return 0.0
    if prediction != seen.animal:
        return min(1.0, 3 * seen.object_share)
    return 5 * min(max((seen.dice - LOW) / (HIGH - LOW), 0.0), 1.0)


def describe(seen: Sample) -> str:
    """What is visible, in one sentence."""
    if seen.empty:
        return "Nothing is visible."
    ground = GROUND_WORD[seen.habitat]
    amount = "little" if seen.ground_share < 0.06 else "some" if seen.ground_share < 0.2 else "much"
    if seen.object_share < 0.08:
        return f"No animal is visible, only {amount} {ground}."
    part = ("A small part", "Part", "Most", "All")[int(np.searchsorted((0.25, 0.55, 0.85), seen.object_share))]
    return f"{part} of a {seen.animal} is visible, with {amount} {ground}."


def justify(seen: Sample, prediction: str) -> str:
    """Why the score is what it is, in one sentence."""
    if seen.empty:
        return "Nothing is seen."
    if seen.object_share < 0.08:
        return f"No {prediction} is seen, only {GROUND_WORD[seen.habitat]}."
    if prediction != seen.animal:
        return f"A {seen.animal} is seen, not a {prediction}."
    score = expected_score(seen, prediction)
    if score >= 3.75:
        return f"The {prediction} is seen with little else."
    if seen.object_share < 0.55:
        return f"Only part of the {prediction} is seen."
    return f"The {prediction} is seen with much else."
