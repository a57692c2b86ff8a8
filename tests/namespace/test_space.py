from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from gpyro.core import PyroURI
from gpyro.errors import LeaseLostError, NamingError, SerializationError
from gpyro.namespace import GROUP, OBJECT, NameEvent, NameSpace, NameSpaceSystemMeta
from gpyro.store_contract import Condition, Outcome, Put, Step, Store
from gpyro.stores import MemoryStore
from gpyro.stores.view import View
from gpyro.testing.clock import FakeClock

URI, OTHER = "PYRO://host:7766/id", "PYRO://host:7767/other"


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with MemoryStore(clock=FakeClock()) as store:
        yield store


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(5000.0)


@pytest.fixture
def space(store: Store, clock: FakeClock) -> NameSpace:
    space = NameSpace(store, clock)
    space.prepare()
    return space


def refused(function: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
    with pytest.raises(NamingError) as caught:
        function(*arguments)
    return caught.value.args


def test_what_is_there_at_first(space: NameSpace) -> None:
    assert space.list() == [("Default", GROUP), ("Pyro", GROUP)]
    assert space.list("") == space.list(":") == space.list(None)
    assert space.list(":Default") == []
    assert space.flatlist() == []


def test_preparing_again_changes_nothing(space: NameSpace, store: Store) -> None:
    space.register("a", URI)
    revision = store.list("").revision
    space.prepare()
    assert store.list("").revision == revision
    space.prepare([":A.b.c", ":"])
    assert [node.name for node in space.walk(":A")] == [":A.b", ":A.b.c"]
    assert refused(space.prepare, [":Default.a.b"]) == ("is no group", ":Default.a")
    assert refused(space.prepare, [":a."])[:2] == ("invalid groupname", ":a.")


def test_the_default_group_may_change(store: Store, clock: FakeClock) -> None:
    group = ":Default"
    space = NameSpace(store, clock, lambda: group)
    space.prepare()
    space.createGroup(":Other")
    space.register("a", URI)
    group = ":Other"
    assert refused(space.resolve, "a") == ("name not found", ":Other.a")
    space.register("a", OTHER)
    assert (space.resolve(":Default.a"), space.resolve("a")) == (URI, OTHER)
    group = "Other"
    assert refused(space.resolve, "a") == ("default group name is not absolute", "Other")
    assert space.resolve(":Other.a") == OTHER


def test_registering(space: NameSpace) -> None:
    space.register("a", URI)
    space.register(":b", PyroURI(OTHER))
    assert space.resolve("a") == space.resolve(":Default.a") == URI
    assert space.resolve(":b") == OTHER
    assert refused(space.register, "a", OTHER) == ("name already exists", ":Default.a")
    assert refused(space.register, ":Pyro", OTHER) == ("name already exists", ":Pyro")
    assert refused(space.register, ":", OTHER) == ("name already exists", ":")
    assert refused(space.register, ":x.y.z", URI) == ("(parent)group not found", ":x")
    assert refused(space.register, "x.y.z", URI) == ("(parent)group not found", ":Default.x")
    assert refused(space.register, "a.y", URI) == ("parent is no group", ":Default.a")
    assert refused(space.register, "a.y.z", URI) == ("parent is no group", ":Default.a")
    assert refused(space.register, "a..b", URI) == (
        "invalid name", "a..b", "a part of it is empty (at character 3)",
    )  # fmt: skip
    assert space.resolve("a") == URI
    space.unregister("a")
    space.register("a", OTHER)
    assert space.resolve("a") == OTHER


@pytest.mark.parametrize("uri", ["", "x", None, 5, "PYRO://host", "PYRO://h:1/a b", "PYRO://h:1/\ud800", "x" * 5000])
def test_what_is_no_uri_is_refused(space: NameSpace, uri: Any) -> None:
    text, offending, wrong = refused(space.register, "a", uri)
    assert text == "invalid URI"
    assert offending.encode()[:100] == str(uri).encode("utf-8", "backslashreplace")[:100]
    assert "invalid URI format" in wrong
    assert len(str(NamingError(text, offending, wrong))) < 500
    assert space.list(":Default") == []


def test_a_name_does_not_stand_for_a_name(space: NameSpace) -> None:
    assert refused(space.register, "a", "PYRONAME://a") == (
        "invalid URI", "PYRONAME://a", "a name cannot stand for another name",
    )  # fmt: skip


def test_unregistering(space: NameSpace) -> None:
    space.register("a", URI)
    space.unregister("a")
    assert refused(space.unregister, "a") == ("name not found", ":Default.a")
    assert refused(space.unregister, ":Default") == ("is a group, not an object", ":Default")
    assert refused(space.unregister, ":") == ("is a group, not an object", ":")
    assert refused(space.unregister, 5)[0] == "invalid name"


def test_resolving(space: NameSpace) -> None:
    space.register("a", URI)
    assert refused(space.resolve, "b") == ("name not found", ":Default.b")
    assert refused(space.resolve, ":x.y.z") == ("name not found", ":x.y.z")
    assert refused(space.resolve, "a.x") == ("group not found", ":Default.a.x")
    assert refused(space.resolve, "a.x.y") == ("group not found", ":Default.a.x.y")
    assert refused(space.resolve, ":Default") == ("attempt to resolve groupname", ":Default")
    assert refused(space.resolve, "a\0b")[0] == "invalid name"


def test_groups(space: NameSpace) -> None:
    space.createGroup("g")
    space.createGroup("g.h")
    space.register("g.h.a", URI)
    space.register("g.z", URI)
    space.register("gg", URI)
    assert space.list("g") == [("h", GROUP), ("z", OBJECT)]
    assert space.list(":Default") == [("g", GROUP), ("gg", OBJECT)]
    assert refused(space.list, "g.z") == ("is no group", ":Default.g.z")
    assert refused(space.list, "x") == ("group not found", ":Default.x")
    assert refused(space.list, "x.")[:2] == ("invalid groupname", "x.")
    assert refused(space.createGroup, "g") == ("group already exists", ":Default.g")
    assert refused(space.createGroup, "gg") == ("group already exists", ":Default.gg")
    assert refused(space.createGroup, "x.y") == ("(parent)group not found", ":Default.x")
    assert refused(space.createGroup, "gg.y") == ("parent is no group", ":Default.gg")
    assert refused(space.createGroup, ":") == ("group already exists", ":")
    assert refused(space.createGroup, "a:b")[:2] == ("invalid groupname", "a:b")
    assert refused(space.deleteGroup, "gg") == ("is no group", ":Default.gg")
    assert refused(space.deleteGroup, "x") == ("group not found", ":Default.x")
    assert refused(space.deleteGroup, ":") == ("not allowed to delete root group", ":")
    assert refused(space.deleteGroup, "a b")[:2] == ("invalid groupname", "a b")
    space.deleteGroup("g")
    assert space.flatlist() == [(":Default.gg", URI)]
    assert refused(space.register, "g.h.a", URI) == ("(parent)group not found", ":Default.g")


def test_a_group_is_deleted_in_one_change(space: NameSpace, store: Store) -> None:
    space.createGroup("g")
    for number in range(300):
        space.register(f"g.{number:03}", URI)
    before = store.list("").revision
    space.deleteGroup("g")
    assert store.list("").revision == before + 1


def test_flat_lists_are_sorted_by_name(space: NameSpace) -> None:
    for name in (":z", ":b", "a", ":Pyro.x"):
        space.register(name, URI)
    space.createGroup(":bg")
    space.register(":bg.x", OTHER)
    names = [":Default.a", ":Pyro.x", ":b", ":bg.x", ":z"]
    assert space.flatlist() == [(name, OTHER if name == ":bg.x" else URI) for name in names]
    assert {node.name for node in space.walk()} == {*names, ":Default", ":Pyro", ":bg"}
    assert [node.name for node in space.walk(":bg")] == [":bg.x"]
    assert refused(lambda: list(space.walk(":q"))) == ("group not found", ":q")


@pytest.mark.parametrize("meta", [None, 0, "", {"a": (1, 2)}, [b"\n\0"], "text", {1: {2}}])
def test_user_metadata_comes_back_as_it_was(space: NameSpace, meta: Any) -> None:
    space.register("a", URI)
    for name in ("a", ":Default", ":"):
        assert space.getMeta(name) is None
        space.setMeta(name, meta)
        found = space.getMeta(name)
        assert found == meta
        assert type(found) is type(meta)
    assert space.resolve("a") == URI


def test_metadata_that_cannot_be_kept(space: NameSpace) -> None:
    assert refused(space.setMeta, "a", 1) == ("name not found", ":Default.a")
    assert refused(space.getMeta, "a") == ("name not found", ":Default.a")
    assert refused(space._getSystemMeta, "a") == ("name not found", ":Default.a")
    space.register("a", URI)
    assert refused(space.setMeta, "a", "x" * 70_000)[:2] == ("metadata too large", ":Default.a")
    with pytest.raises(SerializationError, match="meta"):
        space.setMeta("a", object())
    assert space.getMeta("a") is None


def test_system_metadata(space: NameSpace, clock: FakeClock) -> None:
    clock.now = 6000.0
    space.register("a", URI, owner="me")
    assert space._getSystemMeta("a") == NameSpaceSystemMeta(6000.0, "me", OBJECT)
    assert space._getSystemMeta(":Default") == NameSpaceSystemMeta(5000.0, None, GROUP)
    space.setMeta("a", 1)
    clock.now = 7000.0
    space.mark_seen("a")
    assert space._getSystemMeta("a") == NameSpaceSystemMeta(6000.0, "me", OBJECT, 7000.0)
    space._setSystemMeta("a", NameSpaceSystemMeta(1.0, "you", GROUP))
    assert space._getSystemMeta("a") == NameSpaceSystemMeta(1.0, "you", OBJECT)
    assert (space.getMeta("a"), space.resolve("a")) == (1, URI)
    assert refused(space.mark_seen, "b") == ("name not found", ":Default.b")


@pytest.mark.parametrize(
    "meta",
    [
        *(None, {}, NameSpaceSystemMeta("now"), NameSpaceSystemMeta(float("nan")), NameSpaceSystemMeta(None)),  # type: ignore[arg-type]
        *(NameSpaceSystemMeta(1.0, 5), NameSpaceSystemMeta(1.0, "x" * 300), NameSpaceSystemMeta(True)),  # type: ignore[arg-type]
        *(NameSpaceSystemMeta(1.0, None, 0, "x"), NameSpaceSystemMeta(1.0, None, 0, float("inf"))),  # type: ignore[arg-type]
    ],
)
def test_system_metadata_that_is_none(space: NameSpace, meta: Any) -> None:
    before = space._getSystemMeta(":")
    text, name, wrong = refused(space._setSystemMeta, ":", meta)
    assert (text, name) == ("invalid system metadata", ":")
    assert wrong
    assert space._getSystemMeta(":") == before


# ---- leases, and those who come back


def test_names_go_with_their_leases(space: NameSpace, store: Store) -> None:
    lease = store.grant(10)
    space.register("a", URI, lease.id)
    space.setMeta("a", "kept")
    space.mark_seen("a")
    found = space.look_up("a")
    assert found is not None
    assert found.entry.lease == lease.id
    store.revoke(lease.id)
    assert refused(space.resolve, "a") == ("name not found", ":Default.a")
    with pytest.raises(LeaseLostError):
        space.register("a", URI, lease.id)


def test_a_name_is_taken_over_by_who_saw_it_last(space: NameSpace, store: Store) -> None:
    first, second = store.grant(10), store.grant(10)
    space.register("a", URI, first.id)
    space.setMeta("a", 1)
    seen = space.look_up("a")
    assert seen is not None
    assert (seen.name, seen.record.uri) == (":Default.a", URI)
    space.rebind(seen, OTHER, second.id, "me")
    assert (space.resolve("a"), space.getMeta("a")) == (OTHER, 1)
    assert space._getSystemMeta("a").owner == "me"
    assert refused(space.rebind, seen, URI) == ("name already exists", ":Default.a")
    store.revoke(first.id)
    assert space.resolve("a") == OTHER
    now = space.look_up("a")
    assert now is not None
    space.rebind(now, OTHER)
    store.revoke(second.id)
    assert space.resolve("a") == OTHER
    assert refused(space.rebind, now, "x")[0] == "invalid URI"


def test_a_name_is_withdrawn_only_by_its_own(space: NameSpace) -> None:
    space.register("a", URI)
    mine = space.look_up("a")
    assert mine is not None
    space.setMeta("a", 1)
    space.unregister("a")
    space.register("a", OTHER)
    assert not space.withdraw(mine)
    assert space.resolve("a") == OTHER
    its = space.look_up("a")
    assert its is not None
    space.setMeta("a", 2)
    assert space.withdraw(its)
    assert not space.withdraw(its)
    assert space.look_up("a") is None


def test_groups_are_neither_taken_over_nor_withdrawn(space: NameSpace) -> None:
    group = space.look_up(":Default")
    assert group is not None
    assert refused(space.rebind, group, URI) == ("is a group, not an object", ":Default")
    assert refused(space.withdraw, group) == ("is a group, not an object", ":Default")


# ---- others at the same time


class Interrupted(MemoryStore):
    """Has something else happen just before the next commit."""

    before: Callable[[], object] | None = None

    def commit(self, conditions: Any, steps: Any) -> Outcome:
        before, self.before = self.before, None
        if before:
            before()
        return super().commit(conditions, steps)


@pytest.mark.parametrize(
    ("operation", "meanwhile", "result"),
    [
        (("register", "g.b", URI), ("deleteGroup", "g"), ("(parent)group not found", ":Default.g")),
        (("register", "g.b", URI), ("register", "g.b", OTHER), ("name already exists", ":Default.g.b")),
        (("createGroup", "g.b"), ("register", "g.b", OTHER), ("group already exists", ":Default.g.b")),
        (("createGroup", "g.b"), ("deleteGroup", "g"), ("(parent)group not found", ":Default.g")),
        (("unregister", "g.a"), ("unregister", "g.a"), ("name not found", ":Default.g.a")),
        (("unregister", "g.a"), ("setMeta", "g.a", 1), None),
        (("deleteGroup", "g"), ("deleteGroup", "g"), ("group not found", ":Default.g")),
        (("deleteGroup", "g"), ("register", "g.b", URI), None),
        (("setMeta", "g.a", 1), ("unregister", "g.a"), ("name not found", ":Default.g.a")),
        (("setMeta", "g.a", 1), ("setMeta", "g.a", 2), None),
        (("register", "g.b", URI), ("setMeta", "g", 1), None),
    ],
)
def test_who_comes_second_is_told_so(
    clock: FakeClock, operation: tuple[Any, ...], meanwhile: tuple[Any, ...], result: tuple[str, str] | None
) -> None:
    with Interrupted() as store:
        space = NameSpace(store, clock)
        space.prepare()
        space.createGroup("g")
        space.register("g.a", URI)
        store.before = lambda: getattr(space, meanwhile[0])(*meanwhile[1:])
        if result is None:
            getattr(space, operation[0])(*operation[1:])
        else:
            assert refused(getattr(space, operation[0]), *operation[1:]) == result


def test_a_group_that_is_another_one_is_put_into(clock: FakeClock) -> None:
    with Interrupted() as store:
        space = NameSpace(store, clock)
        space.prepare()
        space.createGroup("g")

        def renew() -> None:
            space.deleteGroup("g")
            space.createGroup("g")

        store.before = renew
        space.register("g.a", URI)
        assert space.list("g") == [("a", OBJECT)]


def test_metadata_of_a_name_whose_lease_just_ended(clock: FakeClock) -> None:
    with Interrupted() as store:
        space = NameSpace(store, clock)
        space.prepare()
        lease = store.grant(10)
        space.register("a", URI, lease.id)
        store.before = lambda: store.revoke(lease.id)
        assert refused(space.setMeta, "a", 1) == ("name not found", ":Default.a")


def test_many_at_once(space: NameSpace) -> None:
    def work(number: int) -> None:
        for count in range(20):
            try:
                if (number + count) % 4 == 0:
                    space.createGroup("g")
                elif (number + count) % 4 == 1:
                    space.deleteGroup("g")
                else:
                    space.register(f"g.{count}", URI)
            except NamingError:
                pass
            gevent.sleep(0)

    gevent.joinall([gevent.spawn(work, number) for number in range(10)], 10, raise_error=True)
    names = {node.name for node in space.walk()}
    assert ":Default.g" in names or not any(name.startswith(":Default.g.") for name in names)


def test_what_a_change_means_for_names(space: NameSpace, store: Store) -> None:
    def commit(*steps: Step) -> None:
        store.commit([Condition("other")], steps)

    with View(store, space.keys) as view:
        view.next()
        space.register("a", URI)
        space.createGroup(":g")
        commit(Put("not a name", b""))
        space.unregister("a")
        space.deleteGroup(":g")
        found = []
        while (change := view.next(0)) is not None:
            found += space.events(change)
    assert found == [
        NameEvent(":Default.a", OBJECT, URI),
        NameEvent(":g", GROUP, ""),
        NameEvent(":Default.a", None, ""),
        NameEvent(":g", None, ""),
    ]


def test_metadata_and_a_new_object_at_the_same_time(clock: FakeClock) -> None:
    with Interrupted() as store:
        space = NameSpace(store, clock)
        space.prepare()
        space.register("a", URI)
        store.before = lambda: space.setMeta("a", 1)
        space.mark_seen("a")
        assert space.getMeta("a") == 1
        assert space._getSystemMeta("a").seen == clock.now
        node = space.look_up("a")
        assert node is not None
        store.before = lambda: space.rebind(node, OTHER)
        space.setMeta("a", 2)
        assert (space.resolve("a"), space.getMeta("a")) == (OTHER, 2)


def test_enrolling_can_be_repeated(space: NameSpace, store: Store) -> None:
    lease, other = store.grant(10).id, store.grant(10).id
    space.enrol("a", URI, lease, "me")
    node = space.look_up("a")
    assert node is not None
    assert (node.record.uri, node.entry.lease, node.record.system_meta().owner) == (URI, lease, "me")
    revision = store.list("").revision
    space.enrol("a", URI, lease)
    assert store.list("").revision == revision
    space.setMeta("a", 5)
    space.enrol("a", URI, other)
    moved = space.look_up("a")
    assert moved is not None
    assert (moved.entry.lease, space.getMeta("a")) == (other, 5)
    assert refused(space.enrol, "a", OTHER, lease) == ("name already exists", ":Default.a")
    assert refused(space.enrol, "a", OTHER, lease, None, OTHER) == ("name already exists", ":Default.a")
    space.enrol("a", OTHER, lease, replacing=URI)
    assert space.resolve("a") == OTHER
    assert refused(space.enrol, ":Pyro", URI) == ("name already exists", ":Pyro")
    assert refused(space.enrol, ":No.a", URI) == ("(parent)group not found", ":No")
    store.revoke(lease)
    with pytest.raises(LeaseLostError):
        space.enrol("a", URI, lease)


def test_long_lists_come_in_pages(space: NameSpace) -> None:
    space.createGroup(":G")
    space.createGroup(":G.sub")
    space.register(":G.sub.x", URI)
    for number in range(1500):
        space.register(f":G.{number:04}", URI)
    found, after, more, pages = [], "", True, 0
    while more:
        page, more = space.list_page(":G", after)
        found += page
        after, pages = page[-1][0], pages + 1
    assert found == space.list(":G")
    assert pages == 2
    assert space.list_page(None) == (space.list(), False)
    assert refused(space.list_page, ":G.0001") == ("is no group", ":G.0001")
    flat, after, pages = [], "", 0
    while after or not pages:
        part, after = space.flat_page(after)
        flat += part
        pages += 1
    assert sorted(flat) == space.flatlist()
    assert pages == 2
