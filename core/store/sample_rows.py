"""Table `sample_rows`, which is what `samples` shows: made from everything, or only where something arrived.

Where pictures arrive, the same SQL is run over them alone: what a stage has new of a picture comes from what arrived,
what it had already from the row that the picture had. Then every stage's rows are keyed by the run itself.
"""

from __future__ import annotations

import duckdb

from core.columns import BY_NAME
from core.records import CAUSAL_SAMPLE
from core.store.schema import schema_section

_STAGES = ("images", "classifier", "attribution", "causal", "judge", "embedding")
_FROM_SAMPLES = {
    "images": (
        "images",
        "path, label, brightness, contrast, saturation, warmth, sharpness, colour, aspect AS width, 1 AS height",
        "path, label, brightness, contrast, saturation, warmth, sharpness, colour, width::DOUBLE AS width, height",
        "true",
    ),
    "predictions": (
        "classifier",
        "prediction, confidence, margin, label_probability, NULL::FLOAT[] AS probabilities",
        "prediction, confidence, margin, label_probability, probabilities",
        "prediction IS NOT NULL",
    ),
    "attributions": (
        "attribution",
        """attention_area, attention_entropy, attention_border, attention_x, attention_y, attention_islands,
        attention_agreement, NULL::FLOAT AS causal_drop, NULL::FLOAT AS causal_drop_random""",
        """attention_area, attention_entropy, attention_border, attention_x, attention_y, attention_islands,
        attention_agreement, causal_drop, causal_drop_random""",
        "true",
    ),
    "checks": (
        "causal",
        "causal_drop, causal_drop_random, causal_draws",
        "causal_drop, causal_drop_random, causal_draws",
        "causal_draws IS NOT NULL OR causal_drop IS NOT NULL",
    ),
    "judgements": (
        "judge",
        """judge_state AS state, score, score_entropy, description, justification,
        CASE WHEN label_score IS NOT NULL AND NOT correct THEN label END AS label_asked, label_score""",
        "state, score, score_entropy, description, justification, label_asked, label_score",
        "judge_state IS NOT NULL",
    ),
    "map": (None, "map_x, map_y, words_x, words_y", "map_x, map_y, words_x, words_y", "true"),
    "strategies": (None, "strategy, detail, cue", "strategy, detail, cue", "true"),
}
"""Of each table: its stage (None: keyed by the run), its columns as `samples` and as the table has them, and when."""
_SHAPE = ("settings", "class_names", "high_score", *(f"{stage}_fingerprint" for stage in _STAGES))
"""What of a run its rows follow from."""
_TABLES = ("runs", "images", "metadata", *(name for name in _FROM_SAMPLES if name != "images"))
_MOST = 0.25
"""Part of all rows beyond which they are all made anew."""


def make_samples(con: duckdb.DuckDBPyConnection) -> None:
    """Makes every row from the tables."""
    con.execute(schema_section("chosen"))
    _make_checked(con, "SELECT r.run, i.image_id FROM runs r JOIN images i ON i.fingerprint = r.images_fingerprint")
    con.execute("DROP VIEW IF EXISTS samples")
    con.execute(f"CREATE OR REPLACE TABLE sample_rows AS {_select(con, {name: name for name in _TABLES}, 'true')}")
    con.execute(schema_section("weights"))
    con.execute("CREATE VIEW samples AS SELECT * FROM sample_rows")


def add_samples(con: duckdb.DuckDBPyConnection) -> None:
    """Makes the rows of runs that changed, and of the pictures in the tables `arrived_…` or whose tags changed."""
    same = " AND ".join(f"b.{name} IS NOT DISTINCT FROM r.{name}" for name in _SHAPE)
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE changed_runs AS
        SELECT run FROM runs r WHERE NOT EXISTS (FROM runs_before b WHERE b.run = r.run AND {same})"""
    )
    _choose(con)
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE touched AS
        {" UNION ".join(f"SELECT image_id FROM arrived_{table}" for table in _FROM_SAMPLES)}
        UNION SELECT image_id FROM ((FROM tags EXCEPT FROM tags_before) UNION (FROM tags_before EXCEPT FROM tags))
        UNION SELECT image_id FROM (
            (FROM checked EXCEPT FROM checked_before) UNION (FROM checked_before EXCEPT FROM checked)
        )"""
    )
    touched, rows, changed = con.execute(
        """SELECT (SELECT count(*) FROM touched), (SELECT count(*) FROM sample_rows),
        (SELECT count(*) FROM sample_rows WHERE run IN (FROM changed_runs))"""
    ).fetchall()[0]
    if touched + changed > _MOST * rows:
        make_samples(con)
        return
    con.execute(
        """CREATE OR REPLACE TEMP TABLE before AS FROM sample_rows
        WHERE image_id IN (FROM touched) AND run NOT IN (FROM changed_runs) AND run IN (SELECT run FROM runs)"""
    )
    con.execute(
        """DELETE FROM sample_rows WHERE run IN (FROM changed_runs) OR run NOT IN (SELECT run FROM runs)
        OR image_id IN (FROM touched)"""
    )
    if con.execute("SELECT 1 FROM changed_runs LIMIT 1").fetchall():
        whole = _select(con, {name: name for name in _TABLES}, "r.run IN (FROM changed_runs)")
        con.execute(f"INSERT INTO sample_rows BY NAME {whole}")
    if touched:
        con.execute(f"INSERT INTO sample_rows BY NAME {_select(con, _overlays(con), 'true')}")
    con.execute(schema_section("weights"))


def _choose(con: duckdb.DuckDBPyConnection) -> None:
    """Chooses again what runs show of judge and check; a run whose judged pictures are others has changed."""
    con.execute("CREATE OR REPLACE TEMP TABLE checked_before AS FROM checked")
    con.execute("CREATE OR REPLACE TEMP TABLE chosen_before AS FROM chosen")
    _make_checked(
        con,
        """FROM checked UNION SELECT r.run, a.image_id FROM runs r JOIN arrived_images a
            ON a.fingerprint = r.images_fingerprint
        UNION SELECT r.run, i.image_id FROM runs r JOIN images i ON i.fingerprint = r.images_fingerprint
            WHERE r.run IN (FROM changed_runs)""",
    )
    moved = """SELECT 1 FROM runs r WHERE (r.settings ->> 'judge_budget') IS NOT NULL AND (
        r.run IN (FROM changed_runs) OR r.images_fingerprint IN (SELECT fingerprint FROM arrived_images)
        OR r.classifier_fingerprint IN (SELECT fingerprint FROM arrived_predictions))"""
    if con.execute(moved).fetchall():
        con.execute(schema_section("chosen"))
        con.execute(
            """INSERT INTO changed_runs SELECT DISTINCT run FROM (
                (FROM chosen EXCEPT FROM chosen_before) UNION (FROM chosen_before EXCEPT FROM chosen)
            ) WHERE run NOT IN (FROM changed_runs)"""
        )


def _make_checked(con: duckdb.DuckDBPyConnection, known: str) -> None:
    words = schema_section("checked").replace("{known}", known).replace("{causal_sample}", str(CAUSAL_SAMPLE))
    con.execute(words)


def _select(con: duckdb.DuckDBPyConnection, sources: dict[str, str], which: str) -> str:
    """SQL for rows of samples from some sources; what it needs of the distributions is made at once."""

    def filled(section: str) -> str:
        words = schema_section(section).replace("{columns}", ", ".join(BY_NAME)).replace("{which}", which)
        for name, source in sources.items():
            words = words.replace(f"{{{name}}}", source)
        return words

    con.execute(filled("told"))
    return filled("samples")


def _overlays(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """For each table, SQL for what is known now of the touched pictures, keyed by the run."""
    prints = ", ".join(
        f"CASE WHEN {stage}_fingerprint IS NOT NULL THEN run END AS {stage}_fingerprint" for stage in _STAGES
    )
    runs = f"(SELECT run, settings, class_names, high_score, {prints} FROM runs WHERE run NOT IN (FROM changed_runs))"
    metadata = """(SELECT r.run AS fingerprint, m.* EXCLUDE (fingerprint) FROM metadata m
        JOIN runs r ON r.images_fingerprint = m.fingerprint WHERE m.image_id IN (FROM touched))"""
    sources = {"runs": runs, "metadata": metadata}
    for table, (stage, shown, own, there) in _FROM_SAMPLES.items():
        key = f"{stage}_fingerprint" if stage else "run"
        con.execute(
            f"""CREATE OR REPLACE TEMP TABLE now_{table} AS
            SELECT r.run AS fingerprint, image_id, {own} FROM arrived_{table} a
            JOIN (SELECT run, {key} AS fingerprint FROM runs) r USING (fingerprint)"""
        )
        con.execute(
            f"""INSERT INTO now_{table} BY NAME SELECT run AS fingerprint, image_id, {shown} FROM before b
            WHERE ({there})
            AND NOT EXISTS (FROM now_{table} n WHERE n.fingerprint = b.run AND n.image_id = b.image_id)"""
        )
        sources[table] = f"now_{table}"
    return sources
