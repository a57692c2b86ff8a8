"""Host names to addresses: literals need no look-up, one look-up per name at a time, remembered briefly."""

from __future__ import annotations

import socket
from time import monotonic
from typing import Any

import gevent.socket
from gevent.event import AsyncResult

from gpyro.errors import NotSentError, TimeoutError
from gpyro.net.hub import HubState, limit
from gpyro.net.sockets import literal

Endpoint = tuple[int, Any]
"""Family and socket address."""

MAX_REMEMBERED = 1000
"""Names remembered per hub."""


class Resolver:
    """Looks names up in gevent's resolver, on one hub."""

    def __init__(self, state: HubState) -> None:
        self._state = state
        self._known: dict[str, tuple[float, list[Endpoint]]] = {}
        self._asking: dict[str, AsyncResult[list[Endpoint] | str]] = {}

    def endpoints(self, host: str, port: int, deadline: float, remember: float) -> list[Endpoint]:
        """All addresses of `host`, at least one.

        Args:
            host: a name or an IP address, without brackets.
            port: put into the addresses.
            deadline: monotonic seconds.
            remember: seconds that the answer may be used again.

        Raises:
            NotSentError: the name has no address.
            TimeoutError: no answer until the deadline.
        """
        known = literal(host, port)
        if known is not None:
            return [known]
        remembered = self._known.get(host)
        if remembered is not None and remembered[0] > monotonic():
            found = remembered[1]
        else:
            found = self._ask(host, deadline)
            if remember > 0:
                if len(self._known) >= MAX_REMEMBERED:
                    self._known.clear()
                self._known[host] = (monotonic() + remember, found)
        return [(family, (address[0], port, *address[2:])) for family, address in found]

    def _ask(self, host: str, deadline: float) -> list[Endpoint]:
        answer = self._asking.get(host)
        if answer is None:
            answer = self._asking[host] = AsyncResult()
            # In a greenlet of its own, so that a caller who leaves early does not take the answer from the others.
            self._state.run_in_hub(lambda: self._state.start(self._look_up, host, answer))
        with limit(deadline - monotonic()):
            outcome = answer.get()
            assert outcome is not None
            if isinstance(outcome, str):
                raise NotSentError(f"connection failed: cannot resolve host {host!r}: {outcome}")
            return outcome
        raise TimeoutError(f"the deadline passed while looking up host {host!r}", "connecting")

    def _look_up(self, host: str, answer: AsyncResult[list[Endpoint] | str]) -> None:
        outcome: list[Endpoint] | str
        try:
            found = gevent.socket.getaddrinfo(host, 0, 0, socket.SOCK_STREAM)
            outcome = [(int(entry[0]), entry[4]) for entry in found] or "it has no address"
        except (OSError, UnicodeError) as error:
            outcome = str(getattr(error, "strerror", None) or error)
        except BaseException as error:
            outcome = repr(error)
        self._asking.pop(host, None)
        answer.set(outcome)

    def close(self) -> None:
        """Nothing is held open."""

    def forked(self) -> None:
        """Nothing is held open."""

    def close_inherited(self) -> None:
        """Nothing is held open."""
