"""A long body in blocks: every byte once and in order, cut at multiples of 64 KiB, however the reads cut it."""

from hashlib import shake_128

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.blocks import BlockReceiver
from proxy.s3.upstream.http_answer import AnswerBody

UNIT = 65_536
DATA = shake_128(b"data").digest(12 * UNIT + 4321)


class Source:
    """The connection, of which the body wants only this."""

    def __init__(self) -> None:
        self.waiting = 0
        self.lost: list[Exception | None] = []
        self.sizes: list[int] = []

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def waits(self) -> None:
        self.waiting += 1

    def goes_on(self) -> None: ...

    def abandon(self) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def received(self, size: int, left: int) -> None:
        self.sizes.append(size)
        self.left = left


def receive(data: bytes, begun: list[bytes], reads: list[int]) -> tuple[list[bytes], Source]:
    """The pieces that the body was fed, when every read brings as much as the next of ``reads``, or less."""
    source = Source()
    body = AnswerBody(source)
    position = sum(map(len, begun))
    receiver = BlockReceiver(source, body, begun, len(data) - position)
    number = 0
    while position < len(data):
        buffer = receiver.get_buffer(-1)
        assert len(buffer) > 0
        size = min(len(buffer), reads[number % len(reads)], len(data) - position)
        buffer[:size] = data[position : position + size]
        position, number = position + size, number + 1
        receiver.buffer_updated(size)
    assert sum(source.sizes) == len(data) - sum(map(len, begun))
    return [bytes(piece) for piece in body._pieces], source


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(UNIT, len(DATA)) | st.sampled_from([4 * UNIT, 8 * UNIT, 8 * UNIT + 1]),
    begun=st.integers(0, UNIT) | st.sampled_from([UNIT - 1, UNIT]),
    reads=st.lists(st.integers(1, 400_000) | st.sampled_from([UNIT, 262_144, 10]), min_size=1, max_size=5),
)
def test_any_reads_give_the_body_in_whole_units(size: int, begun: int, reads: list[int]) -> None:
    if max(reads) < 1000:
        reads = [*reads, 50_000]
    data = DATA[:size]
    pieces, _ = receive(data, [data[: begun // 2], data[begun // 2 : begun]], reads)
    assert b"".join(pieces) == data
    assert all(len(piece) % UNIT == 0 for piece in pieces[:-1])


@pytest.mark.parametrize("size", [100, 4 * UNIT - 1, 4 * UNIT, 4 * UNIT + 1, 8 * UNIT])
def test_a_byte_too_many_is_seen_and_dropped(size: int) -> None:
    source = Source()
    body = AnswerBody(source)
    receiver = BlockReceiver(source, body, [], size, one_more=True)
    data = DATA[:size] + b"!"
    while data:
        buffer = receiver.get_buffer(-1)
        piece, data = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(piece)] = piece
        receiver.buffer_updated(len(piece))
    assert sum(source.sizes) == size + 1
    assert b"".join(body._pieces) == DATA[:size]


def test_without_that_no_more_is_read_than_the_body_has() -> None:
    for size in (100, 4 * UNIT):
        source = Source()
        receiver = BlockReceiver(source, AnswerBody(source), [], size)
        assert len(receiver.get_buffer(-1)) == size
        receiver.buffer_updated(size)
        assert source.left == 0


def test_what_was_handed_on_is_not_written_to_again() -> None:
    pieces, _ = receive(DATA, [], [1000])
    assert b"".join(pieces) == DATA


async def test_bytes_that_are_not_handed_on_yet_are_progress_all_the_same() -> None:
    source = Source()
    body = AnswerBody(source)
    receiver = BlockReceiver(source, body, [], 4 * UNIT)
    waiter = body._more()
    waiter.send(None)
    assert source.waiting == 1
    receiver.get_buffer(-1)[:5] = b"12345"
    receiver.buffer_updated(5)
    assert source.waiting == 2
    waiter.close()


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_the_connection_learns_of_its_loss(error: Exception | None) -> None:
    source = Source()
    receiver = BlockReceiver(source, AnswerBody(source), [], UNIT)
    receiver.eof_received()
    receiver.connection_lost(error)
    assert source.lost == [error]
