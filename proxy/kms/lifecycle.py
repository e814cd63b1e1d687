"""What time alone does to a KMS key: deletion, expiry of imported material, automatic rotation.

Whoever looks at a key whose next event is due settles it first, by one write, so nothing is late, also where nobody
looked for years: events take the times at which they were due. ``proxy.kms.scheduler`` looks at keys that nobody uses.
A multi-Region key is settled with all its related keys, since they share material, rotation and the list of replicas.
Sources: https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html
https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-delete.html
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from proxy.kms import model, states
from proxy.kms.key_ring import KeyRing
from proxy.kms.model import BackingKey, KmsKey
from proxy.kms.repository import Repository
from proxy.kms.store import Record

Keys = tuple[KmsKey, ...]


async def settle(repository: Repository, ring: KeyRing, keys: Keys, now: datetime) -> None:
    """Writes down what was due by ``now``: keys whose waiting time is over are deleted with all that belongs to them,
    imported material that has expired is erased, overdue rotations are made.

    ``keys`` is a key with all its related keys. Raises Conflict when one has changed meanwhile."""
    left, deleted = _without_deleted(keys, now)
    deletes: list[Record] = []
    for key in deleted:
        deletes += await _records(repository, key)
        ring.forget(key, lambda _: True)
    for key in left:
        deletes += await _expired_material(ring, key, now)
    settled = tuple(_without_expired(key, now) for key in left)
    puts: list[Record] = []
    while (due := _rotation_due(settled)) is not None and due <= now:
        settled, copies = await rotate(ring, settled, due, model.AUTOMATIC)
        puts += copies
    await repository.write([*map(model.key_record, settled), *puts], deletes)


def _without_deleted(keys: Keys, now: datetime) -> tuple[Keys, list[KmsKey]]:
    """The keys that are left, and those whose waiting time is over. The waiting time of a primary key begins with the
    deletion of its last replica."""
    left, deleted = keys, list[KmsKey]()
    while (over := next((key for key in left if states.is_deleted(key, now)), None)) is not None:
        deleted.append(over)
        left = tuple(_without_replica(key, over) for key in left if key is not over)
    return left, deleted


def _without_replica(key: KmsKey, replica: KmsKey) -> KmsKey:
    regions = tuple(region for region in key.replica_regions if region != replica.name.region)
    date = key.deletion_date
    waits = states.waits_for_replicas(key)
    if waits and not regions and replica.deletion_date is not None and key.deletion_window is not None:
        date = replica.deletion_date + timedelta(days=key.deletion_window)
    return replace(key, replica_regions=regions, deletion_date=date)


async def _records(repository: Repository, key: KmsKey) -> list[Record]:
    """All there is of a key, to be deleted with it: its material, its aliases, its grants."""
    name = key.name
    materials = await repository.scan_all(model.MATERIAL, f"{name.kind}/{name.record_id}/")
    grants = await repository.scan_all(model.GRANT, f"{name.record_id}/")
    aliases = await repository.scan_all(model.ALIAS, f"{name.account}/{name.region}/")
    targeting = [record for record in aliases if model.alias_from(record).target == name.id]
    usage = await repository.scan_all(model.USAGE, name.record_id)
    return [model.key_record(key), *materials, *grants, *targeting, *usage]


async def _expired_material(ring: KeyRing, key: KmsKey, now: datetime) -> list[Record]:
    ring.forget(key, lambda backing: not states.is_present(backing, now))
    expired = [backing for backing in key.backing_keys if backing.present and not states.is_present(backing, now)]
    records = [await ring.record(key.name, backing.ordinal) for backing in expired]
    return [record for record in records if record is not None]


def _without_expired(key: KmsKey, now: datetime) -> KmsKey:
    backing_keys = tuple(replace(backing, present=states.is_present(backing, now)) for backing in key.backing_keys)
    return replace(key, backing_keys=backing_keys)


def _rotation_due(keys: Keys) -> datetime | None:
    """When the keys' automatic rotation is due. A disabled primary key does not rotate, nor do its replicas then."""
    return next((key.next_rotation for key in keys if not key.is_replica and key.enabled), None)


async def rotate(ring: KeyRing, keys: Sequence[KmsKey], at: datetime, rotation: str) -> tuple[Keys, list[Record]]:
    """The related keys with fresh material that is current from ``at``, and the records of its copies: all to be
    written at once, so that no key uses it before all have it. An automatic rotation sets the date of the next one."""
    ordinal = max((backing.ordinal for backing in keys[0].backing_keys), default=0) + 1
    material_id, copies = await ring.generate_for([key.name for key in keys], ordinal)
    backing = BackingKey(ordinal, material_id, rotated=at, rotation=rotation)
    rotated = tuple(replace(key, backing_keys=(*key.backing_keys, backing), current=ordinal) for key in keys)
    period = keys[0].rotation_period
    if rotation == model.AUTOMATIC and period is not None:
        rotated = tuple(replace(key, next_rotation=at + timedelta(days=period)) for key in rotated)
    return rotated, copies
