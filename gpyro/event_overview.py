"""What the event server tells of itself: its topics and its subscribers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import gevent

from gpyro.event_receiver import Receiver
from gpyro.topics import Ledger, TopicIndex

TURN: Final = 0.005
"""Seconds after which others have their turn."""

Rows = list[dict[str, Any]]
T = TypeVar("T")


def topic_rows(ledger: Ledger, index: TopicIndex[Receiver], receivers: Iterable[Receiver]) -> Rows:
    """What `EventService.topics` gives. Others have their turn meanwhile."""
    subscribed = {subject: name for one in receivers for subject, name in one.subjects.items()}

    def row(subject: str) -> dict[str, Any]:
        published, last, name = ledger.topics.get(subject) or (0, None, subscribed.get(subject, subject))
        number = len(set(index.find(subject)))
        return {"subject": name, "published": published, "last": last, "subscribers": number}

    return _in_turns(row, sorted({*ledger.topics, *subscribed}))


def subscriber_rows(receivers: Iterable[Receiver]) -> Rows:
    """What `EventService.subscribers` gives, likewise."""
    return _in_turns(Receiver.row, list(receivers))


def _in_turns(make: Callable[[T], dict[str, Any]], things: list[T]) -> Rows:
    rows = []
    until = time.monotonic() + TURN
    for thing in things:
        rows.append(make(thing))
        if time.monotonic() > until:
            gevent.sleep(0)
            until = time.monotonic() + TURN
    return rows
