"""Server-side encryption as S3 speaks of it: which mode a request or its bucket asks for, the key service's errors in
S3's words, and the headers that tell a client how an object is encrypted.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/specifying-kms-encryption.html and the API reference of PutObject.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request
from proxy.envelope.header import Header, Mode
from proxy.kms.errors import KmsError
from proxy.kms.provider import AWS_MANAGED_S3_KEY, S3_OWNED_KEY
from proxy.s3.errors import (
    access_denied,
    damaged_object,
    invalid_argument,
    not_implemented,
    service_unavailable,
    slow_down,
)
from proxy.s3.state import EncryptionRule

SSE: Final = "x-amz-server-side-encryption"
KEY_ID: Final = "x-amz-server-side-encryption-aws-kms-key-id"
CONTEXT: Final = "x-amz-server-side-encryption-context"
BUCKET_KEY: Final = "x-amz-server-side-encryption-bucket-key-enabled"
CUSTOMER: Final = "x-amz-server-side-encryption-customer-"
COPY_SOURCE_CUSTOMER: Final = "x-amz-copy-source-server-side-encryption-customer-"

OBJECT_ARN: Final = "aws:s3:arn"
"""The pair that S3 itself puts into the encryption context."""


@dataclass(frozen=True)
class Choice:
    """How a new object will be encrypted."""

    mode: Mode
    key_id: str
    """As the request or the rule named it, or one of the two constants of ``kms.provider``."""
    context: Mapping[str, str]
    """The client's own pairs."""
    bucket_key: bool


def choose(request: Request, rule: EncryptionRule, *, kms_over_plain_http: bool) -> Choice:
    """The encryption of a new object: what its request asks for, else its bucket's default.

    Raises:
        AwsError: AWS's refusal of a combination of headers, 501 for a mode that is not supported.
    """
    headers = request.headers
    refuse_customer_keys(headers)
    asked = headers.get(SSE)
    key_id = headers.get(KEY_ID)
    context = headers.get(CONTEXT)
    if asked is None:
        _refuse_orphans(headers)
        algorithm, key_id = rule.algorithm, rule.key_id
    else:
        algorithm = asked
    mode = _mode(algorithm)
    if mode is Mode.S3:
        if asked is not None:
            _refuse_orphans(headers)
        return Choice(mode, S3_OWNED_KEY, {}, bucket_key=False)
    secure = request.peer is not None and request.peer.secure
    if not secure and not kms_over_plain_http:
        message = (
            "Requests specifying Server Side Encryption with AWS KMS managed keys must be made over a secure "
            "connection."
        )
        raise invalid_argument(message, SSE, algorithm)
    # An empty key id header is a value that names no key, not a missing one: the key service refuses it.
    chosen = AWS_MANAGED_S3_KEY if key_id is None else key_id
    pairs = parse_context(context) if context is not None else {}
    return Choice(mode, chosen, pairs, _bucket_key(headers.get(BUCKET_KEY), rule))


def refuse_customer_keys(headers: Headers) -> None:
    """Refuses SSE-C, which is not supported, rather than storing under another key than the client's."""
    for name in headers:
        lower = name.lower()
        if lower.startswith((CUSTOMER, COPY_SOURCE_CUSTOMER)):
            raise not_implemented(lower)


def refuse_on_read(headers: Headers) -> None:
    """Refuses the headers of a write on GET and HEAD, as S3 does, and SSE-C."""
    refuse_customer_keys(headers)
    for name in (SSE, KEY_ID, CONTEXT, BUCKET_KEY):
        if name in headers:
            raise invalid_argument(f"{name} header is not supported for this operation.", name, headers[name])


def _mode(algorithm: str) -> Mode:
    try:
        mode = Mode(algorithm)
    except ValueError:
        message = "The encryption method specified is not supported"
        raise invalid_argument(message, SSE, algorithm) from None
    if mode is Mode.KMS_DSSE:
        raise not_implemented(SSE)
    return mode


def _refuse_orphans(headers: Headers) -> None:
    for name in (KEY_ID, CONTEXT):
        if name in headers:
            message = (
                "Server Side Encryption with AWS KMS managed key requires HTTP header"
                " x-amz-server-side-encryption : aws:kms"
            )
            raise invalid_argument(message, SSE, headers.get(SSE, "null"))


def _bucket_key(value: str | None, rule: EncryptionRule) -> bool:
    if value is None:
        return rule.bucket_key_enabled
    if value.lower() not in ("true", "false"):
        raise invalid_argument(f"Value for {BUCKET_KEY} header is invalid.", BUCKET_KEY, value)
    return value.lower() == "true"


def parse_context(value: str) -> dict[str, str]:
    """The client's encryption context from its header: base64 of UTF-8 JSON, a map of strings to strings."""
    try:
        pairs = json.loads(base64.b64decode(value, validate=True).decode(), object_pairs_hook=_unique)
    except (ValueError, binascii.Error, RecursionError):
        pairs = None
    if not isinstance(pairs, dict) or not all(isinstance(item, str) for item in pairs.values()):
        message = (
            f"The header '{CONTEXT}' shall be Base64-encoded UTF-8 string holding JSON which represents a "
            "string-string map"
        )
        raise invalid_argument(message, CONTEXT, value)
    return pairs


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)


def full_context(context: Mapping[str, str], arn: str) -> dict[str, str]:
    """The encryption context that the key service sees: the client's pairs and S3's own.

    Raises:
        AwsError: the client names another ``aws:s3:arn``.
    """
    if context.get(OBJECT_ARN, arn) != arn:
        raise invalid_argument(f"The value of {OBJECT_ARN} does not match the resource.", CONTEXT, context[OBJECT_ARN])
    return {**context, OBJECT_ARN: arn}


def as_s3_error(error: KmsError, key: str) -> AwsError:
    """An error of the key service in S3's words. SDKs must not retry what no retry can mend."""
    match error.code:
        case "AccessDeniedException":
            return access_denied(error.message or "Access Denied")
        case "ThrottlingException" | "LimitExceededException":
            return slow_down("Please reduce your request rate for operations involving AWS KMS.")
        case "KMSInternalException" | "KeyUnavailableException" | "DependencyTimeoutException":
            return service_unavailable()
        case "InvalidCiphertextException" | "IncorrectKeyException":
            # The stored envelope does not belong to this place, or was damaged.
            return damaged_object(key)
        case code:
            return AwsError(f"KMS.{code}", error.message, 400)


def response_headers(header: Header, *, with_context: bool = False) -> dict[str, str]:
    """What a response says of an object's encryption. Only the answers of PutObject and CreateMultipartUpload name
    the encryption context."""
    if header.mode is Mode.S3:
        return {SSE: "AES256"}
    found = {SSE: header.mode.value, KEY_ID: header.key_arn}
    if header.bucket_wrapped_key is not None:
        found[BUCKET_KEY] = "true"
    if with_context and header.context:
        document = json.dumps(dict(header.context), ensure_ascii=False, separators=(",", ":"))
        found[CONTEXT] = base64.b64encode(document.encode()).decode()
    return found
