"""Port KeyProvider: all that the S3 gateway sees of a key service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from proxy.aws.credentials import CallOrigin
from proxy.values import value_class

AWS_MANAGED_S3_KEY: Final = "alias/aws/s3"
"""The AWS managed key of S3 in the caller's account; it is made when it is first used."""

S3_OWNED_KEY: Final = "s3-owned-key"
"""Names the key behind SSE-S3, which belongs to the service: no API of the key service lists or shows it, no policy
applies to it, and nobody can disable it."""

EncryptionContext = Mapping[str, str]


@value_class
class DataKey:
    """A new data key, in the clear and wrapped under a KMS key."""

    key_arn: str
    wrapped: bytes
    """The ciphertext blob."""
    plaintext: bytes = field(repr=False)
    """32 bytes."""


@dataclass(frozen=True)
class KeyDescription:
    """What S3 needs to know of a KMS key."""

    arn: str
    account: str
    state: str
    usage: str
    spec: str
    manager: str


class KeyProvider(Protocol):
    """A key service, called on behalf of the principal named in ``origin``.

    Every method raises only ``proxy.kms.errors.KmsError`` (AWS's code and message), so a fault of the network or of
    a database shows as KMSInternalException, DependencyTimeoutException or KeyUnavailableException. Nothing is
    promised about how soon a change made through another provider instance is seen, except for the embedded one,
    where the next call sees it.
    """

    async def generate_data_key(self, origin: CallOrigin, key_id: str, context: EncryptionContext) -> DataKey:
        """A fresh 256-bit data key under the key named by id, ARN, alias or alias ARN, or one of the two constants
        of this module. The key must be enabled, symmetric, for ENCRYPT_DECRYPT, and in ``origin.region``."""
        ...

    async def decrypt(self, origin: CallOrigin, key_id: str, wrapped: bytes, context: EncryptionContext) -> bytes:
        """The plaintext of a ciphertext blob, which must have been made under the key ``key_id`` (an ARN)."""
        ...

    async def re_encrypt(
        self,
        origin: CallOrigin,
        wrapped: bytes,
        source_key_id: str,
        source_context: EncryptionContext,
        key_id: str,
        context: EncryptionContext,
    ) -> tuple[str, bytes]:
        """The same plaintext under another key or context: the new key's ARN and blob. The plaintext stays inside."""
        ...

    async def describe_key(self, origin: CallOrigin, key_id: str) -> KeyDescription:
        """The key that an id, ARN, alias or alias ARN names now, in any state."""
        ...

    def stamp(self) -> object | None:
        """Compared with ``==``: another value than the last one if the answers to the same calls may be others since,
        for keys, policies, grants or aliases have changed anywhere, or time has changed a key that was used here.
        Always the same one where such changes are not seen. None: it can't be told now. Takes microseconds."""
        ...

    async def aclose(self) -> None:
        """Frees connections and files; calls after it are errors of the program."""
        ...
