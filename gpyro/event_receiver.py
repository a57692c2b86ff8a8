"""A subscriber, as the event server has it."""

from __future__ import annotations

import time
from collections.abc import Collection
from itertools import count, islice
from typing import Any, Final, Protocol

import gevent

from gpyro.callbacks import RemoteFunction
from gpyro.event_routes import Route, place_of
from gpyro.proxy import DynamicProxy
from gpyro.tls import Session
from gpyro.topics import Backlog, Limits, Loss, Pattern, TopicIndex, compared

LOOKED_AT_TOGETHER: Final = 50
"""Patterns that are looked at before others have their turn."""

SHOWN: Final = 20
"""Subjects of a subscriber, and patterns, that are told."""

_numbers: Final = count(1)


class Service(Protocol):
    """What a receiver needs of the event server."""

    def deliver_soon(self, receiver: Receiver) -> None:
        """Deliver to it at the end of this turn of the loop."""

    def drop(self, receiver: Receiver, why: str) -> None:
        """It is gone."""


class Receiver:
    """A subscriber, as the server has it.

    Attributes:
        number: its own, higher than those of all who came before.
        begins: the number of the last event before those that it gets.
        key: what it is known by: its URI, a reference, or the token that it chose.
        name: for people.
        route: how it is reached.
        session: the session that it came by and ends with; None if there is none.
        backlog: what waits for it.
        subjects: the subjects that it subscribed to: as compared, and as given.
        patterns: likewise the patterns, by their text.
        in_flight: what is under way to it; None if nothing is.
        due: it is in the list of those who are delivered to in this turn.
        delivered: events that it got.
        since: when it came, as `time.time`.
    """

    __slots__ = (
        "_service",
        "backlog",
        "begins",
        "delivered",
        "due",
        "in_flight",
        "key",
        "name",
        "number",
        "patterns",
        "route",
        "session",
        "since",
        "subjects",
    )

    def __init__(self, service: Service, key: Any, name: str, limits: Limits, begins: int = 0) -> None:
        self._service = service
        self.key, self.name = key, name
        self.number = next(_numbers)
        self.begins = begins
        self.backlog = Backlog(limits)
        self.route: Route | None = None
        self.session: Session | None = None
        self.subjects: dict[str, str] = {}
        self.patterns: dict[str, None] = {}
        self.in_flight: list[Any] | None = None
        self.due = False
        self.delivered = 0
        self.since = time.time()

    def add(self, index: TopicIndex[Receiver], subjects: dict[str, str], patterns: Collection[Pattern]) -> None:
        """Subscribe to these subjects (as compared, and as given) and patterns."""
        for subject, name in subjects.items():
            self.subjects[subject] = name
            index.add(subject, self)
        for pattern in patterns:
            self.patterns[pattern.text] = None
            index.add_pattern(pattern, self)

    def remove(self, index: TopicIndex[Receiver], names: Collection[str]) -> None:
        """Subscribe no more to these subjects, or else these patterns; unknown ones are ignored."""
        for name in names:
            subject = compared(name)
            if self.subjects.pop(subject, None) is not None:
                index.remove(subject, self)
            elif name in self.patterns:
                del self.patterns[name]
                index.remove_pattern(name, self)

    def clear(self, index: TopicIndex[Receiver]) -> None:
        """Subscribe to nothing any more."""
        for subject in self.subjects:
            index.remove(subject, self)
        for text in self.patterns:
            index.remove_pattern(text, self)
        self.subjects, self.patterns = {}, {}

    def arrived(self, items: list[Any]) -> None:
        """It has these; more may wait. In any greenlet of the server's thread."""
        for item in items:
            if type(item) is not Loss:
                self.delivered += 1
        if not self.backlog.empty:
            self._service.deliver_soon(self)

    def unreachable(self, why: str) -> None:
        """It is gone."""
        self._service.drop(self, why)

    def row(self) -> dict[str, Any]:
        """What `EventService.subscribers` says of it."""
        backlog, route = self.backlog, self.route
        return {
            "number": self.number,
            "name": self.name,
            "address": None if route is None else place_of(route.address),
            "subjects": list(islice(self.subjects.values(), SHOWN)),
            "patterns": list(islice(self.patterns, SHOWN)),
            "subscriptions": len(self.subjects) + len(self.patterns),
            "waiting": backlog.count,
            "bytes": backlog.size,
            "sent": sum(type(item) is not Loss for item in self.in_flight or ()),
            "delivered": self.delivered,
            "lost": backlog.lost,
            "policy": str(backlog.limits.policy),
            "since": self.since,
        }


def not_seen(items: list[Any], number: int) -> list[Any]:
    """What is left of events, and losses, that were under way to who has seen those up to this number.

    By their places, since copies of an event have one number.
    """
    for place in range(len(items) - 1, -1, -1):
        item = items[place]
        if number == (item.until if type(item) is Loss else item.number):
            return items[place + 1 :]
    return items


def key_of(subscriber: Any) -> Any:
    """What is the same for the same subscriber."""
    if isinstance(subscriber, str):
        return subscriber
    if not isinstance(subscriber, DynamicProxy | RemoteFunction):
        raise TypeError(
            f"a subscriber is an object with a method 'event', passed by a proxy or by reference, or a function: not "
            f"{type(subscriber).__name__}"
        )
    received = getattr(subscriber._remote, "received", None)
    if received is not None:
        return received.channel, received.id
    return (str(subscriber.URI),)  # type: ignore[union-attr]


def patterns_of(texts: list[str]) -> list[Pattern]:
    """The patterns of these texts; others have their turn in between. Raises PatternError."""
    patterns = []
    for number, text in enumerate(texts, 1):
        patterns.append(Pattern(text))
        if not number % LOOKED_AT_TOGETHER:
            gevent.sleep(0)
    return patterns
