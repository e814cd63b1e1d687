"""Multi-Region keys: one id and one material in several Regions, everything else each Region's own."""

import json
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import botocore.session
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.aws.credentials import CallOrigin
from proxy.kms import model
from proxy.kms.regions import KMS_REGIONS
from proxy.kms.root_keys.file import LocalRootKey
from tests.kms.harness import ACCOUNT, ADMIN, REGION, ROOT_KEY, Kms, KmsFault, user
from tests.kms.imports import import_material
from tests.kms.invariants import check_store

OREGON, OSAKA, PARIS = "us-west-2", "ap-northeast-3", "eu-west-3"
READ_ONLY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:Describe*", "Resource": "*"}],
}


def admin(region: str) -> CallOrigin:
    return user("admin", "kms:*", region=region)


def arn(region: str, key: str) -> str:
    return f"arn:aws:kms:{region}:{ACCOUNT}:key/{key}"


async def replicate(kms: Kms, key: str, region: str, origin: CallOrigin = ADMIN, **members: Any) -> dict[str, Any]:
    return await kms.call("ReplicateKey", origin, KeyId=key, ReplicaRegion=region, **members)


async def family(kms: Kms, *regions: str, **members: Any) -> str:
    """The id of a new multi-Region key with replicas."""
    key = await kms.key(MultiRegion=True, **members)
    for region in regions:
        await replicate(kms, key, region)
    return key


async def describe(kms: Kms, key: str, region: str) -> dict[str, Any]:
    metadata: dict[str, Any] = (await kms.call("DescribeKey", admin(region), KeyId=key))["KeyMetadata"]
    return metadata


async def state(kms: Kms, key: str, region: str) -> str:
    return str((await describe(kms, key, region))["KeyState"])


async def encrypt(kms: Kms, key: str, region: str, plaintext: bytes = b"secret") -> bytes:
    answer = await kms.call("Encrypt", admin(region), KeyId=key, Plaintext=plaintext)
    return bytes(answer["CiphertextBlob"])


async def decrypt(kms: Kms, blob: bytes, region: str) -> dict[str, Any]:
    return await kms.call("Decrypt", admin(region), CiphertextBlob=blob)


async def refused(kms: Kms, operation: str, origin: CallOrigin = ADMIN, **members: Any) -> tuple[str, str]:
    """The error of a call that changes nothing."""
    before = [await kms.store.scan(kind) for kind in ("key", "material")]
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, origin, **members)
    assert caught.value.status == 400
    assert [await kms.store.scan(kind) for kind in ("key", "material")] == before
    return caught.value.code, caught.value.message


def configuration(primary: str, replicas: list[str], key: str, at: str) -> dict[str, Any]:
    return {
        "MultiRegionKeyType": "PRIMARY" if at == primary else "REPLICA",
        "PrimaryKey": {"Arn": arn(primary, key), "Region": primary},
        "ReplicaKeys": [{"Arn": arn(region, key), "Region": region} for region in sorted(replicas)],
    }


# ReplicateKey


async def test_a_replica_is_creating_in_the_answer_and_enabled_at_the_next_look(kms: Kms) -> None:
    key = await kms.key(MultiRegion=True, Description="primary", Tags=[{"TagKey": "a", "TagValue": "b"}])
    kms.clock.advance(days=1)
    answer = await replicate(kms, key, OREGON)
    metadata = answer["ReplicaKeyMetadata"]
    assert (metadata["KeyState"], metadata["Enabled"], metadata["Arn"]) == ("Creating", False, arn(OREGON, key))
    assert (metadata["KeyId"], metadata["Description"], metadata["CreationDate"]) == (key, "", kms.clock.now)
    assert "CurrentKeyMaterialId" not in metadata
    assert metadata["MultiRegionConfiguration"] == configuration(REGION, [OREGON], key, OREGON)
    assert answer["ReplicaTags"] == []
    policy = json.loads(answer["ReplicaPolicy"])
    assert policy["Statement"][0]["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}

    replica, primary = await describe(kms, key, OREGON), await describe(kms, key, REGION)
    assert (replica["KeyState"], replica["Enabled"]) == ("Enabled", True)
    assert replica["CurrentKeyMaterialId"] == primary["CurrentKeyMaterialId"]
    assert primary["MultiRegionConfiguration"] == configuration(REGION, [OREGON], key, REGION)
    for shared in ("KeyId", "KeySpec", "KeyUsage", "Origin", "MultiRegion", "KeyManager"):
        assert replica[shared] == primary[shared]


async def test_what_is_asked_for_the_replica(kms: Kms) -> None:
    key = await kms.key(MultiRegion=True)
    policy = json.dumps(READ_ONLY | {"Id": "mine"})
    tags = [{"TagKey": "b", "TagValue": "2"}, {"TagKey": "a", "TagValue": ""}]
    members = {"Policy": policy, "BypassPolicyLockoutSafetyCheck": True, "Description": "mine", "Tags": tags}
    answer = await replicate(kms, key, OREGON, **members)
    assert answer["ReplicaPolicy"] == policy
    assert answer["ReplicaTags"] == sorted(tags, key=lambda tag: tag["TagKey"])
    assert answer["ReplicaKeyMetadata"]["Description"] == "mine"
    assert (await describe(kms, key, OREGON))["Description"] == "mine"
    with pytest.raises(KmsFault, match="AccessDeniedException"):
        await kms.call("GetKeyPolicy", admin(OREGON), KeyId=key)


async def test_a_region_has_at_most_one_of_the_keys(kms: Kms) -> None:
    key = await family(kms, OREGON)
    for region in (OREGON, REGION):
        code, _ = await refused(kms, "ReplicateKey", KeyId=key, ReplicaRegion=region)
        assert code == "AlreadyExistsException"
    await kms.call("ScheduleKeyDeletion", admin(OREGON), KeyId=key, PendingWindowInDays=7)
    assert (await refused(kms, "ReplicateKey", KeyId=key, ReplicaRegion=OREGON))[0] == "AlreadyExistsException"
    blob = await encrypt(kms, key, REGION)
    kms.clock.advance(days=7)
    await replicate(kms, key, OREGON)
    assert (await decrypt(kms, blob, OREGON))["Plaintext"] == b"secret"


async def test_only_primary_keys_are_replicated(kms: Kms) -> None:
    single, key = await kms.key(), await family(kms, OREGON)
    for each, origin, region in ((single, ADMIN, REGION), (key, admin(OREGON), OREGON)):
        for operation, members in (
            ("ReplicateKey", {"ReplicaRegion": OSAKA}),
            ("UpdatePrimaryRegion", {"PrimaryRegion": OSAKA}),
        ):
            assert await refused(kms, operation, origin, KeyId=each, **members) == (
                "UnsupportedOperationException",
                f"{arn(region, each)} is not a multi-region primary key.",
            )


@pytest.mark.parametrize("region", ["Oregon", "us-west", "us_west_2", "", "2", "a" * 30 + "-1"])
async def test_a_region_of_no_such_form(kms: Kms, region: str) -> None:
    key = await kms.key(MultiRegion=True)
    assert (await refused(kms, "ReplicateKey", KeyId=key, ReplicaRegion=region))[0] == "ValidationException"
    assert (await refused(kms, "UpdatePrimaryRegion", KeyId=key, PrimaryRegion=region))[0] == "ValidationException"


@pytest.mark.parametrize("region", ["us-west-9", "cn-north-1", "us-gov-east-1", "moon-north-1"])
async def test_a_region_that_there_is_not_or_of_another_partition(kms: Kms, region: str) -> None:
    key = await kms.key(MultiRegion=True)
    code, message = await refused(kms, "ReplicateKey", KeyId=key, ReplicaRegion=region)
    assert code == "UnsupportedOperationException"
    assert region in message


async def test_a_region_that_is_not_enabled() -> None:
    kms = await Kms(enabled_regions=(REGION, OSAKA)).start()
    key = await family(kms, OSAKA)
    assert (await refused(kms, "ReplicateKey", KeyId=key, ReplicaRegion=OREGON))[0] == "UnsupportedOperationException"


def test_the_regions_are_those_of_the_service_model() -> None:
    session = botocore.session.get_session()
    known = {
        region
        for partition in ("aws", "aws-cn", "aws-us-gov")
        for region in session.get_available_regions("kms", partition)
        if "fips" not in region
    }
    assert known == KMS_REGIONS


async def test_policies_and_tags_that_are_refused(kms: Kms) -> None:
    key = await kms.key(MultiRegion=True)
    asked = {"KeyId": key, "ReplicaRegion": OREGON}
    locked_out = await refused(kms, "ReplicateKey", **asked, Policy=json.dumps(READ_ONLY))
    assert locked_out[0] == "MalformedPolicyDocumentException"
    assert (await refused(kms, "ReplicateKey", **asked, Policy="{}"))[0] == "MalformedPolicyDocumentException"
    tags = [{"TagKey": "aws:mine", "TagValue": ""}]
    assert (await refused(kms, "ReplicateKey", **asked, Tags=tags))[0] == "TagException"


async def test_the_caller_needs_rights_in_both_regions(kms: Kms) -> None:
    key = await kms.key(MultiRegion=True)
    asked: dict[str, Any] = {"KeyId": key, "ReplicaRegion": OREGON}
    tags = [{"TagKey": "a", "TagValue": "b"}]
    may = ("kms:ReplicateKey", "kms:CreateKey", "kms:TagResource", "kms:PutKeyPolicy")
    for missing, members in (("ReplicateKey", {}), ("CreateKey", {}), ("TagResource", {"Tags": tags})):
        caller = user("u", *(action for action in may if action != f"kms:{missing}"))
        code, message = await refused(kms, "ReplicateKey", caller, **asked, **members)
        assert (code, f"kms:{missing} " in message) == ("AccessDeniedException", True)
    await kms.call("ReplicateKey", user("u", *may), **asked, Tags=tags)
    caller = user("u", "kms:*", deny=("kms:UpdatePrimaryRegion",))
    code, _ = await refused(kms, "UpdatePrimaryRegion", caller, KeyId=key, PrimaryRegion=OREGON)
    assert code == "AccessDeniedException"


async def test_the_new_primary_has_to_allow_it_too(kms: Kms) -> None:
    key = await kms.key(MultiRegion=True)
    policy = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"},
                {"Effect": "Deny", "Principal": "*", "Action": "kms:UpdatePrimaryRegion", "Resource": "*"},
            ],
        }
    )
    await replicate(kms, key, OREGON, Policy=policy)
    code, message = await refused(kms, "UpdatePrimaryRegion", KeyId=key, PrimaryRegion=OREGON)
    assert (code, arn(OREGON, key) in message) == ("AccessDeniedException", True)


# Shared material, own everything else


async def test_any_region_decrypts_what_any_other_encrypted(kms: Kms) -> None:
    key = await family(kms, OREGON, OSAKA)
    for of in (REGION, OREGON, OSAKA):
        blob = await encrypt(kms, key, of, of.encode())
        for by in (REGION, OREGON, OSAKA):
            opened = await decrypt(kms, blob, by)
            assert (opened["Plaintext"], opened["KeyId"]) == (of.encode(), arn(by, key))
            moved = await kms.call("ReEncrypt", admin(by), CiphertextBlob=blob, DestinationKeyId=key)
            assert (moved["SourceKeyId"], moved["KeyId"]) == (arn(by, key), arn(by, key))
        with pytest.raises(KmsFault, match="AccessDeniedException: The ciphertext refers to"):
            await decrypt(kms, blob, PARIS)


async def test_the_arn_of_another_region_names_nothing(kms: Kms) -> None:
    key = await family(kms, OREGON)
    blob = await encrypt(kms, key, REGION)
    with pytest.raises(KmsFault, match=f"NotFoundException: Invalid arn {OREGON}"):
        await kms.call("Decrypt", ADMIN, CiphertextBlob=blob, KeyId=arn(OREGON, key))
    await kms.call("Decrypt", admin(OREGON), CiphertextBlob=blob, KeyId=arn(OREGON, key))


async def test_each_region_lists_its_own(kms: Kms) -> None:
    key, single = await family(kms, OREGON), await kms.key()
    listed = {
        region: sorted(entry["KeyArn"] for entry in (await kms.call("ListKeys", admin(region)))["Keys"])
        for region in (REGION, OREGON, OSAKA)
    }
    assert listed == {
        REGION: sorted([arn(REGION, key), arn(REGION, single)]),
        OREGON: [arn(OREGON, key)],
        OSAKA: [],
    }


async def test_state_description_policy_tags_aliases_and_grants_are_each_regions_own(kms: Kms) -> None:
    key = await family(kms, OREGON)
    there = admin(OREGON)
    blob = await encrypt(kms, key, REGION)
    await kms.call("UpdateKeyDescription", there, KeyId=key, Description="west")
    await kms.call("TagResource", there, KeyId=key, Tags=[{"TagKey": "a", "TagValue": "b"}])
    await kms.call("CreateAlias", there, AliasName="alias/west", TargetKeyId=key)
    grantee = f"arn:aws:iam::{ACCOUNT}:user/grantee"
    await kms.call("CreateGrant", there, KeyId=key, GranteePrincipal=grantee, Operations=["Decrypt"])
    policy = (await kms.call("GetKeyPolicy", there, KeyId=key))["Policy"].replace("key-default-1", "other")
    await kms.call("PutKeyPolicy", there, KeyId=key, Policy=policy)
    await kms.call("DisableKey", there, KeyId=key)

    assert (await describe(kms, key, REGION))["Description"] == ""
    assert (await kms.call("ListResourceTags", KeyId=key))["Tags"] == []
    assert (await kms.call("ListAliases"))["Aliases"] == []
    assert (await kms.call("ListGrants", KeyId=key))["Grants"] == []
    assert "key-default-1" in (await kms.call("GetKeyPolicy", KeyId=key))["Policy"]
    assert await state(kms, key, REGION) == "Enabled"
    assert (await kms.call("ListAliases", there))["Aliases"][0]["TargetKeyId"] == key
    assert (await kms.call("DescribeKey", there, KeyId="alias/west"))["KeyMetadata"]["Arn"] == arn(OREGON, key)
    with pytest.raises(KmsFault, match=f"DisabledException: {arn(OREGON, key)} is disabled"):
        await decrypt(kms, blob, OREGON)
    assert (await decrypt(kms, blob, REGION))["Plaintext"] == b"secret"


async def test_a_keys_material_is_bound_to_its_region(kms: Kms) -> None:
    key = await family(kms, OREGON)
    records = {record.id: record for record in await kms.store.scan("material")}
    here, there = (records[f"key/{ACCOUNT}/{region}/{key}/0000000001"] for region in (REGION, OREGON))
    assert here.body != there.body
    await kms.store.write([model.Record("material", there.id, there.version, here.body)])
    with pytest.raises(KmsFault, match="KMSInternalException"):
        await encrypt(kms, key, OREGON)


# Rotation


async def rotations(kms: Kms, key: str, region: str) -> list[tuple[str, str]]:
    members = {"KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
    listed = (await kms.call("ListKeyRotations", admin(region), **members))["Rotations"]
    return [(each["KeyMaterialId"], each["KeyMaterialState"]) for each in listed]


async def test_rotation_is_set_on_the_primary_and_shows_on_all(kms: Kms) -> None:
    key = await family(kms, OREGON)
    for operation in ("EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"):
        assert await refused(kms, operation, admin(OREGON), KeyId=key) == (
            "UnsupportedOperationException",
            f"{arn(OREGON, key)} is not a multi-region primary key.",
        )
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    await replicate(kms, key, OSAKA)
    for region in (REGION, OREGON, OSAKA):
        answer = await kms.call("GetKeyRotationStatus", admin(region), KeyId=key)
        assert answer == {
            "KeyId": arn(region, key),
            "KeyRotationEnabled": True,
            "RotationPeriodInDays": 90,
            "NextRotationDate": kms.clock.now + timedelta(days=90),
        }
    await kms.call("DisableKeyRotation", KeyId=key)
    assert not (await kms.call("GetKeyRotationStatus", admin(OREGON), KeyId=key))["KeyRotationEnabled"]


@pytest.mark.parametrize("first_look", [REGION, OREGON, OSAKA])
async def test_all_rotate_together_whoever_looks_first(kms: Kms, first_look: str) -> None:
    key = await family(kms, OREGON, OSAKA)
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    old = await encrypt(kms, key, OSAKA, b"old")
    kms.clock.advance(days=200)
    new = await encrypt(kms, key, first_look, b"new")
    histories = [await rotations(kms, key, region) for region in (REGION, OREGON, OSAKA)]
    assert [material_state for _, material_state in histories[0]] == ["NON_CURRENT", "NON_CURRENT", "CURRENT"]
    assert histories[1:] == [histories[0]] * 2
    for region in (REGION, OREGON, OSAKA):
        opened = await decrypt(kms, new, region)
        assert (opened["Plaintext"], opened["KeyMaterialId"]) == (b"new", histories[0][2][0])
        opened = await decrypt(kms, old, region)
        assert (opened["Plaintext"], opened["KeyMaterialId"]) == (b"old", histories[0][0][0])


async def test_a_new_replica_has_all_old_versions(kms: Kms) -> None:
    key = await kms.key(MultiRegion=True)
    blobs = []
    for number in range(4):
        blobs.append(await encrypt(kms, key, REGION, b"%d" % number))
        await kms.call("RotateKeyOnDemand", KeyId=key)
    await replicate(kms, key, OREGON)
    assert [(await decrypt(kms, blob, OREGON))["Plaintext"] for blob in blobs] == [b"0", b"1", b"2", b"3"]
    assert await rotations(kms, key, OREGON) == await rotations(kms, key, REGION)


async def test_a_disabled_replica_rotates_and_a_disabled_primary_does_not(kms: Kms) -> None:
    key = await family(kms, OREGON)
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    await kms.call("DisableKey", admin(OREGON), KeyId=key)
    kms.clock.advance(days=90)
    assert len(await rotations(kms, key, OREGON)) == 2
    await kms.call("DisableKey", KeyId=key)
    await kms.call("EnableKey", admin(OREGON), KeyId=key)
    kms.clock.advance(days=100)
    assert len(await rotations(kms, key, OREGON)) == 2
    await kms.call("EnableKey", KeyId=key)
    assert len(await rotations(kms, key, OREGON)) == 3
    status = await kms.call("GetKeyRotationStatus", admin(OREGON), KeyId=key)
    assert status["NextRotationDate"] == kms.clock.now + timedelta(days=90)


async def test_on_demand_rotations_are_counted_for_all_together(kms: Kms) -> None:
    key = await family(kms, OREGON)
    for _ in range(24):
        await kms.call("RotateKeyOnDemand", KeyId=key)
    await kms.call("UpdatePrimaryRegion", KeyId=key, PrimaryRegion=OREGON)
    await kms.call("RotateKeyOnDemand", admin(OREGON), KeyId=key)
    assert (await refused(kms, "RotateKeyOnDemand", admin(OREGON), KeyId=key))[0] == "LimitExceededException"


# UpdatePrimaryRegion


async def test_the_primary_region_moves(kms: Kms) -> None:
    key = await family(kms, OREGON, OSAKA)
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    due = kms.clock.now + timedelta(days=90)
    kms.clock.advance(days=10)
    assert await kms.call("UpdatePrimaryRegion", KeyId=key, PrimaryRegion=OREGON) == {}
    for region in (REGION, OREGON, OSAKA):
        metadata = await describe(kms, key, region)
        assert metadata["MultiRegionConfiguration"] == configuration(OREGON, [REGION, OSAKA], key, region)
        assert metadata["KeyState"] == "Enabled"
    status = await kms.call("GetKeyRotationStatus", admin(OREGON), KeyId=key)
    assert status["NextRotationDate"] == due
    assert (await refused(kms, "RotateKeyOnDemand", KeyId=key))[0] == "UnsupportedOperationException"
    await kms.call("DisableKey", KeyId=key)
    kms.clock.advance(days=80)
    assert len(await rotations(kms, key, OSAKA)) == 2
    await kms.call("ReplicateKey", admin(OREGON), KeyId=key, ReplicaRegion=PARIS)


async def test_primary_regions_that_cannot_be(kms: Kms) -> None:
    key = await family(kms, OREGON, OSAKA)
    assert await refused(kms, "UpdatePrimaryRegion", KeyId=key, PrimaryRegion=PARIS) == (
        "NotFoundException",
        f"Key '{arn(PARIS, key)}' does not exist",
    )
    refusal = await refused(kms, "UpdatePrimaryRegion", KeyId=key, PrimaryRegion=REGION)
    assert refusal[0] == "UnsupportedOperationException"
    await kms.call("DisableKey", admin(OREGON), KeyId=key)
    assert await refused(kms, "UpdatePrimaryRegion", KeyId=key, PrimaryRegion=OREGON) == (
        "DisabledException",
        f"{arn(OREGON, key)} is disabled.",
    )
    await kms.call("ScheduleKeyDeletion", admin(OREGON), KeyId=key)
    assert await refused(kms, "UpdatePrimaryRegion", KeyId=key, PrimaryRegion=OREGON) == (
        "KMSInvalidStateException",
        f"{arn(OREGON, key)} is pending deletion.",
    )


async def test_transitions_that_take_their_time() -> None:
    kms = await Kms(transition_time=timedelta(seconds=5)).start()
    key = await family(kms, OREGON, OSAKA)
    assert await state(kms, key, OREGON) == "Creating"
    with pytest.raises(KmsFault, match=f"KMSInvalidStateException: {arn(OREGON, key)} is creating"):
        await encrypt(kms, key, OREGON)
    kms.clock.advance(seconds=5)
    assert await state(kms, key, OREGON) == "Enabled"
    await kms.call("UpdatePrimaryRegion", KeyId=key, PrimaryRegion=OREGON)
    assert [await state(kms, key, region) for region in (REGION, OREGON, OSAKA)] == ["Updating", "Updating", "Enabled"]
    await encrypt(kms, key, OREGON)
    with pytest.raises(KmsFault, match=f"KMSInvalidStateException: {arn(OREGON, key)} is updating"):
        await kms.call("DisableKey", admin(OREGON), KeyId=key)
    kms.clock.advance(seconds=5)
    assert [await state(kms, key, region) for region in (REGION, OREGON)] == ["Enabled", "Enabled"]


# Deletion


async def test_a_primary_waits_for_its_replicas(kms: Kms) -> None:
    key = await family(kms, OREGON, OSAKA)
    blob = await encrypt(kms, key, REGION)
    answer = await kms.call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=8)
    assert answer == {"KeyId": arn(REGION, key), "KeyState": "PendingReplicaDeletion", "PendingWindowInDays": 8}
    metadata = await describe(kms, key, REGION)
    assert (metadata["KeyState"], metadata["PendingDeletionWindowInDays"]) == ("PendingReplicaDeletion", 8)
    assert "DeletionDate" not in metadata
    with pytest.raises(KmsFault, match=f"{arn(REGION, key)} is pending replica deletion"):
        await decrypt(kms, blob, REGION)
    kms.clock.advance(days=400)
    assert (await decrypt(kms, blob, OREGON))["Plaintext"] == b"secret"
    assert await state(kms, key, REGION) == "PendingReplicaDeletion"

    await kms.call("ScheduleKeyDeletion", admin(OREGON), KeyId=key, PendingWindowInDays=7)
    await kms.call("ScheduleKeyDeletion", admin(OSAKA), KeyId=key, PendingWindowInDays=10)
    last = kms.clock.now + timedelta(days=10)
    kms.clock.advance(days=9)
    assert (await describe(kms, key, REGION))["MultiRegionConfiguration"] == configuration(REGION, [OSAKA], key, REGION)
    assert await state(kms, key, REGION) == "PendingReplicaDeletion"
    kms.clock.advance(days=3)
    metadata = await describe(kms, key, REGION)
    assert (metadata["KeyState"], metadata["DeletionDate"]) == ("PendingDeletion", last + timedelta(days=8))
    assert "PendingDeletionWindowInDays" not in metadata
    kms.clock.advance(days=6)
    with pytest.raises(KmsFault, match="NotFoundException"):
        await describe(kms, key, REGION)
    assert await kms.store.scan("key") == await kms.store.scan("material") == []


async def test_years_later_the_whole_family_is_gone(kms: Kms) -> None:
    key = await family(kms, OREGON)
    await kms.call("ScheduleKeyDeletion", KeyId=key)
    await kms.call("CreateAlias", admin(OREGON), AliasName="alias/west", TargetKeyId=key)
    await kms.call("ScheduleKeyDeletion", admin(OREGON), KeyId=key)
    kms.clock.advance(days=59, hours=23)
    assert await state(kms, key, REGION) == "PendingDeletion"
    kms.clock.advance(days=1000)
    with pytest.raises(KmsFault, match="NotFoundException"):
        await describe(kms, key, REGION)
    for kind in ("key", "material", "alias"):
        assert await kms.store.scan(kind) == []
    assert not kms.service.ring.held


async def test_a_deletion_that_is_cancelled(kms: Kms) -> None:
    key = await family(kms, OREGON)
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    await kms.call("ScheduleKeyDeletion", KeyId=key)
    assert not (await kms.call("GetKeyRotationStatus", KeyId=key))["KeyRotationEnabled"]
    kms.clock.advance(days=91)
    assert await kms.call("CancelKeyDeletion", KeyId=key) == {"KeyId": arn(REGION, key)}
    assert (await describe(kms, key, REGION)).keys() & {"DeletionDate", "PendingDeletionWindowInDays"} == set()
    assert await state(kms, key, REGION) == "Disabled"
    assert (await kms.call("GetKeyRotationStatus", KeyId=key))["KeyRotationEnabled"]
    await kms.call("ScheduleKeyDeletion", admin(OREGON), KeyId=key)
    await kms.call("CancelKeyDeletion", admin(OREGON), KeyId=key)
    kms.clock.advance(days=40)
    assert await state(kms, key, OREGON) == "Disabled"
    await kms.call("EnableKey", KeyId=key)
    assert len(await rotations(kms, key, OREGON)) == 2


async def test_a_deleted_replica_takes_only_its_own_along(kms: Kms) -> None:
    key = await family(kms, OREGON)
    blob = await encrypt(kms, key, OREGON)
    await kms.call("CreateAlias", AliasName="alias/here", TargetKeyId=key)
    await kms.call("CreateAlias", admin(OREGON), AliasName="alias/there", TargetKeyId=key)
    await kms.call("ScheduleKeyDeletion", admin(OREGON), KeyId=key, PendingWindowInDays=7)
    kms.clock.advance(days=7)
    with pytest.raises(KmsFault, match="AccessDeniedException: The ciphertext refers to"):
        await decrypt(kms, blob, OREGON)
    assert (await decrypt(kms, blob, REGION))["Plaintext"] == b"secret"
    assert [record.id for record in await kms.store.scan("material")] == [f"key/{ACCOUNT}/{REGION}/{key}/0000000001"]
    assert [alias["AliasName"] for alias in (await kms.call("ListAliases"))["Aliases"]] == ["alias/here"]
    assert (await kms.call("ListAliases", admin(OREGON)))["Aliases"] == []
    answer = await kms.call("ScheduleKeyDeletion", KeyId=key)
    assert (answer["KeyState"], "DeletionDate" in answer) == ("PendingDeletion", True)


# Imported material


async def imported(kms: Kms, key: str, region: str, material: bytes, **members: Any) -> str:
    return str((await import_material(kms, key, material, origin=admin(region), **members))["KeyMaterialId"])


async def test_each_region_imports_the_same_material(kms: Kms) -> None:
    key = await kms.key(MultiRegion=True, Origin="EXTERNAL")
    assert (await refused(kms, "ReplicateKey", KeyId=key, ReplicaRegion=OREGON))[0] == "KMSInvalidStateException"
    first = await imported(kms, key, REGION, b"1" * 32)
    blob = await encrypt(kms, key, REGION)
    await replicate(kms, key, OREGON)
    assert await state(kms, key, OREGON) == "PendingImport"
    with pytest.raises(KmsFault, match="is pending import"):
        await decrypt(kms, blob, OREGON)
    with pytest.raises(KmsFault, match="IncorrectKeyMaterialException"):
        await imported(kms, key, OREGON, b"2" * 32)
    assert await imported(kms, key, OREGON, b"1" * 32, valid_for=timedelta(days=3)) == first
    assert (await decrypt(kms, blob, OREGON))["Plaintext"] == b"secret"
    assert (await describe(kms, key, OREGON))["ExpirationModel"] == "KEY_MATERIAL_EXPIRES"
    assert (await describe(kms, key, REGION))["ExpirationModel"] == "KEY_MATERIAL_DOES_NOT_EXPIRE"
    kms.clock.advance(days=3)
    assert [await state(kms, key, region) for region in (REGION, OREGON)] == ["Enabled", "PendingImport"]
    assert len(await kms.store.scan("material")) == 1


async def test_imported_material_rotates_once_it_is_in_every_region(kms: Kms) -> None:
    key = await kms.key(MultiRegion=True, Origin="EXTERNAL")
    first = await imported(kms, key, REGION, b"1" * 32)
    for region in (OREGON, OSAKA):
        await replicate(kms, key, region)
        await imported(kms, key, region, b"1" * 32)
    old = await encrypt(kms, key, OSAKA, b"old")
    with pytest.raises(KmsFault, match="is not a multi-region primary key"):
        await imported(kms, key, OREGON, b"2" * 32, ImportType="NEW_KEY_MATERIAL")
    second = await imported(kms, key, REGION, b"2" * 32, ImportType="NEW_KEY_MATERIAL")
    waiting = [(first, "CURRENT"), (second, "PENDING_MULTI_REGION_IMPORT_AND_ROTATION")]
    for region in (OREGON, OSAKA):
        assert await rotations(kms, key, REGION) == await rotations(kms, key, region) == waiting
        refusal = await refused(kms, "RotateKeyOnDemand", KeyId=key)
        assert refusal[0] == "KMSInvalidStateException"
        with pytest.raises(KmsFault, match="KMSInvalidStateException"):
            await imported(kms, key, REGION, b"3" * 32, ImportType="NEW_KEY_MATERIAL")
        assert await imported(kms, key, region, b"2" * 32, ImportType="EXISTING_KEY_MATERIAL") == second
        assert await state(kms, key, region) == "Enabled"
    assert await rotations(kms, key, OSAKA) == [(first, "CURRENT"), (second, "PENDING_ROTATION")]
    await kms.call("RotateKeyOnDemand", KeyId=key)
    new = await encrypt(kms, key, OREGON, b"new")
    for region in (REGION, OREGON, OSAKA):
        assert await rotations(kms, key, region) == [(first, "NON_CURRENT"), (second, "CURRENT")]
        assert (await decrypt(kms, new, region))["KeyMaterialId"] == second
        assert (await decrypt(kms, old, region))["Plaintext"] == b"old"


async def test_a_replica_made_while_material_waits_has_to_import_both(kms: Kms) -> None:
    key = await kms.key(MultiRegion=True, Origin="EXTERNAL")
    await imported(kms, key, REGION, b"1" * 32)
    await imported(kms, key, REGION, b"2" * 32, ImportType="NEW_KEY_MATERIAL")
    assert [each for _, each in await rotations(kms, key, REGION)] == ["CURRENT", "PENDING_ROTATION"]
    await replicate(kms, key, OREGON)
    waiting = ["CURRENT", "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"]
    assert [each for _, each in await rotations(kms, key, REGION)] == waiting
    await imported(kms, key, OREGON, b"2" * 32)
    assert await state(kms, key, OREGON) == "PendingImport"
    await imported(kms, key, OREGON, b"1" * 32)
    assert await state(kms, key, OREGON) == "Enabled"
    await kms.call("RotateKeyOnDemand", KeyId=key)


async def test_material_that_waits_goes_from_all_regions_with_the_primarys(kms: Kms) -> None:
    key = await kms.key(MultiRegion=True, Origin="EXTERNAL")
    first = await imported(kms, key, REGION, b"1" * 32)
    await replicate(kms, key, OREGON)
    await imported(kms, key, OREGON, b"1" * 32)
    second = await imported(kms, key, REGION, b"2" * 32, ImportType="NEW_KEY_MATERIAL")
    await imported(kms, key, OREGON, b"2" * 32)
    await kms.call("DeleteImportedKeyMaterial", admin(OREGON), KeyId=key, KeyMaterialId=second)
    assert [state for _, state in await rotations(kms, key, REGION)][1] == "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"
    await imported(kms, key, OREGON, b"2" * 32)
    await kms.call("DeleteImportedKeyMaterial", KeyId=key, KeyMaterialId=second)
    assert len(await kms.store.scan("material")) == 2
    assert [await state(kms, key, region) for region in (REGION, OREGON)] == ["Enabled", "Enabled"]
    third = await imported(kms, key, REGION, b"3" * 32, ImportType="NEW_KEY_MATERIAL")
    with pytest.raises(KmsFault, match="IncorrectKeyMaterialException"):
        await imported(kms, key, OREGON, b"2" * 32)
    await imported(kms, key, OREGON, b"3" * 32)
    await kms.call("RotateKeyOnDemand", KeyId=key)
    for region in (REGION, OREGON):
        assert await rotations(kms, key, region) == [(first, "NON_CURRENT"), (third, "CURRENT")]
    await kms.call("DeleteImportedKeyMaterial", KeyId=key, KeyMaterialId=first)
    assert [await state(kms, key, region) for region in (REGION, OREGON)] == ["PendingImport", "Enabled"]


async def test_material_that_waited_and_expired_gives_way_in_the_replicas_too(kms: Kms) -> None:
    key = await kms.key(MultiRegion=True, Origin="EXTERNAL")
    await imported(kms, key, REGION, b"1" * 32)
    await replicate(kms, key, OREGON)
    await imported(kms, key, OREGON, b"1" * 32)
    new = {"ImportType": "NEW_KEY_MATERIAL"}
    await imported(kms, key, REGION, b"2" * 32, valid_for=timedelta(days=1), **new)
    await imported(kms, key, OREGON, b"2" * 32)
    kms.clock.advance(days=2)
    third = await imported(kms, key, REGION, b"3" * 32, **new)
    assert [material for material, _ in await rotations(kms, key, OREGON)][1:] == [third]
    left = [record.id.rpartition("/")[2] for record in await kms.store.scan("material")]
    assert sorted(left) == ["0000000001", "0000000001", "0000000003"]


# Whatever is done, the related keys agree


REGIONS = (REGION, OREGON, OSAKA)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["ReplicateKey", "UpdatePrimaryRegion"]), st.sampled_from(REGIONS)),
        st.tuples(
            st.sampled_from(
                [
                    "RotateKeyOnDemand",
                    "EnableKeyRotation",
                    "DisableKey",
                    "EnableKey",
                    "ScheduleKeyDeletion",
                    "CancelKeyDeletion",
                ]
            ),
            st.sampled_from(REGIONS),
        ),
        st.tuples(st.just("advance"), st.sampled_from(["6", "50", "400"])),
    ),
    max_size=25,
)


async def fault_of(call: Awaitable[Any]) -> KmsFault | None:
    try:
        await call
    except KmsFault as fault:
        return fault
    return None


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
async def test_related_keys_agree_after_any_steps(steps: list[tuple[str, str]]) -> None:
    kms = await Kms().start()
    key = await family(kms, OREGON)
    blob = await encrypt(kms, key, REGION)
    for step, where in steps:
        if step == "advance":
            kms.clock.advance(days=int(where))
            continue
        primary = next((model.key_from(record).primary_region for record in await kms.store.scan("key")), REGION)
        members: dict[str, Any] = {"KeyId": key}
        origin = admin(where)
        if step in ("ReplicateKey", "UpdatePrimaryRegion"):
            origin = admin(primary)
            members["ReplicaRegion" if step == "ReplicateKey" else "PrimaryRegion"] = where
        fault = await fault_of(kms.call(step, origin, **members))
        assert fault is None or fault.status == 400, step
        await check_store(kms.store, LocalRootKey(ROOT_KEY, kms.random))
    for region in REGIONS:
        fault = await fault_of(encrypt(kms, key, region))
        assert fault is None or fault.code in ("NotFoundException", "DisabledException", "KMSInvalidStateException")
        fault = await fault_of(decrypt(kms, blob, region))
        assert fault is None or fault.code in ("AccessDeniedException", "DisabledException", "KMSInvalidStateException")
    await check_store(kms.store, LocalRootKey(ROOT_KEY, kms.random))
