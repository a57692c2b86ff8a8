from __future__ import annotations

import random

import gevent
import pytest

from gpyro.errors import StoreError
from gpyro.store_contract import Delete, DeleteAll, Page, Put
from gpyro.stores import MemoryStore
from gpyro.stores.view import View


def deleted_and_put(view: View) -> tuple[set[str], set[str]]:
    change = view.next(0)
    assert change is not None
    return {key for key, entry in change.events if entry is None}, {key for key, entry in change.events if entry}


def test_a_view_begins_with_all_keys_and_goes_on() -> None:
    with MemoryStore() as store, View(store, "a") as view:
        store.commit([], [Put("a1", b"1"), Put("a2", b"2"), Put("b", b"3")])
        assert view.entries == {}
        assert deleted_and_put(view) == (set(), {"a1", "a2"})
        assert view.revision == 1
        assert view.next(0) is None
        store.delete("a1")
        store.delete("b")
        waiting = gevent.spawn(view.next, 5)
        assert waiting.get(timeout=30).events[0].key == "a1"
        assert view.next(0) is None
        assert view.revision == 3
        assert view.entries == {"a2": store.get("a2")}
        assert view.lists == 1


def test_a_view_of_nothing_begins_at_once() -> None:
    with MemoryStore() as store, View(store) as view:
        change = view.next(5)
        assert change == (0, ())
        assert view.next(0.001) is None


def test_what_was_forgotten_is_told_as_differences() -> None:
    with MemoryStore(history=3) as store, View(store) as view:
        store.commit([], [Put("a", b"1"), Put("b", b"1"), Put("c", b"1")])
        view.next()
        store.delete("a")
        store.create("d", b"1")
        store.create("e", b"")
        store.commit([], [Delete("e"), Put("b", b"2")])
        assert deleted_and_put(view) == ({"a"}, {"b", "d"})
        assert view.lists == 2
        assert view.revision == store.list("").revision
        assert view.next(0) is None


def test_a_view_goes_on_after_it_was_closed() -> None:
    with MemoryStore() as store, View(store) as view:
        view.next()
        view.close()
        store.create("a", b"")
        store.delete("a")
        assert deleted_and_put(view) == (set(), {"a"})
        view.close()
        assert deleted_and_put(view) == ({"a"}, set())
        assert view.lists == 1


def test_another_store_in_the_same_place_is_listed() -> None:
    store = MemoryStore()
    with View(store) as view:
        with store:
            store.create("a", b"old")
            store.create("b", b"old")
            view.next()
        with pytest.raises(StoreError):
            view.next(0)
        assert set(view.entries) == {"a", "b"}
        with store:
            store.create("a", b"new")
            assert deleted_and_put(view) == ({"b"}, {"a"})
            assert view.revision == 1
            store.create("c", b"")
            assert deleted_and_put(view) == (set(), {"c"})


@pytest.mark.parametrize("seed", range(30))
def test_what_happens_while_it_lists_is_not_lost(seed: int) -> None:
    chance = random.Random(seed)

    class Busy(MemoryStore):
        """Others change it before each page."""

        def list(self, prefix: str, after: str = "", limit: int = 1000) -> Page:
            for _ in range(chance.randrange(4)):
                key = chance.choice("abcdefgh")
                self.commit([], [chance.choice((Put(key, chance.randbytes(1)), Delete(key), DeleteAll(key)))])
            return super().list(prefix, after, 2)

    with Busy(history=30) as store:
        store.commit([], [Put(key, b"") for key in "abcdefgh"])
        with View(store) as view:
            believed: dict[str, object] = {}
            for _ in range(10):
                if chance.random() < 0.5:
                    for number in range(40):
                        store.commit([], [Put("x", b"%d" % number)])
                while (change := view.next(0)) is not None:
                    for key, entry in change.events:
                        believed[key] = entry
            kept = {key: store.get(key) for key in [*"abcdefgh", "x"]}
            assert view.entries == {key: entry for key, entry in kept.items() if entry}
            assert {key: believed.get(key) for key in kept} == kept
