"""Objects and functions that stay where they are, while the other end of a channel has something that calls them back.

What this end passed is an `Export`: kept until the peer has let go of it as often as it was passed (it says so by
RELEASE), or the sessions that it was passed by, or the channel, have ended. What the peer passed is a `Received`; when
the last one who has it drops it, RELEASE goes out. Both are made when a message with references is, and cost nothing
before.
"""

from __future__ import annotations

import types
import weakref
from typing import TYPE_CHECKING, Any, Final

from gpyro.errors import WireError
from gpyro.guid import getGUID
from gpyro.values.bound import FUNCTIONS
from gpyro.wire.frames import Frame
from gpyro.wire.memory import Memory
from gpyro.wire.references import FUNCTION, OBJECT, OWN, pack_release, split_table, unpack_release

if TYPE_CHECKING:
    from gpyro.net.channel import Channel


class Export:
    """Something of this end that the peer can call back.

    Attributes:
        id: what the peer calls it by.
        what: OBJECT or FUNCTION.
        value: the object or function.
        counts: how many messages have passed it and are not let go of, by scope: the session that it was passed for,
            or 0 for the whole channel.
        holders: what keeps those sessions from ending, where they are this end's own.
        entry: for the dispatcher to keep what it knows of it.
    """

    __slots__ = ("counts", "entry", "holders", "id", "value", "what")

    def __init__(self, value: Any, what: int) -> None:
        self.id = getGUID()
        self.what = what
        self.value = value
        self.counts: dict[int, int] = {}
        self.holders: dict[int, Any] = {}
        self.entry: Any = None


class _Record:
    """What is known of something that the peer passed."""

    __slots__ = ("counts", "id", "received", "session_id", "what")

    def __init__(self, reference: str, what: int) -> None:
        self.id = reference
        self.what = what
        self.counts: dict[int, int] = {}
        self.session_id = 0
        self.received: weakref.ref[Received] | None = None


class Received:
    """Something that the peer passed. It is let go of when this object is collected.

    Attributes:
        channel: the channel that brought it, the only way to it.
        id: what it is called by.
        keepers: what keeps the sessions of this end that brought it from ending.
    """

    __slots__ = ("__weakref__", "_record", "channel", "id", "keepers")

    def __init__(self, channel: Channel, record: _Record) -> None:
        self.channel = channel
        self.id = record.id
        self._record = record
        self.keepers: dict[int, Any] = {}

    @property
    def what(self) -> int:
        """OBJECT or FUNCTION."""
        return self._record.what

    def session_id(self) -> int:
        """The session for calls of it, opened if need be. Raises as `open_session` does."""
        record, channel = self._record, self.channel
        if not record.session_id or channel.opened is None or record.session_id not in channel.opened:
            record.session_id = channel.open_session(self.id.encode("ascii"))
        return record.session_id

    def end_session(self) -> None:
        """End that session; the next call opens another."""
        session_id, self._record.session_id = self._record.session_id, 0
        if session_id:
            self.channel.close_session(session_id)


class Incoming(bytes):
    """The body of a frame that brought references or buffers.

    Attributes:
        things: what they stand for, each a `Received`, an object or function of this end, or `GONE`.
        scope: the session that they were passed for, or 0.
        size: bytes of what stands in front of the value, behind the metadata.
        buffers: what travelled beside it.
        counted: how many bytes of that are counted as those of a request.
    """

    things: list[Any]
    buffers: list[Memory]
    scope = size = counted = 0

    @property
    def size_of_buffers(self) -> int:
        """Bytes of what travelled beside it."""
        return sum(memoryview(buffer).nbytes for buffer in self.buffers)

    def __new__(cls, body: bytes) -> Incoming:
        """Begin with a body that brought nothing."""
        made = super().__new__(cls, body)
        made.things, made.buffers = [], []
        return made

    def keep(self, keeper: Any) -> None:
        """Let what came keep the session of this end that it was passed for."""
        for thing in self.things:
            if self.scope and isinstance(thing, Received):
                thing.keepers[self.scope] = keeper


GONE: Final = object()
"""What stands for something that is passed back, and is not there any more."""


def what_of(value: Any) -> int:
    return FUNCTION if isinstance(value, FUNCTIONS) else OBJECT


def key_of(value: Any) -> Any:
    """What is equal for the same object or method, as long as it is kept."""
    if isinstance(value, types.MethodType):
        return id(value.__self__), id(value.__func__)
    if isinstance(value, types.BuiltinFunctionType) and value.__self__ is not None:
        return id(value.__self__), value.__name__
    return id(value)


class References:
    """What the two ends of one channel have passed to each other by reference.

    Attributes:
        channel: the channel.
        exports: what this end passed, by its id.
        exports_of: the same by what it is, see `key_of`.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.exports: dict[str, Export] = {}
        self.exports_of: dict[Any, Export] = {}
        self._records: dict[str, _Record] = {}
        self._of_session: dict[int, set[Export | _Record]] = {}

    def is_open(self, scope: int) -> bool:
        """Whether a session, of either end, is open; the channel is, as 0."""
        channel = self.channel
        return not scope or scope in channel.served or (channel.opened is not None and scope in channel.opened)

    def _count(self, thing: Export | _Record, scope: int) -> None:
        thing.counts[scope] = thing.counts.get(scope, 0) + 1
        if scope:
            self._of_session.setdefault(scope, set()).add(thing)

    def _forget(self, thing: Export | _Record, scope: int) -> None:
        thing.counts.pop(scope, None)
        others = self._of_session.get(scope)
        if others is not None:
            others.discard(thing)
            if not others:
                del self._of_session[scope]

    # What this end passed

    def add(self, export: Export, scope: int, holder: Any) -> None:
        """It is passed once more."""
        if not self.exports:
            self.channel.stay_awake(True)
        self.exports[export.id] = self.exports_of[key_of(export.value)] = export
        self._count(export, scope)
        if holder is not None:
            export.holders[scope] = holder

    def subtract(self, export: Export, scope: int, count: int) -> None:
        """It was let go of `count` times. Without any left, it is forgotten."""
        left = export.counts.get(scope, 0) - count
        if left > 0:
            export.counts[scope] = left
            return
        self._forget(export, scope)
        export.holders.pop(scope, None)
        if not export.counts and self.exports.pop(export.id, None) is not None:
            del self.exports_of[key_of(export.value)]
            if not self.exports:
                self.channel.stay_awake(False)

    def on_release(self, frame: Frame) -> None:
        """The peer lets go of something [R4]."""
        reference, count = unpack_release(frame[4])
        scope = frame[3]
        if not self.is_open(scope):
            return  # the end of the session was on its way to the peer
        export = self.exports.get(reference)
        passed = 0 if export is None else export.counts.get(scope, 0)
        if export is None or not 0 < count <= passed:
            raise WireError(f"a reference released {count} times that was passed {passed} times", "R4")
        self.subtract(export, scope, count)

    # What the peer passed

    def take(self, frame: Frame, body: Incoming) -> None:
        """Take up the references of a frame with this body. In the hub, in the order of arrival."""
        body.scope, entries, size = split_table(frame, body.size)
        body.size += size
        body.things = [self._take(what, reference, body.scope) for what, reference in entries]

    def _take(self, what: int, reference: str, scope: int) -> Any:
        if what == OWN:
            export = self.exports.get(reference)
            return GONE if export is None else export.value
        record = self._records.get(reference)
        if record is None:
            record = self._records[reference] = _Record(reference, what)
        elif record.what != what:
            raise WireError("a reference is an object and a function", "R1")
        if self.is_open(scope):
            self._count(record, scope)
        received = None if record.received is None else record.received()
        if received is None:
            received = Received(self.channel, record)
            # Not by __del__, which a thread may be in while this one finds the object once more.
            record.received = weakref.ref(received, lambda _: self._dropped(record))
        return received

    def _dropped(self, record: _Record) -> None:
        """Nobody here has it any more. In any thread, so it only leaves word."""
        if not self.channel.closed:
            self.channel.state.call_soon(lambda: self._let_go(record))

    def _let_go(self, record: _Record) -> None:
        if record.received is None or record.received() is not None or self.channel.closed:
            return  # it came once more
        if self._records.get(record.id) is record:
            del self._records[record.id]
        record.received = None
        if record.session_id:
            self.channel.close_session(record.session_id)
        for scope, count in list(record.counts.items()):
            self._forget(record, scope)
            if self.is_open(scope):
                self.channel.send(pack_release(scope, record.id, count))

    # The end

    def session_ended(self, session_id: int) -> None:
        """A session of either end is over, and with it what was passed on it."""
        for thing in self._of_session.pop(session_id, ()):
            if isinstance(thing, Export):
                self.subtract(thing, session_id, thing.counts[session_id])
            else:
                self._forget(thing, session_id)

    def end(self) -> None:
        """The channel is over."""
        self.exports.clear()
        self.exports_of.clear()
        self._records.clear()
        self._of_session.clear()
