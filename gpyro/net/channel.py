"""A channel: the calls, sessions and flow control on one stream of frames, the same at both ends.

Either end may open sessions to objects of the other and call them; the ids of the two directions do not collide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from greenlet import getcurrent

from gpyro.errors import ConnectionLostError, ProtocolError, WireError
from gpyro.net.attachments import Attachments
from gpyro.net.calling import UNJOINED, CallingStream
from gpyro.net.calls import Turnstile
from gpyro.net.hub import HubState
from gpyro.net.outgoing import GATHER_SIZE, HIGH_WATER
from gpyro.net.references import Incoming
from gpyro.net.sockets import Credentials, bound_unread, peer_credentials
from gpyro.net.stream import ALONE
from gpyro.wire import metadata
from gpyro.wire.connection import Connection
from gpyro.wire.frames import (
    ATTACHED,
    CREDIT_BODY,
    FLAG_BUFFERS,
    FLAG_METADATA,
    HEADER,
    HEADER_SIZE,
    MAX_ID,
    Frame,
    Kind,
    Rejection,
    pack,
    pack_text,
    unpack_text,
)
from gpyro.wire.ids import made_by_connecting_end

if TYPE_CHECKING:
    import _socket

MIN_RESULT = 4096
"""Bytes that a result may have in any case, so that there is always room to say why a larger one was dropped."""

_pack_header = HEADER.pack


class Owner(Protocol):
    """Who opened or accepted a channel."""

    def opening(self, channel: Channel, frame: Frame) -> None:
        """A frame about the connection itself arrived (HELLO, WELCOME, REFUSED, AUTHENTICATE or GOAWAY). In the hub."""

    def channel_idle(self, channel: Channel) -> None:
        """The channel has neither calls out nor sessions of this end."""

    def channel_closed(self, channel: Channel) -> None:
        """The channel ended; `channel.reason` says why."""


class Acceptor(Protocol):
    """Who serves the calls that arrive on a channel.

    Attributes:
        max_unread: bytes of results that may wait because the peer does not read.
    """

    max_unread: int

    def serve(self, channel: Channel, frame: Frame) -> None:
        """A request arrived. In the hub; must not block."""

    def open_session(self, channel: Channel, session_id: int, body: bytes) -> object:
        """The peer opens a session; what is returned stands for it in `Channel.served`."""

    def close_session(self, channel: Channel, session: Any) -> None:
        """The peer, or the end of the channel, ended a session."""


class Channel(CallingStream):
    """One connection with everything on it.

    Attributes:
        address: the peer's address.
        serializer: the one that the opening agreed on; None before.
        serving: calls of the peer that have begun and are not answered, by id.
        served: sessions that the peer opened, by id.
        draining: the peer announced that it will close; calls under way are still answered.
        user: what validators hang on the connection; shows through in every session's `caller`.
        identity: the user's name that the peer proved, '' if it proved a passphrase alone; None if it proved nothing.
        unheard: what is left of the calls of one-way methods that may run; None before the first.
        result_limit: largest result that may be sent now: what the peer takes, and less while many wait to be read.
        in_calls, in_bytes: unanswered calls of the peer, and the bytes of their bodies.
        granted_calls, granted_bytes: how much of that the peer may have.
        attached: what messages bring besides plain values; None before the first.
    """

    __slots__ = (
        "_deferred",
        "_end_watchers",
        "_held",
        "_owed_bytes",
        "_owed_calls",
        "_results_waiting",
        "acceptor",
        "address",
        "attached",
        "draining",
        "granted_bytes",
        "granted_calls",
        "identity",
        "in_bytes",
        "in_calls",
        "owner",
        "result_limit",
        "serializer",
        "served",
        "serving",
        "unheard",
        "user",
    )

    def __init__(
        self,
        state: HubState,
        sock: _socket.socket,
        address: Any,
        wire: Connection,
        owner: Owner,
        acceptor: Acceptor | None = None,
    ) -> None:
        super().__init__(state, sock, wire)
        self.address = address
        self.owner = owner
        self.acceptor = acceptor
        self.serving: dict[int, Any] = {}
        self.served: dict[int, Any] = {}
        self.user: dict[str, Any] | None = None
        self.identity: str | None = None
        self.serializer: Any = None
        self.in_calls = self.in_bytes = 0
        self.granted_calls = self.granted_bytes = 0
        self.result_limit = 0
        self.unheard: Any = None
        self.attached: Attachments | None = None
        self._held = 0  # bytes of results whose workers wait for room
        self.draining = False
        self._owed_calls = self._owed_bytes = 0
        # Parts that few channels need at a time are made when they do.
        self._deferred: list[Frame] | None = None
        self._results_waiting: Turnstile | None = None
        self._end_watchers: list[Callable[[], object]] | None = None

    def __repr__(self) -> str:
        state = f"closed: {self.reason}" if self.closed else self.wire.state.value
        return f"<Channel with {self.address} {state}>"

    @property
    def peer_credentials(self) -> Credentials | None:
        """Process and user at the other end, if this is a Unix socket and still open."""
        return None if self.closed else peer_credentials(self.sock)

    # Opening

    def establish(self, serializer: Any) -> None:
        """The hello was exchanged: calls may go both ways. `serializer` is the one agreed on."""
        peer = self.wire.peer
        assert peer is not None
        self.serializer = serializer
        self.peer_limit = self.result_limit = peer.message
        self.granted_calls, self.granted_bytes = self.wire.own.calls, self.wire.own.size
        if peer.calls and self.wire.connecting:  # an accepting end seldom calls, so there it waits for that
            self.grant(peer.calls, peer.size)
        bound_unread(self.sock)
        self.stop_timer()
        # Only calls that are out give the loop a reason to go on.
        self._read_watcher.ref = False

    def on_idle(self) -> None:
        """See `CallingStream`."""
        self.owner.channel_idle(self)

    def when_over(self, function: Callable[[], object]) -> None:
        """Have `function` called in the hub when this channel ends; at once, if it has."""
        if self.deaf:
            self.state.run_in_hub(function)
        elif self._end_watchers is None:
            self._end_watchers = [function]
        else:
            self._end_watchers.append(function)

    # Frames that arrive

    def _on_opening(self, frame: Frame) -> None:
        self.owner.opening(self, frame)

    def _on_request(self, frame: Frame) -> None:
        """A call or its like: counted against what was granted, then served, or kept while the output is full."""
        self.in_calls = calls = self.in_calls + 1
        self.in_bytes = size = self.in_bytes + len(frame[4])
        if calls > self.granted_calls or size > self.granted_bytes or frame[2] in self.serving:
            self._check_request(frame)
        if frame[1] & ATTACHED and not isinstance(frame[4], Incoming):  # else it was kept, and comes again
            frame = self.take_attached(frame)
            if frame[1] & FLAG_BUFFERS and not self.attachments().admit(frame):
                self._refuse_large(frame)
                return
        if self._deferred is not None:
            self._deferred.append(frame)
        elif self.out.size > HIGH_WATER:
            self._deferred = [frame]
        else:
            self.acceptor.serve(self, frame)  # type: ignore[union-attr]

    def _refuse_large(self, frame: Frame) -> None:
        """Too much runs already with large arguments: this request does not."""
        if frame[0] == Kind.ONEWAY:
            self.oneway_done(frame)
            self.state.warn("large", "a one-way call of %s is dropped: PYRO_MAX_BUFFERS", self.address)
            return
        self.in_calls -= 1
        self.in_bytes -= len(frame[4])
        limit = f"{self.wire.own.buffers:,} bytes (the server's PYRO_MAX_BUFFERS)"
        text = f"the large arguments of calls that run already are over {limit} with those of this one"
        self.send(pack_text(Kind.REJECTED, Rejection.BUSY, text, frame[2], frame[3]))

    def without_answer(self, frames: list[Frame]) -> list[Frame]:
        """See `FrameStream`: one-way calls, and the sessions that they are on."""
        return [frame for frame in frames if frame[0] in (Kind.ONEWAY, Kind.OPEN, Kind.CLOSE)]

    def _check_request(self, frame: Frame) -> None:
        """What looks like a breach of flow control is one, unless it is a single large call."""
        if self.in_calls > self.granted_calls:
            raise WireError(f"more than the granted {self.granted_calls} calls are unanswered", "W1")
        if self.in_bytes > self.granted_bytes and self.in_calls > 1:
            raise WireError(f"unanswered calls of more than the granted {self.granted_bytes} bytes", "W1")
        if frame[2] in self.serving and frame[0] != Kind.ONEWAY:
            raise WireError(f"call id {frame[2]} is in use", "I2")

    def _on_open(self, frame: Frame) -> None:
        session_id, own = frame[3], self.wire.own
        if self.acceptor is None or len(self.served) >= own.sessions:
            raise WireError(f"more than the granted {own.sessions} sessions", "N2")
        if not session_id or session_id in self.served or made_by_connecting_end(session_id) == self.wire.connecting:
            raise WireError(f"session id {session_id} is in use or of the wrong direction", "I1")
        self.served[session_id] = self.acceptor.open_session(self, session_id, frame[4])

    def _on_close(self, frame: Frame) -> None:
        kept = [other[0] for other in self._deferred or () if other[3] == frame[3]]
        if self._deferred is not None and kept and Kind.CLOSE not in kept:
            self._deferred.append(frame)  # its calls that came before it start before it
            return
        session = self.served.pop(frame[3], None)
        if session is None:
            raise WireError(f"session {frame[3]} is not open", "N3")
        self.acceptor.close_session(self, session)  # type: ignore[union-attr]
        self.end_attached(frame[3])

    def _on_cancel(self, frame: Frame) -> None:
        call = self.serving.get(frame[2])
        if call is not None:
            call.cancel()
            return
        for place, kept in enumerate(self._deferred or ()):
            if kept[2] == frame[2] and kept[0] != Kind.ONEWAY:
                assert self._deferred is not None
                if kept[1] & FLAG_BUFFERS:
                    self.attachments().release(kept)
                self._deferred[place] = (Kind.CANCEL, 0, *kept[2:])
                return

    def _on_ping(self, frame: Frame) -> None:
        if self.out.size <= HIGH_WATER:  # a peer that does not read gets none
            self.send(pack(Kind.PONG, body=frame[4]))

    def _on_goaway(self, frame: Frame) -> None:
        _, text = unpack_text(frame[4])
        self.draining = True
        self.usable = False
        self.reason = f"the peer says: {text}"
        if self._calls_waiting is not None:
            self._calls_waiting.close(ConnectionLostError(f"connection lost: {self.reason}"))
        self.owner.opening(self, frame)

    def _ignore(self, frame: Frame) -> None:
        """PONG, and kinds with the top bit set that this version does not know."""

    # What messages bring besides plain values

    @property
    def takes_buffers(self) -> bool:
        """Whether the peer takes large bytes beside messages."""
        peer = self.wire.peer
        return peer is not None and peer.buffers > 0

    def attachments(self) -> Attachments:
        """`attached`, made if need be."""
        if self.attached is None:
            self.attached = Attachments(self)
        return self.attached

    def end_attached(self, session_id: int) -> None:
        """See `CallingStream`."""
        if self.attached is not None:
            self.attached.end_session(session_id)

    def take_attached(self, frame: Frame) -> Frame:
        """See `CallingStream`."""
        return self.attachments().take(frame)

    def on_unwanted_answer(self, frame: Frame) -> None:
        """See `CallingStream`: nobody will read the streams that it brings."""
        if frame[1] & FLAG_METADATA:
            numbers = metadata.split(frame[4])[0].get(metadata.STREAMS)
            for number in numbers if isinstance(numbers, list) else ():
                if type(number) is int and 0 < number <= MAX_ID:
                    self.attachments().streams.refuse(number)

    def on_stream_frame(self, frame: Frame) -> None:
        """See `CallingStream`; also what the handlers of a stream's frames are."""
        self.attachments().streams.on_frame(frame)

    def _on_release(self, frame: Frame) -> None:
        self.attachments().references.on_release(frame)

    # Answers of this end

    def answer(self, frame: Frame, kind: int, body: bytes, flags: int = 0, keeps: bool = False) -> None:
        """Answer the request `frame`, in its worker, which waits here while the output is full.

        With `keeps` the program goes on with its arguments.
        """
        turnstile = None
        if self.out.size > HIGH_WATER or self._results_waiting is not None:
            turnstile = self._wait_for_room(len(body))
        self.in_calls -= 1
        self.in_bytes -= len(frame[4])
        if frame[1] & FLAG_BUFFERS and not keeps:
            self.attachments().release(frame)
        self.serving.pop(frame[2], None)
        if self.deaf:
            return
        if flags & ATTACHED:
            body.message.leave()  # type: ignore[attr-defined]
        size = len(body)
        out = self.out
        header = _pack_header(kind, flags, 0, frame[2], frame[3], size)
        if size < UNJOINED:
            out.pieces.append(header + body)
        else:
            out.pieces += (header, body)
        out.size += HEADER_SIZE + size
        if self._gathering == ALONE:
            self.flush()
        elif out.size >= GATHER_SIZE or not (self._gathering or self._flush_due):
            self._flush_soon()
        if turnstile is not None:
            turnstile.passed()

    def oneway_done(self, frame: Frame) -> None:
        """A one-way call ended: its share of the window goes back with the next output."""
        size = len(frame[4])
        self.in_calls -= 1
        self.in_bytes -= size
        if frame[1] & FLAG_BUFFERS:
            self.attachments().release(frame)
        if not self.deaf:
            self._owed_calls += 1
            self._owed_bytes += size
            self.owing = True
            self._flush_soon()

    def _hold(self, size: int) -> None:
        """So many more bytes of results wait for room, or less: what others may add is bounded."""
        self._held += size
        self.result_limit = self.peer_limit
        if self._held and self.acceptor is not None:
            self.result_limit = min(self.peer_limit, max(MIN_RESULT, self.acceptor.max_unread - self._held))

    def _wait_for_room(self, size: int) -> Turnstile | None:
        """Wait with a result of `size` until the output is below its mark; gives what must be told `passed`."""
        turnstile = self._results_waiting
        if turnstile is None:
            turnstile = self._results_waiting = Turnstile(self.hub, self._result_may_go)
        if not turnstile.busy and self.out.size <= HIGH_WATER:
            self._results_waiting = None
            return None
        self._hold(size)
        try:
            while not self.deaf:
                try:
                    turnstile.wait(getcurrent(), 0, None)
                    return turnstile
                except ProtocolError:  # closed meanwhile
                    break
                except BaseException as error:
                    # What the method left behind, such as a forgotten Timeout: it must not cost the caller its answer.
                    if isinstance(error, self.hub.SYSTEM_ERROR):
                        self.state.interrupt(error)
            return None
        finally:
            self._hold(-size)

    def _result_may_go(self, size: int) -> bool:
        return self.out.size <= HIGH_WATER

    def on_room(self) -> None:
        """The output is down.

        Those who waited go on, and the calls that were kept are served, before any later ones.
        """
        if self._calls_waiting is not None:
            self._calls_waiting.advance()
        if self._results_waiting is not None:
            self._results_waiting.advance()
        if self.attached is not None:
            self.attached.on_room()
        deferred, self._deferred = self._deferred, None
        if self.mute and deferred is not None:
            deferred = self.without_answer(deferred)
        frames = []
        for frame in deferred or ():
            if frame[0] != Kind.CLOSE:  # it will be counted again
                self.in_calls -= 1
                self.in_bytes -= len(frame[4])
            if frame[0] == Kind.CANCEL:
                text = "cancelled before it began"
                self.send(pack_text(Kind.REJECTED, Rejection.CANCELLED, text, frame[2], frame[3]))
            else:
                frames.append(frame)
        if frames:
            self._work_later(frames + (self._backlog or []))

    # The end

    def add_owed(self) -> None:
        """See `FrameStream`: credit for one-way calls that ended."""
        self.out.add(pack(Kind.CREDIT, body=CREDIT_BODY.pack(self._owed_calls, self._owed_bytes)))
        self._owed_calls = self._owed_bytes = 0

    def on_end(self) -> None:
        """See `FrameStream`: every call, waiting or out, gets its verdict; the peer's sessions end."""
        self.end_calls()
        if self._results_waiting is not None:
            self._results_waiting.close(ConnectionLostError(f"connection lost: {self.reason}"))
        self._deferred = None
        if self.attached is not None:
            self.attached.end(self.reason)
        if self.acceptor is not None:
            for session in list(self.served.values()):
                self.acceptor.close_session(self, session)
        self.served.clear()
        watchers, self._end_watchers = self._end_watchers, None
        for watcher in watchers or ():
            self.state.run_in_hub(watcher)
        self.owner.channel_closed(self)


_Handler = Callable[[Channel, "Frame"], None]
_REQUESTS: Final = (Kind.CALL, Kind.ONEWAY, Kind.BATCH, Kind.GET, Kind.SET, Kind.DESCRIBE)
_BY_KIND: Final[dict[int, _Handler]] = {
    Kind.HELLO: Channel._on_opening,
    Kind.WELCOME: Channel._on_opening,
    Kind.REFUSED: Channel._on_opening,
    Kind.AUTHENTICATE: Channel._on_opening,
    Kind.OPEN: Channel._on_open,
    Kind.CLOSE: Channel._on_close,
    **dict.fromkeys(_REQUESTS, Channel._on_request),
    **dict.fromkeys((Kind.RESULT, Kind.ERROR, Kind.REJECTED), Channel._on_answer),
    **dict.fromkeys((Kind.STREAM_ITEM, Kind.STREAM_END, Kind.STREAM_ERROR), Channel.on_stream_frame),
    Kind.CREDIT: Channel._on_credit,
    Kind.CANCEL: Channel._on_cancel,
    Kind.RELEASE: Channel._on_release,
    Kind.PING: Channel._on_ping,
    Kind.GOAWAY: Channel._on_goaway,
}
Channel.handlers = tuple(_BY_KIND.get(kind, Channel._ignore) for kind in range(256))
