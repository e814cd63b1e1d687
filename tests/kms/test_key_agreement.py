"""DeriveSharedSecret, held against RFC 5903's vectors and openssl's command line."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from proxy.kms import key_pairs
from tests.kms.harness import Kms, KmsFault, user
from tests.kms.imports import import_material
from tests.kms.openssl import openssl

CURVES = {"ECC_NIST_P256": "P-256", "ECC_NIST_P384": "P-384", "ECC_NIST_P521": "P-521"}

# RFC 5903, 8.1: the 256-bit random ECP group
INITIATOR = 0xC88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433
RESPONDER = 0xC6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53
SECRET = "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"


def spki(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def refusal(kms: Kms, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call("DeriveSharedSecret", KeyAgreementAlgorithm="ECDH", **members)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


async def agreement_key(kms: Kms, spec: str, **members: str) -> str:
    return await kms.key(KeySpec=spec, KeyUsage="KEY_AGREEMENT", **members)


@pytest.mark.parametrize("spec", CURVES)
async def test_both_sides_derive_the_same(kms: Kms, spec: str) -> None:
    one, two = await agreement_key(kms, spec), await agreement_key(kms, spec)
    secrets = []
    for own, peer in ((one, two), (two, one)):
        public = (await kms.call("GetPublicKey", KeyId=peer))["PublicKey"]
        answer = await kms.call("DeriveSharedSecret", KeyId=own, KeyAgreementAlgorithm="ECDH", PublicKey=public)
        assert answer["KeyId"].endswith(f":key/{own}")
        assert (answer["KeyAgreementAlgorithm"], answer["KeyOrigin"]) == ("ECDH", "AWS_KMS")
        secrets.append(answer["SharedSecret"])
    assert secrets[0] == secrets[1]


@pytest.mark.parametrize(("spec", "curve"), CURVES.items())
async def test_openssl_agrees(kms: Kms, tmp_path: Path, spec: str, curve: str) -> None:
    key = await agreement_key(kms, spec)
    private, public, own = tmp_path / "private.pem", tmp_path / "public.der", tmp_path / "own.der"
    own.write_bytes((await kms.call("GetPublicKey", KeyId=key))["PublicKey"])

    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", str(private))
    openssl("pkey", "-in", str(private), "-pubout", "-outform", "DER", "-out", str(public))
    derived = openssl("pkeyutl", "-derive", "-inkey", str(private), "-peerkey", str(own), "-peerform", "DER")
    answer = await kms.call(
        "DeriveSharedSecret", KeyId=key, KeyAgreementAlgorithm="ECDH", PublicKey=public.read_bytes()
    )
    assert answer["SharedSecret"] == derived


async def test_the_rfcs_vector(kms: Kms) -> None:
    key = await agreement_key(kms, "ECC_NIST_P256", Origin="EXTERNAL")
    await import_material(kms, key, key_pairs.private_bytes(ec.derive_private_key(INITIATOR, ec.SECP256R1())))
    peer = spki(ec.derive_private_key(RESPONDER, ec.SECP256R1()))
    answer = await kms.call("DeriveSharedSecret", KeyId=key, KeyAgreementAlgorithm="ECDH", PublicKey=peer)
    assert (answer["SharedSecret"].hex(), answer["KeyOrigin"]) == (SECRET, "EXTERNAL")


async def test_public_keys_that_do_not_fit(kms: Kms) -> None:
    key = await agreement_key(kms, "ECC_NIST_P256")
    own = (await kms.call("GetPublicKey", KeyId=key))["PublicKey"]
    assert load_der_public_key(own)
    off_the_curve = own[:-1] + bytes([own[-1] ^ 1])
    for public in (
        b"x",
        bytes(8192),
        own[:-1],
        off_the_curve,
        spki(ec.generate_private_key(ec.SECP384R1())),
        spki(ec.generate_private_key(ec.SECP256K1())),
        spki(rsa.generate_private_key(65537, 2048)),
    ):
        assert await refusal(kms, KeyId=key, PublicKey=public) == (
            "ValidationException",
            "The public key must be a DER-encoded X.509 public key for key spec ECC_NIST_P256.",
        )


async def test_keys_of_another_usage(kms: Kms) -> None:
    signing = (await kms.call("CreateKey", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY"))["KeyMetadata"]
    public = (await kms.call("GetPublicKey", KeyId=signing["KeyId"]))["PublicKey"]
    assert await refusal(kms, KeyId=signing["KeyId"], PublicKey=public) == (
        "InvalidKeyUsageException",
        f"{signing['Arn']} key usage is SIGN_VERIFY which is not valid for DeriveSharedSecret.",
    )


async def test_rights_and_enclaves(kms: Kms) -> None:
    key = await agreement_key(kms, "ECC_NIST_P384")
    asked = {"KeyId": key, "PublicKey": (await kms.call("GetPublicKey", KeyId=key))["PublicKey"]}
    with pytest.raises(KmsFault, match=r"AccessDeniedException: .* kms:DeriveSharedSecret on resource"):
        await kms.call("DeriveSharedSecret", user("nobody"), KeyAgreementAlgorithm="ECDH", **asked)
    recipient = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b"document"}
    assert (await refusal(kms, Recipient=recipient, **asked))[0] == "UnsupportedOperationException"
