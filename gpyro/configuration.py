"""The configuration: Pyro 3's ``Pyro.configuration``. Run by ``python -m``, it checks and shows what is configured.

Usage:
  gpyro.configuration [-h | --help | --version]

It prints the version; what is to be said of the configuration file, if there is one; and all items with their values,
as they would stand in such a file. And it checks that files can be made in PYRO_STORAGE, which is made if need be.

The exit code is 0 if all is well, 1 if something is wrong with the configuration or the storage, which standard error
then tells, and 2 for arguments that do not fit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from docopt import DocoptExit, docopt

from gpyro import config_file
from gpyro.constants import VERSION
from gpyro.errors import ConfigurationError
from gpyro.item_sources import current_directory, file_to_read
from gpyro.items import DROPPED, ITEMS, as_text
from gpyro.settings import Config, config
from gpyro.startup import check_storage

_NAME = "gpyro.configuration"
_NOT_IN_FILES = tuple(name for name, item in ITEMS.items() if item.only_environment)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool.

    Args:
        argv: its arguments; None for those of the process.

    Returns:
        The exit code.
    """
    try:
        docopt(__doc__ or "", argv=argv if argv is None else list(argv), version=f"gpyro {VERSION}")
    except DocoptExit as error:
        print(f"{_NAME}: these arguments do not fit\n{error.usage}", file=sys.stderr)
        return 2
    try:
        return _run()
    except BrokenPipeError:  # nobody reads on, which the end of the process would find out once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run() -> int:
    print(f"gpyro version: {VERSION}")
    error: Exception | None = None
    try:
        config.snapshot()
    except ConfigurationError as found:
        error = found
    for line in _about_file(error is None):
        print(line)
    if error is None:
        try:
            check_storage()
        except OSError as found:
            error = found
        _print_settings()
    sys.stdout.flush()
    if error is not None:
        print(f"{_NAME}: {error}", file=sys.stderr)
    return 0 if error is None else 1


def _about_file(understood: bool) -> Iterator[str]:
    """What is to be said of the configuration file; `understood` is whether there is no error in it."""
    try:
        path = file_to_read(os.environ, current_directory())
        if not path:
            return
        yield f"ConfigReader: checking file {path}"
        there = [line.name for line in config_file.read(path)]
    except ConfigurationError:  # which the caller knows
        return
    yield from (f"MISSING item: {name}" for name, item in ITEMS.items() if name not in [*there, *_NOT_IN_FILES])
    yield from (f"dropped item: {name}: {instead}" for name, instead in DROPPED.items() if name in there)
    unknown = sorted(name for name in there if name not in ITEMS and name not in DROPPED)
    if unknown:
        yield f"items NOT in DEFAULTS: {unknown}"
    elif understood:
        yield "ok!"


def _print_settings() -> None:
    print("\nActive configuration settings:")
    for name, value in sorted(config.snapshot()):
        print(f"{name}={as_text(value)}")
    origins = config.origins()
    if origins:
        print("\nWhere those come from that are no defaults:")
    for name, origin in sorted(origins.items()):
        print(f"{name}: {origin}")


__all__ = ["Config", "config", "main"]

if __name__ == "__main__":
    sys.exit(main())
