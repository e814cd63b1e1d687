"""How bytes flow through the proxy: transforms, pipelines of them, and the pump that feeds one from a source.

A transform is sans-I/O. Its output must not depend on how its input is cut into pieces; tests hold every
transform to that.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Protocol

Buffer = bytes | bytearray | memoryview


class BodyCutShort(Exception):
    """A body ended before its length: the other side closed the connection or broke the framing."""


class Transform(Protocol):
    """A stage of a pipeline: bytes in, bytes out, and a last word when the input has ended.

    Any method may raise; after that the transform must not be used again, and nothing that it has held back
    is ever handed out.
    """

    def update(self, data: Buffer) -> Buffer:
        """Takes the next bytes of the input and returns the bytes of output that are ready, perhaps none."""
        ...

    def finalize(self) -> Buffer:
        """Ends the input and returns the rest of the output. Raises when the input was not complete and right."""
        ...


class Pipeline:
    """Transforms in a row, which together are one transform.

    Stages are finalized in order, so a verifier that stands before a sealer raises before the sealer gives out
    its last segment.
    """

    def __init__(self, *stages: Transform) -> None:
        self._stages = stages

    def update(self, data: Buffer) -> Buffer:
        for stage in self._stages:
            data = stage.update(data)
        return data

    def finalize(self) -> Buffer:
        rest: Buffer = b""
        for stage in self._stages:
            ready = stage.update(rest) if rest else b""
            last = stage.finalize()
            rest = bytes(ready) + last if ready else last
        return rest


class Scatterer(Transform, Protocol):
    """A transform whose output may lie in several places."""

    def scatter(self, data: Buffer) -> Sequence[Buffer]:
        """As ``update``, without joining what comes out."""
        ...


class Gatherer(Transform, Protocol):
    """A transform whose input may lie in several places."""

    def gather(self, pieces: Sequence[Buffer]) -> Buffer:
        """As ``update`` with the pieces joined."""
        ...


class Gathering(Pipeline):
    """A pipeline of two, between which nothing is joined."""

    def __init__(self, first: Scatterer, second: Gatherer) -> None:
        super().__init__(first, second)
        self._scatter, self._gather = first.scatter, second.gather

    def update(self, data: Buffer) -> Buffer:
        return self._gather(self._scatter(data))


class ByteStream(Protocol):
    """Bytes that arrive piece by piece, once. ``aclose`` gives up what is left and frees the connection."""

    def __aiter__(self) -> AsyncIterator[Buffer]: ...

    async def __anext__(self) -> Buffer: ...

    async def aclose(self) -> None: ...


Body = bytes | ByteStream
"""The body of a message: whole, or a stream that is read once."""


async def pump(source: Body, transform: Transform) -> AsyncGenerator[Buffer, None]:
    """Feeds ``source`` through ``transform`` and yields what comes out, never an empty piece.

    Errors of either side are raised where the consumer reads; the output then ends short. The source is closed when
    the output ends, fails or is closed.
    """
    if isinstance(source, bytes):
        ready = transform.update(source)
        if ready:
            yield ready
    else:
        try:
            async for data in source:
                ready = transform.update(data)
                # Nothing of a piece is held while another is waited for: its memory may be used for that.
                del data
                if ready:
                    yield ready
                del ready
        finally:
            await source.aclose()
    last = transform.finalize()
    if last:
        yield last


async def transformed(source: Body, transform: Transform) -> bytes:
    """All that comes out of ``transform``; whoever calls this knows that it is not much."""
    if isinstance(source, bytes):
        ready, last = transform.update(source), transform.finalize()
        return b"".join((ready, last)) if ready and last else bytes(ready or last)
    return b"".join([piece async for piece in pump(source, transform)])


async def started(stream: ByteStream) -> ByteStream:
    """The same stream, whose first piece has been read, so that what fails at its start is raised here."""
    first = await anext(stream, None)
    return _Started(first, stream)


class _Started:
    def __init__(self, first: Buffer | None, rest: ByteStream) -> None:
        self._first = first
        self._rest = rest

    def __aiter__(self) -> "_Started":
        return self

    async def __anext__(self) -> Buffer:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await anext(self._rest)

    async def aclose(self) -> None:
        self._first = None
        await self._rest.aclose()


def exactly(stream: ByteStream, length: int) -> ByteStream:
    """The same stream, held to a length: the piece that completes it is handed out only once the stream has ended.

    So a fault that shows at the very end is raised before the other side can take the body for whole. Raises
    ValueError where the stream is shorter or longer.
    """
    return _Exactly(stream, length)


class _Exactly:
    def __init__(self, source: ByteStream, length: int) -> None:
        self._source = source
        self._left = length
        self._ended = False

    def __aiter__(self) -> "_Exactly":
        return self

    async def __anext__(self) -> Buffer:
        if self._ended:
            raise StopAsyncIteration
        piece = await anext(self._source, None) if self._left else b""
        if piece is None:
            raise ValueError("the body is shorter than its length")
        self._left -= len(piece)
        if self._left == 0:
            await self._confirm_end()
        if self._left < 0:
            raise ValueError("the body is longer than its length")
        if not piece and self._ended:
            raise StopAsyncIteration
        return piece

    async def _confirm_end(self) -> None:
        self._ended = True
        async for more in self._source:
            if more:
                raise ValueError("the body is longer than its length")

    async def aclose(self) -> None:
        self._ended = True
        await self._source.aclose()


async def read_all(body: Body, limit: int) -> bytes:
    """The whole body.

    Raises:
        ValueError: it is longer than ``limit`` bytes; no more than that has been kept.
    """
    if isinstance(body, bytes):
        if len(body) > limit:
            raise ValueError("the body is too long")
        return body
    pieces: list[Buffer] = []
    size = 0
    async for piece in body:
        size += len(piece)
        if size > limit:
            raise ValueError("the body is too long")
        pieces.append(piece)
    return b"".join(pieces)
