"""When each KMS key was last used, for GetKeyLastUsage.

Uses are noted in memory and written to the store now and then, so that no cryptographic operation waits for a write:
as on AWS the answer is eventually consistent, and a process that is killed loses what it noted in the last minute.
Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyLastUsage.html
"""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from proxy.kms import model
from proxy.kms.model import KeyName
from proxy.kms.store import Conflict, KeyStore, Record, StoreUnavailable

logger = logging.getLogger(__name__)

_INTERVAL: Final = timedelta(minutes=1)


class Usage(NamedTuple):
    """A successful cryptographic operation."""

    operation: str
    time: datetime
    request_id: str


class LastUsage:
    """The last use of each key."""

    def __init__(self, store: KeyStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._unwritten: dict[KeyName, Usage] = {}
        self._written_at: datetime | None = None
        self._writing: asyncio.Task[None] | None = None

    def note(self, name: KeyName, operation: str, request_id: str, now: datetime | None = None) -> None:
        """Takes down that a key was used now; begins to write when the last time was a minute ago."""
        now = now or self._now()
        self._unwritten[name] = Usage(operation, now, request_id)
        if self._written_at is None:
            self._written_at = now
        elif now - self._written_at >= _INTERVAL and (self._writing is None or self._writing.done()):
            self._written_at = now
            self._writing = asyncio.get_running_loop().create_task(self.write())

    async def write(self) -> None:
        """Writes down what was noted. What cannot be written now is lost: it is not worth a failed request."""
        noted, self._unwritten = self._unwritten, {}
        for name, usage in noted.items():
            try:
                await self._write(name, usage)
            except Conflict:
                # Another process wrote at the same time, and its use is as recent.
                continue
            except StoreUnavailable:
                logger.warning("the last usage of keys could not be written")
                return

    async def _write(self, name: KeyName, usage: Usage) -> None:
        if await self._store.get(name.kind, name.record_id) is None:
            return
        record = await self._store.get(model.USAGE, name.record_id)
        if record is None or _usage_from(record).time < usage.time:
            await self._store.write([_usage_record(name, usage, record.version if record else 0)])

    async def find(self, name: KeyName) -> Usage | None:
        """The last use that is known of: by this process, or written by another one."""
        record = await self._store.get(model.USAGE, name.record_id)
        known = [self._unwritten.get(name), _usage_from(record) if record else None]
        return max((usage for usage in known if usage is not None), key=lambda usage: usage.time, default=None)

    async def aclose(self) -> None:
        """Writes what is left."""
        if self._writing is not None:
            await self._writing
        await self.write()


def _usage_record(name: KeyName, usage: Usage, version: int) -> Record:
    body = {"operation": usage.operation, "time": usage.time.timestamp(), "request_id": usage.request_id}
    return Record(model.USAGE, name.record_id, version, json.dumps(body).encode())


def _usage_from(record: Record) -> Usage:
    body = json.loads(record.body)
    return Usage(body["operation"], datetime.fromtimestamp(body["time"], UTC), body["request_id"])
