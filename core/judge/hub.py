"""Files of the Hugging Face hub: fetched so that a broken download goes on where it was, and verified by their hash.

huggingface_hub's own hf_hub_download starts anew when its process was stopped (2.4 keeps no partial file), so the
partial file is kept here and its http_get asked for the rest. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE count as usual.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils.tqdm import disable_progress_bars

from core.errors import RequestError

LISTING_SECONDS = 20.0
QUANTISATION = re.compile(r"(q\d\w*|b?f(?:16|32))\.gguf$", re.IGNORECASE)


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it."""

    name: str
    size: int
    sha256: str
    address: str


def pull(
    repository: str, wanted: Sequence[str], folder: Path, *, say: Callable[[str], None], bars: bool = True
) -> list[Path]:
    """Fetch files into a folder; what lies there already is not fetched again.

    Args:
        repository: `owner/name` on the hub.
        wanted: file names; one that the repository does not hold is replaced by one of the same quantisation.
        folder: made where it is missing.
        say: is told, a line each, what is being done.
        bars: whether a bar shows how far each file is.

    Returns:
        The files' paths, in the order of `wanted`.

    Raises:
        RequestError: the hub cannot be reached or refuses, the disk is full, or a file is not what the hub lists.
    """
    if not bars:
        disable_progress_bars()
    constants.HF_HUB_DISABLE_TELEMETRY = True  # nothing about this machine is sent along
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what it retries needs no words
    with _in_words(repository, wanted):
        listed = _listing(repository)
    files = [_choose(listed, name, repository) for name in wanted]
    folder = folder.expanduser().resolve()
    with _disk_in_words(folder):
        _check_room([file for file in files if not (folder / file.name).exists()], folder)
        folder.mkdir(parents=True, exist_ok=True)
        with _in_words(repository, [file.name for file in files]):
            return [_fetch(file, folder, say) for file in files]


def _listing(repository: str) -> list[RemoteFile]:
    """The files at the repository's top level that have a hash, at one commit."""
    try:
        found = HfApi().model_info(repository, files_metadata=True, timeout=LISTING_SECONDS)
    except (ValueError, KeyError, TypeError) as error:  # the sign-in page of a network, a wrong HF_ENDPOINT
        raise RequestError(f"{constants.ENDPOINT} does not answer like the Hugging Face hub (HF_ENDPOINT)") from error
    return [
        RemoteFile(name, entry.lfs.size, entry.lfs.sha256, hf_hub_url(repository, name, revision=found.sha))
        for entry in found.siblings or []
        if entry.lfs is not None and "/" not in (name := entry.rfilename)
    ]


def _choose(listed: Sequence[RemoteFile], wanted: str, repository: str) -> RemoteFile:
    """The wanted file, else the first of the same kind (projector or text) and quantisation."""
    kind = QUANTISATION.search(wanted)
    pattern = f"*{kind.group().lower() if kind else '.gguf'}"
    for file in listed:
        if file.name == wanted:
            return file
    for file in listed:
        if fnmatch.fnmatch(file.name.lower(), pattern) and ("mmproj" in file.name) == ("mmproj" in wanted):
            return file
    raise RequestError(
        f"{constants.ENDPOINT}/{repository} holds no {wanted} and nothing like it; it holds "
        f"{', '.join(file.name for file in listed) or 'no files with a hash'}"
    )


def _check_room(files: Sequence[RemoteFile], folder: Path) -> None:
    """Refuse before anything is fetched when the disk cannot hold it."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    needed = sum(file.size - _length(_partial(file, folder)) for file in files)
    free = shutil.disk_usage(there).free
    if needed > free:
        raise RequestError(
            f"{folder} has room for {free / 1e9:,.2f} GB and {needed / 1e9:,.2f} GB are to come: make room for "
            f"{(needed - free) / 1e9:,.2f} GB more, or name another folder with --to"
        )


def _fetch(file: RemoteFile, folder: Path, say: Callable[[str], None]) -> Path:
    """One file: the rest of what is missing, then its hash; only then does it get its name."""
    target, partial = folder / file.name, _partial(file, folder)
    if target.exists():
        return target
    begun = _length(partial)
    say(f"{file.name}: {file.size / 1e9:,.2f} GB" + (f", {begun / 1e9:,.2f} GB of it are here" if begun else ""))
    token = get_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with partial.open("ab") as stream:
        if begun < file.size:
            http_get(
                file.address, stream, resume_size=begun, headers=headers, expected_size=file.size,
                displayed_filename=file.name,
            )  # fmt: skip
    say(f"{file.name}: checking its sha256")
    with partial.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        partial.unlink()
        raise RequestError(
            f"{file.name} arrived with sha256 {found[:12]}… but the hub lists {file.sha256[:12]}…: it was deleted, "
            "give the command again"
        )
    return partial.replace(target)


def _partial(file: RemoteFile, folder: Path) -> Path:
    """Where a file grows; another version of it has another name, so that two are never joined."""
    return folder / f"{file.name}.{file.sha256[:8]}.part"


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


# ---- what goes wrong, in words ----


@contextmanager
def _in_words(repository: str, names: Sequence[str]) -> Iterator[None]:
    """Turns what huggingface_hub and its connection raise into one line with the addresses to fetch by hand."""
    addresses = " and ".join(hf_hub_url(repository, name) for name in names)
    remedy = f"download {addresses} yourself and give them with --vlm and --mmproj"
    hub = f"the hub {constants.ENDPOINT}"
    try:
        yield
    except RepositoryNotFoundError as error:  # also where a licence must be accepted first
        raise RequestError(
            f"{hub} does not give out {repository} (status {error.response.status_code}): if its page asks for a "
            f"licence, accept it there and set HF_TOKEN, else {remedy}"
        ) from error
    except HfHubHTTPError as error:
        raise RequestError(
            f"{hub} answers {error.response.status_code} for {repository}: try again later, or {remedy}"
        ) from error
    except OfflineModeIsEnabled as error:
        raise RequestError(f"{hub} cannot be reached (HF_HUB_OFFLINE is set): {remedy}") from error
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.InvalidURL) as error:
        raise RequestError(f"{hub} cannot be reached ({_said(error)}): {remedy}") from error
    except httpx2.HTTPError as error:
        raise RequestError(
            f"{hub} broke off ({_said(error)}): give the command again, it goes on where it was, or {remedy}"
        ) from error


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


@contextmanager
def _disk_in_words(folder: Path) -> Iterator[None]:
    """Turns what the disk refuses, and a file that ended too soon, into one line."""
    again = "give the command again, it goes on where it was"
    try:
        yield
    except OSError as error:
        if error.errno is None:  # huggingface_hub's own, of a connection that ended as if all had come
            raise RequestError(f"the download broke off: {again}") from error
        hint = f": make room and {again}" if error.errno == errno.ENOSPC else ""
        raise RequestError(f"cannot write into {folder}: {error.strerror}{hint}") from error
