"""AWS's global condition keys."""

from dataclasses import replace

import pytest

from proxy.aws import policy_keys
from proxy.aws.credentials import ANONYMOUS, Caller, CallOrigin
from proxy.aws.policy_conditions import Quantifier
from proxy.aws.policy_keys import Circumstances
from proxy.aws.policy_patterns import Values
from tests.aws.policies import ACCOUNT, NOW, OTHER, root, session, temporary_user, user

ORIGIN = CallOrigin(user(), "eu-west-1", source_address="203.0.113.7", secure_transport=True)
CIRCUMSTANCES = Circumstances(
    ORIGIN,
    lambda: NOW,
    OTHER,
    {"Team": "red", "Cost": "1"},
    {"Owner": "bob"},
    user_agent="aws-cli/2",
    referer=None,
    headers_known=True,
)


def value(key: str, caller: Caller | None = None, **changes: object) -> Values | None:
    origin = replace(ORIGIN, caller=caller) if caller is not None else ORIGIN
    return policy_keys.values(key, replace(CIRCUMSTANCES, origin=origin, **changes))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("aws:currenttime", ("2026-11-23T06:00:00Z",)),
        ("aws:epochtime", ("1795413600",)),
        ("aws:sourceip", ("203.0.113.7",)),
        ("aws:securetransport", ("true",)),
        ("aws:requestedregion", ("eu-west-1",)),
        ("aws:resourceaccount", (OTHER,)),
        ("aws:principalaccount", (ACCOUNT,)),
        ("aws:principalarn", (f"arn:aws:iam::{ACCOUNT}:user/bob",)),
        ("aws:principaltype", ("User",)),
        ("aws:principalisawsservice", ("false",)),
        ("aws:userid", ("AIDABOB",)),
        ("aws:username", ("bob",)),
        ("aws:viaawsservice", ("false",)),
        ("aws:calledvia", ()),
        ("aws:tokenissuetime", ()),
        ("aws:multifactorauthpresent", ()),
        ("aws:useragent", ("aws-cli/2",)),
        ("aws:referer", ()),
        ("aws:resourcetag/team", ("red",)),
        ("aws:resourcetag/size", ()),
        ("aws:requesttag/owner", ("bob",)),
        ("aws:requesttag/team", ()),
        ("aws:tagkeys", ("Owner",)),
        ("aws:principaltag/team", ()),
        ("aws:principalorgid", ()),
        ("aws:sourcevpce", ()),
        ("aws:sourcearn", ()),
        ("aws:nosuchkey", None),
    ],
)
def test_values(key: str, expected: Values | None) -> None:
    assert value(key) == expected


@pytest.mark.parametrize(
    ("caller", "type", "arn", "name", "token", "mfa"),
    [
        (root(), "Account", f"arn:aws:iam::{ACCOUNT}:root", (), (), ()),
        (temporary_user(), "User", f"arn:aws:iam::{ACCOUNT}:user/bob", ("bob",), ("2026-11-23T06:00:00Z",), ("false",)),
        (session(), "AssumedRole", f"arn:aws:iam::{ACCOUNT}:role/app", (), ("2026-11-23T05:55:00Z",), ("false",)),
        (session(path="/a/"), "AssumedRole", f"arn:aws:iam::{ACCOUNT}:role/a/app", (), ("2026-11-23T05:55:00Z",),
         ("false",)),
        (Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/a/b/eve", "AIDA", ""), "User",
         f"arn:aws:iam::{ACCOUNT}:user/a/b/eve", ("eve",), (), ()),
    ],
)  # fmt: skip
def test_principals(caller: Caller, type: str, arn: str, name: Values, token: Values, mfa: Values) -> None:
    assert value("aws:principaltype", caller) == (type,)
    assert value("aws:principalarn", caller) == (arn,)
    assert value("aws:username", caller) == name
    assert value("aws:tokenissuetime", caller) == token
    assert value("aws:multifactorauthpresent", caller) == mfa
    assert value("aws:userid", caller) == (caller.user_id,)


def test_a_service_in_between() -> None:
    via = replace(CIRCUMSTANCES, origin=replace(ORIGIN, via_service="s3.eu-west-1.amazonaws.com"))
    assert policy_keys.values("aws:viaawsservice", via) == ("true",)
    for key in ("aws:calledvia", "aws:calledviafirst", "aws:calledvialast"):
        assert policy_keys.values(key, via) == ("s3.amazonaws.com",)


def test_what_is_not_known_is_not_absent() -> None:
    unknown = {"resource_tags": None, "request_tags": None, "headers_known": False}
    for key in ("aws:resourcetag/x", "aws:requesttag/x", "aws:tagkeys", "aws:useragent", "aws:referer"):
        assert value(key, **unknown) is None
    assert value("aws:resourceaccount", resource_account=None) == ()
    no_address = replace(CIRCUMSTANCES, origin=replace(ORIGIN, source_address=""))
    assert policy_keys.values("aws:sourceip", no_address) == ()


@pytest.mark.parametrize(
    ("key", "quantifier", "fault"),
    [
        ("aws:sourceip", None, None),
        ("aws:principalorgid", None, None),
        ("aws:tagkeys", Quantifier.FOR_ALL_VALUES, None),
        ("aws:requesttag/a", None, None),
        ("aws:requesttag/a", Quantifier.FOR_ANY_VALUE, None),
        ("aws:resourcetag/a", Quantifier.FOR_ALL_VALUES, None),
        ("aws:requesttag/a", Quantifier.FOR_ALL_VALUES, policy_keys.OVERLY_PERMISSIVE.format("tag")),
        ("aws:requesttag/", None, "Invalid condition key aws:requesttag/"),
        ("aws:nosuchkey", None, "Invalid condition key aws:nosuchkey"),
    ],
)
def test_faults(key: str, quantifier: Quantifier | None, fault: str | None) -> None:
    assert policy_keys.fault(key, quantifier) == fault


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("aws:principalarn", ()),
        ("aws:principalaccount", ()),
        ("aws:principaltype", ("Anonymous",)),
        ("aws:userid", ("anonymous",)),
        ("aws:username", ()),
        ("aws:tokenissuetime", ()),
        ("aws:sourceip", ("203.0.113.7",)),
    ],
)
def test_of_whoever_has_not_signed(key: str, expected: Values) -> None:
    assert value(key, ANONYMOUS) == expected
