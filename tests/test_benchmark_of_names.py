"""The benchmark of names runs, and says what is wrong with its command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

SCRIPT = ROOT / "benchmarks" / "naming.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_short_run_measures_and_judges(tmp_path: Path) -> None:
    rows = "wire,find,crowd,lease,restart,commit,many,watch,kill"
    ended = run("--rows", rows, "--scale", "0.005", "--seed", "3", "--directory", str(tmp_path), "--json")
    # A machine that is busy may hold up a name server for longer than its short leases like.
    assert [line for line in ended.stderr.splitlines() if not line.endswith("while the call was running")] == []
    told = json.loads(ended.stdout)
    assert told["plan"]["seed"] == 3
    rows = {row["what"]: row for row in told["rows"]}
    assert len(rows) == 21
    lost = [row for what, row in rows.items() if "missing" in what or "missed" in what or "lost" in what]
    assert [row["value"] for row in lost] == [0, 0, 0, 0]
    assert {row["id"] for row in told["rows"]} == {"", "D1", "D2", "D4"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows", "nothing"], "--rows knows wire, pyro5, find, crowd, lease, restart, commit, many, watch"),
        (["--scale", "2"], "--scale is from 0.0001 to 1"),
        (["--scale", "x"], "--scale and --seed are numbers"),
        (["--directory", "/missing"], "--directory is a directory that exists, not '/missing'"),
        (["--unknown"], "Usage:"),
    ],
)
def test_mistakes_are_told(arguments: list[str], said: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stdout == ""
