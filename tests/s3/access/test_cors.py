"""CORS rules: which are taken, and which requests they allow."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Request
from proxy.s3.access import cors
from proxy.s3.access.cors import Rule
from proxy.s3.gateway import Target
from proxy.s3.state.ports import BucketRecord
from tests.s3.fakes import ACCOUNT

PAGE = "https://app.example.com"
OBJECT = Target("bucket", "k")
VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"


def bucket(*rules: Rule) -> BucketRecord:
    now = datetime(2026, 11, 23, 6, tzinfo=UTC)
    return BucketRecord("bucket", ACCOUNT, "eu-west-1", now, cors=cors.render(rules) if rules else None)


def request(verb: str = "GET", /, origin: str | None = PAGE, **headers: str) -> Request:
    fields = CIMultiDict({f"Access-Control-Request-{name.title()}": value for name, value in headers.items()})
    if origin is not None:
        fields["Origin"] = origin
    return Request(verb, "/bucket/k", headers=fields)


def allowed(rule: Rule, asked: Request) -> Mapping[str, str] | None:
    return cors.allowing_headers(asked, bucket(rule))


def test_what_a_rule_lets_a_page_have() -> None:
    rule = Rule((PAGE,), ("GET", "PUT"), ("x-amz-*",), ("ETag", "x-amz-request-id"), 3000)
    assert allowed(rule, request()) == {
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "GET, PUT",
        "Access-Control-Expose-Headers": "ETag, x-amz-request-id",
        "Access-Control-Max-Age": "3000",
        "Vary": VARY,
    }
    asked = request("OPTIONS", method="PUT", headers="X-Amz-Date,x-amz-acl")
    found = allowed(rule, asked)
    assert found is not None
    assert found["Access-Control-Allow-Headers"] == "x-amz-date, x-amz-acl"


def test_any_origin_gets_no_credentials() -> None:
    assert allowed(Rule((PAGE, "*"), ("GET",)), request(origin="http://elsewhere")) == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET",
        "Vary": VARY,
    }


@pytest.mark.parametrize(
    ("rule", "asked", "is_allowed"),
    [
        (Rule(("https://*.example.com",), ("GET",)), request(), True),
        (Rule(("https://*.example.com",), ("GET",)), request(origin="https://example.com"), False),
        (Rule(("https://*.example.com",), ("GET",)), request(origin="https://app.example.com.evil.org"), False),
        (Rule(("http*//app.example.com",), ("GET",)), request(), True),
        (Rule(("ab*ba",), ("GET",)), request(origin="aba"), False),
        (Rule(("https://APP.example.com",), ("GET",)), request(), False),
        (Rule((PAGE,), ("PUT",)), request(), False),
        (Rule((PAGE,), ("PUT",)), request("PUT"), True),
        (Rule((PAGE,), ("PUT",)), request("OPTIONS", method="PUT"), True),
        (Rule((PAGE,), ("PUT",)), request("OPTIONS", method="GET"), False),
        (Rule((PAGE,), ("GET",)), request("OPTIONS", method="GET", headers="x-amz-date"), False),
        (Rule((PAGE,), ("GET",), ("*",)), request("OPTIONS", method="GET", headers="x-amz-date, b"), True),
        (Rule((PAGE,), ("GET",), ("X-AMZ-Date",)), request("OPTIONS", method="GET", headers="x-amz-DATE"), True),
        (Rule((PAGE,), ("GET",), ("a", "b")), request("OPTIONS", method="GET", headers="a,c"), False),
        (Rule((PAGE,), ("GET",)), request(origin=None), False),
        (Rule((PAGE,), ("GET",)), request(origin=""), False),
    ],
)
def test_which_requests_match(rule: Rule, asked: Request, is_allowed: bool) -> None:
    assert (allowed(rule, asked) is not None) is is_allowed


def test_the_first_rule_that_matches_counts() -> None:
    record = bucket(Rule((PAGE,), ("PUT",), max_age=1), Rule((PAGE,), ("GET",), max_age=2), Rule(("*",), ("GET",)))
    found = cors.allowing_headers(request(), record)
    assert found is not None
    assert found["Access-Control-Max-Age"] == "2"
    assert cors.allowing_headers(request(), bucket()) is None


def refused(
    asked: Request, record: BucketRecord | None, target: Target = OBJECT
) -> tuple[int, str, str, dict[str, str]]:
    with pytest.raises(AwsError) as caught:
        cors.answer_preflight(asked, target, record)
    error = caught.value
    return error.status, error.code, error.message or "", dict(error.detail)


def test_a_preflight() -> None:
    answer = cors.answer_preflight(request("OPTIONS", method="GET"), OBJECT, bucket(Rule((PAGE,), ("GET",))))
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE


def test_refused_preflights_are_told_why_in_awss_words() -> None:
    here = bucket(Rule((PAGE,), ("GET",)))
    no_origin = (400, "BadRequest", "Insufficient information. Origin request header needed.", {})
    for record in (None, bucket(), here):
        assert refused(request("OPTIONS", origin=None), record) == no_origin
    not_enabled = "CORSResponse: CORS is not enabled for this bucket."
    assert refused(request("OPTIONS", method="PUT"), bucket()) == (
        403,
        "AccessForbidden",
        not_enabled,
        {"Method": "PUT", "ResourceType": "BUCKET"},
    )
    assert refused(request("OPTIONS"), bucket())[3] == {"Method": "OPTIONS", "ResourceType": "BUCKET"}
    assert refused(request("OPTIONS", method="GET"), None)[2] == "CORSResponse: Bucket not found"
    assert refused(request("OPTIONS"), here)[:3] == (400, "BadRequest", "Invalid Access-Control-Request-Method: null")
    assert refused(request("OPTIONS", method="YUCK"), here)[0] == 400
    status, code, message, detail = refused(request("OPTIONS", method="PUT"), here)
    assert (status, code) == (403, "AccessForbidden")
    assert message.startswith("CORSResponse: This CORS request is not allowed. This is usually because")
    assert detail == {"Method": "PUT", "ResourceType": "OBJECT"}
    assert refused(request("OPTIONS", method="PUT"), here, Target("bucket"))[3]["ResourceType"] == "BUCKET"


def rule(**members: Any) -> dict[str, Any]:
    return {"AllowedOrigin": "*", "AllowedMethod": "GET", **members}


def document(*rules: Any, **more: Any) -> bytes:
    return xml_codec.render("CORSConfiguration", {"CORSRule": list(rules), **more})


def test_rules_are_read_and_written() -> None:
    rules = (
        Rule((PAGE, "http://*.b"), ("GET", "HEAD"), ("*",), ("ETag",), 0, "first"),
        Rule(("*",), ("PUT", "POST", "DELETE")),
    )
    assert cors.parse(cors.render(rules)) == rules


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", "MalformedXML", None),
        (b"<Other/>", "MalformedXML", None),
        (document(), "MalformedXML", None),
        (document(*[rule()] * 101), "MalformedXML", None),
        (document(rule(), Other="x"), "MalformedXML", None),
        (document(rule(Other="x")), "MalformedXML", None),
        (document(rule(AllowedOrigin=None)), "MalformedXML", None),
        (document(rule(AllowedMethod=None)), "MalformedXML", None),
        (document(rule(AllowedOrigin="a\nb")), "MalformedXML", None),
        (document(rule(MaxAgeSeconds="soon")), "MalformedXML", None),
        (document(rule(MaxAgeSeconds="-1")), "MalformedXML", None),
        (document(rule(ID="x" * 256)), "MalformedXML", None),
        (
            document(rule(AllowedMethod=["GET", "PATCH"])),
            "InvalidRequest",
            "Found unsupported HTTP method in CORS config. Unsupported method is PATCH",
        ),
        (
            document(rule(AllowedOrigin="http://*.a.*")),
            "InvalidRequest",
            'AllowedOrigin "http://*.a.*" can not have more than one wildcard.',
        ),
        (
            document(rule(AllowedHeader="*-*")),
            "InvalidRequest",
            'AllowedHeader "*-*" can not have more than one wildcard.',
        ),
        (
            document(rule(ExposeHeader="x-amz-*")),
            "InvalidRequest",
            'ExposeHeader "x-amz-*" contains wildcard. We currently do not support wildcard for ExposeHeader.',
        ),
    ],
)
def test_what_is_no_configuration(body: bytes, code: str, message: str | None) -> None:
    with pytest.raises(AwsError) as caught:
        cors.parse(body)
    assert caught.value.code == code
    assert message is None or caught.value.message == message
