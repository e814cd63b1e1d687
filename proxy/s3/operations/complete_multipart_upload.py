"""CompleteMultipartUpload: the parts that the client names are checked against what was acknowledged, the table of
parts is put on record, and the store is asked to make the object."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

from multidict import CIMultiDict

from proxy.aws import checksums, xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request, Response
from proxy.aws.xml_codec import XmlError
from proxy.envelope import header as envelope_header
from proxy.envelope import parts as envelope_parts
from proxy.envelope.parts import Part, PartsTable
from proxy.s3 import customer_keys, multipart, part_walk, preconditions, sse
from proxy.s3.documents import read_document
from proxy.s3.errors import invalid_request, malformed_xml, no_such_upload
from proxy.s3.forwarding import content_md5, error_of, etag_of, expect, stored_length
from proxy.s3.gateway import Call, Gateway
from proxy.s3.object_records import drop_refused, drop_removed, records_of, version_id_of
from proxy.s3.objects import version_query
from proxy.s3.operation import Level, operation
from proxy.s3.state import ObjectRecord, PartRecord, UploadRecord

MIN_PART: Final = 5 * 1024 * 1024
"""Plaintext bytes of every part but the last."""

_MAX_DOCUMENT: Final = 8 * 1024 * 1024
_MAX_ELEMENTS: Final = 100_000


@operation("CompleteMultipartUpload", "POST", Level.OBJECT, "s3:PutObject", query=["uploadId"])
async def complete_multipart_upload(gateway: Gateway, call: Call) -> Response:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html"""
    target = call.target
    upload = await multipart.find_upload(gateway, call)
    named = _named_parts(await read_document(gateway, call, _MAX_DOCUMENT, checksum_of_body=False))
    chosen = _chosen(upload, named, await gateway.uploads.parts(upload.upload_id))
    _check_sizes(call, chosen)
    whole = multipart.whole_checksum(
        upload.checksum_algorithm, upload.checksum_type, [(part.checksums, part.size) for part in chosen]
    )
    shown = _shown_checksum(upload, whole, len(chosen))
    _check_declared(call, shown)
    records = await records_of(gateway, target)
    conditions = await preconditions.for_write(gateway, call, records)
    customer_key = customer_keys.parse_for_write(call, gateway.settings)
    unlocked, data_key = await multipart.unlock(gateway, call, upload, customer_key)
    checksum_type = upload.checksum_type or multipart.FULL_OBJECT
    table = PartsTable(
        unlocked.header.object_id,
        [Part(part.number, part.size, part.salt, part.checksums) for part in chosen],
        whole,
        checksum_type,
    )
    encoded = envelope_parts.encode(table, unlocked.header, data_key)
    now = gateway.clock()
    record = ObjectRecord(target.bucket, target.key, table.object_id, None, table.total, None, encoded, now)
    answered, version_id = await _on_record(gateway, call, record, records, chosen, conditions)
    await gateway.uploads.remove(upload.upload_id)
    found = CIMultiDict(sse.response_headers(unlocked.header))
    found["Content-Type"] = "application/xml"
    if version_id is not None:
        found["x-amz-version-id"] = version_id
    members = {
        "Location": _location(call),
        "Bucket": target.bucket,
        "Key": target.key,
        "ETag": answered,
        **{f"Checksum{algorithm}": value for algorithm, value in shown.items()},
        "ChecksumType": checksum_type if shown else None,
    }
    return Response(200, found, xml_codec.render("CompleteMultipartUploadResult", members))


async def _on_record(
    gateway: Gateway,
    call: Call,
    record: ObjectRecord,
    records: Sequence[ObjectRecord],
    chosen: Sequence[PartRecord],
    conditions: Mapping[str, str],
) -> tuple[str, str | None]:
    """Has the store make the object with its table of parts on record from before it can be seen. ``records`` are
    those that the key had."""
    previous = next((row for row in records if row.object_id == record.object_id), None)
    if previous is not None and previous.parts != record.parts and previous.upstream_etag is not None:
        # An earlier request has made the object of other parts, and the upload is no more.
        raise no_such_upload(multipart.upload_id(call))
    if previous is None or previous.parts != record.parts:
        await gateway.objects.put(record)
    try:
        answer, etag = await _complete(gateway, call, record.object_id, chosen, conditions)
    except AwsError as error:
        if previous is None:
            await drop_refused(gateway, record, error)
        elif previous.parts != record.parts:
            # The object may have been made by an earlier request for other parts: then that table is the right one.
            await gateway.objects.put(previous)
        raise
    version_id = version_id_of(answer)
    await gateway.objects.put(replace(record, upstream_etag=etag, etag=etag, version_id=version_id))
    await drop_removed(gateway, [row for row in records if row.object_id != record.object_id], answer)
    return etag, answer.get("x-amz-version-id")


async def _complete(
    gateway: Gateway, call: Call, object_id: bytes, chosen: Sequence[PartRecord], conditions: Mapping[str, str]
) -> tuple[Headers, str]:
    """Has the store make the object; the head of its answer, and the object's ETag there."""
    rows = [{"PartNumber": part.number, "ETag": part.upstream_etag} for part in chosen]
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    headers = CIMultiDict(conditions)
    headers["Content-Type"] = "application/xml"
    headers["Content-MD5"] = content_md5(document)
    request = Request("POST", call.target.path, multipart.upload_query(call), headers, document)
    answer = await gateway.upstream.send(request)
    try:
        body = await expect(answer, call.target, 200)
    except AwsError as error:
        if error.code == "NoSuchUpload":
            return await _completed_before(gateway, call, object_id, chosen, error)
        raise await preconditions.write_error(gateway, call, error) from None
    try:
        found = xml_codec.parse(body, "CompleteMultipartUploadResult").get("ETag")
    except XmlError:
        # S3 may have sent a 200 before it knew of the error that the document then tells.
        raise error_of(500, body, call.target) from None
    if not isinstance(found, str):
        raise error_of(500, b"", call.target)
    etag = found.strip('"')
    return answer.headers, f'"{etag}"'


async def _completed_before(
    gateway: Gateway, call: Call, object_id: bytes, chosen: Sequence[PartRecord], error: AwsError
) -> tuple[Headers, str]:
    """The object, if the store made it of the same parts at an earlier request, whose answer was lost or is still to
    come: completing is idempotent. Two requests at once may have named different parts, so the object itself is
    asked what it is made of."""
    answer = await gateway.upstream.send(Request("HEAD", call.target.path))
    await answer.aclose()
    header = envelope_header.decode(answer.headers) if answer.status == 200 else None
    if header is None or header.object_id != object_id:
        raise error
    etag = etag_of(answer.headers)
    version = version_query(answer.headers.get("x-amz-version-id"))
    made_of = await part_walk.walk(gateway, call.target, etag, stored_length(answer), version)
    if [(part.number, part.size, part.salt) for part in made_of] != [
        (part.number, part.size, part.salt) for part in chosen
    ]:
        raise error
    return answer.headers, etag


def _named_parts(document: bytes) -> list[Mapping[str, Any]]:
    """The rows of the client's document: number, ETag (without quotes) and checksums by member name."""
    try:
        rows = xml_codec.parse(document, "CompleteMultipartUpload", lists=["Part"], max_elements=_MAX_ELEMENTS).get(
            "Part", []
        )
        return [{**row, "PartNumber": int(row["PartNumber"]), "ETag": row["ETag"].strip().strip('"')} for row in rows]
    except (XmlError, KeyError, TypeError, ValueError, AttributeError):
        raise malformed_xml() from None


def _chosen(upload: UploadRecord, named: Sequence[Mapping[str, Any]], known: Sequence[PartRecord]) -> list[PartRecord]:
    """The acknowledged parts that the client names.

    Raises:
        AwsError: MalformedXML, InvalidPartOrder, InvalidPart, InvalidRequest.
    """
    if not 0 < len(named) <= multipart.MAX_PART_NUMBER:
        raise malformed_xml()
    numbers = [row["PartNumber"] for row in named]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        message = (
            "The list of parts was not in ascending order. The parts list must be specified in order by part number."
        )
        raise AwsError("InvalidPartOrder", message, 400)
    by_etag = {(part.number, part.etag.strip('"')): part for part in known}
    found: list[PartRecord] = []
    for row in named:
        part = by_etag.get((row["PartNumber"], row["ETag"]))
        if part is None or not _same_checksums(row, part):
            raise _invalid_part(row)
        _require_checksum(upload, row)
        found.append(part)
    return found


def _invalid_part(row: Mapping[str, Any]) -> AwsError:
    message = (
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified "
        "entity tag may not match the part's entity tag."
    )
    return AwsError("InvalidPart", message, 400, detail={"PartNumber": str(row["PartNumber"]), "ETag": row["ETag"]})


def _same_checksums(row: Mapping[str, Any], part: PartRecord) -> bool:
    return all(
        row.get(f"Checksum{algorithm}") in (None, part.checksums.get(algorithm)) for algorithm in checksums.ALGORITHMS
    )


def _require_checksum(upload: UploadRecord, row: Mapping[str, Any]) -> None:
    algorithm = upload.checksum_algorithm
    if algorithm is None or upload.checksum_type != multipart.COMPOSITE or f"Checksum{algorithm}" in row:
        return
    raise invalid_request(
        f"The upload was created using a {algorithm.lower()} checksum. The complete request must include the checksum "
        f"for each part. It was missing for part {row['PartNumber']} in the request."
    )


def _check_sizes(call: Call, chosen: Sequence[PartRecord]) -> None:
    for part in chosen[:-1]:
        if part.size < MIN_PART:
            detail = {
                "ProposedSize": str(part.size),
                "MinSizeAllowed": str(MIN_PART),
                "PartNumber": str(part.number),
                "ETag": part.etag.strip('"'),
            }
            message = "Your proposed upload is smaller than the minimum allowed size"
            raise AwsError("EntityTooSmall", message, 400, detail=detail)
    expected = call.request.headers.get("x-amz-mp-object-size")
    if expected is not None and expected != str(sum(part.size for part in chosen)):
        raise invalid_request("The provided 'x-amz-mp-object-size' header does not match what was computed.")


def _shown_checksum(upload: UploadRecord, whole: Mapping[str, str], count: int) -> Mapping[str, str]:
    suffix = f"-{count}" if upload.checksum_type == multipart.COMPOSITE else ""
    return {algorithm: value + suffix for algorithm, value in whole.items()}


def _check_declared(call: Call, shown: Mapping[str, str]) -> None:
    """Holds the checksum of the whole object that the client sent against the one of its parts."""
    for algorithm in checksums.ALGORITHMS:
        declared = call.request.headers.get(checksums.header_name(algorithm))
        if declared is not None and declared not in (shown.get(algorithm), shown.get(algorithm, "").partition("-")[0]):
            message = f"The {algorithm.lower()} you specified did not match the calculated checksum."
            raise AwsError("BadDigest", message, 400)


def _location(call: Call) -> str:
    peer = call.request.peer
    scheme = "https" if peer is not None and peer.secure else "http"
    return f"{scheme}://{call.request.headers.get('Host', '')}{call.request.path}"
