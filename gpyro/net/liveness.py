"""Noticing a dead peer while output to it is outstanding.

Keepalive probes find a dead peer only on an idle connection. While there are unacknowledged bytes the system just
sends them again, for minutes. So a timer looks at what the system knows (``TCP_INFO``): a peer whose system
acknowledges is alive, however long the program there is busy, and a closed receive window whose probes are answered
is alive, too. One unanswered repetition says nothing: it may be on its way, and the last acknowledgement may be old
because there was nothing to acknowledge. Only a peer that every look finds in arrears is dead.
"""

from __future__ import annotations

import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING

from gpyro.net.hub import HubState

if TYPE_CHECKING:
    import _socket

    from gpyro.net.stream import FrameStream

INTERVAL = 2.0
"""Seconds between looks; a look costs two microseconds for each stream that has sent since the last."""

DEAD_AFTER = 10.0
"""Seconds without any acknowledgement, in spite of repetitions or probes, after which the peer is dead."""

# struct tcp_info of linux/tcp.h: seven bytes, a byte of bit fields, then 32-bit numbers.
_INFO = struct.Struct("8B24I")
_RETRANSMITS, _PROBES = 2, 3  # places of tcpi_retransmits and tcpi_probes
_UNACKED, _LAST_ACK_RECEIVED = 8 + 4, 8 + 12  # places of tcpi_unacked and tcpi_last_ack_recv
_TCP_INFO = getattr(socket, "TCP_INFO", None)


class TransportInfo:
    """What the system knows of a TCP connection.

    Attributes:
        unacknowledged: segments sent and not acknowledged.
        repeated: repetitions, or window probes, since the last acknowledgement.
        silence: seconds since the last acknowledgement.
    """

    __slots__ = ("repeated", "silence", "unacknowledged")

    def __init__(self, unacknowledged: int, repeated: int, silence: float) -> None:
        self.unacknowledged = unacknowledged
        self.repeated = repeated
        self.silence = silence


def transport_info(sock: _socket.socket) -> TransportInfo | None:
    """What the system knows of this connection; None where it does not tell, as for a Unix socket."""
    if _TCP_INFO is None or sock.family == socket.AF_UNIX:
        return None
    fields = _INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _INFO.size))
    return TransportInfo(fields[_UNACKED], fields[_RETRANSMITS] + fields[_PROBES], fields[_LAST_ACK_RECEIVED] / 1000)


class Liveness:
    """Looks after the streams of one hub."""

    def __init__(self, state: HubState) -> None:
        self._state = state
        self._timer = state.loop.timer(INTERVAL, INTERVAL, ref=False)
        self._timer.start(self._look)
        # Streams in arrears, and when that was first seen.
        self._suspects: dict[FrameStream, float] = {}

    def _look(self) -> None:
        before, self._suspects = self._suspects, {}
        for stream in list(self._state.streams):
            if stream.unproven and not stream.closed:
                try:
                    self._examine(stream, before.get(stream))
                except BaseException as error:
                    self._state.escaped(error)
                    stream.close(f"unexpected error: {error!r}")

    def _examine(self, stream: FrameStream, since: float | None) -> None:
        """Close `stream` if its peer is dead; remember if everything was acknowledged."""
        info = transport_info(stream.sock)
        if info is None or (not info.unacknowledged and not stream.out.size):
            stream.unproven = False
        elif info.repeated:
            now = monotonic()
            if since is None or info.silence < now - since:
                since = now - min(info.silence, INTERVAL)
            if now - since >= DEAD_AFTER:
                stream.close(f"the peer's system has acknowledged nothing for {info.silence:.0f} s")
            else:
                self._suspects[stream] = since

    def close(self) -> None:
        """Stop looking."""
        self._timer.stop()
        self._timer.close()

    def forked(self) -> None:
        """Its timer touches no descriptor."""

    def close_inherited(self) -> None:
        """The child's loop is its own now."""
        self.close()
