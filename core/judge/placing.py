"""Brings pictures into sequences: constant text decoded once, images encoded together and decoded behind it."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import llama_cpp as llama
import numpy as np
from llama_cpp import mtmd_cpp as mtmd
from numpy.typing import NDArray

from core.errors import JudgeError, RequestError
from core.judge.chunks import Chunks, Piece
from core.judge.llama_context import N_BATCH, LlamaContext, why
from core.judge.prompts import MARKER

TRUNK = 0
"""The sequence that holds the constant text before every picture."""
MARK_ATTRIBUTES = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_USER_DEFINED
PROBES = ((1, 1), (1, 2), (2, 1), (1, 4), (4, 1), (3, 4), (4, 3))
"""Shapes of pictures that are measured: tiling models cut some of them into more tiles than a square one."""


@dataclass(frozen=True)
class Extent:
    """What the largest picture takes, constant text included: cells of the cache, positions, cells of one image."""

    tokens: int
    positions: int
    image: int


@dataclass
class _Placing:
    """A picture on its way into a sequence."""

    sequence: int
    position: int
    pieces: deque[Piece]


class Placer:
    """Places pictures behind `before`: text that ends with the picture's marker.

    Raises:
        RequestError: the text model does not know the marks that the projector puts around a picture.
    """

    def __init__(self, context: LlamaContext, before: str, *, max_side: int) -> None:
        self._context, self._before, self._placed_trunk = context, before, False
        text = before.removesuffix(MARKER)
        self._constant = context.tokenize(text) if text else []
        self._trunk = [*context.begin(self._constant), *self._constant]
        self.extent = self.measure(max_side)

    def measure(self, max_side: int) -> Extent:
        """What the largest picture takes whose longest side has `max_side` pixels, tiles and marks counted."""
        tokens = positions = image = 0
        for height, width in PROBES:
            scale = max_side / max(height, width)
            rgb = np.zeros((int(height * scale), int(width * scale), 3), np.uint8)
            chunks = Chunks(self._context.mtmd, self._before, rgb)
            try:
                pieces = self._framed(chunks)
                for piece in pieces:
                    self._check_marks(piece.tokens)
                tokens = max(tokens, sum(piece.n_tokens for piece in pieces))
                positions = max(positions, sum(piece.n_positions for piece in pieces))
                image = max(image, *(piece.n_tokens for piece in pieces if piece.image))
            finally:
                chunks.close()
        return Extent(len(self._trunk) + tokens, len(self._trunk) + positions, image)

    def _framed(self, chunks: Chunks) -> list[Piece]:
        """The pieces of a picture and what frames it, without the constant text."""
        first, constant = chunks.pieces[0], tuple(self._constant)
        if first.tokens[: len(constant)] != constant:
            raise JudgeError("the text before the picture is cut differently with the picture's mark behind it")
        opening = first.tokens[len(constant) :]
        rest = chunks.pieces[1:] if first.tokens else chunks.pieces
        return [Piece(tokens=opening), *rest] if opening else rest

    def _check_marks(self, tokens: Sequence[int]) -> None:
        """Refuse a pair whose text model lacks a token for the picture's begin, end or tile marks."""
        context, known = self._context, [token for token in tokens if token >= 0]
        written = b"".join(context.piece(token, special=True) for token in known).decode("utf-8", "replace").strip()
        marks = [token for token in known if llama.llama_vocab_get_attr(context.vocabulary, token) & MARK_ATTRIBUTES]
        if len(known) < len(tokens) or (written and not marks):
            raise RequestError(
                f"{context.text} does not know the marks that {context.projector} puts around a picture"
                f"{f' ({written})' if written else ''}; both files must come from one vision-language model, and a "
                "text-only model is no judge"
            )

    def place(self, pictures: Sequence[tuple[int, NDArray[np.uint8]]]) -> list[int]:
        """Decode text and picture into each given sequence (which must be free), encoding pictures together.

        Args:
            pictures: (sequence, RGB picture (H, W, 3) uint8) pairs.

        Returns:
            The next free position of each sequence.
        """
        chunks: list[Chunks] = []
        try:
            for _, rgb in pictures:
                chunks.append(Chunks(self._context.mtmd, self._before, rgb))
            embedded = self.encode([image for cut in chunks for image in cut.images])
            waiting = [
                _Placing(sequence, len(self._trunk), deque(self._framed(cut)))
                for cut, (sequence, _) in zip(chunks, pictures, strict=True)
            ]
            self._branch_off_trunk([placing.sequence for placing in waiting])
            while any(placing.pieces for placing in waiting):
                self._place_next(waiting, embedded)
            return [placing.position for placing in waiting]
        finally:
            for cut in chunks:
                cut.close()

    def _branch_off_trunk(self, sequences: Sequence[int]) -> None:
        if self._trunk and not self._placed_trunk:
            self._context.decode([(TRUNK, self._trunk, 0)])
            self._placed_trunk = True
        for sequence in sequences:
            self._context.branch(TRUNK, sequence)

    def _place_next(self, waiting: Sequence[_Placing], embedded: Mapping[int, NDArray[np.float32]]) -> None:
        """Decode the next piece of every picture, of all of them together where the model can."""
        texts = [placing for placing in waiting if placing.pieces and placing.pieces[0].tokens]
        images = [placing for placing in waiting if placing.pieces and placing.pieces[0].image]
        if texts:
            self._context.decode([(placing.sequence, placing.pieces[0].tokens, placing.position) for placing in texts])
        plain = [(placing.sequence, embedded[image], placing.position) for placing in images
                 if self._reads_like_text(image := placing.pieces[0].image)]  # fmt: skip
        if plain:
            self._context.decode_embeddings(plain)
        for placing in images:
            if not self._reads_like_text(placing.pieces[0].image):
                self._decode_image(placing, embedded[placing.pieces[0].image])
        for placing in (*texts, *images):
            placing.position += placing.pieces.popleft().n_positions

    def _reads_like_text(self, image: Any) -> bool:
        """Whether a picture's embeddings take plain positions and are attended to causally, as tokens are."""
        pointer = self._context.mtmd
        return not (mtmd.mtmd_decode_use_mrope(pointer) or mtmd.mtmd_decode_use_non_causal(pointer, image))

    def encode(self, images: Sequence[Any]) -> dict[int, NDArray[np.float32]]:
        """Image embeddings by chunk, as many encoded at once as the projector takes."""
        results: dict[int, NDArray[np.float32]] = {}
        width = llama.llama_model_n_embd_inp(self._context.model)
        while len(results) < len(images):
            batch = mtmd.mtmd_batch_init(self._context.mtmd)
            try:
                taken = []
                for image in images[len(results) :]:
                    if mtmd.mtmd_batch_add_chunk(batch, image) != 0:
                        break
                    taken.append(image)
                if not taken or mtmd.mtmd_batch_encode(batch) != 0:
                    raise JudgeError("the picture could not be encoded" + why())
                for image in taken:
                    size = (mtmd.mtmd_input_chunk_get_n_tokens(image), width)
                    values = mtmd.mtmd_batch_get_output_embd(batch, image)
                    results[image] = np.ctypeslib.as_array(values, shape=size).copy()
            finally:
                mtmd.mtmd_batch_free(batch)
        return results

    def _decode_image(self, placing: _Placing, values: NDArray[np.float32]) -> None:
        """Let mtmd decode an image chunk: it knows M-RoPE's positions and which models attend without causal mask."""
        context, end = self._context, ctypes.c_int32(0)
        pointer = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        code = mtmd.mtmd_helper_decode_image_chunk(
            context.mtmd, context.pointer, placing.pieces[0].image, pointer, placing.position, placing.sequence,
            max(N_BATCH, self.extent.image), ctypes.byref(end), mtmd.mtmd_helper_post_decode_callback(0), None,
        )  # fmt: skip
        if code != 0:
            raise JudgeError("the judge timed out" if context.late else "the picture could not be decoded" + why())
