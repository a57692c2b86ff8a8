from __future__ import annotations

import time as clock
from collections import Counter, OrderedDict, defaultdict
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gpyro.errors import SerializationError
from gpyro.values import JsonSerializer, MsgpackSerializer, Registry, codes, special
from gpyro.values.arrays import NDARRAY, SCALAR
from gpyro.values.packing import OPTIONS, Ext, packb
from gpyro.values.special import SPECIAL_TYPES

CODEC = MsgpackSerializer(Registry())


def extension(code: int, state: Any) -> bytes:
    """An extension value as a peer may make it up; long numbers in it are those of the wire."""
    return packb(Ext(code, CODEC.encode(state)), None, OPTIONS)


ROWS = {row.code: row for row in SPECIAL_TYPES.values()}


def test_every_code_has_one_row() -> None:
    known = {value for name, value in vars(codes).items() if name.isupper() and isinstance(value, int)}
    assert known == {*ROWS, codes.OBJECT, codes.EXCEPTION, NDARRAY.code, SCALAR.code}
    assert len({row.tag for row in ROWS.values()}) == len(ROWS)


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (codes.TUPLE, "ab"),
        (codes.TUPLE, {}),
        (codes.SET, "ab"),
        (codes.SET, [[]]),
        (codes.MAP, [1]),
        (codes.MAP, {1: 2}),
        (codes.MAP, [[], 1]),
        (codes.BIG_INT, "12"),
        (codes.TEXT, b"\xff"),
        (codes.UUID, b"short"),
        (codes.COMPLEX, [1, 2]),
        (codes.COMPLEX, ["1", "2"]),
        (codes.FRACTION, [1, 0]),
        (codes.FRACTION, [2, 4]),
        (codes.FRACTION, [1, -2]),
        (codes.FRACTION, [1.0, 2]),
        (codes.DECIMAL, "text"),
        (codes.DECIMAL, "1e99999999999999999999"),
        (codes.DECIMAL, 1),
        (codes.RANGE, [0, 1, 0]),
        (codes.RANGE, [0, 1]),
        (codes.SLICE, [1]),
        (codes.DATE, [2024, 13, 1]),
        (codes.DATE, [2024, 1]),
        (codes.DATETIME, [2024, 1, 1, 25, 0, 0, 0, 0, None]),
        (codes.DATETIME, [2024, 1, 1, 1, 0, 0, 0, 2, None]),
        (codes.DATETIME, [2024, 1, 1, 1, 0, 0, 0, 0, "UTC"]),
        (codes.DATETIME, [2**70, 1, 1, 1, 0, 0, 0, 0, None]),
        (codes.TIME, [24, 0, 0, 0, 0, None]),
        (codes.TIMEDELTA, [2**62, 0, 0]),
        (codes.TIMEDELTA, [1.5, 0, 0]),
        (codes.TIMEZONE, [10**15]),
        (codes.TIMEZONE, [0, "a", "b"]),
        (codes.TIMEZONE, [0, 1]),
        (codes.ZONEINFO, "../../etc/passwd"),
        (codes.ZONEINFO, "/etc/passwd"),
        (codes.ZONEINFO, "No/Such/Zone"),
        (codes.ZONEINFO, "a\x00b"),
        (codes.ZONEINFO, "A" * 1_000),
        (codes.ZONEINFO, ""),
        (codes.PATH, ["mac", "x"]),
        (codes.PATH, ["posix", 1]),
        (codes.DEFAULT_DICT, ["eval"]),
        (codes.DEFAULT_DICT, []),
        (codes.DEQUE, [1, 1, 2]),
        (codes.DEQUE, [-1]),
        (codes.DEQUE, []),
        (codes.COUNTER, ["a"]),
        (codes.ORDERED_DICT, [[], 1]),
    ],
)
def test_a_forged_state_is_refused(code: int, state: Any) -> None:
    row = ROWS[code]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the codec maps whatever it is
        row.from_state(state, 1_000)
    assert not isinstance(caught.value, (MemoryError, AssertionError))


def test_huge_numbers_cost_no_more_than_their_length() -> None:
    huge = (1 << 8_000_000) + 1
    for codec in (CODEC, JsonSerializer(Registry())):
        start = clock.process_time()
        assert codec.decode(codec.encode(huge)) == huge
        assert clock.process_time() - start < 10
    start = clock.process_time()
    ROWS[codes.FRACTION].from_state([huge, huge - 2], 1_000)
    ROWS[codes.DECIMAL].from_state("1e999999999999", 1_000)
    assert clock.process_time() - start < 10


def test_equal_keys_are_merged_and_the_last_one_wins() -> None:
    assert ROWS[codes.MAP].from_state([1, "a", True, "b"], 1_000) == {1: "b"}
    assert ROWS[codes.SET].from_state([1, 1], 1_000) == {1}


def test_what_would_be_lost_is_refused() -> None:
    class Zone(tzinfo):
        pass

    def factory() -> int:
        return 1

    ordered: Any = OrderedDict(a=1)
    ordered.note = "x"
    counter: Any = Counter("a")
    counter.note = "x"
    for value, text in (
        (ordered, "OrderedDict with attributes"),
        (counter, "Counter with attributes"),
        (defaultdict(factory), "defaultdict: its factory cannot travel"),
        (datetime(2024, 1, 1, tzinfo=Zone()), "Zone is not registered"),
        (datetime.now(UTC).tzinfo.__class__, "classes cannot travel"),
    ):
        with pytest.raises(SerializationError, match=text):
            CODEC.encode([value])


def test_ranges_have_numbers_of_bounded_length() -> None:
    at_most = range(-(1 << 8_191), 1 << 8_191, 1 << 4_000)
    assert CODEC.decode(CODEC.encode(at_most)) == at_most
    for value in (range(1 << 9_000), range(0, 5, -(1 << 9_000))):
        with pytest.raises(SerializationError, match=r"result: range with numbers of more than 8,192 bits"):
            CODEC.encode(value)
    for state in ([0, 1 << 9_000, 1], [0, 1 << 9_000, 1 << 8_500]):
        with pytest.raises(SerializationError, match="at most 8,192 bits"):
            CODEC.decode(extension(codes.RANGE, state))


def test_long_decimals_arrive_if_they_are_numbers() -> None:
    digits = "123456789" * 300
    for text in (
        digits,
        f"-{digits}",
        f"0.{digits}",
        f"-1.{digits}E+77",
        f"{digits}E-5",
        f"NaN{digits}",
        f"-sNaN{digits}",
    ):
        value = Decimal(text)
        assert str(CODEC.decode(CODEC.encode(value))) == str(value)
    for text in (f"{digits}x", f"{digits}E{digits}", "_" * 2_000, f"{digits}.{digits}.", " " * 2_000):
        with pytest.raises(SerializationError, match="not a decimal number"):
            CODEC.decode(extension(codes.DECIMAL, text))


def test_values_of_small_types_are_small() -> None:
    for code in (codes.DATE, codes.TIMEDELTA, codes.TIMEZONE, codes.ZONEINFO, codes.COMPLEX, codes.ELLIPSIS):
        with pytest.raises(SerializationError, match=rf"extension type {code} of 5,"):
            CODEC.decode(extension(code, "x" * 5_000))
    with pytest.raises(SerializationError, match="a time zone with a name of more than 500 characters"):
        CODEC.encode(timezone(timedelta(0), "x" * 501))
    named = timezone(timedelta(0), "\U0001f600" * 500)
    assert CODEC.decode(CODEC.encode(named)).tzname(None) == named.tzname(None)


def test_zones_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(special, "_kept_zones", {})
    monkeypatch.setattr(special, "_MAX_KEPT_ZONES", 3)
    names = [f"Etc/GMT+{number}" for number in range(1, 13)]
    for name in names:
        assert CODEC.decode(CODEC.encode(ZoneInfo(name))).key == name
    assert list(special._kept_zones) == names[-3:]
    # Kept, so that nothing has to be read again although nobody else has it.
    kept = [*map(id, special._kept_zones.values())]
    ZoneInfo("UTC")
    assert [id(CODEC.decode(extension(codes.ZONEINFO, name))) for name in names[-3:]] == kept
    ZoneInfo.clear_cache(only_keys=names[-1:])
    fresh = ZoneInfo(names[-1])
    assert CODEC.decode(extension(codes.ZONEINFO, names[-1])) is fresh is special._kept_zones[names[-1]]
