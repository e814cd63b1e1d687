"""AWS Signature Version 4: verification of received requests, and signing of requests to the upstream.

Sources: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html and, for S3,
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from proxy.aws.credentials import Caller, CredentialSource
from proxy.aws.message import Request

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True)
class Scope:
    """A credential scope without its last element, ``aws4_request``."""

    date: str
    """``YYYYMMDD``."""
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


@dataclass(frozen=True)
class Verified:
    """What a verified signature says of a request."""

    caller: Caller
    scope: Scope
    timestamp: str
    """``YYYYMMDDTHHMMSSZ``: when the request was signed, as it stands in the string to sign."""
    signature: str
    """64 lower-case hexadecimal digits; the seed of chunk signatures."""
    signing_key: bytes = field(repr=False)
    payload_hash: str
    """The last line of the canonical request: 64 hexadecimal digits, UNSIGNED-PAYLOAD or a STREAMING- value."""
    presigned: bool


def is_anonymous(request: Request) -> bool:
    """Whether the request carries no authentication information of any kind, well-formed or not."""
    raise NotImplementedError


def verify(request: Request, credentials: CredentialSource, now: datetime) -> Verified:
    """Verifies a request's signature, by header or by query, from its raw path and query.

    The body is not looked at: for services other than S3 the caller must compare its SHA-256 with
    ``Verified.payload_hash``; for S3, ``proxy.s3.payload`` does it.

    Raises:
        AwsError: with the code, message and status of the service named in the credential scope, or of S3 where
            there is none.
    """
    raise NotImplementedError


def effective_headers(request: Request) -> Request:
    """The request with the ``x-amz-*`` parameters of its presigned query among its headers.

    Raises:
        AwsError: 400; a parameter stands there twice, or as a header, too.
    """
    raise NotImplementedError


def sign(
    request: Request,
    *,
    access_key_id: str,
    secret: str,
    region: str,
    service: str,
    now: datetime,
    payload_hash: str,
) -> Mapping[str, str]:
    """The headers to add so that the request, whose headers hold Host already, is signed."""
    raise NotImplementedError
