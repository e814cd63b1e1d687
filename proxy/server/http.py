"""The HTTP/1.1 server: aiohttp's low-level server behind the words of ``aws.message``.

This is the only module that imports aiohttp.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable

from proxy.aws.message import Request, Response
from proxy.server.limits import Limits

Handler = Callable[[Request], Awaitable[Response]]

MalformedAnswer = Callable[[int, str], Response]
"""Renders the answer to what is not a request that a handler can be given: an HTTP status and a reason, in English
and without anything that the client sent."""


class HttpServer:
    """Serves HTTP/1.1 and 1.0 on any number of sockets, with and without TLS.

    ``handler`` gets each request and is cancelled when its client goes away, unless it is reading the request's body:
    then the read raises ``proxy.stream.BodyCutShort``. An exception that escapes it is logged and answered with
    ``malformed(500, …)``. A body piece that an answer's stream has yielded must not be changed afterwards.
    """

    def __init__(self, handler: Handler, *, limits: Limits, malformed: MalformedAnswer) -> None:
        raise NotImplementedError

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
        raise NotImplementedError

    async def stop(self, drain_seconds: float) -> None:
        """Stops accepting, closes idle connections, lets running requests finish, then cancels and cuts the rest."""
        raise NotImplementedError
