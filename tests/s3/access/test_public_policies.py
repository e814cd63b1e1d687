"""Which bucket policies are public."""

from typing import Any

import pytest

from proxy.s3.access.public_policies import is_public
from tests.s3.fakes import ACCOUNT


def allowing(principal: Any = "*", condition: dict[str, Any] | None = None, effect: str = "Allow") -> dict[str, Any]:
    made = {"Effect": effect, "Principal": principal, "Action": "s3:GetObject", "Resource": "*"}
    return made if condition is None else {**made, "Condition": condition}


@pytest.mark.parametrize(
    ("statement", "public"),
    [
        (allowing(), True),
        (allowing({"AWS": "*"}), True),
        (allowing({"AWS": [ACCOUNT, "*"]}), True),
        (allowing({"AWS": ACCOUNT}), False),
        (allowing({"Service": "logging.s3.amazonaws.com"}), False),
        (allowing(effect="Deny"), False),
        ({"Effect": "Allow", "NotPrincipal": {"AWS": ACCOUNT}, "Action": "s3:*", "Resource": "*"}, True),
    ],
)
def test_by_principals(statement: dict[str, Any], public: bool) -> None:
    assert is_public({"Statement": [statement]}) is public
    assert is_public({"Statement": statement}) is public
    assert is_public({"Statement": [allowing({"AWS": ACCOUNT}), statement]}) is public


@pytest.mark.parametrize(
    ("condition", "public"),
    [
        ({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, False),
        ({"IpAddress": {"aws:SourceIp": ["203.0.113.7", "8.0.0.0/8"]}}, False),
        ({"IpAddress": {"aws:SourceIp": "8.0.0.0/7"}}, True),
        ({"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "0.0.0.0/0"]}}, True),
        ({"IpAddress": {"aws:SourceIp": "2600::/31"}}, True),
        ({"IpAddress": {"aws:SourceIp": "2600::/32"}}, False),
        ({"IpAddress": {"aws:SourceIp": "fc00::/7"}}, False),
        ({"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, True),
        ({"StringEquals": {"aws:SourceVpc": "vpc-91237329"}}, False),
        ({"StringLike": {"aws:SourceVpc": "vpc-*"}}, True),
        ({"StringLike": {"aws:SourceVpc": "vpc-1"}}, False),
        ({"StringEquals": {"aws:SourceVpc": ["vpc-1", "${aws:username}"]}}, True),
        ({"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}, True),
        ({"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}}, True),
        ({"ForAllValues:StringEquals": {"aws:SourceVpc": "vpc-1"}}, True),
        ({"ArnEquals": {"aws:SourceArn": "arn:aws:sns:eu-west-1:111122223333:t"}}, False),
        ({"ArnEquals": {"aws:SourceArn": "arn:aws:sns:*:111122223333:t"}}, True),
        ({"StringEquals": {"aws:PrincipalOrgID": "o-1234567890"}}, False),
        ({"ArnLike": {"s3:DataAccessPointArn": "arn:aws:s3:eu-west-1:111122223333:accesspoint/*"}}, False),
        ({"ArnLike": {"s3:DataAccessPointArn": "arn:aws:s3:eu-west-1:*:accesspoint/*"}}, True),
        ({"StringEquals": {"aws:Referer": "https://example.com/"}}, True),
        ({"Bool": {"aws:SecureTransport": True}}, True),
        ({"Bool": {"aws:SecureTransport": True}, "StringEquals": {"aws:userid": "AIDA1"}}, False),
        ({"StringLike": {"aws:userid": "AROA1:*"}}, True),
    ],
)
def test_by_conditions(condition: dict[str, Any], public: bool) -> None:
    assert is_public({"Statement": [allowing(condition=condition)]}) is public
