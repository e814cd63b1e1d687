"""Server-side encryption as S3 speaks of it: which mode a request or its bucket asks for, the key service's errors in
S3's words, and the headers that tell a client how an object is encrypted. ``customer_keys`` has what is SSE-C's alone.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/specifying-kms-encryption.html and the API reference of PutObject.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Final

from proxy.aws.credentials import Caller
from proxy.aws.errors import AwsError
from proxy.aws.message import Headers
from proxy.envelope.header import Header, Mode
from proxy.kms.errors import KmsError
from proxy.kms.provider import AWS_MANAGED_S3_KEY, S3_OWNED_KEY
from proxy.s3.encryption import customer_keys
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.errors import (
    access_denied,
    damaged_object,
    invalid_argument,
    service_unavailable,
    slow_down,
)
from proxy.s3.gateway import Call, Settings
from proxy.s3.state.ports import EncryptionRule
from proxy.values import value_class

SSE: Final = "x-amz-server-side-encryption"
KEY_ID: Final = "x-amz-server-side-encryption-aws-kms-key-id"
CONTEXT: Final = "x-amz-server-side-encryption-context"
BUCKET_KEY: Final = "x-amz-server-side-encryption-bucket-key-enabled"

OBJECT_ARN: Final = "aws:s3:arn"
"""The pair that S3 itself puts into the encryption context."""

NO_CONTEXT: Final[Mapping[str, str]] = MappingProxyType({})

_MODES: Final[Mapping[str, Mode]] = MappingProxyType({mode.value: mode for mode in Mode if mode is not Mode.CUSTOMER})
"""By what ``x-amz-server-side-encryption`` and the bucket's rule call them."""


@value_class
class Choice:
    """How a new object will be encrypted."""

    mode: Mode
    key_id: str = ""
    """As the request or the rule named it, or one of the two constants of ``kms.provider``; ``""`` under SSE-C."""
    context: Mapping[str, str] = field(default_factory=lambda: NO_CONTEXT)
    """The client's own pairs."""
    bucket_key: bool = False
    customer_key: CustomerKey | None = None
    """The key that the client brings: under SSE-C, and only there."""


def choose(call: Call, settings: Settings) -> Choice:
    """The encryption of a new object: what its request asks for, else the default of the bucket that it is put into.

    Raises:
        AwsError: AWS's refusal of a combination of headers, 501 for a mode that is not supported.
    """
    headers, rule = call.request.headers, call.record.encryption
    customer_key = customer_keys.parse_for_write(call, settings)
    if customer_key is not None:
        _refuse_beside_customer_key(headers)
        return Choice(Mode.CUSTOMER, customer_key=customer_key)
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
        return Choice(mode, S3_OWNED_KEY)
    require_secure(call, settings, algorithm)
    # An empty key id header is a value that names no key, not a missing one: the key service refuses it.
    chosen = AWS_MANAGED_S3_KEY if key_id is None else key_id
    pairs = parse_context(context) if context is not None else NO_CONTEXT
    return Choice(mode, chosen, pairs, _bucket_key(headers.get(BUCKET_KEY), rule, mode))


def require_signature(caller: Caller, mode: Mode) -> None:
    """Refuses what the key service would have to be asked for on behalf of nobody.

    Raises:
        AwsError: InvalidArgument, in AWS's words.
    """
    if caller.anonymous and mode not in (Mode.S3, Mode.CUSTOMER):
        message = (
            "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4."
        )
        raise invalid_argument(message, "Authorization", "null")


def require_secure(call: Call, settings: Settings, algorithm: str) -> None:
    """Refuses SSE-KMS over plain http, unless the operator allows it.

    Raises:
        AwsError: InvalidArgument.
    """
    peer = call.request.peer
    if not settings.kms_over_plain_http and not (peer is not None and peer.secure):
        message = (
            "Requests specifying Server Side Encryption with AWS KMS managed keys must be made over a secure "
            "connection."
        )
        raise invalid_argument(message, SSE, algorithm)


def refuse_choice(headers: Headers) -> None:
    """Refuses the headers that choose an encryption where there is nothing to choose, as S3 does: on reads, and on all
    requests of a multipart upload but the one that begins it.

    Raises:
        AwsError: InvalidArgument.
    """
    for name in (SSE, KEY_ID, CONTEXT, BUCKET_KEY):
        if name in headers:
            raise invalid_argument(f"{name} header is not supported for this operation.", name, headers[name])


def _refuse_beside_customer_key(headers: Headers) -> None:
    if SSE in headers:
        message = (
            "Server Side Encryption with Customer provided key is incompatible with the encryption method specified"
        )
        raise invalid_argument(message, SSE, headers[SSE])
    _refuse_orphans(headers)


def _mode(algorithm: str) -> Mode:
    mode = _MODES.get(algorithm)
    if mode is None:
        raise invalid_argument("The encryption method specified is not supported", SSE, algorithm)
    return mode


def _refuse_orphans(headers: Headers) -> None:
    for name in (KEY_ID, CONTEXT):
        if name in headers:
            message = (
                "Server Side Encryption with AWS KMS managed key requires HTTP header"
                " x-amz-server-side-encryption : aws:kms"
            )
            raise invalid_argument(message, SSE, headers.get(SSE, "null"))


def _bucket_key(value: str | None, rule: EncryptionRule, mode: Mode) -> bool:
    if value is None:
        return rule.bucket_key_enabled and mode is not Mode.KMS_DSSE
    if value.lower() not in ("true", "false"):
        raise invalid_argument(f"Value for {BUCKET_KEY} header is invalid.", BUCKET_KEY, value)
    wanted = value.lower() == "true"
    if wanted and mode is Mode.KMS_DSSE:
        message = (
            "S3 Bucket Keys aren't supported for dual-layer server-side encryption with AWS Key Management Service "
            "(AWS KMS) keys (DSSE-KMS)."
        )
        raise invalid_argument(message, BUCKET_KEY, value)
    return wanted


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


def response_headers(
    header: Header, customer_key: CustomerKey | None = None, *, with_context: bool = False
) -> dict[str, str]:
    """What a response says of an object's encryption. Only the answers of PutObject, CopyObject and
    CreateMultipartUpload name the encryption context. ``customer_key`` is what the request brought."""
    if header.mode is Mode.S3:
        return {SSE: "AES256"}
    if header.mode is Mode.CUSTOMER:
        return customer_keys.response_headers(customer_key) if customer_key is not None else {}
    found = {SSE: header.mode.value, KEY_ID: header.key_arn}
    if header.bucket_wrapped_key is not None:
        found[BUCKET_KEY] = "true"
    if with_context and header.context:
        document = json.dumps(dict(header.context), ensure_ascii=False, separators=(",", ":"))
        found[CONTEXT] = base64.b64encode(document.encode()).decode()
    return found
