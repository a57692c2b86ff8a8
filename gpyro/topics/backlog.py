"""What waits for one subscriber: bounded in number and bytes, and what happens beyond that."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class Policy(StrEnum):
    """What happens to an event when a subscriber's queue is full."""

    BLOCK = "block"
    """Whoever publishes waits for room, for a time that is bounded; then the event is lost."""

    OLDEST = "oldest"
    """The event that waits longest is lost."""

    NEWEST = "newest"
    """The new event is lost."""

    DISCONNECT = "disconnect"
    """The subscriber is sent away, and loses all that waits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait for one subscriber.

    Attributes:
        policy: what happens beyond that.
        events: how many events; 0 for any number.
        size: bytes of them, encoded; 0 for any. A single event may be larger.
    """

    policy: Policy
    events: int
    size: int


def limits_of(usual: Limits, policy: str, events: int | None, size: int | None) -> Limits:
    """Limits as somebody asks for, up to `MAX_ASKED` times the usual; what is empty or None is as usual.

    Raises:
        ValueError: it is no policy, or no number.
    """
    for number in (events, size):
        if number is not None and not (type(number) is int and number >= 0):
            raise ValueError(f"how much may wait is a number that is not negative, or None: {number!r}")
    if policy not in ("", *Policy):
        raise ValueError(f"{policy!r} is no policy: {', '.join(Policy)} are")
    return Limits(
        Policy(policy) if policy else usual.policy,
        usual.events if events is None else _granted(events, usual.events),
        usual.size if size is None else _granted(size, usual.size),
    )


def _granted(asked: int, usual: int) -> int:
    """Of what the server keeps in its memory, who asks gets only so much; 0 is for any number."""
    return min(asked or MAX_ASKED * usual, MAX_ASKED * usual) if usual else asked


class Item(Protocol):
    """An event, as far as that counts here."""

    @property
    def number(self) -> int:
        """The number that the server gave it; they rise."""

    @property
    def size(self) -> int:
        """Its bytes, encoded."""


class Loss:
    """Events that a subscriber did not get, in the place where they would have stood.

    Attributes:
        count: how many.
        until: the number of the last one.
        why: why.
    """

    __slots__ = ("count", "until", "why")

    def __init__(self, until: int, why: str) -> None:
        self.count, self.until, self.why = 1, until, why

    def add(self, until: int, count: int = 1) -> None:
        """So many more."""
        self.count += count
        self.until = max(self.until, until)


class Ticket:
    """An event that waits for room.

    Attributes:
        item: the event.
        settled: it waits no more.
    """

    __slots__ = ("_wake", "item", "settled")

    def __init__(self, item: Item, wake: Callable[[], object]) -> None:
        self.item, self._wake, self.settled = item, wake, False

    def settle(self) -> None:
        """It waits no more."""
        if not self.settled:
            self.settled = True
            self._wake()


MAX_COPIES = 8
"""Copies of an event beyond what may wait, so that they stay together."""

MAX_ASKED = 16
"""Times the usual limits that somebody may have who asks for it."""

FULL = "the subscriber was too slow, and its queue full"


class Backlog:
    """The events that wait for one subscriber, and what of them was lost.

    Events and losses come out in the order of their numbers, in which they have to be put: who comes back names the
    last number that was seen.

    Attributes:
        limits: how much may wait.
        count: events that wait.
        size: bytes of them.
        lost: events lost so far.
        stalled: somebody has waited for room in vain, so nobody waits again before something was taken.
    """

    __slots__ = ("_before", "_items", "_tickets", "count", "limits", "lost", "size", "stalled")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.count = self.size = self.lost = 0
        self.stalled = False
        # Most subscribers have nothing waiting most of the time.
        self._items: deque[Any] | None = None
        # Those who wait for room, and what was lost behind them.
        self._tickets: deque[Ticket | Loss] | None = None
        self._before: Loss | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to be told: no event, and no loss."""
        return self._items is None and self._before is None

    @property
    def untold(self) -> int:
        """Events that wait, and those that were lost and are not told of yet."""
        losses = [self._before, *(self._items or ())]
        return self.count + sum(item.count for item in losses if isinstance(item, Loss))

    def has_room(self, size: int) -> bool:
        """Whether an event of `size` bytes may wait, too."""
        events, most = self.limits.events, self.limits.size
        if not self.count:
            return True
        return not (events and self.count >= events) and not (most and self.size + size > most)

    def put(self, item: Item) -> bool:
        """Let an event wait, by whatever the policy says.

        False if it is full, and the policy one that the caller has to carry out. Copies of an event stay together: who
        comes back names the last one that was seen, and does not say which copy.
        """
        if (self._tickets or not self.has_room(item.size)) and not self._is_copy(item):
            policy = self.limits.policy
            if policy is Policy.DISCONNECT or (policy is Policy.BLOCK and not self.stalled):
                return False
            if policy is not Policy.OLDEST:
                self._lose(item)
                return True
            if self._tickets is not None:  # of the time when it had another policy
                self._admit(self._tickets, by_force=True)
            self._make_room(item.size)
        self._append(item)
        return True

    def _make_room(self, size: int) -> None:
        while not self.has_room(size):
            self._lose_oldest()

    def _is_copy(self, item: Item) -> bool:
        """Whether it is another copy of the last one, and they are not too many."""
        events, most = self.limits.events, self.limits.size
        if not self._items or self._items[-1] is not item:
            return False
        return not (events and self.count >= events + MAX_COPIES) and not (most and self.size + item.size > 2 * most)

    def _append(self, item: Item) -> None:
        if self._items is None:
            self._items = deque()
        self._items.append(item)
        self.count += 1
        self.size += item.size

    def _lose(self, item: Item) -> None:
        """An event is lost, since there is no room."""
        self.lost += 1
        if self._tickets:
            last = self._tickets[-1]
            if type(last) is Loss:
                last.add(item.number)
            else:
                self._tickets.append(Loss(item.number, FULL))
        else:
            self._append_loss(Loss(item.number, FULL))

    def _append_loss(self, loss: Loss) -> None:
        if self._items is None:
            self._items = deque()
        last = self._items[-1] if self._items else None
        if type(last) is Loss and last.why == loss.why:
            last.add(loss.until, loss.count)
        else:
            self._items.append(loss)

    def _lose_oldest(self) -> None:
        assert self._items is not None
        oldest = self._items.popleft()
        before = self._before
        if type(oldest) is Loss:
            if before is None:
                self._before = oldest
            else:
                before.add(oldest.until, oldest.count)
            return
        copies = 1
        while self._is_next(oldest):
            self._items.popleft()
            copies += 1
        self.count -= copies
        self.size -= copies * oldest.size
        self.lost += copies
        if before is None:
            before = self._before = Loss(oldest.number, FULL)
            copies -= 1
        for _ in range(copies):
            before.add(oldest.number)

    def _is_next(self, item: Item) -> bool:
        return bool(self._items) and self._items[0] is item  # type: ignore[index]

    def wait(self, item: Item, wake: Callable[[], object]) -> Ticket:
        """Let an event wait for room, behind those that do so already; `wake` is called when it has it."""
        ticket = Ticket(item, wake)
        if self._tickets is None:
            self._tickets = deque()
        self._tickets.append(ticket)
        return ticket

    def give_up(self, ticket: Ticket, stalled: bool = True) -> None:
        """Nobody waits any more for room for this event: it is lost. `stalled`: after the longest time for that."""
        if ticket.settled:
            return
        ticket.settled = True
        self.stalled = self.stalled or stalled
        tickets = self._tickets
        assert tickets is not None  # as long as it waits
        # In its place: others may wait, for events before and behind it.
        place = tickets.index(ticket)
        before = tickets[place - 1] if place else None
        if isinstance(before, Loss):
            before.add(ticket.item.number)
            del tickets[place]
        else:
            tickets[place] = Loss(ticket.item.number, FULL)
        self.lost += 1
        self._admit(tickets)

    def take(self, most: int, size: int) -> list[Any]:
        """Take the events, and losses, that come next.

        Args:
            most: how many at most; but copies of one event are not parted.
            size: bytes at most, unless a single one is larger.
        """
        found: list[Any] = []
        if self._before is not None:
            found.append(self._before)
            self._before = None
        items = self._items
        if items is not None:
            if len(items) + len(found) <= most and self.size <= size:
                found += items
                items.clear()
                self.count = self.size = 0
            else:
                self._take_some(found, items, most, size)
            if not items:
                self._items = None
        self.stalled = False
        if self._tickets is not None:
            self._admit(self._tickets)
        return found

    def _take_some(self, found: list[Any], items: deque[Any], most: int, size: int) -> None:
        last = None
        while items:
            item = items[0]
            if type(item) is not Loss:
                if found and item is not last and (len(found) >= most or item.size > size):
                    return
                self.count -= 1
                self.size -= item.size
                size -= item.size
                last = item
            found.append(items.popleft())

    def _admit(self, tickets: deque[Ticket | Loss], by_force: bool = False) -> None:
        """Let in who waits for room, as far as there is some; `by_force`: for all, at the expense of the oldest."""
        while tickets:
            first = tickets[0]
            if isinstance(first, Loss):
                self._append_loss(first)
            else:
                if by_force:
                    self._make_room(first.item.size)
                elif not (self.has_room(first.item.size) or self._is_copy(first.item)):
                    break
                self._append(first.item)
                first.settle()
            tickets.popleft()
        if not tickets:
            self._tickets = None

    def put_back(self, items: list[Any]) -> None:
        """What was taken, and did not arrive, is to be taken again."""
        if not items:
            return
        if self._before is not None:
            items = [*items, self._before]
            self._before = None
        if self._items is None:
            self._items = deque()
        self._items.extendleft(reversed(items))
        for item in items:
            if type(item) is not Loss:
                self.count += 1
                self.size += item.size

    def clear(self) -> None:
        """Nobody takes anything any more: who waits for room goes on."""
        tickets, self._tickets = self._tickets, None
        self._items = self._before = None
        self.count = self.size = 0
        for ticket in tickets or ():
            if isinstance(ticket, Ticket):
                ticket.settle()
