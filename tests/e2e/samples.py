"""What the end-to-end tests put and look for: bodies, buckets, keys, and refusals."""

import contextlib
import functools
import random
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.stores import REGION, Endpoint

KIB, MIB = 1024, 1024**2

SIZES = (0, 1, 65_479, 65_480, 65_481, 131_000, 131_001, MIB - 1, MIB, MIB + 1, 8 * MIB, 64 * MIB)
"""Around the ends of segments (65,480 bytes of plaintext in the first, 65,520 in others) and the size from which on
an object has a footer."""


@functools.lru_cache(maxsize=32)
def body(size: int, seed: int = 0) -> bytes:
    """Bytes that do not repeat themselves, the same for the same arguments."""
    return random.Random(f"{size}/{seed}").randbytes(size)


_CLIENTS: dict[tuple[str, str, str], Any] = {}


def _client(endpoint: Endpoint, service: str, user: str) -> Any:
    """A client that is made once: that takes longer than most requests. Unlike making one, using one is thread-safe."""
    wanted = (endpoint.url, service, user)
    if wanted not in _CLIENTS:
        _CLIENTS[wanted] = endpoint.client(service, user, max_pool_connections=32)
    return _CLIENTS[wanted]


def s3(endpoint: Endpoint, user: str = "admin") -> Any:
    """A boto3 client of S3."""
    return _client(endpoint, "s3", user)


def kms(endpoint: Endpoint, user: str = "admin") -> Any:
    """A boto3 client of the key service."""
    return _client(endpoint, "kms", user)


def new_bucket(endpoint: Endpoint, algorithm: str | None = None, key_id: str | None = None, **rule: Any) -> str:
    """A bucket of the test's own, with a default encryption if one is given."""
    name = f"own-{uuid.uuid4().hex[:20]}"
    s3(endpoint).create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    if algorithm is not None:
        set_rule(endpoint, name, algorithm, key_id, **rule)
    return name


def set_rule(
    endpoint: Endpoint, bucket: str, algorithm: str, key_id: str | None = None, *, bucket_key: bool | None = None
) -> None:
    default = {"SSEAlgorithm": algorithm, **({"KMSMasterKeyID": key_id} if key_id is not None else {})}
    rule: dict[str, Any] = {"ApplyServerSideEncryptionByDefault": default}
    if bucket_key is not None:
        rule["BucketKeyEnabled"] = bucket_key
    s3(endpoint).put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})


_BUCKETS: dict[str, str] = {}


def shared_bucket(endpoint: Endpoint) -> str:
    """A bucket that tests with keys of their own share: a store makes volumes for each."""
    if endpoint.url not in _BUCKETS:
        _BUCKETS[endpoint.url] = new_bucket(endpoint)
    return _BUCKETS[endpoint.url]


def new_key(name: str = "object") -> str:
    """An object key that no other test uses."""
    return f"{uuid.uuid4().hex[:16]}/{name}"


def new_kms_key(endpoint: Endpoint, **settings: Any) -> str:
    """A KMS key; its ARN."""
    return str(kms(endpoint).create_key(**settings)["KeyMetadata"]["Arn"])


def key_id(arn: str) -> str:
    return arn.rpartition("/")[2]


def upload(
    endpoint: Endpoint, bucket: str, key: str, parts: dict[int, bytes], **settings: Any
) -> tuple[dict[str, Any], str]:
    """A multipart upload from beginning to end: the answer to its completion, and its id."""
    client = s3(endpoint)
    upload_id = client.create_multipart_upload(Bucket=bucket, Key=key, **settings)["UploadId"]
    rows = [
        {
            "PartNumber": number,
            "ETag": client.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=part)[
                "ETag"
            ],
        }
        for number, part in sorted(parts.items())
    ]
    done = client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": rows})
    return done, upload_id


def exists(endpoint: Endpoint, bucket: str, key: str) -> bool:
    try:
        s3(endpoint).head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        return False
    return True


def keys_in(endpoint: Endpoint, bucket: str, prefix: str = "") -> list[str]:
    """The keys of a bucket, in the listing's order."""
    pages = s3(endpoint).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


@contextlib.contextmanager
def refused(status: int, code: str, message: str | None = None) -> Iterator[dict[str, Any]]:
    """The block must end in this refusal; what is yielded becomes its ``Error``."""
    error: dict[str, Any] = {}
    with pytest.raises(ClientError) as caught:
        yield error
    answer = caught.value.response
    error.update(answer["Error"])
    told = (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"])
    assert told == (status, code), answer["Error"]
    if message is not None:
        assert answer["Error"]["Message"] == message


PRECIOUS = b"the old object"


def precious_object(endpoint: Endpoint) -> tuple[str, str]:
    """Bucket and key of an object that an attack must not change."""
    bucket, key = shared_bucket(endpoint), new_key()
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=PRECIOUS)
    return bucket, key


def intact(endpoint: Endpoint, target: tuple[str, str]) -> bool:
    """Whether the object is as it was, and nothing has come to lie beside it."""
    bucket, key = target
    same = s3(endpoint).get_object(Bucket=bucket, Key=key)["Body"].read() == PRECIOUS
    return same and keys_in(endpoint, bucket, key) == [key]
