"""A long body, received in blocks.

An ``asyncio.Protocol`` is handed what each read brought, copied into new bytes. Here the transport reads into blocks
that are used again, and what is handed on begins and ends at multiples of 64 KiB of the body, wherever the reads end:
so a sealed body's segments are each in one piece, and are opened from where they were received.
"""

import asyncio
from collections.abc import Iterable
from typing import Final, Protocol

from proxy.buffers import new_buffer
from proxy.stream import Buffer

LONG: Final = 256 * 1024
"""Bytes still to come from which on receiving in blocks is worth the change."""
_UNIT: Final = 64 * 1024
_BLOCK: Final = 256 * 1024


class Taker(Protocol):
    """Who is handed the body."""

    def feed(self, piece: Buffer, /) -> None: ...

    def progresses(self) -> None:
        """Bytes have come that are not handed on yet."""
        ...


class Carrier(Protocol):
    """The connection that the body comes by. It is told what the transport tells a protocol, but for the bytes."""

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def received(self, size: int, left: int) -> None:
        """``size`` bytes have come, and ``left`` are still to come; what can be handed on has been. With the last of
        the body the transport must be given another protocol."""
        ...


class BlockReceiver(asyncio.BufferedProtocol):
    """Takes a connection's place as its transport's protocol until the last of ``left`` bytes has come."""

    def __init__(
        self, carrier: Carrier, taker: Taker, begun: Iterable[bytes], left: int, *, one_more: bool = False
    ) -> None:
        """``begun`` are the bytes of the body that came with the head, ``left`` those still to come. With
        ``one_more``, a byte behind the body is read with its last ones, if there is one, and dropped: that it came
        shows in the size that the carrier is told."""
        self._carrier = carrier
        self._taker = taker
        self._left = left
        self._more = int(one_more)
        self._block = memoryview(b"")
        """Empty where a new one is needed: none is held while nothing comes."""
        self._given = self._filled = _BLOCK
        """Bytes of the block that have been handed on, and that have come."""
        whole = memoryview(b"".join(begun))
        rest = len(whole) % _UNIT
        if len(whole) > rest:
            taker.feed(whole[: len(whole) - rest])
        if rest:
            self._begin_block()
            self._block[:rest] = whole[len(whole) - rest :]
            self._filled = rest

    def _begin_block(self) -> None:
        self._block = new_buffer(_BLOCK + self._more)
        self._given = self._filled = 0

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        if not self._block:
            self._begin_block()
        end = self._filled + self._left
        return self._block[self._filled : end + self._more if end <= _BLOCK else _BLOCK]

    def buffer_updated(self, nbytes: int) -> None:
        size = min(nbytes, self._left)
        self._filled += size
        self._left -= size
        end = self._filled - self._filled % _UNIT if self._left else self._filled
        if end > self._given:
            begin, self._given = self._given, end
            piece = self._block[begin:end]
            if end == _BLOCK:
                self._block = memoryview(b"")
            self._taker.feed(piece)
        else:
            self._taker.progresses()
        self._carrier.received(nbytes, self._left)

    def eof_received(self) -> None:
        """The transport closes, and then tells that the connection is lost."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._carrier.connection_lost(exc)

    def pause_writing(self) -> None:
        self._carrier.pause_writing()

    def resume_writing(self) -> None:
        self._carrier.resume_writing()


def receive_by(transport: asyncio.Transport, protocol: asyncio.BaseProtocol, *, paused: bool) -> None:
    """Has a transport read for another protocol. While it reads for one it goes on for that, so it is stopped first,
    unless it is ``paused`` anyway."""
    if not paused:
        transport.pause_reading()
    transport.set_protocol(protocol)
    if not paused:
        transport.resume_reading()
