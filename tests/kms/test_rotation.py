"""Rotation of key material."""

from datetime import timedelta
from typing import Any

import pytest

from tests.kms.harness import Kms, KmsFault
from tests.kms.imports import import_material


async def rotations(kms: Kms, key: str, **members: Any) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await kms.call("ListKeyRotations", KeyId=key, **members))["Rotations"]
    return listed


async def material_id(kms: Kms, key: str) -> str:
    return str((await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]["CurrentKeyMaterialId"])


async def status(kms: Kms, key: str) -> dict[str, Any]:
    answer = await kms.call("GetKeyRotationStatus", KeyId=key)
    assert answer.pop("KeyId").endswith(f":key/{key}")
    return answer


async def test_rotation_is_off_and_can_be_switched(kms: Kms) -> None:
    key = await kms.key()
    assert await status(kms, key) == {"KeyRotationEnabled": False}
    await kms.call("EnableKeyRotation", KeyId=key)
    on = {
        "KeyRotationEnabled": True,
        "RotationPeriodInDays": 365,
        "NextRotationDate": kms.clock.now + timedelta(days=365),
    }
    assert await status(kms, key) == on
    kms.clock.advance(days=1)
    await kms.call("EnableKeyRotation", KeyId=key)
    assert await status(kms, key) == on
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    assert (await status(kms, key))["NextRotationDate"] == kms.clock.now + timedelta(days=90)
    await kms.call("DisableKeyRotation", KeyId=key)
    assert await status(kms, key) == {"KeyRotationEnabled": False}
    for period in (89, 2561):
        with pytest.raises(KmsFault, match="'rotationPeriodInDays' failed to satisfy constraint"):
            await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=period)


async def test_the_material_rotates_when_it_is_due(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    blob = (await kms.call("Encrypt", KeyId=key, Plaintext=b"old"))["CiphertextBlob"]
    first, due = await material_id(kms, key), kms.clock.now + timedelta(days=90)
    kms.clock.advance(days=90, milliseconds=-1)
    assert await rotations(kms, key) == []
    kms.clock.advance(milliseconds=1, hours=5)
    new = (await kms.call("Encrypt", KeyId=key, Plaintext=b"new"))["CiphertextBlob"]
    second = await material_id(kms, key)
    assert second != first
    (rotation,) = await rotations(kms, key)
    assert rotation.pop("KeyId").endswith(key)
    assert rotation == {
        "KeyMaterialId": second,
        "KeyMaterialState": "CURRENT",
        "RotationDate": due,
        "RotationType": "AUTOMATIC",
    }
    opened = await kms.call("Decrypt", CiphertextBlob=blob)
    assert (opened["Plaintext"], opened["KeyMaterialId"]) == (b"old", first)
    opened = await kms.call("Decrypt", CiphertextBlob=new)
    assert (opened["Plaintext"], opened["KeyMaterialId"]) == (b"new", second)
    assert (await status(kms, key))["NextRotationDate"] == due + timedelta(days=90)


async def test_rotations_missed_while_nobody_looked_are_made_up_for(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    start = kms.clock.now
    kms.clock.advance(days=3 * 90 + 1)
    dates = [rotation["RotationDate"] for rotation in await rotations(kms, key)]
    assert dates == [start + timedelta(days=90 * number) for number in (1, 2, 3)]


async def test_a_disabled_key_rotates_at_once_when_it_is_enabled_again(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    await kms.call("DisableKey", KeyId=key)
    kms.clock.advance(days=200)
    assert await rotations(kms, key) == []
    assert (await status(kms, key))["KeyRotationEnabled"] is True
    await kms.call("EnableKey", KeyId=key)
    assert [rotation["RotationDate"] for rotation in await rotations(kms, key)] == [kms.clock.now]
    assert (await status(kms, key))["NextRotationDate"] == kms.clock.now + timedelta(days=90)


async def test_a_key_that_waits_for_deletion_does_not_rotate(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    kms.clock.advance(days=80)
    await kms.call("ScheduleKeyDeletion", KeyId=key)
    kms.clock.advance(days=20)
    assert await status(kms, key) == {"KeyRotationEnabled": False}
    await kms.call("CancelKeyDeletion", KeyId=key)
    assert (await status(kms, key))["KeyRotationEnabled"] is True
    assert await rotations(kms, key) == []


async def test_rotation_on_demand_leaves_the_schedule(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("EnableKeyRotation", KeyId=key)
    blob = (await kms.call("Encrypt", KeyId=key, Plaintext=b"old"))["CiphertextBlob"]
    before, first = await status(kms, key), await material_id(kms, key)
    kms.clock.advance(days=1)
    assert (await kms.call("RotateKeyOnDemand", KeyId=key))["KeyId"].endswith(f":key/{key}")
    assert await status(kms, key) == before
    assert (await rotations(kms, key))[0]["RotationType"] == "ON_DEMAND"
    everything = await rotations(kms, key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    assert [(each["KeyMaterialId"], each["KeyMaterialState"]) for each in everything] == [
        (first, "NON_CURRENT"),
        (await material_id(kms, key), "CURRENT"),
    ]
    assert "RotationDate" not in everything[0]
    assert (await kms.call("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"old"


async def test_twenty_five_rotations_on_demand_are_the_limit(kms: Kms) -> None:
    key = await kms.key()
    for _ in range(25):
        await kms.call("RotateKeyOnDemand", KeyId=key)
    with pytest.raises(KmsFault, match="LimitExceededException"):
        await kms.call("RotateKeyOnDemand", KeyId=key)
    first = await kms.call("ListKeyRotations", KeyId=key, Limit=20)
    rest = await kms.call("ListKeyRotations", KeyId=key, Limit=20, Marker=first["NextMarker"])
    assert (len(first["Rotations"]), len(rest["Rotations"]), rest["Truncated"]) == (20, 5, False)


async def test_imported_material_rotates_on_demand_only(kms: Kms) -> None:
    key = await kms.key(Origin="EXTERNAL")
    await import_material(kms, key, b"1" * 32)
    blob = (await kms.call("Encrypt", KeyId=key, Plaintext=b"old"))["CiphertextBlob"]
    with pytest.raises(KmsFault, match="origin is EXTERNAL which is not valid for this operation"):
        await kms.call("EnableKeyRotation", KeyId=key)
    assert await status(kms, key) == {"KeyRotationEnabled": False}
    with pytest.raises(KmsFault, match="KMSInvalidStateException: No available key material pending rotation"):
        await kms.call("RotateKeyOnDemand", KeyId=key)
    first = await material_id(kms, key)
    second = (await import_material(kms, key, b"2" * 32, ImportType="NEW_KEY_MATERIAL"))["KeyMaterialId"]
    assert await material_id(kms, key) == first
    listed = await rotations(kms, key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    assert [(each["KeyMaterialId"], each["KeyMaterialState"], each["ImportState"]) for each in listed] == [
        (first, "CURRENT", "IMPORTED"),
        (second, "PENDING_ROTATION", "IMPORTED"),
    ]
    with pytest.raises(KmsFault, match="KMSInvalidStateException"):
        await import_material(kms, key, b"3" * 32, ImportType="NEW_KEY_MATERIAL")
    await kms.call("RotateKeyOnDemand", KeyId=key)
    assert await material_id(kms, key) == second
    assert (await kms.call("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"old"
    await kms.call("DeleteImportedKeyMaterial", KeyId=key, KeyMaterialId=first)
    assert await kms.state(key) == "PendingImport"
    await import_material(kms, key, b"1" * 32)
    assert await kms.state(key) == "Enabled"
    assert (await kms.call("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"old"


async def test_material_that_waits_for_its_rotation_may_come_and_go(kms: Kms) -> None:
    key = await kms.key(Origin="EXTERNAL")
    await import_material(kms, key, b"1" * 32)
    second = (await import_material(kms, key, b"2" * 32, ImportType="NEW_KEY_MATERIAL"))["KeyMaterialId"]
    await kms.call("DeleteImportedKeyMaterial", KeyId=key, KeyMaterialId=second)
    assert await kms.state(key) == "Enabled"
    with pytest.raises(KmsFault, match="KMSInvalidStateException"):
        await kms.call("RotateKeyOnDemand", KeyId=key)
    third = (await import_material(kms, key, b"3" * 32, ImportType="NEW_KEY_MATERIAL"))["KeyMaterialId"]
    await kms.call("RotateKeyOnDemand", KeyId=key)
    listed = await rotations(kms, key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    assert [each["KeyMaterialState"] for each in listed] == ["NON_CURRENT", "CURRENT"]
    assert await material_id(kms, key) == third
