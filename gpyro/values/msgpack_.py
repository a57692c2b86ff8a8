"""The default serializer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

from gpyro.errors import SerializationError

from .bytescan import holds_bytearray
from .classes import Registry, registry
from .guard import DEFAULT_LIMITS, Limits, check_message
from .packing import (
    OPTIONS,
    Packer,
    PackWalk,
    array_header,
    count_missing,
    make_ext_hook,
    missing_seen,
    packb,
    take_raised,
    unpackb,
)
from .refusal import Refused, brief
from .serializer import Body, Serializer, check_call


class MsgpackSerializer(Serializer):
    """msgpack with extension types; safe with any peer.

    The fast codec goes first; the walk in Python follows only where it refuses.
    """

    name: ClassVar[str] = "msgpack"

    def __init__(self, registry: Registry = registry, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(registry, limits)
        self._packer = Packer(registry, limits)
        self._ext_hook = make_ext_hook(registry, limits)
        self._walk = PackWalk(registry, limits)
        # A message is no deeper than it has bytes.
        self._unchecked = min(limits.max_unchecked, limits.max_depth) if limits.keeps_depth else limits.max_unchecked

    def encode(self, value: Any, root: str = "result") -> bytes:
        """See `Serializer.encode`."""
        all_msgpack = True
        before = missing_seen()
        try:
            body = packb(value, count_missing, OPTIONS)
            if missing_seen() != before + 1:
                body, all_msgpack = self._packer.pack(value)
            # C4 is the marker of bytes; those of over 255 have others.
            if (0xC4 in body or len(body) > 256) and holds_bytearray(body, value, all_msgpack):
                raise Refused("a bytearray needs the walk")
        except Exception:
            body = self._walked(value, root)
        if len(body) > self._unchecked:
            self._check_sent(body, root)
            if self.limits.keeps_depth:
                self._walked(value, root)
        return body

    def encode_call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """See `Serializer.encode_call`."""
        call = [method, [*args], kwargs]
        all_msgpack = True
        before = missing_seen()
        try:
            body = packb(call, count_missing, OPTIONS)
            if missing_seen() != before + 1:
                body, all_msgpack = self._packer.pack(call)
            if (0xC4 in body or len(body) > 256) and holds_bytearray(body, call, all_msgpack):
                raise Refused("a bytearray needs the walk")
        except Exception:
            body = self._walked_call(call)
        if len(body) > self._unchecked:
            self._check_sent(body, "args")
            if self.limits.keeps_depth:
                self._walked_call(call)
        return body

    def join(self, parts: Sequence[bytes]) -> bytes:
        """See `Serializer.join`; what is too deep only together is left to the receiver."""
        return self._checked(array_header(len(parts)) + b"".join(parts), "result")

    def join_call(self, method: str, parts: Sequence[bytes]) -> bytes:
        """See `Serializer.join_call`; what is too deep only together is left to the receiver."""
        head = b"\x93" + packb(method, None, OPTIONS) + array_header(len(parts))
        return self._checked(b"".join((head, *parts, b"\x80")), "args")

    def _checked(self, body: bytes, root: str) -> bytes:
        if len(body) > self._unchecked:
            self._check_sent(body, root)
        return body

    def _walked(self, value: Any, root: str) -> bytes:
        return self._pack_tree(self._walk.tree(value, root), root)

    def _walked_call(self, call: list[Any]) -> bytes:
        method, args, kwargs = call
        parts = [self._walk.tree(part, root) for part, root in ((method, "method"), (args, "args"), (kwargs, "kwargs"))]
        return self._pack_tree(parts, "args")

    def _pack_tree(self, tree: Any, root: str) -> bytes:
        try:
            return packb(tree, None, OPTIONS)
        except Exception as error:
            raise SerializationError(f"{root}: {error}", root) from error

    def _check_sent(self, body: bytes, root: str) -> None:
        # The receiver would refuse it; here the error meets the one who can do something about it.
        try:
            check_message(body, self.limits)
        except SerializationError as error:
            raise SerializationError(f"{root}: {error}", root) from None

    def decode(self, body: Body) -> Any:
        """See `Serializer.decode`."""
        if len(body) > self._unchecked:
            value = self._unpack_checked(body)
            if self.limits.keeps_depth:
                self._walk.check_depth(value)
            return value
        try:
            return unpackb(body, ext_hook=self._ext_hook)
        except Exception as error:
            _refuse(error)

    def _unpack_checked(self, body: Body) -> Any:
        check_message(body, self.limits)
        try:
            return unpackb(body, ext_hook=self._ext_hook)
        except Exception as error:
            _refuse(error)

    def decode_call(self, body: Body) -> tuple[str, Sequence[Any], dict[str, Any]]:
        """See `Serializer.decode_call`."""
        if len(body) > self._unchecked:
            method, args, kwargs = check_call(self._unpack_checked(body))
            if self.limits.keeps_depth:
                self._walk.check_depth(args, kwargs)
            return method, args, kwargs
        try:
            call = unpackb(body, ext_hook=self._ext_hook)
        except Exception as error:
            _refuse(error)
        # The common case of `check_call`, here because it saves a fifth of the time.
        if type(call) is list and len(call) == 3:
            method, args, kwargs = call
            if not kwargs and type(kwargs) is dict and type(args) is list and type(method) is str:
                return method, args, kwargs
        return check_call(call)


def _let_through(raised: BaseException | None) -> None:
    """Raise again what was thrown into this greenlet while the codec ran a hook, and hid by it."""
    if raised is not None and not isinstance(raised, Exception):
        raise raised


def _refuse(error: Exception) -> NoReturn:
    raised = take_raised()
    _let_through(raised)
    if isinstance(raised, SerializationError):
        raised.__suppress_context__ = True  # that the codec's hook failed is nobody's business
        raise raised
    cause = raised or error
    raise SerializationError(f"the bytes are no value: {brief(cause)}") from cause
