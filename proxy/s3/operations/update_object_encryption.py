"""UpdateObjectEncryption: another KMS key for an object, by wrapping its data key anew; the data is not touched.

AWS does it in place. A store must copy the object to itself: it gives the object a new Last-Modified and, in a bucket
with versions, makes a new version, which is why only the current version can be changed. The ETag that clients see
stays.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from multidict import CIMultiDict

from proxy.aws import arn, xml_codec
from proxy.aws.message import Headers, Request, Response
from proxy.aws.xml_codec import XmlError
from proxy.envelope.header import Mode
from proxy.s3.bodies.documents import read_document
from proxy.s3.copies import copy_source
from proxy.s3.copies.copy_source import Source
from proxy.s3.copies.parts import unchanged
from proxy.s3.copies.within_store import copy_wrapped_anew, way_of_copy
from proxy.s3.encryption import sse
from proxy.s3.encryption.sse import Choice
from proxy.s3.errors import access_denied, invalid_request, malformed_xml, not_implemented
from proxy.s3.gateway import Call, Gateway
from proxy.s3.objects.headers import READ_HEADERS, from_store, to_store
from proxy.s3.objects.records import records_of
from proxy.s3.objects.store_reads import of_one_object
from proxy.s3.objects.stored import unlock_whole
from proxy.s3.operation import Level, operation

_MAX_DOCUMENT: Final = 64 * 1024
_KEY_ARN = re.compile(r"arn:aws[-a-z0-9]*:kms:[-a-z0-9]*:[0-9]{12}:key/.+")
_OPERATION: Final = "The UpdateObjectEncryption operation"
_KEPT: Final = ("x-amz-storage-class", "x-amz-website-redirect-location")
_MODIFY: Final = "Modify the request to specify SSE-KMS for the updated encryption type, and then try again."


@operation("UpdateObjectEncryption", "PUT", Level.OBJECT, "s3:UpdateObjectEncryption", query=["encryption"])
async def update_object_encryption(gateway: Gateway, call: Call) -> Response:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_UpdateObjectEncryption.html

    It needs kms:Decrypt on the key that the object has and kms:GenerateDataKey on the new one; the other permissions
    that AWS names are for calls that are not made here.
    """
    if call.caller.anonymous:
        raise invalid_request(
            "Requests that modify an object encryption configuration require AWS Signature Version 4. Modify the "
            "request to use AWS Signature Version 4, and then try again."
        )
    key_arn, bucket_key = _wanted(await read_document(gateway, call, _MAX_DOCUMENT))
    if arn.parse(key_arn).account != call.record.account:
        raise access_denied(
            "The AWS KMS key in the request must be owned by the same account as the bucket. Modify the request to "
            "specify a KMS key from the same account, and then try again."
        )
    sse.require_secure(call, gateway.settings, Mode.KMS)
    choice = Choice(Mode.KMS, key_arn, bucket_key=bucket_key)
    await of_one_object(lambda: _update(gateway, call, choice))
    return Response(200)


async def _update(gateway: Gateway, call: Call, choice: Choice) -> Response:
    """Raises ObjectReplaced: the object was replaced meanwhile, and is as its writer left it."""
    named = call.request.parameter("versionId")
    query = "" if named is None else call.request.query
    reading = replace(call, request=Request("GET", call.target.path, query, peer=call.request.peer))
    source = await copy_source.look_at(gateway, reading, None, check_key=False)
    header = source.stored.header
    if header is None:
        raise invalid_request(
            f"{_OPERATION} doesn't supported unencrypted source objects. Only source objects encrypted with SSE-S3 or "
            "SSE-KMS are supported."
        )
    if header.mode not in (Mode.S3, Mode.KMS):
        raise invalid_request(
            f"{_OPERATION} doesn't support source objects with the encryption type DSSE-KMS or SSE-C. Only source "
            "objects encrypted with SSE-S3 or SSE-KMS are supported."
        )
    _refuse_locked(source.headers, gateway.clock())
    if named is not None and not await _is_current(gateway, source):
        raise not_implemented(detail={"Query": "versionId"})
    unlocked, table = await unlock_whole(gateway, call.origin, call.target, source.stored, header)
    headers = await _same_headers(gateway, source)
    conditions = unchanged(source)
    way = await way_of_copy(gateway, call, source, headers, conditions)
    if way is None:
        raise not_implemented()
    # A derived ETag is another one in another mode; what clients have been shown stays.
    record = source.stored.record
    shown = None if source.stored.multipart or record is None else record.etag
    records = await records_of(gateway, call.target)
    await copy_wrapped_anew(
        gateway, call, source, unlocked, table, choice, headers, conditions, records, way=way, shown=shown
    )
    return Response(200)


def _wanted(document: bytes) -> tuple[str, bool]:
    """The key's ARN, and whether an S3 Bucket Key is to be used.

    Raises:
        AwsError: MalformedXML, InvalidRequest.
    """
    try:
        content = xml_codec.parse(document, "ObjectEncryption")
    except XmlError:
        raise malformed_xml() from None
    if {"SSE-C", "DSSE-KMS"} & set(content):
        raise invalid_request(
            f"{_OPERATION} doesn't support updating the encryption type to DSSE-KMS or SSE-C. {_MODIFY}"
        )
    if set(content) != {"SSE-KMS"}:
        raise invalid_request(
            "Requests that modify an object encryption configuration require a valid new encryption type. Valid "
            f"values are SSEKMS. {_MODIFY}"
        )
    wanted = content["SSE-KMS"]
    members = wanted if isinstance(wanted, Mapping) else {}
    key_arn, bucket_key = members.get("KMSKeyArn"), members.get("BucketKeyEnabled", "false")
    if not isinstance(key_arn, str) or not key_arn:
        raise invalid_request(
            "Requests that modify an object's encryption type to SSE-KMS require an AWS KMS key Amazon Resource Name "
            "(ARN). Modify the request to specify a KMS key ARN, and then try again."
        )
    if not _KEY_ARN.fullmatch(key_arn):
        raise invalid_request(
            "Requests that modify an object's encryption type to SSE-KMS require a valid AWS KMS key Amazon Resource "
            "Name (ARN). Confirm that you have a correctly formatted KMS key ARN in your request, and then try again."
        )
    if bucket_key not in ("true", "false"):
        raise invalid_request(
            "The BucketKeyEnabled value isn't valid. Valid values are true or false. Modify the request to specify a "
            "valid value, and then try again."
        )
    return key_arn, bucket_key == "true"


def _refuse_locked(headers: Headers, now: datetime) -> None:
    held = headers.get("x-amz-object-lock-legal-hold", "OFF").upper() == "ON"
    until = headers.get("x-amz-object-lock-retain-until-date")
    if held or (headers.get("x-amz-object-lock-mode") and (until is None or _moment(until) > now)):
        raise access_denied(
            "The encryption type for the specified object can't be updated because that object is protected by S3 "
            "Object Lock. If the object has a governance-mode retention period or a legal hold, you must first remove "
            "the Object Lock status on the object before you issue your UpdateObjectEncryption request. You can't use "
            "the UpdateObjectEncryption operation with objects that have an Object Lock compliance mode retention "
            "period applied to them."
        )


def _moment(text: str) -> datetime:
    """A moment that can't be read lies in the future: what may be locked is."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


async def _is_current(gateway: Gateway, source: Source) -> bool:
    answer = await gateway.upstream.send(Request("HEAD", source.call.target.path))
    await answer.aclose()
    return answer.status == 200 and answer.headers.get("x-amz-version-id") == source.version_id


async def _same_headers(gateway: Gateway, source: Source) -> CIMultiDict[str]:
    """The fields that the object has, to be given to it again."""
    told = from_store(source.headers)
    answers = {name.lower() for name in READ_HEADERS if name.lower().startswith("x-amz-")} | {"last-modified"}
    left_out = answers - {name.lower() for name in _KEPT}
    kept = CIMultiDict((name, value) for name, value in told.items() if name.lower() not in left_out)
    headers = to_store(kept, gateway.settings.store)
    if copy_source.has_tags(source):
        headers["x-amz-tagging"] = await copy_source.read_tags(gateway, source)
    return headers
