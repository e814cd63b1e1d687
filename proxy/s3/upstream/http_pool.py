"""Connections to the store: a bounded number, kept open between requests and shared, the youngest first."""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass

from proxy.s3.upstream.http_client import Connection
from proxy.s3.upstream.http_timing import Timeouts
from proxy.s3.upstream.port import UpstreamError, UpstreamTimeout


@dataclass(frozen=True)
class Address:
    """Where the store listens; ``tls`` is None for plain http."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


class Pool:
    """Not for threads: everything happens in one event loop."""

    def __init__(self, address: Address, timeouts: Timeouts, limit: int) -> None:
        self._address = address
        self._timeouts = timeouts
        self._limit = limit
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._connecting = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def acquire(self, *, fresh: bool = False) -> Connection:
        """A connection that nobody uses; with ``fresh``, one that has never been used.

        Raises:
            UpstreamError: there is none to be had, or UpstreamTimeout: not in time.
        """
        idle = None if fresh else self.idle()
        if idle is not None:
            return idle
        try:
            async with asyncio.timeout(self._timeouts.connect):
                return await self._wait_for_one(fresh=fresh)
        except TimeoutError as error:
            raise UpstreamTimeout("no connection to the store in time") from error

    def idle(self) -> Connection | None:
        """A connection that nobody uses, if there is one already."""
        while self._idle:
            connection = self._idle.pop()
            if self._usable(connection):
                return connection
            connection.abort()
        return None

    def _usable(self, connection: Connection) -> bool:
        age = asyncio.get_running_loop().time() - connection.idle_since
        return not connection.closed and age < self._timeouts.keep_alive

    async def _wait_for_one(self, *, fresh: bool) -> Connection:
        while True:
            if self._closed:
                raise UpstreamError("the connections to the store have been closed")
            if not fresh and self._idle:
                return self._idle.pop()
            if len(self._open) + self._connecting < self._limit:
                return await self._connect()
            if fresh and self._idle:
                self._idle.popleft().abort()
            await self._place()

    async def _place(self) -> None:
        """Waits until a connection is freed or closed."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake_next()
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake_next(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _connect(self) -> Connection:
        address = self._address
        loop = asyncio.get_running_loop()
        self._connecting += 1
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(loop, self._timeouts),
                address.host,
                address.port,
                ssl=address.tls,
                server_hostname=address.host if address.tls is not None else None,
            )
        except TimeoutError:
            raise
        except OSError as error:
            raise UpstreamError(f"can't connect to the store: {error}") from error
        finally:
            self._connecting -= 1
            if self._waiters:
                self._wake_next()
        if connection.closed:
            raise UpstreamError("the store closed the connection at once")
        connection.owner = self
        self._open.add(connection)
        return connection

    def free(self, connection: Connection) -> None:
        """See ``Owner``."""
        if self._closed:
            connection.abort()
            return
        self._idle.append(connection)
        while not self._usable(self._idle[0]):
            self._idle.popleft().abort()
        self._wake_next()

    def lost(self, connection: Connection) -> None:
        """See ``Owner``."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake_next()

    def close(self) -> None:
        """Cuts every connection."""
        self._closed = True
        self._idle.clear()
        for connection in list(self._open):
            connection.abort()
        while self._waiters:
            self._wake_next()
