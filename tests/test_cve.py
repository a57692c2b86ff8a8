"""The holes that members of the family had, each by its number: gpyro has none of them."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path

import numpy
import pytest

import gpyro
from gpyro import core
from gpyro.errors import ConnectionDeniedError
from gpyro.settings import config
from gpyro.wire.frames import MAGIC, Kind, Refusal, Rejection, pack, unpack_text
from gpyro.wire.hello import Hello
from tests.net.peers import CODEC, Raw, connection
from tests.support import ROOT, run_python, serving
from tests.targets import Target, session, unharmed


@pytest.fixture
def obj():
    return Target()


@pytest.fixture
def daemon(obj):
    with unharmed(obj) as made:
        yield made


def rejection(raw):
    frame = raw.read()
    assert frame[0] == Kind.REJECTED, frame
    return unpack_text(frame[4])[0]


# CVE-2019-16328 (rpyc): a client could set attributes of the server's objects, methods and special ones among them, and
# so make the server run what it liked.


@pytest.mark.parametrize(
    "name",
    ["echo", "two", "__class__", "__dict__", "__init__", "__getattribute__", "_pyro_daemon", "_private", "delegate",
     "objectGUID", "lastUsed", "getDaemon", "Pyro_dyncall", "brand_new", "value.__class__", "echo.__code__"],
)  # fmt: skip
def test_cve_2019_16328_nothing_but_declared_data_can_be_set(daemon, obj, name):
    before, class_before = dict(vars(obj)), dict(vars(Target))
    raw = session(daemon, obj)
    for number, value in enumerate((1, "__import__('os')", {"delegate": 1}, ("echo",))):
        raw.send(pack(Kind.SET, 2 * number + 1, 1, CODEC.encode([name, value])))
        assert rejection(raw) == Rejection.UNKNOWN_MEMBER
    raw.close()
    assert {**vars(obj), "lastUsed": 0, "calls": 0} == {**before, "lastUsed": 0, "calls": 0}
    assert dict(vars(Target)) == class_before


def test_cve_2019_16328_what_may_be_set_stays_data(daemon, obj):
    class Callable(str):
        def __call__(self):
            raise AssertionError("called")

    raw = session(daemon, obj)
    raw.send(pack(Kind.SET, 1, 1, CODEC.encode(["value", "anything"])))
    assert raw.read()[0] == Kind.RESULT
    assert obj.value == "anything"
    # Even if what was set could be called: a method is what the class says is one.
    obj.value = Callable("x")
    raw.call(3, 1, "value")
    assert rejection(raw) == Rejection.UNKNOWN_MEMBER
    raw.close()


# CVE-2024-27758 (rpyc): a server that made an array of an argument called `__array__` of the client's object, and ran
# what that gave back.


def test_cve_2024_27758_numpy_asks_nothing_of_a_proxy():
    class Trap(core.ObjBase):
        def __init__(self):
            super().__init__()
            self.asked = []

        def __array__(self, *arguments, **keywords):
            self.asked.append("__array__")
            return numpy.zeros(3)

        def __reduce__(self):
            return (self.asked.append, ("__reduce__",))

        def __len__(self):
            self.asked.append("__len__")
            return 3

        def __getitem__(self, index):
            self.asked.append("__getitem__")
            raise IndexError

    class Server(core.ObjBase):
        def to_array(self, value):
            made = numpy.array(value)
            return str(made.dtype), made.shape, type(value).__name__

    trap, server = Trap(), Server()
    with serving(trap) as its, serving(server) as daemon:
        proxy = daemon.getProxyForObj(server)
        argument = its.getProxyForObj(trap)
        assert proxy.to_array(argument) == ("object", (), "DynamicProxy")
        assert proxy.to_array(its.getAttrProxyForObj(trap)) == ("object", (), "DynamicProxyWithAttrs")
        assert proxy.to_array([1, 2]) == ("int64", (2,), "list")
        assert trap.asked == []
        for one in (proxy, argument):
            one._release()


# CVE-2022-35411 (rpc.py): the client said in a header which codec its request was in, and said pickle.


class Mark:
    """Its pickle makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_cve_2022_35411_a_client_that_offers_pickle_only_is_refused(daemon, tmp_path):
    mark = tmp_path / "reached"
    raw = Raw(connection(daemon.port), hello=Hello(serializers=("pickle",)))
    raw.send(raw.wire.hello() + pack(Kind.OPEN, 0, 1, b"x") + pack(Kind.CALL, 1, 1, pickle.dumps(Mark(mark))))
    frame = raw.read()
    assert frame[0] == Kind.REFUSED
    # Or for what it sent before it was let in.
    assert unpack_text(frame[4])[0] in (Refusal.SERIALIZER, Refusal.BROKEN_RULE)
    raw.close()
    assert not mark.exists()


@pytest.mark.parametrize("offered", [("pickle", "msgpack"), ("pickle", "json", "msgpack")])
def test_cve_2022_35411_the_server_chooses_from_its_own_list(daemon, obj, offered, tmp_path):
    mark = tmp_path / "reached"
    raw = Raw(connection(daemon.port), hello=Hello(serializers=offered))
    raw.send(raw.wire.hello())
    welcome = raw.read()
    assert json.loads(welcome[4])["serializers"] == ["msgpack"]
    raw.open(1, obj.GUID())
    raw.send(pack(Kind.CALL, 1, 1, pickle.dumps(["echo", (Mark(mark),), {}])))
    assert rejection(raw) == Rejection.UNREADABLE
    raw.close()
    assert not mark.exists()


def test_cve_2022_35411_the_order_is_the_servers_too(obj, monkeypatch):
    monkeypatch.setattr(config, "PYRO_SERIALIZER", "json,pickle")
    with serving(obj) as daemon:
        raw = Raw(connection(daemon.port), hello=Hello(serializers=("pickle", "msgpack", "json")))
        raw.send(raw.wire.hello())
        assert json.loads(raw.read()[4])["serializers"] == ["json"]
        raw.close()


# CVE-2026-31048 (Pyro 3): what came over the wire was unpickled, whoever had sent it.


@pytest.mark.parametrize("kind", [Kind.CALL, Kind.ONEWAY, Kind.SET, Kind.GET, Kind.DESCRIBE, Kind.OPEN])
@pytest.mark.parametrize("flags", [0, 1])
def test_cve_2026_31048_pickle_is_bytes_like_others(daemon, obj, kind, flags, tmp_path):
    mark = tmp_path / "reached"
    raw = session(daemon, obj)
    for protocol in range(6):
        for payload in (Mark(mark), ["echo", (Mark(mark),), {}]):
            call, number = (0 if kind == Kind.ONEWAY else 1), (3 if kind == Kind.OPEN else 1)
            raw.send(pack(kind, call, number, pickle.dumps(payload, protocol), flags))
            if kind == Kind.OPEN:
                raw.send(pack(Kind.CLOSE, 0, number))
            elif kind != Kind.ONEWAY:
                answer = raw.read()
                unknown = (answer[0], answer[4]) == (Kind.RESULT, b"\0")  # what DESCRIBE says of such a name
                assert unknown or answer[0] == Kind.REJECTED, answer
    raw.call(99, 1, "echo", "still")
    while raw.read()[2] != 99:
        pass
    raw.close()
    assert not mark.exists()


def test_cve_2026_31048_pickle_before_the_hello(daemon, tmp_path):
    mark = tmp_path / "reached"
    for first in (b"", MAGIC, MAGIC + b"\x01\x00\x00\x00" + bytes(11) + b"\x64"):
        raw = Raw(connection(daemon.port))
        raw.send(first + pickle.dumps(Mark(mark)) * 4)
        assert all(frame[0] == Kind.REFUSED for frame in raw.rest())
        raw.close()
    assert not mark.exists()


def test_cve_2026_31048_a_client_does_not_let_the_server_choose_pickle(daemon):
    assert "pickle" not in config.PYRO_SERIALIZER
    raw = Raw(connection(daemon.port))
    raw.wire.feed(MAGIC)
    with pytest.raises(Exception, match="serializer that was not offered"):
        raw.wire.feed(pack(Kind.WELCOME, body=Hello(serializers=("pickle",)).to_bytes()))
    raw.close()


def test_cve_2026_31048_both_sides_have_to_name_it(obj, monkeypatch):
    monkeypatch.setattr(config, "PYRO_SERIALIZER", "pickle")
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        monkeypatch.setattr(config, "PYRO_SERIALIZER", "msgpack")
        stranger = core.getProxyForURI(proxy.URI)
        with pytest.raises(ConnectionDeniedError, match="no common serializer"):
            stranger.echo(1)
        stranger._release()
        proxy._release()


# CVE-2011-2765 (Pyro 3): the daemon wrote a file of a name that anybody could guess to /tmp, as root, and followed a
# link that somebody had put there.

WRITES = """
    import os, sys, tempfile
    written = []
    def watch(event, arguments):
        if event == "open" and arguments[0] is not None and not isinstance(arguments[0], int):
            path, mode, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and os.fspath(path) != os.devnull:
                written.append((event, os.fspath(path)))
        elif event in ("os.mkdir", "os.link", "os.symlink", "os.rename", "os.remove", "os.chmod", "os.truncate"):
            written.append((event, str(arguments[0])))
    sys.dont_write_bytecode = True
    sys.addaudithook(watch)
    import logging
    import gevent
    import gpyro
    from gpyro import core
    from gpyro.test import echoserver
    class Echo(core.ObjBase):
        def echo(self, value):
            return value
    core.initServer(banner=0)
    daemon = core.Daemon(host="127.0.0.1", port=0, norange=1)
    daemon.connect(Echo(), "echo")
    with daemon:
        proxy = core.getProxyForURI(f"PYROLOC://127.0.0.1:{daemon.port}/echo")
        assert proxy.echo((1, [2])) == (1, [2])
        proxy._release()
    storage = os.environ["GPYRO_STORAGE"]
    print([entry for entry in written if entry[1] != storage])  # itself, and a file without a name
    """


def environment_in(folder):
    return dict.fromkeys(("TMPDIR", "TEMP", "TMP", "HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"), str(folder))


def test_cve_2011_2765_no_file_is_written(tmp_path):
    before = {path.name for path in Path("/tmp").iterdir() if "pyro" in path.name.lower()}
    environment = environment_in(tmp_path) | {"GPYRO_STORAGE": str(tmp_path)}
    code, out, err = run_python(WRITES, environment=environment)
    assert (code, err) == (0, ""), err
    assert out == "[]\n"
    assert list(tmp_path.iterdir()) == []
    assert {path.name for path in Path("/tmp").iterdir() if "pyro" in path.name.lower()} == before


def test_cve_2011_2765_a_socket_goes_where_it_is_told_and_follows_no_link(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    link = folder / "x.sock"
    link.symlink_to(victim)
    with pytest.raises(gpyro.errors.DaemonError):
        core.Daemon(host=f"./u:{link}")
    assert victim.read_text() == "precious"
    assert link.is_symlink()


def test_cve_2011_2765_the_sources_name_no_common_folder():
    for path in (ROOT / "gpyro").rglob("*.py"):
        text = path.read_text()
        assert "/tmp" not in text, path
        # A file with a name is made by nothing else of the standard library than these.
        assert not re.search("mktemp|mkstemp|mkdtemp|NamedTemporaryFile|TemporaryDirectory|gettempdir", text), path
