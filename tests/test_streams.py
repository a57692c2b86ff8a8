"""Generators and iterators as arguments and results, between real ends."""

from __future__ import annotations

import gc
import itertools
import threading
import time
import weakref

import gevent
import pytest
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.queue import Queue

import gpyro
from gpyro import core
from gpyro.errors import PyroError, RemoteError, SerializationError, StreamLostError, TimeoutError
from gpyro.streams import RemoteIterator
from gpyro.wire.hello import Hello
from tests.programs import program
from tests.support import eventually, serving, turns, uri_of
from tests.test_dispatch_bounds import configured


class Source(core.ObjBase):
    """Counts what is made, and remembers how its generators end."""

    def __init__(self):
        super().__init__()
        self.made = 0
        self.ends = []
        self.kept = None
        self.go_on = Event()
        self.queue = Queue()

    def numbers(self, count):
        try:
            for number in range(count):
                self.made += 1
                yield number
        except GeneratorExit:
            self.ends.append("closed")
            raise
        else:
            self.ends.append("exhausted")

    def endless(self, size=1):
        return (bytes(size) for _ in self.numbers(1 << 40))

    def waiting(self):
        try:
            yield "first"
            self.go_on.wait()
            yield "second"
        finally:
            self.ends.append("closed")

    def late(self):
        self.made += 1
        with gpyro.shield():
            self.go_on.wait()
            self.kept = self.numbers(5)
            return self.kept

    def queued(self):
        while (item := self.queue.get()) is not None:
            yield item

    def breaks(self, after):
        yield from range(after)
        raise ValueError("in the middle")

    def total(self, items):
        return sum(items)

    def first(self, items):
        return next(iter(items))

    def keep(self, items):
        self.kept = items

    def doubled(self, items):
        for item in items:
            yield 2 * item

    def pair(self):
        return {"left": iter([1, 2]), "right": [map(str, range(3))]}

    def twice_the_same(self):
        items = iter("abc")
        return [items, items]

    def unsendable(self):
        yield object()

    def unsendable_beside_a_stream(self):
        return [iter([1]), object()]

    def whoami(self):
        self.getLocalStorage().name = "mine"
        return self._whoami()

    def _whoami(self):
        yield self.getLocalStorage().name
        yield gpyro.current_context().correlation_id

    def echo(self, value=None):
        return value


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def daemon(source):
    with serving(source) as made:
        yield made


@pytest.fixture
def proxy(daemon, source):
    made = daemon.getProxyForObj(source)
    yield made
    made._release()


def tables(daemon):
    """The streams of the only connection, as its accepting end has them."""
    (channel,) = daemon.connections
    return channel.attachments().streams


def near_table(proxy):
    """The streams as the proxy's end has them."""
    (session,) = proxy._remote.sessions.values()
    return session.channel.attachments().streams


def all_over(daemon, proxy):
    """Nothing is left of any stream at either end."""
    far, near = tables(daemon), near_table(proxy)
    parts = [table for one in (far, near) for table in (one.senders, one.receivers, one._by_session)]
    return not any(parts)


def collect(stream, got):
    """Put what comes into `got`, up to the end or an exception."""
    for item in stream:
        got.append(item)


# Both ways


@pytest.mark.parametrize("serializer", ["msgpack", "json", "pickle"])
def test_streams_go_both_ways_with_each_serializer(serializer, source):
    with configured(PYRO_SERIALIZER=serializer), serving(source) as daemon:
        proxy = daemon.getProxyForObj(source)
        assert list(proxy.numbers(1000)) == list(range(1000))
        assert proxy.total(number for number in range(1000)) == 499500
        doubled = proxy.doubled(number for number in range(1000))
        assert isinstance(doubled, RemoteIterator)
        assert list(doubled) == list(range(0, 2000, 2))
        assert list(proxy.echo([(n for n in range(3)), 5])[0]) == [0, 1, 2]
        eventually(lambda: all_over(daemon, proxy))
        proxy._release()


def test_iterators_of_all_kinds_stream(proxy):
    assert proxy.total(iter([1, 2])) == 3
    assert proxy.total(map(int, "12")) == 3
    assert proxy.total(itertools.islice(itertools.count(), 4)) == 6
    assert proxy.total(items=zip()) == 0
    pair = proxy.pair()
    assert list(pair["left"]) == [1, 2]
    assert list(pair["right"][0]) == ["0", "1", "2"]


def test_containers_and_open_files_do_not_stream(proxy, tmp_path):
    assert proxy.echo([range(3), [1]]) == [range(3), [1]]
    (tmp_path / "file").write_text("line\n")
    with (tmp_path / "file").open() as file, pytest.raises(SerializationError, match="open files cannot travel"):
        proxy.total(file)


def test_what_is_there_twice_is_one_stream(proxy):
    first, second = proxy.twice_the_same()
    assert first is second
    assert list(first) == ["a", "b", "c"]


def test_a_stream_is_consumed_once(proxy):
    stream = proxy.numbers(3)
    assert list(stream) == [0, 1, 2]
    assert list(stream) == []


def test_a_stream_can_be_handed_on(proxy):
    assert proxy.total(proxy.numbers(500)) == sum(range(500))


def test_a_generator_is_not_started_before_somebody_reads(proxy, source):
    stream = proxy.numbers(10)
    turns()
    assert source.made == 0
    assert next(stream) == 0


def test_an_item_leaves_at_once_although_the_next_one_takes_its_time(proxy, source):
    stream = proxy.waiting()
    assert next(stream) == "first"
    source.go_on.set()
    assert list(stream) == ["second"]
    stream = proxy.queued()
    for number in range(5):
        source.queue.put(number)
        assert next(stream) == number
    source.queue.put(None)
    assert list(stream) == []


def test_two_greenlets_share_the_items(proxy):
    stream = proxy.numbers(5000)
    got = [[], []]

    def read(mine):
        for item in stream:
            mine.append(item)
            if not len(mine) % 50:
                gevent.sleep(0)

    gevent.joinall([gevent.spawn(read, mine) for mine in got], raise_error=True)
    assert sorted(got[0] + got[1]) == list(range(5000))
    assert got[0]
    assert got[1]


def test_the_generator_runs_in_the_context_of_its_call(proxy):
    with gpyro.call_context(correlation_id="chain-7"):
        stream = proxy.whoami()
    assert list(stream) == ["mine", "chain-7"]


def test_a_temporary_proxy_lives_as_long_as_its_stream(daemon, source):
    stream = daemon.getProxyForObj(source).numbers(1000)
    gc.collect()
    assert list(stream) == list(range(1000))


def test_observed_calls_stream_too(proxy):
    seen = []

    class Watch(gpyro.Observer):
        def call_ended(self, call):
            seen.append((call.side, call.method, call.outcome))

    end = gpyro.observe(Watch())
    try:
        assert list(proxy.doubled(iter([1, 2]))) == [2, 4]
        proxy._setOneway(["keep"])
        with pytest.raises(SerializationError, match="one-way"):
            proxy.keep(iter([1]))
    finally:
        end()
    assert sorted(seen) == [("client", "doubled", "ok"), ("client", "keep", "error"), ("server", "doubled", "ok")]


# Flow control


def test_a_slow_reader_parks_the_generator_and_nothing_else(proxy, source):
    with configured(PYRO_STREAM_ITEMS=8):
        slow = core.getProxyForURI(proxy.URI)
    stream = slow.numbers(1000)
    assert next(stream) == 0
    turns(5)
    assert source.made <= 16
    assert proxy.echo(7) == 7
    assert list(proxy.numbers(3)) == [0, 1, 2]
    assert list(stream) == list(range(1, 1000))
    slow._release()


def test_bytes_are_bounded_too(proxy, source):
    with configured(PYRO_STREAM_BYTES=40_000):
        slow = core.getProxyForURI(proxy.URI)
    stream = slow.endless(10_000)
    assert next(stream) == bytes(10_000)
    turns(5)
    assert source.made <= 16
    for _ in range(100):
        assert next(stream) == bytes(10_000)
    slow._release()


def test_an_item_larger_than_all_the_credit_travels_alone(proxy):
    with configured(PYRO_STREAM_BYTES=4096):
        slow = core.getProxyForURI(proxy.URI)
    sizes = [1, 100_000, 5, 300_000, 300_000, 2]
    assert [len(item) for item in slow.echo(bytes(size) for size in sizes)] == sizes
    assert slow.total(len(item) for item in slow.echo(bytes(size) for size in sizes)) == sum(sizes)
    slow._release()


def test_many_streams_beside_each_other(daemon, proxy):
    streams = [proxy.numbers(100) for _ in range(2000)]
    for number in range(100):
        assert {next(stream) for stream in streams} == {number}
    assert proxy.echo(1) == 1
    assert all(next(stream, None) is None for stream in streams)
    eventually(lambda: all_over(daemon, proxy))


def test_a_generator_that_computes_lets_others_have_their_turn(proxy):
    def busy():
        while True:
            until = time.perf_counter() + 0.0005
            while time.perf_counter() < until:
                pass
            yield 1

    uploading = gevent.spawn(proxy.total, busy())
    for number in range(20):
        assert proxy.echo(number) == number
    uploading.kill()


# Leaving early


def leave_by_break(stream):
    for _ in stream:
        break


def leave_by_close(stream):
    next(stream)
    stream.close()
    assert list(stream) == []


def leave_by_with(stream):
    with stream:
        next(stream)


def leave_by_letting_go(stream):
    next(stream)


def leave_by_kill(stream):
    def read(stream):
        for _ in stream:
            gevent.sleep(0)

    reading = gevent.spawn(read, stream)
    turns(2)
    reading.kill()


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_close, leave_by_with, leave_by_letting_go, leave_by_kill])
def test_leaving_early_closes_the_generator(leave, daemon, proxy, source):
    leave(proxy.endless())
    eventually(lambda: source.ends == ["closed"])
    eventually(lambda: all_over(daemon, proxy))


def test_a_generator_that_waits_for_something_is_closed_too(daemon, proxy, source):
    stream = proxy.waiting()
    assert next(stream) == "first"
    turns()
    stream.close()
    eventually(lambda: source.ends == ["closed"])
    eventually(lambda: all_over(daemon, proxy))


def test_a_shielded_step_is_finished_first(daemon, source):
    done = []

    class Careful(core.ObjBase):
        def items(self):
            try:
                yield 1
                with gpyro.shield():
                    source.go_on.wait()
                    done.append("step")
                yield 2
            finally:
                done.append("closed")

    careful = Careful()
    daemon.connect(careful)
    stream = daemon.getProxyForObj(careful).items()
    next(stream)
    turns()
    stream.close()
    turns()
    assert done == []
    source.go_on.set()
    eventually(lambda: done == ["step", "closed"])


def test_an_argument_that_is_not_read_to_its_end_is_closed(daemon, proxy):
    ends = []

    def endless():
        try:
            yield from itertools.count()
        finally:
            ends.append("closed")

    assert proxy.first(endless()) == 0
    eventually(lambda: ends == ["closed"])
    eventually(lambda: all_over(daemon, proxy))


def test_what_is_no_generator_is_closed_if_it_can_be(proxy):
    class Rows:
        closed = False

        def __iter__(self):
            return self

        def __next__(self):
            return 1

        def close(self):
            self.closed = True

    rows = Rows()
    assert proxy.first(rows) == 1
    eventually(lambda: rows.closed)


def test_an_argument_can_be_kept_for_later(daemon, proxy, source):
    proxy.keep(number for number in range(500))
    assert list(source.kept) == list(range(500))
    source.kept = None
    eventually(lambda: all_over(daemon, proxy))


def test_an_argument_of_a_call_that_failed_is_closed(daemon, proxy):
    generator = (number for number in "abc")
    with pytest.raises(TypeError):
        proxy.total(generator)
    eventually(lambda: generator.gi_frame is None)
    eventually(lambda: all_over(daemon, proxy))


def test_an_argument_of_a_call_that_was_not_started_stays_as_it_is(daemon, proxy):
    generator = (number for number in range(3))
    with pytest.raises(AttributeError):
        proxy.unknown(generator)
    eventually(lambda: all_over(daemon, proxy))
    assert proxy.total(generator) == 3


def test_a_result_that_nobody_waits_for_any_more_is_closed(daemon, proxy, source):
    calling = gevent.spawn(proxy.late)
    eventually(lambda: source.made)
    calling.kill()
    source.go_on.set()
    eventually(lambda: source.kept is not None and source.kept.gi_frame is None)
    eventually(lambda: all_over(daemon, proxy))


def test_a_result_that_cannot_be_read_is_closed(daemon, source):
    with configured(PYRO_MAX_STREAMS=1):
        proxy = core.getProxyForURI(uri_of(daemon, source))
    with pytest.raises(SerializationError, match="PYRO_MAX_STREAMS"):
        proxy.pair()
    eventually(lambda: all_over(daemon, proxy))
    assert list(proxy.numbers(2)) == [0, 1]
    proxy._release()


def test_a_program_may_end_amid_its_streams(daemon, source):
    code = """
        import itertools, sys
        from gpyro import core
        proxy = core.getProxyForURI(sys.argv[1])
        stream, other = proxy.endless(), proxy.numbers(5)
        next(stream)
        proxy.keep(itertools.count())
    """
    with program(code, str(uri_of(daemon, source))) as client:
        assert client.end() == (0, "", "")
    eventually(lambda: source.ends == ["closed"])
    with pytest.raises(StreamLostError):
        list(source.kept)


def test_a_forked_child_has_nothing_of_its_parents_streams(daemon, source):
    code = """
        import os, sys, gevent
        from gpyro import core, errors
        proxy = core.getProxyForURI(sys.argv[1])
        stream = proxy.numbers(5)
        print(next(stream), flush=True)
        if not (child := gevent.os.fork()):
            try:
                while True:
                    next(stream)
            except errors.PyroError as error:
                print(error, flush=True)
            del stream
            gevent.sleep(0.01)
            os._exit(0)
        gevent.os.waitpid(child, 0)
        print(sum(stream))
    """
    with program(code, str(uri_of(daemon, source)), environment={"PYTHONWARNINGS": "ignore"}) as client:
        assert client.line() == "0"
        assert "forked" in client.line()
        assert client.ended_well() == "10\n"


def test_a_deadline_ends_the_stream_at_both_ends(daemon, proxy, source):
    with gpyro.deadline(1):
        stream = proxy.waiting()
    assert next(stream) == "first"
    with pytest.raises((TimeoutError, StreamLostError)):
        next(stream)
    assert list(stream) == []
    eventually(lambda: source.ends == ["closed"])
    eventually(lambda: all_over(daemon, proxy))


def test_the_deadline_of_the_reader_counts_as_well(daemon, proxy, source):
    stream = proxy.waiting()
    next(stream)
    with gpyro.deadline(0.02), pytest.raises(TimeoutError, match="next item"):
        next(stream)
    eventually(lambda: source.ends == ["closed"])


# What fails


def test_an_exception_arrives_where_it_was_raised(daemon, proxy, caplog):
    stream = proxy.breaks(200)
    got = []
    with pytest.raises(ValueError, match="in the middle") as caught:
        collect(stream, got)
    assert got == list(range(200))
    lines = "".join(caught.value.remote_stacktrace)
    assert "in breaks" in lines
    assert "stream_ends" not in lines
    assert list(stream) == []
    assert any("raised ValueError" in record.getMessage() for record in caplog.records)
    eventually(lambda: all_over(daemon, proxy))


def test_an_exception_of_an_argument_arrives_in_the_method(daemon, proxy):
    def breaking():
        yield 1
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        proxy.total(breaking())
    eventually(lambda: all_over(daemon, proxy))


def test_an_item_that_cannot_travel(daemon, proxy, source):
    stream = proxy.unsendable()
    with pytest.raises(SerializationError, match="item: object: "):
        next(stream)
    assert list(stream) == []
    proxy.keep(iter([[1, object]]))
    with pytest.raises(SerializationError, match=r"item\[1\]: .*classes cannot travel"):
        next(source.kept)
    assert list(source.kept) == []
    # What the method does not catch is the method's error, and not one of the call.
    with pytest.raises(RemoteError, match="SerializationError: item: ") as caught:
        proxy.total(iter([1, object]))
    assert caught.value.__context__ is None
    eventually(lambda: all_over(daemon, proxy))


def test_a_value_that_cannot_travel_has_no_streams(daemon, proxy, source):
    with pytest.raises(SerializationError, match=r"result\[1\]: object: ") as caught:
        proxy.unsendable_beside_a_stream()
    assert caught.value.__context__ is None
    generator = iter([1])
    with pytest.raises(SerializationError, match=r"args\[1\]: object: ") as caught:
        proxy.total(generator, object())
    assert not isinstance(caught.value.__context__, SerializationError)
    assert next(generator) == 1
    assert all_over(daemon, proxy)


def test_what_came_before_an_item_that_cannot_travel_arrives(source, daemon, proxy):
    proxy.keep(item for item in [1, 2, 3, object()])
    assert [next(source.kept) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(SerializationError):
        next(source.kept)


def test_an_item_over_the_limit_of_a_message(daemon, proxy):
    with configured(PYRO_MAX_MESSAGE=5000):
        small = core.getProxyForURI(proxy.URI)
    small._setPrivateChannel(True)
    stream = small.endless(6000)
    with pytest.raises(SerializationError, match="PYRO_MAX_MESSAGE"):
        next(stream)
    small._release()


def test_a_serialization_error_of_the_generator_is_not_taken_for_one_of_the_item(proxy):
    class Relay(core.ObjBase):
        def items(self):
            yield proxy.echo(object())

    relay = Relay()
    with serving(relay) as other, pytest.raises(RemoteError, match="SerializationError"):
        next(other.getProxyForObj(relay).items())


def test_a_release_ends_the_streams(daemon, source):
    proxy = daemon.getProxyForObj(source)
    stream = proxy.endless()
    proxy.keep(itertools.count())
    assert next(stream) == b"\0"
    assert next(source.kept) == 0
    proxy._release()
    for reader in (stream, source.kept):
        with pytest.raises(StreamLostError, match=r"released; the stream broke off after \d+ items"):
            collect(reader, [])
        assert list(reader) == []
    eventually(lambda: source.ends == ["closed"])


def test_a_lost_connection_ends_the_streams(daemon, proxy, source):
    stream = proxy.endless()
    proxy.keep(itertools.count())
    assert next(stream) == b"\0"
    assert next(source.kept) == 0
    (channel,) = daemon.connections
    channel.close("pulled out")
    for reader in (stream, source.kept):
        with pytest.raises(StreamLostError, match="connection lost: ") as caught:
            collect(reader, [])
        assert caught.value.items > 0
        assert caught.value.may_have_run
    eventually(lambda: source.ends == ["closed"])


def test_a_client_that_is_killed_ends_its_streams(daemon, source):
    code = """
        import itertools, sys
        from gpyro import core
        proxy = core.getProxyForURI(sys.argv[1])
        stream = proxy.endless()
        next(stream)
        proxy.keep(itertools.count())
        print("reading", flush=True)
        for _ in stream:
            pass
    """
    with program(code, str(uri_of(daemon, source))) as client:
        assert client.line() == "reading"
        eventually(lambda: source.made > 10)
        assert next(source.kept) == 0
        client.kill()
        with pytest.raises(StreamLostError):
            list(source.kept)
        eventually(lambda: source.ends == ["closed"])


def test_a_main_program_may_wait_for_items(daemon, source):
    code = """
        import sys
        from gpyro import core
        print(list(core.getProxyForURI(sys.argv[1]).waiting()))
    """
    with program(code, str(uri_of(daemon, source))) as client:
        eventually(lambda: daemon.connections and tables(daemon).senders)
        gevent.spawn_later(0.1, source.go_on.set)
        assert client.ended_well() == "['first', 'second']\n"


# What is refused


def test_one_way_calls_take_no_streams(proxy, source):
    proxy._setOneway(["keep"])
    generator = iter([1])
    with pytest.raises(SerializationError, match="one-way calls take no generators"):
        proxy.keep(generator)
    assert next(generator) == 1


def test_batches_take_no_streams(proxy):
    batch = gpyro.batch(proxy)
    batch.total(iter([1]))
    with pytest.raises(SerializationError, match="generators and iterators"):
        batch()
    batch.numbers(3)
    with pytest.raises(SerializationError, match="generators and iterators"):
        batch()


def test_at_most_so_many_streams(daemon, source):
    with configured(PYRO_MAX_STREAMS=3), serving(source) as few:
        proxy = few.getProxyForObj(source)
        streams = [proxy.numbers(5) for _ in range(3)]
        with pytest.raises(SerializationError, match="PYRO_MAX_STREAMS"):
            proxy.numbers(5)
        with pytest.raises(SerializationError, match="PYRO_MAX_STREAMS"):
            proxy.keep([iter([1]) for _ in range(4)])
        assert list(streams.pop()) == [0, 1, 2, 3, 4]
        assert list(proxy.numbers(2)) == [0, 1]
        proxy._release()


def test_a_value_with_too_many_streams(proxy):
    with pytest.raises(SerializationError, match="more than 1000 streams in one value"):
        proxy.echo([iter([1]) for _ in range(1001)])


def test_a_peer_that_knows_no_streams_gets_none(monkeypatch, source):
    monkeypatch.setattr(
        "gpyro.net.opening.client_hello",
        lambda settings, proves=False: Hello(serializers=("msgpack",), message=1 << 20),
    )
    with serving(source) as daemon:
        proxy = daemon.getProxyForObj(source)
        with pytest.raises(SerializationError, match="generators and iterators cannot travel"):
            proxy.numbers(3)
        assert proxy.echo(1) == 1
        proxy._release()


def test_a_stream_belongs_to_its_thread(proxy):
    stream = proxy.numbers(3)
    errors = []

    def read():
        try:
            next(stream)
        except PyroError as error:
            errors.append(str(error))
        errors.append(get_hub_if_exists())

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    # Nor does asking leave a hub behind.
    assert errors == ["a stream is iterated in the thread that it arrived in", None]
    assert next(stream) == 0


# Calls that must not overlap


def test_the_steps_of_a_synchronized_object_do_not_overlap_its_calls():
    class Ledger(core.SynchronizedObjBase):
        inside = 0
        worst = 0

        def _work(self):
            self.inside += 1
            self.worst = max(self.worst, self.inside)
            gevent.sleep(0.001)
            self.inside -= 1

        def rows(self):
            for number in range(10):
                self._work()
                yield number

        def touch(self):
            self._work()

    ledger = Ledger()
    with serving(ledger) as daemon:
        proxy = daemon.getProxyForObj(ledger)
        touching = [gevent.spawn(proxy.touch) for _ in range(10)]
        assert list(proxy.rows()) == list(range(10))
        gevent.joinall(touching, raise_error=True)
        assert ledger.worst == 1
        proxy._release()


def test_the_lock_is_let_go_of_while_a_generator_is_read():
    class Ledger(core.SynchronizedObjBase):
        def rows(self):
            for number in range(100):
                turns(1)
                yield number

        def touch(self):
            return True

    ledger = Ledger()
    with serving(ledger) as daemon:
        proxy = daemon.getProxyForObj(ledger)
        for number in proxy.rows():
            assert proxy.touch()
            if number == 20:
                break
        assert proxy.touch()
        proxy._release()


def test_where_calls_do_not_overlap_streams_do_not_either(source):
    with configured(PYRO_MULTITHREADED=0), serving(source) as daemon:
        proxy = daemon.getProxyForObj(source)
        assert list(proxy.numbers(300)) == list(range(300))
        assert next(proxy.endless()) == b"\0"
        assert proxy.echo(1) == 1
        eventually(lambda: source.ends == ["exhausted", "closed"])
        proxy._release()


# Nothing is left


def test_thousands_of_streams_ended_in_every_way_leave_nothing(daemon, proxy, source):
    class Item:
        pass

    marks = []

    def marked(items):
        mark = Item()
        marks.append(weakref.ref(mark))
        yield from items
        del mark

    for _ in range(250):
        assert list(proxy.numbers(2)) == [0, 1]
        leave_by_break(proxy.endless())
        proxy.numbers(3)  # never read
        with pytest.raises(ValueError, match="middle"):
            list(proxy.breaks(1))
        assert proxy.total(marked([1, 2])) == 3
        assert proxy.first(marked(itertools.count())) == 0
        assert proxy.echo() is None
        proxy.keep(marked([1]))
    reading = [gevent.spawn(leave_by_kill, proxy.endless()) for _ in range(100)]
    gevent.joinall(reading, raise_error=True)
    source.kept = None
    eventually(lambda: gc.collect() is not None and all_over(daemon, proxy))
    assert proxy.echo(1) == 1
    assert len(marks) == 500  # those that were kept were never begun
    eventually(lambda: gc.collect() is not None and not any(mark() for mark in marks))


def test_an_iterator_says_what_it_is(proxy):
    stream = proxy.numbers(1)
    assert repr(stream).startswith("<RemoteIterator 2 of ")
    assert repr(stream).endswith(" open>")
    list(stream)
    assert repr(stream).endswith(" ended>")
