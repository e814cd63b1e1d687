"""What the connections on both sides of the proxy have in common: they wait until their transport takes more, and ask
its socket what the transport does not tell. It may not be closing then."""

import asyncio
import select


class PausableWriter(asyncio.BaseProtocol):
    """A protocol of which one task at a time writes."""

    def __init__(self) -> None:
        self.writing_paused = False
        """Whether the transport holds so much that no more should be written."""
        self._room: asyncio.Future[None] | None = None

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        self.wake_writer()

    def wake_writer(self) -> None:
        """Ends the wait, as at the end of the connection."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def room(self) -> None:
        """Waits for ``resume_writing`` or ``wake_writer``."""
        self._room = asyncio.get_running_loop().create_future()
        try:
            await self._room
        finally:
            self._room = None


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
