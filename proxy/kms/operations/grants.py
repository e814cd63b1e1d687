"""Grants: CreateGrant, ListGrants, RevokeGrant, RetireGrant."""

from typing import Final

from proxy.aws import arn
from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Integer, ListOf, String, Values
from proxy.kms import errors, grants, model, shapes, states
from proxy.kms.errors import KmsError
from proxy.kms.model import Grant, KeyName, KmsKey
from proxy.kms.operation import operation
from proxy.kms.operations import pages
from proxy.kms.service import KeyService

_MAX_PAIRS: Final = 8
_MAX_CHARACTERS: Final = 384
_DEFAULT_LIST: Final = 50


def _check_principal(principal: str) -> None:
    try:
        parsed = arn.parse(principal)
    except ValueError:
        parsed = None
    valid = parsed is not None and parsed.service in ("iam", "sts") and not parsed.region and parsed.account.isdigit()
    if not valid:
        raise KmsError("InvalidArnException", f"ARN does not refer to a valid principal: {principal}")


def _check_parties(request: Values) -> None:
    for name in ("GranteeServicePrincipal", "RetiringServicePrincipal"):
        if name in request:
            raise errors.unsupported(f"The {name} parameter is not supported.")
    if "GranteePrincipal" not in request:
        raise errors.validation(
            "1 validation error detected: Value null at 'granteePrincipal' failed to satisfy constraint: "
            "Member must not be null"
        )
    _check_principal(request["GranteePrincipal"])
    if "RetiringPrincipal" in request:
        _check_principal(request["RetiringPrincipal"])


def _check_constraints(constraints: Values) -> None:
    if "SourceArn" in constraints:
        raise errors.unsupported("The SourceArn grant constraint is not supported.")
    for name in ("EncryptionContextEquals", "EncryptionContextSubset"):
        pairs = constraints.get(name, {})
        if len(pairs) > _MAX_PAIRS or any(len(key) + len(value) > _MAX_CHARACTERS for key, value in pairs.items()):
            raise errors.validation(
                f"{name} can have at most {_MAX_PAIRS} pairs of at most {_MAX_CHARACTERS} characters each."
            )


@operation(
    "CreateGrant",
    shapes.request(
        "KeyId",
        "Operations",
        KeyId=shapes.KEY_ID,
        GranteePrincipal=shapes.PRINCIPAL,
        RetiringPrincipal=shapes.PRINCIPAL,
        Operations=ListOf(String(enum=shapes.GRANT_OPERATIONS), 1),
        Constraints=shapes.GRANT_CONSTRAINTS,
        GrantTokens=shapes.GRANT_TOKENS,
        Name=shapes.GRANT_NAME,
        DryRun=shapes.BOOLEAN,
        GranteeServicePrincipal=shapes.SERVICE_PRINCIPAL,
        RetiringServicePrincipal=shapes.SERVICE_PRINCIPAL,
    ),
)
async def create_grant(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateGrant.html"""
    _check_parties(request)
    constraints = request.get("Constraints", {})
    _check_constraints(constraints)
    service.check_grant_tokens(request.get("GrantTokens", ()))
    key = await service.find_key("CreateGrant", origin, request["KeyId"])
    parent = await service.authorize(origin, key, "CreateGrant")
    states.check_state("CreateGrant", key, service.now())
    grant = Grant(
        key.name,
        service.random(32).hex(),
        request["GranteePrincipal"],
        tuple(sorted(set(request["Operations"]))),
        service.now(),
        f"arn:{model.partition(origin.region)}:iam::{origin.caller.account}:root",
        retiring=request.get("RetiringPrincipal"),
        name=request.get("Name"),
        context_equals=constraints.get("EncryptionContextEquals"),
        context_subset=constraints.get("EncryptionContextSubset"),
    )
    if parent is not None and not grants.may_create(parent, grant):
        raise errors.access_denied(
            f"User: {origin.caller.arn} is not authorized to perform: kms:CreateGrant on resource: {key.arn} because "
            "the grant that allows it is narrower than the grant to be made"
        )
    if request.get("DryRun", False):
        raise errors.dry_run()
    there = await service.repository.grants(key.name)
    same = next((other for other in there if grant.name is not None and _is_same(grant, other)), None)
    if same is not None:
        return {"GrantToken": service.new_grant_token(same), "GrantId": same.id}
    quota = service.resource_quotas.grants_per_key
    if len(there) >= quota:
        raise errors.limit_exceeded(f"A KMS key can have at most {quota} grants.")
    await service.repository.write([model.grant_record(grant)])
    return {"GrantToken": service.new_grant_token(grant), "GrantId": grant.id}


def _is_same(new: Grant, there: Grant) -> bool:
    """Whether all that a client asks for is the same, name included: then no second grant is made."""
    return (new.name, new.grantee, new.retiring, new.operations, new.context_equals, new.context_subset) == (
        there.name,
        there.grantee,
        there.retiring,
        there.operations,
        there.context_equals,
        there.context_subset,
    )


def _entry(key: KmsKey, grant: Grant) -> Values:
    entry: Values = {
        "KeyId": key.arn,
        "GrantId": grant.id,
        "Name": grant.name or "",
        "CreationDate": grant.created,
        "GranteePrincipal": grant.grantee,
        "IssuingAccount": grant.issuing_account,
        "Operations": list(grant.operations),
    }
    if grant.retiring is not None:
        entry["RetiringPrincipal"] = grant.retiring
    constraints = {"EncryptionContextEquals": grant.context_equals, "EncryptionContextSubset": grant.context_subset}
    given = {name: dict(pairs) for name, pairs in constraints.items() if pairs is not None}
    if given:
        entry["Constraints"] = given
    return entry


@operation(
    "ListGrants",
    shapes.request(
        "KeyId",
        Limit=Integer(1, 100),
        Marker=shapes.MARKER,
        KeyId=shapes.KEY_ID,
        GrantId=shapes.GRANT_ID,
        GranteePrincipal=shapes.PRINCIPAL,
        GranteeServicePrincipal=shapes.SERVICE_PRINCIPAL,
    ),
)
async def list_grants(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ListGrants.html"""
    key = await service.usable_key("ListGrants", origin, request["KeyId"])
    found = [
        grant
        for grant in await service.repository.grants(key.name)
        if request.get("GrantId", grant.id) == grant.id
        and request.get("GranteePrincipal", grant.grantee) == grant.grantee
        and "GranteeServicePrincipal" not in request
    ]
    shown, following = pages.page(found, lambda grant: grant.id, request, _DEFAULT_LIST)
    return pages.answer("Grants", [_entry(key, grant) for grant in shown], following)


async def _grant(service: KeyService, key: KmsKey, grant_id: str) -> Grant:
    grant = next((grant for grant in await service.repository.grants(key.name) if grant.id == grant_id), None)
    if grant is None:
        raise KmsError("NotFoundException", f"Grant ID {grant_id} not found")
    return grant


@operation(
    "RevokeGrant",
    shapes.request("KeyId", "GrantId", KeyId=shapes.KEY_ID, GrantId=shapes.GRANT_ID, DryRun=shapes.BOOLEAN),
)
async def revoke_grant(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_RevokeGrant.html"""
    key = await service.usable_key("RevokeGrant", origin, request["KeyId"])
    grant = await _grant(service, key, request["GrantId"])
    if request.get("DryRun", False):
        raise errors.dry_run()
    await service.repository.write([], [model.grant_record(grant)])


@operation(
    "RetireGrant",
    shapes.request(GrantToken=shapes.GRANT_TOKEN, KeyId=shapes.KEY_ID, GrantId=shapes.GRANT_ID, DryRun=shapes.BOOLEAN),
)
async def retire_grant(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_RetireGrant.html

    Allowed to the retiring principal, to the grantee where the grant gives RetireGrant, to the root of the account
    that issued the grant, and to whom a policy allows kms:RetireGrant."""
    key, grant = await _to_retire(service, origin, request)
    caller = origin.caller.arn
    by_grant = caller in (grant.retiring, grant.issuing_account) or (
        caller == grant.grantee and "RetireGrant" in grant.operations
    )
    if not by_grant:
        await service.authorize(origin, key, "RetireGrant")
    states.check_state("RetireGrant", key, service.now())
    if request.get("DryRun", False):
        raise errors.dry_run()
    await service.repository.write([], [model.grant_record(grant)])


async def _to_retire(service: KeyService, origin: CallOrigin, request: Values) -> tuple[KmsKey, Grant]:
    """The grant that the request names by its token, or by its key and its id."""
    by_token, by_id = "GrantToken" in request, "KeyId" in request and "GrantId" in request
    if by_token is by_id:
        raise errors.validation("Specify either a grant token, or a key identifier and a grant ID.")
    if by_id:
        key = await service.find_key("RetireGrant", origin, request["KeyId"])
        return key, await _grant(service, key, request["GrantId"])
    account, region, key_id, grant_id = service.open_grant_token(request["GrantToken"]).split("/")
    if region != origin.region:
        raise KmsError("InvalidGrantTokenException")
    found = await service.key(KeyName(account, region, key_id))
    if found is None:
        raise errors.key_not_found(KeyName(account, region, key_id).arn)
    return found, await _grant(service, found, grant_id)
