"""Trust policies: resource policies without a resource."""

from typing import Any

import pytest

from proxy.aws.policy import MalformedPolicy, Question, Reach
from proxy.sts import trust
from tests.sts.harness import ACCOUNT, user

STATEMENT = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}


@pytest.mark.parametrize(
    "document",
    [
        {"Statement": STATEMENT},
        {"Version": "2012-10-17", "Statement": [STATEMENT]},
        {"Statement": [{**STATEMENT, "Sid": "A", "Condition": {"StringEquals": {"sts:ExternalId": "x"}}}]},
    ],
)
def test_valid(document: dict[str, Any]) -> None:
    assert len(trust.parse(document).statements) == 1
    assert trust.parse(document) is trust.parse(document)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"Statement": []},
        {"Statement": "x"},
        {"Statement": ["x"]},
        {"Statement": [{**STATEMENT, "Resource": "*"}]},
        {"Statement": [{**STATEMENT, "NotResource": "*"}]},
        {"Statement": [{key: value for key, value in STATEMENT.items() if key != "Principal"}]},
        {"Statement": [{**STATEMENT, "Principal": {"AWS": "nobody"}}]},
        {"Statement": [{**STATEMENT, "Effect": "Maybe"}]},
        {"Statement": [STATEMENT], "Strange": 1},
    ],
)
def test_invalid(document: dict[str, Any]) -> None:
    with pytest.raises(MalformedPolicy):
        trust.parse(document)


def test_it_speaks_of_any_role() -> None:
    policy = trust.parse({"Statement": [STATEMENT]})
    question = Question(user("alice").caller, "sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/any")
    assert policy.ask(question) == (False, Reach.ACCOUNT)
