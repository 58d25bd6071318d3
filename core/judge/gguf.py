"""What a GGUF file says of itself before it is loaded: whether it is one, and which projector it holds."""

from __future__ import annotations

import ctypes
from pathlib import Path

import llama_cpp as llama

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


def projector_type(path: Path) -> str:
    """What kind of projector a GGUF file says it holds, by llama.cpp's own reader; empty when it does not say."""
    library = llama.llama_cpp._lib
    for name, result, arguments in (
        ("gguf_init_from_file", ctypes.c_void_p, [ctypes.c_char_p, _GgufOptions]),
        ("gguf_find_key", ctypes.c_int64, [ctypes.c_void_p, ctypes.c_char_p]),
        ("gguf_get_val_str", ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int64]),
        ("gguf_free", None, [ctypes.c_void_p]),
    ):
        getattr(library, name).restype, getattr(library, name).argtypes = result, arguments
    file = library.gguf_init_from_file(str(path).encode(), _GgufOptions(True, None))
    try:
        for key in (b"clip.projector_type", b"clip.vision.projector_type"):
            index = library.gguf_find_key(file, key)
            if index >= 0:
                return str(library.gguf_get_val_str(file, index).decode())
        return ""
    finally:
        library.gguf_free(file)
