"""A QuotaStore in a SQLite file, for the workers of one machine.

What it holds is worth something for a second, so nothing waits for the disk, and a file that is spoilt is replaced.
"""

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from proxy.kms.quotas import SLOTS, QuotaStore
from proxy.wal_index import enter_wal

logger = logging.getLogger(__name__)

_BUSY_SECONDS: Final = 0.25
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS admitted (
    scope TEXT NOT NULL, slot INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (scope, slot)
) STRICT, WITHOUT ROWID
"""


class SqliteQuotaStore(QuotaStore):
    """Counts by scope and slot. A lease takes about 40 microseconds, in the caller's thread."""

    def __init__(self, path: Path) -> None:
        """Raises OSError or sqlite3.Error: the file can't be used and can't be replaced."""
        self._warned = 0.0
        try:
            self._connection = _open(path)
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._connection = _open(path)

    def lease(self, scope: str, limit: int, wanted: int, slot: int) -> int:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute(
                    "DELETE FROM admitted WHERE scope = ? AND slot NOT BETWEEN ? AND ?",
                    (scope, slot - SLOTS, slot + SLOTS),
                )
                (admitted,) = connection.execute(
                    "SELECT coalesce(sum(count), 0) FROM admitted WHERE scope = ?", (scope,)
                ).fetchone()
                granted = max(0, min(wanted, limit - int(admitted)))
                if granted:
                    connection.execute(
                        "INSERT INTO admitted VALUES (?, ?, ?) "
                        "ON CONFLICT DO UPDATE SET count = count + excluded.count",
                        (scope, slot, granted),
                    )
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            # Quotas protect the service; they must not be what stops it.
            if time.monotonic() - self._warned > 1:
                self._warned = time.monotonic()
                logger.warning("request quotas are not shared between workers now: %s", error)
            return wanted
        return granted

    def close(self) -> None:
        self._connection.close()


def _open(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, cached_statements=16)
    try:
        enter_wal(connection)
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
