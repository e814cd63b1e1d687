"""DSSE-KMS with boto3 and the aws CLI: two layers under two keys, and a bucket's default."""

from pathlib import Path
from typing import Any

import pytest

from proxy.envelope import header as envelope_header
from proxy.envelope.header import Mode
from tests.e2e.samples import MIB, body, kms, new_bucket, new_key, new_kms_key, refused, s3, shared_bucket, upload
from tests.e2e.stores import Endpoint

DSSE: dict[str, Any] = {"ServerSideEncryption": "aws:kms:dsse"}


@pytest.mark.parametrize("size", [0, 10, 2 * MIB])
def test_an_object_under_two_layers(endpoint: Endpoint, size: int) -> None:
    client, bucket, key, arn = s3(endpoint), shared_bucket(endpoint), new_key(), new_kms_key(endpoint)
    put = client.put_object(Bucket=bucket, Key=key, Body=body(size), SSEKMSKeyId=arn, **DSSE)
    got = client.get_object(Bucket=bucket, Key=key)
    head = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert got["Body"].read() == body(size)
    assert (head["ContentLength"], head["ChecksumCRC32"]) == (size, put["ChecksumCRC32"])
    for answer in (put, got, head):
        assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == ("aws:kms:dsse", arn)
        assert "BucketKeyEnabled" not in answer
        assert answer["ETag"] == put["ETag"]
    (listed,) = client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]
    assert (listed["Size"], listed["ETag"]) == (size, put["ETag"])
    if size > 100:
        piece = client.get_object(Bucket=bucket, Key=key, Range="bytes=1000000-1000099")
        assert piece["Body"].read() == body(size)[1_000_000:1_000_100]
    header = envelope_header.decode(
        endpoint.store.client().head_object(Bucket=bucket, Key=key)["ResponseMetadata"]["HTTPHeaders"]
    )
    assert header is not None
    assert (header.mode, header.layers) == (Mode.KMS_DSSE, 2)
    kms(endpoint).disable_key(KeyId=arn)
    for call in (client.get_object, lambda **where: client.put_object(**where, Body=b"x", SSEKMSKeyId=arn, **DSSE)):
        with refused(400, "KMS.DisabledException", f"{arn} is disabled."):
            call(Bucket=bucket, Key=key)
    assert client.head_object(Bucket=bucket, Key=key)["ContentLength"] == size


def test_a_buckets_default_for_parts_and_the_cli(endpoint: Endpoint, tmp_path: Path) -> None:
    client, arn = s3(endpoint), new_kms_key(endpoint)
    bucket = new_bucket(endpoint, "aws:kms:dsse", arn, bucket_key=True)
    rule = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    default = {"SSEAlgorithm": "aws:kms:dsse", "KMSMasterKeyID": arn}
    assert (rule["ApplyServerSideEncryptionByDefault"], rule["BucketKeyEnabled"]) == (default, True)
    parts = {1: body(5 * MIB), 4: body(1000)}
    done, _ = upload(endpoint, bucket, "multipart", parts)
    assert (done["ServerSideEncryption"], done["SSEKMSKeyId"]) == ("aws:kms:dsse", arn)
    whole = b"".join(parts.values())
    assert client.get_object(Bucket=bucket, Key="multipart")["Body"].read() == whole
    first = 5 * MIB - 50
    piece = client.get_object(Bucket=bucket, Key="multipart", Range=f"bytes={first}-{first + 99}")
    assert piece["Body"].read() == whole[first : first + 100]
    assert client.get_object(Bucket=bucket, Key="multipart", PartNumber=2)["Body"].read() == parts[4]
    (tmp_path / "up").write_bytes(body(9 * MIB))
    up = endpoint.aws("s3", "cp", f"{tmp_path}/up", f"s3://{bucket}/cli")
    assert up.returncode == 0, up.stderr.decode()
    listed = {entry["Key"]: entry["Size"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]}
    assert listed == {"multipart": len(whole), "cli": 9 * MIB}
    assert client.get_object(Bucket=bucket, Key="cli")["Body"].read() == body(9 * MIB)


def test_versions_have_their_own_sizes(endpoint: Endpoint) -> None:
    client, bucket = s3(endpoint), new_bucket(endpoint, "aws:kms:dsse")
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    sizes = (100, 70_000)
    ids = [client.put_object(Bucket=bucket, Key="k", Body=body(size))["VersionId"] for size in sizes]
    listed = {each["VersionId"]: each["Size"] for each in client.list_object_versions(Bucket=bucket)["Versions"]}
    assert listed == dict(zip(ids, sizes, strict=True))
    for version, size in zip(ids, sizes, strict=True):
        got = client.get_object(Bucket=bucket, Key="k", VersionId=version, Range="bytes=50-59")
        assert (got["Body"].read(), got["ContentRange"]) == (body(size)[50:60], f"bytes 50-59/{size}")


def test_there_is_no_bucket_key_for_it(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    with refused(400, "InvalidArgument") as error:
        client.put_object(Bucket=bucket, Key=key, Body=b"x", BucketKeyEnabled=True, **DSSE)
    assert "S3 Bucket Keys aren't supported" in error["Message"]


def test_copied_from_and_to_two_layers(endpoint: Endpoint) -> None:
    client, bucket, one, two, three = s3(endpoint), shared_bucket(endpoint), new_key(), new_key(), new_key()
    client.put_object(Bucket=bucket, Key=one, Body=body(200_000), ServerSideEncryption="aws:kms")
    client.copy_object(Bucket=bucket, Key=two, CopySource={"Bucket": bucket, "Key": one}, **DSSE)
    client.copy_object(Bucket=bucket, Key=three, CopySource={"Bucket": bucket, "Key": two})
    found = [client.get_object(Bucket=bucket, Key=key) for key in (two, three)]
    assert [answer["ServerSideEncryption"] for answer in found] == ["aws:kms:dsse", "AES256"]
    assert all(answer["Body"].read() == body(200_000) for answer in found)


@pytest.mark.parametrize("position", [41, 70_000, -1])
def test_damage_in_the_store_is_noticed(endpoint: Endpoint, position: int) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=body(60_000), **DSSE)
    store = endpoint.store.client()
    stored = store.get_object(Bucket=bucket, Key=key)
    data = stored["Body"].read()
    position %= len(data)
    damaged = data[:position] + bytes((data[position] ^ 1,)) + data[position + 1 :]
    store.put_object(Bucket=bucket, Key=key, Body=damaged, Metadata=stored["Metadata"])
    with refused(500, "InternalError"):
        client.get_object(Bucket=bucket, Key=key)
