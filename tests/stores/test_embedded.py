"""What embedded stores do beside the contract: their clock and loop, forks, and saves that take time or fail."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from gpyro.errors import StoreError
from gpyro.store_contract import Change, Put
from gpyro.stores import MemoryStore
from gpyro.stores.embedded import EmbeddedStore, Write
from gpyro.stores.table import Table
from gpyro.testing.clock import FakeClock
from tests.support import eventually, run_python


class HeldStore(EmbeddedStore):
    """Saves when it is told."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.held: list[Write] = []

    def _begin(self) -> Any:
        return "held", Table(), []

    def _save(self, write: Write) -> None:
        self.held.append(write)

    def _end(self) -> None:
        assert not self.held

    def save(self, count: int | None = None) -> None:
        now, self.held = self.held[:count], self.held[len(self.held) if count is None else count :]
        self._saved(now)

    def fail(self, may_have_happened: bool = False) -> None:
        now, self.held = self.held, []
        self._not_saved(now, "the disk burns", may_have_happened)


def spawn(function: Callable[..., Any], *arguments: Any) -> gevent.Greenlet[..., Any]:
    """A greenlet that has come as far as it can."""
    greenlet = gevent.spawn(function, *arguments)
    gevent.sleep(0.001)
    return greenlet


def test_nothing_is_acknowledged_or_seen_before_it_is_saved() -> None:
    with HeldStore() as store, store.watch("", 0) as watch:
        first, second = spawn(store.create, "a", b"1"), spawn(store.create, "b", b"2")
        assert not first.ready()
        assert store.get("a") is None
        assert store.list("").revision == 0
        assert watch.next(0) is None
        store.save(1)
        assert first.get(timeout=30).revision == 1
        assert not second.ready()
        assert store.list("").revision == 1
        assert watch.next(0) is not None
        assert watch.next(0) is None
        store.save()
        assert second.get(timeout=30).revision == 2
        assert (store.changes, store.saves) == (2, 2)


def test_a_refusal_waits_for_what_it_stands_on() -> None:
    with HeldStore() as store:
        first = spawn(store.create, "a", b"1")
        refused, nothing = spawn(store.create, "a", b"2"), spawn(store.commit, [], [])
        assert not refused.ready()
        assert not nothing.ready()
        store.save()
        assert first.get(timeout=30).done
        assert refused.get(timeout=30).found == (store.get("a"),)
        assert nothing.get(timeout=30).revision == 1


def test_what_could_not_be_saved_is_told_to_all_and_forgotten() -> None:
    with HeldStore() as store:
        granting = spawn(store.grant, 5.0)
        store.save()
        lease = granting.get(timeout=30)
        creating = spawn(store.create, "kept", b"", lease.id)
        store.save()
        creating.get(timeout=30)
        waiting = [
            *(spawn(store.create, "a", b"1"), spawn(store.create, "a", b"2"), spawn(store.delete, "kept")),
            *(spawn(store.grant, 1.0), spawn(store.revoke, lease.id), spawn(store.commit, [], [])),
        ]
        store.fail()
        errors = []
        for greenlet in waiting:
            with pytest.raises(StoreError, match="the disk burns") as caught:
                greenlet.get(timeout=30)
            errors.append(caught.value)
            assert not caught.value.may_have_happened
        assert len({id(error) for error in errors}) == len(errors)
        assert [entry.key for entry in store.scan("")] == ["kept"]
        assert store.renew(lease.id) == lease
        again = spawn(store.create, "a", b"3")
        store.save()
        assert again.get(timeout=30) == (True, 2, (), 0)


def test_a_store_that_does_not_know_what_was_saved_takes_no_more() -> None:
    with HeldStore() as store:
        writing = spawn(store.create, "a", b"1")
        store.fail(may_have_happened=True)
        with pytest.raises(StoreError) as caught:
            writing.get(timeout=30)
        assert caught.value.may_have_happened
        with pytest.raises(
            StoreError, match="the disk burns; whether the last changes were made shows when it is open"
        ):
            store.create("b", b"")
    with store:
        assert store.get("a") is None


def test_closing_finishes_what_was_begun() -> None:
    store = HeldStore()
    store.open()
    writing = spawn(store.create, "a", b"1")
    with gevent.Timeout(0.01, False):
        store.close()  # whoever is stopped while he closes it may try again
    closing = spawn(store.close)
    with pytest.raises(StoreError, match="the store is being closed"):
        store.get("a")
    store.save()
    assert writing.get(timeout=30).done
    closing.get(timeout=30)
    with pytest.raises(StoreError, match="the store is not open"):
        store.get("a")


def test_a_lease_that_is_ending_is_lost_already_and_its_keys_are_not_seen_by_who_was_told() -> None:
    clock = FakeClock()
    with HeldStore(clock=clock) as store:
        granting = spawn(store.grant, 1.0)
        store.save()
        lease = granting.get(timeout=30)
        creating = spawn(store.create, "a", b"1", lease.id)
        store.save()
        creating.get(timeout=30)
        for _ in range(4):
            clock.advance(0.25)
            store.tick()
        assert store.get("a") is not None
        late = spawn(store.commit, [], [Put("a", b"2", lease.id)])
        revoking = spawn(store.revoke, lease.id)
        assert not late.ready()
        assert not revoking.ready()
        store.save()
        with pytest.raises(StoreError, match="there is no lease"):
            late.get(timeout=30)
        assert not revoking.get(timeout=30)
        assert store.get("a") is None


def test_leases_end_by_themselves() -> None:
    with MemoryStore() as store:
        lease = store.grant(0.3)
        revision = store.create("a", b"", lease.id).revision
        with store.watch("", revision) as watch:
            # Nothing else keeps the loop going.
            change = watch.next(10)
        assert change is not None
        assert store.get("a") is None
        assert store._timer is None


def test_a_blocked_loop_ends_no_lease() -> None:
    with MemoryStore() as store:
        lease = store.grant(1.5)
        store.create("a", b"", lease.id)
        gevent.sleep(0.01)
        time.sleep(2)  # of the whole thread
        gevent.sleep(0.3)
        assert store.renew(lease.id) == lease
        assert store._leases.pauses >= 1


def test_a_tick_that_goes_wrong_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = []

    def wrong() -> None:
        failed.append(1)
        raise ValueError("wrong")

    with MemoryStore() as store:
        store.grant(60)
        with monkeypatch.context() as patch:
            patch.setattr(store, "tick", wrong)
            eventually(lambda: len(failed) > 1)
        eventually(lambda: True)


def test_a_child_of_a_fork_has_no_store() -> None:
    with MemoryStore() as store:
        store.create("a", b"")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                store.close()  # which is not the child's to close, and does nothing
                try:
                    store.get("a")
                except StoreError as error:
                    code = 0 if "forked" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert store.get("a") is not None


def test_long_lists_let_others_go_on() -> None:
    with MemoryStore() as store:
        for start in range(0, 3000, 100):
            store.commit([], [Put(f"{number:04}", b"") for number in range(start, start + 100)])
        turned = []

        def other() -> None:
            while True:
                turned.append(1)
                gevent.sleep(0)

        running = gevent.spawn(other)
        assert len(list(store.scan(""))) == 3000
        running.kill()
        assert len(turned) >= 2


def test_a_watch_may_be_what_a_program_waits_for() -> None:
    code = """
        import gevent
        from gpyro.stores import MemoryStore
        with MemoryStore() as store:
            try:
                with gevent.Timeout(0.2):
                    with store.watch("", 0) as watch:
                        watch.next()
            except gevent.Timeout:
                print("still waiting")
    """
    assert run_python(code) == (0, "still waiting\n", "")


def test_a_change_tells_many_watches() -> None:
    with MemoryStore() as store:
        watches = [store.watch(prefix, 0) for prefix in ("", "a", "b")]
        waiting = [gevent.spawn(watch.next, 5) for watch in watches]
        gevent.sleep(0.001)
        store.create("a", b"")
        store.create("b", b"")
        found = [greenlet.get(timeout=30) for greenlet in waiting]
        assert [change.revision for change in found] == [1, 1, 2]
        assert isinstance(found[0], Change)
        for watch in watches:
            watch.close()
