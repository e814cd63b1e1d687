"""Multi-Region keys: ReplicateKey and UpdatePrimaryRegion.

Related keys have their id, material, rotation, spec, usage and origin in common; description, policy, tags, aliases,
grants and state belong to each. All Regions are in one store, and every operation is one write there, so a replica
works as soon as ReplicateKey has answered, and the primary Region has changed when UpdatePrimaryRegion has. AWS takes
some seconds for either; ``KeyService.transition_time`` makes this service take as long.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import errors, key_policies, model, shapes, states
from proxy.kms.errors import KmsError
from proxy.kms.model import EXTERNAL, BackingKey, KmsKey
from proxy.kms.operation import operation
from proxy.kms.operations import keys, tags
from proxy.kms.service import KeyService
from proxy.kms.states import KeyState


def check_primary(key: KmsKey) -> None:
    """Refuses all but multi-Region primary keys.

    Raises KmsError (UnsupportedOperationException)."""
    if not key.multi_region or key.is_replica:
        raise errors.unsupported(f"{key.arn} is not a multi-region primary key.")


def _in_transition(service: KeyService, key: KmsKey, state: KeyState, now: datetime) -> KmsKey:
    if not service.transition_time:
        return key
    return replace(key, transient=state.value, transient_until=now + service.transition_time)


@operation(
    "ReplicateKey",
    shapes.request(
        "KeyId",
        "ReplicaRegion",
        KeyId=shapes.KEY_ID,
        ReplicaRegion=shapes.REGION,
        Policy=shapes.POLICY,
        BypassPolicyLockoutSafetyCheck=shapes.BOOLEAN,
        Description=shapes.DESCRIPTION,
        Tags=shapes.TAGS,
    ),
)
async def replicate_key(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ReplicateKey.html

    The caller needs ``kms:CreateKey``, and ``kms:TagResource`` for tags, in the replica's Region too."""
    primary = await service.usable_key("ReplicateKey", origin, request["KeyId"])
    check_primary(primary)
    region = request["ReplicaRegion"]
    service.check_region(region, primary.name.region)
    there = replace(origin, region=region)
    service.authorize_account(there, "CreateKey")
    if request.get("Tags"):
        service.authorize_account(there, "TagResource")
    now = service.now()
    replica = _new_replica(primary, request, now)
    if replica.name in primary.related_names:
        raise KmsError("AlreadyExistsException", f"{replica.arn} already exists.")
    await service.key_count.check(service, replica.name.account, region, service.resource_quotas.keys)
    service.check_policy(replica.policy)
    if not request.get("BypassPolicyLockoutSafetyCheck", False):
        service.check_lockout(there, replica)
    material = [] if primary.origin == EXTERNAL else [backing.ordinal for backing in primary.backing_keys]
    copies = await service.ring.copy(primary.name, material, replica.name)
    family = _family((*await service.related(primary), _in_transition(service, replica, KeyState.CREATING, now)))
    await service.repository.write([*map(model.key_record, family), *copies])
    return {
        "ReplicaKeyMetadata": _metadata_while_creating(family[-1], now),
        "ReplicaPolicy": replica.policy,
        "ReplicaTags": [{"TagKey": name, "TagValue": value} for name, value in replica.tags],
    }


def _new_replica(primary: KmsKey, request: Values, now: datetime) -> KmsKey:
    """The replica with what it shares with the primary key; imported material has to be imported into it anew."""
    region = request["ReplicaRegion"]
    return replace(
        primary,
        name=primary.name._replace(region=region),
        created=now,
        policy=request.get("Policy") or key_policies.default(primary.name.account, region),
        description=request.get("Description", ""),
        tags=tags.merge((), request.get("Tags", ())),
        backing_keys=tuple(
            not_imported(backing) if primary.origin == EXTERNAL else backing for backing in primary.backing_keys
        ),
        version=0,
    )


def not_imported(backing: BackingKey) -> BackingKey:
    """A backing key as it is in a replica before its material has been imported there."""
    return replace(backing, present=False, expires=None, description=None)


def _family(keys: Sequence[KmsKey], primary_region: str | None = None) -> list[KmsKey]:
    """The keys, told of each other. Without ``primary_region`` the primary stays what it is."""
    primary = primary_region or keys[0].primary_region
    replicas = tuple(sorted(key.name.region for key in keys if key.name.region != primary))
    return [replace(key, primary_region=primary, replica_regions=replicas) for key in keys]


def _metadata_while_creating(replica: KmsKey, now: datetime) -> Values:
    """KeyMetadata as AWS answers ReplicateKey, whatever a later look shows."""
    metadata = keys.metadata(replica, now) | {"KeyState": KeyState.CREATING.value, "Enabled": False}
    metadata.pop("CurrentKeyMaterialId", None)
    return metadata


@operation(
    "UpdatePrimaryRegion",
    shapes.request("KeyId", "PrimaryRegion", KeyId=shapes.KEY_ID, PrimaryRegion=shapes.REGION),
)
async def update_primary_region(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_UpdatePrimaryRegion.html

    The caller needs ``kms:UpdatePrimaryRegion`` on the old primary key and on the new one."""
    primary = await service.usable_key("UpdatePrimaryRegion", origin, request["KeyId"])
    check_primary(primary)
    region = request["PrimaryRegion"]
    if region == primary.name.region:
        raise errors.unsupported(f"{primary.arn} is the multi-region primary key already.")
    now, related = service.now(), await service.related(primary)
    replica = next((key for key in related if key.name.region == region), None)
    if replica is None:
        raise errors.key_not_found(primary.name._replace(region=region).arn)
    await service.authorize(replace(origin, region=region), replica, "UpdatePrimaryRegion")
    states.check_state("UpdatePrimaryRegion", replica, now)
    changed = [
        _in_transition(service, key, KeyState.UPDATING, now) if key.name in (primary.name, replica.name) else key
        for key in _family(related, region)
    ]
    await service.repository.write(list(map(model.key_record, changed)))
