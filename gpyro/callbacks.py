"""What calls back: proxies and functions that stand for what the other end of a connection passed by reference.

An `gpyro.objects.ObjBase`, a function or a bound method that is an argument or a result of a remote call stays where it
is; the other side gets a `CallbackProxy` or a `RemoteFunction`, whose calls go over the connection that brought it.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from gpyro.dispatch import Dispatcher
from gpyro.errors import NotSentError, ProtocolError, PyroError, SerializationError
from gpyro.net.hub import check_not_in_hub, hub_state
from gpyro.net.messages import OutgoingMessage, faces
from gpyro.net.opening import acceptors
from gpyro.net.references import Received
from gpyro.objects import ObjBase
from gpyro.proxy import DynamicProxy
from gpyro.remote import RemoteObject
from gpyro.sessions import ClientSession, catch_up
from gpyro.settings import config
from gpyro.streams import LeavingStreams
from gpyro.values import register_class
from gpyro.values.bound import REFERENCE, ByReference
from gpyro.values.refusal import Refused
from gpyro.wire.frames import Frame, Kind, Rejection, unpack_text
from gpyro.wire.references import FUNCTION, FUNCTION_CALL, OBJECT


class _Place:
    """What a callback has instead of a URI."""

    protocol: Final = "PYRO"
    address: Final = ""
    port: Final = 0

    def __init__(self, received: Received) -> None:
        self.objectID = received.id
        self._text = f"callback {received.id} by {received.channel.address}"

    def __str__(self) -> str:
        return self._text


class RemoteReference(RemoteObject):
    """The way to something that the peer of a channel passed by reference.

    Attributes:
        received: what came.
    """

    __slots__ = ("received",)

    def __init__(self, received: Received) -> None:
        place: Any = _Place(received)
        super().__init__(place, config.snapshot(), place)
        self.received = received

    def connect(self, deadline: float | None) -> ClientSession:
        """The session on the channel that brought it.

        Raises:
            NotSentError: that channel is gone.
            PyroError: it is another thread's, or this is the hub.
        """
        channel = self.received.channel
        check_not_in_hub(channel.hub)
        if hub_state() is not channel.state:
            raise PyroError(f"{self.uri} belongs to the thread of its connection; call it from there")
        if channel.usable:
            catch_up(channel)
        if not channel.usable:
            raise NotSentError(f"the connection that brought {self.uri} is gone: {channel.reason}")
        return ClientSession(channel, self.received.session_id())

    def failure(self, serializer: Any, answer: Frame) -> Exception:
        """See `RemoteObject.failure`."""
        if answer[0] == Kind.REJECTED and unpack_text(answer[4])[0] == Rejection.UNKNOWN_OBJECT:
            return ProtocolError(f"{self.uri} is gone: the session that it was passed by has ended")
        return super().failure(serializer, answer)

    def _message(
        self, session: ClientSession, streams: LeavingStreams | None, why_no_streams: str = ""
    ) -> OutgoingMessage:
        # Two callbacks that are passed to each other would keep each other's sessions for ever.
        return session.channel.attachments().outgoing(0, None, streams, why_no_streams, bool(why_no_streams))

    def release(self) -> None:
        """End the session; the next call begins another."""
        channel = self.received.channel
        if hub_state() is channel.state:
            self.received.end_session()
        else:
            channel.state.call_soon(self.received.end_session)

    def point_to(self, uri: Any) -> NoReturn:
        """Not possible."""
        self._refuse()

    def identify(self, identification: Any) -> NoReturn:
        """Not possible."""
        self._refuse()

    def judge_by(self, validator: Any) -> NoReturn:
        """Not possible."""
        self._refuse()

    def make_private(self, private: bool) -> NoReturn:
        """Not possible."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise PyroError(f"{self.uri} has the connection that brought it, and no other")

    def __del__(self) -> None:
        """There is nothing to end: the session belongs to what was received."""


class CallbackProxy(DynamicProxy):
    """A proxy for an object that was passed by reference.

    Its calls go over the connection that brought it, and it is of no use when that has ended. It can be passed back
    over this connection, and arrives as the object itself; it cannot go elsewhere, nor be pickled.
    """

    def __init__(self, received: Received) -> None:
        self.__dict__["_remote"] = RemoteReference(received)

    def __copy__(self) -> CallbackProxy:
        """A second proxy with the same settings."""
        copied = type(self)(self._received)
        mine, its = self._remote, copied._remote
        its.timeout, its.oneway = mine.timeout, mine.oneway
        return copied

    @property
    def _received(self) -> Received:
        remote: Any = self._remote
        received: Received = remote.received
        return received

    def __reduce__(self) -> NoReturn:
        raise _cannot_be_pickled(self)


class RemoteFunction:
    """A function, or a bound method, of the other side. It is called like one, and raises as a remote method does.

    Two of them are equal if they stand for the same function.
    """

    __slots__ = ("__weakref__", "_remote")

    def __init__(self, received: Received) -> None:
        self._remote = RemoteReference(received)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call it. Raises as `gpyro.proxy.DynamicProxy._invokePYRO` does."""
        return self._remote.call(FUNCTION_CALL, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<RemoteFunction: {self._remote.uri}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteFunction) and self._remote.received.id == other._remote.received.id

    def __hash__(self) -> int:
        return hash(self._remote.received.id)

    def __copy__(self) -> RemoteFunction:
        return self

    def __reduce__(self) -> NoReturn:
        raise _cannot_be_pickled(self)


def _cannot_be_pickled(value: Any) -> PyroError:
    return PyroError(
        f"{type(value).__name__} cannot be pickled or copied deeply: it has the connection that brought it"
    )


def acceptor_of(channel_settings: Any) -> Dispatcher:
    """What serves callbacks on a channel that this end opened: a dispatcher without objects of its own."""
    return Dispatcher(channel_settings)


# How they travel: an object that is connected as an ordinary proxy, everything else by reference.


def _object_state(obj: ObjBase) -> DynamicProxy:
    name = type(obj).__name__
    if "objectGUID" not in obj.__dict__:
        raise Refused(f"{name}.__init__ did not call ObjBase.__init__")
    try:
        return obj.getProxy()
    except (AttributeError, ReferenceError, KeyError):  # not connected, or no more
        raise ByReference(f"{name} stays where it is, and can be called back only where a connection is") from None


def _make_proxy(state: Any) -> DynamicProxy:
    if not isinstance(state, DynamicProxy):
        raise SerializationError("a reference in a message that brings none")
    return state


def _refuse_to_travel(value: Any) -> NoReturn:
    raise ByReference(f"{type(value).__name__}: it can only be passed back over the connection that brought it")


def _refuse_to_arrive(state: Any) -> NoReturn:
    raise SerializationError("this does not travel by value")


faces.update({OBJECT: CallbackProxy, FUNCTION: RemoteFunction})
acceptors.append(acceptor_of)
register_class(ObjBase, name=REFERENCE, to_state=_object_state, from_state=_make_proxy, subclasses=True)
for _cls in (CallbackProxy, RemoteFunction):
    register_class(
        _cls,
        name=f"{REFERENCE}.{_cls.__name__}",
        to_state=_refuse_to_travel,
        from_state=_refuse_to_arrive,
        subclasses=True,
    )
del _cls
