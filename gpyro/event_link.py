"""How a `gpyro.eventsvc.Subscriber` is attached to the event server, and comes back to it."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import gevent
from gevent.event import Event as Wakeup

from gpyro.constants import EVENTSERVER_NAME
from gpyro.context import deadline
from gpyro.errors import ConnectionDeniedError, ConnectionLostError, ProtocolError
from gpyro.events import Event, Gap
from gpyro.guid import getGUID
from gpyro.hub_daemon import Daemon
from gpyro.locator import NameServerLocator
from gpyro.locks import RLock
from gpyro.net.hub import HubState, hub_state
from gpyro.proxy import DynamicProxy
from gpyro.pyrouri import PyroURI
from gpyro.rounds import Rounds
from gpyro.topics import compared
from gpyro.wire.frames import Kind

ATTACH_TIME: Final = 20.0
"""Seconds that the event server gets to take a subscriber in."""

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds between attempts to reach an event server that was lost."""

MAX_RUNNING: Final = 1000
"""Events that a subscriber has taken and not dealt with, where it deals with several at a time."""

MAX_GAPS: Final = 100
"""Gaps that wait there for their turn; further ones are added to the last."""


class Attached(Protocol):
    """What a link needs of its subscriber."""

    _pyro_serial: RLock
    """Held by who deals with events."""

    _pyro_link: Link | None
    """How it is attached; None while it is not."""

    def _pyro_attach(self, instead_of: Link | None) -> None:
        """Get another link. Raises as calls do."""

    def _pyro_take(self, link: Link, items: list[Any]) -> None:
        """Events came."""

    def _pyro_lost(self, error: Exception) -> None:
        """The event server cannot be reached, and is tried again and again."""

    def _pyro_back(self) -> None:
        """It was reached after that."""


class EventServer:
    """Where the event server is, and who asks."""

    def __init__(self, ident: Any, esURI: str | PyroURI | None, oneway: tuple[str, ...] = ()) -> None:
        """`oneway`: methods that are called so."""
        self._ident = ident
        self._oneway = oneway
        self._uri = None if esURI is None else PyroURI(esURI)
        self._proxy: DynamicProxy | None = None

    def proxy(self) -> DynamicProxy:
        """A proxy for it.

        Raises:
            NamingError: there is no name server, or it knows of no event server.
            ProtocolError: as a call does that cannot connect.
        """
        if self._proxy is None:
            self._proxy = self.new_proxy()
        return self._proxy

    def new_proxy(self) -> DynamicProxy:
        """One of its own. Raises as `proxy`."""
        uri = self._uri
        if uri is None:
            uri = self._ask(EVENTSERVER_NAME)
        elif uri.protocol == "PYRONAME" and self._ident is not None:  # which such a proxy tells only whom it finds
            uri = self._ask(uri.objectID, *((uri.address, uri.port or None) if uri.address else ()))
        proxy = DynamicProxy(uri)
        if self._ident is not None:
            proxy._setIdentification(self._ident)
        proxy._setOneway(self._oneway)
        return proxy

    def _ask(self, name: str, *place: Any) -> PyroURI:
        """What the name server says."""
        try:
            return NameServerLocator(identification=self._ident).getNS(*place).resolve(name)
        except ConnectionDeniedError as error:
            raise ConnectionDeniedError(f"{error}: by the name server") from error

    def call(self, method: str, *arguments: Any) -> Any:
        """Call it; where it is gone it is looked for once more. Raises as calls do."""
        fresh = self._proxy is None
        proxy = self.proxy()
        try:
            return proxy._remote.call(method, *arguments)
        except ConnectionDeniedError:
            raise
        except ProtocolError as error:
            if fresh or error.may_have_run:
                raise
            self._proxy = None
        return self.proxy()._remote.call(method, *arguments)


class Inbox:
    """What the event server calls. It does not keep the subscriber."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def events(self, items: list[Any]) -> None:
        """These came: events, and what was lost between them."""
        subscriber = self._link.subscriber()
        if subscriber is not None:
            subscriber._pyro_take(self._link, items)


class Arrivals:
    """Tells the rounds of a foreign loop of events that came; see `gpyro.rounds.Source`."""

    on_activity: Callable[[], None] | None = None

    def tell(self) -> None:
        """One was dealt with."""
        if self.on_activity is not None:
            self.on_activity()


class OwnDaemon(Daemon):
    """The daemon of a subscriber. As in Pyro 3, events come wherever it is served: in `requestLoop`, and in rounds."""

    def __init__(self, begin: Callable[[], object]) -> None:
        """`begin` is a bound method, whose object this does not keep."""
        super().__init__()
        self._begin = weakref.WeakMethod(begin)

    def attach(self) -> None:
        """Serve in the loop of this thread. Raises DaemonError as `start`."""
        super()._attach()

    def tell(self) -> None:
        """An event was dealt with, which ends a round as a call does."""
        if self._dispatcher.on_activity is not None:
            self._dispatcher.on_activity()

    def _attach(self) -> Rounds:
        rounds = super()._attach()
        begin = self._begin()
        if begin is not None:
            begin()
        return rounds


class Link:
    """One attachment to the event server, in one thread.

    Attributes:
        keep: the subscriber, as long as it is to live although nobody has it.
        subscriber: gives the subscriber, or None if it is gone.
        state: of the thread.
        gate: open while somebody listens.
        closed: this is no attachment any more; if another took its place, the event server knows of that.
        listens: the event server sends events; else it keeps them.
    """

    def __init__(self, subscriber: Attached, proxy: DynamicProxy, listens: bool) -> None:
        self.state: HubState = hub_state()
        self.subscriber: weakref.ref[Attached] = weakref.ref(subscriber, self._dropped)
        self.keep: Attached | None = None
        self.gate = Wakeup()
        self._proxy = proxy
        self._session: Any = None
        self._channel: Any = None
        self._inbox = getGUID()
        self.closed = False
        self.listens = listens

    def attach(self, *arguments: Any) -> tuple[str, int, int | None, str]:
        """Tell the event server; gives what `EventService.attach` does, without the session. Raises as calls do."""
        token, *rest = arguments
        remote = self._proxy._remote
        until, _ = remote.handed_on()
        session = self._session = remote.connect(until)
        channel = self._channel = session.channel
        acceptor: Any = channel.acceptor
        acceptor.add(self._inbox, None, Inbox(self))
        try:
            session_id, identity, position, missed, why = self._ask(
                until, "attach", token, self._inbox, *rest, self.listens
            )
            events = channel.served.get(session_id)
            if events is None:
                raise ConnectionLostError(f"connection lost: {channel.reason or 'the event server let go at once'}")
        except BaseException:
            self._forget()
            raise
        events.on_end = self._ended
        return identity, position, missed, why

    @property
    def lost(self) -> bool:
        """Whether the connection is gone, so that `come_back` is at work or about to be."""
        return not self._channel.usable

    def listen(self, token: str) -> None:
        """Have events come that the event server has kept. Raises as calls do."""
        self._ask(self._proxy._remote.handed_on()[0], "listen", token)
        self.listens = True

    def _ask(self, until: float | None, method: str, *arguments: Any) -> Any:
        """Call the event server on this very channel, so not by the proxy, which may take another."""
        channel = self._channel
        body = channel.serializer.encode_call(method, arguments, {})
        answer = channel.request(Kind.CALL, self._session.id, body, 0, until)
        if answer[0] != Kind.RESULT:
            raise self._proxy._remote.failure(channel.serializer, answer)
        return channel.serializer.decode(answer[4])

    def _forget(self) -> None:
        acceptor: Any = self._channel.acceptor
        acceptor.entries.pop(self._inbox, None)

    def _ended(self) -> None:
        """The event server, or the connection to it, is gone."""
        self._forget()
        if self.state.closed:  # with its thread, in which nobody comes back
            return
        subscriber = self.subscriber()
        over = self.closed or self.state.closed  # where its thread ends, the next `listen` attaches anew
        if not over and subscriber is not None and subscriber._pyro_link is self:
            lost = not self._channel.usable
            self.state.run_in_hub(lambda: self.state.start(lambda first, second: come_back(self, lost)))

    def _dropped(self, _: object) -> None:
        """Nobody has the subscriber any more. In any thread."""
        self.close_soon()

    def close_soon(self) -> None:
        """`close`, from any thread."""
        if not self.state.closed:
            self.state.call_soon(self.close)

    def close(self) -> None:
        """Be attached no more."""
        self.closed = True
        self.keep = None
        self.gate.set()
        self._proxy._release()


def come_back(link: Link, at_once: bool) -> None:
    """Attach anew, however long that takes. In a worker."""
    if not at_once:  # it was sent away for being slow: it has to deal with what it has first
        subscriber = link.subscriber()
        if subscriber is not None:
            serial = subscriber._pyro_serial
            del subscriber
            with serial:
                pass
    pause, told = FIRST_PAUSE, False
    while True:
        subscriber = link.subscriber()
        if subscriber is None or subscriber._pyro_link is not link:
            return
        try:
            with deadline(ATTACH_TIME):
                subscriber._pyro_attach(link)
            if told:
                subscriber._pyro_back()
            return
        except Exception as error:  # also one of what it asks for, which another event server may take
            if not told:
                subscriber._pyro_lost(error)
            told = True
        del subscriber
        gevent.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


class _Place:
    """Where a gap belongs: behind what was in the lanes before it."""

    __slots__ = ("gap", "lanes")

    def __init__(self, gap: Gap, lanes: int) -> None:
        """`lanes`: how many have to come to it."""
        self.gap, self.lanes = gap, lanes


class Lanes:
    """Deals with events of different subjects side by side, and with those of one subject one after the other.

    A gap is told of when all is dealt with that came before it; nothing waits for that. In the thread that made it.
    """

    def __init__(self, handle: Callable[[Event], None], tell: Callable[[Gap], None]) -> None:
        """What deals with an event, and what tells of a gap."""
        self._handle, self._tell = handle, tell
        self._state = hub_state()
        self._lanes: dict[str, deque[Event | _Place]] = {}
        self._gaps: deque[_Place] = deque()
        self._there = 0
        self._room = Wakeup()
        self._closed = False

    def wait_for_room(self) -> None:
        """Wait while there are too many."""
        while self._there >= MAX_RUNNING and not self._closed:
            self._room.clear()
            self._room.wait()

    def put(self, event: Event) -> None:
        """Deal with an event."""
        self._there += 1
        lane = compared(event.subject)
        waiting = self._lanes.get(lane)
        if waiting is None:
            self._lanes[lane] = deque((event,))
            self._state.run_in_hub(lambda: self._state.start(self._run, lane))
        else:
            waiting.append(event)

    def put_gap(self, gap: Gap) -> None:
        """Tell of a gap."""
        if not self._lanes:
            self._tell(gap)
        elif len(self._gaps) >= MAX_GAPS:
            self._gaps[-1].gap = self._gaps[-1].gap.and_then(gap)
        else:
            place = _Place(gap, len(self._lanes))
            self._gaps.append(place)
            for waiting in self._lanes.values():
                waiting.append(place)

    def _run(self, lane: str, _: Any) -> None:
        waiting = self._lanes[lane]
        try:
            while waiting:
                self._next(waiting.popleft())
        finally:
            self._leave(_events_in(waiting))
            del self._lanes[lane]

    def _next(self, item: Event | _Place) -> None:
        if isinstance(item, Event):
            try:
                self._handle(item)
            finally:
                self._leave(1)
            return
        item.lanes -= 1
        if not item.lanes:
            self._gaps.remove(item)
            self._tell(item.gap)

    def _leave(self, count: int) -> None:
        self._there -= count
        self._room.set()

    def close(self) -> list[Gap]:
        """Begin with no event any more, and tell of nothing; gives what was left of both."""
        self._closed = True
        left = sum(map(_events_in, self._lanes.values()))
        for waiting in self._lanes.values():
            waiting.clear()
        gaps = [place.gap for place in self._gaps]
        self._gaps.clear()
        self._leave(left)
        return [*gaps, Gap(left, "it did not listen any more")] if left else gaps

    def reopen(self) -> bool:
        """Go on, if this is the right thread."""
        if self._state is not hub_state():
            return False
        self._closed = False
        return True


def _events_in(waiting: deque[Event | _Place]) -> int:
    return sum(isinstance(item, Event) for item in waiting)
