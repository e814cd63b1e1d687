"""The envelope's header, which lies in the object's user metadata. See FORMAT.md, section 2."""

import binascii
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import field
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final

from proxy.envelope.errors import EnvelopeError, UnknownVersion
from proxy.envelope.keys import ID_SIZE, SALT_SIZE, VERSION, canonical_context
from proxy.envelope.varint import decode_varint, encode_varint
from proxy.values import value_class

METADATA_PREFIX: Final = "x-amz-meta-"
RESERVED_PREFIX: Final = "sse-proxy-"
"""User-metadata names (after ``x-amz-meta-``) that start so belong to the envelope."""

ARN_NAME: Final = METADATA_PREFIX + RESERVED_PREFIX + "arn"
KEY_NAME: Final = METADATA_PREFIX + RESERVED_PREFIX + "key"
CONTEXT_NAME: Final = METADATA_PREFIX + RESERVED_PREFIX + "context"

COMMITMENT_SIZE: Final = 32
WRAPPED_SIZE: Final = 72
"""Of a data key under an S3 Bucket Key, a wrapping key or a customer's key."""
RECORD_NONCE_SIZE: Final = 12
_FIXED_SIZE: Final = 2 + SALT_SIZE + COMMITMENT_SIZE
_RECORD_SMALLEST: Final = RECORD_NONCE_SIZE + 16
_MULTIPART_FLAG: Final = 4
_BUCKET_KEY_FLAG: Final = 8
_REWRAPPED_FLAG: Final = 32
_LAYERS_FLAG: Final = 64
_FULL_PREFIX: Final = METADATA_PREFIX + RESERVED_PREFIX
_FULL_LENGTH: Final = len(_FULL_PREFIX)
_EMPTY: Final[Mapping[str, str]] = MappingProxyType({})


class Mode(StrEnum):
    """How the object is encrypted, as ``x-amz-server-side-encryption`` says it; but for SSE-C, which has other header
    fields."""

    S3 = "AES256"
    KMS = "aws:kms"
    KMS_DSSE = "aws:kms:dsse"
    CUSTOMER = "SSE-C"


class Layout(Enum):
    """Whether an object is one stream or several parts."""

    SINGLE = "single"
    MULTIPART = "multipart"


_MODE_CODES: Final = {Mode.S3: 1, Mode.KMS: 2, Mode.KMS_DSSE: 3, Mode.CUSTOMER: 16}
_WRAP_FLAGS: Final = {
    Mode.S3: (0, _BUCKET_KEY_FLAG, _REWRAPPED_FLAG),
    Mode.KMS: (0, _BUCKET_KEY_FLAG, _REWRAPPED_FLAG),
    Mode.KMS_DSSE: (0, _BUCKET_KEY_FLAG, _REWRAPPED_FLAG, _LAYERS_FLAG),
    Mode.CUSTOMER: (0,),
}
_KINDS: Final = {
    code | flag | wrap_flag: (mode, layout, wrap_flag)
    for mode, code in _MODE_CODES.items()
    for layout, flag in ((Layout.SINGLE, 0), (Layout.MULTIPART, _MULTIPART_FLAG))
    for wrap_flag in _WRAP_FLAGS[mode]
}


@value_class
class Header:
    """The header of one object. Nothing in it is secret."""

    mode: Mode
    layout: Layout
    key_arn: str
    """``""`` under SSE-C."""
    wrapped_key: bytes
    """The KMS ciphertext blob: of the data key or, with an S3 Bucket Key or a wrapping key, of that. Under SSE-C: the
    data key, wrapped under what comes of the customer's key."""
    bucket_wrapped_key: bytes | None
    """With an S3 Bucket Key: the data key, wrapped under it."""
    salt: bytes
    """32 random bytes, fresh with every PUT and every CreateMultipartUpload."""
    commitment: bytes
    """32 bytes that only one data key can have."""
    record: bytes
    """The sealed record, with its nonce before it."""
    context: Mapping[str, str] = field(default_factory=dict)
    """The client's encryption context, without what S3 adds."""
    rewrapped_key: bytes | None = None
    """The data key, wrapped anew without an S3 Bucket Key: under a wrapping key that serves this object alone."""
    outer_wrapped_key: bytes | None = None
    """With two layers: the ciphertext blob of the outer layer's key; ``wrapped_key`` is then that of the inner key."""

    @property
    def object_id(self) -> bytes:
        """Sixteen random bytes: the salt's first."""
        return self.salt[:ID_SIZE]

    @property
    def layers(self) -> int:
        """How often the object is encrypted, under independent keys: 1 or 2."""
        return 1 if self.outer_wrapped_key is None else 2


def kind_of(mode: Mode, layout: Layout, *, bucket_key: bool, rewrapped: bool = False, two_layers: bool = False) -> int:
    """Mode, layout and what wraps the data key, as the byte that the format has for them."""
    multipart = _MULTIPART_FLAG if layout is Layout.MULTIPART else 0
    wrap_flag = (
        (_BUCKET_KEY_FLAG if bucket_key else 0)
        | (_REWRAPPED_FLAG if rewrapped else 0)
        | (_LAYERS_FLAG if two_layers else 0)
    )
    return _MODE_CODES[mode] | multipart | wrap_flag


def is_reserved(name: str) -> bool:
    """Whether a user-metadata name, with or without ``x-amz-meta-``, in any case, belongs to the envelope."""
    return name.lower().removeprefix(METADATA_PREFIX).startswith(RESERVED_PREFIX)


def encode(header: Header) -> dict[str, str]:
    """The header as user metadata: full names in lower case (``x-amz-meta-…``) to ASCII values.

    Raises:
        ValueError: a field has not its form.
    """
    if header.mode is Mode.CUSTOMER:
        if header.key_arn or header.context or len(header.wrapped_key) != WRAPPED_SIZE:
            raise ValueError("under a customer's key there is neither ARN nor context, and the wrap has 72 bytes")
    elif not _is_arn(header.key_arn):
        raise ValueError("a key ARN is printable ASCII")
    if len(header.salt) != SALT_SIZE or len(header.commitment) != COMMITMENT_SIZE:
        raise ValueError("salt and commitment have 32 bytes")
    bucket_wrapped, rewrapped = header.bucket_wrapped_key, header.rewrapped_key
    if bucket_wrapped is not None and rewrapped is not None:
        raise ValueError("a data key is wrapped under a bucket key or a wrapping key")
    wrapped = rewrapped if bucket_wrapped is None else bucket_wrapped
    if wrapped is not None and len(wrapped) != WRAPPED_SIZE:
        raise ValueError("a data key under a bucket key or a wrapping key has 72 bytes")
    outer = header.outer_wrapped_key
    kind = kind_of(
        header.mode,
        header.layout,
        bucket_key=bucket_wrapped is not None,
        rewrapped=rewrapped is not None,
        two_layers=outer is not None,
    )
    if kind not in _KINDS or outer == b"":
        raise ValueError("two layers go with aws:kms:dsse and with no other way to wrap a key")
    value = b"".join(
        (
            bytes((VERSION, kind)),
            header.salt,
            header.commitment,
            encode_varint(len(header.wrapped_key)),
            header.wrapped_key,
            wrapped or b"",
            b"" if outer is None else encode_varint(len(outer)) + outer,
            header.record,
        )
    )
    metadata = {ARN_NAME: header.key_arn} if header.key_arn else {}
    metadata[KEY_NAME] = urlsafe_b64encode(value).rstrip(b"=").decode()
    if header.context:
        metadata[CONTEXT_NAME] = b64encode(canonical_context(header.context)).decode()
    return metadata


def decode(headers: Mapping[str, str]) -> Header | None:
    """The header among an object's header fields, or None if there is not one reserved name among them.

    ``headers`` may be a multi-dictionary; its names are compared without regard to case.

    Raises:
        EnvelopeError: it is damaged.
        UnknownVersion: it is of a later version.
    """
    fields = [
        (name.lower(), value)
        for name, value in headers.items()
        if name[:_FULL_LENGTH].lower() == _FULL_PREFIX  # as is_reserved_field; every name of every answer is looked at
    ]
    if not fields:
        return None
    metadata = dict(fields)
    spelled = _ascii(metadata.get(KEY_NAME, "")).translate(_FROM_URLSAFE)
    value = _decode_base64(spelled + b"=" * (-len(spelled) % 4))
    if not value:
        raise EnvelopeError("the header has no key")
    if value[0] != VERSION:
        raise UnknownVersion(f"the object is of version {value[0]} of the format, which is not known here")
    if len(fields) != len(metadata) or not metadata.keys() <= _NAMES:
        raise EnvelopeError("the header has a name twice or one too many")
    header = _parse(value, metadata.get(ARN_NAME, ""), _parse_context(metadata.get(CONTEXT_NAME)))
    if header.mode is Mode.CUSTOMER:
        if len(metadata) > 1 or len(header.wrapped_key) != WRAPPED_SIZE:
            raise EnvelopeError("the header is damaged")
    elif not _is_arn(header.key_arn):
        raise EnvelopeError("the header has no key ARN")
    return header


def is_reserved_field(name: str) -> bool:
    """Whether a header field's name, in any case, is that of reserved user metadata."""
    # Most names differ in their first letters or length, and every answer's names pass through here.
    return name[: len(_FULL_PREFIX)].lower() == _FULL_PREFIX


def _parse(value: bytes, arn: str, context: Mapping[str, str]) -> Header:
    kind = _KINDS.get(value[1]) if len(value) > _FIXED_SIZE else None
    if kind is None:
        raise EnvelopeError("the header is damaged")
    mode, layout, wrap_flag = kind
    size, position = decode_varint(value, _FIXED_SIZE)
    wrapped_end = position + size
    outer = None
    if wrap_flag == _LAYERS_FLAG:
        outer_size, outer_start = decode_varint(value, wrapped_end)
        record_start = outer_start + outer_size
        outer = value[outer_start:record_start]
    else:
        record_start = wrapped_end + (WRAPPED_SIZE if wrap_flag else 0)
    if not size or outer == b"" or len(value) < record_start + _RECORD_SMALLEST:
        raise EnvelopeError("the header is cut short")
    return Header(
        mode=mode,
        layout=layout,
        key_arn=arn,
        wrapped_key=value[position:wrapped_end],
        bucket_wrapped_key=value[wrapped_end:record_start] if wrap_flag == _BUCKET_KEY_FLAG else None,
        salt=value[2 : 2 + SALT_SIZE],
        commitment=value[2 + SALT_SIZE : _FIXED_SIZE],
        record=value[record_start:],
        context=context,
        rewrapped_key=value[wrapped_end:record_start] if wrap_flag == _REWRAPPED_FLAG else None,
        outer_wrapped_key=outer,
    )


def _parse_context(value: str | None) -> Mapping[str, str]:
    if value is None:
        return _EMPTY
    data = _decode_base64(_ascii(value))
    try:
        context = json.loads(data)
        if not isinstance(context, dict) or not all(isinstance(item, str) for item in context.values()):
            raise EnvelopeError("the encryption context is not a map of strings")
        if not context or canonical_context(context) != data:
            raise EnvelopeError("the encryption context is not in its canonical form")
    except (ValueError, RecursionError):
        raise EnvelopeError("the encryption context is not JSON") from None
    return MappingProxyType(context)


def _decode_base64(value: bytes) -> bytes:
    """Padded base64 in its one right spelling: nothing foreign in it, and the bits that no byte needs are zero."""
    try:
        data = binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        raise EnvelopeError("the header is not base64") from None
    if b64encode(data[len(data) // 3 * 3 :]) != value[len(data) // 3 * 4 :]:
        raise EnvelopeError("the header is not canonical base64")
    return data


def _ascii(value: str) -> bytes:
    try:
        return value.encode("ascii")
    except UnicodeEncodeError:
        raise EnvelopeError("the header is not ASCII") from None


def _is_arn(value: str) -> bool:
    return bool(value) and value.isascii() and value.isprintable() and " " not in value


_NAMES: Final = frozenset((ARN_NAME, KEY_NAME, CONTEXT_NAME))
# What the URL-safe alphabet lacks becomes what no alphabet has.
_FROM_URLSAFE: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
