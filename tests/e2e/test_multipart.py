"""Multipart uploads: any order, in parallel, with gaps, again, in vain, across workers and restarts."""

import base64
import contextlib
import itertools
import os
import random
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from awscrt import checksums as crt

from tests.e2e.samples import MIB, body, exists, keys_in, new_key, new_kms_key, refused, s3, shared_bucket, upload
from tests.e2e.stores import Dev, Endpoint, wait_for
from tests.e2e.test_checksums import DIGESTS, checksum
from tests.e2e.wire import SIGNED_CHUNKS, Wire, chunked, wires_to_all_workers

KMS = {"ServerSideEncryption": "aws:kms"}
PART = 5 * MIB


def begin(endpoint: Endpoint, bucket: str, key: str, **settings: Any) -> str:
    return str(s3(endpoint).create_multipart_upload(Bucket=bucket, Key=key, **settings)["UploadId"])


def send(endpoint: Endpoint, bucket: str, key: str, upload_id: str, number: int, data: bytes, **more: Any) -> Any:
    return s3(endpoint).upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data, **more)


def finish(endpoint: Endpoint, bucket: str, key: str, upload_id: str, parts: list[tuple[int, str]], **more: Any) -> Any:
    rows = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
    return s3(endpoint).complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": rows}, **more
    )


def read(endpoint: Endpoint, bucket: str, key: str, **more: Any) -> bytes:
    data = s3(endpoint).get_object(Bucket=bucket, Key=key, **more)["Body"].read()
    assert isinstance(data, bytes)
    return data


@pytest.mark.parametrize("sse", [{}, KMS], ids=["sse-s3", "sse-kms"])
def test_parts_in_any_order_and_in_parallel(any_endpoint: Endpoint, sse: dict[str, str]) -> None:
    bucket, key = shared_bucket(any_endpoint), new_key()
    parts = {number: body(PART + number, number) for number in range(1, 7)}
    parts[9] = body(12345)
    upload_id = begin(any_endpoint, bucket, key, **sse)
    shuffled = random.Random(1).sample(sorted(parts), len(parts))
    with ThreadPoolExecutor(7) as pool:
        etags = dict(
            pool.map(
                lambda number: (
                    number,
                    send(any_endpoint, bucket, key, upload_id, number, parts[number])["ETag"],
                ),
                shuffled,
            )
        )
    assert not exists(any_endpoint, bucket, key)
    assert key not in keys_in(any_endpoint, bucket, key)
    done = finish(any_endpoint, bucket, key, upload_id, sorted(etags.items()))
    whole = b"".join(parts[number] for number in sorted(parts))
    assert done["ETag"].endswith(f'-{len(parts)}"')
    got = s3(any_endpoint).get_object(Bucket=bucket, Key=key)
    assert got["Body"].read() == whole
    head = s3(any_endpoint).head_object(Bucket=bucket, Key=key)
    listed = s3(any_endpoint).list_objects_v2(Bucket=bucket, Prefix=key)["Contents"][0]
    assert {got["ETag"], head["ETag"], listed["ETag"], done["ETag"]} == {done["ETag"]}
    assert (got["ContentLength"], head["ContentLength"], listed["Size"]) == (len(whole),) * 3
    assert (got["Metadata"], head["Metadata"]) == ({}, {})


def test_ranges_across_parts(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    parts = [body(PART, 1), body(PART + 1, 2), body(PART + 65_480, 3), body(1, 4)]
    upload(endpoint, bucket, key, dict(zip((2, 3, 500, 10_000), parts, strict=True)), **KMS)
    whole = b"".join(parts)
    starts = [0, *itertools.accumulate(len(part) for part in parts)]
    edges = sorted({edge + step for edge in starts for step in (-1, 0, 1) if 0 <= edge + step < len(whole)})
    edges += [65_479, 65_480, 65_481, PART + 65_479, PART + 65_480]
    wanted = [(first, last) for first in edges for last in edges if first <= last]
    with Wire(endpoint) as wire:
        for first, last in wanted:
            got = wire.call("GET", f"/{bucket}/{key}", headers={"Range": f"bytes={first}-{last}"})
            told = (got.status, got.headers["Content-Range"])
            assert told == (206, f"bytes {first}-{last}/{len(whole)}")
            assert got.body == whole[first : last + 1], (first, last)
        for length in (1, 2, 65_480, 65_483, PART + 65_482):
            got = wire.call("GET", f"/{bucket}/{key}", headers={"Range": f"bytes=-{length}"})
            assert (got.status, got.body) == (206, whole[-length:])
    with refused(416, "InvalidRange"):
        read(endpoint, bucket, key, Range=f"bytes={len(whole)}-")


def test_the_last_attempt_at_a_part_counts(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key, **KMS)
    first = send(endpoint, bucket, key, upload_id, 1, body(PART, 1))["ETag"]
    second = send(endpoint, bucket, key, upload_id, 1, body(PART, 2))["ETag"]
    last = send(endpoint, bucket, key, upload_id, 2, b"end")["ETag"]
    assert first != second
    finish(endpoint, bucket, key, upload_id, [(1, second), (2, last)])
    assert read(endpoint, bucket, key) == body(PART, 2) + b"end"


def test_an_earlier_attempt_at_a_part(endpoint: Endpoint, store_name: str) -> None:
    """It is gone, as on AWS; SeaweedFS keeps it until the upload ends, and gives a client what it names."""
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key, **KMS)
    first = send(endpoint, bucket, key, upload_id, 1, b"first")["ETag"]
    second = send(endpoint, bucket, key, upload_id, 1, b"the second")["ETag"]
    if store_name == "seaweedfs":
        finish(endpoint, bucket, key, upload_id, [(1, first)])
        assert read(endpoint, bucket, key) == b"first"
        assert s3(endpoint).head_object(Bucket=bucket, Key=key)["ContentLength"] == 5
    else:
        with refused(400, "InvalidPart"):
            finish(endpoint, bucket, key, upload_id, [(1, first)])
        finish(endpoint, bucket, key, upload_id, [(1, second)])
        assert read(endpoint, bucket, key) == b"the second"


def test_the_same_part_again_is_sealed_anew(endpoint: Endpoint) -> None:
    """Equal plaintext under an equal key and nonce would show in the ETag of the ciphertext."""
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key, **KMS)
    etags = {send(endpoint, bucket, key, upload_id, 1, b"the same")["ETag"] for _ in range(5)}
    assert len(etags) == 5


@pytest.mark.parametrize("sse", [{}, KMS], ids=["sse-s3", "sse-kms"])
def test_the_same_part_from_many_at_once(two_worker_endpoint: Endpoint, sse: dict[str, str]) -> None:
    """Which attempt the store takes last, and which is put on record last, is a matter of chance. Under SSE-S3 all of
    them show the same ETag; under SSE-KMS the one that is listed counts."""
    endpoint = two_worker_endpoint
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key, **sse)
    where = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
    parts = [body(PART, 1), b"end"]
    with ThreadPoolExecutor(8) as pool:
        for number, data in enumerate(parts, 1):
            sent = pool.map(lambda _, n=number, d=data: send(endpoint, bucket, key, upload_id, n, d)["ETag"], range(8))
            assert len(set(sent)) == (8 if sse else 1)
    listed = [(each["PartNumber"], each["ETag"]) for each in s3(endpoint).list_parts(**where)["Parts"]]
    assert [number for number, _ in listed] == [1, 2]
    finish(endpoint, bucket, key, upload_id, listed)
    assert read(endpoint, bucket, key) == b"".join(parts)
    assert read(endpoint, bucket, key, PartNumber=2) == b"end"


def test_an_attempt_that_the_store_took_first_and_that_is_on_record_last(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key)
    for _ in range(2):
        etags = [(number, send(endpoint, bucket, key, upload_id, number, body(PART))["ETag"]) for number in (1, 2)]
    with contextlib.closing(sqlite3.connect(endpoint.folder / "state.db", timeout=10)) as state, state:
        last = "SELECT max(sequence) FROM parts WHERE upload_id = ? GROUP BY number"
        statement = f"UPDATE parts SET modified = 0 WHERE upload_id = ? AND sequence IN ({last})"
        assert state.execute(statement, (upload_id, upload_id)).rowcount == 2
    finish(endpoint, bucket, key, upload_id, etags)
    assert read(endpoint, bucket, key) == 2 * body(PART)


def test_parts_that_are_left_out(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key)
    etags = [
        (number, send(endpoint, bucket, key, upload_id, number, body(PART, number))["ETag"]) for number in (1, 2, 3)
    ]
    finish(endpoint, bucket, key, upload_id, [etags[0], etags[2]])
    assert read(endpoint, bucket, key) == body(PART, 1) + body(PART, 3)
    assert read(endpoint, bucket, key, Range=f"bytes={PART - 1}-{PART}") == body(PART, 1)[-1:] + body(PART, 3)[:1]


def test_one_part_and_an_empty_part(endpoint: Endpoint) -> None:
    bucket = shared_bucket(endpoint)
    for data in (b"x", b"", body(MIB + 1)):
        key = new_key()
        done, _ = upload(endpoint, bucket, key, {1: data}, **KMS)
        assert done["ETag"].endswith('-1"')
        assert read(endpoint, bucket, key) == data
        assert s3(endpoint).head_object(Bucket=bucket, Key=key)["ContentLength"] == len(data)
        assert s3(endpoint).list_objects_v2(Bucket=bucket, Prefix=key)["Contents"][0]["Size"] == len(data)


def test_list_parts(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key, Metadata={"a": "b"})
    where = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
    assert "Parts" not in client.list_parts(**where)
    sent = {
        number: (size, send(endpoint, bucket, key, upload_id, number, body(size))["ETag"])
        for number, size in ((7, 65_481), (2, PART), (10_000, 0), (3, 1))
    }
    listed = client.list_parts(**where)["Parts"]
    assert [(each["PartNumber"], each["Size"], each["ETag"]) for each in listed] == [
        (number, *sent[number]) for number in sorted(sent)
    ]
    # Sent again, it is listed once.
    sent[3] = (2, send(endpoint, bucket, key, upload_id, 3, body(2))["ETag"])
    pages = list(client.get_paginator("list_parts").paginate(**where, PaginationConfig={"PageSize": 3}))
    assert [[each["PartNumber"] for each in page["Parts"]] for page in pages] == [[2, 3, 7], [10_000]]
    assert [(each["Size"], each["ETag"]) for page in pages for each in page["Parts"]] == [
        sent[number] for number in sorted(sent)
    ]
    client.abort_multipart_upload(**where)


def test_abort(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key)
    etag = send(endpoint, bucket, key, upload_id, 1, b"x")["ETag"]
    assert (
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)["ResponseMetadata"]["HTTPStatusCode"]
        == 204
    )
    message = (
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed."
    )
    for call in (
        lambda: send(endpoint, bucket, key, upload_id, 2, b"x"),
        lambda: finish(endpoint, bucket, key, upload_id, [(1, etag)]),
        lambda: client.list_parts(Bucket=bucket, Key=key, UploadId=upload_id),
        lambda: client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id),
    ):
        with refused(404, "NoSuchUpload", message):
            call()
    assert not exists(endpoint, bucket, key)


def test_abort_while_parts_are_on_their_way(two_worker_endpoint: Endpoint) -> None:
    """Each is acknowledged or refused; in the end nothing of the upload is left."""
    endpoint, client = two_worker_endpoint, s3(two_worker_endpoint)
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key)

    def sent(number: int) -> str:
        try:
            send(endpoint, bucket, key, upload_id, number, body(PART))
        except client.exceptions.NoSuchUpload:
            return "refused"
        return "acknowledged"

    with ThreadPoolExecutor(8) as pool:
        outcomes = [pool.submit(sent, number) for number in range(1, 9)]
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        assert {each.result() for each in outcomes} <= {"refused", "acknowledged"}
    with refused(404, "NoSuchUpload"):
        client.list_parts(Bucket=bucket, Key=key, UploadId=upload_id)
    with refused(404, "NoSuchUpload"):
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
    beneath = endpoint.store.client().list_multipart_uploads(Bucket=bucket, Prefix=key)
    assert "Uploads" not in beneath
    with contextlib.closing(sqlite3.connect(endpoint.folder / "state.db", timeout=10)) as state:
        assert state.execute("SELECT count(*) FROM parts WHERE upload_id = ?", (upload_id,)).fetchone() == (0,)


def test_an_upload_is_for_one_key(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key)
    for other in (f"{key}2", key[:-1]):
        with refused(404, "NoSuchUpload"):
            send(endpoint, bucket, other, upload_id, 1, b"x")
    with refused(404, "NoSuchUpload"):
        send(endpoint, bucket, key, f"{upload_id}x", 1, b"x")


def test_entity_too_small(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key)
    small = send(endpoint, bucket, key, upload_id, 1, body(PART - 1))["ETag"]
    last = send(endpoint, bucket, key, upload_id, 2, b"x")["ETag"]
    message = "Your proposed upload is smaller than the minimum allowed size"
    with refused(400, "EntityTooSmall", message) as error:
        finish(endpoint, bucket, key, upload_id, [(1, small), (2, last)])
    assert (error["ProposedSize"], error["MinSizeAllowed"], error["PartNumber"]) == (str(PART - 1), str(PART), "1")
    assert not exists(endpoint, bucket, key)
    # The upload is still there.
    right = send(endpoint, bucket, key, upload_id, 1, body(PART))["ETag"]
    finish(endpoint, bucket, key, upload_id, [(1, right), (2, last)])
    assert read(endpoint, bucket, key) == body(PART) + b"x"


def test_what_completion_refuses(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key)
    one = send(endpoint, bucket, key, upload_id, 1, body(PART))["ETag"]
    two = send(endpoint, bucket, key, upload_id, 2, b"x")["ETag"]
    for parts in ([(2, two), (1, one)], [(1, one), (1, one)]):
        with refused(400, "InvalidPartOrder"):
            finish(endpoint, bucket, key, upload_id, parts)
    for parts in ([(1, one), (3, two)], [(1, two)], [(1, '"0123456789abcdef0123456789abcdef"')]):
        with refused(400, "InvalidPart"):
            finish(endpoint, bucket, key, upload_id, parts)
    with refused(400, "MalformedXML"):
        finish(endpoint, bucket, key, upload_id, [])
    with refused(400, "InvalidRequest"):
        finish(endpoint, bucket, key, upload_id, [(1, one), (2, two)], MpuObjectSize=PART)
    assert not exists(endpoint, bucket, key)
    finish(endpoint, bucket, key, upload_id, [(1, one), (2, two)], MpuObjectSize=PART + 1)
    assert read(endpoint, bucket, key) == body(PART) + b"x"


@pytest.mark.parametrize("number", ["0", "10001", "-1", "1.5", "a", ""])
def test_part_numbers(endpoint: Endpoint, number: str) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key)
    with Wire(endpoint) as wire:
        query = [("partNumber", number), ("uploadId", upload_id)]
        got = wire.call("PUT", f"/{bucket}/{key}", query, body=b"x")
    message = "Part number must be an integer between 1 and 10000, inclusive"
    assert (got.status, got.code, got.message) == (400, "InvalidArgument", message)


def test_half_a_query_is_not_a_put(endpoint: Endpoint) -> None:
    """A PUT with one of uploadId and partNumber would replace the object by a part."""
    bucket, key = shared_bucket(endpoint), new_key()
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"precious")
    upload_id = begin(endpoint, bucket, key)
    with Wire(endpoint) as wire:
        for query in ([("uploadId", upload_id)], [("partNumber", "1")], [("uploads", "")]):
            assert wire.call("PUT", f"/{bucket}/{key}", query, body=b"part").status in {400, 405, 501}, query
    assert read(endpoint, bucket, key) == b"precious"


def test_parts_in_signed_chunks(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key)
    own = {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": "100000"}
    with Wire(endpoint) as wire:
        query = [("partNumber", "1"), ("uploadId", upload_id)]
        head = wire.signed("PUT", f"/{bucket}/{key}", query, own, SIGNED_CHUNKS)
        put = wire.send(head, chunked(wire.signer, head, body(100_000)))
        assert put.status == 200, put.body
    finish(endpoint, bucket, key, upload_id, [(1, put.headers["ETag"])])
    assert read(endpoint, bucket, key) == body(100_000)


def test_a_part_that_is_wrong_is_not_there(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key)
    for size in (1000, 2 * MIB):
        with refused(400, "BadDigest"):
            send(endpoint, bucket, key, upload_id, 1, body(size), ContentMD5=checksum("MD5", b"other"))
        with refused(400, "BadDigest"):
            send(endpoint, bucket, key, upload_id, 1, body(size), ChecksumCRC32=checksum("CRC32", b"other"))
    assert "Parts" not in client.list_parts(Bucket=bucket, Key=key, UploadId=upload_id)


# Checksums.


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_a_composite_checksum(endpoint: Endpoint, algorithm: str) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    parts = [body(PART, 1), b"end"]
    upload_id = begin(endpoint, bucket, key, ChecksumAlgorithm=algorithm)
    rows = []
    for number, data in enumerate(parts, 1):
        sent = send(endpoint, bucket, key, upload_id, number, data, ChecksumAlgorithm=algorithm)
        assert sent[f"Checksum{algorithm}"] == checksum(algorithm, data)
        rows.append({"PartNumber": number, "ETag": sent["ETag"], f"Checksum{algorithm}": checksum(algorithm, data)})
    listed = client.list_parts(Bucket=bucket, Key=key, UploadId=upload_id)
    assert [each[f"Checksum{algorithm}"] for each in listed["Parts"]] == [checksum(algorithm, data) for data in parts]
    done = client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": rows})
    digests = b"".join(DIGESTS[algorithm](data) for data in parts)
    expected = f"{base64.b64encode(DIGESTS[algorithm](digests)).decode()}-2"
    assert (done[f"Checksum{algorithm}"], done["ChecksumType"]) == (expected, "COMPOSITE")
    head = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    got = client.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert got["Body"].read() == b"".join(parts)
    assert {head[f"Checksum{algorithm}"], got[f"Checksum{algorithm}"]} == {expected}


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_a_full_object_checksum(endpoint: Endpoint, algorithm: str) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    parts = {1: body(PART, 1), 2: body(PART + 3, 2), 3: b"end"}
    whole = b"".join(parts.values())
    upload_id = begin(endpoint, bucket, key, ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT", **KMS)
    etags = [
        (number, send(endpoint, bucket, key, upload_id, number, data, ChecksumAlgorithm=algorithm)["ETag"])
        for number, data in parts.items()
    ]
    wrong = {f"Checksum{algorithm}": checksum(algorithm, b"other")}
    with refused(400, "BadDigest"):
        finish(endpoint, bucket, key, upload_id, etags, ChecksumType="FULL_OBJECT", **wrong)
    assert not exists(endpoint, bucket, key)
    right = {f"Checksum{algorithm}": checksum(algorithm, whole)}
    done = finish(endpoint, bucket, key, upload_id, etags, ChecksumType="FULL_OBJECT", **right)
    assert (done[f"Checksum{algorithm}"], done["ChecksumType"]) == (checksum(algorithm, whole), "FULL_OBJECT")
    head = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert (head[f"Checksum{algorithm}"], head["ChecksumType"]) == (checksum(algorithm, whole), "FULL_OBJECT")
    part = client.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED", Range="bytes=0-9")
    assert part["Body"].read() == whole[:10]
    assert f"Checksum{algorithm}" not in part


def test_crc64nvme_of_an_upload_that_asks_for_none(endpoint: Endpoint) -> None:
    """AWS computes it where a client sends no checksum."""
    bucket, key = shared_bucket(endpoint), new_key()
    whole = body(PART) + b"end"
    with Wire(endpoint) as wire:
        path = f"/{bucket}/{key}"
        begun = wire.call("POST", path, [("uploads", "")])
        upload_id = begun.body.decode().partition("<UploadId>")[2].partition("<")[0]
        rows = ""
        for number, data in enumerate((body(PART), b"end"), 1):
            put = wire.call("PUT", path, [("partNumber", str(number)), ("uploadId", upload_id)], body=data)
            rows += f"<Part><PartNumber>{number}</PartNumber><ETag>{put.headers['ETag']}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        assert wire.call("POST", path, [("uploadId", upload_id)], body=document).status == 200
        head = wire.call("HEAD", path, headers={"x-amz-checksum-mode": "ENABLED"})
    expected = base64.b64encode(crt.crc64nvme(whole).to_bytes(8, "big")).decode()
    assert head.headers["x-amz-checksum-crc64nvme"] == expected
    assert head.headers["x-amz-checksum-type"] == "FULL_OBJECT"


def test_checksums_that_do_not_fit_the_upload(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key, ChecksumAlgorithm="SHA256")
    with refused(400, "InvalidRequest"):
        send(endpoint, bucket, key, upload_id, 1, b"x", ChecksumAlgorithm="CRC32")
    etag = send(endpoint, bucket, key, upload_id, 1, b"x", ChecksumAlgorithm="SHA256")["ETag"]
    with refused(400, "InvalidPart"):
        rows = [{"PartNumber": 1, "ETag": etag, "ChecksumSHA256": checksum("SHA256", b"y")}]
        client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": rows})
    for algorithm, kind in (("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")):
        with refused(400, "InvalidRequest"):
            begin(endpoint, bucket, key, ChecksumAlgorithm=algorithm, ChecksumType=kind)


# Conditions.


def test_completing_once(endpoint: Endpoint) -> None:
    """With If-None-Match: *, of two uploads of one key the second to complete is refused, and can be aborted."""
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    uploads = [begin(endpoint, bucket, key) for _ in range(2)]
    etags = [send(endpoint, bucket, key, each, 1, b"%d" % number)["ETag"] for number, each in enumerate(uploads)]
    finish(endpoint, bucket, key, uploads[1], [(1, etags[1])], IfNoneMatch="*")
    with refused(412, "PreconditionFailed"):
        finish(endpoint, bucket, key, uploads[0], [(1, etags[0])], IfNoneMatch="*")
    assert read(endpoint, bucket, key) == b"1"
    client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=uploads[0])


def test_completing_what_is_still_the_same(endpoint: Endpoint) -> None:
    """With If-Match: for an object that is there and was not replaced meanwhile."""
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key, **KMS)
    etag = send(endpoint, bucket, key, upload_id, 1, b"new")["ETag"]
    with refused(404, "NoSuchKey"):
        finish(endpoint, bucket, key, upload_id, [(1, etag)], IfMatch='"0123456789abcdef0123456789abcdef-0"')
    first = client.put_object(Bucket=bucket, Key=key, Body=b"1")["ETag"]
    second = client.put_object(Bucket=bucket, Key=key, Body=b"2")["ETag"]
    with refused(412, "PreconditionFailed") as error:
        finish(endpoint, bucket, key, upload_id, [(1, etag)], IfMatch=first)
    assert error["Condition"] == "If-Match"
    assert read(endpoint, bucket, key) == b"2"
    done = finish(endpoint, bucket, key, upload_id, [(1, etag)], IfMatch=second)
    assert client.get_object(Bucket=bucket, Key=key, IfMatch=done["ETag"])["Body"].read() == b"new"


@pytest.mark.parametrize("conditions", [{}, {"IfNoneMatch": "*"}], ids=["plain", "if-none-match"])
def test_completing_again_is_answered_the_same(two_worker_endpoint: Endpoint, conditions: dict[str, str]) -> None:
    """The first answer may have been lost; another worker may be asked."""
    endpoint = two_worker_endpoint
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key)
    etags = [(number, send(endpoint, bucket, key, upload_id, number, body(PART))["ETag"]) for number in (1, 2)]
    with ThreadPoolExecutor(4) as pool:
        again = pool.map(lambda _: finish(endpoint, bucket, key, upload_id, etags, **conditions), range(4))
    names = ("ETag", "ChecksumCRC32", "ChecksumCRC64NVME", "ChecksumType", "Location", "ServerSideEncryption")
    told = [tuple(answer.get(name) for name in names) for answer in again]
    last = finish(endpoint, bucket, key, upload_id, etags, **conditions)
    told.append(tuple(last.get(name) for name in names))
    assert len(set(told)) == 1
    with refused(404, "NoSuchUpload"):
        finish(endpoint, bucket, key, upload_id, etags[:1])
    with refused(404, "NoSuchUpload"):
        send(endpoint, bucket, key, upload_id, 3, b"late")
    assert "Uploads" not in s3(endpoint).list_multipart_uploads(Bucket=bucket, Prefix=key)
    assert read(endpoint, bucket, key) == 2 * body(PART)
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"another")
    with refused(404, "NoSuchUpload"):
        finish(endpoint, bucket, key, upload_id, etags)
    assert read(endpoint, bucket, key) == b"another"


def test_an_upload_replaces_an_object_and_is_replaced(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=b"single")
    upload(endpoint, bucket, key, {1: body(PART), 2: b"end"}, **KMS)
    assert read(endpoint, bucket, key) == body(PART) + b"end"
    upload(endpoint, bucket, key, {1: b"short"})
    assert read(endpoint, bucket, key) == b"short"
    client.put_object(Bucket=bucket, Key=key, Body=b"single again")
    assert read(endpoint, bucket, key) == b"single again"
    assert client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"][0]["Size"] == 12


# The CLI, workers, restarts.


def test_s3_cp_of_64_mib(any_endpoint: Endpoint, tmp_path: Path) -> None:
    bucket, key = shared_bucket(any_endpoint), new_key()
    (tmp_path / "up").write_bytes(body(64 * MIB))
    kms_key = new_kms_key(any_endpoint)
    sse = ["--sse", "aws:kms", "--sse-kms-key-id", kms_key]
    up = any_endpoint.aws("s3", "cp", "--no-progress", *sse, "up", f"s3://{bucket}/{key}", cwd=tmp_path)
    assert up.returncode == 0, up.stderr.decode()
    head = s3(any_endpoint).head_object(Bucket=bucket, Key=key)
    assert (head["ContentLength"], head["SSEKMSKeyId"]) == (64 * MIB, kms_key)
    assert head["ETag"].endswith('-8"')
    down = any_endpoint.aws("s3", "cp", "--no-progress", f"s3://{bucket}/{key}", "down", cwd=tmp_path)
    assert down.returncode == 0, down.stderr.decode()
    assert (tmp_path / "down").read_bytes() == body(64 * MIB)


@pytest.mark.parametrize("algorithm", [None, "CRC64NVME", "SHA256"])
def test_the_transfer_manager_of_boto3(endpoint: Endpoint, tmp_path: Path, algorithm: str | None) -> None:
    """With its defaults, and with each kind of checksum; it verifies what it reads."""
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    data = body(17 * MIB)
    (tmp_path / "up").write_bytes(data)
    extra = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    client.upload_file(str(tmp_path / "up"), bucket, key, ExtraArgs=extra)
    client.download_file(bucket, key, str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == data
    found = client.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=["Checksum", "ObjectParts"])
    name, pieces = algorithm or "CRC32", [data[start : start + 8 * MIB] for start in range(0, len(data), 8 * MIB)]
    assert found["ObjectParts"]["TotalPartsCount"] == 3
    if found["Checksum"]["ChecksumType"] == "FULL_OBJECT":
        expected = checksum(name, data)
    else:
        expected = base64.b64encode(DIGESTS[name](b"".join(map(DIGESTS[name], pieces)))).decode()
        assert [part[f"Checksum{name}"] for part in found["ObjectParts"]["Parts"]] == [
            checksum(name, piece) for piece in pieces
        ]
    assert found["Checksum"][f"Checksum{name}"] == expected


def test_begun_with_one_worker_and_ended_with_another(two_worker_endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(two_worker_endpoint), new_key()
    path = f"/{bucket}/{key}"
    s3(two_worker_endpoint).put_object(Bucket=bucket, Key=f"{key}0", Body=b"x")
    wires = [wire for _, wire in wires_to_all_workers(two_worker_endpoint, f"{path}0", 2)]
    headers = {"x-amz-server-side-encryption": "aws:kms"}
    begun = wires[0].call("POST", path, [("uploads", "")], headers)
    upload_id = begun.body.decode().partition("<UploadId>")[2].partition("<")[0]
    data = [body(PART, 1), body(PART, 2), b"end"]
    answers = [
        wires[(number + 1) % 2].call("PUT", path, [("partNumber", str(number)), ("uploadId", upload_id)], body=part)
        for number, part in enumerate(data, 1)
    ]
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.headers['ETag']}</ETag></Part>"
        for number, answer in enumerate(answers, 1)
    )
    document = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
    done = wires[1].call("POST", path, [("uploadId", upload_id)], body=document)
    assert done.status == 200, done.body
    assert {begun.worker, answers[0].worker, answers[1].worker, done.worker} == {"worker-1", "worker-2"}
    assert begun.worker != done.worker
    for wire in wires:
        assert wire.call("GET", path).body == b"".join(data)
        assert wire.opened == 1
        wire.close()


def test_begun_with_a_worker_that_is_killed(two_worker_endpoint: Endpoint) -> None:
    endpoint = two_worker_endpoint
    bucket, key = shared_bucket(endpoint), new_key()
    upload_id = begin(endpoint, bucket, key, **KMS)
    etags = [(1, send(endpoint, bucket, key, upload_id, 1, body(PART, 1))["ETag"])]
    for number in (2, 3):
        before = endpoint.workers
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda gone=before: len(endpoint.workers) == 2 and endpoint.workers != gone, "it is replaced")
        data = body(PART, number) if number == 2 else b"end"
        etags.append((number, retried(endpoint, bucket, key, upload_id, number, data)))
    os.kill(endpoint.workers[0], signal.SIGKILL)
    client = endpoint.client("s3", retries={"total_max_attempts": 6, "mode": "standard"})
    rows = [{"PartNumber": number, "ETag": etag} for number, etag in etags]
    where = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
    client.complete_multipart_upload(**where, MultipartUpload={"Parts": rows})
    whole = body(PART, 1) + body(PART, 2) + b"end"
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == whole


def retried(endpoint: Endpoint, bucket: str, key: str, upload_id: str, number: int, data: bytes) -> str:
    """A part's ETag, from a client with boto3's own retries: a connection may lead to a worker that is gone."""
    client = endpoint.client("s3", retries={"total_max_attempts": 6, "mode": "standard"})
    sent = client.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data)
    return str(sent["ETag"])


def test_begun_before_a_restart_and_ended_after_it(dev: Dev) -> None:
    first = dev.start()
    bucket, key = shared_bucket(first), new_key()
    upload_id = begin(first, bucket, key, Metadata={"a": "b"}, **KMS)
    one = send(first, bucket, key, upload_id, 1, body(PART))["ETag"]
    assert first.program.stop() == 0
    second = dev.start()
    assert [each["Size"] for each in s3(second).list_parts(Bucket=bucket, Key=key, UploadId=upload_id)["Parts"]] == [
        PART
    ]
    two = send(second, bucket, key, upload_id, 2, b"end")["ETag"]
    finish(second, bucket, key, upload_id, [(1, one), (2, two)])
    got = s3(second).get_object(Bucket=bucket, Key=key)
    assert got["Body"].read() == body(PART) + b"end"
    assert (got["Metadata"], got["ServerSideEncryption"]) == ({"a": "b"}, "aws:kms")
