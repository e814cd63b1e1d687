"""The header fields of objects: which of a request go up with an object, and which of the store's come back.

Nothing passes that is not named here.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Final

from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.aws.message import Headers
from proxy.envelope.header import METADATA_PREFIX, is_reserved
from proxy.s3.bodies.payload import stored_content_encoding
from proxy.s3.errors import acls_not_supported, invalid_argument, metadata_too_large, not_implemented
from proxy.s3.upstream.profiles import StoreProfile

REDIRECT: Final = "x-amz-website-redirect-location"

SYSTEM_HEADERS: Final = (
    "Cache-Control",
    "Content-Disposition",
    "Content-Language",
    "Content-Type",
    "Expires",
    REDIRECT,
)
"""System-defined metadata that goes up and comes back as it is; Content-Encoding loses ``aws-chunked``."""

_TAGGING: Final = "x-amz-tagging"
_MOST_TAGS: Final = 10

_WRITE_HEADERS: Final = (
    *SYSTEM_HEADERS,
    "x-amz-storage-class",
    _TAGGING,
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
)

READ_HEADERS: Final = (
    *SYSTEM_HEADERS,
    "Content-Encoding",
    "Last-Modified",
    "x-amz-delete-marker",
    "x-amz-expiration",
    "x-amz-missing-meta",
    "x-amz-mp-parts-count",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-replication-status",
    "x-amz-restore",
    "x-amz-storage-class",
    "x-amz-tagging-count",
    "x-amz-version-id",
)
"""What GetObject and HeadObject pass back."""

DEFAULT_CONTENT_TYPE: Final = "binary/octet-stream"
"""What S3 stores where a client names no Content-Type."""

USER_METADATA_LIMIT: Final = 2048
"""Bytes of a client's user metadata, names (after ``x-amz-meta-``) and values, as on AWS."""

_EMPTY_WORD: Final = "=?UTF-8?Q??="
"""An empty value, for a store that drops one: RFC 2047's word without a character, which nobody sends."""
_WORD = re.compile(r"=\?UTF-8\?B\?([A-Za-z0-9+/]*(={0,2}))\?=")
_STORAGE_CLASS: Final = "x-amz-storage-class"
_GRANTS: Final = "x-amz-grant-"
_HARMLESS_ACLS: Final = ("private", "bucket-owner-full-control")


def to_store(headers: Headers, store: StoreProfile) -> CIMultiDict[str]:
    """The fields of a new object that go up: system headers, user metadata, storage class, tags and lock.

    Metadata that is not ASCII goes up as it comes back, in the encoded words of RFC 2047: so it is the same whatever a
    store makes of other characters.

    Raises:
        AwsError: MetadataTooLarge; AccessControlListNotSupported; InvalidArgument for a name that the envelope owns;
            NotImplemented for what the store would drop; BadRequest for more than ten tags.
    """
    _refuse_acl(headers)
    if headers.get(_TAGGING, "").count("&") >= _MOST_TAGS:
        raise AwsError("BadRequest", f"Object tags cannot be greater than {_MOST_TAGS}", 400)
    if store.drops_redirects and REDIRECT in headers:
        raise not_implemented(REDIRECT)
    found = pick(headers, _WRITE_HEADERS)
    found.setdefault("Content-Type", DEFAULT_CONTENT_TYPE)
    encoding = stored_content_encoding(headers.get("Content-Encoding"))
    if encoding:
        found["Content-Encoding"] = encoding
    metadata = user_metadata(headers)
    for name in metadata:
        if is_reserved(name):
            raise invalid_argument("The metadata name is reserved.", name, metadata[name])
    size = sum(len(name) - len(METADATA_PREFIX) + _size(value) for name, value in metadata.items())
    if size > USER_METADATA_LIMIT:
        raise metadata_too_large(size, USER_METADATA_LIMIT)
    for name, value in metadata.items():
        found[name] = _EMPTY_WORD if not value and store.drops_empty_metadata else _mail_safe(value)
    return found


def add_envelope(headers: CIMultiDict[str], envelope: Mapping[str, str], store_limit: int) -> None:
    """Puts the envelope's metadata beside the client's.

    Raises:
        AwsError: MetadataTooLarge, when the store would not take them together.
    """
    headers.update(envelope)
    size = sum(
        len(name) + len(value.encode("utf-8", "surrogateescape"))
        for name, value in headers.items()
        if name.lower().startswith(METADATA_PREFIX)
    )
    if size > store_limit:
        raise metadata_too_large(size, store_limit)


def from_store(headers: Headers) -> CIMultiDict[str]:
    """The fields of an object that a client sees: without the envelope's."""
    found = pick(headers, READ_HEADERS)
    if found.get(_STORAGE_CLASS) == "STANDARD":
        # S3 names every class but this one.
        del found[_STORAGE_CLASS]
    for name, value in headers.items():
        if name.lower().startswith(METADATA_PREFIX) and not is_reserved(name):
            found.add(name.lower(), "" if value == _EMPTY_WORD else _mail_safe(value))
    return found


def _mail_safe(value: str) -> str:
    """A value that is not ASCII as an encoded word of RFC 2047, which is how S3 gives it back. Bytes that are not UTF-8
    are taken for ISO 8859-1."""
    if value.isascii():
        return value
    data = value.encode("utf-8", "surrogateescape")
    try:
        data.decode()
    except UnicodeDecodeError:
        data = data.decode("iso-8859-1").encode()
    return f"=?UTF-8?B?{base64.b64encode(data).decode()}?="


def _size(value: str) -> int:
    """What a value counts for: its bytes; those of an encoded word before they were encoded."""
    word = _WORD.fullmatch(value)
    if word is not None:
        return len(word[1]) // 4 * 3 - len(word[2])
    return len(value.encode("utf-8", "surrogateescape"))


def pick(headers: Headers, names: Iterable[str]) -> CIMultiDict[str]:
    """The named fields that are there."""
    return CIMultiDict({name: headers[name] for name in names if name in headers})


def user_metadata(headers: Headers) -> dict[str, str]:
    """The ``x-amz-meta-`` fields, by their names in lower case."""
    return {name.lower(): value for name, value in headers.items() if name.lower().startswith(METADATA_PREFIX)}


def asks_for_owners_acl(headers: Headers) -> bool:
    """Whether the headers ask for no other ACL than the one that everything here has: the bucket owner's FULL_CONTROL.
    Buckets have their ACLs disabled (BucketOwnerEnforced), which is AWS's default since 2023."""
    canned = headers.get("x-amz-acl", _HARMLESS_ACLS[0])
    return canned in _HARMLESS_ACLS and not any(name.lower().startswith(_GRANTS) for name in headers)


def _refuse_acl(headers: Headers) -> None:
    if not asks_for_owners_acl(headers):
        raise acls_not_supported()
    if "x-amz-write-offset-bytes" in headers:
        raise not_implemented("x-amz-write-offset-bytes")
