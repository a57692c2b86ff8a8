"""The table of all configuration items: what each does, and why its default is what it is.

`gpyro.items` is made of it, and the tables of the manual are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gpyro.item_kinds import Choices, FilePath, Flag, Group, Host, Kind, Seconds, Whole

MIB: Final = 1 << 20
SERIALIZERS: Final = ["msgpack", "json", "pickle"]
"""Names of the serializers; programs can add theirs."""

SAME: Final = "same"
NEW: Final = "new"


@dataclass(frozen=True, slots=True)
class Item:
    """One configuration item.

    Attributes:
        name: as in code and in the environment.
        default: the value when nobody sets one.
        kind: what values it can take.
        meaning: what it does, in a line.
        reason: why the default is what it is, where that is no matter of course.
        pyro3: Pyro 3's default, as text; SAME if it is gpyro's, NEW if there was no such item.
        live: whether a change takes effect at once, and not only for daemons and proxies made afterwards.
        only_environment: whether it can be set by environment variables only.
    """

    name: str
    default: Any
    kind: Kind
    meaning: str
    reason: str = ""
    pyro3: str = NEW
    live: bool = False
    only_environment: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """Items that belong together.

    Attributes:
        title: what they are about.
        items: the items.
        awaits: the part of gpyro that will use them, if it is not there yet.
    """

    title: str
    items: tuple[Item, ...]
    awaits: str = ""


_FILES = (
    Item(
        "PYRO_CONFIG_FILE",
        "",
        FilePath(below="", empty=""),
        "the configuration file, otherwise ./Pyro.conf if there is one; reads as the absolute name of what was read, "
        "or ''",
        pyro3=SAME,
        only_environment=True,
    ),
    Item(
        "PYRO_STORAGE",
        FilePath.CURDIR,
        FilePath(below=""),
        "directory in which the files of relative names are",
        pyro3=SAME,
    ),
)

_LISTENING = (
    Item(
        "PYRO_HOST",
        "",
        Host(),
        "host that daemons bind; '' is the loopback interface",
        "a service is reachable from elsewhere because somebody said so, not because nobody said anything",
        pyro3="'', which bound all interfaces",
    ),
    Item("PYRO_PUBLISHHOST", None, Host(optional=True), "host that stands in URIs, if not the one bound", pyro3=SAME),
    Item("PYRO_PORT", 7766, Whole(0, 65535), "first port a daemon tries; 0 lets the system choose", pyro3=SAME),
    Item("PYRO_PORT_RANGE", 100, Whole(1, 65535), "number of ports a daemon tries", pyro3=SAME),
    Item(
        "PYRO_TCP_LISTEN_BACKLOG",
        1024,
        Whole(1, 65535),
        "connections the system keeps until they are accepted",
        "a thousand clients that come back at once after a restart; 200 turns most of them away for a second or more",
        pyro3="200",
    ),
    Item("PYRO_SOCK_KEEPALIVE", True, Flag(), "let the system probe idle connections for a dead peer", pyro3=SAME),
    Item(
        "PYRO_ALLOW_OPEN",
        False,
        Flag(),
        "allow a bind beyond loopback with neither passphrase nor certificates",
        "everybody who can reach such a daemon can call it",
    ),
)

_CALLS = (
    Item("PYRO_MULTITHREADED", True, Flag(), "calls of one daemon overlap, each in its own greenlet", pyro3=SAME),
    Item(
        "PYRO_ONEWAY_THREADED", True, Flag(), "a one-way call does not hold up what its caller sends next", pyro3=SAME
    ),
    Item(
        "PYRO_DETAILED_TRACEBACK",
        False,
        Flag(),
        "tracebacks show local values",
        "values may be secrets",
        pyro3=SAME,
    ),
    Item(
        "PYRO_SERIALIZER",
        "msgpack",
        Choices(SERIALIZERS),
        "serializers this side accepts, best first",
        "pickle lets the peer run any code, so it is used only where both sides name it",
    ),
)

_TIMES = (
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
        "PYRO_MAX_BLOCKING",
        0.0,
        Seconds(0.0, 3600.0),
        "seconds for which one method may keep the loop from turning before the log names it; 0 for any time",
        "looking takes a thread, which a program that forks may not want; switch it on where calls are late",
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
)

_LIMITS = (
    Item(
        "PYRO_MAXCONNECTIONS",
        10_000,
        Whole(1, 1_000_000),
        "channels a daemon serves at once",
        "an idle one costs 1 to 2 KiB and a descriptor; half of the usual 20,000 descriptors",
        pyro3="200, one for each proxy",
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
        "PYRO_MAX_STREAMS",
        10_000,
        Whole(1, 1_000_000),
        "streams of one channel that may be open at once, in each direction",
        "as with proxies; one that is read costs the end that makes its items a greenlet",
    ),
    Item(
        "PYRO_STREAM_ITEMS",
        256,
        Whole(1, 1_000_000),
        "items of a stream that may be on their way, or wait for their reader",
        "enough for small items to travel in a few large pieces; little to throw away when the reader leaves early",
    ),
    Item(
        "PYRO_STREAM_BYTES",
        1 * MIB,
        Whole(4096, 1 << 31),
        "bytes of items of a stream that may be on their way, or wait for their reader; a single larger item may, too",
        "what the network holds in the usual time of a round trip",
    ),
    Item(
        "PYRO_MAX_MESSAGE",
        16 * MIB,
        Whole(4096, (1 << 32) - 1),
        "bytes in one message",
        "decoding takes a few times as much memory, and some 100 ms",
    ),
    Item(
        "PYRO_MAX_BUFFERS",
        1024 * MIB,
        Whole(0, (1 << 32) - 1),
        "bytes of large values (bytes, arrays) that may be on their way to one end of a channel beside messages that "
        "have not come; 0: they travel in the messages",
        "memory is taken as the bytes come, and by those only who may connect",
    ),
    Item(
        "PYRO_MAX_CONTAINERS",
        250_000,
        Whole(1000, (1 << 32) - 1),
        "lists, dicts and other containers in one message",
        "a MiB of empty lists takes 74 MiB of memory; only messages of more bytes than that are counted",
    ),
    Item(
        "PYRO_MAX_DEPTH",
        100,
        Whole(10, 250),
        "how deep containers and objects may stand in each other; below 100 each message of more bytes than that is "
        "walked for it, from 100 on lists and dicts get through to about 250",
        "a level takes up to four of Python's 1,000 frames, so 100 leave the program more than half of them",
    ),
)

_LOGS = (
    Item(
        "PYRO_TRACELEVEL",
        0,
        Whole(0, 3),
        "what goes to the system log: 0 nothing, 1 errors, 2 warnings too, 3 notes too",
        pyro3=SAME,
        live=True,
    ),
    Item("PYRO_USER_TRACELEVEL", 0, Whole(0, 3), "the same for the user log", pyro3=SAME, live=True),
    Item("PYRO_LOGFILE", "$STORAGE/Pyro_log", FilePath(), "file of the system log", pyro3=SAME, live=True),
    Item("PYRO_USER_LOGFILE", "$STORAGE/Pyro_userlog", FilePath(), "file of the user log", pyro3=SAME, live=True),
    Item("PYRO_STDLOGGING", False, Flag(), "both logs are loggers of Python's `logging`", pyro3=SAME),
    Item(
        "PYRO_STDLOGGING_CFGFILE",
        "logging.cfg",
        FilePath(),
        "file that `logging.config.fileConfig` loads then, if it exists",
        pyro3=SAME,
    ),
)

_NAME_SERVER = (
    Item(
        "PYRO_NS_HOSTNAME",
        None,
        Host(optional=True),
        "host of the name server; when it is set, no broadcast looks for one",
        pyro3=SAME,
    ),
    Item("PYRO_NS_PORT", 9090, Whole(0, 65535), "the name server's port; 0 lets the system choose", pyro3=SAME),
    Item(
        "PYRO_NS_BC_ADDR",
        None,
        Host(optional=True, unix=False),
        "address that broadcasts go to, if not the general one",
        pyro3=SAME,
    ),
    Item("PYRO_NS_BC_PORT", 9090, Whole(1, 65535), "UDP port of broadcasts", pyro3=SAME),
    Item("PYRO_NS_URIFILE", "$STORAGE/Pyro_NS_URI", FilePath(), "file that tells the name server's URI", pyro3=SAME),
    Item(
        "PYRO_NS_DEFAULTGROUP",
        ":Default",
        Group(),
        "group of the names that do not begin with a colon",
        pyro3=SAME,
        live=True,
    ),
    Item(
        "PYRO_NS_LEASE",
        10.0,
        Seconds(0.1, 86_400.0),
        "seconds that a daemon's names stay when it is not heard of; it is heard of three times in that",
        "so long may a name lead to a server that is gone; a busy machine is silent for a second or two at times",
    ),
    Item(
        "PYRO_BC_RETRIES",
        1,
        Whole(0, 1000, endless=True),
        "how often a broadcast that nobody answers is repeated; a negative number for ever",
        pyro3="1; its manual says 2",
    ),
    Item(
        "PYRO_BC_TIMEOUT",
        0.75,
        Seconds(0.001, endless=True),
        "seconds that each broadcast waits for its answer; a negative number for ever",
        pyro3="0.75; its manual says 2",
    ),
)

_EVENT_SERVICE = (
    Item(
        "PYRO_ES_QUEUESIZE",
        1000,
        Whole(0, 10_000_000),
        "events that may wait for one subscriber; 0 for any number",
        pyro3=SAME,
    ),
    Item(
        "PYRO_ES_BLOCKQUEUE",
        True,
        Flag(),
        "publishers wait for a subscriber whose queue is full; otherwise it loses the event",
        pyro3=SAME,
    ),
    Item(
        "PYRO_ES_BLOCKTIME",
        5.0,
        Seconds(0.001, 86_400.0),
        "seconds that a publisher waits for that at most; then the subscriber loses the event",
        "one subscriber that hangs is not to stop those who publish",
    ),
    Item(
        "PYRO_ES_QUEUEBYTES",
        8 * MIB,
        Whole(0, (1 << 32) - 1),
        "bytes of the events that may wait for one subscriber; 0 for any number",
        "a thousand large events would be too much",
    ),
    Item(
        "PYRO_ES_MAXEVENT",
        4 * MIB,
        Whole(1024, (1 << 32) - 1),
        "bytes of one event; larger ones are refused",
        "with it in a message, there is room for more than one; large data are better fetched by a call",
    ),
)

_CERTIFICATES = (
    Item("PYROSSL_CERTDIR", "$STORAGE/certs", FilePath(), "directory of the certificates", pyro3=SAME),
    Item(
        "PYROSSL_CA_CERT",
        "ca.pem",
        FilePath("PYROSSL_CERTDIR"),
        "certificates of the authorities that are trusted",
        pyro3=SAME,
    ),
    Item("PYROSSL_CERT", "host.pem", FilePath("PYROSSL_CERTDIR"), "certificate of this side", pyro3=SAME),
    Item(
        "PYROSSL_KEY",
        None,
        FilePath("PYROSSL_CERTDIR", empty=None),
        "its private key, if that is not in the file of the certificate",
        pyro3=SAME,
    ),
    Item(
        "PYROSSL_POSTCONNCHECK",
        True,
        Flag(),
        "clients compare the host they want with the one in the certificate",
        pyro3=SAME,
    ),
)

SUBJECTS: Final = (
    Subject("Files", _FILES),
    Subject("Where daemons listen", _LISTENING),
    Subject("How calls run", _CALLS),
    Subject("How long things may take", _TIMES),
    Subject("How much a peer may take", _LIMITS),
    Subject("The two logs", _LOGS),
    Subject("Name server", _NAME_SERVER),
    Subject("Event service", _EVENT_SERVICE),
    Subject("Certificates", _CERTIFICATES, "encryption"),
)

_REPLICAS: Final = "name servers are not run in pairs; several of them are to share one store"

DROPPED: Final[dict[str, str]] = {
    "PYRO_NS2_HOSTNAME": _REPLICAS,
    "PYRO_NS2_PORT": _REPLICAS,
    "PYRO_NS2_BC_ADDR": _REPLICAS,
    "PYRO_NS2_BC_PORT": _REPLICAS,
    "PYRO_PICKLE_FORMAT": "PYRO_SERIALIZER says what values travel as; pickle, where both sides name it, is protocol 5",
    "PYRO_XML_PICKLE": "PYRO_SERIALIZER says what values travel as; json is the one that people can read",
    "PYRO_GNOSIS_PARANOIA": "there is no XML marshalling; what msgpack and json bring imports and runs nothing",
    "PYRO_BROKEN_MSGWAITALL": "that flag of sockets is not used",
    "PYRO_COMPRESSION": "messages are not compressed; compress what is large before it is passed, as with zlib",
    "PYRO_CHECKSUM": "the network's own checksums do; against people who change messages only encryption helps",
    "PYRO_MOBILE_CODE": "code never travels; install the modules on both sides",
    "PYRO_DNS_URI": "URIs always say the host as it was given; PYRO_PUBLISHHOST says another one",
}
"""Items of Pyro 3 that are not there any more, each with what is there instead."""
