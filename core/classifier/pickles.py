"""What a pickle of tensors would do, followed instruction by instruction before PyTorch unpickles it.

By hand, because nothing that PyTorch or we depend on bounds what a pickle takes: PyTorch's own reader
(`weights_only=True`) runs no foreign code, but the functions that it allows can take any memory
(`bytearray(2_000_000_000)` is 30 bytes of file) and any time (a tuple of itself twice, forty times over, has to be
hashed in 2^40 steps).

So the instructions are followed here with stand-ins for the values. Bounded are: how many there are, what is called
with what, what a dictionary is keyed by, how deep values lie in one another, and how large a value is that is recalled
and handed on again. This is quicker than a second process with limits, behaves alike on every system, and can say what
it refuses. Knows the instructions and functions that `torch.save` writes; does not know state dicts.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

MOST_STEPS = 2**21
"""Instructions in one pickle: a ResNet-152 takes 25 thousand, a history of a million numbers one million."""
MOST_WORK = 2**26
"""Values, and letters of texts, that may be recalled and handed to functions in one pickle."""
MOST_DEPTH = 100
_MOST_PICKLE = 2**28
_LEGACY_PICKLES = 5
_NUMEL = 4
_REBUILD = frozenset(
    f"torch._utils._rebuild_{name}"
    for name in [
        "tensor",
        "tensor_v2",
        "tensor_v3",
        "parameter",
        "parameter_with_state",
        "qtensor",
        "sparse_tensor",
        "meta_tensor_no_storage",
    ]
)
_PARAMETER = "torch.nn.parameter.Parameter"
_LEAVES = frozenset(
    [
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINSTRING",
    ]
)
_FRESH = {"EMPTY_TUPLE": "tuple", "EMPTY_LIST": "list", "EMPTY_DICT": "dict"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_FILLS = {"APPEND": ("list", 1), "APPENDS": ("list", 0), "SETITEM": ("dict", 2), "SETITEMS": ("dict", 0)}


class PickleRefused(Exception):
    """A pickle does what none of tensors does; the message says what, to be read after 'it'."""


@dataclass(eq=False, slots=True)
class _Value:
    """What stands for a value: its kind, what it is if it is small and plain, what lies in it, and how much that is."""

    kind: str
    plain: object = None
    parts: Sequence[_Value] = ()
    weight: int = 1
    depth: int = 0
    closed: bool = False

    def take(self, parts: Sequence[_Value]) -> _Value:
        """Put values into it; they can be filled no further."""
        for part in parts:
            part.closed = True
            self.weight += part.weight
            self.depth = max(self.depth, part.depth + 1)
        if isinstance(self.parts, list):
            self.parts += parts
        else:
            self.parts = list(parts)
        if self.depth > MOST_DEPTH:
            raise PickleRefused(f"nests values more than {MOST_DEPTH} deep")
        return self

    @property
    def is_key(self) -> bool:
        """Whether it is hashed at once, and hard to make collide."""
        return self.kind == "leaf" and (
            self.plain is None
            or isinstance(self.plain, str)
            or (isinstance(self.plain, int) and abs(self.plain) < 2**63)
        )


def check_pickles(file: Path) -> None:
    """Follow every pickle of a .pt file, whose list of contents must have been checked before.

    Raises:
        PickleRefused: one would take far more memory or time than its size, or calls what builds no tensor.
        ValueError, RuntimeError, LookupError: damaged.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        zipped = stream.read(4) == b"PK\3\4"
        stream.seek(0)
        if not zipped:  # a form of before 2020: three pickles of what wrote it, the tensors, and names of storages
            for _ in range(_LEGACY_PICKLES):
                _Walk(size).follow(stream)
            return
    reader = torch._C.PyTorchFileReader(str(file))
    if reader.get_record_size("data.pkl") > _MOST_PICKLE:
        raise PickleRefused(f"holds more than {_MOST_PICKLE >> 20} MB beside its tensors")
    _Walk(size).follow(io.BytesIO(reader.get_record("data.pkl")))


class _Walk:
    """The machine that a pickle is a program of, with stand-ins for values."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.stack: list[_Value] = []
        self.marks: list[list[_Value]] = []
        self.memo: dict[int, _Value] = {}
        self.work = 0

    def follow(self, stream: IO[bytes]) -> None:
        """Follow one pickle to its end, where the stream is left."""
        argument: Any
        for step, (code, argument, _) in enumerate(pickletools.genops(stream)):
            if step > MOST_STEPS:
                raise PickleRefused(f"holds more than {MOST_STEPS:,} values beside its tensors")
            if code.name in _LEAVES:
                letters = len(argument) if isinstance(argument, (str, bytes)) else 0
                self.stack.append(_Value("leaf", argument, weight=1 + letters // 16))
            elif code.name in _FRESH:
                self.stack.append(_Value(_FRESH[code.name]))
            elif code.name in _TUPLES:
                self.stack.append(_Value("tuple").take(self._pop(_TUPLES[code.name])))
            elif code.name in _FILLS:
                self._fill(*_FILLS[code.name])
            elif code.name in ("BINPUT", "LONG_BINPUT"):
                self.memo[argument] = self.stack[-1]
            elif code.name in ("BINGET", "LONG_BINGET"):
                self._recall(argument)
            elif code.name == "GLOBAL":
                self.stack.append(_Value("global", _known(argument)))
            elif code.name in _OTHERS:
                _OTHERS[code.name](self)
            elif code.name not in ("PROTO", "STOP"):
                raise PickleRefused("carries code or objects besides tensors")

    def _pop(self, count: int) -> list[_Value]:
        """The last values, or with 0 all since the last mark."""
        if not count:
            values, self.stack = self.stack, self.marks.pop()
            return values
        if len(self.stack) < count:
            raise ValueError("takes a value where there is none")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > MOST_WORK:
            raise PickleRefused("puts the same values into one another again and again")

    def _recall(self, place: int) -> None:
        value = self.memo[place]
        if value.kind in ("list", "dict") and not value.closed:
            raise PickleRefused("puts a value into itself")
        self._spend(value.weight)
        self.stack.append(value)

    def _fill(self, kind: str, count: int) -> None:
        values = self._pop(count)
        target = self.stack[-1]
        if target.kind != kind or target.closed:
            raise PickleRefused("changes a value after it was used")
        if kind == "dict" and not all(key.is_key for key in values[::2]):
            raise PickleRefused("keys its values by something else than texts and whole numbers")
        target.take(values)

    def _mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _tuple(self) -> None:
        values = self._pop(0)
        self.stack.append(_Value("tuple").take(values))

    def _reduce(self) -> None:
        called, given = self._pop(2)
        self._spend(given.weight)
        kind = self._called(called, given)
        self.stack.append(_Value(kind).take(given.parts))

    def _called(self, called: _Value, given: _Value) -> str:
        """The kind of value that a call returns, where it may be called like this."""
        name = called.plain if called.kind == "global" and isinstance(called.plain, str) else None
        parts = given.parts
        kinds = [part.kind for part in parts]
        if given.kind == "tuple":
            if name in _REBUILD or (name == _PARAMETER and kinds[:1] == ["tensor"]):
                return "tensor"
            if name == "torch._tensor._rebuild_from_type_v2" and parts and parts[0].plain in _REBUILD:
                return "tensor"
            if name == "collections.OrderedDict" and (not parts or all(_is_pair(pair) for pair in parts[0].parts)):
                return "dict"
            if name == "collections.Counter" and kinds == ["dict"]:
                return "dict"
            if name in ("builtins.set", "torch.Size") and all(
                part.kind in ("list", "tuple") and all(item.is_key for item in part.parts) for part in parts
            ):
                return "set"
            if name == "_codecs.encode" and self._is_text(parts):
                return "bytes"
            if name == "builtins.bytearray" and (kinds in ([], ["bytes"]) or self._is_text(parts)):
                return "bytes"
            if name in ("builtins.complex", "torch.device", "torch.serialization._get_layout") and set(kinds) == {
                "leaf"
            }:
                return "object"
        if name is None or name in _CALLED_WITH_CARE or name.startswith("torch."):
            raise PickleRefused(f"calls {name or 'what is no function'} with what no file of tensors gives it")
        raise PickleRefused("carries code or objects besides tensors")

    def _is_text(self, parts: Sequence[_Value]) -> bool:
        """Whether bytes are made of a text, letter by letter, as a pickle of bytes does."""
        if len(parts) != 2 or parts[1].plain not in ("latin1", "latin-1") or not isinstance(parts[0].plain, str):
            return False
        parts[0].weight = len(parts[0].plain)
        self._spend(parts[0].weight)
        return parts[0].kind == "leaf"

    def _storage(self) -> None:
        (named,) = self._pop(1)
        plain = [part.plain for part in named.parts]
        if named.kind == "leaf" and isinstance(named.plain, int):
            self.stack.append(_Value("storage"))
            return
        if named.kind != "tuple" or len(plain) <= _NUMEL or plain[0] not in ("storage", b"storage"):
            raise PickleRefused("carries code or objects besides tensors")
        declared = plain[_NUMEL]
        if not isinstance(declared, int) or declared > 16 * self.size:
            raise PickleRefused(f"declares a tensor of {declared} values, more than it holds")
        self.stack.append(_Value("storage"))

    def _new(self) -> None:
        called, _ = self._pop(2)
        if called.kind != "global" or called.plain != _PARAMETER:
            raise PickleRefused("carries code or objects besides tensors")
        self.stack.append(_Value("tensor"))

    def _build(self) -> None:
        self._pop(1)
        if self.stack[-1].kind not in ("dict", "tensor"):
            raise PickleRefused("carries code or objects besides tensors")


_OTHERS: dict[str, Callable[[_Walk], None]] = {
    "MARK": _Walk._mark,
    "TUPLE": _Walk._tuple,
    "REDUCE": _Walk._reduce,
    "BINPERSID": _Walk._storage,
    "NEWOBJ": _Walk._new,
    "BUILD": _Walk._build,
}
_CALLED_WITH_CARE = frozenset(
    [
        "builtins.set",
        "builtins.bytearray",
        "builtins.complex",
        "_codecs.encode",
        "collections.OrderedDict",
        "collections.Counter",
    ]
)


def _known(argument: str) -> str:
    """The name of a function or type, as Python 3 has it; what is not PyTorch's stops the walk."""
    module, _, name = argument.partition(" ")
    full = f"{'builtins' if module == '__builtin__' else module}.{name}"
    if full not in _CALLED_WITH_CARE and not full.startswith("torch."):
        raise PickleRefused("carries code or objects besides tensors")
    return full


def _is_pair(value: _Value) -> bool:
    return value.kind in ("list", "tuple") and len(value.parts) == 2 and value.parts[0].is_key
