from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpyro.limited_log import RateLimitedLog


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]


class Clock:
    now = 1_700_000_000.3

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def records() -> Iterator[Records]:
    handler = Records()
    logger = logging.getLogger("test_limited_log")
    logger.addHandler(handler)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limited(clock: Clock, **options: Any) -> RateLimitedLog:
    return RateLimitedLog(logging.getLogger("test_limited_log"), clock=clock, **options)


def test_one_line_per_key_and_second(records: Records, clock: Clock) -> None:
    out = limited(clock)
    assert out.warn("a", "peer %s is odd", "x")
    assert not out.warn("a", "peer %s is odd", "y")
    assert not out.warn("a", "peer %s is odd", "z")
    clock.now += 0.99
    assert not out.warn("a", "peer %s is odd", "z")
    clock.now += 0.02
    assert out.warn("a", "peer %s is odd", "w")
    clock.now += 1.01
    assert out.warn("a", "peer %s is odd", "v")
    assert records.texts == ["peer x is odd", "peer w is odd (3 like it left out)", "peer v is odd"]
    assert {record.levelname for record in records.records} == {"WARNING"}


def test_keys_do_not_hold_up_each_other(records: Records, clock: Clock) -> None:
    out = limited(clock)
    assert [out.warn(key, "from %s", key) for key in "aba"] == [True, True, False]
    assert records.texts == ["from a", "from b"]


def test_the_line_names_its_caller(records: Records, clock: Clock) -> None:
    limited(clock).warn("a", "text")
    assert records.records[0].funcName == "test_the_line_names_its_caller"


def test_arguments_by_name_and_percent_signs(records: Records, clock: Clock) -> None:
    out = limited(clock)
    for _ in range(2):
        out.warn("a", "%(who)s", {"who": "x"})
        out.warn("b", "100 %")
        clock.now += 0.6
    clock.now += 1
    out.warn("a", "%(who)s", {"who": "x"})
    out.warn("b", "100 %")
    assert records.texts == ["x", "100 %", "x (1 like it left out)", "100 % (1 like it left out)"]


def test_keys_are_bounded_and_so_are_lines(records: Records, clock: Clock) -> None:
    out = limited(clock, max_keys=10)
    assert [out.warn(number, "from %s", number) for number in range(1000)].count(True) == 11
    assert len(out._keys) <= 11
    clock.now += 1.5
    records.records.clear()
    for number in range(1000, 2000):
        out.warn(number, "from %s", number)
    assert len(records.texts) <= 11
    assert len(out._keys) <= 11


def test_a_known_key_keeps_its_place_when_there_is_no_room(records: Records, clock: Clock) -> None:
    out = limited(clock, max_keys=2)
    for key in ("a", "b", "c", "d"):
        out.warn(key, "from %s", key)
    clock.now += 0.5
    assert not out.warn("a", "again")
    clock.now += 0.6
    assert out.warn("a", "again")
    # "d" found no room, and is told of by the next that finds none.
    assert records.texts == ["from a", "from b", "from c", "again (1 like it left out)"]
    assert [out.warn(key, "late %s", key) for key in ("e", "f")] == [True, False]
    assert records.texts[4:] == ["late e (1 like it left out)"]


def test_what_was_left_out_of_a_forgotten_key_is_told_all_the_same(records: Records, clock: Clock) -> None:
    out = limited(clock, max_keys=2)
    lines = 0
    for second in range(20):
        for number in range(7):
            out.warn((second, number % 5), "x")
            lines += 1
        clock.now += 1.5
    told = sum(int(text.split("(")[1].split()[0]) for text in records.texts if "(" in text)
    waiting = sum(left_out for _, left_out in out._keys.values())
    assert len(records.texts) + told + waiting == lines
    assert told > 0


def test_admit_only_decides(records: Records, clock: Clock) -> None:
    out = limited(clock, interval=10)
    assert [out.admit("a"), out.admit("a"), out.admit("a")] == [0, None, None]
    clock.now += 10.1
    assert out.admit("a") == 2
    assert records.texts == []


def test_time_is_the_monotonic_clock_unless_told(records: Records) -> None:
    out = RateLimitedLog(logging.getLogger("test_limited_log"), interval=3600)
    assert [out.warn("a", "x"), out.warn("a", "x")] == [True, False]


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 0.5)), max_size=200), st.integers(1, 5))
def test_never_more_lines_than_promised(steps: list[tuple[int, float]], max_keys: int) -> None:
    clock = Clock()
    clock.now = 0.0
    out = RateLimitedLog(logging.getLogger("test_limited_log"), clock=clock, max_keys=max_keys)
    written: list[float] = []
    for key, pause in steps:
        if out.admit(key) is not None:
            written.append(clock.now)
        assert len(out._keys) <= max_keys + 1
        clock.now += pause
    for start in written:
        assert sum(start <= moment < start + 1.0 for moment in written) <= max_keys + 1
