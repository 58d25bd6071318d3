"""Runs: settings, counts and failures of every run; start one, watch it, cancel it, resume it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Literal

import pandas as pd
import streamlit as st

from core import queries
from core.errors import RequestError, StoreError
from core.pipeline.request import RunRequest, request_from_settings, state_now
from core.pipeline.stages import BESIDE, limiting, shares
from core.records import Run
from core.statistics import format_duration, format_rate
from pages import _charts, _launch
from pages._causes import watch as watch_discovery
from pages._frame import current_run, frame, guarded, when
from pages._run_form import ask
from pages._run_names import name_form, titles_of
from pages._run_watch import ended, failed_to_start, launch, launch_error, watch
from pages._shared import read, run_file, store, store_folder
from pages._view import go
from pages._words import plain


def main() -> None:
    """Draws the page."""
    frame()
    run, broken = readable_run()
    st.title("Runs")
    watch()
    ended(run.name if run else None)
    if _launch.at_work("discover") is not None:
        watch_discovery("")
    if broken:
        st.warning(f"{plain(broken)}. Run again, below, makes it anew.", icon=":material/warning:")
    records = queries.runs_on_disk(store()) if store_folder().is_dir() else []
    if not records and not _launch.busy():
        st.write("A run explains a classifier over a folder of pictures. Nothing leaves this machine.")
        new_run({}, open_now=True)
        return
    asked = st.query_params.get("run") or (run.name if run else "")
    current = next((item for item in records if item.name == asked), records[0] if records else None)
    if current:
        acts(current)
    if records:
        overview(records, broken=bool(broken))
    if not broken:
        damaged()
    if current:
        details(current, broken=bool(broken))
    new_run(current.settings.kept if current else {}, open_now=st.query_params.get("new") == "1")


def readable_run() -> tuple[Run | None, str]:
    """The chosen run, or none and why what was published cannot be read; run records are read without it."""
    try:
        return current_run(), ""
    except StoreError as problem:
        return None, str(problem).rstrip(".")


def overview(records: list[Run], *, broken: bool) -> None:
    """All runs, newest first, with what each was right on."""
    names, titles = store().run_names(), store().run_titles(records)
    told = {} if broken or not store().exists() else read(queries.accuracies)
    rows = [
        {
            "run": titles[item.name],
            "state": _state(item) + (" · partial" if _state(item) in ("interrupted", "failed") else ""),
            "started": when(item.started),
            "id": item.name,
            "pictures from": item.settings.images_name,
            "classifier": item.settings.classifier_name,
            "pictures": item.counts.get("pictures"),
            "right": 100 * told[item.name].right.value if item.name in told else None,
            "95% interval · n": format_rate(told[item.name].right).partition(" ")[2] if item.name in told else "",
            "judged": told[item.name].judged if item.name in told else None,
            "failures": item.counts.get("failures"),
            "note": names[item.name].note if item.name in names else "",
        }
        for item in records
    ]
    table = pd.DataFrame(rows)
    table = table.drop(columns=[name for name in ("judged", "note") if not table[name].any()])
    event = st.dataframe(
        table,
        column_config={"right": st.column_config.NumberColumn(format="%.1f%%")},
        hide_index=True,
        key="runs",
        on_select="rerun",
        selection_mode="single-row",
        width="stretch",
    )
    picked = event.get("selection", {}).get("rows", [])
    if picked and records[picked[0]].name != st.query_params.get("run"):
        st.session_state["chosen_run"] = records[picked[0]].name
        go("runs", run=records[picked[0]].name)


def damaged() -> None:
    """Files of the store that did not hold what was written there, and what became of each."""
    unread = store().damaged_records()
    aside = store().set_aside()
    if not unread and not aside:
        return
    count = len(unread) + len(aside)
    files = "1 file of this store was" if count == 1 else f"{count:,} files of this store were"
    lost = [damage for damage in aside if "restored" not in damage.remedy and "takes its place" not in damage.remedy]
    whole = "" if unread or lost else "Nothing is missing: their contents were restored. "
    st.warning(
        f"{files} damaged. {whole}This usually means a failing disk or memory; have both checked. "
        "Delete the store's folder `damaged` once you have read this.",
        icon=":material/warning:",
    )
    columns = ("file", "what was wrong", "what was done")
    told = [(damage.file, damage.reason, damage.remedy) for damage in aside] + [("", words, "") for words in unread]
    with st.container(border=True):
        for row in told:
            for place, name, words in zip(st.columns([2, 3, 3]), columns, row, strict=True):
                if words:
                    place.caption(name)
                    place.markdown(plain(words))


def _state(run: Run) -> str:
    """The state in words; a run that says `running` while nothing writes was killed.

    One whose process still works is running: its record says `done` a moment before all is published.
    """
    return state_now(run, writing=(store().progress() or {}).get("run"), busy=_launch.busy())


def acts(run: Run) -> None:
    """The chosen run by its name and state, and what to do with it; Resume stands out where it is not finished."""
    st.header(plain(f"{titles_of([run])[run.name]} · {_state(run)}"))
    unfinished = _state(run) in ("interrupted", "failed")
    again, look, other, _ = st.columns([1, 1, 1, 1])
    if again.button(
        "Resume" if unfinished else "Run again",
        icon=":material/resume:",
        type="primary" if unfinished else "secondary",
        disabled=_launch.busy(),
        width="stretch",
        help="Continues where it stopped; nothing is computed twice. Runs the classifier's code again.",
    ):
        launch(lambda: again_request(run), where="again")
    if look.button("See the summary", icon=":material/dashboard:", width="stretch"):
        go("summary", run=run.name)
    if other.button("Compare with another", icon=":material/compare:", width="stretch"):
        go("compare", run=run.name, b=run.name)
    launch_error("again")


def details(run: Run, *, broken: bool) -> None:
    """One run: its name, counts per state, settings, failures."""
    name_form(run.name, run.title)
    if broken:
        repair_command(run)
    published = not broken and store().exists() and any(item.name == run.name for item in read(queries.runs))
    if published:
        counts = read(queries.run_counts, run.name)
        facts = [
            ("Pictures", counts.pictures),
            ("Classified", counts.predicted),
            ("Judged", counts.judged),
            ("Abstained", counts.abstained),
            ("Judge failed", counts.judge_failed),
            ("Failures", counts.failures),
        ]
        for column, (name, n) in zip(st.columns(len(facts)), facts, strict=True):
            column.metric(name, f"{n:,}")
        failures(run.name)
    stages(run.seconds)
    settings(run)


def repair_command(run: Run) -> None:
    """The command that makes the published store anew, to copy."""
    try:
        st.code(shlex.join(["whylook", "run", *again_request(run).arguments()]), language="bash")
    except RequestError as problem:
        st.caption(plain(problem))


def again_request(run: Run) -> RunRequest:
    """The request a run came from."""
    return request_from_settings(run.settings.kept, store=store_folder())


def failures(name: str) -> None:
    """Everything that did not work, with its reason."""
    rows = read(queries.failures, name)
    if not rows:
        st.caption("No failures.")
        return
    st.markdown(f"**{len(rows):,} failure{'' if len(rows) == 1 else 's'}**")
    data = pd.DataFrame(rows)[["stage", "path", "reason"]]
    height: Literal["auto"] | int = "auto" if len(rows) <= 12 else 420
    st.dataframe(data, hide_index=True, width="stretch", height=height)
    st.download_button(
        "CSV", data.to_csv(index=False), run_file(name, "failures", suffix=".csv"), "text/csv",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip


def stages(seconds: Mapping[str, float]) -> None:
    """What all attempts spent their time on, slowest first, and what ran beside it in threads."""
    if not limiting(seconds):
        return
    with st.expander(f"Where the time went: {limiting(seconds)}", icon=":material/timer:"):
        st.altair_chart(_charts.stage_seconds(shares(seconds)), width="stretch", key="stages")
        for stage in BESIDE:
            if seconds.get(stage):
                st.caption(f"{stage} took {format_duration(seconds[stage])} in threads while the stages above computed")


def settings(run: Run) -> None:
    """Settings and fingerprints: what would make another run."""
    with st.expander("Settings and fingerprints"):
        known = {**run.settings.kept, **{f"fingerprint of {stage}": mark for stage, mark in run.fingerprints.items()}}
        rows = [(key, str(value)) for key, value in known.items() if value is not None]
        st.dataframe(pd.DataFrame(rows, columns=["setting", "value"]), hide_index=True, width="stretch")
        for note in (run.judge_note, run.judge_limits):
            if note:
                st.caption(plain(note))


def new_run(known: Mapping[str, object], *, open_now: bool) -> None:
    """The form; folded away while there is something else to look at."""
    with st.expander("New run", icon=":material/add:", expanded=open_now or failed_to_start()):
        if not _launch.may_start():
            st.info("This app is reachable from other machines, so it starts no runs. Use a terminal:")
            st.code("whylook run IMAGES --classifier SPEC", language="bash")
            return
        launch(lambda: ask(known), where="new")
        launch_error("new")


guarded(main)
