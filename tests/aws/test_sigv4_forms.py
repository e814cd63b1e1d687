"""Requests of a form that was verified before: accepted and refused exactly as if it had not been."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from multidict import CIMultiDict

from proxy.aws import sigv4, sigv4_forms
from proxy.aws.credentials import AccessKey
from proxy.aws.errors import AwsError
from proxy.aws.message import Request
from tests.aws.test_sigv4 import CALLER, EMPTY, KEY_ID, NOW, SECRET, Keys, adding, signed, with_headers, without

HEADERS = {
    "x-amz-meta-a": "one  two",
    "Content-Type": "text/plain",
    "User-Agent": "a client",
    "x-amz-security-token": "valid",
}


@pytest.fixture(autouse=True)
def no_forms() -> Iterator[None]:
    sigv4_forms._forms.clear()
    yield
    sigv4_forms._forms.clear()


def outcome(request: Request, now: datetime = NOW, keys: Keys | None = None) -> object:
    try:
        return sigv4.verify(request, keys or Keys(), now)
    except AwsError as error:
        return error.code, error.message, error.status, sorted(error.detail.items())


def base(path: str = "/bucket/key", query: str = "", **headers: str) -> Request:
    return signed("PUT", path, query, {**HEADERS, **headers})


def test_another_request_of_the_same_form_is_verified_by_itself() -> None:
    sigv4.verify(base(), Keys(), NOW)
    assert len(sigv4_forms._forms) == 1
    later = NOW + timedelta(seconds=5)
    second = signed("GET", "/bucket/k%20ey", "a=b&c", {**HEADERS, "x-amz-meta-a": "other"}, now=later)
    keys = Keys()
    verified = sigv4.verify(second, keys, later)
    assert len(sigv4_forms._forms) == 1
    assert keys.asked == 0  # temporary ones are asked for in another way
    assert (verified.caller, verified.timestamp) == (CALLER, "20130524T000005Z")
    assert verified.payload_hash == EMPTY
    sigv4_forms._forms.clear()
    assert sigv4.verify(second, Keys(), later) == verified


CHANGES: dict[str, Callable[[Request], Request]] = {
    "nothing": lambda it: it,
    "method": lambda it: dataclasses.replace(it, method="GET"),
    "path": lambda it: dataclasses.replace(it, path=it.path + "x"),
    "query": lambda it: dataclasses.replace(it, query="acl"),
    "query authentication": lambda it: dataclasses.replace(it, query="X-Amz-Date=20130524T000000Z"),
    "query authentication, encoded": lambda it: dataclasses.replace(it, query="X%2DAmz-Algorithm=x"),
    "signed value": lambda it: with_headers(it, x_amz_meta_a="1"),
    "blanks in a value": lambda it: with_headers(it, x_amz_meta_a=" one two "),
    "host": lambda it: with_headers(it, Host="other"),
    "unsigned value": lambda it: with_headers(it, User_Agent="another client"),
    "one more header": lambda it: adding(it, "x-amz-acl", "private"),
    "a header twice": lambda it: adding(it, "x-amz-meta-a", "1"),
    "authorization twice": lambda it: adding(it, "Authorization", it.headers["Authorization"]),
    "a header less": lambda it: without(it, "x-amz-meta-a"),
    "no date": lambda it: without(it, "x-amz-date"),
    "another day": lambda it: with_headers(it, x_amz_date="20130523T235959Z"),
    "another second": lambda it: with_headers(it, x_amz_date="20130524T000001Z"),
    "too old": lambda it: with_headers(it, x_amz_date="20130524T002001Z"),
    "no date at all": lambda it: with_headers(it, x_amz_date="yesterday"),
    "another hash": lambda it: with_headers(it, x_amz_content_sha256="0" * 64),
    "no hash": lambda it: with_headers(it, x_amz_content_sha256="none"),
    "another token": lambda it: with_headers(it, x_amz_security_token="invalid"),
    "signature": lambda it: with_headers(it, Authorization=it.headers["Authorization"][:-1] + "x"),
    "signature in capitals": lambda it: with_headers(
        it, Authorization=it.headers["Authorization"][:-64] + it.headers["Authorization"][-64:].upper()
    ),
    "a longer signature": lambda it: with_headers(it, Authorization=it.headers["Authorization"] + "0"),
    "a shorter signature": lambda it: with_headers(it, Authorization=it.headers["Authorization"][:-1]),
    "a component more": lambda it: with_headers(
        it, Authorization=it.headers["Authorization"][:-64] + "0" * 40 + ", Credential=x/y/z/a"[-24:].rjust(24)
    ),
    "another key": lambda it: with_headers(
        it, Authorization=it.headers["Authorization"].replace(KEY_ID, "AKIAI44QH8DHBEXAMPLE")
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("query", ["", "versions&prefix=a%20b"])
def test_what_is_refused(change: str, query: str) -> None:
    request = base(query=query)
    changed = CHANGES[change](request)
    expected = outcome(changed)
    sigv4_forms._forms.clear()
    sigv4.verify(request, Keys(), NOW)
    assert sigv4_forms._forms
    assert outcome(changed) == expected
    fine = change in {"nothing", "blanks in a value", "unsigned value"}
    assert isinstance(expected, sigv4.Verified) is fine


def test_keys_are_looked_up_each_time() -> None:
    headers = {name: value for name, value in HEADERS.items() if name != "x-amz-security-token"}
    request = signed("GET", headers=headers)
    keys = Keys()
    for _ in range(3):
        sigv4.verify(request, keys, NOW)
    assert keys.asked == 3

    class Gone(Keys):
        def find(self, access_key_id: str) -> AccessKey | None:
            return None

    class Changed(Keys):
        def find(self, access_key_id: str) -> AccessKey | None:
            return AccessKey(KEY_ID, SECRET + "x", CALLER)

    assert outcome(request, keys=Gone())[0] == "InvalidAccessKeyId"  # type: ignore[index]
    assert outcome(request, keys=Changed())[0] == "SignatureDoesNotMatch"  # type: ignore[index]
    assert outcome(base(), NOW.replace(year=2014))[0] == "RequestTimeTooSkewed"  # type: ignore[index]


@pytest.mark.parametrize("service", ["kms", "sts"])
def test_other_services_sign_their_body(service: str) -> None:
    request = signed("POST", "/a/../b//", service=service, body=b"one", payload_hash=hashlib.sha256(b"one").hexdigest())
    sigv4.verify(request, Keys(), NOW)
    assert sigv4_forms._forms
    sigv4.verify(request, Keys(), NOW)
    other = dataclasses.replace(request, body=b"two")
    expected = outcome(other)
    sigv4_forms._forms.clear()
    assert outcome(other) == expected
    assert not isinstance(expected, sigv4.Verified)


def test_few_and_short_forms_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sigv4_forms, "_MOST", 3)
    for number in range(5):
        sigv4.verify(base(**{f"x-amz-meta-{number}": "v"}), Keys(), NOW)
    assert len(sigv4_forms._forms) == 2
    sigv4_forms._forms.clear()
    sigv4.verify(base(**{"x-amz-meta-" + "n" * 5000: "v"}), Keys(), NOW)
    wrong = with_headers(base(), x_amz_meta_a="1")
    assert outcome(wrong)[0] == "SignatureDoesNotMatch"  # type: ignore[index]
    assert not sigv4_forms._forms


def test_headers_in_any_case_and_order() -> None:
    request = base()
    sigv4.verify(request, Keys(), NOW)
    upper = dataclasses.replace(
        request, headers=CIMultiDict([(name.upper(), value) for name, value in reversed(request.headers.items())])
    )
    assert isinstance(outcome(upper), sigv4.Verified)
