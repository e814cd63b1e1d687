"""Grants to roles, sessions and other accounts; grants made by grantees; who may retire them, and the end of them."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from proxy.aws.credentials import Caller, CallOrigin, Session
from proxy.kms import grants, model
from proxy.kms.key_specs import KEY_SPECS
from proxy.kms.model import Grant, KeyName, KmsKey
from proxy.kms.resource_quotas import ResourceQuotas
from tests.fakes import FakeClock
from tests.kms.harness import ACCOUNT, ADMIN, REGION, Kms, KmsFault, user

OTHER = "444455556666"
ROOT, OTHER_ROOT = (f"arn:aws:iam::{account}:root" for account in (ACCOUNT, OTHER))
BOB, ALICE = user("bob"), user("alice")
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/app/one"
DENIED = "AccessDeniedException"
A, AB = {"a": "1"}, {"a": "1", "b": "2"}

Document = dict[str, Any]


def policy(action: Any = "kms:*", effect: str = "Allow") -> Document:
    return {"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": action, "Resource": "*"}]}


def session(*policies: Document, limits: tuple[Document, ...] = ()) -> CallOrigin:
    now = FakeClock()()
    about = Session(now, now + timedelta(hours=1), ROLE, limits)
    return replace(ADMIN, caller=Caller(ACCOUNT, SESSION, "AROAEXAMPLE:one", "ASIAEXAMPLE", policies, about))


async def refusal(kms: Kms, operation: str, origin: Any = ADMIN, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, origin, **members)
    return caught.value.code, caught.value.message


async def grant(kms: Kms, key: str, *operations: str, origin: CallOrigin = ADMIN, **members: Any) -> Document:
    members.setdefault("GranteePrincipal", BOB.caller.arn)
    return await kms.call("CreateGrant", origin, KeyId=key, Operations=list(operations), **members)


async def may_encrypt(kms: Kms, origin: CallOrigin, key: str, context: dict[str, str] | None = None) -> bool:
    try:
        await kms.call("Encrypt", origin, KeyId=key, Plaintext=b"x", EncryptionContext=context or {})
    except KmsFault as fault:
        if fault.code != DENIED:
            raise
        return False
    return True


def arn(key: str) -> str:
    return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}"


@pytest.mark.parametrize(
    ("grantee", "origin", "allowed"),
    [
        (ROLE, session(), True),
        (ROLE, session(limits=(policy("kms:Decrypt"),)), False),
        (ROLE, session(limits=(policy("kms:Encrypt"),)), True),
        (ROLE, session(policy("kms:Encrypt", "Deny")), False),
        (ROLE, BOB, False),
        (SESSION, session(), True),
        (SESSION, session(limits=(policy("kms:Decrypt"),)), True),
        (f"{SESSION}-more", session(), False),
        (f"arn:aws:iam::{ACCOUNT}:role/path/app", session(), False),
        (ROOT, session(), False),
        (ROOT, session(policy()), True),
        (ROOT, BOB, False),
        (ROOT, user("carol", "kms:Encrypt"), True),
        (OTHER_ROOT, user("carol", "kms:Encrypt"), False),
    ],
)
async def test_whom_a_grant_reaches(kms: Kms, grantee: str, origin: CallOrigin, allowed: bool) -> None:
    """On a key whose policy lets nobody but the administrator in."""
    only = {"Effect": "Allow", "Principal": {"AWS": ADMIN.caller.arn}, "Action": "kms:*", "Resource": "*"}
    key = await kms.key(Policy=json.dumps({"Version": "2012-10-17", "Statement": only}))
    assert not await may_encrypt(kms, origin, key)
    made = await grant(kms, key, "Encrypt", GranteePrincipal=grantee)
    assert await may_encrypt(kms, origin, key) is allowed
    await kms.call("RevokeGrant", KeyId=key, GrantId=made["GrantId"])
    assert not await may_encrypt(kms, origin, key)


async def test_a_grant_to_another_account_needs_that_account_too(kms: Kms) -> None:
    key = await kms.key()
    eve, powerless = user("eve", "kms:Encrypt", account=OTHER), user("mallory", account=OTHER)
    for origin in (eve, powerless):
        assert not await may_encrypt(kms, origin, arn(key))
        await grant(kms, key, "Encrypt", GranteePrincipal=origin.caller.arn)
    assert await may_encrypt(kms, eve, arn(key))
    assert not await may_encrypt(kms, powerless, arn(key))


async def test_a_grant_that_the_grantees_own_account_made_is_enough(kms: Kms) -> None:
    policy_text = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"},
                {"Effect": "Allow", "Principal": {"AWS": OTHER}, "Action": "kms:CreateGrant", "Resource": "*"},
            ],
        }
    )
    key = await kms.key(Policy=policy_text)
    boss, worker = user("boss", "kms:*", account=OTHER), user("worker", account=OTHER)
    await grant(kms, arn(key), "Encrypt", origin=boss, GranteePrincipal=worker.caller.arn)
    assert await may_encrypt(kms, worker, arn(key))
    (listed,) = (await kms.call("ListGrants", KeyId=key))["Grants"]
    assert listed["IssuingAccount"] == OTHER_ROOT


async def test_the_words_for_what_a_grant_alone_does_not_do(kms: Kms) -> None:
    """The reason is what is missing beside the grant."""
    key = await kms.key()
    for grantee in (ROLE, f"arn:aws:iam::{OTHER}:user/mallory"):
        await grant(kms, key, "Encrypt", GranteePrincipal=grantee)
    limited, powerless = session(limits=(policy("kms:Decrypt"),)), user("mallory", account=OTHER)
    for origin, kind in ((limited, "session policy"), (powerless, "identity-based policy")):
        code, message = await refusal(kms, "Encrypt", origin, KeyId=arn(key), Plaintext=b"x")
        assert (code, message.partition(" because ")[2]) == (DENIED, f"no {kind} allows the kms:Encrypt action")


CONSTRAINED: list[tuple[Document, Document, bool]] = [
    # The parent's constraints, the child's, and whether they are at least as strict.
    ({}, {}, True),
    ({}, {"EncryptionContextEquals": A}, True),
    ({"EncryptionContextSubset": A}, {}, False),
    ({"EncryptionContextSubset": A}, {"EncryptionContextSubset": A}, True),
    ({"EncryptionContextSubset": A}, {"EncryptionContextSubset": AB}, True),
    ({"EncryptionContextSubset": AB}, {"EncryptionContextSubset": A}, False),
    ({"EncryptionContextSubset": A}, {"EncryptionContextEquals": A}, True),
    ({"EncryptionContextSubset": A}, {"EncryptionContextEquals": AB}, True),
    ({"EncryptionContextSubset": A}, {"EncryptionContextEquals": {"a": "2"}}, False),
    ({"EncryptionContextEquals": A}, {"EncryptionContextEquals": A}, True),
    ({"EncryptionContextEquals": A}, {"EncryptionContextEquals": AB}, False),
    ({"EncryptionContextEquals": A}, {"EncryptionContextSubset": A}, False),
    ({"EncryptionContextEquals": A}, {"EncryptionContextSubset": AB}, False),
    ({"EncryptionContextEquals": A}, {}, False),
]


@pytest.mark.parametrize(("parent", "child", "allowed"), CONSTRAINED)
async def test_a_child_is_at_least_as_strict_as_its_parent(
    kms: Kms, parent: Document, child: Document, allowed: bool
) -> None:
    key = await kms.key()
    await grant(kms, key, "CreateGrant", "Encrypt", Constraints=parent)
    members = {"KeyId": key, "GranteePrincipal": ALICE.caller.arn, "Operations": ["Encrypt"], "Constraints": child}
    if allowed:
        await kms.call("CreateGrant", BOB, **members)
    else:
        assert (await refusal(kms, "CreateGrant", BOB, **members))[0] == DENIED


@pytest.mark.parametrize("parent", [each for each, _, _ in CONSTRAINED[::3]])
async def test_what_a_child_allows_its_parent_allows(kms: Kms, parent: Document) -> None:
    """No context that a child lets through is kept out by the constraints of its parent."""
    key = KeyName(ACCOUNT, REGION, "k")

    def made(constraints: Document) -> Grant:
        equals, subset = constraints.get("EncryptionContextEquals"), constraints.get("EncryptionContextSubset")
        return Grant(key, "", "", ("Encrypt",), kms.clock(), "", context_equals=equals, context_subset=subset)

    contexts = [{}, A, AB, {"a": "2"}, {"b": "2"}, {**AB, "c": "3"}]
    for _, child, _ in CONSTRAINED:
        if grants.may_create(made(parent), made(child)):
            for context in contexts:
                through = grants.allows(made(child), "Encrypt", context)
                assert not through or grants.allows(made(parent), "Encrypt", context)


async def test_a_chain_of_grants_only_gets_narrower(kms: Kms) -> None:
    key = await kms.key()
    carol = user("carol")
    await grant(kms, key, "CreateGrant", "Encrypt", "Decrypt")
    await grant(kms, key, "CreateGrant", "Encrypt", origin=BOB, GranteePrincipal=ALICE.caller.arn)
    members = {"KeyId": key, "GranteePrincipal": carol.caller.arn}
    assert (await refusal(kms, "CreateGrant", ALICE, Operations=["Decrypt"], **members))[0] == DENIED
    await kms.call("CreateGrant", ALICE, Operations=["Encrypt"], **members)
    assert await may_encrypt(kms, carol, key)


async def test_any_of_several_parents_will_do(kms: Kms) -> None:
    key = await kms.key()
    for constraints in ({"EncryptionContextSubset": {"x": str(number)}} for number in range(5)):
        await grant(kms, key, "CreateGrant", "Encrypt", Constraints=constraints)
    await grant(kms, key, "CreateGrant", "Decrypt")
    members = {"KeyId": key, "GranteePrincipal": ALICE.caller.arn}
    for number in range(5):
        only = {"EncryptionContextSubset": {"x": str(number)}}
        await kms.call("CreateGrant", BOB, Operations=["Encrypt"], Constraints=only, **members)
    await kms.call("CreateGrant", BOB, Operations=["Decrypt"], **members)
    # Two parents that together would do are none.
    both = ["Encrypt", "Decrypt"]
    assert (await refusal(kms, "CreateGrant", BOB, Operations=both, **members))[0] == DENIED


async def test_who_may_by_a_policy_is_not_bound_by_grants(kms: Kms) -> None:
    key = await kms.key()
    await grant(kms, key, "CreateGrant", "Decrypt", GranteePrincipal=ADMIN.caller.arn)
    await grant(kms, key, "Encrypt", GranteePrincipal=ALICE.caller.arn)
    assert await may_encrypt(kms, ALICE, key)


KINDS: dict[tuple[str, str], set[str]] = {
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"): {
        "Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
        "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext",
    },
    ("RSA_2048", "ENCRYPT_DECRYPT"): {"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GetPublicKey"},
    ("RSA_2048", "SIGN_VERIFY"): {"Sign", "Verify", "GetPublicKey"},
    ("ECC_NIST_P256", "SIGN_VERIFY"): {"Sign", "Verify", "GetPublicKey"},
    ("ECC_NIST_P256", "KEY_AGREEMENT"): {"DeriveSharedSecret", "GetPublicKey"},
    ("HMAC_256", "GENERATE_VERIFY_MAC"): {"GenerateMac", "VerifyMac"},
}  # fmt: skip
EVERY_KEY = {"CreateGrant", "DescribeKey", "RetireGrant"}


@pytest.mark.parametrize(("spec", "usage"), list(KINDS))
def test_the_operations_of_each_kind_of_key(spec: str, usage: str) -> None:
    key = KmsKey(KeyName(ACCOUNT, REGION, "k"), FakeClock()(), "", spec=spec, usage=usage)
    assert grants.operations_of(key) == KINDS[spec, usage] | EVERY_KEY


def test_every_kind_of_key_has_operations() -> None:
    for name, spec in KEY_SPECS.items():
        for usage in spec.algorithms:
            key = KmsKey(KeyName(ACCOUNT, REGION, "k"), FakeClock()(), "", spec=name, usage=usage)
            assert grants.operations_of(key) > EVERY_KEY


async def test_operations_and_constraints_must_suit_the_key(kms: Kms) -> None:
    mac = await kms.key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    members = {"KeyId": mac, "GranteePrincipal": BOB.caller.arn}
    code, message = await refusal(kms, "CreateGrant", Operations=["GenerateMac", "Encrypt"], **members)
    assert (code, "Encrypt" in message) == ("ValidationException", True)
    for name in ("EncryptionContextEquals", "EncryptionContextSubset"):
        constrained = {"Operations": ["GenerateMac"], "Constraints": {name: A}}
        assert (await refusal(kms, "CreateGrant", **constrained, **members))[0] == "ValidationException"
    await kms.call("CreateGrant", Operations=["GenerateMac", "DescribeKey"], Constraints={}, **members)
    symmetric = await kms.key()
    members = {"KeyId": symmetric, "GranteePrincipal": BOB.caller.arn, "Operations": ["Sign"]}
    assert (await refusal(kms, "CreateGrant", **members))[0] == "ValidationException"


async def test_constraints_do_not_bind_what_has_no_context(kms: Kms) -> None:
    key = await kms.key()
    await grant(kms, key, "DescribeKey", "Encrypt", Constraints={"EncryptionContextEquals": A})
    assert (await kms.call("DescribeKey", BOB, KeyId=key))["KeyMetadata"]["KeyId"] == key
    assert not await may_encrypt(kms, BOB, key)
    assert await may_encrypt(kms, BOB, key, A)


async def test_the_size_of_constraints(kms: Kms) -> None:
    key = await kms.key()
    eight = {str(number): "x" for number in range(8)}
    for fits in (eight, {"a": "x" * 383}):
        await grant(kms, key, "Encrypt", Constraints={"EncryptionContextSubset": fits})
    for too_much in ({**eight, "9": "x"}, {"a": "x" * 384}):
        members = {"KeyId": key, "GranteePrincipal": BOB.caller.arn, "Operations": ["Encrypt"]}
        constraints = {"EncryptionContextSubset": too_much}
        assert (await refusal(kms, "CreateGrant", Constraints=constraints, **members))[0] == "ValidationException"


@pytest.mark.parametrize(
    ("operations", "retiring", "origin", "allowed"),
    [
        (["Encrypt"], None, BOB, False),
        (["RetireGrant"], None, BOB, True),
        (["Encrypt"], BOB.caller.arn, BOB, True),
        (["Encrypt"], ROLE, session(), True),
        (["Encrypt"], SESSION, session(), True),
        (["Encrypt"], ROLE, session(policy("kms:RetireGrant", "Deny")), False),
        (["Encrypt"], ROLE, session(limits=(policy("kms:Decrypt"),)), False),
        (["Encrypt"], ROLE, BOB, False),
        (["Encrypt"], None, replace(ADMIN, caller=Caller(ACCOUNT, ROOT, ACCOUNT, "AKIA")), True),
        (["Encrypt"], None, user("carol", "kms:RetireGrant"), True),
        (["Encrypt"], OTHER_ROOT, user("eve", "kms:RetireGrant", account=OTHER), True),
        (["Encrypt"], OTHER_ROOT, user("eve", account=OTHER), False),
        (["Encrypt"], f"arn:aws:iam::{OTHER}:user/eve", user("eve", account=OTHER), True),
        (["Encrypt"], None, user("eve", "kms:*", account=OTHER), False),
        (["RetireGrant"], None, user("bob", deny=["kms:RetireGrant"]), False),
    ],
)
async def test_who_may_retire_a_grant(
    kms: Kms, operations: list[str], retiring: str | None, origin: CallOrigin, allowed: bool
) -> None:
    key = await kms.key()
    parties = {} if retiring is None else {"RetiringPrincipal": retiring}
    for by_token in (True, False):
        made = await grant(kms, key, *operations, **parties)
        named = {"GrantToken": made["GrantToken"]} if by_token else {"KeyId": arn(key), "GrantId": made["GrantId"]}
        if allowed:
            await kms.call("RetireGrant", origin, **named)
        else:
            assert (await refusal(kms, "RetireGrant", origin, **named))[0] == DENIED
    assert len((await kms.call("ListGrants", KeyId=key))["Grants"]) == (0 if allowed else 2)


async def test_the_grants_that_a_principal_may_retire(kms: Kms) -> None:
    keys = [await kms.key() for _ in range(3)]
    for key in keys:
        await grant(kms, key, "Encrypt", RetiringPrincipal=ALICE.caller.arn)
        await grant(kms, key, "Decrypt", RetiringPrincipal=ALICE.caller.arn, Name="two")
        await grant(kms, key, "Encrypt", RetiringPrincipal=ROLE)
        await grant(kms, key, "Encrypt")
    elsewhere = user("admin", "kms:*", region="eu-west-1")
    await grant(kms, await kms.key(elsewhere), "Encrypt", origin=elsewhere, RetiringPrincipal=ALICE.caller.arn)
    eve = user("eve", "kms:*", account=OTHER)
    foreign = await kms.key(eve)
    await grant(kms, foreign, "Encrypt", origin=eve, RetiringPrincipal=ALICE.caller.arn)

    whole = await kms.call("ListRetirableGrants", RetiringPrincipal=ALICE.caller.arn)
    assert whole["Truncated"] is False
    assert {each["RetiringPrincipal"] for each in whole["Grants"]} == {ALICE.caller.arn}
    expected = {arn(key) for key in keys} | {f"arn:aws:kms:{REGION}:{OTHER}:key/{foreign}"}
    assert {each["KeyId"] for each in whole["Grants"]} == expected
    assert len(whole["Grants"]) == 7

    found, marker = [], {}
    while True:
        page = await kms.call("ListRetirableGrants", RetiringPrincipal=ALICE.caller.arn, Limit=2, **marker)
        found += page["Grants"]
        if not page["Truncated"]:
            break
        assert len(page["Grants"]) == 2
        marker = {"Marker": page["NextMarker"]}
    assert found == whole["Grants"]

    await kms.call("ScheduleKeyDeletion", KeyId=keys[0], PendingWindowInDays=7)
    assert len((await kms.call("ListRetirableGrants", RetiringPrincipal=ALICE.caller.arn))["Grants"]) == 7
    kms.clock.advance(days=7)
    assert len((await kms.call("ListRetirableGrants", RetiringPrincipal=ALICE.caller.arn))["Grants"]) == 5


async def test_listing_retirable_grants_is_a_right_on_the_principal(kms: Kms) -> None:
    statement = {"Effect": "Allow", "Action": "kms:ListRetirableGrants", "Resource": ALICE.caller.arn}
    document = {"Version": "2012-10-17", "Statement": statement}
    clerk = replace(ADMIN, caller=replace(BOB.caller, policies=(document,)))
    assert (await kms.call("ListRetirableGrants", clerk, RetiringPrincipal=ALICE.caller.arn))["Grants"] == []
    code, message = await refusal(kms, "ListRetirableGrants", clerk, RetiringPrincipal=ROLE)
    assert (code, f"kms:ListRetirableGrants on resource: {ROLE} because no identity" in message) == (DENIED, True)
    foreign = {"RetiringPrincipal": f"arn:aws:iam::{OTHER}:user/eve"}
    assert (await refusal(kms, "ListRetirableGrants", **foreign))[0] == DENIED
    assert (await refusal(kms, "ListRetirableGrants", RetiringPrincipal="eve"))[0] == "InvalidArnException"
    assert (await refusal(kms, "ListRetirableGrants"))[0] == "ValidationException"
    service = {"RetiringServicePrincipal": "s3.amazonaws.com"}
    assert (await refusal(kms, "ListRetirableGrants", **service))[0] == "UnsupportedOperationException"
    bad = {"RetiringPrincipal": ROLE, "Marker": "***"}
    assert (await refusal(kms, "ListRetirableGrants", **bad))[0] == "InvalidMarkerException"


async def test_grants_end_with_their_key(kms: Kms) -> None:
    key = await kms.key()
    made = await grant(kms, key, "Encrypt", RetiringPrincipal=ALICE.caller.arn)
    await kms.call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    kms.clock.advance(days=7)
    assert (await refusal(kms, "RetireGrant", ALICE, GrantToken=made["GrantToken"]))[0] == "NotFoundException"
    assert await kms.store.scan(model.GRANT) == []


async def test_a_key_has_room_for_so_many_grants() -> None:
    kms = await Kms(resource_quotas=ResourceQuotas(grants_per_key=2)).start()
    key = await kms.key()
    one = await grant(kms, key, "Encrypt", Name="one")
    await grant(kms, key, "Encrypt")
    members = {"KeyId": key, "GranteePrincipal": BOB.caller.arn, "Operations": ["Encrypt"]}
    assert (await refusal(kms, "CreateGrant", **members))[0] == "LimitExceededException"
    # One that is there already needs no room.
    assert (await grant(kms, key, "Encrypt", Name="one"))["GrantId"] == one["GrantId"]
    await kms.call("RevokeGrant", KeyId=key, GrantId=one["GrantId"])
    await grant(kms, key, "Encrypt")


async def test_what_makes_two_grants_the_same(kms: Kms) -> None:
    key = await kms.key()
    base = {"Name": "n", "RetiringPrincipal": ALICE.caller.arn, "Constraints": {"EncryptionContextSubset": AB}}
    first = await grant(kms, key, "Encrypt", "Decrypt", **base)
    turned = {"Constraints": {"EncryptionContextSubset": dict(reversed(AB.items()))}}
    same = [
        await grant(kms, key, "Decrypt", "Encrypt", "Encrypt", **base),
        await grant(kms, key, "Encrypt", "Decrypt", **{**base, **turned}),
    ]
    assert {each["GrantId"] for each in same} == {first["GrantId"]}
    assert len({first["GrantToken"], *(each["GrantToken"] for each in same)}) == 3
    changes: list[Document] = [
        {"Name": "m"},
        {"RetiringPrincipal": BOB.caller.arn},
        {"GranteePrincipal": ALICE.caller.arn},
        {"Constraints": {"EncryptionContextEquals": AB}},
        {"Constraints": {"EncryptionContextSubset": A}},
    ]
    others = [await grant(kms, key, "Encrypt", "Decrypt", **{**base, **change}) for change in changes]
    assert len({first["GrantId"], *(each["GrantId"] for each in others)}) == len(changes) + 1
    for made in same:
        await kms.call(
            "Encrypt", BOB, KeyId=key, Plaintext=b"x", EncryptionContext=AB, GrantTokens=[made["GrantToken"]]
        )
