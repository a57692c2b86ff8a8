"""`initServer` and `initClient`: what is done once in a process before it serves or calls.

Neither needs to be called: a program's first daemon and first proxy do that. What an explicit call is good for is the
check of PYRO_STORAGE, and to have the session's beginning in the log before anything else.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from typing import Final, Literal

from gpyro.constants import VERSION
from gpyro.items import as_text
from gpyro.logs import Log
from gpyro.settings import config

_lock: Final = threading.Lock()
_client_is_ready = _server_is_ready = _storage_is_checked = _settings_are_logged = False


def initServer(banner: int = 0, storageCheck: int = 1) -> None:
    """Get ready to serve. The first call in a process does it, later ones return at once.

    If PYRO_TRACELEVEL is not 0, the system log gets the header of a session, with all configuration items.

    Args:
        banner: whether to print which version of gpyro this is.
        storageCheck: whether PYRO_STORAGE has to be a directory in which files can be made, which is looked at by the
            first call that asks for it. It is made if need be, but not those above it.

    Raises:
        OSError: it is not.
        ConfigurationError: the configuration cannot be read.
    """
    global _server_is_ready
    if storageCheck and not _storage_is_checked:
        check_storage()
    if _server_is_ready:
        return
    config.snapshot()
    with _lock:  # held for no longer: printing and logging may switch to another greenlet
        if _server_is_ready:
            return
        _server_is_ready = True
    _begin("Server", banner)


def initClient(banner: int = 0) -> None:
    """Get ready to call: as `initServer`, but nothing is checked, so it works where no file can be written.

    Args:
        banner: whether to print which version of gpyro this is.

    Raises:
        ConfigurationError: the configuration cannot be read.
    """
    global _client_is_ready
    if _client_is_ready:
        return
    config.snapshot()
    with _lock:
        if _client_is_ready:
            return
        _client_is_ready = True
    _begin("Client", banner)


def check_storage() -> None:
    """See that files can be made in PYRO_STORAGE, which is made if need be.

    Raises:
        OSError: it is no directory, or no files can be made there.
        ConfigurationError: the configuration cannot be read.
    """
    global _storage_is_checked
    path = config.PYRO_STORAGE
    try:
        os.mkdir(path)
    except FileExistsError:
        pass
    except OSError as error:
        if not os.path.isdir(path):  # of one that is there not every system says that it exists
            raise OSError(f"PYRO_STORAGE is not a directory [{path}]: it cannot be made: {error.strerror}") from error
    if not os.path.isdir(path):
        raise OSError(f"PYRO_STORAGE is not a directory [{path}]")
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OSError(f"no write access to PYRO_STORAGE [{path}]: {error.strerror}") from error
    _storage_is_checked = True


def _begin(kind: Literal["Server", "Client"], banner: int) -> None:
    config.set_initialized()
    if banner:
        print(f"gpyro {kind} Initialized. Using gpyro V{VERSION}", flush=True)
    if config.PYRO_TRACELEVEL:
        try:
            Log.raw(_session_header(kind))
        except OSError as error:
            Log.complain(error)


def _session_header(kind: Literal["Server", "Client"]) -> str:
    """One text, so that what other processes log cannot get in between."""
    global _settings_are_logged
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    lines = [f"{'-' * 60} NEW SESSION", f"{now} gpyro initializing, version {VERSION}", f"This is init{kind}."]
    if not _settings_are_logged:
        _settings_are_logged = True
        lines.append("Configuration settings are as follows:")
        lines += [f" {name} = {as_text(value)}" for name, value in config.snapshot()]
    return "\n".join([*lines, "Init done.", "-" * 70, ""])
