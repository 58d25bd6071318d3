"""A run whose judge is a server: the same store, resumable by its settings, and the key is nowhere in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import queries
from core.commands.main import main
from core.pipeline.request import request_from_settings
from core.store import Store
from tests.support.judge_server import judge_server, with_typed_template
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow
DEMO = Path(__file__).parent.parent / "data" / "demo" / "judge"
KEY = "sk-not-to-be-found-anywhere"


def test_a_run_with_a_served_judge_keeps_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = make_folder(tmp_path / "pictures", per_class=2)
    words = ["run", str(pictures), "--classifier", f"{make_model(tmp_path)}:tiny", "--store", str(tmp_path / "store")]
    typed = with_typed_template(DEMO / "judge.gguf", tmp_path / "typed.gguf")
    with judge_server(typed, DEMO / "judge-mmproj.gguf", key=KEY) as url:
        assert main([*words, "--vlm-url", url]) == 2
        assert "WHYLOOK_VLM_API_KEY" in capsys.readouterr().err
        monkeypatch.setenv("WHYLOOK_VLM_API_KEY", KEY)
        assert main([*words, "--vlm-url", url]) in (0, 1)
    store = Store(tmp_path / "store")
    (record,) = store.run_records()
    assert request_from_settings(record["settings"], store=store.folder).vlm_url == url
    counts = queries.run_counts(store.reader(), record["run"])
    assert counts.judged + counts.abstained + counts.judge_failed == counts.predicted > 0
    told = capsys.readouterr()
    assert KEY not in told.out + told.err
    assert not [path for path in store.folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--vlm-url", "http://x", "--no-vlm"], "contradict"),
        (["--vlm-model", "m", "--no-vlm"], "--vlm-url, too"),
        (["--vlm-url", "http://user:secret@127.0.0.1:9"], "must hold no key"),
        (["--vlm-url", "http://127.0.0.1:9"], "127.0.0.1:9"),
    ],
)
def test_a_server_that_cannot_be_the_judge_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    pictures = make_folder(tmp_path / "pictures", per_class=1)
    words = ["run", str(pictures), "--classifier", f"{make_model(tmp_path)}:tiny", "--store", str(tmp_path / "store")]
    assert main([*words, *options]) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "store").exists()
