"""The audit log of one worker: an Audit that makes a chain of lines, which a thread of its own writes into files."""

import asyncio
import contextlib
import logging
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

from proxy.audit import chain, files
from proxy.audit.chain import BEGINNING, Chain, Place
from proxy.audit.heads import Heads
from proxy.kms.audit import Audit, AuditUnavailable, Event, Lazy

logger = logging.getLogger(__name__)

OPENED: Final = "AuditLogOpened"
CLOSED: Final = "AuditLogClosed"
"""The first and the last event of a run. Between two runs without CLOSED, events may have been lost."""
FAILED: Final = "AuditEventFailed"
"""Stands where an event should: it could not be made, which is a fault of this program."""

_SOURCE: Final = "audit.sse-kms-proxy"
_GATHERING_SECONDS: Final = 0.05
_ANCHOR_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.5
_MOST_WAITING: Final = 50_000
_LINES_AT_ONCE: Final = 256
"""So that requests never wait longer than some milliseconds for lines to be made."""
_LOCK_SECONDS: Final = 10.0


class _Batch(NamedTuple):
    """Lines to be written, one after the other."""

    lines: bytes
    end: Place
    is_last: bool = False


class AuditLog(Audit):
    """Events are numbered when they are recorded. Some times a second the event loop makes chained lines of what has
    gathered, all at once, which costs a fraction of making each among everything else; the thread writes them, starts
    new files, and anchors. It only waits for the disk: work of its own would take the interpreter from the requests.

    Use it from one event loop, in which it was started."""

    def __init__(
        self,
        directory: Path,
        name: str,
        key: bytes,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes],
        *,
        write_through: bool = False,
        file_size: int = 100 * 1024 * 1024,
    ) -> None:
        """``name`` is that of the chain: this worker's. ``key`` is that of the audit log, 32 bytes.

        Raises AuditUnavailable: another process writes this chain, or the directory can't be used."""
        self._directory = directory
        self._name = name
        self._clock = clock
        self._random = random
        self._write_through = write_through
        self._found = "whole"
        self._file_size = file_size
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = self._take_lock()
            self._heads = Heads(directory / files.HEADS, key)
            resumed = self._resume(key)
        except (OSError, sqlite3.Error) as error:
            raise AuditUnavailable(f"the audit log in {directory} cannot be used: {error}") from error
        self._chain = Chain(name, key, resumed)
        self._waiting: deque[Event | Lazy] = deque()
        self._recorded = self._handed_over = resumed.number
        self._gathering: asyncio.TimerHandle | None = None
        self._batches: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
        self._failure: str | None = None
        self._written = resumed.number
        self._settling: list[tuple[int, asyncio.Future[None]]] = []
        self._loop = asyncio.get_running_loop()
        self._size = 0
        self._file = -1
        self._writer = threading.Thread(target=self._run, args=(resumed,), name="audit-log", daemon=True)
        self.record(self._own_event(OPENED, {"resumedAfter": resumed.number, "anchors": self._found}))
        self._writer.start()

    def _take_lock(self) -> int:
        """Waits for a worker that was killed, whose place this one takes, to be gone."""
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            lock = files.take_lock(self._directory, self._name)
            if lock is not None:
                return lock
            if time.monotonic() > deadline:
                raise AuditUnavailable(f"the audit log {self._name} in {self._directory} is in use by another process")
            time.sleep(0.05)

    def _resume(self, key: bytes) -> Place:
        """Where the chain goes on: after its anchor, or after what was written since."""
        paths = files.chains(self._directory).get(self._name, [])
        self._next_file = files.file_number(paths[-1]) + 1 if paths else 1
        anchored = self._heads.read()
        anchor = anchored.heads.get(self._name)
        if not anchored.is_genuine:
            self._found = "altered"
        elif anchor is None and paths:
            self._found = "missing"
        elif anchor is None:
            # A chain without an anchor is one whose anchor was removed.
            self._heads.anchor(self._name, BEGINNING)
        place = anchor or BEGINNING
        chain_key = chain.chain_key(key, self._name)
        for path in reversed(paths):
            place, is_all_newer = _go_on(path, self._name, chain_key, place, anchor or BEGINNING)
            if not is_all_newer:
                break
        return place

    def record(self, event: Event | Lazy) -> None:
        self._recorded += 1
        self._waiting.append(event)
        if self._gathering is None:
            self._gather()

    async def settle(self) -> None:
        if self._write_through:
            number = self._recorded
            if self._written < number:
                waiter = self._loop.create_future()
                self._settling.append((number, waiter))
                await waiter
        elif self._failure is not None and len(self._waiting) > _MOST_WAITING:
            raise AuditUnavailable(self._failure)

    async def aclose(self) -> None:
        """Ends the run: writes and anchors all of it."""
        self.record(self._own_event(CLOSED, {}))
        self._batches.put(_Batch(self._lines(len(self._waiting)), self._chain.place, is_last=True))
        await asyncio.to_thread(self._writer.join)
        if self._gathering is not None:
            self._gathering.cancel()
        self._heads.close()
        os.close(self._lock)

    def _gather(self) -> None:
        """Lets more come, for a moment: what is written together costs one system call."""
        self._gathering = self._loop.call_later(0 if self._write_through else _GATHERING_SECONDS, self._hand_over)

    def _hand_over(self) -> None:
        """Gives the thread the next lines, unless it has some: then the rest waits where it is counted."""
        self._gathering = None
        if self._written < self._handed_over or not self._waiting:
            return
        lines = self._lines(_LINES_AT_ONCE)
        self._handed_over = self._chain.place.number
        self._batches.put(_Batch(lines, self._chain.place))

    def _lines(self, most: int) -> bytes:
        """Of what has waited longest."""
        waiting, lines = self._waiting, list[bytes]()
        while waiting and len(lines) < most:
            event = waiting.popleft()
            lines.append(self._chain.line(self._made(event) if callable(event) else event))
        return b"".join(lines)

    def _made(self, event: Lazy) -> Event:
        try:
            return event()
        except Exception as error:
            logger.exception("an event of the audit log could not be made")
            return self._own_event(FAILED, {"error": type(error).__name__})

    def _hear(self, number: int, failure: str | None) -> None:
        """What the thread tells."""
        if failure is not None and self._failure is None:
            logger.error("%s", failure)
        self._failure = failure
        self._written = number
        if self._waiting and self._gathering is None:
            if len(self._waiting) >= _LINES_AT_ONCE:
                self._hand_over()
            else:
                self._gather()
        if self._settling:
            self._settle(number, failure)

    def _settle(self, number: int, failure: str | None) -> None:
        left = []
        for wanted, waiter in self._settling:
            if waiter.done():
                continue
            if wanted <= number:
                waiter.set_result(None)
            elif failure is not None:
                waiter.set_exception(AuditUnavailable(failure))
            else:
                left.append((wanted, waiter))
        self._settling = left

    def _own_event(self, name: str, details: Mapping[str, Any]) -> Event:
        return {
            "eventVersion": "1.11",
            "userIdentity": {"type": "AWSService", "invokedBy": _SOURCE},
            "eventTime": f"{self._clock():%Y-%m-%dT%H:%M:%SZ}",
            "eventSource": _SOURCE,
            "eventName": name,
            "eventID": str(UUID(bytes=self._random(16), version=4)),
            "eventType": "AwsServiceEvent",
            "serviceEventDetails": {"chain": self._name, **details},
        }

    # What follows runs in the thread.

    def _run(self, written: Place) -> None:
        unwritten, end, is_last = b"", written, False
        anchored, anchor_at = written, 0.0
        while not is_last:
            if unwritten:
                timeout: float | None = _RETRY_SECONDS
            else:
                timeout = None if written == anchored else max(0.0, anchor_at - time.monotonic())
            with contextlib.suppress(queue.Empty):
                lines, end, is_last = self._batches.get(timeout=timeout)
                unwritten += lines
            try:
                if unwritten:
                    self._write(unwritten)
                    unwritten, written = b"", end
                if written != anchored and (is_last or time.monotonic() >= anchor_at):
                    os.fsync(self._file)
                    self._heads.anchor(self._name, written)
                    anchored, anchor_at = written, time.monotonic() + _ANCHOR_SECONDS
                self._tell(written.number, None)
            except (OSError, sqlite3.Error) as error:
                self._tell(written.number, f"the audit log cannot be written: {error}")
        self._end(unwritten)

    def _write(self, data: bytes) -> None:
        if self._file < 0 or self._size >= self._file_size:
            self._next()
        start = self._size
        try:
            view = memoryview(data)
            while view:
                written = os.write(self._file, view)
                self._size += written
                view = view[written:]
            if self._write_through:
                os.fdatasync(self._file)
        except OSError:
            # All of it is written again; a half line must not be left before it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, start)
                self._size = start
            raise

    def _next(self) -> None:
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1
        self._file = files.create(self._directory, self._name, self._next_file)
        self._next_file += 1
        self._size = 0

    def _tell(self, number: int, failure: str | None) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._hear, number, failure)

    def _end(self, pending: bytes) -> None:
        if pending:
            logger.error("%d bytes of the audit log could not be written", len(pending))
        if self._file >= 0:
            os.close(self._file)


def _go_on(path: Path, name: str, key: bytes, place: Place, anchor: Place) -> tuple[Place, bool]:
    """The place after the last line of a file, where that is further, and whether the whole file is newer than the
    anchor."""
    is_all_newer = True
    for _, text, is_whole in files.lines(path):
        number = chain.number_of(text)
        if number is None or not is_whole:
            continue
        if number <= anchor.number:
            is_all_newer = False
        elif number > place.number:
            line = chain.read(text, name, key)
            if line is not None and line.is_genuine:
                place = line.place
    return place, is_all_newer
