"""The envelope's header, which lies in the object's user metadata. See FORMAT.md, section 2."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final

RESERVED_PREFIX: Final = "sse-proxy-"
"""User-metadata names (after ``x-amz-meta-``) that start so belong to the envelope."""

METADATA_PREFIX: Final = "x-amz-meta-"


class Mode(StrEnum):
    """How the object is encrypted, as ``x-amz-server-side-encryption`` says it."""

    S3 = "AES256"
    KMS = "aws:kms"
    KMS_DSSE = "aws:kms:dsse"


class Layout(Enum):
    SINGLE = "single"
    MULTIPART = "multipart"


@dataclass(frozen=True)
class Header:
    """The header of one object. Nothing in it is secret."""

    mode: Mode
    layout: Layout
    key_arn: str
    wrapped_key: bytes
    """The KMS ciphertext blob: of the data key or, with an S3 Bucket Key, of the bucket key."""
    bucket_wrapped_key: bytes | None
    """With an S3 Bucket Key: the data key, wrapped under it."""
    salt: bytes
    """32 random bytes, fresh with every PUT and every CreateMultipartUpload."""
    commitment: bytes
    """32 bytes that only one data key can have."""
    record: bytes
    """The sealed record."""
    context: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The client's encryption context, without what S3 adds."""

    @property
    def object_id(self) -> bytes:
        """Sixteen random bytes: the salt's first."""
        return self.salt[:16]


def is_reserved(name: str) -> bool:
    """Whether a user-metadata name, with or without ``x-amz-meta-``, in any case, belongs to the envelope."""
    return name.lower().removeprefix(METADATA_PREFIX).startswith(RESERVED_PREFIX)


def encode(header: Header) -> dict[str, str]:
    """The header as user metadata: full names in lower case (``x-amz-meta-…``) to ASCII values.

    Raises:
        ValueError: a field has not its form.
    """
    raise NotImplementedError


def decode(headers: Mapping[str, str]) -> Header | None:
    """The header among an object's header fields, or None if there is not one reserved name among them.

    Raises:
        EnvelopeError: it is damaged.
        UnknownVersion: it is of a later version.
    """
    raise NotImplementedError
