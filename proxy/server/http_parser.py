"""Requests out of bytes: the parser of ``httptools`` (llhttp, which Node.js uses), held to the server's limits.

The parser refuses what is no HTTP: folded and nameless fields, bare line ends, two lengths, a length beside a transfer
coding. It bounds neither the line, nor a field, nor a head as a whole; that is done here.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import httptools
from multidict import CIMultiDict

from proxy.aws.http_head import field_name
from proxy.aws.message import Headers
from proxy.server.http_request import Refusal
from proxy.server.limits import Limits
from proxy.stream import Buffer

TOO_LONG: Final = 431, "Your request header section exceeds the maximum allowed size."
NOT_HTTP: Final = 400, "The request is not valid HTTP/1.1."
_NO_CODING: Final = 501, "This transfer coding is not implemented."
_VERSIONS: Final = {"1.1": (1, 1), "1.0": (1, 0)}
_OTHER_VERSION: Final = (0, 9)


class Refused(Exception):
    """What has come is no request that could be served."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


class Body(Protocol):
    """Who takes the body of the request that was parsed last."""

    def feed(self, piece: Buffer) -> None: ...

    def end(self) -> None: ...


Begin = Callable[[str, str, tuple[int, int], Headers, bool], Body]
"""Takes the head of a request (method, target, version, fields, whether the connection may go on after it) and returns
who takes its body."""


class RequestParser:
    """Parses the requests of one connection. Bodies of a known length go by the parser: they are
    counted, and long ones may come in blocks (``proxy.blocks``), by ``take``."""

    def __init__(self, limits: Limits, begin: Begin) -> None:
        self._limits = limits
        self._begin = begin
        self._parser: Any = None
        self._body: Body | None = None
        """Of the request that is being received."""
        self._left: int | None = None
        """Body bytes to come; None where the parser finds the end."""
        self._target = b""
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._size = 0
        """Of the head so far, as far as it is known."""
        self._begun = False
        """Whether a request has begun that is not whole yet."""
        self._pending = 0
        """Bytes that came within a head, but for those that came in one go with its first; later, those that came
        since the last byte of a body in chunks."""
        self._quiet = False
        """Whether what is being parsed has brought no byte of a body yet."""
        self.closed = False
        """Whether nothing is expected any more: the last request said so."""

    @property
    def in_head(self) -> bool:
        """Whether a part of a head has come, and not all of it."""
        return self._begun and self._body is None

    @property
    def left(self) -> int:
        """Bytes to come of a body whose length is known; 0 where none are expected or nobody knows."""
        return self._left or 0

    def take(self, piece: Buffer) -> None:
        """Takes the next bytes of such a body, no more than are left."""
        body, left = self._body, self._left
        if body is not None and left is not None:
            self._left = left - len(piece)
            body.feed(piece)
            if not self._left:
                self._end(body)

    def feed(self, data: bytes) -> None:
        """Takes the next bytes.

        Raises:
            Refused: they are no request. Nothing may be fed after that.
        """
        if data and self._left is not None and self._body is not None:
            data = self._count(self._body, self._left, data)
        if not data or (self.closed and self._body is None):
            return
        if self._begun and self._body is None:
            self._pending += len(data)
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        self._quiet = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parser = None
            if self._body is not None:
                self.feed(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if self.closed and self._body is None:
                return
            cause = error.__context__
            raise cause if isinstance(cause, Refused) else Refused(NOT_HTTP) from None
        if self._body is not None and self._left is not None:
            # What is left of this body is counted; the next request gets a parser of its own.
            self._parser = None
        else:
            self._check_pending(len(data))

    def _check_pending(self, size: int) -> None:
        """Bounds what the parser keeps, or skips, without telling of it: a head's field or, in a body in chunks, a
        trailer field or what extends a chunk, until its end. ``size`` bytes have just been parsed."""
        if self._body is not None:
            self._pending = self._pending + size if self._quiet else 0
        if self._begun and self._pending > self._limits.head:
            raise Refused(TOO_LONG)

    def _count(self, body: Body, left: int, data: bytes) -> bytes:
        """Hands on body bytes, and returns what lies behind the body."""
        piece, rest = (data, b"") if len(data) <= left else (data[:left], data[left:])
        self._left = left - len(piece)
        body.feed(piece)
        if not self._left:
            self._end(body)
        return rest

    def _end(self, body: Body) -> None:
        self._body = self._left = None
        self._begun = False
        body.end()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.closed:
            raise Refused(NOT_HTTP)
        self._begun = True
        self._pending = 0
        self._target = b""
        self._headers = CIMultiDict()
        self._size = 0

    def on_url(self, data: bytes) -> None:
        self._target += data
        if len(self._target) > self._limits.line:
            raise Refused(TOO_LONG)
        self._size += len(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body is not None:
            # A trailer field. Nobody asks for any, and among the fields of the head it would pass for a signed one.
            return
        size = len(name) + len(value)
        self._size += size
        limits = self._limits
        if size > limits.line or self._size > limits.head:
            raise Refused(TOO_LONG)
        if len(self._headers) >= limits.fields:
            raise Refused(NOT_HTTP)
        self._headers.add(field_name(name), value.rstrip(b" \t").decode("utf-8", "surrogateescape"))

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self._headers
        version = _VERSIONS.get(parser.get_http_version(), _OTHER_VERSION)
        if not self._target.isascii():
            raise Refused(NOT_HTTP)
        if version == (1, 1) and len(headers.getall("Host", ())) != 1:
            raise Refused(NOT_HTTP)
        coding = headers.get("Transfer-Encoding")
        if coding and coding.rpartition(",")[2].strip().lower() != "chunked":
            # RFC 9112, section 6.3: where such a body ends, nobody knows.
            raise Refused(NOT_HTTP)
        upgrade = parser.should_upgrade()
        if upgrade and coding is not None:
            # The parser would take the body for another protocol.
            raise Refused(_NO_CODING)
        length = headers.get("Content-Length")
        if length is not None and coding is None:
            if not (length.isascii() and length.isdigit()):
                raise Refused(NOT_HTTP)
            self._left = int(length)
        keep_alive = parser.should_keep_alive() and not upgrade
        method = parser.get_method().decode("ascii")
        self._body = self._begin(method, self._target.decode("ascii"), version, headers, keep_alive)
        # One that asks for another protocol (h2c, websocket) goes on in this one, to the end of the answer.
        self.closed = not keep_alive

    def on_body(self, data: bytes) -> None:
        body = self._body
        if body is None or not data:
            return
        if self._left is not None:
            self._left -= len(data)
        self._quiet = False
        body.feed(data)

    def on_message_complete(self) -> None:
        body = self._body
        # After a head that asks for another protocol the parser takes no body, though there is one.
        if body is not None and not self._left:
            self._end(body)
