"""Results with more in them than plain values: they are encoded for their channel, with streams and references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpyro.errors import SerializationError
from gpyro.failures import Unread, Unsendable
from gpyro.streams import LeavingStreams, MethodsWork
from gpyro.wire import metadata

if TYPE_CHECKING:
    from gpyro.entries import ObjectEntry
    from gpyro.net.messages import OutgoingMessage
    from gpyro.settings import Settings
    from gpyro.synchronize import CallLock
    from gpyro.tls import Call


def begin_answer(call: Call, streams: LeavingStreams | None = None) -> OutgoingMessage:
    """The message that answers a call, which `call.outgoing` is from now on."""
    session = call.session
    attached = session.channel.attachments()
    # What a callback gives back is not bound to its session, which lasts no longer than the caller's proxy for it.
    scope = 0 if session.object_id in attached.references.exports else session.id
    call.watched = True
    message: OutgoingMessage = attached.outgoing(scope, streams=streams)
    call.outgoing = message
    return message


def encode_part(call: Call, result: Any, refused: SerializationError | None) -> bytes:
    """The value of a result, or of one of several, with references.

    Args:
        call: what it is the answer to.
        result: what the channel's serializer did not take.
        refused: why not; None if it was not asked.

    Raises:
        Unsendable: it does not travel with references either.
    """
    message = call.outgoing or begin_answer(call)
    try:
        return message.made_by(lambda serializer: serializer.encode(result), refused)
    except SerializationError as error:
        error.__context__ = None  # the first refusal says the same
        raise Unsendable(error) from None


def encode_answer(call: Call, result: Any, refused: SerializationError | None) -> tuple[int, bytes]:
    """The flags and the body of an answer that the channel's serializer did not take. Raises as `encode_part`."""
    return _whole(call, encode_part(call, result, refused))


def encode_result(
    call: Call,
    entry: ObjectEntry,
    locks: tuple[CallLock | None, ...],
    settings: Settings,
    result: Any,
    refused: SerializationError | None,
) -> tuple[int, bytes]:
    """As `encode_answer`, for the result of a method, which may have streams in it.

    Args:
        call: the call.
        entry: its object.
        locks: what is held while a generator of the object runs.
        settings: of the daemon.
        result: what the channel's serializer did not take.
        refused: why not; None if it was not asked.

    Raises:
        Unsendable: it does not travel.
    """
    session, streams = call.session, None
    if not call.answered:
        work = MethodsWork(call, entry, tuple(lock for lock in locks if lock is not None))
        streams = LeavingStreams(session.channel, session.id, settings, work)
    begin_answer(call, streams)
    flags, body = encode_answer(call, result, refused)
    if streams is not None and (session.ended or session.channel.deaf):
        streams.stop()
    return flags, body


def _whole(call: Call, value: bytes) -> tuple[int, bytes]:
    flags, body = call.outgoing.whole(value)
    fields, limit = call.outgoing.fields, call.session.channel.peer_limit
    if fields and len(body) + len(metadata.prepend(fields, b"")) > limit:
        text = f"the result of {len(body)} bytes is over the {limit} that the caller takes (its PYRO_MAX_MESSAGE)"
        raise Unsendable(SerializationError(text))
    return flags, body


def send_buffers(call: Call, flags: int, body: bytes, max_unread: int) -> tuple[int, bytes]:
    """Send what travels beside a result; gives the flags and the body of the answer then.

    Args:
        call: what it is the answer to.
        flags: of the answer.
        body: of the answer.
        max_unread: bytes that may wait because the caller does not read.

    Raises:
        Unsendable: the caller does not take so much, or too much waits already.
        ConnectionLostError: the connection ended meanwhile.
    """
    message: OutgoingMessage = call.outgoing
    buffers, size = call.session.channel.attachments().buffers, message.size_of_buffers
    if buffers.results and buffers.results + size > max_unread:
        text = (
            f"the result of {size:,} bytes was dropped: the {max_unread:,} bytes of results that may wait for the "
            "caller to read them would be exceeded (the server's PYRO_MAX_UNREAD)"
        )
        raise Unread(SerializationError(text))
    buffers.results += size
    try:
        return message.send_buffers(flags, body, None)
    except SerializationError as error:
        raise Unsendable(error) from None
    finally:
        buffers.results -= size
