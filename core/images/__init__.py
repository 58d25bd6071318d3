"""Pictures: from folders and lists to entries with content hashes, labels and metadata, and from files to RGB.

Knows: folders, CSV and Parquet lists, file formats. Does not know: models, attributions, DuckDB. `scan` reads every
file once for its hash and decodes none; `decode` reads one picture; nothing here holds more than one in memory.
"""

from core.images.decoding import MAX_PIXELS, decode, thumbnail
from core.images.folders import IMAGE_SUFFIXES, Scan, scan
from core.images.lists import read_table

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "Scan", "decode", "read_table", "scan", "thumbnail"]
