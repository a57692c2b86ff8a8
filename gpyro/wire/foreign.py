"""What to say to a peer whose first bytes show that it speaks another protocol [P2]."""

from __future__ import annotations

from gpyro.errors import WireError

_HTTP_METHODS = (b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI ")
_HTTP_TEXT = b"This port speaks gpyro, not HTTP. Call it with a gpyro proxy.\n"
_HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_HTTP_TEXT), _HTTP_TEXT)
)
# RFC 8446 section 6: record of type alert (21), legacy version 3.3, two bytes: fatal (2), protocol_version (70).
_SECURE_ALERT = b"\x15\x03\x03\x00\x02\x02\x46"
_SECURE_HANDSHAKE = b"\x16\x03"


class ForeignProtocolError(WireError):
    """The first bytes are not gpyro's.

    Attributes:
        reply: what to send before closing, so that the other program can tell its user; may be empty.
    """

    def __init__(self, text: str, reply: bytes = b"") -> None:
        super().__init__(text, "P1")
        self.reply = reply


def recognise(first: bytes) -> ForeignProtocolError:
    """The error for a connection that begins with the four bytes `first`."""
    if first in _HTTP_METHODS:
        return ForeignProtocolError("the peer speaks HTTP", _HTTP_ANSWER)
    if first == b"HTTP":
        return ForeignProtocolError("the peer is an HTTP server")
    if first[:2] == _SECURE_HANDSHAKE:
        return ForeignProtocolError("the peer wants an encrypted connection (SSL)", _SECURE_ALERT)
    if first[:2] == b"\x15\x03":
        return ForeignProtocolError("the peer answered with an SSL alert: it wants an encrypted connection")
    if first == b"PYRO":
        return ForeignProtocolError("the peer speaks Pyro's own protocol, which is not supported")
    return ForeignProtocolError(f"the peer does not speak gpyro: it began with {first!r}")
