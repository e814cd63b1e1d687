"""The one thread of a process that writes to SQLite, so that the event loop never waits for a disk or a lock."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from proxy.s3.state.ports import StateUnavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

_MOST_AT_ONCE = 256


@dataclass(frozen=True)
class _Job:
    work: Work
    durable: bool
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[Any]"


class WriterThread:
    """Runs pieces of work in the order in which they came, the durable ones and the others each on a connection of
    their own. What has gathered while a commit was under way shares the next one. ``connect`` is called in the thread,
    with whether commits of that connection are to be durable; the thread starts at the first use."""

    def __init__(self, connect: Callable[[bool], sqlite3.Connection]) -> None:
        self._connect = connect
        self._connections: dict[bool, sqlite3.Connection] = {}
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="state-writer", daemon=True)
        self._closed = False

    async def execute(self, statement: str, values: Sequence[Any], *, durable: bool = True) -> None:
        """Runs one statement in a transaction.

        Raises:
            StateUnavailable: see there.
        """
        await self.run(lambda connection: connection.execute(statement, values).close(), durable=durable)

    async def run(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:
        """Runs ``work`` in a transaction and returns its result when that is committed. It may be run twice, and
        must change nothing but the database. A caller that is cancelled does not stop it.

        Raises:
            StateUnavailable: see there.
        """
        if self._closed:
            raise StateUnavailable("the state is closed")
        if self._thread.ident is None:
            self._thread.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(work, durable, loop, done))
        return await done

    async def aclose(self) -> None:
        """Ends the work that has been handed over, then the thread."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        ending = False
        while not ending:
            batch, ending = self._next_batch()
            # What need not wait for the disk goes first.
            for durable in (False, True):
                jobs = [job for job in batch if job.durable is durable]
                if jobs:
                    self._run(jobs, durable)
        for connection in self._connections.values():
            connection.close()

    def _run(self, jobs: list[_Job], durable: bool) -> None:
        try:
            if durable not in self._connections:
                self._connections[durable] = self._connect(durable)
            _run_batch(self._connections[durable], jobs)
        except sqlite3.Error as error:
            _answer([(job, None, error) for job in jobs])

    def _next_batch(self) -> tuple[list[_Job], bool]:
        """The jobs that wait, at least one; and whether the thread is to end after them."""
        batch: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            batch.append(job)
            if len(batch) == _MOST_AT_ONCE:
                return batch, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True


def _run_batch(connection: sqlite3.Connection, batch: list[_Job]) -> None:
    """One transaction for all of them, or, where that fails, one for each: a fault of one is not a fault of others."""
    try:
        results = _transaction(connection, batch)
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller who waits
        if len(batch) == 1:
            _answer([(batch[0], None, error)])
            return
        for job in batch:
            _run_batch(connection, [job])
    else:
        _answer([(job, result, None) for job, result in zip(batch, results, strict=True)])


def _transaction(connection: sqlite3.Connection, batch: list[_Job]) -> list[Any]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = [job.work(connection) for job in batch]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results


def _answer(outcomes: list[tuple[_Job, Any, Exception | None]]) -> None:
    """Wakes the callers, once per event loop."""
    for loop in {job.loop for job, _, _ in outcomes}:
        mine = [outcome for outcome in outcomes if outcome[0].loop is loop]
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:
            # The loop was closed while the work was under way; nobody waits any more.
            continue


def _settle(outcomes: list[tuple[_Job, Any, Exception | None]]) -> None:
    for job, result, error in outcomes:
        if job.done.done():
            continue
        if error is None:
            job.done.set_result(result)
        else:
            unavailable = StateUnavailable(str(error))
            unavailable.__cause__ = error
            job.done.set_exception(unavailable)
