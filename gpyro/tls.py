"""Thread-local storage in Pyro's sense: what a method can keep for, and know of, the session it was called in.

"TLS" in this project is always this, never transport security. There is one storage for each session, that is, for
each proxy of a client, and it ends with the session. It is found through the greenlet that a call runs in, also in
greenlets which that one spawns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit, getcurrent

from gpyro.errors import PyroError

if TYPE_CHECKING:
    from gpyro.net.channel import Channel
    from gpyro.net.sockets import Credentials
    from gpyro.wire.frames import Frame

CURRENT_CALL = "gpyro.call"
"""Key of the running call in a greenlet's spawn-tree locals."""


class CallCancelled(GreenletExit):
    """Thrown into a method whose caller left, or whose time is over: it is to end. Not an Exception, as with kill."""


class LocalStorage:
    """An empty container for whatever methods keep for a session.

    Attributes:
        caller: who the session belongs to, as a `Caller`.
    """

    caller: Caller

    def __init__(self, caller: Caller | None = None) -> None:
        if caller is not None:
            self.caller = caller

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...


class Caller:
    """Who calls: one object for each session. What methods set on it is seen in that session's calls only.

    What a validator set on the connection, which several sessions may share, shows through.

    Attributes:
        addr: the peer's address; host and port for TCP.
        identity: the user's name that the peer proved, '' if it proved a passphrase alone; None if it proved nothing.
        credentials: process, user and group ids of a peer on a Unix socket; None otherwise. Also as `pid`, `uid`,
            `gid`.
        connected: whether the session is still there.
    """

    def __init__(
        self, addr: Any, identity: str | None, credentials: Credentials | None, connection: dict[str, Any]
    ) -> None:
        self.addr = addr
        self.identity = identity
        self.credentials = credentials
        self.connected = True
        if credentials is not None:
            self.pid, self.uid, self.gid = credentials
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_connection"][name]
        except KeyError:
            raise AttributeError(f"the caller has no attribute {name!r}") from None

    def __repr__(self) -> str:
        return f"<Caller {self.addr} connected={self.connected}>"


class Session:
    """The server's side of what one proxy has with one daemon.

    Attributes:
        channel: the channel that carries it.
        id: its id on that channel.
        object_id: the object that it was opened for.
        queue: calls that have to wait, as for initTLS; None when calls may start.
        failure: the answer to all its calls if initTLS raised: the encoded error.
        ended: the session is over.
        on_end: called in the hub when it ends; must not raise or block.
    """

    __slots__ = (
        "__weakref__",
        "_caller",
        "_storage",
        "channel",
        "ended",
        "failure",
        "id",
        "object_id",
        "on_end",
        "queue",
    )

    def __init__(self, channel: Channel, session_id: int, object_id: str) -> None:
        self.channel = channel
        self.id = session_id
        self.object_id = object_id
        self.queue: deque[Call] | None = None
        self.failure: bytes | None = None
        self.ended = False
        self.on_end: Callable[[], object] | None = None
        # Most sessions never ask for these.
        self._caller: Caller | None = None
        self._storage: LocalStorage | None = None

    @property
    def caller(self) -> Caller:
        """The one `Caller` of this session."""
        if self._caller is None:
            channel = self.channel
            if channel.user is None:
                channel.user = {}
            self._caller = Caller(channel.address, channel.identity, channel.peer_credentials, channel.user)
            self._caller.connected = not self.ended
        return self._caller

    @property
    def storage(self) -> LocalStorage:
        """The one `LocalStorage` of this session."""
        if self._storage is None:
            self._storage = LocalStorage(self.caller)
        return self._storage

    def end(self) -> None:
        """The proxy, or the connection, is gone."""
        self.ended = True
        if self._caller is not None:
            self._caller.connected = False
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()


class Call:
    """One invocation on the server's side; the context of the greenlet that it runs in.

    Attributes:
        session: the session it belongs to.
        frame: the frame that brought it.
        chain: holds on synchronized objects that it descends from.
        answered: the answer went out before the method began, since it is one-way.
        counted: it takes one of the places of such calls of its connection.
        cancelled: nobody waits for its end any more: the caller left, or the time is over.
        late: its time is over.
        deadline: until when the caller waits, in monotonic seconds; None if that is not limited.
        worker: the greenlet that carries it out; None before and after.
        shields: how many blocks it is in that must not be broken off.
        timer: watches over the deadline.
        watched: something is to be done when it ends.
        fields: the metadata that came with it, if there were any.
        answer_annotations: what its answer takes back.
        info: what observers are told of it; None if there are none.
        storage: the storage that it sees, where that is not the session's.
        decoder: reads its arguments, where the serializer of the channel does not do.
        held: it was answered early, and its large arguments are still counted.
        outgoing: its answer, where that is more than a plain value.
    """

    chain: tuple[bytes, ...] = ()
    answered = False
    counted = False
    cancelled = False
    late = False
    deadline: float | None = None
    worker: Any = None
    shields = 0
    timer: Any = None
    watched = False
    fields: dict[str, Any] | None = None
    answer_annotations: dict[str, Any] | None = None
    info: Any = None
    storage: LocalStorage | None = None
    decoder: Any = None
    outgoing: Any = None
    held = False

    def __init__(self, session: Session, frame: Frame) -> None:
        self.session = session
        self.frame = frame

    @property
    def serializer(self) -> Any:
        """What reads its arguments."""
        return self.decoder or self.session.channel.serializer

    def cancel(self) -> None:
        """Nobody waits for its end any more: stop it, or see that it does not begin. In the hub."""
        self.cancelled = True
        worker = self.worker
        if worker is not None and not self.shields:
            worker.throw(CallCancelled)

    def expire(self) -> None:
        """Its time is over. In the hub."""
        self.late = True
        self.cancel()

    def watch(self, until: float) -> None:
        """Stop it at `until` (monotonic seconds), unless it ended before."""
        self.deadline = until
        self.watched = True
        self.timer = self.session.channel.loop.timer(max(0.0, until - monotonic()))
        self.timer.start(self.expire, update=True)

    def over(self) -> None:
        """It ended, or did not begin."""
        self.worker = None
        if self.timer is not None:
            self.timer.stop()
            self.timer.close()
            self.timer = None


def current_call() -> Call | None:
    """The call that the current greenlet works for: its own, or that of the greenlet it descends from."""
    tree_locals = getattr(getcurrent(), "spawn_tree_locals", None)
    return tree_locals.get(CURRENT_CALL) if tree_locals else None


def getLocalStorage() -> LocalStorage:
    """The storage of the session that the current call belongs to.

    Works in the greenlet of a call and in those it spawns (`gevent.spawn` and its like; not `gevent.spawn_raw`, and
    not with gevent's greenlet tracking switched off).

    Raises:
        PyroError: no remote call is running here.
    """
    call = current_call()
    if call is None:
        raise PyroError("there is no local storage: no remote call is running in this greenlet")
    return call.storage or call.session.storage
