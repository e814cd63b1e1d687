"""Grants, and who may do what."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kms import grants
from proxy.kms.errors import KmsError
from proxy.kms.model import Grant, KeyName
from tests.fakes import FakeClock
from tests.kms.harness import ACCOUNT, ADMIN, REGION, Kms, KmsFault, user

BOB = user("bob")
ALICE = user("alice")
STRANGER = user("eve", "kms:*", account="444455556666")
ROOT = f"arn:aws:iam::{ACCOUNT}:root"


async def refusal(kms: Kms, operation: str, origin: Any = ADMIN, **members: Any) -> tuple[str, str]:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, origin, **members)
    return caught.value.code, caught.value.message


async def grant(kms: Kms, key: str, *operations: str, **members: Any) -> dict[str, Any]:
    members.setdefault("GranteePrincipal", BOB.caller.arn)
    return await kms.call("CreateGrant", KeyId=key, Operations=list(operations), **members)


async def test_a_grant_gives_its_operations_at_once_until_it_is_revoked(kms: Kms) -> None:
    key = await kms.key()
    denied = ("AccessDeniedException", "User: arn:aws:iam::111122223333:user/bob is not authorized to perform: "
              f"kms:Encrypt on resource: arn:aws:kms:{REGION}:{ACCOUNT}:key/{key} because no identity-based policy "
              "allows the kms:Encrypt action")  # fmt: skip
    assert await refusal(kms, "Encrypt", BOB, KeyId=key, Plaintext=b"x") == denied
    made = await grant(kms, key, "Encrypt", "Decrypt")
    assert len(made["GrantId"]) == 64
    blob = (await kms.call("Encrypt", BOB, KeyId=key, Plaintext=b"x"))["CiphertextBlob"]
    tokens = [made["GrantToken"]]
    assert (await kms.call("Decrypt", BOB, CiphertextBlob=blob, GrantTokens=tokens))["Plaintext"] == b"x"
    assert (await refusal(kms, "GenerateDataKey", BOB, KeyId=key, KeySpec="AES_256"))[0] == "AccessDeniedException"
    assert (await refusal(kms, "Encrypt", ALICE, KeyId=key, Plaintext=b"x"))[0] == "AccessDeniedException"
    await kms.call("RevokeGrant", KeyId=key, GrantId=made["GrantId"])
    assert await refusal(kms, "Encrypt", BOB, KeyId=key, Plaintext=b"x") == denied


async def test_an_explicit_deny_wins_over_a_grant(kms: Kms) -> None:
    key = await kms.key()
    await grant(kms, key, "Encrypt")
    denied = user("bob", deny=["kms:Encrypt"])
    code, message = await refusal(kms, "Encrypt", denied, KeyId=key, Plaintext=b"x")
    assert code == "AccessDeniedException"
    assert message.endswith("with an explicit deny in an identity-based policy")


async def test_constraints_on_the_encryption_context(kms: Kms) -> None:
    key = await kms.key()
    await grant(kms, key, "Encrypt", Constraints={"EncryptionContextSubset": {"a": "1"}})
    await grant(kms, key, "GenerateDataKey", Constraints={"EncryptionContextEquals": {"a": "1"}})
    one, both, other = {"a": "1"}, {"a": "1", "b": "2"}, {"a": "2"}
    for context in (one, both):
        await kms.call("Encrypt", BOB, KeyId=key, Plaintext=b"x", EncryptionContext=context)
    await kms.call("GenerateDataKey", BOB, KeyId=key, KeySpec="AES_256", EncryptionContext=one)
    refused: list[dict[str, str]] = [other, {}]
    for context in refused:
        code, _ = await refusal(kms, "Encrypt", BOB, KeyId=key, Plaintext=b"x", EncryptionContext=context)
        assert code == "AccessDeniedException"
    for context in [*refused, both]:
        code, _ = await refusal(kms, "GenerateDataKey", BOB, KeyId=key, KeySpec="AES_256", EncryptionContext=context)
        assert code == "AccessDeniedException"


async def test_grants_are_listed(kms: Kms) -> None:
    key = await kms.key()
    made = await grant(
        kms,
        key,
        "Encrypt",
        "Decrypt",
        Name="one",
        RetiringPrincipal=ROOT,
        Constraints={"EncryptionContextSubset": {"a": "1"}},
    )
    await grant(kms, key, "Encrypt", GranteePrincipal=ALICE.caller.arn)
    listed = await kms.call("ListGrants", KeyId=key, GrantId=made["GrantId"])
    assert listed["Grants"] == [
        {
            "KeyId": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}",
            "GrantId": made["GrantId"],
            "Name": "one",
            "CreationDate": kms.clock.now,
            "GranteePrincipal": BOB.caller.arn,
            "RetiringPrincipal": ROOT,
            "IssuingAccount": ROOT,
            "Operations": ["Decrypt", "Encrypt"],
            "Constraints": {"EncryptionContextSubset": {"a": "1"}},
        }
    ]
    page = await kms.call("ListGrants", KeyId=key, Limit=1)
    rest = await kms.call("ListGrants", KeyId=key, Limit=1, Marker=page["NextMarker"])
    assert (page["Truncated"], rest["Truncated"]) == (True, False)
    assert page["Grants"][0]["GrantId"] < rest["Grants"][0]["GrantId"]
    mine = await kms.call("ListGrants", KeyId=key, GranteePrincipal=ALICE.caller.arn)
    assert [each["GranteePrincipal"] for each in mine["Grants"]] == [ALICE.caller.arn]


async def test_the_same_grant_by_the_same_name_is_made_once(kms: Kms) -> None:
    key = await kms.key()
    one, again = await grant(kms, key, "Encrypt", Name="n"), await grant(kms, key, "Encrypt", Name="n")
    assert one["GrantId"] == again["GrantId"]
    assert one["GrantToken"] != again["GrantToken"]
    other, unnamed = await grant(kms, key, "Decrypt", Name="n"), await grant(kms, key, "Encrypt")
    assert len({one["GrantId"], other["GrantId"], unnamed["GrantId"]}) == 3


async def test_who_may_retire_a_grant(kms: Kms) -> None:
    key = await kms.key()
    for retire_right, origin in ((False, user("root-like")), (False, BOB), (True, BOB), (False, ALICE)):
        operations = ["Encrypt", "RetireGrant"] if retire_right else ["Encrypt"]
        made = await grant(kms, key, *operations, RetiringPrincipal=ALICE.caller.arn)
        by_id = {"KeyId": key, "GrantId": made["GrantId"]}
        if retire_right or origin is ALICE:
            await kms.call("RetireGrant", origin, GrantToken=made["GrantToken"])
            assert (await refusal(kms, "RetireGrant", origin, **by_id))[0] == "NotFoundException"
        else:
            assert (await refusal(kms, "RetireGrant", origin, **by_id))[0] == "AccessDeniedException"
            await kms.call("RetireGrant", **by_id)
    assert (await kms.call("ListGrants", KeyId=key))["Grants"] == []


async def test_what_cannot_be_granted(kms: Kms) -> None:
    key = await kms.key()
    bob = BOB.caller.arn
    cases: list[tuple[dict[str, Any], str]] = [
        ({"GranteePrincipal": "bob"}, "InvalidArnException"),
        ({"GranteePrincipal": bob, "RetiringPrincipal": "arn:aws:s3:::bucket"}, "InvalidArnException"),
        ({}, "ValidationException"),
        ({"GranteePrincipal": bob, "Operations": ["Fly"]}, "ValidationException"),
        ({"GranteePrincipal": bob, "Operations": []}, "ValidationException"),
        ({"GranteeServicePrincipal": "s3.amazonaws.com"}, "UnsupportedOperationException"),
        ({"GranteePrincipal": bob, "GrantTokens": ["x"]}, "InvalidGrantTokenException"),
        (
            {"GranteePrincipal": bob, "Constraints": {"EncryptionContextEquals": {str(n): "" for n in range(9)}}},
            "ValidationException",
        ),
        (
            {"GranteePrincipal": bob, "Constraints": {"EncryptionContextSubset": {"a": "x" * 384}}},
            "ValidationException",
        ),
    ]
    for members, code in cases:
        whole = {"KeyId": key, "Operations": ["Encrypt"]} | members
        assert (await refusal(kms, "CreateGrant", **whole))[0] == code, members
    assert (await refusal(kms, "RevokeGrant", KeyId=key, GrantId="0" * 64))[0] == "NotFoundException"
    assert (await refusal(kms, "RetireGrant", KeyId=key))[0] == "ValidationException"
    assert (await refusal(kms, "RetireGrant", GrantToken="AAAA"))[0] == "InvalidGrantTokenException"
    assert (await refusal(kms, "ListGrants", KeyId=key, Limit=101))[0] == "ValidationException"


async def test_a_grantee_hands_on_no_more_than_it_has(kms: Kms) -> None:
    key = await kms.key()
    await grant(kms, key, "CreateGrant", "Encrypt", "Decrypt", Constraints={"EncryptionContextSubset": {"a": "1"}})
    alice = {"KeyId": key, "GranteePrincipal": ALICE.caller.arn}
    narrow = {"EncryptionContextEquals": {"a": "1", "b": "2"}}
    await kms.call("CreateGrant", BOB, Operations=["Encrypt"], Constraints=narrow, **alice)
    for operations, constraints in (
        (["GenerateDataKey"], narrow),
        (["Encrypt"], {}),
        (["Encrypt"], {"EncryptionContextSubset": {"b": "2"}}),
    ):
        code, _ = await refusal(kms, "CreateGrant", BOB, Operations=operations, Constraints=constraints, **alice)
        assert code == "AccessDeniedException"


async def test_another_account_needs_the_key_policy_and_its_own(kms: Kms) -> None:
    key = (await kms.call("CreateKey"))["KeyMetadata"]
    arn = key["Arn"]
    unknown = arn.replace(key["KeyId"], "00000000-0000-4000-8000-000000000000")
    reason = (
        "because the resource does not exist in this Region, no resource-based policies allow access, "
        "or a resource-based policy explicitly denies access"
    )
    for named in (arn, unknown):
        assert await refusal(kms, "Encrypt", STRANGER, KeyId=named, Plaintext=b"x") == (
            "AccessDeniedException",
            f"User: {STRANGER.caller.arn} is not authorized to perform: kms:Encrypt on resource: {named} {reason}",
        )
    policy = (
        '{"Version":"2012-10-17","Statement":['
        f'{{"Effect":"Allow","Principal":{{"AWS":"{ROOT}"}},"Action":"kms:*","Resource":"*"}},'
        '{"Effect":"Allow","Principal":{"AWS":"444455556666"},"Action":["kms:Encrypt","kms:DisableKey"],"Resource":"*"}]}'
    )
    await kms.call("PutKeyPolicy", KeyId=key["KeyId"], Policy=policy)
    sealed = await kms.call("Encrypt", STRANGER, KeyId=arn, Plaintext=b"x")
    assert sealed["KeyId"] == arn
    powerless = user("mallory", account="444455556666")
    code, message = await refusal(kms, "Encrypt", powerless, KeyId=arn, Plaintext=b"x")
    assert message.endswith("because no identity-based policy allows the kms:Encrypt action")
    assert (await refusal(kms, "DisableKey", STRANGER, KeyId=arn))[0] == "AccessDeniedException"
    assert (await refusal(kms, "Decrypt", STRANGER, CiphertextBlob=sealed["CiphertextBlob"]))[0] == code


async def test_every_operation_asks_for_its_right(kms: Kms) -> None:
    key = await kms.key()
    await kms.call("CreateAlias", AliasName="alias/there", TargetKeyId=key)
    cases: list[tuple[str, dict[str, Any]]] = [
        ("CreateKey", {}),
        ("ListKeys", {}),
        ("ListAliases", {}),
        ("DescribeKey", {"KeyId": key}),
        ("EnableKey", {"KeyId": key}),
        ("DisableKey", {"KeyId": key}),
        ("ScheduleKeyDeletion", {"KeyId": key}),
        ("CreateAlias", {"AliasName": "alias/new", "TargetKeyId": key}),
        ("UpdateAlias", {"AliasName": "alias/there", "TargetKeyId": key}),
        ("DeleteAlias", {"AliasName": "alias/there"}),
        ("PutKeyPolicy", {"KeyId": key, "Policy": "{}"}),
        ("CreateGrant", {"KeyId": key, "GranteePrincipal": BOB.caller.arn, "Operations": ["Decrypt"]}),
        ("TagResource", {"KeyId": key, "Tags": []}),
        ("RotateKeyOnDemand", {"KeyId": key}),
        ("DeleteImportedKeyMaterial", {"KeyId": key}),
    ]
    for operation, members in cases:
        code, message = await refusal(kms, operation, BOB, **members)
        assert code == "AccessDeniedException", operation
        assert f"not authorized to perform: kms:{operation} on resource: " in message


SECRET = b"s" * 32
NAME = KeyName(ACCOUNT, REGION, "1234abcd-12ab-34cd-56ef-1234567890ab")


@given(st.binary(max_size=80))
def test_garbage_is_no_grant_token(data: bytes) -> None:
    for token in (data.hex(), data.decode("latin-1")):
        with pytest.raises(KmsError) as caught:
            grants.open_token(token, SECRET)
        assert caught.value.code == "InvalidGrantTokenException"


def test_a_grant_token_is_bound_to_its_grant_and_its_service() -> None:
    made = Grant(NAME, "0" * 64, "g", ("Decrypt",), FakeClock()(), ROOT)
    token = grants.new_token(made.record_id, SECRET, b"x" * 16)
    assert grants.open_token(token, SECRET) == made.record_id
    with pytest.raises(KmsError):
        grants.open_token(token, b"t" * 32)
