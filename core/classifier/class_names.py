"""Which logit is which class, and how folder names fit to that.

A guess that could be wrong is never silent: it is either a note that is shown with the run, or a refusal.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from core.errors import RequestError

_SHOWN = 5


def fit_class_names(
    classes: int, *, file: Path | None, own: Sequence[str] | None, labels: Sequence[str], known: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The class names in the order of the logits, and notes on what was assumed.

    Taken from `file`, else from `own` (the function's or the checkpoint's), else the sorted labels where there are as
    many as logits. A name that equals a label but for case, underscores or synonyms takes the label's spelling, so that
    "Dutch oven" and the folder Dutch_oven are one class. `known` says that `own` is a general list (ImageNet's), which
    does not apply to a model with another number of logits.

    Raises:
        RequestError: fewer or more names than logits, a name twice, no names at all, or a label that is no class.
    """
    notes: list[str] = []
    ordered = sorted(labels)
    if file is not None:
        names = read_class_names(file)
        origin = file.name
    elif own is not None and not (known and len(own) != classes):
        names = _apart(own) if known else list(own)
        origin = "the model"
    elif ordered and len(ordered) == classes:
        names = ordered
        origin = "the folders"
        notes.append("The model names no classes: its logits are taken to be the labels in alphabetical order.")
    elif not ordered:
        return tuple(f"class_{index}" for index in range(classes)), ("The model names no classes: they are numbered.",)
    else:
        raise RequestError(
            f"the model has {classes} logits and names no classes, and the pictures have {len(ordered)} labels; "
            "give the names in the order of the logits with --classes FILE"
        )
    _check(names, classes, origin)
    return _spell_as_labels(names, ordered, origin), tuple(notes)


def read_class_names(file: Path) -> list[str]:
    """Names from a text file (one per line) or JSON: a list, {"0": name} or {name: 0}.

    Raises:
        RequestError: the file is missing or cannot be understood.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RequestError(f"--classes {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"--classes {file} is not UTF-8 text") from error
    if file.suffix.lower() != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        return names_from(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise RequestError(f"--classes {file} is no JSON list of names: {error}") from error


def names_from(value: object) -> list[str]:
    """Names from a list, {index: name} or {name: index}.

    Raises:
        ValueError: it is none of these, or the indices are not 0, 1, 2, ...
    """
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return list(value)
    if isinstance(value, dict) and value:
        pairs = [(key, name) if isinstance(name, str) else (name, key) for key, name in value.items()]
        by_index = {int(index): str(name) for index, name in pairs}
        if sorted(by_index) == list(range(len(value))):
            return [by_index[index] for index in range(len(value))]
    raise ValueError("expected a list of names, or names by index 0, 1, 2, ...")


def _check(names: Sequence[str], classes: int, origin: str) -> None:
    """As many names as logits, each once."""
    if len(names) != classes:
        raise RequestError(f"{origin} gives {len(names)} class names, but the model has {classes} logits")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise RequestError(f"{origin} gives the class name {twice[0]!r} more than once")


def _apart(names: Sequence[str]) -> list[str]:
    """A checkpoint's own names, with a number after those that occur twice."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result


def _loose(name: str) -> str:
    """A name without what people change when they make a folder of it."""
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def _spell_as_labels(names: Sequence[str], labels: Sequence[str], origin: str) -> tuple[str, ...]:
    """The names, with the label's spelling where a label means one of them."""
    result = list(names)
    places = {name: index for index, name in enumerate(names)}
    unknown = []
    for label in labels:
        if label in places:
            continue
        index = _place(label, names)
        if index is None or result[index] in labels:
            unknown.append(label)
        else:
            result[index] = label
    if unknown:
        raise RequestError(_unknown_message(unknown, names, origin))
    return tuple(result)


def _place(label: str, names: Sequence[str]) -> int | None:
    """The one name that a label means, or None: spelled with spaces, in another case, or the first of synonyms."""
    spellings = (
        lambda name: name.replace("_", " "),
        _loose,
        lambda name: _loose(name.split(",")[0]),
    )
    for spell in spellings:
        wanted = spell(label)
        found = [index for index, name in enumerate(names) if spell(name) == wanted]
        if len(found) == 1:
            return found[0]
    return None


def _unknown_message(unknown: Sequence[str], names: Sequence[str], origin: str) -> str:
    """Which labels are no classes, and what they might have meant."""
    shown = ", ".join(repr(label) for label in unknown[:_SHOWN])
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    near = difflib.get_close_matches(unknown[0], names, n=3, cutoff=0.5)
    hint = f"nearest to {unknown[0]!r}: {', '.join(near)}" if near else f"its classes begin {', '.join(names[:_SHOWN])}"
    return f"labels that the classifier does not know ({origin}): {shown}{more}; {hint}"
