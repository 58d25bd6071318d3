"""A store in a folder: shards (the truth), run records, what people keep, and published DuckDB generations."""

from core.store.generations import Publication
from core.store.publish import STORE_VERSION
from core.store.store import Store
from core.store.writer import StoreWriter, open_for_writing

__all__ = ["STORE_VERSION", "Publication", "Store", "StoreWriter", "open_for_writing"]
