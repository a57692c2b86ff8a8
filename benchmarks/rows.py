"""What `naming.py` and `events.py` have in common: a command line that chooses rows, and what the rows are given."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import gevent
from docopt import DocoptExit, docopt
from processes import BenchmarkError
from report import Measure, measures


@dataclass
class Plan:
    """How much is done: a share of the full counts; where files are made; the seed of random numbers."""

    scale: float
    directory: str
    seed: int

    def count(self, full: int) -> int:
        """The share of a full count that is done."""
        return max(1, round(full * self.scale))


Rows = Mapping[str, Callable[[Plan], list[Measure]]]


def place(plan: Plan) -> tempfile.TemporaryDirectory[str]:
    """A directory for one row."""
    return tempfile.TemporaryDirectory(dir=plan.directory or None)


def plan_of(options: dict[str, str], rows: Rows) -> tuple[list[str], Plan]:
    """The rows and their plan, of the options of the command line."""
    names = options["--rows"].split(",")
    if unknown := [name for name in names if name not in rows]:
        raise BenchmarkError(f"--rows knows {', '.join(rows)}, not {', '.join(unknown)}")
    try:
        scale, seed = float(options["--scale"]), int(options["--seed"])
    except ValueError:
        raise BenchmarkError("--scale and --seed are numbers") from None
    if not 0.0001 <= scale <= 1 or not 0 <= seed < 2**32:
        raise BenchmarkError("--scale is from 0.0001 to 1, and --seed from 0 to 4,294,967,295")
    directory = options.get("--directory") or ""
    if directory and not os.path.isdir(directory):
        raise BenchmarkError(f"--directory is a directory that exists, not {directory!r}")
    return names, Plan(scale, directory, seed)


def main(name: str, text: str, rows: Rows, versions: str = "") -> int:
    """Measure and print.

    Args:
        name: of the program.
        text: its help text, as docopt reads it.
        rows: what it can measure.
        versions: of what it stands on, beside gevent.

    Returns:
        The exit code: 0 if all targets are met, 1 if one is not, 2 for a mistake in the command line.
    """
    try:
        options = docopt(text)
        names, plan = plan_of(options, rows)
    except DocoptExit as error:
        print(error.usage, file=sys.stderr)
        return 2
    except BenchmarkError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    found: list[Measure] = []
    code = 0
    try:
        for row in names:
            found += rows[row](plan)
    except BenchmarkError as error:
        print(f"{name}: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    versions = f"gevent {gevent.__version__}{versions and ', '}{versions}"
    machine = f"Python {platform.python_version()}, {versions}, {platform.platform()}"
    if options["--json"]:
        print(json.dumps({"machine": machine, "plan": asdict(plan), "rows": [asdict(one) for one in found]}, indent=2))
    elif found:
        print(f"{machine}\n\n{measures(found)}")
    return code or int(any(one.passed is False for one in found))
