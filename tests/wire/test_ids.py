from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpyro.wire.frames import MAX_ID
from gpyro.wire.ids import IdSource, made_by_connecting_end
from tests.wire.streams import SAME_CASES


def taken(source: IdSource, count: int) -> list[int]:
    return [source.take() for _ in range(count)]


def test_the_directions() -> None:
    assert taken(IdSource(True, ()), 4) == [1, 3, 5, 7]
    assert taken(IdSource(False, ()), 4) == [2, 4, 6, 8]


@pytest.mark.parametrize(("number", "connecting"), [(1, True), (2, False), (MAX_ID, True), (MAX_ID - 1, False)])
def test_whose_an_id_is(number: int, connecting: bool) -> None:
    assert made_by_connecting_end(number) is connecting


@pytest.mark.parametrize(
    ("connecting", "last", "expected"),
    [
        (True, MAX_ID - 4, [MAX_ID - 2, MAX_ID, 1, 3]),
        (True, MAX_ID - 2, [MAX_ID, 1, 3]),
        (True, MAX_ID, [1, 3]),
        (False, MAX_ID - 5, [MAX_ID - 3, MAX_ID - 1, 2, 4]),
        (False, MAX_ID - 3, [MAX_ID - 1, 2, 4]),
        (False, MAX_ID - 1, [2, 4]),
    ],
)
def test_the_wrap(connecting: bool, last: int, expected: list[int]) -> None:
    assert taken(IdSource(connecting, (), last), len(expected)) == expected


def test_ids_in_use_are_skipped() -> None:
    assert taken(IdSource(True, {1, 3, 7}), 3) == [5, 9, 11]
    assert taken(IdSource(False, {4, 6}), 3) == [2, 8, 10]


@pytest.mark.parametrize(
    ("connecting", "last", "in_use", "expected"),
    [
        (True, MAX_ID - 2, {MAX_ID, 1, 3}, [5, 7]),
        (True, MAX_ID, {1}, [3, 5]),
        (True, MAX_ID - 4, {MAX_ID - 2}, [MAX_ID, 1]),
        (False, MAX_ID - 3, {MAX_ID - 1, 2}, [4, 6]),
        (False, MAX_ID - 1, {2, 4, 6}, [8, 10]),
    ],
)
def test_ids_in_use_at_the_wrap(connecting: bool, last: int, in_use: set[int], expected: list[int]) -> None:
    assert taken(IdSource(connecting, in_use, last), len(expected)) == expected


def test_what_is_in_use_is_asked_each_time() -> None:
    in_use: set[int] = set()
    source = IdSource(True, in_use)
    assert source.take() == 1
    in_use.add(3)
    assert source.take() == 5
    in_use.clear()
    assert source.take() == 7


@SAME_CASES
@given(
    connecting=st.booleans(),
    distance=st.integers(0, 20),
    used=st.sets(st.integers(0, 60)),
    steps=st.lists(st.booleans(), max_size=60),
)
def test_no_id_is_given_twice_or_of_the_other_direction(
    connecting: bool, distance: int, used: set[int], steps: list[bool]
) -> None:
    first = 1 if connecting else 2
    highest = MAX_ID if connecting else MAX_ID - 1
    last = highest - 2 * distance
    # Ids around the wrap that are in use from before.
    in_use = {number for step in used if (number := (last + 2 * step) % (highest + 1 + first - 1)) >= first}
    in_use = {number for number in in_use if number % 2 == first % 2}
    source = IdSource(connecting, in_use, last)
    for keep in steps:
        number = source.take()
        assert number not in in_use
        assert first <= number <= highest
        assert made_by_connecting_end(number) is connecting
        if keep:
            in_use.add(number)


def test_a_round_comes_to_every_free_id() -> None:
    source = IdSource(True, (), MAX_ID - 20)
    numbers = list(islice(iter(source.take, None), 20))
    assert numbers == [*range(MAX_ID - 18, MAX_ID + 1, 2), *range(1, 20, 2)]
