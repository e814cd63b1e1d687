"""Threads for work that would hold up the event loop: key generation and private-key operations.

``cryptography`` releases the interpreter's lock in RSA key generation, so the loop goes on meanwhile.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from proxy.kms import errors

T = TypeVar("T")

_MAX_WAITING: Final = 1000


class Threads:
    """A fixed number of threads and a bounded queue before them."""

    def __init__(self, count: int = 2, max_waiting: int = _MAX_WAITING) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="kms")
        self._limit = count + max_waiting
        self._pending = 0

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises. Once begun it runs to its end, also where the caller was cancelled.

        Raises KmsError (ThrottlingException) when too much is waiting already."""
        if self._pending >= self._limit:
            raise errors.throttling()
        self._pending += 1
        job = asyncio.get_running_loop().run_in_executor(self._executor, work)
        job.add_done_callback(self._finished)
        # A thread cannot be stopped, so work counts until it is done.
        return await asyncio.shield(job)

    def _finished(self, job: "asyncio.Future[Any]") -> None:
        self._pending -= 1
        if not job.cancelled():
            # Looked at here too, for callers that went away.
            job.exception()

    def close(self) -> None:
        """Waits for what has begun; what waits is dropped."""
        self._executor.shutdown(cancel_futures=True)
