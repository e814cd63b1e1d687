"""Rotation of key material: automatic, on demand, and its history."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import errors, lifecycle, model, shapes, states
from proxy.kms.model import EXTERNAL, ON_DEMAND, BackingKey, KmsKey
from proxy.kms.operation import operation
from proxy.kms.operations import pages
from proxy.kms.operations.keys import expiration
from proxy.kms.service import KeyService
from proxy.kms.store import Record

_DEFAULT_PERIOD: Final = 365
_MAX_ON_DEMAND: Final = 25
_DEFAULT_LIST: Final = 100


def _check_automatic(key: KmsKey) -> None:
    if key.origin == EXTERNAL:
        raise errors.unsupported_origin(key.arn, key.origin)


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
    rotating = replace(key, rotation_period=period, next_rotation=next_rotation)
    await service.repository.write([model.key_record(rotating)])


@operation("DisableKeyRotation", shapes.request("KeyId", KeyId=shapes.KEY_ID))
async def disable_key_rotation(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_DisableKeyRotation.html"""
    key = await service.usable_key("DisableKeyRotation", origin, request["KeyId"])
    _check_automatic(key)
    if key.rotation_period is not None:
        await service.repository.write([model.key_record(replace(key, rotation_period=None, next_rotation=None))])


@operation("GetKeyRotationStatus", shapes.request("KeyId", KeyId=shapes.KEY_ID))
async def get_key_rotation_status(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyRotationStatus.html"""
    key = await service.usable_key("GetKeyRotationStatus", origin, request["KeyId"])
    if key.rotation_period is None or key.deletion_date is not None:
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

    Of a key with imported material, the material that was imported for it becomes the current one."""
    key = await service.usable_key("RotateKeyOnDemand", origin, request["KeyId"])
    done = sum(1 for backing in key.backing_keys if backing.rotation == ON_DEMAND)
    if done >= _MAX_ON_DEMAND:
        raise errors.limit_exceeded(
            f"The on-demand rotations limit of {_MAX_ON_DEMAND} has been reached for {key.arn}."
        )
    records: list[Record] = []
    if key.origin == EXTERNAL:
        rotated = _use_pending(key, service.now())
    else:
        rotated, material = await lifecycle.rotate(service.ring, key, service.now(), ON_DEMAND)
        records.append(material)
    await service.repository.write([model.key_record(rotated), *records])
    return {"KeyId": key.arn}


def _use_pending(key: KmsKey, now: datetime) -> KmsKey:
    pending = key.pending_rotation
    if pending is None or not states.is_present(pending, now):
        raise errors.invalid_state(f"No available key material pending rotation for the key: {key.arn}.")
    current = replace(pending, rotated=now, rotation=ON_DEMAND)
    others = tuple(backing for backing in key.backing_keys if backing.ordinal != pending.ordinal)
    return replace(key, backing_keys=(*others, current), current=pending.ordinal)


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
    listed = [backing for backing in key.backing_keys if everything or backing.rotated is not None]
    shown, following = pages.page(listed, lambda backing: f"{backing.ordinal:010d}", request, _DEFAULT_LIST)
    return pages.answer("Rotations", [_entry(key, backing, service.now()) for backing in shown], following)


def _entry(key: KmsKey, backing: BackingKey, now: datetime) -> Values:
    entry: Values = {
        "KeyId": key.arn,
        "KeyMaterialId": backing.material_id,
        "KeyMaterialState": _material_state(key, backing),
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


def _material_state(key: KmsKey, backing: BackingKey) -> str:
    if backing.ordinal == key.current:
        return "CURRENT"
    return "NON_CURRENT" if backing.ordinal < key.current else "PENDING_ROTATION"
