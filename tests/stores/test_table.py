from __future__ import annotations

import random

import pytest

from gpyro.errors import CompactedError
from gpyro.store_contract import Change, Delete, DeleteAll, Entry, Event, Put, absent, same
from gpyro.stores.table import Head, Table


def put(table: Table, *keys: str, lease: int = 0) -> Change:
    return plan_and_save(Head(table), table, [Put(key, b"", lease) for key in keys])


def plan_and_save(head: Head, table: Table, steps: list[Put | Delete | DeleteAll]) -> Change:
    change = head.plan(steps)
    assert change is not None
    head.saved(change)
    return change


def test_a_table_begins_with_what_was_kept() -> None:
    table = Table(7, [Entry("a", b"1", 2, 3, 5), Entry("b", b"2", 7, 7)])
    assert table.revision == 7
    assert table.get("a") == Entry("a", b"1", 2, 3, 5)
    assert table.keys("") == ["a", "b"]
    assert table.keys_of(5) == {"a"}
    assert table.change_after(7) is None
    with pytest.raises(CompactedError, match="after revision 6 are forgotten; those after 7 are known"):
        table.change_after(6)
    with pytest.raises(CompactedError, match="no revision 8 yet"):
        table.change_after(8)


def test_pages() -> None:
    table = Table()
    put(table, *"badc")
    assert [entry.key for entry in table.page("", "", 2).entries] == ["a", "b"]
    assert table.page("", "", 2).more
    assert [entry.key for entry in table.page("", "b", 2).entries] == ["c", "d"]
    assert not table.page("", "b", 2).more
    assert table.page("e", "", 2) == ([], 1, False)


def test_changes_are_remembered_up_to_a_number_of_events() -> None:
    table = Table(history=4)
    changes = [put(table, f"{number}a", f"{number}b") for number in range(5)]
    assert table.change_after(3) == changes[3]
    assert table.change_after(4) == changes[4]
    with pytest.raises(CompactedError):
        table.change_after(2)
    large = put(table, *"abcdefgh")  # more than is remembered, but the last change always is
    assert table.change_after(5) == large
    with pytest.raises(CompactedError):
        table.change_after(4)


def test_keys_stay_in_order_whatever_is_deleted() -> None:
    table, chance = Table(), random.Random(3)
    keys = [f"{number:04}" for number in range(1000)]
    for key in chance.sample(keys, len(keys)):
        put(table, key)
    assert table.keys("") == keys
    for count in (5, 500):  # one by one, and all at once
        gone = chance.sample(table.keys(""), count)
        plan_and_save(Head(table), table, [Delete(key) for key in gone])
        keys = [key for key in keys if key not in gone]
        assert table.keys("") == keys == sorted(table.entries)
    for count in (5, 500):  # new ones among them, one by one, and all at once; of which one goes again
        new = chance.sample([f"{number:05}" for number in range(10_000)], count)
        for key in new:
            put(table, key)
        plan_and_save(Head(table), table, [Delete(new[0])])
        assert table.keys("") == sorted(table.entries)
    assert len(table.keys("")) > 700


def test_keys_follow_their_leases() -> None:
    table = Table()
    put(table, "a", "b", lease=1)
    put(table, "b", lease=2)
    put(table, "a")
    assert (table.keys_of(1), table.keys_of(2)) == (set(), {"b"})
    plan_and_save(Head(table), table, [Delete("b")])
    assert table.keys_of(2) == set()


def test_what_is_on_its_way_is_seen_by_what_comes_after_and_by_nobody_else() -> None:
    table = Table()
    put(table, "a", lease=1)
    head = Head(table)
    first = head.plan([Put("b", b"1", 1), Delete("a")])
    assert first == (2, (Event("b", Entry("b", b"1", 2, 2, 1)), Event("a", None)))
    assert head.refused([absent("a")]) is None
    assert head.refused([absent("b"), absent("a")]) == (head.get("b"), None)
    assert sorted(head.keys("")) == ["b"]
    assert head.keys_of(1) == ["b"]
    second = head.plan([Put("b", b"2"), Put("a", b"3")])
    assert second is not None
    assert second.events == (Event("b", Entry("b", b"2", 2, 3, 0)), Event("a", Entry("a", b"3", 3, 3, 0)))
    assert head.keys_of(1) == []
    assert table.keys("") == ["a"]
    assert table.revision == 1
    head.saved(first)
    assert [table.get(key) for key in "ab"] == [None, Entry("b", b"1", 2, 2, 1)]
    assert head.get("a") == Entry("a", b"3", 3, 3, 0)
    head.saved(second)
    assert head.get("a") is table.get("a")
    assert not head._pending
    third = head.plan([DeleteAll("")])
    assert third is not None
    assert head.keys("") == []
    assert head.plan([DeleteAll(""), Delete("a")]) is None
    head.saved(third)
    assert table.keys("") == []
    assert head.plan([Put("a", b"")]) == (5, (Event("a", Entry("a", b"", 5, 5, 0)),))


def test_what_could_not_be_saved_never_was() -> None:
    table = Table()
    put(table, "a")
    head = Head(table)
    entry = table.get("a")
    assert entry is not None
    head.plan([Delete("a"), Put("b", b"")])
    assert head.refused([same(entry)]) == (None,)
    head.reset()
    assert head.refused([same(entry), absent("b")]) is None
    assert head.revision == 1


def test_ending_a_lease_deletes_its_keys() -> None:
    table = Table()
    put(table, *(f"{number:03}" for number in range(200)), lease=4)  # more than one commit may delete
    head = Head(table)
    head.plan([Put("later", b"", 4), Put("000", b"")])
    change = head.end_lease(4)
    assert change is not None
    assert len(change.events) == 200
    assert head.keys("") == ["000"]
    assert head.end_lease(4) is None
