"""What subscribers get: events, and word of those they missed."""

from __future__ import annotations

import time
from typing import Any

from gpyro.errors import PyroError, SerializationError
from gpyro.topics import PatternError, SubjectError
from gpyro.values import register_class


class Event:
    """Something that was published.

    Attributes:
        subject: what it is about, as it was published.
        msg: the message.
        time: when it was published, by the event server's clock, as `time.time`; the same for all events of one
            `publish`.
        number: what the event server numbered it with: each event has a higher number than those before it. None for
            one that no event server has seen.
    """

    __slots__ = ("msg", "number", "subject", "time")

    def __init__(self, subject: str, msg: Any, creationTime: float | None = None, number: int | None = None) -> None:
        """`creationTime` is as `time.time`; None for now."""
        self.subject = subject
        self.msg = msg
        self.time = time.time() if creationTime is None else creationTime
        self.number = number

    def __str__(self) -> str:
        return f"<EVENT SUBJ {self.subject} ({time.ctime(self.time)}): {self.msg}>"

    def __repr__(self) -> str:
        return f"Event({self.subject!r}, {self.msg!r}, {self.time!r}, {self.number!r})"


class Gap:
    """Events that a subscriber missed.

    Attributes:
        count: how many; None if nobody knows.
        reason: why.
    """

    __slots__ = ("count", "reason")

    def __init__(self, count: int | None, reason: str) -> None:
        self.count = count
        self.reason = reason

    def and_then(self, other: Gap) -> Gap:
        """Both together; the last reason."""
        known = self.count is not None and other.count is not None
        return Gap(self.count + other.count if known else None, other.reason)  # type: ignore[operator]

    def __str__(self) -> str:
        count = "an unknown number of" if self.count is None else self.count
        return f"{count} event{'' if self.count == 1 else 's'} missed: {self.reason}"

    def __repr__(self) -> str:
        return f"Gap({self.count!r}, {self.reason!r})"


class EventError(SerializationError):
    """An event that the event server does not take: its message cannot travel on to subscribers, or is too large."""


class UnknownSubscriberError(KeyError):
    """Somebody has no subscription at the event server."""

    def __str__(self) -> str:  # a KeyError's own is for keys
        return Exception.__str__(self)


class SubscriptionError(PyroError):
    """The event server takes no subscription: it is full, or closed, or who asks for it is gone."""


def _event_of(state: Any) -> Event:
    subject, msg, created, number = state
    return Event(subject, msg, created, number)


def _gap_of(state: Any) -> Gap:
    count, reason = state
    return Gap(count, reason)


register_class(
    Event,
    name="gpyro.Event",
    to_state=lambda event: [event.subject, event.msg, event.time, event.number],
    from_state=_event_of,
    subclasses=True,
)
register_class(Gap, name="gpyro.Gap", to_state=lambda gap: [gap.count, gap.reason], from_state=_gap_of)
register_class(EventError, name="gpyro.EventError")
register_class(UnknownSubscriberError, name="gpyro.UnknownSubscriberError")
register_class(SubscriptionError, name="gpyro.SubscriptionError")
register_class(PatternError, name="gpyro.PatternError")
register_class(SubjectError, name="gpyro.SubjectError")
