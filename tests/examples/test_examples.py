"""The examples run, and say what their READMEs promise."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterator

import pytest

from tests.programs import Program, program
from tests.support import ROOT

EXAMPLES = ROOT / "examples"
NAMES = ("attributes", "bank", "chat", "login", "oneway", "ownloop", "reconnect", "sessions", "simple")


def run(
    name: str, part: str, *arguments: str, port: str = "0", **items: str
) -> contextlib.AbstractContextManager[Program]:
    """A part of an example as a program of its own, in the example's directory."""
    path = EXAMPLES / name / f"{part}.py"
    code = (
        f"import os, runpy, sys\nos.chdir({str(path.parent)!r})\nsys.path.insert(0, '.')\nsys.argv[0] = {path.name!r}\n"
    )
    environment = {"GPYRO_PORT": port, **{f"GPYRO_{item}": value for item, value in items.items()}}
    return program(f"{code}runpy.run_path({path.name!r}, run_name='__main__')", *arguments, environment=environment)


def port_of(uri: str) -> str:
    return uri.rpartition("/")[0].rpartition(":")[2]


@contextlib.contextmanager
def served(name: str, **items: str) -> Iterator[tuple[Program, str]]:
    """The server of an example, which Ctrl-C ends at last, and the port that it has."""
    with run(name, "server", **items) as server:
        port = port_of(server.line())
        yield server, port
        server.send_signal(signal.SIGINT)
        server.ended_well()


def outcome(name: str, **items: str) -> list[str]:
    """What the client of an example says."""
    with served(name, **items) as (_, port), run(name, "client", port=port) as client:
        return client.ended_well().splitlines()


def test_there_are_no_others_and_each_is_listed():
    there = {path.parent.name for path in EXAMPLES.glob("*/README.md")}
    assert there == {*NAMES, "webapp"}
    assert set(re.findall(r"\| \[(\w+)\]\(\1\)", (EXAMPLES / "README.md").read_text())) == there
    for name in NAMES:
        assert {path.name for path in (EXAMPLES / name).iterdir() if path.is_file()} >= {"server.py", "client.py"}


def test_simple():
    assert outcome("simple") == [
        "thermometer says 18 degrees",
        "clock says it is noon",
        "auckland says it is midnight in Auckland",
    ]


def test_attributes():
    assert outcome("attributes") == [
        "the sum is 60",
        "rent, after changing a copy: [400]",
        "rent, after a method did it: [400, 450]",
        "all of ['rent'] came for [400, 450]",
        "for a plain proxy every name is a method: True",
    ]


def test_bank():
    with served("bank") as (server, port), run("bank", "client", port=port) as client:
        assert client.ended_well().splitlines() == [
            "ann has 70 and bob has 30",
            "refused: bob is short of 20 - missing 20",
            "raised in withdraw on the server",
            "refused: ann has an account",
            "the statement begins with ann: 70",
            "the account is closed",
        ]
        assert server.line() == "a statement that nobody reads is gone"


def test_chat():
    with served("chat") as (_, port), run("chat", "client", "ann", port=port) as ann:
        assert ann.line() == "(room): ann is here"
        with run("chat", "client", "bob", port=port) as bob:
            assert ann.line() == bob.line() == "(room): bob is here"
            bob.say("hello")
            assert ann.line() == bob.line() == "bob: hello"
            ann.say("hello yourself")
            assert ann.line() == bob.line() == "ann: hello yourself"
            bob.say("")
            # Whether it still hears of its own leaving is a matter of luck.
            assert bob.ended_well() in ("", "(room): bob has left\n")
        assert ann.line() == "(room): bob has left"
        ann.send_signal(signal.SIGINT)
        ann.ended_well()


def test_login():
    assert outcome("login") == [
        "bob reads from ann: shall we have lunch?",
        "not let in: security reasons: the identification is not accepted",
    ]


def test_sessions():
    with served("sessions") as (server, port), run("sessions", "client", port=port) as client:
        assert client.ended_well().splitlines() == [
            "ann's basket has 2",
            "bob's basket has 2",
            "ann pays 7",
            "bob's new basket has 1",
        ]
        assert [server.line() for _ in range(3)] == ["a new client, from 127.0.0.1"] * 3


@pytest.mark.parametrize("threaded", ["1", "0"])
def test_oneway(threaded):
    left, first, last = outcome("oneway", ONEWAY_THREADED=threaded)
    assert left == "left the film, got None"
    if threaded == "1":
        assert first in ("first look: 0 pictures", "first look: 1 pictures", "first look: 2 pictures")
    else:
        assert first == "first look: 3 pictures"
    assert last == "all there: holiday 0, holiday 1, holiday 2"


def test_reconnect():
    with run("reconnect", "server") as server:
        port = port_of(server.line())
        with run("reconnect", "client", port=port) as client:
            assert client.line() == "counted 1"
            server.send_signal(signal.SIGINT)
            server.ended_well()
            while (line := client.line()).startswith("counted"):
                pass
            assert line.startswith("the server is gone; the call ")
            with run("reconnect", "server", port=port) as again:
                assert port_of(again.line()) == port
                assert client.ended_well().splitlines() == [
                    "counted 1",
                    "the server is back, and counts from the beginning",
                ]


def test_ownloop():
    with run("ownloop", "server") as server:
        uris = server.line(), server.line()
        with run("ownloop", "client", *uris, server.line().rpartition(" ")[2]) as client:
            assert client.ended_well() == "it is up, for seconds: True\n"
        assert server.line() == "received good morning"
        assert server.ended_well() == "stopped\n"
