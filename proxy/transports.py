"""What the connections on both sides of the proxy have to know of their transports."""

import asyncio
import select


def has_unread(transport: asyncio.Transport) -> bool:
    """Whether something has come, be it the other end's close, that the event loop has not read yet. The transport
    must not be closing."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
