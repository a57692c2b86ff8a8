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

import sqlite3

from naming_servers import crowd_row, find_row, lease_row, pyro5_row, restart_row, wire_row
from naming_stores import commit_row, kill_row, many_row, watch_row
from rows import Rows, main

ROWS: Rows = {
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

if __name__ == "__main__":
    raise SystemExit(main("naming", __doc__ or "", ROWS, f"SQLite {sqlite3.sqlite_version}"))
