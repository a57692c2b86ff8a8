"""Calls of one remote object, and what else a client asks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from greenlet import getcurrent

from gpyro.context import handed_on, keep_received
from gpyro.errors import (
    CallRefusedError,
    NotSentError,
    ProtocolError,
    SerializationError,
    SynchronizationError,
    TimeoutError,
)
from gpyro.net.messages import OutgoingMessage
from gpyro.net.references import Incoming
from gpyro.observing import CallInfo, label_of, observers
from gpyro.remote_traceback import CONTROL
from gpyro.sessions import ClientSession, Sessions, add_metadata, thread_id
from gpyro.streams import ArrivingStreams, CallersWork, LeavingStreams
from gpyro.values.buffers import SEARCHED, holds_large, is_large
from gpyro.values.buffers import TYPES as BUFFERS
from gpyro.wire import metadata
from gpyro.wire.frames import FLAG_BATCH, FLAG_METADATA, Frame, Kind, Rejection, unpack_text

_CALL, _RESULT, _REJECTED = int(Kind.CALL), int(Kind.RESULT), int(Kind.REJECTED)

Encode = Callable[[Any], bytes]
"""Makes the body of a request with the serializer that it is given."""


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


def _try_to(encode: Encode, serializer: Any) -> tuple[bytes, SerializationError | None]:
    """The body that a serializer makes, or why it does not."""
    try:
        return encode(serializer), None
    except SerializationError as error:
        # The error itself would hold this frame, which holds the proxy and what it was given.
        return b"", SerializationError(str(error), error.path)


class RemoteObject(Sessions):
    """What a proxy, and the methods taken from it, call through."""

    __slots__ = ()

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method. Raises as `DynamicProxy._invokePYRO` does."""
        if observers:
            return self._watched(name, lambda: self._call_unusual(name, args, kwargs))
        for value in args:
            if value.__class__ in BUFFERS and is_large(value):
                return self._call_unusual(name, args, kwargs, large=True)
        tree_locals = getattr(getcurrent(), "spawn_tree_locals", None)
        deadline = fields = None
        if tree_locals or self.timeout is not None:
            deadline, fields = handed_on(tree_locals, self.timeout)
        session = self.sessions.get(thread_id())
        if session is None or not session.channel.usable or self._lines or session.channel.has_unread():
            session = self.connect(deadline)
        channel = session.channel
        serializer = channel.serializer
        try:
            body = serializer.encode_call(name, args, kwargs)
        except SerializationError:
            body = None
        if body is None:  # there may be more in it than plain values
            return self._call_unusual(name, args, kwargs)
        if len(body) >= SEARCHED and holds_large((args, kwargs)):
            return self._call_unusual(name, args, kwargs, large=True)
        if name in self.oneway:
            channel.send_oneway(session.id, body, 0, deadline)  # without chain, for the chain does not wait for it
            return None
        flags = 0
        if fields is not None:
            flags, body = add_metadata(fields, deadline, body)
        answer = channel.request(_CALL, session.id, body, flags, deadline)
        if answer[1]:
            serializer, answer = self._received(session, answer, deadline)
        if answer[0] == _RESULT:
            return serializer.decode(answer[4])
        if answer[0] == _REJECTED:
            if self.forget is not None:
                self.forget(name)
            if self._has_moved(session, answer):
                encode = lambda codec: bytes(codec.encode_call(name, args, kwargs))  # noqa: E731
                serializer, answer = self._request(Kind.CALL, encode, deadline, fields or {}, again=False)
                return serializer.decode(answer[4])
        raise self.failure(serializer, answer)

    def _call_unusual(self, name: str, args: Any, kwargs: Any, large: bool | None = None) -> Any:
        """Call a method, with all that calls seldom need; `large`: there is something large in it; None: look."""
        deadline, fields = self.handed_on()
        if large is None:
            large = holds_large((args, kwargs))
        encode = lambda codec: bytes(codec.encode_call(name, args, kwargs))  # noqa: E731
        if name in self.oneway:
            self._send_oneway(encode, 0, deadline, name, large)
            return None
        try:
            serializer, answer = self._request(Kind.CALL, encode, deadline, fields, large)
        except AttributeError:
            if self.forget is not None:
                self.forget(name)
            raise
        return serializer.decode(answer[4])

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

    def ask(self, kind: Kind, encode: Encode, large: bool = False) -> tuple[Any, Frame]:
        """Send a request other than a call.

        Args:
            kind: of the frame.
            encode: makes its body.
            large: there is something large in it.

        Returns:
            The serializer that reads the answer, and the answer.
        """
        deadline, fields = self.handed_on()
        if observers:
            asked: tuple[Any, Frame] = self._watched(
                label_of(kind), lambda: self._request(kind, encode, deadline, fields, large)
            )
            return asked
        return self._request(kind, encode, deadline, fields, large)

    def send_batch(self, encode: Encode, large: bool = False) -> None:
        """Send a batch that is not answered."""
        self._send_oneway(encode, FLAG_BATCH, self.handed_on()[0], "a batch", large)

    # Requests

    def _request(
        self,
        kind: Kind,
        encode: Encode,
        deadline: float | None,
        fields: dict[str, Any],
        large: bool = False,
        again: bool = True,
    ) -> tuple[Any, Frame]:
        """Send a request; with `again`, an object that has moved is looked for once more. Gives what `ask` does."""
        session = self.connect(deadline)
        channel = session.channel
        large = large and channel.takes_buffers
        body, refused = (b"", None) if large else _try_to(encode, channel.serializer)
        if refused is None and not large:
            flags, body = add_metadata(fields, deadline, body)
            answer = channel.request(kind, session.id, body, flags, deadline)
            serializer = channel.serializer
            if answer[1]:
                serializer, answer = self._received(session, answer, deadline)
        else:
            serializer, answer = self._request_unusual(session, kind, encode, refused, deadline, fields)
        if answer[0] == _RESULT:
            return serializer, answer
        if answer[0] == _REJECTED and again and self._has_moved(session, answer):
            return self._request(kind, encode, deadline, fields, large, again=False)
        raise self.failure(serializer, answer)

    def _request_unusual(
        self,
        session: ClientSession,
        kind: Kind,
        encode: Encode,
        refused: SerializationError | None,
        deadline: float | None,
        fields: dict[str, Any],
    ) -> tuple[Any, Frame]:
        """Send a request that may have more in it than plain values; gives what reads the answer, and the answer."""
        channel = session.channel
        streams = None
        if kind == Kind.CALL:
            work = CallersWork(channel, deadline)
            streams = LeavingStreams(channel, session.id, self.settings, work, self)
        message = self._message(session, streams)
        try:
            flags, value = message.whole(message.made_by(encode, refused))
            if message.has_buffers:
                message.reserve(
                    session.id, len(value) + len(add_metadata({**fields, **message.fields}, deadline, b"")[1]), deadline
                )
                flags, value = message.send_buffers(flags, value, deadline)
            more, body = add_metadata({**fields, **message.fields}, deadline, value)
            answer = channel.request(kind, session.id, message.carrying(body), flags | more, deadline)
            serializer, answer = self._received(session, answer, deadline)
        except (NotSentError, SerializationError):
            message.withdraw_streams()
            raise
        except BaseException:
            message.give_up_streams("its caller left")
            message.keep_a_copy()
            raise
        finally:
            message.done()
        if answer[0] == _REJECTED:
            message.withdraw_streams()
        elif answer[0] != _RESULT:
            message.give_up_streams("the call that it came with failed")
        return serializer, answer

    def _send_oneway(self, encode: Encode, flags: int, deadline: float | None, what: str, large: bool) -> None:
        session = self.connect(deadline)
        channel = session.channel
        large = large and channel.takes_buffers
        body, refused = (b"", None) if large else _try_to(encode, channel.serializer)
        if refused is None and not large:
            channel.send_oneway(session.id, body, flags, deadline)
            return
        why = f"{what} is called one-way, and one-way calls take no generators and iterators"
        message = self._message(session, None, why)
        try:
            more, body = message.whole(message.made_by(encode, refused))
            if message.has_buffers:
                message.reserve(session.id, len(body), deadline)
                more, body = message.send_buffers(more, body, deadline)
            channel.send_oneway(session.id, message.carrying(body), flags | more, deadline)
        finally:
            message.done()

    def _message(
        self, session: ClientSession, streams: LeavingStreams | None, why_no_streams: str = ""
    ) -> OutgoingMessage:
        """For what a request passes by reference; its session lasts as long as the peer has some of that."""
        # Who calls waits for the answer, and what is large can be sent as it is; who sends one-way goes on.
        snapshot = bool(why_no_streams)
        return session.channel.attachments().outgoing(session.id, self, streams, why_no_streams, snapshot)

    # Answers

    def _received(self, session: ClientSession, answer: Frame, deadline: float | None) -> tuple[Any, Frame]:
        """What reads an answer that has flags, and the answer without what stands in front of its value."""
        kind, flags, call_id, session_id, body = answer
        channel, streams = session.channel, None
        if flags & FLAG_METADATA:
            fields, body = metadata.split(body)
            keep_received(fields)
            if metadata.STREAMS in fields:
                numbers = fields[metadata.STREAMS]
                streams = ArrivingStreams(channel, session.id, self.settings, numbers, deadline, keep=self)
        serializer = channel.serializer
        if streams is not None or isinstance(answer[4], Incoming):
            serializer = channel.attachments().incoming(answer[4], streams)
        if isinstance(answer[4], Incoming):
            answer[4].keep(self)
            body = body[answer[4].size :]
        return serializer, (kind, flags & ~FLAG_METADATA, call_id, session_id, body)

    def _has_moved(self, session: ClientSession, answer: Frame) -> bool:
        """Whether the object of a name is unknown by the id that it had, so that its name is to be asked for again."""
        if self.made_for.protocol == "PYRO" or unpack_text(answer[4])[0] != Rejection.UNKNOWN_OBJECT:
            return False
        thread = thread_id()
        if self.sessions.get(thread) is session:
            self.sessions.pop(thread).close()
        return True

    def failure(self, serializer: Any, answer: Frame) -> Exception:
        """See `Sessions.failure`."""
        if answer[0] == Kind.ERROR:
            error: Exception = serializer.decode_error(answer[4])
            return error
        code, text = unpack_text(answer[4])
        text = CONTROL.sub("?", text)
        return _VERDICTS.get(code, CallRefusedError)(text)
