"""Rotation of key material: automatic, on demand, and its history."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import errors, lifecycle, model, shapes, states
from proxy.kms.model import EXTERNAL, ON_DEMAND, SYMMETRIC_DEFAULT, BackingKey, KmsKey
from proxy.kms.operation import operation
from proxy.kms.operations import multi_region, pages
from proxy.kms.operations.keys import expiration
from proxy.kms.service import KeyService
from proxy.kms.store import Record

_DEFAULT_PERIOD: Final = 365
_MAX_ON_DEMAND: Final = 25
_DEFAULT_LIST: Final = 100


def _check_symmetric(key: KmsKey) -> None:
    if key.spec != SYMMETRIC_DEFAULT:
        raise errors.unsupported(f"{key.arn} key spec is {key.spec} which is not valid for this operation.")


def _check_automatic(key: KmsKey) -> None:
    """Refuses keys that cannot rotate by themselves, and replicas, which rotate with their primary key."""
    _check_symmetric(key)
    if key.origin == EXTERNAL:
        raise errors.unsupported_origin(key.arn, key.origin)
    if key.is_replica:
        multi_region.check_primary(key)


async def _write(service: KeyService, keys: Iterable[KmsKey], records: Sequence[Record] = ()) -> None:
    await service.repository.write([*map(model.key_record, keys), *records])


@operation(
    "EnableKeyRotation",
    shapes.request("KeyId", KeyId=shapes.KEY_ID, RotationPeriodInDays=shapes.ROTATION_PERIOD_IN_DAYS),
)
async def enable_key_rotation(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_EnableKeyRotation.html"""
    key = await service.usable_key("EnableKeyRotation", origin, request["KeyId"])
    _check_automatic(key)
    period = request.get("RotationPeriodInDays", _DEFAULT_PERIOD)
    if key.rotation_period == period:
        return
    next_rotation = service.now() + timedelta(days=period)
    related = await service.related(key)
    await _write(service, (replace(each, rotation_period=period, next_rotation=next_rotation) for each in related))


@operation("DisableKeyRotation", shapes.request("KeyId", KeyId=shapes.KEY_ID))
async def disable_key_rotation(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_DisableKeyRotation.html"""
    key = await service.usable_key("DisableKeyRotation", origin, request["KeyId"])
    _check_automatic(key)
    if key.rotation_period is not None:
        related = await service.related(key)
        await _write(service, (replace(each, rotation_period=None, next_rotation=None) for each in related))


@operation("GetKeyRotationStatus", shapes.request("KeyId", KeyId=shapes.KEY_ID))
async def get_key_rotation_status(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyRotationStatus.html"""
    key = await service.usable_key("GetKeyRotationStatus", origin, request["KeyId"])
    if key.rotation_period is None or key.deletion_window is not None:
        return {"KeyId": key.arn, "KeyRotationEnabled": False}
    return {
        "KeyId": key.arn,
        "KeyRotationEnabled": True,
        "RotationPeriodInDays": key.rotation_period,
        "NextRotationDate": key.next_rotation,
    }


@operation("RotateKeyOnDemand", shapes.request("KeyId", KeyId=shapes.KEY_ID))
async def rotate_key_on_demand(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_RotateKeyOnDemand.html

    The rotation is complete when the answer is given, so GetKeyRotationStatus never shows one under way. Of a key with
    imported material, the material that was imported for it becomes the current one."""
    key = await service.usable_key("RotateKeyOnDemand", origin, request["KeyId"])
    _check_symmetric(key)
    if key.is_replica:
        multi_region.check_primary(key)
    done = sum(1 for backing in key.backing_keys if backing.rotation == ON_DEMAND)
    if done >= _MAX_ON_DEMAND:
        raise errors.limit_exceeded(
            f"The on-demand rotations limit of {_MAX_ON_DEMAND} has been reached for {key.arn}."
        )
    related, now = await service.related(key), service.now()
    if key.origin == EXTERNAL:
        if not _everywhere(related, key.pending_rotation, now):
            raise errors.invalid_state(f"No available key material pending rotation for the key: {key.arn}.")
        await _write(service, (_use_pending(each, now) for each in related))
    else:
        await _write(service, *await lifecycle.rotate(service.ring, related, now, ON_DEMAND))
    return {"KeyId": key.arn}


def _everywhere(related: Iterable[KmsKey], pending: BackingKey | None, now: datetime) -> bool:
    """Whether the material that waits for its rotation is there in every Region."""
    if pending is None:
        return False
    there = [key.backing_key(pending.ordinal) for key in related]
    return all(backing is not None and states.is_present(backing, now) for backing in there)


def _use_pending(key: KmsKey, now: datetime) -> KmsKey:
    backing_keys = tuple(
        replace(backing, rotated=now, rotation=ON_DEMAND) if backing == key.pending_rotation else backing
        for backing in key.backing_keys
    )
    return replace(key, backing_keys=backing_keys, current=backing_keys[-1].ordinal)


@operation(
    "ListKeyRotations",
    shapes.request(
        "KeyId",
        KeyId=shapes.KEY_ID,
        IncludeKeyMaterial=shapes.INCLUDE_KEY_MATERIAL,
        Limit=shapes.LIMIT,
        Marker=shapes.MARKER,
    ),
)
async def list_key_rotations(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ListKeyRotations.html"""
    key = await service.usable_key("ListKeyRotations", origin, request["KeyId"])
    everything = request.get("IncludeKeyMaterial") == "ALL_KEY_MATERIAL"
    if everything:
        _check_symmetric(key)
    related, now = await service.related(key), service.now()
    listed = [backing for backing in key.backing_keys if everything or backing.rotated is not None]
    shown, following = pages.page(listed, lambda backing: f"{backing.ordinal:010d}", request, _DEFAULT_LIST)
    return pages.answer("Rotations", [_entry(key, backing, related, now) for backing in shown], following)


def _entry(key: KmsKey, backing: BackingKey, related: Iterable[KmsKey], now: datetime) -> Values:
    entry: Values = {
        "KeyId": key.arn,
        "KeyMaterialId": backing.material_id,
        "KeyMaterialState": _material_state(key, backing, related, now),
    }
    if backing.rotated is not None:
        entry |= {"RotationDate": backing.rotated, "RotationType": backing.rotation}
    if key.origin == EXTERNAL:
        present = states.is_present(backing, now)
        entry["ImportState"] = "IMPORTED" if present else "PENDING_IMPORT"
        if present:
            entry |= expiration(backing)
        if backing.description is not None:
            entry["KeyMaterialDescription"] = backing.description
    return entry


def _material_state(key: KmsKey, backing: BackingKey, related: Iterable[KmsKey], now: datetime) -> str:
    if backing.ordinal == key.current:
        return "CURRENT"
    if backing.ordinal < key.current:
        return "NON_CURRENT"
    if key.replica_regions and not _everywhere(related, backing, now):
        return "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"
    return "PENDING_ROTATION"
