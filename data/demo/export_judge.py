"""Writes the demo judge as two GGUF files: the text model (arch `llama`) and the projector (arch `clip`).

Knows: the names and layouts llama.cpp expects. Does not know: training. Weights are F16, norms and biases F32.
"""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from data.demo.judge_model import CHAT_TEMPLATE, IMAGE_SIDE, MEAN, PATCH, SPECIAL, STD, DemoJudge

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
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(tokenizer.get_vocab_size())
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _vocabulary(writer, tokenizer)
    heads = config.num_attention_heads
    writer.add_tensor("token_embd.weight", _array(model.language.embed_tokens.weight, half=True))
    for index, layer in enumerate(model.language.layers):
        attention, mlp, name = layer.self_attn, layer.mlp, f"blk.{index}."
        matrices = {
            "attn_q": _rotary(attention.q_proj.weight, heads),
            "attn_k": _rotary(attention.k_proj.weight, heads),
            "attn_v": attention.v_proj.weight,
            "attn_output": attention.o_proj.weight,
            "ffn_gate": mlp.gate_proj.weight,
            "ffn_up": mlp.up_proj.weight,
            "ffn_down": mlp.down_proj.weight,
        }
        for part, weight in matrices.items():
            writer.add_tensor(f"{name}{part}.weight", _array(weight, half=True))
        writer.add_tensor(f"{name}attn_norm.weight", _array(layer.input_layernorm.weight, half=False))
        writer.add_tensor(f"{name}ffn_norm.weight", _array(layer.post_attention_layernorm.weight, half=False))
    writer.add_tensor("output_norm.weight", _array(model.language.norm.weight, half=False))
    writer.add_tensor("output.weight", _array(model.head.weight, half=True))
    _write(writer)


def _vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    tokens = [tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size())]
    control = [gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens]
    merges = [
        " ".join(pair) if isinstance(pair, list) else pair for pair in json.loads(tokenizer.to_str())["model"]["merges"]
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(control)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokenizer.token_to_id("<s>"))
    writer.add_eos_token_id(tokenizer.token_to_id("</s>"))
    writer.add_unk_token_id(tokenizer.token_to_id("<unk>"))
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
    writer.add_vision_projection_dim(model.projector[2].out_features)
    writer.add_vision_head_count(config.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(config.layer_norm_eps)
    writer.add_vision_image_mean([MEAN] * 3)
    writer.add_vision_image_std([STD] * 3)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    tower = model.tower.vision_model if hasattr(model.tower, "vision_model") else model.tower
    layers = list(tower.encoder.layers)
    # llama.cpp reads a LLaVA tower up to the last layer but one: the last is written again to stand behind it, unused.
    layers.append(layers[-1])
    writer.add_vision_block_count(len(layers))
    writer.add_tensor("v.class_embd", _array(tower.embeddings.class_embedding, half=False))
    writer.add_tensor("v.patch_embd.weight", _array(tower.embeddings.patch_embedding.weight, half=True))
    writer.add_tensor("v.position_embd.weight", _array(tower.embeddings.position_embedding.weight, half=True))
    _pair(writer, "v.pre_ln", tower.pre_layrnorm, half=False)
    for index, layer in enumerate(layers):
        name, attention = f"v.blk.{index}.", layer.self_attn
        matrices = {"attn_q": attention.q_proj, "attn_k": attention.k_proj, "attn_v": attention.v_proj,
                    "attn_out": attention.out_proj, "ffn_up": layer.mlp.fc1, "ffn_down": layer.mlp.fc2}  # fmt: skip
        for part, module in matrices.items():
            _pair(writer, name + part, module, half=True)
        _pair(writer, name + "ln1", layer.layer_norm1, half=False)
        _pair(writer, name + "ln2", layer.layer_norm2, half=False)
    _pair(writer, "mm.0", model.projector[0], half=True)
    _pair(writer, "mm.2", model.projector[2], half=True)
    _write(writer)


def _pair(writer: gguf.GGUFWriter, name: str, module: object, *, half: bool) -> None:
    writer.add_tensor(f"{name}.weight", _array(module.weight, half=half))  # type: ignore[attr-defined]
    writer.add_tensor(f"{name}.bias", _array(module.bias, half=False))  # type: ignore[attr-defined]


def _write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
