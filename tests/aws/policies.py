"""Callers and policy documents for the tests of decisions."""

from datetime import UTC, datetime, timedelta
from typing import Any

from proxy.aws.credentials import Caller, Session

ACCOUNT = "111122223333"
OTHER = "444455556666"
NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)

Document = dict[str, Any]


def statement(effect: str = "Allow", action: Any = "s3:GetObject", resource: Any = "*", **others: Any) -> Document:
    return {"Effect": effect, "Action": action, "Resource": resource, **others}


def document(*statements: Document, version: str = "2012-10-17") -> Document:
    return {"Version": version, "Statement": list(statements)}


def user(name: str = "bob", *policies: Document, account: str = ACCOUNT) -> Caller:
    return Caller(account, f"arn:aws:iam::{account}:user/{name}", f"AIDA{name.upper()}", "AKIAEXAMPLE", policies)


def root(account: str = ACCOUNT) -> Caller:
    return Caller(account, f"arn:aws:iam::{account}:root", account, "AKIAEXAMPLE")


def session(*policies: Document, account: str = ACCOUNT, path: str = "/", limits: tuple[Document, ...] = ()) -> Caller:
    """A session of the role ``app``, with the role's policies and those of the session."""
    role = f"arn:aws:iam::{account}:role{path}app"
    arn = f"arn:aws:sts::{account}:assumed-role/app/one"
    about = Session(NOW - timedelta(minutes=5), NOW + timedelta(minutes=55), role, limits)
    return Caller(account, arn, "AROAEXAMPLE:one", "ASIAEXAMPLE", policies, about)


def temporary_user(*policies: Document) -> Caller:
    """What GetSessionToken makes of a user."""
    caller = user("bob", *policies)
    about = Session(NOW, NOW + timedelta(hours=1))
    return Caller(caller.account, caller.arn, caller.user_id, "ASIAEXAMPLE", policies, about)
