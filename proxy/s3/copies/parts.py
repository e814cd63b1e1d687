"""The parts of a multipart object, copied within the store into a new upload, and what copies have in common."""

import asyncio
from typing import Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Request
from proxy.aws.xml_codec import Node, XmlError
from proxy.envelope.parts import PartsTable
from proxy.envelope.ranges import part_stored_size
from proxy.s3.copies.copy_source import COPY_SOURCE, RANGE, Source
from proxy.s3.forwarding import error_of, etag_of, expect, render_query
from proxy.s3.gateway import Gateway, Target
from proxy.s3.objects.store_reads import ObjectReplaced
from proxy.s3.upstream.port import UpstreamError

_PARTS_AT_ONCE: Final = 8
_SLOWEST: Final = 4 * 1024**2
"""Bytes per second that a store copies at least, when it works at all."""
_IF_MATCH: Final = f"{COPY_SOURCE}-if-match"


def unchanged(source: Source) -> CIMultiDict[str]:
    """The condition under which an object is replaced by itself: that it is there still."""
    return CIMultiDict({"If-Match": source.stored.upstream_etag})


def patience_for(size: int) -> float:
    """Seconds that a store may take to copy so many bytes before it says anything."""
    return size / _SLOWEST


def source_headers(source: Source) -> dict[str, str]:
    return {COPY_SOURCE: source.upstream_value, _IF_MATCH: source.stored.upstream_etag}


async def copy_all_parts(
    gateway: Gateway, target: Target, source: Source, table: PartsTable, upload_id: str
) -> list[dict[str, object]]:
    """The parts' numbers and ETags in the new upload."""
    rows: list[dict[str, object]] = []
    offset, count = 0, len(table.parts)
    # What is replaced by itself is to keep its ETag.
    copies = gateway.settings.store.part_copies_keep_etags or source.call.target != target
    one = _copy_part if copies else _put_part_again
    for start in range(0, count, _PARTS_AT_ONCE):
        under_way = []
        for part in table.parts[start : start + _PARTS_AT_ONCE]:
            end = offset + part_stored_size(part.size)
            under_way.append(one(gateway, target, source, upload_id, part.number, (offset, end - 1)))
            offset = end
        # All of them end before a failure is told: none may come after the upload has been given up.
        outcomes = await asyncio.gather(*under_way, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            rows.append(outcome)
    return rows


async def _copy_part(
    gateway: Gateway, target: Target, source: Source, upload_id: str, number: int, extent: tuple[int, int]
) -> dict[str, object]:
    headers = CIMultiDict(source_headers(source))
    headers[RANGE] = f"bytes={extent[0]}-{extent[1]}"
    query = render_query([("partNumber", str(number)), ("uploadId", upload_id)])
    patience = patience_for(extent[1] - extent[0])
    answer = await gateway.upstream.send(Request("PUT", target.path, query, headers, patience=patience))
    try:
        result = result_of(await expect(answer, target, 200), "CopyPartResult", target)
    except AwsError as error:
        if error.status == 412 or error.code in ("NoSuchKey", "NoSuchVersion"):
            raise ObjectReplaced("the source of a copy was replaced meanwhile") from error
        raise
    return {"PartNumber": number, "ETag": etag_in(result)}


async def _put_part_again(
    gateway: Gateway, target: Target, source: Source, upload_id: str, number: int, extent: tuple[int, int]
) -> dict[str, object]:
    conditions = unchanged(source)
    conditions["Range"] = f"bytes={extent[0]}-{extent[1]}"
    answer = await gateway.upstream.send(Request("GET", target.path, source.stored.version, conditions))
    if answer.status in (404, 412):
        await answer.aclose()
        raise ObjectReplaced("the source of a copy was replaced meanwhile")
    if answer.status != 206:
        await answer.aclose()
        raise UpstreamError(f"a part of a stored object was answered with {answer.status}")
    query = render_query([("partNumber", str(number)), ("uploadId", upload_id)])
    sent = CIMultiDict({"Content-Length": str(extent[1] - extent[0] + 1)})
    written = await gateway.short_reads.send(Request("PUT", target.path, query, sent, answer.body))
    await expect(written, target, 200)
    return {"PartNumber": number, "ETag": etag_of(written.headers)}


def result_of(body: bytes, root: str, target: Target) -> Node:
    """The content of the store's answer to a copy.

    Raises:
        AwsError: the document tells an error: a 200 may have been sent before the store knew of it.
    """
    try:
        return xml_codec.parse(body.lstrip(), root)
    except XmlError:
        raise error_of(500, body.lstrip(), target) from None


def etag_in(result: Node) -> str:
    etag = (text_in(result, "ETag") or "").strip('"')
    if not etag:
        raise UpstreamError("the store tells no ETag")
    return f'"{etag}"'


def text_in(result: Node, name: str) -> str | None:
    found = result.get(name)
    return found if isinstance(found, str) else None
