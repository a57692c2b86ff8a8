"""How events get from the event server to one subscriber.

A subscriber of `gpyro.eventsvc.Subscriber` gets them over the channel that it subscribed by, in calls without greenlet:
many events in each, one call at a time, so that what it is slow with waits in the server's queue. Any other object with
a method ``event`` is called in a greenlet that is there while there is something to tell.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from gpyro.errors import SerializationError, WireError
from gpyro.events import Event, EventError, Gap
from gpyro.failures import one_line
from gpyro.net.channel import Channel
from gpyro.net.hub import HubState
from gpyro.net.references import Received
from gpyro.remote import RemoteObject
from gpyro.sessions import thread_id
from gpyro.topics import Backlog, Loss
from gpyro.values import Serializer
from gpyro.wire import batch
from gpyro.wire.frames import Frame, Kind, Rejection, unpack_text
from gpyro.wire.references import FUNCTION, FUNCTION_CALL

MOST: Final = 1000
"""Events in one message at most."""

MOST_BYTES: Final = 64 * 1024
"""Bytes of events in one message at most, unless it is a single one."""

LAST_WORDS: Final = 10.0
"""Seconds in which an object that is sent away has to be done with its last events."""

CANNOT_READ: Final = "the subscriber cannot take it"


class Parcel:
    """An event as it travels: encoded once for all who speak the serializer of its publisher.

    Attributes:
        number: what the server gave it.
        size: its bytes.
        body: encoded: subject, message, time and number.
    """

    __slots__ = ("_others", "_serializer", "body", "number", "size")

    def __init__(self, serializer: Serializer, subject: str, message: Any, time: float, number: int) -> None:
        """Raises EventError: the message cannot travel."""
        try:
            body = serializer.encode([subject, message, time, number], "event")
        except SerializationError as error:
            raise _cannot_travel(subject, error, "event[1]") from None
        self._serializer, self.body, self.number, self.size = serializer, body, number, len(body)
        self._others: dict[Any, bytes] | None = None

    @classmethod
    def joined(cls, serializer: Serializer, subject: str, message: bytes, time: float, number: int) -> Parcel:
        """One with a message that is encoded already; nothing of what it consists of is asked again.

        Raises EventError: it is too large.
        """
        parcel = cls.__new__(cls)
        try:
            head, *tail = (serializer.encode(part) for part in (subject, time, number))
            body = serializer.join((head, message, *tail))
        except SerializationError as error:
            raise _cannot_travel(subject, error, "result") from None
        parcel._serializer, parcel.body, parcel.number, parcel.size = serializer, body, number, len(body)
        parcel._others = None
        return parcel

    def encoded(self, serializer: Serializer) -> bytes:
        """As it stands in the messages to a `Subscriber`."""
        if serializer is self._serializer:
            return self.body
        return self._other(serializer, lambda: serializer.encode(self._serializer.decode(self.body)))

    def as_event(self, serializer: Serializer) -> bytes:
        """As an `Event`, for the objects of others."""
        make = lambda: serializer.encode(Event(*self._serializer.decode(self.body)))  # noqa: E731
        return self._other((serializer, Event), make)

    def _other(self, key: Any, make: Callable[[], bytes]) -> bytes:
        if self._others is None:
            self._others = {}
        found = self._others.get(key)
        if found is None:
            found = self._others[key] = make()
        return found


def encoded_message(serializer: Serializer, subject: str, message: Any) -> bytes:
    """A message for `Parcel.joined`. Raises EventError: it cannot travel."""
    try:
        return serializer.encode(message, "msg")
    except SerializationError as error:
        raise _cannot_travel(subject, error, "msg") from None


def _cannot_travel(subject: str, error: SerializationError, root: str) -> EventError:
    text, path = (part.replace(root, "msg", 1) for part in (str(error), error.path))
    return EventError(f"the event on {subject!r} cannot be given to others: {text}", path)


def place_of(address: Any) -> str:
    """A socket's address as people write it; what is none as it is."""
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Recipient(Protocol):
    """Whose events these are; `gpyro.event_server` has them."""

    name: str
    backlog: Backlog
    in_flight: list[Any] | None

    @property
    def route(self) -> Any: ...
    def arrived(self, items: list[Any]) -> None: ...
    def unreachable(self, why: str) -> None: ...


class Outlet:
    """What the ways over channels have in common.

    Attributes:
        lines: those who wait until more can be sent on their channel, which one of them watches.
    """

    __slots__ = ("_body", "_items", "_serializer", "lines")

    def __init__(self) -> None:
        self.lines: dict[Channel, deque[Recipient]] = {}
        # The last message that was put together: most of those who get the same events get them at the same time.
        self._items: list[Any] = []
        self._serializer: Any = None
        self._body = b""

    def body(self, serializer: Serializer, items: list[Any]) -> bytes:
        """A call with these events. Raises SerializationError: it cannot be made of them."""
        if serializer is not self._serializer or items != self._items:
            encode = serializer.encode
            parts = [
                item.encoded(serializer) if type(item) is Parcel else encode([item.count, item.until, item.why])
                for item in items
            ]
            self._body = serializer.join_call("events", (serializer.join(parts),))
            self._serializer, self._items = serializer, items
        return self._body

    def forget(self) -> None:
        """Nobody else will get these."""
        self._items, self._body, self._serializer = [], b"", None


class ChannelRoute:
    """To a `Subscriber`, over its own channel."""

    __slots__ = ("_few", "_in_line", "_outlet", "channel", "listening", "session_id")

    def __init__(self, channel: Channel, inbox: str, outlet: Outlet, listening: bool = True) -> None:
        """Open the way to the object of the peer that has this id. Raises as `Channel.open_session` does.

        Nothing goes to one that is not listening: calls that nobody answers would leave the channel no room for others.
        """
        self.channel = channel
        self.session_id = channel.open_session(inbox.encode("ascii"))
        self._outlet = outlet
        self.listening = listening
        self._few = 0  # events that are sent one by one, since one of them could not be read
        self._in_line = False

    @property
    def address(self) -> Any:
        """Where it leads to."""
        return self.channel.address

    def deliver(self, recipient: Recipient) -> None:
        """Send what waits, if nothing is under way. In the hub."""
        if recipient.in_flight is not None or self._in_line or recipient.backlog.empty or not self.listening:
            return
        line = self._outlet.lines.get(self.channel)
        if line is not None:
            self._in_line = True
            line.append(recipient)
            return
        items = recipient.backlog.take(1 if self._few else MOST, MOST_BYTES)
        self._few = max(0, self._few - 1)
        recipient.in_flight = items

        def told(answer: Frame | BaseException) -> None:
            self._told(recipient, items, answer)

        channel = self.channel
        try:
            body = self._outlet.body(channel.serializer, items)
        except SerializationError as error:
            told(error)
            return
        if not channel.request_soon(self.session_id, body, told):
            if channel.window.calls <= 0:
                channel.state.warn(
                    f"events to {channel.address}",
                    "subscribers at %s get no events: as many others there as its PYRO_MAX_CALLS are busy with theirs",
                    place_of(channel.address),
                )
            self._outlet.lines[channel] = deque()
            channel.state.start(lambda first, second: self._send_later(body, told))

    def _send_later(self, body: bytes, told: Callable[[Frame | BaseException], None]) -> None:
        """Send when there is room for it, and let those go on who wait for that, too. In a worker."""
        channel = self.channel
        try:
            channel.wait_for_room(self.session_id, len(body))
            while not channel.request_soon(self.session_id, body, told):
                channel.wait_for_room(self.session_id, len(body))
        except BaseException as error:
            told(error)
        channel.state.run_in_hub(self._let_line_go)

    def _let_line_go(self) -> None:
        """Let those send who waited, as far as there is room. In the hub."""
        lines, channel = self._outlet.lines, self.channel
        line = lines.pop(channel)
        while line:
            recipient = line.popleft()
            route = recipient.route
            if route is not None and route.channel is channel:
                route._in_line = False
                route.deliver(recipient)
            if channel in lines:  # it is full again
                line.extend(lines[channel])
                lines[channel] = line
                return

    def _told(self, recipient: Recipient, items: list[Any], answer: Frame | BaseException) -> None:
        """What was sent is taken, or not."""
        if recipient.route is not self:
            return  # it has another way by now, and this was taken care of
        recipient.in_flight = None
        if isinstance(answer, SerializationError):
            self._unreadable(recipient, items, str(answer))
        elif isinstance(answer, BaseException):
            recipient.unreachable(str(answer))
        elif answer[0] == Kind.REJECTED:
            code, text = unpack_text(answer[4])
            if code == Rejection.UNREADABLE:
                self._unreadable(recipient, items, text)
            else:
                recipient.unreachable(text)
        else:
            recipient.arrived(items)

    def _unreadable(self, recipient: Recipient, items: list[Any], why: str) -> None:
        if len(items) > 1:
            self._few = len(items)
            recipient.backlog.put_back(items)
        elif type(items[0]) is not Loss:
            loss = Loss(items[0].number, f"{CANNOT_READ}: {why}")
            recipient.backlog.lost += 1
            recipient.backlog.put_back([loss])
        recipient.arrived([])

    def close(self) -> None:
        """Go this way no more; the subscriber sees that."""
        self.channel.close_session(self.session_id)


class CallRoute:
    """To any object with a method ``event``, or to a function, by calls."""

    __slots__ = ("_is_function", "_knows_missed", "_last", "_received", "_remote", "_running", "_state", "_watched")

    def __init__(self, state: HubState, remote: RemoteObject) -> None:
        self._state = state
        self._remote = remote
        self._received: Received | None = getattr(remote, "received", None)
        self._is_function = self._received is not None and self._received.what == FUNCTION
        self._running = False
        self._watched: Channel | None = None
        self._knows_missed = True
        self._last: Loss | None = None  # what it is told when it goes

    @property
    def address(self) -> Any:
        """Where it leads to."""
        return str(self._remote.uri)

    def deliver(self, recipient: Recipient) -> None:
        """Tell what waits, if nothing is being told. In the hub."""
        if not self._running and not recipient.backlog.empty:
            self._running = True
            self._state.start(lambda first, second: self._run(recipient))

    def _run(self, recipient: Recipient) -> None:
        """Tell all that waits. In a worker."""
        try:
            while recipient.route is self and not recipient.backlog.empty:
                items = recipient.in_flight = recipient.backlog.take(MOST, MOST_BYTES)
                self._tell(recipient, items)
                recipient.in_flight = None
                recipient.arrived(items)
            if self._last is not None:
                self._tell_of_loss(self._last, self._is_function)
        except Exception as error:
            recipient.in_flight = None
            recipient.unreachable(str(error) or repr(error))
        finally:
            self._running = False
            if self._last is not None:
                self._release()

    def _tell(self, recipient: Recipient, items: list[Any]) -> None:
        function = self._is_function
        method = FUNCTION_CALL if function else "event"
        at = 0
        while at < len(items):
            item = items[at]
            if type(item) is Loss:
                self._tell_of_loss(item, function)
                at += 1
                continue
            end = next((place for place in range(at, len(items)) if type(items[place]) is Loss), len(items))
            at = self._call(recipient, method, items, at, end)

    def _call(self, recipient: Recipient, method: str, items: list[Any], at: int, end: int) -> int:
        """Call it with the events from `at` to before `end`; gives the place of the first that it was not called with.

        Raises:
            ProtocolError: it cannot be reached.
        """

        def encode(serializer: Any) -> bytes:
            return bytes(
                serializer.join(
                    [serializer.join_call(method, (item.as_event(serializer),)) for item in items[at:end]],
                )
            )

        try:
            serializer, answer = self._remote.ask(Kind.BATCH, encode)
        except SerializationError as error:
            if end - at > 1:
                return self._call(recipient, method, items, at, at + 1)
            recipient.backlog.lost += 1
            items[at] = Loss(items[at].number, f"{CANNOT_READ}: {error}")
            return at
        self._watch(recipient)
        for kind, part in batch.split_answers(answer[4]):
            if kind == batch.SEVERAL:
                at += len(serializer.decode(part))
            elif kind == Kind.RESULT:
                at += 1
            else:
                if kind == Kind.REJECTED:
                    raise self._remote.failure(serializer, (kind, 0, 0, 0, part))
                at += 1  # it raised, which is its own matter
                self._note_failure(recipient, serializer, part)
        if at > end:
            raise WireError("more answers than calls", "B2")
        return at

    def _note_failure(self, recipient: Recipient, serializer: Serializer, part: Any) -> None:
        try:
            error = serializer.decode_error(part)
            text = one_line(f"{type(error).__name__}: {error}")
        except Exception:  # of a class of the program's, which may do what it likes
            text = "an error that cannot be read"
        self._state.warn(f"raising {recipient.name}", "%s: raised on an event: %s", recipient.name, text)

    def _tell_of_loss(self, loss: Loss, function: bool) -> None:
        """Tell it what it missed, if it has a method for that."""
        if function or not self._knows_missed:
            return
        try:
            self._remote.call("missed", Gap(loss.count, loss.why))
        except AttributeError:
            self._knows_missed = False

    def _watch(self, recipient: Recipient) -> None:
        """See to it that it is noticed when the subscriber is gone."""
        session = self._remote.sessions.get(thread_id())
        channel = None if session is None else session.channel
        if channel is not None and channel is not self._watched:
            self._watched = channel
            channel.when_over(lambda: self._over(recipient, channel))

    def _over(self, recipient: Recipient, channel: Channel) -> None:
        if recipient.route is self and not self._running:
            recipient.unreachable(channel.reason)

    def dismiss(self, recipient: Recipient, loss: Loss) -> None:
        """Go this way no more when what is under way is told, and this loss behind it; or when that takes too long."""
        self._last = loss
        if not self._running:
            self._running = True
            self._state.start(lambda first, second: self._run(recipient))
        self._state.run_after(LAST_WORDS, self._release)

    def close(self) -> None:
        """Go this way no more."""
        if self._last is None:
            self._release()

    def _release(self) -> None:
        if self._received is None:  # what was passed by reference has a session that others may use
            self._remote.release()


Route = ChannelRoute | CallRoute
