"""A client's half of importing key material."""

from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from proxy.aws.credentials import CallOrigin
from tests.kms.harness import ADMIN, Kms


def encrypt_material(public_key: bytes, material: bytes, algorithm: str) -> bytes:
    """Encrypts as AWS's documentation tells clients to."""
    key = load_der_public_key(public_key)
    assert isinstance(key, rsa.RSAPublicKey)
    hash: hashes.HashAlgorithm = hashes.SHA256() if algorithm.endswith("SHA_256") else hashes.SHA1()
    oaep = padding.OAEP(padding.MGF1(hash), hash, None)
    if algorithm == "RSAES_PKCS1_V1_5":
        return key.encrypt(material, padding.PKCS1v15())
    if algorithm.startswith("RSAES_OAEP"):
        return key.encrypt(material, oaep)
    wrapping_key = bytes(reversed(range(32)))
    return key.encrypt(wrapping_key, oaep) + keywrap.aes_key_wrap_with_padding(wrapping_key, material)


async def import_material(
    kms: Kms,
    key_id: str,
    material: bytes,
    *,
    origin: CallOrigin = ADMIN,
    algorithm: str = "RSAES_OAEP_SHA_256",
    spec: str = "RSA_2048",
    valid_for: timedelta | None = None,
    parameters: dict[str, Any] | None = None,
    **members: Any,
) -> dict[str, Any]:
    """The whole import; without ``valid_for`` the material does not expire."""
    if parameters is None:
        parameters = await kms.call(
            "GetParametersForImport", origin, KeyId=key_id, WrappingAlgorithm=algorithm, WrappingKeySpec=spec
        )
    if valid_for is None:
        members.setdefault("ExpirationModel", "KEY_MATERIAL_DOES_NOT_EXPIRE")
    else:
        members["ValidTo"] = kms.clock.now + valid_for
    return await kms.call(
        "ImportKeyMaterial",
        origin,
        KeyId=key_id,
        ImportToken=parameters["ImportToken"],
        EncryptedKeyMaterial=encrypt_material(parameters["PublicKey"], material, algorithm),
        **members,
    )
