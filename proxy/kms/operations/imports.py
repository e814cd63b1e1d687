"""Imported key material (BYOK)."""

import hmac
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import errors, import_token, imported_material, material, model, shapes, states
from proxy.kms.errors import KmsError
from proxy.kms.import_token import ImportToken
from proxy.kms.imported_material import ImportedMaterial
from proxy.kms.model import EXTERNAL, SYMMETRIC_DEFAULT, BackingKey, KmsKey
from proxy.kms.operation import operation
from proxy.kms.operations import multi_region
from proxy.kms.service import KeyService
from proxy.kms.states import KeyState
from proxy.kms.store import Record

_TOKEN_LIFE: Final = timedelta(hours=24)
_MAX_LIFE: Final = timedelta(days=365)
_EXPIRES: Final = "KEY_MATERIAL_EXPIRES"
_NEW: Final = "NEW_KEY_MATERIAL"
_EXISTING: Final = "EXISTING_KEY_MATERIAL"


async def _importable_key(service: KeyService, origin: CallOrigin, name: str, key_id: str) -> KmsKey:
    """The key named, which must be one for imported material. Its origin is looked at before its state."""
    key = await service.find_key(name, origin, key_id)
    await service.authorize(origin, key, name)
    if key.origin != EXTERNAL:
        raise errors.unsupported_origin(key.arn, key.origin)
    states.check_state(name, key, service.now())
    return key


@operation(
    "GetParametersForImport",
    shapes.request(
        "KeyId",
        "WrappingAlgorithm",
        "WrappingKeySpec",
        KeyId=shapes.KEY_ID,
        WrappingAlgorithm=shapes.WRAPPING_ALGORITHM,
        WrappingKeySpec=shapes.WRAPPING_KEY_SPEC,
    ),
)
async def get_parameters_for_import(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_GetParametersForImport.html"""
    key = await _importable_key(service, origin, "GetParametersForImport", request["KeyId"])
    algorithm, spec = request["WrappingAlgorithm"], request["WrappingKeySpec"]
    refused = algorithm == "RSAES_PKCS1_V1_5" and not service.allow_pkcs1_import
    if refused or algorithm not in import_token.WRAPPING_ALGORITHMS:
        raise errors.unsupported(f"The wrapping algorithm {algorithm} is not supported.")
    if spec not in import_token.RSA_BITS:
        raise errors.unsupported(f"The wrapping key spec {spec} is not supported.")
    if not imported_material.can_wrap(key.spec, algorithm, spec):
        raise errors.unsupported(
            f"Wrapping algorithm {algorithm} with wrapping key spec {spec} is not supported for key spec {key.spec}."
        )
    expires = service.now() + _TOKEN_LIFE
    private_key = await service.threads.run(lambda: import_token.new_wrapping_key(spec))
    token = ImportToken(key.name.record_id, _milliseconds(expires), algorithm, private_key)
    return {
        "KeyId": key.arn,
        "ImportToken": import_token.seal(token, service.sealing, service.random(24)),
        "PublicKey": import_token.public_key_bytes(private_key),
        "ParametersValidTo": expires,
    }


def _milliseconds(time: datetime) -> int:
    return (time - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def _check_validity(request: Values, now: datetime) -> datetime | None:
    """When the material will expire, None for never."""
    valid_to: datetime | None = request.get("ValidTo")
    if request.get("ExpirationModel", _EXPIRES) != _EXPIRES:
        if valid_to is not None:
            raise errors.validation(
                "A validTo date cannot be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE"
            )
        return None
    if valid_to is None:
        raise errors.validation("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
    if valid_to <= now:
        raise errors.validation("The validTo date must be in the future")
    if valid_to > now + _MAX_LIFE:
        raise errors.validation("The validTo date must be within 365 days")
    return valid_to


def _unwrap(service: KeyService, key: KmsKey, request: Values, now: datetime) -> ImportedMaterial:
    """The material of an import. It takes milliseconds of CPU.

    Raises:
        KmsError: the token, the ciphertext or the material is not right.
    """
    token = import_token.open_token(request["ImportToken"], service.sealing)
    if token.key_record_id != key.name.record_id:
        raise KmsError("InvalidImportTokenException")
    if token.expires <= _milliseconds(now):
        raise KmsError("ExpiredImportTokenException")
    plaintext = import_token.unwrap_material(token, request["EncryptedKeyMaterial"])
    try:
        return imported_material.read(key.spec, plaintext)
    except ValueError:
        raise KmsError("IncorrectKeyMaterialException") from None


def _check_members(key: KmsKey, request: Values) -> None:
    """Refuses what only symmetric encryption keys, which can have several materials, take."""
    if key.spec == SYMMETRIC_DEFAULT:
        return
    for member in ("ImportType", "KeyMaterialDescription", "KeyMaterialId"):
        if member in request:
            raise errors.validation(f"{member} can only be specified for symmetric encryption keys.")


def _known(key: KmsKey, material_id: str) -> BackingKey | None:
    return next((known for known in key.backing_keys if hmac.compare_digest(known.material_id, material_id)), None)


def _place(key: KmsKey, request: Values, material_id: str, now: datetime) -> BackingKey:
    """The backing key that the material is for: a known one, or the next."""
    kind = request.get("ImportType", _EXISTING if key.backing_keys else _NEW)
    if kind == _NEW and key.is_replica:
        # New material is imported into the primary key first, and then as existing material into each replica.
        multi_region.check_primary(key)
    wanted = request.get("KeyMaterialId")
    known = _known(key, material_id)
    if kind == _EXISTING:
        if known is None or (wanted is not None and wanted != material_id):
            raise KmsError("IncorrectKeyMaterialException")
        return known
    if wanted is not None:
        raise errors.validation("A KeyMaterialId cannot be set if the ImportType is NEW_KEY_MATERIAL")
    if known is not None:
        raise KmsError("IncorrectKeyMaterialException")
    pending = key.pending_rotation
    if pending is not None and states.is_present(pending, now):
        raise errors.invalid_state(f"{key.arn} already has key material pending rotation.")
    return BackingKey(max((backing.ordinal for backing in key.backing_keys), default=0) + 1, material_id)


@operation(
    "ImportKeyMaterial",
    shapes.request(
        "KeyId",
        "ImportToken",
        "EncryptedKeyMaterial",
        KeyId=shapes.KEY_ID,
        ImportToken=shapes.CIPHERTEXT,
        EncryptedKeyMaterial=shapes.CIPHERTEXT,
        ValidTo=shapes.TIMESTAMP,
        ExpirationModel=shapes.EXPIRATION_MODEL,
        ImportType=shapes.IMPORT_TYPE,
        KeyMaterialDescription=shapes.MATERIAL_DESCRIPTION,
        KeyMaterialId=shapes.MATERIAL_ID,
    ),
)
async def import_key_material(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ImportKeyMaterial.html"""
    key = await _importable_key(service, origin, "ImportKeyMaterial", request["KeyId"])
    now = service.now()
    expires = _check_validity(request, now)
    _check_members(key, request)
    given = await service.threads.run(lambda: _unwrap(service, key, request, now))
    backing = _place(key, request, material.material_id(key.name, given.plaintext), now)
    description = request.get("KeyMaterialDescription", backing.description)
    imported = replace(backing, present=True, expires=expires, description=description)
    changed = replace(_with_material(key, imported), public_key=given.public_key)
    if states.state_of(key, now) is KeyState.PENDING_IMPORT:
        changed = replace(changed, enabled=True)
    puts, deletes = [model.key_record(changed)], list[Record]()
    if backing not in key.backing_keys:
        # The replicas learn which material they may import.
        expected = multi_region.not_imported(backing)
        others = [each for each in await service.related(key) if each.name != key.name]
        puts += [model.key_record(_with_material(each, expected)) for each in others]
        deletes = await _replaced(service, [key, *others], expected)
    if await service.ring.record(key.name, imported.ordinal) is None:
        puts.append((await service.ring.wrap(key.name, imported.ordinal, given.plaintext)).record)
    await service.repository.write(puts, deletes)
    return {"KeyId": key.arn, "KeyMaterialId": imported.material_id}


def _with_material(key: KmsKey, backing: BackingKey) -> KmsKey:
    """The key with a backing key added or replaced. A new one takes the place of that which waited for its rotation."""
    kept = (
        other
        for other in key.backing_keys
        if other.ordinal != backing.ordinal and (other.ordinal <= key.current or backing.ordinal <= key.current)
    )
    ordered = sorted((*kept, backing), key=lambda each: each.ordinal)
    return replace(key, backing_keys=tuple(ordered), current=key.current or backing.ordinal)


async def _replaced(service: KeyService, keys: Sequence[KmsKey], by: BackingKey) -> list[Record]:
    """What is left, in replicas, of material that waited for its rotation and gives way to another."""
    records: list[Record | None] = []
    for key in keys:
        pending = key.pending_rotation
        if pending is not None and pending.ordinal != by.ordinal:
            records.append(await service.ring.record(key.name, pending.ordinal))
            service.ring.drop(key.name, pending.ordinal)
    return [record for record in records if record is not None]


@operation(
    "DeleteImportedKeyMaterial",
    shapes.request("KeyId", KeyId=shapes.KEY_ID, KeyMaterialId=shapes.MATERIAL_ID),
)
async def delete_imported_key_material(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_DeleteImportedKeyMaterial.html"""
    key = await _importable_key(service, origin, "DeleteImportedKeyMaterial", request["KeyId"])
    wanted = request.get("KeyMaterialId")
    backing = key.current_backing_key if wanted is None else _known(key, wanted)
    if backing is None and wanted is not None:
        raise KmsError("NotFoundException", f"Key material {wanted} does not exist")
    if backing is None:
        return {"KeyId": key.arn, "KeyMaterialId": ""}
    # Material that waits for its rotation goes from the replicas too when it goes from the primary key.
    everywhere = backing.ordinal > key.current and not key.is_replica
    related = await service.related(key) if everywhere else (key,)
    holding = [each for each in related if _holds(each, backing.ordinal)]
    changed = [_without_material(each, backing.ordinal) for each in holding]
    records = [await service.ring.record(each.name, backing.ordinal) for each in holding]
    if holding:
        deletes = [record for record in records if record is not None]
        await service.repository.write(list(map(model.key_record, changed)), deletes)
    for each in changed:
        service.ring.drop(each.name, backing.ordinal)
    return {"KeyId": key.arn, "KeyMaterialId": backing.material_id}


def _holds(key: KmsKey, ordinal: int) -> bool:
    backing = key.backing_key(ordinal)
    return backing is not None and backing.present


def _without_material(key: KmsKey, ordinal: int) -> KmsKey:
    backing_keys = tuple(
        replace(other, present=False, expires=None) if other.ordinal == ordinal else other for other in key.backing_keys
    )
    return replace(key, backing_keys=backing_keys)
