"""What a serializer has to do, and what all of them have in common: the shapes of calls and errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from gpyro.errors import SerializationError
from gpyro.remote_traceback import attach_remote_traceback

from .classes import Registry, registry
from .exceptions import Record, from_records, safe_text, to_records, wire_name
from .guard import DEFAULT_LIMITS, Limits

Body = bytes | bytearray | memoryview
_MINIMAL_TEXT = 1_000


class Serializer(ABC):
    """Turns values into bytes and back. A plug-in author runs `gpyro.testing.serializers.SerializerContract` over it.

    Whatever the bytes, a method that decodes returns a value or raises SerializationError, nothing else. One instance
    serves all greenlets and threads at once.

    Attributes:
        name: what the two sides call it when they agree on one.
        trusted_only: whether bytes of a peer that is not trusted can do harm.
        passes_references: whether the registry decides about all that is no plain value, so that one which knows of
            references (`gpyro.values.bound.BoundRegistry`) lets functions and objects be called back.
    """

    name: ClassVar[str]
    trusted_only: ClassVar[bool] = False
    passes_references: ClassVar[bool] = True

    def __init__(self, registry: Registry = registry, limits: Limits = DEFAULT_LIMITS) -> None:
        self.registry = registry
        self.limits = limits

    def over(self, registry: Registry) -> Serializer:
        """A serializer like this one that goes by another registry."""
        return type(self)(registry, self.limits)

    @abstractmethod
    def encode(self, value: Any, root: str = "result") -> bytes:
        """Encode a value.

        Args:
            value: what is to travel.
            root: what paths in errors start with.

        Raises:
            SerializationError: a part of it cannot travel; `path` says which.
        """

    @abstractmethod
    def decode(self, body: Body) -> Any:
        """Decode a value.

        Args:
            body: what `encode` made on the other side.

        Raises:
            SerializationError: it is no value, or over a limit.
        """

    @abstractmethod
    def encode_call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Encode the call of a method.

        Args:
            method: its name.
            args: positional arguments.
            kwargs: keyword arguments.

        Raises:
            SerializationError: an argument cannot travel; `path` says which.
        """

    # What goes to many is encoded once, and put together with what differs. These ask nothing of a serializer, but one
    # that can do without decoding saves the time.

    def join(self, parts: Sequence[bytes]) -> bytes:
        """The list of values that are encoded already: what `encode` makes of a list of them, as long as it is small.

        Args:
            parts: what `encode` of a serializer like this one made of each.

        Raises:
            SerializationError: together they are over a limit.
        """
        return self.encode([self.decode(part) for part in parts])

    def join_call(self, method: str, parts: Sequence[bytes]) -> bytes:
        """The call of a method with positional arguments that are encoded already.

        Args:
            method: its name.
            parts: what `encode` of a serializer like this one made of each argument.

        Raises:
            SerializationError: together they are over a limit.
        """
        return self.encode_call(method, tuple(self.decode(part) for part in parts), {})

    def decode_call(self, body: Body) -> tuple[str, Sequence[Any], dict[str, Any]]:
        """Decode the call of a method.

        Args:
            body: what `encode_call` made on the other side.

        Returns:
            The name, the positional arguments (a list or a tuple) and the keyword arguments.

        Raises:
            SerializationError: it is no call, or over a limit.
        """
        return check_call(self.decode(body))

    def encode_error(self, error: BaseException, traceback: list[str]) -> bytes:
        """Encode what a method raised. That always works: what cannot travel is left out.

        Args:
            error: the exception; arguments that cannot travel are replaced by their text.
            traceback: lines of text that describe where it was raised.
        """
        try:
            records, _ = to_records(error, self.registry, self._travels)
            return self.encode([records, [str(line) for line in traceback]])
        except Exception:
            return self._encode_minimal(error, traceback)

    def _encode_minimal(self, error: BaseException, traceback: list[str]) -> bytes:
        text = safe_text(error)[:_MINIMAL_TEXT].encode("utf-8", "backslashreplace").decode()
        name = wire_name(type(error), self.registry)[:_MINIMAL_TEXT].encode("utf-8", "backslashreplace").decode()
        record = Record(name, text, [text], {}, {}, [], None, None, False, None, [])
        lines = "".join(map(str, traceback))[-_MINIMAL_TEXT:].encode("utf-8", "backslashreplace").decode()
        return self.encode([[list(record)], [lines]])

    def _travels(self, value: Any) -> bool:
        try:
            self.encode(value)
        except SerializationError:
            return False
        return True

    def decode_error(self, body: Body) -> Exception:
        """Decode what a method raised.

        Args:
            body: what `encode_error` made on the other side.

        Returns:
            An exception ready to be raised: of its own class if that is one of Python's or registered, else
            RemoteError. The remote traceback is in its attribute ``remote_stacktrace`` and a note.

        Raises:
            SerializationError: it is no error, or over a limit.
        """
        state = self.decode(body)
        if type(state) is not list or len(state) != 2 or type(state[1]) is not list:
            raise SerializationError("the bytes are no error")
        lines = state[1]
        if not all(type(line) is str for line in lines):
            raise SerializationError("the bytes are no error")
        try:
            error = from_records(state[0], self.registry)
        except SerializationError:
            raise
        except Exception as failure:
            raise SerializationError(f"the bytes are no error: {failure}") from failure
        attach_remote_traceback(error, lines)
        return error


def check_call(call: Any) -> tuple[str, Sequence[Any], dict[str, Any]]:
    """Check that a decoded value has the shape of a call.

    Raises:
        SerializationError: it has not.
    """
    if type(call) is not list or len(call) != 3:
        raise SerializationError("the bytes are no call: name, arguments and keyword arguments were expected")
    method, args, kwargs = call
    if type(method) is not str or (type(args) is not list and type(args) is not tuple) or type(kwargs) is not dict:
        raise SerializationError("the bytes are no call: name, arguments and keyword arguments were expected")
    for name in kwargs:
        if type(name) is not str:
            raise SerializationError("the bytes are no call: a keyword is not a str")
    return method, args, kwargs
