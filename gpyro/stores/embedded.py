"""What the stores inside a process have in common: everything but where changes are saved.

A commit is judged at once, by the state that there will be when all is saved that is on its way (`Head`), so commits
need not wait for each other. It is answered, and seen by others, when it is saved.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, NoReturn

from gevent._hub_local import get_hub_if_exists
from gevent.event import AsyncResult, Event

from gpyro.errors import LeaseLostError, StoreError
from gpyro.net.hub import hub_state, limit
from gpyro.store_contract import (
    MAX_PAGE,
    Change,
    Condition,
    Entry,
    Lease,
    Outcome,
    Page,
    Put,
    Step,
    Store,
    Watch,
    check_commit,
    check_key,
    check_lease_seconds,
    check_list,
    check_prefix,
    check_revision,
)

from .leases import TICK, LeaseTable
from .table import Head, Table

HISTORY = 10_000
"""Events that are remembered for watches that come back, or are slow."""

_SHORTEST = 0.001
"""Seconds of the shortest timer: libuv has none that are shorter, and warns of them."""

_LONG = 3600.0
"""Seconds; with an end, however far, a wait keeps the loop going in which nothing else is expected."""


class Write:
    """Something that is to be saved: a change, a lease that begins or one that ends, or several of these.

    Attributes:
        change: what happened to keys.
        granted: the lease that begins.
        ended: the lease that ends.
        answer: set when it is saved, or when it is known that it is not; then to what is wrong.
    """

    __slots__ = ("answer", "change", "ended", "granted")

    def __init__(self, change: Change | None = None, granted: Lease | None = None, ended: Lease | None = None) -> None:
        self.change = change
        self.granted = granted
        self.ended = ended
        self.answer: AsyncResult[tuple[str, bool] | None] = AsyncResult()

    def wait(self) -> None:
        """Wait until it is saved. Raises StoreError if it is not."""
        wrong = self.answer.get()
        if wrong is not None:
            raise StoreError(*wrong)


class EmbeddedStore(Store):
    """A store whose keys are in this process. Derived classes say how it begins, saves and ends.

    Attributes:
        changes: how many writes were saved.
        saves: how many times something was saved; less than `changes` where writes shared a save.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic, history: int = HISTORY) -> None:
        """Set it up; `open` is to follow.

        Args:
            clock: tells seconds that only go forward. With a clock of the caller's own, such as that of
                `gpyro.testing.clock`, the caller also calls `tick`.
            history: how many events are remembered for watches, at least.
        """
        self._clock = clock
        self._history = history
        self._ticks_itself = clock is monotonic
        self._hub: Any = None
        self._process = 0
        self._timer: Any = None
        self._identity = ""
        self._busy = ""
        self._failed = ""
        self._table = Table()
        self._head = Head(self._table)
        self._leases = LeaseTable(clock)
        self._last: Write | None = None
        self._watches: set[EmbeddedWatch] = set()
        self.changes = self.saves = 0

    # What derived classes do

    def _begin(self) -> tuple[str, Table, list[Lease]]:
        """Open what things are saved in: the store's identity, its keys and its leases."""
        raise NotImplementedError

    def _save(self, write: Write) -> None:
        """See that this is saved, and then have `_saved` called, or `_not_saved`; without switching greenlets."""
        raise NotImplementedError

    def _end(self) -> None:
        """Let go of everything; nothing is on its way."""
        raise NotImplementedError

    # Life

    def open(self) -> None:
        """As `Store.open`."""
        if self._hub is not None:
            self._check()
            return
        self._hub, self._process = hub_state().hub, os.getpid()
        self._busy, self._failed = "being opened", ""
        try:
            self._identity, self._table, leases = self._begin()
        except BaseException:
            self._hub = None
            raise
        self._head = Head(self._table)
        self._leases = LeaseTable(self._clock, leases)
        self._last = None
        self._busy = ""
        self._watch_leases()

    def close(self) -> None:
        """As `Store.close`."""
        if self._hub is None or self._process != os.getpid() or self._busy:
            return
        self._check_thread()
        self._busy = "being closed"
        try:
            while self._last is not None:
                self._last.answer.wait()
        except BaseException:
            self._busy = ""  # who closes it was stopped, and may try again
            raise
        self._stop_ticking()
        for watch in list(self._watches):
            watch.close()
        try:
            self._end()
        finally:
            self._hub = None
            self._table = Table()

    def _check(self) -> None:
        """Raise StoreError unless it can be read."""
        hub = self._hub
        if hub is not None and hub is get_hub_if_exists() and self._process == os.getpid() and not self._busy:
            return  # as nearly always
        if hub is None:
            raise StoreError("the store is not open")
        self._check_thread()
        if self._busy:
            raise StoreError(f"the store is {self._busy}")

    def _check_writable(self) -> None:
        self._check()
        if self._failed:
            raise StoreError(f"the store can only be read: {self._failed}")

    def _check_thread(self) -> None:
        if self._process != os.getpid():
            raise StoreError("the store was opened before this process was forked; it belongs to the parent")
        if self._hub is not get_hub_if_exists():
            raise StoreError("the store was opened by another thread, and belongs to it")

    @property
    def identity(self) -> str:
        """As `Store.identity`."""
        self._check()
        return self._identity

    # Reading

    def get(self, key: str) -> Entry | None:
        """As `Store.get`. Does not switch greenlets."""
        self._check()
        check_key(key)
        return self._table.get(key)

    def list(self, prefix: str, after: str = "", limit: int = MAX_PAGE) -> Page:
        """As `Store.list`. Lets the loop turn before each page but the first."""
        self._check()
        check_list(prefix, after, limit)
        if after:
            hub_state().poll()
            self._check()
        return self._table.page(prefix, after, limit)

    # Changing

    def commit(self, conditions: Sequence[Condition], steps: Sequence[Step]) -> Outcome:
        """As `Store.commit`."""
        self._check_writable()
        check_commit(conditions, steps)
        for step in steps:
            if isinstance(step, Put) and step.lease and self._leases.get(step.lease) is None:
                self._settle()  # its keys may still be seen, and are gone for whoever looks again
                self._lost(step.lease)
        head = self._head
        found = head.refused(conditions)
        if found is not None:
            revision = head.revision
            self._settle()
            return Outcome(False, revision, found)
        change = head.plan(steps)
        if change is None:
            revision = head.revision
            self._settle()
            return Outcome(True, revision)
        self._write(Write(change)).wait()
        return Outcome(True, change.revision, (), [entry for _, entry in change.events].count(None))

    def _settle(self) -> None:
        """Wait until what was judged by is saved: else it could be told of, and then be lost."""
        if self._last is not None:
            self._last.wait()

    def _write(self, write: Write) -> Write:
        self._last = write
        self._save(write)
        return write

    def _saved(self, writes: Sequence[Write]) -> None:
        """These are saved, in this order. In the hub, or before `_save` returns."""
        self.saves += 1
        self.changes += len(writes)
        for write in writes:
            if write.change is not None:
                self._head.saved(write.change)
            if write.granted is not None:
                self._leases.start(write.granted)
                self._watch_leases()
            if write is self._last:
                self._last = None
            write.answer.set(None)
        for watch in self._watches:
            watch.changed.set()

    def _not_saved(self, writes: Sequence[Write], text: str, may_have_happened: bool) -> None:
        """These could not be saved; and they have to be all that are on their way, for each stands on those before."""
        # Each of those who wait is told, too, but perhaps far away, and they may be thousands.
        hub_state().warn("store", "what was to be kept is not: %s", text)
        self._head.reset()
        self._last = None
        if may_have_happened:
            self._failed = f"{text}; whether the last changes were made shows when it is opened again"
        for write in writes:
            if write.ended is not None:
                self._leases.start(write.ended)
                self._watch_leases()
            write.answer.set((text, may_have_happened))

    # Leases

    def grant(self, seconds: float) -> Lease:
        """As `Store.grant`."""
        self._check_writable()
        check_lease_seconds(seconds)
        lease = Lease(secrets.randbits(62) + 1, float(seconds))
        self._write(Write(granted=lease)).wait()
        return lease

    def renew(self, lease: int) -> Lease:
        """As `Store.renew`. Does not switch greenlets."""
        self._check()
        found = self._leases.get(lease)
        if found is None:
            self._lost(lease)
        self._leases.start(found)
        return found

    def revoke(self, lease: int) -> bool:
        """As `Store.revoke`."""
        self._check_writable()
        found = self._leases.get(lease)
        if found is None:
            self._settle()  # it may just be ending
            return False
        self._end_lease(found).wait()
        return True

    def tick(self) -> None:
        """Have the leases end whose time is over. A store with a clock of the caller's own needs to be told."""
        if self._hub is None or self._busy or self._failed:
            return
        for lease in self._leases.ended():
            self._end_lease(lease)

    def _end_lease(self, lease: Lease) -> Write:
        self._leases.end(lease.id)
        if not self._leases:
            self._stop_ticking()
        change = self._head.end_lease(lease.id)
        return self._write(Write(change, ended=lease))

    def _watch_leases(self) -> None:
        if self._ticks_itself and self._timer is None and self._leases and not self._busy:
            self._timer = self._hub.loop.timer(TICK, TICK, ref=False)
            self._timer.start(self._on_tick, update=True)

    def _stop_ticking(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _on_tick(self) -> None:
        """In the hub, which nothing may reach."""
        state = hub_state()
        try:
            if self._process == os.getpid():
                self.tick()
        except BaseException as error:
            state.escaped(error)

    def _lost(self, lease: object) -> NoReturn:
        raise LeaseLostError(f"there is no lease {lease!a}: it ended, or never was")

    # Watching

    def watch(self, prefix: str, after: int) -> Watch:
        """As `Store.watch`."""
        self._check()
        check_prefix(prefix)
        check_revision(after)
        self._table.change_after(after)
        watch = EmbeddedWatch(self, prefix, after)
        self._watches.add(watch)
        return watch


class EmbeddedWatch(Watch):
    """A place in the changes that the store remembers; it holds nothing itself.

    Attributes:
        changed: set when there is something new to look at.
    """

    def __init__(self, store: EmbeddedStore, prefix: str, after: int) -> None:
        self._store: EmbeddedStore | None = store
        self._prefix = prefix
        self.revision = after
        self.changed = Event()

    def next(self, timeout: float | None = None) -> Change | None:
        """As `Watch.next`."""
        change = self._look()
        if change is None and timeout != 0:
            with limit(None if timeout is None else max(timeout, _SHORTEST)):
                while change is None:
                    self.changed.clear()
                    self.changed.wait(_LONG)
                    change = self._look()
        return change

    def _look(self) -> Change | None:
        """The next change of these keys, if there is one by now."""
        if self._store is None:
            raise StoreError("the watch is closed")
        self._store._check()
        table = self._store._table
        while True:
            change = table.change_after(self.revision)
            if change is None:
                return None
            self.revision = change.revision
            events = tuple(event for event in change.events if event.key.startswith(self._prefix))
            if events:
                return Change(change.revision, events)

    def close(self) -> None:
        """As `Watch.close`."""
        if self._store is not None:
            self._store._watches.discard(self)
            self._store = None
        self.changed.set()
