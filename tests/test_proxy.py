"""Proxies as Python objects, their settings, and attribute access."""

from __future__ import annotations

import copy
import pickle
import threading
import time

import gevent
import pytest
from gevent.event import Event

import gpyro
from gpyro import core
from gpyro.constants import TRACEBACK_ATTRIBUTE
from gpyro.errors import MaybeExecutedError, PyroError, SerializationError, TimeoutError, URIError
from gpyro.util import getPyroTraceback
from tests.relay import relayed
from tests.support import AnyServer, eventually, serving, turns, uri_of


class Thing(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.sum = 0
        self.numbers = {"one": 1, "two": [1, 2]}
        self.seen = []
        self.go_on = Event()

    def echo(self, *args, **kwargs):
        return args, kwargs

    def note(self, value):
        self.seen.append(value)
        return value

    def wait(self, seconds):
        gevent.sleep(seconds)
        return seconds

    def wait_for_it(self):
        self.go_on.wait()

    def fail(self, text):
        raise KeyError(text)

    def kind_of(self, value):
        return type(value).__name__

    def call_it(self, proxy, value):
        return proxy.note(value)

    def give(self, proxy):
        return [proxy, {"again": proxy}]


@pytest.fixture
def thing():
    obj = Thing()
    with serving(obj) as daemon:
        proxy, attributes = daemon.getProxyForObj(obj), daemon.getAttrProxyForObj(obj)
        yield proxy, attributes, obj, daemon
        proxy._release()
        attributes._release()


def test_making_one_connects_to_nothing_and_the_first_call_does(thing):
    proxy, _, _, daemon = thing
    turns()
    assert not daemon.connections
    assert not proxy.adapter.connected()
    assert proxy.echo(1, a=2) == ((1,), {"a": 2})
    assert proxy.adapter.connected()
    assert len(daemon.connections) == 1


def test_awkward_keyword_names_are_just_keywords(thing):
    proxy, _, _, _ = thing
    keywords = {"self": 1, "name": 2, "args": 3, "kwargs": 4, "method": 5, "object_id": 6, "deadline": 7}
    names = {key: value for key, value in keywords.items() if key != "self"}
    assert proxy.echo(**names) == ((), names)


def test_remote_methods_can_be_kept_and_outlive_the_proxys_name(thing):
    proxy, _, _, daemon = thing
    echo = proxy.echo
    assert echo(1) == ((1,), {})
    assert "echo" in repr(echo)
    kept = daemon.getProxyForObj(daemon.getLocalObjectForProxy(proxy)).echo
    assert kept(2) == ((2,), {})
    assert kept(3) == ((3,), {})
    del kept


def test_a_plain_proxy_reads_and_writes_no_attributes(thing):
    proxy, _, obj, _ = thing
    assert callable(proxy.sum)
    with pytest.raises(AttributeError):
        proxy.sum()
    with pytest.raises(AttributeError, match="sum"):
        proxy.sum = 5
    with pytest.raises(AttributeError):
        del proxy.sum
    assert obj.sum == 0


# Attribute proxies


def test_attributes_are_read_and_written_by_value(thing):
    _, proxy, obj, _ = thing
    assert proxy.sum == 0
    proxy.sum = proxy.sum + 1
    proxy.sum += 1
    assert obj.sum == proxy.sum == 2
    assert proxy.numbers["two"][1] == 2
    proxy.numbers["two"].append(3)  # a local copy
    assert proxy.numbers == {"one": 1, "two": [1, 2]}
    proxy.numbers = {"new": (1,)}
    assert obj.numbers == {"new": (1,)}
    assert proxy.echo(1) == ((1,), {})
    assert (proxy.findattr("echo"), proxy.findattr("sum"), proxy.findattr("nothing")) == (1, 2, 0)


def test_unknown_names_are_no_attributes(thing):
    _, proxy, obj, _ = thing
    with pytest.raises(AttributeError, match="nothing"):
        proxy.nothing
    with pytest.raises(AttributeError, match="not an attribute"):
        proxy.nothing = 1
    with pytest.raises(AttributeError, match="not an attribute"):
        proxy.echo = 1
    assert not hasattr(proxy, "nothing")
    assert getattr(proxy, "nothing", "default") == "default"
    assert not hasattr(obj, "nothing")
    # It is asked anew: what the object got meanwhile is found.
    obj.nothing = 5
    assert proxy.nothing == 5


def test_a_value_that_cannot_travel_is_named(thing):
    _, proxy, obj, _ = thing
    with pytest.raises(SerializationError, match="sum"):
        proxy.sum = object()
    assert obj.sum == 0
    obj.sum = object()
    with pytest.raises(SerializationError):
        proxy.sum


# Settings


def test_oneway_calls_return_none_and_swallow_errors(thing, caplog):
    proxy, _, obj, _ = thing
    proxy._setOneway("note")
    proxy._setOneway(["fail", "echo"])
    assert proxy.note(1) is None
    assert proxy.fail("unseen") is None
    assert proxy.echo(1) is None
    assert proxy.kind_of(1) == "int"
    eventually(lambda: obj.seen == [1])
    eventually(lambda: "unseen" in caplog.text)


def test_methods_marked_one_way_on_the_server_answer_at_once():
    class Marked:
        done = 0

        @gpyro.oneway
        def work(self):
            gevent.sleep(0.02)
            self.done += 1
            raise KeyError("unseen")

    obj = Marked()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        assert proxy.work() is None
        assert obj.done == 0
        eventually(lambda: obj.done == 1)
        proxy._release()


@pytest.mark.parametrize("bad", [0, -1, "x", float("nan"), object()])
def test_a_timeout_is_a_positive_number_or_none(thing, bad):
    proxy, _, _, _ = thing
    with pytest.raises((ValueError, TypeError)):
        proxy._setTimeout(bad)
    assert proxy.wait(0.001) == 0.001


def test_the_timeout_counts_for_attributes_too():
    go_on = Event()

    class Slow:
        @property
        def value(self):
            go_on.wait()
            return 1

    obj = Slow()
    with serving(obj) as daemon:
        proxy = daemon.getAttrProxyForObj(obj)
        proxy._setTimeout(0.02)
        with pytest.raises(TimeoutError):
            proxy.value
        go_on.set()
        proxy._setTimeout(None)
        assert proxy.value == 1
        proxy._release()


def test_a_private_channel_is_one_of_its_own(thing):
    proxy, attributes, _, daemon = thing
    proxy.echo()
    attributes.echo()
    assert len(daemon.connections) == 1
    proxy._setPrivateChannel(True)
    proxy.echo()
    assert len(daemon.connections) == 2
    again = daemon.getProxyForObj(daemon.getLocalObjectForProxy(proxy))
    again._setPrivateChannel(True)
    again.echo()
    assert len(daemon.connections) == 3
    again._release()
    eventually(lambda: len(daemon.connections) == 2)  # a private one does not linger
    proxy._setPrivateChannel(False)
    proxy.echo()
    eventually(lambda: len(daemon.connections) == 1)


def test_other_identifications_do_not_share_a_connection(thing):
    proxy, attributes, _, daemon = thing
    proxy._setNewConnectionValidator(AnyServer())
    proxy._setIdentification("one")
    proxy.echo()
    attributes.echo()
    assert len(daemon.connections) == 2


def test_release_ends_the_session_and_the_next_call_begins_one(thing):
    proxy, _, _, _ = thing
    assert proxy.echo() == ((), {})
    proxy._release()
    assert not proxy.adapter.connected()
    proxy._release()
    assert proxy.echo() == ((), {})


def test_transferthread_does_nothing(thing):
    proxy, _, _, _ = thing
    assert proxy._transferThread() is None
    assert proxy._transferThread(threading.current_thread()) is None


def test_a_new_uri_can_be_given(thing):
    proxy, _, obj, daemon = thing
    other = Thing()
    daemon.connect(other)
    proxy.note(1)
    proxy.URI = daemon.getProxyForObj(other).URI
    proxy.note(2)
    assert (obj.seen, other.seen) == ([1], [2])
    with pytest.raises(URIError):
        proxy.URI = "nonsense"
    proxy.note(3)
    assert other.seen == [2, 3]
    with pytest.raises(AttributeError):
        proxy.objectID = "x"


# As Python objects


def test_equality_hash_truth_and_repr():
    first, same = core.getProxyForURI("PYRO://a:1/x"), core.getAttrProxyForURI("PYRO://b:2/x")
    other = core.getProxyForURI("PYRO://a:1/y")
    assert first == same
    assert first != other
    assert first != "PYRO://a:1/x"
    assert first is not None
    assert hash(first) == hash(same)
    assert {first: 1}[same] == 1
    assert bool(first)
    assert repr(first) == str(first) == "<DynamicProxy for PYRO://a:1/x>"
    assert repr(same) == "<DynamicProxyWithAttrs for PYRO://b:2/x>"
    assert {"_setTimeout", "_setOneway", "_release", "URI", "objectID", "adapter"} <= set(dir(first))


def settings_of(proxy):
    return proxy._remote.timeout, proxy._remote.oneway, bool(proxy._remote.private)


def test_copies_have_the_settings_and_a_connection_of_their_own(thing):
    for proxy in thing[:2]:
        proxy._setTimeout(5)
        proxy._setOneway("note")
        proxy._setPrivateChannel(True)
        proxy.echo()
        copied = copy.copy(proxy)
        assert copied == proxy
        assert type(copied) is type(proxy)
        assert not copied.adapter.connected()
        assert settings_of(copied) == settings_of(proxy) == (5, {"note"}, True)
        copied._setOneway("echo")
        assert proxy.echo() == ((), {})
        assert copied.note(1) is None
        copied._release()
        with pytest.raises(PyroError, match="cannot deepcopy a proxy"):
            copy.deepcopy(proxy)


def test_pickling_works_while_connected_and_never_carries_who_calls(thing):
    for proxy in thing[:2]:
        proxy._setTimeout(5)
        proxy._setOneway("note")
        proxy._setNewConnectionValidator(AnyServer())
        proxy._setIdentification("secret word")
        proxy.echo()
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            dumped = pickle.dumps(proxy, protocol)
            assert b"secret" not in dumped
            loaded = pickle.loads(dumped)
            assert loaded == proxy
            assert type(loaded) is type(proxy)
            assert not loaded.adapter.connected()
            assert settings_of(loaded) == (5, {"note"}, False)
            assert loaded.kind_of(1) == "int"
            loaded._release()


def test_proxies_travel_by_value_as_arguments_and_results(thing):
    proxy, attributes, obj, _ = thing
    attributes._setTimeout(7)
    assert proxy.kind_of(attributes) == "DynamicProxyWithAttrs"
    assert proxy.call_it(attributes, "through it") == "through it"
    assert obj.seen == ["through it"]
    first, rest = proxy.give(attributes)
    assert type(first) is core.DynamicProxyWithAttrs
    assert first == rest["again"] == attributes
    assert settings_of(first)[0] == 7
    assert first.sum == 0
    first._release()


# Errors


def test_the_remote_traceback_comes_as_note_and_attribute(thing):
    proxy, _, _, _ = thing
    with pytest.raises(KeyError, match="to see") as raised:
        proxy.fail("to see")
    lines = getattr(raised.value, TRACEBACK_ATTRIBUTE)
    assert isinstance(lines, list)
    assert "in fail" in "".join(lines)
    assert "raise KeyError(text)" in "".join(lines)
    (note,) = raised.value.__notes__
    assert "in fail" in note
    assert note.startswith(" +--- This exception occured remotely (Pyro) - Remote traceback:\n | ")
    assert note.endswith("\n +--- End of remote traceback")
    text = "".join(getPyroTraceback(raised.value))
    assert text.count("in fail") == 1
    assert note in text
    # How the call got to the method is gpyro's business.
    assert "dispatch.py" not in note


def test_a_proxy_called_from_the_hub_says_so(thing):
    proxy, _, _, _ = thing
    errors = []

    def call():
        try:
            proxy.echo()
        except PyroError as error:
            errors.append(error)

    for _ in range(2):  # without a connection, and with one
        gevent.get_hub().loop.run_callback(call)
        eventually(lambda: errors)
        assert "hub" in str(errors.pop())
        assert proxy.echo() == ((), {})
    proxy._setOneway("echo")
    gevent.get_hub().loop.run_callback(call)
    eventually(lambda: errors)


def test_calls_from_many_greenlets_overlap_and_start_in_the_order_made(thing):
    proxy, _, obj, daemon = thing

    def start_and_wait(number):
        proxy.note(number)
        return proxy.wait(0.05)

    began = time.monotonic()
    calls = [gevent.spawn(start_and_wait, number) for number in range(200)]
    gevent.joinall(calls, raise_error=True)
    assert time.monotonic() - began < 200 * 0.05
    assert obj.seen == list(range(200))
    assert len(daemon.connections) == 1


def test_one_proxy_serves_many_os_threads(thing):
    proxy, _, obj, _ = thing
    results = []

    def work(number):
        results.extend(proxy.note(number) for _ in range(20))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    eventually(lambda: not any(thread.is_alive() for thread in threads))
    assert sorted(results) == sorted(obj.seen) == [number for number in range(5) for _ in range(20)]


def test_the_connection_is_lost_and_made_again():
    obj = Thing()
    with relayed(obj) as (daemon, relay, uri):
        proxy = core.getProxyForURI(uri)
        assert proxy.note(1) == 1
        relay.cut()
        eventually(lambda: not proxy.adapter.connected())
        assert proxy.note(2) == 2
        waiting = gevent.spawn(proxy.wait_for_it)
        eventually(lambda: any(channel.serving for channel in daemon.connections))
        relay.cut()
        gevent.joinall([waiting])
        assert type(waiting.exception) is MaybeExecutedError
        assert waiting.exception.may_have_run
        assert proxy.note(3) == 3
        assert obj.seen == [1, 2, 3]
        assert relay.connections == 3
        obj.go_on.set()
        proxy._release()
