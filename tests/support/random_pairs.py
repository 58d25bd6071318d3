"""Random-weight GGUF pairs of the families people use, as real to llama.cpp as the published ones; tiny or larger.

The weights are random except for one direction of the residual stream that says which tokens are likely, so that a pair
writes short words and puts its score on a digit: what it writes depends on the picture, and means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import gguf.quants
import numpy as np
from numpy.typing import NDArray

from core.judge.prompts import load_prompts
from data.demo.judge_model import train_tokenizer

F32, F16, Q8_0 = (gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "Q8_0"))
FILE_TYPES = {F32: gguf.LlamaFileType.ALL_F32, F16: gguf.LlamaFileType.MOSTLY_F16, Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0}
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
TURNS = (
    "{{ bos_token }}{% for message in messages %}<|turn>{{ message.role }}\n{{ message.content | trim }}<turn|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|turn>model\n"
    "{% if not enable_thinking %}<|channel>thought\n<channel|>{% endif %}{% endif %}"
)


@dataclass(frozen=True)
class Size:
    """Widths and depths of text model and vision tower; the vocabulary is filled up to at least `tokens`."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    feed: int = 96
    vision: int = 32
    vision_layers: int = 2
    vision_heads: int = 2
    vision_feed: int = 64
    patch: int = 8
    tokens: int = 0


TINY = Size()
LARGE = Size(width=1024, layers=12, heads=16, kv_heads=8, feed=2816, vision=768, vision_layers=12, vision_heads=12,
             vision_feed=3072, patch=14, tokens=32_000)  # fmt: skip
"""About 300 M parameters: what a user's smallest judge has."""


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
    layers: int = 0
    """At least so many of the text model, where they are of several kinds."""
    patch: int = 0
    """Side of a patch, where another than the size's would cut a picture into tiles that the real models do not."""


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
    "qwen3.5": Family(
        "qwen35", THINKING,
        ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<think>", "</think>"),
        "qwen3vl_merger", 64, merge=2, layers=4,
    ),
    "minicpm-v-4.6": Family(
        "qwen35", THINKING,
        ("<|im_start|>", "<|im_end|>", "<image>", "</image>", "<slice>", "</slice>", "<think>", "</think>"),
        "minicpmv4_6", 448, merge=4, layers=4, patch=14,
    ),
    "gemma4": Family(
        "gemma4", TURNS, ("<|turn>", "<turn|>", "<|image>", "<image|>", "<|channel>", "<channel|>"), "gemma4v", 64,
        merge=2, layers=4,
    ),
    "lfm2-vl": Family(
        "lfm2", CHATML, ("<|im_start|>", "<|im_end|>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>",
                         *(f"<|img_row_{row}_col_{column}|>" for row in range(1, 11) for column in range(1, 11))),
        "lfm2", 64, merge=2, layers=4, patch=16,
    ),
}  # fmt: skip


ADDED = ("attn_output", "ffn_down", "ssm_out", "out_proj", ".proj.")
"""Matrices whose output a layer adds to the residual stream."""


class _Writer:
    """A GGUF file with random tensors; matrices in `kind`, the rest in F32."""

    def __init__(self, path: Path, architecture: str, seed: int, size: Size, kind: gguf.GGMLQuantizationType) -> None:
        self.file, self.random = gguf.GGUFWriter(path, architecture), np.random.default_rng(seed)
        self.size, self._kind = size, kind
        self.file.add_file_type(FILE_TYPES[kind])

    def tensor(self, name: str, values: NDArray[np.float32]) -> None:
        """A matrix, stored in the file's kind."""
        if self._kind == F32:
            self.file.add_tensor(name, values)
        else:
            self.file.add_tensor(name, gguf.quants.quantize(values, self._kind), raw_dtype=self._kind)

    def matrix(self, name: str, *shape: int, gain: float = 1.0) -> None:
        """Random weights (out, in, ...), scaled so that the output is about as large as the input."""
        values = self.random.normal(0, gain / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        if name.startswith("blk.") and any(part in name for part in ADDED):
            values[0] = 0  # what a layer adds leaves the constant direction alone
        if any(part in name for part in ("patch_embd", "position_embd", "conv")):  # llama.cpp wants these in F32 or F16
            self.file.add_tensor(name, values)
        else:
            self.tensor(name, values)

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
    folder: Path,
    family: str,
    *,
    seed: int = 0,
    context: int = 4096,
    size: Size = TINY,
    kind: gguf.GGMLQuantizationType = F32,
    **changes: Any,
) -> tuple[Path, Path]:
    """Write a pair of the family, `changes` made to its fields; returns the text model's and the projector's path."""
    folder.mkdir(parents=True, exist_ok=True)
    built = replace(FAMILIES[family], **changes)
    size = replace(size, layers=max(size.layers, built.layers), patch=built.patch or size.patch)
    text, projector = folder / f"{family}.gguf", folder / f"mmproj-{family}.gguf"
    _text_model(_Writer(text, built.architecture, seed, size, kind), built, context=context)
    _projector(_Writer(projector, "clip", seed + 1, size, kind), built)
    return text, projector


def _text_model(writer: _Writer, family: Family, *, context: int) -> None:
    name, size = family.architecture, writer.size
    file, head = writer.file, size.width // size.heads
    file.add_name(f"random {name}")
    file.add_context_length(context)
    file.add_embedding_length(size.width)
    file.add_block_count(size.layers)
    file.add_feed_forward_length(size.feed)
    file.add_head_count(size.heads)
    recurrent = [name in RECURRENT and layer % 2 == 0 for layer in range(size.layers)]
    file.add_head_count_kv([0 if each else size.kv_heads for each in recurrent] if name == "lfm2" else size.kv_heads)
    file.add_key_length(head)
    file.add_value_length(head)
    file.add_rope_dimension_count(head)
    file.add_layer_norm_rms_eps(1e-5)
    if name in ("qwen2vl", "qwen3vl", "qwen35"):
        file.add_rope_dimension_sections([head // 4, head // 8, head // 8, 0])
    if name == "qwen3vl":
        file.add_uint32("qwen3vl.n_deepstack_layers", 1)
    if name in ("gemma3", "gemma4"):
        file.add_sliding_window(128)
        file.add_rope_freq_base_swa(10000.0)
    for key, value in OWN.get(name, {}).items():
        file.add_array(f"{name}.{key}", value) if isinstance(value, list) else file.add_uint32(f"{name}.{key}", value)
    file.add_chat_template(family.template)
    if name == "gemma4":
        tokens = _spaced_pairs(file, family)
    else:
        tokens = _sentencepiece(file, family) if family.sentencepiece else _byte_pairs(file, family, fill=size.tokens)
    embedding = writer.random.normal(0, 1, (len(tokens), size.width)).astype(np.float32)
    embedding[:, 0] = 12.0  # the constant direction
    writer.tensor("token_embd.weight", embedding / np.float32(8 if name.startswith("gemma") else 1))
    writer.tensor("output.weight", _head(tokens, writer))
    writer.norm("token_embd_norm" if name == "lfm2" else "output_norm", size.width)
    if name == "gemma4":
        writer.matrix("per_layer_token_embd.weight", len(tokens), PER_LAYER * size.layers)
        writer.matrix("per_layer_model_proj.weight", PER_LAYER * size.layers, size.width)
        writer.norm("per_layer_proj_norm", PER_LAYER)
        writer.norm("rope_freqs", head // 2)
    for layer in range(size.layers):
        RECURRENT[name](writer, f"blk.{layer}.") if recurrent[layer] else _attention(writer, f"blk.{layer}.", name)
        _feed(writer, f"blk.{layer}.", name)
    writer.close()


def _head(tokens: Sequence[str], writer: _Writer) -> NDArray[np.float32]:
    """Output weights that make digits, quotation mark and a few short words likely, whatever was read."""
    width = writer.size.width
    values = writer.random.normal(0, 1.2 / np.sqrt(width), (len(tokens), width)).astype(np.float32)
    likely = {'"': 5.15, **dict.fromkeys("012345", 5.0), **dict.fromkeys(WORDS, 4.9)}
    values[:, 0] = [likely.get(token.replace("Ġ", " ").replace("▁", " "), 0.0) for token in tokens]
    return values


def _attention(writer: _Writer, name: str, architecture: str) -> None:
    size = writer.size
    width, head = size.width, size.width // size.heads
    gated = 2 if architecture == "qwen35" else 1  # its queries come with a gate
    for part, heads in (("attn_q", gated * size.heads), ("attn_k", size.kv_heads), ("attn_v", size.kv_heads)):
        if architecture in ("qwen2", "qwen2vl"):
            writer.linear(name + part, heads * head, width, gain=2.0)
        else:
            writer.matrix(f"{name}{part}.weight", heads * head, width, gain=2.0)
    writer.matrix(f"{name}attn_output.weight", width, size.heads * head, gain=6.0)
    if architecture in ("qwen3vl", "qwen35", "gemma3", "gemma4", "lfm2"):
        writer.norm(name + "attn_q_norm", head, gain=2.0)
        writer.norm(name + "attn_k_norm", head, gain=2.0)


def _feed(writer: _Writer, name: str, architecture: str) -> None:
    """The two-layer part of a block, its norms, and what only some architectures add."""
    size = writer.size
    width = size.width
    writer.matrix(f"{name}ffn_gate.weight", size.feed, width)
    writer.matrix(f"{name}ffn_up.weight", size.feed, width)
    writer.matrix(f"{name}ffn_down.weight", width, size.feed)
    writer.norm(name + "attn_norm", width)
    if architecture != "qwen35":
        writer.norm(name + "ffn_norm", width)
    if architecture in ("qwen35", "gemma3", "gemma4"):
        writer.norm(name + "post_attention_norm", width)
    if architecture in ("gemma3", "gemma4"):
        writer.norm(name + "post_ffw_norm", width)
    if architecture == "gemma4":
        writer.matrix(f"{name}inp_gate.weight", PER_LAYER, width)
        writer.matrix(f"{name}proj.weight", width, PER_LAYER)
        writer.norm(name + "post_norm", width)


def _delta_net(writer: _Writer, name: str) -> None:
    """Qwen3.5's gated delta net: a convolution over the last tokens, then a state for each head."""
    width, random = writer.size.width, writer.random
    values, channels = HEADS_V * STATE, (HEADS_V + 2 * HEADS_K) * STATE
    writer.matrix(f"{name}attn_qkv.weight", channels, width, gain=2.0)
    writer.matrix(f"{name}attn_gate.weight", values, width)
    writer.matrix(f"{name}ssm_conv1d.weight", channels, KERNEL, gain=2.0)
    writer.file.add_tensor(f"{name}ssm_dt.bias", random.normal(0, 0.5, HEADS_V).astype(np.float32))
    writer.file.add_tensor(f"{name}ssm_a", -random.uniform(0.05, 0.5, HEADS_V).astype(np.float32))
    writer.matrix(f"{name}ssm_beta.weight", HEADS_V, width)
    writer.matrix(f"{name}ssm_alpha.weight", HEADS_V, width)
    writer.norm(name + "ssm_norm", STATE)
    writer.matrix(f"{name}ssm_out.weight", width, values, gain=3.0)


def _short_convolution(writer: _Writer, name: str) -> None:
    """LFM2's convolution over the last tokens, with two gates."""
    width = writer.size.width
    writer.matrix(f"{name}shortconv.in_proj.weight", 3 * width, width, gain=2.0)
    writer.matrix(f"{name}shortconv.conv.weight", width, KERNEL, gain=2.0)
    writer.matrix(f"{name}shortconv.out_proj.weight", width, width, gain=2.0)


RECURRENT = {"qwen35": _delta_net, "lfm2": _short_convolution}
"""What stands in the place of attention in every second layer."""
HEADS_K, HEADS_V, STATE, KERNEL, PER_LAYER = 2, 4, 16, 3, 8
OWN: Mapping[str, Mapping[str, int | list[bool]]] = {
    "qwen35": {
        "ssm.conv_kernel": KERNEL, "ssm.inner_size": HEADS_V * STATE, "ssm.state_size": STATE,
        "ssm.time_step_rank": HEADS_V, "ssm.group_count": HEADS_K, "full_attention_interval": 2,
    },
    "lfm2": {"shortconv.l_cache": KERNEL},
    "gemma4": {
        "attention.sliding_window_pattern": [True, False, True, False], "attention.shared_kv_layers": 2,
        "attention.key_length_swa": 16, "attention.value_length_swa": 16, "rope.dimension_count_swa": 16,
        "embedding_length_per_layer_input": PER_LAYER,
    },
}  # fmt: skip


def _texts() -> list[str]:
    prompts = [load_prompts("calibrated"), load_prompts("paper")]
    return [text for form in prompts for text in (form.instructions, *form.questions.values(), *form.rubric)]


def _byte_pairs(file: gguf.GGUFWriter, family: Family, *, fill: int) -> list[str]:
    """A byte-level BPE vocabulary with the family's special tokens behind it, and as many unused ones as it takes."""
    model = json.loads(train_tokenizer(_texts() * 5).to_str())["model"]
    ordinary = sorted(model["vocab"], key=model["vocab"].__getitem__)
    tokens = [*ordinary, *family.special, "Ċ" * 2]
    tokens += [f"<unused{number}>" for number in range(fill - len(tokens))]
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


def _spaced_pairs(file: gguf.GGUFWriter, family: Family) -> list[str]:
    """Gemma 4's vocabulary: byte pairs over text whose spaces are marks, bytes for what no token stands for."""
    control = ["<pad>", "<eos>", "<bos>", "<unk>", *family.special]
    data = [f"<0x{value:02X}>" for value in range(256)]
    characters = sorted({character for text in _texts() for character in text if character != " "} | set('"{}:,▁'))
    words = [word.replace(" ", "▁") for word in WORDS if len(word) > 1]
    merges: dict[str, None] = {}
    for word in words:  # from the left, one character at a time
        for end in range(2, len(word) + 1):
            merges[f"{word[: end - 1]} {word[end - 1]}"] = None
    tokens = [*dict.fromkeys([*control, *data, *characters, *(pair.replace(" ", "") for pair in merges)])]
    kinds = [gguf.TokenType.CONTROL] * len(control) + [gguf.TokenType.BYTE] * 256
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds))
    _vocabulary(file, "gemma4", tokens, kinds)
    file.add_token_merges(list(merges))
    file.add_token_scores([0.0] * len(tokens))
    file.add_bos_token_id(2)
    file.add_eos_token_id(1)
    file.add_unk_token_id(3)
    file.add_add_bos_token(True)
    file.add_add_space_prefix(False)
    return tokens


def _vocabulary(file: gguf.GGUFWriter, model: str, tokens: Sequence[str], kinds: Sequence[gguf.TokenType]) -> None:
    file.add_tokenizer_model(model)
    file.add_vocab_size(len(tokens))
    file.add_token_list(list(tokens))
    file.add_token_types(list(kinds))


def _projector(writer: _Writer, family: Family) -> None:
    kind, size = family.projector, writer.size
    file, vision, patches = writer.file, size.vision, (family.side // size.patch) ** 2
    merged = vision * family.merge**2
    file.add_name(f"random {kind}")
    file.add_bool("clip.has_vision_encoder", True)
    file.add_string("clip.projector_type", kind)
    file.add_bool("clip.use_gelu", True)
    file.add_vision_image_size(family.side)
    file.add_vision_patch_size(size.patch)
    file.add_vision_embedding_length(vision)
    file.add_vision_feed_forward_length(size.vision_feed)
    file.add_vision_projection_dim(size.width)
    file.add_vision_head_count(size.vision_heads)
    file.add_vision_block_count(size.vision_layers)
    file.add_vision_attention_layernorm_eps(1e-5)
    file.add_vision_image_mean([0.5] * 3)
    file.add_vision_image_std([0.5] * 3)
    file.add_uint32("clip.vision.projector.scale_factor", family.merge)
    for key, value in EXTRA.get(kind, {}).items():
        file.add_uint32(f"clip.vision.{key}", value)
    writer.matrix("v.patch_embd.weight", vision, 3, size.patch, size.patch, gain=3.0)
    if kind.startswith("qwen"):
        writer.matrix("v.patch_embd.weight.1", vision, 3, size.patch, size.patch, gain=3.0)
    if kind == "qwen3vl_merger":
        writer.file.add_tensor("v.patch_embd.bias", np.zeros(vision, np.float32))
    if kind in ("mlp", "internvl"):
        writer.file.add_tensor("v.class_embd", writer.random.normal(0, 1, vision).astype(np.float32))
        patches += 1
    if kind == "minicpmv4_6":
        patches = 70**2  # whatever the picture's size
    if kind == "gemma4v":  # one table for each side
        writer.file.add_tensor("v.position_embd.weight", writer.random.normal(0, 1, (2, 64, vision)).astype(np.float32))
    elif kind != "qwen2.5vl_merger":
        writer.matrix("v.position_embd.weight", patches, vision, gain=2.0)
    for layer in range(size.vision_layers):
        _vision_layer(writer, f"v.blk.{layer}.", kind)
    if kind == "minicpmv4_6":
        file.add_vision_wa_layer_indexes([0])
    if kind not in ("mlp", "internvl", "gemma4v"):
        writer.norm("v.post_ln", vision, bias=kind != "qwen2.5vl_merger")
    HEADS_OF_PROJECTORS[kind](writer, merged)
    if family.architecture == "qwen3vl":
        _deepstack(writer, merged)
    writer.close()


EXTRA: Mapping[str, Mapping[str, int]] = {
    "idefics3": {"preproc_image_size": 64},
    "internvl": {"preproc_min_tiles": 1, "preproc_max_tiles": 4},
    "qwen2.5vl_merger": {"n_wa_pattern": 2, "spatial_merge_size": 2},
    "qwen3vl_merger": {"spatial_merge_size": 2},
}


def _vision_layer(writer: _Writer, name: str, kind: str) -> None:
    if kind == "qwen3vl_merger":
        writer.linear(name + "attn_qkv", 3 * writer.size.vision, writer.size.vision)
    else:
        for part in ("attn_q", "attn_k", "attn_v"):
            writer.linear(name + part, writer.size.vision, writer.size.vision)
    writer.linear(name + "attn_out", writer.size.vision, writer.size.vision)
    writer.linear(name + "ffn_up", writer.size.vision_feed, writer.size.vision)
    writer.linear(name + "ffn_down", writer.size.vision, writer.size.vision_feed)
    if kind in ("qwen2.5vl_merger", "gemma4v"):
        writer.linear(name + "ffn_gate", writer.size.vision_feed, writer.size.vision)
    for part in ("ln1", "ln2"):
        writer.norm(name + part, writer.size.vision, bias=kind not in ("qwen2.5vl_merger", "gemma4v"))


def _mlp(writer: _Writer, merged: int) -> None:
    writer.linear("mm.0", merged, merged)
    writer.linear("mm.2", writer.size.width, merged, gain=2.0)


def _deepstack(writer: _Writer, merged: int) -> None:
    """Qwen3-VL's own: features of the tower's first layer, added inside the text model. Qwen3.5 goes without."""
    writer.norm("v.deepstack.0.norm", merged, bias=True)
    writer.linear("v.deepstack.0.fc1", merged, merged)
    writer.linear("v.deepstack.0.fc2", writer.size.width, merged)


def _shuffled(writer: _Writer, merged: int) -> None:
    writer.matrix("mm.model.fc.weight", writer.size.width, merged, gain=2.0)


def _pooled(writer: _Writer, _: int) -> None:
    writer.matrix(
        "mm.input_projection.weight", writer.size.vision, writer.size.width, gain=2.0
    )  # transposed, as llama.cpp wants it
    writer.norm("mm.soft_emb_norm", writer.size.vision)


def _internvl(writer: _Writer, merged: int) -> None:
    writer.norm("mm.model.mlp.0", merged, bias=True)
    writer.linear("mm.model.mlp.1", writer.size.width, merged)
    writer.linear("mm.model.mlp.3", writer.size.width, writer.size.width, gain=2.0)


def _unshuffled(writer: _Writer, merged: int) -> None:
    writer.norm("mm.input_norm", merged, bias=True)
    writer.linear("mm.1", merged, merged)
    writer.linear("mm.2", writer.size.width, merged, gain=2.0)


def _pooled_by_side(writer: _Writer, _: int) -> None:
    writer.matrix("mm.input_projection.weight", writer.size.width, writer.size.vision, gain=2.0)


def _merged_twice(writer: _Writer, _: int) -> None:
    """MiniCPM-V 4.6: windows of 2 x 2 merged inside the tower, and once more behind it."""
    vision, four = writer.size.vision, 4 * writer.size.vision
    writer.norm("v.vit_merger.ln1", vision, bias=True)
    for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
        writer.linear(f"v.vit_merger.{part}", vision, vision)
    writer.norm("v.vit_merger.ds_ln", four, bias=True)
    writer.linear("v.vit_merger.ds_ffn_up", four, four)
    writer.linear("v.vit_merger.ds_ffn_down", vision, four)
    writer.norm("mm.input_norm", four, bias=True)
    writer.linear("mm.up", four, four)
    writer.linear("mm.down", writer.size.width, four, gain=2.0)


HEADS_OF_PROJECTORS = {
    "mlp": _mlp, "idefics3": _shuffled, "qwen2.5vl_merger": _mlp, "qwen3vl_merger": _mlp, "gemma3": _pooled,
    "internvl": _internvl, "lfm2": _unshuffled, "gemma4v": _pooled_by_side, "minicpmv4_6": _merged_twice,
}  # fmt: skip
