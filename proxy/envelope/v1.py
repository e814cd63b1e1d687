"""Version 1 of the envelope: sealing, unlocking and opening objects. See FORMAT.md."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from proxy.envelope.digests import NO_DIGESTS, Digests
from proxy.envelope.header import Header, Mode
from proxy.envelope.parts import PartsTable
from proxy.envelope.ranges import PartsPlan, Window
from proxy.envelope.segments import Opener, Sealer

Random = Callable[[int], bytes]
"""Gives so many random bytes, as ``os.urandom`` does."""


@dataclass(frozen=True)
class Wrapping:
    """How a data key is wrapped."""

    mode: Mode
    key_arn: str
    wrapped_key: bytes
    """The KMS ciphertext blob: of the data key or, with ``bucket_key``, of that."""
    context: Mapping[str, str] = MappingProxyType({})
    """The client's encryption context, without what S3 adds."""
    bucket_key: bytes | None = field(default=None, repr=False)
    """The S3 Bucket Key in the clear (32 bytes), if the data key is to be wrapped under one."""
    object_arn: str = ""
    """Needed with ``bucket_key`` only: the wrap is bound to it."""


@dataclass(frozen=True)
class Unlocked:
    """An object whose data key is at hand and was found to be the right one."""

    header: Header
    data_key: bytes = field(repr=False)
    plaintext_size: int | None
    """None for a multipart object: its table of parts knows."""
    digests: Digests
    """What was known before the body; the rest is in the footer."""
    checksum_algorithm: str | None
    """Of a multipart upload."""
    checksum_type: str | None
    """Of a multipart upload: ``COMPOSITE`` or ``FULL_OBJECT``."""


def seal_single(
    data_key: bytes,
    wrapping: Wrapping,
    *,
    plaintext_size: int,
    digests: Digests = NO_DIGESTS,
    footer: Callable[[], Digests] | None = None,
    random: Random,
) -> tuple[Header, Sealer]:
    """Begins a single PUT: the header, and the sealer that turns the plaintext into the body.

    ``footer`` is called when the body has ended, and only if it is longer than 1 MiB; of a shorter body everything
    has to be known beforehand, in ``digests``.

    Raises:
        ValueError: an argument has not its form.
    """
    raise NotImplementedError


def new_multipart(
    data_key: bytes,
    wrapping: Wrapping,
    *,
    checksum_algorithm: str | None = None,
    checksum_type: str | None = None,
    random: Random,
) -> Header:
    """Begins a multipart upload.

    Raises:
        ValueError: an argument has not its form.
    """
    raise NotImplementedError


def unwrap_with_bucket_key(header: Header, bucket_key: bytes, object_arn: str) -> bytes:
    """The data key of an object that uses an S3 Bucket Key.

    Raises:
        EnvelopeError: it is not under this bucket key, or not the object with this ARN.
    """
    raise NotImplementedError


def unlock(header: Header, data_key: bytes) -> Unlocked:
    """Checks the commitment and opens the record.

    Raises:
        EnvelopeError: the key is not this object's, or the header was tampered with.
    """
    raise NotImplementedError


def rewrap(header: Header, data_key: bytes, wrapping: Wrapping, *, random: Random) -> Header:
    """The header of the same data with its key wrapped anew: for a copy, a rename or another KMS key.

    Raises:
        EnvelopeError: as ``unlock``.
    """
    raise NotImplementedError


def seal_part(
    unlocked: Unlocked,
    number: int,
    plaintext_size: int,
    *,
    footer: Callable[[], Digests] | None = None,
    random: Random,
) -> Sealer:
    """The sealer of one attempt at a part; its ``salt`` goes into the table of parts, ``salt[:16]`` is the attempt id.

    Raises:
        ValueError: an argument has not its form, or the object is a single PUT.
    """
    raise NotImplementedError


def open_single(unlocked: Unlocked) -> Opener:
    """The opener of a whole body."""
    raise NotImplementedError


def open_range(unlocked: Unlocked, window: Window) -> Opener:
    """The opener of a range of a single PUT; ``ranges.window`` makes the window."""
    raise NotImplementedError


def open_parts(unlocked: Unlocked, table: PartsTable, plan: PartsPlan) -> Opener:
    """The opener of a multipart object or a range of it; ``table`` must have been verified with ``parts.verify``."""
    raise NotImplementedError


def open_footer(unlocked: Unlocked, data: bytes) -> Digests:
    """What the footer of a single PUT says; ``ranges.footer_range`` says where it lies.

    Raises:
        EnvelopeError: it is damaged or another object's.
    """
    raise NotImplementedError


def open_part_footer(unlocked: Unlocked, number: int, size: int, salt: bytes, data: bytes) -> Digests:
    """What the footer of a part says.

    Raises:
        EnvelopeError: it is damaged or another part's.
    """
    raise NotImplementedError
