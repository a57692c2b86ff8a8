"""A daemon to throw things at, in a process of its own: `python target_server.py`.

It prints its port and the id of its object, and ends when its input does. It takes values in msgpack and in JSON.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import tracemalloc
from pathlib import Path
from typing import Any

import bombs  # noqa: F401 - registers the classes that the payloads name
import gevent
from gevent.event import Event
from gevent.fileobject import FileObject

import gpyro
from gpyro import core


def status(field: str) -> int:
    """A number of this process's `/proc/self/status`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


class Target(core.ObjBase):
    """What the daemon offers."""

    def __init__(self) -> None:
        super().__init__()
        self.value = 7
        self._go = Event()

    def echo(self, value: Any = None) -> Any:
        """Give the argument back."""
        return value

    def hold(self, value: Any = None) -> None:
        """Wait until the object is let go."""
        self._go.wait()

    def let_go(self) -> None:
        """End all calls that wait."""
        self._go.set()
        self._go = Event()

    def refuse(self) -> None:
        """Raise an error."""
        raise ValueError("refused")

    def _private(self) -> None:
        raise AssertionError("reached")


class Doctor(core.ObjBase):
    """Looks after the process; nobody hostile knows its id."""

    def __init__(self, daemon: core.Daemon) -> None:
        super().__init__()
        self._process = daemon

    def caller(self) -> list[Any]:
        """The address of who asks."""
        return list(self.getLocalStorage().caller.addr)

    def begin_measuring(self) -> None:
        """Measure the memory that Python takes from now on."""
        gc.collect()
        tracemalloc.start()

    def peak(self) -> int:
        """The most memory that was taken since, in bytes."""
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    def health(self) -> dict[str, int]:
        """What the process uses."""
        gc.collect()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "resident_kib": status("VmRSS:"),
            "most_resident_kib": status("VmHWM:"),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "connections": len(self._process.connections),
            "processor_ms": int(1000 * (usage.ru_utime + usage.ru_stime)),
        }


def main() -> None:
    """Serve until the input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends the input
    gpyro.config.PYRO_SERIALIZER = "msgpack,json"
    daemon = core.Daemon(host="127.0.0.1", port=0, norange=1)
    target, doctor = Target(), Doctor(daemon)
    daemon.connect(target, "target")
    daemon.connect(doctor)
    print(daemon.port, target.GUID(), doctor.GUID(), flush=True)
    parent = FileObject(0, "rb", closefd=False)

    def end_with_parent() -> None:
        while parent.readline():
            pass
        daemon.shutdown()
        daemon.stop(0)

    gevent.spawn(end_with_parent)
    daemon.requestLoop()


if __name__ == "__main__":
    main()
