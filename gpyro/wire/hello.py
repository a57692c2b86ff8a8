"""The hello that opens a connection, and its answer: what each end can do, and lets the other have in flight.

A hello is JSON, because it is exchanged once, must be readable by a stranger's tools, and is bounded to 4 KiB [H1].
"""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, dataclass
from typing import Any

from gpyro.constants import VERSION
from gpyro.errors import WireError

PROTOCOL_VERSION = 1
AGENT = f"gpyro/{VERSION}"
SCRAM = "scram-sha-256"
"""The capability of a connecting end that proves who it is: its first step follows the hello [A1]."""
STREAMS = "streams"
"""The capability of an end that understands streams [T1]."""

REFERENCES = "references"
"""The capability of an end that understands references, and says when it lets go of them [R2]."""

_MAX_GRANT = 2**32 - 1
_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class Hello:
    """What one end says of itself [H2].

    Attributes:
        versions: lowest and highest protocol version it speaks; in the answer both are the chosen one.
        serializers: names of the serializers it accepts, best first; in the answer the chosen one only.
        calls: how many unanswered calls the other end may have on this channel; 0 if it serves none.
        size: how many bytes the unanswered calls may have together.
        message: largest body of one frame that it takes.
        sessions: how many sessions the other end may have open.
        buffers: how many bytes of buffers may be on their way here for messages that have not come; 0 if it takes none.
        capabilities: names of optional parts that it implements.
        agent: its name and version, for logs.
    """

    versions: tuple[int, int] = (PROTOCOL_VERSION, PROTOCOL_VERSION)
    serializers: tuple[str, ...] = ("msgpack",)
    calls: int = 0
    size: int = 0
    message: int = 16 * 1024 * 1024
    sessions: int = 0
    capabilities: tuple[str, ...] = ()
    agent: str = AGENT
    buffers: int = 0

    def to_bytes(self) -> bytes:
        """The hello as the body of a HELLO or WELCOME frame."""
        return json.dumps(asdict(self), separators=(",", ":")).encode("ascii")

    @staticmethod
    @functools.lru_cache(maxsize=64)  # thousands of clients say the same: they share one object
    def from_bytes(body: bytes) -> Hello:
        """Read a hello. Fields it does not know are ignored [H2].

        Raises:
            WireError: it is no JSON object in UTF-8, a field comes twice, or one is not what it must be.
        """
        try:
            fields = _decoder.decode(body.decode())
        except (ValueError, RecursionError) as error:
            raise WireError(f"the hello is not JSON: {error}", "H2") from None
        if not isinstance(fields, dict):
            raise WireError("the hello is not a JSON object", "H2")
        low, high = _versions(fields.get("versions"))
        return Hello(
            versions=(low, high),
            serializers=_names(fields, "serializers"),
            calls=_number(fields, "calls"),
            size=_number(fields, "size"),
            message=_number(fields, "message"),
            sessions=_number(fields, "sessions"),
            capabilities=_names(fields, "capabilities"),
            buffers=_number(fields, "buffers"),
            agent=_agent(fields.get("agent", "")),
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field comes twice")  # which one counts would depend on the reader
    return fields


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def choose_version(offered: tuple[int, int]) -> int | None:
    """The highest version that both ends speak, or None [H3]."""
    low, high = offered
    return PROTOCOL_VERSION if low <= PROTOCOL_VERSION <= high else None


def choose_serializer(offered: tuple[str, ...], accepted: tuple[str, ...]) -> str | None:
    """The first of the server's own list that the client offers too, or None: the server's order decides [H4]."""
    return next((name for name in accepted if name in offered), None)


def _versions(value: Any) -> tuple[int, int]:
    if isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value):
        low, high = value
        if 0 < low <= high <= 0xFFFF:
            return low, high
    raise WireError("the hello's versions are not a range of two numbers", "H2")


def _number(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name, 0)
    if type(value) is not int or not 0 <= value <= _MAX_GRANT:
        raise WireError(f"the hello's {name} is not a number from 0 to {_MAX_GRANT}", "H2")
    return value


def _names(fields: dict[str, Any], name: str) -> tuple[str, ...]:
    value = fields.get(name, [])
    if not isinstance(value, list) or not all(map(_is_name, value)):
        raise WireError(f"the hello's {name} is not a list of names", "H2")
    return tuple(value)


def _is_name(value: Any) -> bool:
    # Names are shown in logs and errors, so they hold nothing that could forge a line there.
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME and value.isascii() and value.isprintable()


def _agent(value: Any) -> str:
    if not isinstance(value, str):
        raise WireError("the hello's agent is not a text", "H2")
    return "".join(character if character.isprintable() else "?" for character in value[:80])
