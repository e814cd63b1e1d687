"""PutKeyPolicy and the policies given to CreateKey and ReplicateKey: what is accepted."""

import json
from typing import Any

import pytest

from proxy.aws.policy_principals import Directory
from proxy.kms import key_policies
from tests.kms.harness import ACCOUNT, ADMIN, REGION, Kms, KmsFault, user

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
OTHER = "444455556666"
MALFORMED = "MalformedPolicyDocumentException"
INVALID_PRINCIPALS = "Policy contains a statement with one or more invalid principals."
LOCKOUT = "The new key policy will not allow you to update the key policy in the future."


async def refusal(kms: Kms, operation: str, origin: Any = ADMIN, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, origin, **members)
    return caught.value.code, caught.value.message


def text(*statements: dict[str, Any], version: str = "2012-10-17") -> str:
    return json.dumps({"Version": version, "Statement": list(statements)})


def allow(principal: Any = ROOT, action: Any = "kms:*", **others: Any) -> dict[str, Any]:
    named = {"AWS": principal} if isinstance(principal, str | list) and principal != "*" else principal
    return {"Effect": "Allow", "Principal": named, "Action": action, "Resource": "*", **others}


async def put(kms: Kms, policy: str, **members: Any) -> None:
    await kms.call("PutKeyPolicy", KeyId=await kms.key(), Policy=policy, **members)


DELEGATE = allow()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (allow(Condition={"StringSounds": {"kms:ViaService": "x"}}), "Invalid Condition type : StringSounds"),
        (allow(Condition={"ForSome:StringLike": {"aws:TagKeys": "x"}}), "Invalid Condition type : ForSome:StringLike"),
        (allow(Condition={"NullIfExists": {"kms:ViaService": "true"}}), "Invalid Condition type : NullIfExists"),
        (allow(Condition={"StringEquals": {"kms:ViaServices": "x"}}), "Invalid condition key kms:viaservices"),
        (allow(Condition={"StringEquals": {"aws:SourceIPs": "x"}}), "Invalid condition key aws:sourceips"),
        (allow(Condition={"IpAddress": {"aws:SourceIp": "x"}}),
         "Invalid value of aws:SourceIp for the operator IpAddress"),
        (allow(Condition={"ForAllValues:StringEquals": {"kms:EncryptionContext:AppName": "x"}}),
         "OverlyPermissiveCondition: Using the ForAllValues set operator with a single-valued condition key matches "
         "requests without the specified encryption context or with an unspecified encryption context. To fix, remove "
         "ForAllValues."),
        ({"Effect": "Allow", "Principal": "*", "Resource": "*"}, "Missing required field Action"),
        ({"Effect": "Allow", "Principal": "*", "Action": "kms:*"}, "Missing required field Resource"),
        ({"Effect": "Allow", "Action": "kms:*", "Resource": "*"}, "Missing required field Principal"),
        ({"Principal": "*", "Action": "kms:*", "Resource": "*"}, "Missing required field Effect"),
        (allow("bob"), INVALID_PRINCIPALS),
        (allow([ROOT, "arn:aws:iam::1:user/x"]), INVALID_PRINCIPALS),
        (allow({"Robot": "x"}), INVALID_PRINCIPALS),
        (allow(f"arn:aws:iam::{ACCOUNT}:group/admins"), INVALID_PRINCIPALS),
        (allow(f"arn:aws:iam::{ACCOUNT}:user/*"), INVALID_PRINCIPALS),
    ],
)  # fmt: skip
async def test_what_is_malformed(kms: Kms, statement: dict[str, Any], message: str) -> None:
    key = await kms.key()
    policy = text(DELEGATE, statement)
    for bypass in (False, True):
        members = {"Policy": policy, "BypassPolicyLockoutSafetyCheck": bypass}
        assert await refusal(kms, "PutKeyPolicy", KeyId=key, **members) == (MALFORMED, message)
        assert await refusal(kms, "CreateKey", **members) == (MALFORMED, message)
    assert (await kms.call("GetKeyPolicy", KeyId=key))["Policy"] == key_policies.default(ACCOUNT, REGION)


async def test_sids_are_unique_and_may_have_spaces(kms: Kms) -> None:
    twice = text(allow(Sid="one"), allow(Sid="one"))
    message = "Statement IDs (SID) in a single policy must be unique."
    assert await refusal(kms, "CreateKey", Policy=twice) == (MALFORMED, message)
    await put(kms, text(allow(Sid="Enable IAM policies"), allow(Sid="and more"), allow(), allow()))


@pytest.mark.parametrize(
    "statement",
    [
        allow(Condition={"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/*"}}),
        allow(Condition={"NumericLessThan": {"kms:TrailingDaysWithoutKeyUsage": "30"}}),
        allow(Condition={"StringEqualsIfExists": {"cognito-identity.amazonaws.com:sub": "x"}}),
        allow(Condition={"Null": {"kms:EncryptionContextKeys": False}}),
        allow(Condition={"StringEqualsIgnoreCase": {"kms:RecipientAttestation:PCR0": "ab"}}),
        allow({"Service": "delivery.logs.amazonaws.com"}),
        allow({"AWS": "*", "Service": "s3.amazonaws.com"}),
        allow([OTHER, f"arn:aws:iam::{OTHER}:role/whatever"]),
        allow("*", NotAction="kms:Delete*") | {"Action": None},
    ],
)
async def test_what_is_accepted(kms: Kms, statement: dict[str, Any]) -> None:
    statement = {name: value for name, value in statement.items() if value is not None}
    policy = text(DELEGATE, statement)
    key = await kms.key(Policy=policy)
    assert (await kms.call("GetKeyPolicy", KeyId=key))["Policy"] == policy


async def test_principals_must_exist_in_the_accounts_served_here() -> None:
    bob, role = user("bob").caller, f"arn:aws:iam::{ACCOUNT}:role/app"
    kms = await Kms(principals=Directory.of([ADMIN.caller, bob], [role])).start()
    key = await kms.key()
    for there in (
        bob.arn,
        role,
        f"arn:aws:sts::{ACCOUNT}:assumed-role/app/x",
        f"arn:aws:iam::{OTHER}:user/any",
        ACCOUNT,
    ):
        await kms.call("PutKeyPolicy", KeyId=key, Policy=text(DELEGATE, allow(there)))
    for missing in (f"arn:aws:iam::{ACCOUNT}:user/eve", f"arn:aws:iam::{ACCOUNT}:role/none",
                    f"arn:aws:sts::{ACCOUNT}:assumed-role/none/x"):  # fmt: skip
        for policy in (
            text(DELEGATE, allow(missing)),
            text(DELEGATE, {**allow(), "Effect": "Deny", "Principal": {"AWS": [bob.arn, missing]}}),
        ):
            members = {"Policy": policy, "BypassPolicyLockoutSafetyCheck": True}
            assert await refusal(kms, "PutKeyPolicy", KeyId=key, **members) == (MALFORMED, INVALID_PRINCIPALS)
            assert await refusal(kms, "CreateKey", **members) == (MALFORMED, INVALID_PRINCIPALS)
    fresh = await kms.key(MultiRegion=True)
    members = {"KeyId": fresh, "ReplicaRegion": "eu-west-1", "Policy": text(DELEGATE, allow(missing))}
    assert await refusal(kms, "ReplicateKey", **members) == (MALFORMED, INVALID_PRINCIPALS)
    for party in ("GranteePrincipal", "RetiringPrincipal"):
        members = {"GranteePrincipal": bob.arn, party: missing}
        code, message = await refusal(kms, "CreateGrant", KeyId=key, Operations=["Encrypt"], **members)
        assert (code, message) == ("InvalidArnException", f"ARN does not refer to a valid principal: {missing}")
    await kms.call("CreateGrant", KeyId=key, Operations=["Encrypt"], GranteePrincipal=role)


@pytest.mark.parametrize(
    "statement",
    [
        allow(f"arn:aws:iam::{ACCOUNT}:user/somebody"),
        allow(action="kms:Encrypt"),
        allow(OTHER),
        allow({"Service": "s3.amazonaws.com"}),
        allow(Resource="arn:aws:kms:eu-west-1:*:key/*"),
        allow(Condition={"Bool": {"aws:SecureTransport": "true"}}),
        allow(Condition={"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}),
    ],
)
async def test_a_policy_that_locks_its_author_out(kms: Kms, statement: dict[str, Any]) -> None:
    key = await kms.key()
    for operation, members in (("PutKeyPolicy", {"KeyId": key}), ("CreateKey", {})):
        assert await refusal(kms, operation, Policy=text(statement), **members) == (MALFORMED, LOCKOUT)
    denied = text(allow(), {**allow(ADMIN.caller.arn, "kms:Put*"), "Effect": "Deny"})
    assert await refusal(kms, "PutKeyPolicy", KeyId=key, Policy=denied) == (MALFORMED, LOCKOUT)
    await kms.call("PutKeyPolicy", KeyId=key, Policy=text(statement), BypassPolicyLockoutSafetyCheck=True)
    await kms.key(Policy=text(statement), BypassPolicyLockoutSafetyCheck=True)


async def test_the_lockout_check_asks_the_key_policy_alone(kms: Kms) -> None:
    """Who may make keys but not change policies gets a key that the account's administrators can manage."""
    maker = user("maker", "kms:CreateKey")
    key = (await kms.call("CreateKey", maker))["KeyMetadata"]["KeyId"]
    code, message = await refusal(kms, "PutKeyPolicy", maker, KeyId=key, Policy=text(DELEGATE))
    assert code == "AccessDeniedException"
    assert message.endswith("because no identity-based policy allows the kms:PutKeyPolicy action")


async def test_a_replica_has_the_same_checks(kms: Kms) -> None:
    key = await kms.key(MultiRegion=True)
    members = {"KeyId": key, "ReplicaRegion": "eu-west-1"}
    locked = text(allow(OTHER))
    assert await refusal(kms, "ReplicateKey", Policy=locked, **members) == (MALFORMED, LOCKOUT)
    assert (await refusal(kms, "ReplicateKey", Policy="{", **members))[0] == MALFORMED
    await kms.call("ReplicateKey", Policy=locked, BypassPolicyLockoutSafetyCheck=True, **members)


async def test_the_size_of_a_policy_is_counted_in_bytes(kms: Kms) -> None:
    whole = len(text(allow(Sid="")))
    await put(kms, text(allow(Sid="x" * (32_768 - whole))))
    key = await kms.key()
    for sid in ("x" * (32_769 - whole), "\u00e9" * 20_000):
        policy = json.dumps(json.loads(text(allow(Sid=sid))), ensure_ascii=False)
        assert (await refusal(kms, "PutKeyPolicy", KeyId=key, Policy=policy))[0] == "LimitExceededException"


def test_a_stored_policy_with_an_unknown_operator_can_be_read() -> None:
    """Only what clients give is refused for it; what is stored never allows by it."""
    stored = text(allow(Condition={"StringSounds": {"kms:Old": "x"}}))
    parsed = key_policies.parse(stored)
    assert not parsed.statements[0].conditions[0].known
