"""A store's newest generation as a whylook of before shards were read in place had published it."""

from __future__ import annotations

import hashlib

import duckdb

from core.store import Store
from core.store.extensions import load_fts
from core.store.shards import SCHEMAS


def as_older_generation(store: Store, *also: str) -> None:
    """Changes the newest generation: every table in `main`, the text index of DuckDB's extension; runs `also`."""
    path = store.current_path()
    with duckdb.connect(str(path)) as con:
        load_fts(con)
        con.execute("CREATE TABLE said AS SELECT fingerprint, image_id, description, justification FROM judgements")
        for table in SCHEMAS:
            con.execute(f"DROP VIEW {table}")
            con.execute(f"CREATE TABLE {table} AS SELECT * EXCLUDE (shard) FROM loaded.{table}")
        con.execute("PRAGMA drop_fts_index('texts')")
        for table in ("postings", "texts", "superseded", "metadata_names", "chosen", "checked", "documents"):
            con.execute(f"DROP TABLE {table}")
        con.execute("DROP SCHEMA loaded CASCADE")
        con.execute("ALTER TABLE store_info DROP shape")
        con.execute("CREATE OR REPLACE TABLE loaded_shards AS SELECT table_name, name FROM loaded_shards")
        con.execute(
            """CREATE TABLE documents AS SELECT row_number() OVER () AS document, fingerprint, image_id,
            concat_ws(' ', description, justification) AS text FROM said WHERE description IS NOT NULL"""
        )
        con.execute("DROP TABLE said")
        con.execute("PRAGMA create_fts_index('documents', 'document', 'text', stemmer='porter')")
        for words in also:
            con.execute(words)
        con.execute("CHECKPOINT")
    seal(store)


def seal(store: Store) -> None:
    """Writes CURRENT anew, as if the newest generation had been published as it is."""
    path = store.current_path()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    check = hashlib.sha256(f"{path.name} {digest}".encode()).hexdigest()[:16]
    (store.folder / "CURRENT").write_text(f"{path.name}\n{digest}\n{check}")
