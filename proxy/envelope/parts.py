"""The table of parts of a multipart object, and the frames it can be rebuilt from. See FORMAT.md, sections 4 and 6."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from proxy.envelope.header import Header


@dataclass(frozen=True)
class Part:
    """One part of a multipart object, as it was accepted."""

    number: int
    size: int
    """Plaintext bytes."""
    salt: bytes
    """32 bytes; the first sixteen are the attempt id."""
    checksums: Mapping[str, str] = MappingProxyType({})
    """Algorithm name to base64 value."""

    @property
    def attempt(self) -> bytes:
        return self.salt[:16]


@dataclass(frozen=True)
class PartsTable:
    """The parts of an object in the order of their numbers."""

    object_id: bytes
    parts: Sequence[Part]
    checksums: Mapping[str, str] = MappingProxyType({})
    """Of the whole object (without the ``-N`` that AWS appends to a composite one)."""
    checksum_type: str | None = None
    """``COMPOSITE``, ``FULL_OBJECT`` or None."""

    @property
    def sizes(self) -> Sequence[int]:
        """The parts' plaintext sizes."""
        return [part.size for part in self.parts]

    @property
    def total(self) -> int:
        """The object's plaintext size."""
        return sum(self.sizes)


@dataclass(frozen=True)
class Frame:
    """What stands in the clear before a part's segments."""

    number: int
    size: int
    salt: bytes


def encode(table: PartsTable, header: Header, data_key: bytes) -> bytes:
    """The table with its MAC.

    Raises:
        ValueError: the table is not well formed, or of another object than the header.
    """
    raise NotImplementedError


def decode(data: bytes) -> PartsTable:
    """The table without a look at its MAC: fit for sizes in a listing, not for opening anything.

    Raises:
        EnvelopeError: it is damaged.
    """
    raise NotImplementedError


def verify(data: bytes, header: Header, data_key: bytes) -> PartsTable:
    """The table, once its MAC was found right for this object and key.

    Raises:
        EnvelopeError: it is damaged or another object's.
    """
    raise NotImplementedError


def parse_frame(data: bytes) -> Frame:
    """Reads the first 72 bytes of a part: its frame and the header of its stream.

    What it says is proved only by opening the part.

    Raises:
        EnvelopeError: this is not the beginning of a part.
    """
    raise NotImplementedError
