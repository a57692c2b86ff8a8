"""Listening on Unix sockets: private to the user, replacing what a dead daemon left, never what a live one uses."""

from __future__ import annotations

import _socket
import errno
import os
import socket
import stat

from gpyro.errors import DaemonError
from gpyro.net.sockets import new_socket

MODE = 0o600
"""Only the daemon's own user may connect."""


class UnixPath:
    """The socket file of a listening daemon.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._process = os.getpid()
        status = os.lstat(path)
        self._identity = (status.st_dev, status.st_ino)

    def remove(self) -> None:
        """Remove the file, if it is still this daemon's and this is the process that made it."""
        if os.getpid() != self._process:
            return
        try:
            status = os.lstat(self.path)
            if (status.st_dev, status.st_ino) == self._identity:
                os.unlink(self.path)
        except FileNotFoundError:
            pass


def bind(path: str) -> tuple[_socket.socket, UnixPath]:
    """A socket bound to `path`, not listening yet.

    Raises:
        DaemonError: a live daemon listens there, the file is something else, or the folder refuses it.
    """
    sock = new_socket(socket.AF_UNIX)
    try:
        # Linux makes the file with the mode of the descriptor, so nobody can connect in between.
        os.fchmod(sock.fileno(), MODE)
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(path)
            sock.bind(path)
        os.chmod(path, MODE)
        return sock, UnixPath(path)
    except OSError as error:
        sock.close()
        raise DaemonError(f"Couldn't start Pyro daemon: Unix socket {path}: {error.strerror or error}") from error
    except DaemonError:
        sock.close()
        raise


def _remove_stale(path: str) -> None:
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise DaemonError(f"Couldn't start Pyro daemon: {path} exists and is no socket")
    probe = new_socket(socket.AF_UNIX)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)  # nobody listens: its daemon died
        return
    except BlockingIOError:
        pass  # a live daemon with a full backlog
    finally:
        probe.close()
    raise DaemonError(f"Couldn't start Pyro daemon: another daemon listens on the Unix socket {path}")
