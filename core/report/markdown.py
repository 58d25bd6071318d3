"""A run's findings as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from core import queries
from core.findings import Finding
from core.findings.words import described
from core.queries import PLACEBO, Connection, CueRow, literal
from core.report.cues import cues_of, select
from core.report.facts import BEST, WORST, Facts, facts, source, worst_and_best
from core.report.title import title
from core.statistics import format_mean, format_pictures, format_rate, mean_interval, wilson


def markdown(con: Connection, run: str, findings: Sequence[Finding]) -> str:
    """The report as Markdown: headline numbers, findings each with its SQL, per-class table, failures.

    Raises:
        QueryError: There is no such run.
    """
    known = facts(con, run)
    said = title(con, run, cues_of(con, run).used, findings)
    parts = [f"# {escape(said)}", f"{escape(known.title)} · run {escape(run)}", *_headline(known), *_cues(con, run)]
    parts += ["## Findings", *_findings(findings, run)]
    parts += ["## Classes", _classes(con, run), *_failures(known)]
    return "\n\n".join(parts) + "\n"


def _headline(known: Facts) -> list[str]:
    lines = [f"- **{escape(name)}**: {escape(value)}" for name, value in known.headline]
    notes = [f"> {escape(note)}" for note in known.notes]
    return ["\n".join(lines), *notes]


def _cues(con: Connection, run: str) -> list[str]:
    """What discovery found, used cues first; nothing where it has not looked."""
    found = cues_of(con, run)
    if not found.found:
        return []
    said = described(con, run)
    parts = [
        "## Causes",
        *(_cue(rank, cue, run, said.get(cue.cue, "")) for rank, cue in enumerate(found.used, start=1)),
    ]
    parts += [] if found.used else ["No cue that the classifier uses was found."]
    for verdict, cues in found.others:
        lines = [f"- {escape(cue.words)} ({format_pictures(cue.n)}: {escape(cue.sql)})" for cue in cues]
        parts += [f"**{verdict.capitalize()} ({len(cues):,})**", "\n".join(lines)]
    return [*parts, f"{PLACEBO} One in twenty of the cues called used may be chance."]


def _cue(rank: int, cue: CueRow, run: str, described_as: str) -> str:
    number = f"{rank}. "
    told = [f"**{escape(cue.words)}**", escape(cue.harm), escape(described_as), escape(cue.evidence)]
    said = f"\n\n{' ' * len(number)}".join(line for line in told if line)
    return f"{number}{said}\n\n{_fenced(select(run, cue), indent=len(number))}"


def _findings(findings: Sequence[Finding], run: str) -> list[str]:
    if not findings:
        return ["Nothing stands out: no comparison survived its test."]
    return [_finding(finding, run) for finding in findings]


def _finding(finding: Finding, run: str) -> str:
    number = f"{finding.rank}. "
    evidence = f"\n\n{' ' * len(number)}{escape(finding.evidence)}" if finding.evidence else ""
    sentence = f"{number}**{finding.heading}.** {escape(finding.sentence)}"
    text, words = source(finding, run)
    return f"{sentence}{evidence}\n\n{_fenced(text, indent=len(number), words=words)}"


def _fenced(sql: str, *, indent: int, words: str = "sql") -> str:
    """SQL or other code in a fence longer than any run of backticks in it, indented below its list item."""
    longest = max((len(run) for run in re.findall(r"`+", sql)), default=0)
    fence = "`" * max(3, longest + 1)
    lines = [f"{fence}{words}", *sql.splitlines(), fence]
    return "\n".join(" " * indent + line for line in lines)


def _classes(con: Connection, run: str) -> str:
    rates = [(row, wilson(row["correct"], row["n"])) for row in queries.per_class(con, run)]
    shown, middle = worst_and_best(sorted(rates, key=lambda pair: pair[1].value))
    rows = ["| class | accuracy | mean score | most often called |", "|---|---|---|---|"]
    for row, rate in shown:
        accuracy = format_rate(rate)
        score = "not judged" if row["mean_score"] is None else class_score(con, run, row["label"])
        confused = f"{escape(str(row['confused_with']))} ({row['confused_n']:,})" if row["confused_n"] else "–"
        rows.append(f"| {escape(str(row['label']))} | {accuracy} | {score} | {confused} |")
    if middle:
        query = f"SELECT label, count(*) AS n, avg(correct::INT) AS accuracy FROM samples WHERE run = {literal(run)} "
        query += "GROUP BY label ORDER BY accuracy"
        rows += ["", f"The {WORST} worst and the {BEST} best of {len(rates):,} classes; all of them:", ""]
        rows += [_fenced(f'whylook sql "{query}" --max-rows {len(rates)} --format csv', indent=0, words="sh")]
    return "\n".join(rows)


def class_score(con: Connection, run: str, label: str) -> str:
    """Mean judge score of a class with its interval, re-weighted where pictures were sampled."""
    rows = con.execute(
        "SELECT score, weight FROM samples WHERE run = ? AND label = ? AND score IS NOT NULL ORDER BY image_id",
        [run, label],
    ).fetchall()
    return format_mean(mean_interval([row[0] for row in rows], [row[1] for row in rows]))


def _failures(known: Facts) -> list[str]:
    if not known.failures:
        return []
    lines = [f"- {escape(path)}: {escape(stage)}: {escape(reason)}" for stage, path, reason in known.failures]
    more = known.failure_count - len(known.failures)
    return [f"## Failures ({known.failure_count:,})", "\n".join([*lines, *([f"- {more:,} more"] if more else [])])]


def escape(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, one line."""
    flat = " ".join(text.split())
    safe = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Brackets only where they could open a link, a definition or a box: an interval stays readable as text.
    return re.sub(r"([\\`*_{}#|~!]|^\[|\](?=[(\[:]))", r"\\\1", safe)
