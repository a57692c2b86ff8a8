"""What a channel still has to send: gathered, sent without copying twice, and bounded by a water mark."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Protocol

GATHER_SIZE = 64 * 1024
"""Bytes of output that leave at once even while more is being produced."""

JOIN_SIZE = 256 * 1024
"""Output up to this is joined into one piece for one `send`; more goes piecewise by `sendmsg`, uncopied."""

HIGH_WATER = 1024 * 1024
"""Unsent bytes at which those who produce more have to wait."""

LOW_WATER = 256 * 1024
"""Unsent bytes at which they may go on."""

LEAST_WATER = 64 * 1024
"""Unsent bytes above which large values wait while there are other calls."""

MAX_PIECES = 1024  # what the kernel takes in one sendmsg (IOV_MAX)
_TURN_SIZE = 4 * 1024 * 1024  # sent in one callback at most, so that one fast reader does not hold the others


class SendingSocket(Protocol):
    """What is needed of a socket here."""

    def send(self, data: bytes | memoryview, /) -> int: ...

    def sendmsg(self, buffers: list[memoryview], /) -> int: ...


class Outgoing:
    """The unsent output of one channel.

    Attributes:
        pieces: what was added since the last flush. On the path of a call the channel appends to it directly, and
            adds to `size`.
        size: unsent bytes.
        sent: bytes that the kernel has taken since the channel was opened.
        apart: there are large pieces among them, which are not to be copied.
        blocked: the kernel takes no more at present; sending goes on with `resume` when the socket is writable.
    """

    __slots__ = ("_rest", "apart", "blocked", "pieces", "sent", "size")

    def __init__(self) -> None:
        self.size = 0
        self.sent = 0
        self.apart = self.blocked = False
        self.pieces: list[bytes | memoryview] = []
        # Made only when the kernel did not take everything, for few channels ever need it.
        self._rest: deque[memoryview] | None = None

    def add(self, data: bytes) -> None:
        """Append bytes."""
        self.pieces.append(data)
        self.size += len(data)

    def add_pair(self, header: bytes, body: bytes | memoryview) -> None:
        """Append a header and a large body without copying it, ever."""
        self.pieces.append(header)
        self.pieces.append(body)
        self.size += len(header) + len(body)
        self.apart = True

    def own(self) -> None:
        """Copy what is unsent and may change: whoever has it goes on."""
        for pieces in (self.pieces, self._rest or ()):
            for place, piece in enumerate(pieces):
                if type(piece) is memoryview and not piece.readonly:
                    pieces[place] = memoryview(bytes(piece))  # type: ignore[index]

    def flush(self, sock: SendingSocket) -> None:
        """Send what there is, as far as the kernel takes it.

        Raises:
            OSError: the connection is gone.
        """
        pieces = self.pieces
        if not pieces or self.blocked:
            return
        self.pieces = []
        if self.size <= JOIN_SIZE and not self.apart:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            try:
                count = sock.send(data)
            except (BlockingIOError, InterruptedError):
                count = 0
            self.sent += count
            self.size -= count
            if count == len(data):
                return
            self._rest = deque((memoryview(data)[count:],))
        else:
            self.apart = False
            self._rest = deque(memoryview(piece) for piece in pieces)
        self.resume(sock)

    def resume(self, sock: SendingSocket) -> None:
        """Send on after the kernel had not taken everything; `blocked` says whether it has now.

        Raises:
            OSError: the connection is gone.
        """
        rest = self._rest
        assert rest is not None
        budget = _TURN_SIZE
        while rest and budget > 0:
            try:
                count = sock.sendmsg(list(islice(rest, MAX_PIECES)))
            except (BlockingIOError, InterruptedError):
                break
            self.sent += count
            self.size -= count
            budget -= count
            while rest and count >= len(rest[0]):
                count -= len(rest.popleft())
            if count:
                rest[0] = rest[0][count:]
        self.blocked = bool(rest)
        if not rest:
            self._rest = None
