"""One message with more in it than plain values: its parts, and the serializer's work for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from gpyro.errors import SerializationError
from gpyro.net.references import GONE, Export, Incoming, Received, key_of, what_of
from gpyro.values.bound import check_number
from gpyro.values.buffers import Aside, make_again, set_aside
from gpyro.values.refusal import Refused, explain
from gpyro.wire.buffers import MAX_BUFFERS, NUMBER
from gpyro.wire.frames import FLAG_BUFFERS, FLAG_REFERENCES
from gpyro.wire.hello import REFERENCES, STREAMS
from gpyro.wire.memory import Memory, kind_of
from gpyro.wire.references import MAX_REFERENCES, OWN, pack_table

if TYPE_CHECKING:
    from gpyro.net.channel import Channel

faces: Final[dict[int, type]] = {}
"""What a program gets to see of what was received: the classes for OBJECT and FUNCTION, to be filled in from above."""


_UNKNOWN: Final = 32
"""Bytes of a request that are not known before its buffers are sent: their number, and the deadline that is left."""


class Carrying(bytes):
    """The body of a frame that takes references or buffers along; the channel notes when it is sent."""

    message: OutgoingMessage


class LeavingStreams(Protocol):
    """The streams that the iterators of a message become."""

    @property
    def fields(self) -> dict[str, Any]:
        """The metadata that go with them."""

    def number(self, source: Iterator[Any]) -> int:
        """The number of the stream of an iterator, opened if need be. Raises Refused."""

    def withdraw(self) -> None:
        """The message was not sent, or not taken."""

    def stop(self) -> None:
        """Nobody will read them."""

    def give_up(self, why: str) -> None:
        """End them early."""


class ArrivingStreams(Protocol):
    """The streams that a message refers to."""

    def stream(self, number: int) -> Any:
        """What is to be iterated. Raises SerializationError."""

    def begin(self) -> None:
        """The message is decoded now. Raises SerializationError."""

    def end(self, failed: bool) -> None:
        """It is decoded, or cannot be."""


def knows(channel: Channel, capability: str) -> bool:
    """Whether the peer has a capability."""
    peer = channel.wire.peer
    return peer is not None and capability in peer.capabilities


class OutgoingMessage:
    """A message that is made. Whoever makes it calls `done` in the end, whatever became of it.

    Attributes:
        streams: those of its iterators, if it may have any.
        reserved: bytes of the window that were taken for it, with a call, before its buffers were sent.
        sent: the message is on its way.
    """

    def __init__(
        self,
        channel: Channel,
        scope: int,
        holder: Any = None,
        streams: LeavingStreams | None = None,
        why_no_streams: str = "",
        snapshot: bool = True,
    ) -> None:
        """Begin a message.

        Args:
            channel: what it is sent on.
            scope: the session that its references are passed for, or 0.
            holder: keeps that session, if it is this end's own, from ending while the peer has what is passed.
            streams: what makes streams of iterators.
            why_no_streams: what is said of iterators without that.
            snapshot: what may change while it is sent is copied before; else the program waits meanwhile.
        """
        self._channel = channel
        self._references = channel.attachments().references
        self._scope = scope
        self._holder = holder
        self.streams = streams if streams is not None and knows(channel, STREAMS) else None
        self._why_no_streams = why_no_streams
        self._may_refer = channel.acceptor is not None and knows(channel, REFERENCES)
        self._table: list[tuple[int, str]] = []
        self._places: dict[str, int] = {}
        self._exports: list[Export] = []
        self._may_set_aside = channel.takes_buffers
        self._snapshot = snapshot
        self._buffers: list[tuple[int, memoryview]] = []
        self._numbers: dict[int, int] = {}
        self._states: dict[int, Any] = {}
        self._kept: list[Any] = []
        self._set: int | None = None
        self.reserved = 0
        self.sent = False

    # The serializer's work

    def encode(self, value: Any, root: str = "result") -> bytes:
        """See `Serializer.encode`."""
        return bytes(self._channel.attachments().code(self, "encode", self.set_aside(value), root))

    def encode_call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """See `Serializer.encode_call`."""
        parts = tuple(self.set_aside(part) for part in args), self.set_aside(kwargs)
        return bytes(self._channel.attachments().code(self, "encode_call", method, *parts))

    def made_by(self, make: Callable[[OutgoingMessage], bytes], refused: SerializationError | None) -> bytes:
        """The bytes of a value of this message.

        Args:
            make: encodes it with the serializer that it is given.
            refused: what it raised with the channel's own; None if that was not tried.

        Raises:
            SerializationError: there is something that cannot travel in this way either.
        """
        if not (
            self._may_refer or self._may_set_aside or self.streams is not None or self._why_no_streams or not refused
        ):
            raise SerializationError(str(refused), refused.path) from None
        begun = len(self._buffers)
        try:
            return make(self)
        except SerializationError as error:
            del self._buffers[begun:]
            self._numbers = {key: number for key, number in self._numbers.items() if number < begun}
            self._states.clear()
            serializer = self._channel.serializer
            text = str(error)
            if self._may_refer and not serializer.passes_references:
                text = f"{text} ({serializer.name} passes nothing by reference; see PYRO_SERIALIZER)"
            self.withdraw_streams()
            # The error itself would hold the frames of the message, and with them what it was made of.
            refused = SerializationError(text, error.path)
        try:
            raise refused
        finally:
            del refused

    # What becomes of it

    @property
    def fields(self) -> dict[str, Any]:
        """The metadata that go with it."""
        return {} if self.streams is None else self.streams.fields

    def whole(self, value: bytes) -> tuple[int, bytes]:
        """The flags and the body of a frame with this value."""
        return (FLAG_REFERENCES, pack_table(self._scope, self._table) + value) if self._table else (0, value)

    @property
    def has_buffers(self) -> bool:
        """Whether something travels beside it, which is to be sent before."""
        return bool(self._buffers)

    @property
    def size_of_buffers(self) -> int:
        """Bytes of what travels beside it."""
        return sum(len(view) for _, view in self._buffers)

    def carrying(self, body: bytes) -> bytes:
        """The final body of a frame; when it is sent, `leave` is called."""
        carrying = Carrying(body)
        carrying.message = self
        return carrying

    def reserve(self, session_id: int, size: int, deadline: float | None) -> None:
        """Take the window for a request with buffers of about this size. Raises as `Channel.request` does."""
        size += _UNKNOWN
        self._channel.reserve(session_id, size, deadline)
        self.reserved = size

    def keep_a_copy(self) -> None:
        """Whoever has what is being sent goes on, and may change it."""
        if self._numbers:
            self._channel.out.own()

    def send_buffers(self, flags: int, body: bytes, deadline: float | None) -> tuple[int, bytes]:
        """Send what travels beside it; gives the flags and the body that refer to that. Raises as `Buffers.send`."""
        buffers, self._buffers = self._buffers, []
        self._set = self._channel.attachments().buffers.send(buffers, deadline)
        return flags | FLAG_BUFFERS, NUMBER.pack(self._set) + body

    def leave(self) -> None:
        """It is on its way."""
        self.sent = True
        self.reserved = 0
        if self._set is not None:
            self._channel.attachments().buffers.claimed(self._set)
            self._set = None

    def withdraw_streams(self) -> None:
        """It was not sent, or not taken: generators stay as they are."""
        if self.streams is not None:
            self.streams.withdraw()

    def stop_streams(self) -> None:
        """Nobody will read its streams."""
        if self.streams is not None:
            self.streams.stop()

    def give_up_streams(self, why: str) -> None:
        """End its streams early."""
        if self.streams is not None:
            self.streams.give_up(why)

    def done(self) -> None:
        """If the message was not sent, what it passed was not passed."""
        if self._set is not None:
            self._channel.attachments().buffers.drop(self._set)
            self._set = None
        if self.reserved:
            self._channel.unreserve(self.reserved)
            self.reserved = 0
        if not self.sent:
            for export in self._exports:
                self._references.subtract(export, self._scope, 1)
        self._exports.clear()

    # See `gpyro.values.bound.Message`

    def open_stream(self, source: Iterator[Any]) -> int:
        """The number of the stream that an iterator becomes."""
        if self.streams is None:
            raise Refused(self._why_no_streams or explain(source))
        return self.streams.number(source)

    def set_aside(self, value: Any) -> Any:
        """A value with an `Aside` in place of each part that travels beside it."""
        if not self._may_set_aside:
            return value
        if not self._channel.serializer.passes_references:  # that keeps what is what, so it asks for each part itself
            return value
        return set_aside(value, self._keep)

    def aside(self, value: Any) -> Any:
        """The state of the `Aside` for something large; None if it stays."""
        left = set_aside(value, self._keep) if self._may_set_aside else value
        return left.state if type(left) is Aside else None

    def remembered(self, value: Any, to_state: Callable[[Any], Any]) -> Any:
        """The state of an instance, the same each time, with what is large in it set aside."""
        state = self._states.get(id(value))
        if state is None:
            state = self._states[id(value)] = self.set_aside(to_state(value))
            self._kept.append(value)  # so that its id stays its own
        return state

    def _keep(self, value: Any, data: Any) -> int:
        number = self._numbers.get(id(value))
        if number is None:
            if len(self._buffers) == MAX_BUFFERS:
                raise Refused(f"more than {MAX_BUFFERS:,} large parts in one message")
            view, kind = memoryview(data).cast("B"), kind_of(value)
            if self._snapshot and not view.readonly:
                view = memoryview(bytes(view))
            number = self._numbers[id(value)] = len(self._buffers)
            self._buffers.append((kind, view))
            self._kept.append(value)  # so that its id stays its own
        return number

    def buffer(self, state: Any) -> NoReturn:
        """Not in a message that is made."""
        raise SerializationError("a message that is made brings no buffers")

    def refer(self, value: Any) -> int:
        """The number of something that is passed by reference."""
        references = self._references
        if not self._may_refer:
            raise Refused(explain(value))
        if isinstance(value, tuple(faces.values())):
            remote: Any = value
            received = remote._remote.received
            if received.channel is not self._channel:
                raise Refused(f"{type(value).__name__}: what came over one connection can be passed back over it only")
            return self._place(OWN, received.id)
        if not references.is_open(self._scope):
            raise Refused(f"{type(value).__name__}: the session has ended, so nothing could call it back")
        export = references.exports_of.get(key_of(value)) or Export(value, what_of(value))
        if export.id not in self._places:
            place = self._place(export.what, export.id)
            references.add(export, self._scope, self._holder)
            self._exports.append(export)
            return place
        return self._places[export.id]

    def _place(self, what: int, reference: str) -> int:
        place = self._places.get(reference)
        if place is None:
            if len(self._table) == MAX_REFERENCES:
                raise Refused(f"more than {MAX_REFERENCES:,} functions and objects by reference in one message")
            place = self._places[reference] = len(self._table)
            self._table.append((what, reference))
        return place

    def stream(self, number: Any) -> NoReturn:
        """Not in a message that is made."""
        raise SerializationError("a message that is made brings no streams")

    def resolve(self, number: int) -> NoReturn:
        """Not in a message that is made."""
        raise SerializationError("a message that is made brings no references")


class IncomingMessage:
    """A message that arrived."""

    def __init__(self, channel: Channel, body: bytes, streams: ArrivingStreams | None = None) -> None:
        """Begin to read a message.

        Args:
            channel: what it came on.
            body: of its frame; with references, an `Incoming`.
            streams: those that it refers to.
        """
        self._channel = channel
        self._things = body.things if isinstance(body, Incoming) else []
        self._buffers: list[Memory] = body.buffers if isinstance(body, Incoming) else []
        self._made: dict[int | None, tuple[Any, Any]] = {}
        self._streams = streams
        self.encode = channel.serializer.encode

    # The serializer's work

    def decode(self, body: bytes) -> Any:
        """See `Serializer.decode`."""
        return self._code("decode", body)

    def decode_call(self, body: bytes) -> Any:
        """See `Serializer.decode_call`."""
        return self._code("decode_call", body)

    def decode_error(self, body: bytes) -> Exception:
        """See `Serializer.decode_error`."""
        error: Exception = self._code("decode_error", body)
        return error

    def _code(self, method: str, body: bytes) -> Any:
        streams = self._streams
        if streams is not None:
            streams.begin()
        failed = True
        try:
            value = self._channel.attachments().code(self, method, body)
            failed = False
            return value
        finally:
            if streams is not None:
                streams.end(failed)

    # See `gpyro.values.bound.Message`

    def stream(self, number: Any) -> Any:
        """What is to be iterated, by the number of the stream."""
        number = check_number(number)
        if self._streams is None:
            raise SerializationError(f"a reference to stream {number}, which the metadata do not name")
        return self._streams.stream(number)

    def resolve(self, number: int) -> Any:
        """What a number stands for, as the program gets to see it."""
        if not 0 <= number < len(self._things):
            raise SerializationError(f"reference {number} is not in the table of the message")
        thing = self._things[number]
        if thing is GONE:
            raise SerializationError("what was passed back is gone: the session that had brought it has ended")
        if isinstance(thing, Received):
            return faces[thing.what](thing)
        return thing

    def buffer(self, state: Any) -> Any:
        """What an `Aside` with this state stands for; what is in a message twice arrives as one."""
        number = state[0] if type(state) is list and state and type(state[0]) is int else None
        if number not in self._made:
            self._made[number] = state, make_again(state, self._memory)
        known, made = self._made[number]
        if known != state:
            raise SerializationError(f"buffer {number} stands for two values")
        return made

    def _memory(self, number: int) -> Memory:
        if not 0 <= number < len(self._buffers):
            raise SerializationError(f"buffer {number} is not in the set of the message")
        return self._buffers[number]

    def aside(self, value: Any) -> None:
        """Not in a message that came."""

    def remembered(self, value: Any, to_state: Callable[[Any], Any]) -> NoReturn:
        """Not in a message that came."""
        raise Refused("nothing is encoded here")

    def refer(self, value: Any) -> NoReturn:
        """Not in a message that came."""
        raise Refused("nothing is passed by reference here")

    def open_stream(self, source: Iterator[Any]) -> NoReturn:
        """Not in a message that came."""
        raise Refused("nothing becomes a stream here")
