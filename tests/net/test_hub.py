from __future__ import annotations

import gc
import logging
import threading
import weakref

import gevent
import gevent.event
import pytest
from greenlet import getcurrent

from gpyro.net import hub as hubs
from gpyro.net.hub import MAX_REPORTS, HubState, hub_state, limit
from gpyro.net.resolve import Resolver
from tests.support import eventually, run_python, turns


@pytest.fixture
def state():
    return hub_state()


def in_hub(state, function):
    """Run `function` in a hub callback, and give what it gave."""
    got = []
    state.run_in_hub(lambda: got.append(function()))
    eventually(lambda: got)
    return got[0]


def in_thread(function):
    """Run `function` in an OS thread, and give what it gave."""
    got = []
    thread = threading.Thread(target=lambda: got.append(function()))
    thread.start()
    eventually(lambda: not thread.is_alive())
    thread.join()
    return got[0]


def test_there_is_one_state_a_hub():
    assert hub_state() is hub_state()
    assert hub_state().hub is gevent.get_hub()
    assert in_thread(hub_state) is not hub_state()


def test_a_part_is_made_once(state):
    assert state.part(Resolver) is state.part(Resolver)


# In from elsewhere


def test_call_soon_runs_in_the_hub_whoever_calls(state):
    seen = []
    state.call_soon(lambda: seen.append(getcurrent() is state.hub))
    in_thread(lambda: state.call_soon(lambda: seen.append(getcurrent() is state.hub)))
    eventually(lambda: len(seen) == 2)
    assert seen == [True, True]


def test_call_soon_wakes_a_waiting_loop(state):
    go = gevent.event.Event()
    timer = threading.Timer(0.02, lambda: state.call_soon(go.set))
    timer.start()
    assert go.wait(5)
    timer.join()


def test_from_a_finaliser(state):
    seen = []

    class Thing:
        def __del__(self):
            state.call_soon(lambda: seen.append("closed"))

    thing = Thing()
    thing.me = thing
    del thing
    gc.collect()
    eventually(lambda: seen)


# Nothing escapes


@pytest.mark.parametrize("how", ["call_soon", "run_in_hub", "start", "run_after"])
@pytest.mark.parametrize("error", [ValueError("injected"), gevent.Timeout(), RecursionError("deep")])
def test_an_exception_is_logged_and_the_others_run(state, caplog, capsys, how, error):
    seen = []

    def fail(*_):
        raise error.with_traceback(None)

    def schedule(function):
        if how == "start":
            state.run_in_hub(lambda: state.start(function))
        elif how == "run_after":
            state.run_after(0.001, function)
        else:
            getattr(state, how)(function)

    schedule(fail)
    schedule(lambda *_: seen.append(1))
    eventually(lambda: seen and caplog.records)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info[1] is error
    assert capsys.readouterr().err == ""
    if isinstance(error, gevent.Timeout):
        error.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_stops_a_program_reaches_its_main_greenlet(state, error):
    def fail():
        raise error("stop")

    state.call_soon(fail)
    with pytest.raises(error, match="stop"):
        gevent.sleep(5)


def test_a_log_handler_that_blocks_does_not_hold_the_hub(state):
    go = gevent.event.Event()
    seen = []

    def slow(text):
        go.wait()
        seen.append(text)

    in_hub(state, lambda: state.report(slow, "first"))
    in_hub(state, lambda: state.report(seen.append, "second"))
    turns(3)
    assert seen == []
    go.set()
    eventually(lambda: len(seen) == 2)
    assert seen == ["first", "second"]


def test_a_log_handler_that_fails_spares_the_others(state, capsys):
    seen = []

    def fail():
        raise ValueError

    in_hub(state, lambda: (state.report(fail), state.report(seen.append, "second")))
    eventually(lambda: seen)
    assert capsys.readouterr().err == ""


def test_reports_are_bounded_and_what_is_lost_is_told(state, caplog):
    go = gevent.event.Event()
    seen = []
    in_hub(state, lambda: state.report(go.wait))
    for number in range(MAX_REPORTS + 500):
        state.report(seen.append, number)
    assert len(state._reports) <= MAX_REPORTS
    go.set()
    eventually(lambda: caplog.records)
    assert len(seen) == MAX_REPORTS
    assert "500 log entries dropped" in caplog.text


def test_reporting_goes_on_after_what_a_handler_threw(state, caplog):
    """SystemExit, or a forgotten Timeout in a handler, must not end reporting for good."""

    def fail():
        raise gevent.Timeout

    seen = []
    state.report(fail)
    turns(3)
    state.report(seen.append, 1)
    eventually(lambda: seen)


def test_a_zero_delay_lets_the_loop_poll(state):
    order = []
    in_hub(
        state, lambda: (state.run_after(0, lambda: order.append("after")), state.run_in_hub(lambda: order.append(1)))
    )
    eventually(lambda: len(order) == 2)
    assert order == [1, "after"]


def test_a_limit_ends_quietly_and_only_itself():
    with limit(0.001):
        gevent.sleep(5)
    with limit(None):
        pass
    with pytest.raises(ValueError, match="x"), limit(5):
        raise ValueError("x")
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.001), limit(5):
        gevent.sleep(5)


def test_a_closed_state_leaves_the_hub_and_closes_its_parts():
    closed = []

    class Thing(Resolver):
        def close(self):
            closed.append(self)

    state = hub_state()
    part = state.part(Thing)
    state.close()
    state.close()
    assert closed == [part]
    assert hub_state() is not state
    state.call_soon(closed.clear)
    turns(2)
    assert closed == [part]


def test_a_closed_state_is_let_go():
    alive = weakref.ref(hub_state())
    hub_state().close()
    turns(2)
    gc.collect()
    assert alive() is None


def test_the_state_alone_does_not_keep_the_loop_running():
    code, out, err = run_python(
        """
        import gevent
        from gpyro.net.hub import hub_state
        from gpyro.net.liveness import Liveness
        hub_state().part(Liveness)
        print(gevent.wait(timeout=30))
        """
    )
    assert (code, out, err) == (0, "True\n", "")


def test_the_buffer_is_one_a_hub(state):
    assert len(state.buffer) == len(state.view) == hubs.RECEIVE_SIZE
    assert isinstance(state, HubState)
