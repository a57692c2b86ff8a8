"""What names cost: name servers and their stores, with a number for each row.

Usage:
  naming.py [--rows NAMES] [--scale S] [--seed N] [--directory PATH] [--json]
  naming.py -h | --help

Options:
  --rows NAMES      which rows, with commas
                    [default: wire,pyro5,find,crowd,lease,restart,commit,many,watch,kill]
  --scale S         share of the full counts, 0.0001 to 1 [default: 1]
  --seed N          of the random numbers [default: 1]
  --directory PATH  where files are made; on the disk that is to be measured
  --json            print the numbers as JSON
  -h --help         this text

Name servers, each a process on the first processor with clients on the second:

wire    resolve and register over the wire by 64 callers, beside echo calls of the same client
pyro5   the same beside Pyro 5's name server with SQL storage, if that is installed (pip install gpyro[bench])
find    getNS(), with a name server on this machine and without any
crowd   many names: the start of the process, and lists by a client (100,000 names)
lease   servers that are killed, a name server that stands still for twice the lease (D2; 1,000 servers in 20 processes)
restart a name server that is killed in the middle of registrations, 20 times with the same file (D1; 10,000 each time)

Stores, in the process of the benchmark:

commit  registrations in a file by 64 greenlets, each on the disk before it is answered (10,000)
many    a file of many names in groups of 100: opening it, listing one group (100,000 names)
watch   random histories, followed by views that are stopped, cut off and left behind (D4; 1,000)
kill    a process that is killed while it saves, 20 times with the same file (D1; 10,000 names each time)

The exit code is 0 if all targets are met, 1 if one is not, 2 for a mistake in the command line.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import asdict

import gevent
from docopt import DocoptExit, docopt
from naming_servers import crowd_row, find_row, lease_row, pyro5_row, restart_row, wire_row
from naming_stores import Plan, commit_row, kill_row, many_row, watch_row
from processes import BenchmarkError
from report import Measure, measures

ROWS: dict[str, Callable[[Plan], list[Measure]]] = {
    "wire": wire_row,
    "pyro5": pyro5_row,
    "find": find_row,
    "crowd": crowd_row,
    "lease": lease_row,
    "restart": restart_row,
    "commit": commit_row,
    "many": many_row,
    "watch": watch_row,
    "kill": kill_row,
}


def plan_of(options: dict[str, str]) -> tuple[list[str], Plan]:
    """The rows and their plan, of the options of the command line."""
    names = options["--rows"].split(",")
    if unknown := [name for name in names if name not in ROWS]:
        raise BenchmarkError(f"--rows knows {', '.join(ROWS)}, not {', '.join(unknown)}")
    try:
        scale, seed = float(options["--scale"]), int(options["--seed"])
    except ValueError:
        raise BenchmarkError("--scale and --seed are numbers") from None
    if not 0.0001 <= scale <= 1 or not 0 <= seed < 2**32:
        raise BenchmarkError("--scale is from 0.0001 to 1, and --seed from 0 to 4,294,967,295")
    directory = options["--directory"] or ""
    if directory and not os.path.isdir(directory):
        raise BenchmarkError(f"--directory is a directory that exists, not {directory!r}")
    return names, Plan(scale, directory, seed)


def main() -> int:
    """Measure and print."""
    try:
        options = docopt(__doc__ or "")
        names, plan = plan_of(options)
    except DocoptExit as error:
        print(error.usage, file=sys.stderr)
        return 2
    except BenchmarkError as error:
        print(f"naming: {error}", file=sys.stderr)
        return 2
    found: list[Measure] = []
    code = 0
    try:
        for name in names:
            found += ROWS[name](plan)
    except BenchmarkError as error:
        print(f"naming: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    versions = f"gevent {gevent.__version__}, SQLite {sqlite3.sqlite_version}"
    machine = f"Python {platform.python_version()}, {versions}, {platform.platform()}"
    if options["--json"]:
        print(json.dumps({"machine": machine, "plan": asdict(plan), "rows": [asdict(one) for one in found]}, indent=2))
    elif found:
        print(f"{machine}\n\n{measures(found)}")
    return code or int(any(one.passed is False for one in found))


if __name__ == "__main__":
    raise SystemExit(main())
