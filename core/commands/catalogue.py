"""What `whylook models` prints above the judges: everything that can be given as classifier, method or question."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from core.attribution import names as attribution
from core.classifier import names as classifier

WIDTH = 119

JUDGE = """--vlm FILE.gguf --mmproj FILE.gguf
  any vision-language model that llama.cpp runs: the text file and its projector
  data/demo/judge/judge.gguf with data/demo/judge/judge-mmproj.gguf knows the demo world only
  --vlm-url URL asks an OpenAI-compatible server instead (llama-server, vLLM); its key comes from WHYLOOK_VLM_API_KEY
  --no-vlm runs without a judge"""
LAYER = """--layer NAME
  whylook models layers SPEC lists the layers that it may name and marks the one that is taken without it"""


def catalogue_text() -> str:
    """The list, for a terminal of 120 columns."""
    specs = _block("--classifier SPEC", classifier.SPECS) + f"\n  {classifier.SPECS_WARNING}"
    questions = _block("--question", attribution.QUESTIONS)
    precisions = _block("--precision", {**classifier.PRECISIONS, "auto": classifier.AUTO})
    return "\n\n".join([specs, _methods(), questions, precisions, LAYER, JUDGE])


def catalogue_rows() -> list[dict[str, str]]:
    """The same as rows: option, value, meaning, and for a method what it costs and needs."""
    tables: dict[str, Mapping[str, str]] = {
        "classifier": classifier.SPECS,
        "method": {name: method.about for name, method in attribution.METHODS.items()} | {"auto": attribution.AUTO},
        "question": dict(attribution.QUESTIONS),
        "precision": {**classifier.PRECISIONS, "auto": classifier.AUTO},
    }
    rows = []
    for option, table in tables.items():
        for value, meaning in table.items():
            method = attribution.METHODS.get(value) if option == "method" else None
            costs = {"cost": method.cost, "needs": method.needs} if method else {"cost": "", "needs": ""}
            rows.append({"option": f"--{option}", "value": value, "meaning": meaning, **costs})
    return rows


def _methods() -> str:
    """Methods by what they cost a picture."""
    costs = dict.fromkeys(method.cost for method in attribution.METHODS.values())
    parts = ["--method, and what it costs per image"]
    for cost in costs:
        known = {name: method.about for name, method in attribution.METHODS.items() if method.cost == cost}
        parts.append(textwrap.indent(_block(cost, known), "  "))
    auto = textwrap.fill(attribution.AUTO, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return "\n".join([*parts, "  auto", auto])


def _block(heading: str, meanings: Mapping[str, str]) -> str:
    width = max(len(name) for name in meanings)
    return "\n".join([heading, *(f"  {name:<{width}}  {meaning}" for name, meaning in meanings.items())])
