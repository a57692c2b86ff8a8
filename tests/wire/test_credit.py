from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpyro.wire.credit import Window
from tests.wire.streams import SAME_CASES


def state(window: Window) -> tuple[int, int]:
    return window.calls, window.bytes


def test_a_call_takes_and_its_answer_gives_back() -> None:
    window = Window(2, 100)
    assert window.fits(100)
    window.take(60)
    assert state(window) == (1, 40)
    assert window.give(1, 60)
    assert state(window) == (2, 100)


def test_the_number_of_calls_is_bounded() -> None:
    window = Window(2, 100)
    window.take(1)
    window.take(1)
    assert not window.fits(0)
    assert window.give(1, 1)
    assert window.fits(0)


def test_the_bytes_are_bounded() -> None:
    window = Window(10, 100)
    window.take(60)
    assert window.fits(40)
    assert not window.fits(41)
    window.take(40)
    assert window.fits(0)
    assert not window.fits(1)


def test_a_single_large_call_may_go_alone() -> None:
    window = Window(10, 100)
    assert window.fits(1_000_000)
    window.take(1)
    assert not window.fits(101)
    assert window.give(1, 1)
    window.take(1_000_000)
    assert window.bytes < 0
    assert not window.fits(0)
    assert not window.fits(1)
    assert window.give(1, 1_000_000)
    assert state(window) == (10, 100)


def test_no_bytes_granted_means_one_call_at_a_time() -> None:
    window = Window(10, 0)
    assert window.fits(5)
    window.take(5)
    assert not window.fits(5)
    assert window.give(1, 5)
    assert window.fits(5)


def test_nothing_granted_lets_nothing_go() -> None:
    window = Window(0, 0)
    assert not window.fits(0)
    assert not window.fits(1)
    assert window.give(0, 0)


def test_the_largest_grant() -> None:
    window = Window(2**32 - 1, 2**32 - 1)
    assert window.fits(2**32 - 1)
    window.take(2**32 - 1)
    assert window.fits(0)
    assert not window.fits(1)
    assert window.give(1, 2**32 - 1)


def test_more_than_was_taken_is_refused_and_changes_nothing() -> None:
    window = Window(3, 100)
    window.take(10)
    for calls, size in ((2, 10), (1, 11), (2, 0), (0, 11), (2**32 - 1, 2**32 - 1)):
        assert not window.give(calls, size)
        assert state(window) == (2, 90)
    assert window.give(1, 10)
    assert not window.give(1, 0)
    assert not window.give(0, 1)
    assert state(window) == (3, 100)


@SAME_CASES
@given(st.integers(1, 5), st.integers(0, 50), st.lists(st.integers(0, 80)))
def test_what_is_out_stays_within_the_grant_or_alone(calls: int, size: int, sizes: list[int]) -> None:
    window = Window(calls, size)
    out: list[int] = []
    for wanted in sizes:
        while not window.fits(wanted):
            assert out, "nothing is out, and still it does not fit"
            assert window.give(1, out.pop(0))
        window.take(wanted)
        out.append(wanted)
        assert len(out) <= calls
        assert sum(out) <= size or len(out) == 1
        assert state(window) == (calls - len(out), size - sum(out))
    assert window.give(len(out), sum(out))
    assert not window.give(1, 0)
