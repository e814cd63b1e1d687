"""What goes in comes out, at every size around the edges of the format, with the clients that people use."""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.samples import MIB, SIZES, body, keys_in, new_key, s3, shared_bucket
from tests.e2e.stores import Endpoint

KMS = {"ServerSideEncryption": "aws:kms"}


def listed(endpoint: Endpoint, bucket: str, key: str) -> list[tuple[int, str]]:
    """Size and ETag of one object in both listings."""
    client = s3(endpoint)
    pages = [client.list_objects(Bucket=bucket, Prefix=key), client.list_objects_v2(Bucket=bucket, Prefix=key)]
    entries = [entry for page in pages for entry in page["Contents"] if entry["Key"] == key]
    assert len(entries) == 2
    return [(entry["Size"], entry["ETag"]) for entry in entries]


@pytest.mark.parametrize("size", SIZES)
def test_boto3_under_sse_s3(any_endpoint: Endpoint, size: int) -> None:
    client, bucket, key, data = s3(any_endpoint), shared_bucket(any_endpoint), new_key(), body(size)
    etag = f'"{hashlib.md5(data).hexdigest()}"'
    assert client.put_object(Bucket=bucket, Key=key, Body=data)["ETag"] == etag
    got = client.get_object(Bucket=bucket, Key=key)
    assert got["Body"].read() == data
    head = client.head_object(Bucket=bucket, Key=key)
    assert (got["ContentLength"], head["ContentLength"]) == (size, size)
    assert (got["ETag"], head["ETag"]) == (etag, etag)
    assert listed(any_endpoint, bucket, key) == [(size, etag)] * 2


@pytest.mark.parametrize("size", SIZES)
def test_boto3_under_sse_kms(endpoint: Endpoint, size: int) -> None:
    client, bucket, key, data = s3(endpoint), shared_bucket(endpoint), new_key(), body(size)
    put = client.put_object(Bucket=bucket, Key=key, Body=data, **KMS)
    assert put["ETag"].endswith('-0"')
    got = client.get_object(Bucket=bucket, Key=key)
    assert got["Body"].read() == data
    head = client.head_object(Bucket=bucket, Key=key)
    assert (got["ContentLength"], head["ContentLength"]) == (size, size)
    assert (got["ETag"], head["ETag"]) == (put["ETag"], put["ETag"])
    assert listed(endpoint, bucket, key) == [(size, put["ETag"])] * 2


def test_s3_cp_of_a_folder_and_back(any_endpoint: Endpoint, tmp_path: Path) -> None:
    """All sizes at once; from 8 MiB on the CLI makes multipart uploads and reads in ranges."""
    bucket, prefix = shared_bucket(any_endpoint), new_key("folder")
    (tmp_path / "up").mkdir()
    for size in SIZES:
        (tmp_path / "up" / f"{size:08d}").write_bytes(body(size))
    up = any_endpoint.aws("s3", "cp", "--recursive", "--no-progress", "up", f"s3://{bucket}/{prefix}", cwd=tmp_path)
    assert up.returncode == 0, up.stderr.decode()
    ls = any_endpoint.aws("s3", "ls", "--recursive", f"s3://{bucket}/{prefix}")
    assert [line.split()[2:] for line in ls.stdout.decode().splitlines()] == [
        [str(size), f"{prefix}/{size:08d}"] for size in SIZES
    ]
    down = any_endpoint.aws("s3", "cp", "--recursive", "--no-progress", f"s3://{bucket}/{prefix}", "down", cwd=tmp_path)
    assert down.returncode == 0, down.stderr.decode()
    for size in SIZES:
        assert (tmp_path / "down" / f"{size:08d}").read_bytes() == body(size)


@pytest.mark.parametrize("size", SIZES)
def test_s3api(endpoint: Endpoint, tmp_path: Path, size: int) -> None:
    s3api_round_trip(endpoint, tmp_path, size)


@pytest.mark.parametrize("size", [0, 65_480, 8 * MIB])
def test_s3api_over_tls(tls_endpoint: Endpoint, tmp_path: Path, size: int) -> None:
    s3api_round_trip(tls_endpoint, tmp_path, size)


def s3api_round_trip(endpoint: Endpoint, folder: Path, size: int) -> None:
    bucket, key, data = shared_bucket(endpoint), new_key(), body(size)
    (folder / "up").write_bytes(data)
    where = ["--bucket", bucket, "--key", key]
    put = said(endpoint, "s3api", "put-object", *where, "--body", str(folder / "up"))
    assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    assert put["ServerSideEncryption"] == "AES256"
    got = said(endpoint, "s3api", "get-object", *where, str(folder / "down"))
    assert (got["ContentLength"], got["ETag"]) == (size, put["ETag"])
    assert (folder / "down").read_bytes() == data


def said(endpoint: Endpoint, *arguments: str) -> dict[str, Any]:
    done = endpoint.aws(*arguments, "--output", "json")
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def test_s3_cp_from_and_to_a_pipe(endpoint: Endpoint) -> None:
    bucket, key, data = shared_bucket(endpoint), new_key(), body(200_000)
    up = endpoint.aws("s3", "cp", "-", f"s3://{bucket}/{key}", "--sse", "aws:kms", input=data)
    assert up.returncode == 0, up.stderr.decode()
    down = endpoint.aws("s3", "cp", f"s3://{bucket}/{key}", "-")
    assert down.returncode == 0, down.stderr.decode()
    assert down.stdout == data


def test_s3_sync_uploads_nothing_twice(endpoint: Endpoint, tmp_path: Path) -> None:
    """It compares sizes and times of the listing."""
    bucket, prefix = shared_bucket(endpoint), new_key("folder")
    (tmp_path / "a").write_bytes(body(100_000))
    (tmp_path / "b").write_bytes(body(9 * MIB))
    for name in ("a", "b"):
        # Some stores keep whole seconds: a file of this very second would look newer than its object.
        os.utime(tmp_path / name, (1_700_000_000, 1_700_000_000))
    first = endpoint.aws("s3", "sync", "--no-progress", str(tmp_path), f"s3://{bucket}/{prefix}")
    assert first.returncode == 0, first.stderr.decode()
    assert len(first.stdout.splitlines()) == 2
    again = endpoint.aws("s3", "sync", "--no-progress", str(tmp_path), f"s3://{bucket}/{prefix}")
    assert (again.returncode, again.stdout) == (0, b"")


def test_s3_rm_of_a_folder(endpoint: Endpoint) -> None:
    bucket, prefix = shared_bucket(endpoint), new_key("folder")
    for name in ("a", "b/c", "d e+f"):
        s3(endpoint).put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=b"x")
    removed = endpoint.aws("s3", "rm", "--recursive", f"s3://{bucket}/{prefix}")
    assert removed.returncode == 0, removed.stderr.decode()
    assert keys_in(endpoint, bucket, prefix) == []


def test_content_md5_as_older_clients_send_it(endpoint: Endpoint) -> None:
    data, key, bucket = body(100_000), new_key(), shared_bucket(endpoint)
    digest = base64.b64encode(hashlib.md5(data).digest()).decode()
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=data, ContentMD5=digest)
    assert s3(endpoint).get_object(Bucket=bucket, Key=key)["Body"].read() == data


def test_an_object_is_replaced_whole(endpoint: Endpoint) -> None:
    """From long to short, from one kind of encryption to another, and back."""
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    for size, sse in ((2 * MIB, {}), (10, KMS), (70_000, {}), (2 * MIB, KMS), (0, {}), (MIB + 1, {})):
        put = client.put_object(Bucket=bucket, Key=key, Body=body(size, 1), **sse)
        got = client.get_object(Bucket=bucket, Key=key)
        assert got["Body"].read() == body(size, 1)
        assert got["ETag"] == put["ETag"]
        assert got["ServerSideEncryption"] == sse.get("ServerSideEncryption", "AES256")
        assert listed(endpoint, bucket, key) == [(size, put["ETag"])] * 2
