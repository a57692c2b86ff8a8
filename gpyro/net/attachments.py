"""What the messages of one channel bring besides plain values: streams, references and buffers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from gpyro.net.buffers import Buffers
from gpyro.net.messages import ArrivingStreams, IncomingMessage, LeavingStreams, OutgoingMessage
from gpyro.net.references import Incoming, References
from gpyro.net.streams import StreamTable
from gpyro.values import Serializer
from gpyro.values.bound import BoundRegistry, Message
from gpyro.wire.buffers import NUMBER
from gpyro.wire.frames import FLAG_BUFFERS, FLAG_REFERENCES, Frame

if TYPE_CHECKING:
    from gpyro.net.channel import Channel


class Attachments:
    """The tables of one channel, made when the first message needs one.

    Attributes:
        streams: the streams that values refer to.
        buffers: the buffers that this end sends.
        references: what the two ends have passed to each other by reference.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.streams = StreamTable(channel)
        self.references = References(channel)
        self.buffers = Buffers(channel)
        self._in_requests = 0
        self._current: dict[Any, Message] = {}

    @cached_property
    def _serializer(self) -> Serializer:
        plain: Serializer = self._channel.serializer
        return plain.over(BoundRegistry(plain.registry, lambda: self._current[getcurrent()]))

    def code(self, message: Message, method: str, *arguments: Any) -> Any:
        """Encode or decode for a message.

        Args:
            message: what is asked about its parts.
            method: the name of a method of `Serializer`.
            arguments: its arguments.
        """
        # By greenlet, for what a class does to be put together may let others run.
        current, greenlet = self._current, getcurrent()
        before = current.get(greenlet)
        current[greenlet] = message
        try:
            return getattr(self._serializer, method)(*arguments)
        finally:
            if before is None:
                del current[greenlet]
            else:
                current[greenlet] = before

    def outgoing(
        self,
        scope: int,
        holder: Any = None,
        streams: LeavingStreams | None = None,
        why_no_streams: str = "",
        snapshot: bool = True,
    ) -> OutgoingMessage:
        """A message to be made, see `OutgoingMessage`."""
        return OutgoingMessage(self._channel, scope, holder, streams, why_no_streams, snapshot)

    def take(self, frame: Frame) -> Frame:
        """A frame that brought references or buffers, with these taken up. In the hub, in the order of arrival."""
        incoming = Incoming(frame[4])
        if frame[1] & FLAG_BUFFERS:
            incoming.buffers = frame[4].buffers  # type: ignore[attr-defined]
            incoming.size = NUMBER.size
        if frame[1] & FLAG_REFERENCES:
            self.references.take(frame, incoming)
        return (*frame[:4], incoming)

    def admit(self, frame: Frame) -> bool:
        """Count the buffers of a request, unless there are too many in those that are not answered."""
        body: Any = frame[4]
        size = body.size_of_buffers
        if self._in_requests and self._in_requests + size > self._channel.wire.own.buffers:
            return False
        self._in_requests += size
        body.counted = size
        return True

    def release(self, frame: Frame) -> None:
        """The request is answered."""
        body: Any = frame[4]
        self._in_requests -= body.counted
        body.counted = 0

    def incoming(self, body: bytes, streams: ArrivingStreams | None = None) -> IncomingMessage:
        """A message that arrived, see `IncomingMessage`."""
        return IncomingMessage(self._channel, body, streams)

    def on_room(self) -> None:
        """The output of the channel is down."""
        self.buffers.on_room()
        self.streams.on_room()

    def end_session(self, session_id: int) -> None:
        """A session of either end is over, and what came with it."""
        self.streams.end_session(session_id)
        self.references.session_ended(session_id)

    def end(self, reason: str) -> None:
        """The channel is over."""
        self.streams.end(reason)
        self.references.end()
        self.buffers.end(reason)
