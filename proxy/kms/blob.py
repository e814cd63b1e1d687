"""The CiphertextBlob codec for symmetric KMS keys.

Layout, integers big-endian::

    0   1   format version, 1
    1   1   kind: 1 single-Region key, 2 multi-Region key (``mrk-``), 3 key owned by the service
    2   5   account, as a number
    7   16  key id, the UUID's bytes
    23  4   ordinal of the backing key, from 1
    27  24  nonce
    51  n   XAES-256-GCM ciphertext
    51+n 16 tag

The associated data is bytes 0 to 26 and then the encryption context: each pair, in the order of its name's UTF-8
bytes, as 4 bytes of length and the bytes of the name, then the same of the value. Pairs of lengths and bytes make
this injective. A blob of n bytes of plaintext is n + 67 bytes long. It holds no Region: a multi-Region key's blob
opens in each of its Regions.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag

from proxy.kms import errors
from proxy.values import value_class
from proxy.xaes import XAES256GCM

VERSION: Final = 1
SINGLE_REGION: Final = 1
MULTI_REGION: Final = 2
SERVICE_OWNED: Final = 3
NONCE_SIZE: Final = 24
OVERHEAD: Final = 67

_HEADER: Final = struct.Struct(">BB5s16sI")
HEADER_SIZE: Final = _HEADER.size
_BODY: Final = _HEADER.size + NONCE_SIZE
_ACCOUNTS: Final = 10**12
_LENGTH: Final = struct.Struct(">I")


class BlobKey(NamedTuple):
    """Which backing key of which KMS key a blob was made under."""

    kind: int
    account: str
    """Twelve digits."""
    key_id: str
    """A UUID with hyphens, or ``mrk-`` and 32 hexadecimal digits."""
    ordinal: int


@value_class
class Blob:
    """A blob taken apart; nothing about it is authenticated yet."""

    key: BlobKey
    header: bytes
    nonce: bytes
    sealed: bytes


@lru_cache(maxsize=1024)
def encode_header(key: BlobKey) -> bytes:
    """The 27 bytes of the header."""
    digits = key.key_id.removeprefix("mrk-").replace("-", "")
    account = int(key.account).to_bytes(5, "big")
    return _HEADER.pack(VERSION, key.kind, account, bytes.fromhex(digits), key.ordinal)


@lru_cache(maxsize=1024)
def _decode_header(header: bytes) -> BlobKey:
    version, kind, account_bytes, uuid, ordinal = _HEADER.unpack(header)
    account = int.from_bytes(account_bytes, "big")
    if version != VERSION or not SINGLE_REGION <= kind <= SERVICE_OWNED or account >= _ACCOUNTS or ordinal == 0:
        raise errors.invalid_ciphertext()
    digits: str = uuid.hex()
    hyphenated = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return BlobKey(kind, f"{account:012d}", f"mrk-{digits}" if kind == MULTI_REGION else hyphenated, ordinal)


def parse(blob: bytes) -> Blob:
    """Takes a blob apart.

    Raises:
        KmsError: InvalidCiphertextException; it is not of this format.
    """
    if len(blob) < OVERHEAD:
        raise errors.invalid_ciphertext()
    header = blob[: _HEADER.size]
    return Blob(_decode_header(header), header, blob[_HEADER.size : _BODY], blob[_BODY:])


def context_bytes(context: Mapping[str, str]) -> bytes:
    """The canonical, injective form of an encryption context; empty for an empty one."""
    if not context:
        return b""
    pieces: list[bytes] = []
    for name, value in sorted((name.encode(), value.encode()) for name, value in context.items()):
        pieces += (_LENGTH.pack(len(name)), name, _LENGTH.pack(len(value)), value)
    return b"".join(pieces)


def seal(cipher: XAES256GCM, key: BlobKey, nonce: bytes, plaintext: bytes, context: Mapping[str, str]) -> bytes:
    """A blob of ``plaintext`` under the backing key ``cipher``. ``nonce``: 24 random bytes, never used before."""
    header = encode_header(key)
    return header + nonce + cipher.encrypt(nonce, plaintext, header + context_bytes(context))


def open_blob(cipher: XAES256GCM, blob: Blob, context: Mapping[str, str]) -> bytes:
    """The plaintext of a blob.

    Raises:
        KmsError: InvalidCiphertextException; the blob was changed, or the encryption context is another one.
    """
    try:
        return cipher.decrypt(blob.nonce, blob.sealed, blob.header + context_bytes(context))
    except InvalidTag:
        raise errors.invalid_ciphertext() from None
