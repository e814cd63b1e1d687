"""ListMultipartUploads, through boto3 and the CLI."""

import json

from tests.e2e.samples import new_bucket, refused, s3
from tests.e2e.stores import Endpoint
from tests.e2e.test_multipart import begin, send

KEYS = ["b", "a/2", "b", "a/ü +%1", "uploads/x"]


def test_uploads_under_way(endpoint: Endpoint) -> None:
    client, bucket = s3(endpoint), new_bucket(endpoint)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    ids = [begin(endpoint, bucket, key, ChecksumAlgorithm="SHA256", StorageClass="STANDARD") for key in KEYS]
    expected = sorted(zip(KEYS, ids, strict=True), key=lambda pair: pair[0])
    listed = client.list_multipart_uploads(Bucket=bucket)
    assert [(each["Key"], each["UploadId"]) for each in listed["Uploads"]] == expected
    assert {each["ChecksumAlgorithm"] for each in listed["Uploads"]} == {"SHA256"}
    assert {each["StorageClass"] for each in listed["Uploads"]} == {"STANDARD"}

    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    assert [(each["Key"], each["UploadId"]) for page in pages for each in page["Uploads"]] == expected
    folders = client.get_paginator("list_multipart_uploads").paginate(
        Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1}
    )
    shown = [each for page in folders for each in page.get("Uploads", []) + page.get("CommonPrefixes", [])]
    assert [each.get("Prefix") or each["UploadId"] for each in shown] == ["a/", ids[0], ids[2], "uploads/"]

    told = endpoint.aws("s3api", "list-multipart-uploads", "--bucket", bucket, "--prefix", "a/ü")
    assert [each["Key"] for each in json.loads(told.stdout)["Uploads"]] == ["a/ü +%1"], told.stderr

    # One that the store has ended by itself is not there any more; nor is an object among them.
    endpoint.store.client().abort_multipart_upload(Bucket=bucket, Key="b", UploadId=ids[0])
    client.put_object(Bucket=bucket, Key="uploads/x", Body=b"x")
    left = client.list_multipart_uploads(Bucket=bucket, Prefix="b")["Uploads"]
    assert [each["UploadId"] for each in left] == [ids[2]]


def test_a_listing_of_keys_that_begin_with_uploads_is_no_listing_of_uploads(endpoint: Endpoint) -> None:
    client, bucket = s3(endpoint), new_bucket(endpoint)
    client.put_object(Bucket=bucket, Key="uploads/x", Body=b"x")
    for listing in (client.list_objects, client.list_objects_v2):
        assert [each["Key"] for each in listing(Bucket=bucket, Prefix="uploads/")["Contents"]] == ["uploads/x"]
        assert listing(Bucket=bucket, Delimiter="uploads")["CommonPrefixes"] == [{"Prefix": "uploads"}]
    begin(endpoint, bucket, "uploads/y")
    told = client.list_multipart_uploads(Bucket=bucket, Prefix="uploads/")["Uploads"]
    assert [each["Key"] for each in told] == ["uploads/y"]


def test_an_upload_begun_beside_the_proxy_can_be_aborted_and_nothing_else(endpoint: Endpoint) -> None:
    client, bucket = s3(endpoint), new_bucket(endpoint)
    upload_id = endpoint.store.client().create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    with refused(404, "NoSuchUpload"):
        send(endpoint, bucket, "k", upload_id, 1, b"x")
    with refused(404, "NoSuchUpload"):
        client.abort_multipart_upload(Bucket=bucket, Key="other", UploadId=upload_id)
    client.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)
    with refused(404, "NoSuchUpload"):
        client.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)
