"""The access log: a line for each request, in the form of the program's other log lines.

Lines are made and written together, some times a second: each by itself would cost as much as verifying a signature.
What a killed process has not written yet is lost; what must not be lost stands in the audit log.
"""

import asyncio
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

_GATHERING_SECONDS: Final = 0.05
_MOST_WAITING: Final = 1000
_ONE_WRITE: Final = 4096
"""Bytes that are written to a pipe in one piece (PIPE_BUF), so that lines of several workers do not mix."""

_Line = tuple[float, str, str, str, int]


class AccessLog:
    """Writes ``<request id> <method> <path> <status>``. To be used in one event loop."""

    def __init__(self, write: Callable[[str], object], worker: str, clock: Callable[[], float] = time.time) -> None:
        """``write`` takes whole lines; ``worker`` is this process's name; ``clock`` gives seconds since 1970."""
        self._write = write
        self._worker = worker
        self._clock = clock
        self._waiting: list[_Line] = []

    def note(self, request_id: str, method: str, path: str, status: int) -> None:
        """Takes down a request that has been answered; 499 stands for one whose client has gone."""
        waiting = self._waiting
        waiting.append((self._clock(), request_id, method, path, status))
        if len(waiting) == 1:
            asyncio.get_running_loop().call_later(_GATHERING_SECONDS, self.flush)
        elif len(waiting) >= _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        lines, self._waiting = self._waiting, []
        worker = self._worker
        piece: list[str] = []
        size = 0
        for moment, request_id, method, path, status in lines:
            second = int(moment)
            line = (
                f"{_date(second)},{int((moment - second) * 1000):03d} {worker} INFO proxy.access "
                f"{request_id} {method} {path} {status}\n"
            )
            # A request target is ASCII, but for what a client was not to send.
            size += len(line)
            if size > _ONE_WRITE and piece:
                self._write("".join(piece))
                piece, size = [], len(line)
            piece.append(line)
        if piece:
            self._write("".join(piece))


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    """As logging writes it, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
