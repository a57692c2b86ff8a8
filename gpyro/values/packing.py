"""msgpack, with extension types for what it lacks. The only file that knows ormsgpack.

ormsgpack hides what its hooks raise, and gives them no argument to say how deep they are. So the hooks for unpacking
stand in a tower, one for each level of extension values in extension values, and leave what they raise where the
caller looks for it. They keep no other state, so calls may overlap as they like.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from itertools import count
from typing import Any, Final

import ormsgpack
from ormsgpack import Ext, packb, unpackb

from gpyro.errors import SerializationError

from .arrays import NDARRAY, SCALAR
from .bytescan import holds_bytearray
from .classes import Registry
from .codes import EXCEPTION, OBJECT, RAW_CODES, TUPLE
from .exceptions import from_records, to_records
from .guard import Limits, check_depth
from .headers import container_bound
from .objects import make_object, object_state
from .refusal import Refused, explain
from .special import SMALL_CODES, SMALL_STATE, SPECIAL_TYPES, Special
from .walk import Walk, find_row, is_utf8

# Without these ormsgpack turns values into others: a tuple into a list, a date into a text, a subclass into its base.
OPTIONS: Final = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)
# Each level of extension values may hold 1,022 levels of lists when unpacking, which is 512 KiB of C stack. So from
# this level on the whole nesting is checked, and packing leaves deeper nestings to the walk.
_CHECKED_LEVEL: Final = 4
_PACKED_LEVELS: Final = 32
_ROWS: Final[dict[int, Special]] = {row.code: row for row in (*SPECIAL_TYPES.values(), NDARRAY, SCALAR)}

ExtHook = Callable[[int, bytes], Any]

# What a hook raised, until the call that it was for returns. Threads and greenlets have contexts of their own.
_raised: Final[ContextVar[BaseException | None]] = ContextVar("gpyro.values.raised", default=None)


# Most values consist of what msgpack has. A hook that is no Python code, and only counts, tells which ones do not at
# no cost; who asks is counted, too. Where threads meet, it may say so of a value that does.
missing_seen: Final = count().__next__
count_missing: Final = partial(next, missing_seen.__self__)  # type: ignore[attr-defined]


def take_raised() -> BaseException | None:
    """What a hook raised in the call that has just failed, if it was a hook that failed."""
    error = _raised.get()
    if error is not None:
        _raised.set(None)
    return error


def _note_raised(error: BaseException) -> None:
    # Hooks in hooks fail one after the other; the innermost one, which is the first, knows why.
    if _raised.get() is None:
        _raised.set(error)


class Packer:
    """Packs values, those that msgpack lacks as extension values.

    No Python code runs while ormsgpack goes through a container: it would let another greenlet or thread change that
    container, and ormsgpack would read on in memory that is no longer there. So a first packing only collects what
    msgpack lacks, with a hook that is no Python code; then that is converted; and a second packing takes the converted
    values in the same order.
    """

    def __init__(self, registry: Registry, limits: Limits) -> None:
        self._registry = registry
        self._wire_depth = limits.max_wire_depth

    def pack(self, value: Any, level: int = 0) -> tuple[bytes, bool]:
        """The packed value, and whether all payloads of extension values in it are msgpack.

        Raises:
            Refused: a part of it cannot travel, or needs the walk.
            Exception: ormsgpack refuses it, or what a hook of a class raised.
        """
        found: list[Any] = []
        data = packb(value, found.append, OPTIONS)
        all_msgpack = True
        if found:
            data, all_msgpack = self._convert(value, found, level)
        if (0xC4 in data or len(data) > 256) and holds_bytearray(data, value, all_msgpack):
            raise Refused("a bytearray needs the walk")
        return data, all_msgpack

    def _convert(self, value: Any, found: list[Any], level: int) -> tuple[bytes, bool]:
        """Pack `value`, in which ormsgpack `found` values that msgpack lacks. Raises as `pack` does."""
        all_msgpack = True
        converted = []
        for item in found:
            extension, is_msgpack = self._extension(item, level)
            converted.append(extension)
            all_msgpack = all_msgpack and is_msgpack
        rest = iter(converted)
        # With more values than found before, `next` gives the value itself, which ormsgpack refuses once more.
        data = packb(value, partial(next, rest), OPTIONS)
        if next(rest, None) is not None:
            raise Refused("the value changed while it was encoded")
        return data, all_msgpack

    def _extension(self, value: Any, level: int) -> tuple[Ext, bool]:
        kind = type(value)
        state: Any
        if kind is tuple:
            code, state = TUPLE, [*value]
        else:
            row = SPECIAL_TYPES.get(kind)
            if row is not None:
                code, state = row.code, row.to_state(value)
                if code in RAW_CODES:
                    return Ext(code, state), False
            else:
                code, state = _rare_state(value, self._registry)
        if level == _PACKED_LEVELS:
            raise Refused("so deep a nesting needs the walk")
        data, all_msgpack = self.pack(state, level + 1)
        wire_depth = self._wire_depth
        if level == _CHECKED_LEVEL and len(data) > wire_depth and container_bound(data) > wire_depth:
            raise Refused("so deep a nesting may need the walk")
        return Ext(code, data), all_msgpack


def _rare_state(value: Any, registry: Registry) -> tuple[int, Any]:
    row = find_row(type(value))
    if row is not None:
        return row.code, row.to_state(value)
    if isinstance(value, BaseException):
        return EXCEPTION, to_records(value, registry)[0]
    entry = registry.find(type(value))
    if entry is None:
        raise Refused(explain(value))
    return OBJECT, [entry.name, object_state(value, entry)]


def make_ext_hook(registry: Registry, limits: Limits) -> ExtHook:
    """The hook for extension values, for use at the outermost level."""
    hook = _ext_hook(registry, limits, None, checked=False)
    for level in range(_CHECKED_LEVEL, 0, -1):
        hook = _ext_hook(registry, limits, hook, checked=level == _CHECKED_LEVEL)
    return hook


def _ext_hook(registry: Registry, limits: Limits, deeper: ExtHook | None, checked: bool) -> ExtHook:
    equal_hashes = limits.max_hash_collisions
    wire_depth = limits.max_wire_depth
    rows = _ROWS

    def ext_hook(code: int, data: bytes) -> Any:
        try:
            if code in RAW_CODES:
                return rows[code].from_state(data, equal_hashes)
            if len(data) > SMALL_STATE and code in SMALL_CODES:
                raise SerializationError(f"a value of extension type {code} of {len(data):,} bytes")
            if checked:
                check_depth(data, wire_depth)
            state = unpackb(data, ext_hook=inner)
            if code == TUPLE and type(state) is list:
                return tuple(state)
            row = rows.get(code)
            if row is not None:
                return row.from_state(state, equal_hashes)
            if code == OBJECT:
                return make_object(state, registry)
            if code == EXCEPTION:
                return from_records(state, registry)
            raise SerializationError(f"extension type {code} is unknown")
        except BaseException as error:
            _note_raised(error)
            raise

    inner = ext_hook if deeper is None else deeper
    return ext_hook


class PackWalk(Walk):
    """The walk for msgpack."""

    def leaf(self, value: Any) -> Any:
        """See `Walk.leaf`."""
        kind = type(value)
        if kind is int and not -0x8000000000000000 <= value <= 0xFFFFFFFFFFFFFFFF:
            row = SPECIAL_TYPES[int]
        elif kind is str and not is_utf8(value):
            row = SPECIAL_TYPES[str]
        else:
            return value
        return Ext(row.code, row.to_state(value))

    def special(self, code: int, tag: str, node: Any) -> Any:
        """See `Walk.special`."""
        return Ext(code, node if code in RAW_CODES else packb(node, None, OPTIONS))

    def is_plain_key(self, key: str) -> bool:
        """See `Walk.is_plain_key`."""
        return is_utf8(key)


def array_header(count: int) -> bytes:
    """What stands in front of the elements of a list."""
    if count < 16:
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big") if count < 0x10000 else b"\xdd" + count.to_bytes(4, "big")


def pack_plain(value: Any) -> bytes:
    """Pack a value of None, bool, int, float, str, bytes, list and dict with str keys, and nothing else.

    Args:
        value: meant for small maps of metadata; its size is the caller's business.

    Raises:
        SerializationError: there is something else in it.
    """
    try:
        return packb(value, None, OPTIONS)
    except Exception as error:
        raise SerializationError(f"metadata cannot be packed: {error}") from error


def unpack_plain(data: bytes | memoryview) -> Any:
    """Unpack what `pack_plain` packed.

    Args:
        data: the bytes; their number is checked by the caller.

    Raises:
        SerializationError: they are nothing of that sort.
    """
    try:
        return unpackb(data)
    except Exception as error:
        raise SerializationError(f"metadata cannot be unpacked: {error}") from error


__all__ = [
    "OPTIONS",
    "PackWalk",
    "Packer",
    "array_header",
    "count_missing",
    "make_ext_hook",
    "missing_seen",
    "pack_plain",
    "packb",
    "take_raised",
    "unpack_plain",
    "unpackb",
]
