"""Encrypt, Decrypt and ReEncrypt with RSA keys."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from proxy.kms import key_pairs
from tests.kms.harness import Kms, KmsFault, user
from tests.kms.imports import import_material
from tests.kms.openssl import openssl

OAEP = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]

# https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html
LARGEST = {
    ("RSA_2048", "RSAES_OAEP_SHA_1"): 214,
    ("RSA_2048", "RSAES_OAEP_SHA_256"): 190,
    ("RSA_3072", "RSAES_OAEP_SHA_1"): 342,
    ("RSA_3072", "RSAES_OAEP_SHA_256"): 318,
    ("RSA_4096", "RSAES_OAEP_SHA_1"): 470,
    ("RSA_4096", "RSAES_OAEP_SHA_256"): 446,
}


async def refusal(kms: Kms, operation: str, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, **members)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


async def rsa_key(kms: Kms, spec: str = "RSA_2048", **members: str) -> str:
    return await kms.key(KeySpec=spec, KeyUsage="ENCRYPT_DECRYPT", **members)


@pytest.mark.parametrize(("spec", "algorithm"), LARGEST)
async def test_round_trips_up_to_the_largest(kms: Kms, spec: str, algorithm: str) -> None:
    key, largest = await rsa_key(kms, spec), LARGEST[spec, algorithm]
    arn = (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]["Arn"]
    asked = {"KeyId": key, "EncryptionAlgorithm": algorithm}
    for size in (1, largest):
        sealed = await kms.call("Encrypt", Plaintext=b"p" * size, **asked)
        ciphertext = sealed.pop("CiphertextBlob")
        assert len(ciphertext) * 8 == int(spec[4:])
        assert sealed == {"KeyId": arn, "EncryptionAlgorithm": algorithm}
        opened = await kms.call("Decrypt", CiphertextBlob=ciphertext, **asked)
        assert opened == {"KeyId": arn, "EncryptionAlgorithm": algorithm, "Plaintext": b"p" * size}
    assert await refusal(kms, "Encrypt", Plaintext=bytes(largest + 1), **asked) == (
        "ValidationException",
        f"Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {largest} bytes.",
    )


@pytest.mark.parametrize(
    ("algorithm", "hash"), [("RSAES_OAEP_SHA_1", hashes.SHA1()), ("RSAES_OAEP_SHA_256", hashes.SHA256())]
)
async def test_what_was_encrypted_outside(kms: Kms, algorithm: str, hash: hashes.HashAlgorithm) -> None:
    key = await rsa_key(kms)
    public = load_der_public_key((await kms.call("GetPublicKey", KeyId=key))["PublicKey"])
    assert isinstance(public, rsa.RSAPublicKey)
    ciphertext = public.encrypt(b"outside", padding.OAEP(padding.MGF1(hash), hash, None))
    answer = await kms.call("Decrypt", KeyId=key, CiphertextBlob=ciphertext, EncryptionAlgorithm=algorithm)
    assert answer["Plaintext"] == b"outside"


@pytest.mark.parametrize("algorithm", OAEP)
async def test_openssl_decrypts(kms: Kms, tmp_path: Path, algorithm: str) -> None:
    pair = rsa.generate_private_key(65537, 2048)
    key = await rsa_key(kms, Origin="EXTERNAL")
    await import_material(kms, key, key_pairs.private_bytes(pair), algorithm="RSA_AES_KEY_WRAP_SHA_256")
    answer = await kms.call("Encrypt", KeyId=key, Plaintext=b"inside", EncryptionAlgorithm=algorithm)
    (tmp_path / "key").write_bytes(key_pairs.private_bytes(pair))
    (tmp_path / "ciphertext").write_bytes(answer["CiphertextBlob"])
    digest = "sha1" if algorithm.endswith("SHA_1") else "sha256"
    options = ["rsa_padding_mode:oaep", f"rsa_oaep_md:{digest}", f"rsa_mgf1_md:{digest}"]
    command = ["pkeyutl", "-decrypt", "-keyform", "DER", "-inkey", str(tmp_path / "key")]
    command += ["-in", str(tmp_path / "ciphertext"), *(part for option in options for part in ("-pkeyopt", option))]
    assert openssl(*command) == b"inside"


async def test_ciphertexts_that_do_not_open(kms: Kms) -> None:
    key = await rsa_key(kms)
    asked = {"KeyId": key, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    ciphertext = (await kms.call("Encrypt", Plaintext=b"secret", **asked))["CiphertextBlob"]
    invalid = ("InvalidCiphertextException", "")
    flipped = ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])
    for changed in (ciphertext[:-1], ciphertext + b"\0", bytes(256), b"x", flipped, b"\xff" * 256):
        assert await refusal(kms, "Decrypt", CiphertextBlob=changed, **asked) == invalid
    other = asked | {"EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}
    assert await refusal(kms, "Decrypt", CiphertextBlob=ciphertext, **other) == invalid
    assert await refusal(kms, "Decrypt", CiphertextBlob=ciphertext, **asked | {"KeyId": await rsa_key(kms)}) == invalid
    assert await refusal(kms, "Decrypt", CiphertextBlob=ciphertext) == invalid


async def test_the_key_has_to_be_named(kms: Kms) -> None:
    asked = {"CiphertextBlob": bytes(256), "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    assert await refusal(kms, "Decrypt", **asked) == ("ValidationException", "KeyId must not be null")


async def test_there_is_no_encryption_context(kms: Kms) -> None:
    asked = {"KeyId": await rsa_key(kms), "EncryptionAlgorithm": "RSAES_OAEP_SHA_256", "EncryptionContext": {"a": "b"}}
    expected = (
        "ValidationException",
        "EncryptionContext is not supported when encrypting/decrypting with asymmetric CMKs.",
    )
    assert await refusal(kms, "Encrypt", Plaintext=b"x", **asked) == expected
    assert await refusal(kms, "Decrypt", CiphertextBlob=bytes(256), **asked) == expected


async def test_algorithms_that_do_not_fit(kms: Kms) -> None:
    key, symmetric = await rsa_key(kms), await kms.key()
    for key_id, spec, algorithm in (
        (key, "RSA_2048", "SYMMETRIC_DEFAULT"),
        (key, "RSA_2048", "SM2PKE"),
        (symmetric, "SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_256"),
    ):
        expected = ("InvalidKeyUsageException", f"Algorithm {algorithm} is incompatible with key spec {spec}.")
        asked = {"KeyId": key_id, "Plaintext": b"x", "EncryptionAlgorithm": algorithm}
        assert await refusal(kms, "Encrypt", **asked) == expected
    signing = (await kms.call("CreateKey", KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY"))["KeyMetadata"]
    asked = {"KeyId": signing["KeyId"], "Plaintext": b"x", "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}
    assert await refusal(kms, "Encrypt", **asked) == (
        "InvalidKeyUsageException",
        f"{signing['Arn']} key usage is SIGN_VERIFY which is not valid for Encrypt.",
    )
    assert (await refusal(kms, "GenerateDataKey", KeyId=key, KeySpec="AES_256"))[0] == "InvalidKeyUsageException"


async def test_re_encrypt_between_kinds_of_keys(kms: Kms) -> None:
    one, two, symmetric = await rsa_key(kms), await rsa_key(kms), await kms.key()
    first = await kms.call("Encrypt", KeyId=one, Plaintext=b"secret", EncryptionAlgorithm="RSAES_OAEP_SHA_1")
    to_symmetric = await kms.call(
        "ReEncrypt",
        CiphertextBlob=first["CiphertextBlob"],
        SourceKeyId=one,
        SourceEncryptionAlgorithm="RSAES_OAEP_SHA_1",
        DestinationKeyId=symmetric,
        DestinationEncryptionContext={"a": "b"},
    )
    assert to_symmetric["SourceEncryptionAlgorithm"] == "RSAES_OAEP_SHA_1"
    assert to_symmetric["DestinationEncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    assert "SourceKeyMaterialId" not in to_symmetric
    assert "DestinationKeyMaterialId" in to_symmetric
    to_asymmetric = await kms.call(
        "ReEncrypt",
        CiphertextBlob=to_symmetric["CiphertextBlob"],
        SourceEncryptionContext={"a": "b"},
        DestinationKeyId=two,
        DestinationEncryptionAlgorithm="RSAES_OAEP_SHA_256",
    )
    assert to_asymmetric["DestinationEncryptionAlgorithm"] == "RSAES_OAEP_SHA_256"
    assert "SourceKeyMaterialId" in to_asymmetric
    assert "DestinationKeyMaterialId" not in to_asymmetric
    opened = await kms.call(
        "Decrypt",
        KeyId=two,
        CiphertextBlob=to_asymmetric["CiphertextBlob"],
        EncryptionAlgorithm="RSAES_OAEP_SHA_256",
    )
    assert opened["Plaintext"] == b"secret"
    too_long = await kms.call("Encrypt", KeyId=symmetric, Plaintext=bytes(191))
    assert await refusal(
        kms,
        "ReEncrypt",
        CiphertextBlob=too_long["CiphertextBlob"],
        DestinationKeyId=two,
        DestinationEncryptionAlgorithm="RSAES_OAEP_SHA_256",
    ) == (
        "ValidationException",
        "Algorithm RSAES_OAEP_SHA_256 and key spec RSA_2048 cannot encrypt data larger than 190 bytes.",
    )
    assert await refusal(
        kms,
        "ReEncrypt",
        CiphertextBlob=first["CiphertextBlob"],
        SourceEncryptionAlgorithm="RSAES_OAEP_SHA_1",
        DestinationKeyId=symmetric,
    ) == ("ValidationException", "KeyId must not be null")


async def test_rights(kms: Kms) -> None:
    key = await rsa_key(kms)
    asked = {"KeyId": key, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    encrypts, decrypts = user("encrypts", "kms:Encrypt"), user("decrypts", "kms:Decrypt")
    ciphertext = (await kms.call("Encrypt", encrypts, Plaintext=b"x", **asked))["CiphertextBlob"]
    assert (await kms.call("Decrypt", decrypts, CiphertextBlob=ciphertext, **asked))["Plaintext"] == b"x"
    with pytest.raises(KmsFault, match=r"AccessDeniedException: .* kms:Decrypt on resource"):
        await kms.call("Decrypt", encrypts, CiphertextBlob=ciphertext, **asked)
    with pytest.raises(KmsFault, match=r"AccessDeniedException: .* kms:Encrypt on resource"):
        await kms.call("Encrypt", decrypts, Plaintext=b"x", **asked)
