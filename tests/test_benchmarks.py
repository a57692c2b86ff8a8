"""The benchmark of hostile input runs, says what is wrong with its command line, and ends when it is told to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.support import ROOT

SCRIPT = ROOT / "benchmarks" / "hostile.py"


def run(*arguments):
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_short_run_measures_and_judges():
    ended = run("--rows", "fuzz,reach", "--count", "300", "--scale", "0.004", "--seed", "3", "--json")
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["plan"]["seed"] == 3
    rows = {row["what"]: row for row in told["rows"]}
    assert rows["damaged inputs to the core, seed 3"]["value"] == 300
    assert rows["random class trees"]["value"] == 2
    assert all(row["passed"] is not False for row in told["rows"])
    assert {row["id"] for row in told["rows"]} == {"C2", "C5"}


def test_the_table_is_for_people():
    ended = run("--rows", "reach", "--scale", "0.002")
    assert ended.returncode == 0, ended.stderr
    assert "| row | what " in ended.stdout
    assert "| C5  | random class trees " in ended.stdout
    assert "| pass |" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows", "nothing"], "--rows knows fuzz, storm, bombs, reach, slow, coverage, not nothing"),
        (["--scale", "2"], "--scale must be a number from 0.0001 to 1, not '2'"),
        (["--count", "many"], "--count must be a number from 1 to 1e+09, not 'many'"),
        (["--unknown"], "Usage:"),
    ],
)
def test_mistakes_are_told(arguments, said):
    ended = run(*arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stdout == ""


def test_help_tells_of_every_row():
    ended = run("--help")
    assert ended.returncode == 0
    for row in ("fuzz", "storm", "bombs", "reach", "slow", "coverage"):
        assert f"\n{row} " in ended.stdout


def test_ctrl_c_ends_it_and_its_children():
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "--rows", "fuzz", "--count", "100000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        assert process.stderr is not None
        assert "fuzz:" in process.stderr.readline()
        until = time.monotonic() + 60
        while not (children := children_of(process.pid)) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert children
    assert not any(alive(child) for child in children)


def children_of(process):
    path = f"/proc/{process}/task/{process}/children"
    with open(path) as file:
        return [int(word) for word in file.read().split()]


def alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False
