"""What the contract of stores says of leases and watches, as tests; a part of `gpyro.testing.stores`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import gevent
import pytest

from gpyro import errors
from gpyro.store_contract import MAX_LEASE_SECONDS, Change, Delete, DeleteAll, Entry, Event, Put, Store

from .clock import FakeClock
from .histories import follow_history

PATIENCE = 10.0
"""Seconds to wait for what has to happen."""

LEASE = 10.0
"""Seconds of the leases in these tests."""


def eventually(condition: Callable[[], Any]) -> None:
    """Let the loop run until the condition holds."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"not within {PATIENCE} s"
        gevent.sleep(0.001)


class OverTimeContract:
    """Leases and watches.

    Attributes:
        lasting: whether what was acknowledged is there again when the store is closed and opened.
        history: how many changes the store remembers at most, when `make_store` made it.
    """

    lasting: ClassVar[bool]
    history: ClassVar[int] = 50

    def make_store(self, clock: FakeClock, directory: Path) -> Store:
        """An empty store that is not open; or the same again, where one was made in this directory before."""
        raise NotImplementedError

    def pass_time(self, store: Any, clock: FakeClock, seconds: float) -> None:
        """Let time pass for a store that runs all the while."""
        while seconds > 0:
            clock.advance(min(0.25, seconds))
            store.tick()
            seconds -= 0.25

    def pause(self, store: Any, clock: FakeClock, seconds: float) -> None:
        """Let time pass while the store stands still, and then have it go on."""
        clock.advance(seconds)
        store.tick()

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The clock of the store under test."""
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock, tmp_path: Path) -> Iterator[Store]:
        """The store under test, open."""
        with self.make_store(clock, tmp_path) as store:
            yield store

    # Leases

    def test_a_lease_that_nobody_renews_ends(self, store: Store, clock: FakeClock) -> None:
        lease = store.grant(LEASE)
        assert lease.seconds >= LEASE
        revision = store.commit([], [Put("a", b"1", lease.id), Put("b", b"2", lease.id), Put("c", b"3")]).revision
        entry = store.get("a")
        assert entry is not None
        assert entry.lease == lease.id
        with store.watch("", revision) as watch:
            self.pass_time(store, clock, lease.seconds - 1)
            assert store.get("a") == entry
            assert watch.next(0) is None
            self.pass_time(store, clock, 1.5)
            change = watch.next(PATIENCE)
        assert change is not None
        assert set(change.events) == {Event("a", None), Event("b", None)}
        assert change.revision > revision
        assert [entry.key for entry in store.scan("")] == ["c"]
        self._expect_lost(store, lease.id)

    def _expect_lost(self, store: Store, lease: int) -> None:
        with pytest.raises(errors.LeaseLostError):
            store.renew(lease)
        with pytest.raises(errors.LeaseLostError):
            store.create("late", b"", lease)
        assert not store.revoke(lease)
        assert store.get("late") is None

    def test_a_lease_that_is_renewed_goes_on(self, store: Store, clock: FakeClock) -> None:
        lease = store.grant(LEASE)
        store.create("a", b"1", lease.id)
        for _ in range(6):
            self.pass_time(store, clock, lease.seconds / 3)
            assert store.renew(lease.id) == lease
        assert store.get("a") is not None
        self.pass_time(store, clock, lease.seconds + 1)
        eventually(lambda: store.get("a") is None)

    def test_a_lease_that_is_revoked_ends_at_once(self, store: Store) -> None:
        lease, other = store.grant(LEASE), store.grant(LEASE)
        store.commit([], [Put("a", b"1", lease.id), Put("b", b"2", lease.id), Put("c", b"3", other.id)])
        assert store.revoke(lease.id)
        assert [entry.key for entry in store.scan("")] == ["c"]
        self._expect_lost(store, lease.id)
        assert store.revoke(other.id)
        assert store.list("").entries == []

    def test_a_key_is_under_the_lease_that_it_was_put_under_last(self, store: Store) -> None:
        first, second = store.grant(LEASE), store.grant(LEASE)
        assert first.id != second.id
        store.commit([], [Put(key, b"", first.id) for key in "abcd"])
        store.commit([], [Put("a", b"", second.id), Put("b", b""), Delete("c")])
        store.create("c", b"")
        store.revoke(first.id)
        assert [(entry.key, entry.lease) for entry in store.scan("")] == [("a", second.id), ("b", 0), ("c", 0)]

    def test_leases_of_no_use_do_no_harm(self, store: Store, clock: FakeClock) -> None:
        self._expect_lost(store, 12345)
        lease = store.grant(LEASE)
        revision = store.create("a", b"").revision
        self.pass_time(store, clock, lease.seconds + 1)
        self._expect_lost(store, lease.id)
        assert store.list("").revision == revision
        for seconds, error in [(0, ValueError), (-1, ValueError), (MAX_LEASE_SECONDS + 1, ValueError)]:
            with pytest.raises(error):
                store.grant(seconds)
        for wrong in ("1", None, True):
            with pytest.raises(TypeError):
                store.grant(wrong)  # type: ignore[arg-type]

    def test_a_pause_of_the_store_ends_no_lease(self, store: Store, clock: FakeClock) -> None:
        lease = store.grant(LEASE)
        store.create("a", b"1", lease.id)
        for _ in range(3):
            self.pass_time(store, clock, lease.seconds - 1)
            self.pause(store, clock, 5 * lease.seconds)
        assert store.get("a") is not None
        assert store.renew(lease.id) == lease
        self.pause(store, clock, 5 * lease.seconds)
        self.pass_time(store, clock, lease.seconds + 1)
        eventually(lambda: store.get("a") is None)

    def test_a_lease_has_its_full_time_after_a_restart(self, clock: FakeClock, tmp_path: Path) -> None:
        if not self.lasting:
            pytest.skip("only for stores that keep leases")
        with self.make_store(clock, tmp_path) as store:
            lease = store.grant(LEASE)
            store.create("a", b"1", lease.id)
            self.pass_time(store, clock, lease.seconds - 1)
        clock.advance(100 * lease.seconds)
        with self.make_store(clock, tmp_path) as store:
            self.pass_time(store, clock, lease.seconds - 1)
            assert store.get("a") is not None
            self.pass_time(store, clock, 2)
            eventually(lambda: store.get("a") is None)

    # Watches

    def test_a_watch_tells_every_change_in_order(self, store: Store) -> None:
        start = store.create("a", b"1").revision
        watch = store.watch("a", start)
        made = [store.create("a.1", b"x"), store.create("b", b"y"), store.commit([], [Put("a", b"2"), Put("c", b"")])]
        store.delete("c")
        made.append(store.commit([], [Delete("a"), DeleteAll("a.")]))
        changes = []
        while (change := watch.next(0)) is not None:
            changes.append(change)
        revisions = [made[0].revision, made[2].revision, made[3].revision]
        assert changes == [
            Change(revisions[0], (Event("a.1", Entry("a.1", b"x", revisions[0], revisions[0], 0)),)),
            Change(revisions[1], (Event("a", Entry("a", b"2", start, revisions[1], 0)),)),
            Change(revisions[2], changes[2].events),
        ]
        assert set(changes[2].events) == {Event("a", None), Event("a.1", None)}
        with store.watch("a", revisions[0]) as later:
            assert later.next(PATIENCE) == changes[1]
            assert later.revision >= revisions[1]
        watch.close()

    def test_a_watch_waits(self, store: Store) -> None:
        with store.watch("a", store.list("").revision) as watch:
            assert watch.next(0.01) is None
            waiting = gevent.spawn(lambda: next(iter(watch)))
            gevent.sleep(0.01)
            store.create("b", b"")
            gevent.sleep(0.01)
            assert not waiting.ready()
            revision = store.create("a", b"").revision
            assert waiting.get(timeout=PATIENCE).revision == revision
            assert watch.revision >= revision

    def test_a_watch_that_is_closed_ends(self, store: Store, clock: FakeClock, tmp_path: Path) -> None:
        for end in (lambda watch: watch.close(), lambda watch: store.close()):
            watch = store.watch("", 0)
            waiting = gevent.spawn(watch.next)
            gevent.sleep(0.01)
            end(watch)
            with pytest.raises(errors.StoreError):
                waiting.get(timeout=PATIENCE)
            with pytest.raises(errors.StoreError):
                watch.next(0)
            watch.close()

    def test_forgotten_changes_are_told_of(self, store: Store) -> None:
        start = store.create("a", b"").revision
        early = store.watch("a", start)
        idle = store.watch("b", start)
        for _ in range(self.history):
            store.delete("a")
            store.create("a", b"")
            assert idle.next(0) is None  # nothing for it, but it comes along
        now = store.list("").revision
        with pytest.raises(errors.CompactedError):
            early.next(0)
        with pytest.raises(errors.CompactedError):
            store.watch("", start).next(0)
        with pytest.raises(errors.CompactedError):
            store.watch("", now + 1).next(0)
        assert idle.revision == now
        store.create("b", b"")
        assert idle.next(PATIENCE) is not None
        for watch in (early, idle):
            watch.close()

    @pytest.mark.parametrize(
        ("prefix", "after", "error"), [("a", -1, ValueError), ("a", "1", TypeError), (1, 1, TypeError)]
    )
    def test_what_cannot_be_watched_is_refused(
        self, store: Store, prefix: Any, after: Any, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            store.watch(prefix, after)

    @pytest.mark.parametrize("seed", range(3))
    def test_views_end_like_the_store_whatever_happened(self, store: Store, clock: FakeClock, seed: int) -> None:
        def wait(seconds: float) -> None:
            self.pass_time(store, clock, seconds)

        found = follow_history(store, seed, wait)
        assert found.faults == []
        assert found.changes > 100
