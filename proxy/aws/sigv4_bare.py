"""Signed heads of requests to S3 that have neither a query, nor a body, nor header fields of their own: most reads.

All that changes from one to the next is the path and, once a second, the time. Pure.
"""

import hashlib
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from proxy.aws import canonical
from proxy.aws.sigv4_errors import basic_format

_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
_SIGNED_HEADERS: Final = "host;x-amz-content-sha256;x-amz-date"


class _Constant(NamedTuple):
    """What the requests of one second have in common."""

    canonical: str
    """The canonical request after its path."""
    to_sign: str
    """The string to sign before the hash of the canonical request."""
    fields: str
    """The head after its first line, up to the signature."""


@lru_cache(maxsize=64)
def _constant(host: str, access_key_id: str, region: str, timestamp: str) -> _Constant:
    scope = f"{timestamp[:8]}/{region}/s3/aws4_request"
    return _Constant(
        f"\n\nhost:{host}\nx-amz-content-sha256:{_PAYLOAD}\nx-amz-date:{timestamp}\n\n{_SIGNED_HEADERS}\n{_PAYLOAD}",
        f"{canonical.ALGORITHM}\n{timestamp}\n{scope}\n",
        f" HTTP/1.1\r\nHost: {host}\r\nx-amz-content-sha256: {_PAYLOAD}\r\nx-amz-date: {timestamp}\r\n"
        f"Authorization: {canonical.ALGORITHM} Credential={access_key_id}/{scope}, "
        f"SignedHeaders={_SIGNED_HEADERS}, Signature=",
    )


def head(method: str, path: str, *, host: str, access_key_id: str, secret: str, region: str, now: datetime) -> bytes:
    """The head with the empty line that ends it: what ``sigv4.sign`` and ``http_head.encode_head`` would make of such
    a request. ``method`` and ``path`` have been found fit for a request line."""
    timestamp = basic_format(now)
    constant = _constant(host, access_key_id, region, timestamp)
    text = f"{method}\n{canonical.s3_uri(path)}{constant.canonical}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    key = canonical.signing_key(secret, timestamp[:8], region, "s3")
    signature = canonical.signature(key, constant.to_sign + digest)
    return f"{method} {path}{constant.fields}{signature}\r\n\r\n".encode("utf-8", "surrogateescape")
