"""What is in the contract beside the methods that a store has; `gpyro.testing.stores` has the rest."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from gpyro import store_contract
from gpyro.store_contract import Condition, Entry, Store, absent, same, unchanged
from gpyro.stores import MemoryStore

ENTRY = Entry("a", b"1", 3, 5)


@pytest.mark.parametrize(
    ("condition", "entry", "holds"),
    [
        (absent("a"), None, True),
        (absent("a"), ENTRY, False),
        (same(ENTRY), ENTRY._replace(changed=9), True),
        (same(ENTRY), ENTRY._replace(created=9, changed=9), False),
        (same(ENTRY), None, False),
        (unchanged(ENTRY), ENTRY, True),
        (unchanged(ENTRY), ENTRY._replace(changed=9), False),
        (unchanged(ENTRY), None, False),
        (Condition("a"), None, True),
        (Condition("a", created=0, changed=0), None, True),
    ],
)
def test_conditions(condition: Condition, entry: Entry | None, holds: bool) -> None:
    assert condition.holds(entry) is holds


def test_a_scan_goes_on_where_the_page_before_ended() -> None:
    class ShortPages(MemoryStore):
        def list(self, prefix: str, after: str = "", limit: int = 1000) -> store_contract.Page:
            return super().list(prefix, after, min(limit, 2))

    with ShortPages() as store:
        for number in range(5):
            store.create(f"k{number}", b"")
        keys = []
        for entry in store.scan("k"):
            keys.append(entry.key)
            store.delete("k3")
        assert keys == ["k0", "k1", "k2", "k4"]


def test_every_method_says_what_it_does() -> None:
    for cls in (Store, store_contract.Watch):
        methods: list[tuple[str, Callable[..., object]]] = inspect.getmembers(cls, inspect.isfunction)
        for name, method in methods:
            assert name.startswith("__") or inspect.getdoc(method), f"{cls.__name__}.{name}"
