"""AWS's key-state table, cell by cell, for every operation on a key that there is."""

import base64
from datetime import timedelta
from typing import Any

import pytest

from proxy.kms.operations import OPERATIONS
from proxy.kms.states import KEY_STATE_TABLE, KeyState
from tests.kms.harness import Kms, KmsFault
from tests.kms.imports import import_material

POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":'
    '{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}]}'
)
GRANTEE = "arn:aws:iam::111122223333:user/grantee"

STATES = ("Enabled", "Disabled", "PendingDeletion", "PendingImport")

A = ("DisabledException", "{arn} is disabled.")
B = ("KMSInvalidStateException", "{arn} is pending deletion.")
C = ("KMSInvalidStateException", "{arn} is pending import.")
E = ("UnsupportedOperationException", "{arn} origin is EXTERNAL which is not valid for this operation.")
N = ("KMSInvalidStateException", "{arn} is not pending deletion.")
OK = None

CRYPTOGRAPHIC = (OK, A, B, C)
ALWAYS = (OK, OK, OK, OK)
NOT_DELETED = (OK, OK, B, OK)
EXPECTED: dict[str, tuple[tuple[str, str] | None, ...]] = {
    "CancelKeyDeletion": (N, N, OK, N),
    "CreateAlias": NOT_DELETED,
    "CreateGrant": CRYPTOGRAPHIC,
    "Decrypt": CRYPTOGRAPHIC,
    "DeleteAlias": ALWAYS,
    "DeleteImportedKeyMaterial": ALWAYS,
    "DescribeKey": ALWAYS,
    "DisableKey": (OK, OK, B, C),
    "DisableKeyRotation": (OK, A, B, E),
    "EnableKey": (OK, OK, B, C),
    "EnableKeyRotation": (OK, A, B, E),
    "Encrypt": CRYPTOGRAPHIC,
    "GenerateDataKey": CRYPTOGRAPHIC,
    "GenerateDataKeyWithoutPlaintext": CRYPTOGRAPHIC,
    "GetKeyPolicy": ALWAYS,
    "GetKeyRotationStatus": (OK, OK, OK, E),
    "GetParametersForImport": NOT_DELETED,
    "ImportKeyMaterial": NOT_DELETED,
    "ListAliases": ALWAYS,
    "ListGrants": ALWAYS,
    "ListKeyPolicies": ALWAYS,
    "ListKeyRotations": ALWAYS,
    "ListResourceTags": ALWAYS,
    "PutKeyPolicy": ALWAYS,
    "ReEncrypt": CRYPTOGRAPHIC,
    "RetireGrant": ALWAYS,
    "RevokeGrant": ALWAYS,
    "RotateKeyOnDemand": (OK, A, B, C),
    "ScheduleKeyDeletion": NOT_DELETED,
    "TagResource": NOT_DELETED,
    "UntagResource": NOT_DELETED,
    "UpdateAlias": NOT_DELETED,
    "UpdateKeyDescription": NOT_DELETED,
}
"""By operation: what AWS answers in each of STATES."""

NEEDS_IMPORTED_MATERIAL = {"DeleteImportedKeyMaterial", "GetParametersForImport", "ImportKeyMaterial"}


def test_every_operation_on_a_key_is_in_this_table() -> None:
    assert EXPECTED.keys() == OPERATIONS.names - {"CreateKey", "GenerateRandom", "ListKeys"}


class Subject:
    """A key with everything that an operation may need, made while the key was enabled."""

    def __init__(self, kms: Kms) -> None:
        self.kms = kms

    async def prepare(self, *, external: bool) -> None:
        kms = self.kms
        self.id = await kms.key(Origin="EXTERNAL" if external else "AWS_KMS")
        self.arn = (await kms.call("DescribeKey", KeyId=self.id))["KeyMetadata"]["Arn"]
        self.other = await kms.key()
        self.material = b"m" * 32
        if external:
            await import_material(kms, self.id, self.material)
        self.blob = (await kms.call("Encrypt", KeyId=self.id, Plaintext=b"secret"))["CiphertextBlob"]
        self.grant = await kms.call("CreateGrant", KeyId=self.id, GranteePrincipal=GRANTEE, Operations=["Decrypt"])
        await kms.call("CreateAlias", AliasName="alias/there", TargetKeyId=self.id)
        await kms.call("CreateAlias", AliasName="alias/elsewhere", TargetKeyId=self.other)
        if external:
            self.parameters = await kms.call(
                "GetParametersForImport",
                KeyId=self.id,
                WrappingAlgorithm="RSAES_OAEP_SHA_256",
                WrappingKeySpec="RSA_2048",
            )

    async def bring_to(self, state: str) -> None:
        if state == "Disabled":
            await self.kms.call("DisableKey", KeyId=self.id)
        elif state == "PendingDeletion":
            await self.kms.call("ScheduleKeyDeletion", KeyId=self.id)
        elif state == "PendingImport":
            await self.kms.call("DeleteImportedKeyMaterial", KeyId=self.id)
        assert await self.kms.state(self.id) == state

    async def run(self, operation: str) -> None:
        if operation == "ImportKeyMaterial":
            await import_material(self.kms, self.id, self.material, parameters=self.parameters)
            return
        if operation == "RotateKeyOnDemand" and self.is_external and await self.kms.state(self.id) == "Enabled":
            await import_material(self.kms, self.id, b"n" * 32, ImportType="NEW_KEY_MATERIAL")
        members: dict[str, Any] = {
            "CreateAlias": {"AliasName": "alias/new", "TargetKeyId": self.id},
            "CreateGrant": {"KeyId": self.id, "GranteePrincipal": GRANTEE, "Operations": ["Encrypt"]},
            "Decrypt": {"CiphertextBlob": self.blob},
            "DeleteAlias": {"AliasName": "alias/there"},
            "Encrypt": {"KeyId": self.id, "Plaintext": b"secret"},
            "GenerateDataKey": {"KeyId": self.id, "KeySpec": "AES_256"},
            "GenerateDataKeyWithoutPlaintext": {"KeyId": self.id, "NumberOfBytes": 7},
            "GetParametersForImport": {
                "KeyId": self.id,
                "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
                "WrappingKeySpec": "RSA_2048",
            },
            "PutKeyPolicy": {"KeyId": self.id, "Policy": POLICY},
            "ReEncrypt": {"CiphertextBlob": self.blob, "DestinationKeyId": self.other},
            "RetireGrant": {"KeyId": self.id, "GrantId": self.grant["GrantId"]},
            "RevokeGrant": {"KeyId": self.id, "GrantId": self.grant["GrantId"]},
            "TagResource": {"KeyId": self.id, "Tags": [{"TagKey": "a", "TagValue": "b"}]},
            "UntagResource": {"KeyId": self.id, "TagKeys": ["a"]},
            "UpdateAlias": {"AliasName": "alias/elsewhere", "TargetKeyId": self.id},
            "UpdateKeyDescription": {"KeyId": self.id, "Description": "new"},
        }.get(operation, {"KeyId": self.id})
        await self.kms.call(operation, **members)

    @property
    def is_external(self) -> bool:
        return hasattr(self, "parameters")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("operation", sorted(EXPECTED))
async def test_the_table(kms: Kms, operation: str, state: str) -> None:
    subject = Subject(kms)
    await subject.prepare(external=state == "PendingImport" or operation in NEEDS_IMPORTED_MATERIAL)
    await subject.bring_to(state)
    expected = EXPECTED[operation][STATES.index(state)]
    if expected is None:
        await subject.run(operation)
        return
    before = await kms.store.scan("key")
    with pytest.raises(KmsFault) as caught:
        await subject.run(operation)
    assert (caught.value.code, caught.value.message) == (expected[0], expected[1].format(arn=subject.arn))
    assert caught.value.status == 400
    assert await kms.store.scan("key") == before


async def test_re_encrypt_looks_at_both_keys(kms: Kms) -> None:
    subject = Subject(kms)
    await subject.prepare(external=False)
    await kms.call("DisableKey", KeyId=subject.other)
    with pytest.raises(KmsFault, match=f"key/{subject.other} is disabled"):
        await kms.call("ReEncrypt", CiphertextBlob=subject.blob, DestinationKeyId=subject.other)


def test_states_that_nothing_reaches_yet_are_refused_where_aws_refuses_them() -> None:
    for operation, row in KEY_STATE_TABLE.items():
        assert row[KeyState.PENDING_REPLICA_DELETION] == row[KeyState.PENDING_DELETION]
        if row[KeyState.DISABLED] == "1":
            assert row[KeyState.CREATING] == "14", operation
            assert row[KeyState.UNAVAILABLE] == (None if operation == "CreateGrant" else "11"), operation


async def test_deletion_comes_when_the_waiting_time_is_over(kms: Kms) -> None:
    subject = Subject(kms)
    await subject.prepare(external=False)
    await kms.call("ScheduleKeyDeletion", KeyId=subject.id, PendingWindowInDays=7)
    kms.clock.advance(days=7, milliseconds=-1)
    assert await kms.state(subject.id) == "PendingDeletion"
    kms.clock.advance(milliseconds=1)
    with pytest.raises(KmsFault) as caught:
        await kms.state(subject.id)
    assert (caught.value.code, caught.value.message) == ("NotFoundException", f"Key '{subject.arn}' does not exist")
    with pytest.raises(KmsFault, match=r"^400 AccessDeniedException: The ciphertext refers to a customer master key"):
        await kms.call("Decrypt", CiphertextBlob=subject.blob)
    with pytest.raises(KmsFault, match=r"Alias .*:alias/there is not found"):
        await kms.call("DescribeKey", KeyId="alias/there")
    for kind in ("key", "material", "alias", "grant"):
        left = await kms.store.scan(kind)
        assert not any(subject.id in record.id or subject.id.encode() in record.body for record in left), kind
    assert [key["KeyId"] for key in (await kms.call("ListKeys"))["Keys"]] == [subject.other]


async def test_a_key_that_is_due_is_not_listed_before_anyone_has_looked_at_it(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    kms.clock.advance(days=8)
    assert (await kms.call("ListKeys"))["Keys"] == []


async def test_what_is_due_can_be_settled_without_anyone_asking(kms: Kms) -> None:
    kept, deleted = await kms.key(), await kms.key()
    external, rotating = await kms.key(Origin="EXTERNAL"), await kms.key()
    await import_material(kms, external, b"m" * 32, valid_for=timedelta(days=100))
    await kms.call("ScheduleKeyDeletion", KeyId=deleted, PendingWindowInDays=7)
    await kms.call("EnableKeyRotation", KeyId=rotating, RotationPeriodInDays=90)
    kms.clock.advance(days=7)
    await kms.service.settle_all()
    assert {record.id.split("/")[2] for record in await kms.store.scan("key")} == {kept, external, rotating}
    kms.clock.advance(days=93)
    await kms.service.settle_all()
    left = sorted(record.id.split("/")[3] for record in await kms.store.scan("material"))
    assert left == sorted([kept, rotating, rotating])


async def test_cancelled_deletion_leaves_the_key_disabled(kms: Kms) -> None:
    key = await kms.key()
    answer = await kms.call("ScheduleKeyDeletion", KeyId=key)
    assert answer["DeletionDate"] - kms.clock.now == timedelta(days=30)
    assert (answer["KeyState"], answer["PendingWindowInDays"]) == ("PendingDeletion", 30)
    described = (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]
    assert described["DeletionDate"] == answer["DeletionDate"]
    assert described["Enabled"] is False
    assert (await kms.call("CancelKeyDeletion", KeyId=key))["KeyId"] == described["Arn"] == answer["KeyId"]
    described = (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]
    assert (described["KeyState"], "DeletionDate" in described) == ("Disabled", False)
    kms.clock.advance(days=31)
    assert await kms.state(key) == "Disabled"


@pytest.mark.parametrize("window", [1, 6, 31, 365])
async def test_a_waiting_time_out_of_range(kms: Kms, window: int) -> None:
    key = await kms.key()
    with pytest.raises(KmsFault, match="ValidationException"):
        await kms.call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=window)
    assert await kms.state(key) == "Enabled"


async def test_expired_material_is_deleted(kms: Kms) -> None:
    key = await kms.key(Origin="EXTERNAL")
    await import_material(kms, key, b"m" * 32, valid_for=timedelta(days=5))
    blob = (await kms.call("Encrypt", KeyId=key, Plaintext=b"secret"))["CiphertextBlob"]
    kms.clock.advance(days=5, milliseconds=-1)
    assert (await kms.call("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"secret"
    kms.clock.advance(milliseconds=1)
    with pytest.raises(KmsFault, match="is pending import"):
        await kms.call("Decrypt", CiphertextBlob=blob)
    assert await kms.store.scan("material") == []
    assert not kms.service.ring._ciphers
    await import_material(kms, key, b"m" * 32)
    assert (await kms.call("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"secret"


async def test_a_blob_is_base64_on_the_wire(kms: Kms) -> None:
    key = await kms.key()
    answer = await kms.call("GenerateDataKey", KeyId=key, KeySpec="AES_128")
    assert len(answer["Plaintext"]) == 16
    assert base64.b64encode(answer["CiphertextBlob"]).startswith(b"AQ")
