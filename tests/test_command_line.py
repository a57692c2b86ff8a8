from __future__ import annotations

import io
import signal

import gevent
import pytest

from gpyro.command_line import UsageError, ended_by_signals, host, identification, run_tool, whole_number
from gpyro.errors import PyroError
from tests.programs import program

TEXT = """A tool.

Usage:
  tool [options]

  -n HOST --host=HOST      a value
  -d [DIR] --database=[DIR]  a value that may be left out, as far as it is
                           explained
  -1 [LOCATION] --primary=[LOCATION]  likewise
  -k --keep                a flag
  -v --verbose             another
  -h --help                this text
"""


def parsed(capsys, *words):
    found = {}
    code = run_tool("tool", TEXT, words, lambda options: found.update(options) or 0)
    assert capsys.readouterr().out == ""
    return {name: value for name, value in found.items() if value} if code == 0 else code


@pytest.mark.parametrize(
    ("words", "database"),
    [
        ("", None),
        ("-d", ""),
        ("-d here", "here"),
        ("-dhere", "here"),
        ("--database", ""),
        ("--database here", "here"),
        ("--database=here", "here"),
        ("--database=", ""),
        ("-d -k", ""),
        ("-kd", ""),
        ("-kd here -v", "here"),
        ("-kvdhere", "here"),
        ("-n -d", None),
        ("--host -d", None),
        ("--host=x -d", ""),
        ("-nd", None),
        ("-kn -d", None),
    ],
)
def test_values_that_may_be_left_out(words, database):
    found = []
    assert run_tool("tool", TEXT, words.split(), lambda options: found.append(options) or 0) == 0
    assert found[0]["--database"] == database
    assert found[0]["--primary"] is None
    assert found[0]["--keep"] == ("k" in words)


def test_options_that_are_digits(capsys):
    assert parsed(capsys, "-1", "host:5", "-k") == {"--primary": "host:5", "--keep": True}
    assert parsed(capsys, "-1host:5") == {"--primary": "host:5"}
    assert parsed(capsys, "-k", "-1") == {"--keep": True}


@pytest.mark.parametrize(
    "words", [["-z"], ["stray"], ["-d", "a", "b"], ["-k", "-k"], ["-d", "-d"], ["--", "-d"], ["-"], ["--no"]]
)
def test_arguments_that_do_not_fit_show_the_usage(capsys, words):
    assert run_tool("tool", TEXT, words, pytest.fail) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "tool: these arguments do not fit together\nUsage:\n  tool [options]\n\ntool --help tells more.\n"
    ).replace("\n\n", "\n")


@pytest.mark.parametrize(
    ("words", "told"), [(["-n"], "-n requires argument"), (["--keep=1"], "--keep must not have an argument")]
)
def test_a_value_too_few_or_too_many(capsys, words, told):
    assert run_tool("tool", TEXT, words, pytest.fail) == 2
    assert capsys.readouterr().err.startswith(f"tool: {told}\nUsage:")


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("wh at"), 2), (PyroError("wh\nat"), 1), (OSError("wh at"), 1), (KeyboardInterrupt(), 130)],
)
def test_errors_are_one_line(capsys, error, code):
    def fail(options):
        raise error

    assert run_tool("tool", TEXT, [], fail) == code
    assert capsys.readouterr() == ("", "" if code == 130 else "tool: wh at\n")


def test_help_and_version(capsys):
    with pytest.raises(SystemExit) as ended:
        run_tool("tool", TEXT, ["-h"], pytest.fail)
    assert not ended.value.code
    assert capsys.readouterr().out == TEXT


def test_output_that_nobody_reads():
    code = f"""
        import sys
        from gpyro.command_line import run_tool
        sys.stdin.readline()
        sys.exit(run_tool("tool", {TEXT!r}, [], lambda options: print("hello") or 5))
    """
    with program(code, environment={"PYTHONUNBUFFERED": ""}) as tool:
        tool.process.stdout.close()
        tool.say("go")
        assert tool.process.wait(30) == 5
        assert tool.process.stderr.read() == ""


def test_whole_numbers():
    assert whole_number({"--port": "5"}, "--port", 0, 9) == 5
    assert whole_number({"--port": None}, "--port", 0, 9) is None
    for text in ("10", "-1", "", "x", "1.0"):
        with pytest.raises(UsageError, match=rf"^--port must be a whole number from 0 to 9, not '{text}'$"):
            whole_number({"--port": text}, "--port", 0, 9)


def test_hosts():
    assert host({"--host": "a.example"}, "--host") == "a.example"
    assert host({"--host": None}, "--host") is None
    for text in ("", "a b", "a/b", "[::1]"):
        with pytest.raises(UsageError, match=r"^--host: invalid address"):
            host({"--host": text}, "--host")


class TestIdentification:
    def read(self, passphrase=None, path=None):
        return identification({"--identification": passphrase, "--identification-file": path and str(path)})

    def test_of_the_command_line(self):
        assert self.read() is None
        assert self.read("open sesame") == "open sesame"
        for bad in ("", "a\tb", "x" * 200):
            with pytest.raises(UsageError, match=r"^--identification: ") as error:
                self.read(bad)
            assert not bad or bad not in str(error.value)

    def test_of_a_file(self, tmp_path):
        path = tmp_path / "passphrase"
        path.write_text("open sesame \r\n")
        assert self.read(path=path) == "open sesame "
        path.write_text("ali\nopen sesame")
        assert self.read(path=path) == ("ali", "open sesame")
        for text, lines in (("", 0), ("a\nb\nc\n", 3)):
            path.write_text(text)
            with pytest.raises(UsageError, match=rf"{path} has {lines} lines: expected is"):
                self.read(path=path)
        with pytest.raises(UsageError, match="two ways"):
            self.read("open sesame", path)
        path.write_text("\nsecond")
        with pytest.raises(UsageError, match=r"^--identification-file: a "):
            self.read(path=path)
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(UsageError, match=r"^--identification-file: .*passphrase cannot be read: it is no text"):
            self.read(path=path)
        for where in (tmp_path, tmp_path / "none"):
            with pytest.raises(UsageError, match=rf"^--identification-file: {where} cannot be read: .* directory"):
                self.read(path=where)

    def test_of_the_standard_input(self, monkeypatch):
        monkeypatch.setattr("sys.stdin", io.StringIO("open sesame\n"))
        assert self.read(path="-") == "open sesame"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_ask_for_the_end(number):
    asked, over = [], gevent.event.Event()

    def stop(came):
        asked.append((came, gevent.getcurrent() is gevent.get_hub()))
        over.set()
        return True

    with ended_by_signals(stop) as came:
        signal.raise_signal(number)
        assert not asked
        assert over.wait(5)
    assert (asked, came) == ([(number, True)], [number])


def test_a_second_signal_breaks_off():
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with ended_by_signals(lambda number: True) as came:
        signal.raise_signal(signal.SIGTERM)
        gevent.sleep(0.001)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            gevent.sleep(30)
    assert came == [signal.SIGTERM, signal.SIGINT]
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_what_cannot_be_asked_is_broken_off():
    with ended_by_signals(lambda number: False):
        gevent.spawn(signal.raise_signal, signal.SIGINT)  # amid another greenlet
        with pytest.raises(KeyboardInterrupt):
            gevent.sleep(30)


def test_a_signal_that_came_at_the_very_end_does_no_harm():
    with ended_by_signals(pytest.fail) as came:
        signal.raise_signal(signal.SIGINT)
    gevent.sleep(0.001)
    assert came == [signal.SIGINT]
