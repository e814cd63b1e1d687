"""The sealed footer: what is known of a plaintext only when it has ended. See FORMAT.md, section 5."""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.envelope import digests as entries
from proxy.envelope.digests import Digests
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.keys import FOOT_LABEL, derive
from proxy.envelope.ranges import FOOTER_SIZE, TAG_SIZE
from proxy.stream import Buffer

CONTENT_SIZE: Final = FOOTER_SIZE - TAG_SIZE

# The key seals one footer only: it is derived from the stream's salt, which is random and fresh with every attempt.
# So the nonce may be fixed.
_NONCE: Final = bytes(12)


def seal(data_key: bytes, salt: bytes, binding: bytes, content: Digests) -> bytes:
    """The footer of the stream with this salt and binding: 128 bytes.

    Raises:
        ValueError: the content is longer than 112 bytes.
    """
    data = entries.encode(content)
    if len(data) > CONTENT_SIZE:
        raise ValueError("the checksums do not fit into a footer")
    return _cipher(data_key, salt, binding).encrypt(_NONCE, data.ljust(CONTENT_SIZE, b"\0"), None)


def open_(data_key: bytes, salt: bytes, binding: bytes, footer: Buffer) -> Digests:
    """What a footer says.

    Raises:
        EnvelopeError: it is damaged or belongs to another stream.
    """
    if len(footer) != FOOTER_SIZE:
        raise EnvelopeError("the footer has not its size")
    try:
        content = _cipher(data_key, salt, binding).decrypt(_NONCE, footer, None)
    except InvalidTag:
        raise EnvelopeError("the footer is damaged or another object's") from None
    return entries.decode(content, padded=True)


def _cipher(data_key: bytes, salt: bytes, binding: bytes) -> AESGCM:
    return AESGCM(derive(data_key, salt, FOOT_LABEL + binding))
