"""A client's connection: requests out of bytes, one task that serves them in turn, and time limits."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast

from proxy.aws.message import Headers, Peer, Request, Response
from proxy.blocks import LONG, BlockReceiver, receive_by
from proxy.server.http_answer import AnswerWriter, ClientGone
from proxy.server.http_exchange import CONTINUE, Exchange
from proxy.server.http_parser import Refused, RequestParser
from proxy.server.http_request import Refusal
from proxy.server.http_vigil import Vigil
from proxy.server.limits import Limits
from proxy.stream import Buffer
from proxy.transports import PausableWriter, has_unread

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]

_ONE_WRITE: Final = 64 * 1024
"""Up to here, copying a body behind its head is cheaper than writing twice."""
_MOST_QUEUED: Final = 16
"""Requests of one connection that wait, before no more is read."""

_MOMENT: Final = 0.01
"""Seconds in which the event loop reads what has come."""

_TOO_SLOW: Final = (
    408,
    "Your socket connection to the server was not read from or written to within the timeout period. "
    "Idle connections will be closed.",
)
_FAILED: Final = 500, "We encountered an internal error. Please try again."


class Site(Protocol):
    """What the connections of a server share."""

    limits: Limits
    stopping: bool
    handler: Handler

    def malformed(self, status: int, reason: str) -> Response: ...

    def opened(self, connection: "Connection") -> None: ...

    def closed(self, connection: "Connection") -> None: ...

    def began(self) -> None:
        """The handler has been given a request."""
        ...

    def ended(self) -> None:
        """It has been answered, or given up."""
        ...


class Connection(PausableWriter, asyncio.Protocol):
    """One client's connection."""

    def __init__(self, site: Site, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._site = site
        self._loop = loop
        self.limits = site.limits
        self.peer = Peer("", secure=False)
        self._transport: asyncio.Transport | None = None
        self._parser = RequestParser(site.limits, self._begin)
        self._queue: deque[Exchange | Refusal] = deque()
        self._receiving: Exchange | None = None
        """The request whose head was parsed last."""
        self._exchange: Exchange | None = None
        """The request that is being served."""
        self._task: asyncio.Task[None] | None = None
        self._next: asyncio.Future[None] | None = None
        """Resolved when there is something in the queue."""
        self._receiver: BlockReceiver | None = None
        """What reads the body of the request that was parsed last, while that is long."""
        self._vigil: Vigil | None = None
        """Once the client sends nothing more, and waits for answers."""
        self._handling = False
        """Whether the handler has the request that is being served, and has not answered yet."""
        self._reading_paused = False
        self._refused = False
        self._gone = False
        self._head_since: float | None = None
        self._idle_since = loop.time()
        self._waiting_since: float | None = None
        """Since when the server waits for the client to send or to take body bytes."""
        self._closing_since: float | None = None
        """When the connection was first seen to be closing: it is open until the client has taken all it was sent."""

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=2 * self.limits.buffer, low=self.limits.buffer)
        name = transport.get_extra_info("peername")
        address = str(name[0]) if isinstance(name, tuple) else ""
        tls = transport.get_extra_info("ssl_object")
        secure = transport.get_extra_info("sslcontext") is not None
        self.peer = Peer(address, secure, (tls.version() or "") if tls is not None else "")
        self._site.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._gone = True
        if self._vigil is not None:
            self._vigil.end()
        if self._receiving is not None:
            self._receiving.cut()
        self.wake_writer()
        # A handler that is reading the body learns of it there; any other is cancelled wherever it is.
        if self._task is not None and (self._exchange is None or not self._exchange.reading):
            self._task.cancel()
        self._site.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        try:
            self._parser.feed(data)
        except Refused as refused:
            if self._receiving is not None:
                self._receiving.cut("the framing of the body is broken")
            self._refuse(refused.refusal)
        else:
            if not self._parser.in_head:
                self._head_since = None
            elif self._head_since is None:
                self._head_since = self._loop.time()
            self._throttle()
            if self._parser.left >= LONG and not self._gone:
                most = 2 * self.limits.buffer
                self._receiver = BlockReceiver(self._wire, self, self, (), self._parser.left, beforehand=most)
                self._receiver.begin(reading=not self._reading_paused)
                self._reading_paused = False

    def eof_received(self) -> bool:
        """The client sends nothing more: it has gone, or waits for answers with its half of the connection closed. To
        what has come whole it gets them; the connection is closed behind the last one. Not over TLS: the transports
        take the end of what is sent there for the end of the connection."""
        waiting = [item for item in (self._exchange, *self._queue) if item is not None]
        if self.peer.secure or all(isinstance(item, Exchange) and not item.ended for item in waiting):
            return False
        self._head_since = None
        if isinstance(last := waiting[-1], Exchange):
            last.cut()
            last.last = True
        self._vigil = Vigil(self._loop, self._wire, self._hint, self.abort)
        return True

    def _hint(self) -> bool:
        """Sends an interim answer, if the client waits for an answer that has not begun and knows what that is."""
        if not self._handling or self._exchange is None or self._exchange.http10:
            return False
        self.send(CONTINUE)
        return True

    def feed(self, piece: Buffer) -> None:
        """See ``Taker``: of a long body."""
        if not self._refused:
            self._parser.take(piece)

    def progresses(self) -> None:
        """See ``Taker``."""
        if self._waiting_since is not None and self._exchange is not None and self._exchange.reading:
            self.waits()

    def received(self, size: int, left: int) -> None:  # noqa: ARG002
        """See ``Carrier``."""
        if not left:
            self._receiver = None
            if not self._gone:
                receive_by(self._wire, self, paused=False)
                self._throttle()

    def _throttle(self) -> None:
        """Stops or resumes reading, by how much waits."""
        if self._gone or self._receiver is not None or self._vigil is not None:
            return
        queue = self._queue
        held = self._exchange.held if self._exchange is not None else 0
        if 0 < len(queue) <= _MOST_QUEUED:
            held += sum(item.held for item in queue if isinstance(item, Exchange))
        if self._reading_paused:
            if held <= self.limits.buffer and len(queue) < _MOST_QUEUED:
                self._reading_paused = False
                self._wire.resume_reading()
        elif held > 2 * self.limits.buffer or len(queue) > _MOST_QUEUED:
            self._reading_paused = True
            self._wire.pause_reading()

    @property
    def _wire(self) -> asyncio.Transport:
        return cast("asyncio.Transport", self._transport)

    # Requests.

    def _begin(
        self, method: str, target: str, version: tuple[int, int], headers: Headers, keep_alive: bool
    ) -> Exchange:
        exchange = self._receiving = Exchange(self, method, target, version, headers, keep_alive=keep_alive)
        self._enqueue(exchange)
        return exchange

    def _refuse(self, refusal: Refusal) -> None:
        self._refused = True
        self._head_since = None
        self._enqueue(refusal)

    def _enqueue(self, item: Exchange | Refusal) -> None:
        self._queue.append(item)
        if self._next is not None:
            if not self._next.done():
                self._next.set_result(None)
        elif self._task is None and not self._gone:
            self._task = self._loop.create_task(self._serve())

    async def _serve(self) -> None:
        """Serves what is in the queue, until the connection ends."""
        try:
            goes_on = True
            while goes_on:
                if not self._queue:
                    self._next = self._loop.create_future()
                    await self._next
                    self._next = None
                item = self._queue.popleft()
                if self._reading_paused:
                    self._throttle()
                if isinstance(item, Exchange):
                    goes_on = await self._serve_one(item)
                else:
                    await AnswerWriter(self, "GET", keep_alive=False, http10=False, failure=self.failure).send(
                        self._site.malformed(*item)
                    )
                    goes_on = False
            if self._refused:
                await self._linger()
        finally:
            self._wire.close()

    async def _serve_one(self, exchange: Exchange) -> bool:
        """Answers one request; returns whether the connection lives on."""
        self._exchange = exchange
        try:
            response = await self._answer_to(exchange)
            if not await exchange.answer(response):
                return False
            if exchange.held or not exchange.ended:
                await exchange.drop_rest()
        finally:
            self._exchange = None
            self._idle_since = self._loop.time()
            if exchange.running:
                exchange.running = False
                self._site.ended()
        return not exchange.last

    async def _answer_to(self, exchange: Exchange) -> Response:
        """The handler's answer, or that for its failure."""
        refused = exchange.refusal()
        if refused is not None:
            exchange.last = self._refused = True
            return self._site.malformed(*refused)
        exchange.running = self._handling = True
        self._site.began()
        try:
            return await self._site.handler(exchange.request())
        except asyncio.CancelledError:
            if self._task is None or self._task.cancelling():
                raise
            # Something that the handler waited for was cancelled, and not the handler: the client waits for an answer.
            logger.exception("the handler of a %s request failed", exchange.method)
            return self.failure()
        except Exception:
            logger.exception("the handler of a %s request failed", exchange.method)
            return self.failure()
        finally:
            self._handling = False

    async def _linger(self) -> None:
        """Lets a client that is still sending what was refused read the answer: closing at once would reset the
        connection (RFC 9112, section 9.6). Ends early, cancelled, when the client closes."""
        if self._gone or self._vigil is not None or self._wire.is_closing():
            return
        if self._wire.can_write_eof():
            self._wire.write_eof()
        self.let_flow()
        await asyncio.sleep(self.limits.linger_seconds)

    # Time.

    def check_time(self, now: float) -> None:
        """Acts on a client that has been waited for too long."""
        exchange = self._exchange
        if self._wire.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since >= self.limits.stall_seconds:
                self.abort()
        elif self._waiting_since is not None and now - self._waiting_since >= self.limits.stall_seconds:
            if exchange is not None and exchange.reading:
                exchange.cut("the client stopped sending the body")
            else:
                self.abort()
        elif self._head_since is not None and now - self._head_since >= self.limits.head_seconds:
            self._refuse(_TOO_SLOW)
        elif self._head_since is None and self.idle_for(now) >= self.limits.idle_seconds:
            self._close_unused()

    def waits(self) -> None:
        self._waiting_since = self._loop.time()

    def goes_on(self) -> None:
        self._waiting_since = None

    def fetch(self) -> None:
        if self._receiver is not None:
            self._receiver.fetch()

    def let_flow(self) -> None:
        if self._receiver is not None:
            self._receiver.let_flow()

    def body_taken(self) -> None:
        if self._reading_paused:
            self._throttle()

    # Answers.

    def send(self, *pieces: Buffer) -> None:
        """Hands bytes to the transport.

        Raises:
            ClientGone
        """
        transport = self._transport
        if self._gone or transport is None or transport.is_closing():
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
            await self.room()
        finally:
            self.goes_on()
        if self._gone:
            raise ClientGone("the client has closed the connection")

    def failure(self) -> Response:
        return self._site.malformed(*_FAILED)

    # The end.

    @property
    def stopping(self) -> bool:
        return self._site.stopping

    def idle_for(self, now: float) -> float:
        """Seconds without a request; 0 while one is served."""
        return 0.0 if self._exchange is not None or self._queue else now - self._idle_since

    def finish(self) -> None:
        """Closes the connection if it is idle; a running exchange does that after its answer."""
        if self._exchange is None and not self._queue:
            self._close_unused()

    def _close_unused(self, looked: float | None = None) -> None:
        """Closes the connection if no request has come, be it that the event loop, being behind, has not read it yet:
        closing then would reset the connection, and the client would not know what became of its request. ``looked``:
        since when it was unused when something was found to be unread."""
        if self._gone or self._wire.is_closing() or self._exchange is not None or self._queue:
            return
        if looked is None and has_unread(self._wire):
            self._loop.call_later(_MOMENT, self._close_unused, self._idle_since)
        elif looked is not None and looked != self._idle_since:
            # A request came, and has been answered.
            return
        elif self._head_since is None or self.stopping:
            self._wire.close()
            if self.stopping and self.peer.secure:
                # A client that leaves a connection idle does not see, and so does not answer, that it is being closed.
                self._loop.call_later(self.limits.linger_seconds, self.abort)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        """Cuts the connection at once, whatever is on its way."""
        self._wire.abort()
