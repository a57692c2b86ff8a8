"""The clients of the event server: `Publisher` and `Subscriber`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpyro.errors import ProtocolError, PyroError
from gpyro.event_link import Arrivals, EventServer, Lanes, Link, OwnDaemon
from gpyro.events import Event, Gap
from gpyro.guid import getGUID
from gpyro.hub_daemon import Daemon
from gpyro.locks import Event as Flag
from gpyro.locks import RLock
from gpyro.logs import log
from gpyro.net.foreign_loop import LoopSocket
from gpyro.net.hub import hub_state
from gpyro.objects import CallbackObjBase
from gpyro.proxy import DynamicProxy
from gpyro.pyrouri import PyroURI
from gpyro.rounds import Rounds
from gpyro.settings import config
from gpyro.termination import answered_by, wait_for
from gpyro.tls import CallCancelled
from gpyro.topics import Limits, Pattern, Policy, compared, fold, limits_of, subjects_of

_Texts = dict[str, str]
"""Subjects, as compared and as given; or patterns."""


class Publisher:
    """Publishes events. Any greenlet of any thread may use it."""

    def __init__(self, ident: str | tuple[str, str] | None = None, esURI: str | PyroURI | None = None) -> None:
        """The event server is looked for with the first event.

        Args:
            ident: who connects, to the name server and to the event server.
            esURI: where the event server is; None for asking the name server.
        """
        self._server = EventServer(ident, esURI)
        self._soon = EventServer(ident, esURI, ("publish",))

    def getES(self) -> DynamicProxy:
        """A proxy for the event server. Raises NamingError if there is none, and as calls do."""
        return self._server.proxy()

    def publish(self, subjects: str | list[str] | tuple[str, ...], msg: Any) -> None:
        """Publish an event on a subject, or one on each of several.

        When this returns, the events are in the queues of all who subscribed.

        Args:
            subjects: what it is about.
            msg: any value that can travel.

        Raises:
            SubjectError: the subjects are none.
            SerializationError: the message cannot travel, or is too large; nobody got it.
            NamingError: no event server was found.
            ProtocolError: it cannot be reached; with a `MaybeExecutedError` the event may have been published.
        """
        self._server.call("publish", subjects, msg)

    def publish_soon(self, subjects: str | list[str] | tuple[str, ...], msg: Any) -> None:
        """As `publish`, but nobody waits for the event server, and it tells only its own log what is wrong.

        Many events go in few messages. Where the event server takes them more slowly than they come, this waits.
        """
        self._soon.call("publish", subjects, msg)


class Subscriber(CallbackObjBase):
    """Gets events: derive a class from it and override `event`.

    ::

        class Ticker(Subscriber):
            def event(self, event):
                print(event.subject, event.msg)

        ticker = Ticker()
        ticker.subscribe("stocks")
        ticker.listen()

    Events come over the connection by which it subscribes: it needs neither a port nor a daemon. When that connection,
    or the event server, is lost, the subscriptions come back by themselves, and `missed` is told what got lost.
    """

    def __init__(self, ident: str | tuple[str, str] | None = None, esURI: str | PyroURI | None = None) -> None:
        """The event server is looked for with the first subscription.

        Args:
            ident: who connects, to the name server and to the event server.
            esURI: where the event server is; None for asking the name server.
        """
        super().__init__()
        # By names that programs will hardly give to what is theirs.
        self._pyro_server = EventServer(ident, esURI)
        self._pyro_token = getGUID()
        self._pyro_subjects: _Texts = {}
        self._pyro_patterns: _Texts = {}
        self._pyro_queue: list[Any] = []
        self._pyro_threaded = bool(config.PYRO_MULTITHREADED)
        self._pyro_daemon: OwnDaemon | None = None
        self._pyro_link: Link | None = None
        self._pyro_identity, self._pyro_seen = "", 0
        self._pyro_gap: Gap | None = None  # what is to be told before the events that come
        self._pyro_changing = RLock()
        self._pyro_serial = RLock()
        self._pyro_listening = False
        self._pyro_begun: object = None  # one for each time that `begin` was called and `abort` did not follow yet
        self._pyro_lanes: Lanes | None = None
        self._pyro_stop = Flag()
        self._pyro_arrivals = Arrivals()
        self._pyro_rounds: Rounds | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._pyro_subjects) + len(self._pyro_patterns)} subjects and patterns>"

    # To be overridden

    def event(self, event: Event) -> None:
        """An event came. What this raises is logged, and the next event comes."""
        print(event)

    def missed(self, gap: Gap) -> None:
        """Events were lost, since this was too slow, or not connected. Called behind what came before them."""
        log.warning("%r: %s", self, gap)

    # Subscriptions

    def subscribe(self, subjects: str | list[str] | tuple[str, ...]) -> None:
        """Get the events of these subjects, whatever their case. Nothing changes where that is so already.

        Raises:
            SubjectError: they are none.
            NamingError: no event server was found.
            ProtocolError: it cannot be reached.
        """
        names = {fold(name): name for name in subjects_of(subjects)}
        if names:
            self._pyro_change("subscribe", list(names.values()), names, {})

    def subscribeMatch(self, subjects: str | list[str] | tuple[str, ...]) -> None:
        """Get the events of all subjects that match one of these regular expressions, from the beginning on.

        Raises:
            PatternError: one is no regular expression, or could take too much time.
            SubjectError, NamingError, ProtocolError: as `subscribe`.
        """
        patterns = {Pattern(text).text: text for text in subjects_of(subjects, "pattern")}
        if patterns:
            self._pyro_change("subscribeMatch", list(patterns), {}, patterns)

    def unsubscribe(self, subjects: str | list[str] | tuple[str, ...]) -> None:
        """Get the events of these subjects, or else patterns, no more. Unknown ones are ignored.

        Raises:
            SubjectError, NamingError, ProtocolError: as `subscribe`.
        """
        names = subjects_of(subjects)
        with self._pyro_changing:
            left, patterns = dict(self._pyro_subjects), dict(self._pyro_patterns)
            for name in names:
                if left.pop(compared(name), None) is None:
                    patterns.pop(name, None)
            if self._pyro_link is None:
                self._pyro_subjects, self._pyro_patterns = left, patterns
            else:
                self._pyro_become("unsubscribe", names, left, patterns)

    def set_queue(self, policy: str = "", events: int | None = None, size: int | None = None) -> None:
        """Say how much may wait at the event server when this is slow, and what happens beyond that.

        Args:
            policy: ``block`` (publishers wait, for a time that is bounded), ``oldest`` or ``newest`` (that event is
                lost) or ``disconnect`` (all that waits is lost); empty for what the event server is configured for.
            events: how many events; 0 for as many as are granted, None for what the event server is configured for.
            size: bytes of them, likewise.

        Raises:
            ValueError: it is no policy, or no number.
            NamingError, ProtocolError: as `subscribe`.
        """
        with self._pyro_changing:
            limits_of(Limits(Policy.BLOCK, 0, 0), policy, events, size)
            before, self._pyro_queue = self._pyro_queue, [policy, events, size]
            try:
                self._pyro_tell("set_queue", *self._pyro_queue)
            except BaseException:
                self._pyro_queue = before
                raise

    def _pyro_change(self, method: str, names: list[str], subjects: _Texts, patterns: _Texts) -> None:
        """Have these subjects and patterns, too."""
        with self._pyro_changing:
            if self._pyro_link is None and self._pyro_identity:
                self._pyro_attach(None)  # so that of the new ones nothing counts as missed
            self._pyro_become(method, names, {**self._pyro_subjects, **subjects}, {**self._pyro_patterns, **patterns})

    def _pyro_become(self, method: str, names: list[str], subjects: _Texts, patterns: _Texts) -> None:
        """Have these subjects and patterns, if the event server agrees."""
        before = self._pyro_subjects, self._pyro_patterns
        self._pyro_subjects, self._pyro_patterns = subjects, patterns
        try:
            if self._pyro_link is None:
                self._pyro_attach(None)
            else:
                position = self._pyro_tell(method, names)
                self._pyro_seen = max(self._pyro_seen, position or 0)
        except BaseException:
            self._pyro_subjects, self._pyro_patterns = before
            raise

    def _pyro_tell(self, method: str, *arguments: Any) -> Any:
        """Tell the event server of a change, as far as it knows this subscriber."""
        link = self._pyro_link
        if link is None:
            return None
        try:
            if method == "set_queue":
                return self._pyro_server.call(method, self._pyro_token, *arguments)
            return self._pyro_server.call(method, *arguments, self._pyro_token)
        except (KeyError, ProtocolError):
            if not self._pyro_listening:
                self._pyro_attach(link)
            # else it is about to come back, with what it is to have by then
        return None

    # Being attached

    def _pyro_attach(self, instead_of: Link | None, to_listen: bool = False) -> None:
        """Tell the event server of all subscriptions, over this thread's connection.

        Nothing if another link took the place of `instead_of`. Events come if this listens, or is about `to_listen`.
        """
        with self._pyro_changing:
            if self._pyro_link is not instead_of:
                return
            link = Link(self, self._pyro_server.new_proxy(), to_listen or self._pyro_listening)
            self._pyro_link = link
            try:
                found = link.attach(
                    *(self._pyro_token, list(self._pyro_subjects.values()), list(self._pyro_patterns)),
                    *(self._pyro_queue, self._pyro_identity, self._pyro_seen),
                )
            except BaseException:
                self._pyro_link = instead_of
                link.close()
                raise
            identity, position, missed, why = found
            if self._pyro_identity and missed != 0:
                self._pyro_miss(missed, why)
            self._pyro_seen = position if identity != self._pyro_identity else max(self._pyro_seen, position)
            self._pyro_identity = identity
            if self._pyro_listening:
                link.gate.set()
                link.keep = self if self._pyro_begun else None
            if instead_of is not None:
                instead_of.close_soon()
            if self._pyro_gap is not None:
                link.state.run_in_hub(lambda: link.state.start(lambda first, second: self._pyro_take(link, [])))

    def _pyro_lost(self, error: Exception) -> None:
        log.warning("%r has lost the event server, and goes on trying: %s", self, error)

    def _pyro_back(self) -> None:
        log.info("%r has the event server again", self)

    def _pyro_take(self, link: Link, items: list[Any]) -> None:
        """Events came. In a worker, which the event server waits for."""
        while link.closed or not (self._pyro_listening and link.gate.is_set()):
            # Not before, though another link may be about to take over: what is answered does not come once more.
            if link.closed:
                return
            link.gate.wait()
            if not self._pyro_listening:
                link.gate.clear()
        with self._pyro_serial:
            gap, self._pyro_gap = self._pyro_gap, None
            if gap is not None:
                self._pyro_tell_of(gap)
            number = None
            for item in items:
                lanes = self._pyro_lanes
                if lanes is not None:
                    lanes.wait_for_room()
                # Copies of an event stay together, since the event server cannot be told of a half.
                is_event = len(item) == 4
                is_copy = is_event and item[3] == number
                if self._pyro_stop.is_set() or (not is_copy and self._pyro_ends_here(link)):
                    return
                if not is_event:
                    count, self._pyro_seen, why = item
                    self._pyro_tell_of(Gap(count, why))
                    continue
                if item[3] != number:  # else there may be another link by now, that has seen more
                    number = self._pyro_seen = item[3]
                if lanes is not None:
                    lanes.put(Event(*item))
                else:
                    self._pyro_guarded(self.event, Event(*item))

    def _pyro_ends_here(self, link: Link) -> bool:
        """Whether no further event of this link is to be begun with; the event server is told of the last one."""
        return self._pyro_link is not link or not self._pyro_listening

    def _pyro_miss(self, count: int | None, why: str) -> None:
        """So many events were missed: `missed` is told of that before the next one."""
        before, gap = self._pyro_gap, Gap(count, why)
        self._pyro_gap = gap if before is None else before.and_then(gap)

    def _pyro_tell_of(self, gap: Gap) -> None:
        """Call `missed`, behind the events that were taken before."""
        if self._pyro_lanes is not None:
            self._pyro_lanes.put_gap(gap)
        else:
            self._pyro_handle_gap(gap)

    def _pyro_handle(self, event: Event) -> None:
        self._pyro_guarded(self.event, event)

    def _pyro_handle_gap(self, gap: Gap) -> None:
        self._pyro_guarded(self.missed, gap)

    def _pyro_guarded(self, function: Callable[[Any], object], argument: Any) -> None:
        try:
            function(argument)
        except (KeyboardInterrupt, SystemExit) as error:
            hub_state().interrupt(error)
        except CallCancelled:
            raise
        except BaseException as error:  # also what is left of a gevent.Timeout
            log.warning("%r: %s raised, and the next event is taken", self, function.__name__, exc_info=error)
        finally:
            self._pyro_arrivals.tell()
            if self._pyro_daemon is not None:
                self._pyro_daemon.tell()

    # Listening

    def listen(self) -> None:
        """Have `event` called with the events that come, until `abort`. Blocks; may run in a greenlet or a thread.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            NamingError: no event server was found.
            ProtocolError: it cannot be reached.
            PyroError: it listens already.
        """
        self._pyro_start_listening()
        try:
            wait_for(self._pyro_stop)
        finally:
            self._pyro_detach()

    def begin(self) -> None:
        """Listen without blocking, in the loop of this thread, until `abort`; nobody needs to keep the subscriber.

        For programs that run gevent's loop anyway, or another one that waits for `getServerSockets` and calls
        `handleRequests`. Raises as `listen`.
        """
        with self._pyro_changing:
            link = self._pyro_link
            if self._pyro_begun and (self._pyro_stop.is_set() or (link is not None and link.state.closed)):
                self._pyro_detach()
            self._pyro_start_listening(object())
        if self._pyro_stop.is_set():
            self._pyro_end_soon()

    def _pyro_start_listening(self, begun: object = None) -> None:
        with self._pyro_changing:
            if self._pyro_listening:
                raise PyroError(f"{self!r} listens already")
            link = self._pyro_link
            if link is None or link.state is not hub_state():
                self._pyro_attach(link, to_listen=True)
            elif not link.listens:
                try:
                    link.listen(self._pyro_token)
                except (KeyError, ProtocolError):
                    if not link.lost:  # else it comes back, to listen
                        self._pyro_attach(link, to_listen=True)
            lanes = self._pyro_lanes
            if not self._pyro_threaded:
                self._pyro_lanes = None
            elif lanes is None or not lanes.reopen():
                self._pyro_lanes = Lanes(self._pyro_handle, self._pyro_handle_gap)
            self._pyro_listening, self._pyro_begun = True, begun
            try:
                if self._pyro_daemon is not None:
                    self._pyro_daemon.attach()
            except BaseException:
                self._pyro_detach()
                raise
            assert self._pyro_link is not None
            self._pyro_link.keep = self if begun else None
            self._pyro_link.gate.set()

    def _pyro_detach(self) -> None:
        with self._pyro_changing:
            self._pyro_stop.clear()
            self._pyro_listening, self._pyro_begun = False, None
            for gap in () if self._pyro_lanes is None else self._pyro_lanes.close():
                self._pyro_miss(gap.count, gap.reason)
            link, self._pyro_link = self._pyro_link, None
            if link is not None:
                link.close()
            rounds, self._pyro_rounds = self._pyro_rounds, None
            if rounds is not None:
                rounds.close()
            daemon, self._pyro_daemon = self._pyro_daemon, None
            if daemon is not None:
                daemon.stop(0)

    def abort(self) -> None:
        """Have `listen` return, or not begin; end what `begin` began. From any thread or greenlet, also in `event`."""
        self._pyro_stop.set()
        self._pyro_end_soon()

    def _pyro_end_soon(self) -> None:
        begun, link = self._pyro_begun, self._pyro_link
        if begun is None or link is None or link.state.closed:
            return

        def end(first: Any, second: Any) -> None:
            if self._pyro_begun is begun:
                self._pyro_detach()

        link.state.call_soon(lambda: link.state.start(end))

    # For a loop of another kind

    def getServerSockets(self) -> list[LoopSocket]:
        """What a foreign loop has to wait for after `begin`; as of a daemon. Raises PyroError as `handleRequests`."""
        return [self._pyro_served().socket()]

    def handleRequests(self, timeout: float | None = None) -> None:
        """One round, after `begin`: wait until events came, then return; see `Daemon.handleRequests`.

        Args:
            timeout: seconds to wait at most; 0 to look exactly once, None to wait for ever.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            PyroError: it was not begun, or aborted, or listens in another thread.
        """
        rounds = self._pyro_served()
        with answered_by(None, rounds.interrupt):
            rounds.wait_once(timeout, (), None)

    def _pyro_served(self) -> Rounds:
        link = self._pyro_link
        if link is None or self._pyro_begun is None or self._pyro_stop.is_set():
            raise PyroError(f"{self!r} was not begun, or is aborted")
        if link.state is not hub_state():
            raise PyroError(f"{self!r} listens in another thread")
        if self._pyro_rounds is None:
            self._pyro_rounds = Rounds(link.state, self._pyro_arrivals)
        return self._pyro_rounds

    def setThreading(self, th: int) -> None:
        """Say, before `listen`, whether events may come side by side.

        With 0 they come strictly one after the other. With 1, as it is unless PYRO_MULTITHREADED is 0, those of one
        subject do so, and events of other subjects do not wait for them.
        """
        self._pyro_threaded = bool(th)

    # What else there is

    def getES(self) -> DynamicProxy:
        """A proxy for the event server. Raises NamingError if there is none, and as calls do."""
        return self._pyro_server.proxy()

    def getDaemon(self) -> Daemon:
        """A daemon for objects of the program's own, which `listen` and `begin` serve. Events do not need it.

        Who serves it in another way, by its `requestLoop` or `handleRequests`, gets the events, too.
        """
        if self._pyro_daemon is None:
            self._pyro_daemon = daemon = OwnDaemon(self._pyro_begin_once)
            link = self._pyro_link
            if self._pyro_listening and link is not None:
                if link.state is hub_state():
                    daemon.attach()
                else:
                    link.state.call_soon(daemon.attach)
        return self._pyro_daemon

    def _pyro_begin_once(self) -> None:
        if not self._pyro_listening:
            self.begin()
