"""A channel: the calls, sessions and flow control on one stream of frames, the same at both ends.

Either end may open sessions to objects of the other and call them; the ids of the two directions do not collide.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from greenlet import getcurrent

from gpyro.errors import MaybeExecutedError, NotSentError, ProtocolError, PyroError, TimeoutError, WireError
from gpyro.net.calls import OutgoingCall, Turnstile
from gpyro.net.hub import HubState
from gpyro.net.outgoing import GATHER_SIZE, HIGH_WATER
from gpyro.net.sockets import Credentials, peer_credentials
from gpyro.net.stream import FrameStream
from gpyro.wire.connection import Connection
from gpyro.wire.credit import Window
from gpyro.wire.frames import CREDIT_BODY, HEADER, HEADER_SIZE, Frame, Kind, pack, unpack_text
from gpyro.wire.ids import IdSource

if TYPE_CHECKING:
    import _socket

_UNJOINED = 16 * 1024  # a body from this size on is not copied behind its header

_pack_header = HEADER.pack


class Owner(Protocol):
    """Who opened or accepted a channel."""

    def opening(self, channel: Channel, frame: Frame) -> None:
        """A frame about the connection itself arrived (HELLO, WELCOME, REFUSED or GOAWAY). In the hub."""

    def channel_idle(self, channel: Channel) -> None:
        """The channel has neither calls out nor sessions of this end."""

    def channel_closed(self, channel: Channel) -> None:
        """The channel ended; `channel.reason` says why."""


class Acceptor(Protocol):
    """Who serves the calls that arrive on a channel."""

    def serve(self, channel: Channel, frame: Frame) -> None:
        """A request arrived. In the hub; must not block."""

    def open_session(self, channel: Channel, session_id: int, body: bytes) -> object:
        """The peer opens a session; what is returned stands for it in `Channel.served`."""

    def close_session(self, channel: Channel, session: Any) -> None:
        """The peer, or the end of the channel, ended a session."""


class Channel(FrameStream):
    """One connection with everything on it.

    Attributes:
        address: the peer's address.
        serializer: the one that the opening agreed on; None before.
        pending: calls of this end that wait for their answer, by id.
        serving: calls of the peer that have begun and are not answered, by id.
        served: sessions that the peer opened, by id.
        opened: ids of the sessions that this end opened; None as long as the peer serves none.
        draining: the peer announced that it will close; calls under way are still answered.
        user: what validators hang on the connection; shows through in every session's `caller`.
        in_calls, in_bytes: unanswered calls of the peer, and the bytes of their bodies.
        granted_calls, granted_bytes: how much of that the peer may have.
    """

    __slots__ = (
        "_calls_waiting",
        "_deferred",
        "_owed_bytes",
        "_owed_calls",
        "_results_waiting",
        "acceptor",
        "address",
        "call_ids",
        "draining",
        "granted_bytes",
        "granted_calls",
        "in_bytes",
        "in_calls",
        "opened",
        "owner",
        "pending",
        "serializer",
        "served",
        "serving",
        "session_ids",
        "user",
        "window",
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
        self.pending: dict[int, OutgoingCall] = {}
        self.serving: dict[int, Any] = {}
        self.served: dict[int, Any] = {}
        self.opened: set[int] | None = None
        self.user: dict[str, Any] | None = None
        self.window = _NO_WINDOW
        self.call_ids = self.session_ids = _NO_IDS
        self.serializer: Any = None
        self.in_calls = self.in_bytes = 0
        self.granted_calls = self.granted_bytes = 0
        self.draining = False
        self._owed_calls = self._owed_bytes = 0
        # Parts that few channels need at a time are made when they do.
        self._deferred: list[Frame] | None = None
        self._calls_waiting: Turnstile | None = None
        self._results_waiting: Turnstile | None = None

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
        self.granted_calls, self.granted_bytes = self.wire.own.calls, self.wire.own.size
        if peer.calls:
            self.window = Window(peer.calls, peer.size)
            self.opened = set()
            self.call_ids = IdSource(self.wire.connecting, self.pending)
            self.session_ids = IdSource(self.wire.connecting, self.opened)
        self.stop_timer()
        # Only calls that are out give the loop a reason to go on.
        self._read_watcher.ref = False

    # Frames that arrive

    def _on_opening(self, frame: Frame) -> None:
        self.owner.opening(self, frame)

    def _on_request(self, frame: Frame) -> None:
        """A call or its like: counted against what was granted, then served, or kept while the output is full."""
        self.in_calls = calls = self.in_calls + 1
        self.in_bytes = size = self.in_bytes + len(frame[4])
        if calls > self.granted_calls or size > self.granted_bytes or frame[2] in self.serving:
            self._check_request(frame)
        if self._deferred is not None:
            self._deferred.append(frame)
        elif self.out.size > HIGH_WATER:
            self._deferred = [frame]
        else:
            self.acceptor.serve(self, frame)  # type: ignore[union-attr]

    def _check_request(self, frame: Frame) -> None:
        """What looks like a breach of flow control is one, unless it is a single large call."""
        if self.in_calls > self.granted_calls:
            raise WireError(f"more than the granted {self.granted_calls} calls are unanswered", "W1")
        if self.in_bytes > self.granted_bytes and self.in_calls > 1:
            raise WireError(f"unanswered calls of more than the granted {self.granted_bytes} bytes", "W1")
        if frame[2] in self.serving:
            raise WireError(f"call id {frame[2]} is in use", "I2")

    def _on_answer(self, frame: Frame) -> None:
        call = self.pending.pop(frame[2], None)
        if call is None:
            raise WireError(f"an answer to call {frame[2]}, which is not out", "I3")
        window = self.window
        window.calls += 1
        window.bytes += call.size
        if not self.pending:
            self._read_watcher.ref = False
            if not self.opened:
                self.owner.channel_idle(self)
        if self._calls_waiting is not None:
            self._calls_waiting.advance()
        caller = call.caller
        if caller is not None and call.answer is None:
            call.answer = frame
            try:
                caller.switch()
            except BaseException as error:
                self.hub.handle_error(caller, type(error), error, error.__traceback__)

    def _on_open(self, frame: Frame) -> None:
        session_id, own = frame[3], self.wire.own
        if self.acceptor is None or len(self.served) >= own.sessions:
            raise WireError(f"more than the granted {own.sessions} sessions", "N2")
        if session_id in self.served or session_id % 2 == int(self.wire.connecting):
            raise WireError(f"session id {session_id} is in use or of the wrong direction", "I1")
        self.served[session_id] = self.acceptor.open_session(self, session_id, frame[4])

    def _on_close(self, frame: Frame) -> None:
        session = self.served.pop(frame[3], None)
        if session is None:
            raise WireError(f"session {frame[3]} is not open", "N3")
        self.acceptor.close_session(self, session)  # type: ignore[union-attr]

    def _on_cancel(self, frame: Frame) -> None:
        call = self.serving.get(frame[2])
        if call is not None:
            call.cancelled = True

    def _on_credit(self, frame: Frame) -> None:
        if len(frame[4]) != CREDIT_BODY.size:
            raise WireError("a CREDIT of the wrong length", "W2")
        if not self.window.give(*CREDIT_BODY.unpack(frame[4])):
            raise WireError("more credit than was taken", "W4")
        if self._calls_waiting is not None:
            self._calls_waiting.advance()

    def _on_ping(self, frame: Frame) -> None:
        self.send(pack(Kind.PONG, body=frame[4]))

    def _on_goaway(self, frame: Frame) -> None:
        _, text = unpack_text(frame[4])
        self.draining = True
        self.usable = False
        self.reason = f"the peer says: {text}"
        self.owner.opening(self, frame)

    def _ignore(self, frame: Frame) -> None:
        """PONG, and kinds with the top bit set that this version does not know."""

    # Calls of this end

    def request(self, kind: int, session_id: int, body: bytes, flags: int = 0, deadline: float | None = None) -> Frame:
        """Send a call and wait for its answer.

        Args:
            kind: CALL, GET, SET or DESCRIBE.
            session_id: one of `opened`.
            body: the encoded call.
            flags: of the frame.
            deadline: monotonic seconds; None for none.

        Raises:
            NotSentError: the channel closed before any of it left.
            MaybeExecutedError: the channel closed after it left.
            TimeoutError: the deadline passed.
            PyroError: called from the hub, which cannot wait.
        """
        caller = getcurrent()
        if caller is self.hub:
            raise PyroError("a proxy cannot be called from the hub (a loop callback): spawn a greenlet for it")
        size = len(body)
        window, pending, out = self.window, self.pending, self.out
        turnstile = None
        if (
            window.calls > 0
            and size <= window.bytes
            and self._calls_waiting is None
            and out.size <= HIGH_WATER
            and self.usable
            and session_id in self.opened  # type: ignore[operator]
        ):
            window.calls -= 1
            window.bytes -= size
        else:
            turnstile = self._take(caller, session_id, size, deadline)
        alone = not pending
        call_id = self.call_ids.take()
        call = pending[call_id] = OutgoingCall(caller, size, out.sent + out.size)
        header = _pack_header(kind, flags, 0, call_id, session_id, size)
        if size < _UNJOINED:
            out.pieces.append(header + body)
        else:
            out.pieces += (header, body)
        out.size += HEADER_SIZE + size
        if turnstile is not None:
            turnstile.passed()
        if alone:
            self._read_watcher.ref = True
            if not self._gathering:
                self.flush()  # nothing to gather with: a lone caller is not kept waiting
        if out.size >= GATHER_SIZE or not (self._gathering or self._flush_due):
            self._flush_soon()
        if deadline is None:
            self._wait(call_id, call)
        else:
            timer = self.loop.timer(max(0.0, deadline - monotonic()))
            timer.start(call.expire)
            try:
                self._wait(call_id, call)
            finally:
                timer.stop()
                timer.close()
        answer = call.answer
        if answer.__class__ is tuple:
            return answer
        if isinstance(answer, TimeoutError):
            self._abandon(call_id, call)
        raise answer  # type: ignore[misc]

    def _wait(self, call_id: int, call: OutgoingCall) -> None:
        switch_to_hub = self.hub.switch
        try:
            while call.answer is None:
                switch_to_hub()
        except BaseException:
            self._abandon(call_id, call)
            raise

    def send_oneway(self, session_id: int, body: bytes, flags: int = 0, deadline: float | None = None) -> None:
        """Send a call that gets no answer. Raises as `request` does, as long as it waits to be sent."""
        caller = getcurrent()
        size = len(body)
        if caller is self.hub:
            raise PyroError("a proxy cannot be called from the hub (a loop callback): spawn a greenlet for it")
        turnstile = self._take(caller, session_id, size, deadline)
        self.send(_pack_header(Kind.ONEWAY, flags, 0, 0, session_id, size) + body)
        if turnstile is not None:
            turnstile.passed()

    def _take(self, caller: Any, session_id: int, size: int, deadline: float | None) -> Turnstile | None:
        """Take a call of `size` bytes from the window, waiting if it does not fit.

        Gives the turnstile if it was passed.
        """
        if not self.usable:
            raise NotSentError(f"connection lost: {self.reason}")
        turnstile = self._calls_waiting
        if turnstile is None:
            turnstile = self._calls_waiting = Turnstile(self.hub, self._call_may_go)
        if turnstile.busy or not self._call_may_go(size):
            turnstile.wait(caller, size, deadline)
        else:
            self._calls_waiting = turnstile = None
        if self.opened is None or session_id not in self.opened:
            if turnstile is not None:
                turnstile.passed()
            raise NotSentError("the proxy was released before the call could be sent")
        self.window.take(size)
        return turnstile

    def _call_may_go(self, size: int) -> bool:
        return self.window.fits(size) and self.out.size <= HIGH_WATER

    def _abandon(self, call_id: int, call: OutgoingCall) -> None:
        """The caller left early: cancel at the server.

        The entry stays until the late answer gives back what it took.
        """
        call.caller = None
        if not self.closed and call_id in self.pending:
            self.send(pack(Kind.CANCEL, call_id))

    # Answers of this end

    def answer(self, frame: Frame, kind: int, body: bytes, flags: int = 0) -> None:
        """Answer the request `frame`, in its worker, which waits here while the output is full."""
        turnstile = self._wait_for_room() if self.out.size > HIGH_WATER or self._results_waiting is not None else None
        self.in_calls -= 1
        self.in_bytes -= len(frame[4])
        self.serving.pop(frame[2], None)
        if self.closed:
            return
        size = len(body)
        out = self.out
        header = _pack_header(kind, flags, 0, frame[2], frame[3], size)
        if size < _UNJOINED:
            out.pieces.append(header + body)
        else:
            out.pieces += (header, body)
        out.size += HEADER_SIZE + size
        if out.size >= GATHER_SIZE or not (self._gathering or self._flush_due):
            self._flush_soon()
        if turnstile is not None:
            turnstile.passed()

    def oneway_done(self, frame: Frame) -> None:
        """A one-way call ended: its share of the window goes back with the next output."""
        size = len(frame[4])
        self.in_calls -= 1
        self.in_bytes -= size
        self._owed_calls += 1
        self._owed_bytes += size
        self._flush_soon()

    def _wait_for_room(self) -> Turnstile | None:
        """Wait until the output is below its mark; gives what must be told `passed`."""
        turnstile = self._results_waiting
        if turnstile is None:
            turnstile = self._results_waiting = Turnstile(self.hub, self._result_may_go)
        if not turnstile.busy and (self.closed or self.out.size <= HIGH_WATER):
            self._results_waiting = None
            return None
        try:
            turnstile.wait(getcurrent(), 0, None)
        except ProtocolError:  # closed meanwhile
            return None
        return turnstile

    def _result_may_go(self, size: int) -> bool:
        return self.out.size <= HIGH_WATER

    # Sessions of this end

    def open_session(self, body: bytes) -> int:
        """Open a session; its OPEN leaves together with its first call. Gives the id.

        Raises:
            NotSentError: the channel is closed.
        """
        if not self.usable or self.opened is None:
            raise NotSentError(
                f"connection lost: {self.reason}" if self.opened is not None else "the peer serves no calls"
            )
        peer = self.wire.peer
        if peer is not None and len(self.opened) >= peer.sessions:
            raise NotSentError(f"the server grants {peer.sessions} sessions a connection")
        session_id = self.session_ids.take()
        self.opened.add(session_id)
        self.stop_timer()
        self.out.add(pack(Kind.OPEN, 0, session_id, body))
        return session_id

    def close_session(self, session_id: int) -> None:
        """End a session of this end."""
        if self.opened is not None and session_id in self.opened and not self.closed:
            self.opened.discard(session_id)
            self.send(pack(Kind.CLOSE, 0, session_id))
            if not self.opened and not self.pending:
                self.owner.channel_idle(self)

    def on_room(self) -> None:
        """The output is down.

        Those who waited go on, and the calls that were kept are served, before any later ones.
        """
        if self._calls_waiting is not None:
            self._calls_waiting.advance()
        if self._results_waiting is not None:
            self._results_waiting.advance()
        frames, self._deferred = self._deferred, None
        if frames:
            self.in_calls -= len(frames)
            self.in_bytes -= sum(len(frame[4]) for frame in frames)
            self._work_later(frames + (self._backlog or []))

    # The end

    def add_owed(self) -> None:
        """See `FrameStream`: credit for one-way calls that ended."""
        if self._owed_calls:
            self.out.add(pack(Kind.CREDIT, body=CREDIT_BODY.pack(self._owed_calls, self._owed_bytes)))
            self._owed_calls = self._owed_bytes = 0

    def on_end(self) -> None:
        """See `FrameStream`: every call, waiting or out, gets its verdict; the peer's sessions end."""
        run_soon = self.loop.run_callback
        for call in self.pending.values():
            run_soon(call.settle, self._verdict(call))
        self.pending.clear()
        for turnstile in (self._calls_waiting, self._results_waiting):
            if turnstile is not None:
                turnstile.close(NotSentError(f"connection lost: {self.reason}"))
        self._deferred = None
        if self.acceptor is not None:
            for session in list(self.served.values()):
                self.acceptor.close_session(self, session)
        self.served.clear()
        self.owner.channel_closed(self)

    def _verdict(self, call: OutgoingCall) -> ProtocolError:
        if self.out.sent <= call.position:
            return NotSentError(f"connection lost: {self.reason}")
        return MaybeExecutedError(f"connection lost: {self.reason}")


_NO_WINDOW = Window(0, 0)
_NO_IDS = IdSource(True, ())

_Handler = Callable[[Channel, "Frame"], None]
_REQUESTS: Final = (Kind.CALL, Kind.ONEWAY, Kind.GET, Kind.SET, Kind.DESCRIBE)
_BY_KIND: Final[dict[int, _Handler]] = {
    Kind.HELLO: Channel._on_opening,
    Kind.WELCOME: Channel._on_opening,
    Kind.REFUSED: Channel._on_opening,
    Kind.OPEN: Channel._on_open,
    Kind.CLOSE: Channel._on_close,
    **dict.fromkeys(_REQUESTS, Channel._on_request),
    **dict.fromkeys((Kind.RESULT, Kind.ERROR, Kind.REJECTED), Channel._on_answer),
    Kind.CREDIT: Channel._on_credit,
    Kind.CANCEL: Channel._on_cancel,
    Kind.PING: Channel._on_ping,
    Kind.GOAWAY: Channel._on_goaway,
}
Channel.handlers = tuple(_BY_KIND.get(kind, Channel._ignore) for kind in range(256))
