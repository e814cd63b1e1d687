"""The key service in this process as a KeyProvider."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final, TypeVar

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import audit_events, blob, errors, states
from proxy.kms.errors import KmsError
from proxy.kms.known_uses import KnownUses
from proxy.kms.model import KmsKey
from proxy.kms.operation import guarded, perform, record
from proxy.kms.operations import cryptographic
from proxy.kms.operations.cryptographic import Opened, Sealed
from proxy.kms.provider import S3_OWNED_KEY, DataKey, EncryptionContext, KeyDescription, KeyProvider
from proxy.kms.service import NO_REQUEST, KeyService

T = TypeVar("T")

_DATA_KEY_SIZE: Final = 32
_GENERATE: Final = "GenerateDataKey"
_DECRYPT: Final = "Decrypt"


class EmbeddedKeyProvider(KeyProvider):
    """Calls the same functions as the KMS endpoint does. It does not own the service: ``aclose`` leaves it open.

    A use of a key that is known to be allowed takes a shorter way: it is counted, done and recorded like any other, but
    nothing is looked up and decided anew.
    """

    def __init__(self, service: KeyService) -> None:
        self._service = service
        self._known = KnownUses(service)
        self._events: dict[str, datetime] = {}
        self._next_event: datetime | None = None
        self._passed = 0

    async def generate_data_key(self, origin: CallOrigin, key_id: str, context: EncryptionContext) -> DataKey:
        plaintext = self._service.random(_DATA_KEY_SIZE)
        known = self._known.find(origin, _GENERATE, key_id)
        if known is not None:
            asked = {"keyId": key_id, "keySpec": "AES_256", "encryptionContext": context}
            key = known.key

            def seal() -> bytes:
                nonce = self._service.random(blob.NONCE_SIZE)
                return blob.seal(known.cipher, key.blob_key, nonce, plaintext, context)

            return DataKey(key.arn, await self._at_once(origin, _GENERATE, key_id, key, asked, seal), plaintext)
        request = {"KeyId": key_id, "KeySpec": "AES_256", "EncryptionContext": context}
        before = self._known.generation()
        sealed = await self._perform(
            origin,
            _GENERATE,
            request,
            lambda: self._wrap(origin, _GENERATE, key_id, plaintext, context),
            lambda made: {"KeyId": made.key.arn},
        )
        self._known.remember(before, origin, _GENERATE, key_id, sealed.key, sealed.key.current)
        await self._note_event(sealed.key)
        return DataKey(sealed.key.arn, sealed.blob, plaintext)

    async def decrypt(self, origin: CallOrigin, key_id: str, wrapped: bytes, context: EncryptionContext) -> bytes:
        header = wrapped[: blob.HEADER_SIZE]
        known = self._known.find(origin, _DECRYPT, key_id, header)
        if known is not None:
            asked = {"keyId": key_id, "encryptionContext": context}
            cipher = known.cipher
            return await self._at_once(
                origin, _DECRYPT, key_id, known.key, asked, lambda: blob.open_blob(cipher, blob.parse(wrapped), context)
            )
        request = {"KeyId": key_id, "CiphertextBlob": wrapped, "EncryptionContext": context}
        before = self._known.generation()
        opened = await self._perform(
            origin,
            _DECRYPT,
            request,
            lambda: self._unwrap(origin, _DECRYPT, key_id, wrapped, context),
            lambda _: {"KeyId": key_id},
        )
        ordinal = blob.parse(wrapped).key.ordinal
        self._known.remember(before, origin, _DECRYPT, key_id, opened.key, ordinal, header)
        await self._note_event(opened.key)
        return opened.plaintext

    def stamp(self) -> object | None:
        generation = self._known.generation()
        if generation is None:
            return None
        if self._next_event is not None:
            now = self._service.now()
            if now >= self._next_event:
                self._passed += 1
                self._events = {arn: event for arn, event in self._events.items() if event > now}
                self._next_event = min(self._events.values(), default=None)
        return generation, self._passed

    async def _note_event(self, key: KmsKey) -> None:
        """Takes down when time alone will change a key that was used, or one that it shares its material with."""
        if key.next_event is None and not key.replica_regions:
            return
        related = await self._service.related(key)
        events = [each.next_event for each in related if each.next_event is not None]
        if events:
            self._events[key.arn] = min(events)
            self._next_event = min(self._events.values())

    async def _at_once(
        self,
        origin: CallOrigin,
        name: str,
        key_id: str,
        key: KmsKey,
        asked: Mapping[str, object],
        work: Callable[[], bytes],
    ) -> bytes:
        """What ``perform`` does, for a use of a key that is known to be allowed."""
        service = self._service
        if key_id == S3_OWNED_KEY:
            return work()
        try:
            service.charge(origin, name, NO_REQUEST)
            result = work()
        except KmsError as error:
            await record(service, origin, name, asked, None, ((key.arn, audit_events.KEY),), error)
            raise
        now = service.now()
        service.note_usage(origin, key, name, now)
        await record(service, origin, name, asked, None, ((key.arn, audit_events.KEY),), None, now)
        return result

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
            opened = await self._unwrap(origin, "ReEncrypt", source_key_id, wrapped, source_context)
            sealed = await self._wrap(origin, "ReEncrypt", key_id, opened.plaintext, context)
            return sealed.key.arn, sealed.blob

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
            return await guarded(run, origin.request_id)
        return await perform(self._service, origin, name, lambda: request, lambda _: run(), answer_of)

    async def aclose(self) -> None:
        """Nothing to free: the service belongs to whoever made it."""

    async def _wrap(
        self, origin: CallOrigin, operation: str, key_id: str, plaintext: bytes, context: EncryptionContext
    ) -> Sealed:
        if key_id == S3_OWNED_KEY:
            key = await self._service.owned_key(origin.region)
            return await cryptographic.seal(self._service, key, plaintext, context)
        action = "ReEncryptTo" if operation == "ReEncrypt" else None
        return await cryptographic.encrypt(self._service, origin, operation, key_id, plaintext, context, action=action)

    async def _unwrap(
        self, origin: CallOrigin, operation: str, key_id: str, wrapped: bytes, context: EncryptionContext
    ) -> Opened:
        parsed = blob.parse(wrapped)
        if key_id == S3_OWNED_KEY and parsed.key.kind != blob.SERVICE_OWNED:
            raise errors.incorrect_key()
        if parsed.key.kind != blob.SERVICE_OWNED:
            action = "ReEncryptFrom" if operation == "ReEncrypt" else operation
            return await cryptographic.decrypt(
                self._service, origin, operation, wrapped, context, key_id=key_id, action=action
            )
        key = await self._service.owned_key(origin.region)
        is_named = parsed.key.key_id == key.name.id and parsed.key.account == key.name.account
        if not is_named or key_id not in (S3_OWNED_KEY, key.arn):
            raise errors.incorrect_key()
        return await cryptographic.open_under(self._service, key, parsed, context)
