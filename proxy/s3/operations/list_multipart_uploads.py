"""ListMultipartUploads: the uploads that were begun through the proxy and that the store still has.

They come from the gateway's state. Stores list them by rules of their own (MinIO wants the whole key for a prefix), and
one that is not on record could not go on: its data key is not known. Whether an upload is still there the store is
asked for each: it may have been ended by a rule of the store's.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.message import Request, Response
from proxy.s3.access.accounts import canonical_id
from proxy.s3.errors import invalid_argument
from proxy.s3.forwarding import parse_answer, read_answer, render_query
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.listings.object_listing import encode_key, past_prefix
from proxy.s3.numbers import whole_number
from proxy.s3.operation import Level, operation
from proxy.s3.state.ports import UploadRecord

_MOST_UPLOADS: Final = 1000
_ASKED_AT_ONCE: Final = 16
_BATCH: Final = 100
"""Uploads that are looked at together; many of them may be under one common prefix."""
_FORGOTTEN_AFTER: Final = timedelta(days=7)
"""How long a record outlives its upload in the store: a completion whose answer was lost may be asked for again."""


@dataclass(frozen=True)
class _Marker:
    """What a page starts after: an upload, or all uploads of a key."""

    key: str = ""
    upload_id: str | None = None


@dataclass(frozen=True)
class _Item:
    """An upload, or what many have in common; and what a page that ends with it goes on after."""

    marker: _Marker
    shown: _Marker
    """The same in the client's words: the key may be a common prefix."""
    upload: UploadRecord | None = None
    storage_class: str = "STANDARD"


@operation("ListMultipartUploads", "GET", Level.BUCKET, "s3:ListBucketMultipartUploads", query=["uploads"])
async def list_multipart_uploads(gateway: Gateway, call: Call) -> Response:
    parameter = call.request.parameter
    limit = min(whole_number(parameter("max-uploads"), "max-uploads", _MOST_UPLOADS), _MOST_UPLOADS)
    if (parameter("encoding-type") or "url") != "url":
        message = "Invalid Encoding Method specified in Request"
        raise invalid_argument(message, "encoding-type", parameter("encoding-type") or "")
    key = parameter("key-marker") or ""
    asked = _Marker(key, (parameter("upload-id-marker") or None) if key else None)
    items = await _items(gateway, call, asked, limit + 1) if limit else []
    document = xml_codec.render("ListMultipartUploadsResult", _result(call, asked, items, limit))
    return Response(200, CIMultiDict({"Content-Type": "application/xml"}), document)


async def _items(gateway: Gateway, call: Call, asked: _Marker, count: int) -> list[_Item]:
    """The first ``count`` uploads and common prefixes after the marker."""
    prefix, delimiter = call.request.parameter("prefix") or "", call.request.parameter("delimiter") or ""
    marker = asked
    common = _common_prefix(asked.key, prefix, delimiter)
    if common and common == asked.key and asked.upload_id is None:
        # NextKeyMarker may be a common prefix; all uploads under it have been told of.
        marker = _Marker(past_prefix(common))
    found: list[_Item] = []
    while len(found) < count:
        batch = min(count - len(found), _BATCH)
        rows = await gateway.uploads.under_way(
            call.target.bucket, prefix, after_key=marker.key, after_upload=marker.upload_id, limit=batch
        )
        classes = await _storage_classes(gateway, rows)
        for upload, storage_class in zip(rows, classes, strict=True):
            if marker.key > upload.key:
                continue
            marker = _Marker(upload.key, upload.upload_id)
            if storage_class is None:
                continue
            common = _common_prefix(upload.key, prefix, delimiter)
            if common:
                marker = _Marker(past_prefix(common))
                found.append(_Item(marker, _Marker(common)))
            else:
                found.append(_Item(marker, marker, upload, storage_class))
        if len(rows) < batch:
            break
    return found


def _common_prefix(key: str, prefix: str, delimiter: str) -> str:
    """What a key has in common with others, up to the delimiter after the prefix; empty where there is none."""
    if not delimiter or not key.startswith(prefix):
        return ""
    head, found, _ = key[len(prefix) :].partition(delimiter)
    return f"{prefix}{head}{found}" if found else ""


async def _storage_classes(gateway: Gateway, uploads: Sequence[UploadRecord]) -> list[str | None]:
    """The storage class of each upload; None for one that the store has no more."""
    limit = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def ask(upload: UploadRecord) -> str | None:
        query = render_query([("max-parts", "1"), ("uploadId", upload.upload_id)])
        async with limit:
            answer = await gateway.upstream.send(Request("GET", Target(upload.bucket, upload.key).path, query))
            body = await read_answer(answer)
        if answer.status == 404:
            if gateway.clock() - upload.created > _FORGOTTEN_AFTER:
                await gateway.uploads.remove(upload.upload_id)
            return None
        if answer.status != 200:
            return "STANDARD"
        found = parse_answer(body, "ListPartsResult").get("StorageClass")
        return found if isinstance(found, str) else "STANDARD"

    return list(await asyncio.gather(*map(ask, uploads)))


def _result(call: Call, asked: _Marker, items: Sequence[_Item], limit: int) -> dict[str, Any]:
    parameter = call.request.parameter
    encode = encode_key if parameter("encoding-type") else str
    shown = items[:limit]
    last = shown[-1].shown if shown else _Marker()
    delimiter = parameter("delimiter")
    return {
        "Bucket": call.target.bucket,
        "KeyMarker": encode(asked.key),
        "UploadIdMarker": asked.upload_id or "",
        "NextKeyMarker": encode(last.key),
        "NextUploadIdMarker": last.upload_id or "",
        "Prefix": encode(parameter("prefix") or ""),
        "Delimiter": encode(delimiter) if delimiter else None,
        "EncodingType": "url" if parameter("encoding-type") else None,
        "MaxUploads": limit,
        "IsTruncated": len(items) > limit,
        "Upload": [
            {
                "Key": encode(item.upload.key),
                "UploadId": item.upload.upload_id,
                "Initiator": {"ID": canonical_id(item.upload.account), "DisplayName": ""},
                "Owner": {"ID": canonical_id(call.record.account), "DisplayName": ""},
                "StorageClass": item.storage_class,
                "Initiated": item.upload.created.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                "ChecksumAlgorithm": item.upload.checksum_algorithm,
                "ChecksumType": item.upload.checksum_type,
            }
            for item in shown
            if item.upload is not None
        ],
        "CommonPrefixes": [{"Prefix": encode(item.shown.key)} for item in shown if item.upload is None],
    }
