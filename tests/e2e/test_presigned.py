"""Presigned URLs with clients that know nothing of S3, and buckets named in the host."""

import http.client
import time
import urllib.error
import urllib.request
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from tests.e2e.samples import body, exists, new_key, s3, shared_bucket
from tests.e2e.stores import Endpoint, wait_for
from tests.e2e.wire import Signer, Wire, now


def presign(endpoint: Endpoint, method: str, where: dict[str, str], expires: int = 600) -> str:
    """boto3's URL. For endpoints that it does not know, it must be told to use Signature Version 4."""
    client = endpoint.client("s3", signature_version="s3v4")
    return str(client.generate_presigned_url(method, where, ExpiresIn=expires))


def fetch(url: str, method: str = "GET", data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """As ``curl`` does it."""
    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()})
    request.method = method
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize("size", [0, 65_481, 2_000_000])
def test_get_and_put(endpoint: Endpoint, size: int) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key("a b+%ü")
    where = {"Bucket": bucket, "Key": key}
    assert fetch(presign(endpoint, "get_object", where))[0] == 404
    put = presign(endpoint, "put_object", where, 604_800)
    assert fetch(put, "PUT", body(size), Content_Type="text/plain") == (200, b"")
    assert fetch(presign(endpoint, "get_object", where)) == (200, body(size))
    head = client.head_object(**where)
    assert (head["ContentLength"], head["ContentType"]) == (size, "text/plain")


def test_a_range_by_url(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=body(70_000))
    url = presign(endpoint, "get_object", {"Bucket": bucket, "Key": key})
    assert fetch(url, Range="bytes=65470-65489") == (206, body(70_000)[65_470:65_490])


def test_encryption_by_url(endpoint: Endpoint) -> None:
    """The header is signed, so whoever has the URL must send it and can't choose another one."""
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    where = {"Bucket": bucket, "Key": key, "ServerSideEncryption": "aws:kms"}
    url = presign(endpoint, "put_object", where)
    assert fetch(url, "PUT", b"x")[0] == 403
    assert fetch(url, "PUT", b"x", x_amz_server_side_encryption="AES256")[0] == 403
    assert not exists(endpoint, bucket, key)
    assert fetch(url, "PUT", b"x", x_amz_server_side_encryption="aws:kms")[0] == 200
    assert client.head_object(Bucket=bucket, Key=key)["ServerSideEncryption"] == "aws:kms"


def test_headers_in_the_query(endpoint: Endpoint) -> None:
    """``x-amz-`` parameters that are signed count as headers, those that are refused as headers included."""
    bucket, key = shared_bucket(endpoint), new_key()
    path = f"/{bucket}/{key}"
    with Wire(endpoint) as wire:
        refusals = {
            ("x-amz-acl", "public-read"): (400, "AccessControlListNotSupported"),
            ("x-amz-copy-source", path): (400, "InvalidRequest"),
            ("x-amz-server-side-encryption", "rot13"): (400, "InvalidArgument"),
            ("x-amz-object-lock-mode", "a\nb"): (400, "InvalidArgument"),
        }
        for parameter, expected in refusals.items():
            answer = wire.send(wire.presigned("PUT", path, [parameter]), b"x")
            assert (answer.status, answer.code) == expected
        assert not exists(endpoint, bucket, key)
        asked = [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-meta-a", "b"),
            ("x-amz-storage-class", "STANDARD"),
        ]
        assert wire.send(wire.presigned("PUT", path, asked), b"x").status == 200
        twice = wire.presigned("PUT", path, [("x-amz-meta-a", "b"), ("x-amz-meta-a", "c")])
        assert wire.send(twice, b"y").status == 400
        both = wire.presigned("PUT", path, [("x-amz-meta-a", "b")], {"x-amz-meta-a": "c"})
        assert wire.send(both, b"y").status == 400
    head = s3(endpoint).head_object(Bucket=bucket, Key=key)
    assert (head["ServerSideEncryption"], head["Metadata"]) == ("aws:kms", {"a": "b"})


def test_a_url_is_for_one_object_and_one_method(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=b"x")
    client.put_object(Bucket=bucket, Key=f"{key}2", Body=b"secret")
    url = presign(endpoint, "get_object", {"Bucket": bucket, "Key": key})
    for status, answer in (fetch(url.replace(key, f"{key}2")), fetch(url, "PUT", b"y"), fetch(url, "DELETE")):
        assert status == 403
        assert b"<Code>SignatureDoesNotMatch</Code>" in answer
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"


def test_a_url_ends_to_the_second(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x")
    with Wire(endpoint) as wire:
        moment = now().replace(microsecond=0) - timedelta(seconds=100)
        head = wire.presigned("GET", f"/{bucket}/{key}", expires=102, moment=moment)
        assert wire.send(head).status == 200
        wait_for(lambda: wire.send(head).status != 200, "the URL has ended", 10)
        ended = now()
        late = wire.send(head)
    assert (late.status, late.code, late.message) == (403, "AccessDenied", "Request has expired")
    assert timedelta(seconds=102) <= ended - moment < timedelta(seconds=103)
    assert late.error["X-Amz-Expires"] == "102"


@pytest.mark.parametrize(
    ("expires", "message"),
    [
        (
            604_801,
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less "
            "than 604800 seconds",
        ),
        (-1, "X-Amz-Expires must be non-negative"),
    ],
)
def test_how_long_a_url_may_live(endpoint: Endpoint, expires: int, message: str) -> None:
    with Wire(endpoint) as wire:
        got = wire.send(wire.presigned("GET", f"/{shared_bucket(endpoint)}/{new_key()}", expires=expires))
    assert (got.status, got.code, got.message) == (400, "AuthorizationQueryParametersError", message)


def test_a_url_from_the_future(endpoint: Endpoint) -> None:
    with Wire(endpoint) as wire:
        head = wire.presigned("GET", f"/{shared_bucket(endpoint)}/{new_key()}", moment=now() + timedelta(minutes=20))
        got = wire.send(head)
    assert (got.status, got.code, got.message) == (403, "AccessDenied", "Request is not yet valid")


def test_a_url_of_an_unknown_user(endpoint: Endpoint) -> None:
    with Wire(endpoint) as wire:
        stranger = Signer("AKIDOESNOTEXIST12345", "s" * 40)
        got = wire.send(wire.presigned("GET", f"/{shared_bucket(endpoint)}/{new_key()}", signer=stranger))
    assert (got.status, got.code) == (403, "InvalidAccessKeyId")


@pytest.mark.parametrize("host", ["{bucket}.localhost", "{bucket}.localhost:{port}"])
def test_a_bucket_in_the_host(any_endpoint: Endpoint, host: str) -> None:
    bucket, key = shared_bucket(any_endpoint), new_key("a b")
    name = host.format(bucket=bucket, port=any_endpoint.port)
    with Wire(any_endpoint) as wire:
        put = wire.call("PUT", f"/{key}", body=b"hello", host=name)
        assert put.status == 200, put.body
        got = wire.call("GET", f"/{key}", host=name)
        assert (got.status, got.body) == (200, b"hello")
        assert wire.call("GET", f"/{bucket}/{key}").body == b"hello"
        listing = wire.call("GET", "/", [("list-type", "2"), ("prefix", key)], host=name)
        assert f"<Key>{key}</Key>".encode() in listing.body


def test_http_1_0(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=body(100_000))
    url = urlsplit(presign(endpoint, "get_object", {"Bucket": bucket, "Key": key}))
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"
    started = time.monotonic()
    connection.request("GET", f"{url.path}?{url.query}", headers={"Host": f"127.0.0.1:{endpoint.port}"})
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, body(100_000))
    assert time.monotonic() - started < 5
    connection.close()
