"""Single objects as clients see them: headers, metadata, ranges, ETags and conditions."""

import gzip
import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from tests.e2e.samples import MIB, body, exists, new_bucket, new_key, refused, s3, shared_bucket, upload
from tests.e2e.stores import Endpoint
from tests.e2e.wire import UNSIGNED_TRAILER, Wire, put_chunked

KMS = {"ServerSideEncryption": "aws:kms"}


@pytest.fixture(params=["sse-s3", "sse-kms"])
def sse(request: pytest.FixtureRequest) -> dict[str, str]:
    return KMS if request.param == "sse-kms" else {}


def test_headers_and_metadata_come_back_as_they_were_sent(endpoint: Endpoint, sse: dict[str, str]) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    expires = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    headers = {
        "CacheControl": "max-age=60, private",
        "ContentDisposition": 'attachment; filename="a b.txt"',
        "ContentEncoding": "identity",
        "ContentLanguage": "de, en",
        "ContentType": "text/plain; charset=utf-8",
        "Expires": expires,
    }
    metadata = {"colour": "blue", "with-dash": "a, b;  c", "empty": ""}
    client.put_object(Bucket=bucket, Key=key, Body=b"hello", Metadata=metadata, **headers, **sse)
    for answer in (client.get_object(Bucket=bucket, Key=key), client.head_object(Bucket=bucket, Key=key)):
        for name, value in headers.items():
            assert answer[name] == value, name
        assert answer["Metadata"] == metadata
        assert abs(answer["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)
        assert answer["AcceptRanges"] == "bytes"


def test_a_bare_object_has_no_metadata_and_the_default_type(endpoint: Endpoint, sse: dict[str, str]) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=b"hello", **sse)
    head = client.head_object(Bucket=bucket, Key=key)
    assert head["Metadata"] == {}
    assert head["ContentType"] == "binary/octet-stream"
    named = {"CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ExpiresString"}
    assert named.isdisjoint(head)


def test_a_response_can_be_given_other_headers(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=b"hello", ContentType="text/plain")
    got = client.get_object(
        Bucket=bucket, Key=key, ResponseContentType="text/x+y; a=b", ResponseContentDisposition='inline; filename="ü"'
    )
    assert got["ContentType"] == "text/x+y; a=b"
    assert got["Body"].read() == b"hello"


def test_user_metadata_of_2_kib_and_one_byte_more(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    fits = {"a": "x" * 1000, "b": "y" * (2048 - 1000 - 2)}
    with refused(400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x", Metadata={**fits, "c": ""})
    assert not exists(endpoint, bucket, key)
    if endpoint.store.name == "minio":
        # MinIO takes no more than 2 KiB in all, so the envelope's own has to fit beside the client's.
        fits = {"a": "x" * 1000}
    client.put_object(Bucket=bucket, Key=key, Body=b"x", Metadata=fits)
    assert client.head_object(Bucket=bucket, Key=key)["Metadata"] == fits


def test_what_the_store_cannot_hold_beside_the_envelope_is_refused_beforehand(
    endpoint: Endpoint, store_name: str
) -> None:
    if store_name != "minio":
        return
    key, bucket = new_key(), shared_bucket(endpoint)
    with refused(400, "MetadataTooLarge"):
        s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x", Metadata={"a": "x" * 2000})
    assert not exists(endpoint, bucket, key)


def test_a_gzip_body_is_left_as_it_is(any_endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(any_endpoint), new_key()
    data = gzip.compress(body(150_000), mtime=0)
    s3(any_endpoint).put_object(Bucket=bucket, Key=key, Body=data, ContentEncoding="gzip")
    with Wire(any_endpoint) as wire:
        got = wire.call("GET", f"/{bucket}/{key}")
    assert (got.body, got.headers["Content-Encoding"]) == (data, "gzip")


@pytest.mark.parametrize(
    ("sent", "stored"), [("aws-chunked", None), ("aws-chunked,gzip", "gzip"), ("gzip, aws-chunked", "gzip")]
)
def test_aws_chunked_is_not_stored_as_content_encoding(endpoint: Endpoint, sent: str, stored: str | None) -> None:
    path = f"/{shared_bucket(endpoint)}/{new_key()}"
    with Wire(endpoint) as wire:
        put = put_chunked(wire, path, body(100_000), UNSIGNED_TRAILER, headers={"Content-Encoding": sent})
        assert put.status == 200, put.body
        got = wire.call("GET", path)
    assert (got.body, got.headers["Content-Encoding"]) == (body(100_000), stored)


# Ranges.

EDGES = [0, 1, 65_479, 65_480, 65_481, 130_999, 131_000, 131_001]


@pytest.mark.parametrize("size", [1, 65_480, 65_481, 131_000, 131_001, MIB + 1])
def test_ranges_at_the_edges_of_segments(endpoint: Endpoint, sse: dict[str, str], size: int) -> None:
    path, data = f"/{shared_bucket(endpoint)}/{new_key()}", body(size)
    edges = sorted({edge for edge in [*EDGES, size - 2, size - 1] if 0 <= edge < size})
    wanted = [(f"bytes={first}-{last}", first, last) for first in edges for last in edges if first <= last]
    wanted += [(f"bytes={first}-", first, size - 1) for first in edges]
    wanted += [(f"bytes=-{length}", size - length, size - 1) for length in {1, 2, *edges} - {0} if length <= size]
    wanted += [
        (f"bytes=0-{size}", 0, size - 1),
        (f"bytes={size - 1}-{10**18}", size - 1, size - 1),
        (f"bytes=-{size + 1}", 0, size - 1),
        (f"bytes=-{10**18}", 0, size - 1),
    ]
    with Wire(endpoint) as wire:
        headers = {"x-amz-server-side-encryption": "aws:kms"} if sse else {}
        assert wire.call("PUT", path, headers=headers, body=data).status == 200
        for text, first, last in wanted:
            got = wire.call("GET", path, headers={"Range": text})
            told = (got.status, got.headers["Content-Range"], got.headers["Content-Length"])
            assert told == (206, f"bytes {first}-{last}/{size}", str(last - first + 1)), text
            assert got.body == data[first : last + 1], text
        assert wire.opened == 1


@pytest.mark.parametrize("size", [0, 1, 65_480, 131_001, MIB + 1])
def test_ranges_beyond_the_end(endpoint: Endpoint, sse: dict[str, str], size: int) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=body(size), **sse)
    for text in (f"bytes={size}-", f"bytes={size}-{size + 5}", f"bytes={size + 70_000}-{size + 80_000}", "bytes=-0"):
        with refused(416, "InvalidRange", "The requested range is not satisfiable") as error:
            client.get_object(Bucket=bucket, Key=key, Range=text)
        assert (error["ActualObjectSize"], error["RangeRequested"]) == (str(size), text)
        with refused(416, "416"):
            client.head_object(Bucket=bucket, Key=key, Range=text)


@pytest.mark.parametrize("text", ["bytes=5-3", "bytes=0-1,4-5", "lines=0-1", "bytes=a-b", "bytes=-", "0-1"])
def test_what_is_no_single_range_is_ignored(endpoint: Endpoint, text: str) -> None:
    path = f"/{shared_bucket(endpoint)}/{new_key()}"
    with Wire(endpoint) as wire:
        wire.call("PUT", path, body=b"0123456789")
        got = wire.call("GET", path, headers={"Range": text})
    assert (got.status, got.body, got.headers["Content-Range"]) == (200, b"0123456789", None)


def test_the_head_of_a_range(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=body(131_001))
    head = client.head_object(Bucket=bucket, Key=key, Range="bytes=65480-131000")
    assert head["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert (head["ContentLength"], head["ContentRange"]) == (65_521, "bytes 65480-131000/131001")


# ETags and conditions.


def made(endpoint: Endpoint, kind: str) -> tuple[str, str, str]:
    """Bucket, key and ETag of an object of this kind."""
    bucket, key = shared_bucket(endpoint), new_key()
    if kind == "multipart":
        done, _ = upload(endpoint, bucket, key, {1: body(5 * MIB), 2: b"end"})
        return bucket, key, done["ETag"]
    size = 2 * MIB if kind.startswith("large") else 1000
    data = body(size)
    put = s3(endpoint).put_object(Bucket=bucket, Key=key, Body=data, **(KMS if kind.endswith("kms") else {}))
    if kind.endswith("s3"):
        assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    return bucket, key, put["ETag"]


@pytest.mark.parametrize("kind", ["small s3", "large s3", "small kms", "large kms", "multipart"])
def test_conditional_reads(endpoint: Endpoint, kind: str) -> None:
    client = s3(endpoint)
    bucket, key, etag = made(endpoint, kind)
    other = '"0123456789abcdef0123456789abcdef"'
    for head, call in ((False, client.get_object), (True, client.head_object)):
        for right in (etag, etag.strip('"'), f"{other}, {etag}", "*"):
            assert call(Bucket=bucket, Key=key, IfMatch=right)["ETag"] == etag
        for wrong in (other, f'{etag[:-1]}-0"'):
            with refused(412, "412" if head else "PreconditionFailed"):
                call(Bucket=bucket, Key=key, IfMatch=wrong)
        with refused(304, "304"):
            call(Bucket=bucket, Key=key, IfNoneMatch=etag)
        assert call(Bucket=bucket, Key=key, IfNoneMatch=other)["ETag"] == etag
        modified = call(Bucket=bucket, Key=key)["LastModified"]
        with refused(304, "304"):
            call(Bucket=bucket, Key=key, IfModifiedSince=modified)
        with refused(412, "412" if head else "PreconditionFailed"):
            call(Bucket=bucket, Key=key, IfUnmodifiedSince=modified - timedelta(seconds=10))
        assert call(Bucket=bucket, Key=key, IfUnmodifiedSince=modified)["ETag"] == etag


@pytest.mark.parametrize("kind", ["small s3", "small kms", "multipart"])
def test_a_304_tells_the_etag_that_clients_know(endpoint: Endpoint, kind: str) -> None:
    bucket, key, etag = made(endpoint, kind)
    with Wire(endpoint) as wire:
        for method in ("GET", "HEAD"):
            got = wire.call(method, f"/{bucket}/{key}", headers={"If-None-Match": etag})
            assert (got.status, got.body, got.headers["ETag"]) == (304, b"", etag)
        assert wire.opened == 1


def test_the_etag_of_the_store_is_not_taken_for_ours(endpoint: Endpoint, sse: dict[str, str]) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"hello", **sse)
    beneath = endpoint.store.client().head_object(Bucket=bucket, Key=key)["ETag"]
    with refused(412, "PreconditionFailed"):
        s3(endpoint).get_object(Bucket=bucket, Key=key, IfMatch=beneath)
    assert s3(endpoint).get_object(Bucket=bucket, Key=key, IfNoneMatch=beneath)["Body"].read() == b"hello"


@pytest.mark.parametrize("kind", ["small s3", "large s3", "small kms", "multipart"])
def test_if_match_on_put(endpoint: Endpoint, kind: str) -> None:
    client = s3(endpoint)
    bucket, key, etag = made(endpoint, kind)
    before = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    with refused(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"):
        client.put_object(Bucket=bucket, Key=key, Body=b"new", IfMatch='"0123456789abcdef0123456789abcdef"')
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == before
    second = client.put_object(Bucket=bucket, Key=key, Body=b"new", IfMatch=etag)["ETag"]
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"new"
    with refused(412, "PreconditionFailed"):
        client.put_object(Bucket=bucket, Key=key, Body=b"newer", IfMatch=etag)
    client.put_object(Bucket=bucket, Key=key, Body=b"newer", IfMatch=second)
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"newer"


@pytest.mark.parametrize("size", [10, 300_000, 2 * MIB])
def test_of_sixteen_writers_that_want_to_be_first_one_is(endpoint: Endpoint, size: int) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    bodies = [b"%2d" % number + body(size - 2) for number in range(16)]

    def put(data: bytes) -> tuple[int, str]:
        try:
            client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
        return 200, ""

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(put, bodies))
    assert outcomes.count((200, "")) == 1, outcomes
    assert set(outcomes) <= {(200, ""), (412, "PreconditionFailed"), (409, "ConditionalRequestConflict")}
    winner = bodies[outcomes.index((200, ""))]
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == winner
    with refused(412, "PreconditionFailed"):
        client.put_object(Bucket=bucket, Key=key, Body=b"late", IfNoneMatch="*")


def test_conditions_that_a_put_cannot_have(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    with refused(501, "NotImplemented"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x", IfNoneMatch='"abc"')
    assert not exists(endpoint, bucket, key)


# What is not there.


def test_what_does_not_exist(endpoint: Endpoint, bucket_name: str) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    with refused(404, "NoSuchKey", "The specified key does not exist.") as error:
        client.get_object(Bucket=bucket, Key=key)
    assert error["Key"] == key
    with refused(404, "NoSuchKey"):
        client.get_object(Bucket=bucket, Key=key, Range="bytes=0-5")
    with refused(404, "404"):
        client.head_object(Bucket=bucket, Key=key)
    for call in (client.get_object, client.put_object):
        with refused(404, "NoSuchBucket", "The specified bucket does not exist") as error:
            call(Bucket=bucket_name, Key=key)
        assert error["BucketName"] == bucket_name


def test_a_range_of_an_object_that_is_being_replaced_is_of_one_of_them(endpoint: Endpoint) -> None:
    """Never a mixture, never plaintext of neither."""
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    versions = [bytes([number]) * size for number, size in enumerate((200_000, 70_000, 1_200_000, 10))]
    client.put_object(Bucket=bucket, Key=key, Body=versions[0])
    allowed = {version[:5000] for version in versions}

    def write(_: int) -> None:
        for version in versions * 3:
            client.put_object(Bucket=bucket, Key=key, Body=version)

    def read(_: int) -> set[bytes]:
        return {client.get_object(Bucket=bucket, Key=key, Range="bytes=0-4999")["Body"].read() for _ in range(40)}

    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(write, number) for number in range(2)]
        seen = set().union(*pool.map(read, range(4)))
        for writer in writers:
            writer.result()
    assert seen <= allowed


def test_a_bucket_is_empty_again(endpoint: Endpoint) -> None:
    client, bucket = s3(endpoint), new_bucket(endpoint)
    client.put_object(Bucket=bucket, Key="a", Body=b"x")
    with refused(409, "BucketNotEmpty", "The bucket you tried to delete is not empty"):
        client.delete_bucket(Bucket=bucket)
    client.delete_object(Bucket=bucket, Key="a")
    client.delete_bucket(Bucket=bucket)
    with refused(404, "NoSuchBucket"):
        client.list_objects_v2(Bucket=bucket)
