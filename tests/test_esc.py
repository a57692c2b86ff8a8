"""gpyro-esc, in this process where the event server is, and as a process of its own."""

from __future__ import annotations

import io
import json
import signal
import socket
import sys

import gevent
import pytest

import gpyro
from gpyro import config, esc
from gpyro.esc import main
from gpyro.eventsvc import EventServiceStarter, Publisher, Subscriber
from tests.naming import free_port, name_server
from tests.programs import AS_COMMAND, program, running
from tests.support import ROOT, eventually, serving

MODULE = ("-m", "gpyro.esc")
LAUNCHER = (str(ROOT / "scripts" / "gpyro-esc"),)


@pytest.fixture
def es(env):
    starter = EventServiceStarter()
    starter.begin(port=0, useNameServer=0)
    yield starter
    starter.stop()


@pytest.fixture
def run(es, capsys):
    """Run the tool in this process; gives the exit code, the output and the errors."""

    def run(*arguments):
        capsys.readouterr()
        code = main(["-u", f"127.0.0.1:{es.uri.port}", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def said(run):
    """Likewise, but only the lines of the output; there are to be no errors."""

    def said(*arguments, code=0):
        found, out, err = run(*arguments)
        assert (found, err) == (code, "")
        return out.splitlines()

    return said


@pytest.fixture
def objects(said):
    """Likewise, but for scripts."""

    def objects(*arguments, code=0):
        return [json.loads(line) for line in said("--json", *arguments, code=code)]

    return objects


class Recorder(Subscriber):
    def __init__(self, uri, subjects=(), patterns=()):
        super().__init__(esURI=uri)
        self.got = []
        self.subscribe(subjects)
        self.subscribeMatch(patterns)

    def event(self, event):
        self.got.append((event.subject, event.msg))

    def __enter__(self):
        self.greenlet = gevent.spawn(self.listen)
        return self

    def __exit__(self, *_):
        self.abort()
        self.greenlet.get(timeout=30)


# ---- each command, for people and for scripts


def test_ping(es, said, objects):
    es.server.publish("a", 1)
    up, where = said("ping")
    assert up == "ES is up and running!"
    assert "/:Pyro.EventService, since " in where or f"{es.uri}, since " in where
    assert where.endswith(", 1 event")
    (found,) = objects("ping")
    assert 0 < found["seconds"] < 60
    assert found["events"] == 1
    assert f"127.0.0.1:{es.uri.port}/" in found["uri"]
    assert found["since"] <= es.server.info()["since"]


def test_topics(es, said, objects):
    with Recorder(es.uri, ["Quiet"], ["st"]):
        es.server.publish(["Stocks", "weather", "stocks"], 1)
        header, *rows = (line.split() for line in said("topics"))
        assert header == ["SUBJECT", "EVENTS", "LAST", "SUBSCRIBERS"]
        assert [(row[0], row[1], row[-1]) for row in rows] == [
            ("Quiet", "0", "1"),
            ("Stocks", "2", "1"),
            ("weather", "1", "0"),
        ]
        assert rows[0][2] == "-"
        quiet, stocks, weather = objects("topics")
        assert quiet == {"kind": "topic", "subject": "Quiet", "published": 0, "last": None, "subscribers": 1}
        assert stocks.pop("last") == weather["last"]
        assert stocks == {"kind": "topic", "subject": "Stocks", "published": 2, "subscribers": 1}


def test_subscribers_with_their_lag(es, said, objects):
    slow = Recorder(es.uri, ["a", "b"], ["x", "y"])  # it does not listen yet
    slow.set_queue("oldest", 3)
    for number in range(10):
        es.server.publish("a", number)
    header, row = said("subscribers")
    assert header.split("  ")[0] == "FROM"
    (found,) = objects("subscribers")
    assert found["kind"] == "subscriber"
    assert (found["waiting"], found["sent"], found["lost"]) == (3, 0, 7)
    assert found["bytes"] > 0
    assert found["delivered"] == 0
    assert (found["subjects"], found["patterns"], found["subscriptions"]) == (["a", "b"], ["x", "y"], 4)
    assert found["policy"] == "oldest"
    assert row.startswith(found["address"])
    assert row.endswith("  oldest   a, b, /x/, and 1 more")
    assert row.split()[3:8] == ["3", str(found["bytes"]), "0", "0", "7"]
    with slow:
        eventually(lambda: slow.got and slow.got[-1] == ("a", 9))
        eventually(lambda: objects("subscribers")[0]["waiting"] == 0)
    assert objects("subscribers") == []


def test_other_subscribers(es, said, objects):
    proxy = Recorder(es.uri).getES()
    proxy.subscribe("news", print)
    (found,) = objects("subscribers")
    assert found["address"] in said("subscribers")[1]
    assert found["subjects"] == ["news"]
    proxy._release()


def test_list_has_both(es, said, objects):
    with Recorder(es.uri, ["a"]):
        lines = said("list")
        assert lines[0].startswith("SUBJECT")
        assert lines[2] == ""
        assert lines[3].startswith("FROM")
        assert len(lines) == 5
        assert [one["kind"] for one in objects("list")] == ["topic", "subscriber"]


def test_lists_of_many_pages(es, objects, monkeypatch):
    monkeypatch.setattr("gpyro.event_census.TOPICS_TOGETHER", 3)
    monkeypatch.setattr("gpyro.event_census.SUBSCRIBERS_TOGETHER", 2)
    recorders = [Recorder(es.uri, f"subject {number}") for number in range(7)]
    found = objects("list")
    assert [one["subject"] for one in found[:7]] == [f"subject {number}" for number in range(7)]
    assert [one["subjects"] for one in found[7:]] == [[f"subject {number}"] for number in range(7)]
    for recorder in recorders:
        with recorder:
            pass


def test_publish(es, said, objects):
    with Recorder(es.uri, [], [".*"]) as recorder:
        assert said("publish", "a", "some text") == ["1 event published on a"]
        assert said("publish", "a") == ["1 event published on a"]
        assert said("publish", "a", "12") == ["1 event published on a"]
        assert said("--json-value", "publish", "a", '{"b": [1, null]}') == ["1 event published on a"]
        assert said("publish", "--", "-x", "-5") == ["1 event published on -x"]
        assert objects("publish", "B", "c") == [{"subject": "B", "published": 1}]
        expected = [("a", "some text"), ("a", None), ("a", "12"), ("a", {"b": [1, None]}), ("-x", "-5"), ("B", "c")]
        eventually(lambda: sorted(map(repr, recorder.got)) == sorted(map(repr, expected)))


def test_publish_what_stands_in_the_standard_input(es, said, objects, monkeypatch):
    with Recorder(es.uri, ["a"]) as recorder:
        monkeypatch.setattr("sys.stdin", io.StringIO("one\n\n three\r\nfour"))
        assert said("publish", "a", "-") == ["4 events published on a"]
        eventually(lambda: recorder.got == [("a", "one"), ("a", ""), ("a", " three"), ("a", "four")])
        recorder.got.clear()
        monkeypatch.setattr("sys.stdin", io.StringIO("1\n[2\nNaN\n\n[3]\n"))
        assert said("--json-value", "publish", "a", "-", code=1) == [
            "## can't publish:  line 2 is no JSON: Expecting ',' delimiter: line 1 column 3 (char 2)  ##",
            "## can't publish:  line 3 is no JSON: NaN is no number of JSON  ##",
            "## can't publish:  line 4 is no JSON: Expecting value: line 1 column 1 (char 0)  ##",
            "2 events published on a",
        ]
        eventually(lambda: recorder.got == [("a", 1), ("a", [3])])
        monkeypatch.setattr("sys.stdin", None)
        assert said("publish", "a", "-") == ["0 events published on a"]


def test_standard_input_that_is_no_text(run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8"))
    code, out, err = run("publish", "a", "-")
    assert (code, out) == (1, "")
    assert err.startswith("gpyro-esc: the standard input cannot be read: 'utf-8' codec can't decode byte 0xff ")
    assert err.count("\n") == 1


def test_an_event_that_the_server_refuses(env, capsys):
    config.PYRO_ES_MAXEVENT = 1024
    starter = EventServiceStarter()
    starter.begin(port=0, useNameServer=0)
    try:
        capsys.readouterr()
        assert main(["--json", "-u", str(starter.uri), "publish", "a", "x" * 2000]) == 1
        refused, published = map(json.loads, capsys.readouterr().out.splitlines())
        assert refused["subject"] == "a"
        assert "is over the 1,024 that the event server takes" in refused["error"]
        assert published == {"subject": "a", "published": 0}
    finally:
        starter.stop()


def test_nothing_that_a_terminal_would_obey_is_written(es, said):
    es.server.publish("a\x1b[31m", 1)
    assert said("topics")[1].startswith(r"a\x1b[31m  1 ")


# ---- where the event server is, and whether it lets in


def test_by_the_name_server(env, capsys):
    config.PYRO_NS_HOSTNAME = "127.0.0.1"
    with name_server(nobroadcast=True):
        capsys.readouterr()
        assert main(["ping"]) == 3
        assert capsys.readouterr().err == "There is a problem: the name server knows of no event server\n"
        starter = EventServiceStarter()
        starter.begin(port=0)
        capsys.readouterr()
        places = ["PYRONAME://:Pyro.EventService", f"PYRONAME://127.0.0.1:{config.PYRO_NS_PORT}/:Pyro.EventService"]
        for options in ([], *(["-u", place] for place in places), ["-u", f"localhost:{starter.uri.port}"]):
            assert main([*options, "--json", "publish", "a", "1"]) == 0
            assert capsys.readouterr().err == ""
        assert starter.server.info()["number"] == 4
        starter.stop()
    assert main(["ping"]) == 3
    assert capsys.readouterr().err.startswith("There is a problem: could not find NameServer on host 127.0.0.1: ")


def test_passphrases(env, tmp_path, capsys, monkeypatch):
    file = tmp_path / "passphrase"
    file.write_text("open sesame\n")
    starter = EventServiceStarter("open sesame")
    starter.begin(port=0, useNameServer=0)
    place = ["-u", str(starter.uri)]
    assert main([*place, "-i", "open sesame", "ping"]) == 0
    assert main([*place, "--identification-file", str(file), "list"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("open sesame\n"))
    assert main([*place, "--identification-file", "-", "list"]) == 0
    capsys.readouterr()
    for options in ((), ("-i", "wrong")):
        for command in ("ping", "tail"):
            assert main([*place, *options, command]) == 3
            out, err = capsys.readouterr()
            told, hint = err.splitlines()
            assert out == ""
            assert told.startswith("Could not connect to the server: security reasons: ")
            assert hint == "Supply correct authentication ID?"
    starter.stop()


@pytest.mark.parametrize("command", ["ping", "list", "publish a", "tail"])
def test_there_is_none(env, capsys, command):
    port = free_port()
    assert main(["-u", f"127.0.0.1:{port}", *command.split()]) == 3
    assert capsys.readouterr() == ("", f"There is a problem: connection failed: 127.0.0.1:{port}: Connection refused\n")


@pytest.mark.parametrize("command", ["ping", "list", "publish a", "tail"])
def test_another_object_is_no_event_server(env, capsys, command):
    class Other:
        def shrug(self):
            return None

    with serving(Other(), "other") as daemon:
        place = f"PYROLOC://127.0.0.1:{daemon.port}/other"
        assert main(["-u", place, *command.split()]) == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"There is a problem: {place} does not answer as an event server: AttributeError: ")
        assert err.count("\n") == 1
        assert main(["-u", f"127.0.0.1:{daemon.port}", *command.split()]) == 3
        assert "no object found by this name" in capsys.readouterr().err


def test_a_server_that_goes_away_meanwhile(es, capsys, monkeypatch):
    def lines():
        yield "one"
        gevent.spawn(es.stop).join()
        yield "two"

    monkeypatch.setattr(esc, "_lines", lines)
    assert main(["-u", str(es.uri), "publish", "a", "-"]) == 3
    assert "There is a problem: " in capsys.readouterr().err


# ---- arguments that cannot be used


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "gpyro-esc: these arguments do not fit together"),
        (["nonsense"], "gpyro-esc: there is no command 'nonsense'"),
        (["__init__"], "gpyro-esc: there is no command '__init__'"),
        (["--nonsense", "ping"], "gpyro-esc: "),
        (["-u", "a b", "ping"], "gpyro-esc: --uri: invalid URI format"),
        (["-u", "HTTP://a/b", "ping"], "gpyro-esc: --uri: invalid URI format"),
        (["-u", "PYRONAME://a..b", "ping"], "gpyro-esc: --uri: invalid name"),
        (["-u", "a:x", "ping"], "gpyro-esc: --uri: invalid URI format"),
        (["-i", "a", "--identification-file", "b", "ping"], "gpyro-esc: --identification and --identification-file"),
        (["-c", "0", "tail"], "gpyro-esc: --count must be a whole number from 1 to "),
        (["-c", "x", "tail"], "gpyro-esc: --count must be a whole number from 1 to "),
        (["ping", "a"], "Ping needs no args\n"),
        (["list", "a"], "List needs no args\n"),
        (["topics", "a"], "Topics needs no args\n"),
        (["subscribers", "a"], "Subscribers needs no args\n"),
        (["publish"], "Publish needs 1 or 2 args: subject value\n"),
        (["publish", "a", "b", "c"], "Publish needs 1 or 2 args: subject value\n"),
        (
            ["publish", "--identification-file", "-", "a", "-"],
            "gpyro-esc: --identification-file: the passphrase and the events cannot both be the standard input\n",
        ),
        (["publish", ""], "gpyro-esc: SUBJECT: subject 1 of 1 is empty\n"),
        (["publish", "x" * 256], "gpyro-esc: SUBJECT: the subject 'xxx"),
        (["tail", "a", ""], "gpyro-esc: SUBJECT: subject 2 of 2 is empty\n"),
        (["tail", "-m", "(a"], "gpyro-esc: SUBJECT: the pattern '(a' is no regular expression: "),
        (["tail", "-m", "(a+)+"], "gpyro-esc: SUBJECT: the pattern '(a+)+' may take too much time: "),
    ],
)
def test_unusable_arguments(arguments, told, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(told)


def test_help_and_version(capsys):
    assert main(["help"]) == 0
    text = capsys.readouterr().out
    for command in esc._COMMANDS:
        assert f"\n  {command} " in text
    assert max(map(len, text.splitlines())) <= 90
    with pytest.raises(SystemExit) as ended:
        main(["-h"])
    assert not ended.value.code
    assert capsys.readouterr().out.strip() == text.strip()
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"gpyro {gpyro.constants.VERSION}\n"


def test_every_command_is_documented():
    page = (ROOT / "docs" / "events.md").read_text()
    for command in esc._COMMANDS:
        assert f"| `{command}" in page
    assert "scripts/gpyro-esc\n" in (ROOT / "setup.cfg").read_text()


# ---- as a process


@pytest.mark.parametrize("how", [MODULE, LAUNCHER], ids=["module", "launcher"])
def test_ctrl_c_ends_a_tail(env, es, how):
    with program(AS_COMMAND, *how, "-u", str(es.uri), "tail", "stocks", environment=env) as tail:
        assert tail.line().endswith("  tailing stocks")
        es.server.publish("Stocks", "up")
        assert tail.line().endswith("  Stocks  up")
        tail.send_signal(signal.SIGINT)
        assert tail.end() == (130, "", "")
        eventually(lambda: not es.server.subscribers())


def test_a_tail_outlives_an_event_server_that_is_killed(env):
    port = str(free_port())
    server = (sys.executable, "-m", "gpyro.eventsvc", "-N", "-p", port)

    def told():
        return json.loads(tail.line())

    with running(server, env) as first:
        while first.line() != "Event Server started.":
            pass
        with program(AS_COMMAND, *MODULE, "--json", "-u", f"127.0.0.1:{port}", "tail", "a", environment=env) as tail:
            assert told()["event"] == "tailing"
            Publisher(esURI=f"PYROLOC://127.0.0.1:{port}/:Pyro.EventService").publish("a", 1)
            assert told()["msg"] == 1
            first.kill()
            assert told()["event"] == "lost"
            with running(server, env) as second:
                found = [told(), told()]
                assert sorted(one["event"] for one in found) == ["back", "missed"]
                assert [one["count"] for one in found if one["event"] == "missed"] == [None]
                Publisher(esURI=f"PYROLOC://127.0.0.1:{port}/:Pyro.EventService").publish("a", 2)
                assert told()["msg"] == 2
                second.send_signal(signal.SIGTERM)
                second.ended_well()
            tail.send_signal(signal.SIGINT)
            code, _, err = tail.end()
            assert (code, err) == (130, "")


@pytest.mark.parametrize("how", [MODULE, LAUNCHER], ids=["module", "launcher"])
def test_nobody_reads_a_tail_any_more(env, es, how):
    with program(AS_COMMAND, *how, "-u", str(es.uri), "tail", environment=env) as tail:
        tail.line()
        tail.process.stdout.close()  # and no event comes
        eventually(lambda: tail.process.poll() is not None, 30)
        assert tail.process.returncode == 141
        assert tail.process.stderr.read() == ""
        tail.process.stdout = None


def test_a_tail_into_a_file(env, es, tmp_path):
    (tmp_path / "out").touch()
    into = f"import os\nos.dup2(os.open({str(tmp_path / 'out')!r}, os.O_WRONLY), 1)\n"
    with program(into + AS_COMMAND, *MODULE, "-u", str(es.uri), "-c2", "tail", environment=env) as tail:
        eventually(lambda: es.server.subscribers(), 30)
        es.server.publish("a", 1)
        es.server.publish("a", 2)
        assert tail.end() == (0, "", "")
    assert [line[21:] for line in (tmp_path / "out").read_text().splitlines()] == ["tailing /.*/", "a  1", "a  2"]


def test_lines_are_published_as_they_come(env, es):
    command = program(AS_COMMAND, *LAUNCHER, "-u", str(es.uri), "publish", "a", "-", environment=env)
    with Recorder(es.uri, ["a"]) as recorder, command as publish:
        publish.say("one")
        eventually(lambda: recorder.got == [("a", "one")], 30)
        publish.say("two")
        eventually(lambda: recorder.got == [("a", "one"), ("a", "two")], 30)
        publish.end_input()
        assert publish.ended_well() == "2 events published on a\n"


def test_ctrl_c_ends_who_waits_for_input(env, es):
    with program(AS_COMMAND, *MODULE, "-u", str(es.uri), "publish", "a", "-", environment=env) as publish:
        publish.say("one")
        eventually(lambda: es.server.info()["number"] == 1, 30)
        publish.send_signal(signal.SIGINT)
        assert publish.end() == (130, "", "")


def test_output_that_cannot_be_written(env, es):
    full = "import os\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
    for command in ("ping", "tail"):
        with program(full + AS_COMMAND, *MODULE, "-u", str(es.uri), command, environment=env) as tool:
            error = "gpyro-esc: the output cannot be written: No space left on device\n"
            assert tool.end() == (1, "", error)


def test_a_server_that_never_answers(env, monkeypatch, capsys):
    monkeypatch.setattr(esc, "CALL_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for command in ("ping", "tail"):
            assert main(["-u", f"127.0.0.1:{silent.getsockname()[1]}", command]) == 3
            out, err = capsys.readouterr()
            assert out == ""
            assert err.startswith("There is a problem: ")
            assert err.count("\n") == 1
