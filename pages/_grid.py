"""The grid of Slices: many pictures at once, enlarged in place, chosen with mouse or keys, tagged and decided on.

Knows: what is kept of pictures, what a card says. Does not know: which pictures, in which order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import streamlit as st

from core import queries
from core.cells import cell
from core.errors import StoreError
from core.records import Row
from core.statistics import format_pictures
from pages._grid_code import CSS, JS
from pages._pictures import address, full_picture
from pages._shared import read, read_of, store, store_folder, tags_by_picture
from pages._view import go, says, score_text, target
from pages._words import plain

KEY = "grid-of-slice"
ENLARGED = "enlarged-picture"
MOST = 5000
_component = st.components.v2.component("whylook_grid", html='<div class="root"></div>', css=CSS, js=JS)


def slice_grid(
    run: str,
    rows: Sequence[Row],
    pictures: Mapping[str, Sequence[Mapping[str, str]]],
    ids: tuple[str, ...],
    *,
    size: int,
    sql: str,
    order: str = "",
) -> None:
    """Cards of one page of a slice whose pictures are `ids`; a click on one opens it."""
    kept = tags_by_picture()
    items = []
    for row in rows:
        kind = cell(row.get("cell"))
        lines = [score_text(row["score"])] if row.get("score") is not None else []
        items.append(
            {
                "id": row["image_id"],
                "target": target("sample", run=run, image=row["image_id"], sql=sql, order=order),
                "pictures": list(pictures.get(row["image_id"], ({"missing": "no picture"},))),
                "title": says(row),
                "lines": lines,
                "tags": list(kept.get(row["image_id"], ())),
                "colour": kind.colour,
                "hint": f"{row.get('path') or ''}\n{kind.words}",
            }
        )
    data: dict[str, object] = {
        "items": items,
        "size": size,
        "n": len(ids),
        "known": sorted({tag for tags in kept.values() for tag in tags}),
        "classes": sorted(read(queries.run, run).class_names),
    }
    enlarged = st.session_state.get(ENLARGED)
    if isinstance(enlarged, str) and enlarged in {item["id"] for item in items}:
        data["large"] = _whole(run, enlarged)
    result = _component(
        key=KEY,
        data=data,
        on_act_change=partial(_acted, run, ids),
        on_go_change=lambda: None,
        on_larger_change=_enlarge,
    )
    clicked = getattr(result, "go", None)
    if clicked:
        go(clicked["page"], **clicked["state"])


def _enlarge() -> None:
    state: Any = st.session_state.get(KEY)
    if state and state.get("larger"):
        st.session_state[ENLARGED] = state["larger"]


def _whole(run: str, image_id: str) -> dict[str, str] | None:
    """The file of the enlarged picture, in place of its thumbnail; none where it is no longer what was explained."""
    paths = read(queries.sample, run, image_id).paths
    content = full_picture(str(store_folder()), image_id, paths, read(queries.run, run).settings.images)
    return {"id": image_id, "src": address(content)} if content else None


def _acted(run: str, ids: tuple[str, ...]) -> None:
    state: Any = st.session_state.get(KEY)
    act = state.get("act") if state else None
    if not act:
        return
    try:
        st.toast(plain(done(run, ids, act)))
    except StoreError as problem:
        st.toast(plain(problem), icon=":material/error:")


def done(run: str, ids: Sequence[str], act: Mapping[str, Any]) -> str:
    """Does what was asked of the chosen pictures, all of the slice where none are named; says what was done.

    Raises:
        StoreError: it cannot be kept.
    """
    if act.get("act") == "undo":
        words = store().undo("tags", "labels")
        return f"Taken back: {words}" if words else "Nothing left to undo."
    within = set(ids)
    chosen = [image for image in act["ids"] if image in within] if act.get("ids") is not None else list(ids)
    if len(chosen) > MOST:
        raise StoreError(f"{len(chosen):,} pictures are too many for one step; at most {MOST:,}: narrow the slice")
    if act.get("act") == "tag":
        return f"Tagged {format_pictures(store().tag(chosen, str(act['tag'])))}."
    if act.get("act") == "untag":
        return f"Tag taken from {format_pictures(store().untag(chosen, str(act['tag'])))}."
    if act.get("act") != "decide" or act.get("verdict") not in ("right", "unsure", "wrong"):
        return "Nothing was changed."
    rows = read_of(queries.pictures, run, tuple(chosen), limit=len(chosen))
    labels = {row["image_id"]: row["label"] for row in rows}
    n = store().decide_labels(labels, act["verdict"], should_be=act.get("should_be") or None)
    return f"On the fix list: {format_pictures(n)}."
