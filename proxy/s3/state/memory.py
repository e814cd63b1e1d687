"""The gateway's state in memory: for tests, and for a process whose state need not outlive it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from proxy.s3.state.ports import BucketRecord, ObjectRecord, PartRecord, UploadRecord


class MemoryState:
    """The three ports over dictionaries."""

    def __init__(self) -> None:
        self.buckets = MemoryBuckets()
        self.uploads = MemoryUploads()
        self.objects = MemoryObjects()

    async def aclose(self) -> None:
        """There is nothing to close."""


class MemoryBuckets:
    """Port BucketRegistry."""

    def __init__(self) -> None:
        self._records: dict[str, BucketRecord] = {}

    async def get(self, name: str) -> BucketRecord | None:
        return self._records.get(name)

    async def put(self, bucket: BucketRecord) -> None:
        self._records[bucket.name] = bucket

    async def replace(self, expected: BucketRecord | None, bucket: BucketRecord) -> bool:
        if self._records.get(bucket.name) != expected:
            return False
        self._records[bucket.name] = bucket
        return True

    async def remove(self, name: str) -> None:
        self._records.pop(name, None)

    async def owned_by(self, account: str) -> list[BucketRecord]:
        return [self._records[name] for name in sorted(self._records) if self._records[name].account == account]


class MemoryUploads:
    """Port UploadRegistry."""

    def __init__(self) -> None:
        self._uploads: dict[str, UploadRecord] = {}
        self._parts: dict[str, list[PartRecord]] = {}

    async def create(self, upload: UploadRecord) -> None:
        self._uploads[upload.upload_id] = upload

    async def get(self, upload_id: str) -> UploadRecord | None:
        return self._uploads.get(upload_id)

    async def under_way(
        self, bucket: str, prefix: str, *, after_key: str = "", after_upload: str | None = None, limit: int
    ) -> list[UploadRecord]:
        mine = [row for row in self._uploads.values() if row.bucket == bucket and row.completed is None]
        rows = [row for row in mine if row.key.startswith(prefix)]
        known = self._uploads.get(after_upload or "")
        after = _place(known) if known and known.key == after_key else (_encode(after_key),)
        found = sorted((row for row in rows if _place(row) > after), key=_place)
        return [row for row in found if row.key != after_key or after_upload is not None][:limit]

    async def add_part(self, part: PartRecord) -> bool:
        upload = self._uploads.get(part.upload_id)
        if upload is None or upload.completed is not None:
            return False
        self._parts.setdefault(part.upload_id, []).append(part)
        return True

    async def parts(self, upload_id: str) -> list[PartRecord]:
        return sorted(self._parts.get(upload_id, []), key=lambda part: (part.number, part.modified))

    async def complete(self, upload_id: str, now: datetime, forget_before: datetime) -> None:
        for other in list(self._uploads.values()):
            if other.completed is not None and other.completed < forget_before:
                await self.remove(other.upload_id)
        if upload_id in self._uploads:
            self._uploads[upload_id] = replace(self._uploads[upload_id], completed=now)

    async def remove(self, upload_id: str) -> None:
        self._uploads.pop(upload_id, None)
        self._parts.pop(upload_id, None)


class MemoryObjects:
    """Port ObjectIndex."""

    def __init__(self) -> None:
        self._buckets: dict[str, dict[str, dict[bytes, ObjectRecord]]] = {}

    async def put(self, record: ObjectRecord) -> None:
        keys = self._buckets.setdefault(record.bucket, {})
        keys.setdefault(record.key, {})[record.object_id] = record

    async def find(self, bucket: str, keys: Sequence[str]) -> dict[str, list[ObjectRecord]]:
        known = self._buckets.get(bucket, {})
        return {key: list(known[key].values()) for key in keys if known.get(key)}

    async def forget(self, records: Sequence[ObjectRecord]) -> None:
        for record in records:
            self._buckets.get(record.bucket, {}).get(record.key, {}).pop(record.object_id, None)

    async def forget_bucket(self, bucket: str) -> None:
        self._buckets.pop(bucket, None)


def _place(upload: UploadRecord) -> tuple[object, ...]:
    return _encode(upload.key), upload.created, upload.upload_id


def _encode(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
