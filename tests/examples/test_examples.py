"""The examples run, and say what their READMEs promise."""

from __future__ import annotations

import contextlib
import itertools
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.naming import environment
from tests.programs import Program, program
from tests.support import ROOT

EXAMPLES = ROOT / "examples"
PARTS = {
    **{
        name: {"server.py", "client.py"}
        for name in ("attributes", "chat", "login", "oneway", "ownloop", "reconnect", "sessions", "simple", "chatrooms")
    },
    "bank": {"server.py", "client.py", "bank.py"},
    "allinone": {"shop.py", "threads.py", "greenlets.py", "oneloop.py"},
    "stocks": {"server.py", "market.py", "ticker.py"},
}


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
        while not (line := server.line()).startswith("PYRO://"):  # an event server speaks first
            pass
        port = port_of(line)
        yield server, port
        server.send_signal(signal.SIGINT)
        server.ended_well()


def outcome(name: str, **items: str) -> list[str]:
    """What the client of an example says."""
    with served(name, **items) as (_, port), run(name, "client", port=port) as client:
        return client.ended_well().splitlines()


def test_there_are_no_others_and_each_is_listed():
    there = {path.parent.name for path in EXAMPLES.glob("*/README.md")}
    assert there == {*PARTS, "webapp"}
    assert set(re.findall(r"\| \[(\w+)\]\(\1\)", (EXAMPLES / "README.md").read_text())) == there
    for name, parts in PARTS.items():
        assert {path.name for path in (EXAMPLES / name).glob("*.py")} == parts


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


WAYS = ("threads", "greenlets", "oneloop")


@pytest.fixture
def names(tmp_path: Path) -> dict[str, str]:
    """Where the name server of the example and its clients are to be."""
    # Names outlive any pause of this machine, and no search for the name server is over because of one.
    items = environment(tmp_path, PYRO_NS_LEASE=60.0, PYRO_NS_HOSTNAME="127.0.0.1")
    return {name.removeprefix("GPYRO_"): value for name, value in items.items()}


def begin(part: Program) -> list[str]:
    """What the program prints until all is there."""
    lines = [part.line()]
    while lines[-1] != "all is there":
        lines.append(part.line())
    return lines


def last_words(way: str) -> list[str]:
    servers = ["Event Server gracefully stopped.", "Name Server gracefully stopped."]
    return [*(servers if way == "threads" else ()), "the end"]


@pytest.mark.parametrize("way", WAYS)
def test_all_in_one_ends_when_all_is_sold(way, names):
    with run("allinone", way, "4", **names) as part:
        before = begin(part)
        assert before.index("Name Server started.") < before.index("Event Server started.")
        said = part.ended_well().splitlines()
    fruit = ["apple 1", "pear 2", "apple 3", "pear 4"]
    assert [line for line in said if line.startswith("listener")] == [f"listener: sales.{one}" for one in fruit]
    answers = [line for line in said if line.startswith("customer")]
    assert answers == [f"customer: {one.replace(' ', ' number ')}" for one in fruit]
    assert said[8:] == last_words(way)


@pytest.mark.parametrize("way", WAYS)
def test_all_in_one_serves_others_until_ctrl_c(way, names):
    with run("allinone", way, "0", **names) as part:
        begin(part)
        for number in (1, 2):
            with run("allinone", "shop", **names) as customer:
                assert customer.ended_well() == f"customer: apple number {number}\n"
            assert part.line() == f"listener: sales.apple {number}"
        part.send_signal(signal.SIGINT)
        assert part.ended_well().splitlines() == ["Ctrl-C", *last_words(way)]


def test_all_in_one_says_so_when_a_part_cannot_start(names):
    with run("allinone", "threads", "0", **names) as first:
        begin(first)
        with run("allinone", "threads", "0", **names) as second:
            code, out, err = second.end()
            assert code == 1
            assert "already running" in out
            assert "Cannot start multiple Name Servers" in err
            assert err.endswith("it could not be started\n")
        first.send_signal(signal.SIGINT)
        first.ended_well()


def test_stocks():
    rounds, symbols = 12, 9
    with run("stocks", "server") as server, contextlib.ExitStack() as started:
        port = port_of([server.line() for _ in range(4)][1])
        tickers = [
            started.enter_context(run("stocks", "ticker", *arguments, port=port))
            for arguments in (
                ("Food.Bread", "machines.cogs", "food.beer"),
                ("--match", "energy\\.", "wheels"),
                ("--slow", "--match", ".*"),
            )
        ]
        assert [ticker.line() for ticker in tickers] == ["listening"] * 3
        with run("stocks", "market", str(rounds), port=port) as market:
            assert market.ended_well() == f"published {rounds * symbols} quotes\n"
        by_subject, by_pattern, slow = (ticker.ended_well().splitlines() for ticker in tickers)
        server.send_signal(signal.SIGINT)
        server.ended_well()
    for lines, companies in (
        (by_subject, ("food.bread", "machines.cogs")),
        (by_pattern, ("energy.coal", "energy.sun", "energy.wind")),
    ):
        assert lines.pop() == f"the market is closed: {rounds * len(companies)} quotes seen, 0 missed"
        assert Counter(line.split()[0] for line in lines) == dict.fromkeys(companies, rounds)
        for company in companies:
            quotes = [line.split()[1:] for line in lines if line.startswith(company)]
            prices = [100.0, *(float(price) for price, _ in quotes)]
            assert [f"({new - old:+.2f})" for old, new in itertools.pairwise(prices)] == [
                change for _, change in quotes
            ]
    seen, missed = (int(text) for text in re.findall(r"\d+", slow.pop()))
    assert missed > 0
    assert seen + missed == rounds * symbols
    gaps = [line for line in slow if "missed" in line]
    assert sum(int(line.split()[0]) for line in gaps) == missed
    assert "the subscriber was too slow" in gaps[0]
    assert slow[-1].startswith("machines.wheels")  # the newest came


def test_chatrooms():
    with served("chatrooms") as (_, port), contextlib.ExitStack() as started:

        def guest(name: str, room: str) -> Program:
            return started.enter_context(run("chatrooms", "client", name, room, port=port))

        ann = guest("ann", "garden")
        assert ann.line() == "you are in garden, with ann"
        with run("chatrooms", "client", "ann", "garden", port=port) as second:
            assert second.end()[::2] == (1, "there is a ann in garden already\n")
        bob = guest("bob", "garden")
        assert bob.line() == "you are in garden, with ann, bob"
        assert ann.line() == "[garden] bob: is here"
        bob.say("hello")
        assert ann.line() == bob.line() == "[garden] bob: hello"
        bob.say("/enter kitchen")
        assert bob.line() == "you are in kitchen, with bob"
        bob.say("is anybody here?")
        assert bob.line() == "[kitchen] bob: is anybody here?"
        ann.say("hello yourself")  # what was said in the kitchen did not get here
        assert ann.line() == bob.line() == "[garden] ann: hello yourself"
        bob.say("/leave garden")
        assert ann.line() == "[garden] bob: has left"
        assert bob.line() == "you have left garden"
        ann.say("/enter kitchen")
        assert ann.line() == "you are in kitchen, with ann, bob"
        assert bob.line() == "[kitchen] ann: is here"
        bob.kill()
        ann.say("/guests")
        while (line := ann.line()) == "ann bob":  # the server has not looked yet
            ann.say("/guests")
        assert sorted((line, ann.line())) == ["[kitchen] bob: has left", "ann"]
        ann.say("/enter kitchen")
        assert ann.line() == "you cannot do that now"
        ann.say("")
        assert ann.ended_well().splitlines() == ["you have left garden", "you have left kitchen"]


def test_chatrooms_without_a_chat_box():
    with contextlib.ExitStack() as started:
        with served("chatrooms") as (_, port):
            ann = started.enter_context(run("chatrooms", "client", "ann", "garden", port=port))
            assert ann.line() == "you are in garden, with ann"
        refused = f"connection failed: localhost:{port}: Connection refused"
        ann.say("are you there?")
        assert ann.line() == refused
        ann.send_signal(signal.SIGINT)
        assert ann.end()[:2] == (0, "")
        with run("chatrooms", "client", "bob", "garden", port=port) as bob:
            assert bob.end() == (1, "", f"{refused}\n")
    with run("chatrooms", "client", "bob") as bob:
        code, _, err = bob.end()
        assert (code, "python client.py NAME ROOM" in err) == (1, True)
