"""Grants: CreateGrant, ListGrants, ListRetirableGrants, RevokeGrant, RetireGrant."""

from typing import Final

from proxy.aws import arn, policy_principals
from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Integer, ListOf, String, Values
from proxy.kms import authorization, errors, grants, model, shapes, states
from proxy.kms.errors import KmsError
from proxy.kms.model import Grant, KeyName, KmsKey
from proxy.kms.operation import operation
from proxy.kms.operations import pages
from proxy.kms.service import KeyService

_MAX_PAIRS: Final = 8
_MAX_CHARACTERS: Final = 384
_DEFAULT_LIST: Final = 50


def _check_principal(service: KeyService, principal: str) -> None:
    try:
        policy_principals.parse(principal)
        exists = service.principals is None or service.principals.exists(principal)
    except ValueError:
        exists = False
    if not exists:
        raise KmsError("InvalidArnException", f"ARN does not refer to a valid principal: {principal}")


def _required(request: Values, name: str) -> str:
    """A member that AWS asks for although the model does not say so."""
    if name not in request:
        raise errors.validation(
            f"1 validation error detected: Value null at '{name[0].lower()}{name[1:]}' failed to satisfy constraint: "
            "Member must not be null"
        )
    value: str = request[name]
    return value


def _check_parties(service: KeyService, request: Values) -> None:
    for name in ("GranteeServicePrincipal", "RetiringServicePrincipal"):
        if name in request:
            raise errors.unsupported(f"The {name} parameter is not supported.")
    _check_principal(service, _required(request, "GranteePrincipal"))
    if "RetiringPrincipal" in request:
        _check_principal(service, request["RetiringPrincipal"])


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
    _check_parties(service, request)
    _check_constraints(request.get("Constraints", {}))
    service.check_grant_tokens(request.get("GrantTokens", ()))
    key = await service.find_key("CreateGrant", origin, request["KeyId"])
    grant = _new_grant(service, origin, key, request)
    # Who may only because of a grant hands on no more than that grant gives.
    await service.authorize(origin, key, "CreateGrant", suits=lambda parent: grants.may_create(parent, grant))
    states.check_state("CreateGrant", key, service.now())
    _check_key(key, grant)
    there = await service.repository.grants(key.name)
    same = next((other for other in there if grant.name is not None and _is_same(grant, other)), None)
    if same is not None:
        return {"GrantToken": service.new_grant_token(same), "GrantId": same.id}
    quota = service.resource_quotas.grants_per_key
    if len(there) >= quota:
        raise errors.limit_exceeded(f"A KMS key can have at most {quota} grants.")
    await service.repository.write([model.grant_record(grant)])
    return {"GrantToken": service.new_grant_token(grant), "GrantId": grant.id}


def _new_grant(service: KeyService, origin: CallOrigin, key: KmsKey, request: Values) -> Grant:
    constraints = request.get("Constraints", {})
    return Grant(
        key.name,
        service.random(32).hex(),
        request["GranteePrincipal"],
        tuple(sorted(set(request["Operations"]))),
        service.now(),
        policy_principals.account_root(origin.caller),
        retiring=request.get("RetiringPrincipal"),
        name=request.get("Name"),
        context_equals=constraints.get("EncryptionContextEquals"),
        context_subset=constraints.get("EncryptionContextSubset"),
    )


def _check_key(key: KmsKey, grant: Grant) -> None:
    """Refuses operations that this kind of key does not have, and constraints where there is no encryption context."""
    wrong = [operation for operation in grant.operations if operation not in grants.operations_of(key)]
    if wrong:
        raise errors.validation(
            f"The operations {', '.join(wrong)} are not valid for KMS keys with KeySpec {key.spec} "
            f"and KeyUsage {key.usage}."
        )
    constrained = grant.context_equals is not None or grant.context_subset is not None
    if constrained and key.spec != model.SYMMETRIC_DEFAULT:
        raise errors.validation(
            "Encryption context grant constraints are supported only for symmetric encryption KMS keys."
        )


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
    await service.repository.write([], [model.grant_record(grant)])


@operation(
    "RetireGrant",
    shapes.request(GrantToken=shapes.GRANT_TOKEN, KeyId=shapes.KEY_ID, GrantId=shapes.GRANT_ID, DryRun=shapes.BOOLEAN),
)
async def retire_grant(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_RetireGrant.html"""
    key, grant = await _to_retire(service, origin, request)
    await service.authorize_retiring(origin, key, grant)
    states.check_state("RetireGrant", key, service.now())
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


@operation(
    "ListRetirableGrants",
    shapes.request(
        Limit=Integer(1, 100),
        Marker=shapes.MARKER,
        RetiringPrincipal=shapes.PRINCIPAL,
        RetiringServicePrincipal=shapes.SERVICE_PRINCIPAL,
    ),
)
async def list_retirable_grants(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ListRetirableGrants.html

    The resource that policies decide on is the retiring principal. The grants may be on keys of other accounts."""
    if "RetiringServicePrincipal" in request:
        raise errors.unsupported("The RetiringServicePrincipal parameter is not supported.")
    retiring = _required(request, "RetiringPrincipal")
    _check_principal(service, retiring)
    service.authorize_account(origin, "ListRetirableGrants", retiring)
    if arn.parse(retiring).account != origin.caller.account:
        raise authorization.foreign_denial(origin, "ListRetirableGrants", retiring)
    limit = request.get("Limit", _DEFAULT_LIST)
    found: list[tuple[KmsKey, Grant]] = []
    after = pages.start_after(request)
    while len(found) <= limit:
        records = await service.repository.store.scan(model.GRANT, "", after)
        for grant in map(model.grant_from, records):
            if grant.retiring == retiring and grant.key.region == origin.region:
                key = await service.key(grant.key)
                found += [(key, grant)] if key is not None else []
        if not records:
            break
        after = records[-1].id
    shown = found[:limit]
    following = shown[-1][1].record_id if len(found) > limit else None
    return pages.answer("Grants", [_entry(key, grant) for key, grant in shown], following)
