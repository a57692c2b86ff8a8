from __future__ import annotations

import pytest

from gpyro.errors import WireError
from gpyro.wire.streams import ItemCredit, pack_items, unpack_items


def test_the_count_stands_before_the_values() -> None:
    assert pack_items(3, b"\x93\x01\x02\x03") == b"\0\0\0\x03\x93\x01\x02\x03"
    assert unpack_items(pack_items(3, b"\x93")) == 3


@pytest.mark.parametrize("body", [b"", b"\0\0\0\x01", b"\0\0\0\0\x90"])
def test_bodies_that_are_none(body: bytes) -> None:
    with pytest.raises(WireError) as caught:
        unpack_items(body)
    assert caught.value.rule == "T3"


def test_credit_covers_what_fits_and_one_item_of_any_size() -> None:
    credit = ItemCredit()
    assert not credit.covers(1, 1)
    assert credit.give(4, 100)
    assert credit.covers(4, 100)
    assert not credit.covers(5, 5)
    assert not credit.covers(2, 101)
    assert credit.covers(1, 5000)
    credit.take(1, 5000)
    assert (credit.items, credit.bytes) == (3, -4900)
    assert not credit.covers(1, 1)
    assert credit.give(1, 5000)
    assert credit.covers(4, 100)
    assert (credit.granted_items, credit.granted_bytes) == (4, 100)


def test_credit_beyond_counting() -> None:
    credit = ItemCredit()
    assert credit.give(0xFFFF_FFFF, 0xFFFF_FFFF)
    assert not credit.give(1, 0)
    assert not credit.give(0, 1)
    assert (credit.items, credit.bytes) == (0xFFFF_FFFF, 0xFFFF_FFFF)
