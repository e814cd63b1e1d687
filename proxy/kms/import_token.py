"""Import tokens, and the unwrapping of imported key material.

A token is the private half of a fresh RSA key pair, sealed under the service's secret together with what it is good
for, so nothing has to be stored between GetParametersForImport and ImportKeyMaterial.

Layout of what is sealed: 8 bytes of expiry (milliseconds since the epoch), then, each after 2 bytes of length, the
id of the key's record, the wrapping algorithm, and the private key (PKCS #8, DER).
Source: https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys-encrypt-key-material.html
"""

import struct
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from proxy.kms import errors
from proxy.kms.errors import KmsError
from proxy.xaes import XAES256GCM

RSA_BITS: Final = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}
WRAPPING_ALGORITHMS: Final = (
    "RSAES_PKCS1_V1_5",
    "RSAES_OAEP_SHA_1",
    "RSAES_OAEP_SHA_256",
    "RSA_AES_KEY_WRAP_SHA_1",
    "RSA_AES_KEY_WRAP_SHA_256",
)

_LABEL: Final = b"import token v1"
_NONCE_SIZE: Final = 24
_LENGTH: Final = struct.Struct(">H")


@dataclass(frozen=True)
class ImportToken:
    """What a token says."""

    key_record_id: str
    expires: int
    """Milliseconds since the epoch."""
    algorithm: str
    private_key: rsa.RSAPrivateKey = field(repr=False)


def new_wrapping_key(spec: str) -> rsa.RSAPrivateKey:
    """A fresh key pair; takes up to a second of CPU (RSA_4096)."""
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS[spec])


def public_key_bytes(key: rsa.RSAPrivateKey) -> bytes:
    """The public half as SubjectPublicKeyInfo, DER."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def seal(token: ImportToken, secret: XAES256GCM, nonce: bytes) -> bytes:
    """The token for the client; ``nonce`` is 24 random bytes."""
    private = token.private_key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    fields = (token.key_record_id.encode(), token.algorithm.encode(), private)
    plain = token.expires.to_bytes(8, "big") + b"".join(_LENGTH.pack(len(value)) + value for value in fields)
    return nonce + secret.encrypt(nonce, plain, _LABEL)


def open_token(data: bytes, secret: XAES256GCM) -> ImportToken:
    """Raises KmsError (InvalidImportTokenException) when this service did not make it."""
    try:
        plain = secret.decrypt(data[:_NONCE_SIZE], data[_NONCE_SIZE:], _LABEL)
    except (InvalidTag, ValueError):
        raise KmsError("InvalidImportTokenException") from None
    fields: list[bytes] = []
    position = 8
    while position < len(plain):
        (length,) = _LENGTH.unpack_from(plain, position)
        position += _LENGTH.size
        fields.append(plain[position : position + length])
        position += length
    record_id, algorithm, private = fields
    # It was made here, and is authenticated.
    key = serialization.load_der_private_key(private, password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("an import token holds an RSA key")
    return ImportToken(record_id.decode(), int.from_bytes(plain[:8], "big"), algorithm.decode(), key)


def _oaep(hash: hashes.HashAlgorithm) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hash), hash, None)


def unwrap_material(token: ImportToken, encrypted: bytes) -> bytes:
    """The key material that a client encrypted under the token's public key.

    Raises:
        KmsError: InvalidCiphertextException; it cannot be decrypted.
    """
    hash: hashes.HashAlgorithm = hashes.SHA256() if token.algorithm.endswith("SHA_256") else hashes.SHA1()  # noqa: S303
    try:
        if token.algorithm == "RSAES_PKCS1_V1_5":
            return token.private_key.decrypt(encrypted, padding.PKCS1v15())
        if token.algorithm.startswith("RSAES_OAEP"):
            return token.private_key.decrypt(encrypted, _oaep(hash))
        size = token.private_key.key_size // 8
        wrapping_key = token.private_key.decrypt(encrypted[:size], _oaep(hash))
        return keywrap.aes_key_unwrap_with_padding(wrapping_key, encrypted[size:])
    except (ValueError, keywrap.InvalidUnwrap):
        raise errors.invalid_ciphertext() from None
