"""The key service: keys found, checked and used, for the operations and the in-process provider."""

import contextlib
import copy
import hashlib
import hmac
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from proxy.aws.credentials import CallOrigin
from proxy.aws.policy_principals import PrincipalDirectory
from proxy.kms import authorization, errors, grants, key_ids, key_policies, lifecycle, model, states
from proxy.kms.audit import Audit
from proxy.kms.condition_keys import Subject
from proxy.kms.errors import WrongRootKey
from proxy.kms.key_ids import AliasName
from proxy.kms.key_ring import KeyRing
from proxy.kms.last_usage import LastUsage
from proxy.kms.model import Alias, BackingKey, Grant, KeyName, KmsKey
from proxy.kms.provider import AWS_MANAGED_S3_KEY
from proxy.kms.quotas import RequestQuotas
from proxy.kms.regions import KMS_REGIONS
from proxy.kms.repository import Repository
from proxy.kms.resource_quotas import KeyCount, ResourceQuotas
from proxy.kms.root_key import RootKey
from proxy.kms.store import Conflict, KeyStore, Record
from proxy.kms.threads import Threads
from proxy.xaes import XAES256GCM

NO_CONTEXT: Final[Mapping[str, str]] = MappingProxyType({})
NO_REQUEST: Final[Mapping[str, Any]] = MappingProxyType({})

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

_EVENT_IDS_AT_ONCE: Final = 64

SECRET_ID: Final = "secret"  # noqa: S105
SECRET_LABEL: Final = b"service secret v1"
_SERVICE_ACCOUNT: Final = "000000000000"
_SERVICE_KEYS: Final = uuid.UUID("5f6d7e8f-2f8b-4c0f-9c53-52d0a3d1c3b5")
"""The namespace of the ids of keys that the service owns: one per Region, the same in every process."""


class EventIds:
    """The random bytes of ids of audit events, had at once for many: each call to the system lets another thread take
    the interpreter. They are no secrets."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._left: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        """``size`` is 16."""
        if not self._left:
            drawn = self._random(size * _EVENT_IDS_AT_ONCE)
            self._left = [drawn[at : at + size] for at in range(0, len(drawn), size)]
        return self._left.pop()


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
        enabled_regions: Collection[str] = KMS_REGIONS,
        transition_time: timedelta = timedelta(0),
        request_quotas: RequestQuotas | None = None,
        resource_quotas: ResourceQuotas | None = None,
        audit: Audit | None = None,
        principals: PrincipalDirectory | None = None,
        threads: Threads | None = None,
    ) -> None:
        """``clock`` gives the time with its zone (UTC); ``random`` gives that many cryptographically random bytes.

        ``allow_pkcs1_import`` offers RSAES_PKCS1_V1_5 for imports, which AWS has refused since 2023-10.
        ``enabled_regions`` are those where replicas can be made. ``transition_time`` is how long a new replica stays
        Creating, and how long keys stay Updating when their primary Region has changed. ``principals``
        are those that key policies and grants may name; without it, all that have the form of one. ``threads`` do
        what takes long; they are made here when none are given, and closed by ``aclose``."""
        self.allow_pkcs1_import = allow_pkcs1_import
        self.request_quotas = request_quotas
        self.resource_quotas = resource_quotas or ResourceQuotas()
        self.key_count = KeyCount()
        self.audit = audit
        self.principals = principals
        self.transition_time = transition_time
        self._enabled_regions = enabled_regions
        self.repository = Repository(store)
        # A rehearsal has another repository, and the same one for what is due by time alone.
        self._housekeeping = self.repository
        self.threads = threads or Threads()
        self.last_usage = LastUsage(store, self.now)
        self.ring = KeyRing(store, root_key, random)
        self.random = random
        self.event_ids = EventIds(random)
        self._clock = clock
        self._root_key = root_key
        self._token_key = b""
        self._secret = b""
        self._sealing: XAES256GCM | None = None

    def now(self) -> datetime:
        """The time, in whole milliseconds as records and answers have them."""
        time = self._clock()
        return time.replace(microsecond=time.microsecond // 1000 * 1000)

    async def start(self) -> None:
        """Checks that the root key is the one that sealed the store, or seals a new store with it.

        The check record is the service's own secret, which seals import tokens and signs grant tokens.

        Raises WrongRootKey, RootKeyUnusable or StoreUnavailable."""
        record = await self.repository.store.get(model.SERVICE, SECRET_ID)
        if record is None:
            wrapped = await self._root_key.wrap(self.random(32), SECRET_LABEL)
            # Where another process was first, its secret counts.
            with contextlib.suppress(Conflict):
                await self.repository.write([Record(model.SERVICE, SECRET_ID, 0, wrapped)])
            record = await self.repository.store.get(model.SERVICE, SECRET_ID)
            if record is None:
                raise LookupError("the key store has lost its first record")
        try:
            secret = await self._root_key.unwrap(record.body, SECRET_LABEL)
        except WrongRootKey:
            raise WrongRootKey(
                "the root key is not the one that this key store was sealed with; start with the key it was made with"
            ) from None
        self._secret = secret
        self._sealing = XAES256GCM(secret)
        self._token_key = hmac.new(secret, b"grant tokens", hashlib.sha256).digest()

    def charge(self, origin: CallOrigin, operation: str, request: Mapping[str, Any]) -> None:
        """Counts a call against the caller's quota. Raises KmsError (ThrottlingException)."""
        if self.request_quotas is not None:
            self.request_quotas.charge(origin.caller.account, origin.region, operation, request)

    def rehearsal(self) -> "KeyService":
        """This service for a dry run: it checks everything and writes nothing on the caller's behalf. What is due by
        time alone is settled all the same."""
        twin = copy.copy(self)
        twin.repository = self.repository.rehearsal()
        return twin

    def note_usage(self, origin: CallOrigin, key: KmsKey, operation: str, now: datetime | None = None) -> None:
        """Takes down a successful cryptographic operation; ``now`` for who knows the time already."""
        if self.repository is self._housekeeping:
            self.last_usage.note(key.name, operation, origin.request_id, now)

    @property
    def sealing(self) -> XAES256GCM:
        """Seals what the service hands to clients and takes back (import tokens)."""
        if self._sealing is None:
            raise RuntimeError("the key service has not been started")
        return self._sealing

    def derived_key(self, label: bytes) -> bytes:
        """A key of 32 bytes for one more purpose, the same in every process and whatever the root key."""
        if not self._secret:
            raise RuntimeError("the key service has not been started")
        return hmac.new(self._secret, label, hashlib.sha256).digest()

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
        if key is None or (key.next_event is None and not key.replica_regions):
            return key
        now, related = self.now(), await self.repository.related(key)
        due = related.next_event
        if due is None or now < due:
            return key
        await lifecycle.settle(self._housekeeping, self.ring, related.keys, now)
        return await self.repository.key(name)

    async def related(self, key: KmsKey) -> tuple[KmsKey, ...]:
        """A key and all its related keys, the primary first, as they were settled with it."""
        return (await self.repository.related(key)).keys

    async def drop_deleted_material(self) -> None:
        """Drops from memory the material that any process has deleted. Raises StoreUnavailable."""
        for name, ordinal in self.ring.held:
            key = await self.repository.key(name)
            backing = key.backing_key(ordinal) if key is not None else None
            if backing is None or not states.is_present(backing, self.now()):
                self.ring.drop(name, ordinal)

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
            raise authorization.foreign_denial(origin, operation, named.arn)
        key = await self.key(named)
        if key is None:
            if is_foreign:
                raise authorization.foreign_denial(origin, operation, named.arn)
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
        await self._housekeeping.write([model.key_record(key), material.record, model.alias_record(alias)])
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
        await self._housekeeping.write([model.key_record(key), material.record])
        return await self.owned_key(region)

    def check_region(self, region: str, primary_region: str) -> None:
        """Refuses a Region where no replica of a key of ``primary_region`` can be.

        Raises KmsError (UnsupportedOperationException)."""
        if region not in self._enabled_regions or model.partition(region) != model.partition(primary_region):
            raise errors.unsupported(f"The Region {region} is not available for replicas of keys in {primary_region}.")

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
        await self.authorize(origin, key, action or operation, context=context, key_id=key_id)
        states.check_state(operation, key, self.now())
        return key

    async def authorize(
        self,
        origin: CallOrigin,
        key: KmsKey,
        action: str,
        *,
        context: Mapping[str, str] = NO_CONTEXT,
        key_id: str | None = None,
        suits: Callable[[Grant], bool] | None = None,
    ) -> Grant | None:
        """Refuses what neither the policies nor a grant allow; the grant, where it is one that allows.

        ``suits`` tells of a grant that allows the action whether it may be used for it.
        Raises KmsError (AccessDeniedException)."""
        subject = Subject(origin, self._clock, action, key, context, key_id)
        return await authorization.authorize(self, subject, key, suits)

    def allow_alike(self, origin: CallOrigin, key: KmsKey, action: str, same: frozenset[str]) -> bool:
        """See ``authorization.allow_alike``."""
        return authorization.allow_alike(Subject(origin, self._clock, action, key, NO_CONTEXT), key, same)

    def authorize_account(self, origin: CallOrigin, action: str, resource: str = "*") -> None:
        """Refuses what the caller's own policies do not allow, for actions on no key.

        Raises KmsError (AccessDeniedException)."""
        authorization.authorize_account(Subject(origin, self._clock, action, None, NO_CONTEXT), resource)

    async def authorize_retiring(self, origin: CallOrigin, key: KmsKey, grant: Grant) -> None:
        """Refuses RetireGrant to whom neither the grant nor a policy allows it.

        Raises KmsError (AccessDeniedException)."""
        subject = Subject(origin, self._clock, "RetireGrant", key, NO_CONTEXT)
        await authorization.authorize_retiring(self, subject, key, grant)

    def check_policy(self, text: str) -> None:
        """Refuses a key policy that a client gives: its size, its syntax, its condition keys, and principals that do
        not exist.

        Raises KmsError (MalformedPolicyDocumentException, LimitExceededException)."""
        key_policies.check(text, self.principals)

    def check_lockout(self, origin: CallOrigin, key: KmsKey) -> None:
        """Refuses a key policy under which the caller could not change it again.

        Raises KmsError (MalformedPolicyDocumentException)."""
        later = replace(origin, request=NO_REQUEST)
        authorization.check_lockout(Subject(later, self._clock, "PutKeyPolicy", key, NO_CONTEXT), key)

    async def aclose(self) -> None:
        await self.last_usage.aclose()
        self.threads.close()
        await self.repository.store.aclose()
