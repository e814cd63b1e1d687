"""curl, with presigned URLs and POST forms: what a browser or a shell script does that holds no credentials."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.clients import LARGE, NAMES, OTHER, SMALL, Buckets, Files, buckets, files, run
from tests.e2e.samples import MIB, s3

__all__ = ["buckets", "files"]

Url = Callable[..., str]
PART = 5 * MIB


@pytest.fixture
def url(buckets: Buckets) -> Url:
    """A presigned URL of an operation. boto3 makes them by Signature Version 2 where it is not told otherwise, which
    AWS does not take for SSE-KMS."""
    client = buckets.endpoint.client("s3", signature_version="s3v4")

    def make(operation: str, bucket: str, key: str, **more: Any) -> str:
        parameters = {"Bucket": bucket, "Key": key, **more}
        return str(client.generate_presigned_url(operation, Params=parameters))

    return make


@pytest.fixture
def curl(buckets: Buckets) -> Callable[..., str]:
    bundle = buckets.endpoint.ca_bundle or ""
    return lambda *arguments, **more: run(
        ["curl", "--silent", "--show-error", "--fail-with-body", "--cacert", bundle, *arguments], **more
    )


def test_presigned_urls(buckets: Buckets, files: Files, url: Url, curl: Callable[..., str]) -> None:
    down = files.down()
    for bucket in buckets:
        for name in NAMES:
            curl("--upload-file", str(files.small), url("put_object", bucket, name))
            curl("--output", str(down), url("get_object", bucket, name))
            assert down.read_bytes() == SMALL
        curl("--upload-file", str(files.large), url("put_object", bucket, "large"))
        head = curl("--head", url("head_object", bucket, "large"))
        assert f"Content-Length: {len(LARGE)}" in head
        assert "x-amz-server-side-encryption: " in head
        curl("--output", str(down), url("get_object", bucket, "large"))
        assert down.read_bytes() == LARGE
        curl("--range", "8388600-8388700", "--output", str(down), url("get_object", bucket, "large"))
        assert down.read_bytes() == LARGE[8_388_600:8_388_701]
        # The rest of a download that was cut.
        down.write_bytes(LARGE[:PART])
        curl("--continue-at", "-", "--output", str(down), url("get_object", bucket, "large"))
        assert down.read_bytes() == LARGE
    for source, bucket in ((buckets.kms, buckets.s3), (buckets.s3, buckets.kms)):
        header = f"{source}/large"
        copied = url("copy_object", bucket, "copy", CopySource=header)
        curl("--request", "PUT", "--header", f"x-amz-copy-source: {header}", copied)
        buckets.check(bucket, "copy", LARGE)
    first = s3(buckets.endpoint).head_object(Bucket=buckets.kms, Key=NAMES[1])["VersionId"]
    curl("--upload-file", str(files.other), url("put_object", buckets.kms, NAMES[1]))
    curl("--output", str(down), url("get_object", buckets.kms, NAMES[1], VersionId=first))
    assert down.read_bytes() == SMALL
    buckets.check(buckets.kms, NAMES[1], OTHER)
    for bucket in buckets:
        curl("--request", "DELETE", url("delete_object", bucket, "large"))
        assert "NoSuchKey" in curl(url("get_object", bucket, "large"), fails=True)


def test_presigned_parts(buckets: Buckets, files: Files, url: Url, curl: Callable[..., str]) -> None:
    client = s3(buckets.endpoint)
    for bucket in buckets:
        upload_id = client.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
        parts = []
        for number, start in enumerate(range(0, len(LARGE), PART), 1):
            piece = files.folder / "piece"
            piece.write_bytes(LARGE[start : start + PART])
            place = url("upload_part", bucket, "parts", UploadId=upload_id, PartNumber=number)
            head = curl("--dump-header", "-", "--upload-file", str(piece), place)
            etag = next(line.partition(": ")[2] for line in head.splitlines() if line.lower().startswith("etag: "))
            parts.append({"PartNumber": number, "ETag": etag.strip()})
        done = {"Bucket": bucket, "Key": "parts", "UploadId": upload_id, "MultipartUpload": {"Parts": parts}}
        client.complete_multipart_upload(**done)
        buckets.check(bucket, "parts", LARGE)


def test_post_forms(buckets: Buckets, files: Files, curl: Callable[..., str]) -> None:
    client = buckets.endpoint.client("s3", signature_version="s3v4")
    for bucket in buckets:
        for name, file, data in ((NAMES[1], files.small, SMALL), ("large", files.large, LARGE)):
            form = client.generate_presigned_post(
                bucket,
                name,
                Fields={"x-amz-meta-colour": "blue", "Content-Type": "text/x-test", "success_action_status": "201"},
                Conditions=[
                    {"x-amz-meta-colour": "blue"},
                    ["starts-with", "$Content-Type", "text/"],
                    {"success_action_status": "201"},
                    ["content-length-range", 1, len(LARGE)],
                ],
            )
            fields = [argument for pair in form["fields"].items() for argument in ("--form-string", "=".join(pair))]
            told = curl(*fields, "--form", f"file=@{file}", form["url"])
            assert "<PostResponse" in told
            buckets.check(bucket, name, data)
            head = s3(buckets.endpoint).head_object(Bucket=bucket, Key=name)
            assert (head["Metadata"], head["ContentType"]) == ({"colour": "blue"}, "text/x-test")
            refused = curl(
                *fields, "--form-string", "x-amz-meta-size=1", "--form", f"file=@{file}", form["url"], fails=True
            )
            assert "Invalid according to Policy" in refused
