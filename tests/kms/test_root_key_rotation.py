"""Root key rotation: whatever interrupts it or goes on beside it, everything opens before, meanwhile and after."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proxy.aws.credentials import CallOrigin
from proxy.kms import model, root_key_rotation, root_key_state
from proxy.kms.errors import KmsError, RootKeyUnusable, WrongRootKey
from proxy.kms.provider import S3_OWNED_KEY
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from proxy.kms.root_key_rotation import Rotation, RotationRefused, Status
from proxy.kms.root_keys import versioned
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.root_keys.versioned import GuardedKeyStore, VersionedRootKey
from proxy.kms.service import KeyService
from proxy.kms.store import Conflict, KeyStore, Record, StoreUnavailable
from proxy.kms.stores.memory import MemoryKeyStore
from proxy.kms.stores.sqlite import SqliteKeyStore
from tests.fakes import FakeClock, FakeRandom
from tests.kms.harness import ADMIN, REGION, Kms, user

RANDOM = FakeRandom("root key rotation")
A, B, C = (LocalRootKey(RANDOM(32), RANDOM) for _ in range(3))
CONTEXT = {"aws:s3:arn": "arn:aws:s3:::b/k"}


class Killed(BaseException):
    """The process ends here."""


class KillingStore(GuardedKeyStore):
    """Ends the process at one of its writes: before it is done, or after."""

    def __init__(self, store: KeyStore, at: int, *, before: bool) -> None:
        super().__init__(store)
        self.left = at
        self.before = before

    async def write(
        self, puts: Sequence[Record], deletes: Sequence[Record] = (), unchanged: Sequence[Record] = ()
    ) -> None:
        self.left -= 1
        if self.left < 0 and self.before:
            raise Killed
        await super().write(puts, deletes, unchanged)
        if self.left < 0:
            raise Killed


@dataclass
class Worker:
    """A process that serves, with one root key configured. ``file`` is what the root key's file holds now."""

    store: KeyStore
    configured: LocalRootKey
    file: LocalRootKey | None = None
    wrapped: dict[str, tuple[str, bytes, bytes]] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)

    async def start(self) -> "Worker":
        self.guarded = GuardedKeyStore(self.store)
        reload = None if self.file is None else lambda: self.file
        self.root_key = VersionedRootKey(self.guarded, self.configured, self.clock, RANDOM, reload)  # type: ignore[arg-type]
        await root_key_rotation.start(self.root_key, self.guarded)
        self.service = KeyService(self.guarded, self.root_key, self.clock, RANDOM)
        await self.service.start()
        self.keys = EmbeddedKeyProvider(self.service)
        return self

    async def make_key(self) -> str:
        key = Kms(self.guarded)
        key.service = self.service
        return await key.key()

    async def rotate_on_demand(self, key_id: str) -> None:
        key = Kms(self.guarded)
        key.service = self.service
        await key.call("RotateKeyOnDemand", KeyId=key_id)

    async def fill(self, keys: int) -> list[tuple[str, bytes, bytes]]:
        """Keys, rotated ones and owned ones among them, and a data key of each."""
        ids = [await self.make_key() for _ in range(keys)]
        await self.rotate_on_demand(ids[0])
        made = [await self.keys.generate_data_key(ADMIN, id, CONTEXT) for id in [*ids, S3_OWNED_KEY]]
        return [(each.key_arn, each.wrapped, each.plaintext) for each in made]

    async def opens(self, data_keys: list[tuple[str, bytes, bytes]]) -> bool:
        for arn, wrapped, plaintext in data_keys:
            if await self.keys.decrypt(ADMIN, arn, wrapped, CONTEXT) != plaintext:
                return False
        return True

    async def rotate(self, target: LocalRootKey | None) -> Rotation:
        return await root_key_rotation.rotate(self.guarded, self.root_key, target)

    async def status(self) -> Status:
        return await root_key_rotation.status(self.guarded, self.root_key)


async def sealed_ids(store: MemoryKeyStore) -> set[str | None]:
    """The root keys that seal anything, whatever kind of record it is."""
    bodies = [record.body for record in store._records.values() if not record.body.startswith(b"{")]
    return {root_key_state.sealed_under(body) for body in bodies}


async def test_everything_is_sealed_anew_and_the_former_root_key_opens_nothing() -> None:
    store = MemoryKeyStore()
    worker = await Worker(store, A).start()
    data_keys = await worker.fill(5)
    assert await sealed_ids(store) == {A.id}
    assert (await worker.status()).is_sufficient

    rotation = await worker.rotate(B)
    assert (rotation.former, rotation.current, rotation.finished) == (A.id, B.id, False)
    # Five keys, one of them rotated, the owned key, and the service's secret.
    assert rotation.resealed == rotation.records == 8
    assert await sealed_ids(store) == {B.id}
    status = await worker.status()
    assert (status.sealed, status.handover, status.is_sufficient) == ({B.id: 8}, True, False)

    # Until the new root key is the configured one, either leads to everything.
    for configured in (A, B):
        assert await (await Worker(store, configured).start()).opens(data_keys)
    finishing = await Worker(store, B).start()
    assert await finishing.root_key.finish()
    assert not await finishing.root_key.finish()
    assert (await finishing.status()).is_sufficient

    assert await (await Worker(store, B).start()).opens(data_keys)
    with pytest.raises(WrongRootKey) as refused:
        await Worker(store, A).start()
    assert A.id in str(refused.value)
    assert B.id in str(refused.value)
    assert "has taken its place on 2026-11-23 06:00 UTC; configure that one" in str(refused.value)


async def test_the_root_keys_of_a_store_are_counted() -> None:
    store = MemoryKeyStore()
    worker = await Worker(store, A).start()
    assert [(each.version, each.id) for each in worker.root_key.versions] == [(1, A.id)]
    assert worker.root_key.id == A.id
    await worker.rotate(B)
    worker = await Worker(store, B).start()
    await worker.rotate(None)
    worker.clock.advance(days=1)
    await worker.rotate(C)
    assert [(each.version, each.id) for each in worker.root_key.versions] == [(1, A.id), (2, B.id), (3, C.id)]
    assert worker.root_key.versions[2].since == worker.clock.now
    assert worker.root_key.id == C.id


async def test_a_root_key_that_never_sealed_the_store_is_refused() -> None:
    store = MemoryKeyStore()
    await Worker(store, A).start()
    with pytest.raises(WrongRootKey, match="not the one that this key store was sealed with") as refused:
        await Worker(store, B).start()
    assert A.id in str(refused.value)


async def test_a_store_of_the_first_release_is_taken_over(kms: Kms) -> None:
    key_id = await kms.key()
    made = await EmbeddedKeyProvider(kms.service).generate_data_key(ADMIN, key_id, CONTEXT)
    configured = LocalRootKey(bytes(range(32)), RANDOM)
    with pytest.raises(WrongRootKey, match="not the one"):
        await Worker(kms.store, B).start()
    assert await kms.store.get(model.SERVICE, root_key_state.RECORD_ID) is None

    worker = await Worker(kms.store, configured).start()
    data_keys = [(made.key_arn, made.wrapped, made.plaintext)]
    assert await worker.opens(data_keys)
    status = await worker.status()
    assert (status.sealed, status.is_sufficient) == ({"": 2}, False)

    # Without another root key, it is sealed anew under the same, in the form that names it.
    rotation = await worker.rotate(None)
    assert (rotation.resealed, rotation.finished) == (2, True)
    assert (await worker.status()).is_sufficient
    await worker.rotate(B)
    assert await (await Worker(kms.store, B).start()).opens(data_keys)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_a_rotation_that_was_killed_at_any_write_is_taken_up(
    before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_key_rotation, "_PAGE", 3)
    for at in range(100):
        store = MemoryKeyStore()
        worker = await Worker(store, A).start()
        data_keys = await worker.fill(7)
        killing = KillingStore(store, at, before=before)
        root_key = VersionedRootKey(killing, A, worker.clock, RANDOM)
        await root_key.start()
        try:
            await root_key_rotation.rotate(killing, root_key, B)
        except Killed:
            pass
        else:
            # Begin, four writes for ten records, complete.
            assert at == 6
            return
        # The process that served all the while, and new ones.
        assert await worker.opens(data_keys)
        assert await (await Worker(store, A).start()).opens(data_keys)
        data_keys += await worker.fill(2)
        begun = (await (await Worker(store, A).start()).status()).handover
        assert begun is (at > 0 or not before)
        if begun:
            # It can also be taken up by the new root key alone.
            other = await Worker(store, B if at % 2 else A).start()
            assert await other.opens(data_keys)
            await other.rotate(None)
        else:
            await worker.rotate(B)
        done = await Worker(store, B).start()
        await done.root_key.finish()
        assert await sealed_ids(store) == {B.id}
        assert await done.opens(data_keys)
        with pytest.raises(WrongRootKey):
            await Worker(store, A).start()
    pytest.fail("the rotation never came through")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_keys_made_and_rotated_meanwhile_are_sealed_under_the_new_root_key(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_key_rotation, "_PAGE", 2)
    path = tmp_path / "keys.db"
    memory = MemoryKeyStore()

    def opened() -> KeyStore:
        return memory if kind == "memory" else SqliteKeyStore(path)

    stores = [opened() for _ in range(4)]
    workers = [await Worker(store, A).start() for store in stores[:3]]
    data_keys = await workers[0].fill(10)
    ended = asyncio.Event()

    async def use(worker: Worker) -> None:
        while not ended.is_set():
            key_id = await worker.make_key()
            await worker.rotate_on_demand(key_id)
            made = await worker.keys.generate_data_key(ADMIN, key_id, CONTEXT)
            data_keys.append((made.key_arn, made.wrapped, made.plaintext))
            await asyncio.sleep(0.005)

    using = [asyncio.create_task(use(worker)) for worker in workers]
    rotating = await Worker(stores[3], A).start()
    try:
        while len(data_keys) < 20:  # noqa: ASYNC110 - each worker adds to it
            await asyncio.sleep(0.001)
        await rotating.rotate(B)
        seen = len(data_keys)
        while len(data_keys) < seen + 5:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
    finally:
        ended.set()
        await asyncio.gather(*using)
    final = await Worker(stores[3], B).start()
    status = await final.status()
    assert status.sealed.keys() == {B.id}
    assert await final.root_key.finish()
    assert await final.opens(data_keys)
    for worker in workers:
        assert await worker.opens(data_keys)
        assert {each.id for each in worker.root_key.versions} == {A.id, B.id}
    for store in dict.fromkeys(stores):
        await store.aclose()


class LateStore(MemoryKeyStore):
    """Holds back writes of material until it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.go.set()
        self.waiting = asyncio.Event()

    async def write(
        self, puts: Sequence[Record], deletes: Sequence[Record] = (), unchanged: Sequence[Record] = ()
    ) -> None:
        if not self.go.is_set() and any(put.kind == model.MATERIAL for put in puts) and len(puts) < 3:
            self.waiting.set()
            await self.go.wait()
        await super().write(puts, deletes, unchanged)


async def test_what_was_sealed_before_and_is_written_after_the_rotation_is_sealed_once_more() -> None:
    store = LateStore()
    worker = await Worker(store, A).start()
    await worker.fill(5)
    store.go.clear()
    making = asyncio.create_task(worker.make_key())
    await store.waiting.wait()
    assert (await (await Worker(store, A).start()).rotate(B)).records == 8
    store.go.set()
    key_id = await making
    assert await sealed_ids(store) == {B.id}
    only_new = await Worker(store, B).start()
    await only_new.root_key.finish()
    assert await only_new.keys.generate_data_key(ADMIN, key_id, CONTEXT)


async def test_a_guarded_store_takes_nothing_that_another_root_key_sealed() -> None:
    store = MemoryKeyStore()
    worker = await Worker(store, A).start()
    sealed = await worker.root_key.wrap(b"material", b"place")
    await worker.rotate(B)
    with pytest.raises(Conflict):
        await worker.guarded.write([Record(model.MATERIAL, "m", 0, sealed)])
    await worker.guarded.write([Record(model.MATERIAL, "m", 0, await worker.root_key.wrap(b"material", b"place"))])


async def test_a_worker_that_slept_through_all_of_it_reads_its_file_again() -> None:
    store = MemoryKeyStore()
    sleeper = await Worker(store, A, file=A).start()
    data_keys = await (await Worker(store, A).start()).fill(3)
    await (await Worker(store, A).start()).rotate(B)
    await (await Worker(store, B).start()).root_key.finish()
    sleeper.file = B
    assert await sleeper.opens(data_keys)
    assert await sleeper.make_key()


async def test_a_worker_without_any_way_to_the_new_root_key_says_no() -> None:
    store = MemoryKeyStore()
    sleeper = await Worker(store, A, file=A).start()
    data_keys = await (await Worker(store, A).start()).fill(1)
    await (await Worker(store, A).start()).rotate(B)
    await (await Worker(store, B).start()).root_key.finish()
    with pytest.raises(KmsError) as refused:
        await sleeper.opens(data_keys)
    assert refused.value.status == 500


async def test_the_same_rotation_twice_does_nothing_more() -> None:
    store = MemoryKeyStore()
    worker = await Worker(store, A).start()
    await worker.fill(2)
    await worker.rotate(B)
    again = await worker.rotate(B)
    assert (again.former, again.current, again.resealed, again.finished) == (A.id, B.id, 0, False)
    configured = await Worker(store, B).start()
    finished = await configured.rotate(B)
    assert (finished.resealed, finished.finished) == (0, True)
    idle = await configured.rotate(None)
    assert (idle.former, idle.current, idle.resealed, idle.finished) == (B.id, B.id, 0, True)


async def test_another_rotation_has_to_wait_and_a_former_root_key_does_not_come_back() -> None:
    store = MemoryKeyStore()
    worker = await Worker(store, A).start()
    await worker.rotate(B)
    with pytest.raises(RotationRefused, match=B.id):
        await worker.rotate(C)
    configured = await Worker(store, B).start()
    await configured.root_key.finish()
    with pytest.raises(RotationRefused, match="is a former one"):
        await configured.rotate(A)


async def test_two_rotations_at_once_agree() -> None:
    store = MemoryKeyStore()
    first, second = await Worker(store, A).start(), await Worker(store, A).start()
    data_keys = await first.fill(5)
    results = await asyncio.gather(first.rotate(B), second.rotate(B), return_exceptions=True)
    assert any(isinstance(result, Rotation) for result in results)
    assert all(isinstance(result, Rotation | RotationRefused) for result in results)
    assert await sealed_ids(store) == {B.id}
    assert await (await Worker(store, B).start()).opens(data_keys)


async def test_a_damaged_record_is_named_and_keeps_the_former_root_key() -> None:
    store = MemoryKeyStore()
    worker = await Worker(store, A).start()
    data_keys = await worker.fill(4)
    lost = data_keys[1][0].rpartition("/")[2]
    victim = next(record for record in await store.scan(model.MATERIAL) if lost in record.id)
    await store.write([Record(victim.kind, victim.id, victim.version, victim.body[:-1] + b"\x00")])
    with pytest.raises(WrongRootKey, match=victim.id):
        await worker.rotate(B)
    status = await worker.status()
    assert (status.damaged, status.handover, status.is_sufficient) == ((f"material {victim.id}",), True, False)
    assert not await (await Worker(store, B).start()).root_key.finish()
    fresh = await Worker(store, A).start()
    assert [key for key in data_keys if await opens_one(fresh, key)] == [
        key for key in data_keys if key[0].rpartition("/")[2] not in victim.id
    ]


async def opens_one(worker: Worker, data_key: tuple[str, bytes, bytes]) -> bool:
    with contextlib.suppress(KmsError):
        return await worker.opens([data_key])
    return False


async def test_a_sealed_record_does_not_open_in_another_place_or_under_another_name() -> None:
    store = MemoryKeyStore()
    worker = await Worker(store, A).start()
    sealed = await worker.root_key.wrap(b"material", b"place")
    assert await worker.root_key.unwrap(sealed, b"place") == b"material"
    await worker.rotate(B)
    renamed = root_key_state.header(B.id) + sealed[root_key_state.HEADER_SIZE :]
    for wrapped, place in ((sealed, b"other"), (renamed, b"place"), (b"\x02short", b"place"), (b"", b"place")):
        with pytest.raises(WrongRootKey):
            await worker.root_key.unwrap(wrapped, place)


async def test_a_file_that_cannot_be_read_again_changes_nothing() -> None:
    store = MemoryKeyStore()

    def reload() -> LocalRootKey:
        raise RootKeyUnusable("gone")

    root_key = VersionedRootKey(store, A, FakeClock(), RANDOM, reload)
    await root_key.start()
    sealed = await root_key.wrap(b"m", b"")
    await (await Worker(store, A).start()).rotate(B)
    await (await Worker(store, B).start()).root_key.finish()
    with pytest.raises(WrongRootKey, match="not at hand"):
        await root_key.wrap(b"m", b"")
    assert await root_key.unwrap(sealed, b"") == b"m"


def test_an_id_tells_the_key_apart_and_nothing_else() -> None:
    again = LocalRootKey(A.export(), FakeRandom("other"))
    assert again.id == A.id != B.id
    assert len(A.id) == 16
    assert A.export().hex() not in repr(A) + A.id


async def test_nobody_needs_rights_for_what_the_service_does_by_itself() -> None:
    worker = await Worker(MemoryKeyStore(), A).start()
    nobody: CallOrigin = user("nobody", region=REGION)
    made = await worker.keys.generate_data_key(nobody, S3_OWNED_KEY, {})
    await worker.rotate(B)
    assert await worker.keys.decrypt(nobody, S3_OWNED_KEY, made.wrapped, {}) == made.plaintext


@pytest.mark.parametrize("fault", [StoreUnavailable("as told"), ValueError("a damaged record")])
async def test_a_fault_does_not_end_the_look_for_a_new_root_key(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    monkeypatch.setattr(versioned, "_FOLLOW_SECONDS", 0)
    again = asyncio.Event()

    class Faulty(VersionedRootKey):
        looks = 0

        async def refresh(self) -> None:
            self.looks += 1
            if self.looks > 1:
                again.set()
            raise fault

    task = asyncio.create_task(versioned.follow(Faulty(MemoryKeyStore(), A, FakeClock(), RANDOM)))
    async with asyncio.timeout(5):
        await again.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
