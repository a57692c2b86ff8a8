from __future__ import annotations

import time as clock
from collections import Counter, OrderedDict, defaultdict
from datetime import UTC, datetime, tzinfo
from typing import Any

import pytest

from gpyro.errors import SerializationError
from gpyro.values import JsonSerializer, MsgpackSerializer, Registry, codes
from gpyro.values.arrays import NDARRAY, SCALAR
from gpyro.values.special import SPECIAL_TYPES

CODEC = MsgpackSerializer(Registry())
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
        start = clock.perf_counter()
        assert codec.decode(codec.encode(huge)) == huge
        assert clock.perf_counter() - start < 2
    start = clock.perf_counter()
    ROWS[codes.FRACTION].from_state([huge, huge - 2], 1_000)
    ROWS[codes.DECIMAL].from_state("1e999999999999", 1_000)
    assert clock.perf_counter() - start < 1


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
