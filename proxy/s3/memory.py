"""A bound on the bytes of small bodies that are held in memory at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager

from proxy.s3.errors import slow_down


class MemoryBudget:
    """Bytes that requests may hold together. Not for threads: one event loop uses it."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Takes ``size`` bytes for as long as the block runs.

        Raises:
            AwsError: 503 SlowDown, when fewer than that are free.
        """
        if size > self._free:
            raise slow_down()
        self._free -= size
        try:
            yield
        finally:
            self._free += size
