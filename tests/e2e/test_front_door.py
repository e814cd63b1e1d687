"""What the front door keeps out, each tried as an attack: nothing of it is left behind, the old object is intact."""

import base64
import hashlib
import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from tests.e2e.samples import (
    MIB,
    PRECIOUS,
    body,
    intact,
    keys_in,
    kms,
    new_bucket,
    new_key,
    new_kms_key,
    precious_object,
    refused,
    s3,
    shared_bucket,
)
from tests.e2e.stores import Endpoint, answers
from tests.e2e.wire import EMPTY_SHA256, UNSIGNED, Answer, Signed, Signer, Wire, now, render, sha256, stamp


@pytest.fixture
def target(endpoint: Endpoint) -> tuple[str, str]:
    """Bucket and key of an object that has to stay as it is."""
    return precious_object(endpoint)


# Signatures.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-copy-source", "/victim/secret"),
        ("x-amz-meta-a", "b"),
        ("X-Amz-Server-Side-Encryption", "AES256"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-storage-class", "GLACIER"),
        ("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ],
)
def test_what_is_not_signed_is_not_accepted(endpoint: Endpoint, target: tuple[str, str], name: str, value: str) -> None:
    """Neither beside a signed request nor beside a presigned URL, whoever has got it."""
    path = "/{}/{}".format(*target)
    with Wire(endpoint) as wire:
        for head in (wire.signed("PUT", path, payload=UNSIGNED), wire.presigned("PUT", path)):
            answer = wire.send(head.adding((name, value)), b"attack")
            told = (answer.status, answer.code, answer.message)
            assert told == (403, "AccessDenied", "There were headers present in the request which were not signed")
            assert answer.error["HeadersNotSigned"] == name.lower()
    assert intact(endpoint, target)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_trailer_is_no_header(endpoint: Endpoint, target: tuple[str, str], at_once: bool) -> None:
    """It comes with a body in chunks, after the signature was verified, and nobody has signed it."""
    path = "/{}/{}".format(*target)
    with Wire(endpoint) as wire:
        head = wire.presigned("GET", path).adding(("Transfer-Encoding", "chunked"))
        with wire.socket() as connection:
            connection.sendall(render(head))
            if not at_once:
                time.sleep(0.05)
            connection.sendall(b"0\r\nRange: bytes=0-0\r\nx-amz-expected-bucket-owner: 000000000000\r\n\r\n")
            response = http.client.HTTPResponse(connection, method="GET")
            response.begin()
            assert (response.status, response.read()) == (200, PRECIOUS)


def test_the_host_has_to_be_signed(endpoint: Endpoint, target: tuple[str, str]) -> None:
    with Wire(endpoint) as wire:
        head = wire.signed("GET", "/{}/{}".format(*target))
        fields = dict(head.headers)
        names = "x-amz-content-sha256;x-amz-date"
        lower = {name: fields[name] for name in names.split(";")}
        signature = wire.signer.signature("GET", head.target, (), lower, EMPTY_SHA256, head.moment)
        credential = f"{wire.signer.access_key_id}/{wire.signer.scope(head.moment)}"
        authorization = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        answer = wire.send(head.replacing("Authorization", authorization))
    assert (answer.status, answer.code) == (403, "AccessDenied")


@pytest.mark.parametrize("name", ["x-amz-date", "x-amz-content-sha256", "Authorization", "x-amz-meta-a", "Host"])
def test_what_stands_there_twice(endpoint: Endpoint, target: tuple[str, str], name: str) -> None:
    with Wire(endpoint) as wire:
        head = wire.signed("PUT", "/{}/{}".format(*target), (), {"x-amz-meta-a": "b"}, payload=UNSIGNED)
        value = dict(head.headers)[name]
        assert wire.send(head.adding((name, value)), b"attack").status == 400
    assert intact(endpoint, target)


@pytest.mark.parametrize("name", ["Range", "Content-MD5"])
def test_signed_headers_that_stand_there_twice(endpoint: Endpoint, target: tuple[str, str], name: str) -> None:
    value = {"Range": "bytes=0-1", "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}[name]
    with Wire(endpoint) as wire:
        head = wire.signed("GET", "/{}/{}".format(*target), (), {name: value})
        assert wire.send(head.adding((name, value))).status == 400


def signed_by(**changes: Any) -> Callable[[Wire], Signer]:
    def make(wire: Wire) -> Signer:
        own = {"access_key_id": wire.signer.access_key_id, "secret": wire.signer.secret, **changes}
        return Signer(**own)

    return make


@pytest.mark.parametrize(
    ("signer", "status", "code"),
    [
        (signed_by(access_key_id="AKIDOESNOTEXIST12345"), 403, "InvalidAccessKeyId"),
        (signed_by(secret="not the secret"), 403, "SignatureDoesNotMatch"),
        (signed_by(region="us east"), 400, "AuthorizationHeaderMalformed"),
        (signed_by(service="ec2"), 400, "AuthorizationHeaderMalformed"),
    ],
)
def test_who_is_not_known(
    endpoint: Endpoint, target: tuple[str, str], signer: Callable[[Wire], Signer], status: int, code: str
) -> None:
    with Wire(endpoint) as wire:
        fields = {"x-amz-content-sha256": UNSIGNED}
        head = wire.signed("PUT", "/{}/{}".format(*target), (), fields, UNSIGNED, signer=signer(wire))
        answer = wire.send(head, b"attack")
    assert (answer.status, answer.code) == (status, code)
    assert intact(endpoint, target)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda head: head.replacing("Authorization", None), 403, "AccessDenied"),
        (lambda head: head.replacing("Authorization", "AWS AKIA:c2lnbmF0dXJl"), 400, "InvalidRequest"),
        (lambda head: head.replacing("Authorization", "Bearer token"), 400, "InvalidArgument"),
        (lambda head: head.replacing("Authorization", "AWS4-HMAC-SHA256 Credential=x"), 400, None),
        (lambda head: head.replacing("x-amz-date", stamp(now() - timedelta(seconds=5))), 403, "SignatureDoesNotMatch"),
        (lambda head: head.replacing("x-amz-date", None), 403, "AccessDenied"),
        (lambda head: head.replacing("x-amz-content-sha256", EMPTY_SHA256), 403, "SignatureDoesNotMatch"),
        (lambda head: head.replacing("x-amz-meta-a", "changed"), 403, "SignatureDoesNotMatch"),
        (lambda head: head.asking("tagging"), 403, "SignatureDoesNotMatch"),
        (lambda head: head.asking("X-Amz-Signature=0"), 400, "InvalidArgument"),
        (lambda head: Signed("DELETE", *_rest(head)), 403, "SignatureDoesNotMatch"),
    ],
)
def test_what_was_changed_on_its_way(
    endpoint: Endpoint, target: tuple[str, str], change: Callable[[Signed], Signed], status: int, code: str | None
) -> None:
    with Wire(endpoint) as wire:
        head = wire.signed("PUT", "/{}/{}".format(*target), (), {"x-amz-meta-a": "b"}, UNSIGNED)
        answer = wire.send(change(head), b"attack")
    assert answer.status == status
    assert code is None or answer.code == code
    assert intact(endpoint, target)


def _rest(head: Signed) -> tuple[Any, ...]:
    return head.target, head.headers, head.moment, head.signature


@pytest.mark.parametrize("minutes", [-16, -14, 14, 16])
def test_clocks_that_differ(endpoint: Endpoint, target: tuple[str, str], minutes: int) -> None:
    with Wire(endpoint) as wire:
        head = wire.signed("GET", "/{}/{}".format(*target), moment=now() + timedelta(minutes=minutes))
        answer = wire.send(head)
    if abs(minutes) < 15:
        assert (answer.status, answer.body) == (200, PRECIOUS)
    else:
        message = "The difference between the request time and the current time is too large."
        assert (answer.status, answer.code, answer.message) == (403, "RequestTimeTooSkewed", message)
        assert answer.error["MaxAllowedSkewMilliseconds"] == "900000"


def test_a_service_cannot_be_confused_with_another(endpoint: Endpoint, target: tuple[str, str]) -> None:
    """What is signed for the key service is not served as S3, whatever its path says, nor the other way round."""
    with Wire(endpoint) as wire:
        own = wire.signer
        signer = Signer(own.access_key_id, own.secret, own.region, "kms")
        deleted = wire.send(wire.signed("DELETE", "/{}/{}".format(*target), signer=signer))
        assert deleted.status == 400
        headers = {"X-Amz-Target": "TrentService.CreateKey", "Content-Type": "application/x-amz-json-1.1"}
        assert wire.send(wire.signed("POST", "/", (), headers, sha256(b"{}")), b"{}").status in {405, 501}
    assert intact(endpoint, target)


def test_the_operation_of_the_key_service_has_to_be_signed(endpoint: Endpoint) -> None:
    arn = new_kms_key(endpoint)
    with Wire(endpoint) as wire:
        own = wire.signer
        signer = Signer(own.access_key_id, own.secret, own.region, "kms")
        call = f'{{"KeyId": "{arn}"}}'.encode()
        headers = {"X-Amz-Target": "TrentService.DescribeKey", "Content-Type": "application/x-amz-json-1.1"}
        head = wire.signed("POST", "/", (), headers, sha256(call), signer=signer)
        assert wire.send(head.replacing("X-Amz-Target", "TrentService.DisableKey"), call).status == 400
        bare = wire.signed("POST", "/", (), {"Content-Type": headers["Content-Type"]}, sha256(call), signer=signer)
        answer = wire.send(bare.adding(("X-Amz-Target", "TrentService.DisableKey")), call)
        assert answer.status == 400
        assert answer.json()["__type"] == "InvalidSignatureException"
        assert wire.send(head, call.replace(b"KeyId", b"keyId")).json()["__type"] == "InvalidSignatureException"
        assert wire.send(head, call).status == 200
    assert kms(endpoint).describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] == "Enabled"


def test_another_account_s_bucket_is_expected(endpoint: Endpoint, target: tuple[str, str]) -> None:
    bucket, key = target
    with refused(403, "AccessDenied"):
        s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x", ExpectedBucketOwner="111122223333")
    assert intact(endpoint, target)
    s3(endpoint).get_object(Bucket=bucket, Key=key, ExpectedBucketOwner=endpoint.account)["Body"].read()


@pytest.mark.parametrize("path", ["//{bucket}", "//{bucket}/{key}", "///", "/{bucket}//", "/{bucket}//{key}"])
def test_slashes_lead_nowhere_else(endpoint: Endpoint, target: tuple[str, str], path: str) -> None:
    named = path.format(bucket=target[0], key=target[1])
    with Wire(endpoint) as wire:
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            assert 400 <= wire.call(method, named).status < 500, method
    assert intact(endpoint, target)


# What is not there.

OBJECT, BUCKET = "/{bucket}/{key}", "/{bucket}"
NOT_IMPLEMENTED = (501, "NotImplemented")
REFUSED: dict[str, tuple[str, str, list[tuple[str, str]], dict[str, str], tuple[int, str]]] = {
    "a form with a signature": (
        "POST",
        BUCKET,
        [],
        {"Content-Type": "multipart/form-data; boundary=x"},
        (412, "PreconditionFailed"),
    ),
    "SelectObjectContent": ("POST", OBJECT, [("select", ""), ("select-type", "2")], {}, (405, "MethodNotAllowed")),
    "GetObjectTorrent": ("GET", OBJECT, [("torrent", "")], {}, NOT_IMPLEMENTED),
    "an unknown method": ("PATCH", OBJECT, [], {}, NOT_IMPLEMENTED),
    "POST of an object": ("POST", OBJECT, [], {}, NOT_IMPLEMENTED),
}


@pytest.mark.parametrize(("method", "path", "query", "headers", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_implemented(
    endpoint: Endpoint,
    target: tuple[str, str],
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    expected: tuple[int, str],
) -> None:
    """It is refused, and neither forwarded nor taken for something else."""
    names = {"bucket": target[0], "key": target[1]}
    sent = {name: value.format(**names) for name, value in headers.items()}
    with Wire(endpoint) as wire:
        answer = wire.call(method, path.format(**names), query, sent, b"" if method == "GET" else b"<x/>")
    assert (answer.status, answer.code) == expected
    assert intact(endpoint, target)


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
@pytest.mark.parametrize("name", ["acl", "legal-hold", "retention", "torrent", "policy", "logging", "website", "cors"])
def test_a_sub_resource_is_never_taken_for_the_object_or_the_bucket(
    endpoint: Endpoint, target: tuple[str, str], method: str, name: str
) -> None:
    bucket, key = target
    own = new_bucket(endpoint)
    with Wire(endpoint) as wire:
        for path in (f"/{bucket}/{key}", f"/{own}"):
            wire.call(method, path, [(name, "")], {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, b"<x/>")
            wire.call(method, path, [(name, "")], body=b"<x/>")
            wire.call(method, path, [(name, ""), ("versionId", "null")], body=b"<x/>")
    assert intact(endpoint, target)
    s3(endpoint).head_bucket(Bucket=own)
    assert keys_in(endpoint, own) == []


# Limits, and errors of every kind in the form of the service.


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nx-a: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"x-a: b\r\n" * 2000 + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n : y\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),
        (b"HELLO\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_gets_an_answer_in_s3_s_form(endpoint: Endpoint, line: bytes, status: int) -> None:
    with Wire(endpoint) as wire:
        connection = wire.socket()
        connection.sendall(line)
        response = http.client.HTTPResponse(connection)
        response.begin()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/xml"
    assert answer.code is not None
    assert answers(f"{endpoint.url}/-/health")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not xml",
        b"<Delete>",
        b"<Other/>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        b"<Delete>" * 1500 + b"</Delete>" * 1500,
        b"<Delete><Object><Key></Key></Object></Delete>",
        b"\xff\xfe<Delete/>",
    ],
)
def test_documents_that_are_none(endpoint: Endpoint, document: bytes) -> None:
    digest = base64.b64encode(hashlib.md5(document).digest()).decode()
    with Wire(endpoint) as wire:
        for query, method in ((("delete", ""), "POST"), (("encryption", ""), "PUT"), (("tagging", ""), "PUT")):
            answer = wire.call(method, f"/{shared_bucket(endpoint)}", [query], {"Content-MD5": digest}, document)
            assert (answer.status, answer.code) == (400, "MalformedXML"), query


def test_a_document_that_is_too_large(endpoint: Endpoint) -> None:
    document = b"<Delete>" + b" " * (9 * MIB) + b"</Delete>"
    with Wire(endpoint) as wire:
        answer = wire.call("PUT", f"/{shared_bucket(endpoint)}", [("encryption", "")], body=document)
    assert answer.status == 400


def test_markup_in_names_is_text(endpoint: Endpoint) -> None:
    key = new_key("<script>alert(1)</script>&'\"\x01")
    with Wire(endpoint) as wire:
        answer = wire.call("GET", f"/{shared_bucket(endpoint)}/{key}")
    assert (answer.status, answer.code) == (404, "NoSuchKey")
    assert answer.error["Key"].startswith(key[:-1])


def test_normal_load_is_not_slowed_down(endpoint: Endpoint) -> None:
    """32 clients at once with the largest bodies that are read whole."""
    client, bucket, prefix = s3(endpoint), shared_bucket(endpoint), new_key("load")
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda n: client.put_object(Bucket=bucket, Key=f"{prefix}/{n}", Body=body(MIB)), range(64)))
        read = pool.map(lambda n: client.get_object(Bucket=bucket, Key=f"{prefix}/{n}")["Body"].read(), range(64))
        assert all(data == body(MIB) for data in read)


def test_a_bucket_s_name_is_not_a_path(endpoint: Endpoint, bucket_name: str) -> None:
    with Wire(endpoint) as wire:
        for name in ("..", "a/..", "A_B", "x", "192.168.0.1", "-a-b-", "a..b", "xn--abc", "%2e%2e"):
            answer = wire.call("PUT", f"/{name}" if "/" not in name else f"/{name}/", body=b"")
            assert 400 <= answer.status < 500, name
    with refused(404, "NoSuchBucket"):
        s3(endpoint).list_objects_v2(Bucket=bucket_name)
