"""DryRun: every check, no effect, and the one answer."""

from collections.abc import Awaitable, Callable
from typing import Any

import botocore.session
import pytest

from proxy.kms.store import Record
from tests.kms.harness import ACCOUNT, Kms, KmsFault, user

SERVICE = botocore.session.get_session().get_service_model("kms")
OPERATIONS = [name for name in SERVICE.operation_names if "DryRun" in SERVICE.operation_model(name).input_shape.members]
WOULD = ("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
GRANTEE = f"arn:aws:iam::{ACCOUNT}:user/grantee"

Members = dict[str, Any]


async def refusal(kms: Kms, operation: str, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, **members)
    return caught.value.code, caught.value.message


async def symmetric(kms: Kms) -> Members:
    return {"KeyId": await kms.key()}


async def grant(kms: Kms) -> Members:
    key = await kms.key()
    made = await kms.call("CreateGrant", KeyId=key, GranteePrincipal=GRANTEE, Operations=["Decrypt"])
    return {"KeyId": key, "GrantId": made["GrantId"]}


async def ciphertext(kms: Kms) -> Members:
    key = await kms.key()
    return {"CiphertextBlob": (await kms.call("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"]}


async def signing(kms: Kms) -> Members:
    key = await kms.key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    return {"KeyId": key, "Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256"}


async def mac(kms: Kms) -> Members:
    key = await kms.key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    return {"KeyId": key, "Message": b"m", "MacAlgorithm": "HMAC_SHA_256"}


async def agreement(kms: Kms) -> Members:
    key = await kms.key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")
    public = (await kms.call("GetPublicKey", KeyId=key))["PublicKey"]
    return {"KeyId": key, "PublicKey": public, "KeyAgreementAlgorithm": "ECDH"}


async def signature(kms: Kms) -> Members:
    members = await signing(kms)
    return members | {"Signature": (await kms.call("Sign", **members))["Signature"]}


async def made_mac(kms: Kms) -> Members:
    members = await mac(kms)
    return members | {"Mac": (await kms.call("GenerateMac", **members))["Mac"]}


REQUESTS: dict[str, tuple[Callable[[Kms], Awaitable[Members]], Members]] = {
    "CreateGrant": (symmetric, {"GranteePrincipal": GRANTEE, "Operations": ["Decrypt"]}),
    "Decrypt": (ciphertext, {}),
    "DeriveSharedSecret": (agreement, {}),
    "Encrypt": (symmetric, {"Plaintext": b"x"}),
    "GenerateDataKey": (symmetric, {"KeySpec": "AES_256"}),
    "GenerateDataKeyPair": (symmetric, {"KeyPairSpec": "ECC_NIST_P256"}),
    "GenerateDataKeyPairWithoutPlaintext": (symmetric, {"KeyPairSpec": "ECC_NIST_P256"}),
    "GenerateDataKeyWithoutPlaintext": (symmetric, {"KeySpec": "AES_256"}),
    "GenerateMac": (mac, {}),
    "ReEncrypt": (ciphertext, {}),
    "RetireGrant": (grant, {}),
    "RevokeGrant": (grant, {}),
    "Sign": (signing, {}),
    "Verify": (signature, {}),
    "VerifyMac": (made_mac, {}),
}


async def everything(kms: Kms) -> list[Record]:
    kinds = ("key", "material", "alias", "grant", "usage")
    return [record for kind in kinds for record in await kms.store.scan(kind)]


async def request_for(kms: Kms, operation: str) -> Members:
    prepare, more = REQUESTS[operation]
    members = await prepare(kms) | more
    if operation == "ReEncrypt":
        members["DestinationKeyId"] = await kms.key()
    return members


def test_every_operation_that_has_the_member_is_here() -> None:
    assert REQUESTS.keys() == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_it_says_what_would_have_been_and_does_nothing(kms: Kms, operation: str) -> None:
    members = await request_for(kms, operation)
    before = await everything(kms)
    assert await refusal(kms, operation, DryRun=True, **members) == WOULD
    assert await everything(kms) == before
    await kms.call(operation, DryRun=False, **members)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_everything_is_checked_first(kms: Kms, operation: str) -> None:
    members = await request_for(kms, operation)
    with pytest.raises(KmsFault, match="AccessDeniedException"):
        await kms.call(operation, user("nobody"), DryRun=True, **members)
    if operation in ("RetireGrant", "RevokeGrant"):
        assert (await refusal(kms, operation, DryRun=True, **members | {"GrantId": "0" * 64}))[0] == "NotFoundException"
        return
    for key in (await kms.call("ListKeys"))["Keys"]:
        await kms.call("DisableKey", KeyId=key["KeyId"])
    assert (await refusal(kms, operation, DryRun=True, **members))[0] == "DisabledException"


async def test_what_is_wrong_with_the_message_shows(kms: Kms) -> None:
    verify = await request_for(kms, "Verify")
    assert (await refusal(kms, "Verify", DryRun=True, **verify | {"Message": b"other"}))[0] == (
        "KMSInvalidSignatureException"
    )
    verify_mac = await request_for(kms, "VerifyMac")
    assert (await refusal(kms, "VerifyMac", DryRun=True, **verify_mac | {"Mac": b"x"}))[0] == "KMSInvalidMacException"
    decrypt = await request_for(kms, "Decrypt")
    assert (await refusal(kms, "Decrypt", DryRun=True, **decrypt | {"CiphertextBlob": b"x"}))[0] == (
        "InvalidCiphertextException"
    )


async def test_without_a_ciphertext(kms: Kms) -> None:
    key, other = await kms.key(), await kms.key()
    ignoring = {"DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    assert await refusal(kms, "Decrypt", KeyId=key, DryRun=True, **ignoring) == WOULD
    assert await refusal(kms, "Decrypt", KeyId=key, CiphertextBlob=b"x", DryRun=True, **ignoring) == WOULD
    sides = {"SourceKeyId": key, "DestinationKeyId": other}
    assert await refusal(kms, "ReEncrypt", DryRun=True, **sides, **ignoring) == WOULD
    assert (await refusal(kms, "Decrypt", KeyId=key, **ignoring))[0] == "ValidationException"
    assert await refusal(kms, "Decrypt", DryRun=True, **ignoring) == ("ValidationException", "KeyId must not be null")
    assert (await refusal(kms, "Decrypt", KeyId=key, DryRun=True))[0] == "ValidationException"
    only_from = user("only-from", "kms:ReEncryptFrom")
    with pytest.raises(KmsFault, match=r"AccessDeniedException: .* kms:ReEncryptTo on resource"):
        await kms.call("ReEncrypt", only_from, DryRun=True, **sides, **ignoring)
    with pytest.raises(KmsFault, match=r"AccessDeniedException: .* kms:Decrypt on resource"):
        await kms.call("Decrypt", only_from, KeyId=key, DryRun=True, **ignoring)


async def test_what_time_alone_does_is_done(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    kms.clock.advance(days=91)
    assert await refusal(kms, "CreateGrant", KeyId=key, DryRun=True, **REQUESTS["CreateGrant"][1]) == WOULD
    assert len((await kms.call("ListKeyRotations", KeyId=key))["Rotations"]) == 1
