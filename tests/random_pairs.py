"""Tiny random-weight GGUF pairs of the families people use, as real to llama.cpp as the published ones.

Knows: the keys and tensors llama.cpp asks of each architecture. Does not know: whylook's judge code.

The weights are random except for one direction of the residual stream that says which tokens are likely, so that a
pair writes short words and puts its score on a digit: what it writes depends on the picture, and means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from core.judge.prompts import load_prompts
from data.demo.judge_model import train_tokenizer

WIDTH, LAYERS, HEADS, KV_HEADS, FEED = 64, 2, 4, 2, 96
VISION, VISION_LAYERS, VISION_FEED, PATCH = 32, 2, 64, 8
WORDS = ("a", "e", "i", "o", "n", "s", "t", "r", " the", " is", " p", " s")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = CHATML.replace(
    "assistant\n", "assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}"
)
VICUNA = "{{ bos_token }}{% for message in messages %}USER: {{ message.content }} {% endfor %}ASSISTANT:"
TYPED = (
    "<|im_start|>{% for message in messages %}{{ message.role | capitalize }}:{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% elif part.type == 'image' %}<image>{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message.role }}\n{{ message.content | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """One way to build a vision-language model: text architecture, template, special tokens, projector and its side."""

    architecture: str
    template: str
    special: tuple[str, ...]
    projector: str
    side: int
    merge: int = 1
    sentencepiece: bool = False


FAMILIES = {
    "llava": Family("llama", VICUNA, (), "mlp", 32, sentencepiece=True),
    "smolvlm": Family(
        "llama", TYPED,
        ("<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>",
         *(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5))),
        "idefics3", 32, merge=2,
    ),
    "qwen2.5-vl": Family(
        "qwen2vl", CHATML, ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
        "qwen2.5vl_merger", 64, merge=2,
    ),
    "qwen3-vl": Family(
        "qwen3vl", THINKING,
        ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<think>", "</think>"),
        "qwen3vl_merger", 64, merge=2,
    ),
    "gemma3": Family(
        "gemma3", GEMMA, ("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>"), "gemma3", 64,
        merge=2, sentencepiece=True,
    ),
    "internvl": Family(
        "qwen2", CHATML, ("<|im_start|>", "<|im_end|>", "<img>", "</img>"), "internvl", 32, merge=2
    ),
}  # fmt: skip


class _Writer:
    """A GGUF file with random tensors."""

    def __init__(self, path: Path, architecture: str, seed: int) -> None:
        self.file, self.random = gguf.GGUFWriter(path, architecture), np.random.default_rng(seed)
        self.file.add_file_type(gguf.LlamaFileType.ALL_F32)

    def matrix(self, name: str, *shape: int, gain: float = 1.0) -> None:
        """Random weights (out, in, ...), scaled so that the output is about as large as the input."""
        values = self.random.normal(0, gain / np.sqrt(np.prod(shape[1:])), shape)
        if name.startswith("blk.") and ("attn_output" in name or "ffn_down" in name):
            values[0] = 0  # what a layer adds leaves the constant direction alone
        self.file.add_tensor(name, values.astype(np.float32))

    def linear(self, name: str, out: int, inside: int, *, gain: float = 1.0) -> None:
        self.matrix(f"{name}.weight", out, inside, gain=gain)
        self.file.add_tensor(f"{name}.bias", self.random.normal(0, 0.1, out).astype(np.float32))

    def norm(self, name: str, size: int, *, bias: bool = False, gain: float = 1.0) -> None:
        self.file.add_tensor(f"{name}.weight", np.full(size, gain, np.float32))
        if bias:
            self.file.add_tensor(f"{name}.bias", np.zeros(size, np.float32))

    def close(self) -> None:
        self.file.write_header_to_file()
        self.file.write_kv_data_to_file()
        self.file.write_tensors_to_file()
        self.file.close()


def write_pair(
    folder: Path, family: str, *, seed: int = 0, context: int = 4096, **changes: str | tuple[str, ...]
) -> tuple[Path, Path]:
    """Write a pair of the family, `changes` made to its fields; returns the text model's and the projector's path."""
    folder.mkdir(parents=True, exist_ok=True)
    built = replace(FAMILIES[family], **changes)  # type: ignore[arg-type]
    text, projector = folder / f"{family}.gguf", folder / f"mmproj-{family}.gguf"
    _text_model(text, built, seed=seed, context=context)
    _projector(projector, built, seed=seed + 1)
    return text, projector


def _text_model(path: Path, family: Family, *, seed: int, context: int) -> None:
    writer, name = _Writer(path, family.architecture, seed), family.architecture
    file, head = writer.file, WIDTH // HEADS
    file.add_name(f"random {name}")
    file.add_context_length(context)
    file.add_embedding_length(WIDTH)
    file.add_block_count(LAYERS)
    file.add_feed_forward_length(FEED)
    file.add_head_count(HEADS)
    file.add_head_count_kv(KV_HEADS)
    file.add_key_length(head)
    file.add_value_length(head)
    file.add_rope_dimension_count(head)
    file.add_layer_norm_rms_eps(1e-5)
    if name in ("qwen2vl", "qwen3vl"):
        file.add_rope_dimension_sections([head // 4, head // 8, head // 8, 0])
    if name == "qwen3vl":
        file.add_uint32("qwen3vl.n_deepstack_layers", 1)
    if name == "gemma3":
        file.add_sliding_window(128)
        file.add_rope_freq_base_swa(10000.0)
    file.add_chat_template(family.template)
    tokens = _sentencepiece(file, family) if family.sentencepiece else _byte_pairs(file, family)
    embedding = writer.random.normal(0, 1, (len(tokens), WIDTH))
    embedding[:, 0] = 12.0  # the constant direction
    file.add_tensor("token_embd.weight", (embedding / (8 if name == "gemma3" else 1)).astype(np.float32))
    file.add_tensor("output.weight", _head(tokens, writer.random))
    writer.norm("output_norm", WIDTH)
    for layer in range(LAYERS):
        _layer(writer, f"blk.{layer}.", name)
    writer.close()


def _head(tokens: Sequence[str], random: np.random.Generator) -> NDArray[np.float32]:
    """Output weights that make digits, quotation mark and a few short words likely, whatever was read."""
    values = random.normal(0, 0.15, (len(tokens), WIDTH))
    likely = {'"': 5.15, **dict.fromkeys("012345", 5.0), **dict.fromkeys(WORDS, 4.9)}
    values[:, 0] = [likely.get(token.replace("Ġ", " ").replace("▁", " "), 0.0) for token in tokens]
    return values.astype(np.float32)


def _layer(writer: _Writer, name: str, architecture: str) -> None:
    head = WIDTH // HEADS
    for part, size in (("attn_q", HEADS * head), ("attn_k", KV_HEADS * head), ("attn_v", KV_HEADS * head)):
        if architecture in ("qwen2", "qwen2vl"):
            writer.linear(name + part, size, WIDTH, gain=2.0)
        else:
            writer.matrix(f"{name}{part}.weight", size, WIDTH, gain=2.0)
    writer.matrix(f"{name}attn_output.weight", WIDTH, HEADS * head, gain=6.0)
    writer.matrix(f"{name}ffn_gate.weight", FEED, WIDTH)
    writer.matrix(f"{name}ffn_up.weight", FEED, WIDTH)
    writer.matrix(f"{name}ffn_down.weight", WIDTH, FEED)
    writer.norm(name + "attn_norm", WIDTH)
    writer.norm(name + "ffn_norm", WIDTH)
    if architecture in ("qwen3vl", "gemma3"):
        writer.norm(name + "attn_q_norm", head, gain=2.0)
        writer.norm(name + "attn_k_norm", head, gain=2.0)
    if architecture == "gemma3":
        writer.norm(name + "post_attention_norm", WIDTH)
        writer.norm(name + "post_ffw_norm", WIDTH)


def _texts() -> list[str]:
    prompts = [load_prompts("calibrated"), load_prompts("paper")]
    return [text for one in prompts for text in (one.instructions, *one.questions.values(), *one.rubric)]


def _byte_pairs(file: gguf.GGUFWriter, family: Family) -> list[str]:
    """A byte-level BPE vocabulary with the family's special tokens behind it."""
    model = json.loads(train_tokenizer(_texts() * 5).to_str())["model"]
    ordinary = sorted(model["vocab"], key=model["vocab"].__getitem__)
    tokens = [*ordinary, *family.special, "Ċ" * 2]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    kinds = [gguf.TokenType.CONTROL if token in family.special or token in ordinary[:3] else gguf.TokenType.NORMAL
             for token in tokens]  # fmt: skip
    _vocabulary(file, "gpt2", tokens, kinds)
    file.add_tokenizer_pre("gpt-2")
    file.add_token_merges(merges)
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_add_bos_token(False)
    return tokens


def _sentencepiece(file: gguf.GGUFWriter, family: Family) -> list[str]:
    """A SentencePiece vocabulary: bytes, characters, a few words; llama's puts a space before every text."""
    control = ["<unk>", "<s>", "</s>", *family.special]
    data = [f"<0x{value:02X}>" for value in range(256)]
    characters = sorted({character for text in _texts() for character in text if character != " "} | set('"{}:,'))
    words = ["▁", *(word.replace(" ", "▁") for word in WORDS if len(word) > 1)]
    tokens = [*control, *data, *characters, *words]
    kinds = [gguf.TokenType.CONTROL] * len(control) + [gguf.TokenType.BYTE] * 256
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds))
    _vocabulary(file, "llama", tokens, kinds)
    file.add_token_scores(
        [0.0] * (len(control) + 256)
        + [-float(index) for index in range(len(tokens) - len(kinds[: len(control) + 256]))]
    )
    file.add_unk_token_id(0)
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_add_bos_token(True)
    file.add_add_space_prefix(family.architecture == "llama")
    return tokens


def _vocabulary(file: gguf.GGUFWriter, model: str, tokens: Sequence[str], kinds: Sequence[gguf.TokenType]) -> None:
    file.add_tokenizer_model(model)
    file.add_vocab_size(len(tokens))
    file.add_token_list(list(tokens))
    file.add_token_types(list(kinds))


def _projector(path: Path, family: Family, *, seed: int) -> None:
    writer, kind = _Writer(path, "clip", seed), family.projector
    file, merged, patches = writer.file, VISION * family.merge**2, (family.side // PATCH) ** 2
    file.add_name(f"random {kind}")
    file.add_bool("clip.has_vision_encoder", True)
    file.add_string("clip.projector_type", kind)
    file.add_bool("clip.use_gelu", True)
    file.add_vision_image_size(family.side)
    file.add_vision_patch_size(PATCH)
    file.add_vision_embedding_length(VISION)
    file.add_vision_feed_forward_length(VISION_FEED)
    file.add_vision_projection_dim(WIDTH)
    file.add_vision_head_count(2)
    file.add_vision_block_count(VISION_LAYERS)
    file.add_vision_attention_layernorm_eps(1e-5)
    file.add_vision_image_mean([0.5] * 3)
    file.add_vision_image_std([0.5] * 3)
    file.add_uint32("clip.vision.projector.scale_factor", family.merge)
    for key, value in EXTRA.get(kind, {}).items():
        file.add_uint32(f"clip.vision.{key}", value)
    writer.matrix("v.patch_embd.weight", VISION, 3, PATCH, PATCH, gain=3.0)
    if kind.startswith("qwen"):
        writer.matrix("v.patch_embd.weight.1", VISION, 3, PATCH, PATCH, gain=3.0)
    if kind == "qwen3vl_merger":
        writer.file.add_tensor("v.patch_embd.bias", np.zeros(VISION, np.float32))
    if kind in ("mlp", "internvl"):
        writer.file.add_tensor("v.class_embd", writer.random.normal(0, 1, VISION).astype(np.float32))
        patches += 1
    if kind != "qwen2.5vl_merger":
        writer.matrix("v.position_embd.weight", patches, VISION, gain=2.0)
    for layer in range(VISION_LAYERS):
        _vision_layer(writer, f"v.blk.{layer}.", kind)
    if kind not in ("mlp", "internvl"):
        writer.norm("v.post_ln", VISION, bias=kind != "qwen2.5vl_merger")
    HEADS_OF_PROJECTORS[kind](writer, merged)
    writer.close()


EXTRA: Mapping[str, Mapping[str, int]] = {
    "idefics3": {"preproc_image_size": 64},
    "internvl": {"preproc_min_tiles": 1, "preproc_max_tiles": 4},
    "qwen2.5vl_merger": {"n_wa_pattern": 2, "spatial_merge_size": 2},
    "qwen3vl_merger": {"spatial_merge_size": 2},
}


def _vision_layer(writer: _Writer, name: str, kind: str) -> None:
    if kind == "qwen3vl_merger":
        writer.linear(name + "attn_qkv", 3 * VISION, VISION)
    else:
        for part in ("attn_q", "attn_k", "attn_v"):
            writer.linear(name + part, VISION, VISION)
    writer.linear(name + "attn_out", VISION, VISION)
    writer.linear(name + "ffn_up", VISION_FEED, VISION)
    writer.linear(name + "ffn_down", VISION, VISION_FEED)
    if kind == "qwen2.5vl_merger":
        writer.linear(name + "ffn_gate", VISION_FEED, VISION)
    for part in ("ln1", "ln2"):
        writer.norm(name + part, VISION, bias=kind != "qwen2.5vl_merger")


def _mlp(writer: _Writer, merged: int) -> None:
    writer.linear("mm.0", merged, merged)
    writer.linear("mm.2", WIDTH, merged, gain=2.0)


def _deepstack(writer: _Writer, merged: int) -> None:
    _mlp(writer, merged)
    writer.norm("v.deepstack.0.norm", merged, bias=True)
    writer.linear("v.deepstack.0.fc1", merged, merged)
    writer.linear("v.deepstack.0.fc2", WIDTH, merged)


def _shuffled(writer: _Writer, merged: int) -> None:
    writer.matrix("mm.model.fc.weight", WIDTH, merged, gain=2.0)


def _pooled(writer: _Writer, _: int) -> None:
    writer.matrix("mm.input_projection.weight", VISION, WIDTH, gain=2.0)  # transposed, as llama.cpp wants it
    writer.norm("mm.soft_emb_norm", VISION)


def _internvl(writer: _Writer, merged: int) -> None:
    writer.norm("mm.model.mlp.0", merged, bias=True)
    writer.linear("mm.model.mlp.1", WIDTH, merged)
    writer.linear("mm.model.mlp.3", WIDTH, WIDTH, gain=2.0)


HEADS_OF_PROJECTORS = {
    "mlp": _mlp, "idefics3": _shuffled, "qwen2.5vl_merger": _mlp, "qwen3vl_merger": _deepstack, "gemma3": _pooled,
    "internvl": _internvl,
}  # fmt: skip
