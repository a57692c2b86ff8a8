"""Callback objects: their errors go to the caller, and to where the object lives."""

from __future__ import annotations

import logging

import gevent
import pytest

from gpyro import core
from gpyro.errors import RemoteError
from tests.programs import program
from tests.support import eventually, serving, turns, uri_of


class Callback(core.CallbackObjBase):
    def work(self):
        return "worked"

    def fail(self, text):
        raise KeyError(text)

    def leave(self):
        raise SystemExit


class Ordinary(core.ObjBase):
    def fail(self, text):
        raise KeyError(text)


@pytest.fixture
def handled(monkeypatch):
    """What the hub was told of errors."""
    seen = []
    hub = gevent.get_hub()
    monkeypatch.setattr(hub, "handle_error", lambda *arguments: seen.append(arguments))
    return seen


def test_errors_go_to_the_caller_the_log_and_the_hub(handled, caplog):
    obj = Callback()
    with serving(obj) as daemon, caplog.at_level(logging.INFO, "gpyro"):
        proxy, beside = (core.getProxyForURI(uri_of(daemon, obj)) for _ in range(2))
        for text in ("first", "second"):
            with pytest.raises(KeyError, match=text):
                proxy.fail(text)
            # The connection is unharmed.
            assert proxy.work() == beside.work() == "worked"
        eventually(lambda: len(handled) == 2)
        assert [(context, kind, str(error)) for context, kind, error, _ in handled] == [
            (obj, KeyError, "'first'"),
            (obj, KeyError, "'second'"),
        ]
        assert all(trace is error.__traceback__ and trace is not None for _, _, error, trace in handled)
        records = [record for record in caplog.records if record.exc_info]
        assert [record.levelno for record in records] == [logging.WARNING] * 2
        assert len(daemon.connections) == 1
        handled.clear()
        for used in (proxy, beside):
            used._release()


def test_errors_of_one_way_calls_reach_the_log_and_the_hub(handled, caplog):
    obj = Callback()
    with serving(obj) as daemon, caplog.at_level(logging.INFO, "gpyro"):
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        proxy._setOneway("fail")
        assert proxy.fail("unseen") is None
        eventually(lambda: len(handled) == 1)
        assert proxy.work() == "worked"
        assert "unseen" in caplog.text
        handled.clear()
        proxy._release()


def test_errors_of_other_objects_and_refused_calls_do_not_reach_the_hub(handled):
    obj, ordinary = Callback(), Ordinary()
    with serving(obj) as daemon:
        daemon.connect(ordinary)
        proxy, beside = (core.getProxyForURI(uri_of(daemon, one)) for one in (obj, ordinary))
        with pytest.raises(KeyError):
            beside.fail("ordinary")
        with pytest.raises(AttributeError):
            proxy.nothing()
        # What would end the program in the hub stays out of it.
        with pytest.raises(RemoteError, match="SystemExit"):
            proxy.leave()
        assert proxy.work() == "worked"
        turns()
        assert handled == []
        for used in (proxy, beside):
            used._release()


def test_a_process_with_a_failing_callback_prints_it_and_goes_on():
    code = """
    from gpyro import core
    class Callback(core.CallbackObjBase):
        def fail(self):
            raise KeyError("seen on this side")
        def work(self):
            return "worked"
    daemon = core.Daemon()
    print(daemon.connect(Callback()), flush=True)
    daemon.requestLoop()
    """
    with program(code) as client:
        proxy = core.getProxyForURI(client.line())
        with pytest.raises(KeyError):
            proxy.fail()
        assert proxy.work() == "worked"
        proxy._release()
        client.process.terminate()
        code, _, errors = client.end()
        assert code == 0
        assert "seen on this side" in errors
