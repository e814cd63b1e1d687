"""A long body, received in blocks.

An ``asyncio.Protocol`` is handed what each read brought, copied into new bytes. Here the transport reads into blocks
that are used again, and what is handed on begins and ends at multiples of 64 KiB of the body, wherever the reads end:
so a sealed body's segments are each in one piece, and are opened from where they were received.

A block is read when somebody wants it, and by whoever does, not by the event loop, if its bytes are there already. It
is then worked on, and sent on, while it is in the processor's caches: the loop reads from every connection before
anybody works. And no more than a block is held for a consumer that is slow.
"""

import asyncio
import os
from collections.abc import Iterable
from typing import Final, Protocol

from proxy.buffers import new_buffer
from proxy.stream import Buffer

LONG: Final = 256 * 1024
"""Bytes still to come from which on receiving in blocks is worth the change."""
_UNIT: Final = 64 * 1024
_AT_ONCE: Final = 8
"""Blocks that a consumer gets without waiting before it is the others' turn."""
_BLOCK: Final = 512 * 1024


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
    """Takes a connection's place as its transport's protocol until the last of ``left`` bytes has come.

    It reads until it has handed on as much as it may beforehand, but something, and then once for each ``fetch``, until
    ``let_flow``.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        carrier: Carrier,
        taker: Taker,
        begun: Iterable[bytes],
        left: int,
        *,
        beforehand: int = 0,
        one_more: bool = False,
    ) -> None:
        """``begun`` are the bytes of the body that came with the head, ``left`` those still to come, ``beforehand``
        those of them that are read, roughly, before the first ``fetch``. With ``one_more``, a byte behind the body is
        read with its last ones, if there is one, and dropped: that it came shows in the size that the carrier is
        told."""
        self._transport = transport
        encrypted = transport.get_extra_info("sslcontext") is not None
        self._descriptor = -1 if encrypted else transport.get_extra_info("socket").fileno()
        """Of the socket, which stays the transport's; -1 where its bytes are not the body's."""
        self._reading = False
        """Whether the transport reads."""
        self._beforehand = beforehand
        self._flows = False
        self._at_once = 0
        """Blocks that were read without waiting since the last wait."""
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

    def begin(self, *, reading: bool) -> None:
        """Takes the place; ``reading`` tells whether the transport reads for the connection."""
        receive_by(self._transport, self, paused=not reading)
        self._reading = reading

    def fetch(self) -> None:
        """Somebody wants the next piece: hands it on now, or when it has come."""
        self._beforehand = 0
        if self._reading:
            return
        if self._at_once < _AT_ONCE and self._read():
            self._at_once += 1
            return
        self._at_once = 0
        self._read_on()

    def let_flow(self) -> None:
        """Whatever comes is handed on at once from now on: its pieces are only dropped."""
        self._flows = True
        self._read_on()

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _read(self) -> bool:
        """Reads what has come; returns whether that could be handed on."""
        if self._descriptor < 0 or self._transport.is_closing():
            return False
        try:
            size = os.readv(self._descriptor, (self.get_buffer(-1),))
        except OSError:
            return False
        # At the end, as after an error, the transport finds out by itself what to do.
        return size > 0 and self._take(size)

    def _begin_block(self) -> None:
        self._block = new_buffer(_BLOCK + self._more)
        self._given = self._filled = 0

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        if not self._block:
            self._begin_block()
        end = self._filled + self._left
        return self._block[self._filled : end + self._more if end <= _BLOCK else _BLOCK]

    def buffer_updated(self, nbytes: int) -> None:
        self._take(nbytes)

    def _take(self, nbytes: int) -> bool:
        """Hands on what can be, of what is in the block now; returns whether there was any."""
        size = min(nbytes, self._left)
        self._filled += size
        self._left -= size
        end = self._filled - self._filled % _UNIT if self._left else self._filled
        whole = end > self._given
        if whole:
            begin, self._given = self._given, end
            piece = self._block[begin:end]
            if end == _BLOCK:
                self._block = memoryview(b"")
            self._beforehand -= len(piece)
            if self._beforehand <= 0 and self._reading and not self._flows:
                self._reading = False
                self._transport.pause_reading()
            self._taker.feed(piece)
        else:
            self._taker.progresses()
        self._carrier.received(nbytes, self._left)
        return whole

    def eof_received(self) -> None:
        """The transport closes, and then tells that the connection is lost."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._block = memoryview(b"")
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
