"""Configuration items: what there is, what it may be, and where a value comes from.

A value set in code (``gpyro.config.PYRO_PORT = 9000``) wins over the environment variable ``GPYRO_PORT``, that over
``PYRO_PORT``, and that over the default. The environment is read when an item is first needed, not at import. An empty
variable counts as not set.

An unknown item in code or as ``GPYRO_...`` is an error. An unknown ``PYRO_...`` variable is ignored, because other
members of the Pyro family read variables of that name too; and since they use some of the same names for other values,
``GPYRO_...`` is the way to say something to gpyro alone.

Daemons and proxies do not read `config` while they work: each takes a `Settings` from `Config.snapshot` when it is
made, so changing an item later has no effect on what is already there.
"""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

from gpyro import uri
from gpyro.errors import ConfigurationError, URIError

DAY: Final = 86_400.0
MIB: Final = 1 << 20
SERIALIZERS: Final = ("msgpack", "json", "pickle")


# ---- kinds of values. `expected` completes the sentence "expected ..."; both functions raise ValueError.


class Kind(Protocol):
    """What values an item can take."""

    @property
    def expected(self) -> str:
        """Completes the sentence "expected ..."."""

    def read(self, text: str) -> Any:
        """Turn the text of an environment variable or file into a value that `check` can judge, or raise ValueError."""

    def check(self, value: Any) -> Any:
        """Return the value in its proper type, or raise ValueError."""


@dataclass(frozen=True, slots=True)
class Flag:
    """0 or 1, kept as bool."""

    expected: str = "0 or 1"

    def read(self, text: str) -> bool:
        return {"0": False, "1": True}[text] if text in ("0", "1") else _unfit()

    def check(self, value: Any) -> bool:
        return bool(value) if isinstance(value, int) and value in (0, 1) else _unfit()


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int
    high: int

    @property
    def expected(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def read(self, text: str) -> int:
        return int(text)

    def check(self, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            _unfit()
        return value


@dataclass(frozen=True, slots=True)
class Seconds:
    """A number of seconds, whole or not, from `low` to `high`; kept as float."""

    low: float
    high: float = DAY

    @property
    def expected(self) -> str:
        return f"a number of seconds from {self.low:g} to {self.high:g}"

    def read(self, text: str) -> float:
        return float(text)

    def check(self, value: Any) -> float:
        # A NaN fails this comparison too.
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.low <= value <= self.high:
            _unfit()
        return float(value)


@dataclass(frozen=True, slots=True)
class Host:
    """A host name, an IP address or the address of a Unix socket; '' (or None, if `optional`) for none."""

    optional: bool = False

    @property
    def expected(self) -> str:
        return f"a host name, an IP address, ./u:/path{', or None' if self.optional else ', or nothing'}"

    def read(self, text: str) -> str:
        return text

    def check(self, value: Any) -> str | None:
        if self.optional and (value is None or value == ""):
            return None
        if value != "" or not isinstance(value, str):
            try:
                uri.check_address(value)
            except URIError as error:
                raise ValueError(str(error)) from None
        return str(value)


@dataclass(frozen=True, slots=True)
class Choices:
    """One or more of some words, best first, separated by commas; kept as a string without blanks."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        return f"one or more of {', '.join(self.words)}, separated by commas, each once"

    def read(self, text: str) -> str:
        return text

    def check(self, value: Any) -> str:
        chosen = [word.strip() for word in value.split(",")] if isinstance(value, str) else []
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(self.words):
            _unfit()
        return ",".join(chosen)


def _unfit() -> NoReturn:
    raise ValueError


# ---- the items


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
            "PYRO_MAX_MESSAGE",
            16 * MIB,
            Whole(4096, (1 << 32) - 1),
            "bytes in the structured part of one message, raw buffers apart",
            "decoding takes a few times as much memory, and some 100 ms",
        ),
    )
}


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
    PYRO_CONNECT_TIMEOUT: float
    PYRO_CHANNEL_LINGER: float
    PYRO_DRAIN_TIMEOUT: float
    PYRO_DNS_CACHE: float
    PYRO_MAXCONNECTIONS: int
    PYRO_MAX_SESSIONS: int
    PYRO_MAX_CALLS: int
    PYRO_MAX_BYTES: int
    PYRO_MAX_MESSAGE: int


class Settings(Names):
    """The values of all items at one moment; never changes, so any number of ends can share it."""

    __slots__ = tuple(ITEMS)

    def __init__(self, values: Mapping[str, object]) -> None:
        """Take checked values; what is missing gets its default. Programs use `Config.snapshot` or `replace`."""
        for name, item in ITEMS.items():
            object.__setattr__(self, name, values.get(name, item.default))

    def replace(self, **changes: object) -> Settings:
        """Return a copy with other values for some items, checked as if set in code."""
        for name, value in changes.items():
            changes[name] = _checked(name, value)
        return Settings({**dict(self), **changes})

    def serializers(self) -> tuple[str, ...]:
        """The words of PYRO_SERIALIZER, best first."""
        return tuple(self.PYRO_SERIALIZER.split(","))

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Go through (item, value), in the order of the table."""
        return ((name, getattr(self, name)) for name in ITEMS)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"settings do not change; set gpyro.config.{name} before making a daemon or proxy")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("settings do not change")

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Settings) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __reduce__(self) -> tuple[type[Settings], tuple[dict[str, Any]]]:
        # The ordinary way to copy would set the attributes one by one.
        return Settings, (dict(self),)

    def __repr__(self) -> str:
        changed = (f"{name}={value!r}" for name, value in self if value != ITEMS[name].default)
        return f"<Settings {', '.join(changed) or 'all default'}>"


class Config(Names):
    """The items as attributes that can be read and set (``gpyro.config``)."""

    __slots__ = ("_environ", "_lock", "_settings")

    _environ: Mapping[str, str]
    _lock: threading.Lock
    _settings: Settings | None

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Make a configuration over these environment variables (default: the process's)."""
        object.__setattr__(self, "_environ", os.environ if environ is None else environ)
        object.__setattr__(self, "_lock", threading.Lock())
        object.__setattr__(self, "_settings", None)

    def snapshot(self) -> Settings:
        """All values as they are now. As long as nothing is set, this returns the same object again.

        Raises:
            ConfigurationError: when an environment variable has an unusable value, or a ``GPYRO_`` one is unknown.
        """
        settings = self._settings
        if settings is None:
            with self._lock:
                settings = self._loaded()
        return settings

    def _loaded(self) -> Settings:
        settings = self._settings
        if settings is None:
            settings = Settings(_read_environment(self._environ))
            object.__setattr__(self, "_settings", settings)
        return settings

    def __getattr__(self, name: str) -> Any:
        # Only reached for what is no slot, that is, for items and for unknown names.
        if name in ITEMS:
            return getattr(self.snapshot(), name)
        hint = _near(name) if name.startswith("PYRO") else ""
        raise AttributeError(f"there is no configuration item {name}{hint}")

    def __setattr__(self, name: str, value: object) -> None:
        checked = _checked(name, value)
        with self._lock:
            settings = Settings({**dict(self._loaded()), name: checked})
            object.__setattr__(self, "_settings", settings)

    def __delattr__(self, name: str) -> NoReturn:
        raise ConfigurationError(f"the configuration item {name} can be set, not deleted")

    def __dir__(self) -> list[str]:
        return [*ITEMS, "snapshot"]

    def __repr__(self) -> str:
        return f"<Config {'not read yet' if self._settings is None else self._settings}>"


# ---- reading and checking


def _read_environment(environ: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for variable in environ:
        if variable.startswith("GPYRO_") and variable[1:] not in ITEMS:
            raise ConfigurationError(
                f"the environment variable {variable} is no configuration item{_near(variable, 'G')}"
            )
    for name, item in ITEMS.items():
        for variable in ("G" + name, name):
            text = environ.get(variable, "").strip()
            if text:
                values[name] = _from_environment(item, variable, text)
                break
    return values


def _from_environment(item: Item, variable: str, text: str) -> object:
    try:
        return item.kind.check(item.kind.read(text))
    except ValueError as error:
        way_out = (
            "" if variable != item.name else f" (if it is meant for another program, set G{item.name}, which wins)"
        )
        raise ConfigurationError(
            f"environment variable {variable}={_shown(text)}: {_why(item, error)}{way_out}"
        ) from None


def _checked(name: str, value: object) -> object:
    item = ITEMS.get(name)
    if item is None:
        raise ConfigurationError(f"there is no configuration item {name}{_near(name)}")
    try:
        return item.kind.check(value)
    except ValueError as error:
        raise ConfigurationError(f"{name} = {_shown(value)}: {_why(item, error)}") from None


def _why(item: Item, error: ValueError) -> str:
    # Only the Host kind has a reason of its own to add; those of int() and float() say nothing new.
    detail = f"; {error}" if isinstance(item.kind, Host) and str(error) else ""
    return f"expected {item.kind.expected}{detail}"


def _near(name: str, prefix: str = "") -> str:
    known = [prefix + item for item in ITEMS]
    near = difflib.get_close_matches(name.upper(), known, n=3, cutoff=0.75)
    return f"; near to it are {', '.join(near)}" if near else ""


def _shown(value: object) -> str:
    try:
        text = ascii(value)
    except Exception:
        return f"an object of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:80] + "..."


config: Final = Config()
