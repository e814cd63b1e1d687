"""Decisions: who may do what by which policies, and AWS's words for a refusal."""

from itertools import product
from typing import Any

import pytest

from proxy.aws import policy
from proxy.aws.credentials import ANONYMOUS, Caller
from proxy.aws.policy import Answer, Decision, PolicyKind, Question, Reach
from proxy.aws.policy_patterns import Lookup, Values
from tests.aws.policies import ACCOUNT, OTHER, Document, document, root, session, statement, temporary_user, user

ACTION, RESOURCE = "s3:GetObject", "arn:aws:s3:::bucket/home/bob/x"
DENIAL = f"User: arn:aws:iam::{ACCOUNT}:user/bob is not authorized to perform: {ACTION} on resource: {RESOURCE} "

ALLOW, DENY, NOTHING = statement(), statement("Deny"), statement(action="s3:PutObject")
EITHER: dict[str, Document] = {"allow": ALLOW, "deny": DENY, "nothing": NOTHING}

ROLE = {"AWS": f"arn:aws:iam::{ACCOUNT}:role/app"}
SESSION = {"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/app/one"}
RESOURCES: dict[str, Document | None] = {
    "none": None,
    "nobody": statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/somebody"}),
    "account": statement(Principal={"AWS": ACCOUNT}),
    "role": statement(Principal=ROLE),
    "session": statement(Principal=SESSION),
    "everyone": statement(Principal="*"),
    "deny": statement("Deny", Principal=SESSION),
    "deny account": statement("Deny", Principal={"AWS": ACCOUNT}),
}


def known(**values: str | Values | None) -> Lookup:
    """``aws_username="bob"`` for ``aws:username``; all others are absent."""
    given = {name.replace("_", ":", 1): (value,) if isinstance(value, str) else value for name, value in values.items()}
    return lambda key: given.get(key, ())


def ask(
    caller: Caller,
    resource: Document | None = None,
    *,
    owner: str = ACCOUNT,
    action: str = ACTION,
    on: str = RESOURCE,
    lookup: Lookup | None = None,
    **options: Any,
) -> Answer:
    parsed = None if resource is None else policy.parse_resource(document(resource))
    question = Question(caller, action, on, known() if lookup is None else lookup)
    return policy.decide(question, owner, parsed, **options)


def may(*args: Any, **options: Any) -> bool:
    return ask(*args, **options).allowed


@pytest.mark.parametrize("owner", [ACCOUNT, OTHER])
@pytest.mark.parametrize("key", [False, True])
@pytest.mark.parametrize("trusted", [False, True])
def test_the_decisions_on_a_session(owner: str, key: bool, trusted: bool) -> None:
    """Every combination of policies of a role, of its session, of the resource, a grant, and who owns the resource."""
    sessions = ("none", *EITHER)
    callers = {
        (identity, limits): session(
            document(EITHER[identity]), limits=() if limits == "none" else (document(EITHER[limits]),)
        )
        for identity, limits in product(EITHER, sessions)
    }
    for identity, limits, resource, grant in product(EITHER, sessions, RESOURCES, Reach):
        caller = callers[identity, limits]
        options = {"owner": owner, "resource_must_allow": key, "granted": grant, "trusted": trusted}
        answer = ask(caller, RESOURCES[resource], **options)

        denied = "deny" in (identity, limits) or resource.startswith("deny")
        by_identity, by_session = identity == "allow", limits in ("allow", "none")
        by_account = resource == "account" or grant is Reach.ACCOUNT
        by_role = resource == "role" or grant is Reach.ROLE
        direct = resource in ("session", "everyone") or grant is Reach.DIRECT
        named = by_account or by_role or direct
        if owner == ACCOUNT:
            allowed = direct or (by_role and by_session) or (by_identity and by_session and (named or not key))
        else:
            allowed = named and by_session and (by_identity or ((by_role or direct) and trusted))
        assert answer.allowed is (allowed and not denied), (identity, limits, resource, grant)
        assert (answer.decision is Decision.EXPLICITLY_DENIED) is denied
        assert (answer.kind is None) is answer.allowed


@pytest.mark.parametrize(
    ("caller", "resource", "options", "reason"),
    [
        (user(), None, {}, f"because no identity-based policy allows the {ACTION} action"),
        (user("bob", document(ALLOW, DENY)), None, {}, "with an explicit deny in an identity-based policy"),
        (user("bob", document(ALLOW)), statement("Deny", Principal="*"), {},
         "with an explicit deny in a resource-based policy"),
        (user("bob", document(ALLOW)), RESOURCES["nobody"], {"resource_must_allow": True},
         f"because no resource-based policy allows the {ACTION} action"),
        (user("bob", document(ALLOW)), None, {"owner": OTHER},
         f"because no resource-based policy allows the {ACTION} action"),
        (user(), RESOURCES["everyone"], {"owner": OTHER},
         f"because no identity-based policy allows the {ACTION} action"),
    ],
)  # fmt: skip
def test_the_words_of_a_refusal(caller: Caller, resource: Document, options: Any, reason: str) -> None:
    answer = ask(caller, resource, **options)
    assert answer.denial(Question(caller, ACTION, RESOURCE)) == DENIAL + reason


def test_the_words_for_sessions() -> None:
    caller = session(document(ALLOW), limits=(document(NOTHING),))
    start = f"User: {caller.arn} is not authorized to perform: {ACTION} on resource: {RESOURCE} "
    question = Question(caller, ACTION, RESOURCE)
    assert ask(caller).denial(question) == f"{start}because no session policy allows the {ACTION} action"
    caller = session(document(ALLOW), limits=(document(DENY),))
    assert ask(caller).denial(question) == f"{start}with an explicit deny in a session policy"
    assert ask(session(document(ALLOW))).reason(ACTION) == ""


def test_several_session_policies_are_one() -> None:
    caller = session(document(ALLOW), limits=(document(NOTHING), document(ALLOW)))
    assert may(caller)
    assert not may(session(document(ALLOW), limits=(document(ALLOW), document(DENY))))


def test_a_users_temporary_credentials_are_the_users() -> None:
    assert may(temporary_user(document(ALLOW)))
    assert may(temporary_user(), statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/bob"}))
    assert not may(temporary_user())


def test_the_root_of_an_account() -> None:
    assert may(root())
    assert may(Caller(ACCOUNT, f"arn:aws-cn:iam::{ACCOUNT}:root", ACCOUNT, ""))
    assert not may(root(), owner=OTHER)
    assert not may(root(), RESOURCES["nobody"], resource_must_allow=True)
    assert may(root(), RESOURCES["account"], resource_must_allow=True)
    assert may(root(OTHER), statement(Principal={"AWS": OTHER}))
    assert not may(root(), statement("Deny", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}))


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("s3:GetObject", True),
        ("S3:getobject", True),
        ("s3:*", True),
        ("*", True),
        ("s3:Get*", True),
        ("s3:?etObject", True),
        ("s3:GetObject*", True),
        ("s3:GetObjectVersion", False),
        ("s3:Get", False),
        ("kms:*", False),
        ("s3-object-lambda:*", False),
        (["kms:*", "s3:GetObject"], True),
    ],
)
def test_actions(action: Any, expected: bool) -> None:
    assert may(user("bob", document(statement(action=action)))) is expected
    negated = {"Effect": "Allow", "NotAction": action, "Resource": "*"}
    assert may(user("bob", document(negated))) is not expected


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("*", True),
        (RESOURCE, True),
        ("arn:aws:s3:::bucket/*", True),
        ("arn:aws:s3:::*", True),
        ("arn:aws:s3:::bucket/home/*/?", True),
        ("arn:aws:s3:::bucket/home/${aws:username}/*", True),
        ("arn:aws:s3:::Bucket/*", False),
        ("arn:aws:s3:::bucket", False),
        ("arn:aws:s3:::bucket/home/${aws:userid}/*", False),
        (["arn:aws:s3:::other/*", "arn:aws:s3:::bucket/*"], True),
    ],
)
def test_resources(resource: Any, expected: bool) -> None:
    lookup = known(aws_username="bob", aws_userid="AIDABOB")
    assert may(user("bob", document(statement(resource=resource))), lookup=lookup) is expected
    negated = {"Effect": "Allow", "Action": "*", "NotResource": resource}
    assert may(user("bob", document(negated)), lookup=lookup) is not expected
    denied = document(ALLOW, statement("Deny", resource=resource))
    assert may(user("bob", denied), lookup=lookup) is not expected


def test_variables_need_a_version_that_has_them() -> None:
    old = document(statement(resource="arn:aws:s3:::bucket/home/${aws:username}/x"), version="2008-10-17")
    lookup = known(aws_username="bob")
    assert not may(user("bob", old), lookup=lookup)
    assert may(user("bob", old), lookup=lookup, on="arn:aws:s3:::bucket/home/${aws:username}/x")
    without = {"Statement": old["Statement"]}
    assert not may(user("bob", without), lookup=lookup)


@pytest.mark.parametrize(
    ("value", "resource", "allowed", "denied"),
    [
        # A variable that is absent stands for nothing; where it would have to be unlike something, nobody can tell.
        ((), {"Resource": "arn:aws:s3:::bucket/home/${aws:username}/x"}, False, False),
        ((), {"NotResource": "arn:aws:s3:::bucket/home/${aws:username}/x"}, False, True),
        (None, {"Resource": "arn:aws:s3:::bucket/home/${aws:username}/x"}, False, True),
        (None, {"NotResource": "arn:aws:s3:::bucket/home/${aws:username}/x"}, False, True),
        (("bob",), {"Resource": "arn:aws:s3:::bucket/home/${aws:username}/x"}, True, True),
        (("bob",), {"NotResource": "arn:aws:s3:::bucket/home/${aws:username}/x"}, False, False),
        (("eve",), {"NotResource": "arn:aws:s3:::bucket/home/${aws:username}/x"}, True, True),
    ],
)
def test_what_cannot_be_told_never_allows_and_always_denies(
    value: Values | None, resource: Document, allowed: bool, denied: bool
) -> None:
    lookup = known(aws_username=value)
    allow, deny = ({"Effect": effect, "Action": "*", **resource} for effect in ("Allow", "Deny"))
    assert may(user("bob", document(allow)), lookup=lookup) is allowed
    assert may(user("bob", document(ALLOW, deny)), lookup=lookup) is not denied


@pytest.mark.parametrize(
    ("condition", "allowed", "denied"),
    [
        ({"Bool": {"aws:securetransport": "true"}}, True, True),
        ({"Bool": {"aws:securetransport": "false"}}, False, False),
        ({"Bool": {"aws:securetransport": "true"}, "StringEquals": {"aws:username": "bob"}}, True, True),
        ({"Bool": {"aws:securetransport": "true"}, "StringEquals": {"aws:username": "eve"}}, False, False),
        ({"StringEquals": {"aws:username": "bob", "aws:userid": "x"}}, False, False),
        ({"StringEquals": {"aws:unknown": "x"}}, False, True),
        ({"StringEquals": {"aws:unknown": "x", "aws:username": "eve"}}, False, False),
        ({"StringSounds": {"aws:username": "bob"}}, False, True),
        ({"StringNotEquals": {"aws:absent": "x"}}, True, True),
    ],
)
def test_conditions(condition: Document, allowed: bool, denied: bool) -> None:
    lookup = known(aws_securetransport="true", aws_username="bob", aws_unknown=None)
    assert may(user("bob", document(statement(Condition=condition))), lookup=lookup) is allowed
    assert may(user("bob", document(ALLOW, statement("Deny", Condition=condition))), lookup=lookup) is not denied


@pytest.mark.parametrize(
    ("caller", "listed", "allowed", "denied"),
    [
        (user(), [f"arn:aws:iam::{ACCOUNT}:user/bob", ACCOUNT], False, False),
        (user(), [f"arn:aws:iam::{ACCOUNT}:user/bob"], False, True),
        (user(), [ACCOUNT], False, True),
        (user(), [f"arn:aws:iam::{ACCOUNT}:user/eve", ACCOUNT], False, True),
        (user(), [f"arn:aws:iam::{OTHER}:user/bob"], True, True),
        (user(), ["*"], False, False),
        (root(), [ACCOUNT], False, False),
        (session(), [ROLE["AWS"], SESSION["AWS"], ACCOUNT], False, False),
        (session(), [ROLE["AWS"]], False, True),
    ],
)
def test_principals_that_are_excepted(caller: Caller, listed: list[str], allowed: bool, denied: bool) -> None:
    key = {"resource_must_allow": True}
    assert may(caller, statement(NotPrincipal={"AWS": listed}), **key) is allowed
    parsed = policy.parse_resource(document(statement(Principal="*"), statement("Deny", NotPrincipal={"AWS": listed})))
    assert policy.decide(Question(caller, ACTION, RESOURCE), ACCOUNT, parsed, **key).allowed is not denied


@pytest.mark.parametrize("kind", ["Service", "Federated", "CanonicalUser"])
def test_other_principals_are_nobody(kind: str) -> None:
    name = "s3.amazonaws.com" if kind == "Service" else "x"
    assert not may(user("bob"), statement(Principal={kind: name}))
    assert may(user("bob", document(ALLOW)), statement("Deny", Principal={kind: name}))


def test_only_the_keys_that_policies_name_are_looked_up() -> None:
    asked: list[str] = []

    def lookup(key: str) -> Values:
        asked.append(key)
        return ()

    condition = {"StringEquals": {"aws:username": "${aws:userid}"}}
    elsewhere = statement(action="s3:PutObject", Condition={"Bool": {"aws:securetransport": "true"}})
    assert may(user("bob", document(ALLOW, elsewhere)), lookup=lookup)
    assert asked == []
    identity = policy.parse_identity(document(statement(Condition=condition), elsewhere))
    assert identity.keys(ACTION) == {"aws:username", "aws:userid"}
    assert identity.keys("s3:PutObject") == {"aws:securetransport"}
    assert identity.keys("s3:ListBucket") == frozenset()


def test_without_a_context_conditions_decide_nothing() -> None:
    condition = statement(Condition={"StringNotEquals": {"aws:username": "eve"}})
    question = Question(user("bob", document(condition)), ACTION, RESOURCE)
    assert policy.decide(question, ACCOUNT).kind is PolicyKind.IDENTITY


@pytest.mark.parametrize("owner", [ACCOUNT, OTHER])
def test_who_has_not_signed_is_let_in_as_anybody_and_by_no_other_name(owner: str) -> None:
    allowed = {name for name, given in RESOURCES.items() if may(ANONYMOUS, given, owner=owner)}
    assert allowed == {"everyone"}
    but_them = {"Deny": statement("Deny", NotPrincipal={"AWS": ACCOUNT})}
    assert not may(ANONYMOUS, but_them["Deny"], owner=owner)
    both = policy.parse_resource(document(statement(Principal="*"), statement("Deny", NotPrincipal={"AWS": ACCOUNT})))
    question = Question(ANONYMOUS, ACTION, RESOURCE, known())
    assert policy.decide(question, owner, both) == Answer(Decision.EXPLICITLY_DENIED, PolicyKind.RESOURCE)
