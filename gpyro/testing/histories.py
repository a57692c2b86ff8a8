"""Random histories of a store, followed by views that are stopped, cut off and left behind."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent

from gpyro.errors import LeaseLostError
from gpyro.store_contract import Delete, DeleteAll, Entry, Put, Step, Store
from gpyro.stores.view import View

KEYS = [f"{group}{number}" for group in "ab" for number in range(8)]


@dataclass
class Followed:
    """What came of a history.

    Attributes:
        faults: what was not as it must be; empty if all went well.
        changes: how many changes the store made.
        lists: how often the views had to list again.
    """

    faults: list[str] = field(default_factory=list)
    changes: int = 0
    lists: int = 0


class _Follower:
    """A view, and somebody who believes what it tells."""

    def __init__(self, store: Store, prefix: str, faults: list[str]) -> None:
        self.prefix = prefix
        self.view = View(store, prefix)
        self.believed: dict[str, Entry] = {}
        self.revision = 0
        self._faults = faults

    def read(self) -> None:
        """Take all that is to be had now."""
        while True:
            change = self.view.next(0)
            if self.view.revision < self.revision:
                self._faults.append(f"revision {self.view.revision} after {self.revision}")
            self.revision = self.view.revision
            if change is None or (not change.events and self.view.lists == 1):
                return
            for key, entry in change.events:
                if entry is not None:
                    self.believed[key] = entry
                elif self.believed.pop(key, None) is None:
                    self._faults.append(f"{key} was deleted, and had not been there")


def follow_history(store: Store, seed: int, wait: Callable[[float], None], steps: int = 300) -> Followed:
    """Change a store at random, and see that views which follow it with interruptions end up like it.

    Args:
        store: an open store, which does not remember many changes.
        seed: decides what happens.
        wait: lets so many seconds pass for the store, so that leases end.
        steps: how much happens.
    """
    chance = random.Random(seed)
    found = Followed()
    followers = [_Follower(store, prefix, found.faults) for prefix in ("", "a", "b", "a1")]
    leases: list[int] = []
    start = store.list("").revision
    for _ in range(steps):
        what = chance.random()
        if what < 0.55:
            _change(store, chance, leases)
        elif what < 0.6:
            leases.append(store.grant(chance.choice((1.0, 3.0))).id)
        elif what < 0.63 and leases:
            store.revoke(leases.pop(chance.randrange(len(leases))))
        elif what < 0.66:
            wait(chance.choice((0.5, 2.0)))
        elif what < 0.7:  # long silence for all: what they have not read may be forgotten
            for _ in range(chance.randrange(80)):
                _change(store, chance, leases)
        elif what < 0.75:
            chance.choice(followers).view.close()
        else:
            chance.choice(followers).read()
    wait(5.0)
    store.create("end", b"")  # what leases ended is saved by then
    gevent.sleep(0)
    for follower in followers:
        follower.read()
        follower.view.close()
        kept = {entry.key: entry for entry in store.scan(follower.prefix)}
        for what_of, entries in (("view", follower.view.entries), ("follower", follower.believed)):
            if entries != kept:
                found.faults.append(f"the {what_of} of {follower.prefix!r} has {entries}, the store {kept}")
        found.lists += follower.view.lists
    found.changes = store.list("").revision - start
    return found


def _change(store: Store, chance: random.Random, leases: list[int]) -> None:
    keys = chance.sample(KEYS, 3)
    lease = chance.choice([0, 0, 0, *leases])
    steps: list[Step] = [Put(keys[0], chance.randbytes(2), lease)]
    kind = chance.randrange(8)
    if kind < 3:
        steps = [Delete(keys[0])]
    elif kind == 3:
        steps = [Delete(keys[0]), Put(keys[1], b"x"), Put(keys[2], b"y", lease)]
    elif kind == 4 and chance.random() < 0.3:
        steps = [DeleteAll(chance.choice(("a", "b", "a1", "")))]
    try:
        store.commit([], steps)
    except LeaseLostError:
        leases.remove(lease)
