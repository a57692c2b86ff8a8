"""OS threads: each has a hub of its own, and what it had there ends with it. In processes of their own, unpatched."""

from __future__ import annotations

import threading

import gevent
import pytest

from gpyro import core
from tests.programs import program
from tests.support import eventually, serving

PRELUDE = """
    import gc, logging, os, sys, threading, time, warnings
    import gevent
    from gpyro import core, errors

    class Echo(core.ObjBase):
        def echo(self, value):
            return value
        def where(self):
            return threading.get_ident()
        def wait(self, seconds):
            gevent.sleep(seconds)
            return seconds

    logging.getLogger("gpyro").setLevel(logging.ERROR)  # refused calls are part of some of these programs

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    def thread(function, *arguments):
        made = threading.Thread(target=function, args=arguments)
        made.start()
        return made

    def until(condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "not in time"
            time.sleep(0.002)
"""


class Echo(core.ObjBase):
    def echo(self, value):
        return value


def run(code, *arguments, **keywords):
    """Run a program to its end, which is to be a success with nothing said on stderr; gives its output."""
    with program(PRELUDE + code, *arguments, **keywords) as running:
        code, out, err = running.end()
        assert (code, err) == (0, ""), err
        return out


@pytest.fixture
def uri():
    obj = Echo()
    with serving(obj) as daemon:
        yield str(daemon.getProxyForObj(obj).URI)


@pytest.mark.parametrize("loop", ["libev-cext", "libuv-cffi"])
def test_one_proxy_in_many_threads(uri, loop):
    out = run(
        """
    proxy = core.getProxyForURI(sys.argv[1])
    wrong, hubs = [], set()
    def work(number):
        for step in range(50):
            value = number * 1000 + step
            if proxy.echo(value) != value:
                wrong.append(value)
        callers = [gevent.spawn(proxy.echo, n) for n in range(20)]
        gevent.joinall(callers)
        if [caller.value for caller in callers] != list(range(20)):
            wrong.append(number)
        hubs.add(id(gevent.get_hub()))
        barrier.wait()
    barrier = threading.Barrier(16)
    threads = [thread(work, number) for number in range(16)]
    for one in threads:
        one.join()
    assert proxy.echo("main") == "main"
    print(len(wrong), len(hubs))
    """,
        uri,
        environment={"GEVENT_LOOP": loop},
    )
    assert out == "0 16\n"


@pytest.mark.parametrize("loop", ["libev-cext", "libuv-cffi"])
@pytest.mark.parametrize("shared", [True, False], ids=["one proxy", "a proxy each"])
@pytest.mark.parametrize("count", [100, pytest.param(400, marks=pytest.mark.long)])
def test_short_threads_leave_no_descriptor(uri, loop, shared, count):
    out = run(
        """
    shared = core.getProxyForURI(sys.argv[1]) if sys.argv[2] == "True" else None
    answers = []
    def work(number):
        answers.append((shared or core.getProxyForURI(sys.argv[1])).echo(number))
    thread(work, -1).join()
    before = descriptors()
    for start in range(0, int(sys.argv[3]), 10):
        threads = [thread(work, number) for number in range(start, start + 10)]
        for one in threads:
            one.join()
    gc.collect()
    until(lambda: descriptors() <= before)
    print(sorted(answers) == list(range(-1, int(sys.argv[3]))))
    if shared is not None:
        assert len(shared._remote.sessions) <= 20
    """,
        uri,
        str(shared),
        str(count),
        environment={"GEVENT_LOOP": loop},
    )
    assert out == "True\n"


def test_a_thread_that_ends_with_calls_out_and_proxies_open(uri):
    out = run(
        """
    before = None
    def work():
        proxies = [core.getProxyForURI(sys.argv[1]) for _ in range(3)]
        for proxy in proxies:
            proxy._setPrivateChannel(True)
            proxy.echo(1)
        for proxy in proxies:
            gevent.spawn(proxy.echo, 2)
        gevent.sleep(0)
        kept.extend(proxies)
    kept = []
    thread(work).join()
    first = descriptors()
    thread(work).join()
    gc.collect()
    until(lambda: descriptors() <= first)
    for proxy in kept:
        assert proxy.echo(3) == 3
    del proxy
    kept.clear()
    print("good")
    """,
        uri,
    )
    assert out == "good\n"


def test_a_released_proxy_releases_in_every_thread():
    obj = Echo()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        done, go = threading.Event(), threading.Event()

        def work():
            proxy.echo("thread")
            done.set()
            while not go.is_set():
                gevent.sleep(0.005)

        thread = threading.Thread(target=work)
        thread.start()
        proxy.echo("main")
        eventually(done.is_set)
        assert sum(len(channel.served) for channel in daemon.connections) == 2
        proxy._release()
        eventually(lambda: sum(len(channel.served) for channel in daemon.connections) == 0)
        go.set()
        eventually(lambda: not thread.is_alive())
        thread.join()


@pytest.mark.parametrize("loop", ["libev-cext", "libuv-cffi"])
def test_a_daemon_in_a_thread_shut_down_from_another(loop):
    out = run(
        """
    obj = Echo()
    daemon = core.Daemon(port=0, norange=1)  # made here, run there
    uri = daemon.connect(obj)
    served = thread(daemon.requestLoop)
    proxy = core.getProxyForURI(uri)
    assert proxy.where() == served.ident
    late = Echo()
    assert core.getProxyForURI(daemon.connect(late)).echo(1) == 1
    daemon.disconnect(late)
    try:
        core.getProxyForURI("PYRO://127.0.0.1:%d/%s" % (daemon.port, late.objectGUID)).echo(1)
    except errors.ProtocolError as error:
        assert "unknown object" in str(error)
    else:
        raise AssertionError
    running = gevent.spawn(proxy.wait, 0.2)
    while not any(connection.serving for connection in daemon.connections) and not running.ready():
        gevent.sleep(0.001)
    daemon.shutdown()
    assert running.get(timeout=30) == 0.2, "what runs is finished"
    served.join(30)
    assert not served.is_alive()
    try:
        proxy.echo(1)
    except errors.ProtocolError:
        print("over")
    """,
        environment={"GEVENT_LOOP": loop},
    )
    assert out == "over\n"


def test_a_daemon_closed_from_another_thread():
    out = run(
        """
    daemon = core.Daemon(port=0, norange=1)
    uri = daemon.connect(Echo())
    served = thread(daemon.requestLoop)
    proxy = core.getProxyForURI(uri)
    assert proxy.echo(1) == 1
    def call():
        try:
            proxy.wait(5)
        except errors.MaybeExecutedError as error:
            return type(error).__name__
    caller = gevent.spawn(call)
    gevent.sleep(0.05)
    daemon.closedown()
    print(caller.get(timeout=30))
    served.join(30)
    assert not served.is_alive()
    try:
        daemon.requestLoop()
    except errors.DaemonError as error:
        print(error)
    """
    )
    assert out.splitlines()[0] == "MaybeExecutedError"
    assert "closed" in out.splitlines()[1]


def test_a_daemon_cannot_run_in_two_threads():
    out = run(
        """
    daemon = core.Daemon(port=0, norange=1)
    daemon.connect(Echo())
    served = thread(daemon.requestLoop)
    until(lambda: daemon._state is not None)
    try:
        daemon.start()
    except errors.DaemonError as error:
        print(error)
    daemon.shutdown()
    served.join()
    """
    )
    assert "another thread" in out


@pytest.mark.parametrize("loop", ["libev-cext", "libuv-cffi"])
@pytest.mark.parametrize("base", ["ObjBase", "SynchronizedObjBase"])
def test_two_daemons_in_two_threads_call_each_other_at_the_same_time(loop, base):
    """In both directions, each call with others inside it that go back and forth."""
    out = run(
        """
    class Player(getattr(core, sys.argv[1])):
        def __init__(self):
            super().__init__()
            self.threads = set()
        def play(self, left):
            self.threads.add(threading.get_ident())
            gevent.sleep(0)
            if not left:
                return []
            return [threading.current_thread().name, *self.other.play(left - 1)]
        def hit(self, left):
            return self.side.play(left)
    class Side(core.ObjBase):
        def play(self, left):
            gevent.sleep(0)
            return [threading.current_thread().name, *(self.back.play(left - 1) if left else [])]
    synchronized = sys.argv[1] == "SynchronizedObjBase"
    daemons = [core.Daemon(port=0, norange=1) for _ in range(2)]
    players, sides = [Player() for _ in daemons], [Side() for _ in daemons]
    for daemon, player, side in zip(daemons, players, sides):
        daemon.connect(player)
        daemon.connect(side)
    for here, there in ((0, 1), (1, 0)):
        players[here].other = players[there].getProxy()
        players[here].side = sides[there].getProxy()
        sides[here].back = sides[there].getProxy()
    served = [threading.Thread(target=daemon.requestLoop, name=str(n)) for n, daemon in enumerate(daemons)]
    for one in served:
        one.start()
    proxies = [player.getProxy() for player in players]
    got, failed = [], []
    def work(number):
        # A synchronized object cannot be come back to, so there the sides do it.
        call = proxies[number].hit if synchronized else proxies[number].play
        names = [str((number + step) % 2) for step in range(8)]
        expected = [*names[1:], names[0]] if synchronized else names[:7]
        for _ in range(20):
            answers = [gevent.spawn(call, 7) for _ in range(5)]
            for answer in answers:
                got.append(answer.get(timeout=30) == expected)
    callers = [thread(work, number) for number in (0, 1) for _ in range(2)]
    for one in callers:
        one.join(60)
    print(len(got), all(got))
    print(sorted(len(player.threads) for player in players))
    for daemon in daemons:
        daemon.shutdown()
    for one in served:
        one.join(30)
        assert not one.is_alive()
    """,
        base,
        environment={"GEVENT_LOOP": loop},
    )
    # Whoever calls, an object runs in the thread of its daemon.
    assert out == f"400 True\n{[0, 0] if base == 'SynchronizedObjBase' else [1, 1]}\n"


def test_many_daemons_in_threads_one_after_the_other_leave_no_descriptor():
    out = run(
        """
    def serve():
        daemon = core.Daemon(port=0, norange=1)
        uris.append(daemon.connect(Echo()))
        daemons.append(daemon)
        daemon.requestLoop()
    def once():
        uris.clear()
        daemons.clear()
        served = thread(serve)
        until(lambda: daemons)
        def call():
            proxy = core.getProxyForURI(uris[0])
            assert proxy.echo(1) == 1
            answered.append(1)
        caller = thread(call)
        caller.join()
        daemons[0].shutdown()
        served.join(30)
        assert not served.is_alive()
    uris, daemons, answered = [], [], []
    once()
    gc.collect()
    before = descriptors()
    for _ in range(20):
        once()
    daemons.clear()
    gc.collect()
    until(lambda: descriptors() <= before)
    print(len(answered))
    """
    )
    assert out == "21\n"


@pytest.mark.parametrize("loop", ["libev-cext", "libuv-cffi"])
def test_workers_of_gevents_thread_pool(uri, loop):
    out = run(
        """
    from gevent.threadpool import ThreadPool, ThreadPoolExecutor
    proxy = core.getProxyForURI(sys.argv[1])
    assert proxy.echo(0) == 0
    before = descriptors()
    for _ in range(3):
        pool = ThreadPool(4)
        print(pool.map(proxy.echo, range(8)))
        pool.join()
        pool.kill()
    print(gevent.get_hub().threadpool.apply(proxy.echo, (9,)))
    assert proxy.echo(10) == 10
    gc.collect()
    until(lambda: descriptors() <= before + 12)
    """,
        uri,
        environment={"GEVENT_LOOP": loop},
    )
    assert out == "[0, 1, 2, 3, 4, 5, 6, 7]\n" * 3 + "9\n"


def test_proxies_collected_in_another_thread_end_their_sessions():
    obj = Echo()
    with serving(obj) as daemon:
        proxies = [daemon.getProxyForObj(obj) for _ in range(5)]
        for proxy in proxies:
            proxy.echo(1)
        del proxy
        assert len(daemon.connections[0].served) == 5
        thread = threading.Thread(target=proxies.clear)
        thread.start()
        eventually(lambda: not daemon.connections[0].served)
        thread.join()


def test_a_patched_process_with_real_threads(uri):
    out = run(
        """
    pool = gevent.get_hub().threadpool
    proxy = core.getProxyForURI(sys.argv[1])
    greenlets = [threading.Thread(target=lambda: got.append(proxy.echo(1))) for _ in range(10)]
    got = []
    for one in greenlets:
        one.start()
    for one in greenlets:
        one.join()
    print(got, pool.apply(proxy.echo, (2,)))
    """,
        uri,
        patched=True,
    )
    assert out == f"{[1] * 10} 2\n"
