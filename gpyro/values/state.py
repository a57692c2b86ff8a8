"""How instances of a registered class are taken apart and put together again, without calling ``__init__``."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final, NamedTuple

from .refusal import quoted


class Plan(NamedTuple):
    """How instances of one class travel.

    Attributes:
        take: makes the state of an instance.
        make: makes an instance of its state.
        based: whether the state is a list of the content of a builtin type and the attributes.
    """

    take: Callable[[Any], Any]
    make: Callable[[Any], Any]
    based: bool = False


_HEAP_TYPE: Final = 1 << 9
# Each entry makes a plain value of an instance of a subclass, whatever methods that overrides.
_PLAIN: Final[dict[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    complex: lambda value: complex(complex.real.__get__(value), complex.imag.__get__(value)),
    bytes: lambda value: bytes(memoryview(value)),
    bytearray: lambda value: bytearray(memoryview(value)),
    list: lambda value: [*list.__iter__(value)],
    tuple: lambda value: (*tuple.__iter__(value),),
    dict: lambda value: {key: dict.__getitem__(value, key) for key in dict.__iter__(value)},
    set: lambda value: {*set.__iter__(value)},
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}
_FILL: Final[dict[type, Callable[[Any, Any], Any]]] = {
    list: list.extend,
    dict: dict.update,
    set: set.update,
    bytearray: bytearray.extend,
}


def plan(cls: type) -> Plan:
    """The functions that take an instance of `cls` apart and put it together.

    Raises:
        ValueError: gpyro cannot tell how; `to_state` and `from_state` have to be given.
    """
    if issubclass(cls, enum.Flag):
        return Plan(lambda member: member._value_, _flag_maker(cls))
    if issubclass(cls, enum.Enum):
        return Plan(lambda member: member._name_, _member_finder(cls))
    base = _native_base(cls)
    if base in _PLAIN:
        return _based_plan(cls, base)
    if base is not object or cls.__reduce__ is not object.__reduce__ or cls.__reduce_ex__ is not object.__reduce_ex__:
        raise ValueError(
            f"gpyro cannot tell how instances of {cls.__qualname__} are put together; give to_state= and from_state="
        )
    return Plan(_taker(cls), _maker(cls))


def _native_base(cls: type) -> type:
    return next(base for base in cls.__mro__ if not base.__flags__ & _HEAP_TYPE)


def _flag_maker(cls: type[enum.Flag]) -> Callable[[Any], Any]:
    known = 0
    for member in cls.__members__.values():
        known |= member._value_

    def make(state: Any) -> enum.Flag:
        # An IntFlag would take, and remember for ever, any number a peer makes up.
        if type(state) is not int or state & ~known:
            raise ValueError(f"{_shown(state)} is no value of {cls.__qualname__}")
        return cls(state)

    return make


def _member_finder(cls: type[enum.Enum]) -> Callable[[Any], Any]:
    members = cls.__members__

    def find(state: Any) -> enum.Enum:
        if type(state) is not str or state not in members:
            raise ValueError(f"{cls.__qualname__} has no member {_shown(state)}")
        return members[state]

    return find


def _based_plan(cls: Any, base: Any) -> Plan:
    """For subclasses of builtin types, named tuples among them: the builtin value, and the attributes."""
    plain, fill = _PLAIN[base], _FILL.get(base)
    make_new: Any = base.__new__
    take_attributes, apply = _taker(cls), _applier(cls)
    length = len(cls._fields) if base is tuple and hasattr(cls, "_fields") else -1

    def take(value: Any) -> list[Any]:
        return [plain(value), take_attributes(value)]

    def make(state: Any) -> Any:
        content, attributes = _pair(state)
        if type(content) is not base:
            raise TypeError(f"{cls.__qualname__} is a {base.__name__}, not a {type(content).__name__}")
        if length >= 0 and len(content) != length:
            raise ValueError(f"{cls.__qualname__} has {length} fields, not {len(content)}")
        if fill is None:
            value = make_new(cls, content)
        else:
            value = make_new(cls)
            fill(value, content)
        apply(value, attributes)
        return value

    return Plan(take, make, based=True)


def _pair(state: Any) -> tuple[Any, Any]:
    if type(state) is not list or len(state) != 2:
        raise TypeError("the state is not a list of two")
    return state[0], state[1]


def _taker(cls: Any) -> Callable[[Any], Any]:
    # `__getstate__` is inherited from object by every class; a class that has its own, or its own `__setstate__`, gets
    # the protocol of pickle to the letter.
    if cls.__getstate__ is not object.__getstate__ or hasattr(cls, "__setstate__"):
        return cls.__getstate__  # type: ignore[no-any-return]
    slots = _slots(cls)
    if not slots:
        return _attributes

    def take(value: Any) -> dict[str, Any]:
        state = _attributes(value)
        for name in slots:
            try:
                state[name] = object.__getattribute__(value, name)
            except AttributeError:
                continue
        return state

    return take


def _attributes(value: Any) -> dict[str, Any]:
    return dict(getattr(value, "__dict__", ()))


def _maker(cls: Any) -> Callable[[Any], Any]:
    apply, new = _applier(cls), cls.__new__

    def make(state: Any) -> Any:
        value = new(cls)
        apply(value, state)
        return value

    return make


def _applier(cls: Any) -> Callable[[Any, Any], None]:
    if hasattr(cls, "__setstate__"):

        def set_state(value: Any, state: Any) -> None:
            if state is not None:
                cls.__setstate__(value, state)

        return set_state
    slots = frozenset(_slots(cls))
    required, defaults = _fields(cls)

    def apply(value: Any, state: Any) -> None:
        for part in state if type(state) is tuple else (state,):
            if part is not None:
                _set_attributes(value, part, slots)
        for name, default in defaults.items():
            if type(state) is dict and name not in state:
                object.__setattr__(value, name, default())
        for name in required:
            if type(state) is dict and name not in state:
                raise TypeError(f"field {name!r} of {cls.__qualname__} is missing")

    return apply


def _set_attributes(value: Any, state: Any, slots: frozenset[str]) -> None:
    if type(state) is not dict:
        raise TypeError(f"attributes must come as a dict, not as {type(state).__name__}")
    for name, attribute in state.items():
        if type(name) is not str or (name.startswith("__") and name.endswith("__")):
            raise TypeError(f"{_shown(name)} is no name of an attribute")
        if name in slots:
            object.__setattr__(value, name, attribute)
        elif hasattr(value, "__dict__"):
            # Not setattr: the peer must not reach the setters of properties.
            value.__dict__[name] = attribute
        else:
            raise TypeError(f"{type(value).__qualname__} has no attribute {_shown(name)}")


def _shown(value: Any) -> str:
    """What a peer sent where something else was expected."""
    if type(value) is str:
        return quoted(value)
    # Numbers of any length, and containers, are not written out.
    return repr(value) if type(value) is int and value.bit_length() <= 64 else f"a value of type {type(value).__name__}"


def _fields(cls: Any) -> tuple[frozenset[str], dict[str, Callable[[], Any]]]:
    """Names of the fields that must be there, and makers of the others: the sender may be an older version."""
    required: set[str] = set()
    defaults: dict[str, Callable[[], Any]] = {}
    if is_dataclass(cls):
        for field in fields(cls):
            if field.default is not MISSING:
                defaults[field.name] = _constant(field.default)
            elif field.default_factory is not MISSING:
                defaults[field.name] = field.default_factory
            elif field.init:
                required.add(field.name)
    for attribute in getattr(cls, "__attrs_attrs__", ()):
        default = attribute.default
        if hasattr(default, "factory"):
            if not default.takes_self:
                defaults[attribute.name] = default.factory
        elif type(default).__name__ != "_Nothing":
            defaults[attribute.name] = _constant(default)
        elif attribute.init:
            required.add(attribute.name)
    return frozenset(required), defaults


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def _slots(cls: type) -> list[str]:
    names: list[str] = []
    for base in cls.__mro__:
        declared = base.__dict__.get("__slots__", ())
        for name in (declared,) if isinstance(declared, str) else declared:
            if name in ("__dict__", "__weakref__"):
                continue
            private = name.startswith("__") and not name.endswith("__")
            names.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return names
