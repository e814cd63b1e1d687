"""GetObjectAttributes, as boto3 and the CLI ask for it."""

import json
from typing import Any

from tests.e2e.samples import (
    MIB,
    body,
    key_id,
    kms,
    new_bucket,
    new_key,
    new_kms_key,
    refused,
    s3,
    shared_bucket,
    upload,
)
from tests.e2e.stores import Endpoint
from tests.e2e.test_checksums import checksum
from tests.e2e.test_multipart import KMS, PART, begin, send

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def attributes(endpoint: Endpoint, bucket: str, key: str, names: list[str] = ALL, **more: Any) -> dict[str, Any]:
    found = s3(endpoint).get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=names, **more)
    assert isinstance(found, dict)
    return found


def test_a_single_object(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    for size, sse in ((10, KMS), (2 * MIB, KMS), (2 * MIB, {})):
        put = s3(endpoint).put_object(Bucket=bucket, Key=key, Body=body(size), ChecksumAlgorithm="SHA256", **sse)
        found = attributes(endpoint, bucket, key)
        assert found["ETag"] == put["ETag"].strip('"')
        assert found["Checksum"] == {"ChecksumSHA256": checksum("SHA256", body(size)), "ChecksumType": "FULL_OBJECT"}
        assert (found["ObjectSize"], found["StorageClass"]) == (size, "STANDARD")
        assert "ObjectParts" not in found
    told = endpoint.aws(
        "s3api", "get-object-attributes", "--bucket", bucket, "--key", key, "--object-attributes", "ObjectSize", "ETag"
    )
    assert set(json.loads(told.stdout)) == {"LastModified", "ETag", "ObjectSize"}, told.stderr


def test_multipart_objects(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    upload(endpoint, bucket, key, {1: body(PART), 3: b"end"}, **KMS)
    found = attributes(endpoint, bucket, key)
    assert (found["ObjectParts"], found["ObjectSize"]) == ({"TotalPartsCount": 2}, PART + 3)

    upload_id = begin(endpoint, bucket, key, ChecksumAlgorithm="CRC32C", ChecksumType="COMPOSITE", **KMS)
    rows = []
    for number, data in ((1, body(PART)), (3, b"end")):
        sent = send(endpoint, bucket, key, upload_id, number, data, ChecksumAlgorithm="CRC32C")
        rows.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumCRC32C": sent["ChecksumCRC32C"]})
    done = client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": rows})
    found = attributes(endpoint, bucket, key, MaxParts=1)
    assert found["Checksum"] == {
        "ChecksumCRC32C": done["ChecksumCRC32C"].removesuffix("-2"),
        "ChecksumType": "COMPOSITE",
    }
    first = {"PartNumber": 1, "Size": PART, "ChecksumCRC32C": rows[0]["ChecksumCRC32C"]}
    markers = {"TotalPartsCount": 2, "PartNumberMarker": 0, "NextPartNumberMarker": 1, "MaxParts": 1}
    assert found["ObjectParts"] == {**markers, "IsTruncated": True, "Parts": [first]}
    found = attributes(endpoint, bucket, key, ["ObjectParts"], PartNumberMarker=1)["ObjectParts"]
    assert [part["Size"] for part in found["Parts"]] == [3]


def test_versions_and_delete_markers(endpoint: Endpoint, store_name: str) -> None:
    client, bucket = s3(endpoint), new_bucket(endpoint)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    versions = [client.put_object(Bucket=bucket, Key="k", Body=body(size))["VersionId"] for size in (5, 6)]
    for version, size in zip(versions, (5, 6), strict=True):
        found = attributes(endpoint, bucket, "k", VersionId=version)
        assert (found["VersionId"], found["ObjectSize"]) == (version, size)
    marker = client.delete_object(Bucket=bucket, Key="k")["VersionId"]
    with refused(404, "NoSuchKey"):
        attributes(endpoint, bucket, "k")
    # SeaweedFS tells a delete marker from no version at all by nothing.
    with refused(405, "MethodNotAllowed") if store_name == "minio" else refused(404, "NoSuchVersion"):
        attributes(endpoint, bucket, "k", VersionId=marker)
    client.delete_object(Bucket=bucket, Key="k", VersionId=versions[0])
    with refused(404, "NoSuchVersion"):
        attributes(endpoint, bucket, "k", VersionId=versions[0])


def test_a_disabled_key(endpoint: Endpoint) -> None:
    bucket, key, arn = shared_bucket(endpoint), new_key(), new_kms_key(endpoint)
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x", SSEKMSKeyId=arn, **KMS)
    kms(endpoint).disable_key(KeyId=key_id(arn))
    with refused(400, "KMS.DisabledException"):
        attributes(endpoint, bucket, key, ["ObjectSize"])
