"""Signatures by the algorithms of AWS KMS. Pure.

RSASSA-PKCS1-v1_5 and RSASSA-PSS (RFC 8017; MGF1 with the same hash, a salt as long as the hash), ECDSA (FIPS 186-5;
DER), Ed25519 and Ed25519ph (RFC 8032), ML-DSA (FIPS 204; empty context).
Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
"""

from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from proxy.kms import errors, key_pairs
from proxy.kms.key_pairs import PrivateKey, PublicKey
from proxy.kms.key_specs import KEY_SPECS, Family

RAW: Final = "RAW"
DIGEST: Final = "DIGEST"
EXTERNAL_MU: Final = "EXTERNAL_MU"

_PREHASHED_EDWARDS: Final = "ED25519_PH_SHA_512"
_MU_SIZE: Final = 64

_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "SHA_256": hashes.SHA256(),
    "SHA_384": hashes.SHA384(),
    "SHA_512": hashes.SHA512(),
}


def check_message(spec: str, algorithm: str, message_type: str, message: bytes) -> None:
    """Refuses a message of a type or length that does not go with the algorithm.

    Raises:
        KmsError: ValidationException.
    """
    family = KEY_SPECS[spec].family
    if family is Family.EDWARDS:
        if message_type != (DIGEST if algorithm == _PREHASHED_EDWARDS else RAW):
            raise errors.validation(f"Message type {message_type} is incompatible with algorithm {algorithm}.")
    elif message_type == (DIGEST if family is Family.ML_DSA else EXTERNAL_MU):
        raise errors.validation(f"Message type {message_type} is incompatible with key spec {spec}.")
    if message_type == EXTERNAL_MU and len(message) != _MU_SIZE:
        raise errors.validation(f"External Mu is invalid length for algorithm {algorithm}.")
    if message_type == DIGEST and len(message) != _hash(algorithm).digest_size:
        raise errors.validation(f"Digest is invalid length for algorithm {algorithm}.")


def sign(key: PrivateKey, algorithm: str, message_type: str, message: bytes) -> bytes:
    """The signature of a message that ``check_message`` has passed."""
    match key:
        case rsa.RSAPrivateKey():
            return key.sign(message, _rsa_padding(algorithm), _prepared(algorithm, message_type))
        case ec.EllipticCurvePrivateKey():
            return key.sign(message, ec.ECDSA(_prepared(algorithm, message_type)))
        case ed25519.Ed25519PrivateKey():
            return _sign_prehashed(key, message) if algorithm == _PREHASHED_EDWARDS else key.sign(message)
    return key.sign_mu(message) if message_type == EXTERNAL_MU else key.sign(message)


def is_valid(spki: bytes, algorithm: str, message_type: str, message: bytes, signature: bytes) -> bool:
    """Whether a signature is that of a message that ``check_message`` has passed."""
    try:
        _verify(key_pairs.load_public(spki), algorithm, message_type, message, signature)
    except (InvalidSignature, ValueError):
        return False
    return True


def _verify(key: PublicKey, algorithm: str, message_type: str, message: bytes, signature: bytes) -> None:
    match key:
        case rsa.RSAPublicKey():
            key.verify(signature, message, _rsa_padding(algorithm), _prepared(algorithm, message_type))
        case ec.EllipticCurvePublicKey():
            key.verify(signature, message, ec.ECDSA(_prepared(algorithm, message_type)))
        case ed25519.Ed25519PublicKey():
            if algorithm == _PREHASHED_EDWARDS:
                _verify_prehashed(key, message, signature)
            else:
                key.verify(signature, message)
        case _:
            if message_type == EXTERNAL_MU:
                key.verify_mu(signature, message)
            else:
                key.verify(signature, message)


def _hash(algorithm: str) -> hashes.HashAlgorithm:
    return _HASHES[algorithm[-len("SHA_256") :]]


def _prepared(algorithm: str, message_type: str) -> hashes.HashAlgorithm | Prehashed:
    hash = _hash(algorithm)
    return Prehashed(hash) if message_type == DIGEST else hash


def _rsa_padding(algorithm: str) -> padding.AsymmetricPadding:
    if algorithm.startswith("RSASSA_PKCS1"):
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(_hash(algorithm)), padding.PSS.DIGEST_LENGTH)


def _sign_prehashed(key: ed25519.Ed25519PrivateKey, digest: bytes) -> bytes:
    """Ed25519ph of the digest: AWS hashes it once more, as a message."""
    state = sodium.crypto_sign_ed25519ph_state()
    sodium.crypto_sign_ed25519ph_update(state, digest)
    secret = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    signature: bytes = sodium.crypto_sign_ed25519ph_final_create(state, secret)
    return signature


def _verify_prehashed(key: ed25519.Ed25519PublicKey, digest: bytes, signature: bytes) -> None:
    state = sodium.crypto_sign_ed25519ph_state()
    sodium.crypto_sign_ed25519ph_update(state, digest)
    try:
        sodium.crypto_sign_ed25519ph_final_verify(state, signature, key.public_bytes_raw())
    except CryptoError:
        raise InvalidSignature from None
