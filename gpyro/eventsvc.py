"""The event service: the names of Pyro 3's ``Pyro.EventService`` in one place, and what belongs to them.

Run by ``python -m`` it is gpyro-es.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gpyro.constants import EVENTSERVER_NAME
from gpyro.event_clients import Publisher, Subscriber
from gpyro.event_server import EventService
from gpyro.event_starter import EventServiceStarter
from gpyro.events import Event, EventError, Gap, SubscriptionError, UnknownSubscriberError
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
    "SubscriptionError",
    "UnknownSubscriberError",
    "main",
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run gpyro-es with these arguments (without them: the process's own); the exit code.

    Raises:
        SystemExit: help or the version was asked for, and printed.
    """
    from gpyro import event_tool  # programs that only use events do without what the tools need

    return event_tool.main(argv)


if __name__ == "__main__":
    sys.exit(main())
