"""What a GGUF file says of itself before it is loaded: whether it is one, its projector, the size of its cache."""

from __future__ import annotations

import ctypes
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp as llama
import numpy as np

from core.errors import RequestError


def check_gguf(path: Path, role: str) -> None:
    """Refuse what cannot be a GGUF file.

    Raises:
        RequestError: it is missing or starts with other bytes; the message names the file and what `role` it had.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise RequestError(f"{role} {path} cannot be read: it is a folder, a pipe or a device")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise RequestError(f"{role} {path} cannot be read: {error.strerror or error}") from error
    if magic != b"GGUF":
        raise RequestError(f"{role} {path} is no GGUF file (it starts with {magic!r}); download it again")


class _GgufOptions(ctypes.Structure):
    _fields_ = [("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p)]  # noqa: RUF012


_NUMBERS = {0: "u1", 1: "i1", 2: "u2", 3: "i2", 4: "u4", 5: "i4", 6: "f4", 7: "?", 10: "u8", 11: "i8", 12: "f8"}
"""NumPy's names of the number types that a GGUF file's metadata may have."""
_TEXT, _ARRAY = 8, 9


class Metadata:
    """The metadata of a GGUF file, by llama.cpp's own reader; weights are not read. Close it with `close`."""

    def __init__(self, path: Path) -> None:
        self._library: Any = llama.llama_cpp._lib
        key = [ctypes.c_void_p, ctypes.c_int64]
        for name, result, arguments in (
            ("gguf_init_from_file", ctypes.c_void_p, [ctypes.c_char_p, _GgufOptions]),
            ("gguf_find_key", ctypes.c_int64, [ctypes.c_void_p, ctypes.c_char_p]),
            ("gguf_get_kv_type", ctypes.c_int, key),
            ("gguf_get_arr_type", ctypes.c_int, key),
            ("gguf_get_arr_n", ctypes.c_size_t, key),
            ("gguf_get_arr_data", ctypes.c_void_p, key),
            ("gguf_get_val_data", ctypes.c_void_p, key),
            ("gguf_get_val_str", ctypes.c_char_p, key),
            ("gguf_free", None, [ctypes.c_void_p]),
        ):
            getattr(self._library, name).restype, getattr(self._library, name).argtypes = result, arguments
        self._file = self._library.gguf_init_from_file(str(path).encode(), _GgufOptions(True, None))

    def text(self, key: str) -> str:
        """The text under a key; empty where there is none."""
        index = self._library.gguf_find_key(self._file, key.encode()) if self._file else -1
        if index < 0 or self._library.gguf_get_kv_type(self._file, index) != _TEXT:
            return ""
        return str(self._library.gguf_get_val_str(self._file, index).decode(errors="replace"))

    def numbers(self, key: str) -> list[int]:
        """The whole numbers under a key, which may hold one or an array of them; none where there is no such key."""
        index = self._library.gguf_find_key(self._file, key.encode()) if self._file else -1
        if index < 0:
            return []
        kind, count = self._library.gguf_get_kv_type(self._file, index), 1
        if many := kind == _ARRAY:
            kind = self._library.gguf_get_arr_type(self._file, index)
            count = self._library.gguf_get_arr_n(self._file, index)
        if kind not in _NUMBERS or not count:
            return []
        read = self._library.gguf_get_arr_data if many else self._library.gguf_get_val_data
        size = np.dtype(_NUMBERS[kind]).itemsize * count
        return [int(value) for value in np.frombuffer(ctypes.string_at(read(self._file, index), size), _NUMBERS[kind])]

    def number(self, key: str, default: int = 0) -> int:
        """The first number under a key."""
        return next(iter(self.numbers(key)), default)

    def close(self) -> None:
        """Free it."""
        if self._file:
            self._library.gguf_free(self._file)
            self._file = None


def projector_type(path: Path) -> str:
    """What kind of projector a GGUF file says it holds; empty when it does not say."""
    with closing(Metadata(path)) as metadata:
        return metadata.text("clip.projector_type") or metadata.text("clip.vision.projector_type")


@dataclass(frozen=True)
class CacheSize:
    """Bytes that llama.cpp keeps of what a model has read."""

    token: int
    """Of one token: F16 keys and values of the layers that attend to all tokens, or to those of a window."""
    sequence: int
    """Of a sequence, however long: F32 states of the recurrent layers, 0 for a model without such layers."""


def cache_size(path: Path) -> CacheSize:
    """What a text model's cache takes, layer by layer.

    Layers differ: some of Gemma 4 use the keys and values of others or have heads of another width, most of Qwen3.5 and
    LFM2 keep a state instead. The formulas are those of llama.cpp's `llama_hparams` (`n_embd_k_gqa`, `n_embd_r`,
    `n_embd_s`).
    """
    with closing(Metadata(path)) as metadata:
        prefix = f"{metadata.text('general.architecture')}."

        def many(name: str) -> list[int]:
            return metadata.numbers(prefix + name)

        def of(name: str) -> int:
            return metadata.number(prefix + name)

        layers = of("block_count") - of("nextn_predict_layers")
        heads = many("attention.head_count_kv") or [max(of("attention.head_count"), 1)]
        heads = heads * layers if len(heads) < layers else heads
        window = many("attention.sliding_window_pattern")
        window = window if len(window) >= layers else [0] * layers
        recurrent = [bool(each) for each in many("attention.recurrent_layers")]
        every = max(of("full_attention_interval"), 1)
        if len(recurrent) < layers:
            recurrent = [not count or (layer + 1) % every != 0 for layer, count in enumerate(heads[:layers])]
        usual = of("embedding_length") // max(of("attention.head_count"), 1)
        widths = []
        for kind in ("", "_swa"):
            widths.append(sum(of(f"attention.{part}_length{kind}") or usual for part in ("key", "value")))
            usual = widths[0] // 2
        own = layers - of("attention.shared_kv_layers")
        token = sum(2 * heads[layer] * widths[bool(window[layer])] for layer in range(own) if not recurrent[layer])
        channels = of("ssm.inner_size") + 2 * of("ssm.group_count") * of("ssm.state_size")
        state = max(of("ssm.conv_kernel") - 1, 0) * channels + of("ssm.state_size") * of("ssm.inner_size")
        state += max(of("shortconv.l_cache") - 1, 0) * of("embedding_length")
        return CacheSize(token, 4 * state * sum(recurrent[:layers]))
