"""Generators and iterators in arguments and results: what they become on their way, and what their reader gets."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gevent._hub_local import get_hub_if_exists
from greenlet import getcurrent, greenlet

from gpyro.context import DEADLINE, time_left
from gpyro.entries import ObjectEntry
from gpyro.errors import PyroError, RemoteError, SerializationError
from gpyro.failures import encoded_error
from gpyro.logs import LibraryLog
from gpyro.settings import Settings
from gpyro.synchronize import CallLock
from gpyro.tls import CURRENT_CALL, Call
from gpyro.values.refusal import Refused
from gpyro.wire import metadata

if TYPE_CHECKING:
    from gpyro.net.channel import Channel
    from gpyro.net.stream_ends import Receiver, Sender

logger = LibraryLog("gpyro.streams")

MAX_IN_VALUE: Final = 1_000
"""Streams that one value may refer to; their numbers have to fit into the metadata."""


class RemoteIterator(Iterator[Any]):
    """What a generator or iterator of the other side arrives as: its items, one after the other, each once.

    Several greenlets may iterate it; each item goes to one of them. Leaving it, by `close`, by the end of a ``with``
    block, or by letting go of it, closes the generator on the other side.

    Iterating raises, besides what the generator raised:
        StreamLostError: the connection or the session ended, or the other side gave the stream up.
        TimeoutError: the deadline of its call, or that of the reader, passed.
        PyroError: it is iterated in a thread other than the one it arrived in.
    """

    __slots__ = ("__weakref__", "_keep", "_process", "_receiver", "_take")

    def __init__(self, receiver: Receiver, keep: object) -> None:
        self._receiver = receiver
        self._take = receiver.ready.popleft
        self._keep = keep
        self._process = os.getpid()

    def __next__(self) -> Any:
        try:
            return self._take()
        except IndexError:
            pass
        if self._fill():
            return self._take()
        self._keep = None
        raise StopIteration

    def _fill(self) -> bool:
        receiver = self._receiver
        if receiver.channel.hub is not get_hub_if_exists():
            raise PyroError("a stream is iterated in the thread that it arrived in")
        if receiver.channel.forked_away:
            raise PyroError("a stream cannot be iterated in a forked child: it is the parent's")
        left = time_left()
        return receiver.fill(None if left is None else monotonic() + left)

    def close(self) -> None:
        """Leave it: the generator on the other side is closed. May be called again, and from any thread."""
        receiver, self._keep = self._receiver, None
        if receiver.channel.hub is get_hub_if_exists():
            receiver.close()
        else:
            receiver.channel.state.call_soon(receiver.close)

    def __enter__(self) -> RemoteIterator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        # May run anywhere, so it only leaves word; and not in a forked child, where nothing of it is left.
        receiver = getattr(self, "_receiver", None)
        if receiver is not None and not receiver.ended and self._process == os.getpid():
            receiver.channel.state.call_soon(receiver.close)

    def __repr__(self) -> str:
        receiver = self._receiver
        state = "ended" if receiver.ended else "open"
        return f"<RemoteIterator {receiver.number} of {receiver.channel.address} {state}>"


class LeavingStreams:
    """The streams that the generators and iterators of one message become. See `gpyro.net.messages.LeavingStreams`.

    Attributes:
        senders: the streams, by the ids of what they are made of.
    """

    def __init__(self, channel: Channel, session_id: int, settings: Settings, work: _Work, keep: object = None) -> None:
        self._table = channel.attachments().streams
        self._session_id = session_id
        self._limit = settings.PYRO_MAX_STREAMS
        self._work = work
        self._keep = keep
        self.senders: dict[int, Sender] = {}

    def number(self, source: Iterator[Any]) -> int:
        """The number of the stream that an iterator becomes. What is in a message twice is one stream."""
        sender = self.senders.get(id(source))
        if sender is None:
            if len(self._table.senders) >= self._limit:
                raise Refused(f"{self._limit} streams are open on the connection already (PYRO_MAX_STREAMS)")
            if len(self.senders) >= MAX_IN_VALUE:
                raise Refused(f"more than {MAX_IN_VALUE} streams in one value")
            sender = self._table.open(self._session_id, source, self._work, self._keep)
            self.senders[id(source)] = sender
        return sender.number

    @property
    def fields(self) -> dict[str, Any]:
        """The metadata that go with them [T1]."""
        return {metadata.STREAMS: [sender.number for sender in self.senders.values()]} if self.senders else {}

    def withdraw(self) -> None:
        """It was not sent, or not taken: generators that nobody has begun to read stay as they are."""
        senders, self.senders = self.senders, {}
        for sender in senders.values():
            sender.withdraw()

    def stop(self) -> None:
        """Nobody will read them: close the generators."""
        for sender in self.senders.values():
            sender.stop()

    def give_up(self, why: str) -> None:
        """End them early, and tell the readers, if there are any."""
        for sender in self.senders.values():
            sender.give_up(why)


class ArrivingStreams:
    """The streams that a message refers to, for its decoding. See `gpyro.net.messages.ArrivingStreams`."""

    def __init__(
        self,
        channel: Channel,
        session_id: int,
        settings: Settings,
        numbers: Any,
        deadline: float | None,
        keep: object = None,
    ) -> None:
        """`numbers` is what the metadata say; `deadline`, in monotonic seconds, that of the call."""
        self._table = channel.attachments().streams
        self._session_id = session_id
        self._window = (settings.PYRO_STREAM_ITEMS, settings.PYRO_STREAM_BYTES)
        self._limit = settings.PYRO_MAX_STREAMS
        self._numbers = numbers
        self._deadline = deadline
        self._keep = keep
        self._found: dict[int, RemoteIterator] = {}

    def begin(self) -> None:
        """The message is decoded now."""
        numbers = self._numbers
        if type(numbers) is not list or not all(type(number) is int for number in numbers):
            raise SerializationError("the metadata name streams that are no numbers")

    def stream(self, number: int) -> RemoteIterator:
        """What is to be iterated."""
        if number not in self._found:
            if number not in self._numbers:
                raise SerializationError(f"a reference to stream {number}, which the metadata do not name")
            receiver = self._table.accept(number, self._session_id, self._window, self._limit, self._deadline)
            self._found[number] = RemoteIterator(receiver, self._keep)
        return self._found[number]

    def end(self, failed: bool) -> None:
        """It is decoded, or cannot be: streams that it does not refer to, or nobody gets to see, are left."""
        if failed:
            for iterator in self._found.values():
                iterator.close()
        for number in self._numbers:
            if number not in self._found:
                self._table.refuse(number)
        self._found = {}


# ---- what a generator's items are made in the course of


class _Work:
    """See `gpyro.net.stream_ends.Work`."""

    tree_locals: dict[Any, Any]
    deadline: float | None

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def step(self) -> AbstractContextManager[object]:
        """See `Work`."""
        return _NOTHING_HELD

    def interrupt(self, worker: greenlet) -> None:
        """See `Work`."""
        worker.throw(GeneratorExit)

    def failed(self, error: BaseException, number: int) -> bytes:
        """See `Work`."""
        if isinstance(error, KeyboardInterrupt):
            self.channel.state.interrupt(error)
        if isinstance(error, SerializationError):
            # It speaks of a call that the generator made, not of the reader's own.
            trace = error.__traceback__
            error = RemoteError(f"{SerializationError.__module__}.SerializationError", str(error))
            error.__traceback__ = trace
        return self._fitting(encoded_error(self.channel, error))

    def unsendable(self, error: SerializationError) -> bytes:
        """See `Work`."""
        return self._fitting(encoded_error(self.channel, error.with_traceback(None)))

    def _fitting(self, body: bytes) -> bytes:
        if len(body) <= self.channel.peer_limit:
            return body
        return encoded_error(self.channel, PyroError("an exception whose description is over the limit of a message"))

    def not_closed(self, error: BaseException, number: int) -> None:
        """See `Work`."""
        if isinstance(error, self.channel.hub.SYSTEM_ERROR):
            self.channel.state.interrupt(error)
        text = "closing the generator of stream %d to %s raised %s"
        self.channel.state.report(
            lambda: logger.warning(text, number, self.channel.address, type(error).__name__, exc_info=error)
        )


_NOTHING_HELD = nullcontext()


class CallersWork(_Work):
    """An argument: its items are made for the greenlet that calls."""

    def __init__(self, channel: Channel, deadline: float | None) -> None:
        super().__init__(channel)
        self.deadline = deadline
        self.tree_locals = {**(getattr(getcurrent(), "spawn_tree_locals", None) or {})}
        if deadline is not None:
            self.tree_locals[DEADLINE] = deadline


class MethodsWork(_Work):
    """A result: its items are made in the course of the call, and under the locks that the call itself needed."""

    def __init__(self, call: Call, entry: ObjectEntry, locks: tuple[CallLock, ...]) -> None:
        super().__init__(call.session.channel)
        self.deadline = call.deadline
        self._name = entry.class_name
        self._locks = locks
        # A call of its own, since the one that returned the generator is over; without the arguments, to free them.
        own = self._call = copy.copy(call)
        own.frame = (*call.frame[:4], b"")
        own.timer = own.info = own.answer_annotations = own.worker = own.decoder = own.outgoing = None
        own.watched = own.counted = False
        own.shields = 0
        self._chain = call.chain
        self.tree_locals = {CURRENT_CALL: own}

    @contextmanager
    def step(self) -> Iterator[None]:
        """See `Work`."""
        call = self._call
        call.worker = getcurrent()
        call.chain = self._chain
        held: list[CallLock] = []
        try:
            for lock in self._locks:
                lock.acquire(call)
                held.append(lock)
            yield
        finally:
            for lock in reversed(held):
                lock.release()

    def interrupt(self, worker: greenlet) -> None:
        """See `Work`."""
        self._call.cancelled = True
        if not self._call.shields:
            worker.throw(GeneratorExit)

    def failed(self, error: BaseException, number: int) -> bytes:
        """See `Work`."""
        self._call.worker = None
        session = self._call.session
        text = "stream %d of session %d to %s from %s raised %s"
        name = type(error).__name__
        logger.warning(text, number, session.id, self.channel.address, self._name, name, exc_info=error)
        return super().failed(error, number)
