"""CreateMultipartUpload and AbortMultipartUpload."""

from contextlib import suppress

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.envelope import header as envelope_header
from proxy.envelope import v1
from proxy.s3.encryption import sse
from proxy.s3.encryption.data_keys import new_data_key, seal_table_key
from proxy.s3.errors import access_denied, invalid_request, no_such_upload
from proxy.s3.forwarding import error_of, expect, parse_answer, read_answer, render_query
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.multipart import uploads
from proxy.s3.objects.headers import add_envelope, to_store
from proxy.s3.operation import Level, operation
from proxy.s3.state.ports import UploadRecord
from proxy.s3.upstream.port import UpstreamError


@operation("CreateMultipartUpload", "POST", Level.OBJECT, "s3:PutObject", query=["uploads"])
async def create_multipart_upload(gateway: Gateway, call: Call) -> Response:
    """The data key is made here, once for all parts; each attempt at a part derives its own key from it.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html
    """
    if call.caller.anonymous:
        raise access_denied("Anonymous users cannot initiate multipart uploads. Please authenticate.")
    settings, target = gateway.settings, call.target
    choice = sse.choose(call, settings)
    headers = to_store(call.request.headers, gateway.settings.store)
    algorithm, checksum_type = uploads.checksum_settings(call)
    if target.key.endswith("/") and settings.store.drops_marker_bodies:
        raise invalid_request("The store behind this endpoint keeps no content under a key that ends in '/'.")
    data_key, wrapping = await new_data_key(gateway, call.origin, target, choice)
    header = v1.new_multipart(
        data_key, wrapping, checksum_algorithm=algorithm, checksum_type=checksum_type, random=gateway.random
    )
    sealed_table_key = b""
    if choice.customer_key is not None:
        sealed_table_key = await seal_table_key(gateway, call.origin, target, header, data_key)
    envelope = envelope_header.encode(header)
    add_envelope(headers, envelope, settings.store.metadata_limit)
    answer = await gateway.upstream.send(Request("POST", target.path, "uploads", headers))
    upload_id = _upload_id(await expect(answer, target, 200))
    upload = UploadRecord(
        upload_id,
        target.bucket,
        target.key,
        call.caller.account,
        envelope,
        algorithm,
        checksum_type,
        gateway.clock(),
        sealed_table_key=sealed_table_key,
    )
    try:
        await gateway.uploads.create(upload)
    except BaseException:
        # Nobody will know of it: what the store has begun would lie there for ever.
        with suppress(UpstreamError):
            await (await gateway.upstream.send(_abortion(upload))).aclose()
        raise
    found = CIMultiDict(sse.response_headers(header, choice.customer_key, with_context=True))
    found["Content-Type"] = "application/xml"
    if algorithm is not None and checksum_type is not None:
        found["x-amz-checksum-algorithm"] = algorithm
        found["x-amz-checksum-type"] = checksum_type
    members = {"Bucket": target.bucket, "Key": target.key, "UploadId": upload_id}
    return Response(200, found, xml_codec.render("InitiateMultipartUploadResult", members))


def _upload_id(document: bytes) -> str:
    found = parse_answer(document, "InitiateMultipartUploadResult").get("UploadId")
    if not isinstance(found, str) or not found:
        raise UpstreamError("the store's answer names no upload")
    return found


@operation("AbortMultipartUpload", "DELETE", Level.OBJECT, "s3:AbortMultipartUpload", query=["uploadId"])
async def abort_multipart_upload(gateway: Gateway, call: Call) -> Response:
    """An upload that is not on record, because the record was lost, is ended, too.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html
    """
    upload_id = uploads.upload_id(call)
    upload = await gateway.uploads.get(upload_id)
    if upload is None:
        await _require_in_store(gateway, call, upload_id)
    elif upload.completed is not None or not uploads.is_of(upload, call.target):
        raise no_such_upload(upload_id)
    answer = await gateway.upstream.send(Request("DELETE", call.target.path, uploads.upload_query(call)))
    try:
        await expect(answer, call.target, 204, 200)
    except AwsError as error:
        if error.code == "NoSuchUpload":
            await gateway.uploads.remove(upload_id)
        raise
    await gateway.uploads.remove(upload_id)
    return Response(204)


async def _require_in_store(gateway: Gateway, call: Call, upload_id: str) -> None:
    """Refuses an upload that is nowhere. Stores say that they have ended it."""
    if not upload_id:
        raise no_such_upload(upload_id)
    query = render_query([("max-parts", "1"), ("uploadId", upload_id)])
    answer = await gateway.upstream.send(Request("GET", call.target.path, query))
    body = await read_answer(answer)
    if answer.status == 404:
        raise no_such_upload(upload_id)
    if answer.status != 200:
        raise error_of(answer.status, body, call.target)


def _abortion(upload: UploadRecord) -> Request:
    query = render_query([("uploadId", upload.upload_id)])
    return Request("DELETE", Target(upload.bucket, upload.key).path, query)
