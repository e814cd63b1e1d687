"""A long body in blocks: every byte once and in order, cut at multiples of 64 KiB, however the reads cut it."""

import asyncio
import socket
from collections.abc import Iterable, Iterator
from hashlib import shake_128
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.blocks import BlockReceiver
from proxy.s3.upstream.http_answer import AnswerBody

UNIT = 65_536
DATA = shake_128(b"data").digest(12 * UNIT + 4321)


class Transport:
    """A transport that reads where its peer sends to it, when the test says so."""

    def __init__(self) -> None:
        self.peer, self._own = socket.socketpair()
        self._own.setblocking(False)
        self.reads = True
        self.closing = False
        self.protocol: BlockReceiver | None = None

    def get_extra_info(self, name: str) -> object:
        return self._own if name == "socket" else None

    def is_closing(self) -> bool:
        return self.closing

    def set_protocol(self, protocol: BlockReceiver) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def turn(self) -> int:
        """The event loop's turn: one read, as far as there is anything."""
        assert self.reads
        assert self.protocol is not None
        try:
            size = self._own.recv_into(self.protocol.get_buffer(-1))
        except BlockingIOError:
            return 0
        self.protocol.buffer_updated(size)
        return size

    def close(self) -> None:
        self.peer.close()
        self._own.close()
        self.protocol = None


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport()
    yield made
    made.close()


class Source:
    """The connection, of which the body wants only this."""

    def __init__(self) -> None:
        self.waiting = 0
        self.lost: list[Exception | None] = []
        self.sizes: list[int] = []

    def fetch(self) -> None: ...

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


def receiver_of(
    carrier: Source,
    body: AnswerBody,
    begun: Iterable[bytes],
    left: int,
    *,
    beforehand: int = 0,
    one_more: bool = False,
    transport: Transport | None = None,
) -> BlockReceiver:
    own = transport or Transport()
    receiver = BlockReceiver(
        cast("asyncio.Transport", own), carrier, body, begun, left, beforehand=beforehand, one_more=one_more
    )
    receiver.begin(reading=True)
    if transport is None:
        own.close()
    return receiver


def receive(data: bytes, begun: list[bytes], reads: list[int]) -> tuple[list[bytes], Source]:
    """The pieces that the body was fed, when every read brings as much as the next of ``reads``, or less."""
    source = Source()
    body = AnswerBody(source)
    position = sum(map(len, begun))
    receiver = receiver_of(source, body, begun, len(data) - position)
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
    receiver = receiver_of(source, body, [], size, one_more=True)
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
        receiver = receiver_of(source, AnswerBody(source), [], size)
        assert len(receiver.get_buffer(-1)) == size
        receiver.buffer_updated(size)
        assert source.left == 0


def test_what_was_handed_on_is_not_written_to_again() -> None:
    pieces, _ = receive(DATA, [], [1000])
    assert b"".join(pieces) == DATA


async def test_bytes_that_are_not_handed_on_yet_are_progress_all_the_same() -> None:
    source = Source()
    body = AnswerBody(source)
    receiver = receiver_of(source, body, [], 4 * UNIT)
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
    receiver = receiver_of(source, AnswerBody(source), [], UNIT)
    receiver.eof_received()
    receiver.connection_lost(error)
    assert source.lost == [error]


def fetched(receiver: BlockReceiver, body: AnswerBody) -> int:
    """Bytes that are handed on at once when the next piece is wanted."""
    receiver.fetch()
    size = sum(map(len, body._pieces))
    body._pieces.clear()
    return size


def test_what_has_come_is_read_when_it_is_wanted_and_not_before(transport: Transport) -> None:
    body = AnswerBody(Source())
    receiver = receiver_of(Source(), body, [], 8 * UNIT, transport=transport)
    transport.peer.setblocking(False)
    transport.peer.send(DATA[: UNIT + 5])
    assert transport.turn() == UNIT + 5
    assert not transport.reads
    assert [len(piece) for piece in body._pieces] == [UNIT]
    body._pieces.clear()
    sent = transport.peer.send(DATA[UNIT + 5 : 2 * UNIT])
    assert fetched(receiver, body) == (UNIT if sent == UNIT - 5 else 0)
    assert not transport.reads


def test_where_nothing_has_come_the_transport_reads_on(transport: Transport) -> None:
    body = AnswerBody(Source())
    receiver = receiver_of(Source(), body, [DATA[:UNIT]], 8 * UNIT, transport=transport)
    transport.peer.send(DATA[: UNIT // 2])
    transport.turn()
    assert transport.reads
    transport.peer.send(DATA[: UNIT // 2])
    transport.turn()
    assert not transport.reads
    body._pieces.clear()
    assert fetched(receiver, body) == 0
    assert transport.reads


def test_after_some_blocks_it_is_the_turn_of_others(transport: Transport) -> None:
    body = AnswerBody(Source())
    receiver = receiver_of(Source(), body, [], 100 * UNIT, transport=transport)
    transport.pause_reading()
    receiver._reading = False
    at_once = 0
    while not transport.reads:
        transport.peer.send(DATA[:UNIT])
        at_once += fetched(receiver, body) > 0
    assert at_once == 8
    assert transport.turn() > 0
    assert not transport.reads


def test_a_closed_connection_is_left_to_the_transport(transport: Transport) -> None:
    body = AnswerBody(Source())
    receiver = receiver_of(Source(), body, [DATA[:UNIT]], 8 * UNIT, transport=transport)
    transport.pause_reading()
    receiver._reading = False
    transport.peer.close()
    assert fetched(receiver, body) == UNIT
    assert transport.reads
    receiver._reading, transport.closing = False, True
    assert fetched(receiver, body) == 0


def test_a_body_that_nobody_wants_flows(transport: Transport) -> None:
    body = AnswerBody(Source())
    receiver = receiver_of(Source(), body, [], 8 * UNIT, transport=transport)
    receiver.let_flow()
    for _ in range(3):
        transport.peer.send(DATA[:UNIT])
        transport.turn()
        assert transport.reads


def test_so_much_is_read_before_anybody_wants_it(transport: Transport) -> None:
    body = AnswerBody(Source())
    receiver = receiver_of(Source(), body, [], 8 * UNIT, beforehand=2 * UNIT, transport=transport)
    for reads in (True, False):
        transport.peer.send(DATA[:UNIT])
        transport.turn()
        assert transport.reads is reads
    body._pieces.clear()
    assert fetched(receiver, body) == 0
    transport.peer.send(DATA[:UNIT])
    transport.turn()
    assert not transport.reads
