"""AWS Signature Version 4: verification of received requests, and signing of requests to the upstream.

Sources: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html and, for S3,
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterable
from dataclasses import field
from datetime import datetime, timedelta
from typing import Final

from multidict import CIMultiDict

from proxy.aws import canonical, sigv4_errors, sigv4_forms
from proxy.aws.credentials import (
    ANONYMOUS,
    AccessKey,
    Caller,
    CredentialSource,
    ExpiredSessionToken,
    InvalidSessionToken,
)
from proxy.aws.errors import AwsError
from proxy.aws.http_head import is_field_name
from proxy.aws.message import Request
from proxy.aws.sigv4_claim import (
    QUERY_AUTHENTICATION,
    SECURITY_TOKEN,
    Claim,
    Scope,
    claimed_service,
    is_anonymous,
    read_claim,
)
from proxy.aws.sigv4_errors import SKEW, SignatureErrors
from proxy.aws.sigv4_forms import Form
from proxy.values import value_class

__all__ = ["Scope", "Verified", "anonymous", "claimed_service", "effective_headers", "is_anonymous", "sign", "verify"]

ALGORITHM: Final = canonical.ALGORITHM
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
STREAMING_SIGNED: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

_LITERAL_PAYLOADS = {UNSIGNED_PAYLOAD, STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER}
_PAYLOAD_HASH_RULE = (
    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, "
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 "
    "value."
)

_PAYLOAD_HASH: Final = "x-amz-content-sha256"
_ONCE = frozenset({"authorization", "range", "content-md5", "host"})
_LISTS = frozenset({"x-amz-object-attributes", "x-amz-optional-object-attributes"})
"""Headers that some SDKs send once for each value."""
_ALWAYS_SIGNED = frozenset({"content-md5", "host"})
_SIGNED = frozenset({"host", "content-type", "content-md5"})
"""What ``sign`` signs beside ``x-amz-*``."""

_SHA256_HEX = re.compile(r"[0-9a-fA-F]{64}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@value_class
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
    posted: bool = False
    """Whether it is that of a POST form's policy."""


def anonymous(request: Request, now: datetime) -> Verified:
    """What stands in a signature's place for a request to S3 that has none: nobody, at this time, of no Region.

    Raises:
        AwsError: a header is there twice that S3 acts upon, or the payload is said to be signed.
    """
    _check_once(request, sigv4_errors.S3_HEADER)
    value = request.headers.get(_PAYLOAD_HASH, UNSIGNED_PAYLOAD)
    check_payload_hash(value)
    if value in {STREAMING_SIGNED, STREAMING_SIGNED_TRAILER}:
        raise AwsError("InvalidRequest", f"The value of {_PAYLOAD_HASH} header is invalid.")
    return Verified(ANONYMOUS, Scope("", "", "s3"), sigv4_errors.basic_format(now), "", b"", value, presigned=False)


def verify(request: Request, credentials: CredentialSource, now: datetime) -> Verified:
    """Verifies a request's signature, by header or by query, from its raw path and query.

    For S3 the body is not looked at: ``proxy.s3.bodies.payload`` compares it with ``Verified.payload_hash``. For every
    other service the body must have been read (``claimed_service`` tells), and its SHA-256 is what must be signed.

    Raises:
        AwsError: with the code, message and status of the service named in the credential scope, or of S3 where
            there is none.
        TypeError: the request is for another service than S3 and its body is a stream.
    """
    form = sigv4_forms.find(request) if "Authorization" in request.headers else None
    verified = _verify_known(request, form, credentials, now) if form is not None else None
    return verified or _verify_new(request, credentials, now)


def _verify_known(request: Request, form: Form, credentials: CredentialSource, now: datetime) -> Verified | None:
    """Verifies a request of a known form; None where something is wrong that ``_verify_new`` has the words for."""
    timestamp = sigv4_forms.signed_at(request, form, now)
    if timestamp is None:
        return None
    claim, scope = form.claim, form.scope
    token = request.headers.get(SECURITY_TOKEN)
    access_key = access_key_of(claim.credential.access_key_id, token, claim.errors, credentials, now)
    payload_hash = _payload_hash(request, claim)
    key = canonical.signing_key(access_key.secret, scope.date, scope.region, scope.service)
    signature = sigv4_forms.signature(request, form, timestamp, key, payload_hash)
    if signature is None:
        return None
    return Verified(access_key.caller, scope, timestamp, signature, key, payload_hash, presigned=False)


def _verify_new(request: Request, credentials: CredentialSource, now: datetime) -> Verified:
    claim = read_claim(request)
    errors = claim.errors
    _check_time(claim, now)
    _check_headers(request, claim)
    credential = claim.credential
    access_key = access_key_of(credential.access_key_id, claim.token, errors, credentials, now)
    payload_hash = _payload_hash(request, claim)
    scope = Scope(credential.date, credential.region, credential.service)
    presigned = claim.expires is not None
    parameters: Iterable[tuple[str, str]] = request.parameters
    if presigned:
        parameters = [pair for pair in parameters if pair[0] != "X-Amz-Signature"]
    uri = canonical.s3_uri(request.path) if scope.service == "s3" else canonical.normalized_uri(request.path)
    signed_request = canonical.canonical_request(
        request.method,
        uri,
        canonical.canonical_query(tuple(parameters)),
        request.headers,
        claim.signed_headers,
        payload_hash,
    )
    text = canonical.string_to_sign(claim.timestamp, str(scope), signed_request)
    key = canonical.signing_key(access_key.secret, scope.date, scope.region, scope.service)
    if not canonical.signatures_equal(canonical.signature(key, text), claim.signature):
        raise errors.mismatch(credential.access_key_id, text, signed_request, claim.signature)
    if not presigned:
        sigv4_forms.remember(request, claim, scope)
    return Verified(access_key.caller, scope, claim.timestamp, claim.signature, key, payload_hash, presigned)


def effective_headers(request: Request) -> Request:
    """A verified request with the ``x-amz-*`` parameters of its presigned query among its headers. One that is not
    presigned is returned as it is: there such parameters mean nothing.

    Raises:
        AwsError: 400; a parameter stands there twice, or contradicts a header, or could not be a header's value.
    """
    if not request.query or "Authorization" in request.headers or request.parameter("X-Amz-Signature") is None:
        return request
    headers: CIMultiDict[str] | None = None
    for name, value in request.parameters:
        lower = name.lower()
        if not lower.startswith("x-amz-") or lower in QUERY_AUTHENTICATION:
            continue
        if headers is None:
            headers = CIMultiDict(request.headers)
        if headers.get(lower, value) != value or (lower in headers and lower not in request.headers):
            raise sigv4_errors.S3_QUERY.duplicate(lower)
        if _CONTROL.search(value) or not is_field_name(lower):
            raise AwsError("InvalidArgument", "This can't stand in a header.", detail={"ArgumentName": lower})
        headers[lower] = value
    return request if headers is None else dataclasses.replace(request, headers=headers)


def check_payload_hash(value: str) -> None:
    """Raises AwsError: a value of x-amz-content-sha256 is neither a digest nor one of S3's words."""
    if value == canonical.EMPTY_SHA256:
        return
    if value not in _LITERAL_PAYLOADS and not _SHA256_HEX.fullmatch(value):
        detail = {"ArgumentName": "x-amz-content-sha256", "ArgumentValue": sigv4_errors.printable(value)}
        raise AwsError("InvalidArgument", _PAYLOAD_HASH_RULE, detail=detail)


def sign(
    request: Request,
    fields: Iterable[tuple[str, str]] | None = None,
    *,
    access_key_id: str,
    secret: str,
    region: str,
    service: str,
    now: datetime,
    payload_hash: str,
) -> dict[str, str]:
    """The headers to add so that the request, whose headers (or ``fields``, in place of them) hold Host already, is
    signed.

    Signed are Host, Content-Type, Content-MD5 and every ``x-amz-*`` header; what else is sent may change on its way.
    """
    timestamp = sigv4_errors.basic_format(now)
    added = {"x-amz-content-sha256": payload_hash, "x-amz-date": timestamp}
    signed: dict[str, str] = {}
    for name, value in request.headers.items() if fields is None else fields:
        lower = name.lower()
        if lower.startswith("x-amz-") or lower in _SIGNED:
            signed[lower] = canonical.canonical_value(value)
    signed.update(added)
    names = sorted(signed)
    signed_headers = ";".join(names)
    block = "".join([f"{name}:{signed[name]}\n" for name in names])
    uri = canonical.s3_uri(request.path) if service == "s3" else canonical.normalized_uri(request.path)
    query = canonical.canonical_query(request.parameters) if request.query else ""
    text = f"{request.method}\n{uri}\n{query}\n{block}\n{signed_headers}\n{payload_hash}"

    scope = f"{timestamp[:8]}/{region}/{service}/aws4_request"
    key = canonical.signing_key(secret, timestamp[:8], region, service)
    to_sign = canonical.string_to_sign(timestamp, scope, text.encode("utf-8", "surrogateescape"))
    added["Authorization"] = (
        f"{ALGORITHM} Credential={access_key_id}/{scope}, SignedHeaders={signed_headers}, "
        f"Signature={canonical.signature(key, to_sign)}"
    )
    return added


def access_key_of(
    access_key_id: str, token: str | None, errors: SignatureErrors, credentials: CredentialSource, now: datetime
) -> AccessKey:
    """The access key that a signature claims; ``token`` is the session token beside it.

    Raises:
        AwsError: there is no such key, or its session has ended.
    """
    if token is None:
        found = credentials.find(access_key_id)
        if found is None:
            raise errors.unknown_access_key(access_key_id)
        return found
    try:
        return credentials.find_temporary(access_key_id, token, now)
    except InvalidSessionToken:
        raise errors.session_token() from None
    except ExpiredSessionToken:
        raise errors.expired_token(token) from None


def _check_time(claim: Claim, now: datetime) -> None:
    if claim.expires is None:
        if abs(now - claim.signed) > SKEW:
            raise claim.errors.skewed(claim.signed, now)
    elif claim.signed > now + SKEW:
        raise claim.errors.not_yet_valid(claim.signed, now)
    elif now > claim.signed + timedelta(seconds=claim.expires):
        raise claim.errors.expired(claim.signed, claim.expires, now)
    if claim.timestamp[:8] != claim.credential.date:
        raise claim.errors.date_mismatch(claim.credential.date, claim.timestamp)


def _check_headers(request: Request, claim: Claim) -> None:
    """Every header that S3 acts upon must be there once and be signed.

    ``x-amz-content-sha256`` need not be among the signed headers: its value is the last line of what is signed.
    """
    signed = set(claim.signed_headers.lower().split(";"))
    unsigned: list[str] = [] if "host" in signed else ["host"]
    for lower in _check_once(request, claim.errors):
        must_be_signed = lower in _ALWAYS_SIGNED or lower.startswith("x-amz-")
        if must_be_signed and lower not in signed and lower not in {_PAYLOAD_HASH, "host"}:
            unsigned.append(lower)
    if unsigned:
        raise claim.errors.headers_not_signed(unsigned)


def _check_once(request: Request, errors: SignatureErrors) -> list[str]:
    """The names of the headers that S3 acts upon, in lower case; none of them stands there twice."""
    seen: list[str] = []
    # Only items() repeats a name that stands there twice; keys() of a multidict does not.
    for name, _ in request.headers.items():  # noqa: PERF102
        lower = name.lower()
        if not lower.startswith("x-amz-") and lower not in _ONCE:
            continue
        if lower in seen and lower not in _LISTS:
            raise errors.duplicate(lower)
        seen.append(lower)
    return seen


def _payload_hash(request: Request, claim: Claim) -> str:
    """The last line of the canonical request."""
    if claim.credential.service != "s3":
        if not isinstance(request.body, bytes):
            raise TypeError("the body must be read before a signature for this service can be verified")
        return hashlib.sha256(request.body).hexdigest()
    value = request.headers.get(_PAYLOAD_HASH)
    if claim.expires is not None:
        in_query = [text for key, text in request.parameters if key.lower() == _PAYLOAD_HASH]
        value = in_query[0] if in_query else value
        if value is None:
            return UNSIGNED_PAYLOAD
    elif value is None:
        raise AwsError("InvalidRequest", f"Missing required header for this request: {_PAYLOAD_HASH}")
    check_payload_hash(value)
    return value
