"""The shapes of KMS's input members, as in the service model (kms/2014-11-01)."""

from typing import Final

from proxy.aws.json_codec import Blob, Boolean, Integer, ListOf, MapOf, Shape, String, Structure, Timestamp

KEY_ID: Final = String(1, 2048)
BOOLEAN: Final = Boolean()
TIMESTAMP: Final = Timestamp()
CONTEXT: Final = MapOf(String())
GRANT_TOKEN: Final = String(1, 8192)
GRANT_TOKENS: Final = ListOf(GRANT_TOKEN, 0, 10)
CIPHERTEXT: Final = Blob(1, 6144)
PLAINTEXT: Final = Blob(1, 4096)
ALIAS_NAME: Final = String(1, 256, r"^[a-zA-Z0-9:/_-]+$")
REGION: Final = String(1, 32, r"^([a-z]+-){2,3}\d+$")
MARKER: Final = String(1, 1024, r"[\u0020-\u00FF]*")
LIMIT: Final = Integer(1, 1000)
PENDING_WINDOW_IN_DAYS: Final = Integer(1, 365)
ROTATION_PERIOD_IN_DAYS: Final = Integer(90, 2560)
POLICY: Final = String(1, 131072, r"[\u0009\u000A\u000D\u0020-\u00FF]+")
POLICY_NAME: Final = String(1, 128, r"[\w]+")
DESCRIPTION: Final = String(0, 8192)
TAG_KEY: Final = String(1, 128)
TAGS: Final = ListOf(Structure({"TagKey": TAG_KEY, "TagValue": String(0, 256)}, ("TagKey", "TagValue")))
PRINCIPAL: Final = String(1, 256, r"^[\w+=,.@:/-]+$")
SERVICE_PRINCIPAL: Final = String(1, 128, r"^([A-Za-z0-9\-]+)\.([A-Za-z0-9\-]+)(\.[A-Za-z0-9\-]+)+$")
GRANT_ID: Final = String(1, 128)
GRANT_NAME: Final = String(1, 256, r"^[a-zA-Z0-9:/_-]+$")
MATERIAL_ID: Final = String(64, 64, r"^[a-f0-9]+$")
NUMBER_OF_BYTES: Final = Integer(1, 1024)
ENCRYPTION_ALGORITHM: Final = String(enum=("SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"))
SIGNING_ALGORITHM: Final = String(
    enum=(
        "RSASSA_PSS_SHA_256",
        "RSASSA_PSS_SHA_384",
        "RSASSA_PSS_SHA_512",
        "RSASSA_PKCS1_V1_5_SHA_256",
        "RSASSA_PKCS1_V1_5_SHA_384",
        "RSASSA_PKCS1_V1_5_SHA_512",
        "ECDSA_SHA_256",
        "ECDSA_SHA_384",
        "ECDSA_SHA_512",
        "SM2DSA",
        "ML_DSA_SHAKE_256",
        "ED25519_SHA_512",
        "ED25519_PH_SHA_512",
    )
)
MAC_ALGORITHM: Final = String(enum=("HMAC_SHA_224", "HMAC_SHA_256", "HMAC_SHA_384", "HMAC_SHA_512"))
KEY_AGREEMENT_ALGORITHM: Final = String(enum=("ECDH",))
MESSAGE_TYPE: Final = String(enum=("RAW", "DIGEST", "EXTERNAL_MU"))
PUBLIC_KEY: Final = Blob(1, 8192)
DATA_KEY_SPEC: Final = String(enum=("AES_256", "AES_128"))
WRAPPING_ALGORITHM: Final = String(
    enum=(
        "RSAES_PKCS1_V1_5",
        "RSAES_OAEP_SHA_1",
        "RSAES_OAEP_SHA_256",
        "RSA_AES_KEY_WRAP_SHA_1",
        "RSA_AES_KEY_WRAP_SHA_256",
        "SM2PKE",
    )
)
WRAPPING_KEY_SPEC: Final = String(enum=("RSA_2048", "RSA_3072", "RSA_4096", "SM2"))
EXPIRATION_MODEL: Final = String(enum=("KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"))
IMPORT_TYPE: Final = String(enum=("NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"))
INCLUDE_KEY_MATERIAL: Final = String(enum=("ALL_KEY_MATERIAL", "ROTATIONS_ONLY"))
MATERIAL_DESCRIPTION: Final = String(0, 256, r"^[a-zA-Z0-9:/_\s.-]+$")
KEY_USAGE: Final = String(enum=("SIGN_VERIFY", "ENCRYPT_DECRYPT", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"))
ORIGIN: Final = String(enum=("AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"))
CUSTOM_KEY_STORE_ID: Final = String(1, 64)
XKS_KEY_ID: Final = String(1, 128, r"^[a-zA-Z0-9-_.]+$")
DRY_RUN_MODIFIERS: Final = ListOf(String(enum=("IGNORE_CIPHERTEXT",)))
RECIPIENT: Final = Structure(
    {
        "KeyEncryptionAlgorithm": String(enum=("RSAES_OAEP_SHA_256",)),
        "AttestationDocument": Blob(1, 262144),
    }
)

_CUSTOMER_MASTER_KEY_SPECS: Final = (
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "SYMMETRIC_DEFAULT",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
)
CUSTOMER_MASTER_KEY_SPEC: Final = String(enum=_CUSTOMER_MASTER_KEY_SPECS)
KEY_SPEC: Final = String(
    enum=(*_CUSTOMER_MASTER_KEY_SPECS, "ML_DSA_44", "ML_DSA_65", "ML_DSA_87", "ECC_NIST_EDWARDS25519")
)

DATA_KEY_PAIR_SPEC: Final = String(
    enum=(
        "RSA_2048",
        "RSA_3072",
        "RSA_4096",
        "ECC_NIST_P256",
        "ECC_NIST_P384",
        "ECC_NIST_P521",
        "ECC_SECG_P256K1",
        "SM2",
        "ECC_NIST_EDWARDS25519",
    )
)

GRANT_OPERATIONS: Final = (
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "Sign",
    "Verify",
    "GetPublicKey",
    "CreateGrant",
    "RetireGrant",
    "DescribeKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateMac",
    "VerifyMac",
    "DeriveSharedSecret",
)
GRANT_CONSTRAINTS: Final = Structure(
    {
        "EncryptionContextSubset": CONTEXT,
        "EncryptionContextEquals": CONTEXT,
        "SourceArn": String(20, 512, r"^arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+$"),
    }
)


def request(*required: str, **members: Shape) -> Structure:
    """The input of an operation: its members by AWS's names, and the names of those that must be there."""
    return Structure(members, required)
