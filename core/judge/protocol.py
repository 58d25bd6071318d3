"""What a judge is to the rest of the house."""

from core.judge.judge import Judge
from core.judge.several import SeveralJudges
from core.judge.url import UrlJudge

AnyJudge = Judge | SeveralJudges | UrlJudge
