"""What a judge behind a server is asked, and the ways in which servers understand it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_type_hints

from core.judge.prompts import Prompts

TOP = 20
"""Alternatives asked for at each token; the most that OpenAI's API allows."""
RULES = r'''score ::= [0-5]
text ::= "\"" rest
rest ::= [^"\\\x7F\x00-\x1F]+ "\""'''


@dataclass(frozen=True)
class Question:
    """What is asked after the picture and the fields of the JSON reply, in their order."""

    text: str
    fields: tuple[str, ...]
    label: bool = False
    """Whether it asks about the picture's label in the place of the prediction."""
    begun: str = ""
    """The beginning of the reply where it is given; see `part`."""

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the reply."""
        kinds = {"score": {"type": "integer", "enum": [0, 1, 2, 3, 4, 5]}}
        properties = {name: kinds.get(name, {"type": "string"}) for name in self.fields}
        return {
            "type": "object", "properties": properties, "required": list(self.fields), "additionalProperties": False
        }  # fmt: skip

    @property
    def grammar(self) -> str:
        """The reply, or what follows its beginning, in llama.cpp's grammar."""
        if self.begun:
            return f"root ::= {'score' if self.fields[0] == 'score' else 'rest'}\n{RULES}"
        fields = [f'"\\"{name}\\":" {"score" if name == "score" else "text"}' for name in self.fields]
        return 'root ::= "{" ' + ' "," '.join(fields) + f' "}}"\n{RULES}'

    def part(self, name: str, *, after: str = "") -> Question:
        """The same question for one field alone, its reply begun as a judge in process is given it: `after` a reply."""
        quote = "" if name == "score" else '"'
        begun = (after.removesuffix("}") + "," if after else "{") + f'"{name}":{quote}'
        return replace(self, fields=(name,), begun=begun)


def questions(prompts: Prompts, prediction: str, *, label: str | None = None, words: bool = True) -> list[Question]:
    """What a protocol asks of one picture: each question is a request of its own; see `asking.lines`."""

    def ask(name: str, *fields: str, reverse: bool = False) -> Question:
        return Question(prompts.question(name, prediction=prediction, reverse=reverse), fields)

    if prompts.protocol == "paper":
        return [ask("explain", "description", "justification", "score")]
    of_label = [
        Question(prompts.question("score", prediction=label, reverse=reverse), ("score",), label=True)
        for reverse in (False, True)
        if label is not None and label != prediction
    ]
    if not words:
        return [ask("score", "score"), ask("score", "score", reverse=True), *of_label]
    return [
        ask("describe", "description"),
        ask("score", "score", "justification"),
        ask("score", "score", reverse=True),
        *of_label,
    ]


@dataclass(frozen=True)
class Dialect:
    """Which of the ways to ask for JSON and log-probabilities a server understands."""

    form: Literal["begun", "grammar", "json_schema", "json_object"]
    extras: bool
    logprobs: bool

    def options(self, question: Question) -> dict[str, Any]:
        """The request's fields: llama.cpp's grammar, OpenAI's and vLLM's schema, or llama.cpp's older form of it.

        `begun` asks for one field after the other and gives the reply up to it, in the tokens it has as a text: where a
        grammar alone leads there the model may choose others, after which it was seen to write rubbish.
        """
        schema = question.schema
        forms: dict[str, dict[str, Any]] = {
            "begun": {
                "grammar": question.grammar,
                "continue_final_message": True,
                "add_generation_prompt": False,
            },
            "grammar": {"grammar": question.grammar},
            "json_schema": {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "reply", "strict": True, "schema": schema},
                }
            },
            "json_object": {"response_format": {"type": "json_object", "schema": schema}},
        }
        thinking = {"chat_template_kwargs": {"enable_thinking": False}} if self.extras else {}
        return forms[self.form] | thinking | ({"logprobs": True, "top_logprobs": TOP} if self.logprobs else {})


def dialects(*, continues: bool) -> list[Dialect]:
    """The ways to ask in the order to try them; `continues`: it goes on with a reply that was begun."""
    forms = get_args(get_type_hints(Dialect)["form"])
    return [
        Dialect(form, extras, logprobs)
        for logprobs in (True, False)
        for form in (forms if continues else forms[1:])
        for extras in (True, False)
    ]
