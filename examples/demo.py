"""Calls to an object in another process that is found by its name: a value, an exception, an attribute, a load.

    python examples/demo.py [SECONDS OF LOAD]

It starts a name server and an echo server of its own, at ports that are free, and ends them again. Exit code 0 when
everything came out as it should.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory, TemporaryFile
from textwrap import indent
from typing import IO

import gevent

from gpyro import core
from gpyro.errors import PyroError
from gpyro.naming import NameServerProxy
from gpyro.test.load import Load, Progress
from gpyro.test.signals import signals_call

STOP_SECONDS = 10
GREENLETS = 1000


class DemoError(Exception):
    """Something did not come out as it should."""


@contextmanager
def process(what: str, command: list[str], items: dict[str, str], log: IO[str], last: str) -> Iterator[dict[str, str]]:
    """Run a server as a child process, which is gone afterwards.

    Args:
        what: it is.
        command: its command line, behind that of Python.
        items: of its configuration.
        log: where it logs to.
        last: how the last line begins that it prints before it serves.

    Returns:
        What it printed until then: what stood before the first colon of each line, and what stood behind.
    """
    command = [sys.executable, *command]
    environment = os.environ | {f"G{name}": value for name, value in items.items()}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, process_group=0, env=environment
    ) as server:
        try:
            assert server.stdout is not None
            told = {}
            for line in server.stdout:
                print("    " + line, end="", flush=True)
                key, _, value = line.partition(": ")
                told[key] = value.strip()
                if line.startswith(last):
                    break
            else:
                log.seek(0)
                raise DemoError(f"the {what} ended before it was running: {log.read()}")
            yield told
            server.terminate()
            if server.wait(STOP_SECONDS) != 0:
                raise DemoError(f"the {what} ended with code {server.returncode}")
        finally:
            if server.poll() is None:
                server.terminate()
                try:
                    server.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    server.kill()


@contextmanager
def name_server(directory: str) -> Iterator[core.PyroURI]:
    """Run a name server, which keeps its files in this directory; gives where it is."""
    run = "NameServerStarter().start(hostname='localhost', nsport=0, dontlookupother=1, nobroadcast=True)"
    command = ["-c", f"from gpyro.naming import NameServerStarter; {run}"]
    with (
        TemporaryFile("w+") as log,
        process("name server", command, {"PYRO_STORAGE": directory}, log, "Name Server started") as told,
    ):
        yield core.PyroURI(told["URI is"])


@contextmanager
def echo_server(names: core.PyroURI, directory: str, log: IO[str]) -> Iterator[str]:
    """Run an echo server that registers itself at this name server; gives a URI that tells no more than its name."""
    items = {"PYRO_STORAGE": directory, "PYRO_NS_HOSTNAME": names.address, "PYRO_NS_PORT": str(names.port)}
    command = ["-m", "gpyro.test.echoserver", "--naming"]
    with process("echo server", command, items, log, "echoserver running") as told:
        yield told["PYRONAME URI"]


def show(title: str) -> None:
    """Print a headline."""
    print(f"\n{title}", flush=True)


def check(right: bool, what: str) -> None:
    """Stop the demo unless `right`."""
    if not right:
        raise DemoError(what)


def name(uri: str, ns: NameServerProxy) -> None:
    """The name leads to the object, wherever that is."""
    show("Its name is all that a client needs")
    for registered, where in ns.flatlist():
        print(f"    {registered:<25}{where}")
    echo = core.getProxyForURI(uri)
    check(echo.echo("found") == "found", "the object was not found by its name")
    print(f"    {uri} leads to it")


def gone(ns: NameServerProxy) -> None:
    """A server that ends takes its names with it."""
    show("The echo server has ended, and its name is gone")
    left = [registered for registered, _ in ns.flatlist()]
    print("    " + ", ".join(left))
    check(not any("echoserver" in registered for registered in left), "the name of the echo server is still there")


def value(uri: str) -> None:
    """A value goes there and comes back as what it was."""
    show("A value")
    echo = core.getProxyForURI(uri)
    sent = {"name": "gpyro", "pair": (1, 2.5), "set": {"a"}, "bytes": b"\x00\xff", "big": 2**100}
    answer = echo.echo(sent)
    print(f"    sent     {sent}\n    returned {answer}")
    check(answer == sent and type(answer["pair"]) is tuple, "the value came back changed")


def exception(uri: str, log: IO[str]) -> None:
    """An exception of the remote method arrives as itself and shows where it happened, and the server logs it."""
    show("An exception, with the traceback of the server")
    echo = core.getProxyForURI(uri)
    try:
        echo.error()
    except ZeroDivisionError as error:
        text = "".join(traceback.format_exception_only(error))
        print(indent(text.rstrip(), "    "))
        check("echoserver.py" in text, "the exception came without the remote traceback")
    else:
        raise DemoError("no exception came")
    log.seek(0)
    logged = [line.strip() for line in log if "raised ZeroDivisionError" in line]
    check(bool(logged), "the server did not log the exception")
    print(f"    and in the server's log: {logged[0]}, ...")


def attribute(uri: str) -> None:
    """Through an attribute proxy, attributes are read and written."""
    show("An attribute")
    echo = core.getAttrProxyForURI(uri)
    before = echo.sum
    echo.sum = echo.sum + 1
    print(f"    sum was {before}; after echo.sum = echo.sum + 1 it is {echo.sum}")
    check(echo.sum == before + 1, "the attribute did not change")


def greenlets(uri: str) -> None:
    """Many greenlets share one proxy; their calls overlap."""
    show(f"{GREENLETS:,} greenlets through one proxy")
    echo = core.getProxyForURI(uri)
    answers: dict[int, object] = {}

    def ask(number: int) -> None:
        try:
            answers[number] = echo.echo(number)
        except PyroError as error:
            answers[number] = error

    start = time.perf_counter()
    gevent.joinall([gevent.spawn(ask, number) for number in range(GREENLETS)], timeout=60)
    took = time.perf_counter() - start
    wrong = [number for number in range(GREENLETS) if answers.get(number) != number]
    check(
        not wrong, f"{len(wrong)} answers are missing or wrong, the first: {answers.get(wrong[0]) if wrong else None}"
    )
    print(f"    {GREENLETS:,} right answers in {took * 1000:.0f} ms")


def load(uri: str, seconds: float) -> bool:
    """As many calls as go, from 64 greenlets; whether a signal cut it short."""
    show(f"Load: 64 callers for {seconds:g} s")
    echo = core.getProxyForURI(uri)
    payload = {"id": 12345, "name": "gpyro", "tags": ["a", "b", "c"], "ratio": 0.25}
    progress = Progress(seconds)
    try:
        run = Load([lambda: echo.echo(payload)] * 64, payload)
        with signals_call(run.stop, signal.SIGINT, signal.SIGTERM) as came:
            result = run.run(seconds, progress=progress)
    finally:
        progress.close()
    print(indent(str(result), "    "))
    interrupted = bool(came)  # it may be before the first answer
    some = result.calls > 0 or interrupted
    check(some and not result.errors and not result.given_up, "not every call was answered right")
    return interrupted


def main() -> int:
    """Run it all; the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same as Ctrl-C: end the server, too
    try:
        seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
        with TemporaryDirectory() as directory, TemporaryFile("w+") as log:
            show("A name server in a process of its own")
            with name_server(directory) as names:
                ns = NameServerProxy(names)
                show("An echo server in another one, which registers itself there")
                with echo_server(names, directory, log) as uri:
                    name(uri, ns)
                    value(uri)
                    exception(uri, log)
                    attribute(uri)
                    greenlets(uri)
                    interrupted = load(uri, seconds)
                gone(ns)
                ns._release()
        if interrupted:
            return 130
    except (DemoError, PyroError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        print(f"demo failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\nAll as it should be.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
