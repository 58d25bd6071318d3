"""The form that starts a run.

Knows: the options of a run and how to ask for them. Does not know: how a run is started (`_launch`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.attribution.names import METHODS, QUESTIONS
from core.classifier.names import PRECISIONS
from core.errors import RequestError
from core.judge.names import FILLS, VIEWS
from pages._launch import ROOT
from pages._shared import store_folder

if TYPE_CHECKING:
    from core.pipeline.request import RunRequest

DEMO = ROOT / "data" / "demo"
DEMO_VLM = DEMO / "judge" / "judge.gguf"
WHY = "The class a map explains: the predicted one, the label, the second most probable, or why one and not the other."
HIDDEN = "What hides the part that the classifier did not attend to from the judge."
NO_JUDGE, DEMO_JUDGE, OWN_JUDGE = "No judge", "The demo judge", "My own GGUF files"


def defaults(settings: dict[str, Any]) -> dict[str, str]:
    """What the form shows at first: the chosen run's settings, else the demo."""
    names = ("images", "classifier", "weights", "classes", "metadata", "vlm", "mmproj", "layer", "method", "question")
    names += ("precision", "protocol", "prompts", "fill", "view", "judge_budget")
    known = {name: str(settings.get(name) or "") for name in names}
    if not known["images"]:
        known["images"] = str(DEMO / "evaluation")
        known["classifier"] = f"{DEMO / 'classifier.py'}:demo_classifier"
    return known


def ask(settings: dict[str, Any]) -> RunRequest | None:
    """Draws the form; gives the request when it is sent. Raises RequestError when something is missing."""
    start = defaults(settings)
    judges = [NO_JUDGE, *([DEMO_JUDGE] if demo_judge() else []), OWN_JUDGE]
    chosen = DEMO_JUDGE if demo_judge() else NO_JUDGE
    if start["vlm"] and Path(start["vlm"]) != DEMO_VLM:
        chosen = OWN_JUDGE
    images = st.text_input("Pictures", start["images"], help="A folder of class folders, or a CSV or Parquet list.")
    spec = st.text_input(
        "Classifier",
        start["classifier"],
        help="torchvision:NAME · timm:NAME · hf:FOLDER · torchscript:FILE · FILE.py:FUNCTION (runs that file)",
    )
    judge = st.segmented_control("Judge", judges, default=chosen, required=True, key="judge_choice")
    vlm, mmproj = _judge_files(judge, start)
    with st.expander("More options"):
        options = _more(start)
    if not st.button("Start", type="primary", icon=":material/play_arrow:"):
        return None
    if not images.strip() or not spec.strip():
        raise RequestError("a run needs pictures and a classifier: fill in both fields")
    from core.pipeline.request import RunRequest  # brings torch along: only when a run is really asked for

    return RunRequest(
        images=Path(images.strip()).expanduser().resolve(),
        classifier=spec.strip(),
        vlm=vlm,
        mmproj=mmproj,
        no_vlm=judge == NO_JUDGE,
        store=store_folder(),
        **options,
    )


def demo_judge() -> bool:
    """Whether the demo judge's files are there."""
    return DEMO_VLM.is_file()


def _judge_files(judge: str | None, start: dict[str, str]) -> tuple[Path | None, Path | None]:
    if judge == NO_JUDGE:
        st.caption("Maps and accuracy only: no words, no scores, no matrix.")
        return None, None
    if judge == DEMO_JUDGE:
        st.caption("Knows the demo world only; on other pictures its words mean little.")
        return DEMO_VLM, DEMO / "judge" / "judge-mmproj.gguf"
    left, right = st.columns(2)
    return _path(left.text_input("Vision-language model (GGUF)", start["vlm"])), _path(
        right.text_input("Its projector (mmproj GGUF)", start["mmproj"])
    )


def _more(start: dict[str, str]) -> dict[str, Any]:
    left, right = st.columns(2)
    methods = [*METHODS, "auto"]
    precisions = [*PRECISIONS, "auto"]
    protocols = ["calibrated", "paper"]
    devices = ["auto", "cpu", "cuda", "mps"]
    method = left.selectbox("Method", methods, index=_index(methods, start["method"]))
    questions = list(QUESTIONS)
    question = left.selectbox("Question", questions, index=_index(questions, start["question"]), help=WHY)
    protocol = right.selectbox("Protocol", protocols, index=_index(protocols, start["protocol"]))
    device = left.selectbox("Device", devices)
    precision = left.selectbox("Precision", precisions, index=_index(precisions, start["precision"]))
    layer = right.text_input("Target layer", start["layer"], placeholder="the last convolution")
    fill = left.selectbox("Hidden part", FILLS, index=_index([*FILLS], start["fill"]), help=HIDDEN)
    view = right.selectbox("The judge sees", VIEWS, index=_index([*VIEWS], start["view"]))
    budget = right.number_input(
        "Judge at most", min_value=0, value=int(start["judge_budget"] or 0), help="Pictures to judge; 0 judges all."
    )
    return {
        "fill": fill,
        "view": view,
        "judge_budget": int(budget) or None,
        "weights": _path(left.text_input("Weights", start["weights"], placeholder="safetensors or state dict")),
        "classes": _path(right.text_input("Class names", start["classes"], placeholder="one per line, in logit order")),
        "prompts": _path(right.text_input("Prompts", start["prompts"], placeholder="your copy of a prompt file")),
        "metadata": _path(left.text_input("Metadata", start["metadata"], placeholder="CSV with a column path")),
        "method": method,
        "question": question,
        "protocol": protocol,
        "device": device,
        "precision": precision,
        "layer": layer.strip() or None,
    }


def _index(options: list[str], wanted: str) -> int:
    return options.index(wanted) if wanted in options else 0


def _path(text: str) -> Path | None:
    return Path(text.strip()).expanduser().resolve() if text.strip() else None
