"""Short reads of stored bytes, for what must be known of an object before it is served."""

from collections.abc import Awaitable, Callable
from typing import Final

from multidict import CIMultiDict

from proxy.aws.message import Request, Response
from proxy.envelope.ranges import ByteRange
from proxy.s3.gateway import Gateway, Target
from proxy.s3.upstream.port import UpstreamError
from proxy.stream import read_all

_ATTEMPTS: Final = 8


class ObjectReplaced(UpstreamError):
    """The object is gone, or another one is in its place, since the store told of it."""


async def of_one_object(attempt: Callable[[], Awaitable[Response]]) -> Response:
    """What ``attempt`` answers, begun anew where the object was replaced meanwhile.

    Raises:
        UpstreamError: it was so several times in a row.
    """
    for _ in range(_ATTEMPTS):
        try:
            return await attempt()
        except ObjectReplaced:
            continue
    raise UpstreamError("the object is being replaced all the time")


async def read_stored(
    gateway: Gateway, target: Target, wanted: ByteRange, upstream_etag: str, query: str = ""
) -> bytes:
    """A short range of an object's stored bytes, of no other object than the one with this ETag.

    ``query`` names a version, if it is not the current one.

    Raises:
        ObjectReplaced: it is not there any more.
        UpstreamError: the store gave something else.
    """
    headers = CIMultiDict({"Range": wanted.header, "If-Match": upstream_etag})
    answer = await gateway.short_reads.send(Request("GET", target.path, query, headers))
    length = (wanted.end or 0) - wanted.start + 1
    if answer.status != 206:
        await answer.aclose()
        if answer.status in (404, 412):
            raise ObjectReplaced("the object was replaced while it was being read")
        raise UpstreamError(f"a range of a stored object was answered with {answer.status}")
    try:
        data = await read_all(answer.body, length)
    except ValueError as error:
        raise UpstreamError("a range of a stored object is longer than what was asked for") from error
    if len(data) != length:
        raise UpstreamError("a range of a stored object is shorter than what was asked for")
    return data
