"""The source of CopyObject and UploadPartCopy: named by a header, in a bucket of its own, read by the same caller.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html and API_UploadPartCopy.html
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlencode

from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request, decode_percent
from proxy.s3.access.authorization import check_expected_owner, refusal
from proxy.s3.access.object_tags import authorize_on_object, existing_tags
from proxy.s3.buckets.records import bucket_on_record
from proxy.s3.encryption import customer_keys
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.errors import (
    access_denied,
    invalid_argument,
    invalid_request,
    no_such_key,
    no_such_version,
    precondition_failed,
)
from proxy.s3.forwarding import render_query, store_error, stored_length
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.objects import etag as etags
from proxy.s3.objects.byte_range import ByteRange
from proxy.s3.objects.records import check_version, records_of
from proxy.s3.objects.stored import StoredObject, describe
from proxy.s3.state.ports import ObjectRecord
from proxy.s3.upstream.port import UpstreamError

COPY_SOURCE: Final = "x-amz-copy-source"
RANGE: Final = "x-amz-copy-source-range"
LARGEST: Final = 5 * 1024**3
"""Bytes that one copy may have, as on AWS."""

_VERSION: Final = "?versionId="
_MOST_KEY_BYTES: Final = 1024
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})")
_CARRIED: Final = ("User-Agent", "Referer")
"""Header fields of the request that policies may ask for when the source is read."""


@dataclass(frozen=True)
class Source:
    """An object to be copied, as the store holds it now."""

    call: Call
    """A GetObject of it by the same caller."""
    stored: StoredObject
    headers: Headers
    """The store's, of HEAD."""
    records: Sequence[ObjectRecord]
    customer_key: CustomerKey | None
    """What the request brings for an object under SSE-C."""

    @property
    def version_id(self) -> str | None:
        """The version that the store named, ``null`` included."""
        return self.headers.get("x-amz-version-id")

    @property
    def upstream_value(self) -> str:
        """What names it in a copy that the store makes by itself."""
        return self.call.target.path + (f"?{self.stored.version}" if self.stored.version else "")


def check_request(call: Call) -> None:
    """Refuses copies for whoever has not signed, and those that bring bytes of their own.

    Raises:
        AwsError: AccessDenied, InvalidRequest.
    """
    if call.caller.anonymous:
        raise access_denied("Anonymous users cannot copy objects. Please authenticate.")
    if call.request.headers.get("Content-Length", "0") != "0":
        raise invalid_request("You can only specify a copy source header for copy requests.")


def copy_range(headers: Headers) -> ByteRange | None:
    """The range that UploadPartCopy names, with both of its ends. Unlike a reader's, it must lie within the source.

    Raises:
        AwsError: InvalidArgument.
    """
    text = headers.get(RANGE)
    if text is None:
        return None
    found = _RANGE.fullmatch(text.strip())
    if found is None or int(found[1]) > int(found[2]):
        message = (
            f"The {RANGE} value must be of the form bytes=first-last where first and last are the zero-based offsets "
            "of the first and last bytes to copy"
        )
        raise invalid_argument(message, RANGE, text)
    return ByteRange(text, int(found[1]), int(found[2]))


def parse(value: str) -> tuple[Target, str | None]:
    """The object that ``x-amz-copy-source`` names and its version: ``[/]BUCKET/KEY[?versionId=ID]``, percent-encoded;
    ``+`` is a space there.

    Raises:
        AwsError: InvalidArgument.
    """
    path, found, version_id = value.strip().rpartition(_VERSION) if _VERSION in value else (value.strip(), "", "")
    path = decode_percent(path.replace("+", " ")).removeprefix("/")
    bucket, _, key = path.partition("/")
    if not _BUCKET_NAME.fullmatch(bucket):
        # An ARN names an access point, which there are none of here.
        raise invalid_argument("Invalid copy source bucket name", COPY_SOURCE, value)
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise invalid_argument("Invalid copy source encoding", COPY_SOURCE, value) from None
    if not 0 < size <= _MOST_KEY_BYTES:
        raise invalid_argument("Invalid copy source object key", COPY_SOURCE, value)
    if found and not version_id:
        raise invalid_argument("Version id cannot be the empty string", "versionId", "")
    return Target(bucket, key), decode_percent(version_id) or None


async def find(gateway: Gateway, call: Call) -> Call:
    """The reading of a copy's source, as a GetObject of the caller that has been authorized.

    Raises:
        AwsError: the header can't be read; NoSuchBucket; AccessDenied.
    """
    target, version_id = parse(call.request.headers[COPY_SOURCE])
    bucket = call.record if target.bucket == call.target.bucket else await bucket_on_record(gateway, target.bucket)
    check_expected_owner(call, "x-amz-source-expected-bucket-owner", bucket)
    headers = CIMultiDict({name: call.request.headers[name] for name in _CARRIED if name in call.request.headers})
    query = render_query([("versionId", version_id)]) if version_id else ""
    request = Request("GET", target.path, query, headers, peer=call.request.peer)
    found = Call(request, target, call.caller, call.verified, call.request_id, bucket)
    found = await authorize_on_object(gateway, found, "s3:GetObjectVersion" if version_id else "s3:GetObject")
    if not gateway.settings.store.fits(target.key):
        raise no_such_source(gateway, found)
    return found


async def look_at(
    gateway: Gateway, source: Call, customer_key: CustomerKey | None, *, check_key: bool = True
) -> Source:
    """The source as the store holds it now. ``check_key``: whether ``customer_key`` is held against what it needs.

    Raises:
        AwsError: there is no such object or version, or the version is a delete marker; a customer's key is missing,
            wrong or not needed.
        EnvelopeError: it is damaged.
    """
    records = await records_of(gateway, source.target)
    answer = await gateway.upstream.send(Request("HEAD", source.target.path, source.request.query))
    await answer.aclose()
    if answer.status != 200:
        raise source_error(gateway, source, await store_error(answer, source))
    check_version(source, answer.headers)
    size, named = stored_length(answer), source.request.parameter("versionId") is not None
    stored = await describe(gateway, source.record, source.target.key, answer.headers, size, records, named=named)
    if check_key:
        customer_keys.check(stored.header, customer_key, source.target.arn)
    return Source(source, stored, answer.headers, records, customer_key)


def source_error(gateway: Gateway, source: Call, error: AwsError) -> AwsError:
    """The store's refusal to give a source, in AWS's words and as the caller may see it."""
    named = source.request.parameter("versionId")
    if named is None:
        return no_such_source(gateway, source) if error.code == "NoSuchKey" else error
    if error.status == 405 or error.headers.get("x-amz-delete-marker") == "true":
        message = "The source of a copy request may not specifically refer to a delete marker by version id."
        return invalid_request(message)
    if error.status == 404:
        return no_such_version(source.target.key, named)
    return invalid_argument("Invalid version id specified", "versionId", named) if error.status == 400 else error


def no_such_source(gateway: Gateway, source: Call) -> AwsError:
    """NoSuchKey; AccessDenied for who may not list the bucket."""
    hidden = refusal(source, "s3:ListBucket", Target(source.target.bucket), gateway.clock) is not None
    return access_denied() if hidden else no_such_key(source.target.key)


def too_large() -> AwsError:
    return invalid_request(
        f"The specified copy source is larger than the maximum allowable size for a copy source: {LARGEST}"
    )


def check_conditions(headers: Headers, stored: StoredObject, modified: str | None, now: datetime) -> None:
    """Holds the source against the ``x-amz-copy-source-if-…`` conditions of a request.

    A condition on the ETag makes the one on the date beside it void, as RFC 9110 and AWS have it; a date that can't be
    read, or lies ahead for ``modified-since``, is no condition.

    Raises:
        AwsError: PreconditionFailed; InvalidArgument for what is no list of entity tags.
    """
    changed = _date(modified)
    if (matches := _matches(headers, "if-match", stored.etag)) is not None:
        if not matches:
            raise precondition_failed("x-amz-copy-source-If-Match")
    else:
        unmodified_since = _date(headers.get("x-amz-copy-source-if-unmodified-since"))
        if unmodified_since and changed and changed > unmodified_since:
            raise precondition_failed("x-amz-copy-source-If-Unmodified-Since")
    if (matches := _matches(headers, "if-none-match", stored.etag)) is not None:
        if matches:
            raise precondition_failed("x-amz-copy-source-If-None-Match")
    else:
        modified_since = _date(headers.get("x-amz-copy-source-if-modified-since"))
        if modified_since and changed and changed <= modified_since <= now:
            raise precondition_failed("x-amz-copy-source-If-Modified-Since")


def _matches(headers: Headers, condition: str, etag: str) -> bool | None:
    """Whether the ETag is among those of a condition; None if the request has no such condition."""
    name = f"{COPY_SOURCE}-{condition}"
    value = headers.get(name)
    if value is None:
        return None
    try:
        wanted = etags.parse_list(value)
    except ValueError:
        raise invalid_argument(f"The {name} header is not valid.", name, value) from None
    return wanted == ["*"] or etag in wanted


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


async def tags_of(gateway: Gateway, source: Source) -> str:
    """The source's tags, as the ``x-amz-tagging`` header has them; ``""`` for none. The caller must be allowed to
    read them.

    Raises:
        AwsError: AccessDenied; the store's refusal.
    """
    if not has_tags(source):
        return ""
    call = source.call
    named = call.request.parameter("versionId") is not None
    await authorize_on_object(gateway, call, "s3:GetObjectVersionTagging" if named else "s3:GetObjectTagging")
    return await read_tags(gateway, source)


def has_tags(source: Source) -> bool:
    return int(source.headers.get("x-amz-tagging-count") or 0) > 0


async def read_tags(gateway: Gateway, source: Source) -> str:
    """The source's tags, as the ``x-amz-tagging`` header has them, whoever asks.

    Raises:
        UpstreamError: the store does not tell them.
    """
    tags = await existing_tags(gateway, source.call)
    if tags is None:
        raise UpstreamError("the store does not tell an object's tags")
    return urlencode(list(tags.items()))
