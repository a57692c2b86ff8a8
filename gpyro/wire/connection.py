"""The wire without input or output: bytes go in, frames come out, and a table says what may come when.

Fuzz invariant: whatever the bytes, `Connection.feed` gives frames or raises one WireError, nothing else.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from gpyro.errors import WireError
from gpyro.wire import foreign
from gpyro.wire.buffers import Arriving, Claimed, number_of
from gpyro.wire.frames import (
    BODY_LIMITS,
    FLAG_BUFFERS,
    HEADER,
    HEADER_SIZE,
    IGNORABLE,
    MAGIC,
    MESSAGE,
    REFUSAL_TEXTS,
    Frame,
    Kind,
    kind_name,
    pack,
    pack_text,
)
from gpyro.wire.hello import SCRAM, Hello, choose_version

_unpack_header = HEADER.unpack_from
_FIRST_FOR_OTHERS: Final = int(Kind.OPEN)  # kinds below it are dealt with here: the opening, and announced buffers


class State(Enum):
    """Where a connection is [S1]."""

    HELLO = "waiting for the peer's hello"
    PROVING = "waiting for the peer's part of the proof"
    PROVED = "waiting for the peer's answer to the proof"
    DECIDING = "deciding about the peer's hello"
    ESTABLISHED = "established"
    ENDED = "ended"


_CALLS: Final = (Kind.CALL, Kind.ONEWAY, Kind.BATCH, Kind.GET, Kind.SET, Kind.DESCRIBE)
_SERVING: Final = (Kind.OPEN, Kind.CLOSE, *_CALLS, Kind.CANCEL)
_STREAMS: Final = (Kind.STREAM_ITEM, Kind.STREAM_END, Kind.STREAM_ERROR)
_ANSWERS: Final = (Kind.RESULT, Kind.ERROR, Kind.REJECTED)
_ALWAYS: Final = (*_ANSWERS, *_STREAMS, Kind.BUFFERS, Kind.CREDIT, Kind.RELEASE, Kind.PING, Kind.PONG, Kind.GOAWAY)

# What may arrive: (the receiver is the connecting end, its state) -> kinds [S2].
_EXPECTED: Final[dict[tuple[bool, State], tuple[Kind, ...]]] = {
    (False, State.HELLO): (Kind.HELLO,),
    (False, State.PROVING): (Kind.AUTHENTICATE,),
    (False, State.DECIDING): (),
    (True, State.HELLO): (Kind.WELCOME, Kind.REFUSED, Kind.AUTHENTICATE),
    (True, State.PROVING): (Kind.WELCOME, Kind.REFUSED, Kind.AUTHENTICATE),
    (True, State.PROVED): (Kind.WELCOME, Kind.REFUSED),
    (False, State.ESTABLISHED): _SERVING + _ALWAYS,
    (True, State.ESTABLISHED): _SERVING + _ALWAYS,
}

# What may have buffers [D4].
_CLAIMING: Final = frozenset((*_CALLS, Kind.RESULT))

_FORBIDDEN: Final = -1


def _limits(connecting: bool, state: State, message: int) -> tuple[int, ...]:
    """For each of the 256 kinds the largest body that may arrive, -1 for a kind that may not."""
    limits = [_FORBIDDEN] * 256  # a CHUNK stays forbidden: where it may come is asked, see `_begin_chunk`
    if state is State.ESTABLISHED:
        limits[IGNORABLE:] = [message] * (256 - IGNORABLE)
    for kind in _EXPECTED.get((connecting, state), ()):
        limit = BODY_LIMITS[kind]
        limits[kind] = message if limit == MESSAGE else limit
    return tuple(limits)


_limits_made: dict[tuple[bool, State, int], tuple[int, ...]] = {}


def limits_for(connecting: bool, state: State, message: int) -> tuple[int, ...]:
    """The table of body limits, made once for each combination, since thousands of connections share it."""
    key = (connecting, state, message)
    if key not in _limits_made:
        _limits_made[key] = _limits(*key)
    return _limits_made[key]


class Connection:
    """One end of a connection: cuts what arrives into frames and holds the rules of the opening.

    Attributes:
        connecting: True at the end that opened the connection.
        state: see `State`.
        own: what this end said, or will say, in its hello.
        peer: what the peer said; None until it did.
        place: where what arrives next goes, if that is the body of a CHUNK; to be filled by `feed` or the reader.
    """

    __slots__ = (
        "_arriving",
        "_body",
        "_frame",
        "_head",
        "_limits",
        "_magic",
        "_missing",
        "_spoke",
        "connecting",
        "own",
        "peer",
        "place",
        "state",
    )

    def __init__(self, connecting: bool, own: Hello) -> None:
        self.connecting = connecting
        self.own = own
        self.peer: Hello | None = None
        self._magic = b""
        self._spoke = False
        self._head = b""
        # A frame that has begun to arrive: its header, its body so far, and how many bytes are missing.
        self._frame: tuple[int, int, int, int] | None = None
        self._body = bytearray()
        self._missing = 0
        self._arriving: Arriving | None = None
        self.place: memoryview | None = None
        self._enter(State.HELLO)

    def _enter(self, state: State) -> None:
        self.state = state
        self._limits = limits_for(self.connecting, state, self.own.message)

    # What this end says

    def hello(self) -> bytes:
        """The first bytes of the connecting end [H1]."""
        return self._greeted(pack(Kind.HELLO, body=self.own.to_bytes()))

    def _greeted(self, frame: bytes) -> bytes:
        """A frame of the opening, behind the magic if it is the first one [P1]."""
        spoke, self._spoke = self._spoke, True
        return frame if spoke else MAGIC + frame

    def authenticate(self, message: str) -> bytes:
        """The next step of the proof [A1]; an accepting end then waits for the peer's next one."""
        if self.state is State.DECIDING:
            self._enter(State.PROVING)
        return self._greeted(pack(Kind.AUTHENTICATE, body=message.encode()))

    def confirm(self, message: str) -> bytes:
        """The accepting end's last step of the proof, to be followed by its yes."""
        return self._greeted(pack(Kind.AUTHENTICATE, body=message.encode()))

    def welcome(self, answer: Hello) -> bytes:
        """The accepting end's yes; from now on the connection is established."""
        self.own = answer
        self._enter(State.ESTABLISHED)
        return self._greeted(pack(Kind.WELCOME, body=answer.to_bytes()))

    def refuse(self, code: int, text: str = "") -> bytes:
        """The accepting end's no, with its reason [H5]; nothing may arrive any more."""
        self._enter(State.ENDED)
        return self._greeted(pack_text(Kind.REFUSED, code, text or REFUSAL_TEXTS.get(code, "")))

    def goodbye(self, code: int, text: str = "") -> bytes:
        """What to send before closing because of `code`.

        Fitting to the state, and empty where nothing would be understood.
        """
        if self.state is State.ESTABLISHED:
            return pack_text(Kind.GOAWAY, code, text or REFUSAL_TEXTS.get(code, ""))
        if self.connecting or self.state is State.ENDED:
            return b""
        return self.refuse(code, text)

    # What the peer says

    def feed(self, data: bytes | bytearray | memoryview, size: int | None = None) -> list[Frame]:
        """Take the next `size` bytes (all, by default) and give the frames that are complete now.

        Raises:
            WireError: the bytes break a rule. The connection can only be closed then [S3]: frames that were complete
                before are lost, and what is fed later is not understood.
        """
        view = memoryview(data)
        end = len(view) if size is None else size
        at = self._feed_magic(view, end) if len(self._magic) < 4 else 0
        frames: list[Frame] = []
        if self.place is not None:
            at = self._fill(view, at, end)
        if self._head or self._missing:
            at = self._continue(view, at, end, frames)
        limits = self._limits
        while end - at >= HEADER_SIZE:
            kind, flags, _, call_id, session_id, length = _unpack_header(view, at)
            if length > limits[kind]:
                self._begin_chunk(kind, call_id, length)
                at = self._fill(view, at + HEADER_SIZE, end)
                continue
            at += HEADER_SIZE
            stop = at + length
            if stop > end:
                self._frame = (kind, flags, call_id, session_id)
                # In one piece: a list of pieces would let a peer that sends them tiny take many times the limit.
                self._body += view[at:end]
                self._missing = stop - end
                return frames
            frame = (kind, flags, call_id, session_id, view[at:stop].tobytes())
            at = stop
            if kind < _FIRST_FOR_OTHERS or flags & FLAG_BUFFERS:
                frame = self._take_step(frame)
                limits = self._limits
            frames.append(frame)
        if at < end:
            self._head = view[at:end].tobytes()
        return frames

    def _feed_magic(self, view: memoryview, end: int) -> int:
        used = min(4 - len(self._magic), end)
        self._magic += view[:used]
        if len(self._magic) == 4 and self._magic != MAGIC:
            raise self._broken(foreign.recognise(self._magic))
        return used

    def _continue(self, view: memoryview, at: int, end: int, frames: list[Frame]) -> int:
        """Go on with the frame that earlier bytes began; gives where the rest of the bytes starts."""
        if self._head:
            used = min(HEADER_SIZE - len(self._head), end - at)
            self._head += view[at : at + used]
            at += used
            if len(self._head) < HEADER_SIZE:
                return at
            kind, flags, _, call_id, session_id, length = _unpack_header(self._head)
            self._head = b""
            if length > self._limits[kind]:
                self._begin_chunk(kind, call_id, length)
                return self._fill(view, at, end)
            self._frame, self._missing = (kind, flags, call_id, session_id), length
        used = min(self._missing, end - at)
        if used:
            self._body += view[at : at + used]
            self._missing -= used
        if not self._missing and self._frame:
            kind, flags, call_id, session_id = self._frame
            frame = (kind, flags, call_id, session_id, bytes(self._body))
            self._frame, self._body = None, bytearray()
            if kind < _FIRST_FOR_OTHERS or flags & FLAG_BUFFERS:
                frame = self._take_step(frame)
            frames.append(frame)
        return at + used

    # Buffers

    def _begin_chunk(self, kind: int, number: int, length: int) -> None:
        """A header came whose body has no place among the frames: that of a CHUNK has one of its own."""
        if kind != Kind.CHUNK or self.state is not State.ESTABLISHED:
            raise self._refusal(kind, length)
        try:
            if self._arriving is None:
                raise WireError(f"a CHUNK of {length} bytes that were not announced", "D2")
            self.place = self._arriving.place(number, length)
        except WireError as error:
            raise self._broken(error) from None

    def _fill(self, view: memoryview, at: int, end: int) -> int:
        """Put what came into its place; gives where the rest starts."""
        place = self.place
        assert place is not None
        size = min(len(place), end - at)
        place[:size] = view[at : at + size]
        self.filled(size)
        return at + size

    def filled(self, size: int) -> None:
        """So many bytes were put into `place`."""
        place = self.place
        assert place is not None
        self.place = place[size:] if size < len(place) else None

    def _claimed(self, frame: Frame) -> Frame:
        """A message with its buffers: here, since what is announced behind it counts without them."""
        try:
            number = number_of(frame)
            if self._arriving is None:
                raise WireError(f"a message with the buffers {number}, which are not there", "D4")
            body = Claimed(frame[4])
            body.buffers = self._arriving.claim(number)
        except WireError as error:
            raise self._broken(error) from None
        return (*frame[:4], body)

    def _announced(self, number: int, body: bytes) -> None:
        if self._arriving is None:
            self._arriving = Arriving(self.connecting, self.own.buffers)
        try:
            self._arriving.announce(number, body)
        except WireError as error:
            raise self._broken(error) from None

    # The opening

    def _take_step(self, frame: Frame) -> Frame:
        """A frame arrived, allowed by the table, that changes what may come: take the step it stands for."""
        kind, body = frame[0], frame[4]
        if kind >= _FIRST_FOR_OTHERS:
            return self._claimed(frame) if kind in _CLAIMING else frame
        if kind == Kind.BUFFERS:
            self._announced(frame[2], body)
        else:
            self._open(kind, body)
        return frame

    def _open(self, kind: int, body: bytes) -> None:
        """A step of the opening."""
        if kind == Kind.REFUSED:
            self._enter(State.ENDED)
            return
        if kind == Kind.AUTHENTICATE:
            self._step_of_proof()
            return
        try:
            self.peer = Hello.from_bytes(body)
            if kind == Kind.WELCOME:
                self._check_choice(self.peer)
        except WireError as error:
            raise self._broken(error) from None
        if kind == Kind.WELCOME:
            self._enter(State.ESTABLISHED)
        else:
            self._enter(State.PROVING if SCRAM in self.peer.capabilities else State.DECIDING)

    def _step_of_proof(self) -> None:
        if not self.connecting:
            self._enter(State.DECIDING)
        elif SCRAM not in self.own.capabilities:
            raise self._broken(WireError("the server asks for a proof that was not offered", "A1"))
        else:
            self._enter(State.PROVING if self.state is State.HELLO else State.PROVED)

    def _check_choice(self, answer: Hello) -> None:
        """The answer must choose from what this end offered."""
        low, high = answer.versions
        if low != high or choose_version((low, high)) is None:
            raise WireError(f"the server chose version {low} to {high}, which was not offered", "H3")
        if len(answer.serializers) != 1 or answer.serializers[0] not in self.own.serializers:
            raise WireError("the server chose a serializer that was not offered", "H4")

    def _broken(self, error: WireError) -> WireError:
        """Nothing is understood any more; `state` stays, since it decides what to say in the end."""
        self._limits = limits_for(self.connecting, State.ENDED, 0)
        return error

    def _refusal(self, kind: int, length: int) -> WireError:
        limit = self._limits[kind]
        if limit != _FORBIDDEN:
            error = WireError(f"{kind_name(kind)} of {length} bytes is over the limit of {limit}", "F3")
        elif kind in BODY_LIMITS:
            error = WireError(f"{kind_name(kind)} is not expected while {self.state.value}", "S2")
        elif kind < IGNORABLE:
            error = WireError(f"{kind_name(kind)} is not known", "K2")
        else:
            error = WireError(f"{kind_name(kind)} may be ignored only once the connection is established", "K2")
        return self._broken(error)
