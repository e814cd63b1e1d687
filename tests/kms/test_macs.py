"""GenerateMac and VerifyMac."""

import hashlib
import hmac
from typing import Any

import pytest

from tests.kms.harness import Kms, KmsFault, user
from tests.kms.imports import import_material

BITS = [224, 256, 384, 512]

# RFC 4868, 2.7.2: AUTH256-1, AUTH384-1 and AUTH512-1, keys of so many bytes 0x0b, data "Hi There", before truncation
VECTORS = {
    256: "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7",
    384: "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee9737a959796489bddbc4c5df61d5b3297b4fb68dab9f1b582c2",
    512: (
        "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8"
        "ac2878ebd5803f6f0b61dbce5e251ff8789a4722c1be65aea45fd464e89f8f5b"
    ),
}


async def refusal(kms: Kms, operation: str, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, **members)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


async def mac_key(kms: Kms, bits: int, **members: str) -> str:
    return await kms.key(KeySpec=f"HMAC_{bits}", KeyUsage="GENERATE_VERIFY_MAC", **members)


@pytest.mark.parametrize("bits", BITS)
async def test_what_was_made_verifies(kms: Kms, bits: int) -> None:
    key = await mac_key(kms, bits)
    arn = (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]["Arn"]
    algorithm = f"HMAC_SHA_{bits}"
    asked = {"KeyId": key, "Message": b"message", "MacAlgorithm": algorithm}
    made = await kms.call("GenerateMac", **asked)
    assert (made["KeyId"], made["MacAlgorithm"], len(made["Mac"])) == (arn, algorithm, bits // 8)
    assert await kms.call("GenerateMac", **asked) == made
    verified = await kms.call("VerifyMac", Mac=made["Mac"], **asked)
    assert verified == {"KeyId": arn, "MacAlgorithm": algorithm, "MacValid": True}

    wrong = ("KMSInvalidMacException", "")
    for mac in (made["Mac"][:-1], made["Mac"] + b"\0", bytes(bits // 8), b"x"):
        assert await refusal(kms, "VerifyMac", Mac=mac, **asked) == wrong
    assert await refusal(kms, "VerifyMac", Mac=made["Mac"], **asked | {"Message": b"another"}) == wrong
    assert await refusal(kms, "VerifyMac", Mac=made["Mac"], **asked | {"KeyId": await mac_key(kms, bits)}) == wrong


@pytest.mark.parametrize("bits", VECTORS)
async def test_the_rfcs_vectors(kms: Kms, bits: int) -> None:
    key = await mac_key(kms, bits, Origin="EXTERNAL")
    await import_material(kms, key, b"\x0b" * (bits // 8))
    answer = await kms.call("GenerateMac", KeyId=key, Message=b"Hi There", MacAlgorithm=f"HMAC_SHA_{bits}")
    assert answer["Mac"].hex() == VECTORS[bits]


@pytest.mark.parametrize(("bits", "least", "most"), [(224, 28, 64), (256, 32, 64), (384, 48, 128), (512, 64, 128)])
async def test_sizes_of_imported_material(kms: Kms, bits: int, least: int, most: int) -> None:
    for size in (least - 1, most + 1):
        key = await mac_key(kms, bits, Origin="EXTERNAL")
        with pytest.raises(KmsFault, match="IncorrectKeyMaterialException"):
            await import_material(kms, key, b"m" * size)
        assert await kms.state(key) == "PendingImport"
    for size in (least, most):
        key = await mac_key(kms, bits, Origin="EXTERNAL")
        await import_material(kms, key, b"m" * size)
        answer = await kms.call("GenerateMac", KeyId=key, Message=b"data", MacAlgorithm=f"HMAC_SHA_{bits}")
        assert answer["Mac"] == hmac.digest(b"m" * size, b"data", getattr(hashlib, f"sha{bits}"))


async def test_keys_that_do_not_fit(kms: Kms) -> None:
    key = await mac_key(kms, 256)
    asked = {"Message": b"m", "MacAlgorithm": "HMAC_SHA_384"}
    expected = ("InvalidKeyUsageException", "Algorithm HMAC_SHA_384 is incompatible with key spec HMAC_256.")
    assert await refusal(kms, "GenerateMac", KeyId=key, **asked) == expected
    assert await refusal(kms, "VerifyMac", KeyId=key, Mac=b"m", **asked) == expected
    other = (await kms.call("CreateKey"))["KeyMetadata"]
    for operation, more in (("GenerateMac", {}), ("VerifyMac", {"Mac": b"m"})):
        expected = (
            "InvalidKeyUsageException",
            f"{other['Arn']} key usage is ENCRYPT_DECRYPT which is not valid for {operation}.",
        )
        assert await refusal(kms, operation, KeyId=other["KeyId"], **asked, **more) == expected
    for operation in ("Encrypt", "GenerateDataKey"):
        members = {"Plaintext": b"x"} if operation == "Encrypt" else {"KeySpec": "AES_256"}
        assert (await refusal(kms, operation, KeyId=key, **members))[0] == "InvalidKeyUsageException"


async def test_a_message_is_4096_bytes_at_most(kms: Kms) -> None:
    key = await mac_key(kms, 512)
    assert await kms.call("GenerateMac", KeyId=key, Message=bytes(4096), MacAlgorithm="HMAC_SHA_512")
    for message in (bytes(4097), b""):
        asked = {"KeyId": key, "Message": message, "MacAlgorithm": "HMAC_SHA_512"}
        assert (await refusal(kms, "GenerateMac", **asked))[0] == "ValidationException"


async def test_rights(kms: Kms) -> None:
    asked = {"KeyId": await mac_key(kms, 256), "Message": b"m", "MacAlgorithm": "HMAC_SHA_256"}
    maker, verifier = user("maker", "kms:GenerateMac"), user("verifier", "kms:VerifyMac")
    mac = (await kms.call("GenerateMac", maker, **asked))["Mac"]
    assert (await kms.call("VerifyMac", verifier, Mac=mac, **asked))["MacValid"]
    for origin, operation, more in ((verifier, "GenerateMac", {}), (maker, "VerifyMac", {"Mac": mac})):
        with pytest.raises(KmsFault, match=f"AccessDeniedException: .* kms:{operation} on resource"):
            await kms.call(operation, origin, **asked, **more)
