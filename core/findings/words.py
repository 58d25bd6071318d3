"""What a judge often says of the pictures of a group that discovery found, beside what was measured of it.

The blind descriptions of its pictures are compared with those of the others of the same answer. The proposing half
suggests terms by their log-odds (Monroe, Colaresi & Quinn 2008, Political Analysis 16:372); the confirming half says
whether they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from core import queries
from core.findings.asking import LEAST_RATIO, Comparison
from core.findings.frame import Codes, Frame, Mask, load
from core.findings.significance import RATE, Table, adjusted
from core.queries import Connection, CueRow, cues, descriptions
from core.statistics import format_spoken

Floats = NDArray[np.float64]
LONGEST, MOST_TERMS = 3, 3000
"""Words of a term, and terms that are counted, commonest first."""
LEAST_PICTURES = 5
"""Pictures of the proposing half that a term needs."""
PRIOR = 10.0
"""Descriptions that the prior is worth."""
SUGGESTED = 1.64
"""Standard errors of the log-odds from which a term is proposed."""
PROPOSED = 3
"""Terms of a group that are proposed at most."""
OFTEN = 0.3
"""Share of a group's descriptions that have a term which names it."""
MOST_DESCRIBED = 20_000
"""Descriptions of each half that are read at most."""


@dataclass(frozen=True)
class Words:
    """Which of the `terms` each described picture's text has: `has` (n, t) of zeros and ones, `known` (n,)."""

    terms: tuple[str, ...]
    has: csr_array
    known: Mask
    sampled: bool
    """Whether the judge saw more of the wrong answers than of the others."""

    def hits(self, term: str) -> Mask:
        """Pictures whose description has a term, (n,)."""
        column = self.has[:, [self.terms.index(term)]]
        return np.asarray(column.toarray()[:, 0] > 0)

    def comparison(self, frame: Frame, groups: Comparison, term: str) -> Comparison:
        """A term among the described pictures of two groups; where wrong ones were chosen, within right and wrong."""
        strata: Codes = np.where(groups.strata < 0, -1, 2 * groups.strata + frame.wrong * self.sampled)
        return Comparison(groups.inside & self.known, groups.outside & self.known, self.hits(term), strata)


def read_words(frame: Frame) -> Words | None:
    """The terms of one to three words in a run's descriptions; None where a judge wrote too little."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer  # here: it takes a while to load

    texts = descriptions(frame.con, frame.run)
    written = np.asarray([bool(text) for text in texts], dtype=bool)
    half = frame.half & written
    proposing, confirming = (np.flatnonzero(part)[:MOST_DESCRIBED] for part in (half, written & ~half))
    if min(proposing.size, confirming.size) < 2 * LEAST_PICTURES:
        return None
    counter = CountVectorizer(
        ngram_range=(1, LONGEST), min_df=LEAST_PICTURES, max_features=MOST_TERMS, binary=True, dtype=np.int8
    )
    try:
        counter.fit([texts[place] for place in proposing])
    except ValueError:  # no word is there often enough
        return None
    told = [
        (term, place)
        for place, term in enumerate(counter.get_feature_names_out())
        if not {term.split()[0], term.split()[-1]} & ENGLISH_STOP_WORDS
    ]
    known = np.zeros(frame.n, dtype=bool)
    known[np.concatenate([proposing, confirming])] = True
    has = csr_array(counter.transform([text if there else "" for text, there in zip(texts, known, strict=True)]))
    sampled = bool(np.nan_to_num(frame.numbers("weight")).max(initial=0.0) > 1)
    return Words(tuple(str(term) for term, _ in told), has[:, [place for _, place in told]], known, sampled)


def log_odds(inside: Floats, outside: Floats, background: Floats, *, prior: float) -> Floats:
    """How many standard errors each term is commoner inside: log-odds ratio with an informative Dirichlet prior.

    Monroe, Colaresi & Quinn 2008, equations 15, 16, 20 and 22.

    Args:
        inside: counts of the terms in a group (t,).
        outside: counts in its complement (t,).
        background: counts in all texts (t,), from which the prior takes its proportions.
        prior: how many terms the prior is worth.
    """
    alpha = prior * background / max(float(background.sum()), 1.0) + 1e-9
    first, second = inside + alpha, outside + alpha
    odds = np.log(first / (first.sum() - first + 1e-9)) - np.log(second / (second.sum() - second + 1e-9))
    return np.asarray(odds / np.sqrt(1 / first + 1 / second))


def proposed(frame: Frame, words: Words, groups: Comparison) -> list[str]:
    """Terms that set `inside` apart in the proposing half, surest first; of terms within each other one."""
    counts = [
        np.asarray(words.has[np.flatnonzero(where & words.known & frame.half)].sum(axis=0), dtype=float).ravel()
        for where in (groups.inside, groups.outside, np.ones(frame.n, dtype=bool))
    ]
    described = max(1, int((words.known & frame.half).sum()))
    z = log_odds(*counts, prior=PRIOR * float(counts[2].sum()) / described)
    lengths = [term.count(" ") for term in words.terms]
    kept: list[str] = []
    for place in np.lexsort((-np.asarray(lengths, dtype=np.int64), -np.round(z, 1))):  # as sure: the longer one
        term = words.terms[place]
        if z[place] < SUGGESTED or len(kept) == PROPOSED:
            break
        if not any(f" {term} " in f" {other} " or f" {other} " in f" {term} " for other in kept):
            kept.append(term)
    return kept


def described(con: Connection, run: str) -> dict[str, str]:
    """What the judge's texts say more often of the groups that are used cues, by the name of the cue.

    A word is asked of a group that was selected as used, so at the rate of Benjamini & Bogomolov (2014, JRSS B 76:297):
    the budget of the cues times the share of them that is used. Empty where no judge wrote or no word is sure.

    Raises:
        QueryError: There is no such run.
    """
    rows = cues(con, run)
    groups = [row for row in rows if row.verdict == "used" and row.kind in queries.GROUPS]
    if not groups:
        return {}
    frame = load(con, run, group=queries.run(con, run).settings.group)
    used = sum(row.verdict == "used" for row in rows)
    return named(frame, groups, rate=RATE * used / max(used, sum(row.tested > 0 for row in rows)))


def named(frame: Frame, groups: Sequence[CueRow], *, rate: float) -> dict[str, str]:
    """The words of groups that stand at one false discovery `rate` over all words asked, as a sentence each."""
    words = read_words(frame)
    names, _, answers = frame.classes
    asked: list[tuple[str, str, Table, float]] = []
    for row in groups if words is not None else ():
        assert words is not None
        if row.answer not in names:
            continue
        own = answers == names.index(row.answer)
        members = frame.masks([row.sql])[0]
        both = Comparison(members & own, own & ~members, frame.wrong, answers)
        for term in proposed(frame, words, both):
            item = words.comparison(frame, both, term)
            asked.append((row.cue, term, item.table(frame.confirming), item.p(frame, frame.confirming)))
    said: dict[str, list[tuple[str, Table]]] = {}
    for (cue, term, table, _), level in zip(asked, adjusted([p for *_, p in asked]), strict=True):
        if level <= rate and table.rate >= max(OFTEN, LEAST_RATIO * table.rest_rate):
            said.setdefault(cue, []).append((term, table))
    return {cue: _spoken(terms) for cue, terms in said.items()}


def _spoken(terms: Sequence[tuple[str, Table]]) -> str:
    """The terms, and how often the judge's texts have the first."""
    first, table = terms[0]
    here, there = format_spoken(table.rate), format_spoken(table.rest_rate)
    quoted = ", ".join(f"“{term}”" for term, _ in terms)
    return f"Often described as: {quoted} (“{first}” in {here} of the judge's texts on them, {there} on the others)."
