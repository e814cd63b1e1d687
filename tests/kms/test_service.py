"""The AWS managed key, root keys, several processes on one store, and faults."""

import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.kms import model
from proxy.kms.errors import KmsError, RootKeyUnusable, WrongRootKey
from proxy.kms.provider import AWS_MANAGED_S3_KEY
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.service import KeyService
from proxy.kms.store import Conflict, Record, StoreUnavailable
from proxy.kms.stores.memory import MemoryKeyStore
from proxy.kms.stores.sqlite import SqliteKeyStore
from tests.fakes import FakeClock, FakeRandom
from tests.kms.harness import ACCOUNT, ADMIN, REGION, ROOT_KEY, THROUGH_S3, Kms, KmsFault
from tests.kms.imports import import_material


async def managed_key(kms: Kms) -> str:
    made = await EmbeddedKeyProvider(kms.service).generate_data_key(THROUGH_S3, AWS_MANAGED_S3_KEY, {})
    return made.key_arn


async def test_the_aws_managed_key_as_aws_describes_it(kms: Kms) -> None:
    arn = await managed_key(kms)
    described = (await kms.call("DescribeKey", KeyId="alias/aws/s3"))["KeyMetadata"]
    assert described["Arn"] == arn
    assert described["KeyManager"] == "AWS"
    assert described["Description"] == "Default key that protects my S3 objects when no other key is defined"
    listed = (await kms.call("ListAliases"))["Aliases"]
    assert [(alias["AliasName"], alias["TargetKeyId"]) for alias in listed] == [("alias/aws/s3", described["KeyId"])]
    assert (await kms.call("GetKeyRotationStatus", KeyId=arn))["KeyRotationEnabled"] is True
    policy = json.loads((await kms.call("GetKeyPolicy", KeyId=arn))["Policy"])
    assert policy["Id"] == "auto-s3-2"
    assert policy["Statement"][0]["Condition"]["StringEquals"] == {
        "kms:ViaService": f"s3.{REGION}.amazonaws.com",
        "kms:CallerAccount": ACCOUNT,
    }


async def test_describing_the_alias_makes_the_aws_managed_key(kms: Kms) -> None:
    described = (await kms.call("DescribeKey", KeyId="alias/aws/s3"))["KeyMetadata"]
    assert described["Arn"] == await managed_key(kms)


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("DisableKey", {}),
        ("EnableKey", {}),
        ("ScheduleKeyDeletion", {}),
        ("PutKeyPolicy", {"Policy": '{"Statement":[]}', "BypassPolicyLockoutSafetyCheck": True}),
        ("UpdateKeyDescription", {"Description": "mine"}),
        ("EnableKeyRotation", {}),
        ("DisableKeyRotation", {}),
        ("RotateKeyOnDemand", {}),
        ("TagResource", {"Tags": []}),
        ("CreateGrant", {"GranteePrincipal": ADMIN.caller.arn, "Operations": ["Decrypt"]}),
        ("Encrypt", {"Plaintext": b"x"}),
        ("GenerateDataKey", {"KeySpec": "AES_256"}),
    ],
)
async def test_nobody_may_change_the_aws_managed_key_or_use_it_but_through_s3(
    kms: Kms, operation: str, members: dict[str, object]
) -> None:
    arn = await managed_key(kms)
    before = await kms.store.scan("key")
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, KeyId=arn, **members)
    assert caught.value.code == "AccessDeniedException"
    assert caught.value.message == (
        f"User: {ADMIN.caller.arn} is not authorized to perform: kms:{operation} on resource: {arn} "
        f"because no resource-based policy allows the kms:{operation} action"
    )
    assert await kms.store.scan("key") == before


async def test_its_alias_cannot_be_moved_or_deleted_and_it_gets_no_other(kms: Kms) -> None:
    arn, mine = await managed_key(kms), await kms.key()
    for operation, members in (
        ("UpdateAlias", {"AliasName": "alias/aws/s3", "TargetKeyId": mine}),
        ("DeleteAlias", {"AliasName": "alias/aws/s3"}),
        ("CreateAlias", {"AliasName": "alias/aws/s3", "TargetKeyId": mine}),
    ):
        with pytest.raises(KmsFault, match="NotAuthorizedException"):
            await kms.call(operation, **members)
    with pytest.raises(KmsFault, match="AccessDeniedException"):
        await kms.call("CreateAlias", AliasName="alias/mine", TargetKeyId=arn)
    await kms.call("CreateAlias", AliasName="alias/mine", TargetKeyId=mine)
    with pytest.raises(KmsFault, match="AccessDeniedException"):
        await kms.call("UpdateAlias", AliasName="alias/mine", TargetKeyId=arn)


def service(store: MemoryKeyStore | SqliteKeyStore, key: bytes = ROOT_KEY, seed: str = "") -> KeyService:
    random = FakeRandom(seed)
    return KeyService(store, LocalRootKey(key, random), FakeClock(), random)


async def test_a_wrong_root_key_is_known_at_start() -> None:
    store = MemoryKeyStore()
    await service(store).start()
    with pytest.raises(WrongRootKey, match="the root key is not the one that this key store was sealed with"):
        await service(store, bytes(32)).start()
    await service(store).start()


async def test_services_that_start_at_once_agree_on_one_secret(tmp_path: Path) -> None:
    stores = [SqliteKeyStore(tmp_path / "keys.db") for _ in range(4)]
    services = [service(store, seed=str(number)) for number, store in enumerate(stores)]
    await asyncio.gather(*(each.start() for each in services))
    assert len({each._token_key for each in services}) == 1
    for store in stores:
        await store.aclose()


async def test_nothing_is_sealed_before_the_start() -> None:
    with pytest.raises(RuntimeError):
        _ = service(MemoryKeyStore()).sealing


async def test_a_change_by_one_process_is_refused_by_the_next_call_of_another(tmp_path: Path) -> None:
    clock = FakeClock()
    stores = [SqliteKeyStore(tmp_path / "keys.db") for _ in range(2)]
    one, two = [await Kms(store, clock).start() for store in stores]
    key = await one.key(Origin="EXTERNAL")
    await import_material(one, key, b"m" * 32)
    blob = (await two.call("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"]
    for _ in range(20):
        assert (await two.call("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"x"
        await one.call("DisableKey", KeyId=key)
        with pytest.raises(KmsFault, match="is disabled"):
            await two.call("Decrypt", CiphertextBlob=blob)
        await one.call("EnableKey", KeyId=key)
    parameters = await two.call(
        "GetParametersForImport", KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )
    await one.call("DeleteImportedKeyMaterial", KeyId=key)
    with pytest.raises(KmsFault, match="is pending import"):
        await two.call("Decrypt", CiphertextBlob=blob)
    await import_material(one, key, b"m" * 32, parameters=parameters)
    assert (await two.call("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"x"
    for store in stores:
        await store.aclose()


async def test_two_processes_make_the_managed_key_once(tmp_path: Path) -> None:
    stores = [SqliteKeyStore(tmp_path / "keys.db") for _ in range(2)]
    services = [await Kms(store).start() for store in stores]
    arns = await asyncio.gather(*(managed_key(each) for each in services for _ in range(4)))
    assert len(set(arns)) == 1
    assert len((await services[0].call("ListKeys"))["Keys"]) == 1
    assert len(await stores[0].scan("material")) == 1
    for store in stores:
        await store.aclose()


async def test_everything_outlives_the_process(tmp_path: Path) -> None:
    store = SqliteKeyStore(tmp_path / "keys.db")
    kms = await Kms(store).start()
    key = await kms.key(Tags=[{"TagKey": "a", "TagValue": "ü"}], Description="mine")
    await kms.call("EnableKeyRotation", KeyId=key)
    await kms.call("RotateKeyOnDemand", KeyId=key)
    grant = await kms.call("CreateGrant", KeyId=key, GranteePrincipal=ADMIN.caller.arn, Operations=["Decrypt"])
    blob = (await kms.call("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"]
    questions = ("DescribeKey", "ListGrants", "ListKeyRotations", "ListResourceTags", "GetKeyRotationStatus")
    before = [await kms.call(question, KeyId=key) for question in questions]
    await store.aclose()
    store = SqliteKeyStore(tmp_path / "keys.db")
    again = await Kms(store).start()
    assert [await again.call(question, KeyId=key) for question in questions] == before
    opened = await again.call("Decrypt", CiphertextBlob=blob, GrantTokens=[grant["GrantToken"]])
    assert opened["Plaintext"] == b"x"
    await store.aclose()


async def test_material_at_rest_is_wrapped_and_bound_to_its_place(kms: Kms) -> None:
    one, two = await kms.key(Origin="EXTERNAL"), await kms.key(Origin="EXTERNAL")
    for key, material in ((one, b"1" * 32), (two, b"2" * 32)):
        await import_material(kms, key, material)
    for kind in ("key", "material", "service"):
        for record in await kms.store.scan(kind):
            assert b"1" * 8 not in record.body
    records = {record.id.split("/")[3]: record for record in await kms.store.scan("material")}
    swapped = Record("material", records[one].id, records[one].version, records[two].body)
    await kms.store.write([swapped])
    for place in kms.service.ring.held:
        kms.service.ring.drop(*place)
    with pytest.raises(KmsFault) as caught:
        await kms.call("Encrypt", KeyId=one, Plaintext=b"x")
    assert (caught.value.status, caught.value.code) == (500, "KMSInternalException")


class Faulty(MemoryKeyStore):
    """Raises what it is told to, at every write or every read."""

    write_fault: Exception | None = None
    read_fault: Exception | None = None

    async def write(self, puts: Sequence[Record], deletes: Sequence[Record] = ()) -> None:
        if self.write_fault:
            raise self.write_fault
        await super().write(puts, deletes)

    async def get(self, kind: str, id: str) -> Record | None:
        if self.read_fault:
            raise self.read_fault
        return await super().get(kind, id)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (StoreUnavailable("disk full: /secret/path"), 503, "DependencyTimeoutException"),
        (Conflict("for ever"), 503, "DependencyTimeoutException"),
        (RootKeyUnusable("no route to /secret/path"), 500, "KeyUnavailableException"),
        (ZeroDivisionError("/secret/path"), 500, "KMSInternalException"),
    ],
)
@pytest.mark.parametrize("place", ["write_fault", "read_fault"])
async def test_faults_are_errors_of_kms_that_tell_nothing(
    place: str, fault: Exception, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Faulty()
    kms = await Kms(store).start()
    key = await kms.key()
    await kms.call("DescribeKey", KeyId=key)
    if place == "read_fault":
        kms.service.repository._generation = None
    setattr(store, place, fault)
    with caplog.at_level(logging.ERROR), pytest.raises(KmsFault) as caught:
        await kms.call("DisableKey", KeyId=key)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert "secret" not in caught.value.message
    assert caplog.records
    assert all(ADMIN.request_id in record.getMessage() for record in caplog.records)
    setattr(store, place, None)
    assert await kms.state(key) == "Enabled"


async def test_a_conflict_is_tried_again_from_fresh_reads(kms: Kms) -> None:
    key = await kms.key()
    write = kms.store.write
    meddled = False

    async def meddling(puts: Sequence[Record], deletes: Sequence[Record] = ()) -> None:
        nonlocal meddled
        if not meddled:
            meddled = True
            await kms.call("UpdateKeyDescription", KeyId=key, Description="meanwhile")
        await write(puts, deletes)

    kms.store.write = meddling  # type: ignore[method-assign]
    await kms.call("DisableKey", KeyId=key)
    described = (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]
    assert (described["KeyState"], described["Description"]) == ("Disabled", "meanwhile")


async def test_the_providers_faults_are_errors_of_kms() -> None:
    store = Faulty()
    kms = await Kms(store).start()
    store.read_fault = StoreUnavailable("gone")
    with pytest.raises(KmsError) as caught:
        await EmbeddedKeyProvider(kms.service).generate_data_key(THROUGH_S3, AWS_MANAGED_S3_KEY, {})
    assert (caught.value.code, caught.value.status) == ("DependencyTimeoutException", 503)


async def test_records_are_of_the_kinds_that_the_model_names(kms: Kms) -> None:
    await kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=await kms.key())
    kinds = {model.KEY, model.MATERIAL, model.ALIAS, model.SERVICE}
    assert {kind for kind, _ in kms.store._records} == kinds  # type: ignore[attr-defined]
