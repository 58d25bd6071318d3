"""Folders and lists to distinct pictures with labels and metadata."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import ImageError, RequestError
from core.images.files import open_regular, why
from core.images.known_files import KnownFiles
from core.images.lists import Table, Value, clean, normal_path, read_table
from core.records import Failure, ImageEntry

_PICTURES = ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm .jp2 .avif .ico .tga"
IMAGE_SUFFIXES = frozenset(_PICTURES.split())
LIST_SUFFIXES = frozenset({".csv", ".parquet", ".pq"})
# Files that lie beside pictures and are none; anything else is tried, so that a picture without suffix is not lost.
_OTHERS = (
    ".txt .csv .tsv .md .rst .json .jsonl .yaml .yml .toml .xml .html .htm .ini .cfg .log .db .py .ipynb .sh .parquet "
    ".pq .pt .pth .th .npy .npz .pkl .safetensors .zip .tar .gz .mp4 .avi .mov .pdf .license"
)
_OTHER_SUFFIXES = frozenset(_OTHERS.split())
_PLAIN_NAMES = frozenset({"license", "licence", "readme", "makefile", "notice", "copying"})
_ID_LENGTH = 32
_CHUNK = 1 << 20
_READERS = 2
_TOGETHER = 256


@dataclass(frozen=True)
class Scan:
    """What a source holds: distinct pictures, sorted label names, files that failed, and sentences to show."""

    entries: list[ImageEntry]
    labels: list[str]
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Candidate:
    """One file to hash: where it is, what it is called, and what was said about it."""

    path: Path
    relative: str
    label: str | None
    metadata: dict[str, Value]


def scan(source: Path, *, metadata: Path | None = None, known: KnownFiles | None = None) -> Scan:
    """List the distinct pictures of a folder of class folders, or of a CSV or Parquet list.

    A label is the list's or the metadata's column `label`, else the first folder below `source`. Metadata are read from
    `metadata`, or from `source/metadata.csv` where it exists. The same bytes twice are one entry with several paths.
    Files that `known` knows are not read again; it is told of the others.

    Raises:
        RequestError: no such source, no pictures in it, or nothing that labels any of them.
    """
    if source.is_dir():
        found = source / "metadata.csv"
        table = read_table(metadata) if metadata else read_table(found) if found.is_file() else None
        result = _scan_folder(source, table, known)
    elif source.is_file() and source.suffix.lower() in LIST_SUFFIXES:
        result = _scan_list(read_table(source), read_table(metadata) if metadata else None, known)
    elif source.exists():
        raise RequestError(f"{source} is neither a folder of class folders nor a .csv or .parquet list")
    else:
        raise RequestError(f"no such folder: {source}")
    if not result.entries and not result.failures:
        raise RequestError(f"no pictures in {source}: put them into one folder per class")
    if result.entries and not result.labels:
        raise RequestError(
            f"nothing in {source} says which class a picture belongs to: use one folder per class, "
            "or a list or metadata file with a column `label`"
        )
    return result


def _scan_folder(source: Path, table: Table | None, known: KnownFiles | None) -> Scan:
    """Walk a folder."""
    failures: list[Failure] = []
    warnings: list[str] = []
    told = _by_path(table)
    candidates = []
    ignored = 0
    overruled = 0
    for path in _walk(source, source, failures, {source.resolve()}):
        if _is_other(path):
            ignored += table is None or path != table.file
            continue
        relative = clean(path.relative_to(source).as_posix())
        label, row = told.pop(normal_path(relative), (None, {}))
        folder = relative.partition("/")[0] if "/" in relative else None
        overruled += label is not None and folder is not None and label != folder
        candidates.append(_Candidate(path, relative, label if label is not None else folder, row))
    if ignored:
        warnings.append(f"files that are no pictures (text, tables, code) were ignored: {ignored:,}")
    if table and told:
        warnings.append(f"rows of {table.file.name} that match no picture: {len(told):,} (first: {next(iter(told))})")
    if table and overruled:
        warnings.append(f"labels taken from {table.file.name} and not from the folder names: {overruled:,}")
    return _distinct(candidates, failures, warnings, known)


def _scan_list(listed: Table, table: Table | None, known: KnownFiles | None) -> Scan:
    """Follow a list; its paths are relative to the folder it lies in."""
    failures: list[Failure] = []
    warnings: list[str] = []
    told = _by_path(table)
    candidates = []
    labels: list[str | None] = listed.labels or [None] * len(listed.paths)
    for text, label, row in zip(listed.paths, labels, listed.rows, strict=True):
        relative = normal_path(text)
        other_label, other = told.pop(relative, (None, {}))
        candidates.append(_Candidate(listed.file.parent / relative, relative, label or other_label, {**other, **row}))
    if table and told:
        warnings.append(f"rows of {table.file.name} that match no picture: {len(told):,} (first: {next(iter(told))})")
    return _distinct(candidates, failures, warnings, known)


def _by_path(table: Table | None) -> dict[str, tuple[str | None, dict[str, Value]]]:
    """Metadata rows by normalised path; two rows for one picture are a mistake worth stopping for."""
    rows: dict[str, tuple[str | None, dict[str, Value]]] = {}
    if table is None:
        return rows
    labels: list[str | None] = table.labels or [None] * len(table.paths)
    for text, label, row in zip(table.paths, labels, table.rows, strict=True):
        path = normal_path(text)
        if path in rows:
            raise RequestError(f"{table.file.name} has two rows for {path}")
        rows[path] = (label, row)
    return rows


def _walk(folder: Path, source: Path, failures: list[Failure], seen: set[Path]) -> Iterator[Path]:
    """Every visible file below, folders that are links included, in sorted order, each folder once."""
    try:
        with os.scandir(folder) as listing:
            items = sorted(listing, key=lambda item: item.name)
    except OSError as error:
        where = clean(folder.relative_to(source).as_posix())
        failures.append(Failure("images", None, where, f"folder cannot be read: {error.strerror}"))
        return
    for item in items:
        if item.name.startswith(".") or item.name == "__pycache__":
            continue
        path = Path(item.path)
        try:
            real = path.resolve() if item.is_dir() else None
        except (OSError, RuntimeError):  # links that go round: reading it as a file says so
            real = None
        if real is not None:
            if real not in seen:
                seen.add(real)
                yield from _walk(path, source, failures, seen)
        else:
            yield path


def _is_other(path: Path) -> bool:
    """Whether this file is by its name no picture."""
    return path.suffix.lower() in _OTHER_SUFFIXES or path.name.lower() in _PLAIN_NAMES


def _distinct(
    candidates: list[_Candidate], failures: list[Failure], warnings: list[str], known: KnownFiles | None
) -> Scan:
    """Hash every candidate and merge equal bytes into one entry."""
    groups: dict[str, list[_Candidate]] = {}
    labels: set[str] = set()
    ordered = sorted(candidates, key=lambda found: found.relative)
    for candidate, (image_id, reason) in zip(ordered, _hashes(ordered, known), strict=True):
        if candidate.label is not None:
            labels.add(candidate.label)
        if reason is not None:
            failures.append(Failure("images", None, candidate.relative, reason))
        else:
            groups.setdefault(image_id, []).append(candidate)
    entries = [_merge(image_id, group, warnings) for image_id, group in groups.items()]
    unlabelled = sum(entry.label is None for entry in entries)
    if labels and unlabelled:
        warnings.append(f"pictures without a label, explained but not counted as right or wrong: {unlabelled:,}")
    return Scan(entries, sorted(labels), failures, warnings)


def _merge(image_id: str, group: list[_Candidate], warnings: list[str]) -> ImageEntry:
    """One entry for all files with the same bytes; the first by path decides where they disagree."""
    labels = list(dict.fromkeys(file.label for file in group if file.label is not None))
    if len(labels) > 1:
        warnings.append(f"same picture under {len(labels)} labels: {group[0].relative} is taken as {labels[0]}")
    merged: dict[str, Value] = {}
    for file in reversed(group):
        merged.update({name: value for name, value in file.metadata.items() if value is not None or name not in merged})
    paths = tuple(dict.fromkeys(file.relative for file in group))
    return ImageEntry(image_id, group[0].path, paths, labels[0] if labels else None, merged)


def _hashes(candidates: Sequence[_Candidate], known: KnownFiles | None) -> Iterator[tuple[str, str | None]]:
    """The hash of each file, or why there is none; several are read at once, because a disk takes its time for each."""
    starts = range(0, len(candidates), _TOGETHER)
    with ThreadPoolExecutor(_READERS) as pool:
        waiting: deque[Future[list[tuple[str, str | None]]]] = deque()
        for start in starts:
            waiting.append(pool.submit(_hash_all, candidates[start : start + _TOGETHER], known))
            if len(waiting) > 2 * _READERS:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _hash_all(candidates: Sequence[_Candidate], known: KnownFiles | None) -> list[tuple[str, str | None]]:
    return [_hash(candidate.path, known) for candidate in candidates]


def _hash(path: Path, known: KnownFiles | None) -> tuple[str, str | None]:
    """The content hash of a file (sha256, first 32 hex digits), or the reason why there is none."""
    place = str(path)
    if known is not None:
        with suppress(OSError, ValueError):
            if found := known.find(place, path.stat()):
                return found, None
    digest = hashlib.sha256()
    try:
        with open_regular(path) as (file, size):
            read = 0
            while read <= size and (chunk := file.read(_CHUNK)):
                read += len(chunk)
                digest.update(chunk)
            about = os.fstat(file.fileno())
    except ImageError as error:
        return "", str(error)
    except OSError as error:
        return "", why(error)
    if read != size:
        return "", "the file changed while it was read: start the run again"
    image_id = digest.hexdigest()[:_ID_LENGTH]
    if known is not None:
        known.note(place, about, image_id)
    return image_id, None
