"""The parts of a multipart object, read off the object itself: a frame stands before each part and gives its length.

What a walk can't prove is that no part is missing and that none is an earlier attempt; opening a part proves the rest.
"""

from typing import Final

from proxy.envelope import parts, ranges
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.parts import Part
from proxy.envelope.ranges import FRAME_SIZE, STREAM_HEADER_SIZE, ByteRange
from proxy.s3.gateway import Gateway, Target
from proxy.s3.store_reads import read_stored

_HEAD: Final = FRAME_SIZE + STREAM_HEADER_SIZE


async def walk(gateway: Gateway, target: Target, upstream_etag: str, stored_size: int, query: str = "") -> list[Part]:
    """The parts in their order: one short ranged read for each. ``query`` names a version, if not the current one.

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
        found.append(Part(frame.number, frame.size, frame.salt))
        position += ranges.part_stored_size(frame.size)
    if position != stored_size or not found:
        raise EnvelopeError("the object is not a row of whole parts")
    return found
