"""The table of the columns of `samples` against a real run with the demo judge: names, types, ranges."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core import queries
from core.columns import SAMPLE_COLUMNS, Column
from core.images.properties import HUES
from core.pipeline.request import RunRequest
from core.pipeline.run import run
from core.store import Store, open_for_writing
from tests.support.tiny_world import make_folder, make_model

JUDGE = Path(__file__).resolve().parents[1] / "data" / "demo" / "judge"


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> queries.Connection:
    """Nine pictures, predicted, explained and judged, and as if discovery had looked."""
    folder = tmp_path_factory.mktemp("columns")
    pictures = make_folder(folder / "pictures", per_class=3)
    notes = "".join(f"{path.relative_to(pictures)},{path.stem}\n" for path in pictures.rglob("*.png"))
    (folder / "notes.csv").write_text(f"path,order\n{notes}")
    request = RunRequest(
        pictures, f"{make_model(folder)}:tiny", metadata=folder / "notes.csv", vlm=JUDGE / "judge.gguf",
        mmproj=JUDGE / "judge-mmproj.gguf", card_sample=0, store=folder / "store", device="cpu",
    )  # fmt: skip
    name = run(request, progress=lambda news: None, stop=lambda: False).run
    with open_for_writing(folder / "store") as writer:
        seen = queries.pictures(writer.reader(), name)
        groups = {"strategy": "red 1", "detail": "red a", "cue": "dark pictures → red"}
        writer.write("strategies", [{"image_id": row["image_id"], **groups} for row in seen], fingerprint=name)
        places = {"map_x": 0.0, "map_y": 1.0, "words_x": 0.5, "words_y": 0.25}
        writer.write("map", [{"image_id": row["image_id"], **places} for row in seen], fingerprint=name)
        writer.publish()
    return Store(folder / "store").reader()


def test_samples_has_the_columns_of_the_table_in_their_order_and_types_then_the_users(con: queries.Connection) -> None:
    assert queries.columns(con)[:-1] == [(column.name, column.type) for column in SAMPLE_COLUMNS]
    assert queries.metadata_columns(con) == queries.columns(con)[-1:] == [("order", "VARCHAR")]


@pytest.mark.parametrize("column", SAMPLE_COLUMNS, ids=lambda column: column.name)
def test_values_lie_in_the_range_that_their_column_states(con: queries.Connection, column: Column) -> None:
    found = [row[0] for row in con.execute(f"SELECT {column.name} FROM samples").fetchall() if row[0] is not None]
    assert found
    if bounds := re.fullmatch(r"(?:above )?(-?[\d.]+)(?: to (?:about )?(-?[\d.]+)| or more)?", column.range):
        low, high = float(bounds[1]), float(bounds[2] or "inf")
        assert all(low <= value <= high + 0.005 for value in found)  # 1.79 is ln 6 to two decimals
    elif column.range == "32 hex digits":
        assert all(re.fullmatch("[0-9a-f]{32}", value) for value in found)
    elif column.range == "true or false":
        assert {type(value) for value in found} == {bool}
    elif column.range == "list of text":
        assert all(isinstance(value, list) for value in found)
    elif column.range == "text":
        assert all(value and isinstance(value, str) for value in found)
    elif column.range in ("class and number", "class and letter"):
        assert all(re.fullmatch(r".+ (\d+|[a-h])", value) for value in found)
    elif column.range == "a hue or grey":
        assert set(found) <= {*HUES, "grey"}
    else:
        assert set(found) <= set(re.split(r", | or ", column.range))
