"""HeadObject. It needs the key service for a checksum only: an object whose key is disabled still has a head. An object
under SSE-C shows its head to nobody who has not its key."""

from collections.abc import Sequence

from multidict import CIMultiDict

from proxy.aws.message import Request, Response
from proxy.s3.encryption import customer_keys, sse
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.errors import not_implemented
from proxy.s3.forwarding import store_error, stored_length
from proxy.s3.gateway import Call, Gateway
from proxy.s3.listings.delete_markers import named_marker
from proxy.s3.objects import preconditions
from proxy.s3.objects.byte_range import Wanted, WantedPart
from proxy.s3.objects.headers import from_store, pick
from proxy.s3.objects.records import check_version, records_of
from proxy.s3.objects.store_reads import of_one_object
from proxy.s3.objects.stored import StoredObject, describe, unlock_whole
from proxy.s3.operation import Level, operation
from proxy.s3.operations.object_answers import (
    check_key_first,
    checksums_of,
    extent_headers,
    extent_of,
    head_of,
    not_modified,
    upstream_query,
    wanted_of,
    wants_checksums,
)
from proxy.s3.state.ports import ObjectRecord
from proxy.s3.upstream.port import Upstream


async def read_head(gateway: Gateway, call: Call) -> Response:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html"""
    sse.refuse_choice(call.request.headers)
    wanted = wanted_of(call)
    customer_key = customer_keys.parse(call.request, gateway.settings)
    return await of_one_object(lambda: _answer(gateway, call, wanted, customer_key))


head_object = operation("HeadObject", "HEAD", Level.OBJECT, "s3:GetObject")(read_head)
head_object_version = operation("HeadObject", "HEAD", Level.OBJECT, "s3:GetObjectVersion", query=("versionId",))(
    read_head
)


async def _answer(gateway: Gateway, call: Call, wanted: Wanted | None, customer_key: CustomerKey | None) -> Response:
    records = await records_of(gateway, call.target)
    conditions = await preconditions.for_read(gateway, call, records)
    answer = await _head(gateway.upstream, call, upstream_query(call), conditions)
    if answer.status == 304:
        unchanged = not_modified(call, answer, records)
        await check_key_first(gateway, call, customer_key, unchanged.headers.get("ETag"))
        return unchanged
    if answer.status == 412:
        await check_key_first(gateway, call, customer_key)
    stored = await _described(gateway, call, answer, records)
    customer_keys.check(stored.header, customer_key, call.target.arn)
    if stored.header is not None:
        sse.require_signature(call.caller, stored.header.mode)
    headers = head_of(stored, answer.headers, customer_key)
    status, extent = 200, {"Content-Length": str(stored.size)}
    if isinstance(wanted, WantedPart) and stored.is_plain_multipart:
        return await _plain_part(gateway, call, wanted, conditions)
    if wanted is not None:
        status, extent = extent_headers(stored, wanted, *extent_of(stored, wanted))
    headers.update(extent)
    if wants_checksums(call, wanted) and stored.header is not None:
        unlocked, table = await unlock_whole(gateway, call.origin, call.target, stored, stored.header, customer_key)
        headers.update(await checksums_of(gateway, call, stored, unlocked, table, wanted))
    return Response(status, headers)


async def _plain_part(gateway: Gateway, call: Call, wanted: WantedPart, conditions: CIMultiDict[str]) -> Response:
    """The head of a part of a plaintext object, which the store alone knows the parts of."""
    query = "&".join(item for item in (upstream_query(call), f"partNumber={wanted.number}") if item)
    answer = await _head(gateway.upstream, call, query, conditions)
    if answer.status >= 400:
        raise await store_error(answer, call)
    if answer.status != 206:
        raise not_implemented(detail={"Query": "partNumber"})
    headers = from_store(answer.headers)
    headers.update(pick(answer.headers, ("ETag", "Content-Length", "Content-Range")))
    return Response(206, headers)


async def look_up(gateway: Gateway, call: Call, query: str, records: Sequence[ObjectRecord]) -> StoredObject:
    """The object that is in the store now, for a reader that holds another answer.

    Raises:
        AwsError: the store's refusal, such as NoSuchKey.
    """
    answer = await _head(gateway.short_reads, call, query, CIMultiDict())
    return await _described(gateway, call, answer, records)


async def _head(store: Upstream, call: Call, query: str, conditions: CIMultiDict[str]) -> Response:
    answer = await store.send(Request("HEAD", call.target.path, query, conditions))
    await answer.aclose()
    return answer


async def _described(gateway: Gateway, call: Call, answer: Response, records: Sequence[ObjectRecord]) -> StoredObject:
    if answer.status != 200:
        raise await named_marker(gateway, call, await store_error(answer, call))
    check_version(call, answer.headers)
    named = call.request.parameter("versionId") is not None
    size = stored_length(answer)
    return await describe(gateway, call.record, call.target.key, answer.headers, size, records, named=named)
