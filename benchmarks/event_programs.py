"""The programs of `events.py`: event servers, subscribers, publishers, and the same with Redis.

A line to a client is the name of a function and a number; it answers with what was measured.
"""

from __future__ import annotations

EVENT_SERVER = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
from gevent.os import tp_read
from gpyro import core
from gpyro.eventsvc import EventServiceStarter
class Sink(core.ObjBase):
    taken = 0
    def take(self, subject, message):
        self.taken += 1
    def count(self):
        return self.taken
starter = EventServiceStarter()
starter.begin(port=0, useNameServer=0)
sinks = core.Daemon(port=0, norange=1)
sinks.start()
print("READY", starter.uri, sinks.connect(Sink()), flush=True)
tp_read(0, 1)
"""

# argv: processor, URI of the event server, how many subscribers, whether each has a connection of its own
SUBSCRIBERS = """
import gevent, resource
from gevent.event import Event as Flag
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
from gpyro.eventsvc import Publisher, Subscriber
got = wanted = lost = 0
there = Flag()
class Counting(Subscriber):
    def event(self, event):
        global got
        got += 1
        if got == wanted:
            there.set()
    def missed(self, gap):
        global lost
        lost += gap.count or 1
def subscriber():
    one = Counting(esURI=sys.argv[2])
    one.setThreading(0)
    if sys.argv[4] == "own":
        server, connect = one._pyro_server, one._pyro_server.new_proxy
        def new_proxy():
            proxy = connect()
            proxy._setPrivateChannel(True)
            return proxy
        server.new_proxy = new_proxy
    one.subscribe("news")
    gevent.spawn(one.listen)
    return one
subscribers = [subscriber() for _ in range(int(sys.argv[3]))]
publisher = Publisher(esURI=sys.argv[2])
MESSAGE = "some news, and little"
def expect(count):
    global got, wanted
    got, wanted = 0, count * len(subscribers)
    there.clear()
    return 0
def arrived(count):
    if not there.wait(60):
        raise SystemExit(f"{got} of {wanted} events came, {lost} are known to be lost")
    return time.monotonic()
def fan(count):
    expect(count)
    began = time.monotonic()
    for _ in range(count):
        publisher.publish_soon("news", MESSAGE)
    return wanted / (arrived(0) - began)
gevent.sleep(0.1)
"""

# argv: processor, URI of the event server, URI of the sink
PUBLISHERS = """
import gevent
from gpyro import core
from gpyro.eventsvc import Publisher
publisher = Publisher(esURI=sys.argv[2])
proxy, sink = core.getProxyForURI(sys.argv[3]), core.getProxyForURI(sys.argv[3])
es = publisher.getES()
proxy._setOneway("take")
def each(count, work, finished):
    numbers = iter(range(count))
    def caller():
        for number in numbers:
            work("news", number)
    before = finished()
    began = time.perf_counter()
    gevent.joinall([gevent.spawn(caller) for _ in range(64)], raise_error=True)
    while finished() < before + count:
        gevent.sleep(0.001)
    return count / (time.perf_counter() - began)
def published():
    return es.info()["number"]
def soon(count):
    return each(count, publisher.publish_soon, published)
def publish(count):
    return each(count, publisher.publish, published)
def oneway(count):
    return each(count, proxy.take, sink.count)
def twoway(count):
    return each(count, sink.take, sink.count)
def one(count):
    publisher.publish("news", "to all")
    return 0
"""

# argv: processor, URI of the event server
SLOW = """
import gevent
from gevent.event import Event as Flag
from gpyro.eventsvc import Publisher, Subscriber
taken, reading, bulk = [], Flag(), "x" * 1000
reading.set()
class Quick(Subscriber):
    def event(self, event):
        taken.append(time.perf_counter() - event.msg[0])
class Slow(Subscriber):
    got = lost = 0
    def event(self, event):
        reading.wait()
        self.got += 1
    def missed(self, gap):
        self.lost += gap.count
def started(one):
    one.setThreading(0)
    one.subscribe("news")
    gevent.spawn(one.listen)
    return one
slow = Slow(esURI=sys.argv[2])
slow.set_queue("oldest")
started(slow)
quick = [started(Quick(esURI=sys.argv[2])) for _ in range(49)]
publisher = Publisher(esURI=sys.argv[2])
published = 0
def latency(count):
    global published
    taken.clear()
    for number in range(count):
        publisher.publish("news", (time.perf_counter(), bulk))
        published += 1
        gevent.sleep(0.001)
    while len(taken) < 49 * count:
        gevent.sleep(0.001)
    return 1000 * sorted(taken)[int(0.99 * len(taken))]
def stop(count):
    reading.clear()
    return 0
def go(count):
    reading.set()
    while slow.got + slow.lost < published:
        gevent.sleep(0.001)
    return f"{published - slow.got} {slow.lost}"
"""

# argv: processor, port of the Redis server, how many subscribers
REDIS_SUBSCRIBERS = """
from gevent import monkey
monkey.patch_all()
import gevent, redis
from gevent.event import Event as Flag
got = wanted = 0
there = Flag()
def subscriber():
    pubsub = redis.Redis(port=int(sys.argv[2])).pubsub()
    pubsub.subscribe("news")
    assert pubsub.get_message(timeout=10)["type"] == "subscribe"
    gevent.spawn(listen, pubsub)
def listen(pubsub):
    global got
    for message in pubsub.listen():
        got += 1
        if got == wanted:
            there.set()
for _ in range(int(sys.argv[3])):
    subscriber()
publisher = redis.Redis(port=int(sys.argv[2]))
MESSAGE = "some news, and little"
def fan(count):
    global got, wanted
    got, wanted = 0, count * int(sys.argv[3])
    there.clear()
    began = time.monotonic()
    left = count
    while left:
        pipeline = publisher.pipeline(transaction=False)
        for _ in range(min(left, 100)):
            pipeline.publish("news", MESSAGE)
        left -= len(pipeline.execute())
    if not there.wait(60):
        raise SystemExit(f"{got} of {wanted} events came")
    return wanted / (time.monotonic() - began)
"""

# As the ASKED of `naming_programs.py`, but the loop turns while a line is waited for.
ASKED = """
from gevent.os import tp_read
print("READY", flush=True)
text = b""
while data := tp_read(0, 4096):
    text += data
    while b"\\n" in text:
        line, _, text = text.partition(b"\\n")
        what, count = line.decode().split()
        print(globals()[what](int(count)), flush=True)
"""
