"""GetKeyLastUsage."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.kms.harness import ADMIN, Kms, KmsFault, user
from tests.kms.test_dry_run import REQUESTS, request_for

CRYPTOGRAPHIC = sorted(REQUESTS.keys() - {"CreateGrant", "RetireGrant", "RevokeGrant"})


async def usage(kms: Kms, key: str) -> dict[str, Any]:
    return dict((await kms.call("GetKeyLastUsage", KeyId=key))["KeyLastUsage"])


@pytest.mark.parametrize("operation", CRYPTOGRAPHIC)
async def test_every_cryptographic_operation_counts(kms: Kms, operation: str) -> None:
    members = await request_for(kms, operation)
    kms.clock.advance(hours=1)
    answer = await kms.call(operation, **members)
    arns = {answer["KeyId"], answer.get("SourceKeyId", answer["KeyId"])}
    kms.clock.advance(hours=1)
    for arn in arns:
        assert await usage(kms, arn) == {
            "Operation": operation,
            "Timestamp": kms.clock.now - timedelta(hours=1),
            "KmsRequestId": ADMIN.request_id,
        }


async def test_a_key_that_was_never_used(kms: Kms) -> None:
    made = (await kms.call("CreateKey"))["KeyMetadata"]
    assert await kms.call("GetKeyLastUsage", KeyId=made["KeyId"]) == {
        "KeyId": made["KeyId"],
        "KeyLastUsage": {},
        "TrackingStartDate": made["CreationDate"],
        "KeyCreationDate": made["CreationDate"],
    }


async def test_what_fails_and_what_is_rehearsed_does_not_count(kms: Kms) -> None:
    key = await kms.key()
    for members in ({"DryRun": True}, {"EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}):
        with pytest.raises(KmsFault):
            await kms.call("Encrypt", KeyId=key, Plaintext=b"x", **members)
    verify = await request_for(kms, "GenerateMac")
    with pytest.raises(KmsFault):
        await kms.call("VerifyMac", Mac=b"x", **verify)
    assert await usage(kms, key) == await usage(kms, verify["KeyId"]) == {}


async def test_other_processes_see_it_after_a_minute(kms: Kms) -> None:
    other = await Kms(kms.store, kms.clock).start()
    key = await kms.key()
    await kms.call("Encrypt", KeyId=key, Plaintext=b"x")
    assert await usage(other, key) == {}
    kms.clock.advance(seconds=60)
    await kms.call("GenerateDataKey", KeyId=key, KeySpec="AES_256")
    await asyncio.sleep(0)
    await kms.service.last_usage.aclose()
    assert (await usage(other, key))["Operation"] == "GenerateDataKey"
    # The older of two uses does not replace the newer one, whoever writes last.
    await other.call("Decrypt", CiphertextBlob=(await kms.call("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"])
    kms.clock.advance(seconds=1)
    await kms.call("Encrypt", KeyId=key, Plaintext=b"y")
    for each in (kms, other):
        await each.service.last_usage.aclose()
    assert (await usage(other, key))["Operation"] == (await usage(kms, key))["Operation"] == "Encrypt"


async def test_it_goes_with_the_key(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("Encrypt", KeyId=key, Plaintext=b"x")
    await kms.service.last_usage.write()
    assert len(await kms.store.scan("usage")) == 1
    await kms.call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    kms.clock.advance(days=7)
    with pytest.raises(KmsFault, match="NotFoundException"):
        await usage(kms, key)
    assert await kms.store.scan("usage") == []


async def test_rights(kms: Kms) -> None:
    key = await kms.key()
    assert await kms.call("GetKeyLastUsage", user("reader", "kms:GetKeyLastUsage"), KeyId=key)
    with pytest.raises(KmsFault, match=r"AccessDeniedException: .* kms:GetKeyLastUsage on resource"):
        await kms.call("GetKeyLastUsage", user("nobody"), KeyId=key)
    with pytest.raises(KmsFault, match="Invalid keyId 'alias/a'"):
        await kms.call("GetKeyLastUsage", KeyId="alias/a")
