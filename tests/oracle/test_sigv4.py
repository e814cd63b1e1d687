"""botocore is right: what its signers sign verifies, and what is signed for the upstream is signed as botocore does."""

import dataclasses
import hashlib
import string
from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.aws import sigv4
from proxy.aws.credentials import AccessKey, Caller, InvalidSessionToken
from proxy.aws.errors import AwsError
from proxy.aws.message import Request

NOW = datetime(2026, 2, 28, 23, 59, 58, tzinfo=UTC)
CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
CALLER = Caller("111122223333", "arn:aws:iam::111122223333:user/a", "AIDAEXAMPLE", "AKIDEXAMPLE")

METHODS = st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEYS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=4).map("/".join)
SEGMENT = st.text(string.ascii_letters + string.digits + "-._~ +:@%é", min_size=1, max_size=6)
PARAMETERS = st.dictionaries(TEXT.filter(lambda name: name and not name.lower().startswith("x-amz-")), TEXT, max_size=5)
NAMES = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8).map("x-amz-meta-".__add__)
# botocore makes one space of any white space, Unicode's included, where AWS's text speaks of spaces.
VALUES = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]) | st.just(" "), max_size=16
)
HEADERS = st.dictionaries(NAMES, VALUES, max_size=4)


class Keys:
    def find(self, access_key_id: str) -> AccessKey | None:
        if access_key_id != CREDENTIALS.access_key:
            return None
        return AccessKey(access_key_id, CREDENTIALS.secret_key, CALLER)

    def find_temporary(self, access_key_id: str, token: str, now: datetime) -> AccessKey:
        raise InvalidSessionToken


def by_botocore(signer: SigV4Auth, request: AWSRequest) -> None:
    with patch("botocore.auth.get_current_datetime", return_value=NOW):
        signer.add_auth(request)


def received(request: AWSRequest, body: bytes = b"") -> Request:
    """The request as a server gets it."""
    parts = urlsplit(request.url)
    headers = CIMultiDict({"Host": parts.netloc})
    for name, value in request.headers.items():
        headers[name] = value.decode() if isinstance(value, bytes) else value
    return Request(request.method, parts.path, parts.query, headers, body)


def encoded(parameters: dict[str, str]) -> str:
    return "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in parameters.items())


def url(path: str, parameters: dict[str, str]) -> str:
    query = encoded(parameters)
    return f"http://bucket.localhost:8080{path}" + (f"?{query}" if query else "")


@given(method=METHODS, key=KEYS, parameters=PARAMETERS, headers=HEADERS, body=st.binary(max_size=20))
def test_s3_requests_verify(
    method: str, key: str, parameters: dict[str, str], headers: dict[str, str], body: bytes
) -> None:
    request = AWSRequest(method, url("/" + quote(key, safe="/~"), parameters), headers, body)
    by_botocore(S3SigV4Auth(CREDENTIALS, "s3", "eu-west-1"), request)
    verified = sigv4.verify(received(request), Keys(), NOW)
    assert verified.scope == sigv4.Scope("20260228", "eu-west-1", "s3")
    assert verified.payload_hash == hashlib.sha256(body).hexdigest()


@given(method=METHODS, key=KEYS, parameters=PARAMETERS, headers=HEADERS, expires=st.integers(1, 604800))
def test_presigned_s3_requests_verify(
    method: str, key: str, parameters: dict[str, str], headers: dict[str, str], expires: int
) -> None:
    request = AWSRequest(method, url("/" + quote(key, safe="/~"), parameters), headers)
    by_botocore(S3SigV4QueryAuth(CREDENTIALS, "s3", "eu-west-1", expires), request)
    verified = sigv4.verify(received(request), Keys(), NOW)
    assert verified.presigned
    assert verified.payload_hash == "UNSIGNED-PAYLOAD"


@given(
    segments=st.lists(st.sampled_from(["a", "b c", ".", "..", "", "é", "a+b"]), max_size=5), body=st.binary(max_size=20)
)
def test_requests_to_other_services_verify(segments: list[str], body: bytes) -> None:
    path = "/" + quote("/".join(segments), safe="/~")
    request = AWSRequest("POST", url(path, {}), {"X-Amz-Target": "TrentService.ListKeys"}, body)
    by_botocore(SigV4Auth(CREDENTIALS, "kms", "eu-west-1"), request)
    verified = sigv4.verify(received(request, body), Keys(), NOW)
    assert verified.payload_hash == hashlib.sha256(body).hexdigest()


def test_presigned_requests_to_other_services_verify() -> None:
    request = AWSRequest("GET", url("/", {"Action": "GetCallerIdentity", "Version": "2011-06-15"}))
    by_botocore(SigV4QueryAuth(CREDENTIALS, "sts", "us-east-1", 60), request)
    assert sigv4.verify(received(request), Keys(), NOW).scope.service == "sts"


def test_the_date_header_verifies() -> None:
    request = AWSRequest("GET", url("/a", {}), {"Date": "x"})
    by_botocore(S3SigV4Auth(CREDENTIALS, "s3", "eu-west-1"), request)
    assert "X-Amz-Date" not in request.headers
    assert sigv4.verify(received(request), Keys(), NOW).timestamp == "20260228T235958Z"


@given(key=KEYS, parameters=PARAMETERS, headers=HEADERS, place=st.integers(0, 63))
def test_one_changed_digit_of_the_signature_does_not_verify(
    key: str, parameters: dict[str, str], headers: dict[str, str], place: int
) -> None:
    request = AWSRequest("GET", url("/" + quote(key, safe="/~"), parameters), headers)
    by_botocore(S3SigV4Auth(CREDENTIALS, "s3", "eu-west-1"), request)
    good = received(request)
    head, _, signature = good.headers["Authorization"].rpartition("=")
    digit = "0" if signature[place] != "0" else "1"
    changed = CIMultiDict(good.headers)
    changed["Authorization"] = f"{head}={signature[:place]}{digit}{signature[place + 1 :]}"
    with pytest.raises(AwsError) as caught:
        sigv4.verify(dataclasses.replace(good, headers=changed), Keys(), NOW)
    assert caught.value.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("payload_hash", [hashlib.sha256(b"").hexdigest(), "UNSIGNED-PAYLOAD"])
@given(method=METHODS, key=KEYS, parameters=PARAMETERS, headers=HEADERS)
def test_s3_requests_are_signed_as_botocore_does(
    payload_hash: str, method: str, key: str, parameters: dict[str, str], headers: dict[str, str]
) -> None:
    address = url("/" + quote(key, safe="/~"), parameters)
    theirs = AWSRequest(method, address, {**headers, "Content-Type": "a/b"})
    if payload_hash == "UNSIGNED-PAYLOAD":
        theirs.context["payload_signing_enabled"] = False
        theirs.url = address.replace("http://", "https://")
        theirs.headers["Content-MD5"] = "x"
        theirs.context["has_streaming_input"] = True
    by_botocore(S3SigV4Auth(CREDENTIALS, "s3", "eu-west-1"), theirs)
    assert theirs.headers["X-Amz-Content-SHA256"] == payload_hash

    parts = urlsplit(address)
    mine = Request(
        method, parts.path, parts.query, CIMultiDict({"Host": parts.netloc, **headers, "Content-Type": "a/b"})
    )
    if payload_hash == "UNSIGNED-PAYLOAD":
        mine.headers["Content-MD5"] = "x"  # type: ignore[index]
    added = sigv4.sign(
        mine,
        access_key_id=CREDENTIALS.access_key,
        secret=CREDENTIALS.secret_key,
        region="eu-west-1",
        service="s3",
        now=NOW,
        payload_hash=payload_hash,
    )
    assert added["Authorization"] == theirs.headers["Authorization"]
    assert added["x-amz-date"] == theirs.headers["X-Amz-Date"]
    assert added["x-amz-content-sha256"] == payload_hash
