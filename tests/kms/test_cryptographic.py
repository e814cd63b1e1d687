"""Encrypt, Decrypt, ReEncrypt, GenerateDataKey, GenerateRandom."""

from typing import Any

import pytest

from tests.kms.harness import ACCOUNT, ADMIN, REGION, Kms, KmsFault, user

ELSEWHERE = user("admin", "kms:*", region="eu-west-1")
NO_SUCH_KEY = (
    "AccessDeniedException",
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
    "or you are not allowed to access.",
)
INVALID = ("InvalidCiphertextException", "")
INCORRECT = (
    "IncorrectKeyException",
    "The key ID in the request does not identify a CMK that can perform this operation.",
)


async def refusal(kms: Kms, operation: str, origin: Any = ADMIN, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, origin, **members)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


async def test_encrypt_and_decrypt(kms: Kms) -> None:
    key = (await kms.call("CreateKey"))["KeyMetadata"]
    sealed = await kms.call("Encrypt", KeyId=key["KeyId"], Plaintext=b"secret", EncryptionContext={"a": "1", "b": "2"})
    blob = sealed.pop("CiphertextBlob")
    assert sealed == {"KeyId": key["Arn"], "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
    assert b"secret" not in blob
    for named in ({}, {"KeyId": key["KeyId"]}, {"KeyId": key["Arn"]}):
        opened = await kms.call("Decrypt", CiphertextBlob=blob, EncryptionContext={"b": "2", "a": "1"}, **named)
        assert opened == {
            "KeyId": key["Arn"],
            "Plaintext": b"secret",
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "KeyMaterialId": key["CurrentKeyMaterialId"],
        }


async def test_equal_plaintexts_have_different_blobs(kms: Kms) -> None:
    key = await kms.key()
    blobs = {(await kms.call("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"] for _ in range(20)}
    assert len(blobs) == 20


async def test_a_wrong_context_or_a_damaged_blob_tells_nothing(kms: Kms) -> None:
    key = await kms.key()
    blob = (await kms.call("Encrypt", KeyId=key, Plaintext=b"x", EncryptionContext={"a": "1"}))["CiphertextBlob"]
    context = {"a": "1"}
    assert await refusal(kms, "Decrypt", CiphertextBlob=blob) == INVALID
    for wrong in ({"A": "1"}, {"a": "1 "}, {"a": "1", "b": ""}):
        assert await refusal(kms, "Decrypt", CiphertextBlob=blob, EncryptionContext=wrong) == INVALID
    damaged = blob[:-1] + bytes([blob[-1] ^ 1])
    assert await refusal(kms, "Decrypt", CiphertextBlob=damaged, EncryptionContext=context) == INVALID
    assert await refusal(kms, "Decrypt", CiphertextBlob=blob[:50], EncryptionContext=context) == INVALID
    assert await refusal(kms, "Decrypt", CiphertextBlob=b"garbage") == INVALID
    later = blob[:23] + (2).to_bytes(4, "big") + blob[27:]
    assert await refusal(kms, "Decrypt", CiphertextBlob=later, EncryptionContext=context) == INVALID


async def test_a_blob_of_a_key_that_is_not_here(kms: Kms) -> None:
    key = await kms.key()
    blob = (await kms.call("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"]
    assert await refusal(kms, "Decrypt", ELSEWHERE, CiphertextBlob=blob) == NO_SUCH_KEY
    assert await refusal(kms, "Decrypt", CiphertextBlob=blob[:7] + bytes(16) + blob[23:]) == NO_SUCH_KEY
    other_account = blob[:2] + (444455556666).to_bytes(5, "big") + blob[7:]
    assert await refusal(kms, "Decrypt", CiphertextBlob=other_account) == NO_SUCH_KEY
    stranger = user("admin", "kms:*", account="444455556666")
    assert await refusal(kms, "Decrypt", stranger, CiphertextBlob=blob) == NO_SUCH_KEY


async def test_a_blob_cannot_be_passed_off_as_another_keys(kms: Kms) -> None:
    one, two = await kms.key(), await kms.key()
    blobs = [(await kms.call("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"] for key in (one, two)]
    assert await refusal(kms, "Decrypt", CiphertextBlob=blobs[1][:27] + blobs[0][27:]) == INVALID
    assert await refusal(kms, "Decrypt", CiphertextBlob=blobs[0], KeyId=two) == INCORRECT
    assert (await refusal(kms, "Decrypt", CiphertextBlob=blobs[0], KeyId="alias/none"))[0] == "NotFoundException"


async def test_sizes(kms: Kms) -> None:
    key = await kms.key()
    largest = await kms.call("Encrypt", KeyId=key, Plaintext=b"p" * 4096)
    assert (await kms.call("Decrypt", CiphertextBlob=largest["CiphertextBlob"]))["Plaintext"] == b"p" * 4096
    assert await refusal(kms, "Encrypt", KeyId=key, Plaintext=b"p" * 4097) == (
        "ValidationException",
        "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: "
        "Member must have length less than or equal to 4096",
    )
    assert (await refusal(kms, "Encrypt", KeyId=key, Plaintext=b""))[0] == "ValidationException"
    assert (await refusal(kms, "Decrypt", CiphertextBlob=bytes(6145)))[0] == "ValidationException"
    assert await refusal(kms, "Decrypt") == (
        "ValidationException",
        "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: "
        "Member must not be null",
    )


async def test_an_algorithm_of_another_kind_of_key(kms: Kms) -> None:
    key = await kms.key()
    code, _ = await refusal(kms, "Encrypt", KeyId=key, Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_256")
    assert code == "InvalidKeyUsageException"


@pytest.mark.parametrize(("how", "size"), [({"KeySpec": "AES_256"}, 32), ({"KeySpec": "AES_128"}, 16)])
@pytest.mark.parametrize("operation", ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"])
async def test_data_keys(kms: Kms, operation: str, how: dict[str, Any], size: int) -> None:
    key = (await kms.call("CreateKey"))["KeyMetadata"]
    made = await kms.call(operation, KeyId=key["KeyId"], EncryptionContext={"a": "1"}, **how)
    assert (made["KeyId"], made["KeyMaterialId"]) == (key["Arn"], key["CurrentKeyMaterialId"])
    assert ("Plaintext" in made) is (operation == "GenerateDataKey")
    opened = await kms.call("Decrypt", CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "1"})
    assert len(opened["Plaintext"]) == size
    assert made.get("Plaintext", opened["Plaintext"]) == opened["Plaintext"]


async def test_a_data_key_of_any_length(kms: Kms) -> None:
    key = await kms.key()
    for size in (1, 64, 1024):
        assert len((await kms.call("GenerateDataKey", KeyId=key, NumberOfBytes=size))["Plaintext"]) == size
    text = "Please specify either number of bytes or key spec."
    assert await refusal(kms, "GenerateDataKey", KeyId=key) == ("ValidationException", text)
    both = {"NumberOfBytes": 32, "KeySpec": "AES_256"}
    assert await refusal(kms, "GenerateDataKey", KeyId=key, **both) == ("ValidationException", text)
    code, message = await refusal(kms, "GenerateDataKey", KeyId=key, NumberOfBytes=1025)
    assert (code, message[:60]) == (
        "ValidationException",
        "1 validation error detected: Value '1025' at 'numberOfBytes'",
    )


async def test_random_bytes(kms: Kms) -> None:
    found = {(await kms.call("GenerateRandom", NumberOfBytes=32))["Plaintext"] for _ in range(10)}
    assert {len(each) for each in found} == {32}
    assert len(found) == 10
    assert (await refusal(kms, "GenerateRandom"))[0] == "ValidationException"
    assert (await refusal(kms, "GenerateRandom", user("nobody"), NumberOfBytes=1))[0] == "AccessDeniedException"


async def test_re_encrypt(kms: Kms) -> None:
    one, two = [(await kms.call("CreateKey"))["KeyMetadata"] for _ in range(2)]
    blob = (await kms.call("Encrypt", KeyId=one["KeyId"], Plaintext=b"x", EncryptionContext={"a": "1"}))[
        "CiphertextBlob"
    ]
    members: dict[str, Any] = {
        "CiphertextBlob": blob,
        "SourceEncryptionContext": {"a": "1"},
        "DestinationKeyId": two["KeyId"],
        "DestinationEncryptionContext": {"b": "2"},
    }
    made = await kms.call("ReEncrypt", SourceKeyId=one["Arn"], **members)
    new = made.pop("CiphertextBlob")
    assert made == {
        "SourceKeyId": one["Arn"],
        "KeyId": two["Arn"],
        "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "SourceKeyMaterialId": one["CurrentKeyMaterialId"],
        "DestinationKeyMaterialId": two["CurrentKeyMaterialId"],
    }
    opened = await kms.call("Decrypt", CiphertextBlob=new, EncryptionContext={"b": "2"})
    assert (opened["Plaintext"], opened["KeyId"]) == (b"x", two["Arn"])
    assert await refusal(kms, "ReEncrypt", SourceKeyId=two["Arn"], **members) == INCORRECT
    assert await refusal(kms, "ReEncrypt", **(members | {"SourceEncryptionContext": {}})) == INVALID


async def test_re_encrypt_needs_both_rights(kms: Kms) -> None:
    key = await kms.key()
    blob = (await kms.call("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"]
    for given, missing in (("kms:ReEncryptFrom", "kms:ReEncryptTo"), ("kms:ReEncryptTo", "kms:ReEncryptFrom")):
        code, message = await refusal(kms, "ReEncrypt", user("half", given), CiphertextBlob=blob, DestinationKeyId=key)
        assert code == "AccessDeniedException"
        assert message.endswith(f"because no identity-based policy allows the {missing} action")
    await kms.call("ReEncrypt", user("whole", "kms:ReEncrypt*"), CiphertextBlob=blob, DestinationKeyId=key)


async def test_a_dry_run_does_nothing_and_says_what_would_have_been(kms: Kms) -> None:
    key = await kms.key()
    blob = (await kms.call("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"]
    would = ("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
    for operation, members in (
        ("Encrypt", {"KeyId": key, "Plaintext": b"x"}),
        ("Decrypt", {"CiphertextBlob": blob}),
        ("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"}),
        ("ReEncrypt", {"CiphertextBlob": blob, "DestinationKeyId": key}),
    ):
        assert await refusal(kms, operation, DryRun=True, **members) == would
    await kms.call("DisableKey", KeyId=key)
    assert (await refusal(kms, "Encrypt", KeyId=key, Plaintext=b"x", DryRun=True))[0] == "DisabledException"


async def test_answers_for_enclaves_are_refused(kms: Kms) -> None:
    key = await kms.key()
    recipient = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b"x"}
    code, _ = await refusal(kms, "GenerateDataKey", KeyId=key, KeySpec="AES_256", Recipient=recipient)
    assert code == "UnsupportedOperationException"


async def test_arns_of_answers_are_key_arns(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=key)
    made = await kms.call("GenerateDataKey", KeyId="alias/a", KeySpec="AES_256")
    assert made["KeyId"] == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}"
    opened = await kms.call("Decrypt", KeyId="alias/a", CiphertextBlob=made["CiphertextBlob"])
    assert opened["Plaintext"] == made["Plaintext"]
