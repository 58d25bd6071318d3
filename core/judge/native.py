"""llama.cpp and its mtmd library behind a few calls: load a GGUF pair, fill sequences, read logits.

Knows: llama-cpp-python's low-level calls and who must free what. Does not know: prompts, protocols, scores.
One thread at a time may use a `Native`; llama.cpp's image helpers are not thread-safe.
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
from core.judge.prompts import MARKER

TRUNK = 0
"""The sequence that holds the constant text before every picture."""
N_BATCH = 512
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


def check_gguf(path: Path, role: str) -> None:
    """Refuse what cannot be a GGUF file.

    Raises:
        RequestError: it is missing or starts with other bytes; the message names the file and what `role` it had.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise RequestError(f"{role} {path} cannot be read: {error.strerror or error}") from error
    if magic != b"GGUF":
        raise RequestError(f"{role} {path} is no GGUF file (it starts with {magic!r}); download it again")


def _why() -> str:
    lines = [line for line in _log_lines if "error" in line.lower() or "fail" in line.lower()]
    return f": {' '.join(lines[-1].split())}" if lines else ""


class Native:
    """A loaded GGUF pair with its decoding context. Free it with `close`."""

    def __init__(self, text: Path, projector: Path, *, gpu: bool, threads: int) -> None:
        _silence()
        _log_lines.clear()
        check_gguf(text, "the judge's model")
        check_gguf(projector, "the judge's projector (mmproj)")
        llama.llama_backend_init()
        self._context: Any = None
        self._mtmd: Any = None
        self._trunk: list[int] | None = None
        self._threads, self._deadline = threads, float("inf")
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = 999 if gpu else 0
        self._model = llama.llama_model_load_from_file(str(text).encode(), parameters)
        if not self._model:
            raise RequestError(
                f"the judge's model {text} cannot be loaded{_why()}; download it again or name another file"
            )
        self._open_projector(text, projector, gpu=gpu)
        self.vocabulary = llama.llama_model_get_vocab(self._model)
        self.n_vocab = llama.llama_vocab_n_tokens(self.vocabulary)

    def _open_projector(self, text: Path, projector: Path, *, gpu: bool) -> None:
        parameters = mtmd.mtmd_context_params_default()
        parameters.use_gpu, parameters.n_threads, parameters.print_timings = gpu, self._threads, False
        parameters.media_marker = MARKER.encode()
        parameters.warmup = False
        self._mtmd = mtmd.mtmd_init_from_file(str(projector).encode(), self._model, parameters)
        if not self._mtmd:
            self.close()
            raise RequestError(
                f"the projector {projector} does not load with {text}{_why()}; both files must come from one model"
            )
        if not mtmd.mtmd_support_vision(self._mtmd):
            self.close()
            raise RequestError(f"the projector {projector} has no vision encoder; name the model's mmproj file")

    def metadata(self, key: str) -> str | None:
        """Value of a GGUF metadata key, or None."""
        buffer = ctypes.create_string_buffer(1 << 16)
        size = llama.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if size >= 0 else None

    @property
    def bytes_per_token(self) -> int:
        """Size of one token's F16 keys and values in every layer."""
        layers, width = llama.llama_model_n_layer(self._model), llama.llama_model_n_embd(self._model)
        heads, kv_heads = llama.llama_model_n_head(self._model), llama.llama_model_n_head_kv(self._model)
        return int(4 * layers * width * max(kv_heads, 1) // max(heads, 1))

    def open_context(self, *, tokens: int, sequences: int) -> None:
        """Make the decoding context: `tokens` cells shared by `sequences` sequences.

        Raises:
            RequestError: there is not enough memory for it.
        """
        parameters = llama.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = tokens, sequences
        parameters.n_batch = parameters.n_ubatch = N_BATCH
        parameters.n_threads = parameters.n_threads_batch = self._threads
        parameters.kv_unified, parameters.no_perf = True, True
        self._abort = llama.ggml_abort_callback(lambda _: time.monotonic() > self._deadline)
        parameters.abort_callback = self._abort
        self._context = llama.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise RequestError(
                f"no memory for a judge context of {tokens} tokens{_why()}; lower the judge's batch size"
            )
        self._memory = llama.llama_get_memory(self._context)
        self._batch = llama.llama_batch_init(N_BATCH, 0, 1)

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

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for; control tokens give none."""
        buffer = ctypes.create_string_buffer(256)
        size = llama.llama_token_to_piece(self.vocabulary, token, buffer, len(buffer), 0, False)
        return buffer.raw[: max(size, 0)]

    def is_end(self, token: int) -> bool:
        """Whether the token ends a reply."""
        return bool(llama.llama_vocab_is_eog(self.vocabulary, token))

    def place(self, before: str, pictures: Sequence[tuple[int, NDArray[np.uint8]]]) -> list[int]:
        """Decode text and picture into each given sequence (which must be free), encoding pictures together.

        Args:
            before: text that ends with the picture's marker; what stands before the picture is decoded once and shared.
            pictures: (sequence, RGB picture (H, W, 3) uint8) pairs.

        Returns:
            The next free position of each sequence.
        """
        parts = [_Parts(self._mtmd, before, rgb) for _, rgb in pictures]
        try:
            embedded = self._encode([part.image for part in parts])
            return [
                self._decode_picture(part, sequence, values)
                for part, (sequence, _), values in zip(parts, pictures, embedded, strict=True)
            ]
        finally:
            for part in parts:
                part.close()

    def _encode(self, images: Sequence[Any]) -> list[NDArray[np.float32]]:
        """Image embeddings of each chunk, as many at once as the projector takes."""
        results: list[NDArray[np.float32]] = []
        while len(results) < len(images):
            batch = mtmd.mtmd_batch_init(self._mtmd)
            try:
                taken = []
                for image in images[len(results) :]:
                    if mtmd.mtmd_batch_add_chunk(batch, image) != 0:
                        break
                    taken.append(image)
                if not taken or mtmd.mtmd_batch_encode(batch) != 0:
                    raise JudgeError("the picture could not be encoded" + _why())
                results += [self._copy(mtmd.mtmd_batch_get_output_embd(batch, image), image) for image in taken]
            finally:
                mtmd.mtmd_batch_free(batch)
        return results

    def _copy(self, values: Any, image: Any) -> NDArray[np.float32]:
        count = mtmd.mtmd_input_chunk_get_n_tokens(image) * llama.llama_model_n_embd_inp(self._model)
        return np.ctypeslib.as_array(values, shape=(count,)).copy()

    def _decode_picture(self, parts: _Parts, sequence: int, values: NDArray[np.float32]) -> int:
        if self._trunk is None:
            self.decode([(TRUNK, parts.head, 0)])
            self._trunk = parts.head
        if parts.head != self._trunk:
            raise JudgeError("the text before the picture changed between pictures")
        llama.llama_memory_seq_cp(self._memory, TRUNK, sequence, -1, -1)
        position = ctypes.c_int32(0)
        pointer = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        code = mtmd.mtmd_helper_decode_image_chunk(
            self._mtmd, self._context, parts.image, pointer, len(parts.head), sequence, N_BATCH,
            ctypes.byref(position), mtmd.mtmd_helper_post_decode_callback(0), None,
        )  # fmt: skip
        if code != 0:
            raise JudgeError("the judge timed out" if self.late else "the picture could not be decoded" + _why())
        end = position.value
        if parts.tail:
            self.decode([(sequence, parts.tail, end)])
        return end + len(parts.tail)

    def branch(self, source: int, target: int) -> None:
        """Let sequence `target` share everything `source` holds."""
        llama.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def free(self, sequence: int) -> None:
        """Forget a sequence."""
        llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def decode(self, parts: Sequence[tuple[int, Sequence[int], int]]) -> list[NDArray[np.float32]]:
        """Decode tokens of several sequences together.

        Args:
            parts: (sequence, tokens, position of the first token) triples.

        Returns:
            For each part the logits (vocabulary,) after its last token.

        Raises:
            JudgeError: llama.cpp refused (context full) or the deadline passed.
        """
        flat = [
            (token, sequence, position + offset, index if offset == len(tokens) - 1 else -1)
            for index, (sequence, tokens, position) in enumerate(parts)
            for offset, token in enumerate(tokens)
        ]
        logits: dict[int, NDArray[np.float32]] = {}
        batch = self._batch
        for start in range(0, len(flat), N_BATCH):
            chunk = flat[start : start + N_BATCH]
            batch.n_tokens = len(chunk)
            for row, (token, sequence, position, owner) in enumerate(chunk):
                batch.token[row], batch.pos[row], batch.n_seq_id[row] = token, position, 1
                batch.seq_id[row][0], batch.logits[row] = sequence, owner >= 0
            if llama.llama_decode(self._context, batch) != 0:
                raise JudgeError("the judge timed out" if self.late else "the judge's context is full")
            for row, (*_, owner) in enumerate(chunk):
                if owner >= 0:
                    pointer = llama.llama_get_logits_ith(self._context, row)
                    logits[owner] = np.ctypeslib.as_array(pointer, shape=(self.n_vocab,)).copy()
        return [logits[index] for index in range(len(parts))]

    def picture_tokens(self, before: str, rgb: NDArray[np.uint8]) -> int:
        """How many tokens the text before and a picture of this size take."""
        parts = _Parts(self._mtmd, before, rgb)
        try:
            return len(parts.head) + int(mtmd.mtmd_input_chunk_get_n_tokens(parts.image)) + len(parts.tail)
        finally:
            parts.close()

    def close(self) -> None:
        """Free everything, context first."""
        if self._context:
            llama.llama_batch_free(self._batch)
            llama.llama_free(self._context)
            self._context = None
        if self._mtmd:
            mtmd.mtmd_free(self._mtmd)
            self._mtmd = None
        if self._model:
            llama.llama_model_free(self._model)
            self._model = None


class _Parts:
    """A prompt's beginning cut into the text before the picture, the picture and the text that closes it."""

    def __init__(self, context: Any, before: str, rgb: NDArray[np.uint8]) -> None:
        height, width, _ = rgb.shape
        data = np.ascontiguousarray(rgb).ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        text = before.encode()
        self._chunks = mtmd.mtmd_input_chunks_init()
        bitmap = mtmd.mtmd_bitmap_init(width, height, data)
        try:
            given = mtmd.mtmd_input_text(text=text, text_len=len(text), add_special=False, parse_special=True)
            array = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
            code = mtmd.mtmd_tokenize(context, self._chunks, ctypes.byref(given), array, 1)
        finally:
            mtmd.mtmd_bitmap_free(bitmap)
        if code != 0:
            self.close()
            raise JudgeError(f"the picture of {width} x {height} pixels could not be prepared{_why()}")
        self.head: list[int] = []
        self.tail: list[int] = []
        self.image: Any = None
        for index in range(mtmd.mtmd_input_chunks_size(self._chunks)):
            chunk = mtmd.mtmd_input_chunks_get(self._chunks, index)
            if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE:
                if self.image is not None:
                    self.close()
                    raise JudgeError("this model cuts a picture into several tiles, which whylook does not support yet")
                self.image = chunk
                continue
            (self.head if self.image is None else self.tail).extend(_text_tokens(chunk))

    def close(self) -> None:
        mtmd.mtmd_input_chunks_free(self._chunks)


def _text_tokens(chunk: Any) -> list[int]:
    count = ctypes.c_size_t(0)
    tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
    return list(tokens[: count.value])
