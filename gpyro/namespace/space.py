"""The name space: groups that hold groups and objects, over any store.

Every operation is one change of the store, or none: names that somebody else registers or deletes at the same time
make it fail as if he had come first, and a group never goes while something is put into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from gpyro import uri as uris
from gpyro.errors import LeaseLostError, NamingError, URIError
from gpyro.names import ROOT, SEPARATOR, full_name, join, shown, split
from gpyro.store_contract import (
    Change,
    Delete,
    DeleteAll,
    Entry,
    Put,
    Store,
    absent,
    same,
    unchanged,
)
from gpyro.values import MsgpackSerializer, Serializer

from .records import (
    GROUP,
    KEYS,
    OBJECT,
    NameSpaceSystemMeta,
    Node,
    Record,
    is_group,
    key_of,
    keys_below,
    keys_in,
    name_of,
    new_record,
    object_value,
    read_record,
    read_uri,
)

MAX_META: Final = 64 * 1024
"""Bytes of user metadata, encoded."""

MAX_OWNER: Final = 255
"""Characters in the owner of a name."""


class NameEvent(NamedTuple):
    """What became of a name: it is there now, as an object or as a group, or it is gone where `type` is None."""

    name: str
    type: int | None
    uri: str


# Inside the class `list` is a method.
Listing = list[tuple[str, int]]
FlatListing = list[tuple[str, str]]
NameEvents = list[NameEvent]


class NameSpace:
    """The names of a store, and what may be done with them. Names are given absolute, or relative to the default group.

    Every NamingError has as `args` the text that Pyro 3 documents and the offending name, and for what is no name or no
    URI, what is wrong with it. All methods raise StoreError when the store fails.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        default_group: Callable[[], str] = lambda: ":Default",
        serializer: Serializer | None = None,
    ) -> None:
        """Nothing is done yet.

        Args:
            store: keeps the names; open.
            clock: tells the seconds since 1970, for the system metadata.
            default_group: tells the absolute name of the group that relative names are in.
            serializer: for user metadata; msgpack if None.
        """
        self.store = store
        self._clock = clock
        self._default_group = default_group
        self._serializer = serializer or MsgpackSerializer()

    def prepare(self, groups: Sequence[str] = (":Pyro",)) -> None:
        """See that the root, these groups and the default group are there, and the groups that they are in.

        Raises:
            NamingError: one of them is no name, or an object's.
            StoreError: what the store has is not of a name space.
        """
        self._ensure(ROOT)
        for group in (*groups, self._default_group()):
            name = self._full(group, "invalid groupname")
            parts = name[1:].split(SEPARATOR) if name != ROOT else []
            above = ROOT
            for part in parts:
                above = join(above, part)
                self._ensure(above)

    def _ensure(self, group: str) -> None:
        found = self.store.get(key_of(group))
        if found is None:
            outcome = self.store.create(key_of(group), self._new_group())
            found = None if outcome.done else outcome.found[0]
        if found is not None and not is_group(found):
            read_record(found)  # it may be nothing at all
            raise NamingError("is no group", group)

    # Objects

    def register(self, name: str, uri: object, lease: int = 0, owner: str | None = None) -> None:
        """Register an object.

        Args:
            name: its name; the group that it is in has to be there.
            uri: its URI, as text or as an object that prints as one.
            lease: the lease that the name lives by; 0 for none.
            owner: who registers it, for the system metadata.

        Raises:
            NamingError: 'name already exists', '(parent)group not found', 'parent is no group', 'invalid name' or
                'invalid URI'; with the two about the parent, the offending name is that of the group or the object.
            LeaseLostError: there is no such lease any more.
        """
        self._create(self._full(name), self._new_object(uri, owner), lease, "name already exists")

    def enrol(self, name: str, uri: object, lease: int = 0, owner: str | None = None, replacing: str = "") -> None:
        """Register an object, if need be again: a name that stands for it already is only put under the lease.

        So it can be repeated when it is not known whether it happened.

        Args:
            name: as in `register`.
            uri: as in `register`.
            lease: as in `register`.
            owner: as in `register`.
            replacing: URI of an object that is known to be gone, whose name may be taken.

        Raises:
            NamingError, LeaseLostError: as `register`.
        """
        name = self._full(name)
        while True:
            try:
                return self.register(name, uri, lease, owner)
            except NamingError as error:
                node = self.look_up(name) if error.args[0] == "name already exists" else None
                if node is None:
                    if error.args[0] != "name already exists":
                        raise
                    continue  # it went in this moment
                if node.record.type == GROUP or node.record.uri not in (str(uri), replacing):
                    raise
            if node.record.uri == str(uri) and node.entry.lease == lease:
                return None
            if self._rebind(node, uri, lease, owner):
                return None

    def unregister(self, name: str) -> None:
        """Take an object out. Raises NamingError: 'name not found' or 'is a group, not an object'."""
        name = self._full(name)
        while True:
            entry = self._entry(name, "name not found")
            if is_group(entry):
                raise NamingError("is a group, not an object", name)
            if self._commit_if_same(entry, Delete(entry.key)):
                return

    def resolve(self, name: str) -> str:
        """The URI of an object.

        Raises:
            NamingError: 'name not found', 'attempt to resolve groupname', or 'group not found' where the way to the
                name leads through an object.
        """
        name = self._full(name)
        entry = self.store.get(key_of(name))
        if entry is None:
            above = self._nearest(name)
            raise NamingError(
                "name not found" if above is None or is_group(above) else "group not found",
                name,
            )
        uri = read_uri(entry)
        if not uri:
            raise NamingError("attempt to resolve groupname", name)
        return uri

    def look_up(self, name: str) -> Node | None:
        """What is kept under a name, None if there is nothing."""
        name = self._full(name)
        entry = self.store.get(key_of(name))
        return None if entry is None else Node(name, read_record(entry), entry)

    def rebind(self, node: Node, uri: object, lease: int = 0, owner: str | None = None) -> None:
        """Have a name stand for another object, or be under another lease, if nothing of it changed meanwhile.

        User metadata stays.

        Args:
            node: the object as it was looked up.
            uri: as in `register`.
            lease: as in `register`.
            owner: as in `register`.

        Raises:
            NamingError: 'name already exists', since somebody else was quicker; 'is a group, not an object' or
                'invalid URI'.
            LeaseLostError: there is no such lease any more.
        """
        if node.record.type == GROUP:
            raise NamingError("is a group, not an object", node.name)
        if not self._rebind(node, uri, lease, owner):
            raise NamingError("name already exists", node.name)

    def withdraw(self, node: Node) -> bool:
        """Take an object out if it still is the one that was looked up, and tell whether it was."""
        if node.record.type == GROUP:
            raise NamingError("is a group, not an object", node.name)
        return self._commit_if_same(node.entry, Delete(node.entry.key))

    # Groups

    def createGroup(self, name: str) -> None:
        """Make a group.

        Raises:
            NamingError: 'group already exists', also where it is an object; '(parent)group not found', 'parent is no
                group' or 'invalid groupname'.
        """
        self._create(self._full(name, "invalid groupname"), self._new_group(), 0, "group already exists")

    def deleteGroup(self, name: str) -> None:
        """Take out a group with all that is in it.

        Raises:
            NamingError: 'group not found', 'is no group', 'not allowed to delete root group' or 'invalid groupname'.
        """
        name = self._full(name, "invalid groupname")
        if name == ROOT:
            raise NamingError("not allowed to delete root group", name)
        while True:
            entry = self._group(name)
            if self._commit_if_same(entry, Delete(entry.key), *map(DeleteAll, keys_below(name))):
                return

    def list(self, name: str | None = None) -> Listing:
        """What is in a group: the last parts of the names, sorted, each with 0 for a group or 1 for an object.

        Args:
            name: the group; None or empty for the root.

        Raises:
            NamingError: 'group not found', 'is no group' or 'invalid groupname'.
        """
        name = self._full(name, "invalid groupname") if name else ROOT
        self._group(name)
        prefix = keys_in(name)
        return [(entry.key[len(prefix) :], GROUP if is_group(entry) else OBJECT) for entry in self.store.scan(prefix)]

    def list_page(self, name: str | None, after: str = "") -> tuple[Listing, bool]:
        """A part of what `list` gives, for groups of any size.

        Args:
            name: as in `list`.
            after: the last part of a name in the page before; empty for the first page.

        Returns:
            What is in the page, and whether there is more.

        Raises:
            NamingError: as `list`.
        """
        name = self._full(name, "invalid groupname") if name else ROOT
        self._group(name)
        prefix = keys_in(name)
        page = self.store.list(prefix, prefix + after if after else "")
        items = [(entry.key[len(prefix) :], GROUP if is_group(entry) else OBJECT) for entry in page.entries]
        return items, page.more

    def flat_page(self, after: str = "") -> tuple[FlatListing, str]:
        """A part of what `flatlist` gives, in the order of the groups.

        Args:
            after: what the page before ended with; empty for the first page.

        Returns:
            Names and URIs, which may be none at all, and what the next page comes after; empty if this is the last.
        """
        page = self.store.list(KEYS, after)
        found = [(name_of(entry.key), read_record(entry).uri) for entry in page.entries if not is_group(entry)]
        return found, page.entries[-1].key if page.more else ""

    def flatlist(self) -> FlatListing:
        """All objects with their URIs, sorted by name."""
        return sorted((node.name, node.record.uri) for node in self.walk() if node.record.type == OBJECT)

    def walk(self, name: str = ROOT) -> Iterator[Node]:
        """All names below a group, one after the other, in the order of their keys, so that there may be any number.

        Raises:
            NamingError: as `list`.
        """
        name = self._full(name, "invalid groupname")
        self._group(name)
        for prefix in keys_below(name):
            for entry in self.store.scan(prefix):
                if entry.key != ROOT:
                    yield Node(name_of(entry.key), read_record(entry), entry)

    # Metadata

    def setMeta(self, name: str, meta: Any) -> None:
        """Keep a value of the user's with a group or an object.

        Raises:
            NamingError: 'name not found' or 'metadata too large'.
            SerializationError: the value cannot travel.
        """
        name = self._full(name)
        encoded = b"" if meta is None else self._serializer.encode(meta, "meta")
        if len(encoded) > MAX_META:
            raise NamingError("metadata too large", name, f"{len(encoded)} bytes, more than {MAX_META}")
        self._change(name, lambda record: record._replace(meta=encoded))

    def getMeta(self, name: str) -> Any:
        """What `setMeta` kept; None at first. Raises NamingError: 'name not found'."""
        meta = self._record(name).meta
        return self._serializer.decode(meta) if meta else None

    def _setSystemMeta(self, name: str, meta: NameSpaceSystemMeta) -> None:
        """Replace the system metadata, but for the type, which is what the name is.

        Raises:
            NamingError: 'name not found' or 'invalid system metadata'.
        """
        name = self._full(name)
        wrong = _fault_of_system_meta(meta)
        if wrong:
            raise NamingError("invalid system metadata", name, wrong)
        self._change(name, lambda record: new_record(record.uri, meta, record.meta))

    def _getSystemMeta(self, name: str) -> NameSpaceSystemMeta:
        """The system metadata. Raises NamingError: 'name not found'."""
        return self._record(name).system_meta()

    def mark_seen(self, name: str) -> None:
        """Note in the system metadata that its server was heard of now. Raises NamingError: 'name not found'."""
        seen = self._clock()

        def marked(record: Record) -> Record:
            meta = record.system_meta()
            meta.seen = seen
            return new_record(record.uri, meta, record.meta)

        self._change(self._full(name), marked)

    # Watching

    keys = KEYS
    """What to watch in the store, for `events`."""

    def events(self, change: Change) -> NameEvents:
        """As `names_changed`."""
        return names_changed(change)

    # What these have in common

    def _full(self, name: str, text: str = "invalid name") -> str:
        return full_name(name, self._default_group, text)

    def _entry(self, name: str, text: str) -> Entry:
        entry = self.store.get(key_of(name))
        if entry is None:
            raise NamingError(text, name)
        return entry

    def _group(self, name: str) -> Entry:
        entry = self._entry(name, "group not found")
        if not is_group(entry):
            raise NamingError("is no group", name)
        return entry

    def _record(self, name: str) -> Record:
        return read_record(self._entry(self._full(name), "name not found"))

    def _rebind(self, node: Node, uri: object, lease: int, owner: str | None) -> bool:
        value = self._new_object(uri, owner) + node.record.meta
        return self.store.replace(node.entry, value, lease).done

    def _commit_if_same(self, entry: Entry, *steps: Delete | DeleteAll) -> bool:
        return self.store.commit([same(entry)], steps).done

    def _create(self, name: str, value: bytes, lease: int, taken: str) -> None:
        if name == ROOT:
            raise NamingError(taken, name)
        key, group_key = key_of(name), key_of(split(name)[0])
        while True:
            parent = self.store.get(group_key)
            if parent is None or not is_group(parent):
                self._refuse_parent(name)
            outcome = self.store.commit([absent(key), same(parent)], [Put(key, value, lease)])
            if outcome.done:
                return
            if outcome.found[0] is not None:
                raise NamingError(taken, name)
            # The group was deleted in this moment; it may be there again.

    def _refuse_parent(self, name: str) -> NoReturn:
        above = self._nearest(name)
        if above is not None and not is_group(above):
            raise NamingError("parent is no group", name_of(above.key))
        while split(name)[0] not in ("", above and name_of(above.key)):
            name = split(name)[0]
        raise NamingError("(parent)group not found", name)

    def _nearest(self, name: str) -> Entry | None:
        """Of the names on the way to this one, the last that is there."""
        entry = None
        while entry is None and (name := split(name)[0]):
            entry = self.store.get(key_of(name))
        return entry

    def _change(self, name: str, changed: Callable[[Record], Record]) -> None:
        while True:
            entry = self._entry(name, "name not found")
            value = changed(read_record(entry)).encode()
            try:
                if self.store.commit([unchanged(entry)], [Put(entry.key, value, entry.lease)]).done:
                    return
            except LeaseLostError:
                continue  # the name goes with its lease, or is somebody else's already

    def _new_group(self) -> bytes:
        return new_record("", NameSpaceSystemMeta(self._clock(), None, GROUP)).encode()

    def _new_object(self, uri: object, owner: str | None) -> bytes:
        """The value of an object, without metadata of the user's, which would stand at its end."""
        try:
            text = uri if isinstance(uri, str) else str(uri)
            if uris.protocol_of(text) == "PYRONAME":
                raise URIError("a name cannot stand for another name")
        except URIError as error:
            raise NamingError("invalid URI", shown(uri if isinstance(uri, str) else str(uri)), str(error)) from error
        return object_value(text, self._clock(), owner and owner[:MAX_OWNER])


def names_changed(change: Change) -> list[NameEvent]:
    """What a change of the store, of keys that begin with `KEYS`, means for names."""
    found = []
    for key, entry in change.events:
        record = None if entry is None else read_record(entry)
        found.append(NameEvent(name_of(key), record and record.type, record.uri if record else ""))
    return found


def _fault_of_system_meta(meta: object) -> str:
    if not isinstance(meta, NameSpaceSystemMeta):
        return f"it is a NameSpaceSystemMeta, not {type(meta).__name__}"
    for member in ("timestamp", "seen"):
        value = getattr(meta, member)
        if isinstance(value, bool) or not isinstance(value, int | float | None) or (value is None and member != "seen"):
            return f"{member} is a number of seconds, not {type(value).__name__}"
        if value is not None and not abs(value) < 1e15:
            return f"{member} is a time, not {value!a}"
    if meta.owner is not None and (not isinstance(meta.owner, str) or len(meta.owner) > MAX_OWNER):
        return f"owner is a text of at most {MAX_OWNER} characters, or None"
    return ""
