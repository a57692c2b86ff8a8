"""The streams of one channel: who sends, who reads, and what arrives for them [T1 to T8]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gpyro.errors import SerializationError, WireError
from gpyro.net.outgoing import LOW_WATER
from gpyro.net.stream_ends import Receiver, Sender, StreamEnd, Work
from gpyro.wire.frames import CREDIT_BODY, SMALL_LIMIT, Frame, Kind, pack
from gpyro.wire.ids import IdSource, made_by_connecting_end

if TYPE_CHECKING:
    from gpyro.net.channel import Channel


class StreamTable:
    """The streams of one channel, by number.

    Attributes:
        senders: those of this end's generators.
        receivers: those of the peer's.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.senders: dict[int, Sender] = {}
        self.receivers: dict[int, Receiver] = {}
        self._numbers = IdSource(channel.wire.connecting, self.senders)
        self._highest_given = self._highest_seen = 0
        self._by_session: dict[int, set[StreamEnd]] = {}
        self._without_room: list[Sender] = []

    # Beginning

    def open(self, session_id: int, source: Iterator[Any], work: Work, keep: object) -> Sender:
        """A new stream of this end, which the peer does not know of yet; `keep` is kept until it ends."""
        number = self._numbers.take()
        self._highest_given = max(number, self._highest_given)
        sender = self.senders[number] = Sender(self, number, session_id, source, work, keep)
        self._by_session.setdefault(session_id, set()).add(sender)
        return sender

    def accept(
        self, number: int, session_id: int, window: tuple[int, int], limit: int, deadline: float | None
    ) -> Receiver:
        """A stream of the peer, which a value refers to.

        Raises:
            SerializationError: there can be no such stream, or there are too many [T1].
        """
        connecting = self.channel.wire.connecting
        if number < 1 or made_by_connecting_end(number) == connecting or number in self.receivers:
            raise SerializationError(f"a reference to stream {number}, which is open already or of the wrong direction")
        if len(self.receivers) >= limit:
            raise SerializationError(f"{limit} streams are open on the connection already (PYRO_MAX_STREAMS)")
        self._highest_seen = max(number, self._highest_seen)
        receiver = Receiver(self, number, session_id, window, deadline)
        self.receivers[number] = receiver
        self._by_session.setdefault(session_id, set()).add(receiver)
        if self.channel.deaf:
            receiver.lost(f"connection lost: {self.channel.reason}")
        return receiver

    def refuse(self, number: int) -> None:
        """Nobody will ever read this stream of the peer."""
        if made_by_connecting_end(number) != self.channel.wire.connecting and number not in self.receivers:
            self._highest_seen = max(number, self._highest_seen)
            self.say_end(number, "")

    # What arrives

    def on_frame(self, frame: Frame) -> None:
        """STREAM_ITEM, STREAM_END, STREAM_ERROR, or the CREDIT of a stream."""
        kind, number = frame[0], frame[2]
        is_own = made_by_connecting_end(number) == self.channel.wire.connecting
        if kind == Kind.CREDIT:
            self._on_credit(frame, is_own)
        elif is_own:
            self._on_unwanted(frame)
        else:
            receiver = self.receivers.get(number)
            if receiver is None:
                # What was closed here may be on its way, but nothing that never was.
                if kind == Kind.STREAM_ITEM and number > self._highest_seen:
                    raise WireError(f"items of stream {number}, which nobody reads", "T5")
            elif kind == Kind.STREAM_ITEM:
                receiver.items(frame[4])
            elif kind == Kind.STREAM_ERROR:
                serializer = self.channel.serializer
                receiver.over(lambda: serializer.decode_error(frame[4]))
            elif frame[4]:
                receiver.lost(f"the other end gave it up: {frame[4].decode('utf-8', 'replace')}")
            else:
                receiver.over(None)

    def _on_credit(self, frame: Frame, is_own: bool) -> None:
        number = frame[2]
        if len(frame[4]) != CREDIT_BODY.size:
            raise WireError("a CREDIT of the wrong length", "W2")
        if not is_own or number > self._highest_given:
            raise WireError(f"credit for stream {number}, which is none of this end", "T4")
        sender = self.senders.get(number)
        if sender is not None:
            sender.grant(*CREDIT_BODY.unpack(frame[4]))
        elif self.channel.out.size <= LOW_WATER:  # a peer that does not read is not told
            self.say_end(number, "it is over")

    def _on_unwanted(self, frame: Frame) -> None:
        number = frame[2]
        if frame[0] != Kind.STREAM_END or frame[4] or number > self._highest_given:
            raise WireError(f"stream {number} is none that the other end sends", "T6")
        sender = self.senders.get(number)
        if sender is not None:
            sender.stop()

    # What is said

    def say_end(self, number: int, why: str) -> None:
        """End a stream: of this end because of `why`, or of the peer because nobody reads it ('')."""
        self.channel.send(pack(Kind.STREAM_END, number, 0, why.encode("utf-8", "replace")[:SMALL_LIMIT]))

    def say_over(self, number: int, failure: bytes | None) -> None:
        """A stream of this end has come to its end, or its generator raised."""
        if failure is None:
            self.say_end(number, "")
        else:
            self.channel.send(pack(Kind.STREAM_ERROR, number, 0, failure))

    # Room in the output

    def wait_for_room(self, sender: Sender) -> None:
        """Wait until the channel has less to send. In the sender's greenlet."""
        self._without_room.append(sender)
        sender.wait()

    def on_room(self) -> None:
        """There is room."""
        senders, self._without_room = self._without_room, []
        for sender in senders:
            sender.wake()

    # The end

    def forget_sender(self, sender: Sender) -> None:
        """It ended."""
        if self.senders.get(sender.number) is sender:
            del self.senders[sender.number]
        self._forget(sender)

    def forget_receiver(self, receiver: Receiver) -> None:
        """It ended."""
        if self.receivers.get(receiver.number) is receiver:
            del self.receivers[receiver.number]
        self._forget(receiver)

    def _forget(self, end: StreamEnd) -> None:
        ends = self._by_session.get(end.session_id)
        if ends is not None:
            ends.discard(end)
            if not ends:
                del self._by_session[end.session_id]

    def end_session(self, session_id: int) -> None:
        """The session that they came with is over."""
        for end in list(self._by_session.get(session_id, ())):
            self._end(end, "the proxy that it belongs to was released")

    def end(self, reason: str) -> None:
        """The channel ended."""
        for end in [*self.senders.values(), *self.receivers.values()]:
            self._end(end, f"connection lost: {reason}")

    def _end(self, end: StreamEnd, why: str) -> None:
        if isinstance(end, Sender):
            end.stop()
        elif isinstance(end, Receiver):
            end.lost(why)
