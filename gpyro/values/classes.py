"""Which classes travel, and under which name.

The receiver looks a name up here and nowhere else: it never imports what a peer names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

from gpyro.errors import ProtocolError

from .special import PLAIN_TYPES, SPECIAL_TYPES
from .state import plan

C = TypeVar("C", bound=type)
ToState = Callable[[Any], Any]
FromState = Callable[[Any], Any]


class Entry:
    """What is known of one registered class."""

    __slots__ = ("based", "cls", "from_state", "is_exception", "name", "subclasses", "to_state")

    def __init__(
        self,
        cls: type,
        name: str,
        to_state: ToState | None,
        from_state: FromState | None,
        subclasses: bool,
        based: bool = False,
    ) -> None:
        self.cls = cls
        self.name = name
        self.subclasses = subclasses
        self.is_exception = issubclass(cls, BaseException)
        # None for exceptions that travel the way all exceptions do.
        self.to_state = to_state
        self.from_state = from_state
        # Whether the state is a list of the content of a builtin type and the attributes.
        self.based = based


class Registry:
    """A set of classes whose instances travel by value. Serializers use `registry`, the global one, by default."""

    def __init__(self) -> None:
        self._by_class: dict[type, Entry] = {}
        self._by_name: dict[str, Entry] = {}

    def register(
        self,
        cls: type,
        *,
        name: str | None = None,
        to_state: ToState | None = None,
        from_state: FromState | None = None,
        subclasses: bool = False,
    ) -> None:
        """Let instances of `cls` travel by value; both sides must do so.

        Args:
            cls: a dataclass, enum, named tuple, attrs or plain class, or an exception.
            name: what the class is called on the wire, by default its module and qualified name. Give one where the two
                sides import the class from different modules (`__main__` on one of them, say).
            to_state: makes of an instance a value that can travel. It must be free of side effects and may be called
                more than once for one message. By default ``__getstate__``, the fields, or the instance's attributes.
            from_state: makes an instance of that value. By default ``__setstate__`` or the attributes are set on a new
                instance whose ``__init__`` is not called.
            subclasses: let instances of subclasses travel too; they arrive as `cls`, unless registered themselves.

        Raises:
            ValueError: another class has that name; or instances of `cls` can be taken apart or put together only by
                functions that were not given; or `cls` is an exception class that never travels as such, or a builtin
                type that travels anyway.
            TypeError: `cls` is not a class.
        """
        if not isinstance(cls, type):
            raise TypeError(f"register_class takes a class, not {cls!r}")
        wire_name = name if name is not None else f"{cls.__module__}.{cls.__qualname__}"
        known = self._by_name.get(wire_name)
        if known is not None and known.cls is not cls:
            raise ValueError(f"two classes are called {wire_name!r}: {known.cls!r} and {cls!r}; give one of them name=")
        based = False
        if cls in SPECIAL_TYPES or cls in PLAIN_TYPES:
            raise ValueError(f"{cls.__qualname__} travels already")
        if issubclass(cls, BaseException):
            _check_exception(cls, wire_name)
        elif to_state is None or from_state is None:
            standard = plan(cls)
            based = to_state is None and standard.based
            to_state, from_state = to_state or standard.take, from_state or standard.make
        entry = Entry(cls, wire_name, to_state, from_state, subclasses, based)
        self._by_name[wire_name] = entry
        self._by_class[cls] = entry

    def find(self, cls: type) -> Entry | None:
        """The entry under which instances of `cls` travel, or None."""
        entry = self._by_class.get(cls)
        if entry is None:
            for base in cls.__mro__[1:-1]:
                inherited = self._by_class.get(base)
                if inherited is not None and inherited.subclasses:
                    return inherited
        return entry

    def by_name(self, name: str) -> Entry | None:
        """The entry of the class that is called `name` on the wire, or None."""
        return self._by_name.get(name)


def _check_exception(cls: type[BaseException], name: str) -> None:
    if not issubclass(cls, Exception):
        raise ValueError(f"{cls.__qualname__} is no subclass of Exception; it always arrives as RemoteError")
    if issubclass(cls, ProtocolError):
        raise ValueError(
            f"{cls.__qualname__} is a ProtocolError, which speaks of the receiver's own connection; "
            "it always arrives as RemoteError"
        )
    if "." not in name:
        raise ValueError(f"the name {name!r} needs a dot: names without one are those of Python's own exceptions")


registry: Final = Registry()


@overload
def register_class(
    cls: C,
    *,
    name: str | None = None,
    to_state: ToState | None = None,
    from_state: FromState | None = None,
    subclasses: bool = False,
) -> C: ...


@overload
def register_class(
    cls: None = None,
    *,
    name: str | None = None,
    to_state: ToState | None = None,
    from_state: FromState | None = None,
    subclasses: bool = False,
) -> Callable[[C], C]: ...


def register_class(
    cls: C | None = None,
    *,
    name: str | None = None,
    to_state: ToState | None = None,
    from_state: FromState | None = None,
    subclasses: bool = False,
) -> C | Callable[[C], C]:
    """Let instances of a class travel by value; usable as a decorator, with or without arguments.

    Args:
        cls: the class; see `Registry.register`, also for the other arguments.
        name: what the class is called on the wire.
        to_state: makes of an instance a value that can travel.
        from_state: makes an instance of that value.
        subclasses: let instances of subclasses travel too, as `cls`.

    Returns:
        The class itself, or a decorator if no class is given.

    Raises:
        ValueError: see `Registry.register`.
        TypeError: see `Registry.register`.
    """

    def decorate(decorated: C) -> C:
        registry.register(decorated, name=name, to_state=to_state, from_state=from_state, subclasses=subclasses)
        return decorated

    return decorate if cls is None else decorate(cls)
