"""Sizes and byte ranges: pure arithmetic between plaintext and what is stored. See FORMAT.md, sections 3 to 6.

Positions count bytes from 0; ranges are inclusive at both ends, as in HTTP.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    inner: "Window | None" = None
    """With two layers: how what is wanted lies in what this window gives, which is of the outer layer."""


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
    inner: "PartsPlan | None" = None
    """With two layers: how what is wanted lies in what this plan gives, which is of the outer layer."""


def segment_count(plaintext: int) -> int:
    """The number of segments of a stream of so many plaintext bytes; an empty one has one segment."""
    if plaintext <= FIRST_PLAINTEXT:
        return 1
    return 1 - (FIRST_PLAINTEXT - plaintext) // SEGMENT_PLAINTEXT


def stream_size(plaintext: int) -> int:
    """The size of a stream with its header, without a footer."""
    return plaintext + STREAM_HEADER_SIZE + TAG_SIZE * segment_count(plaintext)


def stored_size(plaintext: int, layers: int = 1) -> int:
    """The stored size of a single PUT.

    Raises:
        ValueError: the size is negative.
    """
    if plaintext < 0:
        raise ValueError("a size is not negative")
    size = stream_size(plaintext) + (FOOTER_SIZE if plaintext > FOOTER_THRESHOLD else 0)
    return size if layers == 1 else stream_size(size)


def plaintext_size(stored: int, layers: int = 1) -> int:
    """The plaintext size of a single PUT from its stored size.

    Raises:
        ValueError: no single PUT has this stored size.
    """
    if layers > 1:
        inner = _stream_plaintext(stored)
        if inner < 0 or stream_size(inner) != stored:
            raise ValueError(f"no single PUT is stored in {stored} bytes")
        stored = inner
    candidate = stored if stored <= _LARGEST_WITHOUT_FOOTER else stored - FOOTER_SIZE
    plaintext = _stream_plaintext(candidate)
    if plaintext < 0 or stored_size(plaintext) != stored:
        raise ValueError(f"no single PUT is stored in {stored} bytes")
    return plaintext


def part_stored_size(plaintext: int, layers: int = 1) -> int:
    """The stored size of a part: frame, stream and footer.

    Raises:
        ValueError: the size is negative.
    """
    if plaintext < 0:
        raise ValueError("a size is not negative")
    size = stream_size(plaintext) + FOOTER_SIZE
    return FRAME_SIZE + (size if layers == 1 else stream_size(size))


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


def plan(first: int, last: int | None, *, size: int | None = None, layers: int = 1) -> ByteRange:
    """What to ask of the store for plaintext ``first`` to ``last`` (None: to the end) of a single PUT.

    ``size`` is the plaintext size where it is known, as it must be of two layers. Where it is not, the answer may hold
    bytes after the last segment and be shorter than asked for; ``window`` sorts that out.

    Raises:
        ValueError: the range is empty or negative, or starts at or beyond ``size``.
    """
    if layers > 1:
        if size is None:
            raise ValueError("the size of what has two layers must be known")
        inner = plan(first, last, size=size)
        return plan(inner.start, inner.end, size=stored_size(size))
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


def window(first: int, last: int, *, size: int, start: int, end: int, layers: int = 1) -> Window:
    """How plaintext ``first`` to ``last`` of a single PUT of ``size`` plaintext bytes is had from the stored bytes
    ``start`` to ``end``, which is what the store's Content-Range said.

    Raises:
        ValueError: the range does not lie within the object, or the stored bytes do not cover it.
    """
    if not 0 <= first <= last < size:
        raise ValueError("the range does not lie within the object")
    if layers > 1:
        asked = plan(first, last, size=size)
        inner_end = asked.end or 0
        inner = window(first, last, size=size, start=asked.start, end=inner_end)
        return replace(window(asked.start, inner_end, size=stored_size(size), start=start, end=end), inner=inner)
    first_segment, last_segment = segment_of(first), segment_of(last)
    lead = first_segment * SEGMENT_SIZE - start
    trail = end + 1 - min((last_segment + 1) * SEGMENT_SIZE, stream_size(size))
    if lead < 0 or trail < 0:
        raise ValueError("the stored bytes do not cover the range")
    return Window(lead, first_segment, last_segment, first - segment_start(first_segment), last - first + 1, trail)


def plan_parts(sizes: Sequence[int], first: int, last: int | None, layers: int = 1) -> PartsPlan:
    """What to ask of the store for plaintext ``first`` to ``last`` (None: to the end) of a multipart object whose
    parts, in order, have ``sizes`` plaintext bytes.

    Raises:
        ValueError: the range is empty or starts at or beyond the end.
    """
    if layers == 1:
        return _plan_parts(sizes, first, last, _PART)
    inner = _plan_parts(sizes, first, last, _INNER_PART)
    outer = _plan_parts([_INNER_PART.stored(size) for size in sizes], inner.start, inner.end, _OUTER_PART)
    return replace(outer, inner=inner)


def plan_part(sizes: Sequence[int], index: int, layers: int = 1) -> PartsPlan:
    """One whole part of a multipart object, its footer included; it may be empty."""
    if layers == 1:
        return _plan_whole(sizes, index, index, _PART)
    outer = _plan_whole([_INNER_PART.stored(size) for size in sizes], index, index, _OUTER_PART)
    return replace(outer, inner=_plan_whole(sizes, index, index, _INNER_PART))


def plan_all_parts(sizes: Sequence[int], layers: int = 1) -> PartsPlan:
    """The whole of a multipart object, footers included.

    Raises:
        ValueError: there is no part.
    """
    if not sizes:
        raise ValueError("a multipart object has a part")
    last = len(sizes) - 1
    if layers == 1:
        return _plan_whole(sizes, 0, last, _PART)
    outer = _plan_whole([_INNER_PART.stored(size) for size in sizes], 0, last, _OUTER_PART)
    return replace(outer, inner=_plan_whole(sizes, 0, last, _INNER_PART))


@dataclass(frozen=True)
class _Around:
    """What stands around the stream of a part."""

    frame: int
    footer: int

    def stored(self, size: int) -> int:
        return self.frame + stream_size(size) + self.footer


_PART: Final = _Around(FRAME_SIZE, FOOTER_SIZE)
_INNER_PART: Final = _Around(0, FOOTER_SIZE)
_OUTER_PART: Final = _Around(FRAME_SIZE, 0)


def _plan_parts(sizes: Sequence[int], first: int, last: int | None, around: _Around) -> PartsPlan:
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
    offset = sum(map(around.stored, sizes[:first_part]))
    start = offset + (around.frame + first_segment * SEGMENT_SIZE if first_segment else 0)
    offset += sum(map(around.stored, sizes[first_part:last_part])) + around.frame
    end = offset + min((last_segment + 1) * SEGMENT_SIZE, stream_size(sizes[last_part])) - 1
    skip = first - before_first - segment_start(first_segment)
    return PartsPlan(start, end, first_part, last_part, first_segment, last_segment, skip, last - first + 1, False)


def _plan_whole(sizes: Sequence[int], first: int, last: int, around: _Around) -> PartsPlan:
    """Parts ``first`` to ``last``, indices, all that is stored of them."""
    start = sum(map(around.stored, sizes[:first]))
    end = start + sum(map(around.stored, sizes[first : last + 1])) - 1
    return PartsPlan(start, end, first, last, 0, segment_count(sizes[last]) - 1, 0, sum(sizes[first : last + 1]), True)


def footer_range(size: int, layers: int = 1) -> ByteRange | None:
    """Where the footer of a single PUT of ``size`` plaintext bytes lies, or None if it has none. With two layers, the
    segments that hold it."""
    if size <= FOOTER_THRESHOLD:
        return None
    if layers == 1:
        return ByteRange(stream_size(size), stored_size(size) - 1)
    return plan(stream_size(size), None, size=stored_size(size))


def footer_window(size: int) -> Window:
    """With two layers: how the footer lies in the bytes that ``footer_range`` names."""
    return _end_window(stored_size(size))


def part_footer_range(size: int, layers: int = 1) -> ByteRange:
    """Where, counted from the part's first stored byte, the footer of a part of ``size`` plaintext bytes lies. With
    two layers, the segments that hold it."""
    if layers == 1:
        return ByteRange(FRAME_SIZE + stream_size(size), part_stored_size(size) - 1)
    found = plan(stream_size(size), None, size=_INNER_PART.stored(size))
    return ByteRange(FRAME_SIZE + found.start, FRAME_SIZE + (found.end or 0))


def part_footer_window(size: int) -> Window:
    """With two layers: how the footer lies in the bytes that ``part_footer_range`` names."""
    return _end_window(_INNER_PART.stored(size))


def _end_window(size: int) -> Window:
    """The last bytes of an outer stream, as many as a footer has."""
    first = size - FOOTER_SIZE
    found = plan(first, None, size=size)
    return window(first, size - 1, size=size, start=found.start, end=found.end or 0)


def _stream_plaintext(stored: int) -> int:
    """The inverse of ``stream_size`` where there is one; anything, perhaps negative, where there is none."""
    return stored - STREAM_HEADER_SIZE + TAG_SIZE * (-stored // SEGMENT_SIZE)


_LARGEST_WITHOUT_FOOTER: Final = stream_size(FOOTER_THRESHOLD)
