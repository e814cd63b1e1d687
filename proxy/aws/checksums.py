"""The checksum algorithms of S3, by the names that botocore's model gives them.

Every digest is in network byte order, as it stands (in base64) in headers, trailers and XML.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from awscrt import checksums as crt

from proxy.stream import Buffer

DEFAULT_ALGORITHM: Final = "CRC64NVME"
"""What S3 computes where a client sends no checksum."""

HEADER_PREFIX: Final = "x-amz-checksum-"


class Hasher(Protocol):
    """A running checksum. ``digest`` ends it."""

    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    """A CRC by a function of (data, value so far), which takes any buffer without copying it."""

    __slots__ = ("_function", "_size", "_value")

    def __init__(self, function: Callable[[Buffer, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


class _XxHash:
    __slots__ = ("_state",)

    def __init__(self, state: crt.XXHash) -> None:
        self._state = state

    def update(self, data: Buffer, /) -> None:
        # These functions of awscrt refuse every buffer but bytes.
        self._state.update(data if isinstance(data, bytes) else bytes(data))

    def digest(self) -> bytes:
        return bytes(self._state.finalize())


@dataclass(frozen=True)
class _Algorithm:
    size: int
    """Bytes of a digest."""
    new: Callable[[], Hasher]
    combine: Callable[[int, int, int], int] | None = None
    """For CRCs: from those of two pieces and the second's length to that of both."""


_ALGORITHMS: Mapping[str, _Algorithm] = {
    "CRC32": _Algorithm(4, lambda: _Crc(binascii.crc32, 4), crt.combine_crc32),
    "CRC32C": _Algorithm(4, lambda: _Crc(crt.crc32c, 4), crt.combine_crc32c),
    "CRC64NVME": _Algorithm(8, lambda: _Crc(crt.crc64nvme, 8), crt.combine_crc64nvme),
    "SHA1": _Algorithm(20, lambda: hashlib.sha1(usedforsecurity=False)),
    "SHA256": _Algorithm(32, hashlib.sha256),
    "SHA512": _Algorithm(64, hashlib.sha512),
    "MD5": _Algorithm(16, lambda: hashlib.md5(usedforsecurity=False)),
    "XXHASH64": _Algorithm(8, lambda: _XxHash(crt.XXHash.new_xxhash64())),
    "XXHASH3": _Algorithm(8, lambda: _XxHash(crt.XXHash.new_xxhash3_64())),
    "XXHASH128": _Algorithm(16, lambda: _XxHash(crt.XXHash.new_xxhash3_128())),
}

ALGORITHMS: Final = tuple(_ALGORITHMS)

_BY_HEADER = {HEADER_PREFIX + name.lower(): name for name in _ALGORITHMS}


def new(algorithm: str) -> Hasher:
    """A fresh hasher. Raises KeyError for a name that is not an algorithm's."""
    return _ALGORITHMS[algorithm].new()


def header_name(algorithm: str) -> str:
    """``x-amz-checksum-crc64nvme`` for ``CRC64NVME``."""
    return HEADER_PREFIX + algorithm.lower()


def algorithm_of_header(name: str) -> str | None:
    """``CRC64NVME`` for ``x-amz-checksum-crc64nvme`` in any case, None for any other header."""
    return _BY_HEADER.get(name.lower())


def encode(digest: bytes) -> str:
    """Base64, as checksums stand in headers."""
    return base64.b64encode(digest).decode("ascii")


def decode(algorithm: str, text: str) -> bytes:
    """The digest in a header's value.

    Raises:
        ValueError: it is not base64 of the algorithm's length.
    """
    digest = base64.b64decode(text, validate=True)
    if len(digest) != _ALGORITHMS[algorithm].size or encode(digest) != text:
        raise ValueError("not a digest of this algorithm")
    return digest


def composite(algorithm: str, parts: Sequence[bytes]) -> str:
    """The COMPOSITE checksum of a multipart object from its parts' digests: base64, ``-`` and the number of parts."""
    hasher = new(algorithm)
    hasher.update(b"".join(parts))
    return f"{encode(hasher.digest())}-{len(parts)}"


def combine(algorithm: str, parts: Sequence[tuple[bytes, int]]) -> bytes:
    """The FULL_OBJECT checksum of a multipart object from its parts' digests and lengths in bytes.

    Raises:
        ValueError: the algorithm is not a CRC; others can't be combined.
    """
    function = _ALGORITHMS[algorithm].combine
    if function is None:
        raise ValueError(f"{algorithm} checksums of parts can't be combined")
    value = 0
    for digest, length in parts:
        value = function(value, int.from_bytes(digest, "big"), length)
    return value.to_bytes(_ALGORITHMS[algorithm].size, "big")
