"""What an event server tells of its topics and subscribers: rows, some at a time, for there may be many."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import gevent

from gpyro.event_receiver import Receiver
from gpyro.topics import Ledger, TopicIndex

TOPICS_TOGETHER: Final = 1_000
"""Topics that are told in one call."""

SUBSCRIBERS_TOGETHER: Final = 200
"""Subscribers that are told in one call."""

TURN: Final = 0.005
"""Seconds that looking, or delivering, may hold the loop before others have their turn."""

Rows = list[dict[str, Any]]


def topics_after(subject: str, ledger: Ledger, index: TopicIndex[Receiver]) -> Rows:
    """The topics whose subjects, folded, come next after this one, as `EventService.topics` has them."""
    known = {*ledger.topics, *index.subjects()}
    rows = []
    for name in _in_turns(heapq.nsmallest(TOPICS_TOGETHER, (one for one in known if one > subject))):
        receivers = set(index.find(name))
        topic = ledger.topics.get(name)
        if topic is not None:
            row = {"subject": topic.name, "published": topic.published, "last": topic.last}
        else:  # nobody but those who subscribed has said how it is written
            given = next((one.subjects[name] for one in receivers if name in one.subjects), name)
            row = {"subject": given, "published": 0, "last": None}
        rows.append({**row, "subscribers": len(receivers)})
    return rows


def subscribers_after(number: int, receivers: Iterable[Receiver]) -> Rows:
    """Of these subscribers, in the order they came, those next after one, as `EventService.subscribers` has them."""
    following = (one.row() for one in receivers if one.number > number)
    return list(islice(following, SUBSCRIBERS_TOGETHER))


def _in_turns(names: Iterable[str]) -> Iterator[str]:
    until = time.monotonic() + TURN
    for name in names:
        if time.monotonic() > until:
            gevent.sleep(0)
            until = time.monotonic() + TURN
        yield name


def all_pages(page: Any, key: str, first: Any) -> Iterator[dict[str, Any]]:
    """All rows that a method of an event server gives page by page.

    Args:
        page: gives the rows after one, by its key.
        key: the member of a row that is its key.
        first: what comes before all keys.
    """
    rows = page(first)
    while rows:
        yield from rows
        rows = page(rows[-1][key])
