"""A copy of a name server's names that follows them, through everything that may happen on the way."""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import Any, Self

from gevent import sleep

from gpyro.context import deadline
from gpyro.errors import ProtocolError, StoreError
from gpyro.namespace import NameEvent
from gpyro.namespace.records import KEYS
from gpyro.namespace.space import names_changed
from gpyro.proxy import DynamicProxy
from gpyro.store_contract import Change, Entry, Event, Page, Watch
from gpyro.stores.view import View

ASK_EVERY = 25.0
"""Seconds that one question waits for something to happen."""

SLACK = 10.0
"""Seconds that its answer may take beyond that."""

EARLY = 0.2
"""Seconds until the next question, if the answer came without anything in it before its time."""


class _RemoteKeys:
    """What a `View` needs of a store, at a name server."""

    def __init__(self, proxy: DynamicProxy) -> None:
        self._proxy = proxy
        self._identity = ""

    def ask(self, seconds: float, method: str, *arguments: Any) -> Any:
        """Call the name server; what goes wrong on the way is a StoreError."""
        try:
            with deadline(seconds):
                return self._proxy._remote.call(method, *arguments)
        except ProtocolError as error:
            raise StoreError(f"the name server cannot be asked: {error}") from error

    @property
    def identity(self) -> str:
        self._identity = str(self.ask(SLACK, "keep", 0))
        return self._identity

    def list(self, prefix: str, after: str = "") -> Page:
        identity, revision, more, rows = self.ask(SLACK, "keys_page", prefix, after)
        if identity != self._identity:
            raise StoreError("the name server lost its store while its names were listed")
        return Page([Entry(*row) for row in rows], revision, more)

    def watch(self, prefix: str, after: int) -> Watch:
        return _RemoteWatch(self, self._identity, prefix, after)


class _RemoteWatch(Watch):
    """Asks for changes, some of them at a time."""

    def __init__(self, keys: _RemoteKeys, identity: str, prefix: str, after: int) -> None:
        self._keys, self._identity, self._prefix, self.revision = keys, identity, prefix, after
        self._asked = after
        self._waiting: list[Change] = []

    def next(self, timeout: float | None = None) -> Change | None:
        until = None if timeout is None else monotonic() + timeout
        while not self._waiting:
            left = ASK_EVERY if until is None else max(0.0, min(until - monotonic(), ASK_EVERY))
            begun = monotonic()
            asked = (self._identity, self._prefix, self._asked, left)
            self._asked, changes = self._keys.ask(left + SLACK, "key_changes", *asked)
            self._waiting = [Change(revision, tuple(map(_event, events))) for revision, events in changes]
            if not self._waiting:
                self.revision = self._asked
                if until is not None and monotonic() >= until:
                    return None
                if monotonic() - begun < left / 2:  # the name server stops, or has too much to do to let us wait
                    sleep(min(left / 2, EARLY))
        change = self._waiting.pop(0)
        self.revision = change.revision if self._waiting else self._asked
        return change

    def close(self) -> None:
        """Nothing is held open."""


def _event(row: Any) -> Event:
    key, entry = row
    return Event(key, None if entry is None else Entry(*entry))


class NameView:
    """The names of a name server as they were; `next` brings it forward. A context manager that closes it.

    Whoever acts on what `next` gives misses no name and no removal, but for what came and went while the name server
    could not be reached.

    Attributes:
        names: type (0 for a group, 1 for an object) and URI (empty for a group), by absolute name.
        revision: what they show; never goes back, unless the name server lost its store.
    """

    def __init__(self, proxy: DynamicProxy) -> None:
        """An empty view, which the first `next` fills."""
        self._view = View(_RemoteKeys(proxy), KEYS)
        self.names: dict[str, tuple[int, str]] = {}

    @property
    def revision(self) -> int:
        """What the names show."""
        return self._view.revision

    def next(self, timeout: float | None = None) -> list[NameEvent]:
        """Wait until something is different, and give that. One greenlet at a time.

        Args:
            timeout: seconds to wait at most for a change; None for ever, 0 not at all.

        Returns:
            What is different now; empty if nothing was in that time. The first call gives all names, at once.

        Raises:
            StoreError: the name server cannot be asked now. The next call goes on from there.
        """
        change = self._view.next(timeout)
        events = names_changed(change) if change is not None else []
        for name, kind, uri in events:
            if kind is None:
                self.names.pop(name, None)
            else:
                self.names[name] = kind, uri
        return events

    def close(self) -> None:
        """Let go of it. May be repeated."""
        self._view.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
