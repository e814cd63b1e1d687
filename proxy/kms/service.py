"""The key service: keys found, checked and used, for the operations and the in-process provider."""

import contextlib
import hashlib
import hmac
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from proxy.aws import policy
from proxy.aws.credentials import CallOrigin
from proxy.aws.policy import Answer, Question
from proxy.kms import errors, grants, key_ids, key_policies, lifecycle, model, shapes, states
from proxy.kms.errors import WrongRootKey
from proxy.kms.key_ids import AliasName
from proxy.kms.key_ring import KeyRing
from proxy.kms.model import Alias, BackingKey, Grant, KeyName, KmsKey
from proxy.kms.provider import AWS_MANAGED_S3_KEY
from proxy.kms.repository import Repository
from proxy.kms.root_key import RootKey
from proxy.kms.store import Conflict, KeyStore, Record
from proxy.xaes import XAES256GCM

NO_CONTEXT: Final[Mapping[str, str]] = MappingProxyType({})

AWS_MANAGED_S3_DESCRIPTION: Final = "Default key that protects my S3 objects when no other key is defined"
AWS_MANAGED_ROTATION_DAYS: Final = 365

ALIAS_OPERATIONS: Final = frozenset(
    (
        "Decrypt",
        "DeriveSharedSecret",
        "DescribeKey",
        "Encrypt",
        "GenerateDataKey",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "GenerateDataKeyWithoutPlaintext",
        "GenerateMac",
        "GetPublicKey",
        "ReEncrypt",
        "Sign",
        "Verify",
        "VerifyMac",
    )
)
"""Operations whose KeyId may be an alias name or alias ARN."""

CROSS_ACCOUNT_OPERATIONS: Final = ALIAS_OPERATIONS | {
    "CreateGrant",
    "GetKeyRotationStatus",
    "ListGrants",
    "RetireGrant",
    "RevokeGrant",
}
"""Operations that may name a key of another account, by its ARN."""

_SECRET_ID: Final = "secret"  # noqa: S105
_SECRET_LABEL: Final = b"service secret v1"
_SERVICE_ACCOUNT: Final = "000000000000"
_SERVICE_KEYS: Final = uuid.UUID("5f6d7e8f-2f8b-4c0f-9c53-52d0a3d1c3b5")
"""The namespace of the ids of keys that the service owns: one per Region, the same in every process."""


class KeyService:
    """What the operations stand on. ``start`` must have returned before anything else is called."""

    def __init__(
        self,
        store: KeyStore,
        root_key: RootKey,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes],
        *,
        allow_pkcs1_import: bool = True,
    ) -> None:
        """``clock`` gives the time with its zone (UTC); ``random`` gives that many cryptographically random bytes.

        ``allow_pkcs1_import`` offers RSAES_PKCS1_V1_5 for imports, which AWS has refused since 2023-10."""
        self.allow_pkcs1_import = allow_pkcs1_import
        self.repository = Repository(store)
        self.ring = KeyRing(store, root_key, random)
        self.random = random
        self._clock = clock
        self._root_key = root_key
        self._token_key = b""
        self._sealing: XAES256GCM | None = None

    def now(self) -> datetime:
        """The time, in whole milliseconds as records and answers have them."""
        time = self._clock()
        return time.replace(microsecond=time.microsecond // 1000 * 1000)

    async def start(self) -> None:
        """Checks that the root key is the one that sealed the store, or seals a new store with it.

        The check record is the service's own secret, which seals import tokens and signs grant tokens.

        Raises WrongRootKey, RootKeyUnusable or StoreUnavailable."""
        record = await self.repository.store.get(model.SERVICE, _SECRET_ID)
        if record is None:
            wrapped = await self._root_key.wrap(self.random(32), _SECRET_LABEL)
            # Where another process was first, its secret counts.
            with contextlib.suppress(Conflict):
                await self.repository.write([Record(model.SERVICE, _SECRET_ID, 0, wrapped)])
            record = await self.repository.store.get(model.SERVICE, _SECRET_ID)
            if record is None:
                raise LookupError("the key store has lost its first record")
        try:
            secret = await self._root_key.unwrap(record.body, _SECRET_LABEL)
        except WrongRootKey:
            raise WrongRootKey(
                "the root key is not the one that this key store was sealed with; start with the key it was made with"
            ) from None
        self._sealing = XAES256GCM(secret)
        self._token_key = hmac.new(secret, b"grant tokens", hashlib.sha256).digest()

    @property
    def sealing(self) -> XAES256GCM:
        """Seals what the service hands to clients and takes back (import tokens)."""
        if self._sealing is None:
            raise RuntimeError("the key service has not been started")
        return self._sealing

    def new_grant_token(self, grant: Grant) -> str:
        return grants.new_token(grant.record_id, self._token_key, self.random(16))

    def check_grant_tokens(self, tokens: Sequence[str]) -> None:
        """Raises KmsError (InvalidGrantTokenException). A grant takes effect at once, so a token adds nothing."""
        for token in tokens:
            self.open_grant_token(token)

    def open_grant_token(self, token: str) -> str:
        """The id of the record of the grant that a token stands for. Raises KmsError (InvalidGrantTokenException)."""
        return grants.open_token(token, self._token_key)

    async def key(self, name: KeyName) -> KmsKey | None:
        """A key as it is now, with what was due settled; None when there is none, or no longer."""
        key = await self.repository.key(name)
        if key is None or key.next_event is None:
            return key
        now = self.now()
        if now < key.next_event:
            return key
        if states.is_deleted(key, now):
            self.ring.forget(key, lambda _: True)
            await lifecycle.purge(self.repository, key)
            return None
        await lifecycle.settle(self.repository, self.ring, key, now)
        return await self.repository.key(name)

    async def settle_all(self) -> None:
        """Settles every key whose time has come, so that material whose key was deleted or that has expired does not
        rest on a disk because nobody asks for it. For the start and now and then; nothing else depends on it.

        Raises StoreUnavailable or RootKeyUnusable."""
        for record in await self.repository.scan_all(model.KEY, ""):
            # Where another process settles the same key, its write counts.
            with contextlib.suppress(Conflict):
                await self.key(model.key_from(record).name)

    async def find_key(self, operation: str, origin: CallOrigin, key_id: str) -> KmsKey:
        """The key that ``key_id`` names for this operation; nobody has been authorized and no state checked.

        Raises:
            KmsError: NotFoundException, or AccessDeniedException for another account's key that is not there.
        """
        named = key_ids.parse(key_id, origin)
        if isinstance(named, AliasName):
            if operation not in ALIAS_OPERATIONS:
                raise errors.invalid_key_id(key_id)
            named = await self._alias_target(named, origin)
        is_foreign = named.account != origin.caller.account
        if is_foreign and operation not in CROSS_ACCOUNT_OPERATIONS:
            raise errors.access_denied(_foreign_denial(origin, operation, named.arn))
        key = await self.key(named)
        if key is None:
            if is_foreign:
                raise errors.access_denied(_foreign_denial(origin, operation, named.arn))
            raise errors.key_not_found(named.arn)
        return key

    async def _alias_target(self, named: AliasName, origin: CallOrigin) -> KeyName:
        alias = await self.repository.alias(named.account, named.region, named.name)
        if alias is not None:
            return KeyName(alias.account, alias.region, alias.target)
        if named.name == AWS_MANAGED_S3_KEY and named.account == origin.caller.account:
            return await self._make_aws_managed_key(named)
        raise errors.alias_not_found(model.alias_arn(named.account, named.region, named.name))

    async def _make_aws_managed_key(self, named: AliasName) -> KeyName:
        """Makes ``aws/s3``, key, material and alias in one write. Raises Conflict when another was first."""
        now = self.now()
        name = KeyName(named.account, named.region, self.new_key_id())
        material = await self.ring.generate(name, 1)
        key = KmsKey(
            name,
            now,
            key_policies.aws_managed_s3(named.account, named.region),
            manager=model.AWS,
            description=AWS_MANAGED_S3_DESCRIPTION,
            backing_keys=(BackingKey(1, material.material_id),),
            current=1,
            rotation_period=AWS_MANAGED_ROTATION_DAYS,
            next_rotation=now + timedelta(days=AWS_MANAGED_ROTATION_DAYS),
        )
        alias = Alias(named.account, named.region, named.name, name.id, now, now)
        await self.repository.write([model.key_record(key), material.record, model.alias_record(alias)])
        return name

    async def owned_key(self, region: str) -> KmsKey:
        """The key of this Region that belongs to the service itself; it is made when it is first used.

        Raises Conflict when another was first."""
        name = KeyName(_SERVICE_ACCOUNT, region, str(uuid.uuid5(_SERVICE_KEYS, region)), model.OWNED_KEY)
        key = await self.key(name)
        if key is not None:
            return key
        material = await self.ring.generate(name, 1)
        backing = BackingKey(1, material.material_id)
        key = KmsKey(name, self.now(), policy="", manager=model.AWS, backing_keys=(backing,), current=1)
        await self.repository.write([model.key_record(key), material.record])
        return await self.owned_key(region)

    def new_key_id(self, *, multi_region: bool = False) -> str:
        """A random UUID, or ``mrk-`` and one without hyphens."""
        made = uuid.UUID(bytes=self.random(16), version=4)
        return f"mrk-{made.hex}" if multi_region else str(made)

    async def usable_key(
        self,
        operation: str,
        origin: CallOrigin,
        key_id: str,
        *,
        context: Mapping[str, str] = NO_CONTEXT,
        grant_tokens: Sequence[str] = (),
        action: str | None = None,
    ) -> KmsKey:
        """The key named, the caller authorized for it, in a state that allows the operation.

        ``action`` is what policies and grants call it, where that is not the operation's name (ReEncryptFrom).
        Raises KmsError."""
        if grant_tokens:
            self.check_grant_tokens(grant_tokens)
        key = await self.find_key(operation, origin, key_id)
        await self.authorize(origin, key, action or operation, context=context)
        states.check_state(operation, key, self.now())
        return key

    async def authorize(
        self, origin: CallOrigin, key: KmsKey, action: str, *, context: Mapping[str, str] = NO_CONTEXT
    ) -> Grant | None:
        """Refuses what neither the policies nor a grant allow; the grant, where it is one that allows.

        Raises KmsError (AccessDeniedException)."""
        question = _question(origin, f"kms:{action}", key.arn)
        answer = self._decide(origin, question, key)
        if answer.allowed:
            return None
        if answer.decision is not policy.Decision.EXPLICITLY_DENIED and action in shapes.GRANT_OPERATIONS:
            given = grants.find(await self.repository.grants(key.name), action, origin.caller.arn, context)
            if given is not None:
                return given
        is_foreign = key.name.account != origin.caller.account
        if is_foreign and answer.kind is policy.PolicyKind.RESOURCE:
            raise errors.access_denied(_foreign_denial(origin, action, key.arn))
        raise errors.access_denied(answer.denial(question))

    def _decide(self, origin: CallOrigin, question: Question, key: KmsKey) -> Answer:
        return policy.decide(
            question,
            key.name.account,
            policy.identity_policies(origin.caller),
            key_policies.parse(key.policy),
            resource_must_allow=True,
        )

    def authorize_account(self, origin: CallOrigin, action: str, resource: str = "*") -> None:
        """Refuses what the caller's own policies do not allow, for actions on no key.

        Raises KmsError (AccessDeniedException)."""
        caller = origin.caller
        question = _question(origin, f"kms:{action}", resource)
        answer = policy.decide(question, caller.account, policy.identity_policies(caller), None)
        if not answer.allowed:
            raise errors.access_denied(answer.denial(question))

    def check_lockout(self, origin: CallOrigin, key: KmsKey) -> None:
        """Refuses a key policy under which the caller could not change it again.

        Raises KmsError (MalformedPolicyDocumentException)."""
        if not self._decide(origin, _question(origin, "kms:PutKeyPolicy", key.arn), key).allowed:
            raise errors.malformed_policy(
                "The new key policy will not allow you to update the key policy in the future."
            )

    async def aclose(self) -> None:
        await self.repository.store.aclose()


def _question(origin: CallOrigin, action: str, resource: str) -> Question:
    caller = origin.caller
    conditions = {
        "kms:viaservice": origin.via_service,
        "kms:calleraccount": caller.account,
        "aws:principalaccount": caller.account,
        "aws:principalarn": caller.arn,
        "aws:requestedregion": origin.region,
    }
    return Question(caller.arn, caller.account, action, resource, conditions)


def _foreign_denial(origin: CallOrigin, action: str, arn: str) -> str:
    return (
        f"User: {origin.caller.arn} is not authorized to perform: kms:{action} on resource: {arn} because the resource "
        "does not exist in this Region, no resource-based policies allow access, or a resource-based policy "
        "explicitly denies access"
    )
