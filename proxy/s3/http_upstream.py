"""The upstream store over HTTP: signs requests with the proxy's own credentials and sends them over pooled connections."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from proxy.aws.message import Request, Response


@dataclass(frozen=True)
class Credentials:
    """What the proxy signs upstream requests with."""

    access_key_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Timeouts:
    """In seconds."""

    connect: float = 5.0
    """To have a connection: a free place in the pool, name look-up, TCP and TLS."""
    first_byte: float = 60.0
    """From the end of the request to the head of the answer."""
    idle: float = 60.0
    """Without a byte in either direction while a body is under way and the store is waited for."""
    keep_alive: float = 20.0
    """How long an unused connection is kept. Stores close theirs after a minute or more; sooner here means that a
    request rarely meets a connection that is being closed."""


class HttpUpstream:
    """Port ``Upstream`` over HTTP/1.1, path-style. Everything about it happens in one event loop."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        region: str,
        *,
        clock: Callable[[], datetime],
        timeouts: Timeouts = Timeouts(),
        connections: int = 256,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """``url``: ``http://`` or ``https://``, host and perhaps port. ``connections``: the most there may be at once.
        ``ssl_context``: for https, instead of the system's authorities.

        Raises:
            ValueError: the URL has another form.
        """
        raise NotImplementedError

    async def send(self, request: Request) -> Response:
        """See ``Upstream.send``.

        Raises:
            UpstreamError: or UpstreamTimeout.
            ValueError: the request can't be put on the wire: a line break in a header, a streamed body without or
                of another length than its Content-Length.
        """
        raise NotImplementedError

    async def aclose(self) -> None:
        """Closes every connection."""
        raise NotImplementedError
