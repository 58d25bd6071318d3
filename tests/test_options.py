"""Names and options: each is written once, and the lists, help, words, settings and form follow from it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from streamlit.testing.v1 import AppTest

from core.attribution import methods
from core.attribution import names as attribution
from core.classifier import names as classifier
from core.commands.catalogue import catalogue_rows, catalogue_text
from core.commands.parser import build_parser
from core.errors import RequestError
from core.pipeline.options import options_of
from core.pipeline.request import RunRequest, request_from_settings
from core.store import Store, open_for_writing
from pages import _launch
from tests.support.command_line import whylook
from tests.support.tiny_world import make_folder, make_model

ROOT = Path(__file__).resolve().parents[1]


def test_every_name_has_a_meaning_and_the_catalogue_prints_it() -> None:
    assert set(attribution.QUESTIONS) == set(get_args(attribution.Question))
    assert set(classifier.PRECISIONS) == set(get_args(classifier.Precision))
    text = " ".join(catalogue_text().split())
    for table in (classifier.SPECS, attribution.QUESTIONS, classifier.PRECISIONS):
        for name, meaning in table.items():
            assert f"{name} {meaning}" in text
    for method in attribution.METHODS.values():
        assert f"{method.name} {method.about}" in text
    assert {row["value"] for row in catalogue_rows() if row["option"] == "--method"} == {*methods.METHODS, "auto"}


def test_a_name_without_a_function_and_a_function_without_a_name_are_refused_at_import() -> None:
    functions = {name: method.maps for name, method in methods.METHODS.items()}
    missing = {name: maps for name, maps in functions.items() if name != "gradcam"}
    for wrong in (missing, {**functions, "gradcam+++": functions["gradcam"]}):
        with pytest.raises(ImportError, match="gradcam"):
            methods._paired(wrong)


def test_names_requests_and_the_parser_load_no_model_library() -> None:
    code = """import sys, core.attribution.names, core.classifier.names, core.judge.names, core.pipeline.request
from core.commands.main import main
main(["run", "--help"])
assert not {"torch", "transformers", "llama_cpp", "duckdb"} & set(sys.modules), "too much is loaded" """
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


# --- an option is written once --------------------------------------------------------------------------------------

OTHER: dict[str, Any] = {
    "images": Path("/pictures"), "classifier": "timm:resnet18", "weights": Path("/w.pt"), "classes": Path("/c.txt"),
    "metadata": Path("/m.csv"), "group": "patient", "vlm": Path("/v.gguf"), "mmproj": Path("/p.gguf"), "vlm_url": "http://127.0.0.1:9",
    "vlm_model": "-tiny", "no_vlm": True, "protocol": "paper", "prompts": Path("/p.toml"), "fill": "blur",
    "view": "side-by-side", "judge_budget": 7, "card_sample": 0, "method": "cam", "question": "label", "layer": "a.1",
    "precision": "bf16", "causal_sample": 9, "engine": "ray", "address": "head:6379",
    "device": "cpu", "store": Path("/store"), "batch_size": 3, "judge_batch_size": 2, "threads": 1,
}  # fmt: skip
"""Every option with a value that is not its default."""


def parsed(words: list[str]) -> RunRequest:
    arguments = build_parser().parse_args(["run", *words])
    return RunRequest(**{item.name: getattr(arguments, item.name) for item in options_of(RunRequest)})


def test_the_words_that_repeat_a_run_give_every_option_back() -> None:
    assert set(OTHER) == {field.name for field in fields(RunRequest)}
    assert parsed(RunRequest(**OTHER).arguments()) == RunRequest(**OTHER)
    plain = RunRequest(Path("-odd"), "timm:x", store=Path("s"))
    assert parsed(plain.arguments()) == plain and plain.arguments() == ["./-odd", "--classifier", "timm:x",
                                                                         "--store", "s"]  # fmt: skip


def test_the_settings_of_a_run_give_every_option_back() -> None:
    kept = json.loads(json.dumps(RunRequest(**OTHER).settings()))
    assert request_from_settings(kept, store=Path("/store")) == RunRequest(**OTHER)


def test_settings_that_name_a_run_are_those_of_every_version_before() -> None:
    plain = RunRequest(Path("/pictures"), "torchvision:resnet18", no_vlm=True)
    assert plain.settings() == {
        "images": "/pictures", "classifier": "torchvision:resnet18", "no_vlm": True, "protocol": "calibrated",
        "fill": "black", "view": "masked", "method": "gradcam", "question": "predicted", "precision": "fp32",
    }  # fmt: skip
    machine = {"device": "cpu", "card_sample": 0, "batch_size": 2, "judge_batch_size": 3, "threads": 1}
    assert replace(plain, **machine).settings() == {**plain.settings(), "machine": machine}


def test_where_a_run_was_worked_on_does_not_name_it(tmp_path: Path) -> None:
    plain = RunRequest(Path("/pictures"), "timm:x", no_vlm=True)
    store = Store(tmp_path / "store")
    with open_for_writing(store.folder) as writer:
        names = [
            writer.begin_run(request.settings(), {"images": "1"})
            for request in (plain, replace(plain, device="cpu", card_sample=0), replace(plain, method="cam"))
        ]
    digest = hashlib.sha256(json.dumps([plain.settings(), {"images": "1"}], sort_keys=True).encode()).hexdigest()
    assert names[0] == names[1] == f"r-{digest[:6]}" != names[2]


def test_every_option_is_in_the_help_with_its_choices(capsys: pytest.CaptureFixture[str]) -> None:
    told = " ".join(whylook(capsys, "run", "--help").out.replace("-\n", "-").split())
    for item in options_of(RunRequest):
        assert (item.name if item.name == "images" else item.flag) in told
        squeezed = told.replace("- ", "-")
        assert all(choice in squeezed for choice in item.choices), item.name


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"card_sample": -1}, "--card-sample must be 0 or more, got -1"),
        ({"threads": 0}, "--threads must be 1 or more, got 0"),
        ({"method": "magic"}, "--method must be one of gradcam, "),
        ({"fill": "pink"}, "--fill must be one of black, grey, blur, got 'pink'"),
    ],
)
def test_a_request_made_in_python_is_checked_as_one_from_the_command_line(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        replace(RunRequest(tmp_path, "timm:x", no_vlm=True), **changed).check()


# --- the app's form -------------------------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RunRequest]:
    """What the app would start."""
    asked: list[RunRequest] = []
    monkeypatch.setattr(_launch, "may_start", lambda: True)
    monkeypatch.setattr(_launch, "start", asked.append)
    monkeypatch.setattr(_launch, "wait_for_start", lambda: None)
    return asked


def runs_page(monkeypatch: pytest.MonkeyPatch, folder: Path) -> AppTest:
    monkeypatch.setenv("WHYLOOK_STORE", str(folder))
    app = AppTest.from_file(str(ROOT / "pages" / "runs.py"), default_timeout=60)
    app.session_state["registered"] = True
    return app.run()


def click(app: AppTest, label: str) -> AppTest:
    app = next(button for button in app.button if button.label == label).click().run()
    assert not app.exception and not app.error
    return app


def test_the_form_asks_for_every_option_but_the_judges_that_were_not_chosen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: list[RunRequest]
) -> None:
    app = runs_page(monkeypatch, tmp_path / "store")
    labels = {field.label for kind in (app.text_input, app.selectbox, app.number_input) for field in kind}
    widgets = {item.name: item.widget.label for item in options_of(RunRequest) if item.widget}
    assert set(widgets) == set(OTHER) - {"store", "no_vlm"}
    hidden = {widgets[name] for name in ("vlm", "mmproj", "vlm_url", "vlm_model")}
    assert labels == set(widgets.values()) - hidden


def test_the_form_starts_a_run_whose_judge_is_a_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: list[RunRequest]
) -> None:
    app = runs_page(monkeypatch, tmp_path / "store")
    app = app.segmented_control(key="judge_choice").set_value("A server").run()
    for label, value in (("Pictures", str(tmp_path)), ("Address", "http://127.0.0.1:9/v1"), ("Model", "qwen")):
        next(field for field in app.text_input if field.label == label).set_value(value)
    next(field for field in app.number_input if field.label == "Report card on").set_value(0)
    click(app, "Start")
    [request] = started
    assert (request.vlm_url, request.vlm_model, request.vlm) == ("http://127.0.0.1:9/v1", "qwen", None)
    assert (request.images, request.card_sample, request.no_vlm) == (tmp_path.resolve(), 0, False)
    request.check()


@pytest.mark.slow
def test_a_run_that_is_resumed_in_the_app_or_edited_in_its_form_keeps_every_option(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: list[RunRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, folder = make_folder(tmp_path / "pictures", per_class=2), tmp_path / "store"
    words = ["run", pictures, "--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm", "--store", folder]
    more = ["--device", "cpu", "--card-sample", 0, "--batch-size", 2, "--threads", 1, "--method", "layercam"]
    assert whylook(capsys, *words, *more).code == 0
    for button in ("Run again", "Start"):
        click(runs_page(monkeypatch, folder), button)
    for request in started:
        assert (request.device, request.card_sample, request.batch_size, request.threads) == ("cpu", 0, 2, 1)
        assert (request.method, request.store, request.no_vlm) == ("layercam", folder, True)
    assert len(started) == 2
