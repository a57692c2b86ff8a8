"""Instances of registered classes: their state, and instances made of one."""

from __future__ import annotations

from typing import Any, Final

from gpyro.errors import SerializationError

from .classes import Entry, Registry
from .refusal import Refused, brief, quoted

_MAX_NAME: Final = 200


def object_state(value: object, entry: Entry) -> Any:
    """The state of an instance of a registered class.

    Raises:
        Refused: its function for that failed.
    """
    assert entry.to_state is not None
    try:
        return entry.to_state(value)
    except Refused:
        raise
    except Exception as error:
        name = type(value).__qualname__
        raise Refused(f"{name}: its state could not be taken: {type(error).__name__}: {error}") from error


def make_object(state: Any, registry: Registry) -> Any:
    """An instance of a registered class.

    Raises:
        SerializationError: the class is not registered, or the state is none of its.
    """
    if type(state) is not list or len(state) != 2 or type(state[0]) is not str:
        raise SerializationError("not an instance of a class")
    name = state[0]
    entry = registry.by_name(name)
    if entry is None or entry.from_state is None:
        # As it is where it can be a name, so that it can be copied from the message.
        shown = name if len(name) <= _MAX_NAME and name.isprintable() else quoted(name)
        cls = shown.rpartition(".")[2]
        raise SerializationError(
            f"{shown} is not registered in the receiving process; add there: gpyro.register_class({cls})"
        )
    try:
        return entry.from_state(state[1])
    except SerializationError:
        raise
    except Exception as error:
        raise SerializationError(f"{name}: no instance could be made of its state: {brief(error)}") from error
