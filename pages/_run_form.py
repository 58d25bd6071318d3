"""The form that starts a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.errors import RequestError
from core.pipeline.options import Option, options_of
from core.pipeline.request import RunRequest, stored_options
from pages._launch import ROOT
from pages._shared import store_folder

DEMO = ROOT / "data" / "demo"
DEMO_JUDGE_FILES = {"vlm": DEMO / "judge" / "judge.gguf", "mmproj": DEMO / "judge" / "judge-mmproj.gguf"}
NO_JUDGE, DEMO_JUDGE, OWN_JUDGE, SERVER = "No judge", "The demo judge", "My own GGUF files", "A server"
JUDGE_FIELDS = {OWN_JUDGE: ("vlm", "mmproj"), SERVER: ("vlm_url", "vlm_model")}
FIRST = ("images", "classifier")
OPTIONS = {item.name: item for item in options_of(RunRequest)}


def defaults(settings: Mapping[str, object]) -> dict[str, Any]:
    """What the form shows at first: the chosen run's options, else the demo and the options' own defaults."""
    known = {name: item.default for name, item in OPTIONS.items() if not item.required} | stored_options(settings)
    if "images" not in known or "classifier" not in known:
        known |= {"images": DEMO / "evaluation", "classifier": f"{DEMO / 'classifier.py'}:demo_classifier"}
    return known


def ask(settings: Mapping[str, object]) -> RunRequest | None:
    """Draws the form; gives the request when it is sent. Raises RequestError when something is missing."""
    known = defaults(settings)
    given: dict[str, Any] = {name: _ask_for(OPTIONS[name], known[name], st) for name in FIRST}
    given |= _judge(known)
    later = [name for name in OPTIONS if name not in (*FIRST, *JUDGE_FIELDS[OWN_JUDGE], *JUDGE_FIELDS[SERVER])]
    with st.expander("More options"):
        for title in dict.fromkeys(OPTIONS[name].group for name in later):
            st.caption(title.capitalize())
            given |= _in_columns([name for name in later if OPTIONS[name].group == title], known)
    if not st.button("Start", type="primary", icon=":material/play_arrow:"):
        return None
    if not given["images"] or not given["classifier"]:
        raise RequestError("a run needs pictures and a classifier: fill in both fields")
    return RunRequest(**given, store=store_folder())


def demo_judge() -> bool:
    """Whether the demo judge's files are there."""
    return DEMO_JUDGE_FILES["vlm"].is_file()


def _judge(known: Mapping[str, object]) -> dict[str, object]:
    """The choice of a judge, and the fields of the one chosen."""
    choices = [NO_JUDGE, *([DEMO_JUDGE] if demo_judge() else []), OWN_JUDGE, SERVER]
    chosen = DEMO_JUDGE if demo_judge() and not known["no_vlm"] else NO_JUDGE
    if known["vlm_url"]:
        chosen = SERVER
    elif known["vlm"] and known["vlm"] != DEMO_JUDGE_FILES["vlm"]:
        chosen = OWN_JUDGE
    judge = st.segmented_control("Judge", choices, default=chosen, required=True, key="judge_choice")
    if judge == NO_JUDGE:
        st.caption("Maps and accuracy only: no words, no scores, no matrix.")
        return {"no_vlm": True}
    if judge == DEMO_JUDGE:
        st.caption("Knows the demo world only; on other pictures its words mean nothing.")
        return dict(DEMO_JUDGE_FILES)
    return _in_columns(JUDGE_FIELDS[str(judge)], known)


def _in_columns(names: tuple[str, ...] | list[str], known: Mapping[str, object]) -> dict[str, object]:
    """Options that have a widget, side by side in two columns."""
    asked = [OPTIONS[name] for name in names if OPTIONS[name].widget]
    columns = st.columns(2)
    return {item.name: _ask_for(item, known[item.name], columns[place % 2]) for place, item in enumerate(asked)}


def _ask_for(item: Option, value: Any, place: DeltaGenerator | ModuleType) -> object:
    """One option's value, in the widget of its kind; None where nothing is filled in."""
    widget = item.widget
    assert widget is not None, item.name
    said: dict[str, Any] = {"help": widget.help or None}
    if item.choices:
        index = item.choices.index(value) if value in item.choices else 0
        return place.selectbox(widget.label, item.choices, index=index, **said)
    said["placeholder"] = widget.placeholder or None
    if item.kind == "number":
        number = place.number_input(widget.label, min_value=item.least, value=value, step=1, **said)
        return item.default if number is None else int(number)
    text = place.text_input(widget.label, str(value or ""), **said).strip()
    if item.kind == "path":
        return Path(text).expanduser().resolve() if text else None
    return text or item.default if not item.required else text
