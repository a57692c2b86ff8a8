"""The two ends of a stream: the one that takes items from a generator, and the one that is read [T3 to T6].

The receiver grants credit, in items and bytes, when somebody begins to read; until then the generator is not even
started. A sender runs in a greenlet of its own, which waits while there is no credit or the channel has much to send
already, so a slow reader holds nothing but its own stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import copy_context
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from greenlet import getcurrent, greenlet

from gpyro.errors import PyroError, SerializationError, StreamLostError, TimeoutError, WireError
from gpyro.net.outgoing import LOW_WATER
from gpyro.wire.frames import CREDIT_BODY, Kind, pack
from gpyro.wire.streams import ItemCredit, pack_items, unpack_items

if TYPE_CHECKING:
    from gpyro.net.streams import StreamTable

FRAME_SIZE: Final = 64 * 1024
"""Bytes of small items that are sent together at most."""

TURN: Final = 0.005
"""Seconds that one generator may go on without the loop having its turn."""

QUICK: Final = 0.001
"""Seconds within which items may be taken from a generator for more of them to be taken in one go the next time."""

SHORTEST: Final = 0.001
"""Seconds of the shortest timer: libuv has none that are shorter, and warns of them."""

_GROWTH: Final = 4


class Work(Protocol):
    """What a stream's items are made in the course of.

    Attributes:
        tree_locals: the spawn-tree locals that the generator runs with.
        deadline: when the stream ends at the latest, in monotonic seconds, or None.
    """

    tree_locals: dict[Any, Any]
    deadline: float | None

    def step(self) -> AbstractContextManager[object]:
        """What has to be held while the generator runs. May block."""

    def interrupt(self, worker: greenlet) -> None:
        """Make the generator end, which waits for something in `worker`. In the hub."""

    def failed(self, error: BaseException, number: int) -> bytes:
        """The generator raised: report it, and give the body of an ERROR."""

    def unsendable(self, error: SerializationError) -> bytes:
        """An item cannot travel: the body of an ERROR."""

    def not_closed(self, error: BaseException, number: int) -> None:
        """Closing the generator raised."""


class _Pause:
    """A greenlet that waits until something about its stream has changed."""

    __slots__ = ("waiting",)

    def __init__(self, waiting: greenlet) -> None:
        self.waiting: greenlet | None = waiting

    def over(self) -> None:
        """Let it go on. In the hub."""
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.switch()


class StreamEnd:
    """What both ends of a stream have in common."""

    def __init__(self, table: StreamTable, number: int, session_id: int) -> None:
        self.table = table
        self.channel = table.channel
        self.number = number
        self.session_id = session_id
        self.ended = False
        self._pauses: list[_Pause] = []

    def wait(self, until: float | None = None) -> None:
        """Wait for `wake`, or until then (monotonic seconds)."""
        pause = _Pause(getcurrent())
        self._pauses.append(pause)
        timer = None
        if until is not None:
            timer = self.channel.loop.timer(max(SHORTEST, until - monotonic()))
            timer.start(pause.over, update=True)
        try:
            while pause.waiting is not None:
                self.channel.hub.switch()
        finally:
            pause.waiting = None
            if pause in self._pauses:
                self._pauses.remove(pause)
            if timer is not None:
                timer.stop()
                timer.close()

    def wake(self) -> None:
        """Let those who wait look again. From any greenlet of this thread."""
        pauses, self._pauses = self._pauses, []
        for pause in pauses:
            self.channel.loop.run_callback(pause.over)


class Sender(StreamEnd):
    """The end that has the generator.

    Attributes:
        credit: what the reader grants.
        started: somebody reads, so the generator runs or has run.
    """

    def __init__(
        self, table: StreamTable, number: int, session_id: int, source: Iterator[Any], work: Work, keep: object
    ) -> None:
        super().__init__(table, number, session_id)
        self.source = source
        self.work = work
        self.credit = ItemCredit()
        self.started = False
        self._keep = keep
        self._context = copy_context()
        self._worker: greenlet | None = None
        self._gathered: deque[Any] = deque()
        self._taken = 0  # items that have left `_gathered`
        self._together = 1  # items taken in one go
        self._failure: bytes | None = None
        self._encoding = self._flush_planned = False
        self._timer: Any = None
        if work.deadline is not None:
            self._timer = self.channel.loop.timer(max(SHORTEST, work.deadline - monotonic()), ref=False)
            self._timer.start(self._expire, update=True)

    # In the hub

    def grant(self, items: int, size: int) -> None:
        """The reader grants more [T4]."""
        if not self.credit.give(items, size):
            raise WireError(f"more credit for stream {self.number} than can be counted", "T4")
        if not self.started:
            self.started = True
            self.channel.state.workers.start((self._run, None, None, self.work.tree_locals))
        else:
            self.wake()

    def _expire(self) -> None:
        self.give_up("its deadline passed")

    def give_up(self, why: str) -> None:
        """End the stream early, and tell the reader."""
        if not self.ended:
            self.table.say_end(self.number, why)
            self.stop()

    def stop(self) -> None:
        """Nobody reads any more: close the generator. From any greenlet of this thread."""
        if not self.ended:
            self._end()
            self.wake()
            self.channel.state.run_in_hub(self._interrupt if self.started else self._close_unstarted)

    def withdraw(self) -> None:
        """The stream was offered and not taken: the generator stays as it is, unless it has been started."""
        if self.started:
            self.stop()
        else:
            self._end()

    def _end(self) -> None:
        self.ended = True
        self._keep = None
        self.table.forget_sender(self)
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _interrupt(self) -> None:
        if self._worker is not None:
            self.work.interrupt(self._worker)

    def _close_unstarted(self) -> None:
        self.channel.state.workers.start((self._close, None, None, self.work.tree_locals))

    def _flush_gathered(self) -> None:
        """The generator has let others run: what it gave so far is not kept back."""
        self._flush_planned = False
        if self._gathered and not self._encoding and not self.ended:
            self.channel.state.workers.start((self._flush_for_generator, None, None, self.work.tree_locals))

    # In a worker

    def _run(self, first: Any, second: Any) -> None:
        self._worker = getcurrent()
        try:
            self._context.run(self._produce)
        except BaseException as error:
            self._worker = None  # what is said about it must not be broken off
            if not self.ended and self._failure is None:
                self._failure = self.work.failed(error, self.number)
        self._worker = None
        while self._encoding and not self.ended:
            self.wait()
        if not self.ended:
            self.table.say_over(self.number, self._failure)
            self._end()
        self._context.run(self._close, None, None)

    def _close(self, first: Any, second: Any) -> None:
        close = getattr(self.source, "close", None)
        self.source = iter(())
        if close is not None:
            try:
                with self.work.step():
                    close()
            except BaseException as error:
                self.work.not_closed(error, self.number)

    def _produce(self) -> None:
        """Take items from the generator and send them, until it has no more or an item fails."""
        channel, exhausted = self.channel, False
        turn_ends = monotonic() + TURN
        while not (exhausted or self.ended or self._failure is not None):
            if self.credit.items <= 0 or self.credit.bytes <= 0 or self._encoding:
                self.wait()
                turn_ends = monotonic() + TURN
            elif channel.out.size > LOW_WATER:
                self.table.wait_for_room(self)
                turn_ends = monotonic() + TURN
            elif monotonic() > turn_ends:
                channel.state.run_after(0, self.wake)
                self.wait()
                turn_ends = monotonic() + TURN
            else:
                exhausted = self._gather()
                self._flush()

    def _gather(self) -> bool:
        """Take some items from the generator; gives whether it has no more."""
        gathered = self._gathered
        count = min(self._together, self.credit.items - len(gathered))
        before = self._taken + len(gathered)
        stopped = False
        with self.work.step():
            began = monotonic()
            try:
                for item in islice(self.source, count):
                    gathered.append(item)
                    if not self._flush_planned:
                        self._flush_planned = True
                        self.channel.loop.run_callback(self._flush_gathered)
                        if self._taken + len(gathered) > before + 1:
                            stopped = True  # it has waited for something: what the step holds is let go of, too
                            break
            except BaseException as error:
                if self.ended or self._failure is not None:
                    raise
                self._fail_with(error)
                return True
        took = monotonic() - began
        if took < QUICK:
            self._together = min(self._together * _GROWTH, max(1, self.credit.granted_items // 4))
        elif took > TURN:
            self._together = max(1, self._together // 2)
        return not stopped and self._taken + len(gathered) - before < count

    def _fail_with(self, error: BaseException) -> None:
        """The generator raised; what it gave before is sent before that is told."""
        worker, self._worker = self._worker, None
        failure = self.work.failed(error, self.number)
        self._worker = worker
        self._flush()
        while self._encoding and not self.ended:
            self.wait()
        if self._failure is None:
            self._failure = failure

    def _flush_for_generator(self, first: Any, second: Any) -> None:
        """Send what was gathered while the generator waits for something."""
        self._context.copy().run(self._flush)
        if self._failure is not None:
            self.channel.state.run_in_hub(self._interrupt)
        self.wake()

    def _flush(self) -> None:
        """Encode and send what was gathered. Whoever encodes goes on with what is gathered meanwhile."""
        if self._encoding:
            return
        self._encoding = True
        try:
            while self._gathered and not self.ended and self._failure is None:
                items = list(self._gathered)
                self._taken += len(items)
                self._gathered.clear()
                self._send(items)
        except SerializationError as error:
            self._failure = self.work.unsendable(error)
        finally:
            self._encoding = False

    def _send(self, items: list[Any]) -> None:
        """Send items, in several frames if they are too large together.

        Raises:
            SerializationError: one of them cannot travel; those before it are sent.
        """
        channel, count = self.channel, len(items)
        try:
            body = pack_items(count, channel.serializer.encode(items, "items"))
            if len(body) > channel.peer_limit:
                text = f"an item of {len(body)} bytes is over the {channel.peer_limit} that the reader takes"
                raise SerializationError(f"{text} (its PYRO_MAX_MESSAGE)")
        except SerializationError as error:
            if count == 1:
                raise _of_item(error) from None
            body = b""
        while not self.ended and self.credit.bytes <= 0:
            self.wait()
        if self.ended:
            return
        if not body or (count > 1 and len(body) > min(self.credit.bytes, self.credit.granted_bytes // 4)):
            self._together = max(1, count // 2)
            self._send(items[: count // 2])
            self._send(items[count // 2 :])
            return
        if len(body) > FRAME_SIZE:
            self._together = max(1, self._together // 2)
        self.credit.take(count, len(body))
        channel.send(pack(Kind.STREAM_ITEM, self.number, 0, body))


def _of_item(error: SerializationError) -> SerializationError:
    """An error about ``items[0]...`` as one about an item."""
    text, path = (part.replace("items[0]", "item", 1) for part in (str(error), error.path))
    return SerializationError(text, path)


class Receiver(StreamEnd):
    """The end that is read.

    Attributes:
        ready: items that may be taken.
        deadline: when the stream ends at the latest, in monotonic seconds, or None.
    """

    def __init__(
        self, table: StreamTable, number: int, session_id: int, window: tuple[int, int], deadline: float | None
    ) -> None:
        super().__init__(table, number, session_id)
        self.ready: deque[Any] = deque()
        self.deadline = deadline
        self.credit = ItemCredit()
        self._window = window
        self._frames: deque[tuple[int, bytes]] = deque()
        self._arrived = 0
        self._owed_items = self._owed_bytes = 0
        self._granted = False
        # Why no more comes, once that is known; None when it was told, or is no error.
        self._over = False
        self._error: Callable[[], Exception] | None = None

    # In the hub

    def items(self, body: bytes) -> None:
        """Items arrived [T3]."""
        count, size = unpack_items(body), len(body)
        if not self.credit.covers(count, size):
            raise WireError(f"items of stream {self.number} that were not granted", "T5")
        self.credit.take(count, size)
        self._arrived += count
        self._frames.append((count, body))
        self.wake()

    def over(self, error: Callable[[], Exception] | None) -> None:
        """No more comes; `error` makes what its reader gets after the items that came."""
        if not self.ended:
            self.ended = self._over = True
            self._error = error
            self.table.forget_receiver(self)
            self.wake()

    def lost(self, why: str) -> None:
        """It broke off."""
        text = f"{why}; the stream broke off after {self._arrived} items"
        self.over(lambda: StreamLostError(text, self._arrived))

    # In the reader's greenlet

    def close(self) -> None:
        """Nobody reads any more. On the thread of its channel."""
        self.ready.clear()
        self._frames.clear()
        self._error = None
        if not self.ended:
            self.over(None)
            self.table.say_end(self.number, "")
        self._over = True

    def fill(self, until: float | None) -> bool:
        """Wait until there is something in `ready`, at most until then; gives False at the end of the stream.

        Raises:
            TimeoutError: the time is over, and the stream closed.
            Exception: what ended the stream.
        """
        if self.deadline is not None and (until is None or self.deadline < until):
            until = self.deadline
        if getcurrent() is self.channel.hub:
            raise PyroError("a stream cannot be read in the hub (a loop callback): spawn a greenlet for it")
        while not self.ready:
            if self._frames:
                self._take()
            elif self._over:
                error, self._error = self._error, None
                if error is not None:
                    raise error()
                return False
            else:
                self._wait_for_items(until)
        return True

    def _take(self) -> None:
        count, body = self._frames.popleft()
        self._owed_items += count
        self._owed_bytes += len(body)
        if not self.ended and (self._owed_items * 2 >= self._window[0] or self._owed_bytes * 2 >= self._window[1]):
            self._grant(self._owed_items, self._owed_bytes)
            self._owed_items = self._owed_bytes = 0
        try:
            items = self.channel.serializer.decode(memoryview(body)[4:])
            if type(items) is not list or len(items) != count:
                raise SerializationError("the items of a stream are not what they must be")
        except BaseException:
            self.close()
            raise
        self.ready.extend(items)

    def _grant(self, items: int, size: int) -> None:
        self._granted = True
        self.credit.give(items, size)
        self.channel.send(pack(Kind.CREDIT, self.number, 0, CREDIT_BODY.pack(items, size)))

    def _wait_for_items(self, until: float | None) -> None:
        if not self._granted:
            self._grant(*self._window)
        if until is not None and monotonic() >= until:
            self.close()
            raise TimeoutError("the deadline passed while waiting for a stream's next item", "running")
        self.channel.expect_items(1)
        try:
            self.wait(until)
        finally:
            self.channel.expect_items(-1)
