"""A long body of an answer, received in blocks.

An ``asyncio.Protocol`` is handed what each read brought, copied into new bytes. Here the transport reads into blocks
that are used again, and what is handed on begins and ends at multiples of 64 KiB of the body, wherever the reads end:
so a sealed body's segments are each in one piece, and are opened from where they were received.
"""

import asyncio
from collections.abc import Iterable
from typing import Final, Protocol

from proxy.buffers import new_buffer
from proxy.s3.http_answer import AnswerBody

LONG: Final = 256 * 1024
"""Bytes still to come from which on receiving in blocks is worth the change."""
_UNIT: Final = 64 * 1024
_BLOCK: Final = 256 * 1024


class Carrier(Protocol):
    """The connection that the body comes by. It is told what the transport tells a protocol, but for the bytes."""

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def received(self, size: int) -> None:
        """So many bytes have come; the last of the body, and perhaps a byte that is none of it, if there were so few
        left. What is complete has been handed on."""
        ...


class BlockReceiver(asyncio.BufferedProtocol):
    """Takes a connection's place as its transport's protocol until the last of ``left`` bytes has come."""

    def __init__(self, carrier: Carrier, body: AnswerBody, begun: Iterable[bytes], left: int) -> None:
        """``begun`` are the bytes of the body that came with the head, ``left`` those still to come."""
        self._carrier = carrier
        self._body = body
        self._left = left
        self._given = self._filled = 0
        """Bytes of the block that have been handed on, and that have come."""
        whole = memoryview(b"".join(begun))
        rest = len(whole) % _UNIT
        self._block = new_buffer(_BLOCK + 1)
        if len(whole) > rest:
            body.feed(whole[: len(whole) - rest])
        if rest:
            self._block[:rest] = whole[len(whole) - rest :]
            self._filled = rest

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        if self._filled == _BLOCK:
            self._block = new_buffer(_BLOCK + 1)
            self._given = self._filled = 0
        end = self._filled + self._left
        # One byte more than the body has would show that more came, which must not wait for the next request.
        return self._block[self._filled : end + 1 if end <= _BLOCK else _BLOCK]

    def buffer_updated(self, nbytes: int) -> None:
        size = min(nbytes, self._left)
        self._filled += size
        self._left -= size
        end = self._filled - self._filled % _UNIT if self._left else self._filled
        if end > self._given:
            begin, self._given = self._given, end
            self._body.feed(self._block[begin:end])
        else:
            self._body.progresses()
        self._carrier.received(nbytes)

    def eof_received(self) -> None:
        """The transport closes, and then tells that the connection is lost."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._carrier.connection_lost(exc)

    def pause_writing(self) -> None:
        self._carrier.pause_writing()

    def resume_writing(self) -> None:
        self._carrier.resume_writing()
