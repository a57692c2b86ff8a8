"""The sessions of a client with one remote object: where it is, who connects, and how a session comes about."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pickle import PicklingError
from typing import Any, NamedTuple

from gevent import monkey, sleep
from greenlet import getcurrent

from gpyro.auth import Identification
from gpyro.constants import INTERNAL_DAEMON_GUID
from gpyro.context import handed_on, with_deadline
from gpyro.errors import (
    ConnectionDeniedError,
    ConnectionLostError,
    MaybeExecutedError,
    NamingError,
    NotSentError,
    TimeoutError,
)
from gpyro.logs import log
from gpyro.net.calls import Turnstile
from gpyro.net.channel import Channel
from gpyro.net.connect import ChannelTable
from gpyro.net.dial import Destination
from gpyro.net.hub import HubState, check_not_in_hub, hub_state
from gpyro.pyrouri import PyroURI
from gpyro.settings import Settings
from gpyro.validators import DefaultConnValidator, ServersJudge
from gpyro.wire import metadata
from gpyro.wire.frames import FLAG_METADATA, Frame, Kind

# The id of the real thread, also in a patched process: sessions belong to the hub of a thread.
thread_id: Callable[[], int] = monkey.get_original("_thread", "get_ident")

MAX_BEGINS = 3
"""Channels tried for one session: the first may be lost, or the proxy changed, while it is opened."""

CATCH_UP = 5
"""Turns of the loop at most for reading what came while it could not run."""

_private_keys = itertools.count(1)


def add_metadata(fields: dict[str, Any], deadline: float | None, body: bytes) -> tuple[int, bytes]:
    """Flags and body of a request: with what the call hands on, if there is anything."""
    if not fields and deadline is None:
        return 0, body
    return FLAG_METADATA, metadata.prepend(with_deadline(fields, deadline), body)


def catch_up(channel: Channel) -> None:
    """Let the loop read what it could not: the daemon may be gone, or have said that it will.

    Otherwise a call after a restart would be sent to nobody, and what became of it could not be told.
    """
    for _ in range(CATCH_UP):
        if not channel.usable or not channel.has_unread():
            return
        sleep(0.001)


class ClientSession:
    """The client's side of what a proxy has with a daemon, on one hub."""

    __slots__ = ("channel", "id")

    def __init__(self, channel: Channel, session_id: int) -> None:
        self.channel = channel
        self.id = session_id

    def close(self) -> None:
        """End it. On the thread of its channel."""
        self.channel.close_session(self.id)


class _Given(NamedTuple):
    """An identification and the place that it is for."""

    place: tuple[str, int, str]
    identification: Identification


def _place(uri: PyroURI) -> tuple[str, int, str]:
    """What an identification is for: a daemon, or what a name stands for, wherever that is."""
    return uri.address, uri.port, uri.objectID if uri.protocol == "PYRONAME" else ""


class _Line(Turnstile):
    """The calls that wait until a proxy is connected, in the order made: each passes in its turn, also afterwards."""

    __slots__ = ("process", "state")

    def __init__(self, state: HubState) -> None:
        super().__init__(state.hub, lambda size: True)
        self.state = state
        self.process = os.getpid()


class Sessions:
    """A client's sessions with one remote object, one for each thread. They end when the last that has them is gone.

    Attributes:
        uri: where the object is; of a PYROLOC or PYRONAME URI, once it was asked for, the PYRO URI.
        made_for: the URI as it was given, which stays: a name is asked for again with each new session.
        settings: the configuration, as it was when the proxy was made.
        timeout: seconds for a whole call, or None.
        oneway: names of the methods that are called one-way.
        private: number of its own channel, or 0.
        given: who connects, and for which address it was said; to be set by `identify`.
        forget: called with the name of a member that turned out to be no method (any more).
        validator: what judges the servers of new connections, or None; to be set by `judge_by`.
        sessions: the open sessions by thread.
    """

    __slots__ = (
        "_lines",
        "_process",
        "forget",
        "generation",
        "given",
        "made_for",
        "oneway",
        "private",
        "sessions",
        "settings",
        "timeout",
        "uri",
        "validator",
    )

    def __reduce__(self) -> Any:
        raise PicklingError("methods of remote objects do not travel: pass the proxy")  # it holds who calls

    def __init__(self, uri: PyroURI, settings: Settings, made_for: PyroURI | None = None) -> None:
        """Begin without a session; `made_for` is a URI that is not to be copied."""
        self.sessions: dict[int, ClientSession] = {}
        self._lines: dict[int, _Line] = {}  # by thread, and only while calls wait
        self._process = os.getpid()
        self.generation = 0  # counts what makes the sessions so far those of another object or caller
        self.uri = uri
        self.made_for = made_for or uri.clone()
        self.settings = settings
        self.timeout: float | None = None
        self.oneway: frozenset[str] = frozenset()
        self.private = 0
        self.given: _Given | None = None
        self.forget: Callable[[str], object] | None = None
        self.validator: DefaultConnValidator | None = None

    def handed_on(self) -> tuple[float | None, dict[str, Any]]:
        """The deadline of a call made now (monotonic seconds, or None), and the metadata that go with it."""
        return handed_on(getattr(getcurrent(), "spawn_tree_locals", None), self.timeout)

    def failure(self, serializer: Any, answer: Frame) -> Exception:
        """The exception that an answer, which `serializer` reads, stands for."""
        raise NotImplementedError

    def connect(self, deadline: float | None) -> ClientSession:
        """The session on the current thread's hub, begun if need be, when all earlier calls have gone on with it."""
        thread = thread_id()
        session = self.sessions.get(thread)
        if session is not None and thread not in self._lines:
            channel = session.channel
            if channel.usable and not channel.has_unread():
                return session
        state = hub_state()
        check_not_in_hub(state.hub)
        line = self._lines.get(thread)
        # Ids of threads are used again, and those that waited in another process, or thread, wait no more.
        if line is None or line.state is not state or line.process != os.getpid():
            line = self._lines[thread] = _Line(state)
        try:
            try:
                line.wait(getcurrent(), 0, deadline)
            except TimeoutError:
                raise self._too_late() from None
            try:
                session = self.sessions.get(thread)
                if session is not None:
                    catch_up(session.channel)
                if session is None or not session.channel.usable:
                    begin = self._begin if session is None else self._begin_again
                    session = self.sessions[thread] = begin(state.part(ChannelTable), deadline)
                return session
            except (NotSentError, ConnectionDeniedError) as error:
                line.close(error)  # what holds for this call holds for those that came while it tried
                raise
            finally:
                line.passed()
        finally:
            if not line.busy and self._lines.get(thread) is line:
                del self._lines[thread]

    def _too_late(self) -> TimeoutError:
        uri = self.made_for
        where = uri if uri.protocol == "PYRONAME" else self._destination(uri, uri)
        return TimeoutError(f"the deadline passed while connecting to {where}", "connecting")

    def _destination(self, uri: PyroURI, made_for: PyroURI) -> Destination:
        """How to connect to where an object is; `made_for` is the URI that this was found by."""
        judge = None if self.validator is None else ServersJudge(self.validator)
        given = self.given
        # Whatever other threads do to the proxy meanwhile, it goes to no other address.
        fits = given is not None and given.place == _place(made_for)
        credentials = given.identification if given is not None and fits else None
        return Destination(uri.address, uri.port, credentials, self.private, self.settings, judge)

    def _begin(self, table: ChannelTable, deadline: float | None) -> ClientSession:
        """A new session, on a new or a shared channel."""
        self._process = os.getpid()
        for owner in list(self.sessions):
            lost = self.sessions.get(owner)
            if lost is not None and not lost.channel.usable and (lost.channel.closed or owner == thread_id()):
                self.sessions.pop(owner, None)
                lost.close()
        reason = ""
        for _ in range(MAX_BEGINS):
            generation = self.generation
            target, channel = self._reach(table, deadline)
            object_id = target.objectID
            if target.protocol == "PYROLOC":
                object_id = self._locate(channel, object_id, deadline)
            if generation != self.generation:
                reason = "the proxy was changed while it connected"
            elif not channel.usable:
                reason = channel.reason
            else:
                if self.made_for.protocol != "PYRO":
                    self.uri.init(target.address, object_id, target.port, "PYRO")
                return ClientSession(channel, channel.open_session(object_id.encode("ascii")))
        raise ConnectionLostError(f"connection lost: {reason}")

    def _begin_again(self, table: ChannelTable, deadline: float | None) -> ClientSession:
        """A new session in place of one that was lost."""
        try:
            return self._begin(table, deadline)
        except ConnectionLostError:
            raise
        except NotSentError as error:
            raise ConnectionLostError(*error.args) from error.__cause__
        except NamingError as error:  # as while its server restarts
            raise ConnectionLostError(f"connection lost, and now {error}") from error

    def _reach(self, table: ChannelTable, deadline: float | None) -> tuple[PyroURI, Channel]:
        """Where the object is, by id or by its name there, and a channel to that daemon."""
        made_for = self.made_for
        if made_for.protocol != "PYRONAME":
            return made_for, table.channel(self._destination(made_for, made_for), deadline)
        from gpyro.name_cache import find_name  # which stands on proxies itself

        last = self.uri.clone() if self.uri.protocol == "PYRO" else None
        found = find_name(made_for, last, last is not None, deadline)
        try:
            return found, table.channel(self._destination(found, made_for), deadline)
        except NotSentError:
            anew = find_name(made_for, found, True, deadline)
            if anew == found:
                raise
            return anew, table.channel(self._destination(anew, made_for), deadline)

    def _locate(self, channel: Channel, name: str, deadline: float | None) -> str:
        """Ask the daemon for the id of the object that has this name."""
        session = ClientSession(channel, channel.open_session(INTERNAL_DAEMON_GUID.encode()))
        try:
            question = channel.serializer.encode_call("ResolvePYROLOC", (name,), {})
            flags, body = add_metadata(self.handed_on()[1], deadline, question)
            answer = channel.request(Kind.CALL, session.id, body, flags, deadline)
            if answer[0] != Kind.RESULT:
                raise self.failure(channel.serializer, answer)
            return str(channel.serializer.decode(answer[4]))
        except TimeoutError:
            raise self._too_late() from None
        except MaybeExecutedError as error:  # the question may have been, but the call was not
            raise ConnectionLostError(*error.args) from None
        finally:
            session.close()

    def point_to(self, uri: PyroURI) -> None:
        """Stand for another object from now on; sessions that are open end.

        An identification was given for one address, and is not sent to another.
        """
        before, given = self.made_for, self.given
        self.uri, self.made_for = uri, uri.clone()
        self.release()
        if given is not None and _place(uri) != given.place:
            if self.given is given:
                self.given = None
            log.warning("the identification given for %s is not used for %s; give it again", before, uri)

    def identify(self, identification: Any) -> None:
        """Say who connects; sessions that are open end. Raises as `Identification.of`."""
        uri = self.made_for
        made = None if identification is None else Identification.of(identification)
        self.given = None if made is None else _Given(_place(uri), made)
        self.release()

    def judge_by(self, validator: DefaultConnValidator | None) -> None:
        """Have the servers of new connections judged; sessions that are open end."""
        self.validator = validator
        self.release()

    def make_private(self, private: bool) -> None:
        """Use a channel of its own, or the shared one."""
        self.private = next(_private_keys) if private else 0
        self.release()

    def release(self) -> None:
        """End the sessions; the next call begins a new one."""
        self.generation += 1
        thread = thread_id()
        while self.sessions:
            owner, session = self.sessions.popitem()
            if owner == thread:
                session.close()
            else:
                session.channel.state.call_soon(session.close)

    def __del__(self) -> None:
        # May run anywhere, so it only leaves word; and not in a forked child, where nothing of it is left.
        sessions = getattr(self, "sessions", None)
        if sessions and self._process == os.getpid():
            for session in sessions.values():
                if not session.channel.closed:
                    session.channel.state.call_soon(session.close)
