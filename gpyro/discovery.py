"""Finding a name server by datagrams, and by the file that it writes its URI to.

A datagram says ``location``, and is answered with the name server's URI, or ``shutdown``, and is answered with what
becomes of that. Anything else is not answered.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, Final

import gevent
from gevent import socket as gsocket

from gpyro.errors import NamingError, PyroError, URIError
from gpyro.guid import getGUID
from gpyro.logs import Log
from gpyro.net.hub import limit
from gpyro.pyrouri import PyroURI

LOCATION: Final = "location"
SHUTDOWN: Final = "shutdown"

MAX_DATAGRAM: Final = 1000
"""Bytes of a datagram that are read."""

EVERYWHERE: Final = "255.255.255.255"
"""Where a broadcast goes if nobody says otherwise."""


class BCReqValidator:
    """Judges requests by datagram; programs derive from it. Its methods run in a greenlet, and may block.

    Attributes:
        addr: host and port of who asks, while a method runs.
    """

    addr: Any = None
    _reply: Callable[[bytes], object] | None = None

    def acceptLocationCmd(self) -> int:
        """Whether to tell where the name server is. Accepts all."""
        return 1

    def acceptShutdownCmd(self) -> int:
        """Whether the name server may be shut down. Accepts all."""
        return 1

    def reply(self, msg: str) -> None:
        """Send something to who asks, beside what is answered anyway."""
        if self._reply is not None:
            self._reply(msg.encode())


class BroadcastServer:
    """Answers datagrams, in a greenlet of its own, from its making until `close`.

    Attributes:
        address: what it is bound to: host and port.
    """

    def __init__(self, addr: str | None, port: int, validator: BCReqValidator | None = None) -> None:
        """Bind.

        Args:
            addr: the address that clients send to, such as that of a network's broadcasts; None for any.
            port: UDP port; 0 for one that the system chooses.
            validator: judges requests; None for one that accepts all.

        Raises:
            NamingError: it cannot be bound; the text says why.
        """
        self._sock = gsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self._sock.bind((addr or "", port))
        except (OSError, UnicodeError) as error:
            self._sock.close()
            text = getattr(error, "strerror", None) or error
            raise NamingError(f"cannot start broadcast server: {addr or 'any address'} port {port}: {text}") from error
        self.address: tuple[str, int] = self._sock.getsockname()[:2]
        self._validator = validator or BCReqValidator()
        self._uri = ""
        self._shut_down: Callable[[], str] | None = None
        self._greenlet: Any = None

    def serve(self, uri: str, shut_down: Callable[[], str]) -> None:
        """Answer from now on. In the thread whose loop is to do it.

        Args:
            uri: the name server's.
            shut_down: asks it to end, and gives what to answer.
        """
        self._uri, self._shut_down = uri, shut_down
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            try:
                data, sender = self._sock.recvfrom(MAX_DATAGRAM)
            except OSError as error:  # such as word that an earlier answer arrived nowhere
                Log.warn("broadcast server", "a datagram could not be read:", error)
                gevent.sleep(0.01)
                continue
            try:
                answer = self._answer(data, sender)
                if answer:
                    self._sock.sendto(answer.encode(), sender)
            except Exception as error:  # a validator's own, or nobody there any more
                Log.warn("broadcast server", f"no answer to {sender}:", error)

    def _answer(self, data: bytes, sender: Any) -> str:
        request = data.strip()
        validator = self._validator
        validator.addr = sender
        validator._reply = lambda message: self._sock.sendto(message, sender)
        if request == LOCATION.encode():
            return self._uri if validator.acceptLocationCmd() else ""
        if request == SHUTDOWN.encode():
            if not validator.acceptShutdownCmd() or self._shut_down is None:
                return "Shutdown request denied"
            return self._shut_down()
        Log.warn("broadcast server", f"a datagram from {sender} that is no request:", ascii(data[:60]))
        return ""

    def close(self) -> None:
        """Let go of the socket. Not in the hub. May be repeated."""
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is not None:
            greenlet.kill()
        self._sock.close()
        gevent.sleep(0)  # it closes in the next turn of the loop, which may be the last of a thread's


def ask_everybody(addr: str | None, port: int, tries: int, seconds: float) -> Iterator[tuple[str, PyroURI]]:
    """Ask for name servers by datagram, and give each answer that is a URI: who sent it, and the URI.

    Args:
        addr: where to send to; None for everywhere on the network.
        port: UDP port.
        tries: how often to ask; negative for ever.
        seconds: to wait for answers each time; negative for ever.

    Raises:
        PyroError: it cannot be sent; the text says why.
    """
    seen = set()
    with gsocket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        while tries:
            tries -= 1
            try:
                sock.sendto(LOCATION.encode(), (addr or EVERYWHERE, port))
            except (OSError, UnicodeError) as error:
                raise PyroError(f"cannot be sent: {getattr(error, 'strerror', None) or error}") from error
            until = monotonic() + seconds if seconds >= 0 else None
            while (answer := _receive(sock, until)) is not None:
                data, sender = answer
                if data in seen:
                    continue
                seen.add(data)
                try:
                    yield str(sender[0]), PyroURI(data.decode("ascii"))
                except (UnicodeDecodeError, URIError) as error:
                    Log.warn("locator", f"{sender[0]} answers with what is no URI:", error)


def _receive(sock: Any, until: float | None) -> tuple[bytes, Any] | None:
    with limit(None if until is None else until - monotonic()):
        while True:
            with contextlib.suppress(ConnectionRefusedError):  # word of an earlier datagram
                data, sender = sock.recvfrom(MAX_DATAGRAM)
                return data, sender
    return None


# ---- the file


def write_uri_file(path: str, uri: str) -> None:
    """Write a name server's URI to a file, such that whoever reads it finds the old URI or the new one.

    Raises:
        OSError: that is not possible.
    """
    temporary = f"{path}.{getGUID()}"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as file:
            file.write(uri + "\n")
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def read_uri_file(path: str) -> PyroURI:
    """The URI in a file.

    Raises:
        OSError: it cannot be read.
        URIError: that is no URI.
    """
    with open(path, encoding="ascii", errors="backslashreplace") as file:
        return PyroURI(file.read(4096).strip())
