"""Lists behind an address (https://, s3:// and what else fsspec reads): fetched once into the store, then local.

Every picture is read for its hash anyway, so it is kept while it is there: later runs, the judge and the app's pages
find it on this machine. A picture that was fetched is not fetched again; remove the folder to do so.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pyarrow as pa
import pyarrow.parquet as pq

from core.addresses import ADDRESS
from core.errors import RequestError
from core.images.lists import Table, read_table

_FETCHERS = 16
_AT_ONCE = 512


@dataclass(frozen=True)
class Fetched:
    """A list on this machine, and sentences to show."""

    file: Path
    warnings: tuple[str, ...]


def fetch(address: str, folder: Path, *, progress: Callable[[int, int], None]) -> Fetched:
    """Fetches a list and every picture that it names into a folder of `folder`.

    Args:
        address: of a .csv or .parquet list with a column `path`: addresses, or paths from where the list lies.
        folder: where fetched lists lie, of a store.
        progress: told how many pictures are here, of how many.

    Raises:
        RequestError: the list cannot be fetched or read, or a package for such addresses is missing.
    """
    place = folder / hashlib.sha256(address.encode()).hexdigest()[:16]
    suffix = posixpath.splitext(address.partition("?")[0])[1].lower()
    if suffix not in (".csv", ".parquet", ".pq"):
        raise RequestError(f"{address} is neither a .csv nor a .parquet list")
    place.mkdir(parents=True, exist_ok=True)
    system = _file_system(address)
    listed = place / f"fetched{suffix}"
    if reason := _get(system, address, listed, again=True):
        raise RequestError(f"cannot fetch {address}: {reason}")
    table = read_table(listed)
    names = [_name(path) for path in table.paths]
    wanted = {name: _joined(address, path) for name, path in zip(names, table.paths, strict=True)}
    failed: dict[str, str] = {}
    done = 0
    with ThreadPoolExecutor(_FETCHERS) as pool:
        items = list(wanted.items())
        for start in range(0, len(items), _AT_ONCE):
            some = items[start : start + _AT_ONCE]
            reasons = pool.map(lambda item: _get(system, item[1], place / item[0]), some)
            failed |= {url: reason for (_, url), reason in zip(some, reasons, strict=True) if reason}
            done += len(some)
            progress(done, len(items))
    _write_list(table, names, place / "list.parquet")
    first = next(iter(failed.items()), None)
    said = f"pictures that could not be fetched: {len(failed):,} (first: {first[0]}: {first[1]})" if first else None
    return Fetched(place / "list.parquet", (said,) if said else ())


def _file_system(address: str) -> Any:
    """The package's file system for an address."""
    kind = address.partition(":")[0]
    try:
        import fsspec

        return fsspec.filesystem(kind, skip_instance_cache=True)  # settings of now, not of an earlier call
    except ValueError as error:
        raise RequestError(f"{address}: {kind}:// is no kind of address that can be read") from error
    except ImportError as error:
        raise RequestError(f"{address} needs a package that is not here: pip install 'whylook[remote]'") from error


def _joined(address: str, path: str) -> str:
    """Where a picture of the list at `address` lies."""
    if ADDRESS.fullmatch(path):
        return path
    if address.startswith(("http://", "https://")):
        return urljoin(address, path)
    return posixpath.normpath(posixpath.join(posixpath.dirname(address.partition("://")[2]), path))


def _name(path: str) -> str:
    """The name of a picture's file here."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()
    suffix = posixpath.splitext(path.partition("?")[0])[1].lower()
    return f"pictures/{digest[:2]}/{digest[2:32]}{suffix if re.fullmatch(r'[.][a-z0-9]{1,5}', suffix) else ''}"


def _get(system: Any, address: str, to: Path, *, again: bool = False) -> str | None:
    """Fetches one file, whole or not at all; why not, None where it is here."""
    if to.is_file() and not again:
        return None
    part = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(address, str(part))
        part.replace(to)
    except Exception as error:  # noqa: BLE001  # every kind of address has errors of its own
        part.unlink(missing_ok=True)
        return next(iter(str(error).splitlines()), "") or type(error).__name__
    return None


def _write_list(table: Table, names: list[str], file: Path) -> None:
    """The list with its paths on this machine; the address of each stays as its column `address`."""
    columns: dict[str, list[Any]] = {"path": names, "address": list(table.paths)}
    if table.labels is not None:
        columns["label"] = list(table.labels)
    for row in table.rows:
        for name in row:
            columns.setdefault(name, [])
    for name in columns.keys() - {"path", "address", "label"}:
        columns[name] = [row.get(name) for row in table.rows]
    pq.write_table(pa.table(columns), file)
