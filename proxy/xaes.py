"""XAES-256-GCM (https://c2sp.org/XAES-256-GCM): AES-256-GCM with a nonce long enough to be random. Pure."""

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.utils import Buffer

KEY_SIZE: Final = 32
NONCE_SIZE: Final = 24
TAG_SIZE: Final = 16


class XAES256GCM:
    """One key, in the manner of cryptography's AESGCM. Random nonces are safe for 2^80 messages under it."""

    def __init__(self, key: Buffer) -> None:
        """Raises ValueError unless ``key`` has 32 bytes."""
        if len(key) != KEY_SIZE:
            raise ValueError("an XAES-256-GCM key has 32 bytes")
        # ECB on single blocks of CMAC's own making is the bare block cipher. It keeps no state between blocks.
        self._encrypt_blocks = Cipher(algorithms.AES256(key), modes.ECB()).encryptor().update  # noqa: S305
        block = int.from_bytes(self._encrypt_blocks(bytes(16)), "big")
        doubled = (block << 1) & _BLOCK_MASK
        subkey = doubled ^ 0x87 if block >> 127 else doubled
        # The two blocks to encrypt are CMAC's subkey, twice, xored with a counter and half of the nonce.
        self._counters = (subkey ^ 0x0001_5800 << 96) << 128 | (subkey ^ 0x0002_5800 << 96)

    def encrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer | None) -> bytes:
        """The ciphertext and its tag. Raises ValueError unless ``nonce`` has 24 bytes."""
        return self._derive(nonce).encrypt(nonce[12:], data, associated_data)

    def decrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer | None) -> bytes:
        """The plaintext. Raises cryptography's InvalidTag, and ValueError unless ``nonce`` has 24 bytes."""
        return self._derive(nonce).decrypt(nonce[12:], data, associated_data)

    def _derive(self, nonce: Buffer) -> AESGCM:
        if len(nonce) != NONCE_SIZE:
            raise ValueError("an XAES-256-GCM nonce has 24 bytes")
        half = int.from_bytes(nonce[:12], "big")
        blocks = self._counters ^ (half << 128 | half)
        return AESGCM(self._encrypt_blocks(blocks.to_bytes(32, "big")))


def seal(key: Buffer, nonce: Buffer, plaintext: Buffer, associated_data: Buffer | None) -> bytes:
    """Encrypts once under ``key`` (32 bytes) and ``nonce`` (24 bytes): the ciphertext with its 16-byte tag."""
    return XAES256GCM(key).encrypt(nonce, plaintext, associated_data)


def open_(key: Buffer, nonce: Buffer, ciphertext: Buffer, associated_data: Buffer | None) -> bytes:
    """Decrypts what ``seal`` made. Raises cryptography's InvalidTag."""
    return XAES256GCM(key).decrypt(nonce, ciphertext, associated_data)


_BLOCK_MASK: Final = (1 << 128) - 1
