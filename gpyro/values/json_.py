"""JSON, for people who want to read what travels; the second proof of the serializer contract.

What JSON lacks travels as an object of two members, ``{"$": tag, "v": state}``; a dict that has the key ``$`` itself
travels as a tagged list of its keys and values.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, NoReturn

from gpyro.errors import SerializationError

from .arrays import NDARRAY, SCALAR
from .classes import Registry, registry
from .codes import RAW_CODES
from .exceptions import from_records
from .guard import DEFAULT_LIMITS, Limits, check_length, too_many_containers
from .objects import make_object
from .refusal import brief, quoted
from .serializer import Body, Serializer, check_call
from .special import SPECIAL_TYPES, Special
from .walk import EXCEPTION_TAG, OBJECT_TAG, Walk, is_utf8

_ROWS: Final[dict[str, Special]] = {row.tag: row for row in (*SPECIAL_TYPES.values(), NDARRAY, SCALAR)}
_RAW_TAGS: Final = frozenset(row.tag for row in _ROWS.values() if row.code in RAW_CODES)
_BASE64: Final = re.compile("[A-Za-z0-9+/]*+={0,2}", re.ASCII)
_FLOATS: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
# Possessive, and up to the end of what is cut off: whatever is tried again from the next place takes a time that grows
# with the square.
_TEXTS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)


class JsonSerializer(Serializer):
    """JSON in UTF-8 with tagged objects; safe with any peer, slower than msgpack."""

    name: ClassVar[str] = "json"

    def __init__(self, registry: Registry = registry, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(registry, limits)
        self._walk = _JsonWalk(registry, limits)
        self._decoder = json.JSONDecoder(object_hook=_object_hook(registry, limits), parse_constant=_refuse_constant)

    def encode(self, value: Any, root: str = "result") -> bytes:
        """See `Serializer.encode`."""
        return self._dump(self._walk.tree(value, root), root)

    def encode_call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """See `Serializer.encode_call`."""
        tree = self._walk.tree
        return self._dump([tree(method, "method"), tree([*args], "args"), tree(kwargs, "kwargs")], "args")

    def join(self, parts: Sequence[bytes]) -> bytes:
        """See `Serializer.join`; what is too deep only together is left to the receiver."""
        return self._checked(b"[" + b",".join(parts) + b"]", "result")

    def join_call(self, method: str, parts: Sequence[bytes]) -> bytes:
        """See `Serializer.join_call`; what is too deep only together is left to the receiver."""
        return self._checked(b"[" + self.encode(method) + b",[" + b",".join(parts) + b"],{}]", "args")

    def _dump(self, tree: Any, root: str) -> bytes:
        try:
            body = json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except Exception as error:
            raise SerializationError(f"{root}: {error}", root) from error
        return self._checked(body, root)

    def _checked(self, body: bytes, root: str) -> bytes:
        try:
            self._check(body)
        except SerializationError as error:
            raise SerializationError(f"{root}: {error}", root) from None
        return body

    def decode(self, body: Body) -> Any:
        """See `Serializer.decode`."""
        value = self._load(body)
        if self.limits.keeps_depth:
            self._walk.check_depth(value)
        return value

    def decode_call(self, body: Body) -> tuple[str, Sequence[Any], dict[str, Any]]:
        """See `Serializer.decode_call`."""
        method, args, kwargs = check_call(self._load(body))
        if self.limits.keeps_depth:
            self._walk.check_depth(args, kwargs)
        return method, args, kwargs

    def _load(self, body: Body) -> Any:
        data = bytes(body)
        self._check(data)
        try:
            return self._decoder.decode(data.decode())
        except SerializationError:
            raise
        except Exception as error:
            raise SerializationError(f"the bytes are no value: {brief(error)}") from error

    def _check(self, body: bytes) -> None:
        limit = self.limits.max_containers
        check_length(len(body), self.limits)
        if len(body) <= limit or body.count(b"[") + body.count(b"{") <= limit:
            return
        bare = _TEXTS.sub(b"", body)
        if bare.count(b"[") + bare.count(b"{") > limit:
            raise SerializationError(too_many_containers(self.limits))


class _JsonWalk(Walk):
    def leaf(self, value: Any) -> Any:
        kind = type(value)
        if kind is bytes:
            return {"$": "bytes", "v": base64.b64encode(value).decode()}
        if kind is float and not math.isfinite(value):
            return {"$": "float", "v": repr(value)}
        row: Special | None = None
        if kind is int and not -0x8000000000000000 <= value <= 0xFFFFFFFFFFFFFFFF:
            row = SPECIAL_TYPES[int]
        elif kind is str and not is_utf8(value):
            row = SPECIAL_TYPES[str]
        return value if row is None else self.special(row.code, row.tag, row.to_state(value))

    def special(self, code: int, tag: str, node: Any) -> Any:
        return {"$": tag, "v": base64.b64encode(node).decode() if code in RAW_CODES else node}

    def is_plain_key(self, key: str) -> bool:
        return key != "$" and is_utf8(key)


def _object_hook(registry: Registry, limits: Limits) -> Callable[[dict[str, Any]], Any]:
    equal_hashes = limits.max_hash_collisions

    def hook(members: dict[str, Any]) -> Any:
        if "$" not in members:
            return members
        if len(members) != 2 or "v" not in members or type(members["$"]) is not str:
            raise SerializationError("a tagged value is not a tag and a state")
        tag, state = members["$"], members["v"]
        if tag == "bytes":
            return _from_base64(state)
        if tag == "float":
            return _FLOATS[state]
        if tag == OBJECT_TAG:
            return make_object(state, registry)
        if tag == EXCEPTION_TAG:
            return from_records(state, registry)
        row = _ROWS.get(tag)
        if row is None:
            raise SerializationError(f"the tag {quoted(tag)} is unknown")
        return row.from_state(_from_base64(state) if tag in _RAW_TAGS else state, equal_hashes)

    return hook


def _from_base64(state: Any) -> bytes:
    # Looked at first, since decoding takes its memory first.
    if type(state) is not str or not _BASE64.fullmatch(state):
        raise ValueError("bytes come as base64 text")
    return binascii.a2b_base64(state, strict_mode=True)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
