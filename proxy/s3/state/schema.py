"""The tables of the gateway's state in its SQLite file, and how a file of an older version becomes one of this."""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from proxy.s3.state.ports import StateUnavailable
from proxy.wal_index import enter_wal

SCHEMA_VERSION: Final = 7
_APPLICATION_ID: Final = 0x53334B50
_BUSY_SECONDS: Final = 10.0

_SCHEMA = (
    """CREATE TABLE buckets (
        name TEXT PRIMARY KEY, account TEXT NOT NULL, region TEXT NOT NULL, created INTEGER NOT NULL,
        algorithm TEXT NOT NULL, key_id TEXT, bucket_key_enabled INTEGER NOT NULL, mixed INTEGER NOT NULL,
        policy TEXT, public_access_block INTEGER, cors BLOB, blocks_customer_keys INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX buckets_by_account ON buckets (account, name)",
    """CREATE TABLE uploads (
        upload_id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key BLOB NOT NULL, account TEXT NOT NULL,
        metadata TEXT NOT NULL, checksum_algorithm TEXT, checksum_type TEXT, created INTEGER NOT NULL,
        completed INTEGER, sealed_table_key BLOB NOT NULL
    )""",
    "CREATE INDEX uploads_by_completion ON uploads (completed) WHERE completed IS NOT NULL",
    """CREATE TABLE parts (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT, upload_id TEXT NOT NULL, number INTEGER NOT NULL,
        upstream_etag TEXT NOT NULL, etag TEXT NOT NULL, attempt BLOB NOT NULL, salt BLOB NOT NULL,
        size INTEGER NOT NULL, checksums TEXT NOT NULL, modified INTEGER NOT NULL
    )""",
    "CREATE INDEX parts_by_upload ON parts (upload_id, number, modified, sequence)",
    """CREATE TABLE objects (
        bucket TEXT NOT NULL, key BLOB NOT NULL, object_id BLOB NOT NULL, upstream_etag TEXT,
        size INTEGER NOT NULL, etag TEXT, parts BLOB NOT NULL, written INTEGER NOT NULL,
        version_id TEXT, layers INTEGER NOT NULL, UNIQUE (bucket, key, object_id)
    )""",
)

_MIGRATIONS: Final[Mapping[int, Sequence[str]]] = {
    2: ("ALTER TABLE objects ADD COLUMN version_id TEXT",),
    3: (
        "ALTER TABLE buckets ADD COLUMN policy TEXT",
        # All of it, as for a new bucket.
        "ALTER TABLE buckets ADD COLUMN public_access_block INTEGER DEFAULT 15",
        "ALTER TABLE buckets ADD COLUMN cors BLOB",
    ),
    # SSE-C was served nowhere before.
    4: ("ALTER TABLE buckets ADD COLUMN blocks_customer_keys INTEGER NOT NULL DEFAULT 1",),
    5: (
        "ALTER TABLE uploads ADD COLUMN completed INTEGER",
        "CREATE INDEX uploads_by_completion ON uploads (completed) WHERE completed IS NOT NULL",
    ),
    6: ("ALTER TABLE objects ADD COLUMN layers INTEGER NOT NULL DEFAULT 1",),
    7: ("ALTER TABLE uploads ADD COLUMN sealed_table_key BLOB NOT NULL DEFAULT x''",),
}
"""What brings a file to a version from the one before."""


def prepare(path: Path) -> None:
    """Makes the file with its tables, or brings it to this version.

    Raises:
        StateUnavailable: it is of a newer version, or another program's.
        sqlite3.Error, OSError: it can't be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    with closing(connect(path)) as connection:
        enter_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if version > SCHEMA_VERSION:
            raise StateUnavailable(
                f"{path} was written by a newer version of this program (schema {version}; "
                f"this one knows up to {SCHEMA_VERSION})"
            )
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != _APPLICATION_ID and tables:
            raise StateUnavailable(f"{path} is another program's database")
        if not version:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        else:
            for step in range(version + 1, SCHEMA_VERSION + 1):
                for statement in _MIGRATIONS[step]:
                    connection.execute(statement)
        if version < SCHEMA_VERSION:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def connect(path: Path, synchronous: str = "FULL", wait: float = _BUSY_SECONDS) -> sqlite3.Connection:
    """A connection that may be used by any one thread at a time; ``wait`` is for a lock, in seconds."""
    connection = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection
