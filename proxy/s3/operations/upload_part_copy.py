"""UploadPartCopy: an object or a range of one, opened as it is read and sealed again as a part of the upload.

A part is sealed under the data key of the upload that it belongs to, so its bytes always stream through.
"""

from dataclasses import dataclass, replace
from typing import Final

from multidict import CIMultiDict

from proxy.aws import checksums, xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.bodies.payload import Payload
from proxy.s3.copies import copy_source
from proxy.s3.copies.copy_source import LARGEST, RANGE
from proxy.s3.copies.kept_alive import kept_alive
from proxy.s3.encryption import customer_keys, sse
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.errors import invalid_argument, invalid_request
from proxy.s3.gateway import Call, Gateway
from proxy.s3.multipart import uploads
from proxy.s3.objects.byte_range import ByteRange, Wanted
from proxy.s3.objects.records import check_version, records_of
from proxy.s3.objects.store_reads import of_one_object
from proxy.s3.objects.stored import StoredObject
from proxy.s3.operation import Level, operation
from proxy.s3.operations.copy_object import plaintext
from proxy.s3.operations.get_object import Slice, read
from proxy.s3.operations.upload_part import write_part
from proxy.s3.upstream.port import UpstreamError
from proxy.stream import Body

_NO_CONDITIONS: Final[CIMultiDict[str]] = CIMultiDict()


@dataclass(frozen=True)
class Opened:
    """The bytes to be copied, as they are read."""

    body: Body
    length: int
    version_id: str | None
    """Of the source, as the store named it."""


@operation(
    "UploadPartCopy",
    "PUT",
    Level.OBJECT,
    "s3:PutObject",
    query=["partNumber", "uploadId"],
    headers=["x-amz-copy-source"],
)
async def upload_part_copy(gateway: Gateway, call: Call) -> Response:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html"""
    copy_source.check_request(call)
    sse.refuse_choice(call.request.headers)
    customer_key = customer_keys.parse_for_write(call, gateway.settings)
    number = uploads.part_number(call)
    wanted = copy_source.copy_range(call.request.headers)
    upload = await uploads.find_upload(gateway, call)
    source_key = customer_keys.parse(call.request, gateway.settings, prefix=customer_keys.COPY_SOURCE_PREFIX)
    source = await copy_source.find(gateway, call)
    unlocked, _ = await uploads.unlock(gateway, call, upload, customer_key)
    algorithm = upload.checksum_algorithm or checksums.DEFAULT_ALGORITHM

    async def attempt() -> Response:
        opened = await _open(gateway, call, source, wanted, source_key)
        # The store's answer is held while the part goes up: they must not wait for each other's connections.
        writing = replace(gateway, upstream=gateway.short_reads)
        try:
            plan = Payload(opened.length, {}, None, algorithm)
            part = await write_part(writing, call, upload, unlocked, number, opened.body, plan)
        finally:
            if not isinstance(opened.body, bytes):
                await opened.body.aclose()
        found = CIMultiDict(sse.response_headers(unlocked.header, customer_key))
        found["Content-Type"] = "application/xml"
        if opened.version_id is not None:
            found["x-amz-copy-source-version-id"] = opened.version_id
        members = {
            "ETag": part.etag,
            "LastModified": part.modified.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            **{f"Checksum{name}": value for name, value in part.checksums.items()},
        }
        return Response(200, found, xml_codec.render("CopyPartResult", members))

    return await kept_alive(call, of_one_object(attempt))


async def _open(
    gateway: Gateway, call: Call, source: Call, wanted: ByteRange | None, customer_key: CustomerKey | None
) -> Opened:
    """The wanted bytes of the source, by one request to the store.

    Raises:
        AwsError: there is no such source, a condition does not hold, or the range does not lie within it.
        ObjectReplaced: the source was replaced meanwhile.
    """

    found = False

    async def use(
        gateway: Gateway, source: Call, answer: Response, stored: StoredObject, piece: Slice, asked: Wanted | None
    ) -> Opened:
        nonlocal found
        found = True
        check_version(source, answer.headers)
        customer_keys.check(stored.header, customer_key, source.target.arn)
        modified = answer.headers.get("Last-Modified")
        copy_source.check_conditions(call.request.headers, stored, modified, gateway.clock())
        _check_range(stored, piece, wanted)
        body = await plaintext(customer_key, gateway, source, answer, stored, piece, asked)
        return Opened(body, piece.last - piece.first + 1, answer.headers.get("x-amz-version-id"))

    records = await records_of(gateway, source.target)
    try:
        opened = await read(gateway, source, source.request.query, wanted, records, _NO_CONDITIONS, use)
    except AwsError as error:
        if found:
            raise
        if error.code == "InvalidRange":
            raise invalid_request("The specified copy range is invalid for the source object size") from error
        raise copy_source.source_error(gateway, source, error) from error
    if isinstance(opened, Response):
        raise UpstreamError("the store did not give the source of a copy")
    return opened


def _check_range(stored: StoredObject, piece: Slice, wanted: ByteRange | None) -> None:
    if wanted is not None and piece.last != wanted.last:
        message = f"Range specified is not valid for source object of size: {stored.size}"
        raise invalid_argument(message, RANGE, wanted.text)
    if piece.last - piece.first >= LARGEST:
        raise copy_source.too_large()
