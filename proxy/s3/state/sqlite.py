"""The gateway's state in one SQLite file (WAL), shared by every process that serves.

Buckets and uploads are on the disk when a call returns (``synchronous=FULL``); a thread writes them, and commits what
has gathered meanwhile in one transaction. Object records need only be in the operating system's hands (``NORMAL``),
which takes 20 microseconds on the event loop's own thread against 120 by way of another; where the lock is taken, or
a checkpoint is due, the thread does that, too. Reads never wait for a writer and take a few microseconds; what a
process keeps of them it keeps only while the WAL index shows no commit, so every process sees every change at its next
read.
"""

# ruff: noqa: S608 - queries are put together from constants of this module; values are always bound

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from proxy.s3.state.ports import (
    BucketRecord,
    ObjectRecord,
    PartRecord,
    StateUnavailable,
    UploadRecord,
)
from proxy.s3.state.rows import (
    BUCKET,
    BUCKET_COLUMNS,
    OBJECT,
    PART,
    UPLOAD,
    bucket_of,
    bucket_row,
    encode,
    microseconds,
    object_of,
    object_row,
    part_of,
    part_row,
    upload_of,
    upload_row,
)
from proxy.s3.state.schema import connect, prepare
from proxy.s3.state.writer import WriterThread
from proxy.wal_index import WalIndex

_INLINE_WRITES: Final = 256
"""Between two writes by the thread: about as many as fill the log to where SQLite checkpoints it, 1,000 pages."""
_MOST_KNOWN: Final = 10_000
_TAKEN: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

_PUT_BUCKET = f"INSERT OR REPLACE INTO buckets ({BUCKET}) VALUES ({', '.join('?' * len(BUCKET_COLUMNS))})"
_GET_BUCKET = f"SELECT {BUCKET} FROM buckets WHERE name = ?"
_PUT_OBJECT = f"""INSERT INTO objects ({OBJECT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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
        record = self._known[name] = bucket_of(rows[0])
        return record

    async def put(self, bucket: BucketRecord) -> None:
        await self._writer.execute(_PUT_BUCKET, bucket_row(bucket))

    async def replace(self, expected: BucketRecord | None, bucket: BucketRecord) -> bool:
        def compare_and_set(connection: sqlite3.Connection) -> bool:
            found = connection.execute(_GET_BUCKET, (bucket.name,)).fetchone()
            if (bucket_of(found) if found else None) != expected:
                return False
            connection.execute(_PUT_BUCKET, bucket_row(bucket))
            return True

        return await self._writer.run(compare_and_set)

    async def remove(self, name: str) -> None:
        await self._writer.execute("DELETE FROM buckets WHERE name = ?", (name,))

    async def owned_by(self, account: str) -> list[BucketRecord]:
        query = f"SELECT {BUCKET} FROM buckets WHERE account = ? ORDER BY name"
        return [bucket_of(row) for row in _read(self._reader, query, (account,))]


class SqliteUploads:
    """Port UploadRegistry."""

    def __init__(self, reader: sqlite3.Connection, writer: WriterThread) -> None:
        self._reader = reader
        self._writer = writer

    async def create(self, upload: UploadRecord) -> None:
        await self._writer.execute(
            f"INSERT OR REPLACE INTO uploads ({UPLOAD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", upload_row(upload)
        )

    async def get(self, upload_id: str) -> UploadRecord | None:
        query = f"SELECT {UPLOAD} FROM uploads WHERE upload_id = ?"
        rows = _read(self._reader, query, (upload_id,))
        return upload_of(rows[0]) if rows else None

    async def under_way(
        self, bucket: str, prefix: str, *, after_key: str = "", after_upload: str | None = None, limit: int
    ) -> list[UploadRecord]:
        start, key = encode(prefix), encode(after_key)
        query = f"""SELECT {UPLOAD} FROM uploads
            WHERE bucket = ? AND completed IS NULL AND substr(key, 1, ?) = ? AND (key > ? OR (key = ?
            AND ? IS NOT NULL AND (created, upload_id) > (coalesce((SELECT created FROM uploads WHERE upload_id = ?
            AND key = ?), -1), ?))) ORDER BY key, created, upload_id LIMIT ?"""
        values = (bucket, len(start), start, key, key, after_upload, after_upload, key, after_upload, limit)
        return [upload_of(row) for row in _read(self._reader, query, values)]

    async def add_part(self, part: PartRecord) -> bool:
        row = part_row(part)
        under_way = "SELECT 1 FROM uploads WHERE upload_id = ? AND completed IS NULL"
        statement = f"INSERT INTO parts ({PART}) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS ({under_way})"
        return await self._writer.run(
            lambda connection: connection.execute(statement, (*row, part.upload_id)).rowcount == 1
        )

    async def parts(self, upload_id: str) -> list[PartRecord]:
        query = f"SELECT {PART} FROM parts WHERE upload_id = ? ORDER BY number, modified, sequence"
        return [part_of(row) for row in _read(self._reader, query, (upload_id,))]

    async def complete(self, upload_id: str, now: datetime, forget_before: datetime) -> None:
        def complete(connection: sqlite3.Connection) -> None:
            old = "SELECT upload_id FROM uploads WHERE completed < ?"
            connection.execute(f"DELETE FROM parts WHERE upload_id IN ({old})", (microseconds(forget_before),))
            connection.execute("DELETE FROM uploads WHERE completed < ?", (microseconds(forget_before),))
            values = (microseconds(now), upload_id)
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
        await self._write(_PUT_OBJECT, object_row(record))

    async def find(self, bucket: str, keys: Sequence[str]) -> dict[str, list[ObjectRecord]]:
        if not keys or self._is_empty(bucket):
            return {}
        marks = ", ".join("?" * len(keys))
        query = f"SELECT {OBJECT} FROM objects WHERE bucket = ? AND key IN ({marks})"
        found: dict[str, list[ObjectRecord]] = {}
        for row in _read(self._reader, query, (bucket, *map(encode, keys))):
            record = object_of(row)
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
        rows = [(record.bucket, encode(record.key), record.object_id) for record in records]
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
