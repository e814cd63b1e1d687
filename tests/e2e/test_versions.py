"""Buckets with versioning: each version keeps its size, its ETag and its bytes, on top and beneath."""

from typing import Any

import pytest

from tests.e2e.samples import MIB, body, new_bucket, refused, s3, upload
from tests.e2e.stores import Endpoint

KMS = {"ServerSideEncryption": "aws:kms"}


@pytest.fixture
def bucket(endpoint: Endpoint) -> str:
    name = new_bucket(endpoint)
    s3(endpoint).put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    assert s3(endpoint).get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    return name


def listed(endpoint: Endpoint, bucket: str) -> list[tuple[int, str]]:
    contents = s3(endpoint).list_objects_v2(Bucket=bucket).get("Contents", [])
    return [(entry["Size"], entry["ETag"]) for entry in contents]


def test_versions_beneath_and_on_top(endpoint: Endpoint, bucket: str) -> None:
    client = s3(endpoint)
    versions: list[tuple[str, str, bytes]] = []
    kinds: list[tuple[int, dict[str, Any]]] = [(2 * MIB, {}), (10, KMS), (70_000, {}), (2 * MIB, KMS)]
    for number, (size, sse) in enumerate(kinds):
        put = client.put_object(Bucket=bucket, Key="v", Body=body(size, number), **sse)
        versions.append((put["VersionId"], put["ETag"], body(size, number)))
    made, _ = upload(endpoint, bucket, "v", {1: body(5 * MIB), 3: b"end"}, **KMS)
    versions.append((made["VersionId"], made["ETag"], body(5 * MIB) + b"end"))
    assert len({version for version, _, _ in versions}) == 5

    for version, etag, data in versions:
        where = {"Bucket": bucket, "Key": "v", "VersionId": version}
        got = client.get_object(**where)
        assert (got["Body"].read(), got["ETag"], got["VersionId"]) == (data, etag, version)
        head = client.head_object(**where)
        assert (head["ContentLength"], head["ETag"], head["VersionId"]) == (len(data), etag, version)
        part = client.get_object(**where, Range=f"bytes=-{min(len(data), 7)}")
        assert part["Body"].read() == data[-7:]
        assert client.get_object(**where, IfMatch=etag)["Body"].read() == data

    # What comes to the top as versions are removed is listed as what it is.
    for version, etag, data in reversed(versions):
        assert listed(endpoint, bucket) == [(len(data), etag)]
        assert client.get_object(Bucket=bucket, Key="v")["Body"].read() == data
        client.delete_object(Bucket=bucket, Key="v", VersionId=version)
        with refused(404, "NoSuchVersion"):
            client.get_object(Bucket=bucket, Key="v", VersionId=version)
    assert listed(endpoint, bucket) == []


def test_a_delete_marker(endpoint: Endpoint, bucket: str) -> None:
    client = s3(endpoint)
    first = client.put_object(Bucket=bucket, Key="v", Body=body(2 * MIB))
    marker = client.delete_object(Bucket=bucket, Key="v")
    assert marker["DeleteMarker"] is True
    assert listed(endpoint, bucket) == []
    with refused(404, "NoSuchKey"):
        client.get_object(Bucket=bucket, Key="v")
    got = client.get_object(Bucket=bucket, Key="v", VersionId=first["VersionId"])
    assert (got["Body"].read(), got["ETag"]) == (body(2 * MIB), first["ETag"])
    where = {"Bucket": bucket, "Key": "v", "VersionId": marker["VersionId"]}
    with refused(405, "MethodNotAllowed"):
        client.get_object(**where)
    with refused(405, "405"):
        client.head_object(**where)
    tagging = {"TagSet": [{"Key": "a", "Value": "b"}]}
    tagged = client.put_object_tagging(Bucket=bucket, Key="v", VersionId=first["VersionId"], Tagging=tagging)
    assert tagged["VersionId"] == first["VersionId"]
    objects = [{"Key": "v", "VersionId": marker["VersionId"]}]
    (deleted,) = client.delete_objects(Bucket=bucket, Delete={"Objects": objects})["Deleted"]
    assert (deleted["Key"], deleted["VersionId"]) == ("v", marker["VersionId"])
    assert listed(endpoint, bucket) == [(2 * MIB, first["ETag"])]


def test_a_bucket_with_versions_is_not_empty(endpoint: Endpoint, bucket: str) -> None:
    """A store may say that it is, and would delete them."""
    client = s3(endpoint)
    client.put_object(Bucket=bucket, Key="v", Body=b"x")
    client.delete_object(Bucket=bucket, Key="v")
    assert listed(endpoint, bucket) == []
    with refused(409, "BucketNotEmpty"):
        client.delete_bucket(Bucket=bucket)
