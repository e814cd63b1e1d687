"""What time alone does to a KMS key: deletion, expiry of imported material, automatic rotation.

Nothing runs in the background: whoever looks at a key whose next event is due settles it first, by one write.
Source: https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html
"""

from dataclasses import replace
from datetime import datetime, timedelta

from proxy.kms import model, states
from proxy.kms.key_ring import KeyRing
from proxy.kms.model import BackingKey, KmsKey
from proxy.kms.repository import Repository
from proxy.kms.store import Conflict, Record


async def purge(repository: Repository, key: KmsKey) -> None:
    """Deletes a key whose waiting time is over, with its material, aliases and grants. Another process may do the
    same at the same time; one of them succeeds."""
    name = key.name
    materials = await repository.scan_all(model.MATERIAL, f"{name.kind}/{name.record_id}/")
    grants = await repository.scan_all(model.GRANT, f"{name.record_id}/")
    aliases = await repository.scan_all(model.ALIAS, f"{name.account}/{name.region}/")
    targeting = [record for record in aliases if model.alias_from(record).target == name.id]
    try:
        await repository.write([], [model.key_record(key), *materials, *grants, *targeting])
    except Conflict:
        return


async def settle(repository: Repository, ring: KeyRing, key: KmsKey, now: datetime) -> None:
    """Writes down what was due by ``now``: material that has expired is deleted, overdue rotations are made.

    Raises Conflict when the key has changed meanwhile."""
    deletes: list[Record] = []
    for backing in key.backing_keys:
        if backing.present and not states.is_present(backing, now):
            record = await ring.record(key.name, backing.ordinal)
            deletes += [record] if record else []
    ring.forget(key, lambda backing: not states.is_present(backing, now))
    settled = replace(
        key,
        backing_keys=tuple(replace(backing, present=states.is_present(backing, now)) for backing in key.backing_keys),
    )
    puts: list[Record] = []
    while settled.enabled and settled.next_rotation is not None and settled.next_rotation <= now:
        settled, material = await rotate(ring, settled, settled.next_rotation, model.AUTOMATIC)
        puts.append(material)
    await repository.write([model.key_record(settled), *puts], deletes)


async def rotate(ring: KeyRing, key: KmsKey, at: datetime, rotation: str) -> tuple[KmsKey, Record]:
    """The key with fresh material that is current from ``at``, and that material's record, both to be written.
    An automatic rotation sets the date of the next one."""
    ordinal = max((backing.ordinal for backing in key.backing_keys), default=0) + 1
    material = await ring.generate(key.name, ordinal)
    backing = BackingKey(ordinal, material.material_id, rotated=at, rotation=rotation)
    next_rotation = key.next_rotation
    if rotation == model.AUTOMATIC and key.rotation_period is not None:
        next_rotation = at + timedelta(days=key.rotation_period)
    rotated = replace(key, backing_keys=(*key.backing_keys, backing), current=ordinal, next_rotation=next_rotation)
    return rotated, material.record
