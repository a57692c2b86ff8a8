"""Daemons that are driven by loops which know nothing of gevent, each a program of its own."""

from __future__ import annotations

import signal
import textwrap

import gevent
import pytest

from gpyro import core
from gpyro.net.foreign_loop import LoopSocket
from gpyro.net.hub import hub_state
from gpyro.wire.frames import Kind, pack
from gpyro.wire.hello import Hello
from tests.net.peers import connection
from tests.programs import Program, program
from tests.support import eventually

LOOPS = ["libev-cext", "libuv-cffi"]

SERVER = """
import os, socket, sys, threading, time
import gevent
from gevent.event import Event
from gpyro import core

class Thing(core.ObjBase):
    def __init__(self):
        core.ObjBase.__init__(self)
        self.quit = False
        self.go_on = Event()
        self.rounds = 0
    def echo(self, value):
        return value
    def sleep(self, seconds):
        gevent.sleep(seconds)
        return "slept"
    def in_the_thread_pool(self):
        return gevent.get_hub().threadpool.apply(lambda: threading.current_thread() is not threading.main_thread())
    def wait(self):
        return self.go_on.wait(30)
    def release(self):
        self.go_on.set()
    def turns(self):
        return self.rounds
    def processor_time(self):
        return time.process_time()
    def stop(self):
        self.quit = True

thing = Thing()
daemon = core.Daemon()
print(daemon.connect(thing), flush=True)
"""

MANUALS_LOOP = """
import select
while not thing.quit:
    socks = daemon.getServerSockets()
    ins, outs, exs = select.select(socks, [], [], 30)
    thing.rounds += 1
    for s in socks:
        if s in ins:
            daemon.handleRequests()
            break
"""

POLLING = """
class Tk:  # as Tk's after() and mainloop()
    def __init__(self):
        self.jobs = []
    def after(self, milliseconds, job):
        self.jobs.append((time.monotonic() + milliseconds / 1000, job))
    def mainloop(self):
        while self.jobs and not thing.quit:
            due, job = self.jobs.pop(0)
            time.sleep(max(0, due - time.monotonic()))
            job()
root = Tk()
def poll():
    daemon.handleRequests(0)
    thing.rounds += 1
    root.after(5, poll)
root.after(5, poll)
root.mainloop()
"""

ASYNCIO = """
import asyncio
async def main():
    ended = asyncio.Event()
    def on_readable():
        thing.rounds += 1
        daemon.handleRequests(0)
        if thing.quit:
            ended.set()
    for sock in daemon.getServerSockets():
        asyncio.get_running_loop().add_reader(sock, on_readable)
    await ended.wait()
asyncio.run(main())
"""

GEVENTS_SELECT = MANUALS_LOOP.replace("import select", "from gevent import select")

END = """
daemon.closedown()
print("end")
"""

FOREIGN = {
    "the manual's loop": (MANUALS_LOOP, False),
    "the manual's loop, patched": (MANUALS_LOOP, True),
    "gevent's select": (GEVENTS_SELECT, False),
    "polling": (POLLING, False),
    "asyncio": (ASYNCIO, False),
    "asyncio, patched": (ASYNCIO, True),
}


@pytest.fixture(params=[(how, loop) for how in FOREIGN for loop in LOOPS], ids=" ".join)
def driven(request: pytest.FixtureRequest):
    """A server that is driven in one of the ways, and a proxy for its object."""
    how, loop = request.param
    code, patched = FOREIGN[how]
    with program(SERVER + code + END, patched=patched, environment={"GEVENT_LOOP": loop}) as server:
        proxy = core.getProxyForURI(server.line())
        yield server, proxy
        end(server, proxy)


def end(server: Program, proxy: core.DynamicProxy) -> None:
    proxy._setTimeout(20)
    proxy.stop()
    proxy._release()
    assert server.ended_well() == "end\n"


def test_everything_wakes_a_foreign_loop(driven):
    _, proxy = driven
    proxy._setTimeout(20)
    assert proxy.echo(1) == 1  # a connection and a request
    assert proxy.sleep(0.05) == "slept"  # a timer
    assert proxy.in_the_thread_pool() is True
    assert proxy.echo("x" * 5_000_000) == "x" * 5_000_000  # room for output
    waiting = gevent.spawn(proxy.wait)
    private = proxy.__copy__()
    private._setPrivateChannel(True)
    assert private.echo(2) == 2  # another connection while a call waits
    private.release()
    assert waiting.get(timeout=30) is True
    private._release()
    assert [call.get(timeout=30) for call in [gevent.spawn(proxy.echo, n) for n in range(300)]] == list(range(300))
    with pytest.raises(AttributeError):
        proxy.nothing()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["the manual's loop", "gevent's select", "asyncio"])
def test_a_foreign_loop_rests_while_there_is_nothing_to_do(how, loop):
    """Rather than finding its socket readable all the time."""
    with program(SERVER + FOREIGN[how][0] + END, environment={"GEVENT_LOOP": loop}) as server:
        proxy = core.getProxyForURI(server.line())
        waiting = gevent.spawn(proxy.wait)
        before = proxy.turns()
        gevent.sleep(0.5)
        assert proxy.turns() - before < 200
        proxy.release()
        assert waiting.get(timeout=30) is True
        end(server, proxy)


def test_a_foreign_loop_that_calls_nothing_for_a_while_finds_everything_then():
    code = """
    import select
    print(daemon.getServerSockets() is not None, flush=True)
    sys.stdin.readline()
    """ + MANUALS_LOOP.replace("\n", "\n    ")
    with program(SERVER + textwrap.dedent(code) + END) as server:
        uri = server.line()
        assert server.line() == "True"
        proxy = core.getProxyForURI(uri)
        calls = [gevent.spawn(proxy.echo, number) for number in range(100)]
        gone = core.getProxyForURI(uri)
        gone._setPrivateChannel(True)
        leaving = gevent.spawn(gone.echo, 1)
        gevent.sleep(0.01)
        leaving.kill()
        gone._release()
        server.say("go on")
        assert [call.get(timeout=30) for call in calls] == list(range(100))
        end(server, proxy)


def test_a_client_that_leaves_does_not_hold_a_loop_that_waits_without_limit():
    """What wakes the loop need not be a request: handleRequests() without timeout returns all the same."""
    with program(SERVER + MANUALS_LOOP + END) as server:
        proxy = core.getProxyForURI(server.line())
        for _ in range(5):
            leaver = proxy.__copy__()
            leaver._setPrivateChannel(True)
            assert leaver.echo(1) == 1
            leaver._release()
        before = proxy.turns()
        eventually(lambda: proxy.turns() > before)
        end(server, proxy)


TWO_DAEMONS = """
second = Thing()
other = core.Daemon()
print(other.connect(second), flush=True)
import select
while not thing.quit:
    first, rest = daemon.getServerSockets(), other.getServerSockets()
    ins, outs, exs = select.select(first + rest, [], [], 30)
    for s in ins:
        if s in first:
            daemon.handleRequests()
        elif s in rest:
            other.handleRequests()
other.closedown()
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_two_daemons_in_one_foreign_loop(loop):
    with program(SERVER + TWO_DAEMONS + END, environment={"GEVENT_LOOP": loop}) as server:
        first, second = (core.getProxyForURI(server.line()) for _ in range(2))
        second._setTimeout(20)
        for number in range(20):
            assert first.echo(number) == second.echo(number) == number
        assert second.sleep(0.05) == "slept"
        second._release()
        end(server, first)


def test_a_daemon_s_socket_among_the_others_of_another():
    code = """
    second = Thing()
    other = core.Daemon()
    print(other.connect(second), flush=True)
    def callback(ready):
        for s in ready:
            second.rounds += 1
            other.handleRequests()
    daemon.requestLoop(lambda: not thing.quit, 30, other.getServerSockets(), callback)
    other.closedown()
    """
    with program(SERVER + textwrap.dedent(code) + END) as server:
        first, second = (core.getProxyForURI(server.line()) for _ in range(2))
        assert first.echo(1) == second.echo(1) == 1
        eventually(lambda: second.turns() > 0)
        second._release()
        end(server, first)


def test_ctrl_c_in_a_round():
    code = """
    try:
        print("waiting", flush=True)
        while True:
            daemon.handleRequests(30)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    """
    with program(SERVER + textwrap.dedent(code) + END) as server:
        proxy = core.getProxyForURI(server.line())
        assert server.line() == "waiting"
        assert proxy.echo(1) == 1
        server.send_signal(signal.SIGINT)
        assert server.line() == "interrupted"
        code_, out, err = server.end()
        assert (code_, out, err) == (0, "end\n", "")
        proxy._release()


MEANWHILE = """
import select
from gpyro.net.hub import hub_state
def rounds(until):
    ends = time.monotonic() + 20
    while not until():
        assert select.select(daemon.getServerSockets(), [], [], 20)[0]
        daemon.handleRequests()
        assert time.monotonic() < ends
daemon.handleRequests(0)
proxy = core.getProxyForURI(str(daemon.getProxyForObj(thing).URI))
proxy._setOneway(["sleep", "release"])
proxy.echo(1)
while select.select(daemon.getServerSockets(), [], [], 0.05)[0]:
    daemon.handleRequests(0)
"""

OUTSIDE = {
    "another greenlet's turn takes the word that there is something to do": """
    for _ in range(5):
        word = threading.Thread(target=hub_state().call_soon, args=[int])
        word.start()
        word.join()
        assert select.select(daemon.getServerSockets(), [], [], 20)[0]
        gevent.sleep(0.002)
        daemon.handleRequests()  # without limit: it must not wait for a request
    """,
    "a one-way call leaves although the loop stands still": """
    proxy.release()
    assert select.select(daemon.getServerSockets(), [], [], 20)[0]
    rounds(thing.go_on.is_set)
    """,
    "a call that was begun outside a round goes on": """
    done = []
    thing.sleep = lambda seconds: (gevent.sleep(seconds), done.append(1))
    proxy.sleep(0.05)
    proxy.echo(1)
    rounds(lambda: done)
    """,
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("what", OUTSIDE)
def test_what_happens_between_rounds_is_told_of(what, loop):
    """The program's own code may turn gevent's loop, or give it something to do, between two rounds."""
    # A timer tells of everything within a second: it is put off, so that only being told at once helps.
    code = "from gpyro.net import foreign_loop\nforeign_loop.QUIET = 1000.0\n" + SERVER + MEANWHILE
    with program(code + textwrap.dedent(OUTSIDE[what]) + END, environment={"GEVENT_LOOP": loop}) as server:
        server.line()
        assert server.ended_well() == "end\n"


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["closedown", "shutdown"])
def test_a_daemon_that_is_closed_in_a_round(how, loop):
    code = f"""
    import select
    from gpyro.errors import DaemonError
    Thing.stop = lambda self: daemon.{how}()
    while True:
        try:
            select.select(daemon.getServerSockets(), [], [], 20)
            daemon.handleRequests()
        except DaemonError as error:
            print(error)
            break
    """
    with program(SERVER + textwrap.dedent(code) + END, environment={"GEVENT_LOOP": loop}) as server:
        proxy = core.getProxyForURI(server.line())
        proxy._setOneway("stop")
        proxy.stop()
        proxy._release()
        assert server.ended_well() == "the daemon is closed\nend\n"


def test_a_daemon_that_another_thread_closes_listens_no_more():
    code = """
    import select
    from gpyro.errors import DaemonError
    thread = threading.Thread(target=lambda: (sys.stdin.readline(), daemon.closedown()))
    try:
        daemon.getServerSockets()
        thread.start()
        while True:
            select.select(daemon.getServerSockets(), [], [], 20)
            daemon.handleRequests()
    except DaemonError as error:
        print(error)
    try:
        socket.create_connection(("127.0.0.1", daemon.port))
    except ConnectionRefusedError:
        print("refused")
    """
    with program(SERVER + textwrap.dedent(code) + END) as server:
        server.line()
        server.say("close")
        assert server.ended_well() == "the daemon is closed\nrefused\nend\n"


@pytest.mark.parametrize("loop", LOOPS)
def test_in_the_child_of_a_fork_there_are_no_rounds_and_the_parent_goes_on(loop):
    code = """
    from gpyro.errors import DaemonError
    daemon.getServerSockets()
    pid = os.fork()
    if not pid:
        for use in (lambda: daemon.handleRequests(0), daemon.getServerSockets, daemon.start):
            try:
                use()
                os._exit(1)
            except DaemonError as error:
                if "another process" not in str(error):
                    os._exit(2)
        os._exit(0)
    print(os.waitpid(pid, 0)[1], flush=True)
    """
    code = textwrap.dedent(code) + MANUALS_LOOP
    with program(SERVER + code + END, environment={"GEVENT_LOOP": loop}) as server:
        proxy = core.getProxyForURI(server.line())
        assert server.line() == "0"
        assert proxy.echo(1) == 1
        end(server, proxy)


def test_a_hello_that_came_while_the_loop_stood_still_is_no_late_one():
    code = """
    import select
    def turn():
        ready = select.select(daemon.getServerSockets(), [], [], 30)[0]
        daemon.handleRequests(0)
        return ready
    while not daemon.connections:
        turn()
    print("connected", flush=True)
    sys.stdin.readline()
    time.sleep(0.3)   # longer than the client has
    """ + MANUALS_LOOP.replace("\n", "\n    ")
    environment = {"GPYRO_HANDSHAKE_TIMEOUT": "0.2"}
    with program(SERVER + textwrap.dedent(code) + END, environment=environment) as server:
        uri = core.PyroURI(server.line())
        with connection(uri.port) as sock:
            assert server.line() == "connected"
            sock.sendall(b"gPyr" + pack(Kind.HELLO, body=Hello().to_bytes()))
            server.say("go on")
            assert sock.recv(5) == b"gPyr\x02"  # the welcome
        end(server, uri.getProxy())


def test_when_one_of_two_is_closed_the_other_is_told_by_other_threads():
    state = hub_state()
    first, second = LoopSocket(state), LoopSocket(state)
    try:
        for sock in (first, second):
            sock.fileno()
            sock.begin_round()
            sock.end_round(False)
        second.close()
        # Else it would be up to a second until the loop turns again.
        assert state.poke == first._poke
    finally:
        second.close()
        first.close()
    assert state.poke is None
