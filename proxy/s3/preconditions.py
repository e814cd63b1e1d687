"""Conditional requests: what a client's conditions are for the store, which decides them atomically.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html and RFC 9110 section 13.
"""

from collections.abc import Sequence

from multidict import CIMultiDict

from proxy.s3 import etag
from proxy.s3.errors import invalid_argument, not_implemented
from proxy.s3.gateway import Call
from proxy.s3.state import ObjectRecord

_DATES = ("If-Modified-Since", "If-Unmodified-Since")
_TAGS = ("If-Match", "If-None-Match")


def for_read(call: Call, records: Sequence[ObjectRecord]) -> CIMultiDict[str]:
    """The conditions of GetObject and HeadObject as the store has to see them; ``records`` are those of the key.

    Raises:
        AwsError: InvalidArgument, for what is not a list of entity tags.
    """
    found = CIMultiDict({name: call.request.headers[name] for name in _DATES if name in call.request.headers})
    found.update(_tags(call, records))
    return found


def for_write(call: Call, records: Sequence[ObjectRecord]) -> CIMultiDict[str]:
    """The conditions of PutObject and CompleteMultipartUpload: ``If-None-Match: *``, or ``If-Match`` with an ETag.

    Raises:
        AwsError: NotImplemented for other conditions, as on AWS.
    """
    headers = call.request.headers
    for name in _DATES:
        if name in headers:
            raise not_implemented(name)
    if headers.get("If-None-Match", "*").strip() != "*":
        raise not_implemented("If-None-Match")
    if "If-Match" in headers and ("If-None-Match" in headers or headers["If-Match"].strip() == "*"):
        raise not_implemented("If-Match")
    return _tags(call, records)


def has_tags(call: Call) -> bool:
    """Whether the request has a condition that needs the key's records to be translated."""
    return any(name in call.request.headers for name in _TAGS)


def _tags(call: Call, records: Sequence[ObjectRecord]) -> CIMultiDict[str]:
    found: CIMultiDict[str] = CIMultiDict()
    for name in _TAGS:
        value = call.request.headers.get(name)
        if value is None:
            continue
        try:
            found[name] = etag.to_upstream(value, records, key=call.target.key, mixed=call.record.mixed)
        except ValueError:
            raise invalid_argument(f"The {name} header is not valid.", name, value) from None
    return found
