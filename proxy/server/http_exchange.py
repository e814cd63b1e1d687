"""One request and its answer, between the parser of the HTTP server and the handler."""

import asyncio
from collections import deque
from typing import Final, Protocol

from proxy.aws.message import Headers, Peer, Request, Response
from proxy.server.http_answer import AnswerWriter, Wire
from proxy.server.http_request import Refusal, expects_continue, origin_form, refusal
from proxy.server.limits import Limits
from proxy.stream import Body, BodyCutShort, Buffer

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLIENT_CLOSED: Final = "the client closed the connection within the body"


class Connection(Wire, Protocol):
    """The connection that a request came by."""

    limits: Limits
    peer: Peer

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

    def fetch(self) -> None:
        """More of the body is wanted: what has come already is fed now."""
        ...

    def let_flow(self) -> None:
        """Nothing of the body is wanted any more; it is to come all the same."""
        ...

    def body_taken(self) -> None:
        """Less of the body is held than before."""
        ...


class Exchange:
    """A request and its answer. The connection feeds it the body."""

    __slots__ = (
        "_connection",
        "_dropped",
        "_error",
        "_expects",
        "_headers",
        "_pieces",
        "_target",
        "_version",
        "_waiter",
        "ended",
        "held",
        "last",
        "method",
        "reading",
        "received",
        "running",
    )

    def __init__(
        self,
        connection: Connection,
        method: str,
        target: str,
        version: tuple[int, int],
        headers: Headers,
        *,
        keep_alive: bool,
    ) -> None:
        self._connection = connection
        self.method = method
        self._target = target
        """As it came."""
        self._version = version
        self._headers = headers
        self.last = not keep_alive
        """Whether the connection is closed after the answer."""
        self.running = False
        """Whether the handler has it."""
        self.reading = False
        """Whether the handler is waiting for the body at this moment."""
        self.received = 0
        """Bytes of the body that have arrived."""
        self.ended = False
        """Whether all of the body has."""
        self.held = 0
        """Bytes of the body that wait to be read."""
        self._pieces: deque[Buffer] = deque()
        self._dropped = False
        self._error = ""
        self._expects = False
        """Whether the client may still be waiting for 100 (Continue)."""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def http10(self) -> bool:
        """Whether the client knows no more than HTTP/1.0."""
        return self._version == (1, 0)

    # The body, as the connection brings it.

    def feed(self, piece: Buffer) -> None:
        self.received += len(piece)
        if self._dropped or self._error:
            return
        self._pieces.append(piece)
        self.held += len(piece)
        self._wake()

    def end(self) -> None:
        self.ended = True
        self._wake()

    def cut(self, reason: str = _CLIENT_CLOSED) -> None:
        """Makes the body end in an error, unless all of it has arrived or it has failed before."""
        if not self.ended and not self._error:
            self._error = reason
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # The request.

    def refusal(self) -> Refusal | None:
        return refusal(self.method, self._target, self._version, self._headers)

    def request(self) -> Request:
        path, query, headers = origin_form(self._target, self._headers)
        # Also where there is no body to wait for: AWS sends the 100 then, too, and the aws CLI takes whatever comes in
        # its place for the head of its next answer on the same connection.
        self._expects = expects_continue(self._version, headers) and not self.received
        body: Body = self._whole() if self.ended and not self._expects else _ReceivedBody(self)
        return Request(self.method, path, query, headers, body, self._connection.peer)

    def _whole(self) -> bytes:
        pieces, self.held = self._pieces, 0
        if not pieces:
            return b""
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return bytes(whole)

    async def _more(self) -> None:
        self.reading = True
        self._connection.waits()
        try:
            while not self._pieces and not self.ended and not self._error:
                await self._wait()
        finally:
            self.reading = False
            self._connection.goes_on()

    async def read(self) -> Buffer:
        """The next bytes of the body, ``b""`` at its end."""
        connection = self._connection
        if self._expects:
            self._expects = False
            try:
                connection.send(CONTINUE)
            except ConnectionError as error:
                raise BodyCutShort(_CLIENT_CLOSED) from error
        if not self._pieces and not self.ended:
            connection.fetch()
            if not self._pieces and not self.ended and not self._error:
                await self._more()
        if self._error:
            raise BodyCutShort(self._error)
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        self.held -= len(piece)
        connection.body_taken()
        return piece

    # The answer.

    async def answer(self, response: Response) -> bool:
        """Sends the answer; returns whether the connection is still good for anything."""
        connection = self._connection
        self.last = self.last or connection.stopping or self._leaves_too_much()
        writer = AnswerWriter(
            connection,
            self.method,
            keep_alive=not self.last,
            http10=self.http10,
            failure=connection.failure,
        )
        return await writer.send(response) and not self._error

    def _leaves_too_much(self) -> bool:
        """Whether more of the body is unread than is worth reading, or nobody knows how much is still to come: the
        length is unknown, or the client waits for a 100 (Continue) that it does not get."""
        if self.ended:
            return self._expects
        length = self._headers.get("Content-Length")
        return self._expects or length is None or int(length) - self.received > self._connection.limits.discard

    async def drop_rest(self) -> None:
        """Reads what is left of the body and drops it, until its end or ``linger_seconds`` have passed."""
        self._dropped = True
        self._pieces.clear()
        self.held = 0
        self._connection.body_taken()
        self._connection.let_flow()
        try:
            async with asyncio.timeout(self._connection.limits.linger_seconds):
                while not self.ended and not self._error:
                    await self._wait()
        except TimeoutError:
            self.last = True


class _ReceivedBody:
    """The body of a request as a stream."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Exchange | None = exchange

    def __aiter__(self) -> "_ReceivedBody":
        return self

    async def __anext__(self) -> Buffer:
        if self._exchange is not None:
            piece = await self._exchange.read()
            if piece:
                return piece
            self._exchange = None
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Gives up the rest, which the server then drops."""
        self._exchange = None
