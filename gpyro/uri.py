"""URIs: parsing and printing, nothing else.

==========================================  ==================================================================
``PYRO://host[:port]/id``                   an object of a daemon, by its id
``PYROSSL://host[:port]/id``                the same over a secure connection
``PYROLOC://host[:port]/name``              an object of a daemon, by the name it was connected under
``PYROLOCSSL://host[:port]/name``           the same over a secure connection
``PYRONAME://[nshost[:nsport]/]name``       an object known to a name server
==========================================  ==================================================================

A host is a host name, an IPv4 address, an IPv6 address in brackets (``[::1]``, ``[fe80::1%eth0]``), or a Unix socket,
written ``./u:`` and the percent-encoded path: ``PYRO://./u:%2Frun%2Fapp.sock/id``. In `ParsedURI.address` the brackets
and the percent-encoding are gone: ``fe80::1%eth0``, ``./u:/run/app.sock``. A port that is not given is 0; what it then
means is for those who connect to say.

A PYRONAME without host that contains ``/`` is read as host and name, unless the name is absolute (begins with ``:``).
So such a relative name cannot be printed, and `format` says so. For everything that `format` prints,
``parse(format(uri))`` equals ``uri``.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol
from urllib.parse import quote, unquote_to_bytes

from gpyro.errors import URIError

MAX_LENGTH: Final = 2048
"""Characters in a URI; room for a host name of 253 and a name of 1,700."""

MAX_UNIX_PATH: Final = 107
"""Bytes in the path of a Unix socket: what Linux has room for, less the final NUL."""

# Scheme: whether what follows the host is a name (which may contain "/") rather than an id (which may not).
PROTOCOLS: Final[dict[str, bool]] = {
    "PYRO": False,
    "PYROSSL": False,
    "PYROLOC": True,
    "PYROLOCSSL": True,
    "PYRONAME": True,
}

# What nearly all look like; whatever is not like it is read with care, for there may be something to say of it.
_USUAL: Final = re.compile(r"(PYRO(?:LOC)?(?:SSL)?)://([A-Za-z0-9][A-Za-z0-9._:-]*)/([!-.0-~]+)")

_UNIX: Final = "./u:"
_MAX_HOST: Final = 253
_SHOWN: Final = 60

_NOT_PRINTABLE: Final = re.compile(r"[^!-~]")
_NOT_IN_HOST: Final = re.compile(r"[^A-Za-z0-9._-]")
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_ZONE: Final = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
# What `quote` leaves alone, and escapes; so that a URI which was read is not longer when it is printed.
_BAD_IN_PATH: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~%-]")
_PYRO5: Final = re.compile(r"PYRO(?:NAME|META)?:(?!//)")


class Fields(Protocol):
    """What `format` needs of a URI: the four fields of Pyro's PyroURI."""

    protocol: str
    address: str
    port: int
    objectID: str


@dataclass(slots=True)
class ParsedURI:
    """The four fields of a URI. `port` is 0 where none was given; for PYRONAME so is `address` empty."""

    protocol: str
    address: str
    port: int
    objectID: str


class _Fault(Exception):
    """What is wrong, and at which character of the text under examination."""

    def __init__(self, why: str, at: int = 0) -> None:
        super().__init__(why)
        self.why = why
        self.at = at


def parse(text: str) -> ParsedURI:
    """Take a URI apart.

    Raises:
        URIError: for everything that is no URI (a value that is no string included); says what is wrong, and where.
    """
    return ParsedURI(*_fields(text))


def protocol_of(text: str) -> str:
    """Check a URI as `parse` does, and tell its protocol. Raises URIError likewise."""
    return _fields(text)[0]


def _fields(text: str) -> tuple[str, str, int, str]:
    if not isinstance(text, str):
        raise URIError(f"invalid URI format: a URI is a string, not {type(text).__name__}")
    try:
        return _parse(text)
    except _Fault as fault:
        raise URIError(f"invalid URI format: {_shown(text)}: {fault.why} (at character {fault.at + 1})") from None


def format(uri: Fields) -> str:
    """Print a URI so that `parse` gives back the same fields.

    Raises:
        URIError: when a field is not as it must be.
    """
    try:
        return _format(uri.protocol, uri.address, uri.port, uri.objectID)
    except _Fault as fault:
        raise URIError(f"this URI cannot be written: {fault.why}") from None


def check_address(address: str) -> None:
    """Raise URIError unless this is a host name, an IP address (without brackets) or the address of a Unix socket."""
    try:
        _check_address(address)
    except _Fault as fault:
        raise URIError(f"invalid address {_shown(address)}: {fault.why}") from None


def is_unix(address: str) -> bool:
    """Tell whether an address is that of a Unix socket."""
    return address.startswith(_UNIX)


@functools.lru_cache(maxsize=1024)
def is_own(address: str) -> bool:
    """Tell whether an address leads each machine to itself: loopback, an unspecified address, or a Unix socket.

    Of names only ``localhost`` is known to do so.
    """
    if is_unix(address) or address.lower().removesuffix(".") == "localhost":
        return True
    try:
        number = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(number, "ipv4_mapped", None) or number
    return bool(mapped.is_loopback or mapped.is_unspecified)


def unix_path(address: str) -> str:
    """The path of a Unix socket's address."""
    if not is_unix(address):
        raise URIError(f"{_shown(address)} is not the address of a Unix socket, which begins with {_UNIX}")
    check_address(address)
    return address.removeprefix(_UNIX)


def unix_address(path: str | os.PathLike[str]) -> str:
    """The address of the Unix socket with this absolute path."""
    address = _UNIX + os.fspath(path)
    check_address(address)
    return address


# ---- reading


def _parse(text: str) -> tuple[str, str, int, str]:
    if len(text) > MAX_LENGTH:
        raise _Fault(f"longer than {MAX_LENGTH} characters", MAX_LENGTH)
    usual = _USUAL.fullmatch(text)
    if usual:
        scheme, place, object_id = usual.groups()
        address, port = _parse_place(place, usual.start(2))
        return scheme, address, port, object_id
    stray = _NOT_PRINTABLE.search(text)
    if stray:
        _refuse_stray(text, stray.group(), stray.start())
    scheme, mark, body = text.partition("://")
    if not mark or scheme not in PROTOCOLS:
        _refuse_scheme(scheme, text, bool(mark))
    start = len(scheme) + len(mark)
    if scheme == "PYRONAME" and (body.startswith(":") or "/" not in body):
        if not body:
            raise _Fault("the name is missing", start)
        return scheme, "", 0, body
    what = "name" if PROTOCOLS[scheme] else "id"
    end = body.find("/", len(_UNIX) if is_unix(body) else 0)
    if end < 0:
        raise _Fault(f"no / and {what} after the host", len(text))
    address, port = _parse_place(body[:end], start)
    object_id = body[end + 1 :]
    try:
        _check_object_id(scheme, object_id)
    except _Fault as fault:
        raise _Fault(fault.why, start + end + 1 + fault.at) from None
    return scheme, address, port, object_id


@functools.lru_cache(maxsize=1024)  # a program meets few of them, again and again
def _parse_place(place: str, start: int) -> tuple[str, int]:
    """Read ``host``, ``host:port``, ``[IPv6]:port`` or a Unix socket; `start` is where it stands in the URI."""
    if is_unix(place):
        encoded = place.removeprefix(_UNIX)
        start += len(_UNIX)
        if not encoded:
            raise _Fault("the path of a Unix socket is written percent-encoded, / as %2F", start)
        bad = _BAD_IN_PATH.search(encoded)
        if bad:
            is_escape = bad.group() == "%"
            why = (
                "after % come two hexadecimal digits" if is_escape else f"{bad.group()!a} in a path is percent-encoded"
            )
            raise _Fault(why, start + bad.start())
        path = unquote_to_bytes(encoded).decode("utf-8", "surrogateescape")
        try:
            _check_unix_path(path)
        except _Fault as fault:
            raise _Fault(fault.why, start) from None
        return _UNIX + path, 0
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket:
            raise _Fault("[ without ]", start)
        try:
            _check_ipv6(host)
        except _Fault as fault:
            raise _Fault(fault.why, start + 1) from None
        if rest and not rest.startswith(":"):
            raise _Fault("after ] comes :port or /", start + len(host) + 2)
        return host, _parse_port(rest[1:], start + len(host) + 3) if rest else 0
    host, colon, port = place.partition(":")
    if ":" in port:
        raise _Fault("more than one colon; an IPv6 address is written in brackets, as in [::1]", start)
    try:
        _check_host(host)
    except _Fault as fault:
        raise _Fault(fault.why, start + fault.at) from None
    return host, _parse_port(port, start + len(host) + 1) if colon else 0


def _parse_port(text: str, at: int) -> int:
    if not text:
        raise _Fault("a colon and no port", at)
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise _Fault(f"the port must be a number from 1 to 65535, not {_shown(text)}", at)
    return int(text)


def _refuse_stray(text: str, character: str, at: int) -> NoReturn:
    if not text.strip():
        raise _Fault("it is empty")
    if text != text.strip() and text[:at].strip() in ("", text.strip()):
        raise _Fault("white space around it", at)
    if character == " ":
        raise _Fault("a blank inside it", at)
    raise _Fault(f"{character!a} is not a printable ASCII character", at)


def _refuse_scheme(scheme: str, text: str, has_mark: bool) -> NoReturn:
    known = ", ".join(f"{name}://" for name in PROTOCOLS)
    if not text:
        raise _Fault("it is empty")
    if not has_mark:
        if _PYRO5.match(text):
            raise _Fault("this is the form of Pyro 4 and 5; here it is PYRO://host:port/id or PYRONAME://name")
        raise _Fault(f"it does not begin with one of {known}")
    if scheme == "PYRONAMESSL":
        raise _Fault("PYRONAMESSL is not supported; write PYRONAME, what it finds may be a PYROSSL URI")
    if scheme.upper() in PROTOCOLS:
        raise _Fault(f"the scheme is written in capitals, {scheme.upper()}://")
    raise _Fault(f"unknown scheme {_shown(scheme)}, known are {known}")


# ---- writing


def _format(protocol: str, address: str, port: int, object_id: str) -> str:
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        raise _Fault(f"the protocol {_shown(protocol)} is not one of {', '.join(PROTOCOLS)}")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        raise _Fault(f"the port must be a number from 1 to 65535 (or 0 for none), not {_shown(port)}")
    _check_object_id(protocol, object_id)
    if protocol == "PYRONAME" and address == "":
        if port:
            raise _Fault("a port of a name server without its host")
        if "/" in object_id and not object_id.startswith(":"):
            raise _Fault(f"the relative name {_shown(object_id)} with / in it would be read as host and name")
        text = f"PYRONAME://{object_id}"
    else:
        _check_address(address)
        text = f"{protocol}://{_place(address, port)}/{object_id}"
    if len(text) > MAX_LENGTH:
        raise _Fault(f"it would be longer than {MAX_LENGTH} characters")
    return text


def _place(address: str, port: int) -> str:
    if is_unix(address):
        if port:
            raise _Fault("a Unix socket has no port")
        return _UNIX + quote(address.removeprefix(_UNIX), safe="", errors="surrogateescape")
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port}" if port else host


# ---- the fields


def _check_object_id(protocol: str, object_id: str) -> None:
    is_name = PROTOCOLS[protocol]
    what = "name" if is_name else "id"
    if not isinstance(object_id, str):
        raise _Fault(f"the {what} must be a string, not {type(object_id).__name__}")
    if not object_id:
        raise _Fault(f"the {what} is missing")
    stray = _NOT_PRINTABLE.search(object_id)
    if stray:
        raise _Fault(f"{stray.group()!a} in the {what} is not a printable ASCII character", stray.start())
    if not is_name and "/" in object_id:
        raise _Fault("the id must not contain /", object_id.index("/"))


def _check_address(address: str) -> None:
    if not isinstance(address, str):
        raise _Fault(f"the host must be a string, not {type(address).__name__}")
    if is_unix(address):
        _check_unix_path(address.removeprefix(_UNIX))
    elif ":" in address:
        _check_ipv6(address)
    else:
        _check_host(address)


def _check_unix_path(path: str) -> None:
    if not path.startswith("/"):
        raise _Fault("the path of a Unix socket must be absolute")
    if "\0" in path:
        raise _Fault("a NUL in the path of a Unix socket")
    try:
        raw = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _Fault("the path of a Unix socket contains a lone surrogate") from None
    # Surrogates that together are proper UTF-8 would come back as other characters than they went.
    if raw.decode("utf-8", "surrogateescape") != path:
        raise _Fault("the path of a Unix socket contains surrogates that stand for valid UTF-8")
    if len(raw) > MAX_UNIX_PATH:
        raise _Fault(f"the path of a Unix socket has {len(raw)} bytes, more than {MAX_UNIX_PATH}")


def _check_ipv6(host: str) -> None:
    number, percent, zone = host.partition("%")
    try:
        ipaddress.IPv6Address(number)
    except ValueError:
        if host.startswith("[") or host.endswith("]"):
            raise _Fault("an IPv6 address stands in brackets only inside a URI") from None
        raise _Fault(f"{_shown(host)} is not an IPv6 address") from None
    if percent and not _ZONE.fullmatch(zone):
        raise _Fault(f"{_shown(zone)} is not the zone of an IPv6 address")


def _check_host(host: str) -> None:
    if not host:
        raise _Fault("the host is empty")
    stray = _NOT_IN_HOST.search(host)
    if stray:
        raise _Fault(f"{stray.group()!a} in the host", stray.start())
    if len(host) > _MAX_HOST:
        raise _Fault(f"the host has more than {_MAX_HOST} characters")
    labels = host.removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise _Fault(f"{_shown(host)} is not a host name")
    # Only digits and no dot is a name (containers have such); with dots it is meant as a number and must be one.
    if len(labels) > 1 and all(label.isdigit() for label in labels):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise _Fault(f"{_shown(host)} is not an IPv4 address") from None


def _shown(value: object) -> str:
    """A value as it may stand in an error text: quoted, ASCII and short."""
    if isinstance(value, int) and abs(value) < 10**_SHOWN:
        return ascii(value)
    if not isinstance(value, str):
        return f"this {type(value).__name__}"
    if len(value) <= _SHOWN:
        return ascii(value)
    return f"{value[:_SHOWN]!a}... ({len(value)} characters)"
