"""What `whylook models` prints and fetches, for the command line.

Knows: the catalogues and sentences. Does not know: how layers are found, how the hub is spoken to.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from core.commands.catalogue import TEXT, layer_rows
from core.commands.terminal import rows_table, write_table
from core.errors import RequestError
from core.judge import catalogue as judges


def list_models() -> int:
    """Everything that can be given as --classifier, --method, --layer and --vlm."""
    print(f"{TEXT}\n\n{judges.HEADING}")
    return list_judges(form="table")


def list_layers(spec: str | None, *, weights: Path | None, form: str) -> int:
    """The layers of a classifier that --layer may name."""
    if spec is None:
        raise RequestError("say whose layers: whylook models layers SPEC")
    rows = layer_rows(spec, weights=weights)
    write_table(rows_table(rows, ("layer", "shape", "grid", "default")), form)
    return 0


def list_judges(*, form: str) -> int:
    """The judges; a table for people says what its numbers are worth."""
    write_table(rows_table(judges.judge_rows(), judges.COLUMNS), form)
    if form == "table":
        print(f"{judges.ESTIMATED}\n{judges.TESTED}\nhere: looked for in {judges.models_folder()}")
    return 0


def pull_judge(name: str | None, *, to: Path | None) -> int:
    """Fetch a judge's two files, where they are not here, and print the words that use them."""
    judge = judges.find_judge(name)
    folder = ((to or judges.models_folder()) / judge.name).expanduser().absolute()
    pair = judges.pair_in(folder)
    if pair is None:
        from core.judge.hub import pull  # only here: huggingface_hub takes a while to load

        vlm, mmproj = pull(judge.repository, (judge.text, judge.projector), folder, say=_say)
    else:
        vlm, mmproj = pair
    print(f"{judge.name} is in {folder}; use it with")
    print(f"whylook run PICTURES --classifier SPEC --vlm {shlex.quote(str(vlm))} --mmproj {shlex.quote(str(mmproj))}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
