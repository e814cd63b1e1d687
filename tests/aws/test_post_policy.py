import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.aws.errors import AwsError
from proxy.aws.post_policy import check, check_length, parse

NOW = datetime(2026, 11, 28, tzinfo=UTC)
LATER = "2026-11-28T00:00:01.000Z"


def encoded(*conditions: Any, expiration: Any = LATER) -> str:
    return base64.b64encode(json.dumps({"expiration": expiration, "conditions": conditions}).encode()).decode()


def allows(conditions: list[Any], **fields: str) -> None:
    check(parse(encoded(*conditions)), {name.replace("_", "-"): value for name, value in fields.items()}, NOW)


@pytest.mark.parametrize(
    ("conditions", "fields"),
    [
        ([{"key": "a"}], {"key": "a"}),
        ([["eq", "$key", "a"]], {"key": "a"}),
        ([["StArTs-WiTh", "$KeY", "a/"]], {"key": "a/b"}),
        ([["starts-with", "$key", ""]], {"key": "whatever"}),
        ([["starts-with", "$Content-Type", "image/"], {"key": "a"}], {"key": "a", "content_type": "image/a, image/b"}),
        ([{"key": "a"}], {"key": "a", "x_ignore_b": "c", "policy": "p", "x_amz_signature": "s"}),
    ],
)
def test_forms_that_are_allowed(conditions: list[Any], fields: dict[str, str]) -> None:
    allows(conditions, **fields)


@pytest.mark.parametrize(
    ("conditions", "fields", "reason"),
    [
        ([{"key": "a"}], {"key": "b"}, 'Policy Condition failed: ["eq", "$key", "a"]'),
        ([{"key": "a"}], {}, 'Policy Condition failed: ["eq", "$key", "a"]'),
        ([["starts-with", "$key", "a/"]], {"key": "b/a/"}, 'Policy Condition failed: ["starts-with", "$key", "a/"]'),
        ([["starts-with", "$key", "a/"]], {"key": " a/b"}, 'Policy Condition failed: ["starts-with", "$key", "a/"]'),
        ([{"key": "a"}], {"key": "a", "acl": "private"}, "Extra input fields: acl"),
        (
            [["starts-with", "$Content-Type", "image/"]],
            {"content_type": "image/a,text/b"},
            'Policy Condition failed: ["starts-with", "$Content-Type", "image/"]',
        ),
    ],
)
def test_forms_that_are_not(conditions: list[Any], fields: dict[str, str], reason: str) -> None:
    with pytest.raises(AwsError) as refused:
        allows(conditions, **fields)
    assert (refused.value.code, refused.value.status) == ("AccessDenied", 403)
    assert refused.value.message == f"Invalid according to Policy: {reason}"


def test_the_moment_of_expiration() -> None:
    policy = parse(encoded({"key": "a"}, expiration="2026-11-28T00:00:00Z"))
    with pytest.raises(AwsError, match="Policy expired"):
        check(policy, {"key": "a"}, NOW)


def test_a_dollar_sign_may_be_escaped_as_aws_has_it() -> None:
    text = r'{"expiration": "2026-11-28T00:00:01Z", "conditions": [["eq", "$key", "\$1\v\\$"]]}'
    policy = parse(base64.b64encode(text.encode()).decode())
    check(policy, {"key": "$1\v\\$"}, NOW)


@pytest.mark.parametrize(
    "policy",
    [
        "not base64!",
        base64.b64encode(b"not json").decode(),
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b"\xff").decode(),
        base64.b64encode(json.dumps({"conditions": [{"key": "a"}]}).encode()).decode(),
        base64.b64encode(json.dumps({"expiration": LATER}).encode()).decode(),
        encoded(),
        encoded({"key": "a"}, expiration="tomorrow"),
        encoded({"key": "a"}, expiration="2026-13-28T00:00:00Z"),
        encoded({"key": "a"}, expiration=1),
        encoded({"key": "a", "acl": "b"}),
        encoded({}),
        encoded({"key": 1}),
        encoded(["eq", "key", "a"]),
        encoded(["ends-with", "$key", "a"]),
        encoded(["eq", "$key"]),
        encoded("key"),
        encoded(["content-length-range", 0]),
        encoded(["content-length-range", -1, 5]),
        encoded(["content-length-range", 0, "x"]),
    ],
)
def test_documents_that_are_no_policies(policy: str) -> None:
    with pytest.raises(AwsError) as refused:
        parse(policy)
    assert (refused.value.code, refused.value.status) == ("InvalidPolicyDocument", 400)


def test_lengths() -> None:
    policy = parse(encoded(["content-length-range", 2, "5"]))
    for length in (2, 5):
        check_length(policy, length)
    with pytest.raises(AwsError, match="EntityTooLarge") as refused:
        check_length(policy, 6)
    assert refused.value.detail == {"ProposedSize": "6", "MaxSizeAllowed": "5"}
    with pytest.raises(AwsError, match="EntityTooSmall"):
        check_length(policy, 1)
