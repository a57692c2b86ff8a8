"""A stream of frames over one socket, driven from the hub: reading in turns, sending gathered, ending with a reason.

One read watcher is started once and called back in the hub; no greenlet sits in ``recv``, so an idle connection costs
a few small objects. All callbacks are total: whatever happens ends in closing with a reason, because an exception
that left a read callback would stop gevent's watcher and every later call would hang.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from socket import MSG_PEEK
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from gpyro.errors import WireError
from gpyro.net.hub import HubState
from gpyro.net.outgoing import GATHER_SIZE, LEAST_WATER, LOW_WATER, Outgoing
from gpyro.wire.connection import Connection
from gpyro.wire.foreign import ForeignProtocolError
from gpyro.wire.frames import Frame, Refusal

if TYPE_CHECKING:
    import _socket


TURN = 0.005
"""Seconds that one stream may hold the hub with the frames of one read; the rest waits for its next turn."""

BUFFERS_TURN = 256 * 1024
"""Bytes of buffers that one stream reads in a turn."""

BEHIND_A_CHUNK = 4096
"""Bytes that are read along with the rest of a CHUNK: enough for the header of the next, and little to be copied."""

MIN_PART = 16
"""Frames after which output leaves at the latest, or a quarter of what one read brought if that is more.

If everything left at the end of a turn, the two ends would take turns, each idle while the other works.
"""

GOODBYE = 1.0
"""Seconds that a peer gets to read why it is sent away, before the socket is closed."""

NOT_GATHERING, GATHERING, ALONE = 0, 1, 2
"""What output does while a stream deals with what it read: it leaves with the rest, or at once if there is no rest."""

READ, WRITE = 1, 2  # what a loop's io watcher waits for


class FrameStream:
    """One socket with its watchers and buffers. Everything happens on the thread of `state`.

    Attributes:
        state: gpyro's belongings on the hub of this stream.
        sock: the socket, an original one of the interpreter, non-blocking.
        wire: the protocol state.
        out: the unsent output.
        closed: nothing is read or sent any more.
        dismissed: the peer is sent away and only gets a moment to read why; what it says is no longer read.
        forked_away: it is closed here because this process was forked from the one that has it.
        mute: nothing can be sent any more, but what the peer sent before is still read.
        deaf: closed or dismissed, so that what still arrives is not looked at.
        usable: new calls may be made on it.
        reason: why it was closed or is dismissed, for people.
        read_at: when, in monotonic seconds, the frames were read that are dealt with now.
        unproven: something was sent since the peer's system was last seen to have acknowledged everything.
    """

    __slots__ = (
        "__weakref__",
        "_backlog",
        "_flush_due",
        "_gathering",
        "_made_room",
        "_read_watcher",
        "_timer",
        "_turn_timer",
        "_write_watcher",
        "closed",
        "deaf",
        "dismissed",
        "drained",
        "forked_away",
        "hub",
        "loop",
        "mute",
        "out",
        "owing",
        "read_at",
        "reason",
        "sock",
        "state",
        "unproven",
        "usable",
        "wire",
    )

    handlers: ClassVar[tuple[Callable[[Any, Frame], None], ...]]
    """What to do with a frame, by kind."""

    def __init__(self, state: HubState, sock: _socket.socket, wire: Connection) -> None:
        self.state = state
        self.hub = state.hub
        self.loop = state.loop
        self.sock = sock
        self.wire = wire
        self.out = Outgoing()
        self.closed = self.deaf = self.dismissed = self.forked_away = self.unproven = False
        self.drained = self.owing = self.mute = self._made_room = False
        self.usable = True
        self.reason = ""
        self.read_at = 0.0
        self._gathering = NOT_GATHERING
        self._flush_due = False
        # Parts that few streams need at a time are made when they do.
        self._backlog: list[Frame] | None = None
        self._timer: Any = None
        self._turn_timer: Any = None
        self._write_watcher: Any = None
        self._read_watcher: Any = self.loop.io(sock.fileno(), READ, ref=wire.connecting)
        self._read_watcher.start(self._on_readable, pass_events=True)
        state.streams.add(self)

    # For the class above

    def add_owed(self) -> None:
        """Add to the output what is owed to the peer and was kept for this flush: `owing` says that there is some."""

    def on_drained(self) -> None:
        """What arrived is dealt with, and `drained` says that the last call of this end may be answered."""

    def on_room(self) -> None:
        """The output is down after it had been full."""

    @property
    def accepted(self) -> bool:
        """Whether this is the end that accepted the connection."""
        return not self.wire.connecting

    def without_answer(self, frames: list[Frame]) -> list[Frame]:
        """Those of the frames that still matter when nothing can be answered any more."""
        return frames

    def on_end(self) -> None:
        """The stream is closed or dismissed: answer every waiter. Called once."""

    # One timer

    def start_timer(self, seconds: float, function: Callable[[], None]) -> None:
        """Run `function` in the hub after `seconds`, unless `stop_timer` comes first. A channel has one such timer."""
        self.stop_timer()
        self._timer = self.loop.timer(seconds, ref=False)
        self._timer.start(self._total, function, update=True)  # by the time it is, not when the loop last turned

    def expect_within(self, seconds: float, function: Callable[[], None]) -> None:
        """Run `function` in the hub unless `stop_timer`, when the peer has said something, comes within `seconds`.

        What came while the loop stood still, as it does between the rounds of a foreign one, counts as said.
        """

        def over() -> None:
            if self.has_more():
                self.start_timer(0, function)  # it is read in this turn
            else:
                function()

        self.start_timer(seconds, over)

    def has_more(self) -> bool:
        """Whether something is there that has not been read; the end of the connection is something, too."""
        try:
            self.sock.recv(1, MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return True

    def stop_timer(self) -> None:
        """Forget what `start_timer` planned."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _total(self, function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:
            self._fail(error)

    # Reading

    def _on_readable(self, events: int = READ) -> None:
        try:
            if events < 0:
                # libuv tells of an error once and then looks away, but what came before it is still to be read.
                self._read_watcher.stop()
                self._read_watcher.start(self._on_readable, pass_events=True)
            try:
                if self.wire.place is not None and not self._read_buffers():
                    return
                size = self.sock.recv_into(self.state.buffer)
            except (BlockingIOError, InterruptedError):
                return
            if not size:
                self.close("the peer closed the connection")
            elif not self.deaf:
                self.read_at = monotonic()
                frames = self.wire.feed(self.state.view, size)
                if self.mute:
                    frames = self.without_answer(frames)
                if frames:
                    self._work(frames)
        except BaseException as error:
            self._fail(error)

    def _read_buffers(self) -> bool:
        """Read what belongs into buffers straight into them; gives whether there may be more to be read now.

        Raises:
            BlockingIOError: there is no more.
        """
        left, wire = BUFFERS_TURN, self.wire
        view = self.state.view[:BEHIND_A_CHUNK]
        while (place := wire.place) is not None:
            size = self.sock.recvmsg_into((place, view))[0]
            if not size or self.deaf:
                return not size
            self.read_at = monotonic()
            room = len(place)
            del place  # as long as it is there, what it is part of cannot change its size
            behind = max(0, size - room)
            wire.filled(size - behind)
            left -= size
            frames = wire.feed(view, behind) if behind else None
            if left <= 0 or size < room + BEHIND_A_CHUNK:  # a turn's worth, or all that there was
                left = 0
            if frames:
                if self.mute:
                    frames = self.without_answer(frames)
                self._work(frames)
                return False
            if left <= 0:
                return False
        return True

    def _work(self, frames: list[Frame]) -> None:
        """Deal with frames, for one turn at most; output that they cause leaves in a few large pieces."""
        handlers = self.handlers
        done = 0
        self._gathering = GATHERING
        try:
            if len(frames) == 1:
                done = 1
                if self.state.is_alone(self):
                    self._gathering = ALONE
                frame = frames[0]
                handlers[frame[0]](self, frame)
            else:
                until = monotonic() + TURN
                flush_at = part = max(MIN_PART, len(frames) >> 2)
                for frame in frames:
                    done += 1
                    handlers[frame[0]](self, frame)
                    if self.deaf or monotonic() > until:
                        break
                    if done == flush_at:
                        self.flush()
                        flush_at += part
        finally:
            self._gathering = NOT_GATHERING
        if self.deaf:
            return
        if done < len(frames):
            self._work_later(frames[done:])
        if self._made_room:  # only now, so that what was kept comes before what is left
            self._made_room = False
            self.on_room()
        if self.drained:
            self.on_drained()
        if (self.out.size or self.owing) and not self._flush_due:
            self._flush_due = True
            self.state.flush_soon(self)

    def _work_later(self, frames: list[Frame]) -> None:
        """Go on with `frames` in the next turn, after other channels had theirs, and read no more until then."""
        self._backlog = frames
        self._read_watcher.stop()
        if self._turn_timer is None:
            # A zero timer lets the loop poll in between; run_callback would not.
            self._turn_timer = self.loop.timer(0)
        self._turn_timer.start(self._on_turn)

    def _on_turn(self) -> None:
        try:
            frames, self._backlog = self._backlog, None
            if self.closed or frames is None:
                return
            self._work(frames)
            if self._backlog is None and not self.closed:
                self._turn_timer.close()
                self._turn_timer = None
                self._read_watcher.start(self._on_readable, pass_events=True)
        except BaseException as error:
            self._fail(error)

    # Sending

    def send(self, data: bytes) -> None:
        """Queue bytes; they leave with the other output of this turn. Callable from any greenlet of this thread."""
        if not self.deaf:
            self.out.add(data)
            self._flush_soon()

    def send_pair(self, header: bytes, body: memoryview, at_once: bool) -> None:
        """Send a frame whose body is large, and is not copied; `at_once`: nothing follows that could go with it."""
        if not self.deaf:
            self.out.add_pair(header, body)
            if at_once and self.out.size >= GATHER_SIZE:
                self.flush()
            else:
                self._flush_soon()

    def _flush_soon(self) -> None:
        if self._gathering:
            if self.out.size >= GATHER_SIZE:
                self.flush()
        elif not self._flush_due:
            self._flush_due = True
            self.loop.run_callback(self.flush)
            if self.state.poke is not None:
                self.state.poke()

    def flush(self) -> None:
        """Send what was gathered, as far as the kernel takes it; the rest goes when it takes more."""
        self._flush_due = False
        if self.closed:
            return
        if self.mute:
            self._forget_unsent()
            return
        if self.owing:
            self.owing = False
            self.add_owed()
        out = self.out
        try:
            if not out.size or out.blocked:
                return
            was_full = out.size > LEAST_WATER
            out.flush(self.sock)
            self.unproven = True
            if out.blocked:
                if self._write_watcher is None:
                    self._write_watcher = self.loop.io(self.sock.fileno(), WRITE)
                self._write_watcher.start(self._on_writable)
            elif was_full:
                # The kernel took it all, but since it was added somebody may have begun to wait.
                if self._gathering:
                    self._made_room = True
                else:
                    self.on_room()
        except OSError as error:
            self._cannot_send(error)
        except BaseException as error:
            self._fail(error)

    def _forget_unsent(self) -> None:
        """Nothing more is sent; how much was decides what is said of the calls that are out."""
        sent, self.out = self.out.sent, Outgoing()
        self.out.sent = sent

    def _on_writable(self) -> None:
        try:
            out = self.out
            out.resume(self.sock)
            self.unproven = True
            if not out.blocked:
                self._write_watcher.stop()
                self.flush()
            if out.size <= LOW_WATER:
                self.on_room()
        except OSError as error:
            self._cannot_send(error)
        except BaseException as error:
            self._fail(error)

    def _cannot_send(self, error: OSError) -> None:
        """The peer takes no more. What it sent before it left, such as one-way calls, is still read, up to its end."""
        if not self.accepted or self.dismissed:
            self.close(_lost_text(error))
            return
        self.mute = True
        self.usable = False
        self.reason = self.reason or _lost_text(error)
        self._forget_unsent()
        if self._write_watcher is not None:
            self._write_watcher.stop()
        if self._backlog is not None:
            self._backlog = self.without_answer(self._backlog)
        self.on_room()

    # The end

    def _fail(self, error: BaseException) -> None:
        """An exception reached a callback: close with a reason, and tell the peer if it was its fault."""
        if isinstance(error, self.hub.SYSTEM_ERROR):
            # It hit in the middle of somebody's frames: what became of them is not known.
            self.state.interrupt(error)
            self.close(f"interrupted by {type(error).__name__}")
        elif isinstance(error, ForeignProtocolError):
            self.dismiss(error.reply, str(error))
        elif isinstance(error, WireError):
            self.state.warn("broken rule", "%r: the peer broke a rule of the wire: %s", self, error)
            self.dismiss(self.wire.goodbye(Refusal.BROKEN_RULE, str(error)), str(error))
        elif isinstance(error, OSError):
            self.close(_lost_text(error))
        else:
            self.state.escaped(error)
            self.close(f"unexpected error: {error!r}")

    def dismiss(self, last: bytes, reason: str) -> None:
        """Send `last`, tell every waiter why, and close after the peer had a moment to read it.

        Closing at once while the peer's bytes are still unread would reset the connection, and `last` would be lost.
        """
        if self.deaf:
            return
        self.reason = self.reason or reason
        if last:
            self.out.add(last)
        self.flush()
        if self.closed:
            return
        self.dismissed = self.deaf = True
        self.usable = False
        self._backlog = None
        self.start_timer(GOODBYE, lambda: self.close(reason))
        self.on_end()
        if not self.out.size:
            try:
                self.sock.shutdown(1)  # no more from here, so a peer that reads to the end comes to it
            except OSError:
                self.close(reason)

    def end_sending(self) -> None:
        """Tell the peer that no more comes, and read what it sent: closing before that would reset the connection."""
        with contextlib.suppress(OSError):
            if not self.closed:
                self.sock.shutdown(1)
                while self.sock.recv_into(self.state.buffer):
                    pass

    def close(self, reason: str) -> None:
        """Close at once and tell every waiter why. Does not wait; callable from any greenlet of this thread."""
        if self.closed:
            return
        self.closed = self.deaf = True
        self.usable = False
        self.reason = self.reason or reason
        self._stop_watchers()
        self.sock.close()
        self._backlog = None
        self.state.forget(self)
        if not self.dismissed:
            self.on_end()

    def _stop_watchers(self) -> None:
        self.stop_timer()
        for watcher in (self._read_watcher, self._write_watcher, self._turn_timer):
            if watcher is not None:
                watcher.stop()
                watcher.close()

    def forked(self) -> None:
        """In the child of a fork: the connection stays the parent's."""
        self.closed = self.deaf = self.forked_away = True
        self.usable = False
        self.reason = "this process was forked from the one that has the connection"

    def close_inherited(self) -> None:
        """In the child of a fork, when its loop is its own: let go of the descriptor."""
        self._stop_watchers()
        self.close_descriptors()

    def close_descriptors(self) -> None:
        """In the child of a fork, where the loop is another thread's: let go of the descriptor and nothing else."""
        self.sock.close()


def _lost_text(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "") + f" {error.strerror or error}" if error.errno else str(error)
