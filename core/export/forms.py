"""The forms in which a slice can be given to others, by name. Loads nothing: the help names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from core.errors import RequestError


@dataclass(frozen=True)
class Form:
    """One form: its words, the end of its file's name (empty: a folder), and what is to be done with it."""

    words: str
    suffix: str
    use: str


FORMS: Mapping[str, Form] = {
    "csv": Form("CSV", ".csv", "The rows of the query, for a spreadsheet."),
    "parquet": Form("Parquet", ".parquet", "The rows of the query with their types, for pandas, DuckDB or Polars."),
    "zip": Form("Pictures as a zip", ".zip", "The pictures, and samples.csv with all that is known of each."),
    "fiftyone": Form(
        "FiftyOne",
        "",
        "Opens with fiftyone.Dataset.from_dir(FOLDER, dataset_type=fiftyone.types.FiftyOneDataset).",
    ),
    "label-studio": Form(
        "Label Studio", "", "Make a project with config.xml, add the folder as local storage, then import tasks.json."
    ),
    "huggingface": Form(
        "Hugging Face", ".parquet", 'Opens with datasets.load_dataset("parquet", data_files=FILE), pictures included.'
    ),
    "duckdb": Form(
        "DuckDB",
        ".duckdb",
        "Every table of the store, of all runs, in one file: for a warehouse, a notebook or Evidence.",
    ),
    "tables": Form(
        "Parquet tables", "", "Every table of the store, of all runs: a folder each, samples by run (hive-partitioned)."
    ),
    "ducklake": Form(
        "DuckLake", "", "The same tables as a lake with a catalogue: ATTACH 'ducklake:FOLDER/catalog.ducklake'."
    ),
}
TABLE_FORMS = ("csv", "parquet")
STORE_FORMS = ("duckdb", "tables", "ducklake")
PICTURE_FORMS = tuple(name for name in FORMS if name not in (*TABLE_FORMS, *STORE_FORMS))
SLICE_FORMS = (*TABLE_FORMS, *PICTURE_FORMS)
"""Forms of what a query gives; those of STORE_FORMS are of the whole store."""


def form_of(place: PurePath) -> str:
    """The form that a file's name asks for where none is named.

    Raises:
        RequestError: its end names none.
    """
    named = {FORMS[name].suffix: name for name in ("csv", "parquet", "zip", "duckdb")}
    if (form := named.get(place.suffix.lower())) is None:
        raise RequestError(f"--as is needed for {place.name}: one of {', '.join(FORMS)}")
    return form
