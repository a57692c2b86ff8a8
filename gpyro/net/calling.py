"""The calls that one end of a channel makes, and the sessions it opens for them."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from gpyro.errors import (
    ConnectionLostError,
    MaybeExecutedError,
    NotSentError,
    ProtocolError,
    PyroError,
    SerializationError,
    TimeoutError,
    WireError,
)
from gpyro.net.calls import OutgoingCall, Told, Turnstile
from gpyro.net.hub import HubState
from gpyro.net.outgoing import GATHER_SIZE, HIGH_WATER
from gpyro.net.stream import GATHERING, FrameStream
from gpyro.wire.connection import Connection
from gpyro.wire.credit import Window
from gpyro.wire.frames import ATTACHED, CREDIT_BODY, FLAG_BUFFERS, HEADER, HEADER_SIZE, Frame, Kind, pack
from gpyro.wire.ids import IdSource

if TYPE_CHECKING:
    import _socket

UNJOINED = 16 * 1024
"""A body from this size on is not copied behind its header."""

PAUSE = 0.02
"""Seconds since something was read after which a caller looks whether more came that the loop could not read."""

_pack_header = HEADER.pack


class CallingStream(FrameStream):
    """A stream of frames with the calls of this end on it.

    Attributes:
        pending: calls that wait for their answer, by id.
        opened: ids of the sessions of this end; None as long as the peer serves none.
        read_up_to: when nothing was unread for all that is known, as monotonic seconds.
        peer_limit: largest body that the peer takes.
        window: what may still be sent of what the peer granted.
        call_ids, session_ids: where the next ids come from.
        readers: how many greenlets wait for an item of a stream.
        awaiting: the program may wait for calls of the peer, which is a reason for the loop to go on.
    """

    __slots__ = (
        "_calls_waiting",
        "awaiting",
        "call_ids",
        "opened",
        "peer_limit",
        "pending",
        "read_up_to",
        "readers",
        "session_ids",
        "window",
    )

    def __init__(self, state: HubState, sock: _socket.socket, wire: Connection) -> None:
        super().__init__(state, sock, wire)
        self.pending: dict[int, OutgoingCall] = {}
        self.opened: set[int] | None = None
        self.window = _NO_WINDOW
        self.peer_limit = 0
        self.readers = 0
        self.read_up_to = 0.0
        self.awaiting = False
        self.call_ids = self.session_ids = _NO_IDS
        # Made when the first call has to wait.
        self._calls_waiting: Turnstile | None = None

    def grant(self, calls: int, size: int) -> None:
        """The peer serves calls: so many, of so many bytes together, unanswered at a time."""
        self.window = Window(calls, size)
        self.opened = set()
        self.call_ids = IdSource(self.wire.connecting, self.pending)
        self.session_ids = IdSource(self.wire.connecting, self.opened)

    def take_attached(self, frame: Frame) -> Frame:
        """An answer, or a request, with the references and buffers that it brings taken up."""
        return frame

    def stay_awake(self, awaiting: bool) -> None:
        """The program may, or need not any more, wait for calls of the peer."""
        self.awaiting = awaiting
        if not self.closed and self.wire.connecting:
            if awaiting:
                self._read_watcher.ref = True
            else:
                self.drained = True
                self.state.run_in_hub(self._look_whether_idle)

    def on_idle(self) -> None:
        """There are neither calls of this end out nor sessions of it open."""

    # Calls of this end

    def has_unread(self) -> bool:
        """Whether something came, perhaps the end, that the loop could not read, as the program kept it from running.

        That is looked at after a pause only: the loop of a busy program comes back sooner, and reads by itself.
        """
        if self.pending or monotonic() < self.read_up_to + PAUSE:
            return False
        if self.has_more():
            return True
        self.read_up_to = monotonic()
        return False

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
        size = len(body)
        window, pending, out = self.window, self.pending, self.out
        turnstile = None
        if flags & FLAG_BUFFERS:
            self._use_reserved(session_id, body)
        elif (
            window.calls > 0
            and size <= window.bytes
            and self._calls_waiting is None
            and out.size <= HIGH_WATER
            and self.usable
            and session_id in self.opened  # type: ignore[operator]
            and size <= self.peer_limit
            and caller is not self.hub
        ):
            window.calls -= 1
            window.bytes -= size
        else:
            turnstile = self._take(caller, session_id, size, deadline)
        if flags & ATTACHED:
            body.message.leave()  # type: ignore[attr-defined]
        alone = not pending
        call_id = self.call_ids.take()
        call = pending[call_id] = OutgoingCall(caller, size, out.sent + out.size)
        header = _pack_header(kind, flags, 0, call_id, session_id, size)
        if size < UNJOINED:
            out.pieces.append(header + body)
        else:
            out.pieces += (header, body)
        out.size += HEADER_SIZE + size
        if turnstile is not None:
            turnstile.passed()
        if alone:
            if self.drained:
                self.drained = False
            else:
                self._read_watcher.ref = True
        if alone and self._gathering != GATHERING:
            self.flush()  # nothing to gather with: a lone caller is not kept waiting
        elif out.size >= GATHER_SIZE or not (self._gathering or self._flush_due):
            self._flush_soon()
        return self._answer_to(call, call_id, deadline)

    def _answer_to(self, call: OutgoingCall, call_id: int, deadline: float | None) -> Frame:
        """Wait for the answer to a call that was sent."""
        timer = None
        if deadline is not None:
            timer = self.loop.timer(max(0.0, deadline - monotonic()))
            timer.start(call.expire, update=True)  # by the time it is, not when the loop last turned
        try:
            switch_to_hub = self.hub.switch
            while call.answer is None:
                switch_to_hub()
        except BaseException:
            self._abandon(call_id, call)
            raise
        finally:
            if timer is not None:
                timer.stop()
                timer.close()
        answer = call.answer
        if answer.__class__ is tuple:
            return answer
        if isinstance(answer, TimeoutError):
            self._abandon(call_id, call)
        try:
            raise answer  # type: ignore[misc]
        finally:
            del answer, call.answer  # the error holds the frames up to the program's, with what they were to send

    def request_soon(self, session_id: int, body: bytes, told: Callable[[Frame | Exception], object]) -> bool:
        """Send a CALL if that is possible at once, without anybody waiting for its answer. From any greenlet.

        Args:
            session_id: one of `opened`.
            body: the encoded call.
            told: called in the hub with the answer, or with what `request` would raise. Must not raise or block.

        Returns:
            Whether it was sent; if not, `wait_for_room` waits until it can be, or says why it cannot.
        """
        size, window, out = len(body), self.window, self.out
        if not (
            window.calls > 0
            and size <= window.bytes
            and (self._calls_waiting is None or not self._calls_waiting.busy)
            and out.size <= HIGH_WATER
            and self.usable
            and self.opened is not None
            and session_id in self.opened
            and size <= self.peer_limit
        ):
            return False
        window.take(size)
        if not self.pending:
            self.drained = False
            self._read_watcher.ref = True
        call_id = self.call_ids.take()
        waiting = Told(told)
        waiting.call = self.pending[call_id] = OutgoingCall(waiting, size, out.sent + out.size)
        header = _pack_header(Kind.CALL, 0, 0, call_id, session_id, size)
        if size < UNJOINED:
            out.pieces.append(header + body)
        else:
            out.pieces += (header, body)
        out.size += HEADER_SIZE + size
        if out.size >= GATHER_SIZE or not (self._gathering or self._flush_due):
            self._flush_soon()
        return True

    def send_oneway(self, session_id: int, body: bytes, flags: int = 0, deadline: float | None = None) -> None:
        """Send a call that gets no answer. Raises as `request` does, as long as it waits to be sent."""
        caller = getcurrent()
        size = len(body)
        turnstile = None
        if flags & FLAG_BUFFERS:
            self._use_reserved(session_id, body)
        else:
            turnstile = self._take(caller, session_id, size, deadline)
        if flags & ATTACHED:
            body.message.leave()  # type: ignore[attr-defined]
        self.send(_pack_header(Kind.ONEWAY, flags, 0, 0, session_id, size) + body)
        if caller.parent is None:
            self.flush()  # a main program, unlike a greenlet, may not let the loop run for long
        if turnstile is not None:
            turnstile.passed()

    def _take(self, caller: Any, session_id: int, size: int, deadline: float | None) -> Turnstile | None:
        """Take a call of `size` bytes from the window, waiting if it does not fit.

        Gives the turnstile if it was passed.
        """
        if caller is self.hub:
            raise PyroError("a proxy cannot be called from the hub (a loop callback): spawn a greenlet for it")
        if size > self.peer_limit:
            raise SerializationError(
                f"a call of {size} bytes is over the {self.peer_limit} that the peer takes (PYRO_MAX_MESSAGE)"
            )
        if not self.usable:
            raise ConnectionLostError(f"connection lost: {self.reason}")
        turnstile = self._calls_waiting
        if turnstile is None:
            turnstile = self._calls_waiting = Turnstile(self.hub, self._call_may_go)
        if turnstile.busy or not self._call_may_go(size):
            self._read_watcher.ref = True  # what it waits for arrives
            try:
                turnstile.wait(caller, size, deadline)
            finally:
                self.drained = True  # whether there still is a reason to read is looked at again
                self.state.run_in_hub(self._look_whether_idle)
        else:
            self._calls_waiting = turnstile = None
        if not self.usable or self.opened is None or session_id not in self.opened:
            if turnstile is not None:
                turnstile.passed()
            if not self.usable:  # it ended in the moment when this call's turn came
                raise ConnectionLostError(f"connection lost: {self.reason}")
            raise NotSentError("the proxy was released before the call could be sent")
        self.window.take(size)
        return turnstile

    def reserve(self, session_id: int, size: int, deadline: float | None) -> None:
        """Take a call from the window for a request whose buffers are sent before. Raises as `request` does.

        Who has a share of the buffers must not wait for the window: those who have that may wait for the share.
        """
        turnstile = self._take(getcurrent(), session_id, size, deadline)
        if turnstile is not None:
            turnstile.passed()

    def wait_for_room(self, session_id: int, size: int) -> None:
        """Wait until a call of `size` bytes can be sent. Raises as `request` does."""
        self.reserve(session_id, size, None)
        self.unreserve(size)

    def unreserve(self, size: int) -> None:
        """The request was not sent."""
        self.window.give(1, size)
        if self._calls_waiting is not None:
            self._calls_waiting.advance()

    def _use_reserved(self, session_id: int, body: bytes) -> None:
        """The window was taken already, for a little more than it is. Raises if it cannot be sent any more."""
        if not self.usable:
            raise ConnectionLostError(f"connection lost: {self.reason}")
        if self.opened is None or session_id not in self.opened:
            raise NotSentError("the proxy was released before the call could be sent")
        self.window.bytes += body.message.reserved - len(body)  # type: ignore[attr-defined]

    def _call_may_go(self, size: int) -> bool:
        return self.window.fits(size) and self.out.size <= HIGH_WATER

    def _abandon(self, call_id: int, call: OutgoingCall) -> None:
        """The caller left early: cancel at the server.

        The entry stays until the late answer gives back what it took.
        """
        call.caller = None
        if not self.closed and call_id in self.pending:
            self.send(pack(Kind.CANCEL, call_id))

    # Sessions of this end

    def open_session(self, body: bytes) -> int:
        """Open a session; its OPEN leaves together with its first call. Gives the id.

        Raises:
            NotSentError: the channel is closed.
        """
        if not self.usable:
            raise ConnectionLostError(f"connection lost: {self.reason}")
        peer = self.wire.peer
        if self.opened is None and peer is not None and peer.calls:
            self.grant(peer.calls, peer.size)
        if self.opened is None:
            raise NotSentError("the peer serves no calls")
        if peer is not None and len(self.opened) >= peer.sessions:
            raise NotSentError(f"the other end grants {peer.sessions} sessions a connection (its PYRO_MAX_SESSIONS)")
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
            self.end_attached(session_id)
            if not self.opened and not self.pending:
                self.on_idle()

    # What arrives

    def _on_answer(self, frame: Frame) -> None:
        call = self.pending.pop(frame[2], None)
        if call is None:
            raise WireError(f"an answer to call {frame[2]}, which is not out", "I3")
        window = self.window
        window.calls += 1
        window.bytes += call.size
        if not self.pending:
            # The caller that goes on now often calls again at once, so what follows from it waits until then.
            self.drained = True
            self.read_up_to = monotonic()
        if self._calls_waiting is not None:
            self._calls_waiting.advance()
        if frame[1] & ATTACHED and frame[0] == Kind.RESULT:
            frame = self.take_attached(frame)  # also if nobody waits any more: then they are let go of
        caller = call.caller
        if caller is not None and call.answer is None:
            call.answer = frame
            try:
                caller.switch()
            except BaseException as error:
                self.hub.handle_error(caller, type(error), error, error.__traceback__)
        elif frame[1]:
            self.on_unwanted_answer(frame)

    # For the class above

    def on_unwanted_answer(self, frame: Frame) -> None:
        """An answer with flags came for a caller that left."""

    def on_stream_frame(self, frame: Frame) -> None:
        """Credit for a stream came."""

    def end_attached(self, session_id: int) -> None:
        """A session is over, and so are its streams and what was passed on it."""

    # Credit, and the reasons to wait for what arrives

    def expect_items(self, change: int) -> None:
        """One more greenlet waits for an item of a stream, or one less (-1)."""
        self.readers += change
        if self.closed:
            return
        if change > 0:
            self._read_watcher.ref = True
        elif not self.readers and not self.pending:
            self.drained = True  # whether there still is a reason to read is looked at again
            self.state.run_in_hub(self._look_whether_idle)

    def _on_credit(self, frame: Frame) -> None:
        if frame[2]:
            self.on_stream_frame(frame)
            return
        if len(frame[4]) != CREDIT_BODY.size:
            raise WireError("a CREDIT of the wrong length", "W2")
        if not self.window.give(*CREDIT_BODY.unpack(frame[4])):
            raise WireError("more credit than was taken", "W4")
        self.read_up_to = monotonic()
        if self._calls_waiting is not None:
            self._calls_waiting.advance()

    def _look_whether_idle(self) -> None:
        if self.drained:
            self.on_drained()

    def on_drained(self) -> None:
        """See `FrameStream`: without calls out, this stream is no reason for the loop to go on."""
        self.drained = False
        waiting = self.readers or (self._calls_waiting is not None and self._calls_waiting.busy)
        if not self.pending and not waiting:
            if self.closed:
                return
            self._read_watcher.ref = self.awaiting and self.wire.connecting
            if not self.opened:
                self.on_idle()

    # The end

    def end_calls(self) -> None:
        """Give every call, waiting or out, its verdict."""
        run_soon = self.loop.run_callback
        for call in self.pending.values():
            run_soon(call.settle, self._verdict(call))
        self.pending.clear()
        if self._calls_waiting is not None:
            self._calls_waiting.close(ConnectionLostError(f"connection lost: {self.reason}"))

    def _verdict(self, call: OutgoingCall) -> ProtocolError:
        if self.out.sent < call.position + HEADER_SIZE + call.size:  # less than whole frames are never looked at
            return ConnectionLostError(f"connection lost: {self.reason}")
        return MaybeExecutedError(f"connection lost: {self.reason}")


_NO_WINDOW = Window(0, 0)
_NO_IDS = IdSource(True, ())
