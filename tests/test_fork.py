"""Forking: what is open stays the parent's, each call runs once, and the child can make connections of its own."""

from __future__ import annotations

import signal

import gevent
import pytest

from gpyro import core
from gpyro.wire.frames import Kind
from tests.net.peers import CODEC, Raw
from tests.programs import program
from tests.support import eventually, serving

FORKS = ["unpatched os.fork", "unpatched gevent.os.fork", "patched os.fork"]

SERVER = """
    import os, sys
    import gevent, gevent.os
    from gpyro import core

    path, fork, child, base = sys.argv[1:]
    if fork != "unpatched os.fork":
        # gevent does it after its first fork, when a child that ends at once may have sent its signal already.
        gevent.get_hub().loop.install_sigchld()
    fork, waitpid = (gevent.os.fork, gevent.os.waitpid) if "gevent" in fork else (os.fork, os.waitpid)
    main = os.getpid()
    diary = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    class Forker(getattr(core, base)):
        def mark(self, number):
            os.write(diary, b"%d %d\\n" % (number, os.getpid()))
            return number

        def slow(self, number):
            gevent.sleep(0.01)
            return self.mark(number)

        def fork(self):
            pid = fork()
            if pid == 0:
                if child == "exits":
                    os._exit(7)
                return "child"
            self.pid = pid
            return pid

        def reap(self):
            with gevent.Timeout(30):
                while True:
                    pid, status = waitpid(self.pid, os.WNOHANG)
                    if pid:
                        return os.waitstatus_to_exitcode(status)
                    gevent.sleep(0.01)

    daemon = core.Daemon(port=0, norange=1)
    print(daemon.connect(Forker()), flush=True)
    daemon.requestLoop()
    if os.getpid() != main:
        gevent.sleep(0.05)  # the child's loop works
        os._exit(7)
    """


def marks(path):
    """Number and process of each call that ran."""
    with open(path) as file:
        return [tuple(map(int, line.split())) for line in file]


def forking(path, fork, child, base="ObjBase", **environment):
    return program(SERVER, str(path), fork, child, base, patched=fork.startswith("patched"), environment=environment)


@pytest.mark.parametrize("base", ["ObjBase", "SynchronizedObjBase"])
@pytest.mark.parametrize("child", ["exits", "returns"])
@pytest.mark.parametrize("fork", FORKS)
def test_calls_behind_one_that_forks_run_once(tmp_path, fork, child, base):
    path = tmp_path / "diary"
    with forking(path, fork, child, base) as server:
        uri = core.PyroURI(server.line())
        other = core.getProxyForURI(uri)
        other.mark(0)
        raw = Raw.connect(uri.port)
        raw.open(1, uri.objectID)
        for number in range(1, 20):
            raw.call(2 * number - 1, 1, "slow" if number % 2 else "mark", number)
        batch = []
        send, raw.send = raw.send, batch.append
        raw.call(101, 1, "fork")
        for number in range(100, 150):
            raw.call(2 * number + 1, 1, "slow" if number % 2 else "mark", number)
        raw.send = send
        raw.send(b"".join(batch))
        answers = [raw.read() for _ in range(70)]
        assert {frame[0] for frame in answers} == {int(Kind.RESULT)}
        (forked,) = [CODEC.decode(frame[4]) for frame in answers if frame[2] == 101]
        assert forked != "child", "the answer is the parent's"
        assert other.reap() == 7, "a child that returns from the method comes out of the request loop"
        other.mark(200)
        raw.call(999, 1, "mark", 201)
        assert CODEC.decode(raw.read()[4]) == 201
        raw.close()
        numbers = sorted(number for number, _ in marks(path))
        if child == "returns" and base == "ObjBase":
            # Methods that slept when the fork came are copied with their process, as Python's fork has it.
            numbers = sorted({number for number in numbers if number < 20}) + [n for n in numbers if n >= 20]
        assert numbers == [0, *range(1, 20), *range(100, 150), 200, 201]
        server.send_signal(signal.SIGTERM)
        code, _, err = server.end()
        assert (code, err) == (0, "")


def test_calls_behind_one_that_forks_run_once_under_libuv(tmp_path):
    path = tmp_path / "diary"
    with forking(path, "unpatched gevent.os.fork", "returns", GEVENT_LOOP="libuv-cffi") as server:
        proxy = core.getProxyForURI(server.line())
        callers = [gevent.spawn(proxy.fork)] + [gevent.spawn(proxy.mark, number) for number in range(50)]
        gevent.joinall(callers, timeout=30)
        assert [caller.value for caller in callers[1:]] == list(range(50))
        assert proxy.reap() == 7
        assert proxy.mark(50) == 50
        assert sorted(number for number, _ in marks(path)) == list(range(51))


CLIENT = """
    import gc, os, sys
    import gevent, gevent.os
    from gpyro import core
    fork, waitpid = (gevent.os.fork, gevent.os.waitpid) if "gevent" in sys.argv[2] else (os.fork, os.waitpid)
    proxy = core.getProxyForURI(sys.argv[1])
    other = core.getProxyForURI(sys.argv[1])
    kept = proxy.echo
    assert proxy.echo("before") == other.echo("before") == "before"
    pids = []
    for number in range(3):
        pid = fork()
        if pid == 0:
            assert proxy.echo("child") == "child"
            assert kept("kept") == "kept"
            callers = [gevent.spawn(core.getProxyForURI(sys.argv[1]).echo, n) for n in range(20)]
            gevent.joinall(callers, timeout=30)
            assert [caller.value for caller in callers] == list(range(20))
            other._release()
            del proxy, kept, callers
            gc.collect()
            gevent.sleep(0.05)
            sys.exit(5)  # with finalisers and all
        pids.append(pid)
    assert proxy.echo("during") == "during"
    for pid in pids:
        assert os.waitstatus_to_exitcode(waitpid(pid, 0)[1]) == 5
    print("forked", flush=True)
    sys.stdin.readline()
    assert proxy.echo("after") == other.echo("after") == "after"
    """


class Echo(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.storages = []

    def echo(self, value):
        storage = self.getLocalStorage()
        if storage not in self.storages:
            self.storages.append(storage)
        return value


@pytest.mark.parametrize("loop", ["libev-cext", "libuv-cffi"])
@pytest.mark.parametrize("fork", FORKS)
def test_a_client_that_forks_workers(fork, loop):
    if fork == "unpatched os.fork" and loop == "libuv-cffi":
        pytest.skip("gevent's loop does not survive a bare os.fork under libuv")
    obj = Echo()
    with serving(obj) as daemon:
        uri = str(daemon.getProxyForObj(obj).URI)
        patched = fork.startswith("patched")
        with program(CLIENT, uri, fork, patched=patched, environment={"GEVENT_LOOP": loop}) as client:
            assert client.line() == "forked"
            eventually(lambda: len(daemon.connections) == 1)
            (parents,) = daemon.connections
            assert len(parents.served) == 2, "its sessions are unharmed"
            assert [storage.caller.connected for storage in obj.storages[:2]] == [True, True]
            client.say("go on")
            assert client.end() == (0, "", "")


OWNER = """
    import gc, os, sys
    import gevent, gevent.os
    from gpyro import core
    class Echo(core.ObjBase):
        def echo(self, value):
            return value
    fork, waitpid = (gevent.os.fork, gevent.os.waitpid) if "gevent" in sys.argv[2] else (os.fork, os.waitpid)
    daemon = core.Daemon(host="./u:" + sys.argv[1])
    uri = daemon.connect(Echo())
    daemon.start()
    proxy = core.getProxyForURI(uri)
    assert proxy.echo(1) == 1
    pid = fork()
    if pid == 0:
        gevent.sleep(0.05)
        if sys.argv[3] == "shuts down":
            daemon.shutdown(True)
            daemon.closedown()
        del daemon
        gc.collect()
        gevent.sleep(0.05)
        sys.exit(5)
    assert os.waitstatus_to_exitcode(waitpid(pid, 0)[1]) == 5
    assert os.path.exists(sys.argv[1])
    assert proxy.echo(2) == 2
    assert core.getProxyForURI(uri).echo(3) == 3
    proxy._setPrivateChannel(True)
    assert proxy.echo(4) == 4
    daemon.stop()
    assert not os.path.exists(sys.argv[1])
    """


@pytest.mark.parametrize("ending", ["goes", "shuts down"])
@pytest.mark.parametrize("fork", FORKS)
def test_the_childs_finalisers_leave_the_parents_daemon_alone(tmp_path, fork, ending):
    with program(OWNER, str(tmp_path / "socket"), fork, ending, patched=fork.startswith("patched")) as owner:
        assert owner.end() == (0, "", "")


HOLDER = """
    import os, stat, sys, threading
    import gevent
    from gpyro import core, errors
    class Echo(core.ObjBase):
        def echo(self, value):
            return value
    where = sys.argv[1]
    def sockets():
        found = []
        for number in range(3, 100):
            try:
                if stat.S_ISSOCK(os.fstat(number).st_mode):
                    found.append(number)
            except OSError:
                pass
        return found
    daemon = core.Daemon(port=0, norange=1)
    uri = daemon.connect(Echo())
    ready = threading.Event()
    if where == "thread":
        def run():
            ready.set()
            daemon.requestLoop()
        thread = threading.Thread(target=run)
        thread.start()
        ready.wait()
    else:
        daemon.start()
    proxy = core.getProxyForURI(uri)
    assert proxy.echo(1) == 1
    read, write = os.pipe()
    told, asked = os.pipe()
    assert len(sockets()) >= 3
    pid = os.fork()
    if pid == 0:
        os.close(write)
        gevent.sleep(0.05)
        held = len(sockets())
        os.write(asked, b"x")
        os.read(read, 1)  # stay until the parent is done
        os._exit(held)
    os.read(told, 1)
    if where == "thread":
        daemon.shutdown()
        thread.join()
    else:
        daemon.stop()
    gevent.sleep(0.05)
    try:
        core.getProxyForURI(uri).echo(2)
    except errors.NotSentError as error:
        print(str(error).rpartition(": ")[2], flush=True)
    os.close(write)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_child_that_lives_on_does_not_hold_the_parents_sockets(where):
    with program(HOLDER, where) as holder:
        assert holder.end() == (0, "Connection refused\n", "")


def test_a_forked_process_of_multiprocessing():
    obj = Echo()
    with serving(obj) as daemon:
        code = """
            import multiprocessing, sys
            from gpyro import core
            proxy = core.getProxyForURI(sys.argv[1])
            def work(queue):
                queue.put(proxy.echo("child"))
            assert proxy.echo(1) == 1
            context = multiprocessing.get_context("fork")
            queue = context.Queue()
            process = context.Process(target=work, args=(queue,))
            process.start()
            print(queue.get(timeout=30))
            process.join()
            assert process.exitcode == 0
            print(proxy.echo("parent"))
            """
        with program(code, str(daemon.getProxyForObj(obj).URI)) as client:
            assert client.end() == (0, "child\nparent\n", "")
