"""Which kind of store is behind: asked once, with a harmless request.

A bucket that there is not tells enough: the ``Server`` header, or, where something in between hides that, what each
store has in the head of such an answer and no other has.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Final

from proxy.aws.message import Headers, Request
from proxy.s3.upstream.port import Upstream, UpstreamError

logger = logging.getLogger(__name__)

_SERVERS: Final = (("SeaweedFS", "seaweedfs"), ("MinIO", "minio"), ("AmazonS3", "aws"), ("Ceph", "ceph"))
_CEPH_REQUEST_ID = re.compile(r"tx[0-9a-f]{21,}-[0-9a-f]+-[0-9a-f]+-.*")
_PAUSE: Final = 1.0


async def detect(upstream: Upstream, random: Callable[[int], bytes]) -> str:
    """The name of the store's profile; ``s3`` for one that does not say what it is.

    Raises:
        UpstreamError: it does not answer.
    """
    answer = await upstream.send(Request("HEAD", f"/probe-{random(12).hex()}"))
    await answer.aclose()
    return _named_by(answer.headers)


async def wait_for_store(upstream: Upstream, random: Callable[[int], bytes], is_stopped: Callable[[], bool]) -> str:
    """As ``detect``, once the store answers; ``s3`` where the program is stopped before."""
    said = False
    while not is_stopped():
        try:
            return await detect(upstream, random)
        except UpstreamError as error:
            if not said:
                logger.warning("waiting for the store, to see which kind it is: %s", error)
            said = True
            await asyncio.sleep(_PAUSE)
    return "s3"


def _named_by(headers: Headers) -> str:
    server = headers.get("Server", "")
    for beginning, name in _SERVERS:
        if server.startswith(beginning):
            return name
    if any(name.lower().startswith("x-minio-") for name in headers):
        return "minio"
    if any(name.lower().startswith("seaweed-") for name in headers):
        return "seaweedfs"
    if _CEPH_REQUEST_ID.fullmatch(headers.get("x-amz-request-id", "")):
        return "ceph"
    return "s3"
