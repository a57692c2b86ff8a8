"""The configuration items: what there is, what each may be, and why its default is what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpyro.item_kinds import Choices, Flag, Host, Kind, Seconds, Whole

MIB: Final = 1 << 20
SERIALIZERS: Final = ["msgpack", "json", "pickle"]
"""Names of the serializers; programs can add theirs."""


@dataclass(frozen=True, slots=True)
class Item:
    """One configuration item.

    Attributes:
        name: as in code and in the environment.
        default: the value when nobody sets one.
        kind: what values it can take.
        meaning: what it does, in a line.
        reason: why the default is what it is, where that is no matter of course.
    """

    name: str
    default: object
    kind: Kind
    meaning: str
    reason: str = ""


ITEMS: Final[dict[str, Item]] = {
    item.name: item
    for item in (
        # where daemons listen
        Item(
            "PYRO_HOST",
            "",
            Host(),
            "host that daemons bind; '' is the loopback interface",
            "a service is reachable from elsewhere because somebody said so, not because nobody said anything",
        ),
        Item("PYRO_PUBLISHHOST", None, Host(optional=True), "host that stands in URIs, if not the one bound"),
        Item("PYRO_PORT", 7766, Whole(0, 65535), "first port a daemon tries; 0 lets the system choose"),
        Item("PYRO_PORT_RANGE", 100, Whole(1, 65535), "number of ports a daemon tries"),
        Item(
            "PYRO_TCP_LISTEN_BACKLOG",
            1024,
            Whole(1, 65535),
            "connections the system keeps until they are accepted",
            "a thousand clients that come back at once after a restart; 200, as in Pyro 3, turns most of them away "
            "for a second or more",
        ),
        Item("PYRO_SOCK_KEEPALIVE", True, Flag(), "let the system probe idle connections for a dead peer"),
        Item(
            "PYRO_ALLOW_OPEN",
            False,
            Flag(),
            "allow a bind beyond loopback with neither passphrase nor certificates",
            "everybody who can reach such a daemon can call it",
        ),
        # how calls run
        Item("PYRO_MULTITHREADED", True, Flag(), "calls of one daemon overlap, each in its own greenlet"),
        Item("PYRO_ONEWAY_THREADED", True, Flag(), "a one-way call does not hold up what its caller sends next"),
        Item("PYRO_DETAILED_TRACEBACK", False, Flag(), "tracebacks show local values", "values may be secrets"),
        Item(
            "PYRO_SERIALIZER",
            "msgpack",
            Choices(SERIALIZERS),
            "serializers this side accepts, best first",
            "pickle lets the peer run any code, so it is used only where both sides name it",
        ),
        # how long things may take
        Item(
            "PYRO_HANDSHAKE_TIMEOUT",
            5.0,
            Seconds(0.001),
            "seconds a new connection has to say who it is",
            "so long does a stranger who says nothing hold a descriptor; an honest peer needs a few round trips",
        ),
        Item(
            "PYRO_VALIDATION_TIMEOUT",
            20.0,
            Seconds(0.001),
            "seconds that a validator may take to judge one connection",
            "as long as a client waits to be connected; an operator who is asked needs some of it",
        ),
        Item(
            "PYRO_CONNECT_TIMEOUT",
            20.0,
            Seconds(0.001),
            "seconds for connecting, name look-up included, when the call has no deadline",
            "the system alone gives up after two minutes; four lost packets in a row fit into 20 s",
        ),
        Item(
            "PYRO_CHANNEL_LINGER",
            10.0,
            Seconds(0.0),
            "seconds a connection without proxies is kept for the next one; 0 closes at once",
            "programs that make a proxy per call do not connect per call",
        ),
        Item(
            "PYRO_DRAIN_TIMEOUT",
            30.0,
            Seconds(0.0),
            "seconds a daemon that shuts down waits for running calls",
            "what container schedulers give by default between SIGTERM and SIGKILL",
        ),
        Item(
            "PYRO_DNS_CACHE",
            5.0,
            Seconds(0.0, 3600.0),
            "seconds the address of a host name is remembered; 0 asks every time",
            "long enough for many proxies made at once, short enough to follow a host that moves",
        ),
        # how much a peer may take
        Item(
            "PYRO_MAXCONNECTIONS",
            10_000,
            Whole(1, 1_000_000),
            "channels a daemon serves at once",
            "an idle one costs 1 to 2 KiB and a descriptor; half of the usual 20,000 descriptors",
        ),
        Item(
            "PYRO_MAX_PER_ADDRESS",
            5_000,
            Whole(1, 1_000_000),
            "channels a daemon serves at once for one address; those of the machine itself are not counted",
            "one other machine cannot take all; half, because many clients may stand behind one address",
        ),
        Item(
            "PYRO_MAX_SESSIONS",
            10_000,
            Whole(1, 1_000_000),
            "proxies that may share one channel",
            "far above what a program holds to one daemon; bounds what a hostile one can make the server keep",
        ),
        Item(
            "PYRO_MAX_CALLS",
            1024,
            Whole(1, 1_000_000),
            "calls in flight granted to one channel; further ones wait at the caller",
            "throughput stops rising at some hundred",
        ),
        Item(
            "PYRO_MAX_BYTES",
            16 * MIB,
            Whole(4096, 1 << 40),
            "bytes of calls in flight granted to one channel; further ones wait at the caller",
            "one message of the greatest size",
        ),
        Item(
            "PYRO_MAX_UNREAD",
            256 * MIB,
            Whole(4096, 1 << 40),
            "bytes of results that may wait because the client of a channel does not read them; more are dropped, with "
            "an error",
            "sixteen messages of the greatest size; a client that never reads must not fill the server's memory",
        ),
        Item(
            "PYRO_MAX_MESSAGE",
            16 * MIB,
            Whole(4096, (1 << 32) - 1),
            "bytes in one message",
            "decoding takes a few times as much memory, and some 100 ms",
        ),
    )
}


def as_markdown() -> str:
    """The items as the table that stands in the manual."""
    rows = ["| item | default | meaning |", "|---|---|---|"]
    for name, item in ITEMS.items():
        default = {None: "", True: "1", False: "0"}.get(item.default, item.default)  # type: ignore[call-overload]
        rows.append(f"| `{name}` | {default} | {item.meaning}{'; ' * bool(item.reason)}{item.reason} |")
    return "\n".join(rows) + "\n"


class Names:
    """The items as attributes with their types, for those who read the code and for type checkers."""

    __slots__ = ()

    PYRO_HOST: str
    PYRO_PUBLISHHOST: str | None
    PYRO_PORT: int
    PYRO_PORT_RANGE: int
    PYRO_TCP_LISTEN_BACKLOG: int
    PYRO_SOCK_KEEPALIVE: bool
    PYRO_ALLOW_OPEN: bool
    PYRO_MULTITHREADED: bool
    PYRO_ONEWAY_THREADED: bool
    PYRO_DETAILED_TRACEBACK: bool
    PYRO_SERIALIZER: str
    PYRO_HANDSHAKE_TIMEOUT: float
    PYRO_VALIDATION_TIMEOUT: float
    PYRO_CONNECT_TIMEOUT: float
    PYRO_CHANNEL_LINGER: float
    PYRO_DRAIN_TIMEOUT: float
    PYRO_DNS_CACHE: float
    PYRO_MAXCONNECTIONS: int
    PYRO_MAX_PER_ADDRESS: int
    PYRO_MAX_SESSIONS: int
    PYRO_MAX_CALLS: int
    PYRO_MAX_BYTES: int
    PYRO_MAX_UNREAD: int
    PYRO_MAX_MESSAGE: int
