"""Where the values of configuration items come from: the environment, the configuration file, and code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gpyro import config_file
from gpyro.errors import ConfigurationError
from gpyro.item_kinds import FilePath, Group, Host
from gpyro.items import DROPPED, ITEMS, Item, near

DEFAULT_FILE: Final = "Pyro.conf"
"""The configuration file in the current directory that is read when the environment names none."""

_OURS: Final = ("GPYRO_", "GPYROSSL_")


@dataclass(slots=True)
class Found:
    """What the environment and the file say.

    Attributes:
        directory: the current directory; "." if there is none any more.
        values: item -> checked value.
        origins: item -> where its value comes from, in words.
        dropped: items of Pyro 3 that were set and do nothing -> where, in words.
    """

    directory: str
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, value: object, origin: str) -> None:
        """Note a checked value, which goes before one that was noted before."""
        self.values[name], self.origins[name] = value, origin


def look(environ: Mapping[str, str]) -> Found:
    """Read the environment, and the file that it names, or the one in the current directory.

    Raises:
        ConfigurationError: an unknown item, a value that does not fit, or a file that cannot be read.
    """
    for variable in environ:
        if variable.startswith(_OURS) and variable[1:] not in ITEMS and variable[1:] not in DROPPED:
            raise ConfigurationError(
                f"the environment variable {variable} is no configuration item{near(variable, 'G')}"
            )
    found = Found(current_directory())
    path = file_to_read(environ, found.directory)
    if path:
        _look_into_file(path, found)
    _look_at_variables(environ, found)
    if path:
        found.take("PYRO_CONFIG_FILE", path, found.origins.get("PYRO_CONFIG_FILE", "found in the current directory"))
    return found


def current_directory() -> str:
    """The current directory; "." if it was removed, or may not be looked at."""
    try:
        return os.getcwd()
    except OSError:
        return os.curdir


def file_to_read(environ: Mapping[str, str], directory: str) -> str:
    """The absolute name of the configuration file, "" if there is none to read.

    Raises:
        ConfigurationError: the environment says what cannot be the name of a file.
    """
    item = ITEMS["PYRO_CONFIG_FILE"]
    variable = _variable(environ, item.name)
    if not variable:
        default = os.path.normpath(os.path.join(directory, DEFAULT_FILE))
        return default if os.path.lexists(default) else ""
    named = _from_variable(item, variable, environ[variable].strip())
    assert isinstance(item.kind, FilePath)
    return item.kind.resolve(named, {"": directory}) or ""


def _look_into_file(path: str, found: Found) -> None:
    for line in config_file.read(path):
        name, text = line.name, line.text
        item = ITEMS.get(name)
        if item is None or item.only_environment:
            if name not in DROPPED:
                raise config_file.at(path, line.number, _no_item_of_files(name))
            if text:
                found.dropped[name] = f"{path}, line {line.number}"
            continue
        if text:
            try:
                value = item.kind.check(item.kind.read(text))
            except ValueError as error:
                raise config_file.at(path, line.number, f"{name}={shown(text)}: {why(item, error)}") from None
            found.take(name, value, f"{path}, line {line.number}")


def _no_item_of_files(name: str) -> str:
    if name in ITEMS:
        return f"{name} can be set by the environment only"
    if name.startswith(_OURS) and (name[1:] in ITEMS or name[1:] in DROPPED):
        return f"{name}: only environment variables begin with a G; write {name[1:]}"
    return f"unknown config item {name}{near(name)}"


def _look_at_variables(environ: Mapping[str, str], found: Found) -> None:
    for name, item in ITEMS.items():
        variable = _variable(environ, name)
        if variable:
            value = _from_variable(item, variable, environ[variable].strip())
            found.take(name, value, f"environment variable {variable}")
    for name in DROPPED:
        variable = _variable(environ, name)
        if variable:
            found.dropped[name] = f"environment variable {variable}"


def _variable(environ: Mapping[str, str], name: str) -> str:
    """The variable that says what an item is: GPYRO_X or else PYRO_X, if it is not empty."""
    return next((variable for variable in ("G" + name, name) if environ.get(variable, "").strip()), "")


def _from_variable(item: Item, variable: str, text: str) -> Any:
    try:
        return item.kind.check(item.kind.read(text))
    except ValueError as error:
        way_out = (
            "" if variable != item.name else f" (if it is meant for another program, set G{item.name}, which wins)"
        )
        raise ConfigurationError(
            f"environment variable {variable}={shown(text)}: {why(item, error)}{way_out}"
        ) from None


def from_code(name: str, value: object) -> Any:
    """The checked value of an item that code sets.

    Raises:
        ConfigurationError: there is no such item, code cannot set it, or the value does not fit.
    """
    item = ITEMS.get(name)
    if item is None:
        raise ConfigurationError(f"there is no configuration item {name}{near(name)}")
    if item.only_environment:
        raise ConfigurationError(f"{name} can be set by the environment only")
    try:
        return item.kind.check(value)
    except ValueError as error:
        raise ConfigurationError(f"{name} = {shown(value)}: {why(item, error)}") from None


def why(item: Item, error: ValueError) -> str:
    """Why a value does not fit: what was expected, and what `error` adds to that."""
    # Those of int() and float() say nothing new.
    detail = f"; {error}" if isinstance(item.kind, Host | FilePath | Group) and str(error) else ""
    return f"expected {item.kind.expected}{detail}"


def shown(value: object) -> str:
    """A value as it may stand in an error text."""
    try:
        text = ascii(value)
    except Exception:
        return f"an object of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:80] + "..."
