"""Which material can be imported into which keys, and how it may be wrapped on its way. Pure.

Symmetric and HMAC keys take raw bytes, asymmetric ones a private key in PKCS #8 (RFC 5208), DER.
Sources: https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys-conceptual.html
https://docs.aws.amazon.com/kms/latest/APIReference/API_GetParametersForImport.html
"""

from dataclasses import dataclass, field

from proxy.kms import key_pairs
from proxy.kms.key_specs import KEY_SPECS, Family
from proxy.kms.model import SYMMETRIC_DEFAULT


@dataclass(frozen=True)
class ImportedMaterial:
    """Material in the form in which it is kept: the same bytes for the same key, however its client encoded it."""

    plaintext: bytes = field(repr=False)
    public_key: bytes
    """SubjectPublicKeyInfo of an asymmetric key, DER."""


def can_wrap(spec: str, algorithm: str, wrapping_spec: str) -> bool:
    """Whether material of a key spec may be wrapped so. RSA private keys are too long for RSAES, and those of P-521
    for RSAES under RSA_2048; RSAES_PKCS1_V1_5 was only ever for symmetric keys."""
    if algorithm.startswith("RSA_AES_KEY_WRAP"):
        return True
    if algorithm == "RSAES_PKCS1_V1_5":
        return spec == SYMMETRIC_DEFAULT
    if KEY_SPECS[spec].family is Family.RSA:
        return False
    return not (spec == "ECC_NIST_P521" and wrapping_spec == "RSA_2048")


def read(spec: str, plaintext: bytes) -> ImportedMaterial:
    """The material of a key of this spec.

    Raises:
        ValueError: it is of another size or kind.
    """
    described = KEY_SPECS[spec]
    if described.is_asymmetric:
        pair = key_pairs.import_private(spec, plaintext)
        return ImportedMaterial(key_pairs.private_bytes(pair), key_pairs.public_bytes(pair))
    if len(plaintext) not in described.material_size:
        raise ValueError(f"{len(plaintext)} bytes are no material for a key of spec {spec}")
    return ImportedMaterial(plaintext, b"")
