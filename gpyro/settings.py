"""The configuration: the values of the items in `gpyro.items`, and where they come from.

A value set in code (``gpyro.config.PYRO_PORT = 9000``) wins over the environment variable ``GPYRO_PORT``, that over
``PYRO_PORT``, and that over the default. The environment is read when an item is first needed, not at import. An empty
variable counts as not set.

An unknown item in code or as ``GPYRO_...`` is an error. An unknown ``PYRO_...`` variable is ignored, because other
members of the Pyro family read variables of that name too; and since they use some of the same names for other values,
``GPYRO_...`` is the way to say something to gpyro alone.

Daemons and proxies do not read `config` while they work: each takes a `Settings` from `Config.snapshot` when it is
made, so changing an item later has no effect on what is already there.
"""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from gpyro.errors import ConfigurationError
from gpyro.item_kinds import Host
from gpyro.items import ITEMS, Item, Names


class Settings(Names):
    """The values of all items at one moment; never changes, so any number of ends can share it."""

    __slots__ = tuple(ITEMS)

    def __init__(self, values: Mapping[str, object]) -> None:
        """Take checked values; what is missing gets its default. Programs use `Config.snapshot` or `replace`."""
        for name, item in ITEMS.items():
            object.__setattr__(self, name, values.get(name, item.default))

    def replace(self, **changes: object) -> Settings:
        """Return a copy with other values for some items, checked as if set in code."""
        for name, value in changes.items():
            changes[name] = _checked(name, value)
        return Settings({**dict(self), **changes})

    def serializers(self) -> tuple[str, ...]:
        """The words of PYRO_SERIALIZER, best first."""
        return tuple(self.PYRO_SERIALIZER.split(","))

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Go through (item, value), in the order of the table."""
        return ((name, getattr(self, name)) for name in ITEMS)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"settings do not change; set gpyro.config.{name} before making a daemon or proxy")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("settings do not change")

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Settings) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __reduce__(self) -> tuple[type[Settings], tuple[dict[str, Any]]]:
        # The ordinary way to copy would set the attributes one by one.
        return Settings, (dict(self),)

    def __repr__(self) -> str:
        changed = (f"{name}={value!r}" for name, value in self if value != ITEMS[name].default)
        return f"<Settings {', '.join(changed) or 'all default'}>"


class Config(Names):
    """The items as attributes that can be read and set (``gpyro.config``)."""

    __slots__ = ("_environ", "_lock", "_settings")

    _environ: Mapping[str, str]
    _lock: threading.Lock
    _settings: Settings | None

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Make a configuration over these environment variables (default: the process's)."""
        object.__setattr__(self, "_environ", os.environ if environ is None else environ)
        object.__setattr__(self, "_lock", threading.Lock())
        object.__setattr__(self, "_settings", None)

    def snapshot(self) -> Settings:
        """All values as they are now. As long as nothing is set, this returns the same object again.

        Raises:
            ConfigurationError: when an environment variable has an unusable value, or a ``GPYRO_`` one is unknown.
        """
        settings = self._settings
        if settings is None:
            with self._lock:
                settings = self._loaded()
        return settings

    def _loaded(self) -> Settings:
        settings = self._settings
        if settings is None:
            settings = Settings(_read_environment(self._environ))
            object.__setattr__(self, "_settings", settings)
        return settings

    def __getattr__(self, name: str) -> Any:
        # Only reached for what is no slot, that is, for items and for unknown names.
        if name in ITEMS:
            return getattr(self.snapshot(), name)
        hint = _near(name) if name.startswith("PYRO") else ""
        raise AttributeError(f"there is no configuration item {name}{hint}")

    def __setattr__(self, name: str, value: object) -> None:
        checked = _checked(name, value)
        with self._lock:
            settings = Settings({**dict(self._loaded()), name: checked})
            object.__setattr__(self, "_settings", settings)

    def __delattr__(self, name: str) -> NoReturn:
        raise ConfigurationError(f"the configuration item {name} can be set, not deleted")

    def __dir__(self) -> list[str]:
        return [*ITEMS, "snapshot"]

    def __repr__(self) -> str:
        return f"<Config {'not read yet' if self._settings is None else self._settings}>"


# ---- reading and checking


def _read_environment(environ: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for variable in environ:
        if variable.startswith("GPYRO_") and variable[1:] not in ITEMS:
            raise ConfigurationError(
                f"the environment variable {variable} is no configuration item{_near(variable, 'G')}"
            )
    for name, item in ITEMS.items():
        for variable in ("G" + name, name):
            text = environ.get(variable, "").strip()
            if text:
                values[name] = _from_environment(item, variable, text)
                break
    return values


def _from_environment(item: Item, variable: str, text: str) -> object:
    try:
        return item.kind.check(item.kind.read(text))
    except ValueError as error:
        way_out = (
            "" if variable != item.name else f" (if it is meant for another program, set G{item.name}, which wins)"
        )
        raise ConfigurationError(
            f"environment variable {variable}={_shown(text)}: {_why(item, error)}{way_out}"
        ) from None


def _checked(name: str, value: object) -> object:
    item = ITEMS.get(name)
    if item is None:
        raise ConfigurationError(f"there is no configuration item {name}{_near(name)}")
    try:
        return item.kind.check(value)
    except ValueError as error:
        raise ConfigurationError(f"{name} = {_shown(value)}: {_why(item, error)}") from None


def _why(item: Item, error: ValueError) -> str:
    # Only the Host kind has a reason of its own to add; those of int() and float() say nothing new.
    detail = f"; {error}" if isinstance(item.kind, Host) and str(error) else ""
    return f"expected {item.kind.expected}{detail}"


def _near(name: str, prefix: str = "") -> str:
    known = [prefix + item for item in ITEMS]
    near = difflib.get_close_matches(name.upper(), known, n=3, cutoff=0.75)
    return f"; near to it are {', '.join(near)}" if near else ""


def _shown(value: object) -> str:
    try:
        text = ascii(value)
    except Exception:
        return f"an object of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:80] + "..."


config: Final = Config()
