"""The body of an answer that did not come together with its head."""

import asyncio
from collections import deque
from typing import Final, Protocol

from proxy.s3.upstream.port import UpstreamError
from proxy.stream import Buffer

_HIGH_WATER: Final = 512 * 1024
_LOW_WATER: Final = 256 * 1024


class Source(Protocol):
    """The connection that the body comes by."""

    def fetch(self) -> None:
        """More is wanted: what has come already is fed now."""
        ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def waits(self) -> None:
        """The store's time to send something begins."""
        ...

    def goes_on(self) -> None: ...

    def abandon(self) -> None:
        """Nobody reads the rest."""
        ...


class AnswerBody:
    """A ``ByteStream``. Raises UpstreamError where it ends early."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pieces: deque[Buffer] = deque()
        self._size = 0
        self._ended = False
        self._dropped = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> "AnswerBody":
        return self

    async def __anext__(self) -> Buffer:
        if not self._pieces and not self._ended and self._error is None:
            self._source.fetch()
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            await self._more()
        piece = self._pieces.popleft()
        self._size -= len(piece)
        if self._size <= _LOW_WATER and not self._ended:
            self._source.resume_reading()
        return piece

    async def _more(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        self._source.waits()
        try:
            await self._waiter
        finally:
            self._waiter = None
            if not self._ended:
                self._source.goes_on()

    async def aclose(self) -> None:
        """Gives up what has not been read."""
        self.give_up()

    def give_up(self) -> None:
        self._pieces.clear()
        if not self._ended and not self._dropped and self._error is None:
            self._dropped = True
            self._error = UpstreamError("the answer's body has been closed")
            self._source.abandon()

    def feed(self, piece: Buffer) -> None:
        """The connection has received bytes."""
        if self._dropped:
            return
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > _HIGH_WATER:
            self._source.pause_reading()
        self._wake()

    def progresses(self) -> None:
        """The connection has received bytes that it does not hand on yet."""
        if self._waiter is not None:
            self._source.waits()

    def end(self) -> None:
        """The connection has received the last byte, and is another request's from now on."""
        self._ended = True
        self._wake()

    def fail(self, error: UpstreamError) -> None:
        """No more will come."""
        if self._error is None:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
