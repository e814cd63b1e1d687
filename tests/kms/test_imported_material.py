"""Imported material of every kind of key."""

from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from proxy.kms import import_token, key_pairs
from proxy.kms.key_specs import KEY_SPECS
from tests.kms.harness import Kms, KmsFault
from tests.kms.imports import import_material

ASYMMETRIC = [name for name, spec in KEY_SPECS.items() if spec.is_asymmetric and name not in ("RSA_3072", "RSA_4096")]
SPECS = ["SYMMETRIC_DEFAULT", "HMAC_224", "HMAC_512", *ASYMMETRIC]


def usage_of(spec: str) -> str:
    return next(iter(KEY_SPECS[spec].algorithms))


def new_material(spec: str) -> bytes:
    if spec in ASYMMETRIC:
        return key_pairs.private_bytes(key_pairs.generate(spec))
    return bytes(range(KEY_SPECS[spec].generated_size))


async def external_key(kms: Kms, spec: str) -> str:
    return await kms.key(KeySpec=spec, KeyUsage=usage_of(spec), Origin="EXTERNAL")


async def refused(kms: Kms, *args: Any, **members: Any) -> str:
    with pytest.raises(KmsFault) as caught:
        await import_material(kms, *args, **members)
    assert caught.value.status == 400
    return caught.value.code


def fits(spec: str, algorithm: str, wrapping_spec: str) -> bool:
    """AWS's page on GetParametersForImport."""
    if algorithm.startswith("RSA_AES"):
        return True
    if algorithm == "RSAES_PKCS1_V1_5":
        return spec == "SYMMETRIC_DEFAULT"
    return not spec.startswith("RSA") and (spec, wrapping_spec) != ("ECC_NIST_P521", "RSA_2048")


@pytest.mark.parametrize(("spec", "algorithm"), list(product(SPECS, import_token.WRAPPING_ALGORITHMS)))
async def test_every_spec_with_every_wrapping_algorithm(kms: Kms, spec: str, algorithm: str) -> None:
    key = await external_key(kms, spec)
    asked = {"KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048"}
    if not fits(spec, algorithm, "RSA_2048"):
        with pytest.raises(KmsFault, match="UnsupportedOperationException: Wrapping algorithm"):
            await kms.call("GetParametersForImport", **asked)
        return
    material = new_material(spec)
    answer = await import_material(kms, key, material, parameters=await kms.call("GetParametersForImport", **asked),
                                   algorithm=algorithm)  # fmt: skip
    assert answer["KeyId"].endswith(f":key/{key}")
    assert await kms.state(key) == "Enabled"
    if spec in ASYMMETRIC:
        pair = key_pairs.import_private(spec, material)
        assert (await kms.call("GetPublicKey", KeyId=key))["PublicKey"] == key_pairs.public_bytes(pair)


async def test_a_longer_wrapping_key_takes_p521(kms: Kms) -> None:
    key = await external_key(kms, "ECC_NIST_P521")
    await import_material(kms, key, new_material("ECC_NIST_P521"), spec="RSA_3072")
    assert await kms.state(key) == "Enabled"


@pytest.mark.parametrize(
    ("spec", "other"),
    [(one, two) for one, two in product(SPECS, SPECS) if one != two and {one, two} & set(ASYMMETRIC)],
)
async def test_material_of_another_spec(kms: Kms, spec: str, other: str) -> None:
    key = await external_key(kms, spec)
    material = new_material(other)
    if len(material) in KEY_SPECS[spec].material_size:
        # To a symmetric key any bytes of the right number are material.
        await import_material(kms, key, material, algorithm="RSA_AES_KEY_WRAP_SHA_256")
        return
    assert await refused(kms, key, material, algorithm="RSA_AES_KEY_WRAP_SHA_256") == "IncorrectKeyMaterialException"
    assert await kms.state(key) == "PendingImport"


async def test_encodings_that_are_not_pkcs8(kms: Kms) -> None:
    pair = ec.generate_private_key(ec.SECP256R1())
    key = await external_key(kms, "ECC_NIST_P256")
    pem = pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    encrypted = pair.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    whole = key_pairs.private_bytes(pair)
    for material in (pem, encrypted, whole[:-1], whole + b"\0", key_pairs.public_bytes(pair), b"x"):
        code = await refused(kms, key, material, algorithm="RSA_AES_KEY_WRAP_SHA_256")
        assert code == "IncorrectKeyMaterialException"
    await import_material(kms, key, whole)


async def test_rsa_keys_of_another_size(kms: Kms) -> None:
    key = await external_key(kms, "RSA_2048")
    material = key_pairs.private_bytes(rsa.generate_private_key(65537, 3072))
    assert await refused(kms, key, material, algorithm="RSA_AES_KEY_WRAP_SHA_256") == "IncorrectKeyMaterialException"


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "HMAC_256", "RSA_2048", "ML_DSA_44"])
async def test_only_the_same_material_comes_back(kms: Kms, spec: str) -> None:
    key = await external_key(kms, spec) if spec != "HMAC_256" else await kms.key(
        KeySpec=spec, KeyUsage="GENERATE_VERIFY_MAC", Origin="EXTERNAL"
    )  # fmt: skip
    made = {"HMAC_256": bytes(range(32))}.get(spec) or new_material(spec)
    other = {"HMAC_256": bytes(32)}.get(spec) or new_material(spec)
    wrap = {"algorithm": "RSA_AES_KEY_WRAP_SHA_256"}
    first = await import_material(kms, key, made, valid_for=timedelta(days=2), **wrap)
    assert await refused(kms, key, other, **wrap) == "IncorrectKeyMaterialException"
    kms.clock.advance(days=2)
    assert await kms.state(key) == "PendingImport"
    assert await kms.store.scan("material") == []
    assert await refused(kms, key, other, **wrap) == "IncorrectKeyMaterialException"
    assert await import_material(kms, key, made, **wrap) == first
    assert await kms.state(key) == "Enabled"


async def test_the_same_key_in_another_encoding_is_the_same_material(kms: Kms) -> None:
    pair = ec.generate_private_key(ec.SECP256R1())
    key = await external_key(kms, "ECC_NIST_P256")
    first = await import_material(kms, key, key_pairs.private_bytes(pair))
    # RFC 5915 lets the public key be left out of the private key's structure.
    secret = pair.private_numbers().private_value.to_bytes(32, "big")
    inner = b"\x30\x25\x02\x01\x01\x04\x20" + secret
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    body = b"\x02\x01\x00" + algorithm + b"\x04" + bytes([len(inner)]) + inner
    assert await import_material(kms, key, b"\x30" + bytes([len(body)]) + body) == first


@pytest.mark.parametrize(
    "members",
    [{"ImportType": "NEW_KEY_MATERIAL"}, {"KeyMaterialDescription": "one"}, {"KeyMaterialId": "0" * 64}],
)
async def test_members_for_symmetric_keys(kms: Kms, members: dict[str, str]) -> None:
    key = await external_key(kms, "ECC_NIST_P256")
    assert await refused(kms, key, new_material("ECC_NIST_P256"), **members) == "ValidationException"


async def test_an_imported_multi_region_key(kms: Kms) -> None:
    key = await kms.key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Origin="EXTERNAL", MultiRegion=True)
    material = new_material("ECC_NIST_P256")
    await import_material(kms, key, material)
    signed = await kms.call("Sign", KeyId=key, Message=b"m", SigningAlgorithm="ECDSA_SHA_256")
    await kms.call("ReplicateKey", KeyId=key, ReplicaRegion="us-east-1")
    await kms.call("DeleteImportedKeyMaterial", KeyId=key)
    await import_material(kms, key, material)
    assert (
        await kms.call(
            "Verify", KeyId=key, Message=b"m", SigningAlgorithm="ECDSA_SHA_256", Signature=signed["Signature"]
        )
    )["SignatureValid"]
