"""Key pairs: the material of asymmetric KMS keys, and data key pairs. Pure.

Private keys are kept and handed out as PKCS #8 (RFC 5208), public ones as SubjectPublicKeyInfo (RFC 5280), both DER.
Whatever makes an RSA key or uses any private key takes up to a second of CPU: callers keep it off the event loop.
"""

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from proxy.kms import errors
from proxy.kms.key_specs import KEY_SPECS, Family

MlDsaPrivateKey: TypeAlias = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey
MlDsaPublicKey: TypeAlias = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey
PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | MlDsaPrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | MlDsaPublicKey

CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "ECC_NIST_P256": ec.SECP256R1(),
    "ECC_NIST_P384": ec.SECP384R1(),
    "ECC_NIST_P521": ec.SECP521R1(),
    "ECC_SECG_P256K1": ec.SECP256K1(),
}

_ML_DSA: Final[Mapping[str, type[MlDsaPrivateKey]]] = {
    "ML_DSA_44": mldsa.MLDSA44PrivateKey,
    "ML_DSA_65": mldsa.MLDSA65PrivateKey,
    "ML_DSA_87": mldsa.MLDSA87PrivateKey,
}

_PUBLIC_EXPONENT: Final = 65537

_OAEP_HASHES: Final[Mapping[str, Callable[[], hashes.HashAlgorithm]]] = {
    "RSAES_OAEP_SHA_1": hashes.SHA1,
    "RSAES_OAEP_SHA_256": hashes.SHA256,
}


@cache
def is_offered(spec: str) -> bool:
    """Whether this installation of ``cryptography`` can make keys of a spec."""
    made = _ML_DSA.get(spec)
    if made is None:
        return spec in KEY_SPECS
    try:
        made.from_seed_bytes(bytes(32))
    except UnsupportedAlgorithm:
        return False
    return True


def generate(spec: str) -> PrivateKey:
    """A fresh key pair of an asymmetric spec."""
    family = KEY_SPECS[spec].family
    if family is Family.RSA:
        return rsa.generate_private_key(_PUBLIC_EXPONENT, KEY_SPECS[spec].bits)
    if family is Family.ECC:
        return ec.generate_private_key(CURVES[spec])
    if family is Family.EDWARDS:
        return ed25519.Ed25519PrivateKey.generate()
    return _ML_DSA[spec].generate()


def private_bytes(key: PrivateKey) -> bytes:
    """PKCS #8, DER; the same bytes for the same key."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def public_bytes(key: PrivateKey) -> bytes:
    """SubjectPublicKeyInfo of the public half, DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def load_private(spec: str) -> Callable[[bytes], PrivateKey]:
    """What turns stored material of a spec into a private key."""

    def load(pkcs8: bytes) -> PrivateKey:
        # The material was checked when it was made or imported, and is authenticated since.
        key = serialization.load_der_private_key(pkcs8, password=None, unsafe_skip_rsa_key_validation=True)
        return _of_spec(spec, key)

    return load


def import_private(spec: str, pkcs8: bytes) -> PrivateKey:
    """A private key from outside, checked whole.

    Raises:
        ValueError: it is not PKCS #8, or not of this spec.
    """
    try:
        return _of_spec(spec, serialization.load_der_private_key(pkcs8, password=None))
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"not a private key of spec {spec}") from error


@lru_cache(maxsize=1024)
def load_public(spki: bytes) -> PublicKey:
    """A public key that ``public_bytes`` made."""
    key = serialization.load_der_public_key(spki)
    if not isinstance(key, PublicKey):
        raise TypeError("not a public key of any key spec")
    return key


def _of_spec(spec: str, key: object) -> PrivateKey:
    described = KEY_SPECS[spec]
    match key:
        case rsa.RSAPrivateKey():
            fits = described.family is Family.RSA and key.key_size == described.bits
        case ec.EllipticCurvePrivateKey():
            fits = described.family is Family.ECC and key.curve.name == CURVES[spec].name
        case ed25519.Ed25519PrivateKey():
            fits = described.family is Family.EDWARDS
        case mldsa.MLDSA44PrivateKey() | mldsa.MLDSA65PrivateKey() | mldsa.MLDSA87PrivateKey():
            fits = described.family is Family.ML_DSA and isinstance(key, _ML_DSA[spec])
        case _:
            raise ValueError(f"not a private key of spec {spec}")
    if not fits:
        raise ValueError(f"not a private key of spec {spec}")
    return key


def _oaep(algorithm: str) -> padding.OAEP:
    hash = _OAEP_HASHES[algorithm]()
    return padding.OAEP(padding.MGF1(hash), hash, None)


def largest_plaintext(spec: str, algorithm: str) -> int:
    """Bytes that RSAES-OAEP takes at most (RFC 8017, 7.1.1): the modulus, less two hashes and two bytes."""
    return KEY_SPECS[spec].bits // 8 - 2 * _OAEP_HASHES[algorithm]().digest_size - 2


def encrypt(spki: bytes, algorithm: str, plaintext: bytes) -> bytes:
    """RSAES-OAEP under a public key; ``plaintext`` is no longer than ``largest_plaintext``."""
    key = load_public(spki)
    if not isinstance(key, rsa.RSAPublicKey):
        raise TypeError("only RSA keys encrypt")
    return key.encrypt(plaintext, _oaep(algorithm))


def decrypt(key: PrivateKey, algorithm: str, ciphertext: bytes) -> bytes:
    """Undoes ``encrypt``.

    Raises:
        KmsError: InvalidCiphertextException.
    """
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("only RSA keys decrypt")
    try:
        return key.decrypt(ciphertext, _oaep(algorithm))
    except ValueError:
        raise errors.invalid_ciphertext() from None


def derive(key: PrivateKey, spki: bytes) -> bytes:
    """The raw ECDH shared secret (SP 800-56A, 5.7.1.2) of a private key and a peer's public key: the x coordinate.

    Raises:
        ValueError: the peer's key is not a point on the same curve.
    """
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("only keys on an elliptic curve derive a secret")
    try:
        peer = serialization.load_der_public_key(spki)
    except UnsupportedAlgorithm as error:
        raise ValueError("not a public key") from error
    if not isinstance(peer, ec.EllipticCurvePublicKey) or peer.curve.name != key.curve.name:
        raise ValueError("not a public key on the same curve")
    return key.exchange(ec.ECDH(), peer)
