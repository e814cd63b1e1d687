"""Browser uploads: POST forms by boto3's presigned posts, sent by curl and as browsers write them."""

import http.client
import json
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest

from tests.e2e.samples import MIB, body, exists, new_bucket, new_key, new_kms_key, s3, shared_bucket
from tests.e2e.stores import Endpoint
from tests.e2e.test_version_listing import versioning

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> tuple[int, str, str]:
        root = ElementTree.fromstring(self.body)
        return self.status, root.findtext("Code") or "", root.findtext("Message") or ""


def signer(endpoint: Endpoint, user: str = "admin") -> Any:
    """A client that signs forms as all do but boto3, which has to be told."""
    return endpoint.client("s3", user, signature_version="s3v4")


def presigned(endpoint: Endpoint, bucket: str, key: str, *conditions: Any, **fields: str) -> Any:
    """The fields of a form, each covered by its policy, as boto3 makes them."""
    covering = [{name: value} for name, value in fields.items()]
    return signer(endpoint).generate_presigned_post(bucket, key, fields, [*covering, *conditions], 600)["fields"]


def form(fields: dict[str, str], data: bytes, filename: str = "f.bin", *, end: bytes = b"--\r\n") -> bytes:
    """A form as browsers write it."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'.encode()
    return b"".join([*parts, file, b"Content-Type: image/png\r\n\r\n", data, f"\r\n--{BOUNDARY}".encode(), end])


def send(endpoint: Endpoint, bucket: str, content: bytes, content_type: str | None = None) -> Answer:
    parts = urlsplit(endpoint.url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=endpoint.ca_bundle)
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    try:
        headers = {"Content-Type": content_type or f"multipart/form-data; boundary={BOUNDARY}"}
        connection.request("POST", f"/{bucket}", content, headers)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def post(endpoint: Endpoint, bucket: str, fields: dict[str, str], data: bytes, **how: Any) -> Answer:
    return send(endpoint, bucket, form(fields, data, **how))


@pytest.mark.parametrize("size", [0, 1, 70_000, MIB, MIB + 1, 9 * MIB])
def test_a_file_of_any_size(endpoint: Endpoint, size: int) -> None:
    bucket, key = shared_bucket(endpoint), new_key("a ü+%.png")
    answer = post(endpoint, bucket, presigned(endpoint, bucket, key), body(size))
    assert (answer.status, answer.body) == (204, b"")
    got = s3(endpoint).get_object(Bucket=bucket, Key=key)
    assert (got["Body"].read(), got["ETag"]) == (body(size), answer.headers["etag"])
    assert got["ContentType"] == "binary/octet-stream"
    assert answer.headers["location"].startswith(f"{endpoint.url}/{bucket}/")


@pytest.mark.parametrize("size", [100, 3 * MIB])
def test_curl(any_endpoint: Endpoint, tmp_path: Path, size: int) -> None:
    endpoint = any_endpoint
    bucket, prefix = shared_bucket(endpoint), new_key("")
    file = tmp_path / "a (b) ü.bin"
    file.write_bytes(body(size))
    fields = presigned(endpoint, bucket, f"{prefix}${{filename}}", success_action_status="201")
    arguments = [item for name, value in fields.items() for item in ("-F", f"{name}={value}")]
    uploaded = ["-F", f"file=@{file}"]
    ca = ["--cacert", endpoint.ca_bundle] if endpoint.ca_bundle else []
    command = ["curl", "-sS", *ca, *arguments, *uploaded, f"{endpoint.url}/{bucket}"]
    done = subprocess.run(command, capture_output=True, check=True)
    root = ElementTree.fromstring(done.stdout)
    assert {child.tag for child in root} == {"Location", "Bucket", "Key", "ETag"}
    key = root.findtext("Key") or ""
    assert key == f"{prefix}{file.name}"
    assert s3(endpoint).get_object(Bucket=bucket, Key=key)["Body"].read() == body(size)


def test_fields_become_the_objects(tls_endpoint: Endpoint) -> None:
    endpoint = tls_endpoint
    bucket, key, kms = new_bucket(endpoint), new_key(), new_kms_key(endpoint)
    context = "eyJhIjoiYiJ9"
    fields = {
        "acl": "private",
        "Content-Type": "text/css",
        "Cache-Control": "max-age=5",
        "Content-Disposition": "inline",
        "x-amz-meta-Name": "Überraschung",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": kms,
        "x-amz-server-side-encryption-context": context,
        "x-amz-checksum-crc32": "NhCmhg==",
        "tagging": "<Tagging><TagSet><Tag><Key>a</Key><Value>b / c = d</Value></Tag></TagSet></Tagging>",
    }
    sent = presigned(endpoint, bucket, key, **fields)
    sent["x-ignore-me"] = "whatever"
    answer = post(endpoint, bucket, sent, b"hello")
    assert answer.status == 204, answer.body
    assert answer.headers["x-amz-server-side-encryption-aws-kms-key-id"] == kms
    head = s3(endpoint).head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert (head["ContentType"], head["CacheControl"], head["ContentDisposition"]) == (
        "text/css",
        "max-age=5",
        "inline",
    )
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", kms)
    assert head["ChecksumCRC32"] == "NhCmhg=="
    assert list(head["Metadata"]) == ["name"]
    tags = s3(endpoint).get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    assert tags == [{"Key": "a", "Value": "b / c = d"}]


def test_redirection_and_statuses(endpoint: Endpoint) -> None:
    bucket = new_bucket(endpoint)
    versioning(endpoint, bucket, "Enabled")
    sent = presigned(endpoint, bucket, "a b/ü", success_action_redirect="http://example.com/done?x=1")
    answer = post(endpoint, bucket, sent, b"x")
    told = urlsplit(answer.headers["location"])
    assert (answer.status, told.netloc, told.path) == (303, "example.com", "/done")
    expected = {"x": ["1"], "bucket": [bucket], "key": ["a b/ü"], "etag": [answer.headers["etag"]]}
    assert parse_qs(told.query) == expected
    assert answer.headers["x-amz-version-id"]
    for status, expected_status in (("200", 200), ("201", 201), ("204", 204), ("404", 204)):
        sent = presigned(endpoint, bucket, "k", success_action_status=status)
        assert post(endpoint, bucket, sent, b"x").status == expected_status
    sent = presigned(endpoint, bucket, "k", success_action_redirect="not a url")
    assert post(endpoint, bucket, sent, b"x").status == 204


def test_what_the_policy_does_not_allow(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    sent = presigned(endpoint, bucket, key, ["content-length-range", 2, 5])
    assert post(endpoint, bucket, sent, b"123456").error[:2] == (400, "EntityTooLarge")
    assert post(endpoint, bucket, sent, body(2 * MIB)).error[:2] == (400, "EntityTooLarge")
    assert post(endpoint, bucket, sent, b"1").error[:2] == (400, "EntityTooSmall")
    changed = {**sent, "key": f"{key}/other"}
    message = f'Invalid according to Policy: Policy Condition failed: ["eq", "$key", "{key}"]'
    assert post(endpoint, bucket, changed, b"123").error == (403, "AccessDenied", message)
    extra = {**sent, "x-amz-meta-a": "b"}
    message = "Invalid according to Policy: Extra input fields: x-amz-meta-a"
    assert post(endpoint, bucket, extra, b"123").error == (403, "AccessDenied", message)
    other = new_bucket(endpoint)
    message = f'Invalid according to Policy: Policy Condition failed: ["eq", "$bucket", "{bucket}"]'
    assert post(endpoint, other, sent, b"123").error == (403, "AccessDenied", message)
    assert post(endpoint, other, {**sent, "bucket": bucket}, b"123").error == (403, "AccessDenied", message)
    assert not exists(endpoint, other, key)
    expired = signer(endpoint).generate_presigned_post(bucket, key, ExpiresIn=-1)["fields"]
    assert post(endpoint, bucket, expired, b"123").error == (
        403,
        "AccessDenied",
        "Invalid according to Policy: Policy expired.",
    )
    assert not exists(endpoint, bucket, key)
    assert not exists(endpoint, bucket, f"{key}/other")
    assert post(endpoint, bucket, sent, b"123").status == 204


def test_signatures_that_are_not_right(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    sent = presigned(endpoint, bucket, key)
    wrong = {**sent, "x-amz-signature": "0" * 64}
    assert post(endpoint, bucket, wrong, b"x").error[:2] == (403, "SignatureDoesNotMatch")
    policy = json.dumps({"expiration": f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}", "conditions": []})
    assert post(endpoint, bucket, {**sent, "policy": policy}, b"x").error[:2] == (403, "SignatureDoesNotMatch")
    unknown = {**sent, "x-amz-credential": "AKIAUNKNOWN" + sent["x-amz-credential"][20:]}
    assert post(endpoint, bucket, unknown, b"x").error[:2] == (403, "InvalidAccessKeyId")
    missing = {name: value for name, value in sent.items() if name != "x-amz-signature"}
    assert post(endpoint, bucket, missing, b"x").error[:2] == (400, "InvalidArgument")
    version_2 = {"key": key, "AWSAccessKeyId": "AKIA", "policy": sent["policy"], "signature": "x"}
    assert post(endpoint, bucket, version_2, b"x").error[:2] == (400, "InvalidRequest")
    # Without a policy it is nobody's, and the bucket is for its owner alone.
    assert post(endpoint, bucket, {"key": key}, b"x").error[:2] == (403, "AccessDenied")
    app = signer(endpoint, "app").generate_presigned_post(bucket, key)["fields"]
    assert post(endpoint, bucket, app, b"x").error[:2] == (403, "AccessDenied")
    assert not exists(endpoint, bucket, key)


def test_forms_that_are_not_right(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    sent = presigned(endpoint, bucket, key)
    large = body(2 * MIB)
    cases: dict[bytes, tuple[int, str]] = {
        b"": (400, "MalformedPOSTRequest"),
        b"--other\r\n": (400, "MalformedPOSTRequest"),
        f"--{BOUNDARY}--\r\n".encode(): (400, "IncorrectNumberOfFilesInPostRequest"),
        form(sent, b"x")[:-10]: (400, "MalformedPOSTRequest"),
        form(sent, large)[:-10]: (400, "MalformedPOSTRequest"),
        form(sent, large, end=b"  \r\n"): (400, "MalformedPOSTRequest"),
        # A large file must be what the form ends with.
        form(sent, large, end=b"\r\n" + form({"submit": "Go"}, b"")): (400, "MalformedPOSTRequest"),
        form({**sent, "x-amz-meta-a": "b" * 21_000}, b"x"): (400, "MaxPostPreDataLengthExceededError"),
        form({name: value for name, value in sent.items() if name != "key"}, b"x"): (400, "InvalidArgument"),
    }
    for content, expected in cases.items():
        assert send(endpoint, bucket, content).error[:2] == expected, content[:80]
    typed = send(endpoint, bucket, form(sent, b"x"), "application/x-www-form-urlencoded")
    assert typed.error[:2] == (412, "PreconditionFailed")
    assert not exists(endpoint, bucket, key)
    # What comes after a small file is left out.
    after = form(sent, b"x", end=b"\r\n" + form({"submit": "Go"}, b"")[len(BOUNDARY) + 4 :])
    assert send(endpoint, bucket, after).status == 204
    assert s3(endpoint).get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"


def test_a_form_is_no_way_round_what_a_put_may_not(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    s3(endpoint).put_object(Bucket=bucket, Key=f"{key}-source", Body=b"secret")
    cases = {
        "x-amz-meta-sse-proxy-key": "AAAA",
        "acl": "public-read",
        "x-amz-server-side-encryption": "none",
        "x-amz-checksum-crc32": "AAAAAA==",
        "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA==",
        "x-amz-meta-a": "b\nc",
        "x-amz-meta-a b": "c",
        "x-amz-meta-\u00e9": "c",
    }
    for name, value in cases.items():
        answer = post(endpoint, bucket, presigned(endpoint, bucket, key, **{name: value}), b"x")
        assert answer.status == 400, (name, answer)
    assert not exists(endpoint, bucket, key)
    copying = presigned(endpoint, bucket, key, **{"x-amz-copy-source": f"{bucket}/{key}-source"})
    assert post(endpoint, bucket, copying, b"own").status == 204
    assert s3(endpoint).get_object(Bucket=bucket, Key=key)["Body"].read() == b"own"
