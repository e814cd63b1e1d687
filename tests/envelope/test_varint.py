"""LEB128 in its shortest form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.envelope.errors import EnvelopeError
from proxy.envelope.varint import decode_varint, encode_varint


@pytest.mark.parametrize(
    ("value", "encoded"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), ((1 << 63) - 1, "ff" * 8 + "7f")]
)
def test_known_numbers(value: int, encoded: str) -> None:
    assert encode_varint(value).hex() == encoded
    assert decode_varint(bytes.fromhex(encoded), 0) == (value, len(encoded) // 2)


@given(st.integers(0, (1 << 63) - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_numbers_between_other_bytes(value: int, before: bytes, after: bytes) -> None:
    encoded = encode_varint(value)
    assert decode_varint(before + encoded + after, len(before)) == (value, len(before) + len(encoded))


@given(st.binary(max_size=10))
def test_each_number_has_one_spelling(data: bytes) -> None:
    try:
        value, end = decode_varint(data, 0)
    except EnvelopeError:
        return
    assert encode_varint(value) == data[:end]


@pytest.mark.parametrize("encoded", ["", "80", "8000", "ff00", "ff" * 9 + "01"])
def test_damaged_numbers_are_refused(encoded: str) -> None:
    with pytest.raises(EnvelopeError):
        decode_varint(bytes.fromhex(encoded), 0)


@pytest.mark.parametrize("value", [-1, 1 << 63])
def test_numbers_out_of_bounds_are_refused(value: int) -> None:
    with pytest.raises(ValueError, match="63 bits"):
        encode_varint(value)
