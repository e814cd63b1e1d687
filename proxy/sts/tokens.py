"""Session tokens: whom temporary credentials stand for, sealed.

Layout, integers big-endian::

    0    1   format version, 1
    1    4   version of the session key
    5    24  nonce
    29   n   XAES-256-GCM ciphertext
    29+n 16  tag

The associated data is bytes 0 to 4 and the access key id. Sealed are 4 bytes of issue and 4 of expiry (seconds since
the epoch) and then, deflated against a fixed dictionary, JSON: the ARN of the user or role, the name of the role's
session or null, the session policy or null, and the ARNs of managed session policies. A token is the base64 of it,
1,536 characters at most. The secret access key follows from the session key, the nonce and the access key id.
"""

import base64
import binascii
import hashlib
import hmac
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.exceptions import InvalidTag

from proxy.aws.credentials import InvalidSessionToken
from proxy.sts.session_keys import SessionKey

MAX_TOKEN: Final = 1536
"""Characters."""

_VERSION: Final = 1
_HEADER: Final = struct.Struct(">BI")
_TIMES: Final = struct.Struct(">II")
_NONCE_SIZE: Final = 24
_TAG_SIZE: Final = 16
_MAX_BODY: Final = MAX_TOKEN // 4 * 3 - _HEADER.size - _NONCE_SIZE - _TAG_SIZE - _TIMES.size
_MAX_INFLATED: Final = 64 * 1024

_DICTIONARY: Final = (
    b'"kms:ReEncryptFrom","kms:ReEncryptTo","kms:CreateGrant","kms:Sign","kms:Verify","kms:GenerateMac",'
    b'"kms:EncryptionContext:"NumericLessThan":{"DateLessThan":{"aws:CurrentTime":"IpAddress":{"aws:SourceIp":'
    b'"ForAnyValue:StringEquals":"ForAllValues:StringLike":{"StringNotEquals":{"Bool":{"aws:SecureTransport":"true"}'
    b'"s3:ListBucketMultipartUploads","s3:AbortMultipartUpload","s3:ListMultipartUploadParts","s3:GetBucketLocation",'
    b'"s3:GetObjectVersion","s3:DeleteObject","s3:PutObject","s3:GetObject","s3:ListBucket","s3:prefix":["s3:*"'
    b'"NotAction":"NotResource":"kms:ViaService":"kms:*","kms:DescribeKey","kms:GenerateDataKey*","kms:GenerateDataKey",'
    b'"kms:Encrypt","kms:Decrypt","Condition":{"StringLike":{"Condition":{"StringEquals":{"Sid":"'
    b'"Resource":"arn:aws:kms:us-east-1:eu-west-1:ap-northeast-1:key/"Resource":"*"}]}"Resource":["arn:aws:s3:::'
    b'"Effect":"Deny","Action":["{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["'
    b'["arn:aws:iam::aws:policy/["arn:aws:iam::user/["arn:aws:iam::role/'
)
"""What session policies are made of; the likeliest stands last. It belongs to the format."""


class PackedPolicyTooLarge(Exception):
    """The session's policies do not fit; ``size`` is the percentage of what there is room for."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class UnknownSessionKey(InvalidSessionToken):
    """A token was sealed under a session key that this process does not know, perhaps not yet."""


@dataclass(frozen=True)
class Grant:
    """What a token says."""

    principal: str
    """The ARN of a user, an account's root, or a role."""
    issued: datetime
    expires: datetime
    session_name: str | None = None
    """Of a role's session."""
    policy: Mapping[str, Any] | None = None
    """The session policy."""
    policy_arns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Credentials:
    """Temporary credentials, as they are handed out."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    packed_policy_size: int | None
    """Percentage of the room for policies; None where there are none."""


def issue(grant: Grant, key: SessionKey, random: bytes) -> Credentials:
    """Credentials for a session; ``random`` is 34 random bytes.

    Raises PackedPolicyTooLarge."""
    access_key_id = "ASIA" + base64.b32encode(random[_NONCE_SIZE:]).decode()
    nonce = random[:_NONCE_SIZE]
    body, size = _pack(grant)
    header = _HEADER.pack(_VERSION, key.version)
    plain = _TIMES.pack(int(grant.issued.timestamp()), int(grant.expires.timestamp())) + body
    sealed = key.cipher.encrypt(nonce, plain, header + access_key_id.encode())
    token = base64.b64encode(header + nonce + sealed).decode()
    return Credentials(access_key_id, _secret(key, nonce, access_key_id), token, size)


def open_token(token: str, access_key_id: str, keys: Mapping[int, SessionKey]) -> tuple[Grant, str]:
    """What a token says, and the secret access key that belongs to it; whether it has expired is not looked at.

    Raises InvalidSessionToken; UnknownSessionKey where that is the reason."""
    try:
        raw = base64.b64decode(token, validate=True) if len(token) <= MAX_TOKEN else b""
        version, key_version = _HEADER.unpack_from(raw)
    except (binascii.Error, ValueError, struct.error):
        raise InvalidSessionToken from None
    if version != _VERSION:
        raise InvalidSessionToken
    key = keys.get(key_version)
    if key is None:
        raise UnknownSessionKey
    nonce, sealed = raw[_HEADER.size : _HEADER.size + _NONCE_SIZE], raw[_HEADER.size + _NONCE_SIZE :]
    try:
        plain = key.cipher.decrypt(nonce, sealed, raw[: _HEADER.size] + access_key_id.encode("utf-8", "replace"))
    except (InvalidTag, ValueError):
        raise InvalidSessionToken from None
    issued, expires = _TIMES.unpack_from(plain)
    principal, session_name, policy, arns = _inflate(plain[_TIMES.size :])
    grant = Grant(
        principal,
        datetime.fromtimestamp(issued, UTC),
        datetime.fromtimestamp(expires, UTC),
        session_name,
        policy,
        tuple(arns),
    )
    return grant, _secret(key, nonce, access_key_id)


def _pack(grant: Grant) -> tuple[bytes, int | None]:
    """The deflated body, and how much of the room for policies they take, in percent."""
    body = _deflate(grant)
    if grant.policy is None and not grant.policy_arns:
        return body, None
    without = len(_deflate(replace(grant, policy=None, policy_arns=())))
    size = -(-100 * (len(body) - without) // (_MAX_BODY - without))
    if len(body) > _MAX_BODY:
        raise PackedPolicyTooLarge(max(size, 101))
    return body, size


def _deflate(grant: Grant) -> bytes:
    document = [grant.principal, grant.session_name, grant.policy, list(grant.policy_arns)]
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_DICTIONARY)
    return packer.compress(text) + packer.flush()


def _inflate(body: bytes) -> Any:
    return json.loads(zlib.decompressobj(-15, zdict=_DICTIONARY).decompress(body, _MAX_INFLATED))


def _secret(key: SessionKey, nonce: bytes, access_key_id: str) -> str:
    digest = hmac.new(key.secrets, nonce + access_key_id.encode("utf-8", "replace"), hashlib.sha256).digest()
    return base64.b64encode(digest[:30]).decode()
