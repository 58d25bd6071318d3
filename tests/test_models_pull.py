"""Judges listed and fetched: the command line in a process of its own against a hub on the loopback."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.judge import hub as hub_module
from core.judge.catalogue import CPU, DEMO, DEMO_FOLDER, GPU, JUDGES, find_judge, judge_rows, models_folder, pair_in
from tests.support.browsing import as_from_a_terminal
from tests.support.command_line import refusal, whylook
from tests.support.hub_server import Hub, hub_server

ROOT = Path(__file__).resolve().parents[1]
JUDGE = find_judge("smolvlm2-500m")
MIB = 2**20
CHUNK = 10 * MIB
"""huggingface_hub writes this much at a time; less than that is lost when a connection ends."""
LARGE = bytes(range(251)) * (21 * MIB // 251)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server(
        Hub({JUDGE.repository: {JUDGE.text: b"text " * 999, JUDGE.projector: b"projector" * 99}})
    ) as served:
        yield served


def environment(tmp_path: Path, endpoint: str, **more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "WHYLOOK_")) and not name.lower().endswith("_proxy")
    }
    return {**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), **more}


def words(tmp_path: Path, name: str = JUDGE.name) -> list[str]:
    return [sys.executable, "-m", "core", "models", "pull", name, "--to", str(tmp_path / "models")]


def pull(tmp_path: Path, endpoint: str, **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        words(tmp_path),
        env=environment(tmp_path, endpoint, **more),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that whylook says; what it was doing may stand before it."""
    said = [line for line in done.stderr.splitlines() if line.startswith("whylook:")]
    assert (done.returncode, done.stdout, len(said)) == (2, "", 1), done
    assert done.stderr.splitlines()[-1] == said[0]
    return said[0]


def files(tmp_path: Path) -> dict[str, int]:
    folder = tmp_path / "models" / JUDGE.name
    return {path.name: path.stat().st_size for path in folder.glob("*")}


# --- fetching -------------------------------------------------------------------------------------------------------


def test_a_pair_is_fetched_once_and_the_words_that_use_it_are_said(tmp_path: Path, hub: Hub) -> None:
    done = pull(tmp_path, hub.address)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "models" / JUDGE.name
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == hub.repositories[JUDGE.repository]
    assert hub.asked == [(JUDGE.text, None), (JUDGE.projector, None)]
    used = shlex.split(done.stdout.splitlines()[-1])
    assert used[:3] == ["whylook", "run", "PICTURES"]
    assert used[-4:] == ["--vlm", str(folder / JUDGE.text), "--mmproj", str(folder / JUDGE.projector)]
    again = pull(tmp_path, hub.address)
    assert (again.returncode, again.stdout, len(hub.asked)) == (0, done.stdout, 2)


def test_a_pair_that_is_here_needs_no_hub(tmp_path: Path, hub: Hub) -> None:
    folder = tmp_path / "models" / JUDGE.name
    folder.mkdir(parents=True)
    for name in (JUDGE.text, JUDGE.projector):
        (folder / name).touch()
    assert pull(tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1").returncode == 0


def test_a_connection_that_breaks_off_goes_on_where_it_was(tmp_path: Path, hub: Hub) -> None:
    hub.repositories[JUDGE.repository][JUDGE.text] = LARGE
    hub.cut[JUDGE.text] = 15 * MIB
    done = pull(tmp_path, hub.address)
    assert done.returncode == 0, done.stderr
    assert hub.asked[:2] == [(JUDGE.text, None), (JUDGE.text, f"bytes={CHUNK}-")]
    assert (tmp_path / "models" / JUDGE.name / JUDGE.text).read_bytes() == LARGE


def test_a_stopped_download_goes_on_where_it_was_when_the_command_is_given_again(tmp_path: Path, hub: Hub) -> None:
    hub.repositories[JUDGE.repository][JUDGE.text] = LARGE
    hub.stall[JUDGE.text] = 15 * MIB
    process = subprocess.Popen(
        words(tmp_path), env=environment(tmp_path, hub.address), stderr=subprocess.PIPE, text=True, cwd=ROOT,
        preexec_fn=as_from_a_terminal,
    )  # fmt: skip
    assert hub.stalled.wait(30)
    while CHUNK not in files(tmp_path).values():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said.endswith("whylook: stopped\n") and "Traceback" not in said
    assert len(files(tmp_path)) == 1 and JUDGE.text not in files(tmp_path)
    done = pull(tmp_path, hub.address)
    assert done.returncode == 0 and "0.01 GB of it are here" in done.stderr
    assert hub.asked[:2] == [(JUDGE.text, None), (JUDGE.text, f"bytes={CHUNK}-")]
    assert files(tmp_path) == {JUDGE.text: len(LARGE), JUDGE.projector: 99 * 9}


def test_a_file_with_another_hash_is_refused_and_nothing_is_left_of_it(tmp_path: Path, hub: Hub) -> None:
    hub.lies[JUDGE.text] = {"sha256": "0" * 64}
    line = refused(pull(tmp_path, hub.address))
    assert JUDGE.text in line and "sha256" in line and "deleted" in line
    assert files(tmp_path) == {}


def test_a_file_that_is_called_otherwise_is_found_by_its_quantisation(tmp_path: Path, hub: Hub) -> None:
    hub.repositories[JUDGE.repository] = {
        "mmproj-a-f16.gguf": b"1", "mmproj-a-Q8_0.gguf": b"2", "a-Q4_K_M.gguf": b"3", "a-Q8_0.gguf": b"4",
    }  # fmt: skip
    done = pull(tmp_path, hub.address)
    assert done.returncode == 0, done.stderr
    assert sorted(files(tmp_path)) == ["a-Q8_0.gguf", "mmproj-a-Q8_0.gguf"]
    assert judge_rows(tmp_path / "models")[1]["here"] == str(tmp_path / "models" / JUDGE.name)
    hub.repositories[JUDGE.repository] = {"a-Q2_K.gguf": b"3"}
    other = subprocess.run(
        [*words(tmp_path)[:-1], str(tmp_path / "elsewhere")], env=environment(tmp_path, hub.address),
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert "nothing like it; it holds a-Q2_K.gguf" in refused(other)


def test_a_terminal_sees_a_bar_with_the_name_the_share_the_rate_and_the_time_left(tmp_path: Path, hub: Hub) -> None:
    hub.repositories[JUDGE.repository][JUDGE.projector] = LARGE
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 120))
    done = subprocess.Popen(words(tmp_path), env=environment(tmp_path, hub.address), stderr=slave, cwd=ROOT)
    os.close(slave)
    seen = b""
    while True:
        try:
            seen += os.read(master, 4096)
        except OSError:  # the other end is closed
            break
    os.close(master)
    assert done.wait(30) == 0
    assert re.search(rf"{re.escape(JUDGE.projector[-30:])}: 100%\|.*<\d\d:\d\d, [\d.]+MB/s\]", seen.decode()), seen


# --- refusals -------------------------------------------------------------------------------------------------------


def test_without_a_network_one_line_says_what_to_fetch_by_hand(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"  # bound, but nobody listens
        lines = [refused(pull(tmp_path, address)), refused(pull(tmp_path, address, HF_HUB_OFFLINE="1"))]
    for line in lines:
        assert line.startswith(f"whylook: the hub {address} cannot be reached (")
        assert f"download {address}/{JUDGE.repository}/resolve/main/{JUDGE.text} and " in line
        assert line.endswith("yourself and give them with --vlm and --mmproj")
    assert "HF_HUB_OFFLINE" in lines[1]


def test_a_hub_that_refuses_is_quoted_in_one_line(tmp_path: Path, hub: Hub) -> None:
    for status, word in ((401, "licence"), (503, "answers 503")):
        hub.status = status
        assert word in refused(pull(tmp_path, hub.address))
    hub.status, hub.page = 200, b"<html>Please sign in to the network</html>"
    assert "does not answer like the Hugging Face hub" in refused(pull(tmp_path, hub.address))


def test_too_little_room_is_said_before_anything_is_fetched(tmp_path: Path, hub: Hub) -> None:
    hub.lies[JUDGE.text] = {"size": 10**18}
    line = refused(pull(tmp_path, hub.address))
    assert "1,000,000,000.00 GB are to come" in line and "make room for" in line
    assert hub.asked == [] and not (tmp_path / "models").exists()


def test_a_disk_that_is_full_is_said_in_one_line(tmp_path: Path, hub: Hub) -> None:
    file = hub_module.RemoteFile(JUDGE.text, 1, "f" * 64, "")
    hub.lies[JUDGE.text] = {"sha256": file.sha256}
    folder = tmp_path / "models" / JUDGE.name
    folder.mkdir(parents=True)
    hub_module._partial(file, folder).symlink_to("/dev/full")
    line = refused(pull(tmp_path, hub.address))
    assert f"cannot write into {folder}: No space left on device" in line


def test_an_unknown_name_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "models", "pull", "qwen3vl-4b")
    assert "no judge is called qwen3vl-4b; the nearest are qwen3-vl-4b, " in line
    assert "whylook models pull NAME" in refusal(capsys, "models", "pull")
    assert str(DEMO_FOLDER) in refusal(capsys, "models", "pull", "demo")


# --- the list -------------------------------------------------------------------------------------------------------


def test_the_list_says_which_judges_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WHYLOOK_MODELS", str(tmp_path))
    for name in (JUDGES[2].text, JUDGES[2].projector):
        (tmp_path / JUDGES[2].name).mkdir(exist_ok=True)
        (tmp_path / JUDGES[2].name / name).touch()
    (tmp_path / JUDGES[3].name).mkdir()
    (tmp_path / JUDGES[3].name / JUDGES[3].text).touch()  # half a pair
    rows = json.loads(whylook(capsys, "models", "judges", "--format", "json").out)
    assert [row["judge"] for row in rows] == [DEMO.name, *(judge.name for judge in JUDGES)]
    here = {row["judge"]: row["here"] for row in rows if row["here"] != "no"}
    assert here == {"demo": str(DEMO_FOLDER), JUDGES[2].name: str(tmp_path / JUDGES[2].name)}
    assert (
        whylook(capsys, "models", "judges", "--format", "csv")
        .out.splitlines()[0]
        .startswith("judge,licence,size_gb,est_")
    )


def test_models_prints_the_judges_below_the_rest_and_says_what_the_numbers_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = whylook(capsys, "models").out
    above, _, below = shown.partition("judges for --vlm and --mmproj")
    assert "torchvision:NAME" in above and "--no-vlm" in above
    assert below.splitlines()[-1] == f"here: looked for in {models_folder()}"
    for word in (*(judge.name for judge in JUDGES), "estimated, not measured", "could not be\nreached"):
        assert word in below


def test_models_starts_without_torch_llama_cpp_and_the_hub() -> None:
    code = "import sys; from core.commands.main import main; main(['models']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "pyarrow" in done.stderr.split()
    assert not {"torch", "llama_cpp", "huggingface_hub", "transformers"} & set(done.stderr.split())


def test_the_demo_judge_is_where_and_as_large_as_the_list_says() -> None:
    pair = pair_in(DEMO_FOLDER)
    assert pair is not None
    assert [path.stat().st_size for path in pair] == [DEMO.text_bytes, DEMO.projector_bytes]


def test_estimates_follow_the_formula() -> None:
    judge = replace(
        JUDGE, text_bytes=34_000_000_000, projector_bytes=3_400_000_000, cache_bytes=1_000, patches=100, tokens=40
    )
    assert judge.memory == 37_400_000_000 + 16 * 3 * 290 * 1_000
    # weights 32e9 and 3.2e9; 2 x 3.2e9 x 100 + 2 x 32e9 x 300 operations, 40 x 34e9 / 16 bytes
    assert judge.per_minute(CPU) == pytest.approx(60 / (0.03 + 1.984e13 / 0.5e12 + 8.5e10 / 50e9), rel=0.05)
    assert judge.per_minute(GPU) == pytest.approx(60 / (0.03 + 1.984e13 / 50e12 + 8.5e10 / 500e9), rel=0.05)


def test_judges_lie_in_the_users_cache_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WHYLOOK_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "whylook" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the XDG rules tell one to ignore
    assert models_folder() == Path.home() / ".cache" / "whylook" / "models"
    monkeypatch.setenv("WHYLOOK_MODELS", str(tmp_path / "mine"))
    assert models_folder() == tmp_path / "mine"
