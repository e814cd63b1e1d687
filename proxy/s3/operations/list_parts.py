"""ListParts: the store's list, with plaintext sizes and the ETags that clients were given.

A part that the store holds but nobody was told of (the process ended in between) is left out: its upload was never
acknowledged.
"""

from collections.abc import Mapping
from typing import Any, Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.message import Request, Response
from proxy.s3 import multipart
from proxy.s3.accounts import canonical_id
from proxy.s3.forwarding import expect, parse_answer, render_query
from proxy.s3.gateway import Call, Gateway
from proxy.s3.numbers import whole_number
from proxy.s3.operation import Level, operation
from proxy.s3.state import PartRecord, UploadRecord
from proxy.s3.upstream import UpstreamError

_MAX_PARTS: Final = 1000


@operation("ListParts", "GET", Level.OBJECT, "s3:ListMultipartUploadParts", query=["uploadId"])
async def list_parts(gateway: Gateway, call: Call) -> Response:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html"""
    upload = await multipart.find_upload(gateway, call)
    max_parts = min(_number(call, "max-parts", _MAX_PARTS), _MAX_PARTS)
    marker = _number(call, "part-number-marker", 0)
    query = render_query(
        [("max-parts", str(max_parts)), ("part-number-marker", str(marker)), ("uploadId", upload.upload_id)]
    )
    answer = await gateway.upstream.send(Request("GET", call.target.path, query))
    listed = parse_answer(await expect(answer, call.target, 200), "ListPartsResult", lists=["Part"])
    known = {
        (part.number, part.upstream_etag.strip('"')): part for part in await gateway.uploads.parts(upload.upload_id)
    }
    try:
        rows = [
            _row(row, part)
            for row in listed.get("Part", [])
            if (part := known.get((int(row["PartNumber"]), row["ETag"].strip('"')))) is not None
        ]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UpstreamError("the store's list of parts can't be read") from error
    document = xml_codec.render("ListPartsResult", _result(call, upload, listed, rows, max_parts, marker))
    return Response(200, CIMultiDict({"Content-Type": "application/xml"}), document)


def _result(
    call: Call,
    upload: UploadRecord,
    listed: Mapping[str, Any],
    rows: list[dict[str, Any]],
    max_parts: int,
    marker: int,
) -> dict[str, Any]:
    truncated = listed.get("IsTruncated") == "true"
    return {
        "Bucket": call.target.bucket,
        "Key": call.target.key,
        "UploadId": upload.upload_id,
        "PartNumberMarker": marker,
        "NextPartNumberMarker": listed.get("NextPartNumberMarker")
        if truncated
        else (rows[-1]["PartNumber"] if rows else 0),
        "MaxParts": max_parts,
        "IsTruncated": truncated,
        "Part": rows,
        "Initiator": {"ID": canonical_id(upload.account), "DisplayName": ""},
        "Owner": {"ID": canonical_id(call.record.account), "DisplayName": ""},
        "StorageClass": listed.get("StorageClass") or "STANDARD",
        "ChecksumAlgorithm": upload.checksum_algorithm,
        "ChecksumType": upload.checksum_type,
    }


def _row(row: Mapping[str, Any], part: PartRecord) -> dict[str, Any]:
    return {
        "PartNumber": part.number,
        "LastModified": row["LastModified"],
        "ETag": part.etag,
        "Size": part.size,
        **{f"Checksum{algorithm}": value for algorithm, value in part.checksums.items()},
    }


def _number(call: Call, name: str, default: int) -> int:
    return whole_number(call.request.parameter(name), name, default)
