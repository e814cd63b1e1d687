"""Unsigned LEB128, in its shortest form only: seven bits to a byte, the lowest first, the top bit set on all but the
last."""

from typing import Final

from proxy.envelope.errors import EnvelopeError

_LONGEST: Final = 9


def encode_varint(value: int) -> bytes:
    """Raises ValueError for what is negative or has more than 63 bits."""
    if not 0 <= value < 1 << 63:
        raise ValueError("not a number of at most 63 bits")
    output = bytearray()
    while value > 0x7F:
        output.append(value & 0x7F | 0x80)
        value >>= 7
    output.append(value)
    return bytes(output)


def decode_varint(data: bytes, position: int) -> tuple[int, int]:
    """The number that begins at ``position``, and the position after it.

    Raises:
        EnvelopeError: there is none, or it is not in its shortest form.
    """
    value = 0
    for count, byte in enumerate(data[position : position + _LONGEST]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            if not byte and count:
                break
            return value, position + count + 1
    raise EnvelopeError("a number is damaged")
