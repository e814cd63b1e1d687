"""The sealed record in the header: what is not needed to unwrap the key. See FORMAT.md, section 2."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.envelope import digests as entries
from proxy.envelope.digests import ALGORITHMS, CODES, NO_DIGESTS, TYPE_CODES, TYPES, Digests
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import RECORD_NONCE_SIZE, Layout
from proxy.envelope.keys import ALGORITHM, HEAD_LABEL, VERSION
from proxy.envelope.varint import decode_varint, encode_varint
from proxy.values import value_class


@value_class
class Record:
    """What a record says."""

    plaintext_size: int | None = None
    """None for a multipart object."""
    digests: Digests = NO_DIGESTS
    """Of a single PUT: what was known before the body."""
    checksum_algorithm: str | None = None
    """Of a multipart upload."""
    checksum_type: str | None = None
    """Of a multipart upload: ``COMPOSITE``, ``FULL_OBJECT`` or None."""


def encode(record: Record) -> bytes:
    """The record's content, before it is sealed.

    Raises:
        ValueError: a checksum, an algorithm or a type is not known.
    """
    if record.plaintext_size is not None:
        return encode_varint(record.plaintext_size) + entries.encode(record.digests)
    algorithm, checksum_type = record.checksum_algorithm, record.checksum_type
    if (algorithm is not None and algorithm not in CODES) or checksum_type not in TYPE_CODES:
        raise ValueError("the checksum algorithm or type is not known")
    return bytes((0 if algorithm is None else CODES[algorithm][0], TYPE_CODES[checksum_type]))


def decode(content: bytes, layout: Layout) -> Record:
    """What an opened record says.

    Raises:
        EnvelopeError: it is not well formed.
    """
    if layout is Layout.SINGLE:
        size, position = decode_varint(content, 0)
        return Record(size, entries.decode(content[position:]))
    if len(content) != 2 or content[1] not in TYPES or (content[0] and content[0] not in ALGORITHMS):
        raise EnvelopeError("the record is damaged")
    algorithm = ALGORITHMS[content[0]][0] if content[0] else None
    return Record(checksum_algorithm=algorithm, checksum_type=TYPES[content[1]])


def binding(kind: int, salt: bytes, key_arn: str, context: bytes) -> bytes:
    """The associated data of a record; ``context`` is canonical."""
    arn = key_arn.encode("ascii")
    start = bytes((VERSION, ALGORITHM, kind))
    return b"".join((HEAD_LABEL, start, salt, len(arn).to_bytes(2, "big"), arn, context))


def seal(key: bytes, nonce: bytes, content: bytes, bound: bytes) -> bytes:
    """The sealed record, with its nonce (12 bytes, fresh with every sealing) before it."""
    return nonce + AESGCM(key).encrypt(nonce, content, bound)


def open_(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """The content of a sealed record.

    Raises:
        EnvelopeError: it, or what it is bound to, was changed.
    """
    try:
        return AESGCM(key).decrypt(sealed[:RECORD_NONCE_SIZE], sealed[RECORD_NONCE_SIZE:], bound)
    except InvalidTag:
        raise EnvelopeError("the header was changed") from None
