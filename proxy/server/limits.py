"""What the HTTP server grants a client: sizes in bytes, times in seconds."""

from dataclasses import dataclass

_KIB = 1024


@dataclass(frozen=True)
class Limits:
    """Bounds per connection. A client that oversteps one is answered where that is still possible, then cut off."""

    line: int = 32 * _KIB
    """The request target; and each header field, name and value together. A key of 1,024 bytes, percent-encoded, with
    a session token and a presigned query comes near."""
    head: int = 128 * _KIB
    """The request target and all header fields together."""
    fields: int = 1024
    """Header fields. User metadata of 2 KiB may come in hundreds of them."""
    head_seconds: float = 30.0
    """From the first byte of a request's head to its last; also for the TLS handshake."""
    idle_seconds: float = 75.0
    """Without a request on an open connection."""
    stall_seconds: float = 60.0
    """Without any progress of a body, in either direction, while the server waits for the client."""
    discard: int = 256 * _KIB
    """The most that is read and dropped of a body which the handler left unread, to keep the connection. After more
    than that the connection is closed."""
    linger_seconds: float = 2.0
    """How long a connection that is to be closed goes on dropping what the client sends, so that the client gets to
    read its answer before a reset."""
    buffer: int = 256 * _KIB
    """How much of a body is held before the client is made to wait (twice this at most, and one read more), and of
    an answer."""
