"""Key separation: every key that is derived from a data key, and what each is bound to. See FORMAT.md, section 1."""

import json
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from proxy import xaes
from proxy.envelope.errors import EnvelopeError

VERSION: Final = 1
ALGORITHM: Final = 1
"""AES256-GCM-HKDF-SHA256 in segments of 65,536 bytes."""

DATA_KEY_SIZE: Final = 32
SALT_SIZE: Final = 32
ID_SIZE: Final = 16
PREFIX_SIZE: Final = 7
NO_ATTEMPT: Final = bytes(ID_SIZE)
"""The attempt id of a single PUT."""

BODY_LABEL: Final = b"sse-proxy/1 body"
HEAD_LABEL: Final = b"sse-proxy/1 head"
FOOT_LABEL: Final = b"sse-proxy/1 foot"
PART_LABEL: Final = b"sse-proxy/1 part"
WRAP_LABEL: Final = b"sse-proxy/1 wrap"
CUST_LABEL: Final = b"sse-proxy/1 cust"
OVER_LABEL: Final = b"sse-proxy/1 over"
SALT_LABEL: Final = b"sse-proxy/1 salt"
# All labels have one length and no two are equal, so none is the beginning of another.

_FORMAT: Final = bytes((VERSION, ALGORITHM))
_HASH: Final = SHA256()
_HEAD_INFO: Final = HEAD_LABEL + _FORMAT
_CANONICAL_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


class Expander:
    """HKDF-SHA256 (RFC 5869) of one data key and salt, for all the keys that follow from them: its first step is taken
    once, and the HMAC of the second takes in its key once. ``cryptography``'s HKDF takes both for each key."""

    __slots__ = ("_mac",)

    def __init__(self, data_key: bytes, salt: bytes) -> None:
        """``data_key`` is of one layer (32 bytes) or, for what covers both, the keys of two (64). Raises ValueError for
        any other size."""
        if len(data_key) not in (DATA_KEY_SIZE, 2 * DATA_KEY_SIZE):
            raise ValueError("a data key has 32 bytes, or with two layers 64")
        extract = HMAC(salt, _HASH)
        extract.update(data_key)
        self._mac = HMAC(extract.finalize(), _HASH)

    def derive(self, info: bytes) -> bytes:
        """A key of 32 bytes."""
        return self._block(info + b"\x01")

    def head_keys(self) -> tuple[bytes, bytes]:
        """The commitment to the data key and the key of the record, 32 bytes each."""
        commitment = self._block(_HEAD_INFO + b"\x01")
        return commitment, self._block(commitment + _HEAD_INFO + b"\x02")

    def _block(self, data: bytes) -> bytes:
        mac = self._mac.copy()
        mac.update(data)
        return mac.finalize()


def derive(data_key: bytes, salt: bytes, info: bytes) -> bytes:
    """The 32 bytes of HKDF-SHA256. Raises ValueError as ``Expander``."""
    return Expander(data_key, salt).derive(info)


def binding(object_id: bytes, number: int, attempt: bytes, size: int) -> bytes:
    """What a stream and its footer are bound to: 46 bytes. ``number`` is 0 for a single PUT, ``size`` plaintext."""
    return b"".join((_FORMAT, object_id, number.to_bytes(4, "big"), attempt, size.to_bytes(8, "big")))


def table_key(data_key: bytes, salt: bytes) -> bytes:
    """The key of the MAC over an object's table of parts; ``salt`` is the header's."""
    return derive(data_key, salt, PART_LABEL + _FORMAT)


def inner_salt(inner_key: bytes, salt: bytes) -> bytes:
    """With two layers: the salt of the inner stream and its footer, where ``salt`` is that of the outer one."""
    return derive(inner_key, salt, SALT_LABEL + _FORMAT)


def canonical_context(context: Mapping[str, str]) -> bytes:
    """The client's encryption context as bytes that are always the same: nothing for an empty one, else JSON with the
    names sorted by code points, without white space, in UTF-8.

    Raises:
        ValueError: it holds something that is not Unicode text.
    """
    if not context:
        return b""
    return _CANONICAL_JSON.encode(dict(context)).encode()


def customer_wrapping_key(customer_key: bytes, salt: bytes) -> bytes:
    """The key that wraps the data key of an SSE-C object in a bucket key's stead; ``salt`` is the object's.

    Raises:
        EnvelopeError: the customer's key has not 32 bytes.
    """
    if len(customer_key) != DATA_KEY_SIZE:
        raise EnvelopeError("the customer's key has not its size")
    return derive(customer_key, salt, CUST_LABEL + _FORMAT)


def wrap(
    wrapping_key: bytes, data_key: bytes, object_arn: str, object_id: bytes, context: bytes, nonce: bytes
) -> bytes:
    """The data key under an S3 Bucket Key, or under what ``customer_wrapping_key`` gives: 72 bytes, of which ``nonce``
    (24 random bytes) is the beginning.

    ``context`` is canonical.
    """
    bound = _wrap_binding(object_arn, object_id, context)
    return nonce + xaes.seal(wrapping_key, nonce, data_key, bound)


def unwrap(wrapping_key: bytes, wrapped: bytes, object_arn: str, object_id: bytes, context: bytes) -> bytes:
    """The data key that ``wrap`` has wrapped.

    Raises:
        EnvelopeError: another key, object ARN, object id or context, or it was tampered with.
    """
    if len(wrapping_key) != xaes.KEY_SIZE:
        raise EnvelopeError("the bucket key has not its size")
    nonce, ciphertext = wrapped[: xaes.NONCE_SIZE], wrapped[xaes.NONCE_SIZE :]
    try:
        return xaes.open_(wrapping_key, nonce, ciphertext, _wrap_binding(object_arn, object_id, context))
    except InvalidTag:
        raise EnvelopeError(
            "the data key is not wrapped for this object under this bucket key or customer's key"
        ) from None


def _wrap_binding(object_arn: str, object_id: bytes, context: bytes) -> bytes:
    arn = object_arn.encode("utf-8", "surrogateescape")
    return b"".join((WRAP_LABEL, _FORMAT, object_id, len(arn).to_bytes(2, "big"), arn, context))
