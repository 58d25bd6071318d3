"""What a judge cannot do, as what it is: pictures it does not know are a warning, scores without a spread a note."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from streamlit.testing.v1 import AppTest

from core import queries, report
from core.commands.main import main
from core.store import Store, open_for_writing
from pages import _frame
from tests.support.judge_server import judge_server, with_typed_template
from tests.support.store_factory import make_store
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "data" / "demo" / "judge"
LIMITS = "Each score of this judge is the digit it wrote."


def with_limits(folder: Path, *, older: bool = False) -> tuple[Store, str]:
    """A store with a run of a judge that knows every picture and has limits; `older` drops the column before it."""
    store, _ = make_store(folder, rows=12)
    if older:
        with duckdb.connect(str(store.current_path())) as con:
            con.execute("ALTER TABLE runs DROP COLUMN judge_limits")
        assert [row.judge_limits for row in queries.runs(store.reader())] == [None]
    with open_for_writing(store.folder) as writer:
        first = store.run_records()[0]
        run = writer.begin_run(
            {**first["settings"], "other": 1}, first["fingerprints"], class_names=first["class_names"],
            judge_limits=LIMITS,
        )  # fmt: skip
        writer.finish_run(run, "done", {"pictures": 12})
        writer.publish()
    return store, run


def page(monkeypatch: pytest.MonkeyPatch, store: Store, run: str, name: str) -> AppTest:
    monkeypatch.setenv("WHYLOOK_STORE", str(store.folder))
    monkeypatch.setattr(_frame, "strange_pictures", lambda run: True)
    app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=60)
    app.session_state["registered"] = True
    app.query_params["run"] = run
    return app.run()


@pytest.mark.parametrize("name", ["summary", "sample"])
def test_a_judge_with_limits_is_no_judge_of_one_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    app = page(monkeypatch, *with_limits(tmp_path), name)
    assert not app.exception
    assert not any("does not know these pictures" in shown.value for shown in app.warning)
    assert any(LIMITS in (shown.help or "").replace("\\", "") for shown in app.sidebar.caption)


def test_a_generation_from_before_the_column_is_read_and_gets_it_with_the_next_publication(tmp_path: Path) -> None:
    store, run = with_limits(tmp_path, older=True)
    found = {row.name: row.judge_limits for row in queries.runs(store.reader())}
    assert found.pop(run) == LIMITS and list(found.values()) == [None]
    assert LIMITS in report.markdown(store.reader(), run, [])


def test_a_run_whose_server_gives_no_log_probabilities_says_that_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = make_folder(tmp_path / "pictures", per_class=2)
    typed = with_typed_template(DEMO / "judge.gguf", tmp_path / "typed.gguf")
    words = ["run", str(pictures), "--classifier", f"{make_model(tmp_path)}:tiny", "--store", str(tmp_path / "store")]
    with judge_server(typed, DEMO / "judge-mmproj.gguf", logprobs=False) as url:
        assert main([*words, "--vlm-url", url, "--card-sample", "0"]) in (0, 1)
    (record,) = queries.runs(Store(tmp_path / "store").reader())
    assert record.judge_note is None and "no log-probabilities" in record.judge_limits
    assert f"note: {record.judge_limits}" in capsys.readouterr().err
