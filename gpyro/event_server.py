"""The event server: the object that is known as ``:Pyro.EventService``."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, Final

from gpyro.errors import PyroError
from gpyro.event_admission import check_room, wishes_of
from gpyro.event_census import Rows, subscribers_after, topics_after
from gpyro.event_distribution import Distributor
from gpyro.event_receiver import Receiver, key_of, not_seen, patterns_of
from gpyro.event_routes import CallRoute, ChannelRoute, place_of
from gpyro.events import EventError, SubscriptionError, UnknownSubscriberError
from gpyro.exposure import expose
from gpyro.guid import getGUID
from gpyro.logs import log
from gpyro.net.encoding import serializer_for
from gpyro.objects import ObjBase
from gpyro.settings import config
from gpyro.tls import Session, current_call
from gpyro.topics import (
    Limits,
    Loss,
    Pattern,
    PatternError,
    Policy,
    SubjectError,
    fold,
    limits_of,
    subjects_of,
)
from gpyro.values import Serializer

MAX_TOKEN: Final = 100
"""Characters in what a subscriber calls itself, and in the id of its inbox."""

MAX_DISMISSED: Final = 1_000
"""Subscribers that were sent away and are remembered, so that they can be told why."""


@expose("publish", "subscribe", "subscribeMatch", "unsubscribe", "set_queue")
@expose("attach", "listen", "detach", "topics", "subscribers", "info")
class EventService(ObjBase):
    """Takes events and gives them to those who subscribed to their subjects.

    A subscriber is an object with a method ``event(event)``, passed by a proxy or by reference, or a function; whoever
    uses `gpyro.eventsvc.Subscriber` need not care. All subjects, and patterns, can be one string, or a list or tuple of
    them; what is empty does nothing. It serves one thread.

    Attributes:
        limits: how much may wait for a subscriber that says nothing about that.
    """

    _pyro_answers = (PatternError, SubjectError, EventError, UnknownSubscriberError, SubscriptionError)

    def __init__(self) -> None:
        """Nobody has subscribed. The queues of subscribers are as PYRO_ES_QUEUESIZE and its like say now."""
        super().__init__()
        settings = config.snapshot()
        policy = Policy.BLOCK if settings.PYRO_ES_BLOCKQUEUE else Policy.NEWEST
        self.limits = Limits(policy, settings.PYRO_ES_QUEUESIZE, settings.PYRO_ES_QUEUEBYTES)
        self._serializer: Serializer = serializer_for(settings.serializers()[0], settings)
        self._identity = getGUID()
        self._distributor = Distributor(settings, self._dismiss)
        self._ledger, self._index = self._distributor.ledger, self._distributor.index
        self._since = time.time()
        self._receivers: dict[Any, Receiver] = {}
        self._dismissed: dict[str, str] = {}
        self._of_session: dict[Session, dict[Receiver, None]] = {}
        self._closed = False

    # Publishing

    def publish(self, subjects: object, message: Any) -> None:
        """Give an event to all who subscribed to its subject; of several subjects, one event each.

        Who subscribed to a subject and to a pattern that it matches gets it twice. It may wait, for at most
        PYRO_ES_BLOCKTIME seconds, for subscribers whose queue is full; the others have the event by then.

        Args:
            subjects: what it is about.
            message: any value that can travel.

        Raises:
            SubjectError: the subjects are none.
            EventError: the message cannot travel on, or is too large (PYRO_ES_MAXEVENT); nobody got it.
        """
        call = current_call()
        serializer = self._serializer if call is None else call.session.channel.serializer
        self._distributor.publish(subjects, message, serializer)

    def deliver_soon(self, receiver: Receiver) -> None:
        """See `Distributor.deliver_soon`."""
        self._distributor.deliver_soon(receiver)

    # Subscribing

    def subscribe(self, subjects: object, subscriber: Any) -> int | None:
        """Give a subscriber the events of these subjects. Nothing changes where that is so already.

        Raises:
            SubjectError: the subjects are none.
            TypeError: the subscriber is nothing that can be called.
        """
        folded = {fold(name): name for name in subjects_of(subjects)}
        if folded:
            return self._add(subscriber, folded, [])
        return None

    def subscribeMatch(self, subjectPatterns: object, subscriber: Any) -> int | None:
        """Give a subscriber the events of all subjects that match one of these patterns.

        They are regular expressions that have to match from the beginning of the subject on; case does not count.

        Raises:
            SubjectError: they are no strings.
            PatternError: one is no regular expression, or could take too much time.
            TypeError: the subscriber is nothing that can be called.
        """
        patterns = patterns_of(subjects_of(subjectPatterns, "pattern"))
        if patterns:
            return self._add(subscriber, {}, patterns)
        return None

    def unsubscribe(self, subjects: object, subscriber: Any) -> None:
        """Take subscriptions back, to these subjects or else to these patterns. What is unknown is ignored."""
        names = subjects_of(subjects)
        receiver = self._receivers.get(key_of(subscriber))
        if receiver is None:
            return
        receiver.remove(self._index, names)
        if not receiver.subjects and not receiver.patterns and not isinstance(receiver.key, str):
            self._forget(receiver)

    def set_queue(self, subscriber: Any, policy: str = "", events: int | None = None, size: int | None = None) -> None:
        """Say how much may wait for a subscriber, and what happens beyond that.

        Args:
            subscriber: one that has subscribed.
            policy: ``block``, ``oldest``, ``newest`` or ``disconnect``; empty for what the configuration says.
            events: events that may wait; 0 for as many as are granted, None for what the configuration says.
            size: bytes of them, likewise.

        Raises:
            ValueError: it is no policy, or no number.
            UnknownSubscriberError: it has no subscription; a KeyError.
        """
        limits = limits_of(self.limits, policy, events, size)
        receiver = self._receivers.get(key_of(subscriber))
        if receiver is None:
            raise UnknownSubscriberError("it has no subscription at this event server")
        receiver.backlog.limits = limits

    def _add(self, subscriber: Any, subjects: dict[str, str], patterns: Collection[Pattern]) -> int | None:
        """Subscribe it. Gives the number of the last event if it is attached and has all up to that; else None."""
        self._check_open()
        key = key_of(subscriber)
        receiver = self._receivers.get(key)
        check_room(self._receivers, self._index, key, subjects, patterns, receiver)
        if receiver is None:
            receiver = self._new_receiver(key, subscriber)
        receiver.add(self._index, subjects, patterns)
        has_all = isinstance(key, str) and receiver.backlog.empty and receiver.in_flight is None
        return self._ledger.number if has_all else None

    def _new_receiver(self, key: Any, subscriber: Any) -> Receiver:
        """The receiver for what was passed as a subscriber."""
        if isinstance(key, str):
            raise UnknownSubscriberError("no such subscriber is attached to this event server")
        receiver = self._receivers[key] = Receiver(self, key, str(subscriber._remote.uri), self.limits)
        receiver.route = CallRoute(self._distributor.state, subscriber._remote)
        if getattr(subscriber._remote, "received", None) is not None:
            self._follow_session(receiver)
        return receiver

    def _check_open(self) -> None:
        """Raise SubscriptionError if the server is closed, or the caller gone."""
        call = current_call()
        if self._closed:
            raise SubscriptionError("the event server is closed")
        if call is not None and call.session.ended:
            raise SubscriptionError("the subscriber is gone")

    def _follow_session(self, receiver: Receiver) -> None:
        """Drop a receiver as soon as the session that it came by ends."""
        self._leave_session(receiver)
        call = current_call()
        if call is not None:
            session = receiver.session = call.session
            self._of_session.setdefault(session, {})[receiver] = None
            session.on_end = lambda: self._session_ended(session)

    def _leave_session(self, receiver: Receiver) -> None:
        session, receiver.session = receiver.session, None
        if session is not None:
            receivers = self._of_session.get(session, {})
            receivers.pop(receiver, None)
            if not receivers:
                self._of_session.pop(session, None)

    def _session_ended(self, session: Session) -> None:
        for receiver in self._of_session.pop(session, ()):
            self.drop(receiver, session.channel.reason or "its session ended")

    # Subscribers that get their events over the channel that they subscribed by

    def attach(
        self,
        token: str,
        inbox: str,
        subjects: object = (),
        patterns: object = (),
        queue: object = (),
        identity: str = "",
        seen: int = 0,
        listening: bool = True,
    ) -> tuple[int, str, int, int | None, str]:
        """Become a subscriber, or come back: for `gpyro.eventsvc.Subscriber`.

        Args:
            token: what it is known by to nobody else.
            inbox: the id of the caller's object that takes events, on this very channel.
            subjects: what it subscribes to.
            patterns: likewise.
            queue: arguments of `set_queue`.
            identity: of the event server whose events it has got; empty if there was none.
            seen: the number of the last one.
            listening: whether it takes events; else they wait here until `listen`.

        Returns:
            The id of the session that brings events; the identity of this event server; the number of the last event
            that is not among those to come; how many were missed, None if that is not known; and why.

        Raises:
            SubjectError, PatternError, ValueError: as `subscribe`, `subscribeMatch` and `set_queue`.
        """
        call = current_call()
        texts = isinstance(token, str) and isinstance(inbox, str) and isinstance(identity, str) and type(seen) is int
        if call is None or not (texts and 0 < len(token) <= MAX_TOKEN and inbox.isascii() and len(inbox) <= MAX_TOKEN):
            raise PyroError("only a client can attach, with a token and the id of an inbox")
        folded, looked_at, limits = wishes_of(self.limits, subjects, patterns, queue)
        self._check_open()
        check_room(self._receivers, self._index, token, folded, looked_at, None)
        route = ChannelRoute(call.session.channel, inbox, self._distributor.outlet, bool(listening))
        why = self._dismissed.pop(token, "")
        missed: int | None = 0
        receiver, position = self._still_there(token, identity, seen)
        if receiver is None:
            name = f"subscriber at {place_of(route.address)}"
            receiver = self._receivers[token] = Receiver(self, token, name, limits, self._ledger.number)
            position, missed = self._ledger.number, None
        receiver.route, receiver.backlog.limits = route, limits
        receiver.clear(self._index)
        receiver.add(self._index, folded, looked_at)
        self._follow_session(receiver)
        if missed is None:
            missed, why = self._missed(receiver, identity, seen, why)
        self.deliver_soon(receiver)
        return route.session_id, self._identity, position, missed, why

    def _still_there(self, token: str, identity: str, seen: int) -> tuple[Receiver | None, int]:
        """Who comes back before it was noticed to be gone, with what it has not seen; and the last that it has."""
        receiver = self._receivers.get(token)
        if receiver is None:
            return None, seen
        if not identity:  # the answer to its first attempt was lost
            seen = receiver.begins
        elif identity != self._identity or seen < receiver.begins:
            # That to its last one was, and with it what it had missed by then.
            self._forget(receiver)
            return None, seen
        before, receiver.route = receiver.route, None
        if before is not None:
            before.close()
        flight, receiver.in_flight = receiver.in_flight, None
        receiver.backlog.put_back(not_seen(flight or [], seen))
        return receiver, seen

    def _missed(self, receiver: Receiver, identity: str, seen: int, why: str) -> tuple[int | None, str]:
        if not identity:
            return 0, ""
        if identity != self._identity:
            return None, "the event server was restarted"
        why = why or "it was not connected"
        subjects = self._ledger.since(seen)
        return None if subjects is None else self._index.count(subjects, receiver), why

    def listen(self, token: str) -> None:
        """Let events come to a subscriber that attached without listening.

        Raises:
            UnknownSubscriberError: it is not attached.
        """
        receiver = self._receivers.get(token) if isinstance(token, str) else None
        if receiver is None or not isinstance(receiver.route, ChannelRoute):
            raise UnknownSubscriberError("no such subscriber is attached to this event server")
        receiver.route.listening = True
        self.deliver_soon(receiver)

    def detach(self, token: str) -> None:
        """Take all subscriptions of an attached subscriber back."""
        receiver = self._receivers.get(token) if isinstance(token, str) else None
        if receiver is not None:
            self._forget(receiver)

    # Subscribers go

    def drop(self, receiver: Receiver, why: str) -> None:
        """A subscriber is gone."""
        if self._receivers.get(receiver.key) is receiver:
            log.info("%s is gone: %s", receiver.name, why)
            self._forget(receiver)

    def _dismiss(self, receiver: Receiver) -> None:
        """Send a subscriber away whose queue is full, as it wished."""
        why = "the subscriber was too slow, and disconnected"
        loss = Loss(self._ledger.number, why)
        loss.add(loss.until, receiver.backlog.untold)
        text = "%s: %s; with this event %d are lost"
        self._distributor.state.warn(f"dismissed {receiver.name}", text, receiver.name, why, loss.count)
        if isinstance(receiver.key, str):
            if len(self._dismissed) >= MAX_DISMISSED:
                del self._dismissed[next(iter(self._dismissed))]
            self._dismissed[receiver.key] = why
        elif isinstance(receiver.route, CallRoute):
            receiver.route.dismiss(receiver, loss)
        self._forget(receiver)

    def _forget(self, receiver: Receiver) -> None:
        if self._receivers.get(receiver.key) is not receiver:
            return
        del self._receivers[receiver.key]
        self._leave_session(receiver)
        receiver.clear(self._index)
        route, receiver.route = receiver.route, None
        receiver.in_flight = None
        receiver.backlog.clear()
        if route is not None:
            # Not in the middle of what is being published, or delivered.
            self._distributor.state.run_in_hub(route.close)

    def let_go(self) -> None:
        """End all subscriptions, so that those who publish wait no more: the server is about to stop."""
        self.close()

    def close(self) -> None:
        """End all subscriptions."""
        self._closed = True
        for receiver in list(self._receivers.values()):
            self._forget(receiver)

    # Looking on

    def topics(self, after: str = "") -> Rows:
        """The subjects that something was published on or that somebody subscribed to, a thousand at most.

        Each with ``subject``, ``published`` (how many events), ``last`` (when, as `time.time`, or None) and
        ``subscribers``, who get its events now. In the order of the subjects, whatever their case.

        Args:
            after: those behind this subject.

        Raises:
            SubjectError: it is none.
        """
        (subject,) = map(fold, subjects_of(after, most=1)) if after else ("",)
        return topics_after(subject, self._ledger, self._index)

    def subscribers(self, after: int = 0) -> Rows:
        """The subscribers, in the order they came, two hundred at most.

        Each with ``number``, ``name``, ``address``, ``subjects``, ``patterns`` (of each the first 20),
        ``subscriptions`` (how many these are altogether), ``waiting`` and ``bytes`` (what is in its queue), ``sent``
        (events on their way), ``delivered``, ``lost``, ``policy`` and ``since``.

        Args:
            after: those who came after the one with this number.

        Raises:
            ValueError: it is no number.
        """
        if type(after) is not int:
            raise ValueError(f"a subscriber has a whole number, not {after!r}")
        return subscribers_after(after, self._receivers.values())

    def info(self) -> dict[str, Any]:
        """``identity``, another one after each start; ``number`` of the last event; ``since`` when it runs."""
        return {"identity": self._identity, "number": self._ledger.number, "since": self._since}
