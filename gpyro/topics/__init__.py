"""The rules of the event service: subjects, patterns, who gets what, and what waits for a subscriber that is slow.

No input, no output and no clock: the event server stands on this.
"""

from __future__ import annotations

from .backlog import Backlog, Limits, Loss, Policy, Ticket, limits_of
from .index import TopicIndex
from .ledger import Ledger
from .patterns import Pattern, PatternError
from .subjects import SubjectError, compared, fold, subjects_of

__all__ = [
    "Backlog",
    "Ledger",
    "Limits",
    "Loss",
    "Pattern",
    "PatternError",
    "Policy",
    "SubjectError",
    "Ticket",
    "TopicIndex",
    "compared",
    "fold",
    "limits_of",
    "subjects_of",
]
