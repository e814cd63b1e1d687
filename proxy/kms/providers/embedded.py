"""The key service in this process as a KeyProvider."""

from proxy.aws.credentials import CallOrigin
from proxy.kms.provider import DataKey, EncryptionContext, KeyDescription, KeyProvider
from proxy.kms.service import KeyService


class EmbeddedKeyProvider(KeyProvider):
    """Calls the same functions as the KMS endpoint does. It does not own the service: ``aclose`` leaves it open."""

    def __init__(self, service: KeyService) -> None:
        raise NotImplementedError

    async def generate_data_key(self, origin: CallOrigin, key_id: str, context: EncryptionContext) -> DataKey:
        raise NotImplementedError

    async def decrypt(self, origin: CallOrigin, key_id: str, wrapped: bytes, context: EncryptionContext) -> bytes:
        raise NotImplementedError

    async def re_encrypt(
        self,
        origin: CallOrigin,
        wrapped: bytes,
        source_key_id: str,
        source_context: EncryptionContext,
        key_id: str,
        context: EncryptionContext,
    ) -> tuple[str, bytes]:
        raise NotImplementedError

    async def describe_key(self, origin: CallOrigin, key_id: str) -> KeyDescription:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError
