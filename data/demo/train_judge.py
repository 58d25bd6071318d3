"""Trains the demo judge, a small LLaVA, on masked pictures of worlds made on the fly, and exports it as GGUF.

    python data/demo/train_judge.py --out DIR [--pictures N] [--vision-minutes M] [--text-minutes M] [--threads N]
    [--resume]

Two stages: the vision tower and projector alone, with auxiliary heads that say per image token and per picture what is
visible; then the whole model on the exact prompts of both protocols, with auxiliary heads at the score. Writes
DIR/judge.gguf, DIR/judge-mmproj.gguf and, for --resume, DIR/checkpoint.pt. Train alone on the machine: a second busy
process slows it down tenfold.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from core.judge.names import PROTOCOLS
from core.judge.prompts import Prompts, load_prompts
from data.demo import judge_pictures as pictures
from data.demo.export_judge import export
from data.demo.judge_model import IMAGE_SIDE, PATCH, Branch, DemoJudge, TreeBatch, branches, train_tokenizer, tree_batch
from data.demo.world import ANIMALS, HABITATS

SEED = 20_000
"""Scenes of training come from this seed; the demo world and every test use others."""
WRONG_NAMES = 0.35
NAME_WEIGHT = 6.0
"""How many times a word's weight an animal's name has in the loss of the replies: the names carry what was seen."""
AUXILIARY_WEIGHT = 0.5


def corpus(count: int, pool: pictures.Pool) -> list[str]:
    """Texts for the tokenizer: `count` trees of each protocol."""
    rng = np.random.default_rng(SEED)
    texts = []
    for _ in range(count):
        seen = pictures.sample(pool, int(rng.integers(len(pool.animal))), rng)
        for name in PROTOCOLS:
            for branch in told(load_prompts(name), seen, prediction_for(seen, rng)):
                texts += [text for text, _ in branch.pieces]
    return texts


def prediction_for(seen: pictures.Sample, rng: np.random.Generator) -> str:
    """The class name the judge is told: the animal, or in about a third of the cases another."""
    return str(rng.choice(ANIMALS)) if rng.random() < WRONG_NAMES else seen.animal


def told(prompts: Prompts, seen: pictures.Sample, prediction: str) -> list[Branch]:
    """Every question of a protocol about one sample, with the truthful replies."""
    score = pictures.expected_score(seen, prediction)
    return branches(prompts, prediction, pictures.describe(seen), pictures.justify(seen, prediction), score)


def samples(pools: list[pictures.Pool], seed: int, batch: int) -> Iterator[list[tuple[pictures.Sample, Tensor]]]:
    """Endless batches of (masked sample, its object mask)."""
    rng = np.random.default_rng(seed)
    while True:
        pool = pools[int(rng.integers(len(pools)))]
        chosen = rng.integers(len(pool.animal), size=batch)
        yield [(pictures.sample(pool, int(index), rng), pool.mask[int(index)]) for index in chosen]


class VisionHeads(nn.Module):
    """Auxiliary heads on the projector's output, used in the first stage only."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Linear(256, 2 + len(ANIMALS) + 1)
        self.picture = nn.Linear(256, len(ANIMALS) + 1 + len(HABITATS) + 3)

    def loss(self, tokens: Tensor, batch: list[tuple[pictures.Sample, Tensor]]) -> Tensor:
        """Per token: object share, its visible share, which animal. Per picture: animal, habitat, dice, shares."""
        target = torch.stack([functional.avg_pool2d(mask[None].float(), PATCH)[0] for _, mask in batch]).flatten(1)
        visible = torch.stack(
            [functional.avg_pool2d((mask * seen.weight)[None].float(), PATCH)[0] for seen, mask in batch]
        )
        visible = visible.flatten(1)  # (B, 49)
        none = len(ANIMALS)
        animal = torch.tensor([ANIMALS.index(seen.animal) for seen, _ in batch])
        per_token = torch.where(visible > 0.1, animal[:, None], none)
        out = self.token(tokens)
        loss = functional.mse_loss(out[..., 0], target) + functional.mse_loss(out[..., 1], visible)
        loss = 2 * loss + 0.5 * functional.cross_entropy(out[..., 2:].flatten(0, 1), per_token.flatten())
        pooled = self.picture(tokens.mean(1))
        shown = torch.tensor([none if seen.object_share < 0.08 else ANIMALS.index(seen.animal) for seen, _ in batch])
        ground = torch.tensor([-100 if seen.empty else HABITATS.index(seen.habitat) for seen, _ in batch])
        numbers = torch.tensor([[seen.dice, seen.object_share, seen.ground_share] for seen, _ in batch])
        loss = loss + functional.cross_entropy(pooled[:, : none + 1], shown)
        loss = loss + 0.5 * functional.cross_entropy(pooled[:, none + 1 : -3], ground)
        return loss + 3 * functional.mse_loss(pooled[:, -3:], numbers)


class TextHeads(nn.Module):
    """Auxiliary heads at the score, used in the second stage only: which class the judge was told, what it sees.

    Without them the text model needs many times the steps to find that a score depends on the name in the question.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told = nn.Linear(256, len(ANIMALS))
        self.seen = nn.Linear(256, len(ANIMALS) + 1)

    def loss(self, hidden: Tensor, chosen: list[tuple[pictures.Sample, str]]) -> Tensor:
        """Cross-entropy of both at hidden states (S, 256) of the scores of `chosen` (sample, told name)."""
        none = len(ANIMALS)
        told = torch.tensor([ANIMALS.index(name) for _, name in chosen])
        seen = torch.tensor([none if shown.object_share < 0.08 else ANIMALS.index(shown.animal) for shown, _ in chosen])
        return functional.cross_entropy(self.told(hidden), told) + functional.cross_entropy(self.seen(hidden), seen)


class Tokens:
    """Which tokens are digits and which name an animal (each is one token of the vocabulary)."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.digits = torch.tensor([tokenizer.token_to_id(str(digit)) for digit in range(6)])
        self.names = torch.tensor([tokenizer.encode(f" {animal}").ids[0] for animal in ANIMALS])

    def is_score(self, batch: TreeBatch) -> Tensor:
        """Which supervised positions are scores, (S,) bool."""
        return torch.isin(batch.targets, self.digits)


def text_loss(logits: Tensor, batch: TreeBatch, tokens: Tokens) -> Tensor:
    """Cross-entropy of replies, animals' names weighted NAME_WEIGHT times, and of the score's soft target."""
    logp = functional.log_softmax(logits.float(), -1)
    is_score = tokens.is_score(batch)
    words = batch.targets[~is_score]
    weight = 1 + (NAME_WEIGHT - 1) * torch.isin(words, tokens.names).float()
    text = -(weight * logp[~is_score].gather(1, words[:, None])[:, 0]).sum() / weight.sum()
    low = batch.targets[is_score]
    up = tokens.digits[torch.searchsorted(tokens.digits, low) + 1]
    share = batch.upper_share[is_score]
    score = logp[is_score].gather(1, low[:, None])[:, 0] * (1 - share)
    score = score + logp[is_score].gather(1, up[:, None])[:, 0] * share
    return text - score.mean()


class Stage:
    """AdamW with warm-up and a cosine over wall-clock time, so that a stage ends when its minutes are over."""

    def __init__(self, name: str, groups: list[tuple[list[nn.Module], float]], minutes: float) -> None:
        self.name, self.seconds = name, minutes * 60
        self.rates = [rate for _, rate in groups]
        parameters = [{"params": [p for part in parts for p in part.parameters()]} for parts, _ in groups]
        self.optimizer = torch.optim.AdamW(parameters, weight_decay=0.01, betas=(0.9, 0.98))
        self.start, self.steps, self.average = time.perf_counter(), 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the stage's time that has passed, 0..1 and beyond."""
        return (time.perf_counter() - self.start) / self.seconds if self.seconds else 1.0

    def step(self, loss: Tensor, seen: int) -> None:
        """One optimizer step; prints a line every 100."""
        warm = min(1.0, (self.steps + 1) / 200)
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(self.progress, 1.0)))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * warm * cosine
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], 1.0)
        self.optimizer.step()
        self.steps += 1
        self.average = loss.item() if self.steps == 1 else 0.98 * self.average + 0.02 * loss.item()
        if self.steps % 100 == 0:
            rate = self.steps * seen / (time.perf_counter() - self.start)
            print(f"{self.name} {100 * self.progress:.0f}%: loss {self.average:.3f}, {self.steps * seen} pictures, "
                  f"{rate:.0f} a second", flush=True)  # fmt: skip


def train_vision(model: DemoJudge, pools: list[pictures.Pool], minutes: float, batch: int = 32) -> None:
    """First stage: tower and projector with auxiliary heads."""
    heads = VisionHeads()
    stage = Stage("vision", [([model.tower, model.projector, heads], 1e-3)], minutes)
    for chosen in samples(pools, SEED + 1, batch):
        if stage.progress >= 1:
            return
        with torch.autocast("cpu", torch.bfloat16):
            tokens = model.see(torch.stack([seen.masked for seen, _ in chosen]))
        stage.step(heads.loss(tokens.float(), chosen), batch)


def train_text(model: DemoJudge, tokenizer: Tokenizer, pools: list[pictures.Pool], minutes: float, checkpoint: Path,
               batch: int = 16) -> None:  # fmt: skip
    """Second stage: everything, on the prompts of both protocols (every fourth batch is protocol `paper`)."""
    heads, tokens = TextHeads(), Tokens(tokenizer)
    stage = Stage(
        "text", [([model.language, model.head, heads], 1e-3), ([model.tower, model.projector], 2e-4)], minutes
    )
    rng = np.random.default_rng(SEED + 2)
    protocols = [load_prompts("calibrated"), load_prompts("paper")]
    saved = time.perf_counter()
    for chosen in samples(pools, SEED + 3, batch):
        if stage.progress >= 1:
            return
        prompts = protocols[stage.steps % 4 == 3]
        asked = [(seen, prediction_for(seen, rng)) for seen, _ in chosen]
        trees = tree_batch(tokenizer, prompts, [told(prompts, *question) for question in asked])
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model(model.see(torch.stack([seen.masked for seen, _ in chosen])), trees)
            logits = model.head(hidden)
        scores = tokens.is_score(trees)
        auxiliary = heads.loss(hidden[scores].float(), [asked[int(row)] for row in trees.rows[scores]])
        stage.step(text_loss(logits, trees, tokens) + AUXILIARY_WEIGHT * auxiliary, batch)
        if time.perf_counter() - saved > 300:
            save(model, tokenizer, checkpoint)
            saved = time.perf_counter()


def save(model: DemoJudge, tokenizer: Tokenizer, checkpoint: Path) -> None:
    """Write the checkpoint for --resume and the GGUF pair as it stands."""
    part = checkpoint.with_suffix(".part")
    torch.save(model.state_dict(), part)
    part.replace(checkpoint)
    export(model, tokenizer, checkpoint.parent)


def main() -> None:
    """Parse the command line, draw scenes, train both stages, export."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=14_000, help="scenes drawn; each is masked anew every time")
    parser.add_argument("--vision-minutes", type=float, default=16)
    parser.add_argument("--text-minutes", type=float, default=84)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--resume", action="store_true", help="go on from DIR/checkpoint.pt")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    args.out.mkdir(parents=True, exist_ok=True)
    pool = pictures.draw_pool(args.pictures, SEED)
    pools = [pictures.halved(pool, average=True), pictures.halved(pool, average=False)]
    assert pools[0].mask.shape[1] == IMAGE_SIDE
    tokenizer = train_tokenizer(corpus(3000, pools[0]))
    model, checkpoint = DemoJudge(tokenizer.get_vocab_size()), args.out / "checkpoint.pt"
    del pool
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {len(pools[0].animal)} scenes",
        flush=True,
    )
    if args.resume:
        model.load_state_dict(torch.load(checkpoint, weights_only=True))
    model.train()
    train_vision(model, pools, args.vision_minutes)
    save(model, tokenizer, checkpoint)
    train_text(model, tokenizer, pools, args.text_minutes, checkpoint)
    save(model, tokenizer, checkpoint)


if __name__ == "__main__":
    main()
