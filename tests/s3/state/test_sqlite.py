import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.s3.state.ports import BucketRecord, ObjectRecord, StateUnavailable
from proxy.s3.state.schema import SCHEMA_VERSION
from proxy.s3.state.sqlite import SqliteState

NOW = datetime(2026, 11, 23, tzinfo=UTC)
BUCKET = BucketRecord("one", "111122223333", "eu-west-1", NOW)
OBJECT = ObjectRecord("one", "k", b"i" * 16, '"e"', 5, None, b"", NOW)


async def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch(0o666)
    path.chmod(0o666)
    state = SqliteState(path)
    await state.buckets.put(BUCKET)
    files = [tmp_path / name for name in os.listdir(tmp_path)]
    assert {file.name for file in files} >= {"state.db", "state.db-wal"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await state.aclose()


async def test_the_state_outlives_the_process(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.db")
    await state.buckets.put(BUCKET)
    await state.objects.put(OBJECT)
    await state.aclose()
    again = SqliteState(tmp_path / "state.db")
    assert await again.buckets.get("one") == BUCKET
    assert await again.objects.find("one", ["k"]) == {"k": [OBJECT]}
    await again.aclose()


async def test_another_instance_sees_a_change_at_its_next_read(tmp_path: Path) -> None:
    first, second = SqliteState(tmp_path / "state.db"), SqliteState(tmp_path / "state.db")
    for number in range(20):
        await first.buckets.put(replace(BUCKET, region=f"r-{number}"))
        seen = await second.buckets.get("one")
        assert seen is not None
        assert seen.region == f"r-{number}"
    await first.aclose()
    await second.aclose()


def test_a_newer_schema_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    asyncio.run(SqliteState(path).aclose())
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StateUnavailable, match="newer version of this program"):
        SqliteState(path)


async def test_an_older_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = SqliteState(path)
    await state.objects.put(OBJECT)
    await state.buckets.put(BUCKET)
    await state.aclose()
    connection = sqlite3.connect(path)
    for column in ("version_id", "layers"):
        connection.execute(f"ALTER TABLE objects DROP COLUMN {column}")
    for column in ("policy", "public_access_block", "cors", "blocks_customer_keys"):
        connection.execute(f"ALTER TABLE buckets DROP COLUMN {column}")
    connection.execute("DROP INDEX uploads_by_completion")
    for column in ("completed", "sealed_table_key"):
        connection.execute(f"ALTER TABLE uploads DROP COLUMN {column}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    for _ in range(2):
        state = SqliteState(path)
        assert await state.objects.find("one", ["k"]) == {"k": [OBJECT]}
        # SSE-C was not served then, and has to be unblocked.
        bucket = replace(BUCKET, encryption=replace(BUCKET.encryption, blocks_customer_keys=True))
        assert await state.buckets.get("one") == bucket
        assert await state.buckets.replace(bucket, bucket)
        await state.aclose()


@pytest.mark.parametrize("content", [b"not a database, but long enough to look at" * 30, None])
def test_a_file_of_something_else_is_refused_and_kept(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "state.db"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE theirs (a)")
        connection.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(StateUnavailable):
        SqliteState(path)
    if content is not None:
        assert path.read_bytes() == before


def test_a_missing_directory_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StateUnavailable, match="No such file"):
        SqliteState(tmp_path / "none" / "state.db")


async def test_a_writer_elsewhere_holds_up_writes_but_not_the_loop_and_not_reads(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.db")
    await state.buckets.put(BUCKET)
    blocker = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    write = asyncio.create_task(state.buckets.put(replace(BUCKET, mixed=True)))
    record = asyncio.create_task(state.objects.put(OBJECT))
    started = time.monotonic()
    await asyncio.sleep(0.05)
    assert await state.buckets.get("one") == BUCKET
    assert time.monotonic() - started < 0.5
    assert not write.done()
    assert not record.done()
    blocker.execute("COMMIT")
    blocker.close()
    await write
    await record
    assert await state.objects.find("one", ["k"]) == {"k": [OBJECT]}
    assert await state.buckets.get("one") == replace(BUCKET, mixed=True)
    await state.aclose()


async def test_the_log_does_not_grow_with_the_writes(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.db")
    for number in range(5_000):
        # A row that does not change is not written at all.
        await state.objects.put(replace(OBJECT, key=f"k{number % 100}", size=number))
    assert os.stat(tmp_path / "state.db-wal").st_size < 10_000_000
    await state.aclose()


async def test_one_failing_write_does_not_fail_those_that_share_its_transaction(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.db")
    bad = replace(BUCKET, name="bad", account=None)  # type: ignore[arg-type]
    good = [replace(BUCKET, name=f"b{number}") for number in range(10)]
    results = await asyncio.gather(*(state.buckets.put(one) for one in [*good, bad]), return_exceptions=True)
    assert isinstance(results[-1], StateUnavailable)
    assert results[:-1] == [None] * 10
    assert len(await state.buckets.owned_by(BUCKET.account)) == 10
    await state.aclose()


async def test_a_cancelled_caller_does_not_undo_the_write(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.db")
    write = asyncio.create_task(state.buckets.put(BUCKET))
    await asyncio.sleep(0)
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    await state.buckets.put(replace(BUCKET, name="two"))
    assert await state.buckets.get("one") == BUCKET
    await state.aclose()


async def test_after_aclose_writes_are_refused(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.db")
    await state.aclose()
    with pytest.raises(StateUnavailable):
        await state.buckets.put(BUCKET)
    with pytest.raises(StateUnavailable):
        await state.buckets.get("one")


_PRELUDE = """
import asyncio, sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from proxy.s3.state.ports import BucketRecord, ObjectRecord
from proxy.s3.state.sqlite import SqliteState

BUCKET = BucketRecord("one", "111122223333", "eu-west-1", datetime(2026, 11, 23, tzinfo=UTC))
OBJECT = ObjectRecord("one", "k", b"i" * 16, '"e"', 5, None, b"", BUCKET.created)
path, worker = Path(sys.argv[1]), sys.argv[2]
"""

_WRITE_RECORDS = """
async def write():
    state = SqliteState(path)
    for number in range(20):
        await state.buckets.put(replace(BUCKET, name=f"{worker}-{number}"))
        await state.objects.put(replace(OBJECT, key=f"{worker}-{number}"))
    await state.aclose()

asyncio.run(write())
"""

_WRITE_UNTIL_KILLED = """
async def write():
    state = SqliteState(path)
    for number in range(100_000):
        await state.buckets.put(replace(BUCKET, name=f"b{number}"))
        print(f"b{number}", flush=True)

asyncio.run(write())
"""


def _start(code: str, path: Path, worker: int = 0) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", _PRELUDE + code, str(path), str(worker)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_processes_that_start_and_write_together_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    workers = [_start(_WRITE_RECORDS, path, number) for number in range(4)]
    for worker in workers:
        worker.communicate()
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]

    async def check() -> None:
        state = SqliteState(path)
        assert len(await state.buckets.owned_by(BUCKET.account)) == 80
        keys = [f"{worker}-{number}" for worker in range(4) for number in range(20)]
        assert len(await state.objects.find("one", keys)) == 80
        await state.aclose()

    asyncio.run(check())


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with _start(_WRITE_UNTIL_KILLED, path) as worker:
        assert worker.stdout is not None
        acknowledged = [worker.stdout.readline() for _ in range(50)]
        worker.kill()
        acknowledged += [line for line in worker.stdout if line.endswith("\n")]

    async def names() -> set[str]:
        state = SqliteState(path)
        records = await state.buckets.owned_by(BUCKET.account)
        await state.aclose()
        return {record.name for record in records}

    assert len(acknowledged) >= 50
    assert {line.strip() for line in acknowledged} <= asyncio.run(names())
