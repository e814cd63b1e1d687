"""Pipelines, the pump and read_all."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.stream import Buffer, Gathering, Pipeline, pump, read_all


class Block:
    """Hands on whole blocks of ``size`` bytes with a mark before each; the rest in finalize."""

    def __init__(self, size: int, mark: bytes) -> None:
        self._size = size
        self._mark = mark
        self._held = b""
        self.finalized = False

    def update(self, data: Buffer) -> Buffer:
        self._held += bytes(data)
        output = b""
        while len(self._held) > self._size:
            output += self._mark + self._held[: self._size]
            self._held = self._held[self._size :]
        return output

    def finalize(self) -> Buffer:
        self.finalized = True
        return self._mark + self._held


class Refuses:
    """Passes everything on and is not content in the end."""

    def update(self, data: Buffer) -> Buffer:
        return data

    def finalize(self) -> Buffer:
        raise ValueError("wrong digest")


class Stream:
    """A ByteStream over pieces; it counts what was read and remembers that it was closed."""

    def __init__(self, pieces: Sequence[bytes], error: Exception | None = None) -> None:
        self._pieces = list(pieces)
        self._error = error
        self.read = 0
        self.closed = False

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Buffer:
        if self._pieces:
            self.read += 1
            return self._pieces.pop(0)
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(min(position, len(data)) for position in cuts), len(data)]
    return [data[left:right] for left, right in pairwise(edges)]


def blocks(data: bytes, size: int, mark: bytes) -> bytes:
    block = Block(size, mark)
    return bytes(block.update(data)) + bytes(block.finalize())


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_a_pipeline_is_its_stages_one_after_another(data: bytes, cuts: list[int]) -> None:
    pipeline = Pipeline(Block(7, b"<"), Block(5, b">"))
    output = b"".join([bytes(pipeline.update(piece)) for piece in cut(data, cuts)])
    output += bytes(pipeline.finalize())
    assert output == blocks(blocks(data, 7, b"<"), 5, b">")


class Halves(Block):
    """A block whose input and output lie in several places."""

    def scatter(self, data: Buffer) -> Sequence[Buffer]:
        ready = self.update(data)
        return ready[: len(ready) // 2], ready[len(ready) // 2 :]

    def gather(self, pieces: Sequence[Buffer]) -> Buffer:
        return self.update(b"".join(pieces))


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_what_is_gathered_is_what_a_pipeline_gives(data: bytes, cuts: list[int]) -> None:
    gathering = Gathering(Halves(7, b"<"), Halves(5, b">"))
    output = b"".join([bytes(gathering.update(piece)) for piece in cut(data, cuts)])
    output += bytes(gathering.finalize())
    assert output == blocks(blocks(data, 7, b"<"), 5, b">")


def test_an_empty_pipeline_changes_nothing() -> None:
    pipeline = Pipeline()
    assert pipeline.update(b"abc") == b"abc"
    assert pipeline.finalize() == b""


def test_the_stage_before_raises_before_the_last_bytes_leave() -> None:
    sealer = Block(4, b"")
    pipeline = Pipeline(Refuses(), sealer)
    assert pipeline.update(b"abcdefg") == b"abcd"
    with pytest.raises(ValueError, match="wrong digest"):
        pipeline.finalize()
    assert not sealer.finalized


@given(st.lists(st.binary(max_size=9), max_size=6))
async def test_the_pump_yields_everything_and_no_empty_piece(pieces: list[bytes]) -> None:
    output = [bytes(piece) async for piece in pump(Stream(pieces), Block(4, b"!"))]
    assert b"".join(output) == blocks(b"".join(pieces), 4, b"!")
    assert all(output)


async def test_the_pump_yields_nothing_for_nothing() -> None:
    assert [piece async for piece in pump(Stream([]), Pipeline())] == []


async def test_the_pump_raises_what_the_transform_raises_and_ends_short() -> None:
    output = pump(Stream([b"abcdefg"]), Pipeline(Refuses(), Block(4, b"")))
    assert await anext(output) == b"abcd"
    with pytest.raises(ValueError, match="wrong digest"):
        await anext(output)


async def test_the_pump_raises_what_the_source_raises() -> None:
    sealer = Block(4, b"")
    output = pump(Stream([b"abcdefg"], ConnectionError("gone")), sealer)
    assert await anext(output) == b"abcd"
    with pytest.raises(ConnectionError, match="gone"):
        await anext(output)
    assert not sealer.finalized


async def test_the_pump_reads_no_further_than_it_is_asked() -> None:
    source = Stream([b"abcdefg", b"hijklmn", b"opq"])
    output = pump(source, Block(4, b""))
    await anext(output)
    assert source.read == 1
    await output.aclose()
    assert source.read == 1


@pytest.mark.parametrize("limit", [5, 6])
async def test_read_all_reads_up_to_the_limit(limit: int) -> None:
    assert await read_all(b"abcde", limit) == b"abcde"
    assert await read_all(Stream([b"ab", b"", b"cde"]), limit) == b"abcde"


async def test_read_all_refuses_more_than_the_limit() -> None:
    with pytest.raises(ValueError, match="too long"):
        await read_all(b"abcde", 4)
    stream = Stream([b"ab", b"cde", b"never read"])
    with pytest.raises(ValueError, match="too long"):
        await read_all(stream, 4)
    assert stream.read == 2


async def test_read_all_of_an_empty_stream() -> None:
    assert await read_all(Stream([]), 0) == b""
