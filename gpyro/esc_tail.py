"""``gpyro-esc tail``: telling events as they come."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import gevent
from gevent import monkey
from gevent.socket import wait_read

from gpyro.control_output import Output, as_json, date
from gpyro.eventsvc import Event, Gap, Subscriber
from gpyro.pyrouri import PyroURI

_TEXTS: Final = {
    "tailing": "tailing {what}",
    "published": "{subject}  {text}",
    "missed": "{gap}",
    "lost": "event server lost: {reason}",
    "back": "event server is back",
}

# gevent's own, in a patched process, does not tell of errors that nobody asks for.
_poll = monkey.get_original("select", "poll")


class Tail(Subscriber):
    """Tells the events of subjects, or patterns, what was missed of them, and that the event server was lost."""

    def __init__(
        self,
        output: Output,
        ident: str | tuple[str, str] | None = None,
        esURI: str | PyroURI | None = None,
        most: int | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            output: where to.
            ident: as of `Subscriber`, like the next one.
            esURI: see there.
            most: how many events to tell; None for all that come.
        """
        super().__init__(ident, esURI)
        self.setThreading(0)
        # Publishers are not to wait for somebody who only looks on.
        self.set_queue("oldest")
        self._output, self._left = output, most
        self._over = False
        self._failure: OSError | None = None

    def follow(self, subjects: list[str], patterns: list[str]) -> None:
        """Subscribe, and tell to what. Raises as `Subscriber.subscribe` does."""
        self.subscribe(subjects)
        self.subscribeMatch(patterns)
        what = ", ".join([*subjects, *(f"/{pattern}/" for pattern in patterns)])
        self._tell("tailing", {"subjects": subjects, "patterns": patterns}, what=what)

    def run(self) -> None:
        """Tell events until there were enough of them.

        Raises:
            BrokenPipeError: nobody reads on.
            OSError: they cannot be written.
            PyroError: as `Subscriber.listen`.
        """
        with self._ended_with_its_reader():
            self.listen()
        if self._failure is not None:
            raise self._failure

    def event(self, event: Event) -> None:
        """Tell it."""
        text = event.msg if isinstance(event.msg, str) else repr(event.msg)
        members = {"subject": event.subject, "number": event.number, "msg": as_json(event.msg)}
        self._tell("published", members, event.time, subject=event.subject, text=text)
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self._end()

    def missed(self, gap: Gap) -> None:
        """Tell of it."""
        self._tell("missed", {"count": gap.count, "reason": gap.reason}, gap=gap)

    def _pyro_lost(self, error: Exception) -> None:
        self._tell("lost", {"reason": str(error)}, reason=error)

    def _pyro_back(self) -> None:
        self._tell("back", {})

    def _tell(self, event: str, members: dict[str, Any], when: float | None = None, **texts: Any) -> None:
        if self._over:
            return
        when = time.time() if when is None else when
        try:
            self._output.object(time=when, event=event, **members)
            self._output.text(f"{date(when)}  {_TEXTS[event].format_map(texts)}")
        except OSError as error:
            self._end(error)

    def _end(self, failure: OSError | None = None) -> None:
        self._over, self._failure = True, failure
        self.abort()

    @contextlib.contextmanager
    def _ended_with_its_reader(self) -> Iterator[None]:
        """Notice that nobody reads a pipe any more, also while no event comes."""
        watching = None
        with contextlib.suppress(OSError, ValueError):  # there may be no file behind it
            descriptor = sys.stdout.fileno()
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                watching = gevent.spawn(self._watch_reader, descriptor)
        try:
            yield
        finally:
            if watching is not None:
                watching.kill()

    def _watch_reader(self, descriptor: int) -> None:
        poll = _poll()
        poll.register(descriptor, 0)
        while not poll.poll(0):  # errors are told although nobody asks for them
            wait_read(descriptor)  # which they end as well
        self._end(BrokenPipeError("nobody reads the output"))
