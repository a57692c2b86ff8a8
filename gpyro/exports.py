"""What this end passed by reference, as objects whose methods are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpyro.entries import ObjectEntry
from gpyro.exposure import is_oneway, oneway
from gpyro.wire.references import FUNCTION

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpyro.tls import Session


class _Function:
    """A function as an object: its one method is the function itself."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__dict__["call"] = function  # so that it is what is called, without a frame in between

    def call(self) -> None:
        """See `gpyro.wire.references.FUNCTION_CALL`."""


class _OnewayFunction(_Function):
    """A function that is marked as one-way."""

    @oneway
    def call(self) -> None:
        """See `_Function`."""


class FunctionEntry(ObjectEntry):
    """A function that was passed by reference."""

    @property
    def class_name(self) -> str:
        """What stands for it in messages."""
        function = self.obj.__dict__["call"]
        return f"function {getattr(function, '__qualname__', type(function).__name__)}"


def exported_entry(session: Session, overlapping: bool) -> ObjectEntry | None:
    """The entry of what a session is for, if it is something that was passed over its own channel.

    Args:
        session: of the call.
        overlapping: calls of different objects may overlap.
    """
    attached = session.channel.attached
    export = None if attached is None else attached.references.exports.get(session.object_id)
    if export is None:
        return None
    if export.entry is None:
        if export.what == FUNCTION:
            function = (_OnewayFunction if is_oneway(export.value) else _Function)(export.value)
            export.entry = FunctionEntry(export.id, None, function, overlapping)
        else:
            export.entry = ObjectEntry(export.id, None, export.value, overlapping)
    entry: ObjectEntry = export.entry
    return entry
