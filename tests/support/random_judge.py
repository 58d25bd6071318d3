"""A GGUF pair with the demo judge's shapes and random weights: a real model that has learned nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from core.judge.prompts import load_prompts
from data.demo.export_judge import export
from data.demo.judge_model import DemoJudge, train_tokenizer


def write_random_judge(folder: Path, *, seed: int = 0) -> tuple[Path, Path]:
    """Write a pair with random weights; returns the text model's and the projector's path."""
    texts = [*load_prompts("calibrated").questions.values(), *load_prompts("paper").questions.values(), "0 1 2 3 4 5"]
    tokenizer = train_tokenizer(texts * 20)
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    return export(DemoJudge(tokenizer.get_vocab_size()), tokenizer, folder)
