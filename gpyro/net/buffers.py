"""Sending buffers ahead of the message that refers to them, in pieces between which everything else has its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from greenlet import getcurrent

from gpyro.errors import ConnectionLostError, SerializationError
from gpyro.net.calls import Turnstile
from gpyro.net.outgoing import LEAST_WATER, LOW_WATER
from gpyro.net.sockets import bound_unsent
from gpyro.wire.buffers import CHUNK_SIZE, SMALL_CHUNK_SIZE, chunk_header, cost, pack_announcement, pieces
from gpyro.wire.ids import IdSource

if TYPE_CHECKING:
    from gpyro.net.channel import Channel


TURN: Final = 1024 * 1024
"""Bytes that are sent before everything else on the hub has its turn."""


LONG: Final = 4 * 1024 * 1024
"""Bytes of an upload from which on it goes in small pieces even while there are no other calls."""


class Buffers:
    """The buffers that this end of a channel sends.

    Attributes:
        limit: what may be on its way to the peer at a time, as its hello says [D3].
        results: bytes of buffers of results that are not sent yet.
    """

    def __init__(self, channel: Channel) -> None:
        peer = channel.wire.peer
        self.limit = 0 if peer is None else peer.buffers
        self.results = 0
        self._channel = channel
        self._under_way: dict[int, int] = {}
        self._numbers = IdSource(channel.wire.connecting, self._under_way)
        self._taken = 0
        self._long = 0  # uploads that are
        self._waiting = Turnstile(channel.hub, lambda size: self._taken + size <= self.limit)
        self._room = Turnstile(channel.hub, lambda size: channel.out.size <= self._low_water())

    def send(self, buffers: list[tuple[int, memoryview]], deadline: float | None) -> int:
        """Send buffers, as room for them comes; whoever sends waits here.

        Args:
            buffers: kinds and bytes of those of one message; they must not change before the peer has them.
            deadline: monotonic seconds; None for none.

        Returns:
            The number of the set. It is to be followed by `claimed` or `drop`.

        Raises:
            SerializationError: they are more than the peer takes.
            TimeoutError: the deadline passed.
            ConnectionLostError: the channel closed.
        """
        channel = self._channel
        announced = [(kind, len(view)) for kind, view in buffers]
        size = cost(length for _, length in announced)
        if size > self.limit:
            text = f"buffers of {size:,} bytes are over the {self.limit:,} that the other end takes (PYRO_MAX_BUFFERS)"
            raise SerializationError(text)
        self._waiting.wait(getcurrent(), size, deadline)
        number = self._numbers.take()
        self._under_way[number] = size
        self._taken += size
        self._waiting.passed()
        try:
            self._check_open()
            channel.send(pack_announcement(number, announced))
            self._send_pieces(number, [view for _, view in buffers], deadline)
        except BaseException:
            channel.out.own()
            self.drop(number)
            raise
        return number

    def _send_pieces(self, number: int, views: list[memoryview], deadline: float | None) -> None:
        channel, room = self._channel, self._room
        turn, bounded, left = TURN, False, sum(map(len, views))
        long = left > LONG  # others will want their turn before it is over
        self._long += long
        try:
            for piece in pieces(views, lambda: SMALL_CHUNK_SIZE if long or self._has_company() else CHUNK_SIZE):
                # As long as the kernel takes it all and nobody else waits, it is quicker not to let the loop run.
                if turn < 0 or room.busy or channel.out.size > self._low_water():
                    room.wait(getcurrent(), 0, deadline)
                    room.passed()
                    turn = SMALL_CHUNK_SIZE if long or self._has_company() else TURN
                self._check_open()
                if (long or self._has_company()) is not bounded:
                    bounded = not bounded
                    bound_unsent(channel.sock, bounded)
                turn -= len(piece)
                left -= len(piece)
                # The last one leaves together with the message, so that the peer is woken once for both.
                channel.send_pair(chunk_header(number, len(piece)), piece, at_once=left > 0)
        finally:
            self._long -= long
            if bounded and not channel.closed:
                bound_unsent(channel.sock, False)

    def _check_open(self) -> None:
        if self._channel.deaf or self._channel.mute:
            raise ConnectionLostError(f"connection lost: {self._channel.reason}")

    def _has_company(self) -> bool:
        """Whether there are calls besides the one that buffers are sent for."""
        return len(self._channel.pending) + len(self._channel.serving) > 1

    def _low_water(self) -> int:
        return LEAST_WATER if self._long or self._has_company() else LOW_WATER

    def claimed(self, number: int) -> None:
        """The message that refers to them is on its way."""
        self._taken -= self._under_way.pop(number)
        self._waiting.advance()

    def drop(self, number: int) -> None:
        """There will be no such message."""
        self.claimed(number)
        self._channel.send(pack_announcement(number, []))

    def on_room(self) -> None:
        """There is room in the output."""
        self._room.advance()

    def end(self, reason: str) -> None:
        """The channel is over."""
        for turnstile in (self._waiting, self._room):
            turnstile.close(ConnectionLostError(f"connection lost: {reason}"))
