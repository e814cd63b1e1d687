"""KMS keys: CreateKey, DescribeKey, ListKeys, enabling, describing, and deletion after a waiting time."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import errors, key_pairs, key_policies, key_specs, lifecycle, model, shapes, states
from proxy.kms.key_specs import ALGORITHM_MEMBERS, KEY_SPECS, KeySpec
from proxy.kms.model import AWS_KMS, ENCRYPT_DECRYPT, EXTERNAL, SYMMETRIC_DEFAULT, BackingKey, KeyName, KmsKey
from proxy.kms.operation import operation
from proxy.kms.operations import pages, tags
from proxy.kms.service import KeyService
from proxy.kms.states import KeyState
from proxy.kms.store import Record

_DEFAULT_WINDOW: Final = 30
_WINDOW: Final = range(7, 31)
_DEFAULT_LIST: Final = 100


def metadata(key: KmsKey, now: datetime) -> Values:
    """KeyMetadata, as CreateKey and DescribeKey answer it."""
    state = states.state_of(key, now)
    answer: Values = {
        "AWSAccountId": key.name.account,
        "KeyId": key.name.id,
        "Arn": key.arn,
        "CreationDate": key.created,
        "Enabled": state is KeyState.ENABLED,
        "Description": key.description,
        "KeyUsage": key.usage,
        "KeyState": state.value,
        "Origin": key.origin,
        "KeyManager": key.manager,
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        ALGORITHM_MEMBERS[key.usage]: list(key_specs.algorithms(key.spec, key.usage)),
        "MultiRegion": key.multi_region,
    }
    if key.deletion_date is not None:
        answer["DeletionDate"] = key.deletion_date
    if state is KeyState.PENDING_REPLICA_DELETION:
        answer["PendingDeletionWindowInDays"] = key.deletion_window
    current = key.current_backing_key
    if current is not None:
        if key.spec == SYMMETRIC_DEFAULT:
            answer["CurrentKeyMaterialId"] = current.material_id
        if key.origin == EXTERNAL and states.is_present(current, now):
            answer |= expiration(_first_to_expire(key, current, now))
    if key.multi_region:
        answer["MultiRegionConfiguration"] = _multi_region_configuration(key)
    return answer


def _first_to_expire(key: KmsKey, current: BackingKey, now: datetime) -> BackingKey:
    """Of the material that belongs to the key for good, that which expires first; the current one if none does."""
    expiring = [
        backing
        for backing in key.backing_keys
        if backing.ordinal <= key.current and backing.expires is not None and states.is_present(backing, now)
    ]
    return min(expiring, key=lambda backing: backing.expires or now, default=current)


def _multi_region_configuration(key: KmsKey) -> Values:
    def named(region: str) -> Values:
        return {"Arn": key.name._replace(region=region).arn, "Region": region}

    return {
        "MultiRegionKeyType": "REPLICA" if key.is_replica else "PRIMARY",
        "PrimaryKey": named(key.primary_region),
        "ReplicaKeys": [named(region) for region in key.replica_regions],
    }


def expiration(backing: BackingKey) -> Values:
    """ExpirationModel and ValidTo of imported material."""
    if backing.expires is None:
        return {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    return {"ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": backing.expires}


class _Kind(NamedTuple):
    origin: str
    spec: str
    usage: str


def _kind(request: Values) -> _Kind:
    """What kind of key is asked for.

    Raises:
        KmsError: there is no such kind, or not here.
    """
    if "KeySpec" in request and "CustomerMasterKeySpec" in request:
        raise errors.validation(
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. "
            "CustomerMasterKeySpec is deprecated."
        )
    origin: str = request.get("Origin", AWS_KMS)
    if "CustomKeyStoreId" in request:
        raise errors.custom_key_store_not_found(request["CustomKeyStoreId"])
    if "XksKeyId" in request or origin not in (AWS_KMS, EXTERNAL):
        raise errors.validation(f"CustomKeyStoreId must be specified for a key with origin {origin}.")
    spec: str = request.get("KeySpec") or request.get("CustomerMasterKeySpec", SYMMETRIC_DEFAULT)
    usage: str | None = request.get("KeyUsage", ENCRYPT_DECRYPT if spec == SYMMETRIC_DEFAULT else None)
    if usage is None:
        raise errors.validation(
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
        )
    if not key_pairs.is_offered(spec):
        raise errors.unsupported(f"KeySpec {spec} is not supported in this Region.")
    if usage not in KEY_SPECS[spec].algorithms:
        raise errors.validation(f"KeyUsage {usage} is not compatible with KeySpec {spec}")
    return _Kind(origin, spec, usage)


@operation(
    "CreateKey",
    shapes.request(
        Policy=shapes.POLICY,
        Description=shapes.DESCRIPTION,
        KeyUsage=shapes.KEY_USAGE,
        CustomerMasterKeySpec=shapes.CUSTOMER_MASTER_KEY_SPEC,
        KeySpec=shapes.KEY_SPEC,
        Origin=shapes.ORIGIN,
        CustomKeyStoreId=shapes.CUSTOM_KEY_STORE_ID,
        BypassPolicyLockoutSafetyCheck=shapes.BOOLEAN,
        Tags=shapes.TAGS,
        MultiRegion=shapes.BOOLEAN,
        XksKeyId=shapes.XKS_KEY_ID,
    ),
)
async def create_key(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html"""
    service.authorize_account(origin, "CreateKey")
    kind = _kind(request)
    account, region = origin.caller.account, origin.region
    if request.get("Tags"):
        service.authorize_account(origin, "TagResource")
    multi_region = request.get("MultiRegion", False)
    now = service.now()
    key = KmsKey(
        KeyName(account, region, service.new_key_id(multi_region=multi_region)),
        now,
        request.get("Policy") or key_policies.default(account, region),
        origin=kind.origin,
        spec=kind.spec,
        usage=kind.usage,
        description=request.get("Description", ""),
        multi_region=multi_region,
        primary_region=region if multi_region else "",
        tags=tags.merge((), request.get("Tags", ())),
    )
    service.check_policy(key.policy)
    await service.key_count.check(service, account, region, service.resource_quotas.keys)
    if not request.get("BypassPolicyLockoutSafetyCheck", False):
        service.check_lockout(origin, key)
    records: list[Record] = []
    if kind.origin == AWS_KMS:
        plaintext, public_key = await _new_material(service, KEY_SPECS[kind.spec])
        wrapped = await service.ring.wrap(key.name, 1, plaintext)
        key = replace(key, backing_keys=(BackingKey(1, wrapped.material_id),), current=1, public_key=public_key)
        records.append(wrapped.record)
    await service.repository.write([model.key_record(key), *records])
    return {"KeyMetadata": metadata(key, now)}


async def _new_material(service: KeyService, spec: KeySpec) -> tuple[bytes, bytes]:
    """Fresh material for a key, and its public key where it is asymmetric."""
    if not spec.is_asymmetric:
        return service.random(spec.generated_size), b""
    pair = await service.threads.run(lambda: key_pairs.generate(spec.name))
    return key_pairs.private_bytes(pair), key_pairs.public_bytes(pair)


@operation("DescribeKey", shapes.request("KeyId", KeyId=shapes.KEY_ID, GrantTokens=shapes.GRANT_TOKENS))
async def describe_key(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_DescribeKey.html"""
    tokens = request.get("GrantTokens", ())
    key = await service.usable_key("DescribeKey", origin, request["KeyId"], grant_tokens=tokens)
    return {"KeyMetadata": metadata(key, service.now())}


@operation("ListKeys", shapes.request(Limit=shapes.LIMIT, Marker=shapes.MARKER))
async def list_keys(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ListKeys.html"""
    service.authorize_account(origin, "ListKeys")
    limit = request.get("Limit", _DEFAULT_LIST)
    prefix = f"{origin.caller.account}/{origin.region}/"
    after = prefix + pages.start_after(request)
    found: list[KmsKey] = []
    while len(found) <= limit:
        records = await service.repository.store.scan(model.KEY, prefix, after, limit + 1)
        keys = [await _as_of_now(service, model.key_from(record)) for record in records]
        found += [key for key in keys if key is not None]
        if len(records) <= limit:
            break
        after = records[-1].id
    shown = found[:limit]
    entries = [{"KeyId": key.name.id, "KeyArn": key.arn} for key in shown]
    return pages.answer("Keys", entries, shown[-1].name.id if len(found) > limit else None)


async def _as_of_now(service: KeyService, key: KmsKey) -> KmsKey | None:
    """A key that has just been read, with what was due settled."""
    may_be_due = key.replica_regions or (key.next_event is not None and key.next_event <= service.now())
    return await service.key(key.name) if may_be_due else key


@operation("EnableKey", shapes.request("KeyId", KeyId=shapes.KEY_ID))
async def enable_key(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_EnableKey.html

    A key whose rotation fell due while it was disabled is rotated at once, and its schedule starts from now."""
    key = await service.usable_key("EnableKey", origin, request["KeyId"])
    if key.enabled:
        return
    enabled: tuple[KmsKey, ...] = (replace(key, enabled=True),)
    copies: list[Record] = []
    now = service.now()
    if key.next_rotation is not None and key.next_rotation <= now and not key.is_replica:
        related = [enabled[0] if each.name == key.name else each for each in await service.related(key)]
        enabled, copies = await lifecycle.rotate(service.ring, related, now, model.AUTOMATIC)
    await service.repository.write([*map(model.key_record, enabled), *copies])


@operation("DisableKey", shapes.request("KeyId", KeyId=shapes.KEY_ID))
async def disable_key(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_DisableKey.html"""
    key = await service.usable_key("DisableKey", origin, request["KeyId"])
    if key.enabled:
        await service.repository.write([model.key_record(replace(key, enabled=False))])


@operation(
    "UpdateKeyDescription",
    shapes.request("KeyId", "Description", KeyId=shapes.KEY_ID, Description=shapes.DESCRIPTION),
)
async def update_key_description(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_UpdateKeyDescription.html"""
    key = await service.usable_key("UpdateKeyDescription", origin, request["KeyId"])
    await service.repository.write([model.key_record(replace(key, description=request["Description"]))])


@operation(
    "ScheduleKeyDeletion",
    shapes.request("KeyId", KeyId=shapes.KEY_ID, PendingWindowInDays=shapes.PENDING_WINDOW_IN_DAYS),
)
async def schedule_key_deletion(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ScheduleKeyDeletion.html"""
    window = request.get("PendingWindowInDays", _DEFAULT_WINDOW)
    if window not in _WINDOW:
        raise errors.validation("PendingWindowInDays must be between 7 and 30, inclusive.")
    key = await service.usable_key("ScheduleKeyDeletion", origin, request["KeyId"])
    now = service.now()
    # The waiting time of a primary key begins when its last replica is deleted.
    deletion_date = None if key.replica_regions and not key.is_replica else now + timedelta(days=window)
    waiting = replace(key, enabled=False, deletion_date=deletion_date, deletion_window=window)
    await service.repository.write([model.key_record(waiting)])
    answer: Values = {"KeyId": key.arn, "KeyState": states.state_of(waiting, now).value, "PendingWindowInDays": window}
    if deletion_date is not None:
        answer["DeletionDate"] = deletion_date
    return answer


@operation("CancelKeyDeletion", shapes.request("KeyId", KeyId=shapes.KEY_ID))
async def cancel_key_deletion(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_CancelKeyDeletion.html"""
    key = await service.usable_key("CancelKeyDeletion", origin, request["KeyId"])
    kept = replace(key, enabled=False, deletion_date=None, deletion_window=None)
    await service.repository.write([model.key_record(kept)])
    return {"KeyId": key.arn}
