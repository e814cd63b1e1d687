"""The HTTP/1.1 server: aiohttp's low-level server behind the words of ``aws.message``.

This is the only module that imports aiohttp. aiohttp parses, keeps connections alive, queues pipelined requests and
runs one task per request. Here are the rest of what an S3 endpoint needs: its own error pages, bounds on heads,
100-continue at the first read of a body, bodies with back-pressure, answers of exactly their length, and time limits.

A connection's life is in ``_Connection``, one request and its answer in ``Exchange``.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from proxy.aws.message import Peer, Request, Response
from proxy.server.http_answer import ClientGone
from proxy.server.http_exchange import TOO_LONG, Exchange, fail
from proxy.server.http_request import Refusal
from proxy.server.limits import Limits
from proxy.stream import Buffer

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]

MalformedAnswer = Callable[[int, str], Response]
"""Renders the answer to what is not a request that a handler can be given: an HTTP status and a reason, in English
and without anything that the client sent."""

_BACKLOG: Final = 1024
_ONE_WRITE: Final = 64 * 1024
"""Up to here, copying a body behind its head is cheaper than writing twice."""
_FOREVER: Final = 30 * 86400.0
"""For aiohttp's own idle timer, which would cut off a head that is on its way; ``_Connection.check_time`` counts."""
_CLEAN_UP_SECONDS: Final = 2.0
"""What cancelled requests get to free what they hold when the server stops."""

_TOO_SLOW: Final = (
    408,
    "Your socket connection to the server was not read from or written to within the timeout period. "
    "Idle connections will be closed.",
)
_NOT_HTTP: Final = 400, "The request is not valid HTTP/1.1."
_FAILED: Final = 500, "We encountered an internal error. Please try again."


class HttpServer:
    """Serves HTTP/1.1 and 1.0 on any number of sockets, with and without TLS.

    ``handler`` gets each request and is cancelled when its client goes away, unless it is reading the request's body:
    then the read raises ``proxy.stream.BodyCutShort``. An exception that escapes it is logged and answered with
    ``malformed(500, …)``. A body piece that an answer's stream has yielded must not be changed afterwards.
    """

    def __init__(self, handler: Handler, *, limits: Limits, malformed: MalformedAnswer) -> None:
        self._handler = handler
        self._limits = limits
        self._malformed = malformed
        self._site: _Site | None = None
        self._listeners: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def start(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        sock: socket.socket | None = None,
        ssl_context: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> int:
        """Listens on ``host`` and ``port`` (0 picks one) or on a bound socket; returns the port.

        Raises:
            OSError: the address can't be bound.
        """
        if self._site is None:
            self._site = _Site(self._handler, self._malformed, self._limits)
            self._sweeper = asyncio.create_task(self._site.sweep())
        loop = asyncio.get_running_loop()
        handshake = self._limits.head_seconds if ssl_context is not None else None
        # A client that leaves a connection idle does not see, and so does not answer, that it is being closed.
        goodbye = self._limits.linger_seconds if ssl_context is not None else None
        if sock is not None:
            listener = await loop.create_server(
                self._site,
                sock=sock,
                ssl=ssl_context,
                backlog=_BACKLOG,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=goodbye,
            )
        else:
            listener = await loop.create_server(
                self._site,
                host,
                port or 0,
                ssl=ssl_context,
                backlog=_BACKLOG,
                reuse_port=reuse_port or None,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=goodbye,
            )
        self._listeners.append(listener)
        return cast("int", listener.sockets[0].getsockname()[1])

    async def stop(self, drain_seconds: float) -> None:
        """Stops accepting, closes idle connections, lets running requests finish, then cancels and cuts the rest."""
        for listener in self._listeners:
            listener.close()
        if self._site is not None:
            await self._site.close(drain_seconds)
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._listeners.clear()
        self._site = self._sweeper = None


class _Site(web.Server):
    """What the connections share. aiohttp calls it once per connection for a protocol, once per request for an
    exchange, and then gives the exchange to ``_serve``."""

    def __init__(self, handler: Handler, malformed: MalformedAnswer, limits: Limits) -> None:
        super().__init__(cast("Any", self._serve))
        self.limits = limits
        self.malformed = malformed
        self.stopping = False
        self.open: set[_Connection] = set()
        self.running = 0
        self._handler = handler
        self._all_done = asyncio.Event()

    def __call__(self) -> "_Connection":
        return _Connection(self, self._loop, self.limits)

    def _make_request(  # type: ignore[override] # aiohttp calls no more of it than Exchange has
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,  # noqa: ARG002
        task: "asyncio.Task[None]",  # noqa: ARG002
    ) -> "Exchange":
        connection = cast("_Connection", protocol)
        connection.exchange = exchange = Exchange(message, payload, connection)
        return exchange

    async def _serve(self, exchange: "Exchange") -> Response:
        """The handler's answer, or that for its failure."""
        refused = exchange.refusal()
        if refused is not None:
            exchange.last = True
            return self.malformed(*refused)
        self.running += 1
        exchange.running = True
        try:
            return await self._handler(exchange.request())
        except Exception:
            logger.exception("the handler of a %s request failed", exchange.method)
            return self.malformed(*_FAILED)
        except BaseException:
            self.ended(exchange)
            raise

    def ended(self, exchange: "Exchange") -> None:
        if exchange.running:
            exchange.running = False
            self.running -= 1
        self.check_done()

    def check_done(self) -> None:
        if self.stopping and not self.open and not self.running:
            self._all_done.set()

    async def sweep(self) -> None:
        """Finds connections whose clients let the server wait for too long; runs until it is cancelled."""
        limits = self.limits
        shortest = min(limits.head_seconds, limits.idle_seconds, limits.stall_seconds)
        interval = min(max(shortest / 4, 0.02), 5.0)
        while True:
            await asyncio.sleep(interval)
            now = self._loop.time()
            for connection in list(self.open):
                connection.check_time(now)

    async def close(self, drain_seconds: float) -> None:
        self.stopping = True
        for connection in list(self.open):
            connection.finish()
        self.check_done()
        if await self._done_within(drain_seconds):
            return
        for connection in list(self.open):
            connection.cancel()
        await asyncio.sleep(0)
        for connection in list(self.open):
            connection.abort()
        await self._done_within(_CLEAN_UP_SECONDS)

    async def _done_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._all_done.wait()
        except TimeoutError:
            return False
        return True


class _Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = (
        "_body",
        "_head_since",
        "_head_size",
        "_idle_since",
        "_refused",
        "_site",
        "_waiting_since",
        "_wire",
        "exchange",
        "limits",
        "measure_heads",
        "peer",
    )

    def __init__(self, site: _Site, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        super().__init__(
            site,
            loop=loop,
            keepalive_timeout=_FOREVER,
            access_log=cast("Any", None),
            max_line_size=limits.line,
            max_field_size=limits.line,
            max_headers=limits.fields,
            lingering_time=limits.linger_seconds,
            read_bufsize=limits.buffer,
            auto_decompress=False,
        )
        self._site = site
        self.limits = limits
        self._wire: asyncio.Transport | None = None
        self.peer = Peer("", secure=False)
        self.exchange: Exchange | None = None
        """The request that is being served."""
        self._body: StreamReader = EMPTY_PAYLOAD
        """Of the request that was parsed last."""
        self._refused = False
        self._head_size = 0
        """Bytes of a head that is not complete yet."""
        self._head_since: float | None = None
        self._idle_since = loop.time()
        self._waiting_since: float | None = None
        """Since when the server waits for the client to send or to take body bytes."""
        self.measure_heads = False
        """Whether a head may be longer than is allowed, given how much came in one go."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        self._wire.set_write_buffer_limits(high=2 * self.limits.buffer, low=self.limits.buffer)
        name = transport.get_extra_info("peername")
        address = str(name[0]) if isinstance(name, tuple) else ""
        tls = transport.get_extra_info("ssl_object")
        secure = transport.get_extra_info("sslcontext") is not None
        self.peer = Peer(address, secure, (tls.version() or "") if tls is not None else "")
        self._site.open.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        task = self._task_handler
        exchange = self.exchange
        super().connection_lost(exc)
        self._site.open.discard(self)
        # A handler that is reading the body learns of it there; any other is cancelled wherever it is.
        if task is not None and (exchange is None or not exchange.reading):
            task.cancel()
        self._site.check_done()

    def data_received(self, data: bytes) -> None:
        """Lets aiohttp parse, and adds what its parser does not do: it does not bound a head as a whole, nor the time
        that it takes, nor tell the reader of a body whose framing is broken."""
        if self._refused:
            return
        messages = self._messages
        queued = len(messages)
        in_head = self._body.is_eof()
        if self._head_size + len(data) > self.limits.head:
            self.measure_heads = True
        super().data_received(data)
        if len(messages) > queued:
            self._head_size = 0
            self._head_since = None
            message, body = messages[-1]
            if isinstance(message, RawRequestMessage):
                self._body = body
            else:
                self._refused = True
                fail(messages[-2][1] if len(messages) - queued > 1 else self._body)
        elif in_head and data:
            if not self._head_size:
                self._head_since = self._loop.time()
            self._head_size += len(data)
            if self._head_size > self.limits.head:
                self._refuse(TOO_LONG)

    def _refuse(self, refused: Refusal) -> None:
        """Queues an answer as aiohttp does for what it can't parse."""
        self._refused = True
        self._head_since = None
        status, reason = refused
        self._messages.append((_ErrInfo(status, HttpProcessingError(), reason), EMPTY_PAYLOAD))
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def handle_error(  # type: ignore[override]
        self,
        request: "Exchange",
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Response:
        """The answer to what the parser, or ``_refuse``, would not take."""
        request.last = True
        if isinstance(exc, LineTooLong):
            return self._site.malformed(*TOO_LONG)
        if status == 400:
            return self._site.malformed(*_NOT_HTTP)
        return self._site.malformed(status, message or "")

    async def finish_response(  # type: ignore[override]
        self,
        request: "Exchange",
        resp: Response,
        start_time: float | None,  # noqa: ARG002
    ) -> tuple["Exchange", bool]:
        """Sends the answer. Returns who knows whether the connection lives on, and whether it is broken now."""
        try:
            broken = not await request.answer(resp)
        finally:
            self.exchange = None
            self._idle_since = self._loop.time()
            self._site.ended(request)
        if self._refused:
            await self._linger()
        return request, broken

    async def _linger(self) -> None:
        """Lets a client that is still sending what was refused read the answer: closing at once would reset the
        connection (RFC 9112, section 9.6). Ends early, cancelled, when the client closes."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
        await asyncio.sleep(self.limits.linger_seconds)

    def check_time(self, now: float) -> None:
        """Acts on a client that has been waited for too long."""
        if self._waiting_since is not None and now - self._waiting_since >= self.limits.stall_seconds:
            if self.exchange is not None and self.exchange.reading:
                self.exchange.cut("the client stopped sending the body")
            else:
                self.abort()
        elif self._head_since is not None and now - self._head_since >= self.limits.head_seconds:
            self._refuse(_TOO_SLOW)
        elif self.exchange is None and self._head_since is None and now - self._idle_since >= self.limits.idle_seconds:
            self.force_close()

    def waits(self) -> None:
        self._waiting_since = self._loop.time()

    def goes_on(self) -> None:
        self._waiting_since = None

    def send(self, *pieces: Buffer) -> None:
        """Hands bytes to the transport.

        Raises:
            ClientGone
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ClientGone("the client has closed the connection")
        if len(pieces) == 1:
            transport.write(pieces[0])
        elif sum(map(len, pieces)) <= _ONE_WRITE:
            transport.write(b"".join(pieces))
        else:
            for piece in pieces:
                transport.write(piece)

    async def drain(self) -> None:
        if not self.writing_paused:
            return
        self.waits()
        try:
            await self._drain_helper()
        except ConnectionError as error:
            raise ClientGone("the client has closed the connection") from error
        finally:
            self.goes_on()

    def failure(self) -> Response:
        return self._site.malformed(*_FAILED)

    @property
    def stopping(self) -> bool:
        return self._site.stopping

    def finish(self) -> None:
        """Closes the connection if it is idle; a running exchange does that after its answer."""
        if self.exchange is None and not self._messages:
            self.force_close()

    def cancel(self) -> None:
        if self._task_handler is not None:
            self._task_handler.cancel()

    def abort(self) -> None:
        if self._wire is not None:
            self._wire.abort()
