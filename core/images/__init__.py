"""Pictures: from folders and lists to entries with content hashes, labels and metadata, and from files to RGB.

`scan` reads every file once for its hash and decodes none; `opened` and `decode` read one picture; nothing here holds
more than one.
"""

from core.images.decoding import LARGE_PIXELS, MAX_PIXELS, Hold, Opened, Reader, decode, opened, thumbnail
from core.images.folders import IMAGE_SUFFIXES, Scan, scan
from core.images.lists import read_table
from core.images.near_duplicates import difference_hash
from core.images.properties import Properties, properties

__all__ = [
    "IMAGE_SUFFIXES",
    "LARGE_PIXELS",
    "MAX_PIXELS",
    "Hold",
    "Opened",
    "Properties",
    "Reader",
    "Scan",
    "decode",
    "difference_hash",
    "opened",
    "properties",
    "read_table",
    "scan",
    "thumbnail",
]
