"""What a sender is told about a value that cannot travel."""

from __future__ import annotations

import types
from typing import Final

_CALLABLES: Final = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
)
_SOCKET_MODULES: Final = frozenset({"socket", "_socket", "ssl", "gevent._socket3", "gevent.ssl", "gevent._ssl3"})
_LOCK_MODULES: Final = frozenset({"_thread", "threading", "gevent.lock", "gevent.event", "gevent.queue", "queue"})
_MAX_QUOTED: Final = 50
_MAX_BRIEF: Final = 300
_BUILTIN_BASES: Final = (str, int, float, complex, bytes, bytearray, list, tuple, dict, set, frozenset)


class Refused(Exception):
    """A value cannot travel; the containers on the way out add where it stands.

    Attributes:
        text: what is wrong, without the path.
        parts: pieces of the path, innermost first.
        ids: identities of the containers on the way, innermost first; kept only when the nesting was too deep.
        too_deep: whether the limit on nesting was hit, which is also how a circular structure shows.
    """

    def __init__(self, text: str, too_deep: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.parts: list[str] = []
        self.ids: list[int] = []
        self.too_deep = too_deep


def quoted(text: str) -> str:
    """What a peer sent, for a message: no more of it than a reader needs, and nothing that a terminal would obey."""
    return ascii(text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "...")


def brief(error: BaseException) -> str:
    """Class and text of an error that bytes of a peer caused, at most a few hundred characters long."""
    name = type(error).__name__
    first = error.args[0] if len(error.args) == 1 else None
    if isinstance(first, str):
        # Not by str(), which would first write the whole of a key out.
        return f"{name}: {quoted(first) if isinstance(error, KeyError) else first[:_MAX_BRIEF]}"
    try:
        return f"{name}: {error}"[:_MAX_BRIEF]
    except Exception:  # of a class of the program's
        return name


def explain(value: object) -> str:
    """Why `value` cannot travel and what to do, in one line that starts with the name of its class."""
    cls = type(value)
    name = cls.__qualname__.rpartition("<locals>.")[2]
    kind = _untravelling_kind(value)
    if kind:
        return f"{name}: {kind}"
    if getattr(cls, "getProxy", None) is not None:
        return f"{name} is a remote object, which stays where it is; pass its proxy instead: obj.getProxy()"
    if cls.__module__ == "builtins":
        return f"{name}: objects of this class cannot travel"
    text = f"{name} is not registered; add: gpyro.register_class({name})"
    for base in _BUILTIN_BASES:
        if issubclass(cls, base):
            return f"{text}, or pass a plain {base.__name__}"
    return text


def _untravelling_kind(value: object) -> str:
    cls = type(value)
    if isinstance(value, type):
        return "classes cannot travel; pass a name instead"
    if isinstance(value, _CALLABLES):
        return "functions cannot travel; pass a remote object whose method is called back"
    if isinstance(value, types.ModuleType):
        return "modules cannot travel"
    if isinstance(value, (types.CoroutineType, types.AsyncGeneratorType)):
        return "coroutines cannot travel; pass their result"
    if hasattr(cls, "__next__"):
        if hasattr(cls, "readline"):
            return "open files cannot travel; pass their content or path"
        return "generators and iterators cannot travel; pass list(...) of them"
    if isinstance(value, (type({}.keys()), type({}.values()), type({}.items()))):
        return "views of a dict cannot travel; pass list(...) of them"
    if cls.__module__ in _SOCKET_MODULES:
        return "sockets cannot travel"
    if cls.__module__ in _LOCK_MODULES:
        return "threads, locks, events and queues cannot travel"
    return ""
