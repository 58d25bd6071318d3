"""The version of whylook that is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """The installed version; `unknown` in a folder that was never installed."""
    try:
        return version("whylook")
    except PackageNotFoundError:
        return "unknown"
