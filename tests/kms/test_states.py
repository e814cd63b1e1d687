"""AWS's key-state table, cell by cell, for every operation on a key that there is."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.aws.credentials import CallOrigin
from proxy.kms import states
from proxy.kms.model import KeyName, KmsKey
from proxy.kms.operations import OPERATIONS
from proxy.kms.states import KEY_STATE_TABLE, KeyState
from proxy.kms.store import Record
from proxy.kms.stores.memory import MemoryKeyStore
from tests.fakes import FakeClock
from tests.kms.harness import ACCOUNT, REGION, Kms, KmsFault, user
from tests.kms.imports import import_material

AWS_TABLE: Final = """
CancelKeyDeletion | 4 | 4 | ok | 4 | 4,13 | 4 | 4
CreateAlias | ok | ok | 3 | ok | ok | ok | ok
CreateGrant | ok | 1 | 2 or 3 | 5 | ok | 14 | ok
Decrypt | ok | 1 | 2 or 3 | 5 | 11 | 14 | ok
DeleteAlias | ok | ok | ok | ok | ok | ok | ok
DeleteImportedKeyMaterial | ok(9) | ok(9) | ok(9) | ok | N/A | 14 | 15
DeriveSharedSecret | ok | 1 | 2 or 3 | 5 | N/A | 14 | ok
DescribeKey | ok | ok | ok | ok | ok | ok | ok
DisableKey | ok | ok | 3 | 5 | ok(12) | 14 | 15
DisableKeyRotation | ?7 | 1 or 7 | 3 or 7 | 6 | 7 | 14 | ?7
EnableKey | ok | ok | 3 | 5 | ok(12) | 14 | 15
EnableKeyRotation | ?7 | 1 or 7 | 3 or 7 | 6 | 7 | 14 | ?7
Encrypt | ok | 1 | 2 or 3 | 5 | 11 | 14 | ok
GenerateDataKey | ok | 1 | 2 or 3 | 5 | 11 | 14 | ok
GenerateDataKeyPair | ok | 1 | 2 or 3 | 5 | 7 | 14 | ok
GenerateDataKeyPairWithoutPlaintext | ok | 1 | 2 or 3 | 5 | 7 | 14 | ok
GenerateDataKeyWithoutPlaintext | ok | 1 | 2 or 3 | 5 | 11 | 14 | ok
GenerateMac | ok | 1 | 2 or 3 | 5 | N/A | 14 | ok
GetKeyPolicy | ok | ok | ok | ok | ok | ok | ok
GetKeyRotationStatus | ?7 | ?7 | ?7 | 6 | 7 | ?7 | ?7
GetParametersForImport | ?9 | ?9 | 8 or 9 | ok | 9 | 14 | 15
GetPublicKey | ok | ok | 2 or 3 | ok | N/A | 14 | ok
ImportKeyMaterial | ?9 | ?9 | 9 | ok | 9 | 14 | 15
ListAliases | ok | ok | ok | ok | ok | ok | ok
ListGrants | ok | ok | ok | ok | ok | ok | ok
ListKeyPolicies | ok | ok | ok | ok | ok | ok | ok
ListKeyRotations | ?7 | ?7 | ?7 | ok | 7 | ?7 | ?7
ListResourceTags | ok | ok | ok | ok | ok | ok | ok
PutKeyPolicy | ok | ok | ok | ok | ok | ok | ok
ReEncrypt | ok | 1 | 2 or 3 | 5 | 11 | 14 | ok
ReplicateKey | ok | 1 | 2 or 3 | 5 | N/A | 14 | 15
RetireGrant | ok | ok | ok | ok | ok | ok | ok
RevokeGrant | ok | ok | ok | ok | ok | ok | ok
RotateKeyOnDemand | ?7 | 1 or 7 | 3 or 7 | 5 | 7 | 14 | ?7
ScheduleKeyDeletion | ok | ok | 3 | ok | ok | ok | 15
Sign | ok | 1 | 2 or 3 | 5 | N/A | 14 | ok
TagResource | ok | ok | 3 | ok | ok | ok | ok
UntagResource | ok | ok | 3 | ok | ok | ok | ok
UpdateAlias | ok | ok | ?10 | ok | ok | ok | ok
UpdateKeyDescription | ok | ok | 3 | ok | ok | ok | ok
UpdatePrimaryRegion | ok | 1 | 2 or 3 | 5 | N/A | 14 | ok
Verify | ok | 1 | 2 or 3 | 5 | N/A | 14 | ok
VerifyMac | ok | 1 | 2 or 3 | 5 | N/A | 14 | ok
"""
"""AWS's page, its columns in the order of COLUMNS. Numbers are its footnotes; ? is "it depends"."""

COLUMNS: Final = ("Enabled", "Disabled", "PendingDeletion", "PendingImport", "Unavailable", "Creating", "Updating")
CHOSEN: Final = {
    "4,13": "4",
    "2 or 3": "3",
    "1 or 7": "1",
    "3 or 7": "3",
    # The key is one that can have imported material, and in no custom key store.
    "8 or 9": "3",
    "9": "3",
    "?7": "ok",
    "?9": "ok",
    "ok(9)": "ok",
    "ok(12)": "ok",
    # The alias is moved onto the key.
    "?10": "3",
}
"""Which of AWS's answers it is, where a cell has several."""

FOOTNOTES: Final = {
    "1": ("DisabledException", "{arn} is disabled."),
    "3": ("KMSInvalidStateException", "{arn} is {pending}."),
    "4": ("KMSInvalidStateException", "{arn} is not pending deletion."),
    "5": ("KMSInvalidStateException", "{arn} is pending import."),
    "6": ("UnsupportedOperationException", "{arn} origin is EXTERNAL which is not valid for this operation."),
    "11": ("KMSInvalidStateException", "{arn} is unavailable."),
    "14": ("KMSInvalidStateException", "{arn} is creating."),
    "15": ("KMSInvalidStateException", "{arn} is updating."),
}
PENDING: Final = {"PendingDeletion": "pending deletion", "PendingReplicaDeletion": "pending replica deletion"}

NOT_ON_A_KEY: Final = {
    "ConnectCustomKeyStore",
    "CreateCustomKeyStore",
    "CreateKey",
    "DeleteCustomKeyStore",
    "DescribeCustomKeyStores",
    "DisconnectCustomKeyStore",
    "GenerateRandom",
    "ListKeys",
    "ListRetirableGrants",
    "UpdateCustomKeyStore",
}
NOT_ON_THE_PAGE: Final = {"GetKeyLastUsage": dict.fromkeys(COLUMNS, "ok")}


def read_table() -> dict[str, dict[str, str]]:
    rows = [[cell.strip() for cell in line.split("|")] for line in AWS_TABLE.strip().splitlines()]
    table = {name: dict(zip(COLUMNS, cells, strict=True)) for name, *cells in rows} | NOT_ON_THE_PAGE
    for row in table.values():
        row["PendingReplicaDeletion"] = row["PendingDeletion"]
    return table


TABLE: Final = read_table()
REACHABLE: Final = (
    "Enabled",
    "Disabled",
    "PendingDeletion",
    "PendingReplicaDeletion",
    "PendingImport",
    "Creating",
    "Updating",
)
"""Unavailable is a state of keys in custom key stores alone."""


def expected(operation: str, state: str) -> str:
    cell = TABLE[operation][state]
    if cell == "9" and state == "Unavailable":
        return cell
    return CHOSEN.get(cell, cell)


def test_every_operation_on_a_key_is_in_the_table() -> None:
    assert OPERATIONS.names - NOT_ON_A_KEY <= TABLE.keys()
    assert OPERATIONS.names - NOT_ON_A_KEY <= KEY_STATE_TABLE.keys()


@pytest.mark.parametrize("operation", sorted(TABLE))
def test_the_data_are_aws_data(operation: str) -> None:
    assert KEY_STATE_TABLE.keys() == TABLE.keys()
    for state in KeyState:
        if (cell := expected(operation, state)) != "N/A":
            assert KEY_STATE_TABLE[operation][state] == (None if cell == "ok" else cell), state


def test_a_key_that_is_unavailable() -> None:
    key = KmsKey(KeyName(ACCOUNT, REGION, "1"), datetime(2026, 1, 1, tzinfo=UTC), "", origin="AWS_CLOUDHSM")
    unavailable = states.refusal("Encrypt", key, KeyState.UNAVAILABLE)
    assert unavailable is not None
    assert (unavailable.code, unavailable.message) == ("KMSInvalidStateException", f"{key.arn} is unavailable.")
    unsupported = states.refusal("RotateKeyOnDemand", key, KeyState.UNAVAILABLE)
    assert unsupported is not None
    assert unsupported.code == "UnsupportedOperationException"
    assert states.refusal("DescribeKey", key, KeyState.UNAVAILABLE) is None


POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":'
    '{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}]}'
)
GRANTEE = "arn:aws:iam::111122223333:user/grantee"
WRAPPING = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
MATERIAL = b"m" * 32
KEY_PAIR = ec.derive_private_key(12345, ec.SECP256R1()).private_bytes(
    serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
TRANSITION = timedelta(seconds=5)
OREGON, OSAKA = "us-west-2", "ap-northeast-3"
KINDS: Final[dict[str, dict[str, Any]]] = {
    "symmetric": {},
    "imported": {"Origin": "EXTERNAL"},
    "signing": {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"},
    "mac": {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
    "agreement": {"KeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT"},
}
KINDS |= {f"imported {kind}": {**KINDS[kind], "Origin": "EXTERNAL"} for kind in ("signing", "mac", "agreement")}
KIND_OF_OPERATION: Final = {
    "DeleteImportedKeyMaterial": "imported",
    "DeriveSharedSecret": "agreement",
    "GenerateMac": "mac",
    "GetParametersForImport": "imported",
    "GetPublicKey": "signing",
    "ImportKeyMaterial": "imported",
    "Sign": "signing",
    "Verify": "signing",
    "VerifyMac": "mac",
}
"""Others are tried on a symmetric key."""


class Subject:
    """A key in some state, with everything that an operation may need, made before it came to it."""

    def __init__(self, kms: Kms) -> None:
        self.kms = kms
        self.region = REGION
        self.made: dict[str, Any] = {}

    @property
    def arn(self) -> str:
        return f"arn:aws:kms:{self.region}:{ACCOUNT}:key/{self.id}"

    @property
    def origin(self) -> CallOrigin:
        return user("admin", "kms:*", region=self.region)

    @property
    def material(self) -> bytes:
        return MATERIAL if self.kind in ("imported", "imported mac") else KEY_PAIR

    async def call(self, operation: str, region: str | None = None, **members: Any) -> dict[str, Any]:
        origin = replace(self.origin, region=region or self.region)
        return await self.kms.call(operation, origin, **{"KeyId": self.id, **members})

    async def prepare(self, kind: str, *, multi_region: bool) -> None:
        """An enabled key of this kind."""
        self.kind = kind
        self.id = await self.kms.key(self.origin, MultiRegion=multi_region, **KINDS[kind])
        if kind.startswith("imported"):
            await import_material(self.kms, self.id, self.material)
            self.made["parameters"] = await self.call("GetParametersForImport", **WRAPPING)
        if kind in ("symmetric", "imported"):
            self.made["blob"] = (await self.call("Encrypt", Plaintext=b"secret"))["CiphertextBlob"]
        elif kind.endswith("signing"):
            signing = {"Message": b"message", "SigningAlgorithm": "ECDSA_SHA_256"}
            self.made["signature"] = (await self.call("Sign", **signing))["Signature"]
            self.made["public_key"] = (await self.call("GetPublicKey"))["PublicKey"]
        elif kind.endswith("agreement"):
            self.made["public_key"] = (await self.call("GetPublicKey"))["PublicKey"]
        elif kind.endswith("mac"):
            mac = {"Message": b"message", "MacAlgorithm": "HMAC_SHA_256"}
            self.made["mac"] = (await self.call("GenerateMac", **mac))["Mac"]

    async def bring_to(self, state: str) -> None:
        """Only by operations and the clock."""
        if state in ("PendingReplicaDeletion", "Creating", "Updating"):
            await self.call("ReplicateKey", ReplicaRegion=OREGON)
        if state == "Updating":
            self.kms.clock.now += TRANSITION
            if self.kind == "imported":
                await import_material(self.kms, self.id, self.material, origin=replace(self.origin, region=OREGON))
            await self.call("UpdatePrimaryRegion", PrimaryRegion=OREGON)
        if state in ("Creating", "Updating"):
            self.region = OREGON
        await self.surround()
        if state == "Disabled":
            await self.call("DisableKey")
        elif state in ("PendingDeletion", "PendingReplicaDeletion"):
            await self.call("ScheduleKeyDeletion")
        elif state == "PendingImport":
            await self.call("DeleteImportedKeyMaterial")
        assert await self.state() == state

    async def surround(self) -> None:
        """Aliases and a grant, where the key is."""
        self.other = await self.kms.key(self.origin, **KINDS[self.kind.replace("imported", "").strip() or "symmetric"])
        for name, target in (("alias/there", self.id), ("alias/elsewhere", self.other)):
            await self.kms.call("CreateAlias", self.origin, AliasName=name, TargetKeyId=target)
        if await self.state() != "Creating":
            asked = {"GranteePrincipal": GRANTEE, "Operations": ["DescribeKey"]}
            self.made["grant"] = (await self.call("CreateGrant", **asked))["GrantId"]

    async def state(self) -> str:
        return str((await self.call("DescribeKey"))["KeyMetadata"]["KeyState"])

    async def run(self, operation: str) -> None:
        if operation == "ImportKeyMaterial":
            # A replica's own token cannot be had while it is in transition.
            members = {"parameters": self.made["parameters"]} if self.region == REGION else {}
            if await self.state() in ("Creating", "Updating"):
                await self.call(operation, ImportToken=b"x", EncryptedKeyMaterial=b"x")
            await import_material(self.kms, self.id, self.material, origin=self.origin, **members)
            return
        await self.kms.call(operation, self.origin, **self.members(operation))

    def members(self, operation: str) -> dict[str, Any]:
        key, made = {"KeyId": self.id}, self.made
        signing = {"Message": b"message", "SigningAlgorithm": "ECDSA_SHA_256"}
        mac = {"Message": b"message", "MacAlgorithm": "HMAC_SHA_256"}
        # What is not in this table takes a key and nothing else.
        return {
            "CreateAlias": {"AliasName": "alias/new", "TargetKeyId": self.id},
            "CreateGrant": {**key, "GranteePrincipal": GRANTEE, "Operations": ["DescribeKey"]},
            "Decrypt": {"CiphertextBlob": made.get("blob")},
            "DeleteAlias": {"AliasName": "alias/there"},
            "DeriveSharedSecret": {**key, "KeyAgreementAlgorithm": "ECDH", "PublicKey": made.get("public_key")},
            "Encrypt": {**key, "Plaintext": b"secret"},
            "GenerateDataKey": {**key, "KeySpec": "AES_256"},
            "GenerateDataKeyPair": {**key, "KeyPairSpec": "ECC_NIST_P256"},
            "GenerateDataKeyPairWithoutPlaintext": {**key, "KeyPairSpec": "ECC_NIST_P256"},
            "GenerateDataKeyWithoutPlaintext": {**key, "NumberOfBytes": 7},
            "GenerateMac": {**key, **mac},
            "GetParametersForImport": {**key, **WRAPPING},
            "PutKeyPolicy": {**key, "Policy": POLICY},
            "ReEncrypt": {"CiphertextBlob": made.get("blob"), "DestinationKeyId": self.other},
            "ReplicateKey": {**key, "ReplicaRegion": OSAKA},
            "RetireGrant": {**key, "GrantId": made.get("grant", "0" * 64)},
            "RevokeGrant": {**key, "GrantId": made.get("grant", "0" * 64)},
            "Sign": {**key, **signing},
            "TagResource": {**key, "Tags": [{"TagKey": "a", "TagValue": "b"}]},
            "UntagResource": {**key, "TagKeys": ["a"]},
            "UpdateAlias": {"AliasName": "alias/elsewhere", "TargetKeyId": self.id},
            "UpdateKeyDescription": {**key, "Description": "new"},
            "UpdatePrimaryRegion": {**key, "PrimaryRegion": REGION if self.region == OREGON else OREGON},
            "Verify": {**key, **signing, "Signature": made.get("signature")},
            "VerifyMac": {**key, **mac, "Mac": made.get("mac")},
        }.get(operation, key)


_saved: dict[tuple[str, bool, str], tuple[dict[tuple[str, str], Record], datetime, dict[str, Any]]] = {}


async def subject_in(state: str, kind: str, *, multi_region: bool) -> Subject:
    """A key in this state; what led to it is done once and then copied, as it takes RSA keys."""
    place = (kind, multi_region, state)
    clock = FakeClock()
    if place not in _saved:
        store = MemoryKeyStore()
        subject = Subject(await Kms(store, clock, transition_time=TRANSITION).start())
        await subject.prepare(kind, multi_region=multi_region)
        await subject.bring_to(state)
        values = {name: value for name, value in vars(subject).items() if name != "kms"}
        _saved[place] = dict(store._records), clock.now, values
    records, clock.now, values = _saved[place]
    store = MemoryKeyStore()
    store._records = dict(records)
    copied = Subject(await Kms(store, clock, transition_time=TRANSITION).start())
    vars(copied).update(values)
    return copied


def cells() -> list[tuple[str, str, str, bool]]:
    """Operation, state, kind of key, and whether it is a multi-Region key: all there can be."""
    found = []
    for operation in sorted(OPERATIONS.names - NOT_ON_A_KEY):
        for state in REACHABLE:
            kind = KIND_OF_OPERATION.get(operation, "symmetric")
            if state == "PendingImport":
                kind = "imported" if kind in ("symmetric", "imported") else f"imported {kind}"
            only_multi_region = state in ("PendingReplicaDeletion", "Creating", "Updating")
            if not only_multi_region and operation not in ("ReplicateKey", "UpdatePrimaryRegion"):
                found.append((operation, state, kind, False))
            found.append((operation, state, kind, True))
    return found


@pytest.mark.parametrize(("operation", "state", "kind", "multi_region"), cells())
async def test_the_table(operation: str, state: str, kind: str, multi_region: bool) -> None:
    subject = await subject_in(state, kind, multi_region=multi_region)
    if operation == "UpdatePrimaryRegion" and state == "Enabled":
        await subject.call("ReplicateKey", ReplicaRegion=OREGON)
        subject.kms.clock.now += TRANSITION
    if operation == "RotateKeyOnDemand" and kind == "imported" and state == "Enabled":
        await import_material(subject.kms, subject.id, b"n" * 32, ImportType="NEW_KEY_MATERIAL")
    cell = expected(operation, state)
    if cell == "ok":
        await succeeds(subject, operation, state)
        return
    code, message = FOOTNOTES[cell]
    before = await subject.kms.store.scan("key")
    with pytest.raises(KmsFault) as caught:
        await subject.run(operation)
    text = message.format(arn=subject.arn, pending=PENDING.get(state))
    assert (caught.value.code, caught.value.message) == (code, text)
    assert caught.value.status == 400
    assert await subject.kms.store.scan("key") == before


async def succeeds(subject: Subject, operation: str, state: str) -> None:
    """Runs an operation that its key's state does not stand in the way of."""
    if state == "Creating" and operation in ("RetireGrant", "RevokeGrant"):
        # There can't be a grant yet.
        with pytest.raises(KmsFault, match="NotFoundException"):
            await subject.run(operation)
    else:
        await subject.run(operation)


async def test_re_encrypt_looks_at_both_keys(kms: Kms) -> None:
    subject = Subject(kms)
    await subject.prepare("symmetric", multi_region=False)
    await subject.surround()
    await kms.call("DisableKey", KeyId=subject.other)
    with pytest.raises(KmsFault, match=f"key/{subject.other} is disabled"):
        await kms.call("ReEncrypt", CiphertextBlob=subject.made["blob"], DestinationKeyId=subject.other)


async def test_deletion_comes_when_the_waiting_time_is_over(kms: Kms) -> None:
    subject = Subject(kms)
    await subject.prepare("symmetric", multi_region=False)
    await subject.surround()
    await kms.call("ScheduleKeyDeletion", KeyId=subject.id, PendingWindowInDays=7)
    kms.clock.advance(days=7, milliseconds=-1)
    assert await kms.state(subject.id) == "PendingDeletion"
    kms.clock.advance(milliseconds=1)
    with pytest.raises(KmsFault) as caught:
        await kms.state(subject.id)
    assert (caught.value.code, caught.value.message) == ("NotFoundException", f"Key '{subject.arn}' does not exist")
    with pytest.raises(KmsFault, match=r"^400 AccessDeniedException: The ciphertext refers to a customer master key"):
        await kms.call("Decrypt", CiphertextBlob=subject.made["blob"])
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
    assert not kms.service.ring.held
    await import_material(kms, key, b"m" * 32)
    assert (await kms.call("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"secret"


async def test_a_blob_is_base64_on_the_wire(kms: Kms) -> None:
    key = await kms.key()
    answer = await kms.call("GenerateDataKey", KeyId=key, KeySpec="AES_128")
    assert len(answer["Plaintext"]) == 16
    assert base64.b64encode(answer["CiphertextBlob"]).startswith(b"AQ")
