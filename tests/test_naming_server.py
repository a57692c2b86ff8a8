from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from gpyro import core
from gpyro.errors import CompactedError, LeaseLostError, NamingError, StoreError
from gpyro.naming import NameServer, NameServerProxy, NameSpaceSystemMeta, PersistentNameServer
from gpyro.naming_server import NO_PAIRS
from gpyro.stores import MemoryStore, SqliteStore
from gpyro.stores.embedded import Write
from tests.naming import configured, environment, name_server, proxy_of
from tests.support import eventually

URI, OTHER = "PYRO://host:7766/id", "PYRO://host:7767/other"


@pytest.fixture(autouse=True)
def _configuration(tmp_path: Path) -> Iterator[None]:
    with configured(environment(tmp_path)):
        yield


@pytest.fixture
def ns() -> Iterator[NameServerProxy]:
    with name_server() as starter:
        yield proxy_of(starter)


def refused(function, *arguments):
    with pytest.raises(NamingError) as caught:
        function(*arguments)
    return caught.value.args


def test_every_documented_operation_through_the_network(ns):
    assert ns.list(":") == [("Default", 0), ("Pyro", 0)]
    assert ns.list(":Pyro") == [("NameServer", 1)]
    ns.createGroup(":Test")
    ns.register(":Test.a", URI)
    ns.register("b", core.PyroURI(OTHER))
    assert ns.resolve(":Test.a") == core.PyroURI(URI)
    assert ns.list() == ns.list(None) == ns.list("") == [("b", 1)]
    assert ns.flatlist()[:1] == [(":Default.b", core.PyroURI(OTHER))]
    assert [name for name, _ in ns.flatlist()] == [":Default.b", ":Pyro.NameServer", ":Test.a"]
    assert ns.getMeta("b") is None
    ns.setMeta("b", {"floor": 1})
    assert ns.getMeta("b") == {"floor": 1}
    system = ns._getSystemMeta("b")
    assert isinstance(system, NameSpaceSystemMeta)
    assert (system.type, system.owner) == (1, None)
    assert abs(system.timestamp - time.time()) < 60
    system.owner = "me"
    ns._setSystemMeta("b", system)
    assert str(ns._getSystemMeta("b")).startswith("[type=1 timestamp=")
    assert ns._getSystemMeta("b").owner == "me"
    ns.ping()
    ns.unregister("b")
    ns.deleteGroup(":Test")
    assert [name for name, _ in ns.flatlist()] == [":Pyro.NameServer"]


def test_refusals_arrive_with_their_text_and_the_name_and_are_no_news_for_the_log(ns, caplog):
    assert refused(ns.resolve, "a") == ("name not found", ":Default.a")
    assert refused(ns.resolve, ":Pyro") == ("attempt to resolve groupname", ":Pyro")
    assert refused(ns.register, ":No.a", URI) == ("(parent)group not found", ":No")
    assert refused(ns.register, ":Pyro", URI) == ("name already exists", ":Pyro")
    assert refused(ns.register, "a", "nonsense")[:2] == ("invalid URI", "nonsense")
    assert refused(ns.register, "a b", URI)[0] == "invalid name"
    assert refused(ns.createGroup, ":a..b")[0] == "invalid groupname"
    assert refused(ns.deleteGroup, ":") == ("not allowed to delete root group", ":")
    assert refused(ns.resync) == (NO_PAIRS,)
    assert caplog.text == ""


def test_names_of_raw_clients_are_checked_and_made_absolute(ns):
    raw = core.getProxyForURI(ns.URI)
    raw.register("a", URI)
    assert raw.resolve(":Default.a") == URI
    assert refused(raw.register, ":a:b", URI)[:2] == ("invalid name", ":a:b")
    assert refused(raw.resolve, 5)[0] == "invalid name"
    assert raw.list(None) == [("Default", 0), ("Pyro", 0)]
    with pytest.raises(AttributeError):
        raw.open()
    with pytest.raises(AttributeError):
        raw.space()


def test_pairs_are_refused():
    for role in (1, (2, "host"), "x"):
        assert refused(NameServer, role) == (NO_PAIRS,)
    for role in (0, None, (0, None), ()):
        NameServer(role)


def test_leases(ns):
    lease, identity = ns.grant(30)
    ns.enrol("a", URI, lease)
    assert ns.look_up("a") == (1, URI, True)
    assert ns.keep(lease) == identity
    assert refused(ns.enrol, "a", OTHER, lease)[0] == "name already exists"
    ns.enrol("a", OTHER, lease, URI)
    assert not ns.withdraw("a", URI)
    assert ns.look_up("a") == (1, OTHER, True)
    assert ns.withdraw("a", OTHER)
    assert ns.look_up("a") is None
    ns.enrol(":New.group.a", URI, lease, make_groups=True)
    assert ns.list(":New.group") == [("a", 1)]
    assert ns.revoke(lease)
    assert not ns.revoke(lease)
    assert ns.list(":New.group") == []
    with pytest.raises(LeaseLostError):
        ns.keep(lease)
    with pytest.raises(LeaseLostError):
        ns.enrol("a", URI, lease)


def test_names_are_marked_as_seen(ns):
    ns.register("a", URI)
    assert ns._getSystemMeta("a").seen is None
    ns.mark_seen(["a", "gone"])
    assert abs(ns._getSystemMeta("a").seen - time.time()) < 60


def test_following_names(ns):
    ns.register("a", URI)
    known = {":Default.a": URI, ":Default.b": ""}
    assert ns.follow(known) == {}
    assert ns.follow({":Default.a": OTHER, ":Default.b": URI}) == {":Default.a": URI, ":Default.b": None}
    waiting = gevent.spawn(ns.follow, known, 30)
    eventually(lambda: len(_feed(ns)) == 2)
    ns.register("c", URI)
    ns.register("b", OTHER)
    assert waiting.get(timeout=30) == {":Default.b": OTHER}
    waiting = gevent.spawn(ns.follow, known, 30)
    waiting.get(timeout=30)
    gone = gevent.spawn(ns.follow, {":Default.a": URI}, 30)
    eventually(lambda: _feed(ns))
    ns.deleteGroup(":Default")
    assert gone.get(timeout=30) == {":Default.a": None}
    assert not _feed(ns)
    with pytest.raises(ValueError, match="at most 1000 names"):
        ns.follow(dict.fromkeys(map(str, range(1001)), ""))


def _feed(ns):
    return SERVERS[-1]._feed._followers


SERVERS: list[NameServer] = []


@pytest.fixture(autouse=True)
def _remember_servers(monkeypatch):
    SERVERS.clear()
    before = NameServer.open

    def open_and_remember(self, *arguments):
        SERVERS.append(self)
        before(self, *arguments)

    monkeypatch.setattr(NameServer, "open", open_and_remember)


def test_changes_of_the_keys_after_a_revision(ns):
    raw = core.getProxyForURI(ns.URI)
    identity, revision, more, rows = raw.keys_page(":")
    assert not more
    assert [row[0] for row in rows] == [":", "::Default", "::Pyro", ":Pyro:NameServer"]
    ns.register("a", URI)
    latest, changes = raw.key_changes(identity, ":", revision)
    assert latest == revision + 1
    assert [(at, [key for key, _ in events]) for at, events in changes] == [(latest, [":Default:a"])]
    assert raw.key_changes(identity, ":", latest) == (latest, [])
    with pytest.raises(CompactedError):
        raw.key_changes("another", ":", latest)
    with pytest.raises(CompactedError):
        raw.key_changes(identity, ":", latest + 10)


def test_calls_that_wait_are_answered_when_the_server_stops():
    with name_server() as starter:
        ns = proxy_of(starter)
        lease, identity = ns.grant(30)
        raw = core.getProxyForURI(starter.uri)
        waiting = [
            gevent.spawn(ns.keep, lease, 30),
            gevent.spawn(ns.follow, {":a": ""}, 30),
            gevent.spawn(raw.key_changes, identity, ":", raw.keys_page(":")[1], 30),
        ]
        eventually(lambda: _feed(ns) and SERVERS[-1]._watches)
        starter.stop()
        assert waiting[0].get(timeout=30) == identity
        assert waiting[1].get(timeout=30) == {}
        assert waiting[2].get(timeout=30)[1] == []


def test_only_some_calls_of_a_connection_may_wait(ns, monkeypatch):
    monkeypatch.setattr("gpyro.naming_server.MAX_WAITING", 2)
    waiting = [gevent.spawn(ns.keep, 0, 30), gevent.spawn(ns.follow, {":a": ""}, 30)]
    eventually(lambda: sum(SERVERS[-1]._waiting.values()) == 2)
    raw = core.getProxyForURI(ns.URI)
    identity, revision, _, _ = raw.keys_page(":")
    with gevent.Timeout(30):
        assert ns.keep(0, 30) == identity
        assert ns.follow({":a": ""}, 30) == {}
        assert raw.key_changes(identity, ":", revision, 30) == (revision, [])
    ns.register(":a", URI)
    assert waiting[1].get(timeout=30) == {":a": URI}
    SERVERS[-1].let_go()
    waiting[0].get(timeout=30)
    assert SERVERS[-1]._waiting == {}


def test_an_address_that_leads_each_machine_to_itself_is_refused_from_others(ns, monkeypatch):
    from gpyro import naming_server

    ns.register("a", "PYRO://127.0.0.1:7766/id")
    monkeypatch.setattr(naming_server, "_is_ours", lambda peer: False)
    for address in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "./u:%2Frun%2Fx", "[::ffff:127.0.0.1]"):
        uri = f"PYRO://{address}/id"
        text, offending, why = refused(ns.register, "b", uri)
        assert (text, offending) == ("invalid URI", uri)
        assert "PYRO_PUBLISHHOST" in why
        lease, _ = ns.grant(30)
        assert refused(ns.enrol, "b", uri, lease)[0] == "invalid URI"
    ns.register("b", "PYRO://192.0.2.1/id")


def test_a_persistent_server_keeps_names_in_a_folder_of_its_own(tmp_path):
    with name_server(persistent=1, dbdir="deep/folder") as starter:
        ns, uri = proxy_of(starter), starter.uri
        assert starter.server.getDBDir() == str(tmp_path / "deep" / "folder")
        ns.register("a", URI)
        lease, identity = ns.grant(30)
        ns.enrol("b", OTHER, lease)
        with pytest.raises(StoreError, match=r"another process|open"):
            PersistentNameServer("deep/folder").open()
    assert (tmp_path / "deep" / "folder" / "names.db").exists()
    with name_server(persistent=1, dbdir="deep/folder") as starter:
        ns = proxy_of(starter)
        assert starter.uri == uri
        assert ns.resolve("a") == core.PyroURI(URI)
        assert ns.look_up("b") == (1, OTHER, True)
        assert ns.keep(lease) == identity
    with name_server(persistent=1, dbdir="deep/folder", nsport=0) as starter:
        assert starter.uri != uri
        assert proxy_of(starter).resolve(":Pyro.NameServer") == starter.uri


def test_a_file_with_something_else_in_it(tmp_path):
    with SqliteStore(tmp_path / "names.db") as store:
        store.create(":", b"anything")
    server = PersistentNameServer(str(tmp_path))
    with pytest.raises(StoreError, match=r"cannot use .*names\.db: what is kept of ':' cannot be understood"):
        server.open()
    server.close()


def test_a_store_that_fails_is_told_to_who_asks_and_in_one_line_to_the_log(ns, caplog, monkeypatch):
    def full(store: MemoryStore, write: Write) -> None:
        store._not_saved([write], "the disk is full", False)

    ns.ping()
    monkeypatch.setattr(MemoryStore, "_save", full)
    for number in range(3):
        with pytest.raises(StoreError, match="the disk is full"):
            ns.register(f":a{number}", URI)
    monkeypatch.undo()
    assert eventually(lambda: caplog.records)[0].getMessage() == "what was to be kept is not: the disk is full"
    assert [record.exc_info for record in caplog.records] == [None] * len(caplog.records)
    ns.register(":a0", URI)
    assert [record for record in caplog.records if "StoreError" in record.getMessage()] == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        PersistentNameServer("file/below").open()
    assert PersistentNameServer().getDBDir() == str(tmp_path / "Pyro_NS_database")
