"""The upstream store over HTTP: signs requests, sends them over pooled connections."""

import asyncio
import copy
import re
import ssl
from collections.abc import Callable
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from proxy.aws import sigv4_bare
from proxy.aws.credentials import StoreCredentials
from proxy.aws.http_head import encode_head
from proxy.aws.message import Request, Response
from proxy.aws.sigv4 import UNSIGNED_PAYLOAD, sign
from proxy.s3.upstream.http_client import Connection, ConnectionClosed
from proxy.s3.upstream.http_pool import Address, Pool
from proxy.s3.upstream.http_timing import Timeouts
from proxy.stream import ByteStream, exactly

__all__ = ["HttpUpstream", "Timeouts"]

_SMALL: Final = 64 * 1024
"""Streamed bodies up to this length are read whole first: they leave in one write, and may be sent again."""
_METHOD: Final = re.compile(r"[A-Z]+")
_NOT_IN_TARGET: Final = re.compile(r"[\x00-\x20\x7f#]")
_OURS: Final = frozenset(("host", "connection", "transfer-encoding", "expect", "upgrade", "trailer", "te"))
"""Fields that say how a message is carried, which is the transport's to say."""
_READS: Final = ("GET", "HEAD")
_DEFAULT_TIMEOUTS: Final = Timeouts()


class HttpUpstream:
    """Port ``Upstream`` over HTTP/1.1, path-style. Everything about it happens in one event loop."""

    def __init__(
        self,
        url: str,
        credentials: StoreCredentials | None,
        region: str,
        *,
        clock: Callable[[], datetime],
        timeouts: Timeouts = _DEFAULT_TIMEOUTS,
        connections: int = 256,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """``url``: ``http://`` or ``https://``, host and perhaps port. ``credentials``: None for no signatures.
        ``connections``: the most there may be at once. ``ssl_context``: for https, instead of the system's authorities.

        Raises:
            ValueError: the URL has another form.
        """
        address, self._host = _parse_url(url, ssl_context)
        self._credentials = credentials
        self._region = region
        self._clock = clock
        self._pool = Pool(address, timeouts, connections)

    async def send(self, request: Request) -> Response:
        """See ``Upstream.send``. A streamed body is closed in any case.

        Raises:
            UpstreamError: or UpstreamTimeout, or what the body raises.
            ValueError: the request can't be put on the wire: a line break in a header, a streamed body without or
                of another length than its Content-Length.
        """
        body = request.body
        if isinstance(body, bytes):
            return await self._send_whole(self._head(request, len(body)), request, body)
        try:
            length = _stated_length(request)
            if length is None:
                raise ValueError("a streamed body needs a Content-Length")
            return await self._send_stream(request, exactly(body, length), length)
        finally:
            await body.aclose()

    def asking_as(self, credentials: StoreCredentials | None) -> "HttpUpstream":
        """See ``Upstream.asking_as``."""
        other = copy.copy(self)
        other._credentials = credentials  # noqa: SLF001 - of the same class
        return other

    async def aclose(self) -> None:
        """Closes every connection."""
        self._pool.close()
        await asyncio.sleep(0)

    async def _send_stream(self, request: Request, body: ByteStream, length: int) -> Response:
        if length <= _SMALL:
            whole = b"".join([piece async for piece in body])
            return await self._send_whole(self._head(request, length), request, whole)
        first = bytes(await anext(body))
        connection = await self._live_connection()
        return await connection.exchange(request.method, self._head(request, length), first, body)

    async def _send_whole(self, head: bytes, request: Request, body: bytes) -> Response:
        connection = self._pool.idle() or await self._pool.acquire()
        try:
            return await connection.exchange(request.method, head, body, None, request.patience)
        except ConnectionClosed:
            if connection.uses < 2:
                raise
        connection = await self._pool.acquire(fresh=True)
        return await connection.exchange(request.method, head, body, None, request.patience)

    async def _live_connection(self) -> Connection:
        """A connection for a body that can be sent only once: a store's end of the connection that has arrived but
        has not been looked at yet is looked at now."""
        connection = await self._pool.acquire()
        if not connection.uses or not connection.has_ended:
            return connection
        connection.abort()
        return await self._pool.acquire(fresh=True)

    def _head(self, request: Request, length: int) -> bytes:
        """The signed head."""
        target = f"{request.path}?{request.query}" if request.query else request.path
        if not target.startswith("/") or _NOT_IN_TARGET.search(target) or not _METHOD.fullmatch(request.method):
            raise ValueError("the request line can't be sent")
        credentials = self._credentials
        if credentials is not None and request.method in _READS and not (request.headers or request.query or length):
            return sigv4_bare.head(
                request.method,
                request.path,
                host=self._host,
                access_key_id=credentials.access_key_id,
                secret=credentials.secret,
                region=self._region,
                now=self._clock(),
            )
        fields = list(request.headers.items())
        stated = None
        for name, value in fields:
            lower = name.lower()
            if lower in _OURS:
                raise ValueError(f"the {name} header is the transport's")
            if lower == "content-length":
                stated = _length(value)
        if stated is None:
            if length or request.method in {"PUT", "POST"}:
                fields.append(("Content-Length", str(length)))
        elif stated != length:
            raise ValueError("the Content-Length is not the length of the body")
        fields.append(("Host", self._host))
        if credentials is not None:
            added = sign(
                request,
                fields,
                access_key_id=credentials.access_key_id,
                secret=credentials.secret,
                region=self._region,
                service="s3",
                now=self._clock(),
                payload_hash=UNSIGNED_PAYLOAD,
            )
            fields.extend(added.items())
        return encode_head(f"{request.method} {target} HTTP/1.1", fields)


def _stated_length(request: Request) -> int | None:
    stated = request.headers.get("Content-Length")
    return None if stated is None else _length(stated)


def _length(stated: str) -> int:
    if not (stated.isascii() and stated.isdigit()):
        raise ValueError("the Content-Length is not a number")
    return int(stated)


def _parse_url(url: str, ssl_context: ssl.SSLContext | None) -> tuple[Address, str]:
    """The address, and the value of the Host header."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError("the upstream's URL must be http:// or https://, a host and perhaps a port")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("the upstream's URL must not have a path")
    default = 443 if parts.scheme == "https" else 80
    port = parts.port or default
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    tls = (ssl_context or ssl.create_default_context()) if parts.scheme == "https" else None
    return Address(parts.hostname, port, tls), host if port == default else f"{host}:{port}"
