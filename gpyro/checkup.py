"""The steps from a URI to its object, each by itself: what `gpyro.doctor` walks."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from statistics import median
from time import monotonic, perf_counter
from typing import Any, Final

import gevent
from gevent import socket as gsocket

from gpyro.auth import Identification
from gpyro.context import deadline
from gpyro.conversation import Conversation, Trouble, shown
from gpyro.errors import ConnectionDeniedError, NamingError, PyroError, TimeoutError, URIError
from gpyro.locator import Search
from gpyro.names import full_name
from gpyro.naming_proxy import NameServerProxy
from gpyro.net.dial import connect_one
from gpyro.net.hub import hub_state, limit
from gpyro.net.resolve import Endpoint
from gpyro.net.sockets import literal, new_socket
from gpyro.pyrouri import PyroURI
from gpyro.settings import config
from gpyro.uri import is_unix, unix_path

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "FAILED", "skipped"

STEPS: Final = ("name", "address", "connect", "hello", "object", "time")

CALLS: Final = 10
"""Calls whose time is taken, at most."""

MEASURING: Final = 1.0
"""Seconds after which no more calls are made to take their time."""

SLACK: Final = 2.0
"""Seconds that a step may take beyond its time, as for saying what came of it."""

_TOO_SLOW: Final = (
    "who has to answer, or the network, is slow or stands still: look at what it does, or allow more time (--timeout)"
)

_NO_SUCH_ADDRESSES: Final = "this machine has no address, or no port, to connect from: is IPv6 off here?"

_CANNOT_CONNECT: Final[dict[int, tuple[str, str]]] = {
    errno.ECONNREFUSED: (
        "refused",
        "nobody listens there: does the server run, with this port, and is this one of the addresses that it binds"
        " (PYRO_HOST)?",
    ),
    errno.ETIMEDOUT: (
        "timed out",
        "nobody answers: a firewall may be dropping what is sent, or the machine is off, or the address is of a network"
        " that cannot be reached from here",
    ),
    errno.EHOSTUNREACH: ("unreachable", "the machine is off, or a firewall on the way refuses"),
    errno.ENETUNREACH: ("unreachable", "there is no way to that network: is this machine in it (VPN, container)?"),
    errno.EADDRNOTAVAIL: ("unreachable", _NO_SUCH_ADDRESSES),
    errno.EAFNOSUPPORT: ("unreachable", _NO_SUCH_ADDRESSES),
    errno.EINVAL: ("no such address", "a link-local address needs the interface, too: write it as [fe80::1%eth0]"),
    errno.ENOENT: ("no such socket", "does the server run, and is the path right?"),
    errno.EACCES: ("not permitted", "a Unix socket is for its user alone; else a firewall of this machine forbids it"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """What came of one step.

    Attributes:
        step: one of `STEPS`.
        status: `OK`, `WARNING`, `FAILED` or `SKIPPED`.
        text: what was found.
        hint: what to do about it, or nothing.
        details: more of what was found, a line each.
    """

    step: str
    status: str
    text: str
    hint: str = ""
    details: tuple[str, ...] = ()


class Checkup:
    """Walks the way from a URI to its object, once."""

    def __init__(self, uri: PyroURI, identification: str | tuple[str, str] | None = None, seconds: float = 5.0) -> None:
        """Nothing is done yet.

        Args:
            uri: where to go.
            identification: who connects, to the object's server and to the name server: a passphrase, or a pair of
                a user's name and a passphrase; None for nobody.
            seconds: for each step.

        Raises:
            ValueError: the identification has characters that it cannot have.
        """
        self._uri = uri
        self._identification = identification
        self._credentials = None if identification is None else Identification.of(identification)
        self._seconds = seconds
        self._until = 0.0
        self._target = uri
        self._endpoints: list[Endpoint] = []
        self._sock: Any = None
        self._talk: Conversation | None = None

    def run(self) -> Iterator[Step]:
        """Walk, and give what came of each step when it is over. After one that fails the others are skipped."""
        broken = ""
        try:
            for name in STEPS:
                if broken:
                    yield Step(name, SKIPPED, f"because of the step {broken!r}")
                    continue
                step = self._take(name, getattr(self, f"_{name}"))
                if step.status == FAILED:
                    broken = name
                yield step
        finally:
            self._close()

    def _close(self) -> None:
        if self._talk is not None:
            self._talk.close()
        elif self._sock is not None:
            self._sock.close()

    def _take(self, name: str, walk: Callable[[], Step]) -> Step:
        self._until = monotonic() + self._seconds
        if self._talk is not None:
            self._talk.until = self._until
        try:
            with limit(self._seconds + SLACK):
                return walk()
            return Step(name, FAILED, f"not over within {self._seconds:g} s", _TOO_SLOW)
        except Trouble as trouble:
            return Step(name, FAILED, trouble.text, trouble.hint, trouble.details)
        except (PyroError, OSError) as error:
            return Step(name, FAILED, shown(str(error)), _TOO_SLOW if isinstance(error, TimeoutError) else "")

    # The name

    def _name(self) -> Step:
        if self._uri.protocol != "PYRONAME":
            return Step("name", SKIPPED, "the URI says itself where the object is")
        ns, warning, tried = self._name_server()
        try:
            with deadline(max(0.001, self._until - monotonic())):
                name = full_name(self._uri.objectID, config.PYRO_NS_DEFAULTGROUP)
                self._target = ns.resolve(name)
        except NamingError as error:
            raise Trouble(
                f"the name server at {place(ns.URI)} says: {shown(str(error))}",
                "look at its names (gpyro-nsc listall): names go with their server, and a name without colon is looked"
                f" for in the group {config.PYRO_NS_DEFAULTGROUP} (PYRO_NS_DEFAULTGROUP)",
                tried,
            ) from None
        except URIError as error:
            raise Trouble(f"the name stands for what is no URI: {shown(str(error))}", "register it anew") from None
        finally:
            ns._release()
        if self._target.protocol == "PYRONAME":
            raise Trouble(f"{name} stands for another name: {self._target}", "register the URI of the object itself")
        text = f"{name} stands for {self._target} (name server {place(ns.URI)})"
        return Step("name", WARNING if warning else OK, text, warning, tried)

    def _name_server(self) -> tuple[NameServerProxy, str, tuple[str, ...]]:
        """The name server, what to be warned of, and the ways that were tried before it was found."""
        given = self._identification
        try:
            return self._search(given)
        except ConnectionDeniedError as error:
            text = f"the name server refuses to be asked: {shown(str(error))}"
            if given is None:
                raise Trouble(text, "if it wants a passphrase, give it with --identification-file FILE") from None
            try:
                ns, _, tried = self._search(None)
            except (PyroError, Trouble):
                raise Trouble(text, "is that the name server's passphrase?") from None
            return ns, "the name server asks for no passphrase, and so did not prove that it knows it", tried

    def _search(self, identification: str | tuple[str, str] | None) -> tuple[NameServerProxy, str, tuple[str, ...]]:
        host = self._uri.address or None
        search = Search(identification, host, (host and self._uri.port) or None, 0, None)
        try:
            with deadline(max(0.001, self._until - monotonic())):
                ns = search.run()
        except ConnectionDeniedError:
            raise
        except PyroError as error:
            tried = _tried(search)
            raise Trouble(
                "there is no name server" if tried else f"there is no name server: {shown(str(error))}",
                "start one, or say where it is: PYRONAME://host:port/name, or PYRO_NS_HOSTNAME and PYRO_NS_PORT;"
                " broadcasts do not leave a network, or a container",
                tried,
            ) from None
        return ns, "", _tried(search)

    # Its address

    def _address(self) -> Step:
        host = self._target.address
        if is_unix(host):
            path = unix_path(host)
            self._endpoints = [(socket.AF_UNIX, path)]
            return Step("address", WARNING, f"the Unix socket {path}", "only programs on its machine can reach it")
        known = literal(host, self._target.port)
        self._endpoints = [known] if known is not None else self._look_up(host)
        numbers = [str(address[0]) for _, address in self._endpoints]
        text = host if numbers == [host] else f"{host} is {', '.join(numbers)}"
        remarks = [f"{number} {what}" for number in numbers if (what := remark(number))]
        if not remarks:
            return Step("address", OK, text)
        hint = "; ".join(remarks) + ". If clients elsewhere need another, set PYRO_PUBLISHHOST where the server runs"
        return Step("address", WARNING, text, hint)

    def _look_up(self, host: str) -> list[Endpoint]:
        hint = (
            "is it written right, and known on this machine (DNS, /etc/hosts)? Else have the server publish an address"
            " (PYRO_PUBLISHHOST)"
        )
        with limit(self._until - monotonic()):
            try:
                found = gsocket.getaddrinfo(host, self._target.port, 0, socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                why = getattr(error, "strerror", None) or error
                raise Trouble(f"the host {host!r} is not known: {why}", hint) from None
            return list(dict.fromkeys((int(entry[0]), entry[4]) for entry in found))
        raise Trouble(f"no answer within {self._seconds:g} s to what the addresses of {host!r} are", "is the DNS up?")

    # The connection

    def _connect(self) -> Step:
        left = self._until - monotonic()
        attempts = [gevent.spawn(_dial, family, address, left) for family, address in self._endpoints]
        try:
            gevent.joinall(attempts)
        finally:
            gevent.killall(attempts)
        codes, lines = [], []
        for (_, address), attempt in zip(self._endpoints, attempts, strict=True):
            code, sock, took = attempt.get()
            where = address if isinstance(address, str) else f"{address[0]} port {address[1]}"
            lines.append(f"{where}: {_why_not(code)[0] if code else 'connected'} after {took * 1000:.1f} ms")
            codes.append(code)
            if sock is not None and self._sock is None:  # the one that clients take, too
                self._sock = gsocket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
            elif sock is not None:
                sock.close()
        details = tuple(lines) if len(lines) > 1 else ()
        if self._sock is None:
            hints = [_why_not(code)[1] for code in codes]
            raise Trouble(
                "no address can be connected to" if details else lines[0],
                next((hint for hint in hints if hint), ""),
                details,
            )
        taken = codes.index(0)
        if errno.ETIMEDOUT in codes[:taken]:
            hint = "clients try the addresses in their order, and lose time with those that do not answer"
            return Step("connect", WARNING, lines[taken], hint, details)
        return Step("connect", OK, lines[taken], "", details)

    # Who is there

    def _hello(self) -> Step:
        self._talk = Conversation(self._sock, config.snapshot(), self._credentials)
        self._talk.until = self._until
        hello = self._talk.greet()
        who = shown(hello.agent) or "a server that does not say its version"
        proved = "" if self._credentials is None else "; it knows the passphrase"
        return Step("hello", OK, f"{who}, protocol {hello.versions[0]}, serializer {hello.serializers[0]}{proved}")

    def _object(self) -> Step:
        assert self._talk is not None
        found, text = self._target.objectID, "the server knows the object, and answers for it"
        if self._target.protocol == "PYROLOC":
            found = self._talk.find(found)
            text += f"; its id is {shown(found)}"
        self._talk.look_at(found)
        return Step("object", OK, text)

    def _time(self) -> Step:
        assert self._talk is not None
        took: list[float] = []
        until = monotonic() + MEASURING
        while len(took) < CALLS and (not took or monotonic() < until):
            start = perf_counter()
            self._talk.touch()
            took.append((perf_counter() - start) * 1000)
        text = f"median of {len(took)} round trips {median(took):.2f} ms, {min(took):.2f} to {max(took):.2f} ms"
        return Step("time", OK, text)


def _tried(search: Search) -> tuple[str, ...]:
    return tuple(f"tried {where}: {reason}" for where, reason in search.tried.items())


def _dial(family: int, address: Any, seconds: float) -> tuple[int, Any, float]:
    """Connect; gives the error number (0 for success), the socket, and the seconds it took."""
    start = perf_counter()
    try:
        sock = new_socket(family)
    except OSError as error:  # such as a family of addresses that this machine does not have
        return error.errno or errno.EINVAL, None, perf_counter() - start
    code = errno.EINVAL
    try:
        code = connect_one(hub_state(), sock, address, seconds)
    except OSError as error:
        code = error.errno or code
    finally:
        if code:
            sock.close()
    return code, None if code else sock, perf_counter() - start


def _why_not(code: int) -> tuple[str, str]:
    """Why there is no connection, and a hint."""
    return _CANNOT_CONNECT.get(code, (os.strerror(code), ""))


def place(uri: PyroURI) -> str:
    """Host and port of a URI, for people."""
    return str(uri).partition("://")[2].rpartition("/")[0]


def remark(number: str) -> str:
    """What clients should know of an IP address; nothing if it is the same machine for everybody."""
    address = ip_address(number.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return "is a loopback address, and leads each machine to itself"
    if address.is_unspecified:
        return "is an address to bind, and leads each machine to itself"
    if address.is_link_local:
        return "is a link-local address, and leads nowhere from other networks"
    if address.is_multicast:
        return "is a multicast address, and no machine's"
    if not address.is_global:
        return "is a private address, and leads elsewhere, or nowhere, from other networks"
    return ""
