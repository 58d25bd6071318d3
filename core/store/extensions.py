"""DuckDB's extensions inside installed wheels, which work offline."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import duckdb

from core.errors import StoreError
from core.store.quoting import literal


def extension_file(name: str) -> Path:
    """The file of an extension for this DuckDB.

    Raises:
        StoreError: its wheel is missing or made for another DuckDB.
    """
    package, version = f"duckdb_extension_{name}", duckdb.__version__
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / "extensions" / f"v{version}" / f"{name}.duckdb_extension"
        if path.is_file():
            return path
    use = {"fts": "text search", "ducklake": "a DuckLake"}[name]
    wheel = package.replace("_", "-")
    raise StoreError(f"{use} needs the package {wheel}=={version}; pip install it beside duckdb {version}")


def load_fts(con: duckdb.DuckDBPyConnection) -> None:
    """Loads the text index extension into a connection."""
    con.execute(f"LOAD {literal(extension_file('fts'))}")
