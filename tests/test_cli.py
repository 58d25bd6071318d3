"""The command line: help, exit codes, progress, stopping and going on, the forms a table is written in."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.commands.main import load
from core.commands.parser import COMMANDS, MODELS
from core.commands.terminal import ProgressLine, progress_text, write_table
from core.judge.catalogue import find_judge
from core.pipeline.request import Progress
from core.store import Store, open_for_writing
from tests.support.command_line import refusal, whylook
from tests.support.hub_server import Hub, hub_server
from tests.support.store_factory import make_store
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow
Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[1]
PYTHON = [sys.executable, "-m", "core"]


@pytest.fixture
def run_words(tmp_path: Path) -> list[str]:
    pictures = make_folder(tmp_path / "pictures", per_class=4)
    words = ["run", str(pictures), "--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm", "--device", "cpu"]
    return [*words, "--store", str(tmp_path / "store")]


# --- help and exit codes --------------------------------------------------------------------------------------------


def test_help_names_every_command_and_every_command_has_help(capsys: Capture) -> None:
    top = whylook(capsys, "--help")
    assert top.code == 0
    for name in COMMANDS:
        assert re.search(rf"^    {name}\s+\S", top.out, re.MULTILINE), name
        own = whylook(capsys, name, "--help")
        assert own.code == 0 and own.out.startswith(f"usage: whylook {name}")


@pytest.mark.parametrize("words", [[], ["frobnicate"], ["run"], ["sql"], ["runs", "--format", "xml"]])
def test_a_wrong_command_is_answered_in_one_line(capsys: Capture, words: list[str]) -> None:
    answer = whylook(capsys, *words)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert "--help" in answer.err


def test_the_installed_command_reads_a_store_without_loading_a_model_library(tmp_path: Path) -> None:
    make_store(tmp_path / "store", rows=6)
    command = [*PYTHON, "sql", "SELECT count(*) AS n FROM samples", "--store", str(tmp_path / "store")]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command[1:], "--format", "csv"], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, "n\n6\n"), done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "duckdb" in loaded and not loaded & {"torch", "transformers", "llama_cpp", "streamlit"}


# --- a run ----------------------------------------------------------------------------------------------------------


def test_a_run_says_what_it_does_and_what_it_did(run_words: list[str], capsys: Capture) -> None:
    answer = whylook(capsys, *run_words)
    assert answer.code == 0
    lines = answer.err.splitlines()
    assert lines[:4] == [
        "reading the folder …", "loading models …", "checking the store …", "pictures  0 of 12",
    ]  # fmt: skip
    assert re.fullmatch(r"pictures +12 of 12 · [\d.,]+ pictures/s · slowest: [a-z ]+ \d+%", lines[4])
    assert re.search(
        r"^run r-[0-9a-f]+ done: pictures 12 · predicted 12 · attributed 12 · failures 0$", answer.out, re.M
    )
    assert "seconds per stage: " in answer.out
    again = whylook(capsys, *run_words)
    assert again.code == 0 and again.out.split(":")[0] == answer.out.split(":")[0]
    assert whylook(capsys, *run_words, "--quiet").err == ""
    measure = ["faithfulness", "--store", run_words[-1], "--device", "cpu", "--sample", 3, "--format", "csv"]
    loud, quiet = whylook(capsys, *measure), whylook(capsys, *measure, "-q")
    assert (loud.code, quiet.code, quiet.err) == (0, 0, "") and loud.err.startswith("faithfulness ")


def test_progress_shows_stage_rate_and_time_left() -> None:
    text = progress_text(Progress("pictures", 320, 600, 41.23, 6.8, limit="judge 71%"))
    assert re.fullmatch(r"pictures +█+░+ +320 of 600 · 41.2 pictures/s · 7 s left · slowest: judge 71%", text)


def test_a_log_gets_a_line_now_and_then_and_a_terminal_one_line_that_redraws() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    log, terminal = io.StringIO(), Terminal()
    quiet = Terminal()
    for stream in (log, terminal, quiet):
        line = ProgressLine(stream, quiet=stream is quiet)
        for done in range(0, 601, 10):
            line(Progress("pictures", done, 600, 100.0, (600 - done) / 100))
        line.close()
    assert log.getvalue().splitlines() == [
        "pictures  0 of 600 · 100 pictures/s · 6 s left",
        "pictures  600 of 600 · 100 pictures/s",
    ]
    assert quiet.getvalue() == ""
    assert terminal.getvalue().count("\n") == 1 and terminal.getvalue().count("\r") == 61


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on_and_that_command_finishes_it(tmp_path: Path, number: signal.Signals) -> None:
    pictures = make_folder(tmp_path / "some pictures", per_class=60)
    words = ["run", str(pictures), "--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm", "--device", "cpu"]
    words += ["--batch-size", "2", "--store", str(tmp_path / "store")]
    process = subprocess.Popen([*PYTHON, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    store = Store(tmp_path / "store")
    while not (progress := store.progress() or {}).get("done"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert " interrupted: pictures " in out
    last = err.splitlines()[-1]
    assert last.startswith("stopped; everything finished is kept. To go on: whylook run ")
    kept = store.reader().execute("SELECT count(prediction) FROM samples").fetchall()[0][0]
    assert int(progress["done"]) <= kept < 180
    command = shlex.split(last.partition("To go on: ")[2])
    resumed = subprocess.run([*PYTHON, *command[1:]], capture_output=True, text=True, cwd=ROOT)
    assert resumed.returncode == 0
    assert f"pictures  {kept} of 180" in resumed.stderr
    assert " done: pictures 180 · predicted 180" in resumed.stdout
    assert out.split()[1] == resumed.stdout.split()[1]  # one run


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("filled") / "store"
    return folder, make_store(folder, rows=24)[1]


def test_a_query_can_be_written_as_table_csv_json_and_parquet(filled: tuple[Path, str], tmp_path: Path) -> None:
    query = "SELECT label, count(*) AS n, max(night) AS night FROM samples GROUP BY label ORDER BY label"
    outs = {}
    for form in ("table", "csv", "json", "parquet"):
        words = [*PYTHON, "sql", query, "--store", str(filled[0]), "--format", form]
        done = subprocess.run(words, capture_output=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        outs[form] = done.stdout
    assert outs["table"].decode().splitlines()[0].split() == ["label", "n", "night"]
    labels = ["camel", "cow", "horse"]
    assert [row["label"] for row in csv.DictReader(io.StringIO(outs["csv"].decode()))] == labels
    assert [(row["label"], row["n"]) for row in json.loads(outs["json"])] == [(label, 8) for label in labels]
    assert pq.read_table(io.BytesIO(outs["parquet"])).column("n").to_pylist() == [8, 8, 8]


def test_csv_for_a_spreadsheet_keeps_every_column_apart_and_sees_a_formula_behind_an_empty_line() -> None:
    table = pa.table([pa.array([text]) for text in ("\n=1+1", "\n\n@x", "\nplain")], names=["=a", "'=a", "''=a"])
    out = io.StringIO()
    write_table(table, "csv", safe_csv=True, out=out)
    assert list(csv.reader(io.StringIO(out.getvalue(), newline=""))) == [
        ["'''=a", "'=a", "''=a"],
        ["'\n=1+1", "'\n\n@x", "\nplain"],
    ]


def test_csv_for_a_spreadsheet_holds_no_formula_and_its_numbers_stay_numbers(
    filled: tuple[Path, str], capsys: Capture
) -> None:
    starts = ["=cmd|' /C calc'!A0", "+1", "-2", "@SUM(A1)", "\t=1", "\r=1", "cow", "a=b"]
    texts = ", ".join("'" + text.replace("'", "''") + "'" for text in starts)
    query = f"""SELECT unnest([{texts}]) AS "=text", -1.5 AS n, 'x'::ENUM('x') AS e, '=1'::ENUM('=1') AS "@e" """
    words = ["sql", query, "--format", "csv", "--store", filled[0]]
    plain = list(csv.reader(io.StringIO(whylook(capsys, *words).out, newline="")))
    safe = list(csv.reader(io.StringIO(whylook(capsys, *words, "--safe-csv").out, newline="")))
    assert [row[0] for row in plain] == ["=text", *starts]
    assert safe[0] == ["'=text", "n", "e", "'@e"]
    assert [row[0] for row in safe[1:]] == ["'" + text for text in starts[:6]] + starts[6:]
    assert {tuple(row[1:]) for row in safe[1:]} == {("-1.5", "x", "'=1")}
    assert "--format csv" in refusal(capsys, "sql", "SELECT 1", "--safe-csv", "--store", filled[0])


def test_rows_that_were_left_out_are_said(filled: tuple[Path, str], capsys: Capture) -> None:
    answer = whylook(
        capsys, "sql", "SELECT path FROM samples", "--max-rows", 5, "--format", "csv", "--store", filled[0]
    )
    assert answer.code == 0 and answer.out.count("\n") == 6
    assert answer.err == "whylook: only the first 5 rows are shown (--max-rows)\n"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("DROP TABLE images", "SELECT"),
        ("SELECT nothing FROM samples", "nothing"),
        ("SELEC 1", "line 1"),
        ("", "no query yet"),
        ("SELECT * FROM read_csv('/etc/passwd')", "read_csv"),
    ],
)
def test_sql_that_is_refused_is_answered_in_one_line(
    filled: tuple[Path, str], capsys: Capture, query: str, words: str
) -> None:
    answer = whylook(capsys, "sql", query, "--store", filled[0])
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert words.lower() in answer.err.lower()


def test_search_finds_words_in_the_explanations(filled: tuple[Path, str], capsys: Capture) -> None:
    answer = whylook(capsys, "search", "meadow ground", "--store", filled[0], "--limit", 3, "--format", "json")
    rows = json.loads(answer.out)
    assert answer.code == 0 and 1 <= len(rows) <= 3
    assert all("ground" in row["description"] for row in rows)


def test_runs_are_listed_with_their_state_and_what_they_explained(filled: tuple[Path, str], capsys: Capture) -> None:
    answer = whylook(capsys, "runs", "--store", filled[0])
    names, _, row = answer.out.splitlines()
    assert answer.code == 0 and names.split()[:4] == ["run", "name", "state", "started"]
    assert re.match(rf"{filled[1]}  synthetic, .+  done   \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d +\d.+ · n 24 +24 ", row)
    rows = json.loads(whylook(capsys, "runs", "--store", filled[0], "--format", "json").out)
    assert (rows[0]["run"], rows[0]["state"]) == (filled[1], "done")


def test_a_summary_is_written_as_markdown_and_as_a_page(
    filled: tuple[Path, str], tmp_path: Path, capsys: Capture
) -> None:
    shown = whylook(capsys, "summary", "--store", filled[0])
    assert (
        shown.code == 0 and shown.out.startswith("# The classifier is wrong on") and f" · run {filled[1]}" in shown.out
    )
    for name, start in (("a.md", "# The classifier is wrong on"), ("a.html", "<!doctype html>")):
        answer = whylook(capsys, "summary", "--store", filled[0], "--out", tmp_path / name)
        assert (answer.code, answer.out) == (0, f"written: {tmp_path / name}\n")
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)


def test_a_reader_that_stops_reading_or_a_full_pipe_is_no_traceback(filled: tuple[Path, str]) -> None:
    query = shlex.join(
        [*PYTHON, "sql", "SELECT * FROM samples, range(150)", "--store", str(filled[0]), "--format", "csv"]
    )
    full = "whylook: the output: No space left on device\n"
    for ending, code, said in (("| head -1", 0, ""), ("> /dev/full", 2, full)):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{query} {ending}"], capture_output=True, text=True, cwd=ROOT
        )
        assert (done.returncode, done.stderr) == (code, said)


def test_models_lists_every_form_and_method(capsys: Capture) -> None:
    answer = whylook(capsys, "models")
    assert answer.code == 0
    for word in ("torchvision:NAME", "FILE.py:FUNCTION", "gradcam", "layercam", "--no-vlm"):
        assert word in answer.out
    assert whylook(capsys, "models", "list").out == answer.out


@pytest.mark.parametrize("words", [["models", "--format", "json"], ["models", "--format", "json", "list"],
                                   ["models", "list", "--format", "json"]])  # fmt: skip
def test_the_list_of_models_is_json_where_json_is_asked_for(capsys: Capture, words: list[str]) -> None:
    rows = json.loads(whylook(capsys, *words).out)
    assert {row["option"] for row in rows} == {"--classifier", "--method", "--question", "--precision", "--vlm"}


def test_a_judge_is_fetched_without_a_word_where_quiet_is_asked_for(tmp_path: Path) -> None:
    judge = find_judge("smolvlm2-500m")
    words = [*PYTHON, "models", "pull", judge.name, "--to", str(tmp_path / "models")]
    with hub_server(Hub({judge.repository: {judge.text: b"text", judge.projector: b"projector"}})) as hub:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        env = {**kept, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf")}
        terminal, end = pty.openpty()  # in a pipe no bar would be drawn anyway
        quiet = subprocess.run([*words, "-q"], env=env, stdout=subprocess.PIPE, stderr=end, text=True, cwd=ROOT)
    assert quiet.returncode == 0 and "use it with" in quiet.stdout
    os.set_blocking(terminal, False)
    with pytest.raises(BlockingIOError):
        os.read(terminal, 1)
    os.close(end)
    os.close(terminal)


def test_layers_are_listed_in_every_form(tmp_path: Path, capsys: Capture) -> None:
    spec = f"{make_model(tmp_path)}:tiny"
    rows = json.loads(whylook(capsys, "models", "layers", spec, "--format", "json").out)
    assert [row["layer"] for row in rows if row["default"]] == ["features"]
    assert "say whose layers" in refusal(capsys, "models", "layers")


def test_every_command_has_the_function_that_it_names() -> None:
    for command in (*COMMANDS.values(), *MODELS.values()):
        assert callable(load(command))


def test_the_version_is_said(capsys: Capture) -> None:
    assert re.fullmatch(r"whylook \d+\.\d+\.\d+\n", whylook(capsys, "--version").out)


def test_a_shell_completes_commands_and_options(tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    done = subprocess.run([*PYTHON, "--print-completion", "bash"], capture_output=True, text=True, cwd=ROOT, check=True)
    script.write_text(done.stdout)
    for words, wanted in ((["whylook", "jud"], "judge-card"), (["whylook", "run", "--judge-b"], "--judge-budget"),
                          (["whylook", "models", "pu"], "pull")):  # fmt: skip
        asked = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _shtab_whylook; echo ${{COMPREPLY[@]}}"
        shell = ["bash", "-c", f"source {shlex.quote(str(script))}; {asked}"]
        answer = subprocess.run(shell, capture_output=True, text=True)
        assert wanted in answer.stdout.split(), (words, answer)


def test_a_killed_run_is_listed_as_interrupted(tmp_path: Path, capsys: Capture) -> None:
    with open_for_writing(tmp_path) as store:
        run = store.begin_run({"images": "a", "classifier": "b"}, {"classifier": "p"})
        during = json.loads(whylook(capsys, "runs", "--store", tmp_path, "--format", "json").out)
    rows = json.loads(whylook(capsys, "runs", "--store", tmp_path, "--format", "json").out)
    assert [(row["run"], row["state"]) for row in during + rows] == [(run, "running"), (run, "interrupted")]
