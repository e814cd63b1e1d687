"""Port RootKey: the key at the top of the hierarchy, which seals key material at rest."""

from typing import Protocol


class RootKey(Protocol):
    """Authenticated encryption of a few dozen bytes under a key that never shows.

    Both methods may take a network's time (an HSM, a KMS further up); the key service caches what it unwraps.
    ``associated_data`` is not stored: the same bytes have to be given to ``unwrap``. Not promised: that equal
    plaintexts give different wrapped bytes.
    """

    @property
    def id(self) -> str:
        """Names the key without telling anything of it: 16 hexadecimal digits, the same in every process."""
        ...

    async def wrap(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """The plaintext sealed, with whatever the root key needs to open it again.

        Raises RootKeyUnusable when the root key cannot be reached."""
        ...

    async def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        """The plaintext.

        Raises WrongRootKey when ``wrapped`` was not made under this key with this associated data, RootKeyUnusable
        when the root key cannot be reached."""
        ...
