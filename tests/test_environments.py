"""Everything works unpatched, patched, patched late, and on both of gevent's loops, and ends with nothing on stderr."""

from __future__ import annotations

import signal

import pytest

from tests.programs import program

LOOPS = ["libev-cext", "libuv-cffi"]
PATCHING = ["unpatched", "patched", "patched late"]

# How the programs begin. Patched late is what a program does that imports everything first.
BEGIN = {
    "unpatched": "from gpyro import core, errors\n",
    "patched": "from gevent import monkey; monkey.patch_all()\nfrom gpyro import core, errors\n",
    "patched late": (
        "import gevent, socket, threading, time\nfrom gpyro import core, errors\n"
        "from gevent import monkey; monkey.patch_all()\n"
    ),
}

SERVER = """
import os, sys, time
import gevent
class Echo(core.ObjBase):
    def echo(self, value):
        return value
    def wait(self, seconds):
        (time.sleep if sys.argv[2] != "unpatched" else gevent.sleep)(seconds)
        return seconds
    def fail(self):
        raise ValueError("failed")
    def loop(self):
        return type(gevent.get_hub().loop).__module__
daemon = core.Daemon(port=int(sys.argv[1]), norange=1)
obj = Echo()
obj.setGUID("7f000001-1-2-3")
print(daemon.connect(obj), daemon.port, flush=True)
daemon.requestLoop()
print("over")
"""

CLIENT = """
import sys, time
import gevent
loops, uri = sys.argv[1:]
proxy = core.getProxyForURI(uri)
assert loops.split("-")[0] in proxy.loop(), proxy.loop()
assert loops.split("-")[0] in type(gevent.get_hub().loop).__module__
assert proxy.echo({"a": (1, 2)}) == {"a": (1, 2)}
big = bytes(3_000_000)
assert proxy.echo(big) == big

begin = time.monotonic()
callers = [gevent.spawn(proxy.wait, 0.2) for _ in range(100)] + [gevent.spawn(proxy.echo, n) for n in range(100)]
gevent.joinall(callers, timeout=30)
assert [caller.value for caller in callers] == [0.2] * 100 + list(range(100))
assert time.monotonic() - begin < 100 * 0.2, "they overlap"

try:
    proxy.fail()
except ValueError as error:
    assert "failed" in str(error)

hasty = core.getProxyForURI(uri)
assert hasty.echo("connected") == "connected"
hasty._setTimeout(0.3)
try:
    hasty.wait(5)
except errors.TimeoutError as error:
    assert error.phase == "running"
else:
    raise AssertionError("no timeout")
hasty._setTimeout(None)
assert hasty.echo("in time") == "in time"

killed = gevent.spawn(proxy.wait, 0.5)
gevent.sleep(0.05)
killed.kill()
assert proxy.echo("after the kill") == "after the kill"

print("restart", flush=True)
assert sys.stdin.readline() == "gone\\n"
try:
    proxy.echo(1)
except errors.ProtocolError as error:
    assert not error.may_have_run or isinstance(error, errors.MaybeExecutedError)
else:
    raise AssertionError("the server is gone")
print("start", flush=True)
assert sys.stdin.readline() == "back\\n"
for _ in range(3):
    try:
        assert proxy.echo("back") == "back"
        break
    except errors.MaybeExecutedError:
        continue
assert proxy.echo("again") == hasty.echo("again") == "again"
print("over")
"""


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("patching", PATCHING)
def test_server_and_client(patching, loop):
    environment = {"GEVENT_LOOP": loop}
    begin = BEGIN[patching]
    with program(begin + SERVER, "0", patching, environment=environment) as server:
        uri, port = server.line().split()
        with program(begin + CLIENT, loop, uri, environment=environment) as client:
            assert client.line() == "restart"
            server.send_signal(signal.SIGTERM)
            code, out, err = server.end()
            assert (code, out) == (0, "over\n")
            assert err.splitlines()[-1] == "ValueError: failed"  # the one exception of the method, in the log
            assert err.count(" raised ") == 1
            client.say("gone")
            assert client.line() == "start"
            with program(begin + SERVER, port, patching, environment=environment) as again:
                again.line()
                client.say("back")
                assert client.end() == (0, "over\n", "")
                again.send_signal(signal.SIGINT)
                code, out, err = again.end()
                assert "KeyboardInterrupt" in err


EMBEDDED = """
import gevent
class Echo(core.ObjBase):
    def echo(self, value):
        return value
obj = Echo()
with core.Daemon(port=0, norange=1) as daemon:
    proxy = core.getProxyForURI(daemon.connect(obj))
    assert [g.get() for g in [gevent.spawn(proxy.echo, n) for n in range(50)]] == list(range(50))
print("over")
"""


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("patching", PATCHING)
def test_both_in_one_process(patching, loop):
    with program(BEGIN[patching] + EMBEDDED, environment={"GEVENT_LOOP": loop}) as running:
        assert running.end() == (0, "over\n", "")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_ends_without_being_told_to(loop):
    """Open connections, lingering ones and what waits on them are no reason to stay, nor to say anything at the end."""
    server = BEGIN["unpatched"] + SERVER
    with program(server, "0", "unpatched", environment={"GEVENT_LOOP": loop}) as serving:
        uri = serving.line().split()[0]
        code = """
            import sys
            import gevent
            from gpyro import core
            proxies = [core.getProxyForURI(sys.argv[1]) for _ in range(3)]
            for proxy in proxies:
                proxy.echo(1)
            waiting = gevent.spawn(proxies[1].wait, 0.1)
            if "libuv" in type(gevent.get_hub().loop).__module__:
                # There an open connection keeps the loop alive, until its linger is over.
                gevent.spawn(lambda: (waiting.join(), [proxy._release() for proxy in proxies]))
            print(gevent.wait(timeout=30), waiting.value)
            """
        with program(code, uri, environment={"GEVENT_LOOP": loop, "GPYRO_CHANNEL_LINGER": "0.2"}) as client:
            assert client.end() == (0, "True 0.1\n", "")


def test_importing_says_and_patches_nothing():
    code = """
        import logging, signal, socket, sys, threading
        before = (socket.socket, threading.local, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
        handlers = list(logging.getLogger().handlers)
        import gpyro, gpyro.core
        from gevent import monkey
        assert not any(monkey.is_module_patched(name) for name in ("socket", "threading", "time", "os"))
        after = (socket.socket, threading.local, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
        assert before == after
        assert logging.getLogger().handlers == handlers
        """
    with program(code) as running:
        assert running.end() == (0, "", "")
