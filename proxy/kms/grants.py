"""What a grant allows, and grant tokens. Pure.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/grants.html
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from proxy.kms.errors import KmsError
from proxy.kms.key_specs import GENERATE_VERIFY_MAC, KEY_AGREEMENT, SIGN_VERIFY, is_asymmetric
from proxy.kms.model import ENCRYPT_DECRYPT, SYMMETRIC_DEFAULT, Grant, KmsKey

_UNCONSTRAINED: Final = frozenset(("DescribeKey", "RetireGrant", "CreateGrant", "GetPublicKey"))
"""Operations without an encryption context: constraints do not apply to their use."""

_EVERY_KEY: Final = frozenset(("CreateGrant", "DescribeKey", "RetireGrant"))
_ENCRYPTION: Final = frozenset(("Decrypt", "Encrypt", "ReEncryptFrom", "ReEncryptTo"))
_DATA_KEYS: Final = frozenset(
    (
        "GenerateDataKey",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "GenerateDataKeyWithoutPlaintext",
    )
)
_BY_USAGE: Final = {
    ENCRYPT_DECRYPT: _ENCRYPTION,
    SIGN_VERIFY: frozenset(("Sign", "Verify")),
    GENERATE_VERIFY_MAC: frozenset(("GenerateMac", "VerifyMac")),
    KEY_AGREEMENT: frozenset(("DeriveSharedSecret",)),
}

_TAG_SIZE: Final = 32
_SALT_SIZE: Final = 16


def allows(grant: Grant, operation: str, context: Mapping[str, str]) -> bool:
    """Whether the grant gives its grantee this operation in this encryption context."""
    if operation not in grant.operations:
        return False
    if operation in _UNCONSTRAINED:
        return True
    if grant.context_equals is not None and dict(context) != dict(grant.context_equals):
        return False
    return grant.context_subset is None or grant.context_subset.items() <= context.items()


def operations_of(key: KmsKey) -> frozenset[str]:
    """The operations that a grant on this key may allow."""
    operations = _EVERY_KEY | _BY_USAGE[key.usage]
    if key.spec == SYMMETRIC_DEFAULT:
        return operations | _DATA_KEYS
    return operations | {"GetPublicKey"} if is_asymmetric(key.spec) else operations


def may_create(parent: Grant, child: Grant) -> bool:
    """Whether a grantee of ``parent`` may make ``child``: no more operations, and constraints at least as strict."""
    if not set(child.operations) <= set(parent.operations):
        return False
    if parent.context_equals is not None:
        return child.context_equals is not None and dict(child.context_equals) == dict(parent.context_equals)
    if parent.context_subset is None:
        return True
    pairs = child.context_equals if child.context_equals is not None else child.context_subset
    return pairs is not None and parent.context_subset.items() <= pairs.items()


def new_token(record_id: str, secret: bytes, salt: bytes) -> str:
    """A grant token: base64 of 16 bytes of salt, an HMAC-SHA256 and the id of the grant's record. A grant has any
    number of tokens; each shows that this service made the grant."""
    name = record_id.encode()
    tag = hmac.new(secret, salt + name, hashlib.sha256).digest()
    return base64.b64encode(salt + tag + name).decode("ascii")


def open_token(token: str, secret: bytes) -> str:
    """The id of the grant's record.

    Raises:
        KmsError: InvalidGrantTokenException; this service did not make the token.
    """
    try:
        data = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        raise KmsError("InvalidGrantTokenException") from None
    salt, tag, name = data[:_SALT_SIZE], data[_SALT_SIZE : _SALT_SIZE + _TAG_SIZE], data[_SALT_SIZE + _TAG_SIZE :]
    if not hmac.compare_digest(tag, hmac.new(secret, salt + name, hashlib.sha256).digest()):
        raise KmsError("InvalidGrantTokenException")
    return name.decode()
