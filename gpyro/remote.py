"""The way from a client to one remote object: where it is, how to call it, and the sessions that carry the calls."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pickle import PicklingError
from typing import Any, Final, NamedTuple

from gevent import monkey, sleep
from greenlet import getcurrent

from gpyro.auth import Identification
from gpyro.constants import INTERNAL_DAEMON_GUID
from gpyro.context import handed_on, keep_received, with_deadline
from gpyro.errors import (
    CallRefusedError,
    ConnectionDeniedError,
    ConnectionLostError,
    MaybeExecutedError,
    NotSentError,
    ProtocolError,
    PyroError,
    SerializationError,
    SynchronizationError,
    TimeoutError,
)
from gpyro.logs import log
from gpyro.net.calls import Turnstile
from gpyro.net.channel import Channel
from gpyro.net.connect import ChannelTable
from gpyro.net.dial import Destination
from gpyro.net.hub import HubState, hub_state
from gpyro.observing import CallInfo, label_of, observers
from gpyro.pyrouri import PyroURI
from gpyro.remote_traceback import CONTROL
from gpyro.settings import Settings
from gpyro.stream_calls import call_with_streams
from gpyro.streams import Arriving
from gpyro.validators import DefaultConnValidator, ServersJudge
from gpyro.wire import metadata
from gpyro.wire.frames import FLAG_BATCH, FLAG_METADATA, Frame, Kind, Rejection, unpack_text

# The id of the real thread, also in a patched process: sessions belong to the hub of a thread.
_thread_id: Callable[[], int] = monkey.get_original("_thread", "get_ident")

_CALL, _RESULT, _REJECTED = int(Kind.CALL), int(Kind.RESULT), int(Kind.REJECTED)
MAX_BEGINS = 3
"""Channels tried for one session: the first may be lost, or the proxy changed, while it is opened."""

CATCH_UP = 5
"""Turns of the loop at most for reading what came while it could not run."""

_private_keys = itertools.count(1)


def _late(text: str) -> Exception:
    return TimeoutError(text, "running")


_VERDICTS: Final[dict[int, Callable[[str], Exception]]] = {
    Rejection.UNKNOWN_OBJECT: ProtocolError,
    Rejection.UNKNOWN_MEMBER: AttributeError,
    Rejection.BUSY: CallRefusedError,
    Rejection.DRAINING: CallRefusedError,
    Rejection.UNREADABLE: SerializationError,
    Rejection.CANCELLED: CallRefusedError,
    Rejection.REENTERED: SynchronizationError,
    Rejection.LATE: _late,
}


def _with_metadata(fields: dict[str, Any], deadline: float | None, body: bytes) -> tuple[int, bytes]:
    """Flags and body of a request: with what the call hands on, if there is anything."""
    if not fields and deadline is None:
        return 0, body
    return FLAG_METADATA, metadata.prepend(with_deadline(fields, deadline), body)


def _catch_up(channel: Channel) -> None:
    """Let the loop read what it could not: the daemon may be gone, or have said that it will.

    Otherwise a call after a restart would be sent to nobody, and what became of it could not be told.
    """
    for _ in range(CATCH_UP):
        if not channel.usable or not channel.has_unread():
            return
        sleep(0.001)


class _NotEncodedError(Exception):
    """The arguments of a call cannot travel as they are; ``args[0]`` is the SerializationError."""


class ClientSession:
    """The client's side of what a proxy has with a daemon, on one hub."""

    __slots__ = ("channel", "id")

    def __init__(self, channel: Channel, session_id: int) -> None:
        self.channel = channel
        self.id = session_id

    def close(self) -> None:
        """End it. On the thread of its channel."""
        self.channel.close_session(self.id)


class _Given(NamedTuple):
    """An identification and the address that it is for."""

    address: str
    port: int
    identification: Identification


class _Line(Turnstile):
    """The calls that wait until a proxy is connected, in the order made: each passes in its turn, also afterwards."""

    __slots__ = ("process", "state")

    def __init__(self, state: HubState) -> None:
        super().__init__(state.hub, lambda size: True)
        self.state = state
        self.process = os.getpid()


class RemoteObject:
    """What a proxy, and the methods taken from it, call through. Its sessions end when the last of them is gone.

    Attributes:
        uri: where the object is; of a PYROLOC URI, once it was asked for, the PYRO URI.
        made_for: the URI as it was given, which stays: a name is asked for again with each new session.
        settings: the configuration, as it was when the proxy was made.
        timeout: seconds for a whole call, or None.
        oneway: names of the methods that are called one-way.
        private: number of its own channel, or 0.
        given: who connects, and for which address it was said; to be set by `identify`.
        forget: called with the name of a member that turned out to be no method (any more).
        validator: what judges the servers of new connections, or None; to be set by `judge_by`.
        sessions: the open sessions by thread.
    """

    __slots__ = (
        "_lines",
        "_process",
        "forget",
        "generation",
        "given",
        "made_for",
        "oneway",
        "private",
        "sessions",
        "settings",
        "timeout",
        "uri",
        "validator",
    )

    def __reduce__(self) -> Any:
        raise PicklingError("methods of remote objects do not travel: pass the proxy")  # it holds who calls

    def __init__(self, uri: PyroURI, settings: Settings) -> None:
        self.sessions: dict[int, ClientSession] = {}
        self._lines: dict[int, _Line] = {}  # by thread, and only while calls wait
        self._process = os.getpid()
        self.generation = 0  # counts what makes the sessions so far those of another object or caller
        self.uri = uri
        self.made_for = uri.clone()
        self.settings = settings
        self.timeout: float | None = None
        self.oneway: frozenset[str] = frozenset()
        self.private = 0
        self.given: _Given | None = None
        self.forget: Callable[[str], object] | None = None
        self.validator: DefaultConnValidator | None = None

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method. Raises as `DynamicProxy._invokePYRO` does."""
        if observers:
            return self._observed(name, args, kwargs)
        tree_locals = getattr(getcurrent(), "spawn_tree_locals", None)
        deadline = fields = None
        if tree_locals or self.timeout is not None:
            deadline, fields = handed_on(tree_locals, self.timeout)
        session = self.sessions.get(_thread_id())
        if session is None or not session.channel.usable or self._lines or session.channel.has_unread():
            session = self.connect(deadline)
        channel = session.channel
        serializer = channel.serializer
        body, refused = b"", None
        try:
            body = serializer.encode_call(name, args, kwargs)
        except SerializationError as error:
            refused = SerializationError(str(error), error.path)  # without the frames, which would hold on to this one
        if refused is not None:
            return call_with_streams(self, name, args, kwargs, deadline, fields or {}, refused)
        if name in self.oneway:
            channel.send_oneway(session.id, body, 0, deadline)  # without chain, for the chain does not wait for it
            return None
        flags = 0
        if fields is not None:
            flags, body = _with_metadata(fields, deadline, body)
        answer = channel.request(_CALL, session.id, body, flags, deadline)
        if answer[1]:
            serializer, answer = self.received(channel, session.id, answer, deadline)
        if answer[0] == _RESULT:
            return serializer.decode(answer[4])
        if answer[0] == _REJECTED:
            if self.forget is not None:
                self.forget(name)
            if self.has_moved(session, answer):
                encode = lambda codec: bytes(codec.encode_call(name, args, kwargs))  # noqa: E731
                _, serializer, answer = self._request(Kind.CALL, encode, deadline, fields or {}, again=False)
                return serializer.decode(answer[4])
        raise self.failure(channel, answer)

    def _observed(self, name: str, args: Any, kwargs: Any) -> Any:
        """Call a method while somebody looks on."""

        def call() -> Any:
            deadline, fields = self.handed_on()
            try:
                if name in self.oneway:
                    session = self.connect(deadline)
                    session.channel.send_oneway(session.id, encode(session.channel.serializer), 0, deadline)
                    return None
                _, serializer, answer = self._request(Kind.CALL, encode, deadline, fields)
                return serializer.decode(answer[4])
            except _NotEncodedError as error:
                refused = error.args[0]
            except AttributeError:
                if self.forget is not None:
                    self.forget(name)
                raise
            return call_with_streams(self, name, args, kwargs, deadline, fields, refused)

        def encode(codec: Any) -> bytes:
            try:
                return bytes(codec.encode_call(name, args, kwargs))
            except SerializationError as error:
                raise _NotEncodedError(SerializationError(str(error), error.path)) from None

        return self._watched(name, call)

    def _watched(self, what: str, function: Callable[[], Any]) -> Any:
        """What `function` does, while observers look on."""
        info = CallInfo("client", str(self.made_for), what)
        info.begin()
        try:
            return function()
        except BaseException as error:
            info.error = error
            raise
        finally:
            info.end()

    def received(self, channel: Channel, session_id: int, answer: Frame, deadline: float | None) -> tuple[Any, Frame]:
        """What decodes the value of an answer, and the answer without the metadata that it brings."""
        if not answer[1] & FLAG_METADATA:
            return channel.serializer, answer
        fields, body = metadata.split(answer[4])
        keep_received(fields)
        serializer = channel.serializer
        if metadata.STREAMS in fields:
            numbers = fields[metadata.STREAMS]
            serializer = Arriving(channel, session_id, self.settings, numbers, deadline, keep=self)
        return serializer, (answer[0], answer[1] & ~FLAG_METADATA, answer[2], answer[3], body)

    def has_moved(self, session: ClientSession, answer: Frame) -> bool:
        """Whether the object of a name is unknown by the id that it had, so that its name is to be asked for again."""
        if self.made_for.protocol == "PYRO" or unpack_text(answer[4])[0] != Rejection.UNKNOWN_OBJECT:
            return False
        thread = _thread_id()
        if self.sessions.get(thread) is session:
            self.sessions.pop(thread).close()
        return True

    def ask(self, kind: Kind, body: Callable[[Any], bytes]) -> tuple[Channel, Frame]:
        """Send a request other than a call; `body` makes its body with the serializer it is given."""
        deadline, fields = self.handed_on()
        if observers:
            channel, _, answer = self._watched(label_of(kind), lambda: self._request(kind, body, deadline, fields))
        else:
            channel, _, answer = self._request(kind, body, deadline, fields)
        return channel, answer

    def handed_on(self) -> tuple[float | None, dict[str, Any]]:
        """The deadline of a call made now (monotonic seconds, or None), and the metadata that go with it."""
        return handed_on(getattr(getcurrent(), "spawn_tree_locals", None), self.timeout)

    def _request(
        self,
        kind: Kind,
        body: Callable[[Any], bytes],
        deadline: float | None,
        fields: dict[str, Any],
        again: bool = True,
    ) -> tuple[Channel, Any, Frame]:
        """Send a request; with `again`, an object that has moved is looked for once more.

        Gives the channel, what decodes the answer, and the answer.
        """
        session = self.connect(deadline)
        channel = session.channel
        flags, whole = _with_metadata(fields, deadline, body(channel.serializer))
        answer = channel.request(kind, session.id, whole, flags, deadline)
        serializer = channel.serializer
        if answer[1]:
            serializer, answer = self.received(channel, session.id, answer, deadline)
        if answer[0] == _RESULT:
            return channel, serializer, answer
        if answer[0] == _REJECTED and again and self.has_moved(session, answer):
            return self._request(kind, body, deadline, fields, again=False)
        raise self.failure(channel, answer)

    def send_batch(self, body: Callable[[Any], bytes]) -> None:
        """Send a batch that is not answered; `body` makes its body with the serializer it is given."""
        deadline, _ = self.handed_on()
        session = self.connect(deadline)
        whole = body(session.channel.serializer)
        session.channel.send_oneway(session.id, whole, FLAG_BATCH, deadline)

    def failure(self, channel: Channel, answer: Frame) -> Exception:
        """The exception that an answer stands for."""
        if answer[0] == Kind.ERROR:
            error: Exception = channel.serializer.decode_error(answer[4])
            return error
        code, text = unpack_text(answer[4])
        text = CONTROL.sub("?", text)
        return _VERDICTS.get(code, CallRefusedError)(text)

    def connect(self, deadline: float | None) -> ClientSession:
        """The session on the current thread's hub, begun if need be, when all earlier calls have gone on with it."""
        thread = _thread_id()
        session = self.sessions.get(thread)
        if session is not None and thread not in self._lines:
            channel = session.channel
            if channel.usable and not channel.has_unread():
                return session
        state = hub_state()
        if getcurrent() is state.hub:
            raise PyroError("a proxy cannot be called from the hub (a loop callback): spawn a greenlet for it")
        line = self._lines.get(thread)
        # Ids of threads are used again, and those that waited in another process, or thread, wait no more.
        if line is None or line.state is not state or line.process != os.getpid():
            line = self._lines[thread] = _Line(state)
        try:
            try:
                line.wait(getcurrent(), 0, deadline)
            except TimeoutError:
                raise self._too_late() from None
            try:
                session = self.sessions.get(thread)
                if session is not None:
                    _catch_up(session.channel)
                if session is None or not session.channel.usable:
                    begin = self._begin if session is None else self._begin_again
                    session = self.sessions[thread] = begin(state.part(ChannelTable), deadline)
                return session
            except (NotSentError, ConnectionDeniedError) as error:
                line.close(error)  # what holds for this call holds for those that came while it tried
                raise
            finally:
                line.passed()
        finally:
            if not line.busy and self._lines.get(thread) is line:
                del self._lines[thread]

    def _too_late(self) -> TimeoutError:
        return TimeoutError(f"the deadline passed while connecting to {self._destination()}", "connecting")

    def _destination(self) -> Destination:
        uri = self.made_for
        judge = None if self.validator is None else ServersJudge(self.validator)
        given = self.given
        # Whatever other threads do to the proxy meanwhile, it goes to no other address.
        fits = given is not None and (given.address, given.port) == (uri.address, uri.port)
        credentials = given.identification if given is not None and fits else None
        return Destination(uri.address, uri.port, credentials, self.private, self.settings, judge)

    def _begin(self, table: ChannelTable, deadline: float | None) -> ClientSession:
        """A new session, on a new or a shared channel."""
        self._process = os.getpid()
        for owner in list(self.sessions):
            lost = self.sessions.get(owner)
            if lost is not None and not lost.channel.usable and (lost.channel.closed or owner == _thread_id()):
                self.sessions.pop(owner, None)
                lost.close()
        reason = ""
        for _ in range(MAX_BEGINS):
            generation = self.generation
            channel = table.channel(self._destination(), deadline)
            object_id = self.made_for.objectID
            if self.made_for.protocol == "PYROLOC":
                object_id = self._locate(channel, object_id, deadline)
            if generation != self.generation:
                reason = "the proxy was changed while it connected"
            elif not channel.usable:
                reason = channel.reason
            else:
                if self.made_for.protocol == "PYROLOC":
                    self.uri.init(self.made_for.address, object_id, self.made_for.port, "PYRO")
                return ClientSession(channel, channel.open_session(object_id.encode("ascii")))
        raise ConnectionLostError(f"connection lost: {reason}")

    def _begin_again(self, table: ChannelTable, deadline: float | None) -> ClientSession:
        """A new session in place of one that was lost."""
        try:
            return self._begin(table, deadline)
        except ConnectionLostError:
            raise
        except NotSentError as error:
            raise ConnectionLostError(*error.args) from error.__cause__

    def _locate(self, channel: Channel, name: str, deadline: float | None) -> str:
        """Ask the daemon for the id of the object that has this name."""
        session = ClientSession(channel, channel.open_session(INTERNAL_DAEMON_GUID.encode()))
        try:
            question = channel.serializer.encode_call("ResolvePYROLOC", (name,), {})
            flags, body = _with_metadata(self.handed_on()[1], deadline, question)
            answer = channel.request(_CALL, session.id, body, flags, deadline)
            if answer[0] != _RESULT:
                raise self.failure(channel, answer)
            return str(channel.serializer.decode(answer[4]))
        except TimeoutError:
            raise self._too_late() from None
        except MaybeExecutedError as error:  # the question may have been, but the call was not
            raise ConnectionLostError(*error.args) from None
        finally:
            session.close()

    def point_to(self, uri: PyroURI) -> None:
        """Stand for another object from now on; sessions that are open end.

        An identification was given for one address, and is not sent to another.
        """
        before, given = self.made_for, self.given
        self.uri, self.made_for = uri, uri.clone()
        self.release()
        if given is not None and (uri.address, uri.port) != (given.address, given.port):
            if self.given is given:
                self.given = None
            log.warning("the identification given for %s is not used for %s; give it again", before, uri)

    def identify(self, identification: Any) -> None:
        """Say who connects; sessions that are open end. Raises as `Identification.of`."""
        uri = self.made_for
        made = None if identification is None else Identification.of(identification)
        self.given = None if made is None else _Given(uri.address, uri.port, made)
        self.release()

    def judge_by(self, validator: DefaultConnValidator | None) -> None:
        """Have the servers of new connections judged; sessions that are open end."""
        self.validator = validator
        self.release()

    def make_private(self, private: bool) -> None:
        """Use a channel of its own, or the shared one."""
        self.private = next(_private_keys) if private else 0
        self.release()

    def release(self) -> None:
        """End the sessions; the next call begins a new one."""
        self.generation += 1
        thread = _thread_id()
        while self.sessions:
            owner, session = self.sessions.popitem()
            if owner == thread:
                session.close()
            else:
                session.channel.state.call_soon(session.close)

    def __del__(self) -> None:
        # May run anywhere, so it only leaves word; and not in a forked child, where nothing of it is left.
        sessions = getattr(self, "sessions", None)
        if sessions and self._process == os.getpid():
            for session in sessions.values():
                if not session.channel.closed:
                    session.channel.state.call_soon(session.close)
