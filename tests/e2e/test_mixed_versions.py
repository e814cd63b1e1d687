"""Versions from before the proxy beneath encrypted ones: each read and listed as what it is."""

from typing import Any

import pytest

from tests.e2e.samples import MIB, body, refused, s3, upload
from tests.e2e.stores import Endpoint
from tests.e2e.test_adoption import adopt
from tests.e2e.test_version_listing import listed

KMS = {"ServerSideEncryption": "aws:kms"}


@pytest.fixture
def bucket(endpoint: Endpoint, bucket_name: str) -> str:
    """A bucket with versioning in the store; ``k`` was there before that, and twice since."""
    beneath = endpoint.store.client()
    beneath.create_bucket(Bucket=bucket_name)
    beneath.put_object(Bucket=bucket_name, Key="k", Body=b"null")
    enabled = {"Status": "Enabled"}
    beneath.put_bucket_versioning(Bucket=bucket_name, VersioningConfiguration=enabled)
    for data in (b"first", body(2 * MIB)):
        beneath.put_object(Bucket=bucket_name, Key="k", Body=data, Metadata={"from": "before"})
    return bucket_name


def rows_of(answer: Any) -> list[tuple[Any, ...]]:
    return [(row["Key"], row["VersionId"], row["IsLatest"], row["Size"], row["ETag"]) for row in answer["Versions"]]


def test_plaintext_beneath_what_is_encrypted(endpoint: Endpoint, bucket: str) -> None:
    before = rows_of(endpoint.store.client().list_object_versions(Bucket=bucket))
    assert adopt(endpoint, bucket, "--mixed").returncode == 0
    assert listed(endpoint, bucket) == before
    client = s3(endpoint)
    put = client.put_object(Bucket=bucket, Key="k", Body=body(70_000), **KMS)
    done, _ = upload(endpoint, bucket, "k", {1: body(5 * MIB), 2: b"end"})
    encrypted = [
        ("k", done["VersionId"], True, 5 * MIB + 3, done["ETag"]),
        ("k", put["VersionId"], False, 70_000, put["ETag"]),
    ]
    plain = [(*row[:2], False, *row[3:]) for row in before]
    assert listed(endpoint, bucket) == encrypted + plain
    bodies = {
        5: b"first",
        4: b"null",
        2 * MIB: body(2 * MIB),
        70_000: body(70_000),
        5 * MIB + 3: body(5 * MIB) + b"end",
    }
    for key, version, _, size, etag in encrypted + plain:
        got = client.get_object(Bucket=bucket, Key=key, VersionId=version)
        assert (got["Body"].read(), got["ETag"], got["ContentLength"]) == (bodies[size], etag, size)
        assert (
            client.get_object(Bucket=bucket, Key=key, VersionId=version, Range="bytes=1-2")["Body"].read()
            == (bodies[size][1:3])
        )
        assert client.head_object(Bucket=bucket, Key=key, VersionId=version)["ETag"] == etag
        assert ("ServerSideEncryption" in got) == (size >= 70_000 and size != 2 * MIB)
    # What is encrypted gone, the key is what it was.
    for row in encrypted:
        client.delete_object(Bucket=bucket, Key="k", VersionId=row[1])
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == body(2 * MIB)
    assert listed(endpoint, bucket) == before


def test_no_version_passes_for_what_it_is_not(endpoint: Endpoint, bucket: str) -> None:
    assert adopt(endpoint, bucket, "--mixed").returncode == 0
    client, beneath = s3(endpoint), endpoint.store.client()
    secret = client.put_object(Bucket=bucket, Key="k", Body=b"secret")
    stored = beneath.get_object(Bucket=bucket, Key="k")
    # Plaintext over a key that has been written encrypted, and the ciphertext without its envelope.
    beneath.put_object(Bucket=bucket, Key="k", Body=b"forged")
    with refused(500, "InternalError"):
        client.get_object(Bucket=bucket, Key="k")
    beneath.put_object(Bucket=bucket, Key="k", Body=stored["Body"].read())
    with refused(500, "InternalError"):
        client.get_object(Bucket=bucket, Key="k")
    # An envelope on plaintext, and that of another object.
    for metadata in ({"sse-proxy-key": "AAAA", "sse-proxy-arn": "arn:aws:kms:x"}, stored["Metadata"]):
        beneath.put_object(Bucket=bucket, Key="other", Body=b"plain", Metadata=metadata)
        with refused(500, "InternalError"):
            client.get_object(Bucket=bucket, Key="other")
    assert client.get_object(Bucket=bucket, Key="k", VersionId=secret["VersionId"])["Body"].read() == b"secret"
    assert {row[0] for row in listed(endpoint, bucket)} == {"k", "other"}
