"""Time limits on the way to the store."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


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


class Timer:
    """Calls back once after a time that may be set anew very often: an event loop's timer is made only now and then."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._deadline: float | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = 0.0

    def set(self, seconds: float) -> None:
        self._deadline = deadline = self._loop.time() + seconds
        if self._handle is not None:
            if self._handle_at <= deadline:
                return
            self._handle.cancel()
        self._handle_at = deadline
        self._handle = self._loop.call_at(deadline, self._check)

    def clear(self) -> None:
        self._deadline = None

    def cancel(self) -> None:
        """Clears for good."""
        self._deadline = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _check(self) -> None:
        self._handle = None
        if self._deadline is None:
            return
        left = self._deadline - self._loop.time()
        if left > 0:
            self.set(left)
        else:
            self._deadline = None
            self._expired()
