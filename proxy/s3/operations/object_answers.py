"""What GetObject and HeadObject have in common: their query, and the head of their answers."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from multidict import CIMultiDict

from proxy.aws import checksums
from proxy.aws.message import Headers, Response
from proxy.envelope import ranges
from proxy.envelope.parts import PartsTable
from proxy.envelope.v1 import Unlocked
from proxy.s3 import etag as etags
from proxy.s3 import sse
from proxy.s3.errors import not_implemented
from proxy.s3.gateway import Call, Gateway
from proxy.s3.object_headers import from_store, pick
from proxy.s3.objects import StoredObject, footer_of
from proxy.s3.state import ObjectRecord

logger = logging.getLogger(__name__)

_QUERY: Final = frozenset(
    {
        "versionId",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
    }
)


def upstream_query(call: Call) -> str:
    """The query of a read as the store has to see it.

    Raises:
        AwsError: NotImplemented, for ``partNumber``.
    """
    if call.request.parameter("partNumber") is not None:
        raise not_implemented(detail={"Query": "partNumber"})
    return "&".join(
        f"{name}={quote(value, safe='', errors='surrogateescape')}"
        for name, value in call.request.parameters
        if name in _QUERY
    )


def head_of(stored: StoredObject, headers: Headers) -> CIMultiDict[str]:
    """The head of a 200 or 206 but for its length, range and checksums."""
    found = from_store(headers)
    found["ETag"] = stored.etag
    found["Accept-Ranges"] = "bytes"
    if stored.header is not None:
        found.update(sse.response_headers(stored.header))
    return found


def not_modified(answer: Response, records: Sequence[ObjectRecord]) -> Response:
    """A 304 with the ETag that clients see."""
    headers = pick(answer.headers, ("Last-Modified", "Cache-Control", "Expires", "x-amz-version-id"))
    upstream_etag = answer.headers.get("ETag")
    if upstream_etag:
        record = next((row for row in records if row.upstream_etag == upstream_etag), None)
        headers["ETag"] = etags.to_client(upstream_etag, record)
    return Response(304, headers)


def wants_checksums(call: Call) -> bool:
    """Whether the client asked for the object's checksum."""
    return call.request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"


async def checksums_of(
    gateway: Gateway, call: Call, stored: StoredObject, unlocked: Unlocked, table: PartsTable | None
) -> dict[str, str]:
    """The header fields that tell a whole object's checksum; one more short read for an object above 1 MiB whose
    checksum came after its body.

    Raises:
        EnvelopeError: the object's footer is damaged.
        UpstreamError: it could not be read.
    """
    if table is not None:
        composite = table.checksum_type == "COMPOSITE"
        suffix = f"-{len(table.parts)}" if composite else ""
        values: Mapping[str, str] = {name: value + suffix for name, value in table.checksums.items()}
        return checksum_headers(values, table.checksum_type or "FULL_OBJECT")
    values = unlocked.digests.checksums
    if not values and ranges.footer_range(stored.size) is not None:
        footer = await footer_of(gateway, call.target, unlocked, stored.size, stored.upstream_etag, stored.version)
        values = footer.checksums
    return checksum_headers(values, "FULL_OBJECT")


def checksum_headers(values: Mapping[str, str], checksum_type: str) -> dict[str, str]:
    """``x-amz-checksum-…`` for each value, and the type; nothing where there is no value."""
    if not values:
        return {}
    found = {checksums.header_name(algorithm): value for algorithm, value in values.items()}
    return {**found, "x-amz-checksum-type": checksum_type}
