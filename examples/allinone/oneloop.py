"""Everything in one process, in one loop of the program's own, which knows nothing of gevent.

python oneloop.py [SALES]
"""

import select

from shop import Listener, open_shop, sales_wanted, say, shopping

import gpyro.core
from gpyro.eventsvc import EventServiceStarter
from gpyro.naming import NameServerStarter

sales = sales_wanted()
names, events, daemon = NameServerStarter(), EventServiceStarter(), gpyro.core.Daemon()
over = []
listener = Listener(sales, lambda: over.append(True))
parts = []


def serve(part):
    """Have the loop below serve it, and calls of this thread from now on: they need the name server to get there."""
    part.getServerSockets()
    parts.append(part)


try:
    names.initialize()
    serve(names)
    events.initialize()
    serve(events)
    open_shop(daemon)
    serve(daemon)
    listener.subscribeMatch("sales\\.")
    listener.begin()
    serve(listener)
    say("all is there")
    number = 0
    while not over:
        part_of = {sock: part for part in parts for sock in part.getServerSockets()}  # anew in each round
        readable, _, _ = select.select(list(part_of), [], [], 0 if number < sales else 3)
        for sock in readable:
            part_of[sock].handleRequests(0)
        if number < sales:
            shopping(number)
            number += 1
except KeyboardInterrupt:
    say("Ctrl-C")
finally:
    listener.abort()
    daemon.stop()
    events.stop()
    names.stop()
say("the end")
