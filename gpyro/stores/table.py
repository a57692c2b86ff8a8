"""What the embedded stores have in memory: the keys as they are, those that are being saved, and the last changes.

Nothing here waits or knows of greenlets.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Sequence

from gpyro.errors import CompactedError
from gpyro.store_contract import Change, Condition, Delete, DeleteAll, Entry, Event, Page, Put, Step

_LAST = "\U0010ffff"

FEW = 100
"""Keys that are put into the order, or taken out, one by one; with more it is made anew."""


class Table:
    """The keys as everybody sees them, and the changes that led there as far as they are remembered.

    Attributes:
        revision: that of the last change.
        entries: by key.
    """

    def __init__(self, revision: int = 0, entries: Iterable[Entry] = (), history: int = 10_000) -> None:
        """Start with entries in the order of their keys; `history` is how many events are remembered."""
        self.revision = revision
        self.entries: dict[str, Entry] = {entry.key: entry for entry in entries}
        self._keys = list(self.entries)
        self._new_keys: list[str] = []
        self._of_leases: dict[int, set[str]] = {}
        for entry in self.entries.values():
            if entry.lease:
                self._of_leases.setdefault(entry.lease, set()).add(entry.key)
        self._max_history = history
        self._history: deque[Change] = deque()
        self._remembered = 0

    # Reading

    def get(self, key: str) -> Entry | None:
        """The entry of a key, None if it is not there."""
        return self.entries.get(key)

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with a prefix."""
        begin, end = self._range(prefix)
        return self._keys[begin:end]

    def keys_of(self, lease: int) -> set[str]:
        """The keys under a lease."""
        return self._of_leases.get(lease, set())

    def page(self, prefix: str, after: str, limit: int) -> Page:
        """A part of the list of entries whose keys begin with a prefix."""
        begin, end = self._range(prefix)
        if after:
            begin = max(begin, bisect_right(self._keys, after))
        stop = min(begin + limit, end)
        entries = self.entries
        return Page([entries[key] for key in self._keys[begin:stop]], self.revision, stop < end)

    def _range(self, prefix: str) -> tuple[int, int]:
        keys = self._in_order()
        stripped = prefix.rstrip(_LAST)
        begin = bisect_left(keys, prefix)
        if not stripped:
            return begin, len(keys)
        return begin, bisect_left(keys, stripped[:-1] + chr(ord(stripped[-1]) + 1))

    # Changing

    def apply(self, change: Change) -> None:
        """Make a change, which is the next one, and remember it."""
        entries = self.entries
        removed = []
        for key, entry in change.events:
            before = entries.get(key)
            if before is not None and before.lease:
                self._detach(before)
            if entry is None:
                del entries[key]
                removed.append(key)
                continue
            if before is None:
                self._new_keys.append(key)
            entries[key] = entry
            if entry.lease:
                self._of_leases.setdefault(entry.lease, set()).add(key)
        if removed:
            self._forget(removed)
        self.revision = change.revision
        self._remember(change)

    def _detach(self, entry: Entry) -> None:
        keys = self._of_leases[entry.lease]
        keys.discard(entry.key)
        if not keys:
            del self._of_leases[entry.lease]

    def _forget(self, removed: list[str]) -> None:
        """Take keys out of the order; many at once, since each by itself would move all that come after it."""
        keys = self._in_order()
        if len(removed) < FEW:
            for key in removed:
                del keys[bisect_left(keys, key)]
        else:
            self._keys = [key for key in keys if key in self.entries]

    def _in_order(self) -> list[str]:
        """All keys in their order, where those that are new are put now: each would move all that come after it."""
        if self._new_keys:
            if len(self._new_keys) < FEW:
                for key in self._new_keys:
                    insort(self._keys, key)
            else:
                self._keys += self._new_keys
                self._keys.sort()
            self._new_keys.clear()
        return self._keys

    def _remember(self, change: Change) -> None:
        self._history.append(change)
        self._remembered += len(change.events)
        while self._remembered > self._max_history and len(self._history) > 1:
            self._remembered -= len(self._history.popleft().events)

    def change_after(self, revision: int) -> Change | None:
        """The first change after a revision, None if there was none yet.

        Raises:
            CompactedError: it is forgotten, or the table was never at this revision.
        """
        oldest = self.revision - len(self._history)
        if revision < oldest:
            raise CompactedError(f"the changes after revision {revision} are forgotten; those after {oldest} are known")
        if revision > self.revision:
            raise CompactedError(f"there was no revision {revision} yet; the last one is {self.revision}")
        return self._history[revision - oldest] if revision < self.revision else None


class Head:
    """A table as it will be when everything that is on its way is saved; new changes are judged by it."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._pending: dict[str, tuple[int, Entry | None]] = {}
        self.revision = table.revision

    def get(self, key: str) -> Entry | None:
        """The entry of a key, None if it is not there."""
        pending = self._pending.get(key)
        return self._table.get(key) if pending is None else pending[1]

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with a prefix, in no particular order."""
        pending = self._pending
        kept = [key for key in self._table.keys(prefix) if key not in pending]
        return kept + [key for key, (_, entry) in pending.items() if entry is not None and key.startswith(prefix)]

    def keys_of(self, lease: int) -> list[str]:
        """The keys under a lease, in no particular order."""
        pending = self._pending
        kept = [key for key in self._table.keys_of(lease) if key not in pending]
        return kept + [key for key, (_, entry) in pending.items() if entry is not None and entry.lease == lease]

    def refused(self, conditions: Sequence[Condition]) -> tuple[Entry | None, ...] | None:
        """The entries of the keys of the conditions if one does not hold, None if all do."""
        get = self.get
        for condition in conditions:
            if not condition.holds(get(condition.key)):
                return tuple(self.get(one.key) for one in conditions)
        return None

    def plan(self, steps: Sequence[Step]) -> Change | None:
        """Carry out the steps here, as a change that is to be saved; None if they change nothing."""
        revision = self.revision + 1
        events: dict[str, Entry | None] = {}
        for step in steps:
            if isinstance(step, Put):
                before = self.get(step.key)
                created = revision if before is None else before.created
                events[step.key] = Entry(step.key, step.value, created, revision, step.lease)
            elif isinstance(step, Delete):
                if self.get(step.key) is not None:
                    events[step.key] = None
            elif isinstance(step, DeleteAll):
                events.update(dict.fromkeys(self.keys(step.prefix)))
        if not events:
            return None
        pending = self._pending
        for key, entry in events.items():
            pending[key] = revision, entry
        self.revision = revision
        return Change(revision, tuple([Event(key, entry) for key, entry in events.items()]))

    def end_lease(self, lease: int) -> Change | None:
        """Delete the keys under a lease, as a change that is to be saved; None if there are none."""
        return self.plan([Delete(key) for key in self.keys_of(lease)])

    def saved(self, change: Change) -> None:
        """A change was saved: it goes to the table."""
        self._table.apply(change)
        pending = self._pending
        for key, _ in change.events:
            if key in pending and pending[key][0] == change.revision:
                del pending[key]

    def reset(self) -> None:
        """What was on its way is lost."""
        self._pending.clear()
        self.revision = self._table.revision
