"""The contract of stores as a test suite.

The author of a store writes::

    class TestMyStore(StoreContract):
        lasting = True

        def make_store(self, clock, directory):
            return MyStore(directory / "names", clock=clock)

and runs pytest. A store whose clock cannot be set, since it is a server's, overrides `pass_time` and `pause`, too.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gevent
import pytest

from gpyro import errors
from gpyro.store_contract import (
    MAX_KEY,
    MAX_PAGE,
    MAX_PARTS,
    MAX_VALUE,
    Condition,
    Delete,
    DeleteAll,
    Entry,
    Event,
    Put,
    Store,
    absent,
    same,
    unchanged,
)

from .clock import FakeClock
from .stores_over_time import LEASE, PATIENCE, OverTimeContract


class StoreContract(OverTimeContract):
    """What every store has to do; subclasses set `lasting` and have `make_store`."""

    # Life

    def test_opens_and_closes_more_than_once(self, clock: FakeClock, tmp_path: Path) -> None:
        store = self.make_store(clock, tmp_path)
        store.close()
        for _ in range(2):
            store.open()
            store.open()
            store.create("a", b"1")
            store.close()
            store.close()

    def test_is_of_no_use_while_it_is_not_open(self, clock: FakeClock, tmp_path: Path) -> None:
        store = self.make_store(clock, tmp_path)
        for _ in range(2):
            uses: list[Callable[[], object]] = [
                *(lambda: store.get("a"), lambda: store.list(""), lambda: store.commit([], []), lambda: store.grant(1)),
                *(lambda: store.renew(1), lambda: store.revoke(1), lambda: store.watch("", 0), lambda: store.identity),
            ]
            for use in uses:
                with pytest.raises(errors.StoreError):
                    use()
            with store:
                store.create("a", b"1")

    def test_what_is_there_when_it_is_opened_again(self, clock: FakeClock, tmp_path: Path) -> None:
        with self.make_store(clock, tmp_path) as store:
            identity = store.identity
            assert identity
            lease = store.grant(LEASE)
            store.create("a", b"1", lease.id)
            store.commit([], [Put("b", b"2"), Put("c", b"")])
            store.delete("c")
            before = store.list("")
        with self.make_store(clock, tmp_path) as store:
            if not self.lasting:
                assert store.identity != identity
                assert store.list("").entries == []
                return
            assert store.identity == identity
            assert store.list("") == before
            assert store.renew(lease.id) == lease
            watch = store.watch("", before.revision)
            assert store.create("c", b"3").revision > before.revision
            assert watch.next(PATIENCE) is not None

    def test_belongs_to_one_thread(self, store: Store) -> None:
        caught: list[BaseException] = []

        def elsewhere() -> None:
            try:
                store.create("a", b"1")
            except BaseException as error:
                caught.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(PATIENCE)
        assert isinstance(caught[0], errors.StoreError)
        assert store.get("a") is None

    # Keys and conditions

    def test_a_key_is_created_replaced_and_deleted(self, store: Store) -> None:
        assert store.get("a") is None
        first = store.create("a", b"1")
        assert first.done
        entry = store.get("a")
        assert entry == Entry("a", b"1", first.revision, first.revision, 0)
        second = store.replace(entry, b"2")
        assert second.done
        assert second.revision > first.revision
        assert store.get("a") == Entry("a", b"2", first.revision, second.revision, 0)
        assert store.delete("a")
        assert store.get("a") is None
        assert not store.delete("a")
        third = store.create("a", b"3")
        assert store.get("a") == Entry("a", b"3", third.revision, third.revision, 0)

    def test_a_key_that_is_there_is_not_created(self, store: Store) -> None:
        first = store.create("a", b"1")
        again = store.create("a", b"2")
        assert not again.done
        assert again.found == (Entry("a", b"1", first.revision, first.revision, 0),)
        assert again.revision == first.revision
        assert store.list("").revision == first.revision

    def test_a_key_that_changed_is_not_replaced(self, store: Store) -> None:
        store.create("a", b"1")
        old = store.get("a")
        assert old is not None
        store.replace(old, b"2")
        assert not store.replace(old, b"3").done
        assert not store.delete_entry(old)
        new = store.get("a")
        assert new is not None
        assert new.value == b"2"
        assert store.delete_entry(new)
        assert not store.delete_entry(new)
        gone = store.replace(new, b"4")
        assert not gone.done
        assert gone.found == (None,)

    def test_conditions(self, store: Store) -> None:
        store.create("a", b"1")
        old = store.get("a")
        assert old is not None
        store.replace(old, b"2")
        new = store.get("a")
        assert new is not None
        for condition, holds in [
            (Condition("a"), True),
            (Condition("b"), True),
            (absent("a"), False),
            (absent("b"), True),
            (Condition("b", changed=0), True),
            (Condition("b", created=new.created), False),
            (same(old), True),
            (same(new), True),
            (unchanged(old), False),
            (unchanged(new), True),
            (Condition("a", created=old.created, changed=old.changed), False),
            (Condition("a", created=new.created, changed=new.changed), True),
        ]:
            outcome = store.commit([condition], [])
            assert outcome.done is holds, condition
            assert outcome.found == (() if holds else (store.get(condition.key),))
            assert outcome.revision == new.changed
        store.delete("a")
        store.create("a", b"2")
        assert not store.commit([same(new)], []).done

    def test_a_commit_is_carried_out_wholly_or_not_at_all(self, store: Store) -> None:
        store.create("a", b"1")
        refused = store.commit([absent("b"), absent("a")], [Put("b", b"2"), Delete("a")])
        assert not refused.done
        assert refused.found == (None, store.get("a"))
        assert [entry.key for entry in store.scan("")] == ["a"]
        with store.watch("", refused.revision) as watch:
            done = store.commit([absent("b")], [Put("b", b"2"), Delete("a"), Put("c", b"3"), Delete("d")])
            assert done.done
            assert done.deleted == 1
            change = watch.next(PATIENCE)
            assert change is not None
            assert change.revision == done.revision
            created = [Entry(key, value, done.revision, done.revision, 0) for key, value in (("b", b"2"), ("c", b"3"))]
            assert set(change.events) == {Event("a", None), Event("b", created[0]), Event("c", created[1])}
            assert watch.next(0) is None
        assert store.list("").entries == created

    def test_what_changes_nothing_is_no_change(self, store: Store) -> None:
        revision = store.create("a", b"1").revision
        assert store.commit([], [Delete("b"), DeleteAll("c")]) == (True, revision, (), 0)
        assert store.commit([], []) == (True, revision, (), 0)
        assert store.list("").revision == revision
        assert store.commit([], [Put("a", b"1")]).revision > revision

    def test_all_keys_with_a_prefix_are_deleted(self, store: Store) -> None:
        last = "\U0010ffff"
        keys = ["a", "a.", "a.b", "a.b.c", "a.\xff", "a." + last, "a." + last * 2, "a/", "b", last, last + "x"]
        for prefix in ("a.", "a." + last, "a.b", last, "c", ""):
            store.commit([], [Put(key, b"") for key in keys])
            gone = [key for key in keys if key.startswith(prefix)]
            assert store.commit([], [DeleteAll(prefix)]).deleted == len(gone)
            assert [entry.key for entry in store.scan("")] == [key for key in keys if key not in gone]

    @pytest.mark.parametrize(
        ("conditions", "steps", "error"),
        [
            ([], [Put("a", b""), Put("a", b"")], ValueError),
            ([], [Put("a", b""), Delete("a")], ValueError),
            ([], [DeleteAll("a"), Put("ab", b"")], ValueError),
            ([], [Put("", b"")], ValueError),
            ([], [Put("\0", b"")], ValueError),
            ([], [Put("\ud800", b"")], ValueError),
            ([], [Put("\xff" * (MAX_KEY // 2) + "x", b"")], ValueError),
            ([], [Put("a", bytes(MAX_VALUE + 1))], ValueError),
            ([], [Put(f"{number}", b"") for number in range(MAX_PARTS + 1)], ValueError),
            ([Condition("a")] * (MAX_PARTS + 1), [], ValueError),
            ([], [Put("a", cast(Any, "b"))], TypeError),
            ([], [Put(cast(Any, b"a"), b"b")], TypeError),
            ([], [Put("a", b"b", cast(Any, None))], TypeError),
            ([], ["a"], TypeError),
            (["a"], [], TypeError),
            ([absent("")], [], ValueError),
            ([absent(cast(Any, None))], [], TypeError),
            ([], [Delete("")], ValueError),
            ([], [DeleteAll("\ud800")], ValueError),
        ],
    )
    def test_what_breaks_the_rules_is_refused(
        self, store: Store, conditions: list[Any], steps: list[Any], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            store.commit(conditions, steps)
        assert store.list("").entries == []

    def test_the_longest_keys_and_values_are_kept(self, store: Store) -> None:
        for key in ("\xff" * (MAX_KEY // 2), "k" * MAX_KEY, "\n\U0001f600 \\"):
            store.create(key, bytes(MAX_VALUE))
            entry = store.get(key)
            assert entry is not None
            assert entry.value == bytes(MAX_VALUE)
        keys = [f"{number:03}" for number in range(MAX_PARTS)]
        assert store.commit([absent(key) for key in keys], [Put(key, b"") for key in keys]).done

    # Lists

    def test_lists_are_in_the_order_of_code_points(self, store: Store) -> None:
        keys = ["A", "Z", "a", "a\x01", "a.", "aa", "\x7f", "\xe4", "\uffee", "\U00010000", "\U0010ffff"]
        for key in random.Random(1).sample(keys, len(keys)):
            store.create(key, key.encode())
        assert [entry.key for entry in store.scan("")] == keys
        assert [entry.value for entry in store.scan("")] == [key.encode() for key in keys]

    def test_lists_come_in_pages(self, store: Store) -> None:
        keys = [f"a{number:03}" for number in range(10)]
        store.commit([], [Put(key, b"") for key in ["0", *keys, "b"]])
        revision = store.list("").revision
        seen, after, sizes = [], "", []
        while True:
            page = store.list("a", after, 4)
            assert page.revision == revision
            sizes.append(len(page.entries))
            seen += [entry.key for entry in page.entries]
            if not page.more:
                break
            after = seen[-1]
        assert seen == keys
        assert max(sizes) <= 4
        assert store.list("a", keys[-1]).entries == []
        assert [entry.key for entry in store.list("a", "a0075").entries] == keys[8:]
        assert store.list("c") == ([], revision, False)
        assert store.list("a", "0").entries == store.list("a").entries

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (("a", "", 0), ValueError),
            (("a", "", MAX_PAGE + 1), ValueError),
            ((b"a",), TypeError),
            (("a", None), TypeError),
            (("\ud800",), ValueError),
        ],
    )
    def test_what_cannot_be_listed_is_refused(
        self, store: Store, arguments: tuple[Any, ...], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            store.list(*arguments)

    # Greenlets

    def test_of_many_who_create_a_key_one_does(self, store: Store) -> None:
        creators = [gevent.spawn(store.create, "a", b"%d" % number) for number in range(20)]
        gevent.joinall(creators, PATIENCE, raise_error=True)
        (won,) = [number for number, creator in enumerate(creators) if creator.get().done]
        entry = store.get("a")
        assert entry is not None
        assert entry.value == b"%d" % won
        for creator in creators:
            assert creator.get().done or creator.get().found == (entry,)

    def test_no_replacement_is_lost(self, store: Store) -> None:
        store.create("a", b"0")

        def count() -> None:
            for _ in range(5):
                while True:
                    entry = store.get("a")
                    assert entry is not None
                    if store.replace(entry, b"%d" % (int(entry.value) + 1)).done:
                        break

        gevent.joinall([gevent.spawn(count) for _ in range(8)], PATIENCE, raise_error=True)
        entry = store.get("a")
        assert entry is not None
        assert entry.value == b"40"

    def test_who_is_stopped_while_waiting_leaves_nothing_half_done(self, store: Store) -> None:
        committers = [gevent.spawn(store.commit, [], [Put(f"a{n}", b""), Put(f"b{n}", b"")]) for n in range(10)]
        gevent.sleep(0)
        gevent.killall(committers)
        store.create("end", b"")
        keys = {entry.key for entry in store.scan("")}
        assert {key[1:] for key in keys if key[0] == "a"} == {key[1:] for key in keys if key[0] == "b"}
