"""The command line: `whylook COMMAND` or `python -m core COMMAND`.

Knows: words, options, exit codes (0 done, 1 finished with failures recorded, 2 wrong request). Does not know: how
anything is computed. Heavy modules are imported by the command that needs them, so that `whylook sql` starts at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from core.commands.catalogue import FILLS, METHODS, PRECISIONS, QUESTIONS, VIEWS
from core.errors import RequestError, WhylookError
from core.memory import keep_freed_memory

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"


class Parser(argparse.ArgumentParser):
    """argparse that answers a wrong request with one line."""

    def error(self, message: str) -> NoReturn:
        """One line on stderr, exit code 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as end:  # argparse has said what is wrong, or printed the help
        return int(end.code or 0)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        code = command(arguments)
        sys.stdout.flush()  # here and not at exit, where a full disk could no longer be said
        return code
    except WhylookError as error:
        print(f"whylook: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("whylook: stopped", file=sys.stderr)
        return 130
    except OSError as error:
        if error.filename is None:  # stdout itself: what is still buffered has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # `whylook sql … | head`
            return 0
        print(f"whylook: {error.filename or 'the output'}: {error.strerror or error}", file=sys.stderr)
        return 2


def build_parser() -> Parser:
    """Every command with its options."""
    parser = Parser(prog="whylook", description="See why a vision classifier decides, picture by picture.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)

    demo = _command(commands, "demo", _demo, "run the embedded demo, then open the app")
    demo.add_argument("--no-app", action="store_true", help="only run the pipeline")
    demo.add_argument("--no-vlm", action="store_true", help="run without the judge")
    demo.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    demo.add_argument("--port", type=int, help="port of the app (default: the first free one from 8501 on)")

    _run_options(_command(commands, "run", _run, "explain a classifier over a folder of pictures"))

    app = _command(commands, "app", _app, "open the app on a store")
    app.add_argument("--port", type=int, help="port of the app (default: the first free one from 8501 on)")

    sql = _command(
        commands, "sql", _sql, "one SELECT over the store, e.g. \"SELECT * FROM samples WHERE cell = 'wrong_low'\""
    )
    sql.add_argument("query", help="one SELECT statement")
    sql.add_argument("--max-rows", type=int, default=5000, help="rows shown at most (default 5000)")
    _format(sql)
    sql.add_argument("--safe-csv", action="store_true", help="put an apostrophe before text such as =1+2, so "
                     "that a spreadsheet does not run it")  # fmt: skip

    search = _command(commands, "search", _search, "search the explanations by words and by meaning")
    search.add_argument("text")
    search.add_argument("--run", help="name of a run (default: the newest)")
    search.add_argument("--limit", type=int, default=20)
    _format(search)

    summary = _command(commands, "summary", _summary, "what to tell the team: ranked findings")
    summary.add_argument("--run", help="name of a run (default: the newest)")
    summary.add_argument("--out", type=Path, help="write X.md or X.html instead of printing")

    trust = _command(commands, "faithfulness", _faithfulness, "how far to trust a run's maps: measured on a sample")
    trust.add_argument("--run", help="name of a run (default: the newest)")
    trust.add_argument("--sample", type=int, default=64, help="pictures measured (default 64)")
    trust.add_argument("--masks", type=Path, help="CSV with columns path and mask: object masks, for energy inside")
    trust.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    _format(trust)

    _card_options(_command(commands, "judge-card", _judge_card, "can this judge be trusted: tried on your pictures"))

    _format(_command(commands, "runs", _runs, "the runs in a store"))
    models = _command(
        commands,
        "models",
        _models,
        "what can be given as --classifier, --method, --layer and --vlm; fetches judges",
        store=False,
    )
    models.add_argument(
        "what", nargs="?", choices=("layers", "judges", "pull"),
        help="layers: those that --layer may name, of SPEC; judges: their table alone; pull: fetch the judge NAME",
    )  # fmt: skip
    models.add_argument("name", nargs="?", metavar="SPEC|NAME", help="a classifier, as for run, or a judge's name")
    models.add_argument("--weights", type=Path, help="the classifier's state dict")
    models.add_argument(
        "--to", type=Path, metavar="DIR",
        help="pull into DIR/NAME (default: WHYLOOK_MODELS/NAME or ~/.cache/whylook/models/NAME)",
    )  # fmt: skip
    _format(models)
    return parser


def _command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], text: str, *, store: bool = True
) -> Parser:
    """A subcommand that calls `function`."""
    parser: Parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=function)
    if store:
        default = Path(os.environ.get("WHYLOOK_STORE", "whylook-store"))
        parser.add_argument("--store", type=Path, default=default, help=f"folder of the store (default {default})")
    return parser


def _format(parser: Parser) -> None:
    parser.add_argument("--format", choices=("table", "csv", "json", "parquet"), default="table")


def _card_options(card: Parser) -> None:
    card.add_argument("--run", help="name of a run (default: the newest)")
    card.add_argument("--sample", type=int, default=40, help="pictures it is tried on (default 40)")
    card.add_argument("--high", type=_high, metavar="SCORE", help="from which score on attention is high: a number, "
                      "paper (2.5), or calibrated (parts true maps from controls best)")  # fmt: skip
    _format(card)


def _run_options(run: Parser) -> None:
    """The options of `whylook run`; they carry the names of RunRequest's fields."""
    run.add_argument("images", type=Path, help="folder of class folders, or a CSV/Parquet list with a column path")
    run.add_argument("--classifier", required=True, metavar="SPEC", help="see whylook models")
    run.add_argument("--weights", type=Path, help="state dict (.pt, .th, .safetensors)")
    run.add_argument("--classes", type=Path, help="file with one class name per line, in the order of the logits")
    run.add_argument("--metadata", type=Path, help="CSV with a column path and whatever is known of the pictures")
    run.add_argument("--vlm", type=Path, help="the judge's GGUF file")
    run.add_argument("--mmproj", type=Path, help="the judge's projector GGUF file")
    run.add_argument("--vlm-url", metavar="URL", help="a server in the place of the files; key: WHYLOOK_VLM_API_KEY")
    run.add_argument("--vlm-model", metavar="NAME", help="which of the server's models")
    run.add_argument("--no-vlm", action="store_true", help="run without a judge")
    run.add_argument("--protocol", choices=("calibrated", "paper"), default="calibrated")
    run.add_argument("--prompts", type=Path, metavar="FILE", help="your edited copy of a file of core/judge/prompts")
    run.add_argument("--fill", choices=FILLS, default="black", help="what hides the unattended part from the judge")
    run.add_argument("--view", choices=VIEWS, default="masked", help="masked picture alone, or beside the whole one")
    run.add_argument("--judge-budget", type=int, metavar="N", help="judge N pictures: wrong ones first, then a sample")
    run.add_argument("--card-sample", type=int, metavar="N", default=40, help="pictures for the judge's report card")
    run.add_argument("--method", choices=(*METHODS, "auto"), default="gradcam", help="see whylook models")
    run.add_argument("--question", choices=QUESTIONS, default="predicted", help="the class a map explains")
    run.add_argument("--layer", help="dotted name of the target layer (default: the last one with a spatial map)")
    run.add_argument("--precision", choices=(*PRECISIONS, "auto"), default="fp32", help="auto: the fastest that agrees")
    run.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    run.add_argument("--batch-size", type=int, help="pictures per batch")
    run.add_argument("--judge-batch-size", type=int, help="pictures the judge gets at a time")
    run.add_argument("--threads", type=int, help="threads of the judge")


# ---- commands that run the pipeline ----


def _run(arguments: argparse.Namespace) -> int:
    keep_freed_memory()
    from core.pipeline.request import RunRequest

    options = {key: value for key, value in vars(arguments).items() if key != "command"}
    return _work(RunRequest(**options))


def _demo(arguments: argparse.Namespace) -> int:
    keep_freed_memory()
    from core.commands.serve import serve
    from core.pipeline.request import RunRequest

    request = RunRequest(
        images=DEMO / "evaluation",
        classifier=f"{DEMO / 'classifier.py'}:demo_classifier",
        vlm=None if arguments.no_vlm else DEMO / "judge" / "judge.gguf",
        mmproj=None if arguments.no_vlm else DEMO / "judge" / "judge-mmproj.gguf",
        no_vlm=arguments.no_vlm,
        device=arguments.device,
        store=arguments.store,
    )
    code = _work(request)
    if code not in (0, 1) or arguments.no_app:
        return code
    return serve(arguments.store, port=arguments.port)


def _work(request: Any) -> int:
    """Run the pipeline with a progress line, and say how it went."""
    from core.commands.run import run_and_tell

    return run_and_tell(request)


# ---- commands that read ----


def _app(arguments: argparse.Namespace) -> int:
    from core.commands.serve import serve
    from core.store import Store

    Store(arguments.store)  # a store of a newer version is refused here, in words
    return serve(arguments.store, port=arguments.port)


def _sql(arguments: argparse.Namespace) -> int:
    from core import queries
    from core.commands.terminal import write_table
    from core.store import Store

    store = _existing(Store(arguments.store))
    result = queries.run_sql(store, arguments.query, max_rows=arguments.max_rows)
    write_table(result.table, arguments.format, safe_csv=arguments.safe_csv)
    if result.truncated:
        print(f"whylook: only the first {arguments.max_rows:,} rows are shown (--max-rows)", file=sys.stderr)
    return 0


def _search(arguments: argparse.Namespace) -> int:
    from core import queries
    from core.commands.terminal import rows_table, write_table
    from core.store import Store

    store = _existing(Store(arguments.store))
    con = store.reader()
    run = _chosen_run(queries.runs(con), arguments.run)
    vector = None
    if "embedding" in run["fingerprints"]:
        from core.embedding import load_embedder

        vector = load_embedder().embed([arguments.text])[0]
    found = queries.search(con, run["run"], arguments.text, vector, limit=arguments.limit)
    columns = ("relevance", "path", "label", "prediction", "score", "cell", "description", "justification")
    write_table(rows_table([vars(hit) for hit in found.hits], columns), arguments.format)
    if not found.hits:
        print("whylook: nothing found; explanations are searched, so the run needs a judge", file=sys.stderr)
    return 0


def _summary(arguments: argparse.Namespace) -> int:
    from core import queries, report
    from core.findings import summarise
    from core.store import Store

    out: Path | None = arguments.out
    if out is not None and out.suffix.lower() not in (".md", ".html", ".htm"):
        raise RequestError(f"--out must end in .md or .html, got {out.name}")
    con = _existing(Store(arguments.store)).reader()
    run = _chosen_run(queries.runs(con), arguments.run)["run"]
    findings = summarise(con, run)
    page = out is not None and out.suffix.lower() != ".md"
    text = report.html(con, run, findings) if page else report.markdown(con, run, findings)
    if out is None:
        print(text)
        return 0
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot write {out}: {error.strerror}") from error
    print(f"written: {out}")
    return 0


def _faithfulness(arguments: argparse.Namespace) -> int:
    keep_freed_memory()
    from core import queries
    from core.commands.terminal import ProgressLine, rows_table, write_table
    from core.pipeline.faithfulness import check_faithfulness
    from core.store import Store

    store = _existing(Store(arguments.store))
    run = _chosen_run(queries.runs(store.reader()), arguments.run)["run"]
    line = ProgressLine()
    try:
        check_faithfulness(
            store, run, sample=arguments.sample, masks=arguments.masks, device=arguments.device, progress=line
        )
    finally:
        line.close()
    found = queries.map_faithfulness(store.reader(), run)
    assert found is not None  # just measured
    write_table(rows_table(found.rows(), ("measure", "value", "control", "better", "meaning")), arguments.format)
    return 0


def _high(text: str) -> float | str:
    """What `--high` takes."""
    if text in ("paper", "calibrated"):
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 5:
        raise argparse.ArgumentTypeError(f"a score between 0 and 5, paper or calibrated, got {text}")
    return value


def _judge_card(arguments: argparse.Namespace) -> int:
    from core import queries
    from core.commands.terminal import ProgressLine, rows_table, write_table
    from core.pipeline.report_card import card_of_run, set_high
    from core.store import Store

    if arguments.sample < 2:
        raise RequestError(f"a sample needs two pictures or more, got {arguments.sample}")
    store = _existing(Store(arguments.store))
    run = _chosen_run(queries.runs(store.reader()), arguments.run)["run"]
    line = ProgressLine()
    try:
        card_of_run(store, run, sample=arguments.sample, progress=line)
    finally:
        line.close()
    if arguments.high is not None:
        set_high(store, run, arguments.high)
    card = queries.judge_card(store.reader(), run)
    assert card is not None  # just made
    write_table(rows_table(card.rows(), ("measure", "value", "bar", "passes", "meaning")), arguments.format)
    high = _chosen_run(queries.runs(store.reader()), run)["high_score"]
    said = [card.sentence, f"Attention is high from a score of {high:g} on."]
    if card.threshold is not None:
        said.append(card.threshold.sentence)
    print("\n".join(said), file=sys.stderr if arguments.format != "table" else sys.stdout)
    return 0


def _runs(arguments: argparse.Namespace) -> int:
    from core.commands.terminal import rows_table, write_table
    from core.store import Store

    store = Store(arguments.store)
    records = store.run_records() if arguments.store.exists() else []
    for sentence in store.damaged_records():
        print(f"damaged: {sentence}", file=sys.stderr)
    if not records:
        raise RequestError(f"no runs in {arguments.store} yet: start one with whylook demo or whylook run")
    columns = ["run", "state", "started", "finished", "counts", "settings"]
    if arguments.format == "table":
        columns[3:] = ["pictures", "predicted", "judged", "failures", "images", "classifier", "method"]
        records = [{**record, **record["counts"], **_short(record["settings"])} for record in records]
    write_table(rows_table(records, columns), arguments.format)
    return 0


def _short(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings for a narrow table: names without their folders."""
    return {key: Path(str(settings[key])).name for key in ("images", "classifier", "method") if key in settings}


def _models(arguments: argparse.Namespace) -> int:
    from core.commands.models import list_judges, list_layers, list_models, pull_judge

    if arguments.what == "layers":
        return list_layers(arguments.name, weights=arguments.weights, form=arguments.format)
    if arguments.what == "judges":
        return list_judges(form=arguments.format)
    if arguments.what == "pull":
        return pull_judge(arguments.name, to=arguments.to)
    return list_models()


def _existing(store: Any) -> Any:
    """The store, once something has been published in it."""
    if not store.exists():
        raise RequestError(f"nothing to read in {store.folder} yet: start with whylook demo or whylook run")
    return store


def _chosen_run(runs: Sequence[dict[str, Any]], name: str | None) -> dict[str, Any]:
    """The run called `name`, or the newest."""
    if not runs:
        raise RequestError("the store has no runs yet: start one with whylook demo or whylook run")
    for run in runs:
        if name is None or run["run"] == name:
            return run
    raise RequestError(f"no run {name} in this store; there are {', '.join(run['run'] for run in runs)}")


if __name__ == "__main__":
    sys.exit(main())
