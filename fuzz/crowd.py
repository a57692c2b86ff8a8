"""A crowd that connects and says nothing, or next to nothing, in a process of its own.

Usage: crowd.py PORT SOURCE SILENT SLOW PACE

Opens so many silent connections, and so many that send their hello at a byte a second, from the address SOURCE, PACE
of them a second. Prints two lines of JSON: when all are open, and when the server has closed all of them.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import sys
import time
from collections import Counter
from typing import Any

from gpyro.wire.frames import HEADER_SIZE, MAGIC, Kind, pack, unpack_text
from gpyro.wire.hello import Hello

PATIENCE = 60.0
"""Seconds after which a crowd goes home, whatever the server does."""

SAID = MAGIC + pack(Kind.HELLO, body=Hello().to_bytes())


class Guest:
    """One connection."""

    __slots__ = ("heard", "next", "opened", "said", "sock")

    def __init__(self, sock: socket.socket, slow: bool) -> None:
        self.sock = sock
        self.opened = time.monotonic()
        self.next = self.opened if slow else float("inf")
        self.said = 0
        self.heard = b""


class Crowd:
    """All connections of this process.

    Attributes:
        lasted: seconds that each lived until the server closed it.
        told: why, as the server said it, and how often.
    """

    def __init__(self, port: int, source: str) -> None:
        self._port, self._source = port, source
        self._guests: dict[int, Guest] = {}
        self._poll = select.epoll()
        self.lasted: list[float] = []
        self.told: Counter[str] = Counter()

    def come(self, silent: int, slow: int, pace: float) -> None:
        """Open the connections, the slow ones spread among the others."""
        total = silent + slow
        started = time.monotonic()
        for number in range(total):
            sock = socket.socket()
            sock.bind((self._source, 0))
            sock.connect(("127.0.0.1", self._port))
            sock.setblocking(False)
            is_slow = number * slow // total != (number + 1) * slow // total
            self._guests[sock.fileno()] = Guest(sock, is_slow)
            self._poll.register(sock.fileno(), select.EPOLLIN)
            if number % 20 == 19:
                self._turn(max(0.0, started + number / pace - time.monotonic()))

    def stay(self) -> None:
        """Go on until the server has closed them all."""
        until = time.monotonic() + PATIENCE
        while self._guests and time.monotonic() < until:
            self._turn(0.05)

    @property
    def left(self) -> int:
        """Connections that are still open."""
        return len(self._guests)

    def _turn(self, seconds: float) -> None:
        for descriptor, _ in self._poll.poll(seconds):
            self._listen(self._guests[descriptor])
        now = time.monotonic()
        for guest in list(self._guests.values()):
            if guest.next <= now:
                guest.next += 1.0
                self._say(guest)

    def _say(self, guest: Guest) -> None:
        try:
            guest.sock.send(SAID[guest.said : guest.said + 1])
        except OSError:
            return  # its end is read
        guest.said += 1

    def _listen(self, guest: Guest) -> None:
        try:
            data = guest.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        guest.heard += data
        if data:
            return
        self.lasted.append(time.monotonic() - guest.opened)
        body = guest.heard[len(MAGIC) + HEADER_SIZE :]
        self.told[unpack_text(body)[1] if body else ""] += 1
        self._poll.unregister(guest.sock.fileno())
        del self._guests[guest.sock.fileno()]
        guest.sock.close()


def main(port: str, source: str, silent: str, slow: str, pace: str) -> None:
    """Come, stay, and tell."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def say(**answer: Any) -> None:
        print(json.dumps(answer), flush=True)

    crowd = Crowd(int(port), source)
    started = time.monotonic()
    crowd.come(int(silent), int(slow), float(pace))
    say(open=crowd.left, seconds=time.monotonic() - started)
    crowd.stay()
    lasted = crowd.lasted or [0.0]
    say(closed=len(crowd.lasted), left=crowd.left, shortest=min(lasted), longest=max(lasted), told=crowd.told)


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
