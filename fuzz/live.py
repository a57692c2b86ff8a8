"""Throws payloads, and floods of frames, at a running end, and tells what it answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import bombs
from bombs import Bomb
from peer import ANSWERS, Dead, Peer, Target, server_by_hand

from gpyro import core
from gpyro.errors import PyroError
from gpyro.wire import metadata
from gpyro.wire.frames import FLAG_METADATA, HEADER, MAGIC, MAX_ID, Kind, pack, pack_text, unpack_text
from gpyro.wire.hello import Hello

MANY = 100_000


def throw(target: Target, bomb: Bomb) -> str:
    """Send a payload to the server where one of its kind belongs; the text with which it is refused.

    Raises:
        Dead: the server does not answer as it must: a refusal, with a code that says what is wrong.
    """
    payload = bomb.payload()
    if bomb.way == "hello":
        peer = Peer.connect(target.port, hello=False)
        with contextlib.closing(peer):
            peer.send(MAGIC + pack(Kind.HELLO, body=payload))
            return peer.last_words()
    with contextlib.closing(Peer.connect(target.port, "json" if bomb.way == "json" else "msgpack")) as peer:
        peer.open(1, target.guid)
        flags = FLAG_METADATA if bomb.way == "metadata" else 0
        if not peer.send(pack(Kind.CALL, 1, 1, payload, flags)):
            return peer.last_words()
        frame = peer.read()
        if frame is None:
            raise Dead("the connection was closed without a word")
        if frame[0] == Kind.GOAWAY:
            return unpack_text(frame[4])[1]
        if frame[0] != Kind.REJECTED:
            raise Dead(f"not refused: {frame}")
        # The connection stays, and the next call on it is answered.
        peer.call(3, 1, "echo", "next")
        if peer.codec.decode(peer.expect(Kind.RESULT)[4]) != "next":
            raise Dead("the next answer is wrong")
        return unpack_text(frame[4])[1]


@contextlib.contextmanager
def hostile_server(payloads: dict[str, bytes]) -> Iterator[core.DynamicProxy]:
    """A proxy for an object whose methods raise what these payloads say; every other one gives 5."""

    def answer(peer: Peer, frame: Any) -> None:
        body = metadata.split(frame[4])[1] if frame[1] & FLAG_METADATA else frame[4]
        method = peer.codec.decode_call(body)[0]
        body = payloads.get(method)
        if body is None:
            peer.send(pack(Kind.RESULT, frame[2], frame[3], peer.codec.encode(5)))
        else:
            peer.send(pack(Kind.ERROR, frame[2], frame[3], body))

    with server_by_hand(answer) as uri:
        proxy = core.getProxyForURI(uri)
        proxy._setTimeout(30)
        yield proxy
        proxy._release()


@dataclass(frozen=True)
class Flood:
    """Frames that break a rule, or many that break none.

    Attributes:
        name: what it is, for people.
        make: the bytes, or what makes them for the id of the object to which session 1 is open.
        error: a part of the reason that the server gives; empty where it must go on as if nothing were.
        count: how many times the bytes are sent.
    """

    name: str
    make: bytes | Callable[[str], bytes]
    error: str
    count: int = 1

    def bytes_for(self, guid: str, share: float = 1.0) -> bytes:
        """The frames; of those that are `count` times the same only that share."""
        data = self.make if isinstance(self.make, bytes) else self.make(guid)
        return data * max(1, int(self.count * share))


def _call(number: int, method: str, *arguments: Any) -> bytes:
    return pack(Kind.CALL, number, 1, bombs.MSGPACK.encode_call(method, arguments, {}))


def _sessions(guid: str) -> bytes:
    return b"".join(pack(Kind.OPEN, 0, number, guid.encode()) for number in range(3, 2_000_003, 2))


def _many_calls(guid: str) -> bytes:
    return b"".join(_call(number, "hold") for number in range(1, 2061, 2))


def _large_calls(guid: str) -> bytes:
    return _call(1, "hold", bytes(9 << 20)) + _call(3, "hold", bytes(9 << 20))


def _said_to_be_compressed(guid: str) -> bytes:
    return pack(Kind.CALL, 1, 1, bombs.BY_NAME["gzip"].payload(), 0x80)


_HELLO = Hello().to_bytes()

FLOODS: list[Flood] = [
    Flood("a frame of 4 GiB announced", HEADER.pack(Kind.CALL, 0, 0, 1, 1, MAX_ID), "over the limit"),
    Flood("a GET of 5,000 bytes", pack(Kind.GET, 1, 1, bytes(5000)), "over the limit of 4096"),
    Flood("a CLOSE with a body", pack(Kind.CLOSE, 0, 1, b"x"), "over the limit of 0"),
    Flood("a PING of 9 bytes", pack(Kind.PING, body=bytes(9)), "over the limit of 8"),
    Flood("credit that was never taken", pack(Kind.CREDIT, body=b"\xff" * 8), "more credit than was taken"),
    Flood("credit for nothing", pack(Kind.CREDIT, body=bytes(8)), "", MANY),
    Flood("credit cut off", pack(Kind.CREDIT, body=bytes(7)), "CREDIT of the wrong length"),
    Flood("a million sessions", _sessions, "more than the granted 10000 sessions"),
    Flood("a session twice", pack(Kind.OPEN, 0, 1, b"x"), "session id 1 is in use"),
    Flood("a session of the other end", pack(Kind.OPEN, 0, 2, b"x"), "of the wrong direction"),
    Flood("a session without number", pack(Kind.OPEN, 0, 0, b"x"), "session id 0"),
    Flood("a call on no session", pack(Kind.CALL, 1, 99), "session 99, which is not open"),
    Flood("a call that goes on, twice", _call(1, "hold"), "call id 1 is in use", 1000),
    Flood("more calls than granted", _many_calls, "more than the granted 1024 calls"),
    Flood("more bytes than granted", _large_calls, "more than the granted 16777216 bytes"),
    Flood("an answer to nothing", pack(Kind.RESULT, 77), "call 77, which is not out"),
    Flood("a second hello", pack(Kind.HELLO, body=_HELLO), "HELLO is not expected"),
    Flood("a welcome to the server", pack(Kind.WELCOME, body=_HELLO), "WELCOME is not expected"),
    Flood("a refusal of the server", pack_text(Kind.REFUSED, 1, "no"), "REFUSED is not expected"),
    Flood("an authentication that nobody asked for", pack(Kind.AUTHENTICATE, body=b"x"), "AUTHENTICATE"),
    Flood("a kind that is reserved", pack(Kind.STREAM_OPEN, 1), "STREAM_OPEN"),
    Flood("a kind that does not exist", pack(0x70), "0x70"),
    Flood("100,000 kinds that are to be ignored", pack(0xFE, body=b"x" * 20), "", MANY),
    Flood("100,000 PINGs", pack(Kind.PING, body=bytes(8)), "", MANY),
    Flood("100,000 cancellations of nothing", pack(Kind.CANCEL, 5), "", MANY),
    Flood("100,000 sessions, each closed at once", pack(Kind.OPEN, 0, 3, b"x") + pack(Kind.CLOSE, 0, 3), "", MANY),
    Flood("gzip, said to be compressed", _said_to_be_compressed, ""),
    Flood("a call in pickle", pack(Kind.CALL, 1, 1, bombs.BY_NAME["pickle"].payload()), ""),
]


def flood(target: Target, one: Flood, share: float = 1.0) -> str:
    """Send a flood, or a share of it, to the server; the reason that it gives for closing, empty if it goes on.

    Raises:
        Dead: it goes on, and does not answer the call that comes last.
    """
    with contextlib.closing(Peer.connect(target.port)) as peer:
        peer.open(1, target.guid)
        wanted = 1_000_001
        data = one.bytes_for(target.guid, share) + _call(wanted, "echo", "last")
        if not peer.send(data):
            return peer.last_words()
        while (frame := peer.read()) is not None:
            if frame[0] == Kind.GOAWAY:
                return unpack_text(frame[4])[1]
            if frame[0] in ANSWERS and frame[2] == wanted:
                return ""
        raise Dead("the connection was closed without a word")


def refusal_of_proxy(proxy: core.DynamicProxy, method: str) -> str:
    """Call a method of a hostile server; the error that it makes of it, empty if it is one of the server's own.

    Raises:
        Dead: the proxy cannot go on afterwards.
    """
    text = ""
    try:
        getattr(proxy, method)()
    except PyroError as error:
        text = str(error)
    except Exception as error:
        # What a server may raise is taken for an error of the method; whoever prints it must come to an end.
        str(error)
    if proxy.other() != 5:
        raise Dead("the next answer is wrong")
    return text
