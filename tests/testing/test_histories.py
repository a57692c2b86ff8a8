"""Histories have to notice what they are there for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpyro.store_contract import Change, Event, Watch
from gpyro.stores import MemoryStore
from gpyro.stores.embedded import EmbeddedWatch
from gpyro.testing.clock import FakeClock
from gpyro.testing.histories import Followed, follow_history


def follow(seed: int, make: Callable[..., MemoryStore] = MemoryStore) -> Followed:
    clock = FakeClock()
    with make(clock=clock, history=50) as store:

        def wait(seconds: float) -> None:
            for _ in range(int(seconds * 4)):
                clock.advance(0.25)
                store.tick()

        return follow_history(store, seed, wait)


@pytest.mark.parametrize("seed", range(15))
def test_a_good_store_has_no_faults(seed: int) -> None:
    found = follow(seed)
    assert found.faults == []
    assert found.changes > 100
    assert found.lists > 8


def test_histories_can_be_repeated() -> None:
    assert follow(3) == follow(3)


@pytest.mark.long
def test_a_thousand_histories() -> None:
    for seed in range(1000):
        assert follow(seed).faults == [], seed


class Forgetful(EmbeddedWatch):
    """Says nothing of deletions."""

    def next(self, timeout: float | None = None) -> Change | None:
        change = super().next(timeout)
        return change and Change(change.revision, tuple(event for event in change.events if event.entry is not None))


class Backward(EmbeddedWatch):
    """Says that it is where it was long ago, now and then."""

    def next(self, timeout: float | None = None) -> Change | None:
        change = super().next(timeout)
        if change is not None and change.revision % 7 == 0:
            return Change(change.revision - 5, tuple(Event(event.key, None) for event in change.events))
        return change


@pytest.mark.parametrize("cls", [Forgetful, Backward])
def test_a_bad_watch_is_noticed(cls: type[EmbeddedWatch]) -> None:
    class Bad(MemoryStore):
        def watch(self, prefix: str, after: int) -> Watch:
            super().watch(prefix, after).close()
            watch = cls(self, prefix, after)
            self._watches.add(watch)
            return watch

    assert any(follow(seed, Bad).faults for seed in range(5))


def test_a_store_that_loses_its_leases_is_noticed() -> None:
    class Bad(MemoryStore):
        def revoke(self, lease: int) -> bool:
            for entry in self.list("").entries:
                if entry.lease == lease:
                    del self._table.entries[entry.key]
                    self._table._keys.remove(entry.key)
            return True

    assert any(follow(seed, Bad).faults for seed in range(30))
