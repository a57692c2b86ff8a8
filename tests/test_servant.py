"""What a daemon tells its clients, while its objects come and go."""

from __future__ import annotations

import sys
import threading

import gevent
import pytest

from gpyro import core
from gpyro.errors import DaemonError, NamingError, URIError
from tests.support import eventually, serving


@pytest.fixture
def often_switched():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(*functions):
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    return threads


def test_clients_may_ask_while_threads_connect_and_disconnect(often_switched):
    fixed = core.ObjBase()
    stop = threading.Event()
    failures = []

    with serving(fixed, "fixed") as daemon:

        def change():
            try:
                while not stop.is_set():
                    obj = core.ObjBase()
                    daemon.connect(obj, None)
                    daemon.disconnect(obj)
            except BaseException as error:
                failures.append(error)

        threads = in_threads(change, change)
        servant = core.getProxyForURI(f"PYROLOC://127.0.0.1:{daemon.port}/__daemon__")
        try:
            for _ in range(300):
                assert servant.ResolvePYROLOC("fixed") == fixed.GUID()
                assert servant.getRegistered()[fixed.GUID()] == "fixed"
        finally:
            stop.set()
            eventually(lambda: not any(thread.is_alive() for thread in threads))
        with pytest.raises(NamingError):
            servant.ResolvePYROLOC("nothing")
        assert not failures
        assert len(daemon.getRegistered()) == 2
        servant._release()


def test_of_two_threads_one_gets_the_name(often_switched):
    daemon = core.Daemon(host="127.0.0.1", norange=1)
    for number in range(100):
        objects, outcomes = [core.ObjBase(), core.ObjBase()], []
        start = threading.Barrier(2)

        def connect(obj, name=f"name{number}", start=start, outcomes=outcomes):
            start.wait()
            try:
                daemon.connect(obj, name)
                outcomes.append(True)
            except DaemonError:
                outcomes.append(False)

        threads = [threading.Thread(target=connect, args=(obj,)) for obj in objects]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == [False, True]
    daemon.closedown()


@pytest.mark.parametrize("guid", ["bad/id", "m\u00e9", ""])
def test_an_object_that_no_uri_can_name_is_not_connected(guid):
    daemon = core.Daemon(host="127.0.0.1", norange=1)
    obj = core.ObjBase()
    obj.setGUID(guid)
    with pytest.raises(URIError):
        daemon.connect(obj)
    assert len(daemon.getRegistered()) == 1
    with pytest.raises(AttributeError, match="not connected"):
        obj.getDaemon()
    daemon.closedown()


def test_shutdown_with_disconnect_comes_through_although_objects_go_by_themselves():
    class Sibling(core.ObjBase):
        other = None

        def setPyroDaemon(self, daemon):
            if daemon is None and self.other is not None:
                other, self.other.other, self.other = self.other, None, None
                self.getDaemon().disconnect(other)
            super().setPyroDaemon(daemon)

    first, second = Sibling(), Sibling()
    first.other, second.other = second, first
    daemon = core.Daemon(host="127.0.0.1", norange=1)
    daemon.connect(first)
    daemon.connect(second)
    loop = gevent.spawn(daemon.requestLoop)
    gevent.sleep(0)
    daemon.shutdown(True)
    loop.get(timeout=30)
    assert len(daemon.getRegistered()) == 1


def test_that_a_name_is_not_there_is_an_answer_and_no_failure_of_the_server(caplog):
    with serving(core.ObjBase(), "fixed") as daemon:
        with pytest.raises(NamingError, match="no object found by this name: 'nothing'"):
            core.getProxyForURI(f"PYROLOC://127.0.0.1:{daemon.port}/nothing").call()
        assert not caplog.records
