"""The tool that walks from a URI to its object: what it prints, its arguments, and its end."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import gevent
import pytest

from gpyro import checkup, doctor
from gpyro.wire.frames import MAGIC, Kind, pack_text
from tests.doctors import SECRET, Thing, answering, ask, listener, welcoming
from tests.support import ROOT, serving, uri_of

# ---- all is well


def test_all_is_well_with_an_object():
    with serving(thing := Thing(), "thing") as daemon:
        answer = ask(uri_of(daemon, thing))
        assert (answer.code, answer.told["ok"]) == (0, True)
        assert answer.statuses == ["skipped", "warning", "ok", "ok", "ok", "ok"]
        assert "loopback" in answer.steps["address"]["hint"]
        assert "PYRO_PUBLISHHOST" in answer.steps["address"]["hint"]
        assert re.search(r"127\.0\.0\.1 port \d+: connected after [\d.]+ ms", answer.steps["connect"]["text"])
        assert "gpyro/" in answer.steps["hello"]["text"]
        assert "median of 10 round trips" in answer.steps["time"]["text"]


def test_all_is_well_with_a_name_of_a_daemon():
    with serving(thing := Thing(), "thing") as daemon:
        answer = ask(f"PYROLOC://localhost:{daemon.port}/thing")
        assert answer.code == 0
        assert uri_of(daemon, thing).objectID in answer.steps["object"]["text"]


def test_as_text(capsys):
    with serving(thing := Thing(), "thing") as daemon:
        uri = uri_of(daemon, thing)
        assert doctor.main([str(uri)]) == 0
        first, *lines = capsys.readouterr().out.splitlines()
        assert first == str(uri)
        assert [line[:17].split() for line in lines if line[0] != " "] == [
            ["name", "skipped"],
            ["address", "warning"],
            ["connect", "ok"],
            ["hello", "ok"],
            ["object", "ok"],
            ["time", "ok"],
        ]
        assert sum(line.startswith(" " * 18 + "hint: ") for line in lines) == 1
        daemon.disconnect(thing)
        assert doctor.main([str(uri)]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert "object   FAILED   the server does not know the object" in "\n".join(lines)
        assert lines[-1].startswith("time     skipped")


def test_what_peers_say_is_not_printed_raw(capsys):
    evil = "\x1b[31m\x9b5m\u202e\nok"
    with listener(answering(MAGIC + pack_text(Kind.REFUSED, 0, evil))) as uri:
        assert doctor.main([uri]) == 1
    with listener(welcoming(pack_text(Kind.REJECTED, 3, evil, 1, 1), agent=evil)) as uri:
        assert doctor.main([uri]) == 1
    out = capsys.readouterr().out
    assert "[31m" in out
    assert all(character.isprintable() for character in out.replace("\n", ""))
    assert not any(line.startswith("ok") for line in out.splitlines())


# ---- arguments, and the end


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nonsense"], "no URI"),
        (["PYRO://host:99999/x"], "99999"),
        (["PYRO://"], "invalid URI format"),
        (["PYROSSL://host/x"], "PYROSSL"),
        (["PYRONAME://a b"], "a b"),
        (["PYRO://h/\x1b[31m"], "PYRO"),
        (["--timeout", "0", "PYRO://h/x"], "--timeout"),
        (["--timeout", "nan", "PYRO://h/x"], "--timeout"),
        (["--timeout", "x", "PYRO://h/x"], "--timeout"),
        (["-i", "", "PYRO://h/x"], "--identification: a passphrase has"),
        (["--identification-file", "/nonexistent/file", "PYRO://h/x"], "No such file"),
        (["--identification-file", "/dev/null", "PYRO://h/x"], "0 lines"),
    ],
)
def test_arguments_that_cannot_be_used_are_one_clear_line(capsys, arguments, expected):
    assert doctor.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gpyro-doctor: ")
    assert expected in err
    assert err.count("\n") == 1
    assert "\x1b" not in err


@pytest.mark.parametrize("arguments", [[], ["--bogus", "PYRO://h/x"], ["PYRO://h/x", "PYRO://h/y"]])
def test_arguments_that_do_not_fit_show_the_usage(capsys, arguments):
    assert doctor.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage:" in err


def test_ctrl_c(monkeypatch, capsys):
    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkup.Checkup, "_address", interrupted)
    assert doctor.main(["PYRO://h/x"]) == 130


@pytest.mark.parametrize(
    "command", [["-m", "gpyro.doctor"], [str(ROOT / "scripts" / "gpyro-doctor")]], ids=["module", "script"]
)
def test_as_a_program(command, tmp_path):
    def run(*arguments: str, passphrase: str = "") -> tuple[int, str, str]:
        with subprocess.Popen(
            [sys.executable, *command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "GPYRO_STORAGE": str(tmp_path)},
        ) as process:
            out, err = gevent.get_hub().threadpool.apply(process.communicate, (passphrase,))
        return process.returncode, out, err

    with serving(thing := Thing()) as daemon:
        daemon.setAllowedIdentifications([SECRET])
        uri = str(uri_of(daemon, thing))
        code, out, err = run("--identification-file", "-", uri, passphrase=SECRET + "\n")
        assert (code, err) == (0, "")
        assert SECRET not in out
        code, out, err = run(uri)
        assert (code, err) == (1, "")
        assert "hello    FAILED" in out
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for option in ("-i ID", "--identification-file", "--timeout", "--json", "--version"):
        assert option in out
    assert run("nonsense")[0] == 2
