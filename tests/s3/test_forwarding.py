import base64
import hashlib
from collections.abc import AsyncIterator

import pytest
from multidict import CIMultiDict

from proxy.aws.message import Request, Response
from proxy.s3 import forwarding
from proxy.s3.forwarding import content_md5, error_of, expect, passed, read_answer, render_query, upstream_request
from proxy.s3.gateway import Target
from proxy.s3.upstream.port import UpstreamError
from tests.s3.fakes import make_call, store_error

TARGET = Target("b", "k")


def test_only_what_is_named_goes_up() -> None:
    received = Request(
        "PUT",
        "/b/k",
        "versionId=a%2Bb&x-amz-meta-evil=1&metadata=true&tagging&x-id=PutObjectTagging",
        CIMultiDict({"X-Amz-Mfa": "m", "x-amz-acl": "public-read", "Host": "proxy", "Authorization": "secret"}),
    )
    request = upstream_request(
        "PUT",
        TARGET,
        received,
        query={"tagging": ""},
        query_names=("versionId", "partNumber"),
        header_names=("x-amz-mfa", "x-amz-other"),
        headers={"Content-MD5": "x"},
        body=b"doc",
    )
    assert (request.method, request.path, request.query) == ("PUT", "/b/k", "tagging&versionId=a%2Bb")
    assert dict(request.headers) == {"Content-MD5": "x", "x-amz-mfa": "m"}
    assert request.body == b"doc"


def test_queries_are_encoded_so_that_they_are_read_back() -> None:
    items = [("prefix", "a b+&=é/~\udcff"), ("list-type", "2"), ("acl", "")]
    query = render_query(items)
    assert query == "prefix=a%20b%2B%26%3D%C3%A9%2F~%FF&list-type=2&acl"
    assert list(Request("GET", "/", query).parameters) == items


def test_content_md5() -> None:
    assert content_md5(b"x") == base64.b64encode(hashlib.md5(b"x").digest()).decode()


def test_headers_passed_on_are_those_named() -> None:
    headers = CIMultiDict({"X-Amz-Version-Id": "v", "Server": "MinIO", "x-minio-deployment": "1"})
    assert dict(passed(headers, ("x-amz-version-id", "x-amz-delete-marker"))) == {"x-amz-version-id": "v"}


class _Stream:
    def __init__(self, *pieces: bytes) -> None:
        self._pieces: AsyncIterator[bytes] = self._iterate(pieces)
        self.closed = False

    @staticmethod
    async def _iterate(pieces: tuple[bytes, ...]) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    def __aiter__(self) -> "_Stream":
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        self.closed = True


async def test_an_answer_that_has_no_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "MAX_ANSWER", 10)
    assert await read_answer(Response(200, body=_Stream(b"12345", b"67890"))) == b"1234567890"
    stream = _Stream(b"12345", b"678901")
    with pytest.raises(UpstreamError):
        await read_answer(Response(200, body=stream))
    assert stream.closed


async def test_the_stores_error_keeps_code_and_message_and_loses_its_names() -> None:
    answer = store_error(404, "NoSuchTagSet", BucketName="b", Server="store-1")
    error = error_of(answer.status, await read_answer(answer), TARGET)
    assert (error.code, error.message, error.status) == ("NoSuchTagSet", "NoSuchTagSet.", 404)
    assert dict(error.detail) == {"BucketName": "b"}


@pytest.mark.parametrize("message", ["MinIO says no", "see http://10.0.0.1:9000/x", "SeaweedFS volume 3"])
def test_a_message_that_names_the_store_is_dropped(message: str) -> None:
    body = f"<Error><Code>InvalidArgument</Code><Message>{message}</Message></Error>".encode()
    assert error_of(400, body, TARGET).message is None


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"])
@pytest.mark.parametrize("status", [400, 403])
def test_faults_of_the_proxys_own_credentials_are_not_the_clients(code: str, status: int) -> None:
    error = error_of(status, f"<Error><Code>{code}</Code></Error>".encode(), TARGET)
    assert error.status >= 500
    assert code not in str(error)


@pytest.mark.parametrize(("status", "code"), [(301, "PermanentRedirect"), (307, "TemporaryRedirect"), (200, "Odd")])
def test_redirects_and_errors_in_a_200_are_faults_of_the_store(status: int, code: str) -> None:
    body = f"<Error><Code>{code}</Code><Endpoint>store-2</Endpoint></Error>".encode()
    assert error_of(status, body, TARGET).status == 503


@pytest.mark.parametrize(
    ("status", "target", "code", "expected"),
    [
        (404, TARGET, "NoSuchKey", 404),
        (404, Target("b"), "NoSuchBucket", 404),
        (403, TARGET, "AccessDenied", 403),
        (405, TARGET, "MethodNotAllowed", 405),
        (412, TARGET, "PreconditionFailed", 412),
        (501, TARGET, "NotImplemented", 501),
        (400, TARGET, "InvalidRequest", 400),
        (500, TARGET, "ServiceUnavailable", 503),
        (302, TARGET, "ServiceUnavailable", 503),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>nginx</html>", b"not xml <", b"<!DOCTYPE html><html/>"])
def test_an_answer_without_an_error_document(
    status: int, target: Target, code: str, expected: int, body: bytes
) -> None:
    error = error_of(status, body, target)
    assert (error.code, error.status) == (code, expected)


def test_codes_of_minios_own_lose_its_name() -> None:
    body = b"<Error><Code>XMinioInvalidObjectName</Code><Message>Bad name.</Message></Error>"
    assert error_of(400, body, TARGET).code == "InvalidObjectName"


async def test_expect_gives_the_body_or_raises() -> None:
    assert await expect(Response(204, body=b"x"), TARGET, 200, 204) == b"x"
    with pytest.raises(Exception, match="NoSuchBucket"):
        await expect(store_error(404, "NoSuchBucket"), TARGET, 200)


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (501, "NotImplemented"), (500, "Odd")]
)
def test_what_a_store_says_of_its_own_faults_stays_inside(status: int, code: str) -> None:
    document = f"<Error><Code>{code}</Code><Message>dial tcp 10.0.0.7:8080: /data/vol1 refused</Message></Error>"
    error = error_of(status, document.encode(), Target("b", "k"))
    assert (error.status, error.code) == (status, code)
    assert "10.0.0.7" not in (error.message or "")


@pytest.mark.parametrize(
    ("headers", "condition"), [({"If-Match": '"x"'}, "If-Match"), ({"If-None-Match": "*"}, "If-None-Match"), ({}, None)]
)
async def test_a_condition_that_fails_is_named(headers: dict[str, str], condition: str | None) -> None:
    call = make_call("GET", Target("b", "k"), headers=headers)
    error = await forwarding.store_error(store_error(412, "PreconditionFailed", BucketName="theirs"), call)
    assert (error.status, error.code, error.detail.get("Condition")) == (412, "PreconditionFailed", condition)
    assert "BucketName" not in error.detail


async def test_a_missing_key_tells_of_its_delete_marker() -> None:
    answer = store_error(404, "NoSuchKey")
    answer.headers.update({"x-amz-delete-marker": "true", "x-amz-version-id": "v", "x-other": "1"})  # type: ignore[union-attr]
    error = await forwarding.store_error(answer, make_call("GET", Target("b", "k")))
    assert dict(error.headers) == {"x-amz-delete-marker": "true", "x-amz-version-id": "v"}
