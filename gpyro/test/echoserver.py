"""A server that gives back what it is sent, and a load generator for it.

Usage:
  gpyro-echoserver [-H HOST] [-p PORT] [-n] [-N] [-v]
  gpyro-echoserver --load URI [--callers N] [--duration SECONDS] [--calls N]
                   [--size BYTES] [--private] [--json]
  gpyro-echoserver -h | --help | --version

Server:
  -H HOST --host HOST   the address to listen on [default: localhost]
  -p PORT --port PORT   the port to listen on, 0 for any free one [default: 0]
  -n --naming           give the object its name at the name server, which is looked for
  -N --nameserver       run a name server, too, at the same host and PYRO_NS_PORT, and
                        give the object its name there, without looking for others
  -v --verbose          print each call and the time it came, which slows it down a lot

Load on a running echo server:
  --load URI            the server's URI, as it printed it
  --callers N           greenlets that call at the same time, 1 to 10000 [default: 64]
  --duration SECONDS    how long, above 0 up to 3600 [default: 5]
  --calls N             end after so many calls, even if the time is not over
  --size BYTES          send and receive so many bytes in each call, up to what
                        PYRO_MAX_MESSAGE allows on both sides (16 MiB if
                        nobody says otherwise); 0 is a small dict [default: 0]
  --private             a proxy and a connection for each caller, in place of one for all
  --json                print the result as JSON

  -h --help             this text
  --version             the version of gpyro

The server ends with exit code 0 at SIGTERM (calls that run are finished first) and 130 at Ctrl-C. The load ends
with 0 when every call was answered right, else 1; cut short by Ctrl-C or SIGTERM it still prints its result, and
ends with 130 or 143. An unusable option ends with 2.
"""

from __future__ import annotations

import json
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from reprlib import repr as short_repr
from typing import TYPE_CHECKING, Any, Final

import gevent
from docopt import DocoptExit, docopt
from gevent.lock import BoundedSemaphore

from gpyro import core
from gpyro.constants import VERSION
from gpyro.errors import NamingError, PyroError
from gpyro.settings import config
from gpyro.test.load import Load, Progress
from gpyro.test.signals import signals_call

if TYPE_CHECKING:
    from gpyro.naming import NameServerProxy

NAME: Final = ":Pyro.test.echoserver"
GROUPS: Final = (":Pyro", ":Pyro.test")

MOST_CALLERS: Final = 10_000
LONGEST_DURATION: Final = 3600
MOST_CALLS: Final = 10**12
LARGEST_SIZE: Final = 1 << 30
# What all callers together may have on their way: each payload exists at least once more as its answer.
MOST_BYTES_IN_FLIGHT: Final = 1 << 30
SPARE: Final = 100  # what a message has beside its payload
CONNECTING: Final = 100  # connections that are set up at the same time: a listening socket's queue is short
CONNECT_SECONDS: Final = 60.0
OTHER_FILES: Final = 50  # descriptors that a process needs besides one for each connection

SMALL: Final = {"id": 12345, "name": "gpyro", "tags": ["a", "b", "c"], "ratio": 0.25}


class UsageError(Exception):
    """An option has a value that cannot be used."""


class EchoServer(core.ObjBase):
    """The object that the server offers."""

    def __init__(self, verbose: bool = False) -> None:
        super().__init__()
        self._verbose = verbose
        #: Nothing here uses it: a number for attribute proxies to read and to change.
        self.sum = 0

    def echo(self, args: Any) -> Any:
        """Give the argument back."""
        self._note("echo", args)
        return args

    def error(self) -> float:
        """Raise ZeroDivisionError."""
        self._note("error")
        return 1 / 0

    def _note(self, method: str, *args: object) -> None:
        if self._verbose:
            try:
                now = datetime.now().time().isoformat("milliseconds")
                _say(f"{now} {method}({', '.join(short_repr(arg) for arg in args)})")
            except OSError:  # nobody reads the output any more; the callers have no part in that
                self._verbose = False


def _say(text: str) -> None:
    print(text, flush=True)


def serve(host: str, port: int, verbose: bool, naming: bool = False, nameserver: bool = False) -> int:
    """Run the echo server until it is told to end; the exit code.

    Args:
        host: the address to listen on.
        port: the port, 0 for any.
        verbose: whether to print each call.
        naming: whether to register the object at the name server that is found.
        nameserver: whether to run a name server, and to register the object there.
    """
    with _name_server(host, naming, nameserver) as ns:
        daemon = core.Daemon(host=host, port=port, norange=1)
        try:
            uri = str(_connect_object(daemon, EchoServer(verbose), ns))
            location = uri.partition("://")[2].rpartition("/")[0]
            _say(f"object name: {NAME}\nPYRO URI: {uri}\nPYROLOC URI: PYROLOC://{location}/{NAME}")
            if ns is not None:
                _say(f"PYRONAME URI: {core.PyroURI(ns.URI.address, NAME, ns.URI.port, 'PYRONAME')}")
            # Said from the loop, so that who reads it knows that the loop turns and signals are answered.
            gevent.spawn(_say, "echoserver running.")
            # SIGTERM is answered by requestLoop itself. Ctrl-C would otherwise strike whatever greenlet is on.
            with signals_call(daemon.shutdown, signal.SIGINT) as came:
                daemon.requestLoop()
        finally:
            daemon.shutdown(True)
    _say("echoserver stopped.")
    return 128 + came[0] if came else 0


@contextmanager
def _name_server(host: str, naming: bool, own: bool) -> Iterator[NameServerProxy | None]:
    """The name server to use, if any; one of this process's own ends with the block."""
    if not naming and not own:
        yield None
        return
    # Here, since it takes a while, and most echo servers do not need it.
    from gpyro.naming import NameServerLocator, NameServerProxy, NameServerStarter

    if not own:
        yield NameServerLocator().getNS()
        return
    starter = NameServerStarter()
    starter.begin(hostname=host, dontlookupother=1)
    try:
        assert starter.uri is not None
        yield NameServerProxy(starter.uri)
    finally:
        starter.stop()


def _connect_object(daemon: core.Daemon, obj: EchoServer, ns: NameServerProxy | None) -> core.PyroURI:
    """Connect the object, under its name at the name server if there is one."""
    if ns is not None:
        for group in GROUPS:
            try:
                ns.createGroup(group)
            except NamingError as error:
                if error.args[0] != "group already exists":
                    raise
        daemon.useNameServer(ns)
    return daemon.connect(obj, NAME)


def load(uri: str, callers: int, duration: float, calls: int | None, size: int, private: bool, as_json: bool) -> int:
    """Call the echo server at `uri` from many greenlets and print how it did; the exit code."""
    payload: Any = random.Random(0).randbytes(size) if size else SMALL
    if private:
        _allow_open_files(callers + OTHER_FILES)
    proxies = [core.getProxyForURI(uri) for _ in range(callers if private else 1)]
    for proxy in proxies:
        proxy._setPrivateChannel(private)
    run = Load([_echo_call(proxies[index % len(proxies)], payload) for index in range(callers)], payload)
    progress = Progress(duration, calls or 0)
    try:
        _connect(proxies)
        with signals_call(run.stop, signal.SIGINT, signal.SIGTERM) as came:
            result = run.run(duration, limit=calls or sys.maxsize, progress=progress)
    finally:
        progress.close()
        for proxy in proxies:
            proxy._release()
    if as_json:
        options = {"callers": callers, "size": size, "private": private}
        _say(json.dumps({**options, **result.as_dict(), "interrupted": bool(came)}))
    else:
        _say(str(result))
    if came:
        return 128 + came[0]
    return 0 if result.calls and not result.errors and not result.given_up else 1


def _echo_call(proxy: Any, payload: Any) -> Callable[[], object]:
    return lambda: proxy.echo(payload)


def _connect(proxies: list[Any]) -> None:
    """Make one call through each proxy, so that the measured calls find their connection; raises the first error."""
    turn, errors = BoundedSemaphore(CONNECTING), list[Exception]()

    def connect(proxy: Any) -> None:
        with turn:
            try:
                if not errors:
                    proxy.echo(None)
            except Exception as error:  # raised once, below; from here gevent would print each
                errors.append(error)

    attempts = [gevent.spawn(connect, proxy) for proxy in proxies]
    try:
        gevent.joinall(attempts, timeout=CONNECT_SECONDS)
        for error in errors[:1]:
            if isinstance(error, (PyroError, OSError)):
                raise error
            raise PyroError(f"the object does not echo: {type(error).__name__}: {error}") from error
        if missing := sum(not attempt.dead for attempt in attempts):
            raise TimeoutError(f"{missing} of {len(attempts)} connections were not set up in {CONNECT_SECONDS:.0f} s")
    finally:
        gevent.killall(attempts)


def _allow_open_files(needed: int) -> None:
    import resource  # only Unix has it, and only this needs it

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise UsageError(f"--private with so many callers needs {needed} open files, the system allows {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _number(options: dict[str, Any], name: str, kind: type[int] | type[float], least: float, most: float) -> Any:
    text = options[name]
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        what = "a whole number" if kind is int else "a number"
        raise UsageError(f"{name} must be {what} from {least:g} to {most:.12g}, not {text!r}")
    return value


def _run(options: dict[str, Any]) -> int:
    if options["--load"] is None:
        port = _number(options, "--port", int, 0, 65535)
        return serve(options["--host"], port, options["--verbose"], options["--naming"], options["--nameserver"])
    callers = _number(options, "--callers", int, 1, MOST_CALLERS)
    duration = _number(options, "--duration", float, 0.001, LONGEST_DURATION)
    calls = None if options["--calls"] is None else _number(options, "--calls", int, 1, MOST_CALLS)
    size = _number(options, "--size", int, 0, LARGEST_SIZE)
    if size + SPARE > config.PYRO_MAX_MESSAGE:
        raise UsageError(f"--size {size} is over PYRO_MAX_MESSAGE ({config.PYRO_MAX_MESSAGE}); set it on both sides")
    if callers * size > MOST_BYTES_IN_FLIGHT:
        raise UsageError(f"--callers times --size must not exceed {MOST_BYTES_IN_FLIGHT} bytes")
    return load(options["--load"], callers, duration, calls, size, options["--private"], options["--json"])


def main(argv: list[str] | None = None) -> int:
    """Run the tool with these arguments (without them: the process's own); the exit code."""
    try:
        options = docopt(__doc__ or "", argv=argv, version=f"gpyro {VERSION}")
    except DocoptExit as error:
        print(f"gpyro-echoserver: these arguments do not fit together\n{error.usage}", file=sys.stderr)
        return 2
    try:
        return _run(options)
    except UsageError as error:
        print(f"gpyro-echoserver: {error}", file=sys.stderr)
        return 2
    except (PyroError, OSError) as error:
        print(f"gpyro-echoserver: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
