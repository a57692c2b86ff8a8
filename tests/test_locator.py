from __future__ import annotations

import socket
import time

import gevent
import pytest

import gpyro
from gpyro import config
from gpyro.discovery import BroadcastServer, write_uri_file
from gpyro.errors import ConnectionDeniedError, NamingError, NotSentError, PyroError
from gpyro.naming import NameServerLocator, NameServerProxy
from tests.naming import BROADCAST, configured, environment, free_port, name_server
from tests.support import serving


@pytest.fixture(autouse=True)
def _configuration(tmp_path):
    with configured(environment(tmp_path)):
        yield


def test_the_local_name_server_is_found_at_its_port():
    with name_server(nobroadcast=True) as starter:
        ns = NameServerLocator().getNS()
        assert isinstance(ns, NameServerProxy)
        assert ns.URI.objectID == starter.uri.objectID
        begun = time.monotonic()
        NameServerLocator().getNS().ping()
        assert time.monotonic() - begun < 30


def test_one_at_another_port_is_found_by_the_file():
    with name_server(nsport=0, nobroadcast=True) as starter:
        assert NameServerLocator().detectNS() == starter.uri
        config.PYRO_NS_URIFILE = "elsewhere"
        with pytest.raises(NamingError):
            NameServerLocator().getNS()


def test_one_at_another_port_is_found_by_a_broadcast():
    with name_server(nsport=0) as starter:
        config.PYRO_NS_URIFILE = "elsewhere"
        assert NameServerLocator().detectNS() == starter.uri
        assert NameServerLocator().detectNS(port=config.PYRO_NS_BC_PORT) == starter.uri
        assert NameServerLocator().detectNS(bcaddr=BROADCAST) == starter.uri


def test_one_host_is_asked_where_one_is_given():
    with name_server(hostname="127.0.0.2", nobroadcast=True) as starter:
        config.PYRO_NS_URIFILE = "elsewhere"
        assert NameServerLocator().detectNS("127.0.0.2") == starter.uri
        assert NameServerLocator().detectNS("127.0.0.2", config.PYRO_NS_PORT) == starter.uri
        with pytest.raises(NamingError, match=r"could not find NameServer on host 127.0.0.3: connection failed"):
            NameServerLocator().getNS("127.0.0.3")
        with pytest.raises(NotSentError, match="connection failed"):
            NameServerLocator().getNS("127.0.0.3", config.PYRO_NS_PORT)
        config.PYRO_NS_HOSTNAME = "127.0.0.2"
        assert NameServerLocator().detectNS() == starter.uri
        config.PYRO_NS_HOSTNAME = "127.0.0.3"
        with pytest.raises(NamingError, match=r"on host 127.0.0.3"):
            NameServerLocator().getNS()


def test_where_there_is_none_the_error_tells_what_was_tried():
    config.PYRO_NS_URIFILE = "nofile"
    before = config.snapshot()
    begun = time.monotonic()
    with pytest.raises(NamingError) as caught:
        NameServerLocator().getNS()
    assert time.monotonic() - begun < 30
    text = str(caught.value)
    assert text.startswith("could not find NameServer; tried ")
    assert f"localhost:{config.PYRO_NS_PORT}: connection failed" in text
    assert f"a broadcast to {BROADCAST}:{config.PYRO_NS_BC_PORT}: no answer" in text
    assert "nofile: No such file" in text
    with pytest.raises(PyroError, match=r"^Name Server not responding: a broadcast to") as other:
        NameServerLocator().getNS(port=free_port(socket.SOCK_DGRAM))
    assert type(other.value) is PyroError
    assert config.snapshot() is before


def test_a_daemon_that_is_no_name_server_is_passed_over():
    class Thing:
        pass

    with serving(Thing(), port=config.PYRO_NS_PORT), name_server(nsport=0) as starter:
        assert NameServerLocator().detectNS() == starter.uri
        with pytest.raises(NamingError, match=r"on host 127.0.0.1: no object found by this name"):
            NameServerLocator().getNS("127.0.0.1")


def test_a_name_server_that_is_just_starting_is_found():
    with gevent.Timeout(30):
        config.PYRO_BC_TIMEOUT = 10
        looking = gevent.spawn(NameServerLocator().detectNS)
        gevent.sleep(0.05)
        with name_server() as starter:
            assert looking.get() == starter.uri


def test_only_who_knows_the_passphrase_is_believed():
    stranger = BroadcastServer(BROADCAST, config.PYRO_NS_BC_PORT)
    with name_server(nsport=0, nobroadcast=True, identification="open sesame") as starter:
        with name_server(nsport=0, nobroadcast=True) as imposter:
            answered = []
            stranger.serve(str(imposter.uri), lambda: answered.append(1) or "")
            write_uri_file(config.PYRO_NS_URIFILE, str(starter.uri))
            assert NameServerLocator("open sesame").detectNS() == starter.uri
            write_uri_file(config.PYRO_NS_URIFILE, str(imposter.uri))
            with pytest.raises(ConnectionDeniedError):
                NameServerLocator("open sesame").getNS()
            assert NameServerLocator().detectNS() == imposter.uri
        with pytest.raises(ConnectionDeniedError):
            NameServerLocator("wrong").getNS("127.0.0.1", starter.uri.port)
        with pytest.raises(ConnectionDeniedError, match="identification is needed"):
            NameServerLocator().getNS("127.0.0.1", starter.uri.port)
    stranger.close()


def test_who_answers_first_and_says_nothing_does_not_hold_up_others():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        with gevent.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as both:
            both.bind((BROADCAST, config.PYRO_NS_BC_PORT))
            with name_server(nsport=0, nobroadcast=True) as starter:
                config.PYRO_NS_URIFILE = "elsewhere"

                def answer():
                    _, sender = both.recvfrom(1000)
                    both.sendto(f"PYRO://127.0.0.1:{silent.getsockname()[1]}/x".encode(), sender)
                    both.sendto(str(starter.uri).encode(), sender)

                answering = gevent.spawn(answer)
                config.PYRO_BC_TIMEOUT = 5
                assert NameServerLocator().detectNS() == starter.uri
                answering.get(timeout=30)


def test_one_that_was_lost_is_asked_for_again_and_again():
    """A lease may be over long before the time of one broadcast is."""
    with name_server(nsport=0):
        config.PYRO_BC_TIMEOUT, config.PYRO_NS_URIFILE = 600, "no/such/folder"
        ns = NameServerLocator().getNS()
    with gevent.socket.socket(type=gevent.socket.SOCK_DGRAM) as silent:
        silent.bind((BROADCAST, config.PYRO_NS_BC_PORT))
        silent.settimeout(30)
        asking = gevent.spawn(ns.ping)
        assert silent.recv(100) == b"location"
    with name_server(nsport=0) as starter:
        asking.get(timeout=30)
        assert ns.URI.port == starter.uri.port


def test_requests_of_the_system():
    with name_server() as starter:
        locator = NameServerLocator()
        assert locator.sendSysCommand("location") == str(starter.uri)
        with pytest.raises(ValueError, match="a request is 'location' or 'shutdown'"):
            locator.sendSysCommand("reboot")
        assert locator.sendSysCommand("shutdown", "127.0.0.1") == "Will shut down shortly"
        with gevent.Timeout(30):
            while starter.daemon is not None:
                gevent.sleep(0.01)
    with pytest.raises(NamingError):
        locator.sendSysCommand("location", "127.0.0.1", logerrors=0)
    with name_server(keep=1):
        assert locator.sendSysCommand("shutdown") == "Shutdown request denied"


def test_what_is_tried_is_printed_on_demand(capsys):
    with name_server():
        NameServerLocator().getNS(trace=1)
        NameServerLocator().getNS("127.0.0.1", trace=1)
    lines = capsys.readouterr().out.splitlines()
    assert "Locator: searching Pyro Name Server..." in lines
    assert "Locator: contacting Pyro Name Server..." in lines


def test_a_deadline_bounds_the_search():
    config.PYRO_BC_TIMEOUT = 30
    with gpyro.deadline(0.2), gevent.Timeout(30), pytest.raises(NamingError):
        NameServerLocator().getNS()
