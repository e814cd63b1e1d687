"""The checksum algorithms of S3, by the names that botocore's model gives them.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
"""

from collections.abc import Sequence
from typing import Protocol

from proxy.stream import Buffer

DEFAULT_ALGORITHM = "CRC64NVME"
"""What S3 computes where a client sends no checksum."""


class Hasher(Protocol):
    def update(self, data: Buffer) -> None: ...

    def digest(self) -> bytes:
        """The value of what was taken so far, big-endian."""
        ...


def new(algorithm: str) -> Hasher:
    """A fresh hasher. Raises KeyError for a name that is not an algorithm's."""
    raise NotImplementedError


def header_name(algorithm: str) -> str:
    """``x-amz-checksum-crc64nvme`` for ``CRC64NVME``."""
    raise NotImplementedError


def encode(digest: bytes) -> str:
    """Base64, as checksums stand in headers."""
    raise NotImplementedError


def decode(algorithm: str, text: str) -> bytes:
    """The digest in a header's value. Raises ValueError if it is not base64 of the algorithm's length."""
    raise NotImplementedError


def composite(algorithm: str, parts: Sequence[bytes]) -> str:
    """The COMPOSITE checksum of a multipart object from its parts' digests: base64, ``-`` and the number of parts."""
    raise NotImplementedError


def combine(algorithm: str, parts: Sequence[tuple[bytes, int]]) -> bytes:
    """The FULL_OBJECT checksum of a multipart object from its parts' digests and lengths in bytes.

    Raises ValueError if the algorithm is not a CRC: others can't be combined.
    """
    raise NotImplementedError
