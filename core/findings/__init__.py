"""What to tell the team: ranked findings, each with its numbers and its SQL."""

from core.findings.finding import KINDS, Finding
from core.findings.summarise import summarise

__all__ = ["KINDS", "Finding", "summarise"]
