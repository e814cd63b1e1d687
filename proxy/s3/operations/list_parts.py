"""ListParts: the store's list, with plaintext sizes and the ETags that clients were given.

A part that the store holds but nobody was told of (the process ended in between) is left out: its upload was never
acknowledged. Of several attempts at a part that are there the one that was acknowledged last is shown.
"""

from collections import defaultdict
from typing import Any, Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.message import Response
from proxy.s3.access.accounts import canonical_id
from proxy.s3.gateway import Call, Gateway
from proxy.s3.multipart import uploads
from proxy.s3.multipart.stored_parts import StoredParts
from proxy.s3.numbers import whole_number
from proxy.s3.operation import Level, operation
from proxy.s3.state.ports import PartRecord, UploadRecord

_MAX_PARTS: Final = 1000


@operation("ListParts", "GET", Level.OBJECT, "s3:ListMultipartUploadParts", query=["uploadId"])
async def list_parts(gateway: Gateway, call: Call) -> Response:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html"""
    upload = await uploads.find_upload(gateway, call)
    max_parts = min(_number(call, "max-parts", _MAX_PARTS), _MAX_PARTS)
    marker = _number(call, "part-number-marker", 0)
    stored = StoredParts(gateway, call.target, upload.upload_id)
    attempts: dict[int, list[PartRecord]] = defaultdict(list)
    for part in await gateway.uploads.parts(upload.upload_id):
        attempts[part.number].append(part)
    rows: list[dict[str, Any]] = []
    # One more than fits says whether there are more.
    async for number, there in stored.after(marker, min(max_parts + 1, _MAX_PARTS)):
        known = [part for part in attempts[number] if part.upstream_etag in there]
        rows += [_row(there[part.upstream_etag], part) for part in known[-1:]]
        if len(rows) > max_parts:
            break
    document = xml_codec.render("ListPartsResult", _result(call, upload, rows, max_parts, marker, stored.storage_class))
    return Response(200, CIMultiDict({"Content-Type": "application/xml"}), document)


def _result(
    call: Call, upload: UploadRecord, rows: list[dict[str, Any]], max_parts: int, marker: int, storage_class: str
) -> dict[str, Any]:
    shown = rows[:max_parts]
    return {
        "Bucket": call.target.bucket,
        "Key": call.target.key,
        "UploadId": upload.upload_id,
        "PartNumberMarker": marker,
        "NextPartNumberMarker": shown[-1]["PartNumber"] if shown else marker,
        "MaxParts": max_parts,
        "IsTruncated": bool(shown) and len(rows) > max_parts,
        "Part": shown,
        "Initiator": {"ID": canonical_id(upload.account), "DisplayName": ""},
        "Owner": {"ID": canonical_id(call.record.account), "DisplayName": ""},
        "StorageClass": storage_class,
        "ChecksumAlgorithm": upload.checksum_algorithm,
        "ChecksumType": upload.checksum_type,
    }


def _row(modified: str, part: PartRecord) -> dict[str, Any]:
    return {
        "PartNumber": part.number,
        "LastModified": modified,
        "ETag": part.etag,
        "Size": part.size,
        **{f"Checksum{algorithm}": value for algorithm, value in part.checksums.items()},
    }


def _number(call: Call, name: str, default: int) -> int:
    return whole_number(call.request.parameter(name), name, default)
