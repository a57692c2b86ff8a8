"""Values and classes that every serializer has to carry, and an exact comparison of what arrived."""

from __future__ import annotations

import enum
import math
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final
from zoneinfo import ZoneInfo

from gpyro.values import Registry


class Colour(enum.Enum):
    """A plain enum, one of whose values could not travel itself."""

    RED = 1
    BLUE = (2, object)


class Level(enum.IntEnum):
    """An enum whose members are numbers."""

    LOW = 1
    HIGH = 2


class Access(enum.Flag):
    """An enum whose members are combined."""

    READ = enum.auto()
    WRITE = enum.auto()


class Word(enum.StrEnum):
    """An enum whose members are texts."""

    YES = "yes"


@dataclass
class Point:
    """A dataclass with a default and a factory."""

    x: int
    y: Any = 0
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frozen:
    """A dataclass that can be a key."""

    name: str
    number: int = 0


Pair = namedtuple("Pair", ["left", "right"])


class Plain:
    """A class whose ``__init__`` must not be called by a serializer."""

    def __init__(self, owner: Any, items: Any) -> None:
        self.owner = owner
        self.items = items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and same(vars(self), vars(other))

    __hash__ = None  # type: ignore[assignment]


class Slotted:
    """A class with slots, one of them private, and no ``__dict__``."""

    __slots__ = ("__hidden", "shown")

    def __init__(self, shown: Any, hidden: Any) -> None:
        self.shown = shown
        self.__hidden = hidden

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slotted) and same([self.shown, self.__hidden], [other.shown, other.__hidden])

    __hash__ = None  # type: ignore[assignment]


class Stateful:
    """A class that says itself what its state is."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __getstate__(self) -> list[int]:
        return [self.value]

    def __setstate__(self, state: list[int]) -> None:
        (self.value,) = state

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stateful) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


class Name(str):
    """A text with an attribute."""

    language = "en"


class Bag(dict[Any, Any]):
    """A dict with a type of its own."""


class AppError(Exception):
    """An exception whose ``__init__`` takes other arguments than it passes on."""

    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.hint = hint


class Unregistered:
    """A class that no test registers."""


class UnregisteredError(Exception):
    """An exception that no test registers."""


REGISTERED: Final[tuple[type, ...]] = (
    Colour, Level, Access, Word, Point, Frozen, Pair, Plain, Slotted, Stateful, Name, Bag, AppError,
)  # fmt: skip


def registry_of_samples() -> Registry:
    """A registry of its own in which all classes of `REGISTERED` are known."""
    registry = Registry()
    for cls in REGISTERED:
        registry.register(cls)
    return registry


def _name() -> Name:
    name = Name("Anna")
    name.language = "de"
    return name


_AMSTERDAM: Final = ZoneInfo("Europe/Amsterdam")

SAMPLES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 7**20_000, -(7**20_000),
    0.0, -0.0, 1.5, 1e308, 5e-324, math.inf, -math.inf, math.nan, 1j, complex(-0.0, math.inf),
    "", "text", "\x00", "é", "漢字", "😀", "\ud800", "a\udcffb", "\ud83d\ude00", "x" * 70_000, "$", "Ω" * 40,
    b"", b"\xc4\xff", b"x" * 300, b"x" * 70_000, bytearray(), bytearray(b"\xc4\x00"), bytearray(70_000),
    [], [1, [2, [3]]], [[]] * 3, list(range(300)), (), (1,), ((1, (2, ())), [(3,)]), tuple(range(300)),
    set(), {1, "a", (2,)}, frozenset(), frozenset({1, frozenset({2})}), {(1, (2, 3)), None},
    {}, {"a": {"b": {}}}, {"$": 1}, {"$": "tuple", "v": [1]}, {"v": 1, "$": 2}, {"": 1}, {"\ud800": 1},
    {1: "a", "1": "b"}, {True: 1, 0: 2}, {None: None}, {1.5: 1, math.inf: 2}, {b"k": 1}, {2**70: 1},
    {(1, (2, "x")): [1]}, {frozenset({1}): {2: {3: 4}}}, {Decimal(1): 1}, {Frozen("k"): 1}, {Level.LOW: 1, "x": 2},
    {Colour.RED: Colour.BLUE}, {uuid.UUID(int=1): 1, date(2020, 1, 1): 2},
    datetime(2024, 2, 29, 12, 30, 45, 123_456), datetime.min, datetime.max, datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-5, minutes=-30, microseconds=1))),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")), datetime(2024, 7, 1, tzinfo=_AMSTERDAM),
    datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=_AMSTERDAM), datetime(2024, 10, 27, 2, 30, fold=1),
    date.min, date(2024, 2, 29), time(), time(23, 59, 59, 999_999, fold=1), time(1, tzinfo=UTC),
    timedelta(), timedelta.min, timedelta.max, timedelta(microseconds=-1), UTC, _AMSTERDAM,
    Decimal("1.10"), Decimal("-0"), Decimal("NaN"), Decimal("sNaN12"), Decimal("-Infinity"), Decimal("1e999999"),
    Fraction(1, 3), Fraction(-(3**1_000), 2**2_000), Fraction(0), uuid.UUID(int=2**128 - 1),
    range(0), range(10, 0, -3), range(10**30), slice(None), slice(1, "b", (2,)), ...,
    PurePosixPath("/a/../b"), PureWindowsPath("C:/x"), Path("relative"), Path("/"), Path("a\udcff"),
    OrderedDict([("b", 1), ("a", 2)]), OrderedDict([(2, 1), (1, 2)]), Counter("abca"), Counter({(1,): -2}),
    defaultdict(list, {"a": [1]}), defaultdict(None, {1: 2}), defaultdict(int), deque(), deque([1, (2,)], maxlen=5),
    Colour.RED, Colour.BLUE, Level.HIGH, Access.READ, Access.READ | Access.WRITE, Access(0), Word.YES,
    Point(1), Point(1, (2,), ["a"]), Frozen("a", 1), Pair(1, [2]), Pair((1,), None), Plain(None, [1, {2: 3}]),
    Slotted((1,), bytearray(b"h")), Stateful(3), _name(), Bag({1: 2, "a": (3,)}),
    [bytearray(b"a"), b"a", (bytearray(b"b"), b"b")], {"k": [bytearray(b"c")], "l": {"m": bytearray(300)}},
    [1.1, -0.3, 196, 197, 198, 50_000, -40_000, 3_300_000_000, "Äą" * 30] * 100,
    [0.123 * number for number in range(-500, 500)] + [bytearray(b"end")],
)  # fmt: skip


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal and of exactly the same types all through; NaN equals NaN, and -0.0 not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, BaseException):
        return same(_parts(left), _parts(right))
    if isinstance(left, (float, complex, Decimal)):
        return repr(left) == repr(right)
    if isinstance(left, (datetime, time)):
        return bool(left == right) and left.fold == right.fold and same(left.tzinfo, right.tzinfo)
    if isinstance(left, timezone):
        return bool(left == right) and left.tzname(None) == right.tzname(None)
    if isinstance(left, (dict, Counter, OrderedDict)):
        factory = getattr(left, "default_factory", None) is getattr(right, "default_factory", None)
        return factory and same([*left.items()], [*right.items()])
    if isinstance(left, deque):
        return left.maxlen == right.maxlen and same([*left], [*right])
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, (set, frozenset)):
        return bool(left == right) and {*map(_typed, left)} == {*map(_typed, right)}
    if isinstance(left, slice):
        return same([left.start, left.stop, left.step], [right.start, right.stop, right.step])
    if type(left).__module__ == "numpy":
        return bool(left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes())
    if isinstance(left, (Point, Plain)):
        return same(vars(left), vars(right))
    if isinstance(left, Name) and not same(vars(left), vars(right)):
        return False
    return bool(left == right)


def _typed(member: Any) -> tuple[type, Any]:
    return type(member), member


def _parts(error: BaseException) -> list[Any]:
    state = {name: value for name, value in vars(error).items() if name != "remote_stacktrace"}
    members = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else list(error.args)
    return [members, state, error.__cause__, error.__suppress_context__]
