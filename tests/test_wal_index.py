"""The WAL index: every commit shows, by whichever connection or process, and SQLite's locks stay."""

import gc
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import wal_index
from proxy.wal_index import WalIndex


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a.db"
    connection = connect(path)
    connection.execute("CREATE TABLE t (n INTEGER)")
    connection.execute("INSERT INTO t VALUES (0)")
    connection.close()
    return path


def opened(database: Path) -> tuple[sqlite3.Connection, WalIndex]:
    connection = connect(database)
    connection.execute("SELECT n FROM t").fetchall()
    index = WalIndex.open(database)
    assert index is not None
    return connection, index


def test_every_commit_shows_and_nothing_else(database: Path) -> None:
    reader, index = opened(database)
    writer = connect(database)
    seen = index.generation()
    for number in range(3):
        for connection in (reader, writer):
            connection.execute("UPDATE t SET n = n + ?", (number + 1,))
            assert index.generation() != seen
            seen = index.generation()
            assert index.generation() == seen
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE t SET n = 99")
    assert index.generation() == seen
    writer.execute("ROLLBACK")
    reader.execute("SELECT n FROM t").fetchall()
    assert index.generation() == seen
    # The log begins anew, and what was written before must not be taken for what is written now.
    for _ in range(3):
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = index.generation()
        writer.execute("UPDATE t SET n = n + 1")
        assert index.generation() != before
    reader.close()
    writer.close()


_WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for line in sys.stdin:
    connection.execute("UPDATE t SET n = ?", (int(line),))
    if int(line) % 50 == 0:
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
    print(line, end="", flush=True)
"""


def test_what_another_process_has_committed_is_seen_at_once(database: Path) -> None:
    reader, index = opened(database)
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        kept, generation = 0, index.generation()
        for number in range(1, 301):
            other.stdin.write(f"{number}\n")
            other.stdin.flush()
            assert other.stdout.readline() == f"{number}\n"
            if index.generation() != generation:
                generation = index.generation()
                kept = reader.execute("SELECT n FROM t").fetchone()[0]
            assert kept == number
        other.stdin.close()
    reader.close()


_LOCK = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
except OSError:
    print("held")
"""


def test_sqlite_keeps_its_locks(database: Path) -> None:
    """A lock on byte 128 of the index says that somebody uses it: without, another process would make it anew."""
    reader, index = opened(database)
    for _ in range(3):
        WalIndex.open(database)
    del index
    gc.collect()
    told = subprocess.run(
        [sys.executable, "-c", _LOCK, f"{database}-shm"], capture_output=True, text=True, check=True
    ).stdout
    assert told == "held\n"
    reader.close()


def test_an_index_that_is_none_is_not_used(tmp_path: Path) -> None:
    assert WalIndex.open(tmp_path / "none.db") is None
    (tmp_path / "short.db-shm").write_bytes(b"x")
    assert WalIndex.open(tmp_path / "short.db") is None
    (tmp_path / "other.db-shm").write_bytes(bytes(32768))
    assert WalIndex.open(tmp_path / "other.db") is None
    plain = sqlite3.connect(tmp_path / "plain.db")
    plain.execute("CREATE TABLE t (n)")
    assert WalIndex.open(tmp_path / "plain.db") is None
    plain.close()


def test_the_same_index_is_mapped_once(database: Path) -> None:
    reader, _ = opened(database)
    before = len(wal_index._maps)
    other, _ = opened(database)
    assert len(wal_index._maps) == before
    reader.close()
    other.close()
