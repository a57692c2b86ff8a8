"""The configuration items by their names, and their tables for the manual."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Final

from gpyro.item_table import DROPPED, NEW, SAME, SERIALIZERS, SUBJECTS, Item

ITEMS: Final[dict[str, Item]] = {item.name: item for subject in SUBJECTS for item in subject.items}


def near(name: str, prefix: str = "") -> str:
    """The end of a sentence about an item that there is not: those that have nearly this name, if any."""
    known = [prefix + item for item in ITEMS]
    found = difflib.get_close_matches(name.upper(), known, n=3, cutoff=0.75)
    return f"; near to it are {', '.join(found)}" if found else ""


def as_text(value: object) -> str:
    """A value as it stands in a configuration file."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def as_markdown() -> str:
    """The items as the tables that stand in the manual."""
    return "\n".join(_tables()) + "\n"


def _tables() -> Iterator[str]:
    for subject in SUBJECTS:
        yield f"### {subject.title}\n"
        if subject.awaits:
            yield f"They can be set, and are checked, but have no effect yet: {subject.awaits} is to come.\n"
        yield "| item | default | in Pyro 3 | meaning |\n|---|---|---|---|"
        for item in subject.items:
            default = f"`{text}`" if (text := as_text(item.default)) else ""
            pyro3 = {SAME: "", NEW: "new"}.get(item.pyro3, item.pyro3)
            meaning = item.meaning + f"; {item.reason}" * bool(item.reason)
            marks = " *(environment only)*" * item.only_environment + " *(live)*" * item.live
            yield f"| `{item.name}` | {default} | {pyro3} | {meaning}{marks} |"
        yield ""
    yield "### Dropped\n\n| item of Pyro 3 | what there is instead |\n|---|---|"
    yield from (f"| `{name}` | {instead} |" for name, instead in DROPPED.items())


class Names:
    """The items as attributes with their types, for those who read the code and for type checkers."""

    __slots__ = ()

    PYRO_CONFIG_FILE: str
    PYRO_STORAGE: str

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
    PYRO_MAX_BLOCKING: float
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
    PYRO_MAX_STREAMS: int
    PYRO_STREAM_ITEMS: int
    PYRO_STREAM_BYTES: int
    PYRO_MAX_MESSAGE: int
    PYRO_MAX_BUFFERS: int
    PYRO_MAX_CONTAINERS: int
    PYRO_MAX_DEPTH: int

    PYRO_TRACELEVEL: int
    PYRO_USER_TRACELEVEL: int
    PYRO_LOGFILE: str
    PYRO_USER_LOGFILE: str
    PYRO_STDLOGGING: bool
    PYRO_STDLOGGING_CFGFILE: str

    PYRO_NS_HOSTNAME: str | None
    PYRO_NS_PORT: int
    PYRO_NS_BC_ADDR: str | None
    PYRO_NS_BC_PORT: int
    PYRO_NS_URIFILE: str
    PYRO_NS_DEFAULTGROUP: str
    PYRO_NS_LEASE: float
    PYRO_BC_RETRIES: int
    PYRO_BC_TIMEOUT: float

    PYRO_ES_QUEUESIZE: int
    PYRO_ES_BLOCKQUEUE: bool
    PYRO_ES_BLOCKTIME: float
    PYRO_ES_QUEUEBYTES: int
    PYRO_ES_MAXEVENT: int

    PYROSSL_CERTDIR: str
    PYROSSL_CA_CERT: str
    PYROSSL_CERT: str
    PYROSSL_KEY: str | None
    PYROSSL_POSTCONNCHECK: bool


__all__ = ["ITEMS", "DROPPED", "SERIALIZERS", "Item", "Names", "as_markdown", "as_text", "near"]
