"""Writes the demo judge as two GGUF files: the text model (arch `llama`) and the projector (arch `clip`).

Weights are F16, norms and biases F32.
"""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from data.demo.judge_model import CHAT_TEMPLATE, IMAGE_SIDE, MEAN, PATCH, SPECIAL, STD, DemoJudge, token_id

NOTE = (
    "This judge knows the pictures of whylook's demo world only; bring a general vision-language model for any other."
)


def _array(weight: Tensor, *, half: bool) -> NDArray[np.float16] | NDArray[np.float32]:
    values = weight.detach().float().numpy()
    return values.astype(np.float16) if half else values


def _rotary(weight: Tensor, heads: int) -> Tensor:
    """Reorder q or k rows from halves (transformers) to neighbouring pairs (llama.cpp's rotary layout)."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def export(model: DemoJudge, tokenizer: Tokenizer, folder: Path) -> tuple[Path, Path]:
    """Write judge.gguf and judge-mmproj.gguf into `folder` and return their paths."""
    text, projector = folder / "judge.gguf", folder / "judge-mmproj.gguf"
    _text_model(model, tokenizer, text)
    _projector(model, projector)
    return text, projector


def _text_model(model: DemoJudge, tokenizer: Tokenizer, path: Path) -> None:
    config = model.language.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("whylook demo judge")
    writer.add_description(NOTE)
    writer.add_string("whylook.knows", NOTE)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads or config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(tokenizer.get_vocab_size())
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _vocabulary(writer, tokenizer)
    heads = config.num_attention_heads
    writer.add_tensor("token_embd.weight", _array(model.language.get_parameter("embed_tokens.weight"), half=True))
    for index, layer in enumerate(model.language.layers):
        name = f"blk.{index}."
        matrices = {
            "attn_q": _rotary(layer.get_parameter("self_attn.q_proj.weight"), heads),
            "attn_k": _rotary(layer.get_parameter("self_attn.k_proj.weight"), heads),
            "attn_v": layer.get_parameter("self_attn.v_proj.weight"),
            "attn_output": layer.get_parameter("self_attn.o_proj.weight"),
            "ffn_gate": layer.get_parameter("mlp.gate_proj.weight"),
            "ffn_up": layer.get_parameter("mlp.up_proj.weight"),
            "ffn_down": layer.get_parameter("mlp.down_proj.weight"),
        }
        for part, weight in matrices.items():
            writer.add_tensor(f"{name}{part}.weight", _array(weight, half=True))
        norms = {"attn_norm": "input_layernorm.weight", "ffn_norm": "post_attention_layernorm.weight"}
        for part, place in norms.items():
            writer.add_tensor(f"{name}{part}.weight", _array(layer.get_parameter(place), half=False))
    writer.add_tensor("output_norm.weight", _array(model.language.get_parameter("norm.weight"), half=False))
    writer.add_tensor("output.weight", _array(model.head.weight, half=True))
    _write(writer)


def _vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    control = [gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens]
    merges = [
        " ".join(pair) if isinstance(pair, list) else pair for pair in json.loads(tokenizer.to_str())["model"]["merges"]
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(control)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(token_id(tokenizer, "<s>"))
    writer.add_eos_token_id(token_id(tokenizer, "</s>"))
    writer.add_unk_token_id(token_id(tokenizer, "<unk>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _projector(model: DemoJudge, path: Path) -> None:
    config = model.tower.config
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_name("whylook demo judge, vision")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.has_text_encoder", False)
    writer.add_bool("clip.has_llava_projector", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    writer.add_vision_image_size(IMAGE_SIDE)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(config.hidden_size)
    writer.add_vision_feed_forward_length(config.intermediate_size)
    writer.add_vision_projection_dim(model.projector.get_parameter("2.weight").shape[0])
    writer.add_vision_head_count(config.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(config.layer_norm_eps)
    writer.add_vision_image_mean([MEAN] * 3)
    writer.add_vision_image_std([STD] * 3)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    tower = model.tower.get_submodule("vision_model") if hasattr(model.tower, "vision_model") else model.tower
    layers = list(tower.get_submodule("encoder.layers").children())
    # llama.cpp reads a LLaVA tower up to the last layer but one: the last is written again to stand behind it, unused.
    layers.append(layers[-1])
    writer.add_vision_block_count(len(layers))
    writer.add_tensor("v.class_embd", _array(tower.get_parameter("embeddings.class_embedding"), half=False))
    for part in ("patch", "position"):
        weight = tower.get_parameter(f"embeddings.{part}_embedding.weight")
        writer.add_tensor(f"v.{part}_embd.weight", _array(weight, half=True))
    _pair(writer, "v.pre_ln", tower.get_submodule("pre_layrnorm"), half=False)
    for index, layer in enumerate(layers):
        name = f"v.blk.{index}."
        matrices = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
                    "attn_out": "self_attn.out_proj", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"}  # fmt: skip
        for part, place in matrices.items():
            _pair(writer, name + part, layer.get_submodule(place), half=True)
        _pair(writer, name + "ln1", layer.get_submodule("layer_norm1"), half=False)
        _pair(writer, name + "ln2", layer.get_submodule("layer_norm2"), half=False)
    _pair(writer, "mm.0", model.projector[0], half=True)
    _pair(writer, "mm.2", model.projector[2], half=True)
    _write(writer)


def _pair(writer: gguf.GGUFWriter, name: str, module: nn.Module, *, half: bool) -> None:
    writer.add_tensor(f"{name}.weight", _array(module.get_parameter("weight"), half=half))
    writer.add_tensor(f"{name}.bias", _array(module.get_parameter("bias"), half=False))


def _write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
