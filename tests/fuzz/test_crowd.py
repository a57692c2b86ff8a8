"""Connections that say nothing, or next to nothing, are closed in time and cost little."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import crowd
import pytest
from peer import Target

from tests.support import ROOT, eventually

TIMEOUT = 4.0


@pytest.fixture
def target(monkeypatch):
    monkeypatch.setenv("GPYRO_HANDSHAKE_TIMEOUT", str(TIMEOUT))
    with Target() as target:
        yield target


def test_a_crowd_is_sent_home_and_costs_little(target):
    guests = crowd.Crowd(target.port, "127.0.0.1")
    target.doctor.begin_measuring()
    guests.come(150, 50, 2000)
    assert guests.left == 200
    eventually(lambda: target.doctor.health()["connections"] == 201)  # those in the backlog are accepted in turns
    assert target.doctor.peak() / 200 < 16 * 1024
    target.unharmed()
    guests.stay()
    assert guests.left == 0
    assert len(guests.lasted) == 200
    # Not before their time; how long after it depends on the machine.
    assert min(guests.lasted) > TIMEOUT - 0.1
    assert set(guests.told) == {f"no hello within {TIMEOUT:g} s (PYRO_HANDSHAKE_TIMEOUT)"}
    target.unharmed()
    eventually(lambda: target.doctor.health()["connections"] == 1)


def test_slow_guests_speak_a_byte_at_a_time(target):
    guests = crowd.Crowd(target.port, "127.0.0.1")
    guests.come(0, 1, 100)
    (guest,) = guests._guests.values()
    while guest.said < 2:
        guests._turn(0.01)
    assert time.monotonic() - guest.opened >= 1.0
    guest.sock.close()


def run(name, *arguments, told=""):
    """Run one of the programs to its end; what it printed, line by line."""
    command = [sys.executable, str(ROOT / "fuzz" / name), *map(str, arguments)]
    ended = subprocess.run(command, input=told, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_the_programs_tell_what_they_saw(target):
    come, gone = run("crowd.py", target.port, "127.0.0.3", 20, 10, 1000)
    assert come["open"] == 30
    assert (gone["closed"], gone["left"]) == (30, 0)
    assert gone["longest"] >= gone["shortest"] > TIMEOUT - 0.1
    (visits,) = run("newcomers.py", f"PYRO://127.0.0.1:{target.port}/{target.guid}", told="0.2\n")
    assert visits
    assert all(took > 0 for _, took in visits)
    target.unharmed()
