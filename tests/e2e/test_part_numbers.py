"""Reading objects by their parts, as transfer managers do: sizes, ranges, counts and checksums are the plaintext's."""

from typing import Any

import pytest

from tests.e2e.samples import MIB, body, new_bucket, new_key, refused, s3, shared_bucket, upload
from tests.e2e.stores import Endpoint
from tests.e2e.test_adoption import adopt, made_beside
from tests.e2e.test_multipart import KMS, PART, begin, finish, send
from tests.e2e.wire import Wire

PARTS = {2: body(PART, 1), 5: body(PART + 70_001, 2), 10_000: b"end"}


def read_part(endpoint: Endpoint, bucket: str, key: str, number: int, **more: Any) -> tuple[bytes, dict[str, Any]]:
    """A part and what its head says; HeadObject must say the same. Checksums are asked for, as boto3 does by itself."""
    client = s3(endpoint)
    more = {"ChecksumMode": "ENABLED", **more}
    got = client.get_object(Bucket=bucket, Key=key, PartNumber=number, **more)
    head = client.head_object(Bucket=bucket, Key=key, PartNumber=number, **more)
    names = ("ContentLength", "ContentRange", "PartsCount", "ETag", "VersionId", "ChecksumType", "ChecksumSHA256")
    told = {name: got.get(name) for name in names}
    assert told == {name: head.get(name) for name in names}
    assert {got["ResponseMetadata"]["HTTPStatusCode"], head["ResponseMetadata"]["HTTPStatusCode"]} == {206}
    return got["Body"].read(), told


@pytest.mark.parametrize("sse", [{}, KMS], ids=["sse-s3", "sse-kms"])
def test_each_part(endpoint: Endpoint, sse: dict[str, str]) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    done, _ = upload(endpoint, bucket, key, PARTS, **sse)
    total, first = sum(map(len, PARTS.values())), 0
    for position, data in enumerate(PARTS.values(), 1):
        got, told = read_part(endpoint, bucket, key, position)
        assert got == data
        extent = f"bytes {first}-{first + len(data) - 1}/{total}"
        assert (told["ContentRange"], told["PartsCount"], told["ETag"]) == (extent, 3, done["ETag"])
        first += len(data)
    with refused(416, "InvalidPartNumber", "The requested partnumber is not satisfiable") as error:
        s3(endpoint).get_object(Bucket=bucket, Key=key, PartNumber=4)
    assert (error["PartNumberRequested"], error["ActualPartCount"]) == ("4", "3")
    with refused(416, "416"):
        s3(endpoint).head_object(Bucket=bucket, Key=key, PartNumber=4)
    with refused(400, "InvalidRequest", "Cannot specify both Range header and partNumber query parameter"):
        s3(endpoint).get_object(Bucket=bucket, Key=key, PartNumber=1, Range="bytes=0-1")


def test_a_single_object_and_an_empty_one(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    for size in (2 * MIB, 1):
        client.put_object(Bucket=bucket, Key=key, Body=body(size), **KMS)
        got, told = read_part(endpoint, bucket, key, 1)
        assert (got, told["ContentRange"]) == (body(size), f"bytes 0-{size - 1}/{size}")
        assert told["PartsCount"] is None
        with refused(416, "InvalidPartNumber"):
            client.get_object(Bucket=bucket, Key=key, PartNumber=2)
    client.put_object(Bucket=bucket, Key=key, Body=b"")
    with Wire(endpoint) as wire:
        for method in ("GET", "HEAD"):
            got = wire.call(method, f"/{bucket}/{key}", [("partNumber", "1")])
            assert (got.status, got.headers["Content-Length"]) == (200, "0")
            assert wire.call(method, f"/{bucket}/{key}", [("partNumber", "0")]).status == 400


def test_parts_of_versions(endpoint: Endpoint) -> None:
    client, bucket = s3(endpoint), new_bucket(endpoint)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    older, _ = upload(endpoint, bucket, "k", {1: body(PART, 1), 2: b"older"}, **KMS)
    newer, _ = upload(endpoint, bucket, "k", {1: body(PART + 1, 2), 2: body(PART, 3), 3: b"newer"}, **KMS)
    for done, parts in ((older, 2), (newer, 3)):
        got, told = read_part(endpoint, bucket, "k", parts, VersionId=done["VersionId"])
        assert got == (b"older" if done is older else b"newer")
        assert (told["PartsCount"], told["VersionId"]) == (parts, done["VersionId"])
    assert read_part(endpoint, bucket, "k", 2)[0] == body(PART, 3)
    with refused(416, "InvalidPartNumber"):
        client.get_object(Bucket=bucket, Key="k", PartNumber=3, VersionId=older["VersionId"])


def test_the_checksums_of_parts(endpoint: Endpoint) -> None:
    """botocore verifies what comes with the body."""
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key, ChecksumAlgorithm="SHA256", **KMS)
    sent = {
        number: send(endpoint, bucket, key, upload_id, number, data, ChecksumAlgorithm="SHA256")
        for number, data in ((1, body(PART, 1)), (2, b"end"))
    }
    rows = [
        {"PartNumber": number, "ETag": each["ETag"], "ChecksumSHA256": each["ChecksumSHA256"]}
        for number, each in sent.items()
    ]
    s3(endpoint).complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": rows})
    for number in (1, 2):
        _, told = read_part(endpoint, bucket, key, number)
        assert told["ChecksumSHA256"] == sent[number]["ChecksumSHA256"]
        assert told["ChecksumType"] == "COMPOSITE"
    upload(endpoint, bucket, key, {1: body(PART, 1), 2: b"end"}, **KMS)
    _, told = read_part(endpoint, bucket, key, 1)
    assert told["ChecksumType"] is None


def test_plaintext_from_before(endpoint: Endpoint, bucket_name: str) -> None:
    objects = made_beside(endpoint, bucket_name)
    assert adopt(endpoint, bucket_name, "--mixed").returncode == 0
    client = s3(endpoint)
    for key in ("text.txt", "large"):
        got, told = read_part(endpoint, bucket_name, key, 1)
        assert (got, told["PartsCount"]) == (objects[key], None)
        with refused(416, "InvalidPartNumber"):
            client.get_object(Bucket=bucket_name, Key=key, PartNumber=2)
    got = client.get_object(Bucket=bucket_name, Key="multipart", PartNumber=2)
    assert (got["Body"].read(), got["PartsCount"]) == (b"the end", 2)
    assert got["ContentRange"] == f"bytes {PART}-{PART + 6}/{PART + 7}"


def test_a_part_of_an_upload_with_gaps_in_any_checksum_type(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT")
    etags = [
        (number, send(endpoint, bucket, key, upload_id, number, data, ChecksumAlgorithm="CRC64NVME")["ETag"])
        for number, data in ((3, body(PART, 1)), (7, b""), (9, b"end"))
    ]
    with refused(400, "EntityTooSmall"):
        finish(endpoint, bucket, key, upload_id, etags)
    finish(endpoint, bucket, key, upload_id, [etags[0], etags[2]])
    assert read_part(endpoint, bucket, key, 2)[0] == b"end"
