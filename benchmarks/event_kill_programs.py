"""The programs of `event_kills.py`: an event server, publishers and consumers that are killed, and crowds of both.

They find each other by the name server. What a publisher and a consumer have to tell stands in a file of their own,
line by line as `event_histories.py` reads it, written before they go on: so it is there when they are killed.
"""

from __future__ import annotations

NAME_SERVER = """
import logging
logging.disable()
from gevent.os import tp_read
from gpyro.naming import NameServerStarter
starter = NameServerStarter()
starter.begin(dontlookupother=1, nobroadcast=True)
print("READY", starter.uri, flush=True)
tp_read(0, 1)
"""

# argv: processor
EVENT_SERVER = """
from gpyro.eventsvc import EventServiceStarter
from gevent import spawn
import logging
logging.disable()
starter = EventServiceStarter()
def tell():
    starter.waitUntilStarted()
    print("READY", time.monotonic(), flush=True)
spawn(tell)
starter.start(port=0)
"""

# argv: processor, file, name, life, subjects (with commas), how many events
PUBLISHER = """
import gevent, logging
logging.disable()
from gpyro.errors import NamingError, ProtocolError
from gpyro.eventsvc import Publisher
_, _, path, name, life, subjects, count = sys.argv
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
publisher = Publisher()
left = int(count)
def tell(what, subject, sequence):
    os.write(file, f"{what} {life} {subject} {sequence} {time.monotonic()!r}\\n".encode())
def publish(subject):
    global left
    sequence = 0
    while left > 0:
        left -= 1
        tell("began", subject, sequence)
        try:
            publisher.publish(subject, (name, int(life), sequence))
            verdict = "done"
        except (NamingError, ProtocolError) as error:
            verdict = "maybe" if getattr(error, "may_have_run", False) else "never"
            left += 1
        tell(verdict, subject, sequence)
        sequence += 1
        if verdict != "done":
            gevent.sleep(0.05)
gevent.joinall([gevent.spawn(publish, subject) for subject in subjects.split(",")], raise_error=True)
"""

# argv: processor, file, subjects (with commas) or *, policy, events that may wait, threading, after how many it is slow
CONSUMER = """
import gevent, logging, signal
logging.disable()
from gevent.os import tp_read
from gpyro.errors import PyroError
from gpyro.eventsvc import Subscriber
_, _, path, subjects, policy, room, threading, pace = sys.argv
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
class Consumer(Subscriber):
    got = 0
    def event(self, event):
        publisher, life, sequence = event.msg
        self.got += 1
        if not self.got % int(pace):
            gevent.sleep(0.02)
        os.write(file, f"got {publisher} {life} {event.subject} {sequence} {event.number}\\n".encode())
    def missed(self, gap):
        os.write(file, f"missed {gap.count}\\n".encode())
consumer = Consumer()
consumer.setThreading(int(threading))
def cut():
    link = consumer._pyro_link
    if link is not None and link._channel is not None:
        link._channel.close("as if the network had failed")
gevent.signal_handler(signal.SIGUSR1, cut)
while True:
    try:
        consumer.set_queue(policy, int(room))
        if subjects == "*":
            consumer.subscribeMatch(".*")
        else:
            consumer.subscribe(subjects.split(","))
        break
    except PyroError:
        gevent.sleep(0.05)
os.write(file, f"subscribed {time.monotonic()!r}\\n".encode())
def listen():
    while True:
        try:
            consumer.listen()
        except PyroError:
            gevent.sleep(0.05)
gevent.spawn(listen)
tp_read(0, 1)
"""

# argv: processor, how many
CROWD_OF_PUBLISHERS = """
import gevent, logging
logging.disable()
from gpyro.errors import NamingError, ProtocolError
from gpyro.eventsvc import Publisher
done = [0] * int(sys.argv[2])
def publish(number):
    publisher = Publisher()
    while True:
        try:
            publisher.publish("news", time.monotonic())
            done[number] += 1
        except (NamingError, ProtocolError):
            gevent.sleep(0.02)
for number in range(len(done)):
    gevent.spawn(publish, number)
def published(_):
    before = list(done)
    until = time.monotonic() + 60
    while any(now == then for now, then in zip(done, before)):
        if time.monotonic() > until:
            raise SystemExit("a publisher hangs")
        gevent.sleep(0.005)
    return sum(done)
"""

# argv: processor, how many
CROWD_OF_SUBSCRIBERS = """
import gevent, logging
logging.disable()
from gpyro.eventsvc import Subscriber
since = 0.0
class Counting(Subscriber):
    published = arrived = 0.0
    gaps = 0
    def event(self, event):
        if self.published < since < event.msg:
            self.arrived = time.monotonic()
        self.published = event.msg
    def missed(self, gap):
        self.gaps += 1
subscribers = [Counting() for _ in range(int(sys.argv[2]))]
for one in subscribers:
    one.setThreading(0)
    one.subscribe("news")
    one.begin()
def after(_):
    until = time.monotonic() + 60
    while missing := sum(one.published <= since for one in subscribers):
        if time.monotonic() > until:
            raise SystemExit(f"{missing} subscribers get no events")
        gevent.sleep(0.005)
    return max(one.arrived for one in subscribers)
def mark(_):
    global since
    since = time.monotonic()
    return 0
def gaps(_):
    return min(one.gaps for one in subscribers)
"""
