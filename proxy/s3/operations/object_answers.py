"""What GetObject and HeadObject have in common: their query, and the head of their answers."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from multidict import CIMultiDict

from proxy.aws import checksums
from proxy.aws.message import Headers, Request, Response
from proxy.envelope import header as envelope_header
from proxy.envelope import ranges
from proxy.envelope.parts import PartsTable
from proxy.envelope.v1 import Unlocked
from proxy.s3.encryption import customer_keys, sse
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.errors import invalid_argument, invalid_request, no_such_key
from proxy.s3.forwarding import store_error
from proxy.s3.gateway import Call, Gateway
from proxy.s3.listings.delete_markers import named_marker
from proxy.s3.multipart.uploads import COMPOSITE, FULL_OBJECT, part_number
from proxy.s3.objects import byte_range
from proxy.s3.objects import etag as etags
from proxy.s3.objects.byte_range import ByteRange, Wanted, WantedPart
from proxy.s3.objects.headers import from_store, pick
from proxy.s3.objects.stored import StoredObject, footer_of
from proxy.s3.state.ports import ObjectRecord

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
        AwsError: InvalidRequest: whoever has not signed may not say what headers the answer has. InvalidArgument for
            an empty version id, which stores take for none.
    """
    if call.request.parameter("versionId") == "":
        raise invalid_argument("Version id cannot be the empty string", "versionId", "")
    if call.caller.anonymous and any(name.startswith("response-") for name, _ in call.request.parameters):
        raise invalid_request("Request specific response headers cannot be used for anonymous GET requests.")
    return "&".join(
        f"{name}={quote(value, safe='', errors='surrogateescape')}"
        for name, value in call.request.parameters
        if name in _QUERY
    )


def wanted_of(call: Call) -> Wanted | None:
    """The range or the part that the client asks for; None: the whole object.

    Raises:
        AwsError: InvalidRequest, if it asks for both; InvalidArgument for what is not the number of a part.
    """
    asked = call.request.headers.get("Range")
    if call.request.parameter("partNumber") is None:
        return byte_range.parse(asked)
    if asked is not None:
        raise invalid_request("Cannot specify both Range header and partNumber query parameter")
    return WantedPart(part_number(call))


def extent_of(stored: StoredObject, wanted: Wanted) -> tuple[int, int]:
    """The first and last byte (inclusive) of what is wanted of an object.

    Raises:
        AwsError: InvalidRange, InvalidPartNumber.
    """
    if isinstance(wanted, WantedPart):
        return wanted.resolve(stored.sizes or (stored.size,))
    return wanted.resolve(stored.size)


def extent_headers(stored: StoredObject, wanted: Wanted, first: int, last: int) -> tuple[int, dict[str, str]]:
    """The status and the header fields of an answer that holds these bytes. A part without any has no range, and 200,
    as on AWS."""
    found = {"Content-Length": str(last - first + 1)}
    if isinstance(wanted, WantedPart) and stored.multipart:
        found["x-amz-mp-parts-count"] = str(len(stored.sizes))
    if last < first:
        return 200, found
    return 206, {**found, "Content-Range": f"bytes {first}-{last}/{stored.size}"}


def head_of(stored: StoredObject, headers: Headers, customer_key: CustomerKey | None = None) -> CIMultiDict[str]:
    """The head of a 200 or 206 but for its length, range and checksums; ``customer_key`` came with the request."""
    found = from_store(headers)
    found["ETag"] = stored.etag
    found["Accept-Ranges"] = "bytes"
    if stored.header is not None:
        found.update(sse.response_headers(stored.header, customer_key))
    return found


def not_modified(call: Call, answer: Response, records: Sequence[ObjectRecord]) -> Response:
    """A 304 with the ETag that clients see; without one for an object that may be plaintext and is not on record.

    Raises:
        AwsError: NoSuchKey. SeaweedFS answers for a folder, which is no object, with 304 and an empty ETag.
    """
    headers = pick(answer.headers, ("Last-Modified", "Cache-Control", "Expires", "x-amz-version-id"))
    upstream_etag = answer.headers.get("ETag")
    if upstream_etag == '""':
        raise no_such_key(call.target.key)
    if upstream_etag:
        record = next((row for row in records if row.upstream_etag == upstream_etag), None)
        if record is not None:
            headers["ETag"] = etags.to_client(upstream_etag, record)
        elif call.target.key.endswith("/") and upstream_etag == etags.EMPTY:
            headers["ETag"] = upstream_etag
        elif not call.record.mixed:
            headers["ETag"] = etags.to_client(upstream_etag)
    return Response(304, headers)


async def check_key_first(
    gateway: Gateway, call: Call, customer_key: CustomerKey | None, shown: str | None = None
) -> None:
    """Holds the customer's key against the object before it is said of it that a condition does not hold, which the
    store has decided without the key. ``shown``: the ETag that a 304 is about to show.

    AWS documents no order; MinIO, too, looks whether there is a key first, and LocalStack whether it is the right one.
    A client that asks again and again whether an object has changed does not pay for it where there hardly is SSE-C:
    one that brings no key learns from 304 what it knows, that this is the ETag.

    Raises:
        AwsError: as ``customer_keys.check``; the store's refusal, such as NoSuchKey.
    """
    worth_asking = shown is None or (etags.may_need_key(shown) and not call.record.encryption.blocks_customer_keys)
    if customer_key is None and not worth_asking:
        return
    answer = await gateway.upstream.send(Request("HEAD", call.target.path, upstream_query(call)))
    await answer.aclose()
    if answer.status != 200:
        raise await named_marker(gateway, call, await store_error(answer, call))
    customer_keys.check(envelope_header.decode(answer.headers), customer_key, call.target.arn)


def wants_checksums(call: Call, wanted: Wanted | None) -> bool:
    """Whether the client asked for the object's checksum, and not for a range, which has none."""
    if isinstance(wanted, ByteRange):
        return False
    return call.request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"


async def checksums_of(
    gateway: Gateway,
    call: Call,
    stored: StoredObject,
    unlocked: Unlocked,
    table: PartsTable | None,
    wanted: Wanted | None = None,
) -> dict[str, str]:
    """The header fields that tell a whole object's checksum; one more short read for an object above 1 MiB whose
    checksum came after its body.

    Of a part, ``wanted``, AWS tells the checksum where that of the object is composed of those of the parts.

    Raises:
        EnvelopeError: the object's footer is damaged.
        UpstreamError: it could not be read.
    """
    if isinstance(wanted, WantedPart) and table is not None and len(table.parts) > 1:
        of_part = table.parts[wanted.index(len(table.parts))].checksums
        return checksum_headers(of_part, COMPOSITE) if table.checksum_type == COMPOSITE else {}
    if table is not None:
        suffix = f"-{len(table.parts)}" if table.checksum_type == COMPOSITE else ""
        values: Mapping[str, str] = {name: value + suffix for name, value in table.checksums.items()}
        return checksum_headers(values, table.checksum_type or FULL_OBJECT)
    values = unlocked.digests.checksums
    if not values and ranges.footer_range(stored.size) is not None:
        footer = await footer_of(gateway, call.target, unlocked, stored.size, stored.upstream_etag, stored.version)
        values = footer.checksums
    return checksum_headers(values, FULL_OBJECT)


def checksum_headers(values: Mapping[str, str], checksum_type: str) -> dict[str, str]:
    """``x-amz-checksum-…`` for each value, and the type; nothing where there is no value."""
    if not values:
        return {}
    found = {checksums.header_name(algorithm): value for algorithm, value in values.items()}
    return {**found, "x-amz-checksum-type": checksum_type}
