"""The benchmark of events runs, and says what is wrong with its command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support import ROOT

SCRIPT = ROOT / "benchmarks" / "events.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.parametrize("scale", ["0.003", pytest.param("0.05", marks=pytest.mark.long)])
def test_a_short_run_measures_and_judges(scale: str) -> None:
    ended = run("--rows", "fan,publish,crowd,slow", "--scale", scale, "--json")
    assert ended.stderr == ""
    rows = {row["what"]: row for row in json.loads(ended.stdout)["rows"]}
    rates = [row["value"] for row in rows.values() if row["unit"] == "1/s"]
    assert len(rates) == 3
    assert all(rate > 0 for rate in rates)
    assert [row["value"] for what, row in rows.items() if "was not told of" in what] == [0]
    assert sum("subscribers, a connection each" in what for what in rows) == 3
    assert {row["id"] for row in rows.values()} == {"", "B5"}


def test_what_is_lost_when_processes_are_killed_is_told() -> None:
    _nothing_wrong("--scale", "0.01", "--seed", "7")


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_lost_when_processes_are_killed_is_told_at_full_counts(seed: int) -> None:
    _nothing_wrong("--seed", str(seed))


def _nothing_wrong(*arguments: str) -> None:
    ended = run("--rows", "kill", *arguments, "--json")
    assert ended.stderr == ""
    rows = json.loads(ended.stdout)["rows"]
    assert {row["id"] for row in rows} == {"D5"}
    judged = [row for row in rows if row["target"]]
    assert [row["value"] for row in judged] == [0, 0, 0, 0, 0]


def test_a_restart_of_the_event_server_is_survived() -> None:
    ended = run("--rows", "restart", "--scale", "0.0001", "--json")
    assert ended.stderr == ""
    rows = {row["what"]: row for row in json.loads(ended.stdout)["rows"]}
    (told,) = (row["value"] for what, row in rows.items() if what.startswith("gaps"))
    assert told == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows", "nothing"], "events: --rows knows fan, publish, crowd, slow, kill, restart, not nothing"),
        (["--scale", "0"], "--scale is from 0.0001 to 1"),
        (["--unknown"], "Usage:"),
    ],
)
def test_mistakes_are_told(arguments: list[str], said: str) -> None:
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr
