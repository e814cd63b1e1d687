"""Operations that are cut off: the old state or the new one, never a mix. And processes at once: no update is lost."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from proxy.kms.operations import OPERATIONS
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.store import Record, StoreUnavailable
from proxy.kms.stores.memory import MemoryKeyStore
from proxy.kms.stores.sqlite import SqliteKeyStore
from tests.fakes import FakeRandom
from tests.kms.harness import REGION, ROOT_KEY, Kms, KmsFault, user
from tests.kms.imports import import_material
from tests.kms.invariants import check_store

OREGON, OSAKA = "us-west-2", "ap-northeast-3"
GRANTEE = "arn:aws:iam::111122223333:user/grantee"
READING: Final = ("Describe", "Get", "List", "Verify")


class FailingStore(MemoryKeyStore):
    """Fails each write, once told to: before it or after it."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: str | None = None
        self.writes = 0

    async def write(
        self, puts: Sequence[Record], deletes: Sequence[Record] = (), unchanged: Sequence[Record] = ()
    ) -> None:
        self.writes += 1
        if self.fails == "before":
            raise StoreUnavailable("as told")
        await super().write(puts, deletes, unchanged)
        if self.fails == "after":
            raise StoreUnavailable("as told")

    def content(self) -> dict[tuple[str, str], bytes]:
        return {place: record.body for place, record in self._records.items()}


class Scene:
    """Keys with all there can be, for any operation that changes something."""

    def __init__(self, kms: Kms) -> None:
        self.kms = kms

    async def prepare(self) -> None:
        kms = self.kms
        self.key = await kms.key(MultiRegion=True, Tags=[{"TagKey": "there", "TagValue": ""}])
        for region in (OREGON, OSAKA):
            await kms.call("ReplicateKey", KeyId=self.key, ReplicaRegion=region)
        self.single, self.disabled, self.deleted = await kms.key(), await kms.key(), await kms.key()
        self.imported, self.empty = await kms.key(Origin="EXTERNAL"), await kms.key(Origin="EXTERNAL")
        await import_material(kms, self.imported, b"m" * 32)
        # Its rotation is overdue, and due at once when it is enabled.
        await kms.call("EnableKeyRotation", KeyId=self.disabled, RotationPeriodInDays=90)
        await kms.call("DisableKey", KeyId=self.disabled)
        kms.clock.advance(days=91)
        await kms.call("EnableKeyRotation", KeyId=self.single)
        await kms.call("ScheduleKeyDeletion", KeyId=self.deleted)
        await kms.call("CreateAlias", AliasName="alias/there", TargetKeyId=self.key)
        asked = {"KeyId": self.key, "GranteePrincipal": GRANTEE, "Operations": ["Decrypt"]}
        self.grant = (await kms.call("CreateGrant", **asked))["GrantId"]
        self.parameters = await kms.call(
            "GetParametersForImport",
            KeyId=self.empty,
            WrappingAlgorithm="RSAES_OAEP_SHA_256",
            WrappingKeySpec="RSA_2048",
        )

    async def run(self, operation: str) -> None:
        if operation == "ImportKeyMaterial":
            await import_material(self.kms, self.empty, b"n" * 32, parameters=self.parameters)
        else:
            await self.kms.call(operation, **self.members()[operation])

    def members(self) -> dict[str, dict[str, Any]]:
        key, grant = {"KeyId": self.key}, {"KeyId": self.key, "GrantId": self.grant}
        policy = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}'
        return {
            "CancelKeyDeletion": {"KeyId": self.deleted},
            "CreateAlias": {"AliasName": "alias/new", "TargetKeyId": self.key},
            "CreateGrant": {**key, "GranteePrincipal": GRANTEE, "Operations": ["Encrypt"]},
            "CreateKey": {"Tags": [{"TagKey": "a", "TagValue": "b"}]},
            "DeleteAlias": {"AliasName": "alias/there"},
            "DeleteImportedKeyMaterial": {"KeyId": self.imported},
            "DisableKey": key,
            "DisableKeyRotation": {"KeyId": self.single},
            "EnableKey": {"KeyId": self.disabled},
            "EnableKeyRotation": key,
            "PutKeyPolicy": {**key, "Policy": policy},
            "ReplicateKey": {**key, "ReplicaRegion": "eu-west-1"},
            "RetireGrant": grant,
            "RevokeGrant": grant,
            "RotateKeyOnDemand": key,
            "ScheduleKeyDeletion": key,
            "TagResource": {**key, "Tags": [{"TagKey": "a", "TagValue": "b"}]},
            "UntagResource": {**key, "TagKeys": ["there"]},
            "UpdateAlias": {"AliasName": "alias/there", "TargetKeyId": self.single},
            "UpdateKeyDescription": {**key, "Description": "new"},
            "UpdatePrimaryRegion": {**key, "PrimaryRegion": OREGON},
        }


CHANGING: Final = sorted(
    [
        *("CancelKeyDeletion", "CreateAlias", "CreateGrant", "CreateKey", "DeleteAlias", "DeleteImportedKeyMaterial"),
        *("DisableKey", "DisableKeyRotation", "EnableKey", "EnableKeyRotation", "ImportKeyMaterial", "PutKeyPolicy"),
        *("ReplicateKey", "RetireGrant", "RevokeGrant", "RotateKeyOnDemand", "ScheduleKeyDeletion", "TagResource"),
        *("UntagResource", "UpdateAlias", "UpdateKeyDescription", "UpdatePrimaryRegion"),
    ]
)
USING: Final = {
    *("Decrypt", "DeriveSharedSecret", "Encrypt", "ReEncrypt", "Sign"),
    *("GenerateDataKey", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"),
    *("GenerateDataKeyWithoutPlaintext", "GenerateMac", "GenerateRandom"),
}
"""Operations that change no key; when a key was last used is noted apart from them."""


def test_every_operation_that_changes_something_is_here() -> None:
    changing = {name for name in OPERATIONS.names if not name.startswith(READING)} - USING
    assert {name for name in changing if "CustomKeyStore" not in name} == set(CHANGING)


@pytest.fixture(scope="module")
def prepared() -> tuple[dict[tuple[str, str], Record], Scene]:
    async def prepare() -> tuple[dict[tuple[str, str], Record], Scene]:
        scene = Scene(await Kms(FailingStore()).start())
        await scene.prepare()
        return dict(scene.kms.store._records), scene  # type: ignore[attr-defined]

    return asyncio.run(prepare())


@pytest.mark.parametrize("fails", ["before", "after", None])
@pytest.mark.parametrize("operation", CHANGING)
async def test_an_operation_is_one_write(prepared: tuple[Any, Scene], operation: str, fails: str | None) -> None:
    records, former = prepared
    store = FailingStore()
    store._records = dict(records)
    scene = Scene(await Kms(store, former.kms.clock).start())
    vars(scene).update({name: value for name, value in vars(former).items() if name != "kms"})
    root_key = LocalRootKey(ROOT_KEY, scene.kms.random)
    before = store.content()
    store.fails, store.writes = fails, 0
    if fails is None:
        await scene.run(operation)
    else:
        with pytest.raises(KmsFault, match="503 DependencyTimeoutException"):
            await scene.run(operation)
    assert store.writes == 1
    assert (store.content() == before) is (fails == "before")
    store.fails = None
    await check_store(store, root_key)
    if fails == "before":
        # Nothing in memory speaks of what did not happen.
        await scene.run(operation)
        assert store.content() != before
        await check_store(store, root_key)


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_what_is_due_is_one_write_too(fails: str) -> None:
    store = FailingStore()
    kms = await Kms(store).start()
    key = await kms.key(MultiRegion=True)
    for region in (OREGON, OSAKA):
        await kms.call("ReplicateKey", KeyId=key, ReplicaRegion=region)
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    await kms.call("ScheduleKeyDeletion", user("admin", "kms:*", region=OSAKA), KeyId=key)
    kms.clock.advance(days=200)
    before = store.content()
    store.fails, store.writes = fails, 0
    with pytest.raises(KmsFault, match="503 DependencyTimeoutException"):
        await kms.call("Encrypt", KeyId=key, Plaintext=b"x")
    assert store.writes == 1
    assert (store.content() == before) is (fails == "before")
    store.fails = None
    await check_store(store, LocalRootKey(ROOT_KEY, kms.random))
    await kms.call("Encrypt", KeyId=key, Plaintext=b"x")
    rotations = (await kms.call("ListKeyRotations", KeyId=key))["Rotations"]
    assert [rotation["RotationDate"] - kms.clock.now for rotation in rotations] == [
        timedelta(days=-110),
        timedelta(days=-20),
    ]
    await check_store(store, LocalRootKey(ROOT_KEY, kms.random))


ROOT = Path(__file__).parents[2]


def start(*arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "tests.kms.many", *arguments], stdout=subprocess.PIPE, cwd=ROOT)


async def test_sigkill_at_any_moment_leaves_no_mix(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    random = FakeRandom("pauses")
    for _ in range(8):
        process = start("wander", str(path))
        assert process.stdout is not None
        process.stdout.read(30)
        await asyncio.sleep(random(1)[0] / 1000)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        store = SqliteKeyStore(path)
        assert len(await store.scan("key")) > 0
        await check_store(store, LocalRootKey(ROOT_KEY, random))
        await store.aclose()


async def test_eight_processes_lose_no_update(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    kms = await Kms(SqliteKeyStore(path)).start()
    key = await kms.key(MultiRegion=True)
    for region in (OREGON, OSAKA):
        await kms.call("ReplicateKey", KeyId=key, ReplicaRegion=region)
    processes = [start("hammer", str(path), key, str(number)) for number in range(8)]
    told = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert [answer["won"] for answer in told].count(True) == 1
    names = sorted(f"{number}.{turn}" for number in range(8) for turn in range(3))
    for region in (REGION, OREGON, OSAKA):
        origin = user("admin", "kms:*", region=region)
        tags = (await kms.call("ListResourceTags", origin, KeyId=key))["Tags"]
        assert [tag["TagKey"] for tag in tags] == names
        assert len((await kms.call("ListKeyRotations", origin, KeyId=key))["Rotations"]) == 24
        for answer in told:
            for turn, blob in enumerate(answer["blobs"]):
                opened = await kms.call("Decrypt", origin, CiphertextBlob=bytes.fromhex(blob))
                assert opened["Plaintext"] == b"%d" % turn
    grants = (await kms.call("ListGrants", KeyId=key, Limit=100))["Grants"]
    assert sorted(grant["GranteePrincipal"].rpartition("/u")[2] for grant in grants) == names
    await check_store(kms.store, LocalRootKey(ROOT_KEY, kms.random))
    await kms.service.aclose()
