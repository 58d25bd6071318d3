"""The judge: a local vision-language model that describes a masked picture and scores what it sees.

Knows: prompts, protocols, llama.cpp batches, score distributions. Does not know: DuckDB, Streamlit, classifiers.
"""

from core.judge.judge import Judge
from core.judge.loading import load_judge
from core.judge.several import SeveralJudges
from core.judge.url import UrlJudge, load_url_judge

__all__ = ["AnyJudge", "Judge", "SeveralJudges", "UrlJudge", "load_judge", "load_url_judge"]

AnyJudge = Judge | SeveralJudges | UrlJudge
