"""Who may do what with a key: key policies, policies of users, roles and sessions, conditions, accounts."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from proxy.aws.credentials import Caller, CallOrigin, Session
from tests.fakes import FakeClock
from tests.kms.harness import ACCOUNT, ADMIN, REGION, Kms, KmsFault, user

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
OTHER = "444455556666"
BOB = user("bob")
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/app/one"

Document = dict[str, Any]


def document(*statements: Document) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(action: Any = "kms:*", effect: str = "Allow", **others: Any) -> Document:
    return {"Effect": effect, "Action": action, "Resource": "*", **others}


def session(*policies: Document, limits: tuple[Document, ...] = ()) -> CallOrigin:
    """A session of the role ``app``, called as ``ADMIN`` does."""
    now = FakeClock()()
    about = Session(now, now + timedelta(hours=1), ROLE, limits)
    return replace(ADMIN, caller=Caller(ACCOUNT, SESSION, "AROAEXAMPLE:one", "ASIAEXAMPLE", policies, about))


async def refusal(kms: Kms, operation: str, origin: Any = ADMIN, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, origin, **members)
    return caught.value.code, caught.value.message


async def may(kms: Kms, operation: str, origin: CallOrigin, **members: Any) -> bool:
    """Whether the call is not refused for want of a right."""
    try:
        await kms.call(operation, origin, **members)
    except KmsFault as fault:
        return fault.code != "AccessDeniedException"
    return True


DELEGATE = allow(Principal={"AWS": ROOT})


async def key_with(kms: Kms, *statements: Document, delegate: bool = True, **members: Any) -> str:
    policy = json.dumps(document(*([DELEGATE] if delegate else []), *statements))
    return await kms.key(Policy=policy, BypassPolicyLockoutSafetyCheck=True, **members)


async def test_the_words_of_each_refusal(kms: Kms) -> None:
    key = await key_with(kms)
    arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}"

    async def told(origin: CallOrigin, key_id: str = key) -> str:
        code, message = await refusal(kms, "Encrypt", origin, KeyId=key_id, Plaintext=b"x")
        assert code == "AccessDeniedException"
        start = f"User: {origin.caller.arn} is not authorized to perform: kms:Encrypt on resource: "
        assert message.startswith(start + arn.replace(key, key_id))
        return message.removeprefix(start + arn.replace(key, key_id) + " ")

    assert await told(BOB) == "because no identity-based policy allows the kms:Encrypt action"
    assert await told(user("bob", "kms:*", deny=["kms:E*"])) == "with an explicit deny in an identity-based policy"
    limited = session(document(allow()), limits=(document(allow("kms:Decrypt")),))
    assert await told(limited) == "because no session policy allows the kms:Encrypt action"
    limited = session(document(allow()), limits=(document(allow(), allow("kms:Encrypt", "Deny")),))
    assert await told(limited) == "with an explicit deny in a session policy"
    bobs = await key_with(kms, allow(Principal={"AWS": BOB.caller.arn}), delegate=False)
    assert await told(ADMIN, bobs) == "because no resource-based policy allows the kms:Encrypt action"
    denied = await key_with(kms, allow("kms:Encrypt", "Deny", Principal="*"))
    assert await told(ADMIN, denied) == "with an explicit deny in a resource-based policy"
    _, message = await refusal(kms, "GenerateRandom", BOB, NumberOfBytes=1)
    assert message == (
        f"User: {BOB.caller.arn} is not authorized to perform: kms:GenerateRandom on resource: * "
        "because no identity-based policy allows the kms:GenerateRandom action"
    )


@pytest.mark.parametrize(
    ("principal", "policies", "limits", "allowed"),
    [
        ({"AWS": ROLE}, (), (), True),
        ({"AWS": ROLE}, (), (allow("kms:Decrypt"),), False),
        ({"AWS": ROLE}, (), (allow("kms:Encrypt"),), True),
        ({"AWS": ROLE}, (allow("kms:Encrypt", "Deny"),), (), False),
        ({"AWS": SESSION}, (), (allow("kms:Decrypt"),), True),
        ({"AWS": SESSION}, (), (allow("kms:Encrypt", "Deny"),), False),
        ({"AWS": f"{SESSION}-more"}, (), (), False),
        ("*", (), (allow("kms:Decrypt"),), True),
        ({"AWS": ROOT}, (), (), False),
        ({"AWS": ROOT}, (allow(),), (), True),
        ({"AWS": ROOT}, (allow(),), (allow("kms:Decrypt"),), False),
        ({"AWS": ROOT}, (allow(),), (allow("kms:Encrypt"),), True),
        ({"AWS": BOB.caller.arn}, (allow(),), (), False),
        ({"Service": "s3.amazonaws.com"}, (allow(),), (), False),
    ],
)
async def test_sessions_of_a_role(
    kms: Kms, principal: Any, policies: tuple[Document, ...], limits: tuple[Document, ...], allowed: bool
) -> None:
    key = await key_with(kms, allow("kms:Encrypt", Principal=principal), delegate=False)
    origin = session(*map(document, policies), limits=tuple(map(document, limits)))
    assert await may(kms, "Encrypt", origin, KeyId=key, Plaintext=b"x") is allowed


@pytest.mark.parametrize(
    ("operation", "condition", "yes", "no"),
    [
        ("Encrypt", {"StringEquals": {"kms:EncryptionContext:AppName": "x"}},
         {"EncryptionContext": {"AppName": "x", "b": "y"}}, {"EncryptionContext": {"AppName": "y"}}),
        ("Encrypt", {"StringEquals": {"kms:EncryptionContext:appname": "x"}},
         {"EncryptionContext": {"AppName": "x"}}, {}),
        ("Encrypt", {"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["a", "b"]}},
         {"EncryptionContext": {"a": "1"}}, {"EncryptionContext": {"a": "1", "c": "2"}}),
        ("Encrypt", {"ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": "a"}},
         {"EncryptionContext": {"a": "1", "c": "2"}}, {"EncryptionContext": {"c": "2"}}),
        ("Encrypt", {"Null": {"kms:EncryptionContextKeys": "false"}}, {"EncryptionContext": {"a": "1"}}, {}),
        ("GenerateDataKey", {"StringLike": {"kms:RequestAlias": "alias/*one"}},
         {"KeyId": "alias/one", "KeySpec": "AES_256"}, {"KeySpec": "AES_256"}),
        ("GenerateDataKey", {"ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/one", "alias/x"]}},
         {"KeySpec": "AES_256"}, None),
        ("DescribeKey", {"StringEquals": {"aws:ResourceTag/Team": "red"}}, {}, None),
        ("ScheduleKeyDeletion", {"NumericGreaterThanEquals": {"kms:ScheduleKeyDeletionPendingWindowInDays": "14"}},
         {}, {"PendingWindowInDays": 7}),
        ("EnableKeyRotation", {"NumericLessThan": {"kms:RotationPeriodInDays": 180}}, {"RotationPeriodInDays": 90}, {}),
        ("PutKeyPolicy", {"Null": {"kms:BypassPolicyLockoutSafetyCheck": True}},
         {"Policy": "{}"}, {"Policy": "{}", "BypassPolicyLockoutSafetyCheck": True}),
        ("TagResource", {"ForAllValues:StringEquals": {"aws:TagKeys": ["Team"]}},
         {"Tags": [{"TagKey": "Team", "TagValue": "x"}]}, {"Tags": [{"TagKey": "Cost", "TagValue": "x"}]}),
        ("TagResource", {"StringEquals": {"aws:RequestTag/Team": ["red", "blue"]}},
         {"Tags": [{"TagKey": "Team", "TagValue": "blue"}]}, {"Tags": [{"TagKey": "Team", "TagValue": "green"}]}),
        ("UntagResource", {"ForAllValues:StringEquals": {"aws:TagKeys": ["Team"]}},
         {"TagKeys": ["Team"]}, {"TagKeys": ["Team", "Cost"]}),
        ("CreateGrant", {"ForAllValues:StringEquals": {"kms:GrantOperations": ["Encrypt", "ReEncryptTo"]}},
         {"GranteePrincipal": ROLE, "Operations": ["Encrypt"]},
         {"GranteePrincipal": ROLE, "Operations": ["Encrypt", "Decrypt"]}),
        ("CreateGrant", {"StringEquals": {"kms:GranteePrincipal": ROLE}},
         {"GranteePrincipal": ROLE, "Operations": ["Encrypt"]},
         {"GranteePrincipal": ADMIN.caller.arn, "Operations": ["Encrypt"]}),
        ("CreateGrant", {"StringEquals": {"kms:GrantConstraintType": "EncryptionContextEquals"}},
         {"GranteePrincipal": ROLE, "Operations": ["Encrypt"], "Constraints": {"EncryptionContextEquals": {"a": "b"}}},
         {"GranteePrincipal": ROLE, "Operations": ["Encrypt"], "Constraints": {"EncryptionContextSubset": {"a": "b"}}}),
        ("CreateGrant", {"Bool": {"kms:GrantIsForAWSResource": False}},
         {"GranteePrincipal": ROLE, "Operations": ["Encrypt"]}, None),
        ("Encrypt", {"StringEquals": {"kms:CallerAccount": ACCOUNT, "kms:KeySpec": "SYMMETRIC_DEFAULT",
                                      "kms:KeyUsage": "ENCRYPT_DECRYPT", "kms:KeyOrigin": "AWS_KMS",
                                      "kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"},
                     "Bool": {"kms:MultiRegion": "false"}}, {}, None),
        ("Encrypt", {"StringEquals": {"aws:username": "bob"}, "Bool": {"aws:SecureTransport": "false"},
                     "DateLessThan": {"aws:CurrentTime": "2026-11-23T06:00:01Z"}, "Null": {"kms:ViaService": "true"}},
         {}, None),
        ("Encrypt", {"StringEquals": {"kms:EncryptionContext:user": "${aws:username}"}},
         {"EncryptionContext": {"user": "bob"}}, {"EncryptionContext": {"user": "alice"}}),
        ("Encrypt", {"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:db8::/32"]}}, {}, None),
    ],
)  # fmt: skip
async def test_conditions_of_a_key_policy(
    kms: Kms, operation: str, condition: Document, yes: Document, no: Document | None
) -> None:
    key = await key_with(
        kms,
        allow(f"kms:{operation}", Principal={"AWS": BOB.caller.arn}, Condition=condition),
        Tags=[{"TagKey": "Team", "TagValue": "red"}],
    )
    await kms.call("CreateAlias", AliasName="alias/one", TargetKeyId=key)
    origin = replace(BOB, source_address="203.0.113.7")
    needed = {"Plaintext": b"x"} if operation == "Encrypt" else {}
    if no is not None:
        assert not await may(kms, operation, origin, **{"KeyId": key, **needed, **no})
    assert await may(kms, operation, origin, **{"KeyId": key, **needed, **yes})
    assert not await may(kms, operation, user("alice"), **{"KeyId": key, **needed, **yes})


async def test_conditions_on_the_key_to_be_made(kms: Kms) -> None:
    condition = {"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT"}, "Bool": {"kms:MultiRegion": "false"}}
    document_ = document(allow(["kms:CreateKey", "kms:TagResource"], Condition=condition))
    maker = replace(ADMIN, caller=replace(BOB.caller, policies=(document_,)))
    assert await may(kms, "CreateKey", maker)
    assert await may(kms, "CreateKey", maker, KeySpec="SYMMETRIC_DEFAULT")
    assert not await may(kms, "CreateKey", maker, MultiRegion=True)
    assert not await may(kms, "CreateKey", maker, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")


async def test_aliases_are_looked_at_as_they_are_now(kms: Kms) -> None:
    condition = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/finance"}}
    identity = document(allow("kms:Encrypt", Condition=condition))
    clerk = replace(ADMIN, caller=replace(BOB.caller, policies=(identity,)))
    key, other = await kms.key(), await kms.key()
    members = {"KeyId": key, "Plaintext": b"x"}
    assert not await may(kms, "Encrypt", clerk, **members)
    await kms.call("CreateAlias", AliasName="alias/finance", TargetKeyId=key)
    assert await may(kms, "Encrypt", clerk, **members)
    await kms.call("CreateAlias", AliasName="alias/more", TargetKeyId=key)
    assert await may(kms, "Encrypt", clerk, **members)
    await kms.call("UpdateAlias", AliasName="alias/finance", TargetKeyId=other)
    assert not await may(kms, "Encrypt", clerk, **members)
    assert await may(kms, "Encrypt", clerk, KeyId=other, Plaintext=b"x")


@pytest.mark.parametrize("same", [True, False])
async def test_re_encryption_on_the_same_key(kms: Kms, same: bool) -> None:
    condition = {"Bool": {"kms:ReEncryptOnSameKey": same}}
    statement = allow("kms:ReEncrypt*", Principal={"AWS": BOB.caller.arn}, Condition=condition)
    one, two = await key_with(kms, statement), await key_with(kms, statement)
    await kms.call("CreateAlias", AliasName="alias/one", TargetKeyId=one)
    blob = (await kms.call("Encrypt", KeyId=one, Plaintext=b"x"))["CiphertextBlob"]
    for source in ({}, {"SourceKeyId": one}, {"SourceKeyId": "alias/one"}):
        for destination in (one, "alias/one", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{one}"):
            members = {"CiphertextBlob": blob, "DestinationKeyId": destination, **source}
            assert await may(kms, "ReEncrypt", BOB, **members) is same
        assert await may(kms, "ReEncrypt", BOB, CiphertextBlob=blob, DestinationKeyId=two, **source) is not same


async def test_keys_that_were_used_lately_are_kept(kms: Kms) -> None:
    condition = {"NumericLessThan": {"kms:TrailingDaysWithoutKeyUsage": "30"}}
    keep = allow(["kms:ScheduleKeyDeletion", "kms:DisableKey"], "Deny", Principal="*", Condition=condition)
    key = await key_with(kms, keep)
    assert not await may(kms, "DisableKey", ADMIN, KeyId=key)
    kms.clock.advance(days=20)
    await kms.call("Encrypt", KeyId=key, Plaintext=b"x")
    kms.clock.advance(days=29)
    assert not await may(kms, "ScheduleKeyDeletion", ADMIN, KeyId=key)
    kms.clock.advance(days=1)
    assert await may(kms, "ScheduleKeyDeletion", ADMIN, KeyId=key)


async def test_a_deny_with_what_cannot_be_told_applies(kms: Kms) -> None:
    identity = document(allow(), allow("kms:Encrypt", "Deny", Condition={"StringEquals": {"kms:NoSuchKey": "x"}}))
    origin = replace(ADMIN, caller=replace(BOB.caller, policies=(identity,)))
    key = await kms.key()
    assert not await may(kms, "Encrypt", origin, KeyId=key, Plaintext=b"x")
    assert await may(kms, "GenerateDataKey", origin, KeyId=key, KeySpec="AES_256")


async def test_another_account_needs_both_sides(kms: Kms) -> None:
    outside = user("eve", "kms:*", account=OTHER)
    powerless = user("mallory", account=OTHER)
    reason = (
        "because the resource does not exist in this Region, no resource-based policies allow access, "
        "or a resource-based policy explicitly denies access"
    )
    for principal in ({"AWS": OTHER}, {"AWS": outside.caller.arn}, "*"):
        statement = allow(["kms:Encrypt", "kms:DescribeKey"], Principal=principal)
        key = await key_with(kms, statement)
        arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}"
        assert (await kms.call("Encrypt", outside, KeyId=arn, Plaintext=b"x"))["KeyId"] == arn
        _, message = await refusal(kms, "GenerateDataKey", outside, KeyId=arn, KeySpec="AES_256")
        assert message == (
            f"User: {outside.caller.arn} is not authorized to perform: kms:GenerateDataKey on resource: {arn} {reason}"
        )
        _, message = await refusal(kms, "Encrypt", powerless, KeyId=arn, Plaintext=b"x")
        reached = principal != {"AWS": outside.caller.arn}
        expected = "because no identity-based policy allows the kms:Encrypt action" if reached else reason
        assert message.endswith(f"{arn} {expected}")
    denied = await key_with(kms, allow(Principal="*"), allow("kms:Encrypt", "Deny", Principal={"AWS": OTHER}))
    arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{denied}"
    _, message = await refusal(kms, "Encrypt", outside, KeyId=arn, Plaintext=b"x")
    assert message.endswith(reason)


async def test_the_root_needs_the_key_policy(kms: Kms) -> None:
    root = replace(ADMIN, caller=Caller(ACCOUNT, ROOT, ACCOUNT, "AKIAEXAMPLE"))
    assert await may(kms, "DescribeKey", root, KeyId=await kms.key())
    bobs = await key_with(kms, allow(Principal={"AWS": BOB.caller.arn}), delegate=False)
    assert not await may(kms, "DescribeKey", root, KeyId=bobs)


async def test_nothing_is_looked_up_that_no_policy_names(kms: Kms) -> None:
    """A key's aliases are read from the store for conditions that name them, and for no other call."""
    key = await kms.key()
    scans: list[str] = []
    scan = kms.store.scan

    async def counting(kind: str, *args: Any, **options: Any) -> Any:
        scans.append(kind)
        return await scan(kind, *args, **options)

    kms.store.scan = counting  # type: ignore[method-assign]
    await kms.call("Encrypt", KeyId=key, Plaintext=b"x")
    assert scans == []
    condition = {"Null": {"kms:ResourceAliases": "true"}}
    clerk = replace(ADMIN, caller=replace(BOB.caller, policies=(document(allow("kms:Encrypt", Condition=condition)),)))
    await kms.call("Encrypt", clerk, KeyId=key, Plaintext=b"x")
    assert scans == ["alias"]
