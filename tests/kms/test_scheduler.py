"""Upkeep: what nobody looks at is settled in the end, once, whoever does it."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from proxy.kms import model, scheduler
from proxy.kms.store import Record, StoreUnavailable
from proxy.kms.stores.memory import MemoryKeyStore
from proxy.kms.stores.sqlite import SqliteKeyStore
from tests.kms.harness import Kms
from tests.kms.imports import import_material


async def prepare(kms: Kms) -> None:
    """Three keys that time does something to, one that it does nothing to, and one whose time has not come."""
    rotating, expiring, deleted = await kms.key(), await kms.key(Origin="EXTERNAL"), await kms.key(MultiRegion=True)
    await kms.call("EnableKeyRotation", KeyId=rotating, RotationPeriodInDays=90)
    await import_material(kms, expiring, b"m" * 32, valid_for=timedelta(days=50))
    await kms.call("Encrypt", KeyId=expiring, Plaintext=b"x")
    await kms.call("Encrypt", KeyId=deleted, Plaintext=b"x")
    await kms.call("ScheduleKeyDeletion", KeyId=deleted)
    await kms.key()
    await kms.call("EnableKeyRotation", KeyId=await kms.key(), RotationPeriodInDays=1000)


async def test_a_round_settles_what_is_due_and_erases_material(kms: Kms) -> None:
    await prepare(kms)
    assert await scheduler.upkeep(kms.service) == 0
    kms.clock.advance(days=91)
    assert await scheduler.upkeep(kms.service) == 3
    keys = [model.key_from(record) for record in await kms.store.scan(model.KEY)]
    assert sorted(len(key.backing_keys) for key in keys) == [1, 1, 1, 2]
    # The expiring key's and the deleted key's are gone, from the store and from memory.
    assert len(await kms.store.scan(model.MATERIAL)) == 4
    assert not kms.service.ring.held
    kms.clock.advance(hours=1)
    assert await scheduler.upkeep(kms.service) == 0


async def test_rounds_come_at_their_interval(kms: Kms) -> None:
    assert await scheduler.upkeep(kms.service) == 0
    key = await kms.key()
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    kms.clock.advance(days=90)
    assert await scheduler.upkeep(kms.service) == 1
    kms.clock.advance(days=90, milliseconds=-1)
    assert await scheduler.upkeep(kms.service) == 0
    kms.clock.advance(milliseconds=1)
    # The last round was a moment ago.
    assert await scheduler.upkeep(kms.service) == 0
    kms.clock.advance(seconds=scheduler.INTERVAL.total_seconds())
    assert await scheduler.upkeep(kms.service) == 1


async def test_a_clock_that_was_set_back_does_not_stop_it(kms: Kms) -> None:
    await scheduler.upkeep(kms.service)
    kms.clock.advance(days=-400)
    key = await kms.key()
    await kms.call("ScheduleKeyDeletion", KeyId=key)
    await scheduler.upkeep(kms.service)
    kms.clock.advance(days=30)
    assert await scheduler.upkeep(kms.service) == 1


async def test_of_several_workers_one_does_the_round(tmp_path: Path) -> None:
    first = await Kms(SqliteKeyStore(tmp_path / "keys.db")).start()
    await prepare(first)
    workers = [await Kms(SqliteKeyStore(tmp_path / "keys.db"), first.clock).start() for _ in range(4)]
    first.clock.advance(days=91)
    settled = await asyncio.gather(*(scheduler.upkeep(worker.service) for worker in [first, *workers]))
    assert sorted(settled) == [0, 0, 0, 0, 3]
    for worker in [first, *workers]:
        await worker.service.aclose()


async def test_a_worker_forgets_what_another_has_deleted(tmp_path: Path) -> None:
    first = await Kms(SqliteKeyStore(tmp_path / "keys.db")).start()
    second = await Kms(SqliteKeyStore(tmp_path / "keys.db"), first.clock).start()
    key, kept = await first.key(), await first.key()
    for worker in (first, second):
        await worker.call("Encrypt", KeyId=key, Plaintext=b"x")
        await worker.call("Encrypt", KeyId=kept, Plaintext=b"x")
    await first.call("ScheduleKeyDeletion", KeyId=key)
    first.clock.advance(days=31)
    assert await scheduler.upkeep(first.service) == 1
    assert {name.id for name, _ in second.service.ring.held} == {key, kept}
    assert await scheduler.upkeep(second.service) == 0
    assert {name.id for name, _ in second.service.ring.held} == {kept}
    for worker in (first, second):
        await worker.service.aclose()


async def test_erased_material_is_not_in_the_files_any_more(tmp_path: Path) -> None:
    kms = await Kms(SqliteKeyStore(tmp_path / "keys.db")).start()
    key = await kms.key()
    (record,) = await kms.store.scan(model.MATERIAL)
    files = [tmp_path / "keys.db", tmp_path / "keys.db-wal"]
    assert any(record.body in file.read_bytes() for file in files)
    await kms.call("ScheduleKeyDeletion", KeyId=key)
    kms.clock.advance(days=30)
    assert await scheduler.upkeep(kms.service) == 1
    assert not any(record.body in file.read_bytes() for file in files)
    await kms.service.aclose()


class UnavailableStore(MemoryKeyStore):
    """Cannot be read for a while."""

    def __init__(self, fault: Exception) -> None:
        super().__init__()
        self.fault = fault
        self.asked = asyncio.Event()
        self.down = False

    async def get(self, kind: str, id: str) -> Record | None:
        if self.down:
            self.asked.set()
            raise self.fault
        return await super().get(kind, id)


@pytest.mark.parametrize("fault", [StoreUnavailable("as told"), ValueError("a damaged record")])
async def test_a_fault_does_not_end_it(fault: Exception) -> None:
    store = UnavailableStore(fault)
    kms = await Kms(store).start()
    store.down = True
    task = asyncio.create_task(scheduler.run(kms.service))
    await store.asked.wait()
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
