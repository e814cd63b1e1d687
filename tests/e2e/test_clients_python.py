"""Python's clients with their default settings: boto3's transfer manager, s3fs on aiobotocore, minio-py.

Nothing tells them of encryption or checksums; small, multipart, ranged, copied, versioned and deleted objects come
back byte for byte.
"""

import io
from collections.abc import Callable
from typing import Any

import boto3
import pytest
import s3fs
import urllib3
from botocore.exceptions import ClientError
from minio import Minio
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from tests.e2e.clients import LARGE, NAMES, OTHER, SMALL, Buckets, Files, buckets, files, make_buckets
from tests.e2e.samples import MIB
from tests.e2e.stores import REGION, Endpoint

__all__ = ["buckets", "files"]


def boto3_client(endpoint: Endpoint) -> Any:
    """As ``boto3.client("s3")`` makes it from AWS's environment variables."""
    own = endpoint.environment()
    return boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        aws_access_key_id=own["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=own["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
        verify=endpoint.ca_bundle,
    )


def test_boto3_transfers(any_endpoint: Endpoint, files: Files) -> None:
    buckets, client = make_buckets(any_endpoint), boto3_client(any_endpoint)

    def fetched(bucket: str, key: str) -> bytes:
        down = files.down()
        client.download_file(bucket, key, str(down))
        return down.read_bytes()

    for bucket in buckets:
        for name in NAMES:
            client.upload_file(str(files.small), bucket, name)
            assert fetched(bucket, name) == SMALL
        client.upload_file(str(files.large), bucket, "large", ExtraArgs={"Metadata": {"colour": "blue"}})
        assert fetched(bucket, "large") == LARGE
        part = client.get_object(Bucket=bucket, Key="large", Range="bytes=8388600-8388700")
        assert part["Body"].read() == LARGE[8_388_600:8_388_701]
        assert client.head_object(Bucket=bucket, Key="large")["ETag"].endswith('-2"')
        into = io.BytesIO()
        client.download_fileobj(bucket, NAMES[1], into)
        assert into.getvalue() == SMALL
    for source in buckets:
        for name, data in ((NAMES[1], SMALL), ("large", LARGE)):
            for bucket in buckets:
                client.copy({"Bucket": source, "Key": name}, bucket, f"copy of {name}")
                assert fetched(bucket, f"copy of {name}") == data
                buckets.check(bucket, f"copy of {name}", data)
    first = client.head_object(Bucket=buckets.kms, Key=NAMES[0])["VersionId"]
    client.upload_file(str(files.other), buckets.kms, NAMES[0])
    assert fetched(buckets.kms, NAMES[0]) == OTHER
    old = io.BytesIO()
    client.download_fileobj(buckets.kms, NAMES[0], old, ExtraArgs={"VersionId": first})
    assert old.getvalue() == SMALL
    listed = client.list_object_versions(Bucket=buckets.kms, Prefix=NAMES[0])["Versions"]
    assert [(row["IsLatest"], row["Size"]) for row in listed] == [(True, len(OTHER)), (False, len(SMALL))]
    for bucket in buckets:
        keys = [{"Key": row["Key"]} for row in client.list_objects_v2(Bucket=bucket)["Contents"]]
        assert client.delete_objects(Bucket=bucket, Delete={"Objects": keys})["Deleted"]
        assert "Contents" not in client.list_objects_v2(Bucket=bucket)
    with pytest.raises(ClientError, match="Not Found"):
        client.download_file(buckets.kms, "large", str(files.down()))


def test_s3fs(buckets: Buckets, files: Files) -> None:
    endpoint, own = buckets.endpoint, buckets.endpoint.environment()
    settings: dict[str, Any] = {
        "endpoint_url": endpoint.url,
        "key": own["AWS_ACCESS_KEY_ID"],
        "secret": own["AWS_SECRET_ACCESS_KEY"],
        "client_kwargs": {"region_name": REGION, "verify": endpoint.ca_bundle},
        "skip_instance_cache": True,
    }
    storage = s3fs.S3FileSystem(**settings)
    for bucket in buckets:
        for name in NAMES:
            storage.pipe_file(f"{bucket}/{name}", SMALL)
            assert storage.cat_file(f"{bucket}/{name}") == SMALL
        storage.put_file(str(files.large), f"{bucket}/put")
        with storage.open(f"{bucket}/large", "wb", block_size=5 * MIB) as out:
            for start in range(0, len(LARGE), MIB):
                out.write(LARGE[start : start + MIB])
        for name in ("put", "large"):
            assert storage.info(f"{bucket}/{name}")["size"] == len(LARGE)
            down = files.down()
            storage.get_file(f"{bucket}/{name}", str(down))
            assert down.read_bytes() == LARGE
        with storage.open(f"{bucket}/large", "rb") as content:
            content.seek(5 * MIB - 3)
            assert content.read(10) == LARGE[5 * MIB - 3 : 5 * MIB + 7]
        assert storage.cat_file(f"{bucket}/large", start=100, end=70_000) == LARGE[100:70_000]
        assert storage.checksum(f"{bucket}/{NAMES[0]}") == storage.checksum(f"{bucket}/{NAMES[0]}")
    for name, data in ((NAMES[1], SMALL), ("large", LARGE)):
        for source, bucket in ((buckets.kms, buckets.s3), (buckets.s3, buckets.kms)):
            storage.copy(f"{source}/{name}", f"{bucket}/copy/{name}")
            buckets.check(bucket, f"copy/{name}", data)
    storage.mv(f"{buckets.s3}/put", f"{buckets.s3}/moved")
    assert not storage.exists(f"{buckets.s3}/put")
    buckets.check(buckets.s3, "moved", LARGE)

    aware = s3fs.S3FileSystem(**settings, version_aware=True)
    aware.pipe_file(f"{buckets.kms}/{NAMES[0]}", OTHER)
    versions = aware.object_version_info(f"{buckets.kms}/{NAMES[0]}")
    assert [row["Size"] for row in versions] == [len(OTHER), len(SMALL)]
    with aware.open(f"{buckets.kms}/{NAMES[0]}", "rb", version_id=versions[1]["VersionId"]) as content:
        assert content.read() == SMALL
    for bucket in buckets:
        storage.invalidate_cache()
        assert storage.find(bucket)
        storage.rm([f"{bucket}/{name.split('/', 1)[1]}" for name in storage.find(bucket)])
        assert storage.find(bucket) == []


@pytest.fixture
def minio_client() -> Callable[[Endpoint], Minio]:
    def make(endpoint: Endpoint) -> Minio:
        own, bundle = endpoint.environment(), endpoint.ca_bundle
        return Minio(
            f"127.0.0.1:{endpoint.port}",
            access_key=own["AWS_ACCESS_KEY_ID"],
            secret_key=own["AWS_SECRET_ACCESS_KEY"],
            secure=bundle is not None,
            http_client=urllib3.PoolManager(ca_certs=bundle) if bundle else None,
        )

    return make


def test_minio_py(any_endpoint: Endpoint, files: Files, minio_client: Callable[[Endpoint], Minio]) -> None:
    buckets, client = make_buckets(any_endpoint), minio_client(any_endpoint)

    def fetched(bucket: str, key: str, **more: Any) -> bytes:
        answer = client.get_object(bucket, key, **more)
        try:
            return bytes(answer.read())
        finally:
            answer.close()
            answer.release_conn()

    for bucket in buckets:
        for name in NAMES:
            client.put_object(bucket, name, io.BytesIO(SMALL), len(SMALL), content_type="text/plain")
            assert fetched(bucket, name) == SMALL
        client.fput_object(bucket, "large", str(files.large), metadata={"colour": "blue"})
        client.put_object(bucket, "stream", io.BytesIO(LARGE), -1, part_size=5 * MIB)
        for name in ("large", "stream"):
            down = files.down()
            client.fget_object(bucket, name, str(down))
            assert down.read_bytes() == LARGE
            assert fetched(bucket, name, offset=5 * MIB - 3, length=10) == LARGE[5 * MIB - 3 : 5 * MIB + 7]
        found = client.stat_object(bucket, "large")
        assert found.size == len(LARGE)
        assert found.metadata["x-amz-meta-colour"] == "blue"
    for name, data in ((NAMES[1], SMALL), ("large", LARGE)):
        for source, bucket in ((buckets.kms, buckets.s3), (buckets.s3, buckets.kms)):
            client.copy_object(bucket, f"copy/{name}", CopySource(source, name))
            buckets.check(bucket, f"copy/{name}", data)
    first = client.stat_object(buckets.kms, NAMES[0]).version_id
    client.put_object(buckets.kms, NAMES[0], io.BytesIO(OTHER), len(OTHER))
    assert fetched(buckets.kms, NAMES[0]) == OTHER
    assert fetched(buckets.kms, NAMES[0], version_id=first) == SMALL
    listed = list(client.list_objects(buckets.kms, prefix=NAMES[0], include_version=True))
    assert [(row.is_latest, row.size) for row in listed] == [("true", len(OTHER)), ("false", len(SMALL))]
    client.remove_object(buckets.kms, NAMES[0], version_id=listed[0].version_id)
    assert fetched(buckets.kms, NAMES[0]) == SMALL
    for bucket in buckets:
        rows = list(client.list_objects(bucket, recursive=True))
        assert not list(client.remove_objects(bucket, [DeleteObject(row.object_name) for row in rows]))
        assert not list(client.list_objects(bucket, recursive=True))
    with pytest.raises(S3Error, match="NoSuchKey"):
        fetched(buckets.kms, "large")
