"""What gpyro withstands of bytes and peers that mean it harm, with a number for each.

Usage:
  hostile.py [--rows NAMES] [--scale S] [--count N] [--seed N] [--rounds N] [--details] [--json]
  hostile.py -h | --help

Options:
  --rows NAMES  which rows, with commas: fuzz, storm, bombs, reach, slow, coverage
                [default: fuzz,storm,bombs,reach,slow]
  --scale S     share of the full counts, 0.0001 to 1 [default: 1]
  --count N     inputs of the rows fuzz and coverage, instead of a share
  --seed N      of the random numbers [default: 1]
  --rounds N    rounds of the row slow, 1 to 50 [default: 5]
  --details     a line for each payload and flood of the row bombs
  --json        print the numbers as JSON
  -h --help     this text

fuzz      damaged frames, hellos, metadata and values into the core, without a socket (C2; 5,000,000)
storm     damaged frames over sockets to a daemon in another process, beside a client that must not notice (C2; 100,000)
bombs     payloads that are small to send and dear to receive, and floods of frames (C3)
reach     class trees: what is reached of their objects by any message is what the manual says (C5; 500)
slow      connections that say nothing, or a byte a second (C1; 6,000)
coverage  branches of gpyro.wire and gpyro.values that the row fuzz runs through; needs the package coverage

The exit code is 0 if all targets are met, 1 if one is not, 2 for a mistake in the command line.
"""

from __future__ import annotations

import json
import logging
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import gevent
from docopt import DocoptExit, docopt
from hostile_input import Plan, bombs_row, coverage_row, fuzz_row, reach_row, storm_row
from hostile_peers import slow_row
from processes import BenchmarkError
from report import Measure, measures

ROWS: dict[str, Callable[[Plan], list[Measure]]] = {
    "fuzz": fuzz_row,
    "storm": storm_row,
    "bombs": bombs_row,
    "reach": reach_row,
    "slow": slow_row,
    "coverage": coverage_row,
}


def number(text: str, kind: type[int] | type[float], least: float, most: float, name: str) -> float:
    """An option's value, or a clear error."""
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise BenchmarkError(f"{name} must be a number from {least:g} to {most:g}, not {text!r}")
    return value


def plan_of(options: dict[str, str]) -> tuple[list[str], Plan]:
    """The rows and their plan, of the options of the command line."""
    names = options["--rows"].split(",")
    if unknown := [name for name in names if name not in ROWS]:
        raise BenchmarkError(f"--rows knows {', '.join(ROWS)}, not {', '.join(unknown)}")
    count = options["--count"]
    plan = Plan(
        scale=number(options["--scale"], float, 0.0001, 1, "--scale"),
        count=0 if count is None else int(number(count, int, 1, 1e9, "--count")),
        seed=int(number(options["--seed"], int, 0, 2**32, "--seed")),
        rounds=int(number(options["--rounds"], int, 1, 50, "--rounds")),
        details=bool(options["--details"]),
    )
    return names, plan


def main() -> int:
    """Measure and print."""
    try:
        options = docopt(__doc__ or "")
        names, plan = plan_of(options)
    except DocoptExit as error:
        print(error.usage, file=sys.stderr)
        return 2
    except BenchmarkError as error:
        print(f"hostile: {error}", file=sys.stderr)
        return 2
    logging.disable(logging.CRITICAL)  # of refusals there are thousands
    found: list[Measure] = []
    code = 0
    try:
        for name in names:
            found += ROWS[name](plan)
    except BenchmarkError as error:
        print(f"hostile: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    machine = f"Python {platform.python_version()}, gevent {gevent.__version__}, {platform.platform()}"
    if options["--json"]:
        print(json.dumps({"machine": machine, "plan": asdict(plan), "rows": [asdict(one) for one in found]}, indent=2))
    elif found:
        print(f"{machine}; seed {plan.seed}\n\n{measures(found)}")
    return code or int(any(one.passed is False for one in found))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    sys.exit(main())
