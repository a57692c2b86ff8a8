"""What PYRONAME URIs stand for: asked of the name server once, and then followed.

So the name server is not asked for each new connection, and proxies find what they knew while it is away.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

import gevent
from gevent.event import AsyncResult

from gpyro.context import deadline as within
from gpyro.errors import ConnectionDeniedError, NamingError, NotSentError, PyroError, TimeoutError
from gpyro.locator import NameServerLocator
from gpyro.logs import log
from gpyro.names import full_name
from gpyro.naming_proxy import NameServerProxy, is_elsewhere, patience
from gpyro.net.hub import HubState, hub_state, limit
from gpyro.pyrouri import PyroURI
from gpyro.settings import config

WAIT: Final = 25.0
"""Seconds that one question waits for something to happen to the names."""

SLACK: Final = 5.0
"""Seconds that its answer may take beyond that."""

GATHER: Final = 0.05
"""Seconds in which names gather before the name server is told to follow them, too."""

BETWEEN_TRIES: Final = 0.1
AWAY: Final = 1.0
"""Seconds between attempts to reach a name server that is away, in the background."""

ANSWER: Final = 3.0
"""Seconds for the answer to a question when there is something to go by without it."""

MOST: Final = 1000
"""Names that are followed at each name server; the one that was not needed for longest is forgotten."""

UNUSED: Final = 600.0
"""Seconds after which a name that was not needed is not followed any more."""

_NEVER: Final = float("-inf")

_identification: list[Any] = []


def identify_for_names(identification: str | tuple[str, str] | None) -> None:
    """Say who asks the name server on behalf of PYRONAME URIs in this process, from now on; None for nobody.

    Then only a name server is believed that proves to know the passphrase, too.
    """
    _identification[:] = [] if identification is None else [identification]
    hub_state().part(NameCache).close()


def find_name(uri: PyroURI, last: PyroURI | None, again: bool, deadline: float | None) -> PyroURI:
    """What a PYRONAME URI stands for.

    Args:
        uri: the URI.
        last: what it stood for, to go by if the name server cannot be asked; None if that is not known.
        again: whether to ask the name server, even if it is known.
        deadline: until when, in monotonic seconds; None for PYRO_CONNECT_TIMEOUT.

    Raises:
        NamingError: there is no object of this name, or no name server.
        NotSentError: the name server cannot be asked.
        ConnectionDeniedError: the name server refuses to be asked.
        TimeoutError: not in time.
    """
    state = hub_state()
    name = full_name(uri.objectID, config.PYRO_NS_DEFAULTGROUP)
    until = monotonic() + config.PYRO_CONNECT_TIMEOUT if deadline is None else deadline
    return state.part(NameCache).directory(uri.address, uri.port).find(name, last, again, until)


class NameCache:
    """The names that one hub needed, by name server."""

    def __init__(self, state: HubState) -> None:
        self._state = state
        self._directories: dict[tuple[str, int], _Directory] = {}

    def directory(self, address: str, port: int) -> _Directory:
        """That of one name server; without address, of the one that is found by searching."""
        found = self._directories.get((address, port))
        if found is None:
            found = self._directories[address, port] = _Directory(self._state, address, port)
        return found

    def close(self) -> None:
        """Forget everything."""
        directories, self._directories = self._directories, {}
        for directory in directories.values():
            directory.close()

    def forked(self) -> None:
        """In the child of a fork, which follows nothing."""
        for directory in self._directories.values():
            directory.closed = True
        self._directories = {}

    def close_inherited(self) -> None:
        """Nothing is held open."""


class _Away(Exception):
    """The name server cannot be asked; holds the reason."""


class _Directory:
    """What names at one name server stand for."""

    def __init__(self, state: HubState, address: str, port: int) -> None:
        self._state = state
        self._address, self._port = address, port
        self._ns: NameServerProxy | None = None
        self._known: dict[str, str] = {}  # URIs by name; empty for one that is gone, and may come back
        self._used: dict[str, float] = {}
        self._asking: dict[str, AsyncResult[str | Exception]] = {}
        self._followed: dict[str, str] = {}
        self._asked = _NEVER
        self._follower: Any = None
        self._gathering = False
        self.closed = False

    def find(self, name: str, last: PyroURI | None, again: bool, until: float) -> PyroURI:
        """See `find_name`."""
        now = monotonic()
        self._used[name] = now
        if not again and name in self._followed and now - self._asked < WAIT + SLACK:
            self._state.poll()  # what the name server said may not have been read yet
            gevent.sleep(0)
            known = self._known.get(name)
            if known:
                return PyroURI(known)
        known = self._known.get(name) or (last and str(last)) or ""
        outcome = self._ask(name, min(until, now + ANSWER) if known else until, patient=not known)
        if isinstance(outcome, str):
            return PyroURI(outcome)
        if known and isinstance(outcome, _Away | TimeoutError):
            log.info("the name server cannot be asked for %s, which was at %s: %s", name, known, outcome)
            return PyroURI(known)
        cause = outcome.args[0] if isinstance(outcome, _Away) else outcome
        if isinstance(cause, NamingError | ConnectionDeniedError | TimeoutError):
            raise type(cause)(*cause.args) from None
        raise NotSentError(f"the name server cannot be asked for {name}: {cause}") from None

    def _ask(self, name: str, until: float, patient: bool) -> str | Exception:
        answer = self._asking.get(name)
        if answer is None:
            answer = self._asking[name] = AsyncResult()
            # In a greenlet of its own, so that a caller who leaves early does not take the answer from the others.
            self._state.run_in_hub(lambda: self._state.start(self._look_up, name, patient))
        with limit(until - monotonic()):
            outcome = answer.get()
            assert outcome is not None
            return outcome
        return TimeoutError(f"the deadline passed while the name server was asked for {name}", "connecting")

    def _look_up(self, name: str, patient: bool) -> None:
        outcome: str | Exception
        answer = self._asking[name]
        until = monotonic() + (patience() if patient else 0.0)
        try:
            while True:
                try:
                    outcome = self._look_up_now(name, patient)
                except _Away as away:
                    outcome = away
                if not isinstance(outcome, _Away) or monotonic() >= until:
                    break
                gevent.sleep(BETWEEN_TRIES)
        except Exception as error:
            outcome = error
        except BaseException as error:
            outcome = _Away(error)
            raise
        finally:
            self._asking.pop(name, None)
            answer.set(outcome)
        if isinstance(outcome, str):
            self._keep(name, outcome)
        elif isinstance(outcome, NamingError) and name in self._known:
            self._known[name] = ""

    def _look_up_now(self, name: str, patient: bool) -> str:
        ns = self._ns
        if ns is None:
            if not patient and self._follower is not None:
                raise _Away("it is being looked for")
            ns = self._ns = self._locate()
        try:
            with within(config.PYRO_CONNECT_TIMEOUT):
                return str(ns._proxy._remote.call("resolve", name))
        except NamingError as error:
            if not is_elsewhere(error):
                raise
            reason: PyroError = error
        except PyroError as error:
            reason = error
        if self._ns is ns:
            self._ns = None
        raise _Away(reason)

    def _locate(self) -> NameServerProxy:
        who = _identification[0] if _identification else None
        try:
            with within(config.PYRO_CONNECT_TIMEOUT):
                return NameServerLocator(who).getNS(self._address or None, (self._address and self._port) or None)
        except PyroError as error:
            raise _Away(error) from None

    # Following

    def _keep(self, name: str, uri: str) -> None:
        if self.closed:
            return
        is_new = self._known.get(name) != uri
        self._known[name] = uri
        while len(self._known) > MOST:
            self._drop(min(self._known, key=lambda one: self._used.get(one, _NEVER)))
        if self._follower is None or (is_new and not self._gathering):
            self._gathering = True
            self._state.run_after(GATHER, self._follow_anew)

    def _drop(self, name: str) -> None:
        self._known.pop(name, None)
        self._used.pop(name, None)

    def _follow_anew(self) -> None:
        """In the hub."""
        self._gathering = False
        if self._follower is not None:
            self._follower.kill(block=False)
            self._follower = None
        if not self.closed and not self._state.closed:
            self._follower = gevent.spawn(self._follow)

    def _follow(self) -> None:
        while not self.closed:
            for name in [name for name in self._known if self._used.get(name, _NEVER) < monotonic() - UNUSED]:
                self._drop(name)
            if not self._known:
                self._follower = None
                return
            try:
                ns = self._ns
                if ns is None:
                    ns = self._ns = self._locate()
                self._asked, self._followed = monotonic(), dict(self._known)
                with within(WAIT + SLACK):
                    different = ns._proxy._remote.call("follow", self._followed, WAIT)
            except (_Away, PyroError, OSError):
                self._asked = _NEVER
                self._ns = None
                gevent.sleep(AWAY)
                continue
            for name, uri in different.items():
                if name in self._known:
                    self._known[name] = uri or ""
            if not different and monotonic() - self._asked < WAIT / 2:  # it stops, or has too much to do
                gevent.sleep(AWAY)

    def close(self) -> None:
        """Forget everything."""
        self.closed = True
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.kill(block=False)
