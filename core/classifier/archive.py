"""A TorchScript archive, checked before anything in it runs.

An archive is a program. Its `forward` runs with every batch and its `__setstate__` while it loads, and two operators of
PyTorch's own write any file (`torch.save`, `torch.from_file` with `shared`). So the code is read as text before PyTorch
loads it, and what PyTorch made of it is checked again before the first batch. What is left are operators on tensors,
numbers and text. That is a fence, no sandbox: a flaw in an operator of PyTorch is still a flaw here.
"""

from __future__ import annotations

import ast
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from core.errors import RequestError, translate_errors

SPACES = frozenset({"aten", "prim", "quantized", "torchvision", "mkldnn", "mkldnn_prepacked"})
"""Whose operators a model may call. Others (`image::write_file`, `c10d`, a user's own) come from a library."""
BEYOND = frozenset({"from_file", "save", "rpc_async", "rpc_sync", "rpc_remote", "PythonOp", "IgnoredPythonOp"})
"""Operators among these spaces that touch files, other machines or Python; printing and warning may stay."""
MOST_CODE = 64 * 2**20
"""Bytes of code in one archive; large networks have a few hundred kilobytes."""
MOST_UNPACKED = 10
"""Times its size that a file may take when it is unpacked."""
_END, _LOCATOR, _END_64 = 22, 20, 56
"""Bytes of the three records that end a zip file; the second and third only where it is large."""
_TOKEN = re.compile(r'#[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[A-Za-z_]\w*|[^\s\\]', re.DOTALL | re.ASCII)


def load_archive(file: Path) -> Any:
    """Load a TorchScript archive in which nothing reaches beyond tensors.

    Raises:
        RequestError: it is none, is damaged, or calls an operator that is not allowed; then nothing of it has run.
    """
    check_unpacked(file)
    damaged = f"{file.name} is no TorchScript file, or is damaged: save it again with torch.jit.save"
    try:
        sources = list(_sources(file))
    except (RuntimeError, ValueError, OSError) as error:  # PyTorch's reader says it in a paragraph
        raise RequestError(damaged) from error
    for source in sources:
        _refuse(file, _calls_in_text(source))
    with translate_errors(damaged, raises=RequestError):
        script = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
    _refuse(file, _calls_in_graphs(script))
    return script


def check_regular(file: Path, what: str) -> None:
    """Refuse what is no regular file: a pipe would be waited for, a device never ends.

    Raises:
        RequestError: nothing is there, or something else; `what` names what was expected.
    """
    if not file.exists():
        raise RequestError(f"no such {what}: {file}")
    if not file.is_file():
        raise RequestError(f"{file} is a folder, a pipe or a device, not a {what}")


def check_unpacked(file: Path) -> None:
    """Refuse a zip file that takes far more memory than disk; PyTorch stores what it saves as it is.

    Raises:
        RequestError: it unpacks to several times its size, or its list of contents is damaged or not the only one.
    """
    with translate_errors(f"{file.name} is no PyTorch file, or is damaged", raises=RequestError):
        with file.open("rb") as stream:  # what PyTorch itself goes by
            zipped = stream.read(4) == b"PK\3\4"
        if not zipped and not zipfile.is_zipfile(file):
            return
        _check_contents(file)
        with zipfile.ZipFile(file) as packed:
            unpacked = sum(entry.file_size for entry in packed.infolist())
        if zipped and unpacked <= MOST_UNPACKED * file.stat().st_size:
            reader = torch._C.PyTorchFileReader(str(file))
            unpacked = max(unpacked, sum(map(reader.get_record_size, reader.get_all_records())))
    if unpacked > MOST_UNPACKED * file.stat().st_size:
        raise RequestError(
            f"{file.name} would unpack to {unpacked / 1e9:,.2f} GB, many times its size, and was refused: save it "
            "again with torch.save or torch.jit.save, which do not compress"
        )


def _check_contents(file: Path) -> None:
    """Refuse a zip file in which two readers may find two lists of contents: one at its end, one where it says.

    Raises:
        RequestError: the list does not end where the record of its size and place begins, or something follows that.
    """
    with file.open("rb") as stream:
        length = stream.seek(0, 2)
        stream.seek(max(0, length - _END - _LOCATOR - _END_64))
        tail = stream.read()
    end, locator, end_64 = tail[-_END:], tail[-_END - _LOCATOR : -_END], tail[: -_END - _LOCATOR]
    agree = end.startswith(b"PK\5\6") and len(end) == _END and end[-2:] == b"\0\0"
    if agree:
        size, place = struct.unpack_from("<II", end, 12)
        stop = length - _END
        if locator.startswith(b"PK\6\7"):
            stop -= _LOCATOR + _END_64
            agree = len(end_64) == _END_64 and end_64.startswith(b"PK\6\6")
            agree = agree and struct.unpack_from("<Q", locator, 8) == (stop,)
            wide = struct.unpack_from("<QQ", end_64, 40) if agree else (0, 0)
            agree = agree and size in (wide[0], 2**32 - 1) and place in (wide[1], 2**32 - 1)
            size, place = wide
        agree = agree and place + size == stop
    if not agree:
        raise RequestError(
            f"{file.name} is damaged, or was put together by hand: its list of contents does not lie where it says; "
            "save it again with torch.save or torch.jit.save"
        )


def _sources(file: Path) -> Iterator[str]:
    """Every file of code in the archive, read by the reader that PyTorch itself loads it with."""
    reader: Any = torch._C.PyTorchFileReader(str(file))
    if reader.has_record("model.json"):  # a form in which any file may hold code
        raise RequestError(
            f"{file.name} was written by a PyTorch version from before 2019: load and save it with a newer one"
        )
    names = [name for name in reader.get_all_records() if name.endswith(".py")]
    if sum(reader.get_record_size(name) for name in names) > MOST_CODE:
        raise RequestError(
            f"{file.name} holds more than {MOST_CODE >> 20} MB of code: no model does, so it was refused"
        )
    for name in names:
        yield reader.get_record(name).decode("ascii", "backslashreplace")


def _refuse(file: Path, called: str | None) -> None:
    """Stop at the first operator that is not allowed."""
    if called is not None:
        raise RequestError(
            f"{file.name} was refused and not run: its code {called}, which may reach files, other machines or code "
            "outside the model; export the model without it"
        )


def _calls_in_text(source: str) -> str | None:
    """What the code calls that it may not; None where there is nothing.

    Any use of a name counts, not only a call: a name can be handed on. It can also be spelled as a text for `getattr`,
    so texts are looked at, and two texts side by side, which are one, are refused.
    """
    tokens = [token for token in _TOKEN.findall(source) if not token.startswith("#")]
    for place, token in enumerate(tokens):
        after = tokens[place + 1 : place + 4]
        text = token[0] in "\"'"
        if text and after and after[0][0] in "\"'":
            return "spells a name in pieces"
        name = _text_of(token) if text else token
        if name in BEYOND:
            return f"calls {name}"
        if token == "ops" and tokens[place - 1 : place] != ["."]:
            space = after[1] if after[:1] == ["."] and after[2:] == ["."] else "an operator without its name"
            if space not in SPACES:
                return f"calls {space}" + f"::{tokens[place + 4]}" * (space in after and len(tokens) > place + 4)
    return None


def _text_of(token: str) -> str:
    """What a text in the code says, its escapes undone."""
    with suppress(SyntaxError, ValueError):
        return str(ast.literal_eval(token))
    return token


def _calls_in_graphs(script: Any) -> str | None:
    """The same for what PyTorch made of the code: the model's own methods with all they call, and every submodule's."""
    graphs = [script._c._get_method(name).inlined_graph for name in script._c._method_names()]
    for module in script.modules():
        graphs += [module._c._get_method(name).graph for name in module._c._method_names()]
    for graph in graphs:
        for kind in _kinds(graph):
            space, _, name = kind.partition("::")
            if space not in SPACES or name in BEYOND:
                return f"calls {kind}"
    return None


def _kinds(block: Any) -> Iterator[str]:
    """The operators of a graph, in loops and branches too."""
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _kinds(inner)
