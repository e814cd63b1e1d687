"""What the connections on both sides of the proxy ask of their transports' sockets. None may be closing."""

import asyncio
import select


def has_unread(transport: asyncio.Transport) -> bool:
    """Whether something has come, be it the other end's close, that the event loop has not read yet."""
    return bool(_poll(transport, select.POLLIN))


def has_reset(transport: asyncio.Transport) -> bool:
    """Whether the other end has reset the connection, which nobody is told who does not read."""
    return bool(_poll(transport, 0))


def _poll(transport: asyncio.Transport, events: int) -> list[tuple[int, int]]:
    """What there is of ``events``, and of faults, without waiting."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), events)
    return poll.poll(0)
