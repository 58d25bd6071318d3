"""How often a wrong word names a group, and a planted one is found, in drawn texts: part of `make bench-findings`.

`python -m tests.bench.group_words [WORLDS]`: 200 worlds without a cause of words by default, and a fifth with a planted
word. Ten groups a world; of the first, PLANTED is said.
"""

from __future__ import annotations

import sys

from core.findings import words
from core.findings.significance import RATE
from core.statistics import format_rate, wilson
from tests.support.described import CLASSES, PLANTED, Texts, described_world

ONE_USED = RATE / CLASSES
"""The rate where one cue of ten is used: the strictest."""


def named_groups(seed: int, texts: Texts, *, n: int, rate: float) -> dict[str, str]:
    """Groups of a world that have words."""
    frame, groups = described_world(seed, texts, n=n)
    return words.named(frame, groups, rate=rate)


def nothing(worlds: int, *, n: int) -> str:
    """Worlds with a word for any group, where words go with the class alone."""
    wrong = sum(bool(named_groups(seed, Texts(), n=n, rate=RATE)) for seed in range(worlds))
    return f"any wrong word {format_rate(wilson(wrong, worlds))}"


def planted(worlds: int, texts: Texts, *, n: int) -> str:
    """Worlds whose first group has its word, and with a word for another."""
    said = [named_groups(seed, texts, n=n, rate=ONE_USED) for seed in range(worlds)]
    found = sum(f"“{PLANTED}”" in item.get("class0 1", "") for item in said)
    wrong = sum(bool(set(item) - {"class0 1"}) for item in said)
    return f"found {format_rate(wilson(found, worlds))}, a wrong group named {format_rate(wilson(wrong, worlds))}"


def main() -> None:
    """Prints a line for each kind of world."""
    worlds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"nothing, 1,000 pictures: {nothing(worlds, n=1000)}")
    often, ratio = words.OFTEN, words.LEAST_RATIO
    words.OFTEN = words.LEAST_RATIO = 0.0
    print(f"nothing, the test alone: {nothing(worlds, n=1000)}")
    words.OFTEN, words.LEAST_RATIO = often, ratio
    for n in (1000, 3000):
        for texts in (Texts(0.7, 0.05), Texts(0.5, 0.1), Texts(0.7, 0.05, written=0.33)):
            shares = f"{texts.inside:.0%} against {texts.outside:.0%}, {texts.written:.0%} described"
            print(f"{shares}, {n:,} pictures: {planted(max(1, worlds // 5), texts, n=n)}", flush=True)


if __name__ == "__main__":
    main()
