"""llama.cpp and its mtmd library behind a few calls: load a GGUF pair, prefill sequences, read logits.

Knows: llama-cpp-python's low-level calls and who must free what. Does not know: prompts, protocols, scores.
One thread at a time may use a `LlamaContext`; llama.cpp's image helpers are not thread-safe.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp as llama
import numpy as np
from llama_cpp import mtmd_cpp as mtmd
from numpy.typing import NDArray

from core.errors import JudgeError, RequestError
from core.judge.gguf import cache_size, projector_type
from core.judge.prompts import MARKER

N_BATCH = 2048
"""Tokens handed to llama.cpp at a time."""
N_UBATCH = 512
"""Tokens it computes at a time."""
_log_lines: list[str] = []


def _keep_log(level: int, text: bytes, _data: Any) -> None:
    if level in (3, 4):  # warnings and errors; kept to say why a file did not load
        _log_lines.append(text.decode("utf-8", "replace").strip())
        del _log_lines[:-20]


_LOG_CALLBACK = llama.llama_log_callback(_keep_log)  # kept alive for as long as the process


def _silence() -> None:
    llama.llama_log_set(_LOG_CALLBACK, ctypes.c_void_p(0))
    for name in ("mtmd_log_set", "mtmd_helper_log_set"):
        setter = getattr(mtmd, name, None)
        if setter is not None:
            setter(_LOG_CALLBACK, ctypes.c_void_p(0))


def why() -> str:
    """What llama.cpp logged last as an error, as the end of a sentence."""
    lines = [line for line in _log_lines if "error" in line.lower() or "fail" in line.lower()]
    return f": {' '.join(lines[-1].split())}" if lines else ""


def cells(tokens: int) -> int:
    """Cells that llama.cpp sets aside for a sequence of so many tokens."""
    return -(-tokens // 256) * 256


class LlamaContext:
    """A loaded GGUF pair with its decoding context. Free it with `close`."""

    def __init__(self, text: Path, projector: Path, *, gpu: bool, threads: int) -> None:
        _silence()
        _log_lines.clear()
        llama.llama_backend_init()
        self.text, self.projector = text, projector
        self.pointer: Any = None  # llama.cpp's own context
        self.mtmd: Any = None
        self._threads, self._deadline = threads, float("inf")
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = 999 if gpu else 0
        self.model = llama.llama_model_load_from_file(str(text).encode(), parameters)
        if not self.model:
            raise RequestError(
                f"the judge's model {text} cannot be loaded{why()}; download it again or name another file"
            )
        self._open_projector(gpu=gpu)
        self.cache = cache_size(text)
        self.vocabulary = llama.llama_model_get_vocab(self.model)
        self.n_vocab = llama.llama_vocab_n_tokens(self.vocabulary)
        self._adds_space = b"".join(self.piece(token) for token in self.tokenize("0")) == b" 0"

    def _open_projector(self, *, gpu: bool) -> None:
        parameters = mtmd.mtmd_context_params_default()
        parameters.use_gpu, parameters.n_threads, parameters.print_timings = gpu, self._threads, False
        parameters.media_marker = MARKER.encode()
        parameters.warmup = False
        self.mtmd = mtmd.mtmd_init_from_file(str(self.projector).encode(), self.model, parameters)
        if not self.mtmd:
            self.close()
            raise RequestError(
                f"the projector {self.projector} does not load with {self.text}{why()}; both files must come from one "
                "model: download the model's mmproj file again"
            )
        if not mtmd.mtmd_support_vision(self.mtmd):
            self.close()
            raise RequestError(f"the projector {self.projector} has no vision encoder; name the model's mmproj file")
        kind = projector_type(self.projector)
        if kind.startswith("qwen") and kind.endswith("vl_merger") and not mtmd.mtmd_decode_use_mrope(self.mtmd):
            self.close()
            raise RequestError(
                f"{self.text} is a text-only model: it lacks the two-dimensional positions (M-RoPE) that the pictures "
                f"of {self.projector} need; both files must come from one vision-language model"
            )

    def metadata(self, key: str) -> str | None:
        """Value of a GGUF metadata key, or None. `{arch}` in the key stands for the model's architecture."""
        if key.startswith("{arch}"):
            key = key.replace("{arch}", self.metadata("general.architecture") or "")
        buffer = ctypes.create_string_buffer(1 << 16)
        size = llama.llama_model_meta_val_str(self.model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if size >= 0 else None

    @property
    def trained_context(self) -> int:
        """Positions the model was trained for."""
        return int(llama.llama_model_n_ctx_train(self.model))

    def open_context(self, *, longest: int, sequences: int, image_tokens: int) -> None:
        """Make the decoding context. Every sequence has cells of its own: none looks at another's, nor pays for them.

        Args:
            longest: cells of the KV cache for each sequence; see `cells`.
            sequences: how many sequences there may be.
            image_tokens: tokens of the largest image, which some models must see in one piece.

        Raises:
            RequestError: there is not enough memory for it.
        """
        parameters = llama.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = cells(longest) * sequences, sequences
        parameters.n_batch, parameters.n_ubatch = max(N_BATCH, image_tokens), max(N_UBATCH, image_tokens)
        parameters.n_threads = parameters.n_threads_batch = self._threads
        parameters.kv_unified, parameters.no_perf = False, True
        self._abort = llama.ggml_abort_callback(lambda _: time.monotonic() > self._deadline)
        parameters.abort_callback = self._abort
        self.pointer = llama.llama_init_from_model(self.model, parameters)
        if not self.pointer:
            size = f"{sequences} x {cells(longest)} tokens"
            raise RequestError(f"no memory for a judge context of {size}{why()}; lower the judge's batch size")
        self._memory = llama.llama_get_memory(self.pointer)
        self._batch = _Batch(max(N_BATCH, image_tokens))

    def set_deadline(self, seconds: float) -> None:
        """Abort any decoding that still runs `seconds` from now (CPU backend)."""
        self._deadline = time.monotonic() + seconds

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() > self._deadline

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of `text`; control tokens written in it are recognised when `special`."""
        data = text.encode()
        buffer = (llama.llama_token * (len(data) + 8))()
        count = llama.llama_tokenize(self.vocabulary, data, len(data), buffer, len(buffer), False, special)
        return list(buffer[:count])

    def continuation(self, text: str) -> list[int]:
        """Token ids of `text` as it reads behind other text: without the space some tokenizers put before a text."""
        if not self._adds_space:
            return self.tokenize(text)
        return self.tokenize(f"\n{text}")[len(self.tokenize("\n")) :]

    def begin(self, tokens: Sequence[int]) -> list[int]:
        """The begin token, if the model wants one and `tokens` lack it."""
        token = llama.llama_vocab_bos(self.vocabulary)
        wanted = llama.llama_vocab_get_add_bos(self.vocabulary) and token >= 0 and list(tokens[:1]) != [token]
        return [token] if wanted else []

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes a token stands for; control tokens give theirs only when `special`."""
        buffer = ctypes.create_string_buffer(256)
        size = llama.llama_token_to_piece(self.vocabulary, token, buffer, len(buffer), 0, special)
        return buffer.raw[: max(size, 0)]

    def is_end(self, token: int) -> bool:
        """Whether the token ends a reply."""
        return bool(llama.llama_vocab_is_eog(self.vocabulary, token))

    def branch(self, source: int, target: int) -> None:
        """Let sequence `target` begin with a copy of everything `source` holds."""
        llama.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def free(self, sequence: int) -> None:
        """Forget a sequence."""
        llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def decode(self, parts: Sequence[tuple[int, Sequence[int], int]]) -> NDArray[np.float32]:
        """Decode tokens of several sequences together.

        Args:
            parts: (sequence, tokens, position of the first token) triples.

        Returns:
            The logits after the last token of each part, (parts, vocabulary); valid until the next decoding.

        Raises:
            JudgeError: llama.cpp refused (context full) or the deadline passed.
        """
        rows = [
            (token, sequence, position + offset, offset == len(tokens) - 1)
            for sequence, tokens, position in parts
            for offset, token in enumerate(tokens)
        ]
        read: list[NDArray[np.float32]] = []
        for start in range(0, len(rows), N_BATCH):
            chunk = rows[start : start + N_BATCH]
            if llama.llama_decode(self.pointer, self._batch.fill(chunk)) != 0:
                raise JudgeError("the judge timed out" if self.late else "the judge's context is full")
            ends = sum(row[3] for row in chunk)
            if ends:
                values = np.ctypeslib.as_array(llama.llama_get_logits(self.pointer), shape=(ends, self.n_vocab))
                read.append(values if len(rows) <= N_BATCH else values.copy())
        return read[0] if len(read) == 1 else np.concatenate(read)

    def decode_embeddings(self, parts: Sequence[tuple[int, NDArray[np.float32], int]]) -> None:
        """Decode embeddings of several sequences together, for models that read a picture as they read text.

        Args:
            parts: (sequence, embeddings (n, width), position of the first) triples.

        Raises:
            JudgeError: llama.cpp refused (context full) or the deadline passed.
        """
        most = max(1, N_BATCH // max(len(values) for _, values, _ in parts))
        for start in range(0, len(parts), most):
            some = parts[start : start + most]
            rows = [
                (0, sequence, position + offset, False)
                for sequence, values, position in some
                for offset in range(len(values))
            ]
            values = np.ascontiguousarray(np.concatenate([values for _, values, _ in some]), dtype=np.float32)
            if llama.llama_decode(self.pointer, self._batch.fill(rows, embeddings=values)) != 0:
                raise JudgeError("the judge timed out" if self.late else "the judge's context is full")

    def close(self) -> None:
        """Free everything, context first."""
        if self.pointer:
            llama.llama_free(self.pointer)
            self.pointer = None
        if self.mtmd:
            mtmd.mtmd_free(self.mtmd)
            self.mtmd = None
        if self.model:
            llama.llama_model_free(self.model)
            self.model = None


class _Batch:
    """llama.cpp's batch over NumPy arrays: filling it costs a few calls, not several per token."""

    def __init__(self, size: int) -> None:
        self._token, self._position, self._sequence = (np.zeros(size, np.int32) for _ in range(3))
        self._ones, self._logits = np.ones(size, np.int32), np.zeros(size, np.int8)
        self._sequences = self._sequence.ctypes.data + 4 * np.arange(size, dtype=np.uint64)  # one pointer per token
        self._struct: Any = llama.llama_batch()
        columns: dict[str, tuple[Any, Any]] = {
            "token": (self._token, ctypes.c_int32),
            "pos": (self._position, ctypes.c_int32),
            "n_seq_id": (self._ones, ctypes.c_int32),
            "seq_id": (self._sequences, ctypes.POINTER(ctypes.c_int32)),
            "logits": (self._logits, ctypes.c_int8),
        }
        for name, (array, kind) in columns.items():
            setattr(self._struct, name, array.ctypes.data_as(ctypes.POINTER(kind)))

    def fill(self, rows: Sequence[tuple[int, int, int, bool]], *, embeddings: NDArray[np.float32] | None = None) -> Any:
        """The batch that holds (token, sequence, position, logits wanted) rows; `embeddings` in the place of tokens.

        Embeddings must live until the batch is decoded.
        """
        count = len(rows)
        columns = np.array(rows, np.int32).T  # (4, count)
        self._token[:count], self._sequence[:count], self._position[:count], self._logits[:count] = columns
        self._struct.n_tokens = count
        floats, whole = ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_int32)
        given = embeddings is not None
        self._struct.embd = embeddings.ctypes.data_as(floats) if embeddings is not None else floats()
        self._struct.token = whole() if given else self._token.ctypes.data_as(whole)
        return self._struct
