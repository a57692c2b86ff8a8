"""How names stand in a store: the key of a name, and what is kept under it.

The key of ``:a.b.c`` is ``:a.b:c``, with the last dot as a colon, so that the names directly in a group begin alike and
no others do: listing one does not pass by what is in its subgroups. The root group is ``:``. Other keys in the same
store do not begin with a colon.

The value is a line that says ``G`` for a group or ``O`` and the URI for an object, a line of JSON with the system
metadata, and the user metadata as the serializer made it, nothing for None.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from gpyro.errors import StoreError
from gpyro.names import ROOT, SEPARATOR, join
from gpyro.store_contract import Entry

GROUP: Final = 0
OBJECT: Final = 1

KEYS: Final = ROOT
"""What the keys of all names begin with."""


def key_of(name: str) -> str:
    """The key of an absolute name."""
    group, dot, part = name.rpartition(SEPARATOR)
    if dot:
        return f"{group}:{part}"
    return ROOT + name if name != ROOT else ROOT


def name_of(key: str) -> str:
    """The absolute name that has this key."""
    group, _, part = key.rpartition(":")
    return join(group, part) if group else ROOT


def keys_in(group: str) -> str:
    """What the keys of the names directly in a group begin with."""
    return group + ":"


def keys_below(group: str) -> tuple[str, ...]:
    """What the keys of all names below a group begin with; for the root that is its own key, too."""
    return (ROOT,) if group == ROOT else (group + ":", group + ".")


@dataclass(slots=True)
class NameSpaceSystemMeta:
    """What the name server itself knows of a name.

    Attributes:
        timestamp: when it was registered or created, in seconds since 1970.
        owner: who registered it, if that is known.
        type: 0 for a group, 1 for an object.
        seen: when its server was last heard of, in seconds since 1970, if that is kept.
    """

    timestamp: float
    owner: str | None = None
    type: int = GROUP
    seen: float | None = None

    def __str__(self) -> str:
        seen = "" if self.seen is None else f" seen={self.seen}"
        return f"[type={self.type} timestamp={self.timestamp} owner={self.owner}{seen}]"


class Record(NamedTuple):
    """What is kept under a name.

    Attributes:
        uri: of the object; empty for a group.
        system: the system metadata, as JSON.
        meta: the user metadata, as the serializer made it.
    """

    uri: str
    system: bytes
    meta: bytes

    @property
    def type(self) -> int:
        """What the name is: `GROUP` or `OBJECT`."""
        return OBJECT if self.uri else GROUP

    def system_meta(self) -> NameSpaceSystemMeta:
        """The system metadata. Raises StoreError if it is not as `new_record` made it."""
        try:
            members: dict[str, Any] = json.loads(self.system)
            return NameSpaceSystemMeta(members["timestamp"], members.get("owner"), self.type, members.get("seen"))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise StoreError(f"system metadata that cannot be understood: {self.system[:60]!a}") from None

    def encode(self) -> bytes:
        """As it stands in the store."""
        return b"%b\n%b\n%b" % (b"O " + self.uri.encode() if self.uri else b"G", self.system, self.meta)


def new_record(uri: str, system: NameSpaceSystemMeta, meta: bytes = b"") -> Record:
    """A record of an object, or of a group if `uri` is empty."""
    members: dict[str, Any] = {"timestamp": system.timestamp}
    members |= {name: value for name, value in (("owner", system.owner), ("seen", system.seen)) if value is not None}
    return Record(uri, json.dumps(members).encode(), meta)


def object_value(uri: str, timestamp: float, owner: str | None) -> bytes:
    """What `Record.encode` gives of an object that is new."""
    if owner is None:  # as it is nearly always
        return f'O {uri}\n{{"timestamp": {timestamp!r}}}\n'.encode()
    return new_record(uri, NameSpaceSystemMeta(timestamp, owner, OBJECT)).encode()


def is_group(entry: Entry) -> bool:
    """Whether an entry is a group's."""
    return entry.value.startswith(b"G")


def read_record(entry: Entry) -> Record:
    """What is kept in an entry. Raises StoreError if it is not as `Record.encode` made it."""
    lines = entry.value.split(b"\n", 2)
    first = lines[0]
    if len(lines) == 3 and (first == b"G" or (first.startswith(b"O ") and first.isascii())):
        return Record(first[2:].decode(), lines[1], lines[2])
    raise StoreError(f"what is kept of {name_of(entry.key)!a} cannot be understood: {first[:60]!a}")


def read_uri(entry: Entry) -> str:
    """The URI that is kept in an entry; empty for a group. Raises StoreError as `read_record`."""
    first = entry.value.partition(b"\n")[0]
    return first[2:].decode() if first.startswith(b"O ") and first.isascii() else read_record(entry).uri


class Node(NamedTuple):
    """A name, and what is kept under it at one moment; `NameSpace.rebind` and `withdraw` want it unchanged.

    Attributes:
        name: the absolute name.
        record: what is kept.
        entry: where, with its revisions and its lease.
    """

    name: str
    record: Record
    entry: Entry
