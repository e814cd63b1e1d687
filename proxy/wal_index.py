"""Whether anything was committed to a SQLite database in WAL mode, told without asking SQLite.

In WAL mode every commit, by any connection of any process, writes the header of the WAL index anew: a file beside the
database that all its users map into memory. Connections compare that header with the one they saw last to learn
whether what they have read is still so, and that is what is done here: 96 bytes are compared, where a query takes a
read transaction with two system calls for locks.

Source: https://www.sqlite.org/walformat.html#the_wal_index_header
"""

import mmap
import os
import sqlite3
import struct
import time
from pathlib import Path
from typing import Final

_VERSION: Final = 3_007_000
"""The one format there has been, since 2010."""
_HEADER: Final = 96
"""The header is there twice."""
_SMALLEST: Final = 136

_maps: dict[tuple[int, int], mmap.mmap] = {}
"""By device and inode, for the life of the process: POSIX drops all of a process's locks on a file, those of SQLite
included, when any of its descriptors of that file is closed. None is."""


def enter_wal(connection: sqlite3.Connection) -> None:
    """Turns write-ahead logging on. SQLite does not wait for its busy timeout when several processes do this at once
    on a new file.

    Raises:
        sqlite3.OperationalError: it is still locked after a second.
    """
    for attempt in range(50):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if attempt == 49:
                raise
            time.sleep(0.02)
        else:
            return


class WalIndex:
    """Counts changes of one database. At least one connection to it must be open, and have been read from."""

    def __init__(self, map: mmap.mmap) -> None:
        self._map = map
        self._seen = b""
        self._generation = 0

    @staticmethod
    def open(database: Path) -> "WalIndex | None":
        """None where the index is not what it should be; then the database itself has to be asked."""
        path = database.with_name(f"{database.name}-shm")
        try:
            found = path.stat()
            place = (found.st_dev, found.st_ino)
            if place not in _maps:
                if found.st_size < _SMALLEST:
                    return None
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                _maps[place] = mmap.mmap(descriptor, _SMALLEST, prot=mmap.PROT_READ)
        except (OSError, ValueError):
            return None
        index = WalIndex(_maps[place])
        return index if struct.unpack("=I", index._map[:4])[0] == _VERSION else None

    def generation(self) -> int:
        """Another number than before if anything was committed since, by whomever."""
        header = self._map[:_HEADER]
        if header != self._seen:
            self._seen = header
            self._generation += 1
        return self._generation
