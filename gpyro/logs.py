"""The two logs of Pyro 3, and what the library itself has to say.

The system log (`Log`) and the user log (`UserLogger`) are files with one entry a line::

    2026-03-01 12:00:00 [4711:MainThread] ** WARN ** source ** text

Levels and file names are asked for at every entry, so both can be changed while the program runs. An entry is one
``write`` to a file that was opened for appending, so the entries of any number of greenlets, threads and processes
stand side by side without a lock, and nobody waits for anybody.

What the library has to say goes to Python's loggers below ``gpyro``, as far as the program lets it, and to the system
log, as far as PYRO_TRACELEVEL lets it; see `LibraryLog`.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Final

from gpyro.remote_traceback import CONTROL
from gpyro.settings import config

NOTE: Final = 3
WARN: Final = 2
ERROR: Final = 1

RAW: Final = 999
"""The level at which Python's logging gets what is logged raw."""

SYSTEM: Final = "gpyro.system"
USER: Final = "gpyro.user"
"""The loggers that are the two logs with PYRO_STDLOGGING."""

COMPLAINTS: Final = 60.0
"""Seconds between complaints that a file cannot be written."""

_TAGS: Final = {NOTE: "NOTE", WARN: "WARN", ERROR: "ERR!"}
_PYTHONS: Final = {NOTE: logging.INFO, WARN: logging.WARNING, ERROR: logging.ERROR}

_FLAGS: Final = (
    os.O_WRONLY
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe that nobody reads must not hold the whole process
    | getattr(os, "O_BINARY", 0)
)

ExcInfo = (
    BaseException
    | tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
    | bool
    | None
)


# ---- files


def append(path: str, text: str) -> None:
    """Append to a file, which is made if need be. Raises OSError."""
    data = text.encode("utf-8", "backslashreplace")
    descriptor = os.open(path, _FLAGS, 0o666)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


class LogFile(logging.Handler):
    """Appends each entry to the file that an item names at that moment.

    That it cannot is said on stderr, at most once a minute for each file. It has no lock: there is nothing to guard.
    """

    def __init__(self, file_item: str, level_item: str, formatter: logging.Formatter) -> None:
        super().__init__()
        self.file_item = file_item
        self.level_item = level_item
        self.setFormatter(formatter)
        self._complained = ("", 0.0)

    def createLock(self) -> None:
        """None, see above."""
        self.lock = None

    def filter(self, record: logging.LogRecord) -> Any:
        """Whether the trace level lets it through; asked by `handle` only, that is, for Python's loggers."""
        return super().filter(record) and (record.levelno == RAW or self.takes(trace_level(record.levelno)))

    def handle(self, record: logging.LogRecord) -> bool:
        """As `logging.Handler.handle`, without a lock."""
        if not self.filter(record):
            return False
        self.emit(record)
        return True

    def takes(self, level: int) -> bool:
        """Whether the trace level lets entries of this level through."""
        return bool(getattr(config, self.level_item) >= level)

    def emit(self, record: logging.LogRecord) -> None:
        """Write an entry; that it cannot be written is the end of it."""
        try:
            self.append(self.format(record) + "\n")
        except Exception as error:
            self.complain(error)

    def append(self, text: str) -> None:
        """Write `text` as it is. Raises OSError."""
        append(getattr(config, self.file_item), text)

    def complain(self, error: Exception) -> None:
        """Say on stderr that the file cannot be written, unless that was just said."""
        path, (last, when) = getattr(config, self.file_item), self._complained
        if path != last or time.monotonic() >= when + COMPLAINTS:
            self._complained = (path, time.monotonic())
            say(f"cannot write the log {path} ({self.file_item}): {getattr(error, 'strerror', None) or error}")


def say(text: str) -> None:
    """Tell the operator, where there is no log to tell him."""
    try:
        sys.stderr.write(f"gpyro: {text}\n")
        sys.stderr.flush()
    except Exception:  # there is no stderr, or nobody who reads it
        return


class _Lines(logging.Formatter):
    """The lines of Pyro 3."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s [%(process)d:%(threadName)s] ** %(tag)s ** %(source)s ** %(message)s", "%Y-%m-%d %H:%M:%S"
        )

    def format(self, record: logging.LogRecord) -> str:
        # What peers had a hand in may be in it, and a terminal would obey it.
        return CONTROL.sub(lambda found: ascii(found.group())[1:-1], super().format(record))


class _StandardLines(logging.Formatter):
    """The lines of Pyro 3 with PYRO_STDLOGGING."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s [%(process)d:%(thread)d] ** %(levelname)s ** %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.name not in (SYSTEM, USER):  # which have their source in the text
            record.message = f"{record.name} ** {record.message}"
        return super().formatMessage(record)


def trace_level(level: int) -> int:
    """The trace level from which on entries of this level of Python's are written."""
    return ERROR if level >= logging.ERROR else WARN if level >= logging.WARNING else NOTE


# ---- who speaks


def thread_name() -> str:
    """The name of the current thread; in a greenlet that is no thread of its own, with a mark: ``MainThread/worker-3``.

    The mark is the greenlet's own name, if it has one, as gevent's have and those in which gpyro runs calls.
    """
    greenlet = _current_greenlet()
    thread = threading.current_thread()
    if greenlet is None or greenlet.parent is None:
        return thread.name
    name = thread.name
    if _threads_are_greenlets():
        if type(thread).__name__ != "_DummyThread":
            return name
        name = _system_thread_name()
    return f"{name}/{_mark(greenlet)}"


def _current_greenlet() -> Any:
    module = sys.modules.get("greenlet")  # a program that has not even imported it has none
    return module.getcurrent() if module is not None else None


def _threads_are_greenlets() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _system_thread_name() -> str:
    """The name of the thread of the operating system, where those of Python are greenlets."""
    number = threading.get_native_id()
    main = threading.main_thread()
    if number in (main.native_id, os.getpid()):  # the process id, too: after a fork Python may know the old one
        return main.name
    return next((thread.name for thread in threading.enumerate() if thread.native_id == number), f"Thread-{number}")


def _mark(greenlet: Any) -> str:
    name = getattr(greenlet, "name", None)
    return str(name) if name else f"{type(greenlet).__name__.strip('_')}-{id(greenlet) >> 4 & 0xFFFFFF:x}"


# ---- the two logs


class PyroLog:
    """What both logs have in common.

    Nothing that goes wrong while an entry is written is an error of the one who logs, except in `raw`.
    """

    _file: ClassVar[LogFile]
    _logger: ClassVar[logging.Logger]

    def msg(self, source: object, *args: object) -> None:
        """Write a note (level 3).

        Args:
            source: who speaks; or, if it is the only argument, the message.
            args: the message, joined by blanks.
        """
        self._say(NOTE, source, args)

    def warn(self, source: object, *args: object) -> None:
        """Write a warning (level 2); arguments as for `msg`."""
        self._say(WARN, source, args)

    def error(self, source: object, *args: object) -> None:
        """Write an error (level 1); arguments as for `msg`."""
        self._say(ERROR, source, args)

    def raw(self, string: str) -> None:
        """Write `string` as it is, at any level and without a line end of its own.

        Raises:
            OSError: the file cannot be written.
        """
        if config.PYRO_STDLOGGING:
            set_up_stdlogging()
            _hand_to(self._logger, RAW, string, (), None, 2)
        else:
            self._file.append(string)

    def _say(self, level: int, source: object, args: tuple[object, ...]) -> None:
        try:
            if not self._file.takes(level):
                return
            if args:
                who, text = _text(source), " ".join(map(_text, args))
            else:
                who, text = "N/A", _text(source)
            if config.PYRO_STDLOGGING:
                set_up_stdlogging()
                logger, python = self._logger, _PYTHONS[level]
                # The trace level decides, unless somebody gave the logger a level of its own.
                if logger.level == logging.NOTSET or logger.isEnabledFor(python):
                    _hand_to(logger, python, f"{who} ** {text}", (), None, 3)
            else:
                self.write(level, who, text)
        except Exception:
            return

    def write(self, level: int, source: str, text: str, args: tuple[object, ...] = (), exc_info: Any = None) -> None:
        """Write an entry to the file, whatever the trace level is; ``text % args``, if there are any."""
        try:
            record = logging.LogRecord(source, _PYTHONS[level], "", 0, text, args, exc_info)
            record.process, record.threadName = os.getpid(), thread_name()
            record.tag, record.source = _TAGS[level], source
            self._file.emit(record)
        except Exception:  # such as a greenlet that does not tell its name
            return

    def complain(self, error: Exception) -> None:
        """Say on stderr that the file cannot be written, unless that was just said."""
        self._file.complain(error)


class SystemLogger(PyroLog):
    """The system log, in which gpyro itself writes, too: PYRO_TRACELEVEL and PYRO_LOGFILE."""

    _file = LogFile("PYRO_LOGFILE", "PYRO_TRACELEVEL", _Lines())
    _logger = logging.getLogger(SYSTEM)


class UserLogger(PyroLog):
    """The user log, for programs: PYRO_USER_TRACELEVEL and PYRO_USER_LOGFILE."""

    _file = LogFile("PYRO_USER_LOGFILE", "PYRO_USER_TRACELEVEL", _Lines())
    _logger = logging.getLogger(USER)


Log: Final = SystemLogger()


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose str raised {type(error).__name__}>"


# ---- Python's logging


def _hand_to(
    logger: logging.Logger, level: int, text: object, args: tuple[object, ...], exc_info: Any, stacklevel: int
) -> None:
    """Give a logger an entry whatever its level is; `stacklevel` counts from the caller of this function."""
    path, line, function, _ = logger.findCaller(stacklevel=stacklevel + 1)
    logger.handle(logger.makeRecord(logger.name, level, path, line, text, args, exc_info, function))


_stdlogging_is_set_up = False


def set_up_stdlogging() -> None:
    """Do once in a process what PYRO_STDLOGGING asks for: load its file, or else have the two logs' files written."""
    global _stdlogging_is_set_up
    if _stdlogging_is_set_up:
        return
    _stdlogging_is_set_up = True
    path = config.PYRO_STDLOGGING_CFGFILE
    if os.path.exists(path):
        from logging.config import fileConfig  # few programs need it

        try:
            fileConfig(path, disable_existing_loggers=False)
            return
        except Exception as error:
            say(f"cannot load {path} (PYRO_STDLOGGING_CFGFILE): {type(error).__name__}: {error}")
    system = LogFile("PYRO_LOGFILE", "PYRO_TRACELEVEL", _StandardLines())
    system.addFilter(lambda record: not record.name.startswith(USER))
    logging.getLogger("gpyro").addHandler(system)
    logging.getLogger(USER).addHandler(LogFile("PYRO_USER_LOGFILE", "PYRO_USER_TRACELEVEL", _StandardLines()))


class LibraryLog(logging.LoggerAdapter[logging.Logger]):
    """How the library speaks: through Python's logger of a name, and in the system log with that name as source.

    The first is for the program to set up; until it does, warnings and errors go to stderr, as Python does by itself.
    The second is for PYRO_TRACELEVEL to decide. With PYRO_STDLOGGING both are one, and either lets an entry through.
    """

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name), None)

    def log(
        self,
        level: int,
        msg: object,
        *args: object,
        exc_info: ExcInfo = None,
        stack_info: bool = False,
        stacklevel: int = 1,
        extra: Mapping[str, object] | None = None,
        **kwargs: object,
    ) -> None:
        """As `logging.Logger.log`."""
        asked, standard = self._asked(level)
        if standard:
            set_up_stdlogging()
        enabled = self.logger.isEnabledFor(level)
        if enabled:
            self.logger.log(
                level, msg, *args, exc_info=exc_info, stack_info=stack_info, stacklevel=stacklevel + 1, extra=extra
            )
        if not asked:
            return
        if isinstance(exc_info, BaseException):
            exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
        elif exc_info is True:
            exc_info = sys.exc_info()
        if not standard:
            Log.write(trace_level(level), self.logger.name, str(msg), args, exc_info)
        elif not enabled:
            _hand_to(self.logger, level, msg, args, exc_info, stacklevel + 1)

    @staticmethod
    def _asked(level: int) -> tuple[bool, bool]:
        """Whether the trace level lets it through, and whether PYRO_STDLOGGING is on."""
        try:
            return trace_level(level) <= config.PYRO_TRACELEVEL, config.PYRO_STDLOGGING
        except Exception:  # whoever asks the configuration for more is told what is wrong with it
            return False, False


log: Final = LibraryLog("gpyro")
config.warn_through(log.warning)
