"""Every command with its options and the function that carries it out, by name.

Knows: words, help, argparse, shtab. Does not know: what a command does; `main` loads its module once it is chosen, so
that the help and `whylook sql` start at once. The options of a run are those of core.pipeline.request.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import shtab

from core.export.forms import FORMS
from core.pipeline.options import Option, options_of
from core.pipeline.request import RunRequest
from core.version import package_version

FORMATS = ("table", "csv", "json", "parquet")
HIGH_WORDS = ("paper", "calibrated")


class Parser(argparse.ArgumentParser):
    """argparse that answers a wrong request with one line."""

    def error(self, message: str) -> NoReturn:
        """One line on stderr, exit code 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


@dataclass(frozen=True)
class Command:
    """`target` is `module:function`, which takes the parsed words and gives the exit code.

    `computes` is for commands that run a classifier: their process keeps freed memory, from before PyTorch is loaded.
    """

    target: str
    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    store: bool = True
    computes: bool = False


def build_parser() -> Parser:
    """The parser of `whylook`."""
    parser = Parser(prog="whylook", description="See why a vision classifier decides, picture by picture.")
    parser.add_argument("--version", action="version", version=f"whylook {package_version()}")
    shtab.add_argument_to(parser, ["--print-completion"], help="print a completion script for a shell, to be sourced")
    _add_commands(parser, COMMANDS, required=True)
    return parser


def _add_commands(parser: argparse.ArgumentParser, commands: Mapping[str, Command], *, required: bool = False) -> None:
    added = parser.add_subparsers(title="commands", metavar="COMMAND", required=required, parser_class=Parser)
    for name, command in commands.items():
        child = added.add_parser(name, help=command.help, description=command.help)
        child.set_defaults(command=command)
        if command.store:
            default = Path(os.environ.get("WHYLOOK_STORE", "whylook-store"))
            _path(child, "--store", "DIR", f"folder of the store (default {default})", default=default, folder=True)
        command.add_options(child)


# ---- options that several commands share ----


def _path(
    parser: Any,
    flag: str,
    metavar: str,
    words: str,
    *,
    default: Path | None = None,
    folder: bool = False,
    required: bool = False,
) -> None:
    action = parser.add_argument(flag, type=Path, metavar=metavar, default=default, help=words, required=required)
    action.complete = shtab.DIR if folder else shtab.FILE


def _format(parser: argparse.ArgumentParser, *, default: str = "table") -> None:
    parser.add_argument("--format", choices=FORMATS, default=default, help="form of the rows (default table)")


def _quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _run_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", metavar="NAME", help="name of a run (default: the newest)")


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")


def _port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=_port_number, help="port of the app (default: the first free one from 8501 on)")


def _app(parser: argparse.ArgumentParser) -> None:
    _port(parser)
    parser.add_argument("--read-only", action="store_true", help="only show: nothing can be started, changed or kept")
    parser.add_argument("--share", action="store_true", help="open to other machines, with --host or --name")
    parser.add_argument(
        "--host", metavar="ADDRESS", help="where to listen, such as 0.0.0.0 (default: this machine only)"
    )
    parser.add_argument(
        "--name",
        action="append",
        metavar="HOST",
        help="a name by which browsers reach it, as of a proxy; may be repeated",
    )


# ---- the options of each command ----


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-app", action="store_true", help="only run the pipeline")
    parser.add_argument("--no-vlm", action="store_true", help="run without the judge")
    _device(parser)
    _port(parser)
    _quiet(parser)


def _run(parser: argparse.ArgumentParser) -> None:
    """The fields of RunRequest, by group."""
    options = [item for item in options_of(RunRequest) if item.name != "store"]
    for title in dict.fromkeys(item.group for item in options):
        group = parser.add_argument_group(title)
        for item in options:
            if item.group == title:
                _add_option(group, item)
    _quiet(parser)


def _add_option(group: Any, item: Option) -> None:
    told = item.help
    if item.default not in (None, False) and not item.required:
        told += f" (default {item.default})"
    if item.kind == "switch":
        group.add_argument(item.flag, action="store_true", help=told)
        return
    kinds = {"path": Path, "number": int, "text": str}
    given: dict[str, Any] = {"type": kinds[item.kind], "help": told, "metavar": item.metavar}
    if item.choices:
        given["choices"] = item.choices
    if item.name == "images":  # the one that has no flag
        action = group.add_argument("images", **given)
    else:
        action = group.add_argument(
            item.flag, required=item.required, default=None if item.required else item.default, **given
        )
    if item.kind == "path":
        action.complete = shtab.FILE


def _sql(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", help="one SELECT statement")
    parser.add_argument("--max-rows", type=_count, metavar="N", help="rows shown at most (default 4000)")
    _format(parser)
    parser.add_argument(
        "--safe-csv", action="store_true",
        help="put an apostrophe before texts such as =1+2, which a spreadsheet would run; for --format csv",
    )  # fmt: skip


def _search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", help="what to look for")
    _run_name(parser)
    parser.add_argument("--limit", type=_count, metavar="N", default=20, help="rows shown at most (default 20)")
    _format(parser)


def _summary(parser: argparse.ArgumentParser) -> None:
    _run_name(parser)
    parser.add_argument(
        "--group", metavar="COLUMN", help="metadata column whose equal values belong together (default: the run's)"
    )
    _path(parser, "--out", "FILE", "write X.md or X.html instead of printing")


def _deck(parser: argparse.ArgumentParser) -> None:
    _path(parser, "--out", "FILE", "write X.pptx, X.html, X.pdf or X.md instead of listing the slides")
    parser.add_argument("--first", action="store_true", help="first add slides of what stands out in a run")
    _run_name(parser)


def _verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="what whylook deck wrote").complete = shtab.FILE  # type: ignore[attr-defined]


def _labels(parser: argparse.ArgumentParser) -> None:
    _run_name(parser)
    parser.add_argument("--limit", type=_count, metavar="N", default=500, help="rows shown at most (default 500)")
    _path(parser, "--fixes", "FILE.csv", "write what people decided, with paths, instead of printing suspects")
    _path(parser, "--label-list", "FILE.csv", "write every picture with its label as decided: a list for whylook run")
    _format(parser)


def _export(parser: argparse.ArgumentParser) -> None:
    _run_name(parser)
    parser.add_argument("--sql", metavar="SELECT", help="which pictures or rows (default: every picture of the run)")
    _path(
        parser,
        "--to",
        "PATH",
        "the file to write, or the folder for the forms that are one",
        required=True,
    )
    parser.add_argument(
        "--as",
        dest="form",
        choices=tuple(FORMS),
        help="the form (default: csv, parquet, zip or duckdb by the end of PATH)",
    )
    parser.add_argument("--overlays", action="store_true", help="with the maps laid over the pictures, for --as zip")
    parser.add_argument("--safe-csv", action="store_true", help="as for whylook sql, for --as csv")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the file, or a folder that whylook export made"
    )
    _quiet(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="the run that was there before: its id or the name you gave it")
    parser.add_argument("b", metavar="B", help="the run that is compared with it")
    parser.add_argument(
        "--group", metavar="COLUMN", help="metadata column whose equal values belong together (default: the runs')"
    )
    parser.add_argument("--limit", type=_count, metavar="N", default=10, help="rows of each table (default 10)")
    parser.add_argument("--json", action="store_true", help="everything as JSON instead")


def _faithfulness(parser: argparse.ArgumentParser) -> None:
    _run_name(parser)
    parser.add_argument("--sample", type=_count, metavar="N", default=64, help="images measured (default 64)")
    _path(parser, "--masks", "FILE", "CSV with columns path and mask: object masks, for energy inside")
    _device(parser)
    _format(parser)
    _quiet(parser)


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="its image_id, or its path as in table samples")
    _run_name(parser)
    parser.add_argument("--draws", type=_count, metavar="N", default=12, help="random regions (default 12)")
    _device(parser)
    _format(parser)


def _discover(parser: argparse.ArgumentParser) -> None:
    _run_name(parser)
    parser.add_argument(
        "--seconds", type=_count, metavar="N", default=100, help="interventions begin within this time (default 100)"
    )
    _device(parser)
    _format(parser)
    _quiet(parser)


def _map(parser: argparse.ArgumentParser) -> None:
    _run_name(parser)
    _quiet(parser)


def _judge_card(parser: argparse.ArgumentParser) -> None:
    _run_name(parser)
    parser.add_argument("--sample", type=int, metavar="N", default=40, help="images it is tried on (default 40)")
    parser.add_argument(
        "--high", type=_high, metavar="SCORE",
        help="from which score on attention is high: a number, paper (2.5), or calibrated (separates true maps from "
        "controls best)",
    )  # fmt: skip
    _format(parser)
    _quiet(parser)


def _count(text: str) -> int:
    """A number of rows or pictures: 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def _port_number(text: str) -> int:
    """A TCP port."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text!r}")
    return int(text)


def _high(text: str) -> float | str:
    """What `--high` takes."""
    if text in HIGH_WORDS:
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 5:
        raise argparse.ArgumentTypeError(f"a score between 0 and 5, paper or calibrated, got {text}")
    return value


def _models(parser: argparse.ArgumentParser) -> None:
    """`whylook models` alone lists, too, so it has the options of its list."""
    _format(parser)
    _add_commands(parser, MODELS)


def _listed(parser: argparse.ArgumentParser) -> None:
    _format(parser, default=argparse.SUPPRESS)  # a default here would overrule what stands before the subcommand


def _layers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", nargs="?", metavar="SPEC", help="a classifier, as for run")
    _path(parser, "--weights", "FILE", "the classifier's state dict")
    _listed(parser)


def _pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="a judge of whylook models judges")
    words = "pull into DIR/NAME (default: WHYLOOK_MODELS/NAME or ~/.cache/whylook/models/NAME)"
    _path(parser, "--to", "DIR", words, folder=True)
    _quiet(parser)


MODELS: Mapping[str, Command] = {
    "list": Command("core.commands.models:show_list", "everything that can be given", _listed, store=False),
    "layers": Command(
        "core.commands.models:show_layers", "the layers of a classifier that --layer may name", _layers, store=False
    ),
    "judges": Command(
        "core.commands.models:show_judges", "judges with their size, memory and speed", _listed, store=False
    ),
    "pull": Command("core.commands.models:pull_judge", "fetch a judge's two files", _pull, store=False),
}

COMMANDS: Mapping[str, Command] = {
    "demo": Command("core.commands.run:demo", "run the embedded demo, then open the app", _demo, computes=True),
    "run": Command("core.commands.run:explain", "explain a classifier over a folder of images", _run, computes=True),
    "app": Command("core.commands.serve:app", "open the app on a store", _app),
    "sql": Command(
        "core.commands.read:sql",
        "one SELECT over the store, e.g. \"SELECT * FROM samples WHERE cell = 'wrong_low'\"",
        _sql,
    ),
    "export": Command("core.commands.export:write", "a slice as a file or dataset for other tools", _export),
    "search": Command("core.commands.read:search", "search the explanations by words and by meaning", _search),
    "summary": Command("core.commands.read:summary", "what to tell the team: ranked findings", _summary),
    "deck": Command("core.commands.deck:deck", "the kept slides, as PowerPoint, HTML, PDF or Markdown", _deck),
    "verify": Command("core.commands.deck:verify", "whether the numbers in a deck's file still hold", _verify),
    "labels": Command("core.commands.labels:labels", "suspected wrong labels, ranked, with their reasons", _labels),
    "compare": Command(
        "core.commands.compare:compare_runs", "what differs between two runs over the same pictures", _compare
    ),
    "discover": Command(
        "core.commands.measure:discover", "causes that no column lists, and whether they are used", _discover,
        computes=True,
    ),
    "map": Command(
        "core.commands.map:draw_map", "lay a run's pictures out, so that those alike lie close", _map, computes=True
    ),
    "check": Command(
        "core.commands.measure:check", "what hiding the attended part of one image costs", _check, computes=True
    ),
    "faithfulness": Command(
        "core.commands.measure:faithfulness", "how far to trust a run's maps: measured on a sample", _faithfulness,
        computes=True,
    ),
    "judge-card": Command(
        "core.commands.measure:judge_card", "can this judge be trusted: tried on your images", _judge_card
    ),
    "runs": Command("core.commands.read:runs", "the runs in a store", _format),
    "models": Command(
        "core.commands.models:show_list",
        "what can be given as --classifier, --method, --layer and --vlm; fetches judges",
        _models,
        store=False,
    ),
}  # fmt: skip
