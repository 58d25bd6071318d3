"""A store in a folder: shards (the truth), run records, what people keep, and published DuckDB generations."""

from core.store.generations import Publication
from core.store.publish import STORE_VERSION
from core.store.store import Store

__all__ = ["STORE_VERSION", "Publication", "Store"]
