"""What was published: how many events, on which subjects, and on which ones the last of them were."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

HISTORY: Final = 10_000
"""Events whose subjects are remembered, to count what a subscriber missed that comes back."""

MAX_TOPICS: Final = 10_000
"""Subjects that are counted; of more, those that nothing was published on for long are forgotten."""

_LOOKED_AT: Final = 100


@dataclass(slots=True)
class Topic:
    """A subject that something was published on.

    Attributes:
        published: how many events.
        last: when the last one was, in the seconds of whoever counts.
        name: the subject as it was given first.
    """

    published: int
    last: float
    name: str


class Ledger:
    """Numbers events, and counts them by their subjects.

    Attributes:
        number: of the last event.
        topics: the subjects, folded.
    """

    def __init__(self) -> None:
        self.number = 0
        self.topics: dict[str, Topic] = {}
        self._history: deque[str] = deque(maxlen=HISTORY)

    def add(self, subject: str, name: str, now: float) -> None:
        """The next event is published: on this subject, folded, which was given as `name`."""
        self.number += 1
        self._history.append(subject)
        topic = self.topics.get(subject)
        if topic is not None:
            topic.published += 1
            topic.last = now
            return
        if len(self.topics) >= MAX_TOPICS:
            oldest = min(islice(self.topics, _LOOKED_AT), key=lambda known: self.topics[known].last)
            del self.topics[oldest]
        self.topics[subject] = Topic(1, now, name)

    def since(self, number: int) -> Iterator[str] | None:
        """The subjects of the events after the one with this number; None if they are not all remembered."""
        behind = self.number - number
        if not 0 <= behind <= len(self._history):
            return None
        return islice(self._history, len(self._history) - behind, None)
