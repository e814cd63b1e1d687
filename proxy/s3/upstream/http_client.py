"""One HTTP/1.1 connection to the store: an ``asyncio.Protocol`` around the parser of ``httptools``.

A connection carries one request at a time. Body bytes of a known length bypass the parser: they are counted and handed
on as the transport delivered them, or received in blocks (``proxy.blocks``) where many are to come.
"""

import asyncio
from typing import Any, Final, Protocol, cast

import httptools
from multidict import CIMultiDict

from proxy.aws.http_head import field_name
from proxy.aws.message import Response
from proxy.blocks import LONG, BlockReceiver, receive_by
from proxy.s3.upstream.http_answer import AnswerBody
from proxy.s3.upstream.http_timing import Timeouts, Timer
from proxy.s3.upstream.port import UpstreamError, UpstreamTimeout
from proxy.stream import ByteStream
from proxy.transports import PausableWriter, has_unread

_HIGH_WATER: Final = 512 * 1024
_LOW_WATER: Final = 256 * 1024
_ONE_WRITE: Final = 64 * 1024
"""Up to here, copying a body behind its head is cheaper than writing twice."""
_SMALL_REST: Final = 64 * 1024
"""The most of an unread answer that is dropped to keep a connection."""
_SHORT: Final = 64 * 1024
"""Up to here, the body of an answer is handed on whole: one segment, which has to be there whole to be opened."""
_LONGEST_HEAD: Final = 256 * 1024


class ConnectionClosed(UpstreamError):
    """The store closed the connection before any byte of an answer. On a connection that had been used before, it may
    have done so before it saw the request."""


class Owner(Protocol):
    """Whoever keeps connections."""

    def free(self, connection: "Connection") -> None:
        """The connection can carry the next request."""
        ...

    def lost(self, connection: "Connection") -> None:
        """The connection is closed."""
        ...


class Connection(PausableWriter, asyncio.Protocol):
    """A connection to the store. ``owner`` is told what becomes of it once it is set."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeouts: Timeouts) -> None:
        super().__init__()
        self.owner: Owner | None = None
        self.closed = False
        self.uses = 0
        """Requests that it has carried or is carrying."""
        self.idle_since = loop.time()
        self._loop = loop
        self._timeouts = timeouts
        self._patience = 0.0
        self._timer = Timer(loop, self._timed_out)
        self._transport = cast("asyncio.Transport", None)
        self._parser: Any = None
        self._reading_paused = False
        self._busy = False
        self._begin("", cast("asyncio.Future[Response]", None))

    def _begin(self, method: str, answer: "asyncio.Future[Response]") -> None:
        self._method = method
        self._answer = answer
        """Resolved when the final answer's head is there."""
        self._sending = False
        """Whether a task is sending the request's body."""
        self._sent = False
        """Whether the whole request has been handed to the transport."""
        self._head_size = 0
        """Bytes that have come until the final answer's head was complete."""
        self._status = 0
        """Of the final answer; 0 until its head is complete."""
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._pieces: list[bytes] = []
        """Body bytes that came together with the head."""
        self._body: AnswerBody | None = None
        self._receiver: BlockReceiver | None = None
        """What reads the answer's body, while that is long."""
        self._left: int | None = None
        """Body bytes that are still to come; None where the parser finds the end."""
        self._until_close = False
        """Whether the answer ends where the connection ends."""
        self._complete = False
        """Whether the answer's last byte is there."""
        self._reusable = True

    @property
    def has_ended(self) -> bool:
        """Of an idle connection: whether the store has closed it, be it that nobody has noticed yet."""
        return self.closed or self._transport.is_closing() or has_unread(self._transport)

    # The request.

    async def exchange(
        self, method: str, head: bytes, body: bytes, rest: ByteStream | None, patience: float = 0.0
    ) -> Response:
        """Sends a request, with ``body`` and then ``rest`` as its body, and waits for the head of its answer, for
        ``patience`` seconds if that is longer than usual.

        Raises:
            UpstreamError: and ConnectionClosed, UpstreamTimeout, and whatever ``rest`` raises; the connection has
                then been cut.
        """
        self.uses += 1
        if self.closed or self._transport.is_closing():
            raise ConnectionClosed("the store has closed the connection")
        self._busy = True
        self._patience = patience
        answer: asyncio.Future[Response] = self._loop.create_future()
        self._begin(method, answer)
        if len(body) <= _ONE_WRITE:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        if rest is not None:
            return await self._send_rest(answer, rest)
        self._request_sent()
        try:
            return await answer
        except BaseException:
            self._give_up(answer)
            raise

    async def _send_rest(self, answer: "asyncio.Future[Response]", rest: ByteStream) -> Response:
        """Waits for the answer while a task sends; an answer before the end stops the task."""
        self._sending = True
        task = asyncio.create_task(self._pump(rest))
        task.add_done_callback(self._pump_done)
        try:
            return await answer
        except BaseException:
            self._give_up(answer)
            raise
        finally:
            try:
                if not task.done():
                    task.cancel()
                    await asyncio.wait([task])
            finally:
                self._sending = False
                self._settle()

    def _give_up(self, answer: "asyncio.Future[Response]") -> None:
        """After a failure or a cancelled wait. Once the answer is there, the connection may be another request's."""
        if answer.cancelled() or answer.exception() is not None:
            self.abort()
        elif isinstance(body := answer.result().body, AnswerBody):
            body.give_up()

    def _request_sent(self) -> None:
        self._sent = True
        if not self._status:
            self._timer.set(max(self._timeouts.first_byte, self._patience))

    async def _pump(self, rest: ByteStream) -> None:
        await self._drain()
        async for piece in rest:
            if self.closed:
                return
            self._transport.write(piece)
            del piece
            await self._drain()
        self._request_sent()

    def _pump_done(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not self._answer.done():
            self._answer.set_exception(error)

    async def _drain(self) -> None:
        if self.writing_paused and not self.closed:
            self._timer.set(self._timeouts.idle)
            try:
                await self.room()
            finally:
                self._timer.clear()

    # The answer, as the parser tells it.

    def on_message_begin(self) -> None:
        self._refuse_more()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status:
            # A trailer field, which must not become one of the head (RFC 9110, section 6.5.1).
            return
        self._headers.add(field_name(name), value.rstrip(b" \t").decode("utf-8", "surrogateescape"))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        headers = self._headers
        if status < 200:
            if status == 101:
                raise UpstreamError("another protocol")
            return
        self._status = status
        self._reusable = self._parser.should_keep_alive()
        if self._without_body():
            # The parser may wait for the body that a length announces, and knows nothing of HEAD.
            self._complete = True
            self._reusable = "close" not in headers.get("Connection", "").lower()
        elif "Transfer-Encoding" in headers:
            if headers["Transfer-Encoding"].lower() != "chunked":
                raise UpstreamError("an unknown transfer coding")
        elif "Content-Length" in headers:
            self._left = int(headers["Content-Length"])
        else:
            self._until_close = True

    def on_body(self, data: bytes) -> None:
        self._refuse_more()
        if self._body is None:
            self._pieces.append(data)
        else:
            self._body.feed(data)

    def _refuse_more(self) -> None:
        """Stops the parser behind the answer's end, before what nobody asked for gets mixed into the answer."""
        if self._complete:
            raise UpstreamError("more than the answer")

    def on_message_complete(self) -> None:
        if self._status:
            self._complete = True
        else:
            self._headers = CIMultiDict()

    def _without_body(self) -> bool:
        return self._method == "HEAD" or self._status in {204, 304}

    # The answer, as the transport brings it.

    def data_received(self, data: bytes) -> None:
        if not self._busy or self._complete:
            # Nothing is expected: whatever this is, it must not be taken for the next answer.
            self._reusable = False
            self.abort()
        elif self._body is not None and self._left is not None:
            self._feed_counted(self._body, self._left, data)
        else:
            self._feed_parser(data)

    def _feed_counted(self, body: "AnswerBody", left: int, data: bytes) -> None:
        if len(data) > left:
            data = data[:left]
            self._reusable = False
        self._left = left - len(data)
        body.feed(data)
        if self._left == 0:
            self._complete = True
            self._settle()

    def received(self, size: int, left: int) -> None:
        """See ``Carrier``."""
        before, self._left = self._left or 0, left
        if not left:
            self._receiver = None
            self._reusable = self._reusable and size == before
            if not self.closed:
                receive_by(self._transport, self, paused=False)
            self._complete = True
            self._settle()

    def _feed_parser(self, data: bytes) -> None:
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        if not self._status:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._reusable = False
            if not self._complete:
                self._fail(UpstreamError(f"the store's answer is not HTTP/1.1: {error.__context__ or error}"))
                return
        if self._status:
            if self._answer.done():
                self._settle()
            elif self._complete or not self._gathers():
                self._deliver()
                self._settle()
            else:
                self._timer.set(self._timeouts.idle)
        elif self._head_size > _LONGEST_HEAD:
            self._fail(UpstreamError("the head of the store's answer is too long"))

    def _gathers(self) -> bool:
        """Whether the rest of the answer is waited for: short ones are handed on whole, though stores send them in
        two pieces. Not while the request is being sent, which the answer's head may end."""
        return self._method == "GET" and self._left is not None and self._left <= _SHORT and not self._sending

    def _deliver(self) -> None:
        self._timer.clear()
        pieces, self._pieces = self._pieces, []
        if self._complete:
            if self._without_body():
                self._parser = None
            whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._answer.set_result(Response(self._status, self._headers, whole))
            return
        self._body = body = AnswerBody(self)
        if self._left is not None:
            self._left -= sum(map(len, pieces))
            self._parser = None
            if self._left >= LONG:
                self._receiver = BlockReceiver(self._transport, self, body, pieces, self._left, one_more=True)
                self._receiver.begin(reading=not self._reading_paused)
                self._reading_paused = False
                pieces = []
        for piece in pieces:
            body.feed(piece)
        self._answer.set_result(Response(self._status, self._headers, self._body))

    def _settle(self) -> None:
        """Frees the connection once the answer is complete and nobody sends; closes it if it can't be used again."""
        if not (self._busy and self._complete):
            return
        if self._body is not None:
            self._body.end()
        if self._sending:
            return
        self._busy = False
        self._timer.clear()
        if self._sent and self._reusable and not self.closed and self.owner is not None:
            self.resume_reading()
            self.idle_since = self._loop.time()
            self.owner.free(self)
        else:
            self.abort()

    # Ends.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER, low=_LOW_WATER)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._timer.cancel()
        if self._busy and not self._complete:
            if self._until_close and exc is None:
                self._complete = True
                self._settle()
            elif self._head_size == 0:
                self._fail(ConnectionClosed("the store closed the connection without an answer"))
            else:
                self._fail(UpstreamError("the store closed the connection within its answer"))
        self.wake_writer()
        if self.owner is not None:
            self.owner.lost(self)

    def _fail(self, error: UpstreamError) -> None:
        if self._body is not None:
            self._body.fail(error)
        elif self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.abort()

    def _timed_out(self) -> None:
        if not self._busy:
            return
        if self._body is not None:
            self._fail(UpstreamTimeout("the store stopped within its answer"))
        elif self._sent:
            self._fail(UpstreamTimeout("the store did not answer in time"))
        else:
            self._fail(UpstreamTimeout("the store stopped taking the request"))

    def abort(self) -> None:
        """Cuts the connection at once; what the transport still holds does not leave."""
        self._timer.cancel()
        if not self.closed:
            self._transport.abort()

    # Flow control.

    def fetch(self) -> None:
        """More of the answer is wanted: what has come already is fed now."""
        if self._receiver is not None:
            self._receiver.fetch()

    def pause_reading(self) -> None:
        if not self._reading_paused and not self.closed and self._receiver is None:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused and not self.closed:
            self._reading_paused = False
            self._transport.resume_reading()

    def waits(self) -> None:
        """The store's time to send something begins."""
        self._timer.set(self._timeouts.idle)

    def goes_on(self) -> None:
        self._timer.clear()

    def abandon(self) -> None:
        """Nobody reads the rest of the answer: lets it come and drops it if it is small, else cuts the connection."""
        if self._left is not None and self._left <= _SMALL_REST and self._reusable and self._sent:
            self.waits()
            self.resume_reading()
            if self._receiver is not None:
                self._receiver.let_flow()
        else:
            self.abort()
