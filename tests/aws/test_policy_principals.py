"""Whom the principals of a policy reach."""

import pytest

from proxy.aws import policy_principals
from proxy.aws.credentials import Caller
from proxy.aws.policy_principals import Directory, Reach
from tests.aws.policies import ACCOUNT, OTHER, root, session, temporary_user, user

USER = f"arn:aws:iam::{ACCOUNT}:user/bob"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"
PATH_ROLE = f"arn:aws:iam::{ACCOUNT}:role/team/app"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/app/one"
ACCOUNT_ROOT = f"arn:aws:iam::{ACCOUNT}:root"
FIXED_SESSION = Caller(ACCOUNT, SESSION, "AROAEXAMPLE:one", "AKIAEXAMPLE")


@pytest.mark.parametrize(
    ("principal", "caller", "expected"),
    [
        (USER, user(), Reach.DIRECT),
        (USER, temporary_user(), Reach.DIRECT),
        (USER, user("bobby"), Reach.NOT),
        (USER, user(account=OTHER), Reach.NOT),
        (USER, root(), Reach.NOT),
        (USER, session(), Reach.NOT),
        (ROLE, session(), Reach.ROLE),
        (ROLE, FIXED_SESSION, Reach.ROLE),
        (ROLE, session(path="/team/"), Reach.NOT),
        (PATH_ROLE, session(path="/team/"), Reach.ROLE),
        (PATH_ROLE, session(), Reach.NOT),
        (SESSION, session(), Reach.DIRECT),
        (SESSION, session(path="/team/"), Reach.DIRECT),
        (f"{SESSION}2", session(), Reach.NOT),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/app/two", session(), Reach.NOT),
        (ACCOUNT_ROOT, user(), Reach.ACCOUNT),
        (ACCOUNT_ROOT, session(), Reach.ACCOUNT),
        (ACCOUNT_ROOT, root(), Reach.DIRECT),
        (ACCOUNT_ROOT, user(account=OTHER), Reach.NOT),
        (ACCOUNT_ROOT, root(OTHER), Reach.NOT),
    ],
)
def test_reach(principal: str, caller: Caller, expected: Reach) -> None:
    assert policy_principals.reach(principal, caller) is expected


@pytest.mark.parametrize(
    "principal",
    [
        ACCOUNT_ROOT,
        USER,
        ROLE,
        PATH_ROLE,
        SESSION,
        f"arn:aws:sts::{ACCOUNT}:federated-user/x",
        f"arn:aws-cn:iam::{ACCOUNT}:user/a/b/c",
    ],
)
def test_principals(principal: str) -> None:
    assert str(policy_principals.parse(principal)) == principal


@pytest.mark.parametrize(
    "principal",
    [
        "",
        "bob",
        "*",
        ACCOUNT,
        "arn:aws:iam::bob",
        "arn:aws:s3:::bucket",
        f"arn:aws:iam:eu-west-1:{ACCOUNT}:user/bob",
        "arn:aws:iam::1111:user/bob",
        "arn:aws:iam:::user/bob",
        f"arn:aws:iam::{ACCOUNT}:user",
        f"arn:aws:iam::{ACCOUNT}:user/",
        f"arn:aws:iam::{ACCOUNT}:user/*",
        f"arn:aws:iam::{ACCOUNT}:user/bo?",
        f"arn:aws:iam::{ACCOUNT}:group/admins",
        f"arn:aws:iam::{ACCOUNT}:assumed-role/app/one",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/app",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/app/*",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/path/app/one",
        f"arn:aws:sts::{ACCOUNT}:user/bob",
        f"arn:aws:sts::{ACCOUNT}:root",
        f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/x",
    ],
)
def test_what_is_no_principal(principal: str) -> None:
    with pytest.raises(ValueError):
        policy_principals.parse(principal)


def test_the_directory_knows_its_own_accounts_only() -> None:
    directory = Directory.of([user(), FIXED_SESSION], [PATH_ROLE])
    for there in (
        USER,
        ROLE,
        PATH_ROLE,
        ACCOUNT_ROOT,
        SESSION,
        f"arn:aws:sts::{ACCOUNT}:assumed-role/app/another",
        f"arn:aws:iam::{OTHER}:user/anybody",
        f"arn:aws:iam::{OTHER}:role/any",
        f"arn:aws:sts::{OTHER}:assumed-role/any/one",
    ):
        assert directory.exists(there), there
    for missing in (
        f"arn:aws:iam::{ACCOUNT}:user/alice",
        f"arn:aws:iam::{ACCOUNT}:role/ap",
        f"arn:aws:iam::{ACCOUNT}:role/other/app",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/ap/one",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/bob/one",
        f"arn:aws:sts::{ACCOUNT}:federated-user/bob",
    ):
        assert not directory.exists(missing), missing


def test_the_roots_of_accounts() -> None:
    assert policy_principals.account_root(session()) == ACCOUNT_ROOT
    china = Caller(ACCOUNT, f"arn:aws-cn:iam::{ACCOUNT}:user/x", "", "")
    assert policy_principals.account_root(china) == f"arn:aws-cn:iam::{ACCOUNT}:root"
