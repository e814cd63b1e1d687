"""Key material: the 32 bytes behind one version of a symmetric KMS key."""

import hashlib
import hmac
from typing import Final

from proxy.kms.model import KeyName, material_record_id

MATERIAL_SIZE: Final = 32

_ID_LABEL: Final = b"KeyMaterialId v1\x00"
WRAP_LABEL: Final = b"KMS key material v1\x00"


def material_id(key: KeyName, material: bytes) -> str:
    """KeyMaterialId: 64 hexadecimal digits that follow from the KMS key's id and the material, and from nothing else.

    It is an HMAC keyed by the material, so it tells nothing about the material, and stays the same in every Region
    of a multi-Region key. It outlives deleted material, which is how a later import is held to the same bytes.
    """
    return hmac.new(material, _ID_LABEL + f"{key.account}/{key.id}".encode(), hashlib.sha256).hexdigest()


def associated_data(key: KeyName, ordinal: int) -> bytes:
    """What wrapped material is bound to: its place, so that a record moved to another key does not unwrap."""
    return WRAP_LABEL + material_record_id(key, ordinal).encode()
