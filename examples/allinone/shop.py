"""What the three programs have in common: an object, somebody who listens, and a customer.

python shop.py      is one more customer, from another process
"""

import sys

import gpyro.core
from gpyro.eventsvc import Publisher, Subscriber
from gpyro.naming import NameServerLocator


class Shop(gpyro.core.ObjBase):
    """Sells fruit, and publishes each sale."""

    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.publisher = Publisher()
        self.sold = 0

    def buy(self, fruit):
        self.sold += 1
        self.publisher.publish(f"sales.{fruit}", self.sold)
        return f"{fruit} number {self.sold}"


class Listener(Subscriber):
    """Hears of all sales, and calls `over` with the last one; if there are to be 0 sales, none is the last."""

    def __init__(self, sales, over):
        Subscriber.__init__(self)
        self.setThreading(0)  # events of different subjects come one after the other, too
        self.sales, self.over = sales, over

    def event(self, event):
        say(f"listener: {event.subject} {event.msg}")
        if event.msg == self.sales:
            self.over()


def open_shop(daemon):
    """Connect a shop, by a name that everybody can find it by."""
    daemon.useNameServer(NameServerLocator().getNS())
    daemon.connect(Shop(), "shop")


def shopping(number):
    """A customer's next call. The shop is found by its name, as from any other process."""
    shop = gpyro.core.getProxyForURI("PYRONAME://shop")
    say(f"customer: {shop.buy(('apple', 'pear')[number % 2])}")


def sales_wanted():
    """How many sales the program is to make: its argument. With 0 it serves others, until Ctrl-C."""
    return int(sys.argv[1]) if len(sys.argv) > 1 else 5


def say(text):
    sys.stdout.write(f"{text}\n")  # at once with its end, since threads speak at the same time
    sys.stdout.flush()


if __name__ == "__main__":
    shopping(0)
