"""Aliases: names that can be moved from one KMS key to another."""

import re
from dataclasses import replace
from typing import Final

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import errors, model, shapes, states
from proxy.kms.errors import KmsError
from proxy.kms.key_ids import ALIAS_PREFIX, RESERVED_PREFIX
from proxy.kms.model import Alias, KeyName
from proxy.kms.operation import operation
from proxy.kms.operations import pages
from proxy.kms.resource_quotas import check_aliases
from proxy.kms.service import KeyService

_NAME: Final = re.compile(r"alias/[a-zA-Z0-9/_-]+")
_DEFAULT_LIST: Final = 50


def _check_name(name: str) -> None:
    if name.startswith(RESERVED_PREFIX):
        raise KmsError("NotAuthorizedException", "")
    if not name.startswith(ALIAS_PREFIX) or name == ALIAS_PREFIX:
        raise errors.validation("Invalid identifier")
    if not _NAME.fullmatch(name):
        raise errors.validation(f"{name} contains invalid characters for an alias")


def _check_target(key_id: str) -> None:
    if key_id.startswith(ALIAS_PREFIX) or ":alias/" in key_id:
        raise errors.validation("Aliases must refer to keys. Not aliases")


_TARGETED = shapes.request("AliasName", "TargetKeyId", AliasName=shapes.ALIAS_NAME, TargetKeyId=shapes.KEY_ID)


@operation("CreateAlias", _TARGETED)
async def create_alias(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html"""
    name = request["AliasName"]
    _check_name(name)
    _check_target(request["TargetKeyId"])
    account, region = origin.caller.account, origin.region
    arn = model.alias_arn(account, region, name)
    service.authorize_account(origin, "CreateAlias", arn)
    key = await service.usable_key("CreateAlias", origin, request["TargetKeyId"])
    there = await service.repository.alias(account, region, name)
    # Where the key's time is over, this deletes its aliases too.
    if there is not None and await service.key(KeyName(account, region, there.target)) is not None:
        raise KmsError("AlreadyExistsException", f"An alias with the name {arn} already exists")
    await check_aliases(service, key, service.resource_quotas.aliases_per_key)
    now = service.now()
    await service.repository.write([model.alias_record(Alias(account, region, name, key.name.id, now, now))])


async def _existing(service: KeyService, origin: CallOrigin, action: str, name: str) -> Alias:
    """An alias of the caller's account, with the caller authorized on it and on the key that it names now."""
    _check_name(name)
    account, region = origin.caller.account, origin.region
    arn = model.alias_arn(account, region, name)
    service.authorize_account(origin, action, arn)
    alias = await service.repository.alias(account, region, name)
    if alias is None:
        raise errors.alias_not_found(arn)
    key = await service.key(KeyName(account, region, alias.target))
    if key is None:
        raise errors.alias_not_found(arn)
    await service.authorize(origin, key, action)
    return alias


@operation("UpdateAlias", _TARGETED)
async def update_alias(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_UpdateAlias.html"""
    _check_target(request["TargetKeyId"])
    alias = await _existing(service, origin, "UpdateAlias", request["AliasName"])
    key = await service.usable_key("UpdateAlias", origin, request["TargetKeyId"])
    if key.name.id != alias.target:
        await check_aliases(service, key, service.resource_quotas.aliases_per_key)
    moved = replace(alias, target=key.name.id, updated=service.now())
    await service.repository.write([model.alias_record(moved)])


@operation("DeleteAlias", shapes.request("AliasName", AliasName=shapes.ALIAS_NAME))
async def delete_alias(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_DeleteAlias.html"""
    alias = await _existing(service, origin, "DeleteAlias", request["AliasName"])
    await service.repository.write([], [model.alias_record(alias)])


@operation("ListAliases", shapes.request(KeyId=shapes.KEY_ID, Limit=shapes.LIMIT, Marker=shapes.MARKER))
async def list_aliases(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ListAliases.html"""
    service.authorize_account(origin, "ListAliases")
    target = None
    if "KeyId" in request:
        key = await service.find_key("ListAliases", origin, request["KeyId"])
        states.check_state("ListAliases", key, service.now())
        target = key.name.id
    account, region = origin.caller.account, origin.region
    prefix = f"{account}/{region}/"
    records = await service.repository.scan_all(model.ALIAS, prefix)
    aliases = [model.alias_from(record) for record in records]
    wanted = [alias for alias in aliases if target is None or alias.target == target]
    shown, following = pages.page(wanted, lambda alias: alias.name, request, _DEFAULT_LIST)
    # A page may be short of aliases whose key's time is over, though nobody has deleted either yet.
    there = {id for id in {alias.target for alias in shown} if await service.key(KeyName(account, region, id))}
    entries = [
        {
            "AliasName": alias.name,
            "AliasArn": alias.arn,
            "TargetKeyId": alias.target,
            "CreationDate": alias.created,
            "LastUpdatedDate": alias.updated,
        }
        for alias in shown
        if alias.target in there
    ]
    return pages.answer("Aliases", entries, following)
