"""What time alone does to keys: everything is as if the service had been there when it was due."""

from datetime import timedelta
from typing import Any

import pytest

from proxy.kms import model
from tests.kms.harness import ADMIN, Kms, KmsFault, user
from tests.kms.imports import import_material

GRANTEE = "arn:aws:iam::111122223333:user/grantee"


async def history(kms: Kms, key: str) -> list[dict[str, Any]]:
    members = {"KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
    listed: list[dict[str, Any]] = (await kms.call("ListKeyRotations", **members))["Rotations"]
    return listed


@pytest.mark.parametrize("looks", [(), (10,), (89, 90, 91), tuple(range(0, 400, 7))])
async def test_rotations_are_those_that_were_due_whenever_one_looks(kms: Kms, looks: tuple[int, ...]) -> None:
    start = kms.clock.now
    key = await kms.key()
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    for day in looks:
        kms.clock.now = start + timedelta(days=day)
        await kms.call("Encrypt", KeyId=key, Plaintext=b"x")
    kms.clock.now = start + timedelta(days=400)
    dates = [each.get("RotationDate") for each in await history(kms, key)]
    assert dates == [None, *(start + timedelta(days=90 * number) for number in (1, 2, 3, 4))]
    status = await kms.call("GetKeyRotationStatus", KeyId=key)
    assert status["NextRotationDate"] == start + timedelta(days=450)


async def test_a_service_that_was_down_settles_what_was_due_meanwhile(kms: Kms) -> None:
    rotating, expiring, deleted = await kms.key(), await kms.key(Origin="EXTERNAL"), await kms.key()
    await kms.call("EnableKeyRotation", KeyId=rotating, RotationPeriodInDays=90)
    await import_material(kms, expiring, b"m" * 32, valid_for=timedelta(days=100))
    await kms.call("ScheduleKeyDeletion", KeyId=deleted)
    due = kms.clock.now + timedelta(days=90)
    kms.clock.advance(days=101)
    again = await Kms(kms.store, kms.clock).start()
    assert [each.get("RotationDate") for each in await history(again, rotating)] == [None, due]
    assert await again.state(expiring) == "PendingImport"
    with pytest.raises(KmsFault, match="NotFoundException"):
        await again.state(deleted)


async def test_the_period_may_change_between_rotations(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    kms.clock.advance(days=100)
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=2560)
    assert len(await history(kms, key)) == 2
    changed = kms.clock.now
    kms.clock.advance(days=2559)
    assert len(await history(kms, key)) == 2
    kms.clock.advance(days=1)
    assert (await history(kms, key))[-1]["RotationDate"] == changed + timedelta(days=2560)


async def test_nothing_is_listed_whose_time_is_over(kms: Kms) -> None:
    key, other = await kms.key(), await kms.key()
    for name in ("alias/a", "alias/b"):
        await kms.call("CreateAlias", AliasName=name, TargetKeyId=key)
    await kms.call("ScheduleKeyDeletion", KeyId=key)
    kms.clock.advance(days=31)
    assert (await kms.call("ListAliases"))["Aliases"] == []
    await kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=other)
    assert [alias["TargetKeyId"] for alias in (await kms.call("ListAliases"))["Aliases"]] == [other]


async def test_the_name_of_an_alias_is_free_when_its_keys_time_is_over(kms: Kms) -> None:
    key, other = await kms.key(), await kms.key()
    await kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=key)
    await kms.call("ScheduleKeyDeletion", KeyId=key)
    with pytest.raises(KmsFault, match="AlreadyExistsException"):
        await kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=other)
    kms.clock.advance(days=30)
    await kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=other)


async def test_a_deleted_key_leaves_nothing(kms: Kms) -> None:
    key = await kms.key()
    for _ in range(3):
        await kms.call("RotateKeyOnDemand", KeyId=key)
    await kms.call("Encrypt", KeyId=key, Plaintext=b"x")
    await kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=key)
    await kms.call("CreateGrant", KeyId=key, GranteePrincipal=GRANTEE, Operations=["Decrypt"])
    await kms.service.last_usage.write()
    assert len(await kms.store.scan(model.USAGE)) == 1
    await kms.call("ScheduleKeyDeletion", KeyId=key)
    kms.clock.advance(days=30)
    with pytest.raises(KmsFault, match="NotFoundException"):
        await kms.state(key)
    for kind in (model.KEY, model.MATERIAL, model.ALIAS, model.GRANT, model.USAGE):
        assert await kms.store.scan(kind) == [], kind
    assert not kms.service.ring.held


async def test_material_that_expires_while_the_key_waits_for_deletion(kms: Kms) -> None:
    key = await kms.key(Origin="EXTERNAL")
    await import_material(kms, key, b"m" * 32, valid_for=timedelta(days=5))
    await kms.call("ScheduleKeyDeletion", KeyId=key)
    kms.clock.advance(days=6)
    assert await kms.state(key) == "PendingDeletion"
    assert await kms.store.scan(model.MATERIAL) == []
    await kms.call("CancelKeyDeletion", KeyId=key)
    assert await kms.state(key) == "PendingImport"


async def test_of_several_materials_the_first_to_expire_shows_and_stops_the_key(kms: Kms) -> None:
    key = await kms.key(Origin="EXTERNAL")
    first = await import_material(kms, key, b"1" * 32, valid_for=timedelta(days=5))
    await import_material(kms, key, b"2" * 32, valid_for=timedelta(days=9), ImportType="NEW_KEY_MATERIAL")
    end = kms.clock.now + timedelta(days=5)
    await kms.call("RotateKeyOnDemand", KeyId=key)
    described = (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]
    assert (described["ExpirationModel"], described["ValidTo"]) == ("KEY_MATERIAL_EXPIRES", end)
    assert described["CurrentKeyMaterialId"] != first["KeyMaterialId"]
    listed = await history(kms, key)
    assert [(each["ImportState"], each["ValidTo"]) for each in listed] == [
        ("IMPORTED", end),
        ("IMPORTED", end + timedelta(days=4)),
    ]
    kms.clock.advance(days=5)
    assert await kms.state(key) == "PendingImport"
    assert [each["ImportState"] for each in await history(kms, key)] == ["PENDING_IMPORT", "IMPORTED"]
    assert "ExpirationModel" not in (await history(kms, key))[0]
    await import_material(kms, key, b"1" * 32)
    assert (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]["ValidTo"] == end + timedelta(days=4)


async def test_a_clock_that_goes_back_undoes_nothing(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    kms.clock.advance(days=90)
    blob = (await kms.call("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"]
    kms.clock.advance(days=-10)
    assert (await kms.call("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"x"
    assert len(await history(kms, key)) == 2


async def test_a_dry_run_settles_and_changes_nothing_else(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    kms.clock.advance(days=91)
    with pytest.raises(KmsFault, match="DryRunOperationException"):
        await kms.call("Encrypt", KeyId=key, Plaintext=b"x", DryRun=True)
    assert len(await history(kms, key)) == 2
    with pytest.raises(KmsFault, match="AccessDeniedException"):
        await kms.call("Encrypt", user("nobody"), KeyId=key, Plaintext=b"x", DryRun=True)


async def test_keys_of_other_specs_do_not_rotate(kms: Kms) -> None:
    for spec, usage in (("HMAC_256", "GENERATE_VERIFY_MAC"), ("ECC_NIST_P256", "SIGN_VERIFY")):
        key = await kms.key(KeySpec=spec, KeyUsage=usage)
        for operation in ("EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"):
            with pytest.raises(KmsFault, match=f"UnsupportedOperationException: .* key spec is {spec}"):
                await kms.call(operation, ADMIN, KeyId=key)
        assert (await kms.call("GetKeyRotationStatus", KeyId=key))["KeyRotationEnabled"] is False
        assert (await kms.call("ListKeyRotations", KeyId=key))["Rotations"] == []
        with pytest.raises(KmsFault, match="UnsupportedOperationException"):
            await history(kms, key)
