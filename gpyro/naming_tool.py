"""Run a name server, which knows where objects are.

Usage:
  gpyro-ns [options]

Where:
  -n HOST --host=HOST      the address to listen on, PYRO_HOST if not given: the
                           loopback interface, unless that is configured
  -p PORT --port=PORT      the port to listen on, 0 for any free one; PYRO_NS_PORT
                           (9090) if not given
  -b PORT --broadcast-port=PORT  the UDP port to listen on for broadcasts;
                           PYRO_NS_BC_PORT (9090) if not given
  -c ADDR --broadcast-address=ADDR  the address that clients send broadcasts to
  -x --no-broadcast        do not listen for broadcasts
  -m --allow-multiple      start although there is another name server on the network
  -r --no-lookup           do not even look for another one

What it keeps:
  -d [DIR] --database=[DIR]  keep names in a file, in this directory below
                           PYRO_STORAGE; in Pyro_NS_database if none is given

Who may use it:
  -i ID --identification=ID  a passphrase that clients need. Everybody on this machine
                           can see it in the list of processes; better is:
  --identification-file=FILE  a file with the passphrase, or with a user's name in a line
                              above; the standard input if FILE is -
  -s MODULE --security=MODULE  a module of Python's with the functions NSGuard, which
                           gives what judges connections, and BCGuard, which gives what
                           judges broadcasts; each may give None
  -k --keep                clients cannot end it

  -v --verbose             print more
  -h --help                this text
  --version                the version of gpyro

Pyro 3's pairs of name servers are no more; several name servers are to share one store:
  -1 [LOCATION] --primary=[LOCATION]    refused
  -2 [LOCATION] --secondary=[LOCATION]  refused

It ends with exit code 0 at SIGTERM, and when a client asks for it; with 130 at Ctrl-C;
with 1 if it cannot run; with 2 if an option cannot be used.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gpyro.command_line import Options, UsageError, host, identification, run_tool, serve, whole_number
from gpyro.discovery import BCReqValidator
from gpyro.item_kinds import Host
from gpyro.item_sources import current_directory
from gpyro.naming_server import NO_PAIRS
from gpyro.starter import Guards, NameServerStarter
from gpyro.validators import DefaultConnValidator

_GUARDS: Final[tuple[tuple[str, type], ...]] = (("NSGuard", DefaultConnValidator), ("BCGuard", BCReqValidator))


def main(argv: Sequence[str] | None = None) -> int:
    """Run gpyro-ns with these arguments (without them: the process's own); the exit code."""
    return run_tool("gpyro-ns", __doc__ or "", argv, _run)


def _run(options: Options) -> int:
    for letter, name in (("-1", "--primary"), ("-2", "--secondary")):
        if options[name] is not None:
            raise UsageError(f"{letter}, {name}: {NO_PAIRS}")
    arguments = {
        "hostname": host(options, "--host"),
        "nsport": whole_number(options, "--port", 0, 65535),
        "bcport": whole_number(options, "--broadcast-port", 1, 65535) or 0,
        "keep": options["--keep"],
        "persistent": options["--database"] is not None,
        "dbdir": options["--database"] or None,
        "Guards": _guards(options["--security"]),
        "allowmultiple": options["--allow-multiple"],
        "dontlookupother": options["--no-lookup"],
        "verbose": options["--verbose"],
        "bcaddr": _broadcast_address(options),
        "nobroadcast": options["--no-broadcast"],
    }
    return serve(NameServerStarter(identification(options)), arguments)


def _broadcast_address(options: Options) -> str | None:
    address = host(options, "--broadcast-address")
    if address is not None:
        kind = Host(unix=False)
        try:
            kind.check(address)
        except ValueError:
            raise UsageError(f"--broadcast-address: expected {kind.expected}, not {address!r}") from None
    return address


def _guards(module: str | None) -> Guards:
    """What a plug-in module gives.

    Raises:
        UsageError: it cannot be imported, or does not give what it should.
    """
    if module is None:
        return None, None
    with _current_directory_importable():
        plugin = _imported(module)
        connections, broadcasts = (_guard(plugin, name, kind) for name, kind in _GUARDS)
    return connections, broadcasts


@contextlib.contextmanager
def _current_directory_importable() -> Iterator[None]:
    # Scripts that are installed do not look there, as ``python -m`` does. Behind all else, so that nothing is hidden.
    here = current_directory()
    sys.path.append(here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # a module may do anything to it
            sys.path.remove(here)


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"--security: there is no module {name!r}, neither in the current directory nor where Python looks"
            ) from None
        raise UsageError(f"--security: module {name!r} cannot be imported: {error}") from None
    except Exception as error:  # whatever a module does
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UsageError(f"--security: module {name!r} cannot be imported: {text}") from None


def _guard(plugin: Any, name: str, kind: type) -> Any:
    where = f"--security: module {plugin.__name__!r} ({getattr(plugin, '__file__', None) or 'builtin'})"
    make = getattr(plugin, name, None)
    if not callable(make):
        raise UsageError(f"{where} has no function {name}")
    try:
        guard = make()
    except Exception as error:  # whatever it does
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UsageError(f"{where}: {name}() failed: {text}") from None
    if guard is not None and not isinstance(guard, kind):
        raise UsageError(f"{where}: {name}() gave {type(guard).__name__}, neither a {kind.__name__} nor None")
    return guard
