"""No underscore name ever leaves the client, and none gets in."""

from __future__ import annotations

import copy
import pickle

import numpy
import pytest

from gpyro import core
from gpyro.errors import PyroError
from gpyro.values import serializer_by_name
from gpyro.wire.frames import Kind, Rejection
from tests.raw import RawClient
from tests.relay import relayed
from tests.support import serving

PRIVATE = ["__class__", "__init__", "__dict__", "__reduce__", "_hidden", "_pyro_daemon", "_gotReaped", "__getattr__"]


def test_private_names_in_raw_frames_are_refused():
    class Thing(core.ObjBase):
        def _hidden(self):
            return "hidden"

        def work(self):
            return "worked"

    obj = Thing()
    codec = serializer_by_name("msgpack")
    with serving(obj) as daemon:
        client = RawClient(daemon, obj.GUID())
        assert client.ask(Kind.CALL, codec.encode_call("work", (), {}))[0] == Kind.RESULT
        for name in PRIVATE:
            for kind, body in (
                (Kind.CALL, codec.encode_call(name, (), {})),
                (Kind.GET, name.encode()),
                (Kind.SET, codec.encode([name, 1], name)),
            ):
                answer = client.ask(kind, body)
                assert (answer[0], answer[1][0]) == (Kind.REJECTED, Rejection.UNKNOWN_MEMBER), (kind, name)
            assert client.ask(Kind.DESCRIBE, name.encode()) == (Kind.RESULT, b"\0")
        assert client.ask(Kind.CALL, codec.encode_call("work", (), {}))[0] == Kind.RESULT
        client.sock.close()


def test_probing_a_proxy_costs_no_round_trip():
    class Thing:
        def __init__(self):
            self.data = 1

        def work(self):
            return 1

    with relayed(Thing()) as (_, relay, uri):
        for proxy in (core.getProxyForURI(uri), core.getAttrProxyForURI(uri)):
            assert proxy.work() == 1
            before = relay.up
            copy.copy(proxy)
            pickle.loads(pickle.dumps(proxy))
            with pytest.raises(PyroError, match="deepcopy"):
                copy.deepcopy(proxy)
            assert repr(proxy)
            assert str(proxy)
            assert proxy
            assert hash(proxy)
            assert proxy == core.getProxyForURI(uri)
            assert dir(proxy)
            assert numpy.array(proxy).dtype == object
            for name in (
                "__array_interface__",
                "__iter__",
                "__len__",
                "__fspath__",
                "_repr_html_",
                "_repr_pretty_",
                "_ipython_display_",
                "_ipython_canary_method_should_not_exist_",
                "__wrapped__",
                "__await__",
                "_secret",
            ):
                with pytest.raises(AttributeError):
                    getattr(proxy, name)
                assert not hasattr(proxy, name)
            with pytest.raises(AttributeError):
                proxy._secret = 1
            with pytest.raises(TypeError):
                iter(proxy)
            assert not callable(proxy)
            isinstance(proxy, dict)
            assert relay.up == before
            proxy._release()
