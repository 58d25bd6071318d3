"""The demo judge's network and how its training text is laid out.

One training sequence is a tree: the trunk (instructions and picture) once, then every question with its reply as a
branch that sees the trunk and itself. That is how core.judge asks, too: the picture is decoded once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaModel

from core.judge import prompts as forms
from core.judge.prompts import ChatTemplate, Prompts

IMAGE_SIDE = 112
PATCH = 16
IMAGE_TOKENS = (IMAGE_SIDE // PATCH) ** 2
VOCABULARY = 1024
SPECIAL = ("<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEMPLATE = ChatTemplate(CHAT_TEMPLATE, bos="<s>", eos="</s>")
MEAN, STD = 0.5, 0.25


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Byte-level BPE with GPT-2's splitting, which llama.cpp knows as pre-tokenizer `gpt-2`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
        ),
    )
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that the vocabulary must hold. Raises ValueError where it does not."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ValueError(f"the tokenizer has no token {token}: train it with train_tokenizer")
    return found


class DemoJudge(nn.Module):
    """CLIP tower of 5 layers, two-layer gelu projector, Llama of 4 layers: about 6 M parameters."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(CLIPVisionConfig(
            hidden_size=192, intermediate_size=768, num_hidden_layers=5, num_attention_heads=3, image_size=IMAGE_SIDE,
            patch_size=PATCH, hidden_act="gelu", projection_dim=192))  # fmt: skip
        self.projector = nn.Sequential(nn.Linear(192, 256), nn.GELU(), nn.Linear(256, 256))
        self.language = LlamaModel(LlamaConfig(
            vocab_size=vocabulary, hidden_size=256, intermediate_size=768, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=4, max_position_embeddings=1024, rms_norm_eps=1e-5,
            rope_parameters={"rope_theta": 10000.0, "rope_type": "default"},
            pad_token_id=0, bos_token_id=1, eos_token_id=2))  # fmt: skip
        self.head = nn.Linear(256, vocabulary, bias=False)

    def see(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 112, 112, 3) uint8 to image tokens (B, 49, 256)."""
        x = (pictures.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
        features = self.tower(pixel_values=x, output_hidden_states=True).hidden_states[-1]  # (B, 50, 192)
        return self.projector(features[:, 1:])  # type: ignore[no-any-return]

    def forward(self, image_tokens: Tensor, batch: TreeBatch) -> Tensor:
        """Hidden states (S, 256) at the supervised positions of the batch; `head` turns them into logits."""
        embedded = self.language.embed_tokens(batch.ids)  # (B, L, 256)
        first = batch.image_start
        embedded = torch.cat(
            [embedded[:, :first], image_tokens.to(embedded.dtype), embedded[:, first + IMAGE_TOKENS :]], 1
        )
        mask = torch.zeros(batch.visible.shape, dtype=torch.bfloat16).masked_fill(
            ~batch.visible, torch.finfo(torch.bfloat16).min
        )
        hidden = self.language(
            inputs_embeds=embedded, attention_mask=mask[:, None], position_ids=batch.positions, use_cache=False
        ).last_hidden_state
        return hidden[batch.rows, batch.columns]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Branch:
    """One question and its reply as pieces (text, role): context is read, reply is learned, `score` is a soft digit."""

    pieces: tuple[tuple[str, str], ...]
    score: float = 0.0


def branches(prompts: Prompts, prediction: str, description: str, justification: str, score: float) -> list[Branch]:
    """Every question a protocol asks of a picture, with the truthful reply."""
    digit = str(int(score + 0.5))
    if prompts.protocol == "paper":
        asked = TEMPLATE.split(prompts.instructions, prompts.question("explain", prediction=prediction))[1]
        return [
            Branch(
                (
                    (asked + forms.DESCRIPTION, "context"),
                    (description + '"', "reply"),
                    (forms.AFTER_DESCRIPTION, "context"),
                    (justification + '"', "reply"),
                    (forms.AFTER_JUSTIFICATION, "context"),
                    (digit, "score"),
                ),
                score,
            )
        ]
    blind = TEMPLATE.split(prompts.instructions, prompts.question("describe", prediction=prediction))[1]
    up = TEMPLATE.split(prompts.instructions, prompts.question("score", prediction=prediction))[1]
    down = TEMPLATE.split(prompts.instructions, prompts.question("score", prediction=prediction, reverse=True))[1]
    return [
        Branch(((blind + forms.DESCRIPTION, "context"), (description + '"', "reply"))),
        Branch(((up + forms.SCORE, "context"), (digit, "score"), (forms.JUSTIFICATION, "context"),
                (justification + '"', "reply")), score),
        Branch(((down + forms.SCORE, "context"), (digit, "score")), score),
    ]  # fmt: skip


@dataclass(frozen=True)
class TreeBatch:
    """Token trees of a batch: ids and positions (B, L) int64, visible (B, L, L) bool, and what is supervised where."""

    ids: Tensor
    positions: Tensor
    visible: Tensor
    image_start: int
    rows: Tensor
    columns: Tensor
    targets: Tensor
    """(S,) token to predict, or for a score position the lower of the two digits."""
    upper_share: Tensor
    """(S,) float: share of the next digit's token in the target; 0 for text."""


def tree_batch(tokenizer: Tokenizer, prompts: Prompts, trees: list[list[Branch]]) -> TreeBatch:
    """Lay out each picture's branches behind a common trunk."""
    before = tokenizer.encode(TEMPLATE.split(prompts.instructions, "")[0]).ids
    trunk = len(before) + IMAGE_TOKENS
    digits = [token_id(tokenizer, str(digit)) for digit in range(6)]
    lines = [_line(tokenizer, digits, tree, trunk) for tree in trees]
    length = trunk + max(len(ids) for ids, *_ in lines)
    count = len(trees)
    ids, positions = torch.zeros(count, length, dtype=torch.long), torch.zeros(count, length, dtype=torch.long)
    segments = torch.full((count, length), -1)
    ids[:, : len(before)] = torch.tensor(before)
    positions[:, :trunk] = torch.arange(trunk)
    segments[:, :trunk] = 0
    supervised: list[tuple[int, int, int, float]] = []
    for row, (tokens, places, marks, learned) in enumerate(lines):
        end = trunk + len(tokens)
        ids[row, trunk:end], positions[row, trunk:end] = torch.tensor(tokens), torch.tensor(places)
        segments[row, trunk:end] = torch.tensor(marks)
        supervised += [(row, trunk + column, target, share) for column, target, share in learned]
    same = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
    rows, columns, targets, shares = zip(*supervised, strict=True)
    return TreeBatch(
        ids,
        positions,
        same & torch.ones(length, length, dtype=torch.bool).tril(),
        len(before),
        torch.tensor(rows),
        torch.tensor(columns),
        torch.tensor(targets),
        torch.tensor(shares),
    )


Line = tuple[list[int], list[int], list[int], list[tuple[int, int, float]]]


def _line(tokenizer: Tokenizer, digits: list[int], tree: list[Branch], trunk: int) -> Line:
    """Tokens, positions, segment marks and supervised (column, target, upper share) of one picture's branches."""
    tokens: list[int] = []
    places: list[int] = []
    marks: list[int] = []
    learned: list[tuple[int, int, float]] = []
    for mark, branch in enumerate(tree, 1):
        start = len(tokens)
        for text, role in branch.pieces:
            for token in tokenizer.encode(text, add_special_tokens=False).ids:
                if role == "reply":
                    learned.append((len(tokens) - 1, token, 0.0))
                elif role == "score":
                    lower = min(int(branch.score), 4)
                    learned.append((len(tokens) - 1, digits[lower], branch.score - lower))
                tokens.append(token)
        places += range(trunk, trunk + len(tokens) - start)
        marks += [mark] * (len(tokens) - start)
    return tokens, places, marks, learned
