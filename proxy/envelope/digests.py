"""Checksums of a plaintext and how they are written down: a row of entries, each a code and a digest.

See FORMAT.md, section 7.
"""

import binascii
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Final

from proxy.envelope.errors import EnvelopeError
from proxy.values import value_class

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

ALGORITHMS: Final[Mapping[int, tuple[str, int]]] = MappingProxyType(
    {code: (name, size) for name, (code, size) in CODES.items()}
)
"""Code to checksum algorithm and its digest's size."""

ETAG_CODE: Final = 64
"""The code of the plaintext's MD5 where it is kept for the ETag, not as a checksum that the client chose."""

MD5_SIZE: Final = 16

TYPE_CODES: Final[Mapping[str | None, int]] = MappingProxyType({None: 0, "COMPOSITE": 1, "FULL_OBJECT": 2})
"""Checksum type of a multipart upload to its code."""

TYPES: Final[Mapping[int, str | None]] = MappingProxyType({code: name for name, code in TYPE_CODES.items()})


@value_class
class Digests:
    """What is known of a plaintext."""

    checksums: Mapping[str, str] = field(default_factory=dict)
    """Algorithm name, as botocore spells it (``CRC64NVME``), to base64 value."""
    md5: bytes | None = None
    """Sixteen bytes, for the ETag."""


NO_DIGESTS: Final = Digests()


def raw_digest(algorithm: str, value: str) -> bytes:
    """The bytes of a checksum's base64 value.

    Raises:
        ValueError: the algorithm is not known, or the value is not a digest of it.
    """
    if algorithm not in CODES:
        raise ValueError(f"{algorithm} is not a checksum algorithm")
    digest = binascii.a2b_base64(value, strict_mode=True)
    if len(digest) != CODES[algorithm][1]:
        raise ValueError(f"the value has not the size of a {algorithm} checksum")
    return digest


def encode(digests: Digests) -> bytes:
    """The entries, ordered by code: one byte of code, then the digest, whose size follows from the code.

    Raises:
        ValueError: a value is not a digest.
    """
    rows = [(CODES[name][0], raw_digest(name, value)) for name, value in digests.checksums.items() if name in CODES]
    if len(rows) != len(digests.checksums):
        raise ValueError("there is a checksum of an unknown algorithm")
    if digests.md5 is not None:
        if len(digests.md5) != MD5_SIZE:
            raise ValueError("an MD5 has sixteen bytes")
        rows.append((ETAG_CODE, digests.md5))
    rows.sort()
    return b"".join(bytes((code,)) + digest for code, digest in rows)


def decode(data: bytes, *, padded: bool = False) -> Digests:
    """The digests in a row of entries; with ``padded``, zeros may follow them.

    Raises:
        EnvelopeError: this is not such a row.
    """
    if not data:
        return NO_DIGESTS
    checksums: dict[str, str] = {}
    md5 = None
    position = previous = 0
    while position < len(data):
        code = data[position]
        if not code and padded and not any(data[position:]):
            break
        name, size = ALGORITHMS.get(code, ("", MD5_SIZE))
        digest = data[position + 1 : position + 1 + size]
        if code <= previous or len(digest) != size or not (name or code == ETAG_CODE):
            raise EnvelopeError("the checksums are damaged")
        if name:
            checksums[name] = b64encode(digest).decode()
        else:
            md5 = digest
        previous, position = code, position + 1 + size
    return Digests(MappingProxyType(checksums), md5)
