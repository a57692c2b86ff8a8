"""What the starters of gpyro's own servers have in common: running one by itself, or inside another program."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Final, Protocol

from gpyro.errors import DaemonError, PyroError
from gpyro.hub_daemon import Daemon
from gpyro.locks import Event
from gpyro.net.foreign_loop import LoopSocket
from gpyro.net.hub import hub_state
from gpyro.pyrouri import PyroURI
from gpyro.settings import Settings
from gpyro.validators import DefaultConnValidator

HANDSHAKE: Final = 20.0
"""Seconds that a server gives new connections for each of their first steps."""


class Service(Protocol):
    """The object that is served."""

    def let_go(self) -> None:
        """Answer all calls that wait for something: the server is about to stop."""

    def close(self) -> None:
        """Let go of everything."""


class ServiceDaemon(Daemon):
    """A daemon whose calls overlap, whatever the program wants of its own: many of them wait for something.

    Attributes:
        server: the object, whose calls are not to wait when the daemon stops.
        exposure: what everybody could do to it if nobody is asked for a passphrase, and ways to ask.
    """

    server: Service | None = None
    exposure: str = ""

    def attach(self) -> None:
        """Take the hub of this thread. Raises DaemonError: everybody could connect."""
        self._attach()

    def stop(self, grace: float | None = None) -> None:
        """As `Daemon.stop`."""
        if self.server is not None and self._state is hub_state():
            self.server.let_go()
        super().stop(grace)

    def run_soon(self, function: Callable[[], object]) -> None:
        """Run a function in a greenlet of the loop that serves. From any thread, or signal handler."""
        state = self._state
        if state is not None:
            run: Callable[[Any, Any], Any] = lambda first, second: function()  # noqa: E731
            state.call_soon(lambda: state.start(run))

    def check_exposure(self) -> None:
        """Raises DaemonError: everybody could connect."""
        self._check_exposure()

    def _check_exposure(self) -> None:
        try:
            super()._check_exposure()
        except DaemonError as error:
            raise DaemonError(
                f"Couldn't start Pyro daemon: bound to {self._exposed}, everybody who can reach this machine could "
                f"{self.exposure}, or bind the loopback interface, or say PYRO_ALLOW_OPEN=1"
            ) from error

    def _settings(self) -> Settings:
        return super()._settings().replace(PYRO_MULTITHREADED=True)


def say(text: str) -> None:
    """Print a line, if somebody reads."""
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)


def class_and_file(plugin: object) -> str:
    """What an object that was plugged in is, and where that comes from."""
    kind = type(plugin)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return f"{kind.__qualname__} of {file or kind.__module__}"


class ServiceStarter:
    """Runs one of gpyro's own servers.

    `start` blocks; `begin` serves in the gevent loop that runs anyway; and after `initialize` a loop of any kind drives
    it through `getServerSockets` and `handleRequests`.

    Attributes:
        daemon: the daemon, once it was begun.
        server: the server's object, likewise.
        uri: the object's, likewise.
    """

    _what: ClassVar[str]
    """The server's name in what is printed."""

    _error: ClassVar[type[PyroError]] = PyroError
    """What is raised when it does not run."""

    _exposure: ClassVar[str]
    """As of `ServiceDaemon`."""

    def __init__(self, identification: str | tuple[str, str] | None = None) -> None:
        """`identification` is the passphrase that clients need; None for none."""
        self._identification = identification
        self._serving = self._blocking = self._end_asked = False
        self._over = False  # it ran, or could not be started, and was not started again
        self._decided = Event()  # it serves, or could not be started
        self.daemon: ServiceDaemon | None = None
        self.server: Any = None
        self.uri: PyroURI | None = None

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        """Make the server and its daemon; clients are served with the first round."""
        raise NotImplementedError

    def start(self, *args: Any, **kwargs: Any) -> None:
        """Run the server until somebody ends it: `shutdown`, SIGTERM, Ctrl-C, or a client where that may be.

        Arguments and errors are those of `initialize`. What happens is printed. If `shutdown` was called before the
        first start, it returns at once.
        """
        if self._end_asked and self.daemon is None:
            self._end()
            return
        self._initialize(args, kwargs)
        self._blocking = True
        try:
            if not self._end_asked:
                self._serve()
                self._daemon().requestLoop()
        except KeyboardInterrupt:
            say("Shutting down on user break signal.")
        except DaemonError:
            if not self._end_asked:  # in this very moment, by another thread
                raise
        finally:
            self._blocking = False
            self._end()
        say(f"{self._what} gracefully stopped.")

    def begin(self, *args: Any, **kwargs: Any) -> None:
        """Run the server in the gevent loop of this thread, without blocking, until `stop`.

        Arguments and errors are those of `initialize`. PyroError: `shutdown` was called before.
        """
        self._initialize(args, kwargs)
        try:
            self._serve_unless_ended()
            self._daemon().start()
        except BaseException:
            self._end()
            raise

    def _initialize(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._serving:
            self._decided.clear()
            self._over = False
        try:
            self.initialize(*args, **kwargs)
        except BaseException:
            if not self._serving:
                self._over, self._end_asked = True, False
            self._decided.set()
            raise

    def _end(self) -> None:
        served = self._serving
        self.stop()
        if not served:
            self._decided.set()

    def _guard(self, daemon: ServiceDaemon, validator: DefaultConnValidator | None, verbose: int) -> None:
        daemon.setTimeout(HANDSHAKE)
        if validator is not None:
            daemon.setNewConnectionValidator(validator)
            if verbose:
                say(f"Connections are judged by {class_and_file(validator)}.")
        if self._identification is not None:
            daemon.setAllowedIdentifications([self._identification])
            say("Requiring connection authentication.")
        daemon.exposure = self._exposure
        # Now, and not when it begins to serve: by then others would have been told where it is.
        daemon.check_exposure()

    def _begin_to_serve(self) -> None:
        """What is done in the thread that serves when it begins."""

    def _serve(self) -> None:
        """Serve from now on, in this thread."""
        self._daemon().attach()
        self._begin_to_serve()
        say(f"{self._what} started.")
        self._serving = True
        self._decided.set()

    def _serve_unless_ended(self) -> None:
        """As `_serve`, where `start` does not see to the end. Raises `_error`: somebody asked for the end before."""
        self._daemon().attach()
        if self._end_asked:  # when there was no loop yet that could be told
            self.stop()
        self._serve()

    def _daemon(self) -> ServiceDaemon:
        if self.daemon is None:
            raise self._error(f"the {self._what.lower()} was not begun, or is stopped")
        return self.daemon

    # For a loop of another kind

    def getServerSockets(self) -> list[LoopSocket]:
        """What a foreign loop has to wait for; see `Daemon.getServerSockets`."""
        if not self._serving:
            self._serve_unless_ended()
        return list(self._daemon().getServerSockets())

    def handleRequests(self, timeout: float | None = None) -> None:
        """One round of serving; see `Daemon.handleRequests`.

        Raises:
            PyroError: it has ended, as when somebody asked for that.
        """
        if not self._serving:
            self._serve_unless_ended()
        self._daemon().handleRequests(timeout)

    # From anywhere

    @property
    def serving(self) -> bool:
        """Whether clients are served, or will be with the next round."""
        return self._serving

    def waitUntilStarted(self, timeout: float | None = None) -> bool:
        """Wait, in any thread or greenlet, until it serves, or could not be started; whether it serves.

        `timeout` is in seconds, None for ever.
        """
        self._decided.wait(timeout)
        return self._serving

    def mustContinueRunning(self) -> bool:
        """Whether nobody has ended it."""
        return self.daemon is not None

    def shutdown(self, server: object = None) -> None:
        """Ask the server to end, from any thread or signal handler; the argument is not used.

        Before its first start, that ends at once. When it has ended, nothing happens.
        """
        if self._over and self.daemon is None:
            return
        self._end_asked = True
        daemon = self.daemon
        if daemon is not None and self._blocking:
            daemon.shutdown()
        elif daemon is not None:
            daemon.run_soon(self.stop)

    def stop(self) -> None:
        """End it and wait until all is closed; in the thread that serves. May be repeated."""
        daemon, server = self.daemon, self.server
        self.daemon = self.server = None
        self._serving = self._end_asked = False
        self._over = True
        self._decided.clear()
        if server is not None:
            server.let_go()
        if daemon is not None:
            daemon.stop()
        if server is not None:
            server.close()
