"""What `whylook models` prints and fetches, for the command line.

Knows: the catalogues and sentences. Does not know: how layers are found, how the hub is spoken to.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from core.commands.catalogue import catalogue_text
from core.commands.terminal import rows_table, write_table
from core.errors import RequestError
from core.judge import catalogue as judges


def list_models() -> int:
    """Everything that can be given as --classifier, --method, --layer and --vlm."""
    print(f"{catalogue_text()}\n\n{judges.HEADING}")
    return list_judges(form="table")


def list_layers(spec: str | None, *, weights: Path | None, form: str) -> int:
    """The layers of a classifier that --layer may name, in the order in which they finish.

    Raises:
        RequestError: the classifier cannot be loaded, or has no such layer.
    """
    if spec is None:
        raise RequestError("say whose layers: whylook models layers SPEC")
    from core.classifier.loading import load_classifier  # only here: it brings torch along

    classifier = load_classifier(spec, weights=weights, device="cpu")
    rows = [
        {
            "layer": layer.name,
            "shape": " x ".join(map(str, layer.shape)),
            "grid": " x ".join(map(str, layer.layout.grid)) if layer.layout else "",
            "default": "default" if layer.name == classifier.layer else "",
        }
        for layer in classifier.layers
    ]
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
