"""CompleteMultipartUpload: the parts that the client names are checked against what was acknowledged, the table of
parts is put on record, and the store is asked to make the object."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from multidict import CIMultiDict

from proxy.aws import checksums, xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request, Response
from proxy.aws.xml_codec import XmlError
from proxy.envelope import header as envelope_header
from proxy.envelope import parts as envelope_parts
from proxy.envelope.parts import Part, PartsTable
from proxy.s3.bodies.documents import read_document
from proxy.s3.encryption import customer_keys, sse
from proxy.s3.errors import no_such_upload, not_implemented, slow_down
from proxy.s3.forwarding import content_md5, error_of, etag_of, expect, stored_length
from proxy.s3.gateway import Call, Gateway
from proxy.s3.multipart import part_choice, uploads
from proxy.s3.multipart.stored_parts import StoredParts
from proxy.s3.objects import part_walk, preconditions
from proxy.s3.objects.records import drop_refused, drop_removed, records_of, version_id_of
from proxy.s3.objects.stored import version_query
from proxy.s3.operation import Level, operation
from proxy.s3.state.ports import ObjectRecord, PartRecord, UploadRecord

_MAX_DOCUMENT: Final = 8 * 1024 * 1024
_PAGE: Final = 1000
_CHOICES: Final = 4
"""How often the store is asked at most to make the object, while its parts are being sent again."""
_REMEMBERED: Final = timedelta(hours=1)
"""How long a completed upload is answered for again."""


@operation("CompleteMultipartUpload", "POST", Level.OBJECT, "s3:PutObject", query=["uploadId"])
async def complete_multipart_upload(gateway: Gateway, call: Call) -> Response:
    """An upload that was completed shortly before is answered for again, if the same parts are named and the object is
    there: the first answer may have been lost.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
    """
    sse.refuse_choice(call.request.headers)
    upload = await uploads.find_upload(gateway, call, completed=True)
    named = part_choice.named_parts(await read_document(gateway, call, _MAX_DOCUMENT, checksum_of_body=False))
    chosen = part_choice.choose(upload, named, await gateway.uploads.parts(upload.upload_id))
    for _ in range(_CHOICES):
        try:
            return await _completed(gateway, call, upload, chosen)
        except AwsError as error:
            if error.code != "InvalidPart":
                raise
            # Of two attempts with the same bytes, the one that was on record last need not be what the store has.
            listing = StoredParts(gateway, call.target, upload.upload_id)
            stored = {number: frozenset(attempts) async for number, attempts in listing.after(0, _PAGE)}
            other = part_choice.choose(upload, named, await gateway.uploads.parts(upload.upload_id), stored)
            if other == chosen:
                raise
            chosen = other
    raise slow_down("The parts of the upload are being replaced all the time.")


async def _completed(gateway: Gateway, call: Call, upload: UploadRecord, chosen: Sequence[PartRecord]) -> Response:
    """The answer to the client, once the store has made the object of these parts.

    Raises:
        AwsError: InvalidPart, where it has others; and what else keeps it from being made.
    """
    target = call.target
    part_choice.check_sizes(chosen, call.request.headers.get("x-amz-mp-object-size"))
    whole = uploads.whole_checksum(
        upload.checksum_algorithm, upload.checksum_type, [(part.checksums, part.size) for part in chosen]
    )
    shown = _shown_checksum(upload, whole, len(chosen))
    _check_declared(call, shown)
    records = await records_of(gateway, target)
    conditions = await preconditions.for_write(gateway, call, records)
    if conditions and not gateway.settings.store.conditional_completions:
        raise not_implemented(next(iter(conditions)))
    customer_key = customer_keys.parse_for_write(call, gateway.settings)
    header, table_key = await uploads.to_complete(gateway, call, upload, customer_key)
    checksum_type = upload.checksum_type or uploads.FULL_OBJECT
    table = PartsTable(
        header.object_id,
        [Part(part.number, part.size, part.salt, part.checksums) for part in chosen],
        whole,
        checksum_type,
    )
    encoded = envelope_parts.encode_under(table, header, table_key)
    now = gateway.clock()
    record = ObjectRecord(
        target.bucket,
        target.key,
        table.object_id,
        None,
        table.total,
        None,
        encoded,
        now,
        layers=header.layers,
    )
    answered, version_id = await _on_record(gateway, call, upload, record, records, chosen, conditions)
    await gateway.uploads.complete(upload.upload_id, gateway.clock(), now - _REMEMBERED)
    found = CIMultiDict(sse.response_headers(header))
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
    upload: UploadRecord,
    record: ObjectRecord,
    records: Sequence[ObjectRecord],
    chosen: Sequence[PartRecord],
    conditions: Mapping[str, str],
) -> tuple[str, str | None]:
    """Has the store make the object with its table of parts on record from before it can be seen. ``records`` are
    those that the key had."""
    previous = next((row for row in records if row.object_id == record.object_id), None)
    if previous is None and upload.completed is not None:
        raise no_such_upload(upload.upload_id)
    if previous is not None and previous.parts != record.parts and previous.upstream_etag is not None:
        # An earlier request has made the object of other parts, and the upload is no more.
        raise no_such_upload(upload.upload_id)
    if previous is None or previous.parts != record.parts:
        await gateway.objects.put(record)
    try:
        if upload.completed is not None:
            answer, etag = await _completed_before(
                gateway, call, record, previous, chosen, no_such_upload(upload.upload_id)
            )
        else:
            answer, etag = await _complete(gateway, call, record, previous, chosen, conditions)
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
    gateway: Gateway,
    call: Call,
    record: ObjectRecord,
    previous: ObjectRecord | None,
    chosen: Sequence[PartRecord],
    conditions: Mapping[str, str],
) -> tuple[Headers, str]:
    """Has the store make the object; the head of its answer, and the object's ETag there."""
    rows = [{"PartNumber": part.number, "ETag": part.upstream_etag} for part in chosen]
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    headers = CIMultiDict(conditions)
    headers["Content-Type"] = "application/xml"
    headers["Content-MD5"] = content_md5(document)
    request = Request("POST", call.target.path, uploads.upload_query(call), headers, document)
    answer = await gateway.upstream.send(request)
    try:
        body = await expect(answer, call.target, 200)
    except AwsError as error:
        refusal = await preconditions.write_error(gateway, call, error)
        if error.code == "NoSuchUpload" or error.status == 412:
            # A condition that does not hold may have held before, when this very object was made.
            return await _completed_before(gateway, call, record, previous, chosen, refusal)
        raise refusal from None
    try:
        found = xml_codec.parse(body, "CompleteMultipartUploadResult").get("ETag")
    except XmlError:
        # S3 may have sent a 200 before it knew of the error that the document then tells.
        raise error_of(500, body, call.target) from None
    if not isinstance(found, str) or not found:
        # Ceph 16.2 leaves it empty.
        return await _completed_before(gateway, call, record, previous, chosen, error_of(500, b"", call.target))
    etag = found.strip('"')
    return answer.headers, f'"{etag}"'


async def _completed_before(
    gateway: Gateway,
    call: Call,
    record: ObjectRecord,
    previous: ObjectRecord | None,
    chosen: Sequence[PartRecord],
    error: AwsError,
) -> tuple[Headers, str]:
    """The object, if the store made it of the same parts at an earlier request, whose answer was lost or is still to
    come: completing is idempotent. Two requests at once may have named different parts, so the object itself is
    asked what it is made of, unless that is on record."""
    answer = await gateway.upstream.send(Request("HEAD", call.target.path))
    await answer.aclose()
    header = envelope_header.decode(answer.headers) if answer.status == 200 else None
    if header is None or header.object_id != record.object_id:
        raise error
    etag = etag_of(answer.headers)
    if previous is not None and previous.upstream_etag == etag and previous.parts == record.parts:
        return answer.headers, etag
    version = version_query(answer.headers.get("x-amz-version-id"))
    made_of = await part_walk.walk(gateway, call.target, etag, stored_length(answer), version, header.layers)
    if [(part.number, part.size, part.salt) for part in made_of] != [
        (part.number, part.size, part.salt) for part in chosen
    ]:
        raise error
    return answer.headers, etag


def _shown_checksum(upload: UploadRecord, whole: Mapping[str, str], count: int) -> Mapping[str, str]:
    suffix = f"-{count}" if upload.checksum_type == uploads.COMPOSITE else ""
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
