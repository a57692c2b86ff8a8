"""Everything in one process, each in a thread of its own.

python threads.py [SALES]
"""

import sys
import threading

from shop import Listener, open_shop, sales_wanted, say, shopping

import gpyro.core
from gpyro.eventsvc import EventServiceStarter
from gpyro.naming import NameServerStarter

sales = sales_wanted()
over = threading.Event()
names, events, daemon = NameServerStarter(), EventServiceStarter(), gpyro.core.Daemon()
listener = Listener(sales, over.set)
running = []


def run(function, end):
    thread = threading.Thread(target=function, daemon=True)
    running.append((thread, end))
    thread.start()


def start(starter):
    run(starter.start, starter.shutdown)
    if not starter.waitUntilStarted():
        sys.exit("it could not be started")  # its thread has told why


try:
    start(names)
    start(events)
    open_shop(daemon)
    run(daemon.requestLoop, daemon.shutdown)
    listener.subscribeMatch("sales\\.")
    run(listener.listen, listener.abort)
    say("all is there")
    for number in range(sales):  # the main thread is the customer
        shopping(number)
    over.wait()
except KeyboardInterrupt:
    say("Ctrl-C")
finally:
    # Any thread may call `abort` and `shutdown`. What was started last needs the others, so it ends first.
    for thread, end in reversed(running):
        end()
        thread.join()
say("the end")
