"""The example of https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html, and wrong signatures."""

import base64
from datetime import UTC, datetime

import pytest

from proxy.aws import post_policy
from proxy.aws.errors import AwsError
from proxy.aws.post_signature import verify
from tests.aws.test_sigv4 import CALLER, KEY_ID, Keys

NOW = datetime(2015, 12, 29, tzinfo=UTC)
POLICY = """{ "expiration": "2015-12-30T12:00:00.000Z",
  "conditions": [
    {"bucket": "sigv4examplebucket"},
    ["starts-with", "$key", "user/user1/"],
    {"acl": "public-read"},
    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},
    ["starts-with", "$Content-Type", "image/"],
    {"x-amz-meta-uuid": "14365123651274"},
    {"x-amz-server-side-encryption": "AES256"},
    ["starts-with", "$x-amz-meta-tag", ""],

    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},
    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
    {"x-amz-date": "20151229T000000Z" }
  ]
}""".replace("\n", "\r\n")
FIELDS = {
    "policy": base64.b64encode(POLICY.encode()).decode(),
    "x-amz-algorithm": "AWS4-HMAC-SHA256",
    "x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
    "x-amz-date": "20151229T000000Z",
    "x-amz-signature": "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
}


def test_awss_example() -> None:
    verified = verify(FIELDS, Keys(), NOW)
    assert (verified.caller, verified.posted, verified.presigned) == (CALLER, True, False)
    assert (verified.scope.region, verified.payload_hash) == ("us-east-1", "UNSIGNED-PAYLOAD")


def test_its_policy_is_read() -> None:
    policy = post_policy.parse(FIELDS["policy"])
    assert policy.expiration == datetime(2015, 12, 30, 12, tzinfo=UTC)
    assert len(policy.conditions) == 11


@pytest.mark.parametrize(
    ("changed", "code", "status"),
    [
        ({"policy": FIELDS["policy"][:-4]}, "SignatureDoesNotMatch", 403),
        ({"x-amz-signature": "0" * 64}, "SignatureDoesNotMatch", 403),
        ({"x-amz-signature": ""}, "SignatureDoesNotMatch", 403),
        ({"x-amz-credential": "AKIAOTHER/20151229/us-east-1/s3/aws4_request"}, "InvalidAccessKeyId", 403),
        ({"x-amz-credential": f"{KEY_ID}/20151229/eu-west-1/s3/aws4_request"}, "SignatureDoesNotMatch", 403),
        ({"x-amz-credential": f"{KEY_ID}/20151228/us-east-1/s3/aws4_request"}, "AuthorizationHeaderMalformed", 400),
        ({"x-amz-credential": f"{KEY_ID}/20151229/us-east-1/kms/aws4_request"}, "AuthorizationHeaderMalformed", 400),
        ({"x-amz-credential": KEY_ID}, "AuthorizationHeaderMalformed", 400),
        ({"x-amz-date": "yesterday"}, "AccessDenied", 403),
        ({"x-amz-algorithm": "AWS4-HMAC-SHA1"}, "InvalidRequest", 400),
        ({"awsaccesskeyid": KEY_ID}, "InvalidRequest", 400),
        ({"x-amz-security-token": "wrong"}, "InvalidToken", 400),
    ],
)
def test_signatures_that_are_refused(changed: dict[str, str], code: str, status: int) -> None:
    with pytest.raises(AwsError) as refused:
        verify({**FIELDS, **changed}, Keys(), NOW)
    assert (refused.value.code, refused.value.status) == (code, status)


@pytest.mark.parametrize("name", ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    fields = {key: value for key, value in FIELDS.items() if key != name.lower()}
    with pytest.raises(AwsError, match="InvalidArgument") as refused:
        verify(fields, Keys(), NOW)
    assert refused.value.detail == {"ArgumentName": name}
