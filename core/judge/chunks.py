"""A prompt's beginning as mtmd cuts it: tokens before the picture, image chunks, and the tokens that frame them.

Most models see one chunk per picture; some (idefics3, InternVL) see several tiles with marks between them.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from llama_cpp import mtmd_cpp as mtmd
from numpy.typing import NDArray

from core.errors import JudgeError


@dataclass(frozen=True)
class Piece:
    """A run of text tokens, or one image chunk (an mtmd pointer, valid until the chunks are closed)."""

    tokens: tuple[int, ...] = ()
    image: Any = None

    @property
    def n_tokens(self) -> int:
        """Cells the piece takes in the KV cache."""
        return int(mtmd.mtmd_input_chunk_get_n_tokens(self.image)) if self.image else len(self.tokens)

    @property
    def n_positions(self) -> int:
        """Positions the piece takes: fewer than tokens for an image under M-RoPE."""
        return int(mtmd.mtmd_input_chunk_get_n_pos(self.image)) if self.image else len(self.tokens)


class Chunks:
    """Text that ends with a picture's marker, and the picture, cut into `pieces`. Free it with `close`.

    Args:
        context: mtmd's context.
        before: text with one marker.
        rgb: (H, W, 3) uint8.

    Raises:
        JudgeError: mtmd cannot prepare the picture.
    """

    def __init__(self, context: Any, before: str, rgb: NDArray[np.uint8]) -> None:
        height, width, _ = rgb.shape
        data = np.ascontiguousarray(rgb)
        text = before.encode()
        self._chunks = mtmd.mtmd_input_chunks_init()
        bitmap = mtmd.mtmd_bitmap_init(width, height, data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)))
        try:
            given = mtmd.mtmd_input_text(text=text, text_len=len(text), add_special=False, parse_special=True)
            array = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
            code = mtmd.mtmd_tokenize(context, self._chunks, ctypes.byref(given), array, 1)
        finally:
            mtmd.mtmd_bitmap_free(bitmap)
        if code != 0:
            self.close()
            raise JudgeError(f"the picture of {width} x {height} pixels could not be prepared")
        count = mtmd.mtmd_input_chunks_size(self._chunks)
        self.pieces = [_piece(mtmd.mtmd_input_chunks_get(self._chunks, index)) for index in range(count)]

    @property
    def images(self) -> list[Any]:
        """The image chunks, in order."""
        return [piece.image for piece in self.pieces if piece.image]

    def close(self) -> None:
        """Free the chunks; pieces with images must not be used afterwards."""
        mtmd.mtmd_input_chunks_free(self._chunks)


def _piece(chunk: Any) -> Piece:
    if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE:
        return Piece(image=chunk)
    count = ctypes.c_size_t(0)
    tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
    return Piece(tokens=tuple(tokens[: count.value]))
