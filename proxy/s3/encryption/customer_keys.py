"""SSE-C: the key that a client brings with its request, to encrypt an object or to read it again.

The key is never kept, neither it nor a hash of it: see ``proxy/envelope/FORMAT.md``, section 2.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html and its neighbours;
where AWS documents no text of an error, it is the one that AWS has been recorded to answer.
"""

import binascii
import hashlib
import hmac
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Final

from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request
from proxy.envelope import v1
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import Header, Mode
from proxy.s3.errors import access_denied, invalid_argument, invalid_request, not_implemented
from proxy.s3.gateway import Call, Settings

PREFIX: Final = "x-amz-server-side-encryption-customer-"
COPY_SOURCE_PREFIX: Final = "x-amz-copy-source-server-side-encryption-customer-"

_SSE: Final = "x-amz-server-side-encryption"
_ALGORITHM: Final = "algorithm"
_KEY: Final = "key"
_KEY_MD5: Final = "key-MD5"
_KEY_SIZE: Final = 32
_SPECIFYING: Final = "Requests specifying Server Side Encryption with Customer provided keys"


@dataclass(frozen=True)
class CustomerKey:
    """A key that a client has brought, found well formed."""

    key: bytes = field(repr=False)
    """32 bytes."""
    md5: str
    """Its MD5 in base64, as the client sent it; answers repeat it."""


def parse(request: Request, settings: Settings, *, prefix: str = PREFIX) -> CustomerKey | None:
    """The customer's key in a request, or None if it brings none; with ``COPY_SOURCE_PREFIX``, that of a copy's source.

    Raises:
        AwsError: AWS's refusal of keys over plain http and of a header that is missing or wrong; NotImplemented where
            the operator has turned SSE-C off.
    """
    if not _brings(request.headers, prefix):
        return None
    _check_allowed(request, settings, prefix)
    return _checked(request.headers, prefix)


def parse_for_write(call: Call, settings: Settings) -> CustomerKey | None:
    """The customer's key in a request that writes data, or None if it brings none.

    Raises:
        AwsError: as ``parse``; AccessDenied where the bucket blocks SSE-C, which AWS says before it looks at the key.
    """
    if not _brings(call.request.headers, PREFIX):
        return None
    _check_allowed(call.request, settings, PREFIX)
    if call.record.encryption.blocks_customer_keys:
        raise access_denied(
            f'User: {call.caller.arn} is not authorized to perform: s3:PutObject on resource: "{call.target.arn}" '
            "because this bucket has blocked upload requests that specify Server Side Encryption with Customer "
            "provided keys (SSE-C). Please specify a different server-side encryption type"
        )
    return _checked(call.request.headers, PREFIX)


def _brings(headers: Headers, prefix: str) -> bool:
    return any(prefix + name in headers for name in (_ALGORITHM, _KEY, _KEY_MD5))


def _check_allowed(request: Request, settings: Settings, prefix: str) -> None:
    if not settings.customer_keys:
        raise not_implemented(prefix + _ALGORITHM)
    if request.peer is None or not request.peer.secure:
        raise _refused("must be made over a secure connection.")


def _checked(headers: Headers, prefix: str) -> CustomerKey:
    """The key in the three headers. Of several faults, the one that AWS names."""
    algorithm, key = headers.get(prefix + _ALGORITHM), headers.get(prefix + _KEY)
    if algorithm is None:
        raise _refused("must provide a valid encryption algorithm.")
    if key is None:
        raise _refused("must provide an appropriate secret key.")
    if algorithm != "AES256":
        message = "The Encryption request you specified is not valid. Supported value: AES256."
        detail = {"ArgumentName": _SSE, "ArgumentValue": algorithm}
        raise AwsError("InvalidEncryptionAlgorithmError", message, 400, detail=detail)
    md5 = headers.get(prefix + _KEY_MD5)
    if md5 is None:
        raise _refused("must provide the client calculated MD5 of the secret key.")
    try:
        decoded = binascii.a2b_base64(key.encode(), strict_mode=True)
    except ValueError:
        raise _invalid_key() from None
    calculated = b64encode(hashlib.md5(decoded, usedforsecurity=False).digest()).decode()
    if not hmac.compare_digest(calculated.encode(), md5.encode("utf-8", "surrogateescape")):
        raise invalid_argument(
            "The calculated MD5 hash of the key did not match the hash that was provided.", _SSE, "null"
        )
    if len(decoded) != _KEY_SIZE:
        raise _invalid_key()
    return CustomerKey(decoded, md5)


def _refused(reason: str) -> AwsError:
    return invalid_argument(f"{_SPECIFYING} {reason}", _SSE, "null")


def _invalid_key() -> AwsError:
    return invalid_argument("The secret key was invalid for the specified algorithm.", _SSE, "null")


def check_presence(header: Header | None, customer_key: CustomerKey | None) -> None:
    """Holds what a request brings against what an object needs; None: an object without an envelope.

    Raises:
        AwsError: InvalidRequest, where a key is missing or is not needed.
    """
    needed = header is not None and header.mode is Mode.CUSTOMER
    if needed and customer_key is None:
        raise invalid_request(
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to "
            "retrieve the object."
        )
    if not needed and customer_key is not None:
        raise invalid_request("The encryption parameters are not applicable to this object.")


def check(header: Header | None, customer_key: CustomerKey | None, object_arn: str) -> None:
    """Like ``check_presence``, and a key that is there must be the object's.

    Raises:
        AwsError: InvalidRequest, AccessDenied.
    """
    check_presence(header, customer_key)
    if header is not None and customer_key is not None:
        unwrap(header, customer_key, object_arn)


def unwrap(header: Header, customer_key: CustomerKey, object_arn: str) -> bytes:
    """The data key of an object under SSE-C.

    Raises:
        AwsError: AccessDenied, where the key is another one. A wrap that was damaged or moved in the store can't be
            told from that.
    """
    try:
        return v1.unwrap_with_customer_key(header, customer_key.key, object_arn)
    except EnvelopeError:
        raise access_denied(f"{_SPECIFYING} must provide the correct secret key.") from None


def response_headers(customer_key: CustomerKey) -> dict[str, str]:
    """What an answer about an object under SSE-C says of its encryption."""
    return {PREFIX + "algorithm": "AES256", PREFIX + "key-MD5": customer_key.md5}
