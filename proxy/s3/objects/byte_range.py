"""The Range header and the ``partNumber`` parameter of GetObject and HeadObject.

Source: RFC 9110 section 14, and S3, which serves one range only and ignores a header that is not one;
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html for parts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.s3.errors import invalid_part_number, invalid_range

_SPEC = re.compile(r"bytes\s*=\s*(?:([0-9]+)\s*-\s*([0-9]*)|-\s*([0-9]+))\s*", re.IGNORECASE)
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class ByteRange:
    """A range as it was asked for, of an object whose size may not be known yet."""

    text: str
    """The header's value."""
    first: int | None
    """None: the last ``suffix`` bytes."""
    last: int | None
    """Inclusive; None: to the end."""
    suffix: int = 0

    def resolve(self, size: int) -> tuple[int, int]:
        """The first and last byte (inclusive) of an object of ``size`` bytes.

        Raises:
            AwsError: 416 InvalidRange, when the range has no byte of the object in it.
        """
        if self.first is None:
            if not self.suffix or not size:
                raise invalid_range(self.text, size)
            return max(size - self.suffix, 0), size - 1
        if self.first >= size:
            raise invalid_range(self.text, size)
        return self.first, size - 1 if self.last is None else min(self.last, size - 1)


@dataclass(frozen=True)
class WantedPart:
    """A part as it was asked for: they are counted from 1 as they lie in the object, whatever their numbers were when
    they were sent. An object that is no multipart object has one."""

    number: int

    def index(self, count: int) -> int:
        """Its index among ``count`` parts.

        Raises:
            AwsError: 416 InvalidPartNumber, when there are fewer.
        """
        if self.number > count:
            raise invalid_part_number(self.number, count)
        return self.number - 1

    def resolve(self, sizes: Sequence[int]) -> tuple[int, int]:
        """The first and last byte (inclusive; before the first one for an empty part) in an object whose parts have
        these sizes.

        Raises:
            AwsError: as ``index``.
        """
        index = self.index(len(sizes))
        first = sum(sizes[:index])
        return first, first + sizes[index] - 1


Wanted = ByteRange | WantedPart
"""What is wanted of an object, if not all of it."""


def parse(value: str | None) -> ByteRange | None:
    """The one range that the header asks for; None if there is no header or S3 ignores what it says."""
    found = _SPEC.fullmatch(value) if value else None
    if found is None or value is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return ByteRange(value, None, None, min(int(suffix), _LARGEST))
    start = min(int(first), _LARGEST)
    end = min(int(last), _LARGEST) if last else None
    if end is not None and end < start:
        return None
    return ByteRange(value, start, end)
