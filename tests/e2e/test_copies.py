"""Copies within a store, between buckets, encryption settings and versions: what is copied, byte for byte, and what the
copy says of itself."""

import io
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.e2e.samples import MIB, body, kms, new_bucket, new_key, new_kms_key, refused, s3, shared_bucket, upload
from tests.e2e.stores import REGION, Endpoint

KMS = {"ServerSideEncryption": "aws:kms"}
KEYS = ("plain", "with space", "a+b", "100%", "%2B", "ü/✓/日本", "a&b=c;d?e#f", "it's (one)!*")
"""Ends of keys: each says something else where it is encoded once too often or not often enough."""


def settings_of(endpoint: Endpoint) -> dict[str, dict[str, Any]]:
    """Ways to encrypt an object, by name."""
    return {
        "SSE-S3": {"ServerSideEncryption": "AES256"},
        "aws/s3": KMS,
        "key": {**KMS, "SSEKMSKeyId": new_kms_key(endpoint), "SSEKMSEncryptionContext": "eyJhIjoiYiJ9"},
        "bucket key": {**KMS, "SSEKMSKeyId": new_kms_key(endpoint), "BucketKeyEnabled": True},
        "two layers": {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": new_kms_key(endpoint)},
    }


def seen(endpoint: Endpoint, bucket: str, key: str) -> dict[str, Any]:
    """An object as GET has it, after HEAD and the listing were found to say the same."""
    client = s3(endpoint)
    got = client.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    data = got["Body"].read()
    head = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    (listed,) = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)["Contents"]
    assert got["ContentLength"] == head["ContentLength"] == listed["Size"] == len(data)
    assert got["ETag"] == head["ETag"] == listed["ETag"]
    assert listed["Key"] == key
    sums = {name: value for name, value in got.items() if name.startswith("Checksum")}
    assert sums == {name: value for name, value in head.items() if name.startswith("Checksum")}
    return {**got, "data": data, "sums": sums}


def test_between_all_settings(endpoint: Endpoint) -> None:
    client, target = s3(endpoint), new_bucket(endpoint)
    source = shared_bucket(endpoint)
    ways = settings_of(endpoint)
    for number, (name, sse) in enumerate(ways.items()):
        data = body((0, 70_000, MIB, MIB + 1, 2 * MIB)[number], number)
        key = new_key(KEYS[number])
        metadata = {"Metadata": {"who": "me"}, "ContentType": "text/x", "Tagging": "t=1&u=a%20b"}
        client.put_object(Bucket=source, Key=key, Body=data, **metadata, **sse)
        for other, asked in ways.items():
            where = {"Bucket": target, "Key": f"{key} {other}"}
            made = client.copy_object(**where, CopySource={"Bucket": source, "Key": key}, **asked)
            got = seen(endpoint, bucket=where["Bucket"], key=where["Key"])
            assert got["data"] == data, (name, other)
            assert (got["Metadata"], got["ContentType"], got["TagCount"]) == ({"who": "me"}, "text/x", 2)
            assert got["ETag"] == made["CopyObjectResult"]["ETag"]
            for field in ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled"):
                assert got.get(field) == made.get(field)
                assert field not in asked or got[field] == asked[field]
            told = {name: value for name, value in made["CopyObjectResult"].items() if name.startswith("Checksum")}
            assert told == got["sums"]
            assert made.get("SSEKMSEncryptionContext") == asked.get("SSEKMSEncryptionContext")


@pytest.mark.parametrize("name", KEYS)
def test_keys_of_every_kind(endpoint: Endpoint, name: str) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key(name)
    client.put_object(Bucket=bucket, Key=key, Body=name.encode(), **KMS)
    client.copy_object(Bucket=bucket, Key=f"{key}/copy", CopySource={"Bucket": bucket, "Key": key})
    assert seen(endpoint, bucket, f"{key}/copy")["data"] == name.encode()


def test_a_multipart_object_keeps_its_parts(endpoint: Endpoint) -> None:
    client, source, target = s3(endpoint), shared_bucket(endpoint), new_bucket(endpoint, "aws:kms")
    key = new_key()
    parts = {2: body(5 * MIB + 7, 1), 3: body(6 * MIB, 2), 9: b"the end"}
    upload(endpoint, source, key, parts, Metadata={"a": "b"})
    data = b"".join(parts.values())
    made = client.copy_object(Bucket=target, Key=key, CopySource={"Bucket": source, "Key": key})
    assert made["CopyObjectResult"]["ETag"].endswith('-3"')
    got = seen(endpoint, target, key)
    assert (got["data"], got["Metadata"], got["ServerSideEncryption"]) == (data, {"a": "b"}, "aws:kms")
    for number, part in enumerate(parts.values(), 1):
        answer = client.get_object(Bucket=target, Key=key, PartNumber=number)
        assert (answer["Body"].read(), answer["PartsCount"]) == (part, 3)
    for first, last in ((0, 9), (5 * MIB, 5 * MIB + 20), (len(data) - 9, len(data) - 1)):
        ranged = client.get_object(Bucket=target, Key=key, Range=f"bytes={first}-{last}")
        assert ranged["Body"].read() == data[first : last + 1]
    # In place, too.
    change: dict[str, Any] = {"MetadataDirective": "REPLACE", "Metadata": {"c": "d"}, "ServerSideEncryption": "AES256"}
    client.copy_object(Bucket=target, Key=key, CopySource={"Bucket": target, "Key": key}, **change)
    again = seen(endpoint, target, key)
    assert (again["data"], again["Metadata"], again["ServerSideEncryption"]) == (data, {"c": "d"}, "AES256")
    assert client.get_object(Bucket=target, Key=key, PartNumber=3)["Body"].read() == b"the end"


def test_conditions_on_both_sides(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    etag = client.put_object(Bucket=bucket, Key=key, Body=b"one", **KMS)["ETag"]
    source, to = {"Bucket": bucket, "Key": key}, {"Bucket": bucket, "Key": f"{key}-copy"}
    with refused(412, "PreconditionFailed"):
        client.copy_object(**to, CopySource=source, CopySourceIfMatch='"1"')
    with refused(412, "PreconditionFailed"):
        client.copy_object(**to, CopySource=source, CopySourceIfNoneMatch=etag)
    with refused(404, "NoSuchKey"):
        client.copy_object(**to, CopySource=source, IfMatch=etag)
    made = client.copy_object(**to, CopySource=source, CopySourceIfMatch=etag, IfNoneMatch="*", **KMS)
    with refused(412, "PreconditionFailed"):
        client.copy_object(**to, CopySource=source, IfNoneMatch="*")
    with refused(412, "PreconditionFailed"):
        client.copy_object(**to, CopySource=source, IfMatch='"1"', **KMS)
    client.copy_object(**to, CopySource=source, IfMatch=made["CopyObjectResult"]["ETag"], **KMS)
    assert seen(endpoint, bucket, f"{key}-copy")["data"] == b"one"


def test_sources_that_are_not_there(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=b"as it was")
    for source, status, code in (
        (f"{bucket}/{new_key()}", 404, "NoSuchKey"),
        (f"none-{uuid.uuid4().hex}/k", 404, "NoSuchBucket"),
        (f"{bucket}/{key}?versionId=00000000-0000-0000-0000-000000000000", 404, "NoSuchVersion"),
        ("arn:aws:s3:eu-west-1:111122223333:accesspoint/a/object/k", 400, "InvalidArgument"),
        (f"{bucket}/{key}", 400, "InvalidRequest"),
    ):
        with refused(status, code):
            client.copy_object(Bucket=bucket, Key=key, CopySource=source)
    assert seen(endpoint, bucket, key)["data"] == b"as it was"


def test_versions_as_sources(endpoint: Endpoint) -> None:
    client, bucket = s3(endpoint), new_bucket(endpoint)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    where = {"Bucket": bucket, "Key": "v"}
    first = client.put_object(**where, Body=b"one", **KMS)["VersionId"]
    upload(endpoint, bucket, "v", {1: body(5 * MIB), 2: b"two"})
    second = client.head_object(**where)["VersionId"]
    made = client.copy_object(**where, CopySource={**where, "VersionId": first})
    assert made["CopySourceVersionId"] == first
    assert seen(endpoint, bucket, "v")["data"] == b"one"
    client.copy_object(**where, CopySource={**where, "VersionId": second})
    client.copy_object(**where, CopySource=where, MetadataDirective="REPLACE", Metadata={"a": "b"})
    assert seen(endpoint, bucket, "v")["data"] == body(5 * MIB) + b"two"
    client.delete_object(**where, VersionId=client.head_object(**where)["VersionId"])
    assert seen(endpoint, bucket, "v")["data"] == body(5 * MIB) + b"two"
    assert client.get_object(**where, VersionId=second, PartNumber=2)["Body"].read() == b"two"
    marker = client.delete_object(**where)["VersionId"]
    with refused(404, "NoSuchKey"):
        client.copy_object(Bucket=bucket, Key="w", CopySource=where)
    with pytest.raises(ClientError) as error:
        client.copy_object(Bucket=bucket, Key="w", CopySource={**where, "VersionId": marker})
    # SeaweedFS does not tell a delete marker from a version that is not there.
    assert error.value.response["Error"]["Code"] in ("InvalidRequest", "NoSuchVersion")


def test_object_locks_are_those_of_the_copy(endpoint: Endpoint) -> None:
    client, bucket, source = s3(endpoint), f"lock-{uuid.uuid4().hex[:20]}", shared_bucket(endpoint)
    place = {"LocationConstraint": REGION}
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration=place, ObjectLockEnabledForBucket=True)
    until = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    key = new_key()
    client.put_object(Bucket=source, Key=key, Body=b"body", **KMS)
    upload(endpoint, source, f"{key}-parts", {1: body(5 * MIB), 2: b"end"}, **KMS)
    for name in (key, f"{key}-parts"):
        client.copy_object(Bucket=bucket, Key=name, CopySource=f"{source}/{name}", **lock)
        head = client.head_object(Bucket=bucket, Key=name)
        assert (head.get("ObjectLockMode"), head.get("ObjectLockRetainUntilDate")) == ("GOVERNANCE", until)
        # A copy does not have the lock of its source.
        client.copy_object(Bucket=bucket, Key=f"{name}-free", CopySource=f"{bucket}/{name}")
        free = client.head_object(Bucket=bucket, Key=f"{name}-free")
        assert (free.get("ObjectLockMode"), free.get("ObjectLockRetainUntilDate")) == (None, None)
    with refused(403, "AccessDenied"):
        change = {"SSEKMS": {"KMSKeyArn": new_kms_key(endpoint)}}
        client.update_object_encryption(Bucket=bucket, Key=key, ObjectEncryption=change)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=configuration)
    for name in (key, f"{key}-parts"):
        client.copy_object(Bucket=bucket, Key=f"{name}-ruled", CopySource=f"{source}/{name}")
        assert client.head_object(Bucket=bucket, Key=f"{name}-ruled").get("ObjectLockMode") == "GOVERNANCE", name


def test_a_customers_key_over_tls(tls_endpoint: Endpoint) -> None:
    client, bucket, key = s3(tls_endpoint), new_bucket(tls_endpoint), new_key()
    rule = {"BlockedEncryptionTypes": {"EncryptionType": ["NONE"]}}
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    own = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    data = body(MIB + 1)
    client.put_object(Bucket=bucket, Key=key, Body=data, **own)
    source = {"Bucket": bucket, "Key": key}
    read = {"CopySourceSSECustomerAlgorithm": "AES256", "CopySourceSSECustomerKey": "k" * 32}
    with refused(400, "InvalidRequest"):
        client.copy_object(Bucket=bucket, Key="c", CopySource=source)
    with refused(403, "AccessDenied"):
        client.copy_object(Bucket=bucket, Key="c", CopySource=source, **{**read, "CopySourceSSECustomerKey": "w" * 32})
    client.copy_object(Bucket=bucket, Key="c", CopySource=source, **read, **KMS)
    assert seen(tls_endpoint, bucket, "c")["data"] == data
    other = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "o" * 32}
    client.copy_object(Bucket=bucket, Key="d", CopySource=source, **read, **other)
    assert client.get_object(Bucket=bucket, Key="d", **other)["Body"].read() == data
    with refused(403, "AccessDenied"):
        client.get_object(Bucket=bucket, Key="d", **own)
    with refused(403, "AccessDenied"):
        client.copy_object(Bucket=new_bucket(tls_endpoint), Key="blocked", CopySource=source, **read, **other)


def test_a_source_under_a_disabled_key_is_not_copied(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    key_id = new_kms_key(endpoint)
    client.put_object(Bucket=bucket, Key=key, Body=b"x", **KMS, SSEKMSKeyId=key_id)
    source = {"Bucket": bucket, "Key": key}
    client.copy_object(Bucket=bucket, Key=f"{key}-copy", CopySource=source)
    kms(endpoint).disable_key(KeyId=key_id)
    with refused(400, "KMS.DisabledException"):
        client.copy_object(Bucket=bucket, Key=f"{key}-second", CopySource=source)
    with refused(400, "KMS.DisabledException"):
        client.copy_object(
            Bucket=bucket, Key=f"{key}-copy", CopySource=f"{bucket}/{key}-copy", **KMS, SSEKMSKeyId=key_id
        )
    assert seen(endpoint, bucket, f"{key}-copy")["data"] == b"x"


def test_parts_from_ranges_of_objects(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    single, several = {"Bucket": bucket, "Key": f"{key} +"}, {"Bucket": bucket, "Key": f"{key}-several"}
    data, parts = body(6 * MIB, 3), {1: body(5 * MIB, 1), 2: body(MIB, 2)}
    client.put_object(**single, Body=data)
    upload(endpoint, bucket, several["Key"], parts, **KMS)
    joined = b"".join(parts.values())
    where = {"Bucket": bucket, "Key": key}
    upload_id = client.create_multipart_upload(**where, **KMS)["UploadId"]
    pieces = [
        (1, single, None, data),
        (3, several, (100, 5 * MIB + 100), joined[100 : 5 * MIB + 101]),
        (4, several, (5 * MIB - 5, 5 * MIB + 4), joined[5 * MIB - 5 : 5 * MIB + 5]),
    ]
    rows = []
    for number, source, extent, _ in pieces:
        asked = {"CopySourceRange": f"bytes={extent[0]}-{extent[1]}"} if extent else {}
        made = client.upload_part_copy(**where, UploadId=upload_id, PartNumber=number, CopySource=source, **asked)
        assert made["ServerSideEncryption"] == "aws:kms"
        rows.append({"PartNumber": number, "ETag": made["CopyPartResult"]["ETag"]})
    again = {**where, "UploadId": upload_id, "PartNumber": 5, "CopySource": single}
    with refused(400, "InvalidArgument"):
        client.upload_part_copy(**again, CopySourceRange=f"bytes=0-{len(data)}")
    with refused(400, "InvalidRequest"):
        client.upload_part_copy(**again, CopySourceRange=f"bytes={len(data)}-{len(data)}")
    with refused(412, "PreconditionFailed"):
        client.upload_part_copy(**again, CopySourceIfMatch='"1"')
    with refused(404, "NoSuchKey"):
        client.upload_part_copy(**{**again, "CopySource": f"{bucket}/{new_key()}"})
    client.complete_multipart_upload(**where, UploadId=upload_id, MultipartUpload={"Parts": rows})
    assert seen(endpoint, bucket, key)["data"] == b"".join(piece for *_, piece in pieces)


def test_parts_of_two_layers(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    dsse = {"ServerSideEncryption": "aws:kms:dsse"}
    parts = {1: body(5 * MIB, 1), 2: body(MIB, 2)}
    upload(endpoint, bucket, key, parts, **dsse)
    source, data = {"Bucket": bucket, "Key": key}, b"".join(parts.values())
    where = {"Bucket": bucket, "Key": f"{key}-copy"}
    upload_id = client.create_multipart_upload(**where, **dsse)["UploadId"]
    extent = f"bytes={MIB}-{len(data) - 1}"
    part = {**where, "UploadId": upload_id, "PartNumber": 7}
    made = client.upload_part_copy(**part, CopySource=source, CopySourceRange=extent)
    rows = [{"PartNumber": 7, "ETag": made["CopyPartResult"]["ETag"]}]
    client.complete_multipart_upload(**where, UploadId=upload_id, MultipartUpload={"Parts": rows})
    assert seen(endpoint, bucket, f"{key}-copy")["data"] == data[MIB:]
    client.copy_object(**where, CopySource=source)
    assert seen(endpoint, bucket, f"{key}-copy")["data"] == data


def test_the_transfer_manager_copies_in_parts(any_endpoint: Endpoint) -> None:
    client, source, target = s3(any_endpoint), shared_bucket(any_endpoint), new_bucket(any_endpoint, "aws:kms")
    key, data = new_key("a +b"), body(17 * MIB + 5)
    client.upload_fileobj(io.BytesIO(data), source, key, ExtraArgs={"Metadata": {"a": "b"}, **KMS})
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=5 * MIB)
    client.copy({"Bucket": source, "Key": key}, target, key, Config=config)
    got = seen(any_endpoint, target, key)
    assert (got["data"], got["ServerSideEncryption"]) == (data, "aws:kms")
    assert got["ETag"].endswith('-4"')


def test_the_encryption_of_an_object_is_updated(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key("a +b")
    arns = [new_kms_key(endpoint), new_kms_key(endpoint)]
    where = {"Bucket": bucket, "Key": key}
    data = body(MIB + 1)
    client.put_object(**where, Body=data, Metadata={"a": "b"}, Tagging="t=1", CacheControl="max-age=1")
    before = seen(endpoint, bucket, key)
    for number, (key_id, bucket_key) in enumerate([(arns[0], False), (arns[1], True), (arns[0], True)]):
        wanted = {"KMSKeyArn": key_id, "BucketKeyEnabled": bucket_key}
        client.update_object_encryption(**where, ObjectEncryption={"SSEKMS": wanted})
        got = seen(endpoint, bucket, key)
        assert (got["data"], got["ETag"], got["sums"]) == (data, before["ETag"], before["sums"]), number
        assert (got["ServerSideEncryption"], got["SSEKMSKeyId"]) == ("aws:kms", key_id)
        assert got.get("BucketKeyEnabled", False) is bucket_key
        assert (got["Metadata"], got["TagCount"], got["CacheControl"]) == ({"a": "b"}, 1, "max-age=1")
    kms(endpoint).disable_key(KeyId=arns[1])
    assert seen(endpoint, bucket, key)["data"] == data
    with refused(400, "KMS.DisabledException"):
        client.update_object_encryption(**where, ObjectEncryption={"SSEKMS": {"KMSKeyArn": arns[1]}})
    kms(endpoint).disable_key(KeyId=arns[0])
    with refused(400, "KMS.DisabledException"):
        client.get_object(**where)


def test_the_encryption_of_the_current_version_alone_is_updated(endpoint: Endpoint) -> None:
    client, bucket = s3(endpoint), new_bucket(endpoint)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    where = {"Bucket": bucket, "Key": "v"}
    older = client.put_object(**where, Body=b"one")["VersionId"]
    made, data = upload(endpoint, bucket, "v", {1: body(5 * MIB), 2: b"two"})[0], body(5 * MIB) + b"two"
    wanted = {"SSEKMS": {"KMSKeyArn": new_kms_key(endpoint)}}
    with refused(501, "NotImplemented"):
        client.update_object_encryption(**where, VersionId=older, ObjectEncryption=wanted)
    client.update_object_encryption(**where, VersionId=made["VersionId"], ObjectEncryption=wanted)
    got = seen(endpoint, bucket, "v")
    assert (got["data"], got["ETag"], got["ServerSideEncryption"]) == (data, made["ETag"], "aws:kms")
    assert client.get_object(**where, VersionId=older)["Body"].read() == b"one"
    before = client.get_object(**where, VersionId=made["VersionId"])
    assert (before["Body"].read(), before["ServerSideEncryption"]) == (data, "AES256")
    # The two are one object in the store's eyes and ours; one goes, and the other stays all that it was.
    single = {"Bucket": bucket, "Key": "single"}
    put = client.put_object(**single, Body=b"under SSE-S3")
    client.update_object_encryption(**single, ObjectEncryption=wanted)
    etags = {"v": made["ETag"], "single": put["ETag"]}
    for key, etag in etags.items():
        listed = client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"][:2]
        assert [(each["ETag"], each["Size"]) for each in listed] == [(etag, listed[0]["Size"])] * 2
        client.delete_object(Bucket=bucket, Key=key, VersionId=listed[0]["VersionId"])
        (left,) = client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]
        assert (left["ETag"], left["Size"]) == (etag, listed[0]["Size"])
        assert seen(endpoint, bucket, key)["ETag"] == etag
    assert client.get_object(**where, PartNumber=2)["Body"].read() == b"two"


def test_the_command_line_moves_and_syncs(endpoint: Endpoint) -> None:
    client, source, target = s3(endpoint), new_bucket(endpoint), new_bucket(endpoint, "aws:kms")
    bodies = {f"dir/{name}": name.encode() * 1000 for name in KEYS}
    for key, data in bodies.items():
        client.put_object(Bucket=source, Key=key, Body=data, Metadata={"a": "b"})
    for arguments in (
        ("mv", f"s3://{source}/dir/with space", f"s3://{target}/moved"),
        ("sync", f"s3://{source}", f"s3://{target}"),
    ):
        done = endpoint.aws("s3", *arguments)
        assert done.returncode == 0, done.stderr
    assert seen(endpoint, target, "moved")["data"] == bodies.pop("dir/with space")
    for bucket, more in ((source, set()), (target, {"moved"})):
        assert {item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]} == {*bodies, *more}
    for key, data in bodies.items():
        got = client.get_object(Bucket=target, Key=key)
        assert (got["Body"].read(), got["Metadata"]) == (data, {"a": "b"})


def test_a_source_and_a_target_that_are_written_meanwhile(endpoint: Endpoint) -> None:
    """Whatever is read afterwards is one of the objects that were written, whole."""
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    bodies = [body(size, size) for size in (10, 200_000, MIB + 1)]
    ways = list(settings_of(endpoint).values())
    key_arn = new_kms_key(endpoint)
    # The fifth, two layers, is what UpdateObjectEncryption refuses: it is for copies alone.
    client.put_object(Bucket=bucket, Key=key, Body=bodies[0])
    done = threading.Event()

    def write(target: str) -> None:
        number = 0
        while not done.is_set():
            number += 1
            client.put_object(Bucket=bucket, Key=target, Body=bodies[number % 3], **ways[number % 4])

    def copies(number: int) -> None:
        for step in range(6):
            to = f"{key}-{number}" if step % 2 else f"{key}-shared"
            client.copy_object(
                Bucket=bucket, Key=to, CopySource={"Bucket": bucket, "Key": key}, **ways[step % len(ways)]
            )
            assert client.get_object(Bucket=bucket, Key=to)["Body"].read() in bodies
            change = {"MetadataDirective": "REPLACE", "Metadata": {"step": str(step)}}
            wanted = {"SSEKMS": {"KMSKeyArn": key_arn}}
            in_place = [
                partial(client.copy_object, CopySource={"Bucket": bucket, "Key": key}, **change),
                partial(client.update_object_encryption, ObjectEncryption=wanted),
            ]
            for act in in_place:
                try:
                    act(Bucket=bucket, Key=key)
                except ClientError as error:
                    # Of what is replaced all the time, nothing is changed in place: try again later.
                    assert error.response["Error"]["Code"] == "ServiceUnavailable"  # noqa: PT017

    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(write, target) for target in (key, f"{key}-shared")]
        try:
            for outcome in [pool.submit(copies, number) for number in range(4)]:
                outcome.result()
        finally:
            done.set()
        for writer in writers:
            writer.result()
    for to in (key, f"{key}-shared", *(f"{key}-{number}" for number in range(4))):
        assert seen(endpoint, bucket, to)["data"] in bodies
