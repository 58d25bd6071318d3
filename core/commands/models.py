"""What `whylook models` prints and fetches, for the command line.

Two imports stand in functions: torch and huggingface_hub take seconds, which the lists need not wait for.
"""

from __future__ import annotations

import argparse
import shlex
import sys

from core.commands.catalogue import catalogue_rows, catalogue_text
from core.commands.terminal import rows_table, write_table
from core.errors import RequestError
from core.judge import catalogue as judges


def show_list(arguments: argparse.Namespace) -> int:
    """Everything that can be given as --classifier, --method, --layer and --vlm."""
    if arguments.format == "table":
        print(f"{catalogue_text()}\n\n{judges.HEADING}")
        return show_judges(arguments)
    rows = catalogue_rows()
    for judge in judges.judge_rows():
        rows.append({"option": "--vlm", "value": judge["judge"], "meaning": f"a judge of {judge['size_gb']} GB"})
    write_table(rows_table(rows, ("option", "value", "meaning", "cost", "needs")), arguments.format)
    return 0


def show_layers(arguments: argparse.Namespace) -> int:
    """The layers of a classifier that --layer may name, in the order in which they finish.

    Raises:
        RequestError: the classifier cannot be loaded, or has no such layer.
    """
    if arguments.spec is None:
        raise RequestError("say whose layers: whylook models layers SPEC")
    from core.classifier.loading import load_classifier

    classifier = load_classifier(arguments.spec, weights=arguments.weights, device="cpu")
    rows = [
        {
            "layer": layer.name,
            "shape": " x ".join(map(str, layer.shape)),
            "grid": " x ".join(map(str, layer.layout.grid)) if layer.layout else "",
            "default": "default" if layer.name == classifier.layer else "",
        }
        for layer in classifier.layers
    ]
    write_table(rows_table(rows, ("layer", "shape", "grid", "default")), arguments.format)
    return 0


def show_judges(arguments: argparse.Namespace) -> int:
    """The judges; a table for people says what its numbers are worth."""
    write_table(rows_table(judges.judge_rows(), judges.COLUMNS), arguments.format)
    if arguments.format == "table":
        print(f"{judges.ESTIMATED}\n{judges.TESTED}\nhere: looked for in {judges.models_folder()}")
    return 0


def pull_judge(arguments: argparse.Namespace) -> int:
    """Fetch a judge's two files, where they are not here, and print the words that use them."""
    judge = judges.find_judge(arguments.name)
    folder = ((arguments.to or judges.models_folder()) / judge.name).expanduser().absolute()
    pair = judges.pair_in(folder)
    if pair is None:
        from core.judge.hub import pull

        say = _say_nothing if arguments.quiet else _say
        vlm, mmproj = pull(judge.repository, (judge.text, judge.projector), folder, say=say, bars=not arguments.quiet)
    else:
        vlm, mmproj = pair
    print(f"{judge.name} is in {folder}; use it with")
    print(f"whylook run PICTURES --classifier SPEC --vlm {shlex.quote(str(vlm))} --mmproj {shlex.quote(str(mmproj))}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _say_nothing(line: str) -> None:
    pass
