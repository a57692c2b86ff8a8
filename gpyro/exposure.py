"""What of an object can be reached from outside: an allow-list, made once from its class, never by asking the object.

Reachable are the public members of the class tree, except those of the base classes that only serve the remoting.
`expose` narrows this to a declared list. Nothing that begins with an underscore is ever reachable, whoever declares
it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_EXPOSED = "__gpyro_exposed__"
_ONEWAY = "__gpyro_oneway__"

_METHOD_KINDS = (staticmethod, classmethod, functools.partialmethod, functools.singledispatchmethod)


@overload
def expose(target: T, /) -> T: ...


@overload
def expose(*names: str) -> Callable[[type[T]], type[T]]: ...


def expose(*arguments: Any) -> Any:
    """Declare what can be reached; as soon as a class tree declares anything, nothing else of it can be.

    On a method or property it declares that member. On a class, ``@expose`` declares the public members that the
    class itself defines, and ``@expose("name", ...)`` the given names, which may also be data attributes, or names
    that a delegate's ``__getattr__`` answers to. A declared name stays declared in derived classes.

    Raises:
        TypeError: it is used on something that is no class, method or property.
        ValueError: a declared name begins with an underscore or is no name.
    """
    if arguments and all(isinstance(name, str) for name in arguments):
        return lambda cls: _declare(cls, arguments)
    if len(arguments) != 1:
        raise TypeError("@expose goes on a class, a method or a property; with names in brackets, on a class")
    (target,) = arguments
    if isinstance(target, type):
        return _declare(target, [name for name in vars(target) if not name.startswith("_")])
    _mark(target, _EXPOSED)
    return target


def oneway(method: T) -> T:
    """Mark a method as one-way: its callers are answered at once with None, and its errors are only logged.

    Raises:
        TypeError: it is used on something that is no method.
    """
    _mark(method, _ONEWAY)
    return method


def is_oneway(function: Any) -> bool:
    """Whether a function or method is marked as one-way."""
    return getattr(_function_of(function), _ONEWAY, False) is True


def _declare(cls: type[T], names: Iterable[str]) -> type[T]:
    if not isinstance(cls, type):
        raise TypeError("@expose with names goes on a class")
    declared = frozenset(names)
    for name in declared:
        if name.startswith("_") or not name.isidentifier():
            raise ValueError(f"{name!r} cannot be exposed: only names without leading underscore can be reached")
    setattr(cls, _EXPOSED, declared | vars(cls).get(_EXPOSED, frozenset()))
    return cls


def _mark(target: Any, mark: str) -> None:
    function = _function_of(target)
    name = getattr(function, "__name__", "")
    if mark == _EXPOSED and name.startswith("_"):
        raise ValueError(f"{name!r} cannot be exposed: only names without leading underscore can be reached")
    try:
        setattr(function, mark, True)
    except (AttributeError, TypeError):
        raise TypeError(f"{target!r} is no method, property or class that can be marked") from None


def _function_of(member: Any) -> Any:
    """The function behind a member of a class."""
    if isinstance(member, property):
        return member.fget
    if isinstance(member, functools.partialmethod | functools.cached_property):
        return member.func
    return getattr(member, "__func__", member)


class Members:
    """What can be reached of the instances of one class.

    Attributes:
        methods: name of each reachable method, and whether it is one-way.
        attributes: names of the reachable data attributes that the class knows.
        declared: the declared names, if the class tree declares any.
        hidden: names that are never reachable, whatever the instance has.
    """

    __slots__ = ("_closed", "attributes", "declared", "hidden", "methods")

    def __init__(self, cls: type, hidden: frozenset[str] = frozenset()) -> None:
        self.hidden = hidden
        self.methods: dict[str, bool] = {}
        found: dict[str, Any] = {}
        declared: set[str] = set()
        narrowed = False
        for base in reversed(cls.__mro__[:-1]):
            for name, member in vars(base).items():
                if name.startswith("_"):
                    continue
                found[name] = member
                if getattr(_function_of(member), _EXPOSED, False) is True:
                    narrowed = True
                    declared.add(name)
            if _EXPOSED in vars(base):  # also a class that declares itself, and has nothing to declare
                narrowed = True
                declared |= {name for name in vars(base)[_EXPOSED] if not name.startswith("_")}
        self.declared = frozenset(declared - hidden)
        has_getattr = any("__getattr__" in vars(base) for base in cls.__mro__)
        # Of an object that answers to any name, what is not declared is nobody's business, nor its instance's data.
        self._closed = narrowed or has_getattr
        attributes = set()
        for name, member in found.items():
            if name in hidden or (self._closed and name not in declared) or isinstance(member, type):
                continue  # a nested class: calling it would build an object, and it is no data either
            if _is_method(member):
                self.methods[name] = getattr(_function_of(member), _ONEWAY, False) is True
            else:
                attributes.add(name)
        if has_getattr:
            # What __getattr__ answers to cannot be known, so it is the declared names and nothing else.
            self.methods |= dict.fromkeys(self.declared - found.keys(), False)
        self.attributes = frozenset(attributes)

    def has_attribute(self, target: object, name: str) -> bool:
        """Whether `name` is a reachable data attribute of this very object."""
        own = getattr(target, "__dict__", {})
        if callable(own.get(name)):
            return False  # a callback that somebody gave the object: neither its method nor data
        if name in self.attributes:
            return True
        if name.startswith("_") or name in self.hidden or name in self.methods:
            return False
        if self._closed and name not in self.declared:
            return False
        return name in own


def _is_method(member: Any) -> bool:
    return isinstance(member, _METHOD_KINDS) or (callable(member) and not isinstance(member, property))
