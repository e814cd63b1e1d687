"""A KeyStore in one SQLite file, safe for several processes on one machine.

The database is in WAL mode, so a read never waits for a write. Reads run in the event loop's thread, on a connection
of their own: they take microseconds. Writes wait for locks and for the disk, so they run in one thread of their own,
each in a BEGIN IMMEDIATE transaction with ``synchronous=FULL``: what is committed survives a loss of power.
The store belongs to the thread that made it, but for that writing thread.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from proxy.durable import sync_directory
from proxy.kms.store import Conflict, KeyStore, Record, StoreUnavailable
from proxy.wal_index import WalIndex, enter_wal

_APPLICATION_ID: Final = 0x4B4D5331
"""``KMS1``, so that another program's database is not taken for a key store."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS record (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID
"""
_END_OF_TEXT: Final = "\U0010ffff"


@contextlib.contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(f"SQLite: {error}") from error


def _connect(path: Path, busy_timeout: float, *, check_same_thread: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=busy_timeout, isolation_level=None, check_same_thread=check_same_thread, cached_statements=32
    )
    enter_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    # Deleted rows are overwritten: wrapped key material does not linger in free pages.
    connection.execute("PRAGMA secure_delete=ON")
    return connection


class SqliteKeyStore(KeyStore):
    """Records in one table of a database in WAL mode; the file is made with mode 0600."""

    def __init__(self, path: Path, *, busy_timeout: float = 5.0, watch: bool = False) -> None:
        """``busy_timeout`` in seconds. ``watch``: see changes by the WAL index, which is kept open for the life of the
        process, rather than by asking SQLite.

        Raises:
            StoreUnavailable: the file cannot be opened, is no database, or is another program's.
        """
        try:
            # SQLite gives the -wal and -shm files the mode of the database file.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            # SQLite makes the names of the files beside the database durable, and not the database's.
            sync_directory(path.parent)
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from None
        self._busy_timeout = busy_timeout
        self._log_has_deleted = False
        with _unavailable():
            self._writing = _connect(path, busy_timeout, check_same_thread=False)
            self._prepare(path)
            self._reading = _connect(path, busy_timeout, check_same_thread=True)
            self._reading.execute("PRAGMA query_only=ON")
            self._reading.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        self._index = WalIndex.open(path) if watch else None
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="key-store-writer")

    def _prepare(self, path: Path) -> None:
        """Makes the table in a new file; the check and the change are one transaction, as processes start at once."""
        connection = self._writing
        connection.execute("BEGIN IMMEDIATE")
        try:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            is_new = application_id == 0 and tables == 0
            if is_new:
                connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
                connection.execute(_SCHEMA)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        if not is_new and application_id != _APPLICATION_ID:
            raise StoreUnavailable(f"{path} is another program's database")

    async def get(self, kind: str, id: str) -> Record | None:
        with _unavailable():
            row = self._reading.execute(
                "SELECT version, body FROM record WHERE kind = ? AND id = ?", (kind, id)
            ).fetchone()
        return Record(kind, id, row[0], row[1]) if row else None

    async def write(
        self, puts: Sequence[Record], deletes: Sequence[Record] = (), unchanged: Sequence[Record] = ()
    ) -> None:
        # Shielded: a request that is given up must not leave its write half known to the event loop.
        records = tuple(puts), tuple(deletes), tuple(unchanged)
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._writer, self._write, *records))

    def _write(self, puts: Sequence[Record], deletes: Sequence[Record], unchanged: Sequence[Record]) -> None:
        connection = self._writing
        with _unavailable():
            connection.execute("BEGIN IMMEDIATE")
            try:
                for record in unchanged:
                    self._check(record)
                for record in puts:
                    self._put(record)
                for record in deletes:
                    self._delete(record)
                connection.execute("COMMIT")
            except BaseException:
                # A failed COMMIT (disk full) may have rolled back already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            self._log_has_deleted |= bool(deletes)
            if self._log_has_deleted:
                self._empty_log()

    def _empty_log(self) -> None:
        """Moves the write-ahead log into the database and empties it: it still has what was deleted there.

        Waits for nobody. Where another connection is at it, the next write does it, or the last one that closes."""
        connection = self._writing
        connection.execute("PRAGMA busy_timeout=0")
        try:
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._log_has_deleted = bool(busy)
        except sqlite3.OperationalError:
            # Locked, which is no fault of the write: that is done.
            self._log_has_deleted = True
        finally:
            connection.execute(f"PRAGMA busy_timeout={round(self._busy_timeout * 1000)}")

    def _check(self, record: Record) -> None:
        row = self._writing.execute(
            "SELECT version FROM record WHERE kind = ? AND id = ?", (record.kind, record.id)
        ).fetchone()
        if (row[0] if row else 0) != record.version:
            raise Conflict(f"{record.kind} {record.id}")

    def _put(self, record: Record) -> None:
        if record.version == 0:
            cursor = self._writing.execute(
                "INSERT INTO record (kind, id, version, body) VALUES (?, ?, 1, ?) ON CONFLICT DO NOTHING",
                (record.kind, record.id, record.body),
            )
        else:
            cursor = self._writing.execute(
                "UPDATE record SET version = version + 1, body = ? WHERE kind = ? AND id = ? AND version = ?",
                (record.body, record.kind, record.id, record.version),
            )
        if cursor.rowcount != 1:
            raise Conflict(f"{record.kind} {record.id}")

    def _delete(self, record: Record) -> None:
        if record.version == 0:
            there = self._writing.execute(
                "SELECT 1 FROM record WHERE kind = ? AND id = ?", (record.kind, record.id)
            ).fetchone()
            if there:
                raise Conflict(f"{record.kind} {record.id}")
            return
        cursor = self._writing.execute(
            "DELETE FROM record WHERE kind = ? AND id = ? AND version = ?", (record.kind, record.id, record.version)
        )
        if cursor.rowcount != 1:
            raise Conflict(f"{record.kind} {record.id}")

    async def scan(self, kind: str, prefix: str = "", after: str = "", limit: int = 1000) -> list[Record]:
        # SQLite compares text as UTF-8 bytes, which is the order of code points.
        with _unavailable():
            rows = self._reading.execute(
                "SELECT id, version, body FROM record WHERE kind = ? AND id >= ? AND id < ? AND id > ? "
                "ORDER BY id LIMIT ?",
                (kind, prefix, prefix + _END_OF_TEXT, after, limit),
            ).fetchall()
        return [Record(kind, id, version, body) for id, version, body in rows]

    def generation(self) -> int:
        if self._index is not None:
            return self._index.generation()
        # Differs when any other connection has committed, the writing one of this store included.
        with _unavailable():
            (version,) = self._reading.execute("PRAGMA data_version").fetchone()
        return int(version)

    async def aclose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._writer.shutdown)
        self._reading.close()
        self._writing.close()
