"""The name server: the names of Pyro 3's ``Pyro.naming`` in one place. Run by ``python -m`` it is gpyro-ns."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gpyro.constants import NAMESERVER_NAME
from gpyro.discovery import BCReqValidator, BroadcastServer
from gpyro.locator import NS_SYSCMD_LOCATION, NS_SYSCMD_SHUTDOWN, NameServerLocator
from gpyro.name_cache import identify_for_names
from gpyro.name_view import NameView
from gpyro.namespace import NameEvent, NameSpaceSystemMeta
from gpyro.naming_proxy import NameServerProxy
from gpyro.naming_server import NameServer, PersistentNameServer
from gpyro.starter import NameServerStarter

__all__ = [
    "NAMESERVER_NAME",
    "NS_SYSCMD_LOCATION",
    "NS_SYSCMD_SHUTDOWN",
    "BCReqValidator",
    "BroadcastServer",
    "NameEvent",
    "NameServer",
    "NameServerLocator",
    "NameServerProxy",
    "NameServerStarter",
    "NameSpaceSystemMeta",
    "NameView",
    "PersistentNameServer",
    "identify_for_names",
    "main",
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run gpyro-ns with these arguments (without them: the process's own); the exit code.

    Raises:
        SystemExit: help or the version was asked for, and printed.
    """
    from gpyro import naming_tool  # programs that only use names do without what the tools need

    return naming_tool.main(argv)


if __name__ == "__main__":
    sys.exit(main())
