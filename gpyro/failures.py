"""What becomes of a request that failed: the answer for its caller, and the entry in the log."""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from gpyro.entries import ObjectEntry
from gpyro.errors import PyroError, RemoteError, SerializationError, TimeoutError
from gpyro.logs import LibraryLog
from gpyro.objects import CallbackObjBase
from gpyro.tls import Call, CallCancelled
from gpyro.tracebacks import formatTraceback
from gpyro.wire.frames import SMALL_LIMIT, Kind, Rejection

if TYPE_CHECKING:
    from gpyro.net.channel import Channel

logger = LibraryLog("gpyro.dispatch")

_STRANGE = frozenset((Rejection.UNKNOWN_OBJECT, Rejection.UNKNOWN_MEMBER, Rejection.UNREADABLE))
"""Refusals that an honest peer does not cause while all goes well, so that whoever runs the server hears of them."""

CLOCKS_APART = 0.01
"""Seconds by which a nested call may find sooner that the time is over than the call that made it."""

_OURS = frozenset(("gpyro.dispatch", "gpyro.net.stream_ends"))


class Rejected(Exception):
    """A request that is not started: becomes a REJECTED answer."""

    def __init__(self, code: Rejection, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class Unsendable(Exception):
    """The result of a method cannot travel; ``args[0]`` is the error that says why."""


class Unread(Unsendable):
    """There are too many results already that the peer does not read."""


class NotPrepared(Exception):
    """The session's initTLS failed, of which the log tells already."""


def encoded_error(channel: Channel, error: BaseException) -> bytes:
    """The body of an ERROR answer, whatever the exception does when it is looked at."""
    try:
        return bytes(channel.serializer.encode_error(error, _remote_lines(error)))
    except BaseException:
        return _undescribed(channel, "whose description failed")


def _undescribed(channel: Channel, why: str) -> bytes:
    return bytes(channel.serializer.encode_error(PyroError(f"an exception was raised {why}"), []))


def answer_to_failed(call: Call, entry: ObjectEntry | None, error: BaseException) -> tuple[int, bytes]:
    """The answer for a request that raised; whatever it was, there is one, and the server goes on."""
    channel = call.session.channel
    if call.info is not None:
        call.info.error = error
    try:
        kind, answer = _explain(call, entry, error)
        if len(answer) <= channel.result_limit:
            return kind, answer
        text = "whose description is over the limit of a message"
    except BaseException:  # its class may do what it likes when it is asked for its name or its text
        text = "whose description failed"
    return Kind.ERROR, _undescribed(channel, text)


def _explain(call: Call, entry: ObjectEntry | None, error: BaseException) -> tuple[int, bytes]:
    """Kind and body of the answer to a request that raised `error`, which is also logged."""
    channel, frame = call.session.channel, call.frame
    name = entry.class_name if entry is not None else shown(call.session.object_id)
    what = f"call {frame[2]}" if frame[0] != Kind.ONEWAY else "one-way call"
    if _was_stopped(call, error):
        code, why = (Rejection.LATE, "its deadline passed") if call.late else (Rejection.CANCELLED, "its caller left")
        error = Rejected(code, f"stopped, since {why}")
    if isinstance(error, Rejected):
        if error.code in _STRANGE or frame[0] == Kind.ONEWAY:
            text = "%s of session %d from %s on %s refused: %s"
            channel.state.warn("refused call", text, what, frame[3], channel.address, name, one_line(error.text))
        return Kind.REJECTED, bytes((error.code,)) + error.text.encode("utf-8", "replace")[: SMALL_LIMIT - 4]
    if isinstance(error, NotPrepared):
        return Kind.ERROR, call.session.failure or b""
    if isinstance(error, KeyboardInterrupt):
        channel.state.interrupt(error)
    if entry is not None and isinstance(error, getattr(type(entry.obj), "_pyro_answers", ())):
        return Kind.ERROR, channel.serializer.encode_error(error, [])
    failure = error
    if isinstance(failure, Unsendable):
        error = failure.args[0]
    if isinstance(error, TypeError) and _never_entered(error):
        text = "%s of session %d from %s on %s has the wrong arguments: %s"
        channel.state.warn("wrong arguments", text, what, frame[3], channel.address, name, one_line(str(error)))
        return Kind.ERROR, encoded_error(channel, error)
    if isinstance(failure, Unread):
        text = "%s of session %d from %s on %s: %s"
        channel.state.warn("unread", text, what, frame[3], channel.address, name, error)
        return Kind.ERROR, channel.serializer.encode_error(error, [])
    text = "%s of session %d from %s on %s raised %s"
    logger.warning(text, what, frame[3], channel.address, name, type(error).__name__, exc_info=error)
    if entry is not None and isinstance(entry.obj, CallbackObjBase) and not isinstance(error, channel.hub.SYSTEM_ERROR):
        trace = error.__traceback__
        channel.state.run_in_hub(lambda: channel.hub.handle_error(entry.obj, type(error), error, trace))
    lines = _remote_lines(error)
    if isinstance(failure, SerializationError):
        # It speaks of a call that the method made, not of the caller's own.
        error = RemoteError(f"{SerializationError.__module__}.SerializationError", str(error))
    return Kind.ERROR, channel.serializer.encode_error(error, lines)


def _was_stopped(call: Call, error: BaseException) -> bool:
    """Whether it ended because nobody waits for it any more, as a call that it waited for may have found out first."""
    if isinstance(error, TimeoutError) and call.deadline is not None and call.deadline <= monotonic() + CLOCKS_APART:
        call.late = True
        return True
    return call.cancelled and isinstance(error, CallCancelled | TimeoutError)


def _remote_lines(error: BaseException) -> list[str]:
    """The traceback for the caller, from the method on: how the call got there is gpyro's business."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and _is_ours(trace):
        trace = trace.tb_next
    try:
        return formatTraceback(type(error), error, trace)
    except Exception:  # an exception whose own text cannot be made
        return [f"{type(error).__name__}\n"]


def _is_ours(trace: TracebackType) -> bool:
    return trace.tb_frame.f_globals.get("__name__") in _OURS


def _never_entered(error: BaseException) -> bool:
    """Whether it was raised by the call itself, before any code of the method ran."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    return trace is None


def one_line(text: str) -> str:
    """What a peer may have had a hand in, for one line of the log."""
    return " ".join(text.split())[:300].encode("unicode_escape").decode()


def shown(name: str) -> str:
    """A text of the peer for messages: quoted, escaped and not too long."""
    return repr(name if len(name) <= 80 else name[:77] + "...")
