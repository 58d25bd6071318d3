"""What a search asks for: words, "exact phrases", -unwanted words and OR, as terms and as a condition in SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r'-?"[^"]*"|\S+')
_EDGES = r"(^|[^\p{L}\p{N}])", r"([^\p{L}\p{N}]|$)"


@dataclass(frozen=True)
class Asked:
    """A search as typed. `groups` are joined by OR: the phrases that a text must hold, and those that it must not."""

    plain: str
    """What is wanted, without operators: for BM25 and for the meaning."""
    groups: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

    def condition(self) -> tuple[str, list[object]]:
        """SQL about a column `said` in lower case, and its parameters; empty where everything may pass."""
        if any(not wanted and not unwanted for wanted, unwanted in self.groups):
            return "", []
        ways, parameters = [], []
        for wanted, unwanted in self.groups:
            ways.append(
                " AND ".join(
                    ["regexp_matches(said, ?)"] * len(wanted) + ["NOT regexp_matches(said, ?)"] * len(unwanted)
                )
            )
            parameters += [_EDGES[0] + re.escape(phrase) + _EDGES[1] for phrase in (*wanted, *unwanted)]
        return " OR ".join(f"({way})" for way in ways), list(parameters)


def asked(text: str) -> Asked:
    """Reads a search: `snow "much snow" -cow OR ice`; an open quote is a word like any other."""
    plain: list[str] = []
    groups: list[tuple[list[str], list[str]]] = [([], [])]
    for token in _TOKEN.findall(text):
        if token == "OR":
            groups.append(([], []))
            continue
        unwanted = token.startswith("-") and len(token) > 1
        bare = token[1:] if unwanted else token
        quoted = len(bare) > 1 and bare.startswith('"') and bare.endswith('"')
        words = " ".join(bare.strip('"').split()) if quoted else bare
        if not words:
            continue
        if unwanted:
            groups[-1][1].append(words.lower())
        else:
            plain.append(words)
            if quoted:
                groups[-1][0].append(words.lower())
    return Asked(" ".join(plain), tuple((tuple(wanted), tuple(unwanted)) for wanted, unwanted in groups))
