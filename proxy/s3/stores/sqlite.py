"""The gateway's state in one SQLite file (WAL), shared by every process that serves.

Buckets and uploads are on the disk when a call returns (``synchronous=FULL``); a thread writes them, and commits what
has gathered meanwhile in one transaction. Object records need only be in the operating system's hands (``NORMAL``),
which takes 20 microseconds on the event loop's own thread against 120 by way of another; where the lock is taken, or
a checkpoint is due, the thread does that, too. Reads never wait for a writer and take a few microseconds; what a
process keeps of them it keeps only while the WAL index shows no commit, so every process sees every change at its next
read.

Keys are kept as UTF-8 bytes, moments as microseconds since 1970.
"""

# ruff: noqa: S608 - queries are put together from constants of this module; values are always bound

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from proxy.s3.state import (
    BucketRecord,
    EncryptionRule,
    ObjectRecord,
    PartRecord,
    PublicAccessBlock,
    StateUnavailable,
    UploadRecord,
)
from proxy.s3.stores.schema import connect, prepare
from proxy.s3.stores.writer import WriterThread
from proxy.wal_index import WalIndex

_INLINE_WRITES: Final = 256
"""Between two writes by the thread: about as many as fill the log to where SQLite checkpoints it, 1,000 pages."""
_MOST_KNOWN: Final = 10_000
_TAKEN: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_BUCKET_COLUMNS = (
    "name",
    "account",
    "region",
    "created",
    "algorithm",
    "key_id",
    "bucket_key_enabled",
    "mixed",
    "policy",
    "public_access_block",
    "cors",
    "blocks_customer_keys",
)
_BUCKET = ", ".join(_BUCKET_COLUMNS)
_UPLOAD = (
    "upload_id, bucket, key, account, metadata, checksum_algorithm, checksum_type, created, completed, sealed_table_key"
)
_PART = "upload_id, number, upstream_etag, etag, attempt, salt, size, checksums, modified"
_OBJECT = "bucket, key, object_id, upstream_etag, size, etag, parts, written, version_id, layers"
_PUT_BUCKET = f"INSERT OR REPLACE INTO buckets ({_BUCKET}) VALUES ({', '.join('?' * len(_BUCKET_COLUMNS))})"
_GET_BUCKET = f"SELECT {_BUCKET} FROM buckets WHERE name = ?"
_PUT_OBJECT = f"""INSERT INTO objects ({_OBJECT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (bucket, key, object_id) DO UPDATE SET upstream_etag = excluded.upstream_etag, size = excluded.size,
    etag = excluded.etag, parts = excluded.parts, written = excluded.written,
    version_id = excluded.version_id, layers = excluded.layers"""
_ANY_OBJECT = "SELECT 1 FROM objects WHERE bucket = ? LIMIT 1"
_FORGET_OBJECT = "DELETE FROM objects WHERE bucket = ? AND key = ? AND object_id = ?"


class SqliteState:
    """Opens the file, or makes it, readable by its owner alone. One per process and event loop; not to be carried
    over a fork.

    Raises:
        StateUnavailable: the file can't be opened, is no state of this program, or is of a newer version of it.
    """

    def __init__(self, path: Path, *, watch: bool = False) -> None:
        """``watch``: see by the WAL index, which is kept open for the life of the process, whether anything was
        committed, and keep what was read until then."""
        try:
            prepare(path)
            self._reader = connect(path)
            self._reader.execute("PRAGMA query_only = ON")
            self._reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
            self._inline = connect(path, "NORMAL", wait=0.0)
            self._inline.execute("PRAGMA wal_autocheckpoint = 0")
        except (sqlite3.Error, OSError) as error:
            raise StateUnavailable(f"{path}: {error}") from error
        self._writer = WriterThread(lambda durable: connect(path, "FULL" if durable else "NORMAL"))
        index = WalIndex.open(path) if watch else None
        self.buckets = SqliteBuckets(self._reader, self._writer, index)
        self.uploads = SqliteUploads(self._reader, self._writer)
        self.objects = SqliteObjects(self._reader, self._writer, self._inline, index)

    async def aclose(self) -> None:
        """Ends the writing that is under way and closes the file."""
        await self._writer.aclose()
        self._inline.close()
        self._reader.close()


class SqliteBuckets:
    """Port BucketRegistry. With an ``index``, what was read is kept while nothing is committed."""

    def __init__(self, reader: sqlite3.Connection, writer: WriterThread, index: WalIndex | None = None) -> None:
        self._reader = reader
        self._writer = writer
        self._index = index
        self._generation = 0
        self._known: dict[str, BucketRecord] = {}

    async def get(self, name: str) -> BucketRecord | None:
        if self._index is not None:
            generation = self._index.generation()
            if generation != self._generation or len(self._known) > _MOST_KNOWN:
                self._known.clear()
                self._generation = generation
            elif name in self._known:
                return self._known[name]
        rows = _read(self._reader, _GET_BUCKET, (name,))
        if not rows:
            return None
        record = self._known[name] = _bucket(rows[0])
        return record

    async def put(self, bucket: BucketRecord) -> None:
        await self._writer.execute(_PUT_BUCKET, _bucket_row(bucket))

    async def replace(self, expected: BucketRecord | None, bucket: BucketRecord) -> bool:
        def compare_and_set(connection: sqlite3.Connection) -> bool:
            found = connection.execute(_GET_BUCKET, (bucket.name,)).fetchone()
            if (_bucket(found) if found else None) != expected:
                return False
            connection.execute(_PUT_BUCKET, _bucket_row(bucket))
            return True

        return await self._writer.run(compare_and_set)

    async def remove(self, name: str) -> None:
        await self._writer.execute("DELETE FROM buckets WHERE name = ?", (name,))

    async def owned_by(self, account: str) -> list[BucketRecord]:
        query = f"SELECT {_BUCKET} FROM buckets WHERE account = ? ORDER BY name"
        return [_bucket(row) for row in _read(self._reader, query, (account,))]


class SqliteUploads:
    """Port UploadRegistry."""

    def __init__(self, reader: sqlite3.Connection, writer: WriterThread) -> None:
        self._reader = reader
        self._writer = writer

    async def create(self, upload: UploadRecord) -> None:
        row = (
            upload.upload_id,
            upload.bucket,
            _encode(upload.key),
            upload.account,
            json.dumps(dict(upload.metadata)),
            upload.checksum_algorithm,
            upload.checksum_type,
            _microseconds(upload.created),
            None if upload.completed is None else _microseconds(upload.completed),
            upload.sealed_table_key,
        )
        await self._writer.execute(
            f"INSERT OR REPLACE INTO uploads ({_UPLOAD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
        )

    async def get(self, upload_id: str) -> UploadRecord | None:
        query = f"SELECT {_UPLOAD} FROM uploads WHERE upload_id = ?"
        rows = _read(self._reader, query, (upload_id,))
        return _upload(rows[0]) if rows else None

    async def under_way(
        self, bucket: str, prefix: str, *, after_key: str = "", after_upload: str | None = None, limit: int
    ) -> list[UploadRecord]:
        start, key = _encode(prefix), _encode(after_key)
        query = f"""SELECT {_UPLOAD} FROM uploads
            WHERE bucket = ? AND completed IS NULL AND substr(key, 1, ?) = ? AND (key > ? OR (key = ?
            AND ? IS NOT NULL AND (created, upload_id) > (coalesce((SELECT created FROM uploads WHERE upload_id = ?
            AND key = ?), -1), ?))) ORDER BY key, created, upload_id LIMIT ?"""
        values = (bucket, len(start), start, key, key, after_upload, after_upload, key, after_upload, limit)
        return [_upload(row) for row in _read(self._reader, query, values)]

    async def add_part(self, part: PartRecord) -> bool:
        row = (
            part.upload_id,
            part.number,
            part.upstream_etag,
            part.etag,
            part.attempt,
            part.salt,
            part.size,
            json.dumps(dict(part.checksums)),
            _microseconds(part.modified),
        )
        under_way = "SELECT 1 FROM uploads WHERE upload_id = ? AND completed IS NULL"
        statement = f"INSERT INTO parts ({_PART}) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS ({under_way})"
        return await self._writer.run(
            lambda connection: connection.execute(statement, (*row, part.upload_id)).rowcount == 1
        )

    async def parts(self, upload_id: str) -> list[PartRecord]:
        query = f"SELECT {_PART} FROM parts WHERE upload_id = ? ORDER BY number, modified, sequence"
        return [_part(row) for row in _read(self._reader, query, (upload_id,))]

    async def complete(self, upload_id: str, now: datetime, forget_before: datetime) -> None:
        def complete(connection: sqlite3.Connection) -> None:
            old = "SELECT upload_id FROM uploads WHERE completed < ?"
            connection.execute(f"DELETE FROM parts WHERE upload_id IN ({old})", (_microseconds(forget_before),))
            connection.execute("DELETE FROM uploads WHERE completed < ?", (_microseconds(forget_before),))
            values = (_microseconds(now), upload_id)
            connection.execute("UPDATE uploads SET completed = ? WHERE upload_id = ?", values)

        await self._writer.run(complete)

    async def remove(self, upload_id: str) -> None:
        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM parts WHERE upload_id = ?", (upload_id,))
            connection.execute("DELETE FROM uploads WHERE upload_id = ?", (upload_id,))

        await self._writer.run(delete)


class SqliteObjects:
    """Port ObjectIndex. ``inline`` is a connection that never waits, neither for a lock nor for the disk. With an
    ``index``, buckets without any record, such as those under SSE-KMS, are known while nothing is committed."""

    def __init__(
        self,
        reader: sqlite3.Connection,
        writer: WriterThread,
        inline: sqlite3.Connection,
        index: WalIndex | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._inline = inline
        self._index = index
        self._generation = 0
        self._empty: dict[str, bool] = {}
        self._since_checkpoint = 0

    async def put(self, record: ObjectRecord) -> None:
        row = (
            record.bucket,
            _encode(record.key),
            record.object_id,
            record.upstream_etag,
            record.size,
            record.etag,
            record.parts,
            _microseconds(record.written),
            record.version_id,
            record.layers,
        )
        await self._write(_PUT_OBJECT, row)

    async def find(self, bucket: str, keys: Sequence[str]) -> dict[str, list[ObjectRecord]]:
        if not keys or self._is_empty(bucket):
            return {}
        marks = ", ".join("?" * len(keys))
        query = f"SELECT {_OBJECT} FROM objects WHERE bucket = ? AND key IN ({marks})"
        found: dict[str, list[ObjectRecord]] = {}
        for row in _read(self._reader, query, (bucket, *map(_encode, keys))):
            record = _object(row)
            found.setdefault(record.key, []).append(record)
        return found

    def _is_empty(self, bucket: str) -> bool:
        """Whether a bucket is known to have no record; it is looked at when nothing has been committed since the last
        call, for else the next call may have to look again."""
        if self._index is None:
            return False
        generation = self._index.generation()
        if generation != self._generation or len(self._empty) > _MOST_KNOWN:
            self._empty.clear()
            self._generation = generation
            return False
        if bucket not in self._empty:
            self._empty[bucket] = not _read(self._reader, _ANY_OBJECT, (bucket,))
        return self._empty[bucket]

    async def forget(self, records: Sequence[ObjectRecord]) -> None:
        rows = [(record.bucket, _encode(record.key), record.object_id) for record in records]
        if len(rows) == 1:
            await self._write(_FORGET_OBJECT, rows[0])
        elif rows:
            await self._writer.run(
                lambda connection: connection.executemany(_FORGET_OBJECT, rows).close(), durable=False
            )

    async def forget_bucket(self, bucket: str) -> None:
        await self._writer.execute("DELETE FROM objects WHERE bucket = ?", (bucket,), durable=False)

    async def _write(self, statement: str, values: Sequence[Any]) -> None:
        self._since_checkpoint += 1
        if self._since_checkpoint < _INLINE_WRITES:
            try:
                self._inline.execute(statement, values)
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _TAKEN:
                    raise StateUnavailable(str(error)) from error
            else:
                return
        # The thread's connection checkpoints after its commit when the log has grown long enough.
        self._since_checkpoint = 0
        await self._writer.execute(statement, values, durable=False)


def _read(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> list[Any]:
    try:
        return connection.execute(query, values).fetchall()
    except sqlite3.Error as error:
        raise StateUnavailable(str(error)) from error


@lru_cache(maxsize=1024)
def _bucket(row: tuple[Any, ...]) -> BucketRecord:
    """The record in a row. Every request reads its bucket's, which is nearly always the same row."""
    name, account, region, created, algorithm, key_id, bucket_key, mixed, policy, block, cors, blocks_customer_keys = (
        row
    )
    rule = EncryptionRule(algorithm, key_id, bool(bucket_key), bool(blocks_customer_keys))
    return BucketRecord(name, account, region, _moment(created), rule, bool(mixed), policy, _access_block(block), cors)


def _bucket_row(bucket: BucketRecord) -> tuple[Any, ...]:
    rule = bucket.encryption
    return (
        bucket.name,
        bucket.account,
        bucket.region,
        _microseconds(bucket.created),
        rule.algorithm,
        rule.key_id,
        rule.bucket_key_enabled,
        bucket.mixed,
        bucket.policy,
        _access_block_bits(bucket.public_access_block),
        bucket.cors,
        rule.blocks_customer_keys,
    )


def _access_block(bits: int | None) -> PublicAccessBlock | None:
    if bits is None:
        return None
    return PublicAccessBlock(
        block_public_acls=bool(bits & 1),
        ignore_public_acls=bool(bits & 2),
        block_public_policy=bool(bits & 4),
        restrict_public_buckets=bool(bits & 8),
    )


def _access_block_bits(block: PublicAccessBlock | None) -> int | None:
    if block is None:
        return None
    flags = (
        block.block_public_acls,
        block.ignore_public_acls,
        block.block_public_policy,
        block.restrict_public_buckets,
    )
    return sum(1 << position for position, flag in enumerate(flags) if flag)


def _upload(row: Sequence[Any]) -> UploadRecord:
    upload_id, bucket, key, account, metadata, algorithm, kind, created, completed, sealed_table_key = row
    return UploadRecord(
        upload_id,
        bucket,
        _decode(key),
        account,
        json.loads(metadata),
        algorithm,
        kind,
        _moment(created),
        None if completed is None else _moment(completed),
        sealed_table_key,
    )


def _part(row: Sequence[Any]) -> PartRecord:
    upload_id, number, upstream_etag, etag, attempt, salt, size, checksums, modified = row
    return PartRecord(
        upload_id, number, upstream_etag, etag, attempt, salt, size, json.loads(checksums), _moment(modified)
    )


def _object(row: Sequence[Any]) -> ObjectRecord:
    bucket, key, object_id, upstream_etag, size, etag, parts, written, version_id, layers = row
    moment = _moment(written)
    return ObjectRecord(bucket, _decode(key), object_id, upstream_etag, size, etag, parts, moment, version_id, layers)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _encode(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _decode(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")
