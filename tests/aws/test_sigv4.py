"""Signature Version 4: AWS's documented examples, and every way in which a request is refused."""

import dataclasses
import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.aws import canonical, sigv4
from proxy.aws.credentials import AccessKey, Caller, ExpiredSessionToken, InvalidSessionToken
from proxy.aws.errors import AwsError
from proxy.aws.message import Request
from proxy.aws.sigv4_errors import basic_format

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CALLER = Caller("111122223333", "arn:aws:iam::111122223333:user/a", "AIDAEXAMPLE", KEY_ID)
NOW = datetime(2013, 5, 24, tzinfo=UTC)
EMPTY = hashlib.sha256(b"").hexdigest()
HOST = "examplebucket.s3.amazonaws.com"


class Keys:
    """A credential source with one key, which counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def find(self, access_key_id: str) -> AccessKey | None:
        self.asked += 1
        return AccessKey(KEY_ID, SECRET, CALLER) if access_key_id == KEY_ID else None

    def find_temporary(self, access_key_id: str, token: str, now: datetime) -> AccessKey:
        """``valid`` is the token of the one key, in the year it was made for."""
        if access_key_id != KEY_ID or token != "valid":
            raise InvalidSessionToken
        if now.year != NOW.year:
            raise ExpiredSessionToken
        return AccessKey(KEY_ID, SECRET, CALLER)


def signed(
    method: str = "GET",
    path: str = "/test.txt",
    query: str = "",
    headers: dict[str, str] | None = None,
    *,
    service: str = "s3",
    now: datetime = NOW,
    payload_hash: str = EMPTY,
    body: bytes = b"",
    secret: str = SECRET,
    key_id: str = KEY_ID,
) -> Request:
    """A request signed by the code under test; the oracle tests hold that code to botocore's."""
    request = Request(method, path, query, CIMultiDict({"Host": HOST, **(headers or {})}), body)
    added = sigv4.sign(
        request,
        access_key_id=key_id,
        secret=secret,
        region="us-east-1",
        service=service,
        now=now,
        payload_hash=payload_hash,
    )
    return dataclasses.replace(request, headers=CIMultiDict({**request.headers, **added}))


def presigned(
    method: str = "GET",
    path: str = "/test.txt",
    parameters: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    *,
    signed_headers: str = "host",
    expires: str = "86400",
    now: datetime = NOW,
    payload_hash: str = sigv4.UNSIGNED_PAYLOAD,
    service: str = "s3",
    key_id: str = KEY_ID,
    body: bytes = b"",
    host: str = HOST,
) -> Request:
    """A presigned request made step by step as the documentation has it."""
    timestamp = basic_format(now)
    scope = f"{timestamp[:8]}/us-east-1/{service}/aws4_request"
    query = {
        **(parameters or {}),
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{key_id}/{scope}",
        "X-Amz-Date": timestamp,
        "X-Amz-Expires": expires,
        "X-Amz-SignedHeaders": signed_headers,
    }
    all_headers = CIMultiDict({"Host": host, **(headers or {})})
    pairs = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in query.items())
    text = "&".join(f"{name}={value}" for name, value in pairs)
    block = "".join(f"{name}:{all_headers.get(name, '')}\n" for name in signed_headers.split(";"))
    request = f"{method}\n{path}\n{text}\n{block}\n{signed_headers}\n{payload_hash}"
    key = canonical.signing_key(SECRET, timestamp[:8], "us-east-1", service)
    to_sign = canonical.string_to_sign(timestamp, scope, request.encode())
    return Request(method, path, f"{text}&X-Amz-Signature={canonical.signature(key, to_sign)}", all_headers, body)


def verify(request: Request, now: datetime = NOW) -> sigv4.Verified:
    return sigv4.verify(request, Keys(), now)


def refused(request: Request, now: datetime = NOW) -> AwsError:
    with pytest.raises(AwsError) as caught:
        verify(request, now)
    assert SECRET not in repr((caught.value, caught.value.detail))
    return caught.value


def with_headers(request: Request, **headers: str) -> Request:
    changed = CIMultiDict(request.headers)
    for name, value in headers.items():
        changed[name.replace("_", "-")] = value
    return dataclasses.replace(request, headers=changed)


def adding(request: Request, name: str, value: str) -> Request:
    changed = CIMultiDict(request.headers)
    changed.add(name, value)
    return dataclasses.replace(request, headers=changed)


def without(request: Request, name: str) -> Request:
    changed = CIMultiDict(request.headers)
    del changed[name]
    return dataclasses.replace(request, headers=changed)


def authorized(authorization: str, **headers: str) -> Request:
    return with_headers(signed(), Authorization=authorization, **headers)


# The examples of https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
EXAMPLES = [
    (
        Request("GET", "/test.txt", "", CIMultiDict({"Range": "bytes=0-9"})),
        EMPTY,
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    (
        Request(
            "PUT",
            "/test%24file.text",
            "",
            CIMultiDict({"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}),
        ),
        "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    (
        Request("GET", "/", "lifecycle"),
        EMPTY,
        "host;x-amz-content-sha256;x-amz-date",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    (
        Request("GET", "/", "max-keys=2&prefix=J"),
        EMPTY,
        "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
]


@pytest.mark.parametrize(("request_", "payload_hash", "signed_headers", "signature"), EXAMPLES)
def test_documented_examples_verify(request_: Request, payload_hash: str, signed_headers: str, signature: str) -> None:
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders={signed_headers},Signature={signature}"
    )
    request = with_headers(
        request_,
        Host=HOST,
        Authorization=authorization,
        x_amz_date="20130524T000000Z",
        x_amz_content_sha256=payload_hash,
    )
    verified = verify(request)
    assert verified.caller is CALLER
    assert verified.scope == sigv4.Scope("20130524", "us-east-1", "s3")
    assert (verified.signature, verified.timestamp) == (signature, "20130524T000000Z")
    assert verified.payload_hash == payload_hash
    assert not verified.presigned
    assert verified.signing_key.hex() == "dbb893acc010964918f1fd433add87c70e8b0db6be30c1fbeafefa5ec6ba8378"


def test_the_documented_presigned_example_verifies() -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
    request = presigned()
    assert request.query.endswith("aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")
    verified = verify(request)
    assert verified.presigned
    assert verified.payload_hash == "UNSIGNED-PAYLOAD"


def test_the_signing_key_is_not_shown() -> None:
    verified = verify(signed())
    assert verified.signing_key.hex() not in repr(verified)
    assert repr(verified.signing_key) not in repr(verified)


@pytest.mark.parametrize(
    ("canonical_path", "sent"),
    [
        ("/a%C3%A9", "/a%c3%a9"),
        ("/a%2Bb", "/a+b"),
        ("/a%20b", "/a b"),
        ("/%28x%29%21%2A%27", "/(x)!*'"),
        ("/a/b", "/a%2fb"),
        ("/~a", "/%7Ea"),
        ("/%C3%A9", "/é"),
    ],
)
def test_a_path_that_is_not_canonical_verifies(canonical_path: str, sent: str) -> None:
    verify(dataclasses.replace(signed(path=canonical_path), path=sent))


@pytest.mark.parametrize(
    ("canonical_query", "sent"),
    [
        ("prefix=a%20b", "prefix=a+b"),
        ("prefix=a%2Fb", "prefix=a/b"),
        ("prefix=%C3%A9", "prefix=%c3%a9"),
        ("acl=", "acl"),
        ("a=1&b=2", "b=2&a=1"),
        ("a=%3D", "a=="),
    ],
)
def test_a_query_that_is_not_canonical_verifies(canonical_query: str, sent: str) -> None:
    verify(dataclasses.replace(signed(query=canonical_query), query=sent))


@pytest.mark.parametrize("path", ["//a", "/a//b", "/a/../b", "/./a", "/a/.", "/%2e%2e/a"])
def test_s3_paths_are_never_normalised(path: str) -> None:
    verify(signed(path=path))
    other = "/a" if path != "/a//b" else "/a/b"
    assert refused(dataclasses.replace(signed(path=path), path=other)).code == "SignatureDoesNotMatch"


def test_other_services_paths_are_normalised_and_encoded_twice() -> None:
    assert canonical.normalized_uri("/a/./b/../c//d/") == "/a/c/d/"
    assert canonical.normalized_uri("/a%20b") == "/a%2520b"
    assert canonical.normalized_uri("/../") == "/"
    assert canonical.normalized_uri("") == "/"


@pytest.mark.parametrize(
    "value", ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", b"\xff\xfe".decode("utf-8", "surrogateescape")]
)
def test_header_values_beyond_ascii_verify(value: str) -> None:
    request = signed(headers={"x-amz-meta-name": value})
    verify(request)
    error = refused(with_headers(request, x_amz_meta_name=value + "x"))
    assert error.code == "SignatureDoesNotMatch"
    error.detail["CanonicalRequest"].encode("utf-8")


def test_header_values_are_trimmed() -> None:
    request = signed(headers={"x-amz-meta-a": "one two"})
    verify(with_headers(request, x_amz_meta_a="  one \t  two "))


# What is refused: the header form


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda r: dataclasses.replace(r, path="/other.txt"), "SignatureDoesNotMatch"),
        (lambda r: dataclasses.replace(r, method="PUT"), "SignatureDoesNotMatch"),
        (lambda r: dataclasses.replace(r, query="acl"), "SignatureDoesNotMatch"),
        (lambda r: with_headers(r, Host="elsewhere"), "SignatureDoesNotMatch"),
        (lambda r: with_headers(r, x_amz_meta_a="2"), "SignatureDoesNotMatch"),
        (lambda r: with_headers(r, x_amz_content_sha256="UNSIGNED-PAYLOAD"), "SignatureDoesNotMatch"),
        (lambda r: with_headers(r, x_amz_date="20130524T000001Z"), "SignatureDoesNotMatch"),
        (lambda r: without(r, "x-amz-meta-a"), "SignatureDoesNotMatch"),
    ],
)
def test_a_changed_request_does_not_verify(change, code: str) -> None:  # type: ignore[no-untyped-def]
    assert refused(change(signed(headers={"x-amz-meta-a": "1"}))).code == code


def test_the_mismatch_tells_what_was_signed() -> None:
    error = refused(signed(secret="another"))
    assert (error.code, error.status) == ("SignatureDoesNotMatch", 403)
    assert error.message == (
        "The request signature we calculated does not match the signature you provided. Check your key and signing "
        "method."
    )
    assert error.detail["AWSAccessKeyId"] == KEY_ID
    lines = error.detail["StringToSign"].split("\n")
    assert lines[:3] == ["AWS4-HMAC-SHA256", "20130524T000000Z", "20130524/us-east-1/s3/aws4_request"]
    assert hashlib.sha256(error.detail["CanonicalRequest"].encode()).hexdigest() == lines[3]
    assert len(error.detail["SignatureProvided"]) == 64


@pytest.mark.parametrize("signature", ["0" * 64, "x", "é" * 64, "\udcff", "0" * 63])
def test_a_signature_of_any_form_is_compared_without_a_crash(signature: str) -> None:
    good = signed().headers["Authorization"]
    assert refused(authorized(good.rpartition("=")[0] + "=" + signature)).code == "SignatureDoesNotMatch"


def test_an_upper_case_signature_is_another_one() -> None:
    head, _, signature = signed().headers["Authorization"].rpartition("=")
    assert refused(authorized(f"{head}={signature.upper()}")).code == "SignatureDoesNotMatch"


def test_unknown_access_key() -> None:
    error = refused(signed(key_id="AKIAUNKNOWN"))
    assert (error.code, error.status) == ("InvalidAccessKeyId", 403)
    assert error.message == "The AWS Access Key Id you provided does not exist in our records."
    assert error.detail == {"AWSAccessKeyId": "AKIAUNKNOWN"}


@pytest.mark.parametrize("seconds", [-901, 901, 86400])
def test_a_skewed_clock(seconds: int) -> None:
    error = refused(signed(), NOW + timedelta(seconds=seconds))
    assert (error.code, error.status) == ("RequestTimeTooSkewed", 403)
    assert error.detail["RequestTime"] == "20130524T000000Z"
    assert error.detail["ServerTime"] == f"{NOW + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
    assert error.detail["MaxAllowedSkewMilliseconds"] == "900000"


@pytest.mark.parametrize("seconds", [-900, 0, 900])
def test_a_clock_within_fifteen_minutes(seconds: int) -> None:
    verify(signed(), NOW + timedelta(seconds=seconds))


def test_skew_across_midnight_keeps_the_credentials_date() -> None:
    late = datetime(2013, 5, 24, 23, 59, tzinfo=UTC)
    assert verify(signed(now=late), late + timedelta(minutes=5)).scope.date == "20130524"


@pytest.mark.parametrize(
    "date", ["Fri, 24 May 2013 00:00:00 GMT", "Fri, 24 May 2013 00:00:00 -0000", "20130524T000000Z"]
)
def test_the_date_header_serves_where_x_amz_date_is_missing(date: str) -> None:
    headers = CIMultiDict({"Host": HOST, "Date": date, "x-amz-content-sha256": EMPTY})
    names = "date;host;x-amz-content-sha256"
    request = canonical.canonical_request("GET", "/test.txt", "", headers, names, EMPTY)
    scope = "20130524/us-east-1/s3/aws4_request"
    key = canonical.signing_key(SECRET, "20130524", "us-east-1", "s3")
    signature = canonical.signature(key, canonical.string_to_sign("20130524T000000Z", scope, request))
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    assert verify(Request("GET", "/test.txt", "", headers)).timestamp == "20130524T000000Z"


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "2013-05-24T00:00:00Z",
        "20130524T000000",
        "20131324T000000Z",
        "\N{FULLWIDTH DIGIT TWO}0130524T000000Z",
    ],
)
def test_an_unreadable_date(date: str) -> None:
    error = refused(with_headers(signed(), x_amz_date=date))
    assert (error.code, error.status) == ("AccessDenied", 403)
    assert error.message == "AWS authentication requires a valid Date or x-amz-date header"


def test_no_date_at_all() -> None:
    assert refused(without(signed(), "x-amz-date")).code == "AccessDenied"


CREDENTIAL = f"{KEY_ID}/20130524/us-east-1/s3/aws4_request"
NAMES = "host;x-amz-content-sha256;x-amz-date"


def claiming(scope: str) -> str:
    return f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={NAMES}, Signature=0"


@pytest.mark.parametrize(
    ("authorization", "code", "message"),
    [
        (
            "AWS AKIAIOSFODNN7EXAMPLE:qgk2+6Sv9/oM7G3qLEjTH1a1l1g=",
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ),
        (
            f"AWS4-ECDSA-P256-SHA256 Credential={CREDENTIAL}, SignedHeaders={NAMES}, Signature=0",
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ),
        ("Basic dXNlcjpwYXNz", "InvalidArgument", "Unsupported Authorization Type"),
        ("", "InvalidArgument", "Authorization header is invalid -- one and only one ' ' (space) required."),
        ("Bearer", "InvalidArgument", "Authorization header is invalid -- one and only one ' ' (space) required."),
        (f"AWS4-HMAC-SHA256 SignedHeaders={NAMES}, Signature=0", "AuthorizationHeaderMalformed", "missing Credential."),
        (
            f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, Signature=0",
            "AuthorizationHeaderMalformed",
            "missing SignedHeaders.",
        ),
        (
            f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders={NAMES}",
            "AuthorizationHeaderMalformed",
            "missing Signature.",
        ),
        (
            f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders={NAMES}, Signature=",
            "AuthorizationHeaderMalformed",
            "missing Signature.",
        ),
        (
            f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders, Signature=0",
            "AuthorizationHeaderMalformed",
            'the authorization component "SignedHeaders" is malformed.',
        ),
        (
            f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, Credential={CREDENTIAL}, SignedHeaders={NAMES}, Signature=0",
            "AuthorizationHeaderMalformed",
            f'the authorization component "Credential={CREDENTIAL}" is malformed.',
        ),
        (
            claiming("20130524/us-east-1/s3"),
            "AuthorizationHeaderMalformed",
            'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
        ),
        (
            claiming("20130524/us east/s3/aws4_request"),
            "AuthorizationHeaderMalformed",
            'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
        ),
        (
            claiming("2013-5-24/us-east-1/s3/aws4_request"),
            "AuthorizationHeaderMalformed",
            'incorrect date format "2013-5-24". This date in the credential must be in the format "yyyyMMdd".',
        ),
        (
            claiming("20130524/us-east-1/ec2/aws4_request"),
            "AuthorizationHeaderMalformed",
            'incorrect service "ec2". This endpoint belongs to "s3".',
        ),
        (
            claiming("20130524/us-east-1/s3/aws5_request"),
            "AuthorizationHeaderMalformed",
            'incorrect terminal "aws5_request". This endpoint uses "aws4_request".',
        ),
        (
            claiming("20130523/us-east-1/s3/aws4_request"),
            "AuthorizationHeaderMalformed",
            'Invalid credential date "20130523". This date is not the same as X-Amz-Date: "20130524".',
        ),
    ],
)
def test_malformed_authorization(authorization: str, code: str, message: str) -> None:
    error = refused(authorized(authorization))
    assert (error.code, error.status) == (code, 400)
    assert error.message is not None
    assert error.message.removeprefix("The authorization header is malformed; ") == message


def test_authorization_without_blanks_after_commas_and_in_another_order() -> None:
    credential, names, signature = signed().headers["Authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(", ")
    verify(authorized(f"AWS4-HMAC-SHA256 {signature},{names},{credential}"))


# What is refused: headers


@pytest.mark.parametrize(
    "name", ["x-amz-copy-source", "X-Amz-Meta-A", "x-amz-acl", "Content-MD5", "x-amz-security-token"]
)
@pytest.mark.parametrize("make", [signed, presigned])
def test_unsigned_headers_are_refused(name: str, make) -> None:  # type: ignore[no-untyped-def]
    error = refused(adding(make(), name, "value"))
    assert (error.code, error.status) == ("AccessDenied", 403)
    assert error.message == "There were headers present in the request which were not signed"
    assert error.detail == {"HeadersNotSigned": name.lower()}


def test_all_unsigned_headers_are_named() -> None:
    request = adding(adding(presigned(), "x-amz-acl", "private"), "x-amz-meta-a", "1")
    assert refused(request).detail == {"HeadersNotSigned": "x-amz-acl, x-amz-meta-a"}


def test_an_unsigned_host_is_refused() -> None:
    request = authorized(f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders=x-amz-date, Signature=0")
    assert refused(request).detail == {"HeadersNotSigned": "host"}
    assert refused(presigned(signed_headers="x-amz-date")).detail == {"HeadersNotSigned": "host"}


def test_headers_that_carry_no_meaning_need_no_signature() -> None:
    request = signed()
    for name in ("User-Agent", "Range", "X-Amzn-Trace-Id", "Accept-Encoding", "Content-Type", "If-Match"):
        request = adding(request, name, "value")
    verify(request)


def test_an_unsigned_content_hash_is_bound_by_the_signature_all_the_same() -> None:
    # As recorded from AWS: not HeadersNotSigned, since its value is a line of what is signed.
    verify(adding(presigned(), "x-amz-content-sha256", "UNSIGNED-PAYLOAD"))
    assert refused(adding(presigned(), "x-amz-content-sha256", EMPTY)).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "name", ["x-amz-date", "X-Amz-Meta-A", "Authorization", "Range", "Content-MD5", "Host", "x-amz-content-sha256"]
)
def test_duplicate_headers_are_refused(name: str) -> None:
    request = signed(headers={"x-amz-meta-a": "1", "Range": "bytes=0-1", "Content-MD5": "XrY7u+Ae7tCTyyK7j1rNww=="})
    error = refused(adding(request, name, request.headers[name]))
    assert (error.code, error.status) == ("InvalidRequest", 400)


def test_a_list_may_have_a_header_for_each_of_its_values() -> None:
    name = "x-amz-object-attributes"
    joined = signed(headers={name: "ETag,ObjectSize"})
    verify(joined)
    headers = CIMultiDict(joined.headers)
    headers[name] = "ETag"
    repeated = dataclasses.replace(joined, headers=headers)
    assert refused(repeated).code == "SignatureDoesNotMatch"
    verify(adding(repeated, name, "ObjectSize"))


def test_a_header_that_is_signed_must_be_there() -> None:
    request = signed(headers={"x-amz-meta-a": "1"})
    assert refused(without(request, "x-amz-meta-a")).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "value", ["", "unsigned-payload", "0" * 63, "0" * 65, "g" * 64, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"]
)
def test_the_content_hash_must_be_one_of_the_known_forms(value: str) -> None:
    error = refused(signed(payload_hash=value))
    assert (error.code, error.status) == ("InvalidArgument", 400)
    assert error.detail == {"ArgumentName": "x-amz-content-sha256", "ArgumentValue": value}


@pytest.mark.parametrize(
    "value",
    [
        "UNSIGNED-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        EMPTY,
        EMPTY.upper(),
    ],
)
def test_the_known_forms_of_the_content_hash(value: str) -> None:
    assert verify(signed(payload_hash=value)).payload_hash == value


def test_the_content_hash_is_required() -> None:
    error = refused(without(signed(), "x-amz-content-sha256"))
    assert (error.code, error.status) == ("InvalidRequest", 400)
    assert error.message == "Missing required header for this request: x-amz-content-sha256"


def test_a_session_token_must_belong_to_the_access_key() -> None:
    error = refused(signed(headers={"x-amz-security-token": "token"}))
    assert (error.code, error.status) == ("InvalidToken", 400)
    assert refused(presigned(parameters={"X-Amz-Security-Token": "token"})).code == "InvalidToken"
    assert refused(signed(headers={"x-amz-security-token": ""})).code == "InvalidToken"


def test_a_session_token_is_accepted_in_the_header_and_in_the_query() -> None:
    assert sigv4.verify(signed(headers={"x-amz-security-token": "valid"}), Keys(), NOW).caller == CALLER
    assert sigv4.verify(presigned(parameters={"X-Amz-Security-Token": "valid"}), Keys(), NOW).caller == CALLER


def test_a_session_token_that_has_expired() -> None:
    later = NOW.replace(year=2014)
    with pytest.raises(AwsError) as caught:
        sigv4.verify(signed(headers={"x-amz-security-token": "valid"}, now=later), Keys(), later)
    error = caught.value
    assert (error.code, error.status, error.message) == ("ExpiredToken", 400, "The provided token has expired.")
    assert error.detail == {"Token-0": "valid"}


# What is refused: the query form


@pytest.mark.parametrize("expires", [1, 604800])
def test_a_presigned_url_lives_to_the_second(expires: int) -> None:
    request = presigned(expires=str(expires))
    end = NOW + timedelta(seconds=expires)
    verify(request, end)
    error = refused(request, end + timedelta(milliseconds=1))
    assert (error.code, error.status, error.message) == ("AccessDenied", 403, "Request has expired")
    assert error.detail["X-Amz-Expires"] == str(expires)
    assert error.detail["Expires"] == f"{end:%Y-%m-%dT%H:%M:%SZ}"
    assert error.detail["ServerTime"] == f"{end:%Y-%m-%dT%H:%M:%SZ}"


def test_a_presigned_url_from_the_future() -> None:
    verify(presigned(), NOW - timedelta(minutes=15))
    error = refused(presigned(), NOW - timedelta(minutes=15, seconds=1))
    assert (error.code, error.status, error.message) == ("AccessDenied", 403, "Request is not yet valid")


@pytest.mark.parametrize(
    ("expires", "message"),
    [
        ("0", "X-Amz-Expires must be at least 1 second"),
        ("-1", "X-Amz-Expires must be non-negative"),
        (
            "604801",
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than "
            "604800 seconds",
        ),
        ("soon", "X-Amz-Expires should be a number"),
        (" 5", "X-Amz-Expires should be a number"),
        ("1_0", "X-Amz-Expires should be a number"),
        ("\N{FULLWIDTH DIGIT NINE}", "X-Amz-Expires should be a number"),
        ("9" * 5000, "X-Amz-Expires should be a number"),
    ],
)
def test_expires_out_of_bounds(expires: str, message: str) -> None:
    error = refused(presigned(expires=expires))
    assert (error.code, error.status, error.message) == ("AuthorizationQueryParametersError", 400, message)


@pytest.mark.parametrize(
    "name",
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"],
)
def test_a_missing_query_component(name: str) -> None:
    request = presigned()
    kept = "&".join(pair for pair in request.query.split("&") if not pair.startswith(name + "="))
    error = refused(dataclasses.replace(request, query=kept))
    assert (error.code, error.status) == ("AuthorizationQueryParametersError", 400)
    assert error.message == (
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
        "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
    )
    twice = f"{request.query}&{name}=x"
    assert refused(dataclasses.replace(request, query=twice)).status == 400


def test_the_query_names_are_exact() -> None:
    request = presigned()
    lowered = request.query.replace("X-Amz-Signature", "x-amz-signature")
    assert refused(dataclasses.replace(request, query=lowered)).code == "AuthorizationQueryParametersError"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"'),
        ("T000000Z", "", "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""),
        (
            "%2Fs3%2F",
            "%2Fec2%2F",
            'Error parsing the X-Amz-Credential parameter; incorrect service "ec2". This endpoint belongs to "s3".',
        ),
        (
            "%2Faws4_request",
            "",
            "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting "
            '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
        ),
        (
            "%2F20130524%2F",
            "%2F20130525%2F",
            'Invalid credential date "20130525". This date is not the same as X-Amz-Date: "20130524".',
        ),
    ],
)
def test_malformed_query(old: str, new: str, message: str) -> None:
    request = presigned()
    error = refused(dataclasses.replace(request, query=request.query.replace(old, new)))
    assert (error.code, error.status, error.message) == ("AuthorizationQueryParametersError", 400, message)


def test_any_added_parameter_breaks_a_presigned_url() -> None:
    request = presigned()
    for more in ("acl", "x-amz-acl=public-read", "versionId=1"):
        changed = dataclasses.replace(request, query=f"{request.query}&{more}")
        assert refused(changed).code == "SignatureDoesNotMatch"


def test_two_mechanisms_at_once() -> None:
    request = dataclasses.replace(signed(), query=presigned().query)
    error = refused(request)
    assert (error.code, error.status) == ("InvalidArgument", 400)
    assert str(error.message).startswith("Only one auth mechanism allowed;")


def test_signature_version_2_in_the_query() -> None:
    query = urlencode({"AWSAccessKeyId": KEY_ID, "Expires": "1175139620", "Signature": "x"})
    error = refused(Request("GET", "/a", query, CIMultiDict({"Host": HOST})))
    assert (error.code, error.status) == ("InvalidRequest", 400)
    assert str(error.message).endswith("Please use AWS4-HMAC-SHA256.")


@pytest.mark.parametrize("payload_hash", [EMPTY, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])
def test_a_presigned_content_hash(payload_hash: str) -> None:
    in_query = presigned(parameters={"X-Amz-Content-Sha256": payload_hash}, payload_hash=payload_hash)
    assert verify(in_query).payload_hash == payload_hash
    in_header = presigned(
        headers={"x-amz-content-sha256": payload_hash},
        signed_headers="host;x-amz-content-sha256",
        payload_hash=payload_hash,
    )
    assert verify(in_header).payload_hash == payload_hash


# Query parameters that count as headers


def test_presigned_parameters_count_as_headers() -> None:
    request = presigned("PUT", parameters={"x-amz-acl": "private", "X-Amz-Meta-A": "1 2", "uploadId": "u"})
    verify(request)
    effective = sigv4.effective_headers(request)
    assert effective.headers["x-amz-acl"] == "private"
    assert effective.headers["x-amz-meta-a"] == "1 2"
    assert "x-amz-credential" not in effective.headers
    assert "x-amz-signature" not in effective.headers
    assert "uploadId" not in effective.headers
    assert request.headers == CIMultiDict({"Host": HOST})


def test_without_parameters_of_that_kind_the_request_is_the_same_object() -> None:
    request = presigned()
    assert sigv4.effective_headers(request) is request


def test_parameters_mean_nothing_where_the_header_form_is_used() -> None:
    request = signed(query="x-amz-meta-a=1")
    verify(request)
    assert "x-amz-meta-a" not in sigv4.effective_headers(request).headers
    anonymous = Request("PUT", "/a", "x-amz-meta-a=1")
    assert sigv4.effective_headers(anonymous) is anonymous


@pytest.mark.parametrize("more", ["x-amz-acl=private&x-amz-acl=private", "x-amz-acl=private&X-Amz-Acl=public-read"])
def test_a_parameter_given_twice_is_refused(more: str) -> None:
    request = presigned("PUT")
    with pytest.raises(AwsError) as caught:
        sigv4.effective_headers(dataclasses.replace(request, query=f"{request.query}&{more}"))
    assert caught.value.status == 400


def test_a_parameter_that_contradicts_a_header_is_refused() -> None:
    names = "host;x-amz-acl"
    request = presigned(
        "PUT", parameters={"x-amz-acl": "private"}, headers={"x-amz-acl": "public-read"}, signed_headers=names
    )
    verify(request)
    with pytest.raises(AwsError) as caught:
        sigv4.effective_headers(request)
    assert caught.value.status == 400
    same = presigned("PUT", parameters={"x-amz-acl": "private"}, headers={"x-amz-acl": "private"}, signed_headers=names)
    assert sigv4.effective_headers(same).headers.getall("x-amz-acl") == ["private"]


@pytest.mark.parametrize("value", ["a\r\nx-amz-acl: public-read", "a\0b", "\x7f", "a\nb"])
def test_a_parameter_cannot_smuggle_a_header(value: str) -> None:
    request = presigned("PUT", parameters={"x-amz-meta-a": value})
    with pytest.raises(AwsError) as caught:
        sigv4.effective_headers(request)
    assert (caught.value.code, caught.value.status) == ("InvalidArgument", 400)


# Anonymous requests


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", "/a"),
        Request("GET", "/a", "versionId=1&x-amz-meta-a=1"),
        Request("GET", "/a", "Signature=only"),
        Request("GET", "/a", "", CIMultiDict({"x-amz-date": "20130524T000000Z"})),
    ],
)
def test_anonymous_requests(request_: Request) -> None:
    assert sigv4.is_anonymous(request_)
    error = refused(request_)
    assert (error.code, error.status) == ("AccessDenied", 403)


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", "/a", "", CIMultiDict({"Authorization": ""})),
        Request("GET", "/a", "X-Amz-Signature=0"),
        Request("GET", "/a", "x-amz-algorithm="),
        Request("GET", "/a", "X-Amz-Security-Token=x"),
        Request("GET", "/a", "AWSAccessKeyId=a&Signature=b&Expires=1"),
    ],
)
def test_a_request_with_any_authentication_is_not_anonymous(request_: Request) -> None:
    assert not sigv4.is_anonymous(request_)
    refused(request_)


# Other services

TARGET = {"X-Amz-Target": "TrentService.ListKeys", "Content-Type": "application/x-amz-json-1.1"}


def kms(body: bytes = b"{}", **more: object) -> Request:
    digest = hashlib.sha256(body).hexdigest()
    arguments = {"headers": TARGET, "service": "kms", "payload_hash": digest, "body": body, **more}
    return signed("POST", "/", **arguments)  # type: ignore[arg-type]


def sts(body: bytes = b"Action=GetCallerIdentity", **more: object) -> Request:
    digest = hashlib.sha256(body).hexdigest()
    return signed("POST", "/", **{"service": "sts", "payload_hash": digest, "body": body, **more})  # type: ignore[arg-type]


def test_the_body_is_what_is_signed_for_other_services() -> None:
    request = kms()
    assert sigv4.claimed_service(request) == "kms"
    assert verify(request).payload_hash == hashlib.sha256(b"{}").hexdigest()
    assert verify(without(kms_without_hash(), "x-unused")).scope.service == "kms"
    assert refused(dataclasses.replace(request, body=b"{ }")).code == "InvalidSignatureException"
    unsigned = kms(payload_hash="UNSIGNED-PAYLOAD")
    assert refused(unsigned).code == "InvalidSignatureException"


def kms_without_hash() -> Request:
    """As botocore sends it: x-amz-content-sha256 is neither sent nor signed."""
    headers = CIMultiDict({"Host": HOST, "x-amz-date": "20130524T000000Z", "x-unused": "", **TARGET})
    names = "content-type;host;x-amz-date;x-amz-target"
    request = canonical.canonical_request("POST", "/", "", headers, names, hashlib.sha256(b"{}").hexdigest())
    scope = "20130524/us-east-1/kms/aws4_request"
    key = canonical.signing_key(SECRET, "20130524", "us-east-1", "kms")
    signature = canonical.signature(key, canonical.string_to_sign("20130524T000000Z", scope, request))
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return Request("POST", "/", "", headers, b"{}")


def test_a_streamed_body_cannot_be_verified_for_other_services() -> None:
    class Stream:
        def __aiter__(self) -> "Stream":
            return self

        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

        async def aclose(self) -> None: ...

    with pytest.raises(TypeError):
        verify(dataclasses.replace(kms(), body=Stream()))


@pytest.mark.parametrize("name", ["x-amz-meta-a b", "x-amz-meta-a:b", "x-amz-meta-\u00e9", "x-amz-meta-a\r\nb"])
def test_a_parameter_that_can_name_no_header(name: str) -> None:
    with pytest.raises(AwsError) as caught:
        sigv4.effective_headers(presigned(parameters={name: "c"}))
    assert (caught.value.code, caught.value.status) == ("InvalidArgument", 400)


@pytest.mark.parametrize("before", ["XCredential=a/b/c/s3/", "X=y Credential=a/b/c/s3/"])
def test_a_header_claims_one_service(before: str) -> None:
    """Or its body would be streamed where it has to be read first."""
    authorization = kms().headers["Authorization"].replace("Credential", f"{before}, Credential", 1)
    assert refused(with_headers(kms(), Authorization=authorization)).code == "AuthorizationHeaderMalformed"


def test_x_amz_target_must_be_signed() -> None:
    request = kms_without_hash()
    names = "content-type;host;x-amz-date;x-amz-target"
    error = refused(
        with_headers(request, Authorization=request.headers["Authorization"].replace(names, "host;x-amz-date"))
    )
    assert (error.code, error.status) == ("InvalidSignatureException", 400)
    assert error.message == "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization."
    moved = with_headers(request, X_Amz_Target="TrentService.ScheduleKeyDeletion")
    assert refused(moved).code == "InvalidSignatureException"


CHECK = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


@pytest.mark.parametrize(
    ("request_", "now", "code", "message"),
    [
        (
            kms(key_id="AKIAUNKNOWN"),
            NOW,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        (kms(secret="x"), NOW, "InvalidSignatureException", CHECK),
        (
            kms(),
            NOW + timedelta(minutes=20),
            "InvalidSignatureException",
            "Signature expired: 20130524T000000Z is now earlier than 20130524T000500Z (20130524T002000Z - 15 min.)",
        ),
        (
            kms(),
            NOW - timedelta(minutes=20),
            "InvalidSignatureException",
            "Signature not yet current: 20130524T000000Z is still later than 20130523T235500Z "
            "(20130523T234000Z + 15 min.)",
        ),
        (
            with_headers(kms(), x_amz_date="20130524"),
            NOW,
            "IncompleteSignatureException",
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        ),
        (
            Request("POST", "/", "", CIMultiDict(TARGET)),
            NOW,
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ),
    ],
)
def test_kms_errors(request_: Request, now: datetime, code: str, message: str) -> None:
    error = refused(request_, now)
    assert (error.code, error.status, error.message) == (code, 400, message)


def test_kms_incomplete_signature_names_what_is_missing() -> None:
    error = refused(with_headers(kms(), Authorization="AWS4-HMAC-SHA256 SignedHeaders=host"))
    assert error.code == "IncompleteSignatureException"
    assert str(error.message).startswith(
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. "
    )
    malformed = refused(with_headers(kms(), Authorization="AWS4-HMAC-SHA256 Credential"))
    assert malformed.code == "IncompleteSignatureException"
    assert refused(with_headers(kms(), Authorization="AWS a:b")).code == "IncompleteSignatureException"


def test_kms_session_token_and_duplicates() -> None:
    token = kms(headers={**TARGET, "x-amz-security-token": "t"})
    assert refused(token).code == "UnrecognizedClientException"
    duplicate = refused(adding(kms(), "X-Amz-Target", "TrentService.ListKeys"))
    assert (duplicate.code, duplicate.status) == ("ValidationException", 400)


@pytest.mark.parametrize(
    ("request_", "now", "code"),
    [
        (sts(key_id="AKIAUNKNOWN"), NOW, "InvalidClientTokenId"),
        (sts(secret="x"), NOW, "SignatureDoesNotMatch"),
        (sts(), NOW + timedelta(minutes=20), "SignatureDoesNotMatch"),
        (
            presigned(service="sts", payload_hash=EMPTY, expires="60"),
            NOW + timedelta(minutes=2),
            "SignatureDoesNotMatch",
        ),
    ],
)
def test_sts_errors(request_: Request, now: datetime, code: str) -> None:
    error = refused(request_, now)
    assert (error.code, error.status) == (code, 403)


def test_a_presigned_request_to_another_service() -> None:
    request = presigned(path="/", service="sts", payload_hash=EMPTY)
    assert sigv4.claimed_service(request) == "sts"
    assert verify(request).presigned


@pytest.mark.parametrize(
    ("request_", "service"),
    [
        (Request("GET", "/"), None),
        (Request("GET", "/", "", CIMultiDict({"Authorization": "x"})), None),
        (Request("GET", "/", "X-Amz-Credential=a/b"), None),
        (signed(), "s3"),
        (presigned(), "s3"),
    ],
)
def test_claimed_service(request_: Request, service: str | None) -> None:
    assert sigv4.claimed_service(request_) == service


# Keys


def test_signing_keys_are_cached_per_secret_date_region_and_service() -> None:
    canonical.signing_key.cache_clear()
    verify(signed())
    verify(signed())
    assert canonical.signing_key.cache_info().misses == 1
    assert canonical.signing_key.cache_info().maxsize is not None
    others = [
        canonical.signing_key("other", "20130524", "us-east-1", "s3"),
        canonical.signing_key(SECRET, "20130525", "us-east-1", "s3"),
        canonical.signing_key(SECRET, "20130524", "us-east-2", "s3"),
        canonical.signing_key(SECRET, "20130524", "us-east-1", "kms"),
        canonical.signing_key(SECRET, "20130524", "us-east-1", "s3"),
    ]
    assert len(set(others)) == 5


def test_a_refusal_before_the_lookup_asks_for_no_key() -> None:
    keys = Keys()
    with pytest.raises(AwsError):
        sigv4.verify(signed(), keys, NOW + timedelta(hours=1))
    assert keys.asked == 0


def test_signing_covers_what_matters_and_nothing_else() -> None:
    request = signed(
        "PUT", headers={"Content-Type": "a/b", "User-Agent": "u", "x-amz-meta-a": "1", "Content-Length": "3"}
    )
    assert (
        "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-a,"
        in request.headers["Authorization"]
    )


# Whatever comes

WORDS = st.sampled_from(
    [
        "AWS4-HMAC-SHA256",
        "AWS",
        " ",
        ",",
        "=",
        "/",
        ";",
        "&",
        "%",
        "%zz",
        "%ff",
        "Credential=",
        "SignedHeaders=",
        "Signature=",
        "X-Amz-Algorithm=",
        "X-Amz-Credential=",
        "X-Amz-Date=",
        "X-Amz-Expires=",
        "X-Amz-SignedHeaders=",
        "X-Amz-Signature=",
        "20130524",
        "20130524T000000Z",
        "aws4_request",
        "host",
        "s3",
        "kms",
        CREDENTIAL,
        KEY_ID,
        "\udcff",
        "\N{LATIN SMALL LETTER E WITH ACUTE}",
        "\N{ARABIC-INDIC DIGIT ONE}",
    ]
)
GARBAGE = st.lists(WORDS | st.text(max_size=3), max_size=14).map("".join)


@given(
    authorization=st.none() | GARBAGE.map("AWS4-HMAC-SHA256 ".__add__) | GARBAGE,
    query=GARBAGE,
    path=GARBAGE.map("/".__add__),
    date=st.none() | GARBAGE | st.text(max_size=40),
)
def test_garbage_is_refused_and_nothing_crashes(
    authorization: str | None, query: str, path: str, date: str | None
) -> None:
    headers = CIMultiDict({"Host": HOST})
    if authorization is not None:
        headers["Authorization"] = authorization
    if date is not None:
        headers["Date"] = date
    request = Request("GET", path, query, headers)
    assert sigv4.is_anonymous(request) in {True, False}
    sigv4.claimed_service(request)
    error = refused(request)
    assert 400 <= error.status < 404
    for text in (error.message, *error.detail.values()):
        assert text is not None
        text.encode("utf-8")


def test_what_stands_in_a_signatures_place() -> None:
    made = sigv4.anonymous(Request("GET", "/b/k", headers=CIMultiDict({"Host": "h"})), NOW)
    assert made.caller.anonymous
    assert (made.scope.region, made.scope.service, made.payload_hash) == ("", "s3", "UNSIGNED-PAYLOAD")
    for value in ("0" * 64, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"):
        headers = CIMultiDict({"x-amz-content-sha256": value})
        assert sigv4.anonymous(Request("PUT", "/b/k", headers=headers), NOW).payload_hash == value


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")], "InvalidRequest"),
        ([("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")], "InvalidRequest"),
        ([("x-amz-content-sha256", "nonsense")], "InvalidArgument"),
        ([("x-amz-acl", "private"), ("X-Amz-Acl", "private")], "InvalidRequest"),
        ([("Range", "bytes=0-1"), ("range", "bytes=2-3")], "InvalidRequest"),
    ],
)
def test_what_a_request_without_a_signature_may_not_have(headers: list[tuple[str, str]], code: str) -> None:
    with pytest.raises(AwsError) as caught:
        sigv4.anonymous(Request("PUT", "/b/k", headers=CIMultiDict(headers)), NOW)
    assert caught.value.code == code
