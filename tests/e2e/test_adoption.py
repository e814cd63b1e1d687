"""Buckets that were made beside the proxy: refused until an operator takes them in, plain or mixed."""

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.samples import (
    MIB,
    body,
    keys_in,
    kms,
    new_bucket,
    new_kms_key,
    refused,
    s3,
    set_rule,
    upload,
)
from tests.e2e.stores import COMMAND, REGION, Dev, Endpoint, Serve, minio, wait_for
from tests.e2e.test_store_view import own_endpoint
from tests.e2e.wire import Wire, wires_to_all_workers

__all__ = ["own_endpoint"]

KMS = {"ServerSideEncryption": "aws:kms"}
UNKNOWN = (
    "The bucket {bucket} exists in the store but has no owner and no encryption rule on record here. An operator takes "
    "it in with: sse-kms-proxy adopt {bucket}"
)


def adopt(endpoint: Endpoint, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real command, beside the running endpoint."""
    config = endpoint.folder / "proxy.toml"
    where = ["--config", str(config)] if config.exists() else ["--data-dir", str(endpoint.folder)]
    own = [*arguments, "--region", REGION, *where]
    return subprocess.run([COMMAND, "adopt", *own], capture_output=True, text=True, check=False)


def listing(endpoint: Endpoint, bucket: str) -> dict[str, tuple[int, str]]:
    """Size and ETag by key, the same in both listings."""
    client = s3(endpoint)
    one, two = (
        {entry["Key"]: (entry["Size"], entry["ETag"]) for entry in operation(Bucket=bucket)["Contents"]}
        for operation in (client.list_objects, client.list_objects_v2)
    )
    assert one == two
    return one


def made_beside(endpoint: Endpoint, name: str) -> dict[str, bytes]:
    """A bucket made directly in the store, with plaintext objects of every kind; their bodies."""
    beneath = endpoint.store.client()
    beneath.create_bucket(Bucket=name)
    objects = {
        "empty": b"",
        "text.txt": b"plain text",
        "segment": body(65_536),
        "large": body(2 * MIB),
        "folder/inside": b"inside",
    }
    for key, data in objects.items():
        headers: dict[str, Any] = {"Metadata": {"from": "before"}, "CacheControl": "no-store"}
        beneath.put_object(Bucket=name, Key=key, Body=data, ContentType="text/plain", **headers)
    upload_id = beneath.create_multipart_upload(Bucket=name, Key="multipart")["UploadId"]
    where: dict[str, Any] = {"Bucket": name, "Key": "multipart", "UploadId": upload_id}
    parts = [body(5 * MIB, 1), b"the end"]
    rows = [
        {"PartNumber": number, "ETag": beneath.upload_part(**where, PartNumber=number, Body=data)["ETag"]}
        for number, data in enumerate(parts, 1)
    ]
    beneath.complete_multipart_upload(**where, MultipartUpload={"Parts": rows})
    return {**objects, "multipart": b"".join(parts)}


@pytest.fixture
def bucket(bucket_name: str) -> str:
    return bucket_name


def test_a_bucket_without_a_record_is_refused(endpoint: Endpoint, bucket: str) -> None:
    """By name of the command, with 503: not served in the clear, not encrypted by a rule that nobody gave."""
    endpoint.store.client().create_bucket(Bucket=bucket)
    endpoint.store.client().put_object(Bucket=bucket, Key="there", Body=b"x")
    client = s3(endpoint)
    calls: list[Callable[[], Any]] = [
        lambda: client.put_object(Bucket=bucket, Key="a", Body=b"x"),
        lambda: client.put_object(Bucket=bucket, Key="a", Body=body(2 * MIB)),
        lambda: client.get_object(Bucket=bucket, Key="there"),
        lambda: client.list_objects_v2(Bucket=bucket),
        lambda: client.delete_object(Bucket=bucket, Key="there"),
        lambda: client.create_multipart_upload(Bucket=bucket, Key="a"),
        lambda: client.get_bucket_encryption(Bucket=bucket),
        lambda: client.delete_bucket(Bucket=bucket),
        lambda: client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}),
    ]
    for call in calls:
        with refused(503, "ServiceUnavailable", UNKNOWN.format(bucket=bucket)):
            call()
    with refused(503, "503"):
        client.head_object(Bucket=bucket, Key="there")
    assert bucket not in [each["Name"] for each in client.list_buckets()["Buckets"]]
    listed = endpoint.store.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert [entry["Key"] for entry in listed] == ["there"]


def test_copies_of_what_lay_there_in_the_clear_are_encrypted(endpoint: Endpoint, bucket: str) -> None:
    objects = made_beside(endpoint, bucket)
    assert adopt(endpoint, bucket, "--mixed").returncode == 0
    client = s3(endpoint)
    for number, (key, data) in enumerate(objects.items()):
        sse = KMS if number % 2 else {}
        client.copy_object(Bucket=bucket, Key=f"copies/{key}", CopySource=f"{bucket}/{key}", **sse)
        got = client.get_object(Bucket=bucket, Key=f"copies/{key}")
        assert (got["Body"].read(), got["ServerSideEncryption"]) == (data, "aws:kms" if number % 2 else "AES256")
        if key != "multipart":
            assert (got["Metadata"], got["CacheControl"]) == ({"from": "before"}, "no-store")
        stored = endpoint.store.client().get_object(Bucket=bucket, Key=f"copies/{key}")
        assert len(data) < 10 or data[:1000] not in stored["Body"].read()
    # In place, too.
    client.copy_object(Bucket=bucket, Key="text.txt", CopySource=f"{bucket}/text.txt", **KMS)
    assert b"plain" not in endpoint.store.client().get_object(Bucket=bucket, Key="text.txt")["Body"].read()
    assert client.get_object(Bucket=bucket, Key="text.txt")["Body"].read() == b"plain text"
    sizes = {key: size for key, (size, _) in listing(endpoint, bucket).items()}
    assert sizes == {name: len(data) for key, data in objects.items() for name in (key, f"copies/{key}")}


def test_adopted_plain(endpoint: Endpoint, bucket: str) -> None:
    """What lies there in the clear is never served; what comes is encrypted."""
    objects = made_beside(endpoint, bucket)
    done = adopt(endpoint, bucket)
    assert (done.returncode, done.stdout) == (0, f"adopted {bucket}\n"), done.stderr
    client = s3(endpoint)
    assert bucket in [each["Name"] for each in client.list_buckets()["Buckets"]]
    assert client.get_bucket_location(Bucket=bucket)["LocationConstraint"] == REGION
    assert keys_in(endpoint, bucket) == sorted(objects)
    for key in objects:
        with refused(500, "InternalError", "The object failed its integrity check."):
            client.get_object(Bucket=bucket, Key=key)
    client.put_object(Bucket=bucket, Key="new", Body=b"new")
    assert client.get_object(Bucket=bucket, Key="new")["Body"].read() == b"new"
    assert b"new" not in endpoint.store.client().get_object(Bucket=bucket, Key="new")["Body"].read()
    # The owner can replace what was there, and delete it.
    client.put_object(Bucket=bucket, Key="text.txt", Body=b"encrypted now")
    assert client.get_object(Bucket=bucket, Key="text.txt")["Body"].read() == b"encrypted now"
    client.delete_object(Bucket=bucket, Key="large")
    assert "large" not in keys_in(endpoint, bucket)


def test_adopted_as_mixed(endpoint: Endpoint, bucket: str) -> None:
    """Old objects are served exactly as they are, new ones are encrypted, and a listing has the sizes of both."""
    objects = made_beside(endpoint, bucket)
    done = adopt(endpoint, bucket, "--mixed")
    assert (done.returncode, done.stdout) == (0, f"adopted {bucket} (mixed)\n"), done.stderr
    client, beneath = s3(endpoint), endpoint.store.client()
    etags = {entry["Key"]: entry["ETag"] for entry in beneath.list_objects_v2(Bucket=bucket)["Contents"]}
    sizes = {key: len(data) for key, data in objects.items()}

    expected = {key: (sizes[key], etags[key]) for key in objects}
    for _ in range(2):
        assert listing(endpoint, bucket) == expected
    for key, data in objects.items():
        got = client.get_object(Bucket=bucket, Key=key)
        assert (got["Body"].read(), got["ContentLength"], got["ETag"]) == (data, len(data), etags[key])
        head = client.head_object(Bucket=bucket, Key=key)
        assert (head["ContentLength"], head["ETag"]) == (len(data), etags[key])
        assert "ServerSideEncryption" not in {**got, **head}
        if key != "multipart":
            assert (got["Metadata"], got["ContentType"], got["CacheControl"]) == (
                {"from": "before"},
                "text/plain",
                "no-store",
            )
        if len(data) > 100:
            for text, piece in (
                ("bytes=0-9", data[:10]),
                ("bytes=-10", data[-10:]),
                ("bytes=65530-65535", data[65_530:65_536]),
                (f"bytes={len(data) - 3}-", data[-3:]),
            ):
                part = client.get_object(Bucket=bucket, Key=key, Range=text)
                assert (part["Body"].read(), part["ETag"]) == (piece, etags[key])
            with refused(416, "InvalidRange"):
                client.get_object(Bucket=bucket, Key=key, Range=f"bytes={len(data)}-")
        with refused(304, "304"):
            client.get_object(Bucket=bucket, Key=key, IfNoneMatch=etags[key])
        client.get_object(Bucket=bucket, Key=key, IfMatch=etags[key])["Body"].read()
        with refused(412, "PreconditionFailed"):
            client.get_object(Bucket=bucket, Key=key, IfMatch='"0123456789abcdef0123456789abcdef"')

    new = {}
    set_rule(endpoint, bucket, "aws:kms", new_kms_key(endpoint))
    for key, size in (("new-small", 10), ("new-large", 2 * MIB), ("text.txt", 65_481)):
        put = client.put_object(Bucket=bucket, Key=key, Body=body(size, 9))
        assert put["ServerSideEncryption"] == "aws:kms"
        new[key] = (size, put["ETag"])
    made, _ = upload(endpoint, bucket, "new-multipart", {1: body(5 * MIB, 3), 2: b"x"})
    new["new-multipart"] = (5 * MIB + 1, made["ETag"])
    plain = client.put_object(Bucket=bucket, Key="new-s3", Body=b"s3", ServerSideEncryption="AES256")
    assert plain["ETag"] == f'"{hashlib.md5(b"s3").hexdigest()}"'
    new["new-s3"] = (2, plain["ETag"])
    assert listing(endpoint, bucket) == {**expected, **new}
    for key, (size, etag) in new.items():
        got = client.get_object(Bucket=bucket, Key=key)
        assert (len(got["Body"].read()), got["ETag"]) == (size, etag)
    assert client.get_object(Bucket=bucket, Key="text.txt")["Body"].read() == body(65_481, 9)


def test_what_was_once_encrypted_is_not_plaintext_again(endpoint: Endpoint, bucket: str) -> None:
    """In a mixed bucket, whoever can write to the store could otherwise replace any object by text of their own."""
    made_beside(endpoint, bucket)
    assert adopt(endpoint, bucket, "--mixed").returncode == 0
    client, beneath = s3(endpoint), endpoint.store.client()
    for key, sse in (("secret", KMS), ("secret-s3", {}), ("text.txt", KMS)):
        client.put_object(Bucket=bucket, Key=key, Body=b"encrypted", **sse)
        beneath.put_object(Bucket=bucket, Key=key, Body=b"text of the attacker")
        for _ in range(2):
            with refused(500, "InternalError", "The object failed its integrity check."):
                client.get_object(Bucket=bucket, Key=key)
            assert key in keys_in(endpoint, bucket)
    # Deleted by its owner and put anew beside the proxy, it is an object from outside again.
    client.delete_object(Bucket=bucket, Key="secret")
    beneath.put_object(Bucket=bucket, Key="secret", Body=b"from outside")
    assert client.get_object(Bucket=bucket, Key="secret")["Body"].read() == b"from outside"


def test_adopting_while_workers_serve(two_worker_endpoint: Endpoint, bucket: str) -> None:
    """Every worker knows at once, over connections that were open before, too."""
    endpoint = two_worker_endpoint
    known = new_bucket(endpoint)
    s3(endpoint).put_object(Bucket=known, Key="there", Body=b"x")
    endpoint.store.client().create_bucket(Bucket=bucket)
    wires = dict(wires_to_all_workers(endpoint, f"/{known}/there", 2))
    for wire in wires.values():
        assert wire.call("PUT", f"/{bucket}/a", body=b"x").status == 503
    assert adopt(endpoint, bucket).returncode == 0
    for name, wire in wires.items():
        assert wire.call("PUT", f"/{bucket}/{name}", body=b"x").status == 200
        assert wire.opened == 1
        wire.close()


def test_adopting_twice_and_what_is_not_there(endpoint: Endpoint, bucket: str) -> None:
    endpoint.store.client().create_bucket(Bucket=bucket)
    assert adopt(endpoint, bucket).returncode == 0
    rule = new_kms_key(endpoint)
    set_rule(endpoint, bucket, "aws:kms", rule)
    again = adopt(endpoint, bucket, "--mixed")
    assert (again.returncode, again.stdout) == (0, "nothing to adopt: every bucket is on record\n")
    # Nothing of the record has changed.
    kept = s3(endpoint).get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert kept["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == rule
    endpoint.store.client().put_object(Bucket=bucket, Key="plain", Body=b"x")
    with refused(500, "InternalError"):
        s3(endpoint).get_object(Bucket=bucket, Key="plain")
    none = adopt(endpoint, f"{bucket}-none")
    assert none.returncode == 1
    assert none.stderr.splitlines() == [f"sse-kms-proxy: not in the store: {bucket}-none"]
    assert adopt(endpoint).returncode != 0


def test_all_buckets_at_once(own_endpoint: Endpoint) -> None:
    for name in ("first", "second"):
        own_endpoint.store.client().create_bucket(Bucket=name)
        own_endpoint.store.client().put_object(Bucket=name, Key="a", Body=b"plain")
    done = adopt(own_endpoint, "--all", "--mixed")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["adopted first (mixed)", "adopted second (mixed)"]
    for name in ("first", "second"):
        assert s3(own_endpoint).get_object(Bucket=name, Key="a")["Body"].read() == b"plain"


# Without TLS.


@pytest.fixture
def strict_endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    """Over plain http, where SSE-KMS is for TLS only."""
    with minio(tmp_path / "minio") as store:
        serve = Serve(tmp_path / "proxy", store)
        own = serve.configure()
        text = serve.config.read_text(encoding="utf-8")
        serve.config.write_text(text.replace("[listen]\n", "[listen]\nallow_plaintext_kms = false\n"), encoding="utf-8")
        program = serve.launch()
        endpoint = Endpoint(store, own, program, serve.folder)
        try:
            wait_for(lambda: "ready: " in program.output(), "the endpoint is ready")
            yield endpoint
        finally:
            serve.close()


def test_sse_kms_wants_tls_where_it_is_not_allowed_without(strict_endpoint: Endpoint) -> None:
    endpoint, client = strict_endpoint, s3(strict_endpoint)
    bucket = new_bucket(endpoint)
    message = (
        "Requests specifying Server Side Encryption with AWS KMS managed keys must be made over a secure connection."
    )
    with refused(400, "InvalidArgument", message):
        client.put_object(Bucket=bucket, Key="a", Body=b"x", **KMS)
    with refused(400, "InvalidArgument", message):
        client.create_multipart_upload(Bucket=bucket, Key="a", **KMS)
    set_rule(endpoint, bucket, "aws:kms")
    with refused(400, "InvalidArgument", message):
        client.put_object(Bucket=bucket, Key="a", Body=b"x")
    assert keys_in(endpoint, bucket) == []
    client.put_object(Bucket=bucket, Key="a", Body=b"x", ServerSideEncryption="AES256")
    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"
    assert kms(endpoint).list_keys()["Keys"] is not None


def test_the_state_is_lost(tmp_path: Path) -> None:
    """Then no bucket is served, rather than all under another rule; adopted again, single objects are there as they
    were, and so are multipart ones, whose table of parts is made anew."""
    dev = Dev(tmp_path / "data")
    try:
        first = dev.start()
        arn = new_kms_key(first)
        bucket = new_bucket(first, "aws:kms", arn)
        s3(first).put_object(Bucket=bucket, Key="kms", Body=body(2 * MIB))
        s3(first).put_object(Bucket=bucket, Key="s3", Body=body(2 * MIB), ServerSideEncryption="AES256")
        made, _ = upload(first, bucket, "multipart", {2: body(5 * MIB, 1), 5: b"end"})
        before = listing(first, bucket)
        assert first.program.stop() == 0
        for file in dev.folder.glob("state.db*"):
            file.unlink()
        second = dev.start()
        with refused(503, "ServiceUnavailable", UNKNOWN.format(bucket=bucket)):
            s3(second).put_object(Bucket=bucket, Key="new", Body=b"x")
        assert adopt(second, bucket).returncode == 0
        client = s3(second)
        # The sizes are right at once; the MD5 of an object lies sealed with it, and a listing does not open objects.
        found = listing(second, bucket)
        assert {key: size for key, (size, _) in found.items()} == {key: size for key, (size, _) in before.items()}
        assert {key: found[key] for key in ("kms", "multipart")} == {key: before[key] for key in ("kms", "multipart")}
        assert client.get_object(Bucket=bucket, Key="kms")["Body"].read() == body(2 * MIB)
        got = client.get_object(Bucket=bucket, Key="s3")
        assert (got["Body"].read(), got["ETag"]) == (body(2 * MIB), f'"{hashlib.md5(body(2 * MIB)).hexdigest()}"')
        got = client.get_object(Bucket=bucket, Key="multipart")
        assert (got["Body"].read(), got["ETag"]) == (body(5 * MIB, 1) + b"end", made["ETag"])
        assert "the table of parts of" in second.program.output()
        assert listing(second, bucket) == before
        with Wire(second) as wire:
            ranged = wire.call("GET", f"/{bucket}/multipart", headers={"Range": f"bytes={5 * MIB - 1}-"})
            assert ranged.body == body(5 * MIB, 1)[-1:] + b"end"
    finally:
        dev.close()
