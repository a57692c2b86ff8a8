"""The configuration: the values of the items in `gpyro.items`, and where they come from.

A value set in code (``gpyro.config.PYRO_PORT = 9000``) wins over the environment variable ``GPYRO_PORT``, that over
``PYRO_PORT``, that over the configuration file, and that over the default. Environment and file are read when an item
is first needed, not at import. An empty variable counts as not set.

An unknown item in code, in the file or as ``GPYRO_...`` is an error. An unknown ``PYRO_...`` variable is ignored,
because other members of the Pyro family read variables of that name too; and since they use some of the same names for
other values, ``GPYRO_...`` is the way to say something to gpyro alone. Items that Pyro 3 had and gpyro has not are
warned of, once each.

Daemons and proxies do not read `config` while they work: each takes a `Settings` from `Config.snapshot` when it is
made, so changing an item later has no effect on what is already there. The few items that are marked as live are read
from `config` whenever they are needed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn

from gpyro.errors import ConfigurationError
from gpyro.item_kinds import FilePath
from gpyro.item_sources import Found, current_directory, from_code, look
from gpyro.items import DROPPED, ITEMS, Names, near

_OF_ENDS: Final = tuple(name for name, item in ITEMS.items() if not item.live)


class Settings(Names):
    """The values of all items at one moment; never changes, so any number of ends can share it.

    File names are absolute in it. Equal are settings that make equal ends: the live items play no part in that.
    """

    __slots__ = (*ITEMS, "_directory", "_given", "_key")

    _directory: str
    _given: dict[str, Any]
    _key: tuple[Any, ...]

    def __init__(self, values: Mapping[str, Any], directory: str | None = None) -> None:
        """Take checked values; what is missing gets its default. Programs use `Config.snapshot` or `replace`.

        Args:
            values: by item.
            directory: what counts as the current directory, if it is not the one of the process.
        """
        put = object.__setattr__
        directory = current_directory() if directory is None else directory
        put(self, "_directory", directory)
        put(self, "_given", {name: values[name] for name in ITEMS if name in values})
        for name, item in ITEMS.items():
            put(self, name, values.get(name, item.default))
        # In their order in the table, in which a directory comes before what is below it.
        directories = {"": directory}
        for name in _PATHS:
            directories[name] = resolved = ITEMS[name].kind.resolve(getattr(self, name), directories)  # type: ignore[attr-defined]
            put(self, name, resolved)
        put(self, "_key", tuple(getattr(self, name) for name in _OF_ENDS))

    def replace(self, **changes: object) -> Settings:
        """Return a copy with other values for some items, checked as if set in code."""
        checked = {name: from_code(name, value) for name, value in changes.items()}
        return Settings({**self._given, **checked}, self._directory)

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
        return self._key == other._key if isinstance(other, Settings) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __reduce__(self) -> tuple[type[Settings], tuple[dict[str, Any], str]]:
        # The ordinary way to copy would set the attributes one by one.
        return Settings, (self._given, self._directory)

    def __repr__(self) -> str:
        changed = (f"{name}={value!r}" for name, value in self._given.items() if value != ITEMS[name].default)
        return f"<Settings {', '.join(changed) or 'all default'}>"


_PATHS: Final = tuple(name for name, item in ITEMS.items() if isinstance(item.kind, FilePath))


class Config(Names):
    """The items as attributes that can be read and set (``gpyro.config``)."""

    __slots__ = ("_environ", "_found", "_initialized", "_lock", "_settings", "_warn", "_warned")

    _environ: Mapping[str, str]
    _found: Found
    _initialized: bool
    _lock: threading.Lock
    _settings: Settings | None
    _warn: Callable[[str], object]
    _warned: set[str]

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Make a configuration over these environment variables (default: the process's)."""
        put = object.__setattr__
        put(self, "_environ", os.environ if environ is None else environ)
        put(self, "_lock", threading.Lock())
        put(self, "_settings", None)
        put(self, "_initialized", False)
        put(self, "_warn", logging.getLogger("gpyro").warning)
        put(self, "_warned", set())

    def snapshot(self) -> Settings:
        """All values as they are now. As long as nothing is set, this returns the same object again.

        Raises:
            ConfigurationError: an environment variable or the configuration file has an unusable value or an unknown
                item, or the file cannot be read.
        """
        settings = self._settings
        if settings is None:
            with self._lock:
                settings = self._loaded()
            self._warn_of(self._found.dropped)
        return settings

    def origins(self) -> dict[str, str]:
        """Where the values come from that are no defaults, in words. Raises as `snapshot` does."""
        self.snapshot()
        return self._found.origins.copy()

    @property
    def _PYRO_INITIALIZED(self) -> int:
        """1 after `initClient` or `initServer`, else 0."""
        return int(self._initialized)

    def set_initialized(self) -> None:
        """Note that `initClient` or `initServer` was there."""
        object.__setattr__(self, "_initialized", True)

    def warn_through(self, warn: Callable[[str], object]) -> None:
        """Have warnings said by this function from now on."""
        object.__setattr__(self, "_warn", warn)

    def _loaded(self) -> Settings:
        settings = self._settings
        if settings is None:
            found = look(self._environ)
            settings = Settings(found.values, found.directory)
            object.__setattr__(self, "_found", found)
            object.__setattr__(self, "_settings", settings)
        return settings

    def _warn_of(self, dropped: Mapping[str, str]) -> None:
        # Never under the lock: a log may switch to another greenlet, or ask for an item.
        for name, where in dropped.items():
            if name not in self._warned:
                self._warned.add(name)
                self._warn(f"{where}: the configuration item {name} is dropped: {DROPPED[name]}")

    def __getattr__(self, name: str) -> Any:
        # Only reached for what is no slot, that is, for items and for unknown names.
        if name in ITEMS:
            return getattr(self.snapshot(), name)
        if name in DROPPED:
            raise AttributeError(f"the configuration item {name} is dropped: {DROPPED[name]}")
        hint = near(name) if name.startswith("PYRO") else ""
        raise AttributeError(f"there is no configuration item {name}{hint}")

    def __setattr__(self, name: str, value: object) -> None:
        self.snapshot()
        if name in DROPPED:
            self._warn_of({name: "set in code"})
            return
        checked = from_code(name, value)
        with self._lock:
            before = self._loaded()
            settings = Settings({**before._given, name: checked}, before._directory)
            object.__setattr__(self, "_settings", settings)
            self._found.origins[name] = "code"

    def __delattr__(self, name: str) -> NoReturn:
        raise ConfigurationError(f"the configuration item {name} can be set, not deleted")

    def __dir__(self) -> list[str]:
        return [*ITEMS, "origins", "snapshot"]

    def __repr__(self) -> str:
        return f"<Config {'not read yet' if self._settings is None else self._settings}>"


config: Final = Config()
