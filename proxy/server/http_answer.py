"""Answers on the wire: the head, what is added to what the handler gave, and the body at exactly its length."""

import logging
import time
from collections.abc import AsyncGenerator, Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

from proxy.aws.http_head import encode_head
from proxy.aws.message import Response
from proxy.stream import Buffer, ByteStream, exactly

logger = logging.getLogger(__name__)

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}" for status in HTTPStatus}
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})
"""What concerns one connection only: a handler that passes on another server's fields does not pass on these."""


class ClientGone(ConnectionError):
    """The client has closed the connection before it had all of its answer."""


class Wire(Protocol):
    """The connection to a client."""

    def send(self, *pieces: Buffer) -> None:
        """Hands over bytes, which must not change afterwards. Raises ClientGone."""
        ...

    async def drain(self) -> None:
        """Waits while too much is on its way. Raises ClientGone."""
        ...

    def abort(self) -> None:
        """Cuts the connection at once, whatever is on its way."""
        ...


class AnswerWriter:
    """Sends the answer to one request. ``failure`` renders what is sent in place of an answer that can't be."""

    def __init__(
        self, wire: Wire, method: str, *, keep_alive: bool, http10: bool, failure: Callable[[], Response]
    ) -> None:
        self._wire = wire
        self._method = method
        self._keep_alive = keep_alive
        self._http10 = http10
        self._failure = failure

    async def send(self, response: Response) -> bool:
        """Sends an answer, and closes its body whatever happens.

        Returns whether the client has a whole answer; if not, the connection has been cut.
        """
        body = response.body
        try:
            if isinstance(body, bytes):
                await self._send_whole(response, body)
                return True
            try:
                return await self._send_stream(response, body)
            finally:
                await body.aclose()
        except ClientGone:
            return False

    async def _send_whole(self, response: Response, body: bytes) -> None:
        try:
            head, length = self._head(response)
        except ValueError:
            logger.exception("an answer to a %s request can't be sent", self._method)
            await self._send_failure()
            return
        if length == 0:
            self._wire.send(head)
        else:
            self._wire.send(head, body)
        await self._wire.drain()

    async def _send_failure(self) -> None:
        response = self._failure()
        head, length = self._head(response)
        self._wire.send(head, response.body if length and isinstance(response.body, bytes) else b"")
        await self._wire.drain()

    async def _send_stream(self, response: Response, body: ByteStream) -> bool:
        started = False
        try:
            head, length = self._head(response)
            if not _has_body(self._method, response.status):
                self._wire.send(head)
                return True
            pieces = _chunks(body) if length is None else exactly(body, length)
            async for piece in pieces:
                if started:
                    self._wire.send(piece)
                else:
                    # The head waits for the first piece: one write, and a clean error if there is none.
                    started = True
                    self._wire.send(head, piece)
                del piece
                await self._wire.drain()
            if not started:
                self._wire.send(head)
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the connection and nothing else
            logger.warning("the body of an answer to %s failed: %s: %s", self._method, type(error).__name__, error)
            if started:
                self._wire.abort()
                return False
            await self._send_failure()
        return True

    def _head(self, response: Response) -> tuple[bytes, int | None]:
        return answer_head(response, self._method, keep_alive=self._keep_alive, http10=self._http10)


def _has_body(method: str, status: int) -> bool:
    """RFC 9110, sections 9.3.2, 15.3.5 and 15.4.5."""
    return method != "HEAD" and status not in {204, 304}


async def _chunks(body: ByteStream) -> AsyncGenerator[Buffer, None]:
    """Chunked transfer coding (RFC 9112, section 7.1)."""
    async for piece in body:
        if piece:
            yield b"".join((b"%x\r\n" % len(piece), piece, b"\r\n"))
    yield b"0\r\n\r\n"


def answer_head(response: Response, method: str, *, keep_alive: bool, http10: bool) -> tuple[bytes, int | None]:
    """The head, and the length of the body that follows it: 0 for none, None for chunks.

    Raises:
        ValueError: the headers can't be sent, or a body's length is not what they say or, to HTTP/1.0, unknown.
    """
    headers, body = response.headers, response.body
    fields = list(headers.items())
    if "Connection" in headers or "Transfer-Encoding" in headers or "Keep-Alive" in headers:
        fields = [(name, value) for name, value in fields if name.lower() not in _HOP_BY_HOP]
    stated = headers.get("Content-Length")
    length: int | None = 0
    if not _has_body(method, response.status):
        if response.status == 204 and stated is not None:
            fields = [(name, value) for name, value in fields if name.lower() != "content-length"]
    elif stated is not None:
        length = int(stated)
        if isinstance(body, bytes) and length != len(body):
            raise ValueError("the Content-Length of an answer is not the length of its body")
    elif isinstance(body, bytes):
        length = len(body)
        fields.append(("Content-Length", str(length)))
    elif http10:
        raise ValueError("an HTTP/1.0 client needs a Content-Length")
    else:
        length = None
        fields.append(("Transfer-Encoding", "chunked"))
    if "Date" not in headers:
        fields.append(("Date", _date(int(time.time()))))
    if not keep_alive:
        fields.append(("Connection", "close"))
    elif http10:
        fields.append(("Connection", "keep-alive"))
    line = _STATUS_LINES.get(response.status) or f"HTTP/1.1 {response.status} "
    return encode_head(line, fields), length


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
