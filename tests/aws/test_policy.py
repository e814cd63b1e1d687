import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws import policy
from proxy.aws.credentials import Caller
from proxy.aws.policy import Answer, Decision, MalformedPolicy, PolicyKind, Question

ACCOUNT, OTHER = "111122223333", "444455556666"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/k"
CONDITIONS = {"kms:viaservice": "s3.eu-west-1.amazonaws.com", "kms:calleraccount": ACCOUNT, "aws:absent": None}

ALLOWED = Answer(Decision.ALLOWED)
NO_IDENTITY = Answer(Decision.IMPLICITLY_DENIED, PolicyKind.IDENTITY)
NO_RESOURCE = Answer(Decision.IMPLICITLY_DENIED, PolicyKind.RESOURCE)
DENIED_IDENTITY = Answer(Decision.EXPLICITLY_DENIED, PolicyKind.IDENTITY)
DENIED_RESOURCE = Answer(Decision.EXPLICITLY_DENIED, PolicyKind.RESOURCE)


def statement(effect: str = "Allow", **elements: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"Effect": effect}
    if "NotAction" not in elements:
        base["Action"] = "*"
    if "NotResource" not in elements:
        base["Resource"] = "*"
    return base | elements


def ask(
    *identity: dict[str, Any],
    resource: list[dict[str, Any]] | None = None,
    principal: str = BOB,
    account: str = ACCOUNT,
    action: str = "kms:Decrypt",
    target: str = KEY,
    kms: bool = True,
) -> Answer:
    question = Question(principal, account, action, target, CONDITIONS)
    own = [policy.parse_identity({"Version": "2012-10-17", "Statement": list(identity)})] if identity else []
    theirs = policy.parse_resource({"Statement": resource}) if resource is not None else None
    return policy.decide(question, ACCOUNT, own, theirs, resource_must_allow=kms)


DELEGATED = [statement(Principal={"AWS": ROOT})]


@pytest.mark.parametrize(
    ("elements", "allowed"),
    [
        ({"Action": "kms:Decrypt"}, True),
        ({"Action": "KMS:decrypt"}, True),
        ({"Action": "kms:*"}, True),
        ({"Action": "kms:De*t"}, True),
        ({"Action": "kms:Decryp?"}, True),
        ({"Action": ["s3:*", "kms:D*"]}, True),
        ({"Action": "kms:Decryp"}, False),
        ({"Action": "kms:Decrypt?"}, False),
        ({"Action": "s3:*"}, False),
        ({"NotAction": "kms:Encrypt"}, True),
        ({"NotAction": ["kms:De*"]}, False),
        ({"Resource": KEY}, True),
        ({"Resource": "arn:aws:kms:*:*:key/*"}, True),
        ({"Resource": KEY.upper()}, False),
        ({"Resource": KEY + "x"}, False),
        ({"Resource": "arn:aws:kms:eu-west-1:1111222233.3:key/k"}, False),
        ({"NotResource": KEY}, False),
        ({"NotResource": KEY + "x"}, True),
        ({"Resource": "arn:aws:kms:*:${aws:PrincipalAccount}:key/k"}, False),
    ],
)
def test_actions_and_resources(elements: dict[str, Any], allowed: bool) -> None:
    assert ask(statement(**elements), resource=DELEGATED) == (ALLOWED if allowed else NO_IDENTITY)


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_wildcards_match_as_a_plain_matcher_says(pattern: str, text: str) -> None:
    def matches(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return matches(pattern[1:], text) or bool(text and matches(pattern, text[1:]))
        return bool(text) and pattern[0] in ("?", text[0]) and matches(pattern[1:], text[1:])

    decided = ask(statement(Resource="arn:" + pattern), target="arn:" + text, resource=DELEGATED)
    assert (decided == ALLOWED) is matches(pattern, text)


def test_no_pattern_takes_long() -> None:
    started = time.process_time()
    for pattern in ("*a" * 500 + "b", "*" * 1000 + "b", "?*" * 500 + "b"):
        assert ask(statement(Resource=pattern), target="a" * 2000, resource=DELEGATED) == NO_IDENTITY
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}, True),
        ({"StringEquals": {"kms:ViaService": ["a", "s3.eu-west-1.amazonaws.com"]}}, True),
        ({"StringEquals": {"kms:ViaService": "S3.eu-west-1.amazonaws.com"}}, False),
        ({"StringEqualsIgnoreCase": {"kms:ViaService": "S3.EU-west-1.amazonaws.com"}}, True),
        ({"StringLike": {"kms:ViaService": "s3.*.amazonaws.com"}}, True),
        ({"StringNotLike": {"kms:ViaService": "s3.*.amazonaws.com"}}, False),
        ({"StringNotEquals": {"kms:ViaService": "ec2.eu-west-1.amazonaws.com"}}, True),
        ({"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com", "kms:CallerAccount": OTHER}}, False),
        ({"StringEquals": {"aws:Absent": "x"}}, False),
        ({"StringNotEquals": {"aws:Absent": "x"}}, True),
        ({"StringEquals": {"kms:NeverHeardOf": "x"}}, None),
        ({"StringNotEquals": {"kms:NeverHeardOf": "x"}}, None),
        ({"IpAddress": {"kms:ViaService": "x"}}, None),
        ({"StringEqualsIfExists": {"aws:Absent": "x"}}, None),
        ({"StringEquals": {"kms:CallerAccount": "${aws:PrincipalAccount}"}}, None),
        ({"IpAddress": {"a": "x"}, "StringEquals": {"kms:CallerAccount": OTHER}}, False),
    ],
)
def test_conditions(condition: dict[str, Any], holds: bool | None) -> None:
    """None: not to be evaluated, which never allows and always denies."""
    allowing = ask(statement(Condition=condition), resource=DELEGATED)
    assert allowing == (ALLOWED if holds is True else NO_IDENTITY)
    denying = ask(statement(), statement("Deny", Condition=condition), resource=DELEGATED)
    assert denying == (ALLOWED if holds is False else DENIED_IDENTITY)


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ("*", ALLOWED),
        ({"AWS": "*"}, ALLOWED),
        ({"AWS": BOB}, ALLOWED),
        ({"AWS": ["arn:aws:iam::444455556666:root", BOB]}, ALLOWED),
        ({"AWS": ROOT}, NO_IDENTITY),
        ({"AWS": ACCOUNT}, NO_IDENTITY),
        ({"AWS": BOB + "by"}, NO_RESOURCE),
        ({"AWS": OTHER}, NO_RESOURCE),
        ({"Service": "s3.amazonaws.com"}, NO_RESOURCE),
    ],
)
def test_who_a_key_policy_speaks_of(principal: Any, expected: Answer) -> None:
    assert ask(resource=[statement(Principal=principal)]) == expected
    with_identity = ask(statement(), resource=[statement(Principal=principal)])
    assert with_identity == (NO_RESOURCE if expected == NO_RESOURCE else ALLOWED)


def test_the_root_of_an_account_is_its_account() -> None:
    assert ask(resource=DELEGATED, principal=ROOT) == ALLOWED
    assert ask(resource=[statement(Principal={"AWS": BOB})], principal=ROOT) == NO_RESOURCE
    assert ask(statement("Deny"), resource=DELEGATED, principal=ROOT) == DENIED_IDENTITY


def test_a_role_is_named_by_its_sessions() -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/Reader"
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader/me"
    assert ask(resource=[statement(Principal={"AWS": role})], principal=session) == ALLOWED
    assert ask(resource=[statement(Principal={"AWS": role + "2"})], principal=session) == NO_RESOURCE


@pytest.mark.parametrize("allowing", ["identity", "resource", "both"])
def test_an_explicit_deny_wins(allowing: str) -> None:
    identity = [statement()] if allowing != "resource" else []
    resource = [statement(Principal="*")] if allowing != "identity" else DELEGATED
    denied = statement("Deny", Principal={"AWS": BOB})
    assert ask(*identity, resource=[*resource, denied]) == DENIED_RESOURCE
    assert ask(*identity, statement("Deny"), resource=resource) == DENIED_IDENTITY
    assert ask(*identity, statement("Deny", Action="kms:Encrypt"), resource=resource) == ALLOWED


def test_a_deny_of_the_account_reaches_its_users() -> None:
    assert ask(statement(), resource=[*DELEGATED, statement("Deny", Principal={"AWS": ROOT})]) == DENIED_RESOURCE


def test_not_principal() -> None:
    def denied_but(*names: str) -> Answer:
        return ask(statement(), resource=[*DELEGATED, statement("Deny", NotPrincipal={"AWS": list(names)})])

    assert denied_but(BOB, ROOT) == ALLOWED
    assert denied_but(BOB) == DENIED_RESOURCE
    assert denied_but(ROOT) == DENIED_RESOURCE
    assert ask(resource=[statement(NotPrincipal={"AWS": BOB})]) == NO_RESOURCE
    assert ask(resource=[statement(NotPrincipal={"AWS": BOB + "by"})]) == ALLOWED


def test_a_key_without_delegation_asks_nobody_else() -> None:
    assert ask(statement(), resource=[statement(Principal={"AWS": OTHER})]) == NO_RESOURCE
    assert ask(statement(), resource=None, kms=False) == ALLOWED
    assert ask(resource=None, kms=False) == NO_IDENTITY
    assert ask(resource=[statement(Principal={"AWS": BOB})], kms=False) == ALLOWED
    assert ask(statement(), resource=[statement(Principal={"AWS": OTHER})], kms=False) == ALLOWED


@pytest.mark.parametrize("kms", [True, False])
def test_across_accounts_both_sides_must_allow(kms: bool) -> None:
    eve = f"arn:aws:iam::{OTHER}:user/eve"
    for principal in ("*", {"AWS": OTHER}, {"AWS": eve}):
        open_to = [statement(Principal=principal)]
        assert ask(statement(), resource=open_to, principal=eve, account=OTHER, kms=kms) == ALLOWED
        assert ask(resource=open_to, principal=eve, account=OTHER, kms=kms) == NO_IDENTITY
    assert ask(statement(), resource=DELEGATED, principal=eve, account=OTHER, kms=kms) == NO_RESOURCE
    assert ask(statement(), resource=None, principal=eve, account=OTHER, kms=kms) == NO_RESOURCE


def test_the_text_of_a_refusal() -> None:
    question = Question(BOB, ACCOUNT, "kms:Decrypt", KEY)
    text = f"User: {BOB} is not authorized to perform: kms:Decrypt on resource: {KEY} "
    assert NO_IDENTITY.denial(question) == text + "because no identity-based policy allows the kms:Decrypt action"
    assert NO_RESOURCE.denial(question) == text + "because no resource-based policy allows the kms:Decrypt action"
    assert DENIED_RESOURCE.denial(question) == text + "with an explicit deny in a resource-based policy"
    assert DENIED_IDENTITY.denial(question) == text + "with an explicit deny in an identity-based policy"


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"Statement":[{"Effect":"Allow","Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}]}',
        {},
        {"Statement": []},
        {"Statement": "x"},
        {"Statement": ["x"]},
        {"Version": "2020-01-01", "Statement": [statement(Principal="*")]},
        {"Extra": 1, "Statement": [statement(Principal="*")]},
        {"Statement": [statement()]},
        {"Statement": [statement(Principal="*", NotPrincipal="*")]},
        {"Statement": [statement("allow", Principal="*")]},
        {"Statement": [{"Principal": "*", "Action": "*", "Resource": "*"}]},
        {"Statement": [{"Effect": "Allow", "Principal": "*", "Resource": "*"}]},
        {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*"}]},
        {"Statement": [statement(Principal="*", Other=1)]},
        {"Statement": [statement(Principal="*", Sid=1)]},
        {"Statement": [statement(Principal="*", Action=[])]},
        {"Statement": [statement(Principal="*", Action=[1])]},
        {"Statement": [statement(Principal="*", Action="Decrypt")]},
        {"Statement": [statement(Principal="*", Action=":Decrypt")]},
        {"Statement": [statement(Principal="*", Action="kms:De crypt")]},
        {"Statement": [statement(Principal="*", Action="*", NotAction="*")]},
        {"Statement": [statement(Principal="*", Resource="")]},
        {"Statement": [statement(Principal="*", NotResource="*", Resource="*")]},
        {"Statement": [statement(Principal="bob")]},
        {"Statement": [statement(Principal={})]},
        {"Statement": [statement(Principal={"Nobody": "*"})]},
        {"Statement": [statement(Principal={"AWS": []})]},
        {"Statement": [statement(Principal={"AWS": "12345"})]},
        {"Statement": [statement(Principal={"AWS": "arn:aws:iam::111122223333:user/*"})]},
        {"Statement": [statement(Principal={"AWS": "arn:aws:iam::111122223333:user/"})]},
        {"Statement": [statement(Principal={"AWS": "arn:aws:s3:::bucket"})]},
        {"Statement": [statement(Principal="*", Condition=[])]},
        {"Statement": [statement(Principal="*", Condition={"StringEquals": "x"})]},
        {"Statement": [statement(Principal="*", Condition={"StringEquals": {"a": {}}})]},
    ],
)
def test_what_is_no_policy_of_a_resource(document: Any) -> None:
    with pytest.raises(MalformedPolicy):
        policy.parse_resource(document)
    if isinstance(document, dict):
        with pytest.raises(MalformedPolicy):
            policy.parse_resource(json.dumps(document))


def test_a_policy_of_a_principal_names_none() -> None:
    with pytest.raises(MalformedPolicy):
        policy.parse_identity({"Statement": [statement(Principal="*")]})
    policy.parse_identity({"Version": "2008-10-17", "Id": "x", "Statement": statement(Sid="one")})


def test_what_a_caller_may_do_by_its_own_policies() -> None:
    def caller(*statements: dict[str, Any], arn: str = BOB) -> Caller:
        policies = tuple({"Statement": [each]} for each in statements)
        return Caller(ACCOUNT, arn, "AIDA", "AKIA", policies)

    reader = caller(statement(Action="s3:Get*", Resource="arn:aws:s3:::bucket/*"))
    for _ in range(2):
        assert policy.evaluate_identity(reader, "s3:GetObject", "arn:aws:s3:::bucket/a/b") is Decision.ALLOWED
    assert policy.evaluate_identity(reader, "s3:GetObject", "arn:aws:s3:::bucket2/a") is Decision.IMPLICITLY_DENIED
    assert policy.evaluate_identity(caller(), "s3:GetObject", "*") is Decision.IMPLICITLY_DENIED
    denied = caller(statement(), statement("Deny", Action="s3:*"))
    assert policy.evaluate_identity(denied, "s3:GetObject", "*") is Decision.EXPLICITLY_DENIED
    assert policy.evaluate_identity(caller(arn=ROOT), "s3:GetObject", "*") is Decision.ALLOWED


def test_parsed_policies_are_never_another_callers() -> None:
    for number in range(1000):
        effect = "Allow" if number % 2 else "Deny"
        caller = Caller(ACCOUNT, BOB, "AIDA", "AKIA", ({"Statement": [statement(effect)]},))
        decided = policy.evaluate_identity(caller, "s3:GetObject", "*")
        assert decided is (Decision.ALLOWED if number % 2 else Decision.EXPLICITLY_DENIED)
