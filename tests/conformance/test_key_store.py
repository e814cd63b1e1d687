"""One suite for every implementation of the port KeyStore."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.kms.store import Conflict, KeyStore, Record, StoreUnavailable
from proxy.kms.stores.memory import MemoryKeyStore
from proxy.kms.stores.sqlite import SqliteKeyStore


@pytest.fixture(params=["memory", "sqlite", "sqlite-watched"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeyStore]:
    watch = request.param == "sqlite-watched"
    made: KeyStore = (
        MemoryKeyStore() if request.param == "memory" else SqliteKeyStore(tmp_path / "keys.db", watch=watch)
    )
    yield made
    await made.aclose()


def record(id: str, version: int = 0, body: bytes = b"{}", kind: str = "key") -> Record:
    return Record(kind, id, version, body)


async def test_a_record_comes_back_with_its_version_counted(store: KeyStore) -> None:
    assert await store.get("key", "a") is None
    await store.write([record("a", body=b"\x00\xff one")])
    assert await store.get("key", "a") == record("a", 1, b"\x00\xff one")
    await store.write([record("a", 1, b"two")])
    assert await store.get("key", "a") == record("a", 2, b"two")
    assert await store.get("alias", "a") is None


@pytest.mark.parametrize("version", [0, 2, 7])
async def test_a_write_at_another_version_conflicts_and_changes_nothing(store: KeyStore, version: int) -> None:
    await store.write([record("a", body=b"one")])
    with pytest.raises(Conflict):
        await store.write([record("a", version, b"two")])
    assert await store.get("key", "a") == record("a", 1, b"one")


async def test_a_missing_record_conflicts_with_any_version_but_0(store: KeyStore) -> None:
    with pytest.raises(Conflict):
        await store.write([record("a", 1)])
    with pytest.raises(Conflict):
        await store.write([], [record("a", 1)])
    assert await store.get("key", "a") is None


@pytest.mark.parametrize("wrong", ["put", "delete"])
async def test_a_write_is_all_or_nothing(store: KeyStore, wrong: str) -> None:
    await store.write([record("a", body=b"one"), record("b", body=b"one")])
    puts = [record("new"), record("a", 1, b"two")]
    deletes = [record("b", 1)]
    if wrong == "put":
        puts.append(record("missing", 3))
    else:
        deletes.append(record("missing", 3))
    with pytest.raises(Conflict):
        await store.write(puts, deletes)
    assert await store.get("key", "new") is None
    assert await store.get("key", "a") == record("a", 1, b"one")
    assert await store.get("key", "b") == record("b", 1, b"one")


async def test_a_write_may_depend_on_records_that_it_leaves_alone(store: KeyStore) -> None:
    await store.write([record("a", body=b"one")])
    await store.write([record("b")], unchanged=[record("a", 1, b"any body"), record("missing", 0)])
    assert await store.get("key", "a") == record("a", 1, b"one")
    assert await store.get("key", "b") == record("b", 1)
    for there in (record("a", 0), record("a", 2), record("missing", 1)):
        with pytest.raises(Conflict):
            await store.write([record("c")], [record("b", 1)], [there])
    assert await store.get("key", "c") is None
    assert await store.get("key", "b") == record("b", 1)
    assert await store.get("key", "missing") is None


async def test_a_delete_expects_its_version_and_a_new_record_starts_over(store: KeyStore) -> None:
    await store.write([record("a")])
    with pytest.raises(Conflict):
        await store.write([], [record("a", 0)])
    with pytest.raises(Conflict):
        await store.write([], [record("a", 2)])
    await store.write([], [record("a", 1)])
    assert await store.get("key", "a") is None
    await store.write([record("a", body=b"again")])
    assert await store.get("key", "a") == record("a", 1, b"again")


async def test_scan_is_by_prefix_in_the_order_of_code_points(store: KeyStore) -> None:
    ids = ["p/", "p/A", "p/a", "p/a/b", "p/z", "p/é", "p/\uffff", "p/\U0001f600", "p0", "o", "q"]
    await store.write([record(id, body=id.encode()) for id in reversed(ids)])
    await store.write([record("p/other", kind="alias")])
    expected = ["p/", "p/A", "p/a", "p/a/b", "p/z", "p/é", "p/\uffff", "p/\U0001f600"]
    found = await store.scan("key", "p/")
    assert [each.id for each in found] == expected
    assert all(each == record(each.id, 1, each.id.encode()) for each in found)
    assert [each.id for each in await store.scan("key", "p/", after="p/a", limit=2)] == ["p/a/b", "p/z"]
    assert [each.id for each in await store.scan("key", "p/", after="p/\U0001f600")] == []
    assert [each.id for each in await store.scan("key")] == sorted(ids)
    assert await store.scan("key", "nothing") == []


async def test_the_generation_changes_with_every_write_and_not_without(store: KeyStore) -> None:
    first = store.generation()
    await store.get("key", "a")
    assert store.generation() == first
    await store.write([record("a")])
    second = store.generation()
    assert second != first
    await store.write([], [record("a", 1)])
    assert store.generation() != second


async def test_of_eight_concurrent_compare_and_sets_one_wins(store: KeyStore) -> None:
    await store.write([record("a")])
    writes = [store.write([record("a", 1, bytes([number]))]) for number in range(8)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    won = [number for number, result in enumerate(results) if result is None]
    assert len(won) == 1
    assert [type(result) for result in results if result is not None] == [Conflict] * 7
    assert await store.get("key", "a") == record("a", 2, bytes([won[0]]))


async def test_concurrent_counters_lose_no_update(store: KeyStore) -> None:
    await store.write([record("counter", body=b"0")])

    async def count(times: int) -> None:
        while times:
            there = await store.get("key", "counter")
            assert there is not None
            with contextlib.suppress(Conflict):
                await store.write([replace(there, body=b"%d" % (int(there.body) + 1))])
                times -= 1

    await asyncio.gather(*(count(10) for _ in range(8)))
    there = await store.get("key", "counter")
    assert there == record("counter", 81, b"80")


PROGRAM = """
import asyncio, contextlib, sys
from dataclasses import replace
from pathlib import Path
from proxy.kms.store import Conflict, Record
from proxy.kms.stores.sqlite import SqliteKeyStore

async def count(path, times):
    store = SqliteKeyStore(Path(path), busy_timeout=30)
    while times:
        there = await store.get("key", "counter") or Record("key", "counter", 0, b"0")
        with contextlib.suppress(Conflict):
            await store.write([replace(there, body=b"%d" % (int(there.body) + 1))])
            times -= 1
            print(int(there.body) + 1, flush=True)
    await store.aclose()

asyncio.run(count(sys.argv[1], int(sys.argv[2])))
"""


def start_counter(path: Path, times: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(path), str(times)], stdout=subprocess.PIPE)


async def test_several_processes_lose_no_update(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    counters = [start_counter(path, 25) for _ in range(4)]
    counted = sorted(int(line) for counter in counters for line in counter.communicate(timeout=60)[0].split())
    assert [counter.returncode for counter in counters] == [0, 0, 0, 0]
    assert counted == list(range(1, 101))


async def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    acknowledged = 0
    for lines in (1, 3, 7):
        counter = start_counter(path, 1_000_000)
        assert counter.stdout is not None
        for _ in range(lines):
            acknowledged = int(counter.stdout.readline())
        counter.send_signal(signal.SIGKILL)
        # ``communicate`` would lose what ``readline`` has read ahead.
        rest = counter.stdout.read().split(b"\n")
        counter.communicate(timeout=30)
        acknowledged = max([acknowledged, *(int(line) for line in rest[:-1])])
        store = SqliteKeyStore(path)
        there = await store.get("key", "counter")
        await store.aclose()
        assert there is not None
        # The last write may have been done without having been acknowledged.
        assert int(there.body) in (acknowledged, acknowledged + 1)
        assert there.version == int(there.body)


async def test_a_write_of_another_store_on_the_file_is_seen_at_once(tmp_path: Path) -> None:
    one, two = SqliteKeyStore(tmp_path / "keys.db"), SqliteKeyStore(tmp_path / "keys.db")
    generation = two.generation()
    assert await two.get("key", "a") is None
    await one.write([record("a", body=b"one")])
    assert two.generation() != generation
    assert await two.get("key", "a") == record("a", 1, b"one")
    await two.write([record("a", 1, b"two")])
    assert await one.get("key", "a") == record("a", 2, b"two")
    await one.aclose()
    await two.aclose()


def modes(directory: Path) -> dict[str, int]:
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in directory.iterdir()}


async def test_records_outlive_the_store_and_belong_to_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    before = os.umask(0)
    try:
        store = SqliteKeyStore(path)
        await store.write([record("a")])
        found = modes(tmp_path)
    finally:
        os.umask(before)
    assert found == {"keys.db": 0o600, "keys.db-wal": 0o600, "keys.db-shm": 0o600}
    await store.aclose()
    again = SqliteKeyStore(path)
    assert await again.get("key", "a") == record("a", 1)
    await again.aclose()


async def test_a_file_that_is_no_key_store_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"not a database, but long enough to be looked at as one" * 10)
    with pytest.raises(StoreUnavailable):
        SqliteKeyStore(text)
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    with pytest.raises(StoreUnavailable, match="another program"):
        SqliteKeyStore(other)
    with pytest.raises(StoreUnavailable, match="No such file"):
        SqliteKeyStore(tmp_path / "missing" / "keys.db")


def lock(path: Path) -> Callable[[], None]:
    """Takes the write lock of a database; the answer releases it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection.close


async def test_a_lock_held_for_too_long_is_unavailable_and_reads_go_on(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    store = SqliteKeyStore(path, busy_timeout=0.05)
    await store.write([record("a")])
    release = lock(path)
    with pytest.raises(StoreUnavailable):
        await store.write([record("a", 1, b"two")])
    assert await store.get("key", "a") == record("a", 1)
    release()
    await store.write([record("a", 1, b"two")])
    assert await store.get("key", "a") == record("a", 2, b"two")
    await store.aclose()


async def test_the_event_loop_goes_on_while_a_write_waits(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    store = SqliteKeyStore(path, busy_timeout=5)
    release = lock(path)
    write = asyncio.ensure_future(store.write([record("a")]))
    for _ in range(20):
        await asyncio.sleep(0.001)
        assert await store.get("key", "a") is None
    assert not write.done()
    release()
    await write
    assert await store.get("key", "a") == record("a", 1)
    await store.aclose()


async def test_a_write_that_was_given_up_is_whole_or_absent(tmp_path: Path) -> None:
    store = SqliteKeyStore(tmp_path / "keys.db")
    task = asyncio.ensure_future(store.write([record("a"), record("b")]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.aclose()
    again = SqliteKeyStore(tmp_path / "keys.db")
    assert (await again.get("key", "a") is None) is (await again.get("key", "b") is None)
    await again.aclose()
