"""S3 Bucket Keys: how few calls they cost, and how soon a change of the key counts."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.aws.credentials import CallOrigin
from proxy.kms.errors import KmsError
from proxy.kms.provider import DataKey, EncryptionContext
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from proxy.kms.stores.sqlite import SqliteKeyStore
from proxy.s3.bucket_keys import BucketKeys
from tests.kms.harness import ADMIN, THROUGH_S3, Kms, user
from tests.kms.imports import import_material

BUCKET = {"aws:s3:arn": "arn:aws:s3:::bucket"}


class Counting(EmbeddedKeyProvider):
    """The embedded key service, which counts what it is asked."""

    def __init__(self, kms: Kms) -> None:
        super().__init__(kms.service)
        self.calls = Counter[str]()
        self.before: Callable[[], Awaitable[Any]] | None = None

    async def generate_data_key(self, origin: CallOrigin, key_id: str, context: EncryptionContext) -> DataKey:
        self.calls["generate"] += 1
        made = await super().generate_data_key(origin, key_id, context)
        if self.before is not None:
            await self.before()
        return made

    async def decrypt(self, origin: CallOrigin, key_id: str, wrapped: bytes, context: EncryptionContext) -> bytes:
        self.calls["decrypt"] += 1
        await asyncio.sleep(0)
        return await super().decrypt(origin, key_id, wrapped, context)


@dataclass
class World:
    kms: Kms
    keys: Counting
    now: float = 1000.0
    bucket_keys: BucketKeys = field(default_factory=BucketKeys)

    def limit(self, lifetime: float = 300, uses: int = 1000) -> None:
        self.bucket_keys = BucketKeys(lifetime, uses, clock=lambda: self.now)

    async def new(self, key_id: str, origin: CallOrigin = ADMIN, context: EncryptionContext = BUCKET) -> DataKey:
        return await self.bucket_keys.generate(self.keys, origin, key_id, context)

    async def opened(self, made: DataKey, origin: CallOrigin = ADMIN, context: EncryptionContext = BUCKET) -> bytes:
        return await self.bucket_keys.decrypt(self.keys, origin, made.key_arn, made.wrapped, context)

    async def refused(self, call: Awaitable[object]) -> str:
        with pytest.raises(KmsError) as error:
            await call
        return error.value.code


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = SqliteKeyStore(tmp_path / "keys.db")
    kms = await Kms(store).start()
    made = World(kms, Counting(kms))
    made.limit()
    yield made
    made.bucket_keys.clear()
    await kms.service.aclose()


async def test_many_objects_cost_one_call_each_way(world: World) -> None:
    key_id = await world.kms.key()
    made = [await world.new(key_id) for _ in range(100)]
    assert len({each.plaintext for each in made}) == 1
    assert {await world.opened(made[0]) for _ in range(100)} == {made[0].plaintext}
    assert world.keys.calls == {"generate": 1, "decrypt": 1}


async def test_requests_that_come_at_once_ask_once(world: World) -> None:
    key_id = await world.kms.key()
    made = await asyncio.gather(*(world.new(key_id) for _ in range(50)))
    await asyncio.gather(*(world.opened(made[0]) for _ in range(50)))
    assert world.keys.calls == {"generate": 1, "decrypt": 1}


async def test_a_refusal_is_each_callers_own_and_not_kept(world: World) -> None:
    key_id = await world.kms.key()
    await world.kms.call("DisableKey", KeyId=key_id)
    answers = await asyncio.gather(*(world.refused(world.new(key_id)) for _ in range(5)))
    assert answers == ["DisabledException"] * 5
    await world.kms.call("EnableKey", KeyId=key_id)
    assert len((await world.new(key_id)).plaintext) == 32


@pytest.mark.parametrize("limit", [{"lifetime": 300}, {"uses": 10}, {"lifetime": 0}])
async def test_a_bucket_key_is_bounded_in_time_and_uses(world: World, limit: dict[str, float]) -> None:
    key_id = await world.kms.key()
    world.limit(**limit)  # type: ignore[arg-type]
    keys = []
    for _ in range(31):
        keys.append((await world.new(key_id)).plaintext)
        world.now += 31
    expected = {"lifetime": 4 if limit.get("lifetime") else 31, "uses": 4}
    assert len(set(keys)) == world.keys.calls["generate"] == next(expected[name] for name in limit)


async def test_nothing_stays_in_memory_for_want_of_requests(world: World) -> None:
    key_id = await world.kms.key()
    world.limit(lifetime=0.02)
    await world.new(key_id)
    assert len(world.bucket_keys._kept) == 1
    world.now += 0.02
    await asyncio.sleep(0.05)
    assert world.bucket_keys._kept == {}
    assert world.bucket_keys._sweeper is None
    assert world.bucket_keys._locks == {}


async def test_no_two_callers_places_or_contexts_share_one(world: World) -> None:
    key_id, other = await world.kms.key(), await world.kms.key()
    await world.kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=key_id)
    calls = [
        (key_id, ADMIN, BUCKET),
        (other, ADMIN, BUCKET),
        ("alias/a", ADMIN, BUCKET),
        (key_id, ADMIN, {"aws:s3:arn": "arn:aws:s3:::bucket2"}),
        (key_id, ADMIN, {**BUCKET, "a": "b"}),
        (key_id, replace(ADMIN, source_address="192.0.2.7"), BUCKET),
        (key_id, replace(ADMIN, secure_transport=not ADMIN.secure_transport), BUCKET),
        (key_id, replace(ADMIN, caller=replace(ADMIN.caller, access_key_id="AKIAOTHER")), BUCKET),
    ]
    for _ in range(2):
        keys = {(await world.new(*call)).plaintext for call in calls}
        assert len(keys) == len(calls) == world.keys.calls["generate"]


async def test_who_may_make_one_may_not_therefore_open_it(world: World) -> None:
    key_id = await world.kms.key()
    writer = user("writer", "kms:GenerateDataKey")
    made = await world.new(key_id, writer)
    assert await world.refused(world.opened(made, writer)) == "AccessDeniedException"
    assert await world.opened(made) == made.plaintext


async def test_a_caller_whose_policies_change_is_asked_about_anew(world: World) -> None:
    key_id = await world.kms.key()
    made = await world.new(key_id)
    await world.opened(made)
    denied = user("admin", "kms:*", deny=["kms:GenerateDataKey", "kms:Decrypt"])
    assert denied.caller.arn == ADMIN.caller.arn
    assert await world.refused(world.new(key_id, denied)) == "AccessDeniedException"
    assert await world.refused(world.opened(made, denied)) == "AccessDeniedException"


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize(
    ("operation", "members", "code"),
    [
        ("DisableKey", {}, "DisabledException"),
        ("ScheduleKeyDeletion", {"PendingWindowInDays": 7}, "KMSInvalidStateException"),
        ("PutKeyPolicy", {"Policy": "deny"}, "AccessDeniedException"),
    ],
)
async def test_a_change_counts_at_the_next_request_in_any_process(
    world: World, operation: str, members: dict[str, Any], code: str, elsewhere: bool, tmp_path: Path
) -> None:
    key_id = await world.kms.key()
    made = await world.new(key_id)
    assert await world.opened(made) == made.plaintext
    if "Policy" in members:
        members = {"Policy": DENY_USE, "BypassPolicyLockoutSafetyCheck": True}
    changing = world.kms
    if elsewhere:
        changing = await Kms(SqliteKeyStore(tmp_path / "keys.db")).start()
    await changing.call(operation, KeyId=key_id, **members)
    assert await world.refused(world.new(key_id)) == code
    assert await world.refused(world.opened(made)) == code
    if elsewhere:
        await changing.service.aclose()


DENY_USE = """{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"},
    {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": "*"}
]}"""


async def test_what_changed_during_the_call_is_not_kept(world: World) -> None:
    key_id = await world.kms.key()
    await world.new(key_id)
    world.bucket_keys.clear()

    async def disable() -> None:
        world.keys.before = None
        await world.kms.call("DisableKey", KeyId=key_id)

    world.keys.before = disable
    await world.new(key_id)
    assert await world.refused(world.new(key_id)) == "DisabledException"


async def test_a_revoked_grant_counts_at_the_next_request(world: World) -> None:
    key_id = await world.kms.key()
    guest = user("guest")
    granted = await world.kms.call(
        "CreateGrant", KeyId=key_id, GranteePrincipal=guest.caller.arn, Operations=["GenerateDataKey", "Decrypt"]
    )
    made = await world.new(key_id, guest)
    assert await world.opened(made, guest) == made.plaintext
    await world.kms.call("RevokeGrant", KeyId=key_id, GrantId=granted["GrantId"])
    assert await world.refused(world.new(key_id, guest)) == "AccessDeniedException"
    assert await world.refused(world.opened(made, guest)) == "AccessDeniedException"


async def test_an_alias_that_moves_takes_new_objects_along(world: World) -> None:
    one, two = await world.kms.key(), await world.kms.key()
    await world.kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=one)
    first = await world.new("alias/a")
    await world.kms.call("UpdateAlias", AliasName="alias/a", TargetKeyId=two)
    assert (first.key_arn.rpartition("/")[2], (await world.new("alias/a")).key_arn.rpartition("/")[2]) == (one, two)


async def test_time_alone_can_end_a_key(world: World) -> None:
    key_id = await world.kms.key(Origin="EXTERNAL")
    await import_material(world.kms, key_id, bytes(32), valid_for=timedelta(hours=1))
    made = await world.new(key_id)
    assert await world.opened(made) == made.plaintext
    world.kms.clock.advance(hours=1)
    assert await world.refused(world.new(key_id)) == "KMSInvalidStateException"
    assert await world.refused(world.opened(made)) == "KMSInvalidStateException"


async def test_a_store_that_is_gone_leaves_nothing_to_use(world: World) -> None:
    key_id = await world.kms.key()
    await world.new(key_id)
    world.kms.service.repository.store._reading.close()  # type: ignore[attr-defined]
    assert world.keys.stamp() is None
    assert await world.refused(world.new(key_id)) == "DependencyTimeoutException"


async def test_there_are_not_more_than_so_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.s3.bucket_keys._MOST", 3)
    key_id = await world.kms.key()
    for number in (1, 2, 3, 4, 4, 3, 2, 1):
        await world.new(key_id, context={"aws:s3:arn": f"arn:aws:s3:::b{number}"})
    assert world.keys.calls["generate"] == 5
    assert len(world.bucket_keys._kept) == 3


async def test_keys_are_not_shown(world: World) -> None:
    made = await world.new(await world.kms.key(), THROUGH_S3)
    assert repr(made.plaintext)[2:12] not in repr(world.bucket_keys._kept)
