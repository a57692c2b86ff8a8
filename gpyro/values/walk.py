"""The slow way to encode: a walk over the value in Python.

It comes after the fast codec has refused, or where there is none. It handles what the codec cannot (rare keys, numbers
and texts), and finds where the value stands that cannot travel. Paths are put together only while an error is on its
way out, so that they cost nothing otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

from gpyro.errors import SerializationError

from .arrays import find_numpy
from .classes import Entry, Registry
from .codes import COUNTER, DEQUE, EXCEPTION, MAP, OBJECT, ORDERED_DICT, RAW_CODES
from .exceptions import to_records
from .guard import Limits, too_deep
from .objects import object_state
from .refusal import Refused, explain
from .special import SPECIAL_TYPES, Special

OBJECT_TAG: Final = "object"
EXCEPTION_TAG: Final = "exception"
_FLAT: Final = frozenset({MAP, ORDERED_DICT, COUNTER})
_MAP_ROW: Final = SPECIAL_TYPES[dict]
_MAX_KEY_TEXT: Final = 60


def find_row(kind: type) -> Special | None:
    """The row of the table of types for `kind`, or None."""
    return SPECIAL_TYPES.get(kind) or find_numpy(kind)


def is_utf8(text: str) -> bool:
    """Whether `text` is without lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Walk(ABC):
    """Makes of a value a tree that the codec encodes for certain. A codec says how leaves and special types look."""

    def __init__(self, registry: Registry, limits: Limits) -> None:
        self._registry = registry
        self._limit = limits.max_depth

    @abstractmethod
    def leaf(self, value: Any) -> Any:
        """The node of a bool, int, float, str or bytes."""

    @abstractmethod
    def special(self, code: int, tag: str, node: Any) -> Any:
        """The node of a value of a special type, given that of its state."""

    @abstractmethod
    def is_plain_key(self, key: str) -> bool:
        """Whether the codec's own maps can have this key."""

    def tree(self, value: Any, root: str) -> Any:
        """The tree of `value`.

        Args:
            value: what is to travel.
            root: what paths in errors start with.

        Raises:
            SerializationError: a part of it cannot travel; `path` says where that stands.
        """
        try:
            return self.node(value, 0)
        except Refused as refusal:
            raise _error(refusal, root) from refusal.__cause__
        except RecursionError as error:
            raise SerializationError(f"{root}: nested too deep for the Python stack that is left", root) from error
        except Exception as error:
            # Such as a dict that another greenlet changed meanwhile.
            raise SerializationError(f"{root}: {type(error).__name__}: {error}", root) from error

    def check_depth(self, *values: Any) -> None:
        """Check values that arrived as those that are sent are checked, except that only their depth matters.

        Raises:
            SerializationError: one is nested too deep.
        """
        for value in values:
            try:
                self.node(value, 0)
            except Refused as refusal:
                if refusal.too_deep:
                    raise SerializationError(f"the value is {refusal.text}") from None
            except RecursionError:
                raise SerializationError("the value is nested too deep for the Python stack that is left") from None
            except Exception:  # it is here, whatever its class says when it is to be sent back
                continue

    def node(self, value: Any, depth: int) -> Any:
        """The node of one value at a depth.

        Raises:
            Refused: it, or a part of it, cannot travel.
        """
        kind = type(value)
        if value is None or kind is str or kind is int or kind is float or kind is bool or kind is bytes:
            return value if value is None else self.leaf(value)
        if depth >= self._limit:
            raise Refused(too_deep(self._limit), too_deep=True)
        if kind is list:
            return self._list(value, value, depth)
        if kind is dict:
            return self._dict(value, depth)
        row = find_row(kind)
        if row is not None:
            return self._row(value, row, depth)
        if kind is memoryview:
            return self.leaf(value.tobytes())
        if isinstance(value, BaseException):
            return self._exception(value, depth)
        entry = self._registry.find(kind)
        if entry is not None:
            return self._object(value, entry, depth)
        raise Refused(explain(value))

    def _list(self, owner: Any, state: list[Any], depth: int, skip: int = 0) -> list[Any]:
        nodes: list[Any] = []
        try:
            for member in state:
                nodes.append(self.node(member, depth + 1))
        except Refused as refusal:
            _mark(refusal, f"[{len(nodes) - skip}]", owner)
            raise
        return nodes

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        if not all(type(key) is str and self.is_plain_key(key) for key in value):
            return self._row(value, _MAP_ROW, depth)
        return self._named(value, value, depth, "[%r]")

    def _named(self, owner: Any, state: dict[str, Any], depth: int, style: str) -> dict[str, Any]:
        nodes: dict[str, Any] = {}
        name = ""
        try:
            for name, member in state.items():
                nodes[name] = self.node(member, depth + 1)
        except Refused as refusal:
            _mark(refusal, style % (name,), owner)
            raise
        return nodes

    def _row(self, value: Any, row: Special, depth: int) -> Any:
        state = row.to_state(value)
        if row.code in RAW_CODES:
            return self.special(row.code, row.tag, state)
        if row.code in _FLAT:
            return self.special(row.code, row.tag, self._flat(value, state, depth))
        if type(state) is list:
            node = self._list(value, state, depth, 1 if row.code == DEQUE else 0)
        else:
            node = self.node(state, depth)
        return self.special(row.code, row.tag, node)

    def _flat(self, owner: Any, state: list[Any], depth: int) -> list[Any]:
        nodes: list[Any] = []
        try:
            for member in state:
                nodes.append(self.node(member, depth + 1))
        except Refused as refusal:
            _mark(refusal, _key_part(state[len(nodes) & ~1]), owner)
            raise
        return nodes

    def _object(self, value: Any, entry: Entry, depth: int) -> Any:
        state = object_state(value, entry)
        if entry.based:
            content, attributes = state
            try:
                node: Any = [self.node(content, depth + 1), self._attributes(value, attributes, depth + 1)]
            except Refused as refusal:
                _mark(refusal, "", value)
                raise
        else:
            node = self._attributes(value, state, depth)
        return self.special(OBJECT, OBJECT_TAG, [self.leaf(entry.name), node])

    def _attributes(self, owner: Any, state: Any, depth: int) -> Any:
        if type(state) is dict and all(type(key) is str and self.is_plain_key(key) for key in state):
            return self._named(owner, state, depth, ".%s")
        try:
            return self.node(state, depth + 1)
        except Refused as refusal:
            _mark(refusal, "", owner)
            raise

    def _exception(self, error: BaseException, depth: int) -> Any:
        records, labels = to_records(error, self._registry)
        nodes = []
        for record, label in zip(records, labels, strict=True):
            name, text, args, fields, attributes, notes, *links, custom = record
            part = label
            try:
                part = f"{label}.args"
                arg_nodes = self._list(error, args, depth)
                part = label
                field_nodes = self._attributes(error, fields, depth)
                attribute_nodes = self._attributes(error, attributes, depth)
                custom_nodes = self._list(error, custom, depth)
                rest = [self.node(plain, depth + 1) for plain in (notes, *links)]
            except Refused as refusal:
                _mark(refusal, part, error)
                raise
            nodes.append(
                [self.leaf(name), self.leaf(text), arg_nodes, field_nodes, attribute_nodes, *rest, custom_nodes]
            )
        return self.special(EXCEPTION, EXCEPTION_TAG, nodes)


def _mark(refusal: Refused, part: str, owner: object) -> None:
    refusal.parts.append(part)
    if refusal.too_deep:
        refusal.ids.append(id(owner))


def _key_part(key: object) -> str:
    try:
        text = repr(key)
    except Exception:
        text = f"<{type(key).__qualname__}>"
    return f"[{text if len(text) <= _MAX_KEY_TEXT else text[:_MAX_KEY_TEXT] + '...'}]"


def _error(refusal: Refused, root: str) -> SerializationError:
    parts = refusal.parts[::-1]
    text = refusal.text
    ids = refusal.ids[::-1]
    first: dict[int, int] = {}
    for position, identity in enumerate(ids):
        if identity in first and any(parts[first[identity] : position]):
            start = root + "".join(parts[: first[identity]])
            parts = parts[:position]
            text = f"circular: this is {start} again; a value that contains itself cannot travel"
            break
        first.setdefault(identity, position)
    path = root + "".join(parts)
    if refusal.too_deep and len(path) > 400:
        path = f"{path[:200]}...{path[-100:]}"
    return SerializationError(f"{path}: {text}", path)
