"""Damaged frames over real connections: many at a time, to a server in another process."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
import grammar
from gevent import GreenletExit
from peer import ANSWERS, Dead, Peer, Target

from gpyro.errors import SerializationError
from gpyro.wire.frames import FLAG_METADATA, MAGIC, Kind, pack
from gpyro.wire.hello import Hello

TOGETHER = 24
"""Connections at a time."""

HUSH = 0.05
"""Seconds that a connection waits for an answer. A damaged length makes the server wait for more, and say nothing."""

_EXPECTED = frozenset((*ANSWERS, Kind.CREDIT, Kind.PONG, Kind.GOAWAY, Kind.REFUSED, Kind.WELCOME))


@dataclass
class Result:
    """What came of a storm.

    Attributes:
        frames: frames that were sent.
        connections: connections that they took.
        seconds: how long it took.
        answers: how often the server said what, by the kind of the frame.
        wrong: what must not be: frames that no server sends, and a client that noticed something.
        calls: calls of a client that did nothing wrong, meanwhile.
        longest: seconds that the longest of them took.
    """

    frames: int = 0
    connections: int = 0
    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    calls: int = 0
    longest: float = 0.0


class Storm:
    """Sends damaged frames to a server, and echoes through a client that does nothing wrong."""

    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._chance = random.Random(seed)
        self.result = Result()
        self._left = 0

    def rage(self, frames: int, progress: Callable[[Result], None] = lambda result: None) -> Result:
        """Send so many frames, and tell what came of it so far."""
        self._left = frames
        started = time.monotonic()
        modest = gevent.spawn(self._echo)
        wild = [gevent.spawn(self._connect_again_and_again) for _ in range(TOGETHER)]
        try:
            while not all(one.ready() for one in wild):
                gevent.joinall(wild, timeout=5)
                progress(self.result)
                if modest.ready():
                    break
        finally:
            gevent.killall([*wild, modest])
        for one in [*wild, modest]:
            if not isinstance(one.value, GreenletExit) and not one.successful():
                self.result.wrong.append(f"{type(one.exception).__name__}: {one.exception}")
        self.result.seconds += time.monotonic() - started
        return self.result

    def _echo(self) -> None:
        """A client that does nothing wrong."""
        value = {"a": [1, (2.5, "text")], "b": b"bytes"}
        while True:
            before = time.monotonic()
            if self._target.proxy.echo(value) != value:
                raise Dead("a wrong answer to a client that does nothing wrong")
            self.result.longest = max(self.result.longest, time.monotonic() - before)
            self.result.calls += 1
            gevent.sleep(0.002)

    def _connect_again_and_again(self) -> None:
        while self._left > 0:
            peer = Peer.connect(self._target.port, self._chance.choice(("msgpack", "json")), hello=False)
            self.result.connections += 1
            try:
                self._talk(peer)
            finally:
                peer.close()

    def _talk(self, peer: Peer) -> None:
        """Say damaged things until the server has enough, or waits."""
        first = MAGIC + pack(Kind.HELLO, body=Hello(serializers=(peer.codec.name,)).to_bytes())
        if self._chance.random() < 0.1:
            first = grammar.mutate(self._chance, first, first)
            self._left -= 1
            self.result.frames += 1
        if not peer.send(first) or not self._listen(peer, Kind.WELCOME):
            return
        peer.open(1, self._target.guid)
        number = 1
        while self._left > 0:
            count = self._chance.randrange(1, 9)
            data = b"".join(self._frame(peer, number + 2 * at) for at in range(count))
            number += 2 * count
            if self._chance.random() < 0.9:
                # Past the first byte, so that the damage is spread over kinds, lengths and bodies.
                data = grammar.mutate(self._chance, b"\0" + data, grammar.frames(self._chance))[1:]
            self._left -= count
            self.result.frames += count
            if not peer.send(data + pack(Kind.PING, body=b"done")) or not self._listen(peer, Kind.PONG):
                return

    def _frame(self, peer: Peer, number: int) -> bytes:
        """One proper request."""
        chance = self._chance
        kind = chance.choice((Kind.CALL, Kind.CALL, Kind.ONEWAY, Kind.GET, Kind.SET, Kind.DESCRIBE, Kind.CANCEL, 0xF0))
        if kind in (Kind.CALL, Kind.ONEWAY):
            method = chance.choice(("echo", "echo", "refuse", "_private", "nothing"))
            try:
                body = peer.codec.encode_call(method, (grammar.value(chance),), {})
            except SerializationError:  # an exception among the values that needs registration
                body = b""
        elif kind == Kind.SET:
            body = peer.codec.encode(["value", chance.randrange(100)])
        else:
            body = b"" if kind == Kind.CANCEL else chance.choice((b"value", b"echo", b"nothing"))
        flags = 0
        if chance.random() < 0.1:
            flags, body = FLAG_METADATA, b"\0\0\0\1\x80" + body
        return pack(kind, 0 if kind == Kind.ONEWAY else number, 1, body, flags)

    def _listen(self, peer: Peer, until: int) -> bool:
        """Read what the server says, up to a kind; False if it closes or waits."""
        while True:
            try:
                frame = peer.read(HUSH)
            except Dead:
                return False
            if frame is None:
                return False
            if frame[0] not in _EXPECTED:
                self.result.wrong.append(f"the server sent {frame}")
            self.result.answers[Kind(frame[0]).name] += 1
            if frame[0] == until:
                return True
            if frame[0] in (Kind.GOAWAY, Kind.REFUSED):
                return False
