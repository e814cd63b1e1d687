"""The HTTP/1.1 server behind the words of ``aws.message``: listens, and closes in good order.

It has what an S3 endpoint needs: its own error pages, bounds on heads, 100-continue at the first read of a body,
bodies with back-pressure, answers of exactly their length, and time limits. A connection's life is in
``http_connection``, one request and its answer in ``http_exchange``; the parser is ``httptools``. A server made for
web applications took twice the time for a small object, most of it for what an endpoint has no use for.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from proxy.aws.message import Response
from proxy.server.http_connection import Connection, Handler
from proxy.server.limits import Limits

__all__ = ["Handler", "HttpServer", "MalformedAnswer"]

MalformedAnswer = Callable[[int, str], Response]
"""Renders the answer to what is not a request that a handler can be given: an HTTP status and a reason, in English
and without anything that the client sent."""

_BACKLOG: Final = 1024
_GRACE_SECONDS: Final = 0.1
"""When the server stops, a client that has just had an answer is about to send its next request. It gets to send it,
and is told to close the connection by the answer, rather than to meet a reset."""
_CLEAN_UP_SECONDS: Final = 2.0
"""What cancelled requests get to free what they hold when the server stops."""


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
        # Until then the client must have taken its last answer and have said goodbye, too.
        goodbye = self._limits.stall_seconds if ssl_context is not None else None
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


class _Site:
    """What the connections share."""

    def __init__(self, handler: Handler, malformed: MalformedAnswer, limits: Limits) -> None:
        self.limits = limits
        self.malformed = malformed
        self.handler = handler
        self.stopping = False
        self._open: set[Connection] = set()
        self._running = 0
        self._loop = asyncio.get_running_loop()
        self._all_done = asyncio.Event()

    def __call__(self) -> Connection:
        return Connection(self, self._loop)

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._check_done()

    def began(self) -> None:
        self._running += 1

    def ended(self) -> None:
        self._running -= 1
        self._check_done()

    def _check_done(self) -> None:
        if self.stopping and not self._open and not self._running:
            self._all_done.set()

    async def sweep(self) -> None:
        """Finds connections whose clients let the server wait for too long; runs until it is cancelled."""
        limits = self.limits
        shortest = min(limits.head_seconds, limits.idle_seconds, limits.stall_seconds)
        interval = min(max(shortest / 4, 0.02), 5.0)
        while True:
            await asyncio.sleep(interval)
            now = self._loop.time()
            for connection in list(self._open):
                connection.check_time(now)

    async def close(self, drain_seconds: float) -> None:
        self.stopping = True
        now = self._loop.time()
        if any(connection.idle_for(now) < _GRACE_SECONDS for connection in self._open):
            await asyncio.sleep(min(_GRACE_SECONDS, drain_seconds))
        for connection in list(self._open):
            connection.finish()
        self._check_done()
        if await self._done_within(drain_seconds):
            return
        for connection in list(self._open):
            connection.cancel()
        await asyncio.sleep(0)
        for connection in list(self._open):
            connection.abort()
        await self._done_within(_CLEAN_UP_SECONDS)

    async def _done_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._all_done.wait()
        except TimeoutError:
            return False
        return True
