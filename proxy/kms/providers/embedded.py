"""The key service in this process as a KeyProvider."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import blob, errors, states
from proxy.kms.operation import guarded, perform
from proxy.kms.operations import cryptographic
from proxy.kms.provider import S3_OWNED_KEY, DataKey, EncryptionContext, KeyDescription, KeyProvider
from proxy.kms.service import KeyService

T = TypeVar("T")

_DATA_KEY_SIZE: Final = 32


class EmbeddedKeyProvider(KeyProvider):
    """Calls the same functions as the KMS endpoint does. It does not own the service: ``aclose`` leaves it open."""

    def __init__(self, service: KeyService) -> None:
        self._service = service

    async def generate_data_key(self, origin: CallOrigin, key_id: str, context: EncryptionContext) -> DataKey:
        plaintext = self._service.random(_DATA_KEY_SIZE)
        request = {"KeyId": key_id, "KeySpec": "AES_256", "EncryptionContext": context}
        arn, wrapped = await self._perform(
            origin,
            "GenerateDataKey",
            request,
            lambda: self._wrap(origin, "GenerateDataKey", key_id, plaintext, context),
            lambda made: {"KeyId": made[0]},
        )
        return DataKey(arn, wrapped, plaintext)

    async def decrypt(self, origin: CallOrigin, key_id: str, wrapped: bytes, context: EncryptionContext) -> bytes:
        request = {"KeyId": key_id, "CiphertextBlob": wrapped, "EncryptionContext": context}
        return await self._perform(
            origin,
            "Decrypt",
            request,
            lambda: self._unwrap(origin, "Decrypt", key_id, wrapped, context),
            lambda _: {"KeyId": key_id},
        )

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

        request = {
            "CiphertextBlob": wrapped,
            "SourceKeyId": source_key_id,
            "SourceEncryptionContext": source_context,
            "DestinationKeyId": key_id,
            "DestinationEncryptionContext": context,
        }
        return await self._perform(
            origin, "ReEncrypt", request, run, lambda made: {"SourceKeyId": source_key_id, "KeyId": made[0]}
        )

    async def describe_key(self, origin: CallOrigin, key_id: str) -> KeyDescription:
        async def run() -> KeyDescription:
            if key_id == S3_OWNED_KEY:
                key = await self._service.owned_key(origin.region)
            else:
                key = await self._service.usable_key("DescribeKey", origin, key_id)
            state = states.state_of(key, self._service.now())
            return KeyDescription(key.arn, key.name.account, state.value, key.usage, key.spec, key.manager)

        request = {"KeyId": key_id}
        return await self._perform(origin, "DescribeKey", request, run, lambda found: {"KeyId": found.arn})

    async def _perform(
        self,
        origin: CallOrigin,
        name: str,
        request: Values,
        run: Callable[[], Awaitable[T]],
        answer_of: Callable[[T], Values],
    ) -> T:
        """A call like one from outside, but for the key that the service owns, which nobody pays or answers for."""
        if S3_OWNED_KEY in (request.get("KeyId"), request.get("DestinationKeyId")):
            return await guarded(run)
        return await perform(self._service, origin, name, lambda: request, lambda _: run(), answer_of)

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
