"""Bad calls to a daemon: each is one clear error for its caller, and nobody else notices."""

from __future__ import annotations

import pytest

from gpyro.errors import PyroError, SerializationError
from gpyro.wire.frames import Kind, Rejection, pack, unpack_text
from tests.net.peers import CODEC, Raw
from tests.targets import Target, lines, session, unharmed


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
    return unpack_text(frame[4])


@pytest.mark.parametrize(
    "name",
    ["_private", "__init__", "__class__", "__reduce__", "getDaemon", "setGUID", "delegateTo", "value", "nothing", "",
     "echo.__call__", "a b", "\x00", "é" * 3000],
    ids=lambda name: ascii(name[:20]),
)  # fmt: skip
@pytest.mark.parametrize("kind", [Kind.CALL, Kind.GET])
def test_members_that_are_not_offered(daemon, obj, name, kind, caplog):
    if kind == Kind.GET and (name == "value" or len(name.encode()) > 4096):
        pytest.skip("it may be asked for, or it does not fit")
    raw = session(daemon, obj)
    if kind == Kind.CALL:
        raw.call(1, 1, name)
    else:
        raw.send(pack(kind, 1, 1, name.encode()))
    code, text = rejection(raw)
    assert code == Rejection.UNKNOWN_MEMBER
    assert "Target offers no" in text
    assert len(text) < 300
    raw.call(3, 1, "echo", "next")
    assert CODEC.decode(raw.read()[4]) == "next"
    raw.close()
    (line,) = lines(caplog)
    assert "Target offers no" in line
    assert len(line) < 500


@pytest.mark.parametrize("name", ["_private", "objectGUID", "delegate", "lastUsed", "__class__", "echo", "nothing"])
def test_attributes_that_cannot_be_set(daemon, obj, name):
    raw = session(daemon, obj)
    guid = obj.objectGUID
    raw.send(pack(Kind.SET, 1, 1, CODEC.encode([name, 1])))
    code, _ = rejection(raw)
    assert code == Rejection.UNKNOWN_MEMBER
    assert obj.objectGUID == guid
    raw.close()


@pytest.mark.parametrize("guid", ["unknown", "", "\u00e9", "x" * 4000])
def test_an_unknown_object(daemon, guid):
    raw = Raw.connect(daemon.port)
    raw.open(1, guid)
    raw.call(1, 1, "echo")
    code, text = rejection(raw)
    assert code == Rejection.UNKNOWN_OBJECT
    assert "unknown object" in text
    raw.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        CODEC.encode(5),
        CODEC.encode(["echo"]),
        CODEC.encode_call("echo", (1,), {})[:-1],
    ],
    ids=lambda body: repr(body[:8]),
)
def test_bytes_that_are_no_call(daemon, obj, body):
    raw = session(daemon, obj)
    raw.send(pack(Kind.CALL, 1, 1, body))
    code, text = rejection(raw)
    assert code == Rejection.UNREADABLE
    assert text
    raw.call(3, 1, "echo", "next")
    assert CODEC.decode(raw.read()[4]) == "next"
    raw.close()
    assert obj.calls == 2


@pytest.mark.parametrize(
    "body", [b"\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc0", b"\x00\x00\x00\x02\x81\xc0"]
)
def test_metadata_that_is_none(daemon, obj, body):
    raw = session(daemon, obj)
    raw.send(pack(Kind.CALL, 1, 1, body, 1))
    assert rejection(raw)[0] == Rejection.UNREADABLE
    raw.close()


def test_colliding_keys_in_arguments(daemon, obj):
    keys = {number * (2**61 - 1): None for number in range(1500)}
    raw = session(daemon, obj)
    raw.call(1, 1, "echo", keys)
    code, text = rejection(raw)
    assert code == Rejection.UNREADABLE
    assert "same hash" in text
    raw.close()
    with pytest.raises(SerializationError, match="same hash"):
        daemon.getProxyForObj(obj).echo(keys)


def test_a_flood_of_containers(daemon, obj):
    proxy = daemon.getProxyForObj(obj)
    with pytest.raises(SerializationError, match="250,000"):
        proxy.echo([[] for _ in range(300_000)])


@pytest.mark.parametrize("arguments", [(), (1,), (1, 2, 3)])
def test_wrong_argument_counts_are_the_callers_error(daemon, obj, arguments):
    with pytest.raises(TypeError, match="argument"):
        daemon.getProxyForObj(obj).two(*arguments)


def test_values_that_cannot_travel(daemon, obj):
    proxy = daemon.getProxyForObj(obj)
    calls = obj.calls
    with pytest.raises(SerializationError, match=r"args\[0\]\[1\]: object: objects of this class cannot travel"):
        proxy.echo([1, object()])
    assert obj.calls == calls
    with pytest.raises(PyroError, match="objects of this class cannot travel"):
        proxy.unsendable()
    assert proxy.echo(1) == 1


def test_an_argument_and_a_result_over_the_limit(daemon, obj):
    proxy = daemon.getProxyForObj(obj)
    with pytest.raises(SerializationError, match=r"limit|over"):
        proxy.echo("x" * (17 << 20))
    with pytest.raises(PyroError, match=r"limit|over"):
        proxy.large()
    assert proxy.echo(1) == 1
