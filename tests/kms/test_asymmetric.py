"""Asymmetric KMS keys, held against openssl's command line, RFC vectors and ``cryptography``."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from proxy.kms import key_pairs, signatures
from proxy.kms.key_specs import KEY_SPECS
from tests.kms.harness import ADMIN, Kms, KmsFault, user
from tests.kms.imports import import_material
from tests.kms.openssl import openssl

MESSAGE = b"The quick brown fox jumps over the lazy dog"
SIGNING = [
    (spec.name, algorithm)
    for spec in KEY_SPECS.values()
    for algorithm in spec.algorithms.get("SIGN_VERIFY", ())
    if spec.name not in ("RSA_3072", "RSA_4096")
]
SPECS = sorted({spec for spec, _ in SIGNING})
HASHED = [(spec, algorithm) for spec, algorithm in SIGNING if algorithm.startswith(("RSA", "ECDSA"))]


async def refusal(kms: Kms, operation: str, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, **members)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


async def signing_key(kms: Kms, spec: str) -> str:
    return await kms.key(KeySpec=spec, KeyUsage="SIGN_VERIFY")


def prepared(algorithm: str, message: bytes) -> tuple[str, bytes]:
    """A message as the algorithm takes it, and its type."""
    if algorithm == "ED25519_PH_SHA_512":
        return "DIGEST", hashlib.sha512(message).digest()
    return "RAW", message


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
async def test_what_was_signed_verifies(kms: Kms, spec: str, algorithm: str) -> None:
    key = await signing_key(kms, spec)
    arn = (await kms.call("DescribeKey", KeyId=key))["KeyMetadata"]["Arn"]
    kind, message = prepared(algorithm, MESSAGE)
    members = {"KeyId": key, "Message": message, "MessageType": kind, "SigningAlgorithm": algorithm}
    signed = await kms.call("Sign", **members)
    assert (signed["KeyId"], signed["SigningAlgorithm"]) == (arn, algorithm)
    verified = await kms.call("Verify", Signature=signed["Signature"], **members)
    assert verified == {"KeyId": arn, "SignatureValid": True, "SigningAlgorithm": algorithm}

    wrong = ("KMSInvalidSignatureException", "")
    other = members | {"Message": prepared(algorithm, b"another message")[1]}
    assert await refusal(kms, "Verify", Signature=signed["Signature"], **other) == wrong
    flipped = bytes([signed["Signature"][0] ^ 1]) + signed["Signature"][1:]
    for signature in (flipped, signed["Signature"][:-1], signed["Signature"] + b"\0", b"\0", bytes(6144)):
        assert await refusal(kms, "Verify", Signature=signature, **members) == wrong
    elsewhere = members | {"KeyId": await signing_key(kms, spec)}
    assert await refusal(kms, "Verify", Signature=signed["Signature"], **elsewhere) == wrong


@pytest.mark.parametrize(("spec", "algorithm"), HASHED)
async def test_openssl_agrees(kms: Kms, tmp_path: Path, spec: str, algorithm: str) -> None:
    key = await signing_key(kms, spec)
    public, signature, message = tmp_path / "public.der", tmp_path / "signature", tmp_path / "message"
    public.write_bytes((await kms.call("GetPublicKey", KeyId=key))["PublicKey"])
    message.write_bytes(MESSAGE)
    signed = await kms.call("Sign", KeyId=key, Message=MESSAGE, SigningAlgorithm=algorithm)
    signature.write_bytes(signed["Signature"])
    options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if "PSS" in algorithm else []
    verify = ["dgst", f"-sha{algorithm[-3:]}", "-verify", str(public), "-keyform", "DER", *options]
    assert openssl(*verify, "-signature", str(signature), str(message)).strip() == b"Verified OK"


async def test_openssl_agrees_on_ed25519(kms: Kms, tmp_path: Path) -> None:
    key = await signing_key(kms, "ECC_NIST_EDWARDS25519")
    (tmp_path / "public").write_bytes((await kms.call("GetPublicKey", KeyId=key))["PublicKey"])
    (tmp_path / "message").write_bytes(MESSAGE)
    signed = await kms.call("Sign", KeyId=key, Message=MESSAGE, SigningAlgorithm="ED25519_SHA_512")
    (tmp_path / "signature").write_bytes(signed["Signature"])
    files = ["-inkey", str(tmp_path / "public"), "-in", str(tmp_path / "message")]
    command = ["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin", *files]
    assert b"Verified Successfully" in openssl(*command, "-sigfile", str(tmp_path / "signature"))


@pytest.mark.parametrize(("spec", "algorithm"), HASHED)
async def test_a_message_and_its_digest_are_the_same(kms: Kms, spec: str, algorithm: str) -> None:
    key = await signing_key(kms, spec)
    digest = hashlib.new(f"sha{algorithm[-3:]}", MESSAGE).digest()
    by_message = {"Message": MESSAGE, "MessageType": "RAW"}
    by_digest = {"Message": digest, "MessageType": "DIGEST"}
    common = {"KeyId": key, "SigningAlgorithm": algorithm}
    for signs, verifies in ((by_message, by_digest), (by_digest, by_message)):
        signature = (await kms.call("Sign", **signs, **common))["Signature"]
        assert (await kms.call("Verify", Signature=signature, **verifies, **common))["SignatureValid"] is True
    hashed_twice = {"Message": digest, "MessageType": "RAW"}
    assert (await refusal(kms, "Verify", Signature=signature, **hashed_twice, **common))[
        0
    ] == "KMSInvalidSignatureException"


@pytest.mark.parametrize(("spec", "algorithm"), HASHED)
@pytest.mark.parametrize("operation", ["Sign", "Verify"])
async def test_digests_of_another_length(kms: Kms, operation: str, spec: str, algorithm: str) -> None:
    key = await signing_key(kms, spec)
    size = int(algorithm[-3:]) // 8
    signature = {"Signature": b"x"} if operation == "Verify" else {}
    for length in (size - 1, size + 1, 20):
        members = {"KeyId": key, "Message": bytes(length), "MessageType": "DIGEST", "SigningAlgorithm": algorithm}
        expected = ("ValidationException", f"Digest is invalid length for algorithm {algorithm}.")
        assert await refusal(kms, operation, **members, **signature) == expected


@pytest.mark.parametrize("spec", ["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"])
async def test_ml_dsa_with_the_message_representative(kms: Kms, spec: str) -> None:
    key = await signing_key(kms, spec)
    public = load_der_public_key((await kms.call("GetPublicKey", KeyId=key))["PublicKey"])
    raw = public.public_bytes_raw()  # type: ignore[union-attr]
    # FIPS 204, 6.2 with the empty context of the pure variant: mu = H(H(pk, 64) || 0 || 0 || M, 64)
    mu = hashlib.shake_256(hashlib.shake_256(raw).digest(64) + b"\0\0" + MESSAGE).digest(64)
    common = {"KeyId": key, "SigningAlgorithm": "ML_DSA_SHAKE_256"}
    by_message, by_mu = {"Message": MESSAGE}, {"Message": mu, "MessageType": "EXTERNAL_MU"}
    for signs, verifies in ((by_message, by_mu), (by_mu, by_message)):
        signature = (await kms.call("Sign", **signs, **common))["Signature"]
        assert (await kms.call("Verify", Signature=signature, **verifies, **common))["SignatureValid"] is True
        public.verify(signature, MESSAGE)  # type: ignore[union-attr]
    assert await refusal(kms, "Sign", Message=mu[:-1], MessageType="EXTERNAL_MU", **common) == (
        "ValidationException",
        "External Mu is invalid length for algorithm ML_DSA_SHAKE_256.",
    )
    assert await refusal(kms, "Sign", Message=mu, MessageType="DIGEST", **common) == (
        "ValidationException",
        f"Message type DIGEST is incompatible with key spec {spec}.",
    )


@pytest.mark.parametrize(
    ("spec", "algorithm", "kind", "message"),
    [
        ("RSA_2048", "RSASSA_PSS_SHA_256", "EXTERNAL_MU", "key spec RSA_2048"),
        ("ECC_NIST_P256", "ECDSA_SHA_256", "EXTERNAL_MU", "key spec ECC_NIST_P256"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "DIGEST", "algorithm ED25519_SHA_512"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "EXTERNAL_MU", "algorithm ED25519_SHA_512"),
        ("ECC_NIST_EDWARDS25519", "ED25519_PH_SHA_512", "RAW", "algorithm ED25519_PH_SHA_512"),
    ],
)
async def test_message_types_that_do_not_fit(kms: Kms, spec: str, algorithm: str, kind: str, message: str) -> None:
    key = await signing_key(kms, spec)
    members = {"KeyId": key, "Message": bytes(64), "MessageType": kind, "SigningAlgorithm": algorithm}
    expected = ("ValidationException", f"Message type {kind} is incompatible with {message}.")
    assert await refusal(kms, "Sign", **members) == expected
    assert await refusal(kms, "Verify", Signature=b"x", **members) == expected


@pytest.mark.parametrize("spec", SPECS)
async def test_algorithms_of_other_specs(kms: Kms, spec: str) -> None:
    key = await signing_key(kms, spec)
    for algorithm in {algorithm for _, algorithm in SIGNING} - set(KEY_SPECS[spec].algorithms["SIGN_VERIFY"]):
        expected = ("InvalidKeyUsageException", f"Algorithm {algorithm} is incompatible with key spec {spec}.")
        assert await refusal(kms, "Sign", KeyId=key, Message=b"m", SigningAlgorithm=algorithm) == expected


async def test_keys_of_another_usage(kms: Kms) -> None:
    for members, usage in (
        ({}, "ENCRYPT_DECRYPT"),
        ({"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"}, "ENCRYPT_DECRYPT"),
        ({"KeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT"}, "KEY_AGREEMENT"),
        ({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}, "GENERATE_VERIFY_MAC"),
    ):
        key = (await kms.call("CreateKey", **members))["KeyMetadata"]
        asked = {"KeyId": key["KeyId"], "Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256"}
        for operation, more in (("Sign", {}), ("Verify", {"Signature": b"s"})):
            expected = f"{key['Arn']} key usage is {usage} which is not valid for {operation}."
            assert await refusal(kms, operation, **asked, **more) == ("InvalidKeyUsageException", expected)


async def test_a_message_is_4096_bytes_at_most(kms: Kms) -> None:
    key = await signing_key(kms, "ECC_NIST_P256")
    asked = {"KeyId": key, "SigningAlgorithm": "ECDSA_SHA_256"}
    assert await kms.call("Sign", Message=bytes(4096), **asked)
    for message in (bytes(4097), b""):
        assert (await refusal(kms, "Sign", Message=message, **asked))[0] == "ValidationException"


# RFC 8032, 7.1 (TEST 3) and 7.3 (TEST abc)
ED25519 = (
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "af82",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
)
ED25519_PH = (
    "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
    "616263",
    "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
    "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406",
)


async def test_the_rfcs_vector_of_ed25519(kms: Kms) -> None:
    seed, public, message, signature = map(bytes.fromhex, ED25519)
    key = await kms.key(KeySpec="ECC_NIST_EDWARDS25519", KeyUsage="SIGN_VERIFY", Origin="EXTERNAL")
    pkcs8 = key_pairs.private_bytes(ed25519.Ed25519PrivateKey.from_private_bytes(seed))
    await import_material(kms, key, pkcs8)
    assert (await kms.call("GetPublicKey", KeyId=key))["PublicKey"].endswith(public)
    asked = {"KeyId": key, "Message": message, "SigningAlgorithm": "ED25519_SHA_512"}
    assert (await kms.call("Sign", **asked))["Signature"] == signature
    assert (await kms.call("Verify", Signature=signature, **asked))["SignatureValid"] is True


def test_the_rfcs_vector_of_ed25519ph() -> None:
    seed, message, signature = map(bytes.fromhex, ED25519_PH)
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    assert signatures.sign(key, "ED25519_PH_SHA_512", "DIGEST", message) == signature
    public = key_pairs.public_bytes(key)
    assert signatures.is_valid(public, "ED25519_PH_SHA_512", "DIGEST", message, signature)
    assert not signatures.is_valid(public, "ED25519_SHA_512", "RAW", message, signature)


# RFC 6979, A.2.5: P-256, SHA-256, "sample"
P256 = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
P256_SIGNATURE = (
    0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
    0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
)


async def test_the_rfcs_vector_of_ecdsa(kms: Kms) -> None:
    key = await kms.key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Origin="EXTERNAL")
    await import_material(kms, key, key_pairs.private_bytes(ec.derive_private_key(P256, ec.SECP256R1())))
    asked = {"KeyId": key, "Message": b"sample", "SigningAlgorithm": "ECDSA_SHA_256"}
    answer = await kms.call("Verify", Signature=encode_dss_signature(*P256_SIGNATURE), **asked)
    assert answer["SignatureValid"] is True


async def test_pkcs1_signatures_are_those_of_any_other_implementation(kms: Kms, tmp_path: Path) -> None:
    private, message = tmp_path / "private.der", tmp_path / "message"
    openssl("genpkey", "-algorithm", "RSA", "-outform", "DER", "-out", str(private))
    message.write_bytes(MESSAGE)
    key = await kms.key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY", Origin="EXTERNAL")
    await import_material(kms, key, private.read_bytes(), algorithm="RSA_AES_KEY_WRAP_SHA_256")
    for bits in (256, 384, 512):
        expected = openssl("dgst", f"-sha{bits}", "-sign", str(private), "-keyform", "DER", str(message))
        asked = {"KeyId": key, "Message": MESSAGE, "SigningAlgorithm": f"RSASSA_PKCS1_V1_5_SHA_{bits}"}
        assert (await kms.call("Sign", **asked))["Signature"] == expected


async def test_pss_salts_are_as_long_as_the_hash(kms: Kms) -> None:
    pair = rsa.generate_private_key(65537, 2048)
    key = await kms.key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY", Origin="EXTERNAL")
    await import_material(kms, key, key_pairs.private_bytes(pair), algorithm="RSA_AES_KEY_WRAP_SHA_1")
    asked = {"KeyId": key, "Message": MESSAGE, "SigningAlgorithm": "RSASSA_PSS_SHA_384"}
    long_salt = padding.PSS(padding.MGF1(hashes.SHA384()), padding.PSS.MAX_LENGTH)
    signature = pair.sign(MESSAGE, long_salt, hashes.SHA384())
    assert (await refusal(kms, "Verify", Signature=signature, **asked))[0] == "KMSInvalidSignatureException"
    made = (await kms.call("Sign", **asked))["Signature"]
    salt = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    digest = hashlib.sha384(MESSAGE).digest()
    pair.public_key().verify(made, digest, salt, Prehashed(hashes.SHA384()))
    short_salt = padding.PSS(padding.MGF1(hashes.SHA384()), 32)
    with pytest.raises(InvalidSignature):
        pair.public_key().verify(made, digest, short_salt, Prehashed(hashes.SHA384()))


@pytest.mark.parametrize(
    ("spec", "usage", "member"),
    [
        ("RSA_2048", "ENCRYPT_DECRYPT", "EncryptionAlgorithms"),
        ("RSA_2048", "SIGN_VERIFY", "SigningAlgorithms"),
        ("ECC_SECG_P256K1", "SIGN_VERIFY", "SigningAlgorithms"),
        ("ECC_NIST_P521", "KEY_AGREEMENT", "KeyAgreementAlgorithms"),
        ("ML_DSA_87", "SIGN_VERIFY", "SigningAlgorithms"),
    ],
)
async def test_get_public_key(kms: Kms, spec: str, usage: str, member: str) -> None:
    made = (await kms.call("CreateKey", KeySpec=spec, KeyUsage=usage))["KeyMetadata"]
    answer = await kms.call("GetPublicKey", KeyId=made["KeyId"])
    public = load_der_public_key(answer.pop("PublicKey"))
    assert isinstance(public, key_pairs.PublicKey)
    assert answer == {
        "KeyId": made["Arn"],
        "KeySpec": spec,
        "CustomerMasterKeySpec": spec,
        "KeyUsage": usage,
        member: made[member],
    }


@pytest.mark.parametrize("members", [{}, {"KeySpec": "HMAC_384", "KeyUsage": "GENERATE_VERIFY_MAC"}])
async def test_keys_without_a_public_key(kms: Kms, members: dict[str, str]) -> None:
    key = (await kms.call("CreateKey", **members))["KeyMetadata"]
    expected = f"{key['Arn']} key spec is {key['KeySpec']} which is not valid for this operation."
    assert await refusal(kms, "GetPublicKey", KeyId=key["KeyId"]) == ("UnsupportedOperationException", expected)


async def test_the_public_key_outlives_imported_material(kms: Kms) -> None:
    key = await kms.key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Origin="EXTERNAL")
    pending = (await refusal(kms, "GetPublicKey", KeyId=key))[0]
    assert pending == "KMSInvalidStateException"
    pair = ec.generate_private_key(ec.SECP256R1())
    await import_material(kms, key, key_pairs.private_bytes(pair))
    answer = await kms.call("GetPublicKey", KeyId=key)
    assert load_der_public_key(answer["PublicKey"]) == pair.public_key()
    await kms.call("DeleteImportedKeyMaterial", KeyId=key)
    assert await kms.call("GetPublicKey", KeyId=key) == answer
    asked = {"KeyId": key, "Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256"}
    assert (await refusal(kms, "Sign", **asked))[0] == "KMSInvalidStateException"


async def test_private_keys_are_sealed_in_the_store(kms: Kms) -> None:
    for spec in ("RSA_2048", "ECC_NIST_P256", "ML_DSA_44"):
        key = await signing_key(kms, spec)
        await kms.call("Sign", KeyId=key, Message=b"m", SigningAlgorithm=KEY_SPECS[spec].algorithms["SIGN_VERIFY"][0])
    for record in await kms.store.scan("material"):
        with pytest.raises(ValueError):
            serialization.load_der_private_key(record.body, password=None)


async def test_rights(kms: Kms) -> None:
    key = await signing_key(kms, "ECC_NIST_P256")
    asked = {"KeyId": key, "Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256"}
    signer, verifier = user("signer", "kms:Sign"), user("verifier", "kms:Verify", "kms:GetPublicKey")
    signature = (await kms.call("Sign", signer, **asked))["Signature"]
    assert (await kms.call("Verify", verifier, Signature=signature, **asked))["SignatureValid"]
    assert await kms.call("GetPublicKey", verifier, KeyId=key) == await kms.call("GetPublicKey", ADMIN, KeyId=key)
    for origin, operation, members in (
        (verifier, "Sign", asked),
        (signer, "Verify", asked | {"Signature": signature}),
        (signer, "GetPublicKey", {"KeyId": key}),
    ):
        with pytest.raises(KmsFault, match=f"AccessDeniedException: .* kms:{operation} on resource"):
            await kms.call(operation, origin, **members)
