"""Search: explanations by words and by meaning together, within a slice if wanted; or pictures like one."""

from __future__ import annotations

import streamlit as st

from core import queries
from core.cells import cell
from core.errors import QueryError
from core.queries import Hit, SearchResult, literal
from core.statistics import format_pictures
from pages._alike import SAID, alike_page, begin_with_picture
from pages._frame import empty, guarded, open_page
from pages._pictures import VIEWS, views
from pages._shared import load_meaning, matches, meaning_tried, read, slice_ids, store, warm_up
from pages._view import draw, go, says, score_text, target
from pages._words import plain, segments, short, slice_sql

LIMIT = 40
IN_ADDRESS = 500
"""Pictures that an address can name and still be opened again."""
WHOLE_RUN = "the whole run"


def main() -> None:
    """Draws the page."""
    run = open_page("Search")
    if run is None:
        return
    st.title("Search")
    counts = read(queries.run_counts, run.name)
    if st.query_params.get("image"):
        alike_page(run, st.query_params["image"], judged=bool(counts.judged))
        return
    if not counts.judged:
        empty(
            "This run has no explanations to search: no judge has described its pictures.",
            action="Run it again with a judge",
            page="runs",
            run=run.name,
            new="1",
        )
        begin_with_picture(run.name)
        return
    text, ids, within = question(run.name)
    if not text:
        suggestions(run.name)
        return
    answer(run.name, text, ids, within)


def question(run: str) -> tuple[str, tuple[str, ...] | None, str]:
    """The search field and the slice to search in; both live in the address."""
    words, scope = st.columns([3, 1.4], vertical_alignment="bottom")
    text = words.text_input(
        "What should the judge have said?",
        key="q",
        bind="query-params",
        placeholder="sand, snow, only the background, legs of an animal …",
        icon=":material/search:",
    )
    given = st.query_params.get("within", "")
    choices = {WHOLE_RUN: "", **{item["name"]: item["sql"] for item in store().slices()}}
    if given and given not in choices.values():
        choices["the slice you came from"] = given
    names = list(choices)
    current = next((name for name in names if choices[name] == given), WHOLE_RUN)
    st.session_state["within_choice"] = current
    chosen = scope.selectbox("Search in", names, key="within_choice", on_change=_set_within, args=(choices,))
    sql = choices[chosen]
    if not sql:
        return text.strip(), None, ""
    try:
        return text.strip(), slice_ids(sql, run), sql
    except QueryError as problem:
        st.error(f"This slice cannot be used: {plain(problem)}", icon=":material/error:")
        st.stop()


def _set_within(choices: dict[str, str]) -> None:
    sql = choices.get(st.session_state["within_choice"], "")
    if sql:
        st.query_params["within"] = sql
    else:
        st.query_params.pop("within", None)


def suggestions(run: str) -> None:
    """The empty state: words that explanations of this run really use."""
    st.write("Finds the judge's words, and sentences that mean the same. Try:")
    st.caption('Operators: "much sand" for exactly that, -cow for texts without it, snow OR ice for either.')
    rows = read(queries.pictures, run, cell="correct_low", limit=3) or read(queries.pictures, run, limit=3)
    said = list(dict.fromkeys(row["description"] for row in rows if row.get("description")))
    for index, text in enumerate([*said, "only the background is visible"][:4]):
        st.button(
            plain(short(text, 160)), key=f"try-{index}", icon=":material/search:", on_click=_ask, args=(text[:200],)
        )
    begin_with_picture(run)
    warm_up()


def _ask(text: str) -> None:
    st.session_state["q"] = text


def answer(run: str, text: str, ids: tuple[str, ...] | None, within: str) -> None:
    """The hits, best first, with the words marked; by words alone until the language model is there."""
    if not meaning_tried():
        with st.spinner("By words so far; loading the language model to search by meaning as well …"):
            hits(
                run,
                read(queries.search, run, text, None, where_ids=None if ids is None else list(ids), limit=LIMIT),
                within,
            )
            load_meaning()
        st.rerun()
    found, problem = matches(run, text, within=ids, limit=LIMIT)
    if problem:
        st.caption(f"Searched by words only: {plain(problem)}")
    if not found.hits:
        st.info(
            "Nothing fits: no explanation has these words, and none means something like it.",
            icon=":material/search_off:",
        )
        if within:
            st.caption("You are searching within a slice; the whole run may have more.")
        return
    scope = f"{format_pictures(len(ids))} of the slice" if ids is not None else "the whole run"
    left, right = st.columns([3, 1], vertical_alignment="center")
    kinds = len(found.hits)
    many = f"{'At least ' * found.cut}{format_pictures(len(found.image_ids))} of {scope}"
    first = f" (the first {kinds})" if kinds == LIMIT else ""
    left.caption(f"{many} fit, by words or by meaning; the best first, each sentence once{first}.")
    with right:
        best = found.image_ids[:IN_ADDRESS]
        words = "Open as a slice" if len(best) == len(found.image_ids) else f"Open the best {len(best)} as a slice"
        if st.button(words, icon=":material/filter_alt:", width="stretch", help="With further conditions, if wanted."):
            chosen = ", ".join(literal(image_id) for image_id in best)
            go("slices", run=run, sql=slice_sql(run, f"image_id IN ({chosen})"))
    hits(run, found, within)


def hits(run: str, found: SearchResult, within: str) -> None:
    """The hits as rows of pictures and words; a click opens the picture."""
    shown = views(run, [hit.image_id for hit in found.hits], VIEWS["All three"][:2])
    draw(
        "hits",
        key="hits",
        items=[_hit(run, hit, found.words, shown.get(hit.image_id, []), within) for hit in found.hits],
    )


def _hit(run: str, hit: Hit, words: list[str], shown: list[dict[str, str]], within: str) -> dict[str, object]:
    kind = cell(hit.cell)
    row = {"label": hit.label, "prediction": hit.prediction, "correct": hit.correct}
    links = [{"text": "similar ones", "target": target("search", run=run, image=hit.image_id, alike=SAID)}]
    if len(hit.same) > 1:
        same = slice_sql(run, _same_text(hit, within))
        said = f"the same said of {format_pictures(len(hit.same))}"
        links.insert(0, {"text": said, "target": target("slices", run=run, sql=same)})
    return {
        "target": target("sample", run=run, image=hit.image_id),
        "pictures": shown,
        "colour": kind.colour,
        "title": says(row).removesuffix(" –"),
        "note": f"{kind.words} · {score_text(hit.score)}",
        "texts": [segments(part, words) for part in (hit.description, hit.justification) if part],
        "why": hit.why,
        "links": links,
    }


def _same_text(hit: Hit, within: str) -> str:
    """The condition of the pictures of which exactly the same is said, in the slice that is searched."""
    texts = (("description", hit.description), ("justification", hit.justification))
    parts = [f"{name} IS NULL" if said is None else f"{name} = {literal(said)}" for name, said in texts]
    if within:
        parts.append(f"image_id IN (SELECT image_id FROM (\n{within.strip().rstrip(';')}\n))")
    return " AND ".join(parts)


guarded(main)
