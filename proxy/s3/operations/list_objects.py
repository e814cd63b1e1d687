"""ListObjects and ListObjectsV2.

Both go up as ListObjectsV2, asked for in the url encoding, so that a key with characters that XML has no form for
survives the way. A page is continued with ``start-after``, past the last key or past all keys under the last common
prefix, and never with a marker or token of the store: with those, SeaweedFS 4.48 and MinIO repeat, skip or loop for
some delimiters, page sizes and keys, and name things of their own.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjects.html and API_ListObjectsV2.html
"""

import base64
import binascii

from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.access.accounts import canonical_id
from proxy.s3.errors import invalid_argument
from proxy.s3.forwarding import expect, upstream_request
from proxy.s3.gateway import Call, Gateway
from proxy.s3.listings import object_walk
from proxy.s3.listings.object_listing import Page, Resolve, encode_key, marker_for, put_right, read_page, render
from proxy.s3.listings.parameters import after_marker, max_keys, wants_url
from proxy.s3.operation import Level, Operation, operation


def list_objects_operations(resolve: Resolve) -> tuple[Operation, Operation]:
    """ListObjects and ListObjectsV2; ``resolve`` finds out what an object is that the listing does not explain."""

    @operation("ListObjects", "GET", Level.BUCKET, "s3:ListBucket")
    async def list_objects(gateway: Gateway, call: Call) -> Response:
        return await _list_objects(gateway, call, resolve)

    @operation("ListObjectsV2", "GET", Level.BUCKET, "s3:ListBucket", query=("list-type=2",))
    async def list_objects_v2(gateway: Gateway, call: Call) -> Response:
        return await _list_objects_v2(gateway, call, resolve)

    return list_objects, list_objects_v2


async def _list_objects(gateway: Gateway, call: Call, resolve: Resolve) -> Response:
    parameter = call.request.parameter
    url = wants_url(call.request)
    encode = encode_key if url else str
    count = max_keys(call.request)
    marker, delimiter = parameter("marker") or "", parameter("delimiter") or None
    page = await _page(gateway, call, resolve, count, after_marker(marker, parameter("prefix") or "", delimiter))
    # AWS gives it only with a delimiter: without one, the last key is known to the client.
    following = encode(page.last) if page.truncated and delimiter else None
    head = [
        ("Name", call.target.bucket),
        ("Prefix", encode(parameter("prefix") or "")),
        ("Marker", encode(marker)),
        ("NextMarker", following),
        ("MaxKeys", str(count)),
        ("Delimiter", encode(delimiter) if delimiter else None),
        ("EncodingType", "url" if url else None),
    ]
    owner = canonical_id(call.record.account)
    return _answer(call, render(head, page, url=url, owner=owner, key_count=False))


async def _list_objects_v2(gateway: Gateway, call: Call, resolve: Resolve) -> Response:
    parameter = call.request.parameter
    url = wants_url(call.request)
    encode = encode_key if url else str
    count = max_keys(call.request)
    token, start_after = parameter("continuation-token"), parameter("start-after")
    after = (start_after or "") if token is None else _decode_token(token)
    page = await _page(gateway, call, resolve, count, after)
    delimiter = parameter("delimiter") or None
    head = [
        ("Name", call.target.bucket),
        ("Prefix", encode(parameter("prefix") or "")),
        ("StartAfter", encode(start_after) if start_after else None),
        ("ContinuationToken", token),
        ("NextContinuationToken", _encode_token(page.resume) if page.truncated else None),
        ("MaxKeys", str(count)),
        ("Delimiter", encode(delimiter) if delimiter else None),
        ("EncodingType", "url" if url else None),
    ]
    owner = canonical_id(call.record.account) if parameter("fetch-owner") == "true" else None
    return _answer(call, render(head, page, url=url, owner=owner, key_count=True))


async def _page(gateway: Gateway, call: Call, resolve: Resolve, count: int, after: str) -> Page:
    """The page of at most ``count`` keys and prefixes after ``after``, as the client sees it."""
    if count == 0:
        return Page((), (), truncated=False)
    if gateway.settings.store.lists_by_folder:
        prefix, delimiter = call.request.parameter("prefix") or "", call.request.parameter("delimiter") or ""
        page = await object_walk.fetch(gateway, call.target, prefix, delimiter, after, count)
        return await put_right(gateway, call.record, page, resolve)
    query = {"list-type": "2", "encoding-type": "url", "max-keys": str(count)}
    if beginning := marker_for(gateway, call.request.parameter("prefix") or "", after):
        query["start-after"] = beginning
    request = upstream_request("GET", call.target, call.request, query=query, query_names=("prefix", "delimiter"))
    answer = await gateway.upstream.send(request)
    page = read_page(await expect(answer, call.target, 200))
    return await put_right(gateway, call.record, page, resolve)


def _answer(call: Call, document: bytes) -> Response:
    headers = CIMultiDict({"Content-Type": "application/xml", "x-amz-bucket-region": call.record.region})
    return Response(200, headers, document)


def _encode_token(after: str) -> str:
    return base64.urlsafe_b64encode(b"1" + after.encode("utf-8", "surrogateescape")).decode()


def _decode_token(token: str) -> str:
    try:
        decoded = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise _bad_token(token) from None
    if decoded[:1] != b"1" or len(decoded) < 2:
        raise _bad_token(token)
    return decoded[1:].decode("utf-8", "surrogateescape")


def _bad_token(token: str) -> AwsError:
    return invalid_argument("The continuation token provided is incorrect", "continuation-token", token)
