"""POST forms (PostObject): a form that has been received, as the PutObject that it stands for, and the answer to it.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from multidict import CIMultiDict

from proxy.aws import form_data, post_policy, xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.form_data import FormFile, FormHead
from proxy.aws.http_head import is_field_name
from proxy.aws.message import Request, Response
from proxy.aws.post_policy import PostPolicy
from proxy.envelope.ranges import FOOTER_THRESHOLD
from proxy.s3.errors import invalid_argument, malformed_xml, method_not_allowed
from proxy.s3.gateway import Target
from proxy.s3.memory import MemoryBudget
from proxy.stream import Body, pump, transformed

_MAX_KEY_BYTES: Final = 1024
_FILENAME: Final = "${filename}"
_HEADERS: Final = frozenset(
    {
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-md5",
        "content-type",
        "expires",
        "x-amz-expected-bucket-owner",
        "x-amz-request-payer",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-storage-class",
        "x-amz-website-redirect-location",
    }
)
_HEADER_BEGINNINGS: Final = (
    "x-amz-checksum-",
    "x-amz-meta-",
    "x-amz-object-lock-",
    "x-amz-server-side-encryption",
)
"""Fields that mean what the headers of their names mean; ``acl`` and ``tagging`` have names of their own."""
_STATUSES: Final = ("200", "201")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True)
class PostForm:
    """A form as it was received, up to its file."""

    request: Request
    """As received; its body has been read as far as the file."""
    head: FormHead
    fields: Mapping[str, str]
    """By their names in lower case, with the file's name where ``${filename}`` stood."""
    rest: Body
    """What is left of the request's body, from the file's first byte."""


def fields_of(head: FormHead) -> dict[str, str]:
    """A form's fields by their names in lower case, with the file's name put in.

    Raises:
        AwsError: InvalidArgument; a field is there twice.
    """
    found: dict[str, str] = {}
    for field in head.fields:
        name = field.name.lower()
        if name in found:
            raise invalid_argument("The form has a field more than once.", field.name, field.value)
        found[name] = field.value.replace(_FILENAME, head.filename)
    return found


def check(form: PostForm, bucket: str, now: datetime) -> PostPolicy:
    """The policy of a form, which allows it as far as can be told before its file.

    Raises:
        AwsError: InvalidPolicyDocument, AccessDenied.
    """
    policy = post_policy.parse(form.fields["policy"])
    # Where the object goes is what counts, not what a field of that name says of it.
    post_policy.check(policy, {**form.fields, "bucket": bucket}, now)
    return policy


def target_of(form: PostForm, bucket: Target) -> Target:
    """What the form is to make.

    Raises:
        AwsError: InvalidArgument, KeyTooLongError, MethodNotAllowed.
    """
    if bucket.key:
        raise method_not_allowed()
    key = form.fields.get("key", "")
    if not key:
        message = "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the"
        raise invalid_argument(f"{message} fields.", "key", "")
    size = len(key.encode())
    if size > _MAX_KEY_BYTES:
        detail = {"Size": str(size), "MaxSizeAllowed": str(_MAX_KEY_BYTES)}
        raise AwsError("KeyTooLongError", "Your key is too long", 400, detail=detail)
    return Target(bucket.bucket, key)


async def as_put(form: PostForm, target: Target, policy: PostPolicy | None, memory: MemoryBudget) -> Request:
    """The PutObject that the form stands for.

    A file of up to 1 MiB is read whole. A larger one streams; then it must be what the form ends with, as browsers and
    curl end it, for only so is its length known before its end.

    Raises:
        AwsError: MalformedPOSTRequest, MissingContentLength, EntityTooLarge, EntityTooSmall, InvalidArgument.
    """
    headers = _headers(form)
    boundary = form.head.boundary
    text = form.request.headers.get("Content-Length", "")
    if not (text.isascii() and text.isdigit()):
        raise AwsError("MissingContentLength", "You must provide the Content-Length HTTP header.", 411)
    left = int(text) - form.head.size
    body: Body
    if left <= FOOTER_THRESHOLD:
        with memory.hold(max(left, 0)):
            body = await transformed(form.rest, FormFile(boundary))
        length = len(body)
    else:
        length = form_data.file_length(form.head, int(text))
        body = pump(form.rest, FormFile(boundary, length))
    if policy is not None:
        post_policy.check_length(policy, length)
    headers["Content-Length"] = str(length)
    headers["Host"] = form.request.headers.get("Host", "")
    for name in ("User-Agent", "Referer"):
        if name in form.request.headers:
            headers[name] = form.request.headers[name]
    return Request("PUT", target.path, "", headers, body, form.request.peer)


def answer(form: PostForm, target: Target, stored: Response) -> Response:
    """What the form's sender is told of the object that PutObject has stored."""
    headers = CIMultiDict(stored.headers)
    headers["Location"] = location = _location(form.request, target)
    etag = headers["ETag"]
    redirect = form.fields.get("success_action_redirect") or form.fields.get("redirect")
    if redirect and _is_url(redirect):
        told = urlencode({"bucket": target.bucket, "key": target.key, "etag": etag}, quote_via=quote, safe="")
        headers["Location"] = f"{redirect}{'&' if urlsplit(redirect).query else '?'}{told}"
        return Response(303, headers)
    status = form.fields.get("success_action_status", "")
    if status not in _STATUSES:
        return Response(204, headers)
    if status == "200":
        return Response(200, headers)
    headers["Content-Type"] = "application/xml"
    content = {"Location": location, "Bucket": target.bucket, "Key": target.key, "ETag": etag}
    return Response(201, headers, xml_codec.render("PostResponse", content, namespace=None))


def _headers(form: PostForm) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in form.fields.items():
        if name in _HEADERS or name.startswith(_HEADER_BEGINNINGS):
            headers[name] = value.strip()
    if "acl" in form.fields:
        headers["x-amz-acl"] = form.fields["acl"].strip()
    if "tagging" in form.fields:
        headers["x-amz-tagging"] = _tags(form.fields["tagging"])
    for name, value in headers.items():
        if _CONTROL.search(value) or not is_field_name(name):
            raise invalid_argument("This can't stand in a header.", name, value)
    return headers


def _tags(document: str) -> str:
    """The ``tagging`` field, a document, as the header ``x-amz-tagging`` has it."""
    try:
        content = xml_codec.parse(document.encode(), "Tagging", lists=("Tag",))
    except xml_codec.XmlError:
        raise malformed_xml() from None
    rows = content.get("TagSet")
    return urlencode(list(_pairs(rows.get("Tag", []) if isinstance(rows, dict) else [])), quote_via=quote)


def _pairs(rows: Iterable[object]) -> Iterable[tuple[str, str]]:
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("Key"), str):
            raise malformed_xml()
        yield row["Key"], str(row.get("Value") or "")


def _location(request: Request, target: Target) -> str:
    scheme = "https" if request.peer is not None and request.peer.secure else "http"
    in_path = request.path.strip("/") == target.bucket
    place = f"{target.bucket}/" if in_path else ""
    return f"{scheme}://{request.headers.get('Host', '')}/{place}{quote(target.key, safe='')}"


def _is_url(text: str) -> bool:
    """What can't be understood is as if it were not there."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and not _CONTROL.search(text)
