"""What `gpyro.doctor` says to a daemon, frame by frame on one connection, so that it can tell what came back."""

from __future__ import annotations

import builtins
from time import monotonic
from typing import Any, Final, NoReturn

from gpyro.auth import AuthenticationError, Identification, Prover
from gpyro.constants import INTERNAL_DAEMON_GUID
from gpyro.errors import SerializationError, WireError
from gpyro.net.encoding import serializer_for
from gpyro.settings import Settings
from gpyro.values import Serializer
from gpyro.wire.connection import Connection
from gpyro.wire.foreign import ForeignProtocolError
from gpyro.wire.frames import Frame, Kind, Refusal, Rejection, pack, unpack_text
from gpyro.wire.hello import SCRAM, Hello

LARGEST: Final = 1 << 20
"""Bytes of an answer that are read: room for an exception with its traceback."""

PROVOKING: float = 1.0
"""Seconds for a server that waits for the end of a line to complain."""

_NOBODYS_NAME: Final = b"_"
"""A member that no object offers: asking for it runs none of the object's code [C8]."""

_CUT: Final = 300

_LOOK_AT_PORT: Final = "is the port right? Something else than a gpyro server has it"
_LOOK_AT_LOG: Final = "the server's log tells more"

_REFUSED: Final[dict[int, tuple[str, str]]] = {
    Refusal.TOO_BUSY: ("it has too many connections", "try again later, or raise PYRO_MAXCONNECTIONS where it runs"),
    Refusal.HOST_BLOCKED: ("it serves nobody from here", "its connection validator decides about that"),
    Refusal.VERSION: ("there is no common version of the protocol", "run versions of gpyro that fit on both sides"),
    Refusal.SERIALIZER: ("there is no common serializer", "allow the same one on both sides (PYRO_SERIALIZER)"),
    Refusal.BROKEN_RULE: ("it understood something else than was said", "is there something between that changes it?"),
    Refusal.DRAINING: ("it is shutting down", "try again when it is back"),
    Refusal.IDLE: ("it did not get the hello in time", "is there something between that holds it up?"),
}

_REJECTED: Final[dict[int, str]] = {
    Rejection.BUSY: "it has too much to do: try again later",
    Rejection.DRAINING: "it is shutting down: try again when it is back",
}


class Trouble(Exception):
    """A step failed.

    Attributes:
        text: what happened.
        hint: what to do about it.
        details: more of what happened, a line each.
    """

    def __init__(self, text: str, hint: str = "", details: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.text, self.hint, self.details = text, hint, details


class Silence(Exception):
    """The time was over before an answer came."""


class Conversation:
    """One connection to what may be a daemon. Whatever comes back, its methods end in time and raise only `Trouble`.

    Attributes:
        until: when the step that is on has to be over, in monotonic seconds; to be set before each.
        peer: what the daemon said of itself, after `greet`.
    """

    def __init__(self, sock: Any, settings: Settings, identification: Identification | None) -> None:
        """Nothing is said yet.

        Args:
            sock: a connected socket of gevent's, which it owns from now on.
            settings: which serializers there are.
            identification: who connects, or None.
        """
        self._sock = sock
        self._settings = settings
        self._prover = None if identification is None else Prover(identification)
        self._wire = Connection(
            True,
            Hello(
                serializers=settings.serializers(),
                message=LARGEST,
                capabilities=() if identification is None else (SCRAM,),
            ),
        )
        self._frames: list[Frame] = []
        self._first = b""
        self._calls = self._sessions = -1
        self._session = 0
        self.until = 0.0
        self.peer = Hello()

    def close(self) -> None:
        """End the connection."""
        self._sock.close()

    # The hello

    def greet(self) -> Hello:
        """Exchange hellos, and prove who connects; gives what the daemon says of itself."""
        prover, asked, proved = self._prover, False, False
        try:
            self._send(self._wire.hello() + (self._wire.authenticate(prover.first()) if prover else b""))
            while True:
                kind, _, _, _, body = self._next()
                if kind == Kind.REFUSED:
                    self._refused(*unpack_text(body))
                if kind == Kind.WELCOME:
                    break
                assert prover is not None  # else the connection did not let an AUTHENTICATE through
                if not asked:
                    asked = True
                    self._send(self._wire.authenticate(prover.answer(body)))
                else:
                    prover.check(body)
                    proved = True
        except Silence:
            self._silent()
        except AuthenticationError as error:
            raise Trouble(f"it is not who it should be: {error}", "is this the right server?") from None
        if prover is not None and not proved:
            raise Trouble(
                "it asks for no passphrase, and so did not prove that it knows the one that was given",
                "a client with a passphrase is refused here: give none, or have the server ask for it",
            )
        assert self._wire.peer is not None
        self.peer = self._wire.peer
        return self.peer

    def _refused(self, code: int, text: str) -> NoReturn:
        said = f" (it says: {shown(text)})" if text else ""
        if code == Refusal.SECURITY and self._prover is None:
            raise Trouble(f"it refused: it wants a passphrase{said}", "give it with --identification-file FILE")
        if code == Refusal.SECURITY:
            raise Trouble(
                f"it refused: the passphrase is wrong{said}",
                "the file has the passphrase in one line; if the server wants a user's name, too, in a line above it",
            )
        what, hint = _REFUSED.get(code, ("", _LOOK_AT_LOG))
        raise Trouble(f"it refused: {what}{said}" if what else f"it refused{said}", hint)

    def _silent(self) -> NoReturn:
        """Nothing came. A server of the kind that reads lines, such as HTTP's, answers to the end of one."""
        if not self._first:
            self.until = monotonic() + PROVOKING
            try:
                self._send(b"\r\n\r\n")
                while True:
                    self._next()
            except Silence:
                pass
        raise Trouble(
            f"it accepted the connection, and said {f'only {self._first[:20]!r}' if self._first else 'nothing'}",
            f"{_LOOK_AT_PORT}, or its program stands still, or something between holds the connection up",
        )

    # Questions

    def find(self, name: str) -> str:
        """The id of the object that the daemon knows by this name."""
        serializer = self._serializer()
        self._open(INTERNAL_DAEMON_GUID)
        kind, body = self._answer(Kind.CALL, bytes(serializer.encode_call("ResolvePYROLOC", (name,), {})))
        if kind != Kind.RESULT:
            error = self._raised(kind, body)
            hint = "compare with what the server connects; names are case-sensitive, and end with their server"
            raise Trouble(f"the server has no object of this name: {shown(error)}", hint)
        try:
            return str(serializer.decode(body))
        except SerializationError as error:
            raise Trouble(f"its answer cannot be read: {shown(str(error))}", _LOOK_AT_PORT) from None

    def look_at(self, object_id: str) -> None:
        """See that the daemon knows an object, and that calls of it are carried out."""
        self._open(object_id)
        self.touch()

    def touch(self) -> None:
        """Ask the object that was looked at for something that runs none of its code."""
        kind, body = self._answer(Kind.DESCRIBE, _NOBODYS_NAME)
        if kind == Kind.RESULT:
            return
        if kind == Kind.REJECTED and unpack_text(body)[0] == Rejection.UNKNOWN_OBJECT:
            raise Trouble(
                f"the server does not know the object: {shown(unpack_text(body)[1])}",
                "it was disconnected, or the server was restarted: an object gets a new id then, so use the URI that it"
                " prints now, or PYROLOC or PYRONAME",
            )
        raise Trouble(
            f"the server does not carry out calls of the object: {self._raised(kind, body)}",
            _REJECTED.get(unpack_text(body)[0], _LOOK_AT_LOG) if kind == Kind.REJECTED else _LOOK_AT_LOG,
        )

    def _open(self, object_id: str) -> None:
        if not self.peer.calls or not self.peer.sessions:
            raise Trouble("it serves no objects", "it is no daemon, but somebody's client")
        self._sessions += 2
        self._session = self._sessions
        self._send(pack(Kind.OPEN, 0, self._session, object_id.encode("ascii", "replace")))

    def _answer(self, kind: Kind, body: bytes) -> tuple[int, bytes]:
        """Ask in the session that was opened last; gives kind and body of the answer."""
        self._calls += 2
        try:
            self._send(pack(kind, self._calls, self._session, body))
            while True:
                frame = self._next()
                if frame[0] in (Kind.RESULT, Kind.ERROR, Kind.REJECTED) and frame[2] == self._calls:
                    return frame[0], frame[4]
                if frame[0] == Kind.GOAWAY:
                    raise Trouble(f"it ends the connection: {shown(unpack_text(frame[4])[1])}", _LOOK_AT_LOG)
        except Silence:
            self._busy()

    def _busy(self) -> NoReturn:
        """No answer: find out whether it is the object that takes long, or the whole daemon."""
        self.until = monotonic() + PROVOKING
        try:
            self._send(pack(Kind.PING, body=b"doctor"))
            while self._next()[0] != Kind.PONG:
                pass
        except Silence:
            raise Trouble(
                "no answer, and the daemon does not answer a ping, either",
                "its loop stands still: something there blocks without gevent knowing of it (see PYRO_MAX_BLOCKING)",
            ) from None
        raise Trouble(
            "no answer, though the daemon answers a ping",
            "calls of the object do not overlap, and one takes long; or what prepares its sessions (setInitTLS) does",
        )

    def _raised(self, kind: int, body: bytes) -> str:
        """What an answer that is no result says, for people."""
        if kind == Kind.REJECTED:
            return shown(unpack_text(body)[1])
        try:
            error = self._serializer().decode_error(body)
        except SerializationError as unreadable:
            error = unreadable
        return shown(f"{type(error).__name__}: {error}")

    def _serializer(self) -> Serializer:
        return serializer_for(self.peer.serializers[0], self._settings)

    # Bytes

    def _send(self, data: bytes) -> None:
        try:
            self._sock.settimeout(self._left())
            self._sock.sendall(data)
        except builtins.TimeoutError:
            raise Silence from None
        except OSError as error:
            self._ended(error)

    def _next(self) -> Frame:
        """The next frame that is more than housekeeping."""
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame[0] == Kind.PING:
                    self._send(pack(Kind.PONG, body=frame[4]))
                else:
                    return frame
            self._receive()

    def _receive(self) -> None:
        try:
            self._sock.settimeout(self._left())
            data = self._sock.recv(65536)
        except builtins.TimeoutError:
            raise Silence from None
        except OSError as error:
            self._ended(error)
        if not data:
            self._ended(None)
        self._first = (self._first + data)[:60]
        try:
            self._frames += self._wire.feed(data)
        except ForeignProtocolError as error:
            self._foreign(str(error).removesuffix(" [P1]"))
        except WireError as error:
            raise Trouble(f"it breaks the rules of the protocol: {shown(str(error))}", _LOOK_AT_PORT) from None

    def _left(self) -> float:
        left = self.until - monotonic()
        if left <= 0:
            raise Silence
        return left

    def _foreign(self, text: str) -> NoReturn:
        """It began with what gpyro does not begin with."""
        start = self._first.lstrip().upper()
        if start.startswith((b"HTTP", b"<!DOC", b"<HTM")):
            raise Trouble("it is no gpyro server: it speaks HTTP", "is the port right? It is a web server's")
        if start.startswith(b"PYRO"):
            raise Trouble(
                "it is no gpyro server: it speaks the protocol of Pyro itself",
                "Pyro and gpyro do not understand each other: use gpyro on both sides",
            )
        if start.startswith(b"\x15\x03"):
            raise Trouble("it is no gpyro server: it wants an encrypted connection (SSL)", _LOOK_AT_PORT)
        raise Trouble(f"it is no gpyro server: it began with {self._first[:20]!r}", _LOOK_AT_PORT)

    def _ended(self, error: OSError | None) -> NoReturn:
        how = "closed the connection" if error is None else f"broke the connection ({error.strerror or error})"
        if self._wire.peer is not None:
            raise Trouble(f"it {how}", _LOOK_AT_LOG)
        if self._first:
            raise Trouble(f"it {how} after it had said {self._first[:20]!r}", _LOOK_AT_PORT)
        raise Trouble(
            f"it {how} without a word",
            f"{_LOOK_AT_PORT}, or what forwards connections to it has nobody to forward them to",
        )


def shown(text: str) -> str:
    """What somebody else said, such that it can be printed: no control characters, and not too long."""
    clean = "".join(character if character.isprintable() else "?" for character in text[: _CUT + 1])
    return clean if len(clean) <= _CUT else clean[:_CUT] + "..."
