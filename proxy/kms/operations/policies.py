"""Key policies."""

from dataclasses import replace

from proxy.aws.credentials import CallOrigin
from proxy.aws.json_codec import Values
from proxy.kms import key_policies, model, shapes
from proxy.kms.errors import KmsError
from proxy.kms.operation import operation
from proxy.kms.operations import pages
from proxy.kms.service import KeyService


def _check_name(request: Values) -> None:
    if request.get("PolicyName", key_policies.NAME) != key_policies.NAME:
        raise KmsError("NotFoundException", "No such policy exists")


@operation("GetKeyPolicy", shapes.request("KeyId", KeyId=shapes.KEY_ID, PolicyName=shapes.POLICY_NAME))
async def get_key_policy(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyPolicy.html"""
    key = await service.usable_key("GetKeyPolicy", origin, request["KeyId"])
    _check_name(request)
    return {"Policy": key.policy, "PolicyName": key_policies.NAME}


@operation(
    "PutKeyPolicy",
    shapes.request(
        "KeyId",
        "Policy",
        KeyId=shapes.KEY_ID,
        PolicyName=shapes.POLICY_NAME,
        Policy=shapes.POLICY,
        BypassPolicyLockoutSafetyCheck=shapes.BOOLEAN,
    ),
)
async def put_key_policy(service: KeyService, origin: CallOrigin, request: Values) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html"""
    key = await service.usable_key("PutKeyPolicy", origin, request["KeyId"])
    _check_name(request)
    service.check_policy(request["Policy"])
    changed = replace(key, policy=request["Policy"])
    if not request.get("BypassPolicyLockoutSafetyCheck", False):
        service.check_lockout(origin, changed)
    await service.repository.write([model.key_record(changed)])


@operation("ListKeyPolicies", shapes.request("KeyId", KeyId=shapes.KEY_ID, Limit=shapes.LIMIT, Marker=shapes.MARKER))
async def list_key_policies(service: KeyService, origin: CallOrigin, request: Values) -> Values:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ListKeyPolicies.html"""
    await service.usable_key("ListKeyPolicies", origin, request["KeyId"])
    pages.start_after(request)
    return pages.answer("PolicyNames", [key_policies.NAME], None)
