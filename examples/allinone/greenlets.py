"""Everything in one process, in greenlets of one gevent loop.

python greenlets.py [SALES]
"""

import gevent
from shop import Listener, open_shop, sales_wanted, say, shopping

import gpyro.core
from gpyro.eventsvc import EventServiceStarter
from gpyro.naming import NameServerStarter

sales = sales_wanted()
names, events, daemon = NameServerStarter(), EventServiceStarter(), gpyro.core.Daemon()
# Called in the loop: the daemon leaves its own, which is the main one.
listener = Listener(sales, daemon.shutdown)


def customer():
    for number in range(sales):
        shopping(number)


try:
    names.begin()
    events.begin()
    daemon.start()
    open_shop(daemon)
    listener.subscribeMatch("sales\\.")
    listener.begin()
    say("all is there")
    buying = gevent.spawn(customer)
    daemon.requestLoop()  # any other way to wait with gevent would do as well
    buying.get()
except KeyboardInterrupt:
    say("Ctrl-C")
finally:
    listener.abort()
    daemon.stop()
    events.stop()
    names.stop()
say("the end")
