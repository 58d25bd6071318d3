"""What there is to say of one option of a run, beside its field: help, choices, whether it names the run, its widget.

The command line, the words that repeat a run, its settings and the app's form are all made from these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

Group = Literal["images and classifier", "judge", "map", "machine"]
Kind = Literal["path", "text", "number", "switch"]


@dataclass(frozen=True)
class Widget:
    """How the app's form asks for an option; without one it does not ask. What it is comes from the option's kind."""

    label: str
    placeholder: str = ""
    help: str = ""


@dataclass(frozen=True)
class Option:
    """One option of a run. `help` is for the command line; `least` is the smallest number that can be meant.

    `computes` says that another value is another run; the others say where and how fast the same run is worked on, or
    how its results are read.
    """

    name: str
    kind: Kind
    default: object
    group: Group
    help: str
    choices: tuple[str, ...]
    metavar: str | None
    least: int | None
    computes: bool
    widget: Widget | None

    @property
    def required(self) -> bool:
        """Whether a run cannot do without it."""
        return self.default is dataclasses.MISSING

    @property
    def flag(self) -> str:
        """Its word on the command line."""
        return f"--{self.name.replace('_', '-')}"


def option(
    default: object = dataclasses.MISSING,
    *,
    group: Group,
    help: str,  # noqa: A002  argparse's word
    choices: Iterable[str] = (),
    metavar: str | None = None,
    least: int | None = None,
    computes: bool = True,
    widget: Widget | None = None,
) -> Any:
    """A dataclass field that carries what is to be said of it; a Literal's values are its choices."""
    said = {"group": group, "help": help, "choices": tuple(choices), "metavar": metavar, "least": least}
    return dataclasses.field(default=default, metadata={**said, "computes": computes, "widget": widget})


def options_of(kind: type) -> tuple[Option, ...]:
    """The options of a dataclass whose fields were made by `option`, in their order."""
    hints = get_type_hints(kind)
    found = []
    for field in dataclasses.fields(kind):
        hint = _without_none(hints[field.name])
        said: dict[str, Any] = dict(field.metadata)
        if get_origin(hint) is Literal:
            said["choices"] = get_args(hint)
        kinds: dict[object, Kind] = {Path: "path", int: "number", bool: "switch"}
        found.append(Option(field.name, kinds.get(hint, "text"), field.default, **said))
    return tuple(found)


def _without_none(hint: object) -> object:
    """`X` of `X | None`."""
    kinds = [part for part in get_args(hint) if part is not type(None)]
    return kinds[0] if len(kinds) == 1 and get_origin(hint) is not Literal else hint


def words_of(request: object) -> list[str]:
    """The words of a command line that give a request its values again; defaults need none."""
    words: list[str] = []
    for item in options_of(type(request)):
        value = getattr(request, item.name)
        if item.name == "images":  # the one that has no flag
            words.insert(0, f"./{value}" if str(value).startswith("-") else str(value))
        elif value is None or (value == item.default and item.name != "store"):
            continue
        elif item.kind == "switch":
            words.append(item.flag)
        elif str(value).startswith("-"):
            words.append(f"{item.flag}={value}")
        else:
            words += [item.flag, str(value)]
    return words
