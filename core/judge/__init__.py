"""The judge: a local vision-language model that describes a masked picture and scores what it sees.

Knows: prompts, protocols, llama.cpp batches, score distributions. Does not know: DuckDB, Streamlit, classifiers.
"""

from core.judge.judge import Judge, load_judge
from core.judge.url import UrlJudge, load_url_judge

__all__ = ["Judge", "UrlJudge", "load_judge", "load_url_judge"]
