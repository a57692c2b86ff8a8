"""The contract of stores: what the name space needs of whoever keeps its names.

A store is a map of keys (text) to values (bytes) in the order of the keys. Whoever writes one derives from `Store` and
runs `gpyro.testing.stores.StoreContract` over it. What is asked for is no more than etcd can do in one transaction:

* **Revisions.** Every change of the store has a number, higher than that of the change before. A change may put and
  delete several keys; nobody ever sees half of it. What changes nothing, such as deleting a key that is not there, is
  no change. A store that starts empty again has another `identity`, by which those who watched it know that the
  revisions they remember mean nothing any more.
* **Acknowledged is kept.** When a method that changes something returns, the change is as safe as the store promises,
  and whoever asks from then on sees it. Nobody sees a change before it is safe. When such a method raises StoreError,
  nothing was changed, unless `may_have_happened` says that this is not known; and neither is it when the caller was
  stopped from outside, by a `gevent.Timeout` say.
* **Leases.** A key may be put under a lease. When nobody renewed the lease for its time, or when it is revoked, its
  keys are deleted in one change. The store is never early: when it starts, and when it notices that it stood still,
  every lease has its full time again, for its owner could not renew it meanwhile.
* **Watches** see every change after a revision, in order and each once. The store may forget old changes; a watch that
  would need one raises CompactedError, and then what it watches has to be listed again.
* **Greenlets.** Every method may switch to other greenlets, and so may not be called in the hub. A store belongs to the
  thread that opened it.

Keys are at most `MAX_KEY` bytes of UTF-8 and values at most `MAX_VALUE`. Arguments that break the rules of this module
raise ValueError, or TypeError where they are of a wrong type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

MAX_KEY: Final = 4096
"""Bytes in a key, as UTF-8."""

MAX_VALUE: Final = 1024 * 1024
"""Bytes in a value."""

MAX_PARTS: Final = 128
"""Conditions of one commit, and likewise its changes: what etcd takes unless it is told otherwise."""

MAX_PAGE: Final = 1000
"""Entries in one page of a list, so that a long list does not hold up others."""


class Entry(NamedTuple):
    """A key with what is known of it.

    Attributes:
        key: the key.
        value: its value.
        created: revision of the change that put it when it was not there.
        changed: revision of the change that put it last.
        lease: id of the lease that it is under; 0 for none.
    """

    key: str
    value: bytes
    created: int
    changed: int
    lease: int = 0


class Condition(NamedTuple):
    """What has to hold of a key for a commit to be carried out; see `absent`, `same` and `unchanged`.

    Attributes:
        key: the key.
        created: what `Entry.created` has to be, 0 for a key that is not there; None for whatever it is.
        changed: what `Entry.changed` has to be, likewise.
    """

    key: str
    created: int | None = None
    changed: int | None = None

    def holds(self, entry: Entry | None) -> bool:
        """Whether it holds of a key's entry, or of None for a key that is not there."""
        _, created, changed = self
        if created is not None and created != (0 if entry is None else entry.created):
            return False
        return changed is None or changed == (0 if entry is None else entry.changed)


def absent(key: str) -> Condition:
    """The key is not there."""
    return Condition(key, 0)


def same(entry: Entry) -> Condition:
    """The key was not deleted since, though it may have been put again."""
    return Condition(entry.key, entry.created)


def unchanged(entry: Entry) -> Condition:
    """The key was neither deleted nor put since."""
    return Condition(entry.key, changed=entry.changed)


class Put(NamedTuple):
    """Give a key a value, and put it under a lease, or under none."""

    key: str
    value: bytes
    lease: int = 0


class Delete(NamedTuple):
    """Delete a key, if it is there."""

    key: str


class DeleteAll(NamedTuple):
    """Delete every key that begins so."""

    prefix: str


Step = Put | Delete | DeleteAll


class Outcome(NamedTuple):
    """What became of a commit.

    Attributes:
        done: whether its conditions held, and so it was carried out.
        revision: that of the change; if there was none, that of the store.
        found: if a condition did not hold, the entries of the keys of all conditions, None for those that are not
            there; else empty.
        deleted: how many keys were deleted.
    """

    done: bool
    revision: int
    found: tuple[Entry | None, ...] = ()
    deleted: int = 0


class Page(NamedTuple):
    """A part of a list.

    Attributes:
        entries: in the order of their keys.
        revision: the store's; whoever goes on to watch begins after that of the *first* page.
        more: whether there are entries behind the last one.
    """

    entries: list[Entry]
    revision: int
    more: bool


class Lease(NamedTuple):
    """A lease: its id, which is never 0, and the seconds that it lasts unless it is renewed."""

    id: int
    seconds: float


class Event(NamedTuple):
    """What happened to one key: it was put, or deleted where `entry` is None."""

    key: str
    entry: Entry | None


class Change(NamedTuple):
    """What one change did to the keys that are watched, each of them once. In no particular order."""

    revision: int
    events: tuple[Event, ...]


class Watch(ABC):
    """The changes of keys with a common beginning, one after the other. A context manager that closes it.

    Attributes:
        revision: every change up to this one was handed out, or was none of these keys; to go on from here, another
            watch begins after it. Never goes back.
    """

    revision: int

    @abstractmethod
    def next(self, timeout: float | None = None) -> Change | None:
        """Wait for the next change. One greenlet at a time.

        Args:
            timeout: seconds to wait at most; None for ever, 0 not at all.

        Returns:
            The change, or None if there was none in that time.

        Raises:
            CompactedError: the next change may be forgotten already; the watch is of no more use.
            StoreError: the watch or the store is closed, or cannot be reached.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of it, and have a greenlet that waits in `next` raise StoreError. May be repeated."""

    def __iter__(self) -> Iterator[Change]:
        """All changes, without end."""
        while True:
            change = self.next()
            if change is not None:
                yield change

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Store(ABC):
    """Keeps keys, values and leases; see the head of this module for what holds of all of its methods.

    A context manager that opens and closes it. Every method but `open` and `close` raises StoreError when the store is
    not open, cannot be reached, or fails.
    """

    @abstractmethod
    def open(self) -> None:
        """Get ready. A store that is open stays as it is.

        Raises:
            StoreError: that is not possible, and why.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish what was begun, then let go of everything; watches end. May be repeated.

        Leases do not end with it: their time begins anew when the store is opened again, if it keeps them till then.
        """

    @property
    @abstractmethod
    def identity(self) -> str:
        """What tells this store from others: revisions of stores with another identity mean nothing here."""

    @abstractmethod
    def get(self, key: str) -> Entry | None:
        """The entry of a key, or None if it is not there."""

    @abstractmethod
    def list(self, prefix: str, after: str = "", limit: int = MAX_PAGE) -> Page:
        """The entries whose keys begin with a prefix, a page at a time. What one page tells was so at one moment.

        Args:
            prefix: what the keys begin with; empty for all keys.
            after: last key of the page before; empty for the first page.
            limit: entries in the page, from 1 to `MAX_PAGE`. There may be fewer, though not none if there are `more`.
        """

    def scan(self, prefix: str) -> Iterator[Entry]:
        """All entries whose keys begin with a prefix, page by page: what changes meanwhile may be seen or not."""
        after = ""
        while True:
            page = self.list(prefix, after)
            yield from page.entries
            if not page.more:
                return
            after = page.entries[-1].key

    @abstractmethod
    def commit(self, conditions: Sequence[Condition], steps: Sequence[Step]) -> Outcome:
        """Change the store, if all conditions hold: all at once, or not at all.

        Args:
            conditions: what has to hold, of keys as they are before the change.
            steps: what to do. A key may be put once only, and not be deleted, too.

        Raises:
            LeaseLostError: a key is to be put under a lease that is no more. Nothing was changed.
        """

    def create(self, key: str, value: bytes, lease: int = 0) -> Outcome:
        """Put a key if it is not there. Raises as `commit`."""
        return self.commit([absent(key)], [Put(key, value, lease)])

    def replace(self, entry: Entry, value: bytes, lease: int = 0) -> Outcome:
        """Put a key if it is as this entry tells. Raises as `commit`."""
        return self.commit([unchanged(entry)], [Put(entry.key, value, lease)])

    def delete(self, key: str) -> bool:
        """Delete a key, and tell whether it was there. Raises as `commit`."""
        return bool(self.commit([], [Delete(key)]).deleted)

    def delete_entry(self, entry: Entry) -> bool:
        """Delete a key if it is as this entry tells, and tell whether it was. Raises as `commit`."""
        return self.commit([unchanged(entry)], [Delete(entry.key)]).done

    @abstractmethod
    def grant(self, seconds: float) -> Lease:
        """Make a lease.

        Args:
            seconds: how long it lasts unless it is renewed, more than 0. A store may make it longer, never shorter.
        """

    @abstractmethod
    def renew(self, lease: int) -> Lease:
        """Have a lease last its full time from now on.

        Raises:
            LeaseLostError: it is no more.
        """

    @abstractmethod
    def revoke(self, lease: int) -> bool:
        """End a lease, which deletes its keys; whether there was one."""

    @abstractmethod
    def watch(self, prefix: str, after: int) -> Watch:
        """Watch the keys that begin with a prefix.

        Args:
            prefix: what the keys begin with; empty for all keys.
            after: the first change to be told of is the one after this revision.

        Raises:
            CompactedError: as `Watch.next`, also if the store was never at this revision; here, or in the first `next`.
        """

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


# ---- checks that all stores have in common


def check_key(key: object) -> None:
    """Raise ValueError or TypeError unless this can be a key."""
    if not isinstance(key, str):
        raise TypeError(f"a key is a string, not {type(key).__name__}")
    if not key:
        raise ValueError("a key must not be empty")
    if not key.isascii() or len(key) > MAX_KEY or "\0" in key:  # as hardly ever
        check_prefix(key)


def check_prefix(prefix: object) -> None:
    """Raise ValueError or TypeError unless this can be the beginning of keys."""
    if not isinstance(prefix, str):
        raise TypeError(f"a prefix is a string, not {type(prefix).__name__}")
    try:
        size = len(prefix.encode())
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate in a key") from None
    if size > MAX_KEY:
        raise ValueError(f"a key of {size} bytes, more than {MAX_KEY}")
    if "\0" in prefix:
        raise ValueError("a NUL in a key")


def check_list(prefix: object, after: object, limit: object) -> None:
    """Raise ValueError or TypeError unless these can be the arguments of `Store.list`."""
    check_prefix(prefix)
    check_prefix(after)
    if not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"the limit of a page is a number from 1 to {MAX_PAGE}, not {limit!a}")


def check_revision(revision: object) -> None:
    """Raise ValueError or TypeError unless this can be a revision to watch from."""
    if not isinstance(revision, int) or isinstance(revision, bool):
        raise TypeError(f"a revision is a number, not {type(revision).__name__}")
    if revision < 0:
        raise ValueError(f"a revision is not negative: {revision}")


def check_lease_seconds(seconds: object) -> None:
    """Raise ValueError or TypeError unless a lease can last so long."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise TypeError(f"the time of a lease is a number of seconds, not {type(seconds).__name__}")
    if not 0 < seconds <= MAX_LEASE_SECONDS:
        raise ValueError(f"a lease lasts more than 0 and at most {MAX_LEASE_SECONDS} seconds, not {seconds!a}")


MAX_LEASE_SECONDS: Final = 30 * 86400
"""Seconds that a lease may last: what is to stay for longer needs none."""


def check_commit(conditions: Sequence[Condition], steps: Sequence[Step]) -> None:
    """Raise ValueError or TypeError unless these can be the arguments of `Store.commit`."""
    if len(conditions) > MAX_PARTS or len(steps) > MAX_PARTS:
        raise ValueError(f"more than {MAX_PARTS} conditions or steps in one commit")
    for condition in conditions:
        if not isinstance(condition, Condition):
            raise TypeError(f"not a condition: {type(condition).__name__}")
        check_key(condition.key)
    put: list[str] = []
    deletes: list[Delete | DeleteAll] = []
    for step in steps:
        if isinstance(step, Put):
            check_key(step.key)
            _check_value(step)
            put.append(step.key)
        elif isinstance(step, Delete):
            check_key(step.key)
            deletes.append(step)
        elif isinstance(step, DeleteAll):
            check_prefix(step.prefix)
            deletes.append(step)
        else:
            raise TypeError(f"not a step of a commit: {type(step).__name__}")
    if len(put) > 1 and len(set(put)) < len(put):
        twice = next(key for number, key in enumerate(put) if key in put[:number])
        raise ValueError(f"{twice!a} is put twice in one commit")
    for delete in deletes:
        for key in put:
            if key == delete.key if isinstance(delete, Delete) else key.startswith(delete.prefix):
                raise ValueError(f"{key!a} is put and deleted in one commit")


def _check_value(step: Put) -> None:
    if not isinstance(step.value, bytes):
        raise TypeError(f"a value is bytes, not {type(step.value).__name__}")
    if len(step.value) > MAX_VALUE:
        raise ValueError(f"a value of {len(step.value)} bytes, more than {MAX_VALUE}")
    if not isinstance(step.lease, int):
        raise TypeError(f"a lease is told by its id, a number, not {type(step.lease).__name__}")
