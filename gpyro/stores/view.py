"""A copy of a part of a store that follows it, through everything that may happen to a watch."""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from gpyro.errors import CompactedError, StoreError
from gpyro.store_contract import Change, Entry, Event, Page, Watch


class Watched(Protocol):
    """What a view needs of a store; see `gpyro.store_contract.Store`."""

    @property
    def identity(self) -> str:
        """As `Store.identity`."""

    def list(self, prefix: str, after: str = "") -> Page:
        """As `Store.list`."""

    def watch(self, prefix: str, after: int) -> Watch:
        """As `Store.watch`."""


class View:
    """The keys with a common beginning, as they were; `next` brings it forward. A context manager that closes it.

    Where a store does not remember what happened since, the keys are listed again, and what is different is told as one
    change. So whoever acts on what `next` gives misses no deletion, but for keys that came and went meanwhile.

    Attributes:
        entries: by key.
        revision: the entries show every change up to this one; never goes back, unless the store became another one.
        lists: how often the keys were listed.
    """

    def __init__(self, store: Watched, prefix: str = "") -> None:
        """An empty view, which the first `next` fills."""
        self._store = store
        self._prefix = prefix
        self._watch: Watch | None = None
        self._identity = ""
        self._last_identity = ""
        self._is_new = True
        self.entries: dict[str, Entry] = {}
        self.revision = 0
        self.lists = 0

    def next(self, timeout: float | None = None) -> Change | None:
        """Wait until something is different, and show it. One greenlet at a time.

        Args:
            timeout: seconds to wait at most for a change; None for ever, 0 not at all.

        Returns:
            What is different now, or None if nothing was in that time. The first call gives all keys, at once.

        Raises:
            StoreError: the store cannot be asked now. The view stays as it is, and the next call goes on from there.
        """
        until = None if timeout is None else monotonic() + timeout
        while True:
            try:
                change = self._next(None if until is None else max(0.0, until - monotonic()))
            except CompactedError:
                self.close()
                self._identity = ""
                continue
            except StoreError:
                self.close()
                raise
            if change is None or change.events or self._is_new:
                self._is_new = False
                return change

    def _next(self, timeout: float | None) -> Change | None:
        if self._watch is None:
            if self._identity != self._store.identity:
                return self._list()
            self._watch = self._store.watch(self._prefix, self.revision)
        change = self._watch.next(timeout)
        if change is not None:
            change = self._show(change)
        self.revision = max(self.revision, self._watch.revision)
        return change

    def _list(self) -> Change:
        """List the keys; what is different from what was shown."""
        identity, first = self._store.identity, -1
        found: dict[str, Entry] = {}
        after, more = "", True
        while more:
            page = self._store.list(self._prefix, after)
            first = page.revision if first < 0 else first
            found.update((entry.key, entry) for entry in page.entries)
            after, more = page.entries[-1].key if page.more else "", page.more
        events = [Event(key, None) for key in self.entries if key not in found]
        events += [Event(key, entry) for key, entry in found.items() if self.entries.get(key) != entry]
        self.entries = found
        self.revision = max(self.revision, first) if identity == self._last_identity else first
        self._last_identity = identity
        self._identity = identity
        self.lists += 1
        return Change(self.revision, tuple(events))

    def _show(self, change: Change) -> Change:
        """Show a change; what of it is news, for pages of the list may have been ahead of it."""
        news = []
        for event in change.events:
            known = self.entries.get(event.key)
            if known is not None and known.changed >= change.revision:
                continue
            if event.entry is not None:
                self.entries[event.key] = event.entry
            elif known is not None:
                del self.entries[event.key]
            else:
                continue
            news.append(event)
        return Change(change.revision, tuple(news))

    def close(self) -> None:
        """Stop watching; the entries stay as they are, and `next` goes on from there. May be repeated."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
