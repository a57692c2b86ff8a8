"""The table of types that travel although msgpack and JSON do not know them.

Each row says how a value of exactly that type becomes a state (a list, a text, bytes: what the codec encodes) and back.
Both codecs read the same table, so they cannot disagree. `from_state` gets what a peer made up: it checks shapes,
does no arithmetic that grows faster than its input, and may raise anything, which the codec maps to
SerializationError.
"""

from __future__ import annotations

import math
import re
import uuid
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from . import codes
from .guard import check_keys
from .refusal import Refused
from .typed_array import array_state, to_array


class Special(NamedTuple):
    """One type of the table.

    Attributes:
        code: its number as a msgpack extension.
        tag: its name in JSON.
        to_state: makes the state of a value.
        from_state: makes the value of a state; the second argument is the limit on equal hashes.
    """

    code: int
    tag: str
    to_state: Callable[[Any], Any]
    from_state: Callable[[Any, int], Any]


def _list(state: Any, length: int | None = None) -> list[Any]:
    if type(state) is not list:
        raise TypeError(f"a list was expected, not {type(state).__name__}")
    if length is not None and len(state) != length:
        raise ValueError(f"{length} parts were expected, not {len(state)}")
    return state


def _ints(state: Any, length: int) -> list[int]:
    for part in _list(state, length):
        if type(part) is not int:
            raise TypeError(f"an int was expected, not {type(part).__name__}")
    return state  # type: ignore[no-any-return]


def _text(state: Any) -> str:
    if type(state) is not str:
        raise TypeError(f"a str was expected, not {type(state).__name__}")
    return state


def _bytes(state: Any) -> bytes:
    if type(state) is not bytes:
        raise TypeError(f"bytes were expected, not {type(state).__name__}")
    return state


# -- containers ------------------------------------------------------------------------------------------------------


def _to_tuple(state: Any, limit: int) -> tuple[Any, ...]:
    return tuple(_list(state))


def _to_set(state: Any, limit: int) -> set[Any]:
    check_keys(_list(state), limit)
    return set(state)


def _to_frozenset(state: Any, limit: int) -> frozenset[Any]:
    check_keys(_list(state), limit)
    return frozenset(state)


def flatten(mapping: dict[Any, Any]) -> list[Any]:
    """Keys and values of a dict in turn."""
    return [part for item in mapping.items() for part in item]


def unflatten(state: Any, limit: int) -> zip[tuple[Any, Any]]:
    """The items of `flatten`, with the keys checked for equal hashes."""
    keys = _list(state)[::2]
    if len(state) % 2:
        raise ValueError("a key has no value")
    check_keys(keys, limit)
    return zip(keys, state[1::2], strict=True)


def to_map(state: Any, limit: int) -> dict[Any, Any]:
    """The dict of `flatten`; of equal keys the last one wins, as in a dict display."""
    return dict(unflatten(state, limit))


def _flatten_exact(mapping: Any) -> list[Any]:
    if mapping.__dict__:
        raise Refused(f"{type(mapping).__name__} with attributes of its own cannot travel")
    # The methods of dict would do, except that OrderedDict keeps its order only in its own.
    return flatten(mapping)


def _to_ordered(state: Any, limit: int) -> OrderedDict[Any, Any]:
    return OrderedDict(unflatten(state, limit))


def _to_counter(state: Any, limit: int) -> Counter[Any]:
    counter: Counter[Any] = Counter()
    dict.update(counter, unflatten(state, limit))
    return counter


# A factory is code; these are the ones that need not travel because both sides have them.
_FACTORIES: Final[dict[str, type]] = {
    kind.__name__: kind
    for kind in (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict)
}


def _default_dict_state(value: defaultdict[Any, Any]) -> list[Any]:
    factory = value.default_factory
    if factory is None:
        return [None, *flatten(value)]
    name = getattr(factory, "__name__", "")
    if _FACTORIES.get(name) is not factory:
        raise Refused("defaultdict: its factory cannot travel unless it is a builtin type; pass dict(...) of it")
    return [name, *flatten(value)]


def _to_default_dict(state: Any, limit: int) -> defaultdict[Any, Any]:
    name = _list(state)[0]
    factory = None if name is None else _FACTORIES.get(_text(name))
    if factory is None is not name:
        raise ValueError("not a factory of a defaultdict")
    return defaultdict(factory, unflatten(state[1:], limit))


def _to_deque(state: Any, limit: int) -> deque[Any]:
    length = _list(state)[0]
    if length is not None and (type(length) is not int or length < 0 or length < len(state) - 1):
        raise ValueError("the deque is longer than its maxlen")
    return deque(state[1:], length)


# -- numbers and text ------------------------------------------------------------------------------------------------


def int_state(value: int) -> bytes:
    """A number as bytes: unlike decimal digits that is linear in its length, and has no limit."""
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


def _to_int(state: Any, limit: int) -> int:
    return int.from_bytes(_bytes(state), "little", signed=True)


def text_state(value: str) -> bytes:
    """A text that is no UTF-8, because it holds lone surrogates."""
    return value.encode("utf-8", "surrogatepass")


_TEXT: Final = re.compile(
    rb"(?:[\x00-\x7f]++|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*+"
)


def _to_text(state: Any, limit: int) -> str:
    # Decoding is slow where there are surrogates, and takes its memory first.
    if not _TEXT.fullmatch(_bytes(state)):
        raise ValueError("not a text in UTF-8")
    return state.decode("utf-8", "surrogatepass")  # type: ignore[no-any-return]


def _to_complex(state: Any, limit: int) -> complex:
    real, imaginary = _list(state, 2)
    if type(real) is not float or type(imaginary) is not float:
        raise TypeError("a complex number is two floats")
    return complex(real, imaginary)


# Longer numbers are not checked: their common divisor costs much, and a forged fraction is merely unequal to others.
_FRACTION_CHECKED_BITS: Final = 8_192


def _to_fraction(state: Any, limit: int) -> Fraction:
    numerator, denominator = _ints(state, 2)
    if denominator <= 0:
        raise ValueError("the denominator of a fraction must be positive")
    if max(numerator.bit_length(), denominator.bit_length()) <= _FRACTION_CHECKED_BITS and (
        math.gcd(numerator, denominator) != 1
    ):
        raise ValueError("the fraction is not in lowest terms")
    fraction: Any = object.__new__(Fraction)
    fraction._numerator, fraction._denominator = numerator, denominator
    return fraction  # type: ignore[no-any-return]


# Decimal copies what it is given before it looks at it, so a long text is looked at first.
_LONG_DECIMAL: Final = 1_000
_DECIMAL: Final = re.compile(r"-?(?:[0-9]++(?:\.[0-9]*+)?(?:E[+-]?[0-9]{1,20})?|s?NaN[0-9]*+)", re.ASCII)


def _to_decimal(state: Any, limit: int) -> Decimal:
    if len(_text(state)) > _LONG_DECIMAL and not _DECIMAL.fullmatch(state):
        raise ValueError("not a decimal number")
    return Decimal(state)


# A range divides by its step when it is made, which takes a time that grows with the square of the length.
_RANGE_BITS: Final = 8_192


def _range_state(value: range) -> list[Any]:
    state = [value.start, value.stop, value.step]
    if any(part.bit_length() > _RANGE_BITS for part in state):
        raise Refused(f"range with numbers of more than {_RANGE_BITS:,} bits cannot travel")
    return state


def _to_range(state: Any, limit: int) -> range:
    parts = _ints(state, 3)
    if any(part.bit_length() > _RANGE_BITS for part in parts):
        raise ValueError(f"a range has numbers of at most {_RANGE_BITS:,} bits")
    return range(*parts)


def _uuid_state(value: uuid.UUID) -> bytes:
    return value.bytes


def _to_uuid(state: Any, limit: int) -> uuid.UUID:
    return uuid.UUID(bytes=_bytes(state))


def _to_bytearray(state: Any, limit: int) -> bytearray:
    return bytearray(_bytes(state))


# -- time ------------------------------------------------------------------------------------------------------------


def _datetime_state(value: datetime) -> list[Any]:
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo)
    return [value.year, value.month, value.day, *clock]


def _zone(zone: Any) -> tzinfo | None:
    if zone is not None and not isinstance(zone, tzinfo):
        raise TypeError(f"{type(zone).__name__} is no time zone")
    return zone


def _to_datetime(state: Any, limit: int) -> datetime:
    *parts, zone = _list(state, 9)
    *when, fold = _ints(parts, 8)
    return datetime(*when, tzinfo=_zone(zone), fold=fold)  # type: ignore[misc, arg-type]


def _to_time(state: Any, limit: int) -> time:
    *parts, zone = _list(state, 6)
    *when, fold = _ints(parts, 5)
    return time(*when, tzinfo=_zone(zone), fold=fold)  # type: ignore[misc, arg-type]


_MAX_ZONE_NAME: Final = 500


def _offset_state(value: timezone) -> list[Any]:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
    if name and len(name[0]) > _MAX_ZONE_NAME:
        raise Refused(f"a time zone with a name of more than {_MAX_ZONE_NAME} characters cannot travel")
    return [offset // timedelta(microseconds=1), *name]


def _to_offset(state: Any, limit: int) -> timezone:
    microseconds, *name = _list(state)
    if len(name) > 1:
        raise ValueError("a time zone is an offset and at most a name")
    return timezone(timedelta(microseconds=_ints([microseconds], 1)[0]), *map(_text, name))


_MAX_KEPT_ZONES: Final = 2_000  # a system has up to three times 600
_kept_zones: Final[dict[str, ZoneInfo]] = {}
_ZONE_KEY: Final = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,3}", re.ASCII)


def _zone_state(value: ZoneInfo) -> str:
    if value.key is None:
        raise Refused("ZoneInfo without a key cannot travel; use ZoneInfo(name)")
    return value.key


def _to_zone(state: Any, limit: int) -> ZoneInfo:
    # The key becomes the name of a file.
    if len(_text(state)) > 64 or not _ZONE_KEY.fullmatch(state):
        raise ValueError("not the name of a time zone")
    zone = ZoneInfo(state)
    # ZoneInfo remembers those that are in use, and a few more. A message can name hundreds again and again, and each
    # would be read from its file each time: kept, they cost some 4 KiB each.
    if _kept_zones.get(state) is not zone:
        while len(_kept_zones) >= _MAX_KEPT_ZONES:
            _kept_zones.pop(next(iter(_kept_zones)), None)
        _kept_zones[state] = zone
    return zone


# -- paths -----------------------------------------------------------------------------------------------------------


# A path of the other system is not one of this one's: it arrives as a pure path.
_FLAVOURS: Final[dict[str, tuple[type[PurePath], bool]]] = {
    "posix": (PurePosixPath, isinstance(Path(), PurePosixPath)),
    "windows": (PureWindowsPath, isinstance(Path(), PureWindowsPath)),
    "pure-posix": (PurePosixPath, False),
    "pure-windows": (PureWindowsPath, False),
}


def _to_path(state: Any, limit: int) -> PurePath:
    flavour, text = _list(state, 2)
    found = _FLAVOURS.get(_text(flavour))
    if found is None:
        raise ValueError("not the flavour of a path")
    pure, concrete = found
    return Path(_text(text)) if concrete else pure(_text(text))


def _path_row(flavour: str) -> Special:
    return Special(codes.PATH, "path", lambda value: [flavour, str(value)], _to_path)


SPECIAL_TYPES: Final[dict[type, Special]] = {
    tuple: Special(codes.TUPLE, "tuple", list, _to_tuple),
    set: Special(codes.SET, "set", list, _to_set),
    frozenset: Special(codes.FROZENSET, "frozenset", list, _to_frozenset),
    dict: Special(codes.MAP, "map", flatten, to_map),
    int: Special(codes.BIG_INT, "int", int_state, _to_int),
    str: Special(codes.TEXT, "str", text_state, _to_text),
    bytearray: Special(codes.BYTEARRAY, "bytearray", bytes, _to_bytearray),
    datetime: Special(codes.DATETIME, "datetime", _datetime_state, _to_datetime),
    date: Special(codes.DATE, "date", lambda d: [d.year, d.month, d.day], lambda s, _: date(*_ints(s, 3))),
    time: Special(
        codes.TIME,
        "time",
        lambda t: [t.hour, t.minute, t.second, t.microsecond, t.fold, t.tzinfo],
        _to_time,
    ),
    timedelta: Special(
        codes.TIMEDELTA,
        "timedelta",
        lambda d: [d.days, d.seconds, d.microseconds],
        lambda s, _: timedelta(*_ints(s, 3)),
    ),
    timezone: Special(codes.TIMEZONE, "timezone", _offset_state, _to_offset),
    ZoneInfo: Special(codes.ZONEINFO, "zoneinfo", _zone_state, _to_zone),
    Decimal: Special(codes.DECIMAL, "decimal", str, _to_decimal),
    Fraction: Special(codes.FRACTION, "fraction", lambda f: [f.numerator, f.denominator], _to_fraction),
    uuid.UUID: Special(codes.UUID, "uuid", _uuid_state, _to_uuid),
    complex: Special(codes.COMPLEX, "complex", lambda c: [c.real, c.imag], _to_complex),
    range: Special(codes.RANGE, "range", _range_state, _to_range),
    slice: Special(codes.SLICE, "slice", lambda s: [s.start, s.stop, s.step], lambda s, _: slice(*_list(s, 3))),
    PurePosixPath: _path_row("pure-posix"),
    PosixPath: _path_row("posix"),
    PureWindowsPath: _path_row("pure-windows"),
    WindowsPath: _path_row("windows"),
    OrderedDict: Special(codes.ORDERED_DICT, "ordereddict", _flatten_exact, _to_ordered),
    defaultdict: Special(codes.DEFAULT_DICT, "defaultdict", _default_dict_state, _to_default_dict),
    deque: Special(codes.DEQUE, "deque", lambda d: [d.maxlen, *d], _to_deque),
    Counter: Special(codes.COUNTER, "counter", _flatten_exact, _to_counter),
    array: Special(codes.ARRAY, "array", array_state, to_array),
    type(...): Special(codes.ELLIPSIS, "ellipsis", lambda _: None, lambda s, _: ...),
}
# Types whose state takes no more than `SMALL_STATE` bytes. The rest of a longer one is not looked at.
SMALL_CODES: Final = frozenset(
    (codes.DATE, codes.TIMEDELTA, codes.TIMEZONE, codes.ZONEINFO, codes.COMPLEX, codes.RANGE, codes.ELLIPSIS)
)
SMALL_STATE: Final = 4_096
# Types that msgpack and JSON have, or that arrive as one of these.
PLAIN_TYPES: Final = frozenset({type(None), bool, int, float, str, bytes, memoryview, list, dict})
# Types whose state is a dict laid out flat; the walk names their parts by key.
FLAT_TYPES: Final = frozenset({dict, OrderedDict, Counter})
