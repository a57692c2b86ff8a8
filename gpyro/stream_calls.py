"""Calls that have generators or iterators among their arguments: these become streams to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpyro.context import with_deadline
from gpyro.errors import NotSentError, SerializationError
from gpyro.net.channel import Channel
from gpyro.streams import CallersWork, Leaving, understood_by
from gpyro.wire import metadata
from gpyro.wire.frames import FLAG_METADATA, Frame, Kind

if TYPE_CHECKING:
    from gpyro.remote import RemoteObject


def call_with_streams(
    remote: RemoteObject,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    deadline: float | None,
    fields: dict[str, Any],
    refused: SerializationError,
) -> Any:
    """Make a call whose arguments the serializer `refused`, maybe because there are streams to be made of them.

    Raises as `RemoteObject.call`.
    """
    for last in (False, True):
        session = remote.connect(deadline)
        channel = session.channel
        if not understood_by(channel):
            raise refused
        leaving = Leaving(channel, session.id, remote.settings, CallersWork(channel, deadline), remote)
        body = leaving.encode_call(name, args, kwargs)
        if name in remote.oneway:
            leaving.withdraw()
            raise SerializationError(f"{name} is called one-way, and one-way calls take no generators and iterators")
        serializer, answer = _request(remote, leaving, channel, session.id, body, deadline, fields)
        if answer[0] == Kind.RESULT:
            return serializer.decode(answer[4])
        if answer[0] != Kind.REJECTED:
            leaving.give_up("the call that it came with failed")
            break
        leaving.withdraw()
        if last or not remote.has_moved(session, answer):
            break
    raise remote.failure(channel, answer)


def _request(
    remote: RemoteObject,
    leaving: Leaving,
    channel: Channel,
    session_id: int,
    body: bytes,
    deadline: float | None,
    fields: dict[str, Any],
) -> tuple[Any, Frame]:
    """Send the call and wait for its answer; gives what decodes the answer, and the answer."""
    try:
        whole = metadata.prepend(with_deadline({**fields, **leaving.fields}, deadline), body)
        answer = channel.request(Kind.CALL, session_id, whole, FLAG_METADATA, deadline)
        return remote.received(channel, session_id, answer, deadline)
    except (NotSentError, SerializationError):
        leaving.withdraw()
        raise
    except BaseException:
        leaving.give_up("its caller left")
        raise
