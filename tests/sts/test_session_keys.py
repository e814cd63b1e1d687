"""Session keys: one for each version of the root key, kept as long as a session may last."""

import pytest

from proxy.aws.credentials import InvalidSessionToken
from proxy.kms import model
from proxy.kms.root_key_rotation import rotate, start
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.root_keys.versioned import GuardedKeyStore, VersionedRootKey
from proxy.kms.store import KeyStore
from proxy.kms.stores.memory import MemoryKeyStore
from proxy.sts.credentials import Credentials
from proxy.sts.principals import Principals
from proxy.sts.service import StsService
from proxy.sts.session_keys import RECORD_PREFIX, SessionKeys
from tests.fakes import FakeClock, FakeRandom
from tests.sts.harness import Sts, user

ALICE = user("alice")
OLD, NEW = (LocalRootKey(bytes([number]) * 32, FakeRandom(str(number))) for number in (1, 2))


class Process:
    """What one process has of STS."""

    def __init__(self, store: KeyStore, root_key: LocalRootKey, clock: FakeClock, seed: str) -> None:
        random = FakeRandom(seed)
        self.store = GuardedKeyStore(store)
        self.root_key = VersionedRootKey(self.store, root_key, clock, random)
        self.keys = SessionKeys(self.store, self.root_key, clock, random)
        principals = Principals([ALICE])
        self.credentials = Credentials(principals, self.keys)
        self.sts = Sts([ALICE], [])
        self.sts.service = StsService(principals, self.keys, clock, random)
        self.clock = clock

    async def start(self) -> "Process":
        await start(self.root_key, self.store)
        await self.keys.refresh()
        return self

    async def session(self) -> tuple[str, str]:
        given = (await self.sts.call("GetSessionToken", ALICE.caller, DurationSeconds=129_600))["Credentials"]
        return given["AccessKeyId"], given["SessionToken"]

    def knows(self, session: tuple[str, str]) -> bool:
        try:
            return self.credentials.find_temporary(*session, self.clock()).caller.arn == ALICE.caller.arn
        except InvalidSessionToken:
            return False


async def stored(store: KeyStore) -> list[str]:
    return [record.id for record in await store.scan(model.SERVICE, RECORD_PREFIX)]


@pytest.fixture
def store() -> MemoryKeyStore:
    return MemoryKeyStore()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_processes_share_a_key(store: KeyStore, clock: FakeClock) -> None:
    one, other = await Process(store, OLD, clock, "1").start(), await Process(store, OLD, clock, "2").start()
    assert other.knows(await one.session())
    assert one.knows(await other.session())
    assert await stored(store) == [f"{RECORD_PREFIX}0000000001"]


async def test_a_session_outlives_a_restart(store: KeyStore, clock: FakeClock) -> None:
    session = await (await Process(store, OLD, clock, "1").start()).session()
    assert (await Process(store, OLD, clock, "2").start()).knows(session)


async def test_sessions_outlive_a_root_key_rotation(store: KeyStore, clock: FakeClock) -> None:
    serving, rotating = await Process(store, OLD, clock, "1").start(), await Process(store, OLD, clock, "2").start()
    before = await serving.session()
    clock.advance(minutes=1)
    await rotate(rotating.store, rotating.root_key, NEW)
    after = await serving.session()
    assert serving.keys.current_version == 2
    assert serving.knows(before)
    assert serving.knows(after)

    restarted = await Process(store, NEW, clock, "3").start()
    assert restarted.knows(before)
    assert restarted.knows(after)


async def test_a_process_learns_of_a_new_key_when_it_meets_it(store: KeyStore, clock: FakeClock) -> None:
    one, other = await Process(store, OLD, clock, "1").start(), await Process(store, OLD, clock, "2").start()
    await rotate(one.store, one.root_key, NEW)
    session = await one.session()
    assert not other.credentials.missed_key
    assert not other.knows(session)
    assert other.credentials.missed_key
    await other.credentials.refresh()
    assert other.knows(session)
    assert not other.credentials.missed_key


async def test_a_former_key_goes_when_no_session_can_last(store: KeyStore, clock: FakeClock) -> None:
    process = await Process(store, OLD, clock, "1").start()
    await process.session()
    clock.advance(hours=1)
    await rotate(process.store, process.root_key, NEW)
    await process.session()
    assert len(await stored(store)) == 2

    clock.advance(hours=36)
    assert (await Process(store, NEW, clock, "2").start()).keys.known.keys() == {1, 2}
    clock.advance(minutes=6)
    later = await Process(store, NEW, clock, "3").start()
    assert later.keys.known.keys() == {2}
    assert await stored(store) == [f"{RECORD_PREFIX}0000000002"]


async def test_a_key_under_a_lost_root_key_is_replaced_with_its_sessions(clock: FakeClock) -> None:
    store = MemoryKeyStore()
    former = SessionKeys(store, OLD, clock, FakeRandom("1"))
    await former.refresh()
    await SessionKeys(store, NEW, clock, FakeRandom("2")).refresh()
    again = SessionKeys(store, NEW, clock, FakeRandom("3"))
    await again.refresh()
    assert again.current.secrets != former.current.secrets
    assert await stored(store) == [f"{RECORD_PREFIX}0000000001"]


async def test_secrets_do_not_show(store: KeyStore, clock: FakeClock) -> None:
    process = await Process(store, OLD, clock, "1").start()
    assert "secrets" not in repr(process.keys.current)
