"""Clients that connect, call and go, one after the other, in a process of its own.

Usage: newcomers.py URI

For each line of input, a number of seconds, it prints a line of JSON: the start of each connect-and-call, by the
system's monotonic clock, and the seconds that it took.
"""

from __future__ import annotations

import json
import sys
import time

import gevent

import gpyro
from gpyro import core

PAUSE = 0.002
"""Seconds between two of them: one client by itself is not to keep a server busy."""


def visit(uri: str) -> float:
    """Connect, call and go; the seconds up to the answer."""
    proxy = core.getProxyForURI(uri)
    proxy._setPrivateChannel(True)
    proxy._setTimeout(30)
    before = time.monotonic()
    answer = proxy.echo("new")
    took = time.monotonic() - before
    if answer != "new":
        raise RuntimeError(f"a wrong answer: {answer!r}")
    proxy._release()
    return took


def main(uri: str) -> None:
    """Answer each question until the input ends."""
    gpyro.config.PYRO_CHANNEL_LINGER = 0
    visit(uri)
    for line in sys.stdin:
        until = time.monotonic() + float(line)
        visits = []
        while (now := time.monotonic()) < until:
            visits.append((now, visit(uri)))
            gevent.sleep(PAUSE)
        print(json.dumps(visits), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
