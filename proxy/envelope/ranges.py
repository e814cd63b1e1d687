"""Sizes and byte ranges: pure arithmetic between plaintext and what is stored. See FORMAT.md, sections 3 to 6.

Positions count bytes from 0; ranges are inclusive at both ends, as in HTTP.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

SEGMENT_SIZE: Final = 65_536
"""Stored bytes of every segment but the last. The first one's count includes the stream's header."""

TAG_SIZE: Final = 16
STREAM_HEADER_SIZE: Final = 40
SEGMENT_PLAINTEXT: Final = SEGMENT_SIZE - TAG_SIZE
"""Plaintext bytes of a full segment: 65,520."""

FIRST_PLAINTEXT: Final = SEGMENT_PLAINTEXT - STREAM_HEADER_SIZE
"""Plaintext bytes of a full first segment: 65,480."""

FOOTER_SIZE: Final = 128
FRAME_SIZE: Final = 32
FOOTER_THRESHOLD: Final = 1_048_576
"""A single PUT of more plaintext bytes than this ends with a footer."""


@dataclass(frozen=True)
class ByteRange:
    """A range of stored bytes to ask for: ``start`` to ``end``, to the end of the object where ``end`` is None, or
    the last ``suffix`` bytes."""

    start: int = 0
    end: int | None = None
    suffix: int | None = None

    @property
    def header(self) -> str:
        """The value of the Range header."""
        if self.suffix is not None:
            return f"bytes=-{self.suffix}"
        return f"bytes={self.start}-{'' if self.end is None else self.end}"


@dataclass(frozen=True)
class Window:
    """A run of stored bytes of one stream, as they come from upstream, and the plaintext wanted of it."""

    lead: int
    """Bytes to drop before the first segment."""
    first_segment: int
    last_segment: int
    skip: int
    """Plaintext bytes before the first wanted one, in the first segment."""
    length: int
    """Plaintext bytes wanted."""
    trail: int
    """Bytes to drop after the last segment."""


@dataclass(frozen=True)
class PartsPlan:
    """A run of stored bytes of a multipart object, and the plaintext wanted of it.

    It starts at a part's frame or within a part at a segment other than the first, and ends after a segment or,
    where whole parts were asked for, after the last one's footer.
    """

    start: int
    end: int
    """Stored bytes to ask for, inclusive."""
    first_part: int
    last_part: int
    """Indices into the table of parts."""
    first_segment: int
    """Of the first part."""
    last_segment: int
    """Of the last part."""
    skip: int
    length: int
    whole: bool
    """Whether every stored byte of the last part is read, its footer included."""


def segment_count(plaintext: int) -> int:
    """The number of segments of a stream of so many plaintext bytes; an empty one has one segment."""
    if plaintext <= FIRST_PLAINTEXT:
        return 1
    return 1 - (FIRST_PLAINTEXT - plaintext) // SEGMENT_PLAINTEXT


def stream_size(plaintext: int) -> int:
    """The size of a stream with its header, without a footer."""
    return plaintext + STREAM_HEADER_SIZE + TAG_SIZE * segment_count(plaintext)


def stored_size(plaintext: int) -> int:
    """The stored size of a single PUT.

    Raises:
        ValueError: the size is negative.
    """
    if plaintext < 0:
        raise ValueError("a size is not negative")
    return stream_size(plaintext) + (FOOTER_SIZE if plaintext > FOOTER_THRESHOLD else 0)


def plaintext_size(stored: int) -> int:
    """The plaintext size of a single PUT from its stored size.

    Raises:
        ValueError: no single PUT has this stored size.
    """
    candidate = stored if stored <= _LARGEST_WITHOUT_FOOTER else stored - FOOTER_SIZE
    plaintext = _stream_plaintext(candidate)
    if plaintext < 0 or stored_size(plaintext) != stored:
        raise ValueError(f"no single PUT is stored in {stored} bytes")
    return plaintext


def part_stored_size(plaintext: int) -> int:
    """The stored size of a part: frame, stream and footer.

    Raises:
        ValueError: the size is negative.
    """
    if plaintext < 0:
        raise ValueError("a size is not negative")
    return FRAME_SIZE + stream_size(plaintext) + FOOTER_SIZE


def part_plaintext_size(stored: int) -> int:
    """The plaintext size of a part from its stored size.

    Raises:
        ValueError: no part has this stored size.
    """
    plaintext = _stream_plaintext(stored - FRAME_SIZE - FOOTER_SIZE)
    if plaintext < 0 or part_stored_size(plaintext) != stored:
        raise ValueError(f"no part is stored in {stored} bytes")
    return plaintext


def segment_of(position: int) -> int:
    """The index of the segment that holds the plaintext byte at ``position``."""
    return (position + STREAM_HEADER_SIZE) // SEGMENT_PLAINTEXT


def segment_start(index: int) -> int:
    """The position in the plaintext of a segment's first byte."""
    return max(0, index * SEGMENT_PLAINTEXT - STREAM_HEADER_SIZE)


def plan(first: int, last: int | None, *, size: int | None = None) -> ByteRange:
    """What to ask of the store for plaintext ``first`` to ``last`` (None: to the end) of a single PUT.

    ``size`` is the plaintext size where it is known. Where it is not, the answer may hold bytes after the last segment
    and be shorter than asked for; ``window`` sorts that out.

    Raises:
        ValueError: the range is empty or negative, or starts at or beyond ``size``.
    """
    if first < 0 or (last is not None and last < first):
        raise ValueError("the range is empty")
    start = segment_of(first) * SEGMENT_SIZE
    if size is None:
        return ByteRange(start, None if last is None else (segment_of(last) + 1) * SEGMENT_SIZE - 1)
    if first >= size:
        raise ValueError("the range starts after the end")
    last = size - 1 if last is None else min(last, size - 1)
    return ByteRange(start, min((segment_of(last) + 1) * SEGMENT_SIZE, stream_size(size)) - 1)


def plan_suffix(length: int) -> ByteRange:
    """What to ask of the store for the last ``length`` plaintext bytes of a single PUT of unknown size.

    The answer begins at or before the start of the segment that holds the first wanted byte.

    Raises:
        ValueError: ``length`` is not positive.
    """
    if length <= 0:
        raise ValueError("the range is empty")
    reach = length + SEGMENT_PLAINTEXT - 1
    segments = reach // SEGMENT_PLAINTEXT + 2
    return ByteRange(suffix=reach + segments * TAG_SIZE + STREAM_HEADER_SIZE + FOOTER_SIZE)


def window(first: int, last: int, *, size: int, start: int, end: int) -> Window:
    """How plaintext ``first`` to ``last`` of a single PUT of ``size`` plaintext bytes is had from the stored bytes
    ``start`` to ``end``, which is what the store's Content-Range said.

    Raises:
        ValueError: the range does not lie within the object, or the stored bytes do not cover it.
    """
    if not 0 <= first <= last < size:
        raise ValueError("the range does not lie within the object")
    first_segment, last_segment = segment_of(first), segment_of(last)
    lead = first_segment * SEGMENT_SIZE - start
    trail = end + 1 - min((last_segment + 1) * SEGMENT_SIZE, stream_size(size))
    if lead < 0 or trail < 0:
        raise ValueError("the stored bytes do not cover the range")
    return Window(lead, first_segment, last_segment, first - segment_start(first_segment), last - first + 1, trail)


def plan_parts(sizes: Sequence[int], first: int, last: int | None) -> PartsPlan:
    """What to ask of the store for plaintext ``first`` to ``last`` (None: to the end) of a multipart object whose
    parts, in order, have ``sizes`` plaintext bytes.

    Raises:
        ValueError: the range is empty or starts at or beyond the end.
    """
    ends = list(accumulate(sizes))
    total = ends[-1] if ends else 0
    last = total - 1 if last is None else min(last, total - 1)
    if not 0 <= first <= last:
        raise ValueError("the range does not lie within the object")
    first_part, last_part = bisect_right(ends, first), bisect_right(ends, last)
    before_first = ends[first_part] - sizes[first_part]
    before_last = ends[last_part] - sizes[last_part]
    first_segment = segment_of(first - before_first)
    last_segment = segment_of(last - before_last)
    offset = sum(map(part_stored_size, sizes[:first_part]))
    start = offset + (FRAME_SIZE + first_segment * SEGMENT_SIZE if first_segment else 0)
    offset += sum(map(part_stored_size, sizes[first_part:last_part])) + FRAME_SIZE
    end = offset + min((last_segment + 1) * SEGMENT_SIZE, stream_size(sizes[last_part])) - 1
    skip = first - before_first - segment_start(first_segment)
    return PartsPlan(start, end, first_part, last_part, first_segment, last_segment, skip, last - first + 1, False)


def plan_part(sizes: Sequence[int], index: int) -> PartsPlan:
    """One whole part of a multipart object, its footer included; it may be empty."""
    start = sum(map(part_stored_size, sizes[:index]))
    size = sizes[index]
    end = start + part_stored_size(size) - 1
    return PartsPlan(start, end, index, index, 0, segment_count(size) - 1, 0, size, True)


def plan_all_parts(sizes: Sequence[int]) -> PartsPlan:
    """The whole of a multipart object, footers included.

    Raises:
        ValueError: there is no part.
    """
    if not sizes:
        raise ValueError("a multipart object has a part")
    end = sum(map(part_stored_size, sizes)) - 1
    last_segment = segment_count(sizes[-1]) - 1
    return PartsPlan(0, end, 0, len(sizes) - 1, 0, last_segment, 0, sum(sizes), True)


def footer_range(size: int) -> ByteRange | None:
    """Where the footer of a single PUT of ``size`` plaintext bytes lies, or None if it has none."""
    if size <= FOOTER_THRESHOLD:
        return None
    return ByteRange(stream_size(size), stored_size(size) - 1)


def _stream_plaintext(stored: int) -> int:
    """The inverse of ``stream_size`` where there is one; anything, perhaps negative, where there is none."""
    return stored - STREAM_HEADER_SIZE + TAG_SIZE * (-stored // SEGMENT_SIZE)


_LARGEST_WITHOUT_FOOTER: Final = stream_size(FOOTER_THRESHOLD)
