"""AssumeRole, GetSessionToken and GetCallerIdentity: who may, for how long, and AWS's refusals."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from proxy.aws.credentials import Caller, ExpiredSessionToken, InvalidSessionToken, StoreCredentials
from proxy.aws.policy import Question, decide
from proxy.sts import tokens
from proxy.sts.principals import ADMINISTRATOR_ACCESS, Role
from tests.sts.harness import ACCOUNT, MAY_ASSUME, OTHER, Sts, StsFault, role, trust, user

ALICE = user("alice", MAY_ASSUME)
BOB = user("bob")
ROOT = user("root")
STRANGER = user("stranger", MAY_ASSUME, account=OTHER)
DENIED = user(
    "denied",
    ADMINISTRATOR_ACCESS,
    {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "sts:*", "Resource": "*"}]},
)

FOR_ACCOUNT = role("for-account", trust(f"arn:aws:iam::{ACCOUNT}:root"), max_session_duration=7200)
FOR_BOB = role("for-bob", trust(BOB.caller.arn))
WITH_ID = role("with-id", trust(OTHER, ACCOUNT, condition={"StringEquals": {"sts:ExternalId": "open sesame"}}))
NAMED = role("named", trust(ACCOUNT, condition={"StringLike": {"sts:RoleSessionName": "${aws:username}"}}))
CHAINED = role("chained", trust(FOR_ACCOUNT.arn), max_session_duration=43_200)
LOCAL_ONLY = role("local-only", trust(ACCOUNT, condition={"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}))

USERS = [ALICE, BOB, ROOT, STRANGER, DENIED]
ROLES = [FOR_ACCOUNT, FOR_BOB, WITH_ID, NAMED, CHAINED, LOCAL_ONLY]


@pytest.fixture
async def sts() -> Sts:
    return await Sts(USERS, ROLES).start()


async def refusal(sts: Sts, caller: Caller, operation: str = "AssumeRole", **members: Any) -> StsFault:
    if operation == "AssumeRole":
        members = {"RoleArn": FOR_ACCOUNT.arn, "RoleSessionName": "session", **members}
    with pytest.raises(StsFault) as caught:
        await sts.call(operation, caller, **members)
    return caught.value


def denial(caller: Caller, role: Role) -> str:
    return f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {role.arn}"


async def test_assume_role(sts: Sts) -> None:
    answer = await sts.assume(ALICE.caller, FOR_ACCOUNT, RoleSessionName="deploy@2026")
    assert answer["AssumedRoleUser"] == {
        "AssumedRoleId": f"{FOR_ACCOUNT.id}:deploy@2026",
        "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/for-account/deploy@2026",
    }
    assert FOR_ACCOUNT.id.startswith("AROA")
    assert len(FOR_ACCOUNT.id) == 21
    assert "PackedPolicySize" not in answer
    given = answer["Credentials"]
    assert given["Expiration"] == sts.clock() + timedelta(hours=1)
    assert given["AccessKeyId"].startswith("ASIA")
    assert len(given["AccessKeyId"]) == 20
    assert len(given["SecretAccessKey"]) == 40

    caller = sts.caller_of(given)
    assert caller.arn == answer["AssumedRoleUser"]["Arn"]
    assert caller.user_id == answer["AssumedRoleUser"]["AssumedRoleId"]
    assert caller.account == ACCOUNT
    assert caller.policies == (ADMINISTRATOR_ACCESS,)
    assert caller.session is not None
    assert caller.session.role_arn == FOR_ACCOUNT.arn
    identity = await sts.call("GetCallerIdentity", caller)
    assert (identity["Arn"], identity["UserId"], identity["Account"]) == (caller.arn, caller.user_id, ACCOUNT)


async def test_each_call_gives_other_credentials(sts: Sts) -> None:
    given = [(await sts.assume(ALICE.caller, FOR_ACCOUNT))["Credentials"] for _ in range(3)]
    for member in ("AccessKeyId", "SecretAccessKey", "SessionToken"):
        assert len({each[member] for each in given}) == 3


@pytest.mark.parametrize(
    ("caller", "role"),
    [
        (BOB.caller, FOR_ACCOUNT),  # the account is trusted, but its policies do not allow it to him
        (ALICE.caller, FOR_BOB),
        (STRANGER.caller, FOR_ACCOUNT),
        (STRANGER.caller, FOR_BOB),
        (ALICE.caller, WITH_ID),
        (ALICE.caller, NAMED),
        (ALICE.caller, CHAINED),
        (ALICE.caller, LOCAL_ONLY),
        (ALICE.caller, replace(FOR_ACCOUNT, name="nobody")),
        (ALICE.caller, replace(FOR_ACCOUNT, account=OTHER)),
    ],
)
async def test_who_may_not_assume_a_role(sts: Sts, caller: Caller, role: Role) -> None:
    error = await refusal(sts, caller, RoleArn=role.arn)
    assert (error.code, error.status, error.message) == ("AccessDenied", 403, denial(caller, role))


async def test_an_explicit_deny_is_named(sts: Sts) -> None:
    error = await refusal(sts, DENIED.caller)
    assert error.code == "AccessDenied"
    assert error.message == f"{denial(DENIED.caller, FOR_ACCOUNT)} with an explicit deny in an identity-based policy"


async def test_who_is_named_by_the_trust_policy_needs_no_policy(sts: Sts) -> None:
    assert sts.caller_of((await sts.assume(BOB.caller, FOR_BOB))["Credentials"]).arn.endswith("for-bob/session")


async def test_conditions_of_the_trust_policy(sts: Sts) -> None:
    error = await refusal(sts, STRANGER.caller, RoleArn=WITH_ID.arn, ExternalId="open-sesame")
    assert error.message == denial(STRANGER.caller, WITH_ID)
    assert await sts.assume(ALICE.caller, NAMED, RoleSessionName="alice")


async def test_an_external_id_opens_the_role_across_accounts() -> None:
    guarded = role("guarded", trust(OTHER, condition={"StringEquals": {"sts:ExternalId": "customer-42"}}))
    sts = await Sts(USERS, [guarded]).start()
    answer = await sts.assume(STRANGER.caller, guarded, ExternalId="customer-42")
    assert sts.caller_of(answer["Credentials"]).account == ACCOUNT
    for members in ({}, {"ExternalId": "customer-43"}):
        error = await refusal(sts, STRANGER.caller, RoleArn=guarded.arn, **members)
        assert error.message == denial(STRANGER.caller, guarded)


async def test_root_assumes_no_role(sts: Sts) -> None:
    error = await refusal(sts, ROOT.caller)
    assert (error.code, error.message) == ("AccessDenied", "Roles may not be assumed by root accounts.")


# Durations


async def test_durations_of_a_roles_session(sts: Sts) -> None:
    for seconds in (900, 3600, 7200):
        given = (await sts.assume(ALICE.caller, FOR_ACCOUNT, DurationSeconds=seconds))["Credentials"]
        assert given["Expiration"] == sts.clock() + timedelta(seconds=seconds)
    error = await refusal(sts, ALICE.caller, DurationSeconds=7201)
    assert (error.code, error.status) == ("ValidationError", 400)
    assert error.message == "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."


async def test_role_chaining_lasts_an_hour_at_most(sts: Sts) -> None:
    first = sts.caller_of((await sts.assume(ALICE.caller, FOR_ACCOUNT))["Credentials"])
    second = (await sts.assume(first, CHAINED))["Credentials"]
    assert second["Expiration"] == sts.clock() + timedelta(hours=1)
    error = await refusal(sts, first, RoleArn=CHAINED.arn, DurationSeconds=3601)
    assert error.message == (
        "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
    )


async def test_a_session_ends_on_time(sts: Sts) -> None:
    given = (await sts.assume(ALICE.caller, FOR_ACCOUNT, DurationSeconds=900))["Credentials"]
    sts.clock.advance(seconds=899)
    assert sts.caller_of(given)
    sts.clock.advance(seconds=1)
    with pytest.raises(ExpiredSessionToken):
        sts.caller_of(given)


# Changes of the configuration


async def test_a_removed_role_ends_its_sessions(sts: Sts) -> None:
    given = (await sts.assume(ALICE.caller, FOR_ACCOUNT))["Credentials"]
    assert sts.caller_of(given)
    sts.principals.replace(USERS, [FOR_BOB])
    with pytest.raises(InvalidSessionToken):
        sts.caller_of(given)


async def test_a_removed_user_ends_his_sessions(sts: Sts) -> None:
    given = (await sts.call("GetSessionToken", BOB.caller))["Credentials"]
    assert sts.caller_of(given)
    sts.principals.replace([ALICE], ROLES)
    with pytest.raises(InvalidSessionToken):
        sts.caller_of(given)


async def test_a_roles_policies_are_those_of_now(sts: Sts) -> None:
    given = (await sts.assume(ALICE.caller, FOR_ACCOUNT))["Credentials"]
    assert sts.caller_of(given).policies == (ADMINISTRATOR_ACCESS,)
    sts.principals.replace(USERS, [replace(FOR_ACCOUNT, policies=())])
    assert sts.caller_of(given).policies == ()


async def test_sessions_from_before_a_time_are_revoked(sts: Sts) -> None:
    before = (await sts.assume(ALICE.caller, FOR_ACCOUNT))["Credentials"]
    sts.clock.advance(seconds=10)
    sts.principals.replace(USERS, [replace(FOR_ACCOUNT, not_before=sts.clock())])
    with pytest.raises(ExpiredSessionToken):
        sts.caller_of(before)
    assert sts.caller_of((await sts.assume(ALICE.caller, FOR_ACCOUNT))["Credentials"])


# Session policies


def allowed(caller: Caller, action: str, resource: str) -> bool:
    return decide(Question(caller, action, resource), ACCOUNT).allowed


async def test_a_session_policy_limits_the_session(sts: Sts) -> None:
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
    answer = await sts.assume(ALICE.caller, FOR_ACCOUNT, Policy=json.dumps(policy, indent=4))
    assert 1 <= answer["PackedPolicySize"] <= 20
    caller = sts.caller_of(answer["Credentials"])
    assert caller.session is not None
    assert caller.session.policies == (policy,)
    assert allowed(caller, "s3:GetObject", "arn:aws:s3:::b/k")
    assert not allowed(caller, "s3:PutObject", "arn:aws:s3:::b/k")


async def test_managed_session_policies(sts: Sts) -> None:
    arn = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    answer = await sts.assume(ALICE.caller, FOR_ACCOUNT, PolicyArns=[{"arn": arn}])
    assert answer["PackedPolicySize"] >= 1
    caller = sts.caller_of(answer["Credentials"])
    assert allowed(caller, "s3:ListBucket", "arn:aws:s3:::b")
    assert not allowed(caller, "s3:DeleteObject", "arn:aws:s3:::b/k")
    assert not allowed(caller, "kms:Decrypt", "*")


def policy_with(condition: dict[str, Any]) -> dict[str, Any]:
    return {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}}


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"Policy": "{"}, "MalformedPolicyDocument"),
        ({"Policy": '{"Version":"2012-10-17"}'}, "MalformedPolicyDocument"),
        ({"Policy": json.dumps(trust("*"))}, "MalformedPolicyDocument"),
        (
            {"Policy": json.dumps(policy_with({"Strange": {"a": "b"}}))},
            "MalformedPolicyDocument",
        ),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/NoSuchPolicy"}]}, "MalformedPolicyDocument"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::111122223333:role/not-a-policy"}]}, "ValidationError"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}] * 11}, "ValidationError"),
        ({"PolicyArns": [{"arn": "short"}]}, "ValidationError"),
        ({"Tags": [{"Key": "team", "Value": "x"}]}, "AccessDenied"),
        ({"TransitiveTagKeys": ["team"]}, "AccessDenied"),
        ({"SourceIdentity": "me"}, "AccessDenied"),
        ({"SerialNumber": "arn:aws:iam::1:mfa/a", "TokenCode": "123456"}, "AccessDenied"),
        ({"TokenCode": "12345"}, "ValidationError"),
        ({"DurationSeconds": 899}, "ValidationError"),
        ({"DurationSeconds": 43_201}, "ValidationError"),
        ({"RoleSessionName": "a"}, "ValidationError"),
        ({"RoleSessionName": "a" * 65}, "ValidationError"),
        ({"RoleSessionName": "with space"}, "ValidationError"),
        ({"RoleSessionName": "slash/"}, "ValidationError"),
        ({"RoleArn": "too-short"}, "ValidationError"),
        ({"RoleArn": "arn:aws:iam::111122223333:user/alice"}, "ValidationError"),
        ({"RoleArn": "no arn but long enough at least"}, "ValidationError"),
    ],
)
async def test_what_is_refused(sts: Sts, members: dict[str, Any], code: str) -> None:
    error = await refusal(sts, ALICE.caller, **members)
    assert (error.code, error.status) == (code, 403 if code == "AccessDenied" else 400)


async def test_validation_names_every_broken_constraint(sts: Sts) -> None:
    error = await refusal(sts, ALICE.caller, RoleArn=None, RoleSessionName="a", DurationSeconds=1)
    assert error.code == "ValidationError"
    assert error.message.startswith("3 validation errors detected: ")
    assert "Value null at 'roleArn' failed to satisfy constraint: Member must not be null" in error.message
    assert "Value 'a' at 'roleSessionName'" in error.message
    assert "Member must have length greater than or equal to 2" in error.message
    assert "Value '1' at 'durationSeconds'" in error.message
    assert "Member must have value greater than or equal to 900" in error.message


async def test_a_duration_that_is_no_number(sts: Sts) -> None:
    form = f"Action=AssumeRole&Version=2011-06-15&RoleArn={FOR_ACCOUNT.arn}&RoleSessionName=ab&DurationSeconds=1h"
    with pytest.raises(StsFault) as caught:
        await sts.post("AssumeRole", ALICE.caller, form.encode())
    assert (caught.value.code, caught.value.status) == ("MalformedInput", 400)


async def test_tags_and_source_identities_need_a_right_that_nobody_has(sts: Sts) -> None:
    error = await refusal(sts, ALICE.caller, Tags=[{"Key": "team", "Value": "x"}])
    assert error.message == denial(ALICE.caller, FOR_ACCOUNT).replace("sts:AssumeRole", "sts:TagSession")
    error = await refusal(sts, ALICE.caller, SourceIdentity="me")
    assert error.message == denial(ALICE.caller, FOR_ACCOUNT).replace("sts:AssumeRole", "sts:SetSourceIdentity")


async def test_a_policy_that_does_not_fit_the_token(sts: Sts) -> None:
    random = [f"arn:aws:s3:::bucket-{sts.random(20).hex()}/*" for _ in range(60)]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": random}]}
    error = await refusal(sts, ALICE.caller, Policy=json.dumps(policy))
    assert (error.code, error.status) == ("PackedPolicyTooLarge", 400)
    percent = int(error.message.removeprefix("Packed policy consumes ").partition("%")[0])
    assert percent > 100
    policy["Statement"][0]["Resource"] = random[:35]  # type: ignore[index]
    answer = await sts.assume(ALICE.caller, FOR_ACCOUNT, Policy=json.dumps(policy))
    assert 50 < answer["PackedPolicySize"] <= 100
    assert len(answer["Credentials"]["SessionToken"]) <= tokens.MAX_TOKEN


async def test_a_policy_of_2048_characters_as_they_are_written_fits(sts: Sts) -> None:
    statements = [
        {
            "Sid": f"Part{number}",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": [f"arn:aws:s3:::customer-data-{number}/projects/{number * 7}/*"],
            "Condition": {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}},
        }
        for number in range(7)
    ]
    text = json.dumps({"Version": "2012-10-17", "Statement": statements})
    assert 1700 < len(text) <= 2048
    answer = await sts.assume(ALICE.caller, FOR_ACCOUNT, Policy=text, RoleSessionName="s" * 64)
    assert answer["PackedPolicySize"] < 50
    assert len(answer["Credentials"]["SessionToken"]) < 900


# GetSessionToken


async def test_a_session_token_stands_for_its_user(sts: Sts) -> None:
    given = (await sts.call("GetSessionToken", BOB.caller))["Credentials"]
    assert given["Expiration"] == sts.clock() + timedelta(hours=12)
    caller = sts.caller_of(given)
    assert (caller.arn, caller.user_id, caller.policies) == (BOB.caller.arn, BOB.caller.user_id, BOB.caller.policies)
    assert caller.session is not None
    assert caller.session.role_arn is None
    identity = await sts.call("GetCallerIdentity", caller)
    assert identity["Arn"] == BOB.caller.arn


@pytest.mark.parametrize(
    ("name", "asked", "given"),
    [("bob", 900, 900), ("bob", 129_600, 129_600), ("root", None, 3600), ("root", 900, 900), ("root", 36_000, 3600)],
)
async def test_durations_of_a_session_token(sts: Sts, name: str, asked: int | None, given: int) -> None:
    caller = {"bob": BOB, "root": ROOT}[name].caller
    members = {} if asked is None else {"DurationSeconds": asked}
    answer = await sts.call("GetSessionToken", caller, **members)
    assert answer["Credentials"]["Expiration"] == sts.clock() + timedelta(seconds=given)


@pytest.mark.parametrize("seconds", [899, 129_601])
async def test_durations_that_a_session_token_has_not(sts: Sts, seconds: int) -> None:
    error = await refusal(sts, BOB.caller, "GetSessionToken", DurationSeconds=seconds)
    assert error.code == "ValidationError"


async def test_a_session_gets_no_session_token(sts: Sts) -> None:
    for given in (
        (await sts.call("GetSessionToken", BOB.caller))["Credentials"],
        (await sts.assume(ALICE.caller, FOR_ACCOUNT))["Credentials"],
    ):
        error = await refusal(sts, sts.caller_of(given), "GetSessionToken")
        assert (error.code, error.status) == ("AccessDenied", 403)
        assert error.message == "Cannot call GetSessionToken with session credentials"


async def test_a_users_session_may_assume_roles(sts: Sts) -> None:
    session = sts.caller_of((await sts.call("GetSessionToken", ALICE.caller))["Credentials"])
    assert await sts.assume(session, FOR_ACCOUNT, DurationSeconds=7200)


async def test_there_is_no_mfa(sts: Sts) -> None:
    serial = f"arn:aws:iam::{ACCOUNT}:mfa/bob"
    error = await refusal(sts, BOB.caller, "GetSessionToken", SerialNumber=serial, TokenCode="123456")
    assert error.code == "AccessDenied"
    assert error.message.startswith("MultiFactorAuthentication failed, unable to validate MFA code.")


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("GetFederationToken", {"Name": "feddy"}),
        (
            "AssumeRoleWithWebIdentity",
            {"RoleArn": FOR_BOB.arn, "RoleSessionName": "ab", "WebIdentityToken": "abcd"},
        ),
        ("GetAccessKeyInfo", {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}),
        ("DecodeAuthorizationMessage", {"EncodedMessage": "x"}),
    ],
)
async def test_operations_that_there_are_not(sts: Sts, operation: str, members: dict[str, Any]) -> None:
    error = await refusal(sts, ALICE.caller, operation, **members)
    assert (error.code, error.status) == ("InvalidAction", 400)
    assert error.message == f"Could not find operation {operation} for version 2011-06-15"


# The audit log hears of it


class Heard:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def record(self, event: Any) -> None:
        self.events.append(event() if callable(event) else event)

    async def settle(self) -> None:
        return None


async def test_calls_are_recorded_without_secrets() -> None:
    heard = Heard()
    sts = await Sts(USERS, ROLES, heard).start()
    given = (await sts.assume(ALICE.caller, FOR_ACCOUNT))["Credentials"]
    await refusal(sts, BOB.caller)
    first, second = heard.events
    assert (first["eventSource"], first["eventName"]) == ("sts.amazonaws.com", "AssumeRole")
    assert first["requestParameters"] == {"roleArn": FOR_ACCOUNT.arn, "roleSessionName": "session"}
    assert first["responseElements"]["credentials"] == {
        "accessKeyId": given["AccessKeyId"],
        "expiration": given["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    assert first["resources"] == [{"accountId": ACCOUNT, "type": "AWS::IAM::Role", "ARN": FOR_ACCOUNT.arn}]
    assert "errorCode" not in first
    assert (second["errorCode"], second["responseElements"]) == ("AccessDenied", None)
    text = json.dumps(heard.events)
    assert given["SecretAccessKey"] not in text
    assert given["SessionToken"] not in text


async def test_credentials_at_the_store_go_with_whom_they_are_of() -> None:
    user = replace(ALICE.caller, store=StoreCredentials("OF-THE-USER", "s"))
    role = replace(FOR_ACCOUNT, store=StoreCredentials("OF-THE-ROLE", "s"))
    world = await Sts([replace(ALICE, caller=user)], [role]).start()
    session = await world.call("GetSessionToken", user)
    assert world.caller_of(session["Credentials"]).store == user.store
    assumed = await world.assume(user, role)
    assert world.caller_of(assumed["Credentials"]).store == role.store
    world.principals.replace([ALICE], [FOR_ACCOUNT])
    assert world.caller_of(assumed["Credentials"]).store is None
