"""The entities of the key service, and their records in a KeyStore.

Kinds of records and their ids; every entity belongs to an account and a Region:

``key``        ``account/region/key-id``            a KMS key (``KmsKey``), JSON
``owned-key``  the same                             a key that belongs to the service itself and shows in no API
``material``   ``account/region/key-id/ordinal``    one backing key's material, wrapped under the root key
``alias``      ``account/region/alias/name``        an alias, JSON
``grant``      ``account/region/key-id/grant-id``   a grant, JSON
``usage``      ``account/region/key-id``            when a key was last used, see ``proxy.kms.last_usage``
``service``    ``secret``                           see ``proxy.kms.service``
``service``    ``root-key``                         see ``proxy.kms.root_key_state``
``service``    ``upkeep``                           see ``proxy.kms.scheduler``

Related multi-Region keys are records of their own, one for each Region, and each holds all that they share. Whatever
changes a shared property writes all of them at once, so they never disagree.

Entities are immutable. ``version`` is the record's version that the entity was read from, 0 for a new one, so that
writing a changed copy is a compare-and-set. Times are kept as whole milliseconds since the epoch.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, NamedTuple

from proxy.aws.arn import Arn
from proxy.kms import blob
from proxy.kms.store import Record

KEY: Final = "key"
OWNED_KEY: Final = "owned-key"
MATERIAL: Final = "material"
ALIAS: Final = "alias"
GRANT: Final = "grant"
SERVICE: Final = "service"
USAGE: Final = "usage"

AUTOMATIC: Final = "AUTOMATIC"
ON_DEMAND: Final = "ON_DEMAND"
EXTERNAL: Final = "EXTERNAL"
AWS_KMS: Final = "AWS_KMS"
SYMMETRIC_DEFAULT: Final = "SYMMETRIC_DEFAULT"
ENCRYPT_DECRYPT: Final = "ENCRYPT_DECRYPT"
CUSTOMER: Final = "CUSTOMER"
AWS: Final = "AWS"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def partition(region: str) -> str:
    """The partition that a Region's ARNs begin with."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


class KeyName(NamedTuple):
    """What identifies a KMS key."""

    account: str
    region: str
    id: str
    kind: str = KEY
    """KEY or OWNED_KEY."""

    @property
    def record_id(self) -> str:
        return f"{self.account}/{self.region}/{self.id}"

    @property
    def arn(self) -> str:
        return str(Arn(partition(self.region), "kms", self.region, self.account, f"key/{self.id}"))


@dataclass(frozen=True)
class BackingKey:
    """What is known of one version of a key's material, the material itself aside."""

    ordinal: int
    """From 1; ciphertext blobs carry it."""
    material_id: str
    """KeyMaterialId: 64 hexadecimal digits."""
    rotated: datetime | None = None
    """When it became the current one by a rotation; None for the first, and for one that waits for its rotation."""
    rotation: str | None = None
    """AUTOMATIC or ON_DEMAND."""
    present: bool = True
    """False for imported material that was deleted or has expired."""
    expires: datetime | None = None
    description: str | None = None


@dataclass(frozen=True)
class KmsKey:
    """A KMS key. ``proxy.kms.states`` tells its state at a time."""

    name: KeyName
    created: datetime
    policy: str
    """The key policy's JSON, as it was given."""
    origin: str = AWS_KMS
    spec: str = SYMMETRIC_DEFAULT
    usage: str = ENCRYPT_DECRYPT
    manager: str = CUSTOMER
    description: str = ""
    enabled: bool = True
    multi_region: bool = False
    tags: tuple[tuple[str, str], ...] = ()
    backing_keys: tuple[BackingKey, ...] = ()
    """In the order of their ordinals."""
    current: int = 0
    """The ordinal of the backing key that encrypts; 0 before the first import. A later one waits for its rotation."""
    rotation_period: int | None = None
    """Days between automatic rotations; None when they are off."""
    next_rotation: datetime | None = None
    public_key: bytes = b""
    """Of an asymmetric key that has or had material: its SubjectPublicKeyInfo, DER."""
    deletion_date: datetime | None = None
    deletion_window: int | None = None
    """Days; kept while the key waits for its deletion, or, with no date yet, for that of its last replica."""
    primary_region: str = ""
    """Of a multi-Region key."""
    replica_regions: tuple[str, ...] = ()
    """Of a multi-Region key: the Regions of all replicas, in the order of their names."""
    transient: str | None = None
    """Creating or Updating, until ``transient_until``."""
    transient_until: datetime | None = None
    version: int = 0

    @cached_property
    def arn(self) -> str:
        return self.name.arn

    @property
    def is_replica(self) -> bool:
        """Whether the key is a multi-Region key, and not the primary one."""
        return self.multi_region and self.primary_region != self.name.region

    @property
    def related_names(self) -> tuple[KeyName, ...]:
        """The keys that share this one's material: the primary, its replicas, and nothing but itself where there is
        only one."""
        if not self.replica_regions:
            return (self.name,)
        return tuple(self.name._replace(region=region) for region in (self.primary_region, *self.replica_regions))

    @property
    def current_backing_key(self) -> BackingKey | None:
        return self.backing_key(self.current)

    @property
    def pending_rotation(self) -> BackingKey | None:
        """The imported backing key that waits for RotateKeyOnDemand."""
        return next((backing for backing in self.backing_keys if backing.ordinal > self.current > 0), None)

    def backing_key(self, ordinal: int) -> BackingKey | None:
        return next((backing for backing in self.backing_keys if backing.ordinal == ordinal), None)

    @cached_property
    def blob_key(self) -> blob.BlobKey:
        """The header of blobs made under the current backing key."""
        return blob.BlobKey(self._blob_kind, self.name.account, self.name.id, self.current)

    @property
    def _blob_kind(self) -> int:
        if self.name.kind == OWNED_KEY:
            return blob.SERVICE_OWNED
        return blob.MULTI_REGION if self.multi_region else blob.SINGLE_REGION

    @cached_property
    def next_event(self) -> datetime | None:
        """When time alone next changes this key: its deletion, the expiry of a material, or an automatic rotation."""
        events = [backing.expires for backing in self.backing_keys if backing.present and backing.expires]
        if self.deletion_date is not None:
            events.append(self.deletion_date)
        if self.enabled and self.next_rotation is not None and not self.is_replica:
            events.append(self.next_rotation)
        return min(events, default=None)


@dataclass(frozen=True)
class Alias:
    """A name for a KMS key in the same account and Region."""

    account: str
    region: str
    name: str
    """With ``alias/``."""
    target: str
    """A key id."""
    created: datetime
    updated: datetime
    version: int = 0

    @property
    def record_id(self) -> str:
        return f"{self.account}/{self.region}/{self.name}"

    @property
    def arn(self) -> str:
        return alias_arn(self.account, self.region, self.name)


def alias_arn(account: str, region: str, name: str) -> str:
    return str(Arn(partition(region), "kms", region, account, name))


@dataclass(frozen=True)
class Grant:
    """A grant on a KMS key. Either constraint may be None for none."""

    key: KeyName
    id: str
    """64 hexadecimal digits."""
    grantee: str
    operations: tuple[str, ...]
    created: datetime
    issuing_account: str
    """The ARN of the issuing account's root."""
    retiring: str | None = None
    name: str | None = None
    context_equals: Mapping[str, str] | None = None
    context_subset: Mapping[str, str] | None = None
    version: int = field(default=0, compare=False)

    @property
    def record_id(self) -> str:
        return f"{self.key.record_id}/{self.id}"


def material_record_id(key: KeyName, ordinal: int) -> str:
    """Owned keys and KMS keys never share an id: the former's account is one that no caller has."""
    return f"{key.kind}/{key.record_id}/{ordinal:010d}"


def _milliseconds(time: datetime | None) -> int | None:
    return None if time is None else (time - _EPOCH) // _MILLISECOND


def _time(milliseconds: int) -> datetime:
    return _EPOCH + milliseconds * _MILLISECOND


def _optional_time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else _time(milliseconds)


def _body(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()


def key_record(key: KmsKey) -> Record:
    body = {
        "created": _milliseconds(key.created),
        "policy": key.policy,
        "origin": key.origin,
        "spec": key.spec,
        "usage": key.usage,
        "manager": key.manager,
        "description": key.description,
        "enabled": key.enabled,
        "multi_region": key.multi_region,
        "tags": key.tags,
        "backing_keys": [
            {
                "ordinal": backing.ordinal,
                "material_id": backing.material_id,
                "rotated": _milliseconds(backing.rotated),
                "rotation": backing.rotation,
                "present": backing.present,
                "expires": _milliseconds(backing.expires),
                "description": backing.description,
            }
            for backing in key.backing_keys
        ],
        "current": key.current,
        "rotation_period": key.rotation_period,
        "next_rotation": _milliseconds(key.next_rotation),
        "public_key": base64.b64encode(key.public_key).decode("ascii"),
        "deletion_date": _milliseconds(key.deletion_date),
        "deletion_window": key.deletion_window,
        "primary_region": key.primary_region,
        "replica_regions": key.replica_regions,
        "transient": key.transient,
        "transient_until": _milliseconds(key.transient_until),
    }
    return Record(key.name.kind, key.name.record_id, key.version, _body(body))


def key_from(record: Record) -> KmsKey:
    account, region, key_id = record.id.split("/")
    body = json.loads(record.body)
    body["name"] = KeyName(account, region, key_id, record.kind)
    body["created"] = _time(body["created"])
    body["tags"] = tuple((name, value) for name, value in body["tags"])
    body["next_rotation"] = _optional_time(body["next_rotation"])
    body["public_key"] = base64.b64decode(body.get("public_key", ""))
    body["deletion_date"] = _optional_time(body["deletion_date"])
    # Keys that were stored before there were replicas have neither.
    body["primary_region"] = body.get("primary_region") or (region if body["multi_region"] else "")
    body["replica_regions"] = tuple(body.get("replica_regions", ()))
    body["transient_until"] = _optional_time(body.get("transient_until"))
    body["backing_keys"] = tuple(
        BackingKey(
            **{
                **backing,
                "rotated": _optional_time(backing["rotated"]),
                "expires": _optional_time(backing["expires"]),
            }
        )
        for backing in body["backing_keys"]
    )
    return KmsKey(**body, version=record.version)


def alias_record(alias: Alias) -> Record:
    body = {
        "target": alias.target,
        "created": _milliseconds(alias.created),
        "updated": _milliseconds(alias.updated),
    }
    return Record(ALIAS, alias.record_id, alias.version, _body(body))


def alias_from(record: Record) -> Alias:
    account, region, name = record.id.split("/", 2)
    body = json.loads(record.body)
    created, updated = _time(body["created"]), _time(body["updated"])
    return Alias(account, region, name, body["target"], created, updated, record.version)


def grant_record(grant: Grant) -> Record:
    body = {
        "grantee": grant.grantee,
        "operations": grant.operations,
        "created": _milliseconds(grant.created),
        "issuing_account": grant.issuing_account,
        "retiring": grant.retiring,
        "name": grant.name,
        "context_equals": grant.context_equals,
        "context_subset": grant.context_subset,
    }
    return Record(GRANT, grant.record_id, grant.version, _body(body))


def grant_from(record: Record) -> Grant:
    account, region, key_id, grant_id = record.id.split("/")
    body = json.loads(record.body)
    body["operations"] = tuple(body["operations"])
    body["created"] = _time(body["created"])
    return Grant(key=KeyName(account, region, key_id), id=grant_id, **body, version=record.version)
