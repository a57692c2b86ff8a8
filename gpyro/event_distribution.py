"""How an event gets from whoever publishes it to those who get it: numbered, encoded once, put into queues, sent."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from gevent.event import Event as Wakeup

from gpyro.event_census import TURN
from gpyro.event_receiver import Receiver
from gpyro.event_routes import Outlet, Parcel, encoded_message
from gpyro.events import EventError
from gpyro.net.hub import HubState, hub_state, limit
from gpyro.settings import Settings
from gpyro.topics import Ledger, Policy, Ticket, TopicIndex, fold, subjects_of
from gpyro.values import Serializer


class _Waiting:
    """Those who have no room for what somebody publishes."""

    __slots__ = ("tickets", "wakeup")

    def __init__(self) -> None:
        self.tickets: list[tuple[Receiver, Ticket]] = []
        self.wakeup = Wakeup()


class Distributor:
    """Gives events to the receivers of their subjects. It serves one thread.

    Attributes:
        ledger: what was published.
        index: who gets it.
        outlet: what the ways to receivers have in common.
    """

    def __init__(self, settings: Settings, dismiss: Callable[[Receiver], None]) -> None:
        """`dismiss` sends away who wishes that when its queue is full."""
        self.ledger = Ledger()
        self.index: TopicIndex[Receiver] = TopicIndex()
        self.outlet = Outlet()
        self._patience = settings.PYRO_ES_BLOCKTIME
        self._max_event = settings.PYRO_ES_MAXEVENT
        self._dismiss = dismiss
        self._due: deque[Receiver] = deque()
        self._delivering = False
        self._state: HubState | None = None

    @property
    def state(self) -> HubState:
        """The thread's, by which it works."""
        if self._state is None:
            self._state = hub_state()
        return self._state

    # In

    def publish(self, subjects: object, message: Any, serializer: Serializer) -> None:
        """See `EventService.publish`; `serializer`: what most receivers are expected to speak, too."""
        if type(subjects) is str and subjects:  # as nearly always
            subject = fold(subjects)
            parcel, now = self._first_parcel(serializer, subjects, message, None)
            self.ledger.add(subject, subjects, now)
            waiting = self._hand_out(parcel, self.index.find(subject), None)
        else:
            waiting = self._publish_several(subjects_of(subjects), message, serializer)
        if waiting is not None:
            self._wait(waiting)

    def _publish_several(self, names: list[str], message: Any, serializer: Serializer) -> _Waiting | None:
        folded = [fold(name) for name in names]
        if not names:
            return None
        # Each is made when it is known that somebody gets it: they may be large.
        encoded = encoded_message(serializer, names[0], message)
        _, now = self._first_parcel(serializer, max(names, key=len), message, encoded)
        waiting: _Waiting | None = None
        for subject, name in zip(folded, names, strict=True):
            self.ledger.add(subject, name, now)
            receivers = self.index.find(subject)
            if receivers:
                parcel = Parcel.joined(serializer, name, encoded, now, self.ledger.number)
                waiting = self._hand_out(parcel, receivers, waiting)
        return waiting

    def _first_parcel(
        self, serializer: Serializer, name: str, message: Any, encoded: bytes | None
    ) -> tuple[Parcel, float]:
        """An event with the next number, and its time. Raises EventError."""
        while True:
            before, now = self.ledger.number, time.time()
            if encoded is None:
                parcel = Parcel(serializer, name, message, now, before + 1)
            else:
                parcel = Parcel.joined(serializer, name, encoded, now, before + 1)
            if parcel.size > self._max_event:
                raise EventError(
                    f"the event of {parcel.size:,} bytes on {name!r} is over the {self._max_event:,} that the event "
                    "server takes (its PYRO_ES_MAXEVENT)",
                    "msg",
                )
            if self.ledger.number == before:  # else what a class does to be encoded has let others run
                return parcel, now

    def _hand_out(self, parcel: Parcel, receivers: list[Receiver], waiting: _Waiting | None) -> _Waiting | None:
        """Let an event wait for these; gives those who have no room for it, with those who had none before."""
        for receiver in receivers:
            if not receiver.backlog.put(parcel):
                if receiver.backlog.limits.policy is Policy.DISCONNECT:
                    self._dismiss(receiver)
                    continue
                waiting = waiting or _Waiting()
                waiting.tickets.append((receiver, receiver.backlog.wait(parcel, waiting.wakeup.set)))
            if not receiver.due and receiver.in_flight is None:
                self.deliver_soon(receiver)
        return waiting

    def _wait(self, waiting: _Waiting) -> None:
        """Wait until there is room for all that wait for it, or the time is over."""
        in_vain = False
        try:
            with limit(self._patience):
                while not all(ticket.settled for _, ticket in waiting.tickets):
                    waiting.wakeup.wait()
                    waiting.wakeup.clear()
            in_vain = True
        finally:
            for receiver, ticket in waiting.tickets:
                if not ticket.settled:
                    receiver.backlog.give_up(ticket, in_vain)
                    self.state.warn(
                        f"slow {receiver.name}",
                        "%s takes its events too slowly: some are lost",
                        receiver.name,
                    )

    # Out

    def deliver_soon(self, receiver: Receiver) -> None:
        """Deliver to it at the end of this turn of the loop, with what comes till then."""
        if receiver.due or receiver.route is None:
            return
        receiver.due = True
        self._due.append(receiver)
        if not self._delivering:
            self._delivering = True
            self.state.run_in_hub(self._deliver)

    def _deliver(self) -> None:
        due = self._due
        until = time.monotonic() + TURN
        while due:
            for _ in range(min(len(due), 32)):
                receiver = due.popleft()
                receiver.due = False
                if receiver.route is not None:
                    receiver.route.deliver(receiver)
            if due and time.monotonic() > until:
                self.state.run_after(0, self._deliver)
                return
        self._delivering = False
        self.outlet.forget()
