"""A proxy's adapter: binding it again, and what else Pyro 3 programs do with it."""

from __future__ import annotations

import time

import gevent
import pytest

import gpyro
from gpyro import core
from gpyro.errors import ConnectionDeniedError, NotSentError, PyroError, TimeoutError, URIError
from tests.programs import program
from tests.relay import relayed
from tests.support import eventually, free_port, python_process, serving


class Thing(core.ObjBase):
    def echo(self, value):
        return value


def test_connected_and_release():
    obj = Thing()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        adapter = proxy.adapter
        assert not adapter.connected()
        assert adapter.URI == proxy.URI
        proxy.echo(1)
        assert adapter.connected()
        adapter.release()
        assert not adapter.connected()
        adapter.release(nolog=1)
        assert proxy.echo(2) == 2
        proxy._release()


def test_bindtouri_connects_and_points_the_proxy_elsewhere():
    first, second = Thing(), Thing()
    with serving(first) as daemon, serving(second) as other:
        proxy = daemon.getProxyForObj(first)
        proxy.echo(1)
        proxy.adapter.bindToURI(other.getProxyForObj(second).URI)
        assert proxy.adapter.connected()
        assert proxy.objectID == second.GUID()
        proxy.adapter.bindToURI(str(daemon.getProxyForObj(first).URI))
        assert proxy.echo(1) == 1
        with pytest.raises(NotSentError, match="connection failed"):
            proxy.adapter.bindToURI(f"PYRO://127.0.0.1:{free_port()}/x")
        with pytest.raises(URIError):
            proxy.adapter.bindToURI("nonsense")
        proxy._release()


def test_settings_of_the_adapter_are_those_of_the_proxy():
    obj = Thing()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        proxy.adapter.setOneway("echo")
        assert proxy.echo(1) is None
        proxy.adapter.setTimeout(5)
        daemon.setAllowedIdentifications(["word"])
        proxy.adapter.setIdentification("word")
        assert proxy.echo(1) is None
        with pytest.raises(ValueError, match="positive"):
            proxy.adapter.setTimeout(-1)
        proxy._release()


def test_rebinduri_gives_up_after_its_tries():
    proxy = core.getProxyForURI(f"PYRO://127.0.0.1:{free_port()}/x")
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="connection lost") as raised:
        proxy.adapter.rebindURI(tries=3, wait=0.05)
    assert 0.1 <= time.monotonic() - began < 30
    assert isinstance(raised.value.__cause__, NotSentError)
    with pytest.raises(TimeoutError, match="connection lost"):
        proxy.adapter.rebindURI(1, 100)  # no waiting after the last


@pytest.mark.parametrize("tries", [0, -1])
def test_rebinduri_without_tries_fails_at_once(tries):
    proxy = core.getProxyForURI(f"PYRO://127.0.0.1:{free_port()}/x")
    with pytest.raises(TimeoutError, match="connection lost"):
        proxy.adapter.rebindURI(tries=tries)


def test_rebinduri_waits_in_its_greenlet_until_the_server_is_back():
    port = free_port()
    proxy = core.getProxyForURI(f"PYRO://127.0.0.1:{port}/thing")
    binding = gevent.spawn(proxy.adapter.rebindURI, wait=0.01)
    obj = Thing()
    obj.setGUID("thing")
    with serving(obj, port=port):
        binding.get(timeout=30)
        assert proxy.adapter.connected()
        assert proxy.echo(1) == 1
        proxy._release()


def test_rebinduri_after_a_cut_line():
    obj = Thing()
    with relayed(obj) as (_, relay, uri):
        proxy = core.getProxyForURI(uri)
        proxy.echo(1)
        relay.cut()
        eventually(lambda: not proxy.adapter.connected())
        proxy.adapter.rebindURI(tries=5, wait=0.01)
        assert proxy.adapter.connected()
        assert relay.connections == 2
        # It binds anew even where nothing was lost.
        proxy.adapter.rebindURI()
        assert proxy.echo(2) == 2
        proxy._release()


def test_rebinduri_is_told_when_it_is_denied():
    before = gpyro.config.PYRO_MAXCONNECTIONS
    gpyro.config.PYRO_MAXCONNECTIONS = 1
    try:
        obj = Thing()
        with serving(obj) as daemon:
            first, second = (daemon.getProxyForObj(obj) for _ in range(2))
            second._setPrivateChannel(True)
            first.echo(1)
            for call in (lambda: second.adapter.rebindURI(tries=3, wait=100), lambda: second.echo(1)):
                with pytest.raises(ConnectionDeniedError, match="server too busy") as raised:
                    call()
                assert "server too busy" in raised.value.args[0]
            first._release()
            second._release()
    finally:
        gpyro.config.PYRO_MAXCONNECTIONS = before


SERVER = """
import sys
import gpyro.core

class Thing(gpyro.core.ObjBase):
    def echo(self, value):
        return value

thing = Thing()
thing.setGUID("the-thing")
daemon = gpyro.core.Daemon(port=int(sys.argv[1]), norange=1)
print(daemon.connect(thing), flush=True)
daemon.requestLoop()
"""


def test_the_recipe_for_a_server_that_is_restarted():
    with program(SERVER, "0") as server:
        uri = server.line()
        proxy = core.getProxyForURI(uri)
        assert proxy.echo(1) == 1
        server.kill()
    eventually(lambda: not proxy.adapter.connected())
    answers = []

    def client():
        while len(answers) < 3:
            try:
                answers.append(proxy.echo(len(answers)))
            except gpyro.errors.ProtocolError:
                proxy.adapter.rebindURI(wait=0.02)

    calling = gevent.spawn(client)
    with program(SERVER, str(proxy.URI.port)) as server:
        assert server.line() == uri
        calling.get(timeout=30)
        assert answers == [0, 1, 2]
        proxy._release()


def test_rebinduri_hears_of_a_loss_for_which_the_loop_had_no_turn():
    with program(SERVER, "0") as server:
        proxy = core.getProxyForURI(server.line())
        assert proxy.echo(1) == 1
        port = str(proxy.URI.port)
        server.process.kill()
        server.process.wait()  # nothing of gevent's
        with python_process(SERVER, port) as again:
            assert again.stdout.readline() == f"{proxy.URI}\n"
            assert proxy.adapter.connected(), "the loop has not turned"
            proxy.adapter.rebindURI(tries=1)
            assert proxy.echo(2) == 2
            proxy._release()


def test_rebinduri_from_the_hub_says_that_it_cannot_wait():
    proxy = core.getProxyForURI(f"PYRO://127.0.0.1:{free_port()}/x")
    raised = []

    def callback():
        try:
            proxy.adapter.rebindURI()
        except PyroError as error:
            raised.append(str(error))

    gevent.get_hub().loop.run_callback(callback)
    eventually(lambda: raised)
    assert "from the hub" in raised[0]
