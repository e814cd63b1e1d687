"""A client that sends nothing more: gone, or waiting for its answers with its half of the connection closed.

From here both look the same, until something is sent: whoever has gone resets the connection then. An answer that is on
its way tells soon enough. While a handler works, which may take minutes, an interim answer is sent once, which a client
passes over (RFC 9110, section 15.2).
"""

import asyncio
from collections.abc import Callable
from typing import Final

from proxy.transports import has_reset

_SECONDS: Final = 0.25
"""Between one look and the next."""


class Vigil:
    """Looks for the reset until ``end``. ``ask`` sends something if it can now, and tells whether it has; ``lost`` is
    called once the client turns out to have gone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wire: asyncio.Transport,
        ask: Callable[[], bool],
        lost: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._wire = wire
        self._ask = ask
        self._lost = lost
        self._asked = False
        self._next = loop.call_later(_SECONDS, self._look)

    def _look(self) -> None:
        if self._wire.is_closing():
            return
        if has_reset(self._wire):
            self._lost()
            return
        self._asked = self._asked or self._ask()
        self._next = self._loop.call_later(_SECONDS, self._look)

    def end(self) -> None:
        self._next.cancel()
