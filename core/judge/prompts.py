"""The prompts of both protocols: files a user can copy and edit, and the exact text a judge reads.

Knows: the prompt files, the reply forms, chat templates. Does not know: llama.cpp, pictures.

A reply is JSON whose frame is given to the model; it writes only what stands between the quotes, and the digit:

    calibrated   {"description":"..."}   and   {"score":N,"justification":"..."}
    paper        {"description":"...","justification":"...","score":N}
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.errors import RequestError
from core.judge.names import ProtocolName
from core.records import Fill, View

FOLDER = Path(__file__).parent / "prompts"
MARKER = "<__media__>"
"""Stands for the picture in a prompt; llama.cpp's own marker."""
DESCRIPTION = '{"description":"'
SCORE = '{"score":'
JUSTIFICATION = ',"justification":"'
AFTER_DESCRIPTION = ',"justification":"'
AFTER_JUSTIFICATION = ',"score":'
THOUGHTS = ("think", "thinking", "thought", "reasoning")
FILLED = {"black": "black", "grey": "grey", "blur": "blurred"}
"""How the instructions say what stands in the place of what was not attended to."""
NO_DATE = datetime(2026, 1, 1, tzinfo=UTC)
"""Some templates ask for today's date; a judge must read the same text every day."""
FIELDS = {"calibrated": ("instructions", "describe", "score"), "paper": ("instructions", "explain")}


@dataclass(frozen=True)
class Prompts:
    """One protocol's texts. `questions` are asked after the picture, each with {prediction} and {rubric} to fill in.

    `instructions` stand before the picture and already say how it is masked and laid out.
    """

    protocol: ProtocolName
    instructions: str
    questions: dict[str, str]
    rubric: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Hash of every word that reaches the judge."""
        words = [self.protocol, self.instructions, self.questions, self.rubric, DESCRIPTION, SCORE, JUSTIFICATION]
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:16]

    def question(self, name: str, *, prediction: str, reverse: bool = False) -> str:
        """Text asked after the picture; `reverse` gives the rubric from 5 to 0."""
        rubric = "; ".join(reversed(self.rubric) if reverse else self.rubric)
        return self.questions[name].replace("{rubric}", rubric).replace("{prediction}", plain(prediction))


def plain(text: str) -> str:
    """One line of text without the picture's marker or control characters: a class name cannot pose as either."""
    return " ".join("".join(c if c.isprintable() else " " for c in text.replace(MARKER, " ")).split())


def load_prompts(source: ProtocolName | Path, *, fill: Fill = "black", view: View = "masked") -> Prompts:
    """Read a protocol's prompts, ours by name or a user's file.

    Args:
        source: the protocol's name, or a file.
        fill: what stands in the place of what was not attended to: {fill} in the instructions.
        view: `side-by-side` takes the file's field of that name in the place of `instructions`.

    Raises:
        RequestError: the file is missing, is no TOML or lacks a field; the message names it.
    """
    path = source if isinstance(source, Path) else FOLDER / f"{source}.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"prompt file {path} cannot be read: {error}") from error
    protocol = data.get("protocol")
    if protocol not in FIELDS:
        raise RequestError(f"prompt file {path}: protocol must be one of {', '.join(FIELDS)}, not {protocol!r}")
    instructions = "side-by-side" if view == "side-by-side" else "instructions"
    missing = [name for name in (*FIELDS[protocol], instructions, "rubric") if not data.get(name)]
    if missing:
        raise RequestError(
            f"prompt file {path} lacks {', '.join(missing)}; copy {FOLDER / protocol}.toml and edit that"
        )
    if len(data["rubric"]) != 6:
        raise RequestError(
            f"prompt file {path}: rubric needs six lines, for the scores 0 to 5, and has {len(data['rubric'])}"
        )
    questions = {name: data[name] for name in FIELDS[protocol] if name != "instructions"}
    before = data[instructions].replace("{fill}", FILLED[fill])
    return Prompts(protocol, before, questions, tuple(data["rubric"]))


@dataclass(frozen=True)
class ChatTemplate:
    """A model's own chat template (Jinja, from its GGUF) with its begin and end tokens."""

    source: str
    bos: str = ""
    eos: str = ""

    def split(self, instructions: str, question: str) -> tuple[str, str]:
        """Render one user turn with a picture.

        Returns:
            The text before the picture and the text after it, up to where the assistant's reply starts.

        Raises:
            RequestError: the template fails or drops the picture.
        """
        text = f"{instructions}\n{MARKER}\n{question}"
        rendered, complaint = "", ""
        for content in (text, [{"type": "text", "text": text}]):  # many templates know only one of the two forms
            try:
                rendered = self._render(content)
            except (TemplateError, TypeError, ValueError) as error:
                complaint = complaint or f"the judge's chat template fails: {error}"
            if rendered.count(MARKER) == 1:
                before, after = rendered.split(MARKER)
                return before, _without_thinking(after)
        raise RequestError(
            complaint or "the judge's chat template drops the picture; use a vision-language model's GGUF"
        )

    def _render(self, content: str | list[dict[str, str]]) -> str:
        return _compiled(self.source).render(
            messages=[{"role": "user", "content": content}], add_generation_prompt=True, enable_thinking=False,
            bos_token=self.bos, eos_token=self.eos,
        )  # fmt: skip


@cache
def _compiled(source: str) -> Template:
    """A template, compiled once: it is rendered for every question."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: NO_DATE.strftime(form)
    return environment.from_string(source)


class _Generation(Extension):
    """The tag that marks the assistant's words for training: its contents are kept."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Read up to the end tag."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _without_thinking(after: str) -> str:
    """Close a thought that the template opens for the reply whatever one asks it: the judge is to answer at once."""
    for tag in THOUGHTS:
        if after.rstrip().endswith(f"<{tag}>"):
            return f"{after.rstrip()}\n\n</{tag}>\n\n"
    return after


def _refuse(message: str) -> None:
    raise TemplateError(message)
