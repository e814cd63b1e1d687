"""The heads of all chains, in one SQLite file: how far each one goes, under one MAC over all of them."""

import contextlib
import hmac
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.audit.chain import Place
from proxy.wal_index import enter_wal

_APPLICATION_ID: Final = 0x41554431
_BUSY_SECONDS: Final = 10.0
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS head (name TEXT PRIMARY KEY, number INTEGER NOT NULL, mac BLOB NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS seal (id INTEGER PRIMARY KEY CHECK (id = 1), mac BLOB NOT NULL) STRICT",
)


@dataclass(frozen=True)
class Anchored:
    """What the file holds."""

    heads: Mapping[str, Place]
    is_genuine: bool
    """Whether the MAC over all of them is right."""


class Heads:
    """The anchors. Raises sqlite3.Error where the file can't be used."""

    def __init__(self, path: Path, key: bytes, *, create: bool = True) -> None:
        """``key`` is that of the audit log. The file is made with mode 0600, if at all."""
        self._key = hmac.digest(key, b"heads", "sha256")
        if not create:
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
            return
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        # Anchors are written by the log's own thread, and read before it is started.
        self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        enter_wal(self._connection)
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        for statement in _SCHEMA:
            self._connection.execute(statement)

    def anchor(self, name: str, place: Place) -> None:
        """Notes how far a chain goes, durably."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            before = _read(connection)
            was_genuine = self._is_genuine(connection, before)
            connection.execute(
                "INSERT INTO head VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET number = excluded.number, mac = excluded.mac",
                (name, place.number, place.mac),
            )
            seal = self._seal({**before, name: place})
            # What somebody else changed must go on to show.
            if was_genuine:
                connection.execute(
                    "INSERT INTO seal VALUES (1, ?) ON CONFLICT DO UPDATE SET mac = excluded.mac", (seal,)
                )
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def read(self) -> Anchored:
        self._connection.execute("BEGIN")
        try:
            heads = _read(self._connection)
            return Anchored(heads, self._is_genuine(self._connection, heads))
        finally:
            self._connection.execute("ROLLBACK")

    def _is_genuine(self, connection: sqlite3.Connection, heads: Mapping[str, Place]) -> bool:
        row = connection.execute("SELECT mac FROM seal WHERE id = 1").fetchone()
        if row is None:
            return not heads
        return hmac.compare_digest(bytes(row[0]), self._seal(heads))

    def _seal(self, heads: Mapping[str, Place]) -> bytes:
        text = b"".join(
            b"%b\x00%b%b" % (name.encode(), place.number.to_bytes(8, "big"), place.mac)
            for name, place in sorted(heads.items())
        )
        return hmac.digest(self._key, text, "sha256")

    def close(self) -> None:
        self._connection.close()


def _read(connection: sqlite3.Connection) -> dict[str, Place]:
    rows = connection.execute("SELECT name, number, mac FROM head ORDER BY name").fetchall()
    return {name: Place(number, bytes(mac)) for name, number, mac in rows}
