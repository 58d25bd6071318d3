"""Reports of a run from its findings: Markdown, and one HTML file that needs nothing else.

Knows: findings, counts, how to escape. Does not know: Streamlit, where a report is kept.
"""

from core.report.markdown import markdown
from core.report.page import html

__all__ = ["html", "markdown"]
