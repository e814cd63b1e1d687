"""Key specs: what each kind of KMS key is made of and can be used for.

One table; everything that depends on the kind of a key asks it.
Sources: https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html
https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys-conceptual.html (sizes of imported material)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from proxy.kms.model import ENCRYPT_DECRYPT, SYMMETRIC_DEFAULT

SIGN_VERIFY: Final = "SIGN_VERIFY"
GENERATE_VERIFY_MAC: Final = "GENERATE_VERIFY_MAC"
KEY_AGREEMENT: Final = "KEY_AGREEMENT"

SM2: Final = "SM2"


class Family(Enum):
    """The kind of material behind a key."""

    AES = "AES"
    HMAC = "HMAC"
    RSA = "RSA"
    ECC = "ECC"
    EDWARDS = "EDWARDS"
    ML_DSA = "ML_DSA"


@dataclass(frozen=True)
class KeySpec:
    """A key spec, by AWS's name."""

    name: str
    family: Family
    algorithms: Mapping[str, tuple[str, ...]]
    """By KeyUsage that the spec may have: the algorithms that such a key supports."""
    material_size: range
    """Bytes of the raw material, for symmetric and HMAC keys; empty for key pairs, whose material is PKCS #8."""
    bits: int = 0
    """Of an RSA modulus."""

    @property
    def is_asymmetric(self) -> bool:
        return self.family not in (Family.AES, Family.HMAC)

    @property
    def generated_size(self) -> int:
        """Bytes of raw material that the service makes for a key."""
        return self.material_size.start


_KEY_PAIR: Final = range(0)

_RSA_ENCRYPTION: Final = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")
_RSA_SIGNING: Final = (
    "RSASSA_PKCS1_V1_5_SHA_256",
    "RSASSA_PKCS1_V1_5_SHA_384",
    "RSASSA_PKCS1_V1_5_SHA_512",
    "RSASSA_PSS_SHA_256",
    "RSASSA_PSS_SHA_384",
    "RSASSA_PSS_SHA_512",
)


def _aes() -> KeySpec:
    algorithms = {ENCRYPT_DECRYPT: (SYMMETRIC_DEFAULT,)}
    return KeySpec(SYMMETRIC_DEFAULT, Family.AES, MappingProxyType(algorithms), range(32, 33))


def _hmac(bits: int, block: int) -> KeySpec:
    """Keys have the size of the hash's output; imported ones may have up to that of its block."""
    algorithms = {GENERATE_VERIFY_MAC: (f"HMAC_SHA_{bits}",)}
    size = range(bits // 8, block + 1)
    return KeySpec(f"HMAC_{bits}", Family.HMAC, MappingProxyType(algorithms), size)


def _rsa(bits: int) -> KeySpec:
    algorithms = {ENCRYPT_DECRYPT: _RSA_ENCRYPTION, SIGN_VERIFY: _RSA_SIGNING}
    return KeySpec(f"RSA_{bits}", Family.RSA, MappingProxyType(algorithms), _KEY_PAIR, bits)


def _nist(name: str, hash_bits: int) -> KeySpec:
    algorithms = {SIGN_VERIFY: (f"ECDSA_SHA_{hash_bits}",), KEY_AGREEMENT: ("ECDH",)}
    return KeySpec(name, Family.ECC, MappingProxyType(algorithms), _KEY_PAIR)


def _signing(name: str, family: Family, *algorithms: str) -> KeySpec:
    return KeySpec(name, family, MappingProxyType({SIGN_VERIFY: algorithms}), _KEY_PAIR)


def _ml_dsa(name: str) -> KeySpec:
    return _signing(name, Family.ML_DSA, "ML_DSA_SHAKE_256")


KEY_SPECS: Final[Mapping[str, KeySpec]] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            _aes(),
            _hmac(224, 64),
            _hmac(256, 64),
            _hmac(384, 128),
            _hmac(512, 128),
            _rsa(2048),
            _rsa(3072),
            _rsa(4096),
            _nist("ECC_NIST_P256", 256),
            _nist("ECC_NIST_P384", 384),
            _nist("ECC_NIST_P521", 512),
            _signing("ECC_SECG_P256K1", Family.ECC, "ECDSA_SHA_256"),
            _signing("ECC_NIST_EDWARDS25519", Family.EDWARDS, "ED25519_SHA_512", "ED25519_PH_SHA_512"),
            _ml_dsa("ML_DSA_44"),
            _ml_dsa("ML_DSA_65"),
            _ml_dsa("ML_DSA_87"),
        )
    }
)
"""Every key spec of AWS KMS but SM2, which exists in China Regions only."""

DATA_KEY_PAIR_SPECS: Final = frozenset(
    name for name, spec in KEY_SPECS.items() if spec.family in (Family.RSA, Family.ECC, Family.EDWARDS)
)
"""KeyPairSpec of GenerateDataKeyPair."""

ALGORITHM_MEMBERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        ENCRYPT_DECRYPT: "EncryptionAlgorithms",
        SIGN_VERIFY: "SigningAlgorithms",
        GENERATE_VERIFY_MAC: "MacAlgorithms",
        KEY_AGREEMENT: "KeyAgreementAlgorithms",
    }
)
"""By KeyUsage: the member of KeyMetadata that lists the algorithms."""


def algorithms(spec: str, usage: str) -> tuple[str, ...]:
    """The algorithms of a key of this spec and usage."""
    return KEY_SPECS[spec].algorithms[usage]


def is_asymmetric(spec: str) -> bool:
    return KEY_SPECS[spec].is_asymmetric
