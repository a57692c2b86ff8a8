"""A server and a client as a Pyro 3 user would write them, each as a process of its own."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NamedTuple

from tests.programs import Program, program


class Served(NamedTuple):
    """A server that runs, and the URI that it printed."""

    server: Program
    uri: str

    def by_name(self, name: str) -> str:
        """The PYROLOC URI of the object that was connected under this name."""
        location = self.uri.partition("://")[2].rpartition("/")[0]
        return f"PYROLOC://{location}/{name}"

    def client(self, code: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """Run a client, which gets the URI as its first argument, to its good end; gives what it printed."""
        with program(code, self.uri, *arguments, environment=environment) as running:
            return running.ended_well()

    def ctrl_c(self) -> str:
        """End the server as its operator would, which is to be a good end; gives the rest of what it printed."""
        self.server.send_signal(signal.SIGINT)
        return self.server.ended_well()


@contextlib.contextmanager
def served(code: str, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Run a server, whose first line is a URI, until the end of the block."""
    with program(code, *arguments, environment=environment) as server:
        yield Served(server, server.line())


def play(server: str, client: str, *, environment: dict[str, str] | None = None) -> str:
    """Run a server and one client, both with this environment; gives what the client printed."""
    with served(server, environment=environment) as running:
        return running.client(client, environment=environment)
