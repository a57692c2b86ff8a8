"""All errors of gpyro, in one tree.

    PyroError                          something inside gpyro; methods should not raise it themselves
    ├── URIError                       a URI that cannot be understood
    ├── DaemonError                    a daemon that cannot start or do what was asked
    ├── NamingError                    args = (text[, offending name[, what is wrong with it]])
    ├── StoreError                     a store of names cannot be opened, read or changed
    │   ├── CompactedError             a watch cannot go on: changes it has not seen are not remembered any more
    │   └── LeaseLostError             a lease that ended, or never was
    ├── NoModuleError                  a module that an incoming value needs is missing
    ├── ConfigurationError             a configuration item that is unknown or has an unusable value
    ├── SerializationError             a value that cannot travel, or bytes that are no value
    ├── RemoteError                    an exception of the other side that has no class of its own here
    ├── SynchronizationError           a call chain came back to a synchronized object that it already holds
    └── ProtocolError                  the peer or the way to it; *verdicts* on a call stand below it
        ├── WireError                  bytes that break the rules of docs/wire.md (the peer's fault)
        ├── NotSentError               verdict: the call never left; it is safe to repeat it
        │   └── ConnectionLostError    the same, because an established connection was lost
        ├── CallRefusedError           verdict: the server did not start the call (busy, draining, cancelled)
        ├── ConnectionDeniedError      verdict: the server refused the connection; args = (reason text,)
        └── ConnectionClosedError      an established connection was lost
            ├── ConnectionLostError    see above: it is both
            ├── MaybeExecutedError     verdict: lost after sending; the call may have run
            ├── StreamLostError        a stream broke off; `items` tells after how many items
            └── TimeoutError           verdict: the deadline passed; see `phase` and `may_have_run`

A verdict speaks of the call of the proxy that raises it. When a method on the server lets one of its own verdicts
out, the caller therefore gets a RemoteError that names it, never the verdict class itself.

The names down to ConnectionDeniedError are Pyro 3's; what gpyro adds stands below the class that a Pyro 3 program
would have caught in the same place.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

Phase = Literal["connecting", "queued", "running"]


class PyroError(Exception):
    """Root of everything that gpyro raises on its own account."""


class URIError(PyroError):
    """A URI, or a part of one, that cannot be understood; the text says which part and why."""


class DaemonError(PyroError):
    """A daemon cannot start, or cannot do what it was asked for."""


class NamingError(PyroError):
    """A name is refused or unknown. `args` is the text and, where there is one, the offending name.

    For names that are no names there is a third: what is wrong.
    """

    def __str__(self) -> str:
        return ": ".join(repr(part) if number == 1 else str(part) for number, part in enumerate(self.args))


class StoreError(PyroError):
    """A store of names cannot be opened, read or changed; the text says which, and why.

    Attributes:
        may_have_happened: whether the change that raised this may have been made nevertheless.
    """

    def __init__(self, text: str, may_have_happened: bool = False) -> None:
        super().__init__(text)
        self.may_have_happened = may_have_happened


class CompactedError(StoreError):
    """A watch cannot go on from where it is, since changes that it has not seen are not remembered any more.

    What it watches has to be listed again, and watched from the revision of that list.
    """


class LeaseLostError(StoreError):
    """The lease ended, by its time or by its owner, or there never was one; its keys are gone."""


class NoModuleError(PyroError):
    """A module that an incoming value needs is not installed here."""


class ConfigurationError(PyroError):
    """A configuration item that does not exist, or a value it cannot take."""


class SerializationError(PyroError):
    """A value that cannot travel (`path` says where in the arguments or result it is), or bytes that are no value.

    Attributes:
        path: where the value stands, as in ``args[0].items[3].owner``; empty for undecodable bytes.
    """

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.path = path


class RemoteError(PyroError):
    """An exception of the other side whose class is not known, or must not travel, here.

    Attributes:
        name: the qualified name of its class over there.
        text: its ``str()`` over there.
        attributes: its public attributes, as far as they could travel.
    """

    def __init__(self, name: str, text: str = "", attributes: dict[str, Any] | None = None) -> None:
        super().__init__(name, text)
        self.name = name
        self.text = text
        self.attributes: dict[str, Any] = attributes or {}

    def __str__(self) -> str:
        return f"{self.name}: {self.text}" if self.text else self.name


class SynchronizationError(PyroError):
    """A call chain came back to a SynchronizedObjBase object that one of its own calls is holding.

    Waiting would never end, because the call that holds the object waits for this one.
    """


class ProtocolError(PyroError):
    """The connection to the peer, or what it said, is not as it must be.

    Attributes:
        may_have_run: whether the call that raised this can have had an effect on the server.
    """

    may_have_run: bool = False


class WireError(ProtocolError):
    """The peer sent bytes that break a rule of the wire format.

    Attributes:
        rule: number of the broken rule in ``docs/wire.md``, such as ``"F3"``; empty where no single rule applies.
    """

    def __init__(self, text: str, rule: str = "") -> None:
        super().__init__(f"{text} [{rule}]" if rule else text)
        self.rule = rule


class NotSentError(ProtocolError):
    """The call never left this process: it is safe to repeat it."""


class CallRefusedError(ProtocolError):
    """The server answered that it did not start the call: it is safe to repeat it, here or elsewhere."""


class ConnectionDeniedError(ProtocolError):
    """The server refused the connection. ``args[0]`` is the reason it gave."""


class ConnectionClosedError(ProtocolError):
    """An established connection was lost."""


class ConnectionLostError(NotSentError, ConnectionClosedError):
    """An established connection was lost before the call left: it is safe to repeat it."""


class MaybeExecutedError(ConnectionClosedError):
    """The connection was lost after the call was sent and before its answer came: it may have run."""

    may_have_run = True


class StreamLostError(ConnectionClosedError):
    """A stream broke off before its end, though not by an exception of whoever makes its items.

    The connection or the session is gone, or the other end gave the stream up. The call that it came with was carried
    out.

    Attributes:
        items: how many items had arrived.
    """

    may_have_run = True

    def __init__(self, text: str, items: int = 0) -> None:
        super().__init__(text)
        self.items = items


class TimeoutError(ConnectionClosedError):
    """The deadline of a call passed.

    Attributes:
        phase: what the call was doing: ``connecting``, ``queued`` (not sent yet) or ``running`` (sent, not answered).
    """

    PHASES: ClassVar[tuple[Phase, ...]] = ("connecting", "queued", "running")

    def __init__(self, text: str, phase: Phase = "running") -> None:
        super().__init__(text)
        self.phase: Phase = phase
        self.may_have_run = phase == "running"
