"""Checksums: verified as they come, stored, and given back; every algorithm, in the header and in the trailer."""

import base64
import binascii
import hashlib
from collections.abc import Callable

import pytest
from awscrt import checksums as crt

from tests.e2e.samples import MIB, body, exists, new_key, refused, s3, shared_bucket
from tests.e2e.stores import Endpoint
from tests.e2e.wire import SIGNED_TRAILER, UNSIGNED_TRAILER, Wire, put_chunked

DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "CRC32": lambda data: binascii.crc32(data).to_bytes(4, "big"),
    "CRC32C": lambda data: crt.crc32c(data).to_bytes(4, "big"),
    "CRC64NVME": lambda data: crt.crc64nvme(data).to_bytes(8, "big"),
    "SHA1": lambda data: hashlib.sha1(data).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
    "SHA512": lambda data: hashlib.sha512(data).digest(),
    "MD5": lambda data: hashlib.md5(data).digest(),
    "XXHASH64": crt.XXHash.compute_xxhash64,
    "XXHASH3": crt.XXHash.compute_xxhash3_64,
    "XXHASH128": crt.XXHash.compute_xxhash3_128,
}
SMALL, LARGE = 10_000, 2 * MIB


def checksum(algorithm: str, data: bytes) -> str:
    return base64.b64encode(DIGESTS[algorithm](data)).decode()


def check_stored(wire: Wire, path: str, algorithm: str, data: bytes) -> None:
    """What the object says of its checksum: when it is asked for the whole, and then only."""
    name, value = f"x-amz-checksum-{algorithm.lower()}", checksum(algorithm, data)
    asking = {"x-amz-checksum-mode": "ENABLED"}
    for method in ("GET", "HEAD"):
        told = wire.call(method, path, headers=asking)
        assert (told.status, told.headers[name]) == (200, value), method
        assert told.headers["x-amz-checksum-type"] == "FULL_OBJECT"
        if method == "GET":
            assert told.body == data
    for headers in ({}, {**asking, "Range": f"bytes=1-{len(data) - 2}"}):
        silent = wire.call("GET", path, headers=headers)
        assert silent.status in {200, 206}
        assert not [each for each in silent.headers if each.startswith("x-amz-checksum")], headers


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("algorithm", DIGESTS)
def test_in_the_header(endpoint: Endpoint, algorithm: str, size: int) -> None:
    path, data = f"/{shared_bucket(endpoint)}/{new_key()}", body(size)
    name = f"x-amz-checksum-{algorithm.lower()}"
    with Wire(endpoint) as wire:
        put = wire.call("PUT", path, headers={name: checksum(algorithm, data)}, body=data)
        assert (put.status, put.headers[name]) == (200, checksum(algorithm, data)), put.body
        assert put.headers["x-amz-checksum-type"] == "FULL_OBJECT"
        check_stored(wire, path, algorithm, data)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("algorithm", DIGESTS)
def test_in_the_trailer(endpoint: Endpoint, algorithm: str, size: int) -> None:
    path, data = f"/{shared_bucket(endpoint)}/{new_key()}", body(size)
    trailer = (f"x-amz-checksum-{algorithm.lower()}", checksum(algorithm, data))
    mode = SIGNED_TRAILER if algorithm in {"CRC32", "SHA256", "XXHASH3"} else UNSIGNED_TRAILER
    kms = {"x-amz-server-side-encryption": "aws:kms"} if algorithm in {"CRC32C", "SHA1"} else {}
    with Wire(endpoint) as wire:
        put = put_chunked(wire, path, data, mode, trailer=trailer, headers=kms)
        assert (put.status, put.headers[trailer[0]]) == (200, trailer[1]), put.body
        check_stored(wire, path, algorithm, data)


@pytest.mark.parametrize("size", [0, SMALL, LARGE])
def test_crc64nvme_where_a_client_sends_none(endpoint: Endpoint, size: int) -> None:
    path, data = f"/{shared_bucket(endpoint)}/{new_key()}", body(size)
    with Wire(endpoint) as wire:
        put = wire.call("PUT", path, body=data)
        assert put.headers["x-amz-checksum-crc64nvme"] == checksum("CRC64NVME", data)
        head = wire.call("HEAD", path, headers={"x-amz-checksum-mode": "ENABLED"})
    assert head.headers["x-amz-checksum-crc64nvme"] == checksum("CRC64NVME", data)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_boto3_computes_sends_and_verifies_it(any_endpoint: Endpoint, algorithm: str) -> None:
    """In the header over http, in the trailer over https."""
    client, bucket, key, data = s3(any_endpoint), shared_bucket(any_endpoint), new_key(), body(300_000)
    put = client.put_object(Bucket=bucket, Key=key, Body=data, ChecksumAlgorithm=algorithm)
    assert put[f"Checksum{algorithm}"] == checksum(algorithm, data)
    got = client.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert got["Body"].read() == data
    assert got[f"Checksum{algorithm}"] == checksum(algorithm, data)


# What is wrong leaves nothing behind.


def wrong(algorithm: str, data: bytes) -> str:
    return checksum(algorithm, data + b"!")


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("algorithm", DIGESTS)
def test_a_wrong_header(endpoint: Endpoint, algorithm: str, size: int) -> None:
    bucket, key, data = shared_bucket(endpoint), new_key(), body(size)
    name = f"x-amz-checksum-{algorithm.lower()}"
    with Wire(endpoint) as wire:
        put = wire.call("PUT", f"/{bucket}/{key}", headers={name: wrong(algorithm, data)}, body=data)
    message = f"The {algorithm} you specified did not match the calculated checksum."
    assert (put.status, put.code, put.message) == (400, "BadDigest", message)
    assert not exists(endpoint, bucket, key)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("mode", [SIGNED_TRAILER, UNSIGNED_TRAILER])
def test_a_wrong_trailer_leaves_the_old_object(endpoint: Endpoint, mode: str, size: int) -> None:
    bucket, key, data = shared_bucket(endpoint), new_key(), body(size)
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"old")
    with Wire(endpoint) as wire:
        trailer = ("x-amz-checksum-crc32", wrong("CRC32", data))
        put = put_chunked(wire, f"/{bucket}/{key}", data, mode, trailer=trailer)
    assert (put.status, put.code) == (400, "BadDigest")
    assert s3(endpoint).get_object(Bucket=bucket, Key=key)["Body"].read() == b"old"


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_wrong_content_md5(endpoint: Endpoint, size: int) -> None:
    bucket, key, data = shared_bucket(endpoint), new_key(), body(size)
    with refused(400, "BadDigest", "The Content-MD5 you specified did not match what we received."):
        s3(endpoint).put_object(Bucket=bucket, Key=key, Body=data, ContentMD5=wrong("MD5", data))
    with refused(400, "InvalidDigest", "The Content-MD5 you specified was invalid."):
        s3(endpoint).put_object(Bucket=bucket, Key=key, Body=data, ContentMD5="AAAA")
    assert not exists(endpoint, bucket, key)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-checksum-crc32": "AAAA"}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": "not base64!"}, "InvalidRequest"),
        ({"x-amz-checksum-crc99": "AAAAAA=="}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc32c": "AAAAAA=="}, "InvalidRequest"),
        ({"x-amz-sdk-checksum-algorithm": "CRC32"}, "InvalidRequest"),
        ({"x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-checksum-crc32": "AAAAAA=="}, "InvalidRequest"),
        ({"x-amz-trailer": "x-amz-checksum-crc32"}, "InvalidRequest"),
    ],
)
def test_headers_that_make_no_sense(endpoint: Endpoint, headers: dict[str, str], code: str) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    with Wire(endpoint) as wire:
        put = wire.call("PUT", f"/{bucket}/{key}", headers=headers, body=b"hello")
    assert (put.status, put.code) == (400, code)
    assert not exists(endpoint, bucket, key)
