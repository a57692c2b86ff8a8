"""What events cost, and what becomes of them: the event server beside Redis, with many subscribers, and killed.

Usage:
  events.py [--rows NAMES] [--scale S] [--seed N] [--json]
  events.py -h | --help

Options:
  --rows NAMES  which rows, with commas [default: fan,publish,crowd,slow,kill,restart]
  --scale S     share of the full counts, 0.0001 to 1 [default: 1]
  --seed N      of the random numbers [default: 1]
  --json        print the numbers as JSON
  -h --help     this text

fan      1 publisher, 100 subscribers, small events; the same with Redis, if redis-server (Debian's redis-server) and
         redis-py with hiredis (pip install gpyro[bench]) are there
publish  64 publishers and 1 subscriber, beside one-way calls by 64 callers
crowd    10,000 subscribers of one server, each with a connection of its own, and 1,000 to a connection: memory, and how
         long an event takes to all of them
slow     50 subscribers, of which one stops reading (B5)
kill     10 publishers, consumers and event servers that are killed at random while 100,000 events are published, and
         connections that are cut: whether all have told the truth of what was lost (D5)
restart  an event server that is ended, or killed, and started again 20 times, with 64 publishers and 100 subscribers

The server is a process on the first processor, its clients are processes on the second (with `kill` on any). Rates are
taken in rounds, each beside what it is compared with, and the median of the ratios counts (in brackets the smallest and
the largest).
The exit code is 0 if all targets are met, 1 if one is not, 2 for a mistake in the command line.
"""

from __future__ import annotations

from event_kills import kill_row
from event_restarts import restart_row
from event_rows import crowd_row, fan_row, publish_row, slow_row
from rows import Rows, main

ROWS: Rows = {
    "fan": fan_row,
    "publish": publish_row,
    "crowd": crowd_row,
    "slow": slow_row,
    "kill": kill_row,
    "restart": restart_row,
}

if __name__ == "__main__":
    raise SystemExit(main("events", __doc__ or "", ROWS))
