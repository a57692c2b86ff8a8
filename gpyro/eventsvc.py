"""The event service: the names of Pyro 3's ``Pyro.EventService`` in one place, and what belongs to them."""

from __future__ import annotations

from gpyro.constants import EVENTSERVER_NAME
from gpyro.event_clients import Publisher, Subscriber
from gpyro.event_server import EventService
from gpyro.event_starter import EventServiceStarter
from gpyro.events import Event, EventError, Gap
from gpyro.topics import PatternError, SubjectError

__all__ = [
    "EVENTSERVER_NAME",
    "Event",
    "EventError",
    "EventService",
    "EventServiceStarter",
    "Gap",
    "PatternError",
    "Publisher",
    "SubjectError",
    "Subscriber",
]
