"""ARNs are taken apart and put together again."""

import pytest

from proxy.aws import arn
from proxy.aws.arn import Arn


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            Arn("aws", "kms", "eu-west-1", "111122223333", "key/1234abcd-12ab-34cd-56ef-1234567890ab"),
        ),
        ("arn:aws:iam::111122223333:user/a/b", Arn("aws", "iam", "", "111122223333", "user/a/b")),
        ("arn:aws:s3:::bucket/key:with:colons", Arn("aws", "s3", "", "", "bucket/key:with:colons")),
        ("arn:aws-cn:kms:cn-north-1:1:alias/x", Arn("aws-cn", "kms", "cn-north-1", "1", "alias/x")),
    ],
)
def test_parses_and_formats(text: str, expected: Arn) -> None:
    assert arn.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text", ["", "arn", "arn:aws:kms:eu-west-1:1", "x:aws:kms:r:a:res", "arn::kms:r:a:res", "arn:aws:kms:r:a:"]
)
def test_refuses_what_is_no_arn(text: str) -> None:
    with pytest.raises(ValueError, match="not an ARN"):
        arn.parse(text)


def test_resource_type_and_id() -> None:
    user = arn.parse("arn:aws:iam::1:user/division/name")
    assert (user.resource_type, user.resource_id) == ("user", "division/name")
    root = arn.parse("arn:aws:iam::1:root")
    assert (root.resource_type, root.resource_id) == ("root", "")


def test_tells_an_arn_from_an_id() -> None:
    assert arn.is_arn("arn:aws:kms:r:a:key/x")
    assert not arn.is_arn("alias/arn:aws")
