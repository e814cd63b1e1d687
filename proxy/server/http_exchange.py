"""One request and its answer, between the parser of the HTTP server and the handler.

The ports are what this needs of the server; the parser's types are not imported here.
"""

import asyncio
from typing import Final, Protocol

from proxy.aws.message import Headers, Peer, Request, Response
from proxy.server.http_answer import AnswerWriter, Wire
from proxy.server.http_request import Refusal, expects_continue, origin_form, refusal
from proxy.server.limits import Limits
from proxy.stream import Body, BodyCutShort

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
TOO_LONG: Final = 431, "Your request header section exceeds the maximum allowed size."


class Head(Protocol):
    """A parsed head."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str:
        """The request target, as it came."""
        ...

    @property
    def version(self) -> tuple[int, int]: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]: ...
    @property
    def should_close(self) -> bool: ...
    @property
    def upgrade(self) -> bool: ...


class Payload(Protocol):
    """A body on its way in."""

    total_bytes: int
    """That have arrived so far."""

    def is_eof(self) -> bool:
        """Whether all of it has arrived."""
        ...

    def at_eof(self) -> bool:
        """Whether all of it has been read."""
        ...

    def read_nowait(self) -> bytes: ...

    async def readchunk(self) -> tuple[bytes, bool]: ...

    def exception(self) -> BaseException | None: ...

    def set_exception(self, exc: BaseException) -> None: ...


class Connection(Wire, Protocol):
    """The connection that a request came by."""

    limits: Limits
    peer: Peer
    measure_heads: bool
    """Whether a head may be longer than is allowed, given how much came in one go."""

    @property
    def stopping(self) -> bool:
        """Whether the server is."""
        ...

    def failure(self) -> Response:
        """The answer to a request that the program fails at."""
        ...

    def waits(self) -> None:
        """The client's time to send something begins."""
        ...

    def goes_on(self) -> None: ...


class Exchange:
    """A request and its answer.

    aiohttp takes it for its own request object: it sets ``_task`` and calls ``_cancel``.
    """

    __slots__ = ("_connection", "_expects", "_message", "_payload", "_task", "last", "reading", "running")

    def __init__(
        self,
        message: Head,
        payload: Payload,
        connection: Connection,
    ) -> None:
        self._message = message
        self._payload = payload
        self._connection = connection
        self._task: asyncio.Task[None] | None = None
        self._expects = False
        """Whether the client may still be waiting for 100 (Continue)."""
        self.last = message.should_close or message.upgrade
        """Whether the connection is closed after the answer. One that asks for another protocol (h2c, websocket) goes
        on in this one, but only to the end of the answer."""
        self.running = False
        self.reading = False
        """Whether the handler is waiting for the body at this moment."""

    @property
    def method(self) -> str:
        return self._message.method

    @property
    def keep_alive(self) -> bool:
        return not self.last

    def _cancel(self, exc: BaseException) -> None:  # noqa: ARG002
        self.cut()

    def cut(self, reason: str = "the client closed the connection within the body") -> None:
        """Makes the body end in an error, unless all of it has arrived."""
        fail(self._payload, reason)

    def refusal(self) -> Refusal | None:
        message = self._message
        if self._connection.measure_heads:
            size = len(message.path) + sum(len(name) + len(value) for name, value in message.raw_headers)
            if size > self._connection.limits.head:
                return TOO_LONG
        return refusal(message.method, message.path, message.version, message.headers)

    def request(self) -> Request:
        message, payload = self._message, self._payload
        path, query, headers = origin_form(message.path, message.headers)
        # Also where there is no body to wait for: AWS sends the 100 then, too, and the aws CLI takes whatever comes in
        # its place for the head of its next answer on the same connection.
        self._expects = expects_continue(message.version, headers) and not payload.total_bytes
        body: Body = payload.read_nowait() if payload.is_eof() and not self._expects else _ReceivedBody(self)
        return Request(message.method, path, query, headers, body, self._connection.peer)

    async def read(self) -> bytes:
        """The next bytes of the body, ``b""`` at its end."""
        connection = self._connection
        payload = self._payload
        self.reading = True
        connection.waits()
        try:
            if self._expects:
                self._expects = False
                connection.send(_CONTINUE)
            while not payload.at_eof():
                piece, _ = await payload.readchunk()
                if piece:
                    return piece
        except (RuntimeError, ConnectionError) as error:
            raise BodyCutShort("the client closed the connection within the body") from error
        finally:
            self.reading = False
            connection.goes_on()
        return b""

    async def answer(self, response: Response) -> bool:
        """Sends the answer; returns whether the connection is still good for anything."""
        connection = self._connection
        self.last = self.last or connection.stopping or self._leaves_too_much()
        writer = AnswerWriter(
            connection,
            self.method,
            keep_alive=self.keep_alive,
            http10=self._message.version == (1, 0),
            failure=connection.failure,
        )
        return await writer.send(response) and self._payload.exception() is None

    def _leaves_too_much(self) -> bool:
        """Whether more of the body is unread than is worth reading, or nobody knows how much is still to come: the
        length is unknown, or the client waits for a 100 (Continue) that it does not get."""
        payload = self._payload
        if payload.is_eof():
            return self._expects
        length = self._message.headers.get("Content-Length")
        return self._expects or length is None or int(length) - payload.total_bytes > self._connection.limits.discard


class _ReceivedBody:
    """The body of a request as a stream."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Exchange | None = exchange

    def __aiter__(self) -> "_ReceivedBody":
        return self

    async def __anext__(self) -> bytes:
        if self._exchange is not None:
            piece = await self._exchange.read()
            if piece:
                return piece
            self._exchange = None
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Gives up the rest, which the server then drops."""
        self._exchange = None


def fail(payload: Payload, reason: str = "the framing of the body is broken") -> None:
    """Makes a body end in an error, unless all of it has arrived or it has failed before."""
    if not payload.is_eof() and payload.exception() is None:
        payload.set_exception(BodyCutShort(reason))
