"""XAES-256-GCM against the vectors that C2SP publishes with the specification."""

from hashlib import shake_128

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from proxy.xaes import XAES256GCM, open_, seal

NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"
PUBLISHED = [
    pytest.param(b"\1" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271", id="msb-0"),
    pytest.param(
        b"\3" * 32, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d", id="msb-1"
    ),
]


@pytest.mark.parametrize(("key", "associated_data", "ciphertext"), PUBLISHED)
def test_published_vectors(key: bytes, associated_data: bytes, ciphertext: str) -> None:
    assert seal(key, NONCE, b"XAES-256-GCM", associated_data).hex() == ciphertext
    assert open_(key, NONCE, bytes.fromhex(ciphertext), associated_data) == b"XAES-256-GCM"


def test_published_accumulated_vector() -> None:
    stream = shake_128(b"").digest(10_000 * (32 + 24 + 256 + 256))
    accumulated = shake_128()
    position = 0

    def take(size: int) -> bytes:
        nonlocal position
        position += size
        return stream[position - size : position]

    for _ in range(10_000):
        key, nonce = take(32), take(24)
        plaintext = take(take(1)[0])
        associated_data = take(take(1)[0])
        ciphertext = seal(key, nonce, plaintext, associated_data)
        assert open_(key, nonce, ciphertext, associated_data) == plaintext
        accumulated.update(ciphertext)
    assert accumulated.hexdigest(32) == "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


@given(st.lists(st.tuples(st.binary(min_size=24, max_size=24), st.binary(max_size=100)), max_size=5))
def test_one_key_object_serves_many_messages(messages: list[tuple[bytes, bytes]]) -> None:
    key = bytes(range(32))
    cipher = XAES256GCM(key)
    for nonce, plaintext in messages:
        sealed = cipher.encrypt(nonce, plaintext, b"aad")
        assert sealed == seal(key, nonce, plaintext, b"aad")
        assert cipher.decrypt(nonce, sealed, b"aad") == plaintext


@given(st.integers(0, 12 + 16 - 1), st.integers(0, 7))
def test_a_changed_bit_is_noticed(position: int, bit: int) -> None:
    sealed = bytearray(seal(b"\1" * 32, NONCE, b"XAES-256-GCM", b"aad"))
    sealed[position] ^= 1 << bit
    with pytest.raises(InvalidTag):
        open_(b"\1" * 32, NONCE, bytes(sealed), b"aad")


@given(st.integers(0, 23), st.integers(0, 7))
def test_every_bit_of_the_nonce_counts(position: int, bit: int) -> None:
    nonce = bytearray(NONCE)
    nonce[position] ^= 1 << bit
    with pytest.raises(InvalidTag):
        open_(b"\1" * 32, bytes(nonce), seal(b"\1" * 32, NONCE, b"data", None), None)


def test_another_key_or_associated_data_is_refused() -> None:
    sealed = seal(b"\1" * 32, NONCE, b"data", b"aad")
    with pytest.raises(InvalidTag):
        open_(b"\2" * 32, NONCE, sealed, b"aad")
    with pytest.raises(InvalidTag):
        open_(b"\1" * 32, NONCE, sealed, b"other")


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_keys_have_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        XAES256GCM(bytes(size))


@pytest.mark.parametrize("size", [0, 12, 23, 25])
def test_nonces_have_24_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="24 bytes"):
        seal(bytes(32), bytes(size), b"", None)
    with pytest.raises(ValueError, match="24 bytes"):
        open_(bytes(32), bytes(size), bytes(16), None)
