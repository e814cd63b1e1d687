"""Checksums of a plaintext and how they are written down: a row of entries, each a code and a digest."""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from proxy.envelope.errors import EnvelopeError

CODES: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        "CRC32": (1, 4),
        "CRC32C": (2, 4),
        "CRC64NVME": (3, 8),
        "SHA1": (4, 20),
        "SHA256": (5, 32),
        "SHA512": (6, 64),
        "MD5": (7, 16),
        "XXHASH64": (8, 8),
        "XXHASH3": (9, 8),
        "XXHASH128": (10, 16),
    }
)
"""Checksum algorithm, as botocore spells it, to its code and its digest's size."""

ETAG_MD5_CODE: Final = 64
"""The code of the plaintext's MD5 where it is kept for the ETag, not as a checksum that the client chose."""


@dataclass(frozen=True)
class Digests:
    """What is known of a plaintext."""

    checksums: Mapping[str, str] = MappingProxyType({})
    """Algorithm name, as botocore spells it (``CRC64NVME``), to base64 value."""
    md5: bytes | None = None
    """Sixteen bytes, for the ETag."""


NO_DIGESTS: Final = Digests()
