"""The table of parts of a multipart object, and the frames it can be rebuilt from. See FORMAT.md, sections 4 and 6."""

import hmac
import struct
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import Final, overload

from proxy.envelope import digests as entries
from proxy.envelope.digests import ALGORITHMS, CODES, TYPE_CODES, TYPES, Digests, raw_digest
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import Header
from proxy.envelope.keys import ID_SIZE, SALT_SIZE, table_key
from proxy.envelope.ranges import FRAME_SIZE, STREAM_HEADER_SIZE
from proxy.envelope.segments import prefix_of

LARGEST_NUMBER: Final = 10_000
PREAMBLE_SIZE: Final = FRAME_SIZE + STREAM_HEADER_SIZE
"""What ``parse_frame`` needs: a part's first 72 bytes."""

_FRAME_MAGIC: Final = b"SPP1"
_TABLE_MAGIC: Final = b"SPT1"
_MAC_SIZE: Final = 32
_FRAME: Final = struct.Struct(">4sIQ16s")
_HEAD: Final = struct.Struct(">4s16sBIQBB")
_DECODED: Final = 4
_LARGEST_SIZE: Final = (1 << 63) - 1
_EMPTY: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True)
class Part:
    """One part of a multipart object, as it was accepted."""

    number: int
    size: int
    """Plaintext bytes."""
    salt: bytes
    """32 bytes; the first sixteen are the attempt id."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Algorithm name to base64 value."""

    @property
    def attempt(self) -> bytes:
        return self.salt[:ID_SIZE]


@dataclass(frozen=True)
class PartsTable:
    """The parts of an object in the order of their numbers."""

    object_id: bytes
    parts: Sequence[Part]
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Of the whole object (without the ``-N`` that AWS appends to a composite one)."""
    checksum_type: str | None = None
    """``COMPOSITE``, ``FULL_OBJECT`` or None."""
    verified: bool = field(default=False, compare=False)
    """Whether ``verify`` has found it right."""

    @cached_property
    def sizes(self) -> Sequence[int]:
        """The parts' plaintext sizes."""
        if isinstance(self.parts, _PackedParts):
            return self.parts.sizes
        return [part.size for part in self.parts]

    @cached_property
    def total(self) -> int:
        """The object's plaintext size."""
        return sum(self.sizes)


@dataclass(frozen=True)
class Frame:
    """What stands in the clear at the beginning of a part."""

    number: int
    size: int
    """Plaintext bytes."""
    salt: bytes


class _PackedParts(Sequence[Part]):
    """The rows of an encoded table. Parts are made when they are asked for: a range needs few of 10,000."""

    def __init__(self, rows: bytes, row: struct.Struct, codes: bytes) -> None:
        self._rows = rows
        self._row = row
        self._codes = codes
        self.numbers: list[int] = []
        self.sizes: list[int] = []
        for values in row.iter_unpack(rows):
            self.numbers.append(values[0])
            self.sizes.append(values[1])

    def __len__(self) -> int:
        return len(self.sizes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, index: int) -> Part: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Part]: ...

    def __getitem__(self, index: int | slice) -> Part | Sequence[Part]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        number, size, salt, present, slots = self._row.unpack_from(self._rows, position * self._row.size)
        return Part(number, size, salt, _read_slots(self._codes, present, slots))


def make_frame(number: int, size: int, salt: bytes) -> bytes:
    """The frame of a part: 32 bytes."""
    return _FRAME.pack(_FRAME_MAGIC, number, size, salt[:ID_SIZE])


def parse_frame(data: bytes) -> Frame:
    """Reads the first 72 bytes of a part: its frame and the header of its stream.

    What it says is proved only by opening the part.

    Raises:
        EnvelopeError: this is not the beginning of a part.
    """
    if len(data) < PREAMBLE_SIZE:
        raise EnvelopeError("the part is cut short")
    magic, number, size, attempt = _FRAME.unpack_from(data)
    header = data[FRAME_SIZE:PREAMBLE_SIZE]
    salt = bytes(header[1 : 1 + SALT_SIZE])
    if magic != _FRAME_MAGIC or not 1 <= number <= LARGEST_NUMBER or size > _LARGEST_SIZE:
        raise EnvelopeError("there is no part here")
    if header[0] != STREAM_HEADER_SIZE or header[1 + SALT_SIZE :] != prefix_of(salt) or attempt != salt[:ID_SIZE]:
        raise EnvelopeError("the frame and the stream of a part do not belong together")
    return Frame(number, size, salt)


def encode(table: PartsTable, header: Header, data_key: bytes) -> bytes:
    """The table with its MAC.

    Raises:
        ValueError: the table is not well formed, or of another object than the header.
    """
    return encode_under(table, header, table_key(data_key, header.salt))


def encode_under(table: PartsTable, header: Header, key: bytes) -> bytes:
    """``encode`` for who has but the key of the MAC (``keys.table_key``), which opens nothing."""
    if table.object_id != header.object_id:
        raise ValueError("the table is another object's")
    _check_order([part.number for part in table.parts])
    codes = bytes(sorted({CODES[name][0] for part in table.parts for name in part.checksums}))
    row = _row(codes)
    whole = entries.encode(Digests(table.checksums))
    head = _HEAD.pack(
        _TABLE_MAGIC,
        table.object_id,
        TYPE_CODES[table.checksum_type],
        len(table.parts),
        table.total,
        len(codes),
        len(whole),
    )
    rows = [row.pack(part.number, part.size, part.salt, *_write_slots(codes, part.checksums)) for part in table.parts]
    data = b"".join((head, codes, whole, *rows))
    return data + _mac(data, key)


@lru_cache(maxsize=_DECODED)
def decode(data: bytes) -> PartsTable:
    """The table without a look at its MAC: fit for sizes in a listing, not for opening anything.

    Planning, describing and opening an object each need it; one of 10,000 parts takes a millisecond.

    Raises:
        EnvelopeError: it is damaged.
    """
    if len(data) < _HEAD.size + _MAC_SIZE:
        raise EnvelopeError("the table of parts is cut short")
    magic, object_id, checksum_type, count, total, code_count, whole_size = _HEAD.unpack_from(data)
    if magic != _TABLE_MAGIC or checksum_type not in TYPES:
        raise EnvelopeError("this is not a table of parts")
    whole_start = _HEAD.size + code_count
    rows_start = whole_start + whole_size
    codes = data[_HEAD.size : whole_start]
    if any(code not in ALGORITHMS for code in codes) or any(left >= right for left, right in pairwise(codes)):
        raise EnvelopeError("the table of parts is damaged")
    row = _row(codes)
    rows = data[rows_start:-_MAC_SIZE]
    if len(rows) != count * row.size or rows_start > len(data) - _MAC_SIZE:
        raise EnvelopeError("the table of parts is cut short")
    parts = _PackedParts(rows, row, codes)
    try:
        _check_order(parts.numbers)
    except ValueError:
        raise EnvelopeError("the parts are not in order") from None
    if sum(parts.sizes) != total:
        raise EnvelopeError("the sizes of the parts do not add up")
    whole = entries.decode(data[whole_start:rows_start])
    return PartsTable(object_id, parts, whole.checksums, TYPES[checksum_type])


def verify(data: bytes, header: Header, data_key: bytes) -> PartsTable:
    """The table, once its MAC was found right for this object and key.

    Raises:
        EnvelopeError: it is damaged or another object's.
    """
    if not hmac.compare_digest(_mac(data[:-_MAC_SIZE], table_key(data_key, header.salt)), data[-_MAC_SIZE:]):
        raise EnvelopeError("the table of parts is damaged or another object's")
    table = decode(data)
    if table.object_id != header.object_id:
        raise EnvelopeError("the table of parts is another object's")
    return replace(table, verified=True)


def _mac(data: bytes, key: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _check_order(numbers: Sequence[int]) -> None:
    """Raises ValueError unless the part numbers ascend and lie between 1 and 10,000."""
    if not numbers or numbers[0] < 1 or numbers[-1] > LARGEST_NUMBER:
        raise ValueError("part numbers are from 1 to 10,000, and there is one at least")
    if any(left >= right for left, right in pairwise(numbers)):
        raise ValueError("part numbers ascend")


def _row(codes: bytes) -> struct.Struct:
    slots = sum(ALGORITHMS[code][1] for code in codes)
    return struct.Struct(f">HQ{SALT_SIZE}sH{slots}s")


def _write_slots(codes: bytes, checksums: Mapping[str, str]) -> tuple[int, bytes]:
    """Which of the codes a part has (bit i for the i-th), and a slot for each, zeros where there is none."""
    present, slots = 0, []
    for position, code in enumerate(codes):
        name, size = ALGORITHMS[code]
        if name in checksums:
            present |= 1 << position
            slots.append(raw_digest(name, checksums[name]))
        else:
            slots.append(bytes(size))
    return present, b"".join(slots)


def _read_slots(codes: bytes, present: int, slots: bytes) -> Mapping[str, str]:
    if not present:
        return _EMPTY
    checksums = {}
    start = 0
    for position, code in enumerate(codes):
        name, size = ALGORITHMS[code]
        if present >> position & 1:
            checksums[name] = b64encode(slots[start : start + size]).decode()
        start += size
    return MappingProxyType(checksums)
