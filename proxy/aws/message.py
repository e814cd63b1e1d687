"""HTTP messages as the rest of the program sees them, whichever server or client carries them."""

from dataclasses import field
from functools import cached_property
from urllib.parse import unquote_to_bytes

from multidict import CIMultiDict, CIMultiDictProxy

from proxy.stream import Body
from proxy.values import value_class

Headers = CIMultiDict[str] | CIMultiDictProxy[str]
"""Header fields. Bytes above 0x7F in a value are kept as UTF-8 with ``surrogateescape``."""


@value_class
class Peer:
    """The other end of a connection, as far as the transport knows it."""

    address: str
    secure: bool
    """Whether the connection is TLS."""
    tls_version: str = ""
    """Such as ``TLSv1.3``; ``""`` without TLS, or where it is not known."""


@value_class
class Request:
    """A request, received or to be sent. ``path`` and ``query`` are raw: percent-encoded, never normalised."""

    method: str
    path: str
    query: str = ""
    """What follows the first ``?`` of the request target, without it."""
    headers: Headers = field(default_factory=CIMultiDict)
    body: Body = b""
    """A received stream asks the client to go on (100-continue) at its first read, not before."""
    peer: Peer | None = None
    """Known for received requests only."""
    patience: float = 0.0
    """Of a request to be sent: seconds that its answer may be waited for, where that is longer than usual."""

    @cached_property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """The query's parameters in order, percent-decoded; a name without ``=`` has the value ``""``."""
        return parse_query(self.query)

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter, by its exact name."""
        if not self.query:
            return None
        return next((value for key, value in self.parameters if key == name), None)


@value_class
class Response:
    """An answer. The body's length is known: ``Content-Length`` stands in the headers or ``body`` is bytes.

    An exception raised by ``body`` while it is being sent cuts the connection.
    """

    status: int
    headers: Headers = field(default_factory=CIMultiDict)
    body: Body = b""

    async def aclose(self) -> None:
        """Gives up what is left of the body."""
        if not isinstance(self.body, bytes):
            await self.body.aclose()


def decode_percent(text: str) -> str:
    """Percent-decoding to UTF-8, with ``surrogateescape`` for what is not; ``+`` is left alone."""
    if "%" not in text:
        return text
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def parse_query(query: str) -> tuple[tuple[str, str], ...]:
    """Splits a raw query string at ``&`` and the first ``=``, and decodes names and values; ``+`` is a space, as S3
    has it, here and therefore in the canonical query of a signature."""
    if not query:
        return ()
    query = query.replace("+", " ")
    pairs = (item.partition("=") for item in query.split("&") if item)
    return tuple((decode_percent(name), decode_percent(value)) for name, _, value in pairs)
