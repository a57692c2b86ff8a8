from __future__ import annotations

import errno

import pytest

from gpyro.net.outgoing import GATHER_SIZE, HIGH_WATER, JOIN_SIZE, LOW_WATER, MAX_PIECES, Outgoing

MIB = 1 << 20


class Sink:
    """A socket whose kernel takes so many bytes at a time; remembers what it took and how often it was asked."""

    def __init__(self, room=None, step=1 << 62):
        self.room = room
        self.step = step
        self.taken = bytearray()
        self.sends = 0
        self.most_pieces = 0
        self.copied = 0  # bytes in pieces that were made by joining others
        self._joined = {}

    def _take(self, buffers):
        self.sends += 1
        self.most_pieces = max(self.most_pieces, len(buffers))
        size = sum(len(buffer) for buffer in buffers)
        for buffer in buffers:
            whole = buffer.obj if isinstance(buffer, memoryview) else buffer
            if id(whole) not in self._joined:
                self._joined[id(whole)] = whole
                self.copied += len(whole)
        count = min(size, self.step, size if self.room is None else self.room)
        if not count:
            raise BlockingIOError(errno.EAGAIN, "full")
        if self.room is not None:
            self.room -= count
        left = count
        for buffer in buffers:
            self.taken += buffer[:left]
            left -= min(left, len(buffer))
        return count

    def send(self, data):
        return self._take([data])

    def sendmsg(self, buffers):
        return self._take(buffers)


def filled(*pieces):
    out = Outgoing()
    for piece in pieces:
        out.add(piece)
    return out


def drain(out, sink, room=None):
    """Let the sink take `room` at a time until nothing is left; gives the number of turns."""
    turns = 0
    while out.size:
        turns += 1
        sink.room = room
        if out.blocked:
            out.resume(sink)
        else:
            out.flush(sink)
    return turns


def test_what_was_gathered_leaves_in_one_send():
    out, sink = filled(*[b"x" * 100] * 500), Sink()
    out.flush(sink)
    assert sink.sends == 1
    assert len(sink.taken) == out.sent == 50_000
    assert out.size == 0
    assert not out.blocked


def test_nothing_to_send_asks_nothing():
    out, sink = Outgoing(), Sink()
    out.flush(sink)
    assert sink.sends == 0


def test_more_than_is_worth_joining_goes_piecewise_and_in_order():
    pieces = [bytes([number % 251]) * 1000 for number in range(MAX_PIECES + 500)]
    out, sink = filled(*pieces), Sink()
    assert out.size > JOIN_SIZE
    out.flush(sink)
    assert bytes(sink.taken) == b"".join(pieces)
    assert sink.most_pieces <= MAX_PIECES
    assert sink.sends == 2


@pytest.mark.parametrize("step", [1, 7, 999, 1000, 1001, 65536])
@pytest.mark.parametrize("size", [3, 1000])
def test_partial_sends_lose_and_repeat_nothing(step, size):
    pieces = [bytes([number % 251]) * (size + number % 5) for number in range(30)]
    out, sink = Outgoing(), Sink(step=step)
    for number, piece in enumerate(pieces):
        out.add_pair(piece[:1], piece[1:])
        if number % 10 == 9:
            sink.room = step * 10
            out.resume(sink) if out.blocked else out.flush(sink)
    drain(out, sink, step * 10)
    assert bytes(sink.taken) == b"".join(pieces)
    assert out.sent == len(sink.taken)
    assert not out.blocked


def test_a_full_kernel_blocks_until_it_takes_more():
    out, sink = filled(b"abc"), Sink(room=0)
    out.flush(sink)
    assert out.blocked
    out.add(b"def")
    out.flush(sink)
    assert sink.sends == 2, "nothing is offered again before the socket is writable"
    sink.room = 100
    out.resume(sink)
    assert (bytes(sink.taken), out.blocked, out.size) == (b"abc", False, 3)
    out.flush(sink)
    assert (bytes(sink.taken), out.size) == (b"abcdef", 0)


def test_a_lost_connection_is_an_error():
    class Broken(Sink):
        def send(self, data):
            raise BrokenPipeError(errno.EPIPE, "gone")

        sendmsg = send

    with pytest.raises(OSError, match="gone"):
        filled(b"abc").flush(Broken())
    with pytest.raises(OSError, match="gone"):
        filled(b"a" * MIB).flush(Broken())


@pytest.mark.parametrize("piece", [1000, 64 * 1024, MIB])
def test_a_slow_reader_costs_in_proportion_to_the_bytes(piece):
    """64 MiB that leave 64 KiB at a time: sends grow with the bytes, and no byte is copied over and over."""
    room, body = 64 * 1024, bytes(piece)
    for size in (16 * MIB, 64 * MIB):
        out, sink = Outgoing(), Sink()
        for _ in range(size // piece):
            out.add(body)
        drain(out, sink, room)
        assert len(sink.taken) == size // piece * piece
        assert sink.sends <= 2 * (size // room) + 10
        assert sink.copied <= len(body) + JOIN_SIZE


def test_large_output_is_not_copied():
    body = bytes(16 * MIB)
    offered = []

    class Looking(Sink):
        def sendmsg(self, buffers):
            offered.extend(buffer.obj for buffer in buffers)
            return super().sendmsg(buffers)

    out = Outgoing()
    out.add_pair(b"header", body)
    drain(out, Looking(), MIB)
    assert {id(thing) for thing in offered if len(thing) > 6} == {id(body)}


def test_one_callback_does_not_send_without_end():
    out, sink = filled(*[bytes(MIB)] * 64), Sink(step=MIB)
    out.flush(sink)
    assert out.blocked, "the rest waits for the next turn"
    assert len(sink.taken) < 16 * MIB


def test_the_marks_stand_in_order():
    assert GATHER_SIZE < JOIN_SIZE <= LOW_WATER < HIGH_WATER
