"""The back end: a warehouse that web applications call.

Usage:
  backend.py [--port PORT]
  backend.py -h | --help

  --port PORT  the port to listen on, for programs of this machine; 0 for any free one [default: 7766]

SIGTERM or Ctrl-C ends it, when the calls that run are finished.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from typing import Any

from docopt import docopt
from gevent.event import Event
from refusals import NoSuchArticle, NoSuchOrder, NotEnough, OtherOrder

from gpyro import core, errors

LONGEST_WAIT = 20.0
"""Seconds an order may wait here. Less than its caller's timeout, so that the caller gets an answer, not a timeout."""


class Warehouse(core.ObjBase):
    """Articles, how many there are of each, and the orders that were booked.

    Many calls run at the same time, each in a greenlet of its own. One gives way to others only where it waits, so what
    stands between two waits needs no lock.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stock = Counter(bolt=100, nut=100, gear=0)
        self._booked: dict[str, dict[str, Any]] = {}
        self._asked: Counter[str] = Counter()
        self._waiting = 0
        self._programs: list[int] = []
        self._delivered = Event()

    def hello(self, process: int) -> None:
        """A program says that it has started."""
        self._programs.append(process)

    def status(self) -> dict[str, Any]:
        """Whose connection this call came on, how many there are, how many orders wait, and who said hello."""
        host, port = self.getLocalStorage().caller.addr[:2]
        return {
            "caller": f"{host}:{port}",
            "connections": len(self.getDaemon().connections),
            "waiting": self._waiting,
            "programs": self._programs,
        }

    def articles(self) -> dict[str, int]:
        """How many there are of each article."""
        return dict(self._stock)

    def deliver(self, article: str, count: int) -> int:
        """Take `count` more of an article into stock; gives how many there are now."""
        self._look_up(article)
        self._stock[article] += count
        delivered, self._delivered = self._delivered, Event()
        delivered.set()
        return self._stock[article]

    def order(self, order: str, article: str, count: int, wait: bool = False) -> dict[str, Any]:
        """Book an order, under an id that the customer has made.

        Asked for a second time, the same order is not booked again, so a caller that does not know what became of its
        call may simply repeat it.

        Args:
            order: the id.
            article: what is ordered.
            count: how many.
            wait: whether to wait for a delivery, for `LONGEST_WAIT` at most, if there is not enough.
        """
        self._look_up(article)
        self._asked[order] += 1
        until = time.monotonic() + (LONGEST_WAIT if wait else 0.0)
        while order not in self._booked and self._stock[article] < count:
            left = until - time.monotonic()
            if left <= 0:
                raise NotEnough(f"{count} of {article} ordered, {self._stock[article]} there")
            self._waiting += 1
            self._delivered.wait(left)
            self._waiting -= 1
        if order not in self._booked:
            self._stock[article] -= count
            self._booked[order] = {"article": article, "count": count}
        elif self._booked[order] != {"article": article, "count": count}:
            raise OtherOrder(f"{order} is an order of {self._booked[order]}")
        return self.booked(order)

    def booked(self, order: str) -> dict[str, Any]:
        """What was booked under an id, and how often it was asked for."""
        if order not in self._booked:
            raise NoSuchOrder(order)
        return {**self._booked[order], "asked": self._asked[order]}

    def _look_up(self, article: str) -> None:
        if article not in self._stock:
            raise NoSuchArticle(article)


def main() -> None:
    """Serve until the end."""
    arguments = docopt(__doc__)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        daemon = core.Daemon(port=int(arguments["--port"]), norange=1)
    except (ValueError, OverflowError, errors.DaemonError) as error:
        sys.exit(f"backend.py: cannot listen on port {arguments['--port']}: {error}")
    # A name, unlike an id, is the same after a restart: the web application need not be restarted then.
    daemon.connect(Warehouse(), "warehouse")
    print(f"PYROLOC://localhost:{daemon.port}/warehouse", flush=True)
    try:
        daemon.requestLoop()  # SIGTERM ends it
    except KeyboardInterrupt:
        daemon.stop()


if __name__ == "__main__":
    main()
