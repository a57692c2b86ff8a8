import io
import random
import tracemalloc

import gevent
import pytest

from gpyro.test.load import ERROR_KINDS, Histogram, Load, Measurement, Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_percentiles_are_right_to_one_percent():
    chance = random.Random(7)
    values = sorted(int(chance.lognormvariate(13, 2)) for _ in range(20_000))
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    assert len(histogram) == len(values)
    for percent in (1, 25, 50, 90, 99, 99.9):
        exact = values[min(len(values) - 1, int(len(values) * percent / 100))]
        assert histogram.percentile(percent) == pytest.approx(exact, rel=0.01, abs=1)
    assert histogram.percentile(100) == pytest.approx(values[-1], rel=0.01)
    assert histogram.maximum == values[-1]


@pytest.mark.parametrize("value", [0, 1, 255, 256, 257, 511, 512, 1000, 2**20 - 1, 2**20, 10**9, Histogram.LONGEST])
def test_a_single_value_is_every_percentile(value):
    histogram = Histogram()
    histogram.record(value)
    for percent in (0.1, 50, 100):
        assert histogram.percentile(percent) == pytest.approx(value, rel=0.004)


def test_buckets_follow_each_other_without_a_gap():
    shown = []
    for value in [*range(5000), *(2**power + step for power in range(13, 42) for step in (-1, 0, 1))]:
        histogram = Histogram()
        histogram.record(value)
        histogram.maximum = Histogram.LONGEST
        shown.append(histogram.percentile(50))
    assert shown == sorted(shown)


def test_small_ranks():
    histogram = Histogram()
    for value in range(1, 11):
        histogram.record(value)
    assert [histogram.percentile(percent) for percent in (0, 10, 11, 50, 99, 100)] == [1, 1, 2, 5, 10, 10]


def test_an_empty_histogram_and_one_that_was_cleared():
    histogram = Histogram()
    assert (len(histogram), histogram.percentile(50), histogram.maximum) == (0, 0, 0)
    record = histogram.record
    record(5)
    histogram.clear()
    assert (len(histogram), histogram.percentile(50), histogram.maximum) == (0, 0, 0)
    record(7)
    assert (len(histogram), histogram.percentile(50)) == (1, 7)


def test_longer_than_the_longest_counts_as_the_longest():
    histogram = Histogram()
    histogram.record(10**18)
    assert histogram.percentile(50) == pytest.approx(Histogram.LONGEST, rel=0.004)
    assert histogram.maximum == Histogram.LONGEST


def test_memory_does_not_grow_with_the_values():
    histogram = Histogram()
    chance = random.Random(3)
    tracemalloc.start()
    try:
        for _ in range(50_000):
            histogram.record(int(chance.lognormvariate(13, 2)))
        assert tracemalloc.get_traced_memory()[0] < 300_000
    finally:
        tracemalloc.stop()


def test_a_number_of_calls():
    asked = []

    def call():
        asked.append(gevent.getcurrent())
        gevent.sleep(0)
        return 42

    result = Load([call] * 8, 42).run(30, limit=100)
    assert (result.calls, len(asked), len(set(asked))) == (100, 100, 8)
    assert not result.errors
    assert result.seconds < 30


def test_the_time_ends_it():
    result = Load([lambda: gevent.sleep(0.001)] * 3).run(0.5)
    assert result.calls
    assert 0.5 <= result.seconds < 30


def test_stop_ends_it_early_and_keeps_the_result():
    load = Load([lambda: gevent.sleep(0.001)] * 3)

    def progress(gone, calls):
        assert gone > 0
        if calls > 5:
            load.stop()

    result = load.run(60, progress=progress)
    assert result.calls > 5
    assert result.seconds < 60


def test_stop_before_the_start():
    load = Load([lambda: pytest.fail("called")])
    load.stop()
    assert load.run(60).calls == 0


def test_the_warm_up_is_not_counted():
    times = []

    def call():
        times.append(None)
        gevent.sleep(0.001)

    result = Load([call]).run(0.5, warm_up=0.05)
    assert 0 < result.calls < len(times)


def test_errors_and_wrong_answers_are_counted_by_kind():
    answers = iter([1, 2, ValueError("bad"), KeyError("k"), ValueError("worse"), 1])

    def call():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    result = Load([call], 1).run(30, limit=6)
    assert result.calls == 2
    assert result.errors == {"wrong answer": 1, "ValueError": 2, "KeyError": 1}
    assert result.first_error == "wrong answer, of type int"
    assert "ValueError 2" in str(result)


def test_kinds_of_errors_are_bounded():
    names = iter(range(1000))

    def call():
        raise type(f"Error{next(names)}", (Exception,), {})

    load = Load([call] * (ERROR_KINDS + 10))
    result = load.run(30, limit=ERROR_KINDS + 10)
    assert len(result.errors) == ERROR_KINDS + 1
    assert result.errors["others"] == 10


def test_callers_that_do_not_come_back_are_given_up(monkeypatch):
    monkeypatch.setattr("gpyro.test.load.GRACE", 0.05)
    answered = iter([True, True])

    def call():
        if not next(answered, False):
            gevent.sleep(3600)

    result = Load([call] * 2).run(0.05)
    assert (result.calls, result.given_up) == (2, 2)
    assert "2" in str(result).splitlines()[-1]


def test_the_result_as_text_and_for_scripts():
    histogram = Histogram()
    for _ in range(1000):
        histogram.record(2_000_000)
    result = Measurement(1000, 0.5, histogram)
    assert str(result).startswith("1,000 calls in 0.50 s: 2,000 calls/s\nlatency p50 2.000 ms, p99 2.000 ms, p99.9")
    assert result.as_dict()["calls_per_second"] == 2000
    assert result.as_dict()["latency_ms"] == pytest.approx({"p50": 2, "p99": 2, "p99.9": 2, "max": 2}, rel=0.004)
    assert Measurement(0, 0.0, Histogram()).rate == 0


def test_the_bar_is_rewritten_in_place_and_taken_away():
    stream = Terminal()
    progress = Progress(2, stream=stream)
    for gone in (0.5, 1.0, 2.0):
        progress(gone, int(gone * 1000))
    progress.close()
    _, first, second, third, last = stream.getvalue().split("\r")
    bars = [text[1 : text.index("]")] for text in (first, second, third)]
    assert [bar.count("#") / len(bar) for bar in bars] == pytest.approx([0.25, 0.5, 1], abs=0.03)
    assert "1,000 calls/s" in first
    assert last == "\x1b[K"
    assert "\n" not in stream.getvalue()


def test_the_bar_follows_the_number_of_calls_if_that_ends_sooner():
    stream = Terminal()
    Progress(100, 1000, stream)(1.0, 750)
    bar = stream.getvalue().partition("]")[0]
    assert bar.count("#") / (len(bar) - 2) == pytest.approx(0.75, abs=0.03)


def test_without_a_terminal_one_plain_line_a_second():
    stream = io.StringIO()
    progress = Progress(5, stream=stream)
    for tenth in range(1, 36):
        progress(tenth / 10, tenth)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert [line.split(" of ")[0] for line in lines] == ["1.0", "2.0", "3.0"]
    assert "\r" not in stream.getvalue()
