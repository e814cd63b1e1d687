"""The parts of a multipart object, read off the object itself: a frame stands before each part and gives its length,
a footer after it proves what the frame says and has the part's checksums.

What a walk can't prove is that no part is missing and that none is an earlier attempt.
"""

from collections.abc import Sequence
from typing import Final

from proxy.envelope import parts, ranges, v1
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.parts import Part
from proxy.envelope.ranges import FRAME_SIZE, STREAM_HEADER_SIZE, ByteRange
from proxy.envelope.v1 import Unlocked
from proxy.s3.gateway import Gateway, Target
from proxy.s3.objects.store_reads import read_stored

_HEAD: Final = FRAME_SIZE + STREAM_HEADER_SIZE


async def walk(
    gateway: Gateway, target: Target, upstream_etag: str, stored_size: int, query: str = "", layers: int = 1
) -> list[Part]:
    """The parts in their order: one short ranged read for each. ``query`` names a version, if not the current one,
    ``layers`` how often the object is encrypted.

    Raises:
        EnvelopeError: the object is not a row of parts.
        UpstreamError: the store failed, or the object was replaced meanwhile.
    """
    found: list[Part] = []
    position = 0
    while position < stored_size:
        if position + _HEAD > stored_size:
            raise EnvelopeError("the object ends within a part")
        wanted = ByteRange(position, position + _HEAD - 1)
        head = await read_stored(gateway, target, wanted, upstream_etag, query)
        frame = parts.parse_frame(head)
        _check_order(found, frame.number)
        found.append(Part(frame.number, frame.size, frame.salt))
        position += ranges.part_stored_size(frame.size, layers)
    if position != stored_size or not found:
        raise EnvelopeError("the object is not a row of whole parts")
    return found


async def prove(
    gateway: Gateway, target: Target, unlocked: Unlocked, upstream_etag: str, stored_size: int, query: str = ""
) -> list[Part]:
    """The same with the object's envelope at hand: each part's footer, read together with the next part's frame, is
    opened. The parts come with their checksums.

    Raises:
        EnvelopeError: the object is not a row of parts of its own.
        UpstreamError: as ``walk``.
    """
    if stored_size < _HEAD:
        raise EnvelopeError("the object is not a row of whole parts")
    found: list[Part] = []
    position, layers = 0, unlocked.header.layers
    head = await read_stored(gateway, target, ByteRange(0, _HEAD - 1), upstream_etag, query)
    while True:
        frame = parts.parse_frame(head)
        _check_order(found, frame.number)
        footer_start = position + ranges.part_footer_range(frame.size, layers).start
        position += ranges.part_stored_size(frame.size, layers)
        if position > stored_size or stored_size - _HEAD < position < stored_size:
            raise EnvelopeError("the object ends within a part")
        wanted = ByteRange(footer_start, min(position + _HEAD, stored_size) - 1)
        data = await read_stored(gateway, target, wanted, upstream_etag, query)
        reach = position - footer_start
        footer = v1.open_part_footer(unlocked, frame.number, frame.size, frame.salt, data[:reach])
        found.append(Part(frame.number, frame.size, frame.salt, footer.checksums))
        if position == stored_size:
            return found
        head = data[reach:]


def _check_order(before: Sequence[Part], number: int) -> None:
    if before and number <= before[-1].number:
        raise EnvelopeError("the parts are not in order")
