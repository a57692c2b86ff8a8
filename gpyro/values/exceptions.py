"""Exceptions as plain values: a list of records, the exception itself first, its causes, contexts and members after it.

The records refer to each other by number, and only to later ones, so that neither a long chain nor a circular one takes
the decoder into deep or endless recursion.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from gpyro import errors
from gpyro.constants import TRACEBACK_ATTRIBUTE
from gpyro.errors import ProtocolError, PyroError, RemoteError, SerializationError
from gpyro.remote_traceback import is_remote_note

from .classes import Registry
from .refusal import Refused, explain

MAX_CHAIN: Final = 10
MAX_RECORDS: Final = 1_000
_MAX_TEXT: Final = 100_000
# Exceptions of a report, each counted with all that stands in it: more only if groups share their members.
_MAX_PRINTED: Final = (MAX_CHAIN + 1) * MAX_RECORDS

BUILTIN_ERRORS: Final[dict[str, type[Exception]]] = {
    cls.__name__: cls for cls in vars(builtins).values() if isinstance(cls, type) and issubclass(cls, Exception)
}
# Verdicts speak of a call of the receiver's own, so none of them may come from the other side.
OWN_ERRORS: Final[dict[str, type[Exception]]] = {
    f"{cls.__module__}.{cls.__qualname__}": cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, PyroError) and not issubclass(cls, ProtocolError)
}
# State that builtin exceptions keep outside of `args` and `__dict__`. AttributeError.obj stays behind.
_FIELDS: Final[tuple[tuple[type[Exception], tuple[str, ...]], ...]] = (
    (OSError, ("errno", "strerror", "filename", "filename2", "characters_written")),
    (ImportError, ("msg", "name", "path")),
    (
        SyntaxError,
        ("msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset", "print_file_and_line"),
    ),
    (UnicodeDecodeError, ("encoding", "object", "start", "end", "reason")),
    (UnicodeEncodeError, ("encoding", "object", "start", "end", "reason")),
    (UnicodeTranslateError, ("object", "start", "end", "reason")),
    (StopIteration, ("value",)),
    (NameError, ("name",)),
    (AttributeError, ("name",)),
)
# Where a SyntaxError points to. Whoever prints it puts so many blanks and carets in a line.
_PLACES: Final = frozenset({"lineno", "offset", "end_lineno", "end_offset"})
_ANY_VALUE: Final = frozenset({"filename", "filename2", "value"})
_set: Final = BaseException.__setattr__
_SCALARS: Final = frozenset({type(None), bool, int, str, bytes})


class Record(NamedTuple):
    """One exception, taken apart. The order of the fields is part of the wire format."""

    name: str
    text: str
    args: list[Any]
    fields: dict[str, Any]
    attributes: dict[str, Any]
    notes: list[str]
    cause: int | None
    context: int | None
    suppress: bool
    members: list[int] | None
    custom: list[Any]


def wire_name(cls: type[BaseException], registry: Registry) -> str:
    """What an exception class is called on the wire."""
    entry = registry.find(cls)
    if entry is not None:
        return entry.name
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def own_class(name: str, registry: Registry) -> type[Exception] | None:
    """The class that an exception called `name` arrives as, or None if it arrives as RemoteError."""
    found = BUILTIN_ERRORS.get(name) or OWN_ERRORS.get(name)
    if found is None:
        entry = registry.by_name(name)
        if entry is not None and entry.is_exception:
            found = entry.cls
    return found


def to_records(
    error: BaseException, registry: Registry, travels: Callable[[Any], bool] | None = None
) -> tuple[list[list[Any]], list[str]]:
    """Take an exception apart.

    Args:
        error: the exception.
        registry: whose classes travel.
        travels: whether a value can travel: what cannot is replaced by its text (in ``args``) or left out. None for an
            exception that is itself a value: then everything is kept, and the codec refuses what it cannot encode.

    Returns:
        The records, and for each of them how it is reached from the exception, for paths in errors.

    Raises:
        Refused: `travels` is None, and the class of the exception or of a member is not registered.
    """
    return _Collector(registry, travels).collect(error)


class _Collector:
    def __init__(self, registry: Registry, travels: Callable[[Any], bool] | None) -> None:
        self._registry = registry
        self._travels = travels
        self._queue: list[tuple[BaseException, int, str]] = []
        self._numbers: dict[int, int] = {}

    def collect(self, error: BaseException) -> tuple[list[list[Any]], list[str]]:
        self._add(error, 0, "")
        records: list[list[Any]] = []
        # The queue grows while it is worked off.
        for number, (current, depth, label) in enumerate(self._queue):
            try:
                records.append(list(self._record(current, number, depth, label)))
            except Refused as refusal:
                refusal.parts.append(label)
                raise
        self._cut_members(records)
        return records, [label for _, _, label in self._queue]

    def _cut_members(self, records: list[list[Any]]) -> None:
        """Leave members out where groups share so many of them that the receiver would refuse the report."""
        at = Record._fields.index("members")
        groups = [record[at] or () for record in records]
        most = max(map(len, groups))
        while _printed(groups, most) > _MAX_PRINTED:
            most //= 2
        for record in records:
            record[at] = record[at] and record[at][:most]

    def _add(self, error: BaseException, depth: int, label: str) -> int:
        number = self._numbers[id(error)] = len(self._queue)
        self._queue.append((error, depth, label))
        return number

    def _link(self, error: BaseException | None, above: int, depth: int, label: str) -> int | None:
        if error is None:
            return None
        number = self._numbers.get(id(error))
        if number is None:
            if depth > MAX_CHAIN or len(self._queue) >= MAX_RECORDS:
                return None
            number = self._add(error, depth, label)
        return number if number > above else None

    def _record(self, error: BaseException, number: int, depth: int, label: str) -> Record:
        cls = type(error)
        entry = self._registry.find(cls)
        name = wire_name(cls, self._registry)
        is_value = depth == 0 or label.endswith("]")
        if self._travels is None and is_value and entry is None and self._needs_registration(cls, name):
            raise Refused(explain(error))
        members = None
        if isinstance(error, BaseExceptionGroup):
            members = []
            for position, member in enumerate(error.exceptions):
                where = f"{label}.exceptions[{position}]"
                at = self._link(member, number, depth + 1, where)
                if at is None and depth < MAX_CHAIN and len(self._queue) < MAX_RECORDS:
                    at = self._add(member, depth + 1, where)
                if at is not None:
                    members.append(at)
        custom = [entry.to_state(error)] if entry is not None and entry.to_state is not None else []
        cause = self._link(error.__cause__, number, depth + 1, f"{label}.__cause__")
        context = self._link(error.__context__, number, depth + 1, f"{label}.__context__")
        return Record(
            name,
            safe_text(error),
            [] if custom else self._args(error, members is not None),
            {} if custom else self._keep(_builtin_fields(error)),
            {} if custom else self._keep(_attributes(error)),
            _notes(error),
            cause,
            context,
            bool(error.__suppress_context__),
            members,
            custom,
        )

    def _needs_registration(self, cls: type[BaseException], name: str) -> bool:
        # What nobody can register arrives as RemoteError, as it does when it is raised.
        registrable = issubclass(cls, Exception) and not issubclass(cls, ProtocolError)
        return registrable and own_class(name, self._registry) is not cls

    def _args(self, error: BaseException, is_group: bool) -> list[Any]:
        args = vars(BaseException)["args"].__get__(error)
        if is_group:
            # The members travel as records of their own.
            return [error.message]  # type: ignore[attr-defined]
        travels = self._travels
        if travels is None:
            return list(args)
        return [arg if type(arg) in _SCALARS or travels(arg) else _safe_repr(arg) for arg in args]

    def _keep(self, attributes: dict[str, Any]) -> dict[str, Any]:
        travels = self._travels
        if travels is None:
            return attributes
        return {name: value for name, value in attributes.items() if type(value) in _SCALARS or travels(value)}


def _builtin_fields(error: BaseException) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for cls, names in _FIELDS:
        if isinstance(error, cls):
            for name in names:
                value = getattr(cls, name).__get__(error) if name != "characters_written" else _written(error)
                if value is not None:
                    found[name] = value
    return found


def _written(error: BaseException) -> int | None:
    # Only BlockingIOError has it, and only if it was given.
    written = getattr(error, "characters_written", None) if isinstance(error, BlockingIOError) else None
    return written if type(written) is int else None


def _attributes(error: BaseException) -> dict[str, Any]:
    state = dict(getattr(error, "__dict__", ()))
    for base in type(error).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in state and hasattr(error, name) and not name.startswith("__"):
                state[name] = getattr(error, name)
    state.pop("__notes__", None)
    state.pop(TRACEBACK_ATTRIBUTE, None)
    return {name: value for name, value in state.items() if type(name) is str}


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", None)
    if not isinstance(notes, (list, tuple)):
        return []
    # The remote traceback of an earlier hop is part of the traceback that this hop adds.
    return [str.__str__(note) for note in notes if isinstance(note, str) and not is_remote_note(note)]


def safe_text(error: BaseException) -> str:
    """``str(error)``, or a note on why there is none."""
    try:
        text = str.__str__(str(error))
    except Exception as failure:
        text = f"<no text: str() raised {type(failure).__name__}>"
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def _safe_repr(value: object) -> str:
    try:
        text = str.__str__(repr(value))
    except Exception:
        text = f"<{type(value).__qualname__} object>"
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def from_records(state: Any, registry: Registry) -> Exception:
    """Put an exception together again.

    Args:
        state: what `to_records` made.
        registry: whose classes arrive as what they were; others arrive as RemoteError.

    Returns:
        The exception, with its causes, contexts, notes and members.

    Raises:
        SerializationError: `state` is nothing of that sort.
    """
    if type(state) is not list or not 0 < len(state) <= MAX_RECORDS:
        raise SerializationError("no records of an exception")
    records = [_checked(item) for item in state]
    if _printed([record.members or () for record in records]) > _MAX_PRINTED:
        raise SerializationError("exception groups stand in each other too often")
    built: dict[int, Exception] = {}
    for number in range(len(records) - 1, -1, -1):
        record = records[number]
        # A record refers to later ones only, so no circle can come about.
        known = {link: built[link] for link in _links(record) if number < link < len(records)}
        error = _rebuild(record, [known[link] for link in record.members or () if link in known], registry)
        # Not through the class's own way of setting attributes, which may refuse, as that of a frozen dataclass does.
        if record.cause is not None:
            _set(error, "__cause__", known.get(record.cause))
        if record.context is not None:
            _set(error, "__context__", known.get(record.context))
        _set(error, "__suppress_context__", record.suppress)
        if record.notes:
            _set(error, "__notes__", [*record.notes])
        built[number] = error
    return built[0]


def _printed(groups: Sequence[Sequence[int]], most: int | None = None) -> int:
    """How many exceptions are in all groups, each counted with all that stands in it; stops when these are too many.

    Whoever prints a group prints what is in it, and forty groups that all stand in each other twice would never end.

    Args:
        groups: the members of each record.
        most: look at so many members of each only.
    """
    sizes, total = [1] * len(groups), 0
    for number in range(len(groups) - 1, -1, -1):
        for link in groups[number][:most]:
            if number < link < len(sizes):
                sizes[number] += sizes[link]
        total += sizes[number]
        if total > _MAX_PRINTED:
            break
    return total


def _links(record: Record) -> list[int]:
    return [link for link in (record.cause, record.context, *(record.members or ())) if link is not None]


_RECORD_TYPES: Final[tuple[tuple[type, ...], ...]] = (
    (str,), (str,), (list,), (dict,), (dict,), (list,), (int, type(None)), (int, type(None)), (bool,),
    (list, type(None)), (list,),
)  # fmt: skip


def _checked(state: Any) -> Record:
    if type(state) is not list or len(state) != len(_RECORD_TYPES):
        raise SerializationError("not the record of an exception")
    for part, allowed in zip(state, _RECORD_TYPES, strict=True):
        if type(part) not in allowed:
            raise SerializationError("a part of the record of an exception has the wrong type")
    record = Record(*state)
    names_ok = all(type(name) is str for name in (*record.fields, *record.attributes, *record.notes))
    if not names_ok or any(type(link) is not int for link in record.members or ()):
        raise SerializationError("a part of the record of an exception has the wrong type")
    return record


def _rebuild(record: Record, members: list[Exception], registry: Registry) -> Exception:
    cls = own_class(record.name, registry)
    if cls is not None:
        try:
            return _instance(cls, record, members, registry)
        except Exception:
            # An error report must not turn into another error because its parts do not fit.
            cls = None
    return RemoteError(record.name, record.text, {**record.fields, **record.attributes})


def _instance(cls: type[Exception], record: Record, members: list[Exception], registry: Registry) -> Exception:
    entry = registry.find(cls)
    if entry is not None and entry.from_state is not None and record.custom:
        made = entry.from_state(record.custom[0])
        if not isinstance(made, Exception):
            raise TypeError("from_state made no exception")
        return made
    attributes = record.attributes
    if cls is RemoteError:
        nested = attributes["attributes"]
        if not (type(nested) is dict and type(attributes["name"]) is str and type(attributes["text"]) is str):
            raise TypeError("not a RemoteError")
        return RemoteError(attributes["name"], attributes["text"], nested)
    base: Any = next(parent for parent in cls.__mro__ if parent.__module__ == "builtins")
    error: Any
    if issubclass(base, ExceptionGroup):
        error = base.__new__(cls, record.args[0], members)
    else:
        error = base.__new__(cls)
        _set(error, "args", tuple(record.args))
    _set_fields(error, record.fields)
    _set_attributes(error, attributes)
    if cls is SerializationError:
        error.path = str(attributes.get("path", ""))
    return error  # type: ignore[no-any-return]


def _set_fields(error: Any, values: dict[str, Any]) -> None:
    for cls, names in _FIELDS:
        if not isinstance(error, cls):
            continue
        if issubclass(cls, UnicodeError):
            _set_unicode_fields(error, cls, [values[name] for name in names])
            continue
        for name in names:
            value = values.get(name)
            if name in _PLACES and not (type(value) is int and -1 <= value <= _MAX_TEXT):
                continue
            if value is not None and (type(value) in _SCALARS or name in _ANY_VALUE):
                _set(error, name, value)


def _set_unicode_fields(error: Any, cls: Any, values: list[Any]) -> None:
    # Its str() reads memory by these numbers, so they are checked here, and the rest by the builtin class.
    text, start, end = values[-4], values[-3], values[-2]
    if type(start) is not int or type(end) is not int or not 0 <= start <= end <= len(text):
        raise ValueError("start and end are not inside the text")
    args = error.args
    cls.__init__(error, *values)
    _set(error, "args", args)


def _set_attributes(error: Any, attributes: dict[str, Any]) -> None:
    slots = {
        name
        for base in type(error).__mro__
        for name in (lambda found: (found,) if isinstance(found, str) else found)(base.__dict__.get("__slots__", ()))
    }
    for name, value in attributes.items():
        if name.startswith("__") and name.endswith("__"):
            continue
        if name in slots:
            object.__setattr__(error, name, value)
        else:
            error.__dict__[name] = value
