"""What S3 takes for a bucket policy, and what it says of the rest."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.aws.errors import AwsError
from proxy.aws.policy_principals import Directory
from proxy.s3.access import bucket_policy
from proxy.s3.access.accounts import canonical_id
from proxy.s3.state.ports import BucketRecord
from tests.s3.fakes import ACCOUNT, OTHER_ACCOUNT, caller

BUCKET = BucketRecord("bucket", ACCOUNT, "eu-west-1", datetime(2026, 11, 23, 6, tzinfo=UTC))
EVERYTHING = "arn:aws:s3:::bucket/*"
DIRECTORY = Directory.of([caller()])


def statement(**changes: Any) -> dict[str, Any]:
    made = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "s3:GetObject", "Resource": EVERYTHING}
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


def document(*statements: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **changes}).encode()


def fault(body: bytes) -> str | None:
    try:
        bucket_policy.parse(body, BUCKET, DIRECTORY)
    except AwsError as error:
        assert (error.code, error.status) == ("MalformedPolicy", 400)  # noqa: PT017
        return error.message
    return None


NO_JSON = "This policy contains invalid Json"
FIRST_BYTE = "Policies must be valid JSON and the first byte must be '{'"
ACTION = "Policy has invalid action"
RESOURCE = "Policy has invalid resource"
PRINCIPAL = "Invalid principal in policy"
KEY = "Policy has an invalid condition key"
NOT_ABOUT = "Action does not apply to any resource(s) in statement"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", FIRST_BYTE),
        (b" {}", FIRST_BYTE),
        (b"[]", FIRST_BYTE),
        (b"{", NO_JSON),
        (b"{" + b'"a":{' * 3000, NO_JSON),
        (b'{"\xff": 1}', NO_JSON),
        (b"{}", "Missing required field Statement"),
        (document(), "Could not parse the policy: Statement is empty!"),
        (document(statement(), Version="2013-01-01"), "The policy must contain a valid version string"),
        (document(statement(), Other=1), "Unknown field Other"),
        (b'{"Statement": [], "Statement": []}', "A field stands twice in one object"),
        (document(statement(Principal=None)), "Missing required field Principal"),
        (document(statement(Effect=None)), "Missing required field Effect"),
        (document(statement(Action=None)), "Missing required field Action"),
        (document(statement(Resource=None)), "Missing required field Resource"),
    ],
)
def test_what_is_no_policy(body: bytes, message: str) -> None:
    assert fault(body) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Principal": {"AWS": "tester"}}, PRINCIPAL),
        ({"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/nobody"}}, PRINCIPAL),
        ({"Principal": {"CanonicalUser": canonical_id(OTHER_ACCOUNT)}}, PRINCIPAL),
        ({"Principal": {"CanonicalUser": canonical_id(ACCOUNT)}}, None),
        ({"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/tester"}}, None),
        ({"Principal": {"AWS": f"arn:aws:iam::{OTHER_ACCOUNT}:user/whoever"}}, None),
        ({"Principal": {"Service": "cloudtrail.amazonaws.com"}}, None),
        ({"Principal": "*"}, None),
        ({"Action": "s3:GetObjects"}, ACTION),
        ({"Action": "GetObject"}, ACTION),
        ({"Action": "ec2:RunInstances"}, ACTION),
        ({"Action": ["s3:GetObject", "s3:Nothing*"]}, ACTION),
        ({"Action": "S3:getobject"}, None),
        ({"Action": "s3:Get*"}, None),
        ({"Action": "*"}, None),
        ({"Action": "s3:ListBucket"}, NOT_ABOUT),
        ({"Action": ["s3:GetObject", "s3:ListBucket"]}, NOT_ABOUT),
        ({"Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::bucket", EVERYTHING]}, None),
        ({"Resource": "arn:aws:s3:::bucket"}, NOT_ABOUT),
        ({"Resource": ["arn:aws:s3:::bucket", EVERYTHING]}, None),
        ({"Action": "s3:*", "Resource": "arn:aws:s3:::bucket"}, None),
        ({"Action": None, "NotAction": "s3:ListBucket"}, None),
        ({"Resource": "arn:aws:s3:::other/*"}, RESOURCE),
        ({"Resource": [EVERYTHING, "arn:aws:s3:::bucket2"]}, RESOURCE),
        ({"Resource": "bucket/*"}, RESOURCE),
        ({"Resource": "arn:aws:sqs:::bucket"}, RESOURCE),
        ({"Resource": "arn:aws-cn:s3:::bucket/*"}, RESOURCE),
        ({"Resource": f"arn:aws:s3::{ACCOUNT}:bucket/*"}, RESOURCE),
        ({"Resource": "arn:aws:s3:::bucket/${aws:username}/*"}, None),
        ({"Resource": "arn:aws:s3:::buck*"}, None),
        ({"Resource": "arn:aws:s3:::*/public/*"}, None),
        ({"Resource": "*"}, None),
        ({"Resource": None, "NotResource": "arn:aws:s3:::bucket/private/*"}, None),
        ({"Condition": {"StringEquals": {"s3:nosuch": "x"}}}, KEY),
        ({"Condition": {"StringEquals": {"aws:nosuch": "x"}}}, KEY),
        ({"Condition": {"StringEquals": {"kms:ViaService": "x"}}}, KEY),
        ({"Condition": {"StringEquals": {"s3:ExistingObjectTag/": "x"}}}, KEY),
        ({"Condition": {"StringEquals": {"s3:ExistingObjectTag/team": "x"}}}, None),
        ({"Condition": {"StringLike": {"s3:prefix": "x*", "aws:PrincipalTag/t": "x"}}}, None),
        ({"Condition": {"Bool": {"aws:SecureTransport": "false"}}}, None),
        ({"Condition": {"StringSame": {"s3:prefix": "x"}}}, "Invalid Condition type : StringSame"),
    ],
)  # fmt: skip
def test_statements(changes: dict[str, Any], message: str | None) -> None:
    assert fault(document(statement(**changes))) == message


def test_twenty_kibibytes_and_no_more() -> None:
    def padded(size: int) -> bytes:
        body = document(statement())
        return body[:-1] + b" " * (size - len(body)) + b"}"

    assert fault(padded(20_480)) is None
    with pytest.raises(AwsError, match="PolicyTooLarge"):
        bucket_policy.parse(padded(20_481), BUCKET, None)


def test_the_owners_canonical_id_stands_for_its_account() -> None:
    named = {"CanonicalUser": canonical_id(ACCOUNT), "AWS": OTHER_ACCOUNT}
    text = document(statement(Principal=named)).decode()
    found = bucket_policy.policy_of(BucketRecord("bucket", ACCOUNT, "r", BUCKET.created, policy=text))
    assert found is not None
    (only,) = found.policy.statements
    assert only.principals is not None
    assert only.principals.accounts == {ACCOUNT, OTHER_ACCOUNT}


def test_a_policy_is_parsed_once() -> None:
    record = BucketRecord("bucket", ACCOUNT, "r", BUCKET.created, policy=document(statement()).decode())
    assert bucket_policy.policy_of(record) is bucket_policy.policy_of(record)
    assert bucket_policy.policy_of(BUCKET) is None


def test_without_a_directory_every_principal_is_taken_to_exist() -> None:
    named = {"AWS": f"arn:aws:iam::{ACCOUNT}:user/nobody"}
    assert not bucket_policy.parse(document(statement(Principal=named)), BUCKET, None).public
