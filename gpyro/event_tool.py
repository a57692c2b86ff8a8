"""Run an event server: what is published on a subject goes to all who subscribed to it.

Usage:
  gpyro-es [options]

Where:
  -n HOST --host=HOST      the address to listen on, PYRO_HOST if not given: the
                           loopback interface, unless that is configured
  -p PORT --port=PORT      the port to listen on, 0 for any free one; without, the first
                           free one of PYRO_PORT (7766) and those behind it
  -N --no-nameserver       do not register it at a name server

Who may use it:
  -i ID --identification=ID  a passphrase that clients need, and that the name server is
                           asked with. Everybody on this machine can see it in the list
                           of processes; better is:
  --identification-file=FILE  a file with the passphrase, or with a user's name in a line
                           above; the standard input if FILE is -

  -v --verbose             print more
  -h --help                this text
  --version                the version of gpyro

It ends with exit code 0 at SIGTERM; with 130 at Ctrl-C; with 1 if it cannot run; with 2
if an option cannot be used.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpyro.command_line import Options, host, identification, run_tool, serve, whole_number
from gpyro.errors import ConnectionDeniedError, NamingError, ProtocolError
from gpyro.event_starter import EventServiceStarter
from gpyro.locator import NO_NAME_SERVER


def main(argv: Sequence[str] | None = None) -> int:
    """Run gpyro-es with these arguments (without them: the process's own); the exit code."""
    return run_tool("gpyro-es", __doc__ or "", argv, _run)


def _run(options: Options) -> int:
    port = whole_number(options, "--port", 0, 65535)
    arguments = {
        "hostname": host(options, "--host"),
        "port": port,
        # Who names a port wants to tell others of it.
        "norange": port is not None,
        "useNameServer": not options["--no-nameserver"],
        "verbose": options["--verbose"],
    }
    starter = EventServiceStarter(identification(options))
    try:
        return serve(starter, arguments)
    except ConnectionDeniedError as error:  # by the only server that it asks
        raise ProtocolError(f"the name server cannot be asked: {error}") from error
    except NamingError as error:
        if not str(error).startswith(NO_NAME_SERVER):
            raise
        raise NamingError(f"{error} (-N runs it without one)") from error
