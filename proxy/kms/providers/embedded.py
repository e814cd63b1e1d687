"""The key service in this process as a KeyProvider."""

from typing import Final

from proxy.aws.credentials import CallOrigin
from proxy.kms import blob, errors, states
from proxy.kms.operation import guarded
from proxy.kms.operations import cryptographic
from proxy.kms.provider import S3_OWNED_KEY, DataKey, EncryptionContext, KeyDescription, KeyProvider
from proxy.kms.service import KeyService

_DATA_KEY_SIZE: Final = 32


class EmbeddedKeyProvider(KeyProvider):
    """Calls the same functions as the KMS endpoint does. It does not own the service: ``aclose`` leaves it open."""

    def __init__(self, service: KeyService) -> None:
        self._service = service

    async def generate_data_key(self, origin: CallOrigin, key_id: str, context: EncryptionContext) -> DataKey:
        plaintext = self._service.random(_DATA_KEY_SIZE)
        arn, wrapped = await guarded(lambda: self._wrap(origin, "GenerateDataKey", key_id, plaintext, context))
        return DataKey(arn, wrapped, plaintext)

    async def decrypt(self, origin: CallOrigin, key_id: str, wrapped: bytes, context: EncryptionContext) -> bytes:
        return await guarded(lambda: self._unwrap(origin, "Decrypt", key_id, wrapped, context))

    async def re_encrypt(
        self,
        origin: CallOrigin,
        wrapped: bytes,
        source_key_id: str,
        source_context: EncryptionContext,
        key_id: str,
        context: EncryptionContext,
    ) -> tuple[str, bytes]:
        async def run() -> tuple[str, bytes]:
            plaintext = await self._unwrap(origin, "ReEncrypt", source_key_id, wrapped, source_context)
            return await self._wrap(origin, "ReEncrypt", key_id, plaintext, context)

        return await guarded(run)

    async def describe_key(self, origin: CallOrigin, key_id: str) -> KeyDescription:
        async def run() -> KeyDescription:
            if key_id == S3_OWNED_KEY:
                key = await self._service.owned_key(origin.region)
            else:
                key = await self._service.usable_key("DescribeKey", origin, key_id)
            state = states.state_of(key, self._service.now())
            return KeyDescription(key.arn, key.name.account, state.value, key.usage, key.spec, key.manager)

        return await guarded(run)

    async def aclose(self) -> None:
        """Nothing to free: the service belongs to whoever made it."""

    async def _wrap(
        self, origin: CallOrigin, operation: str, key_id: str, plaintext: bytes, context: EncryptionContext
    ) -> tuple[str, bytes]:
        if key_id == S3_OWNED_KEY:
            key = await self._service.owned_key(origin.region)
            sealed = await cryptographic.seal(self._service, key, plaintext, context)
        else:
            action = "ReEncryptTo" if operation == "ReEncrypt" else None
            sealed = await cryptographic.encrypt(
                self._service, origin, operation, key_id, plaintext, context, action=action
            )
        return sealed.key.arn, sealed.blob

    async def _unwrap(
        self, origin: CallOrigin, operation: str, key_id: str, wrapped: bytes, context: EncryptionContext
    ) -> bytes:
        parsed = blob.parse(wrapped)
        if key_id == S3_OWNED_KEY and parsed.key.kind != blob.SERVICE_OWNED:
            raise errors.incorrect_key()
        if parsed.key.kind != blob.SERVICE_OWNED:
            action = "ReEncryptFrom" if operation == "ReEncrypt" else operation
            opened = await cryptographic.decrypt(
                self._service, origin, operation, wrapped, context, key_id=key_id, action=action
            )
            return opened.plaintext
        key = await self._service.owned_key(origin.region)
        is_named = parsed.key.key_id == key.name.id and parsed.key.account == key.name.account
        if not is_named or key_id not in (S3_OWNED_KEY, key.arn):
            raise errors.incorrect_key()
        return (await cryptographic.open_under(self._service, key, parsed, context)).plaintext
