"""A lost state store loses no completed object: after ``adopt`` and ``reindex`` all is as it was."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.samples import MIB, body, key_id, kms, new_bucket, new_kms_key, refused, s3, upload
from tests.e2e.stores import COMMAND, STORES, Endpoint, Serve, wait_for
from tests.e2e.test_adoption import adopt
from tests.e2e.test_multipart import PART, begin, send

KMS = {"ServerSideEncryption": "aws:kms"}


@pytest.fixture
def serve(endpoint: Endpoint, tmp_path: Path) -> Iterator[Serve]:
    """An endpoint with a state of its own before the store that all share."""
    made = Serve(tmp_path / "proxy", endpoint.store)
    yield made
    made.close()


def reindex(endpoint: Endpoint, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and lines of the real command, beside the running endpoint."""
    own = [COMMAND, "reindex", *arguments, "--config", str(endpoint.folder / "proxy.toml")]
    done = subprocess.run(own, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def lose_the_state(serve: Serve, endpoint: Endpoint) -> Endpoint:
    """The endpoint, stopped and started again without its state."""
    assert endpoint.program.stop() == 0
    for file in serve.folder.glob("state.db*"):
        file.unlink()
    program = serve.launch()
    wait_for(lambda: "ready: " in program.output() or not program.is_running(), "the endpoint is ready")
    return Endpoint(endpoint.store, endpoint.variables, program, endpoint.folder)


def filled(endpoint: Endpoint) -> list[str]:
    """Two buckets, one of them with versions, with objects of every kind."""
    client, arn = s3(endpoint), new_kms_key(endpoint)
    plain, versioned = new_bucket(endpoint), new_bucket(endpoint)
    client.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Enabled"})
    for bucket in (plain, versioned):
        for sse in ({}, {**KMS, "SSEKMSKeyId": arn}, {**KMS, "BucketKeyEnabled": True}):
            client.put_object(Bucket=bucket, Key="folder/small", Body=b"small", **sse)
            client.put_object(Bucket=bucket, Key=f"large{len(sse)}", Body=body(2 * MIB), **sse)
        upload(endpoint, bucket, "multipart", {1: body(PART, 1), 2: body(PART + 1, 2), 9: b"end"}, **KMS)
        upload(endpoint, bucket, "multipart", {2: body(PART, 3), 5: b"the end"}, SSEKMSKeyId=arn, **KMS)
        composite(endpoint, bucket, "composite ü")
    return [plain, versioned]


def composite(endpoint: Endpoint, bucket: str, key: str) -> None:
    upload_id = begin(endpoint, bucket, key, ChecksumAlgorithm="SHA256")
    rows = []
    for number, data in ((3, body(PART, 4)), (4, b"end")):
        sent = send(endpoint, bucket, key, upload_id, number, data, ChecksumAlgorithm="SHA256")
        rows.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": sent["ChecksumSHA256"]})
    s3(endpoint).complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": rows})


def seen(endpoint: Endpoint, buckets: list[str]) -> dict[str, Any]:
    """All that a client sees of the buckets."""
    client = s3(endpoint)
    found: dict[str, Any] = {}
    for bucket in buckets:
        found[bucket] = client.list_objects_v2(Bucket=bucket)["Contents"]
        versions = client.list_object_versions(Bucket=bucket)["Versions"]
        for version in versions:
            where = {"Bucket": bucket, "Key": version["Key"]}
            where |= {"VersionId": version["VersionId"]} if version["VersionId"] != "null" else {}
            whole = client.get_object(**where, ChecksumMode="ENABLED")
            ranged = client.get_object(**where, Range="bytes=-3")
            part = client.get_object(**where, PartNumber=1)
            attributes = client.get_object_attributes(
                **where, ObjectAttributes=["ETag", "Checksum", "ObjectParts", "ObjectSize"]
            )
            heads = []
            for answer in (whole, ranged, part, attributes, client.head_object(**where, ChecksumMode="ENABLED")):
                answer.pop("ResponseMetadata")
                content = answer.pop("Body").read() if "Body" in answer else b""
                heads.append((answer, content))
            found[f"{bucket}/{version['Key']}/{version['VersionId']}"] = (version, heads)
    return found


def test_all_is_as_it_was(serve: Serve) -> None:
    first = serve.start()
    buckets = filled(first)
    before = seen(first, buckets)
    second = lose_the_state(serve, first)
    with refused(503, "ServiceUnavailable"):
        s3(second).list_objects_v2(Bucket=buckets[0])
    assert reindex(second, buckets[0])[0] == 1
    assert adopt(second, *buckets).returncode == 0
    code, lines = reindex(second, *buckets)
    assert code == 0, lines
    rebuilt = [line for line in lines if "table of parts rebuilt: that no part is missing" in line]
    # Of the bucket with versions, those beneath, too.
    assert len(rebuilt) == len(lines) - 1 == 5
    assert "5 table of parts rebuilt" in lines[-1]
    written = second.program.output()
    assert seen(second, buckets) == before
    assert "is rebuilt from the object" not in second.program.output()[len(written) :]
    code, lines = reindex(second, *buckets, "--prefix", "multi")
    assert (code, lines) == (0, ["3 objects: 3 nothing to do"])


@pytest.mark.parametrize("store_name", STORES[:1])
def test_what_cannot_be_rebuilt_is_told_and_stops_nothing(serve: Serve) -> None:
    first = serve.start()
    client, bucket, arn = s3(first), new_bucket(first), new_kms_key(first)
    upload(first, bucket, "locked", {1: body(PART, 1), 2: b"end"}, SSEKMSKeyId=arn, **KMS)
    upload(first, bucket, "good", {1: body(PART, 1), 2: b"end"}, **KMS)
    client.put_object(Bucket=bucket, Key="small", Body=b"x")
    second = lose_the_state(serve, first)
    assert adopt(second, bucket).returncode == 0
    kms(second).disable_key(KeyId=key_id(arn))
    code, lines = reindex(second, bucket)
    assert code == 3, lines
    assert f"{bucket}/locked: its key cannot be used now: DisabledException: {arn} is disabled." in lines
    assert lines[-1] == "3 objects: 1 put on record, 1 table of parts rebuilt, 1 its key cannot be used now"

    beneath = second.store.client()
    stored = beneath.get_object(Bucket=bucket, Key="small")
    data = {"Body": stored["Body"].read(), "Metadata": stored["Metadata"]}
    beneath.put_object(Bucket=bucket, Key="a moved one", **data)
    beneath.put_object(Bucket=bucket, Key="bare", Body=b"plaintext")
    kms(second).enable_key(KeyId=key_id(arn))
    code, lines = reindex(second, bucket)
    assert code == 1, lines
    assert f"{bucket}/bare: DAMAGED: the object has no envelope" in lines
    assert any(line.startswith(f"{bucket}/a moved one: DAMAGED: its wrapped key was damaged") for line in lines)
    assert lines[-1] == "5 objects: 2 nothing to do, 1 table of parts rebuilt, 2 DAMAGED"
    assert s3(second).get_object(Bucket=bucket, Key="locked", PartNumber=2)["Body"].read() == b"end"
