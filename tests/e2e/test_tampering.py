"""Whoever can write to the store can destroy objects, but not have plaintext of another making served as theirs: a
clean error before the first byte, or a connection that is cut."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.samples import (
    MIB,
    body,
    keys_in,
    new_bucket,
    new_key,
    new_kms_key,
    refused,
    s3,
    shared_bucket,
    upload,
)
from tests.e2e.stores import Endpoint
from tests.e2e.wire import Answer, Wire

KMS = {"ServerSideEncryption": "aws:kms"}
SIZE = 200_000  # four segments
SEGMENT = 65_536
DAMAGED = "The object failed its integrity check."


@dataclass(frozen=True)
class Stored:
    """An object as the store has it."""

    body: bytes
    metadata: dict[str, str]

    @property
    def key(self) -> bytes:
        """The structure in ``sse-proxy-key``."""
        coded = self.metadata["sse-proxy-key"]
        return base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))

    def with_body(self, data: bytes) -> "Stored":
        assert data != self.body
        return replace(self, body=data)

    def with_metadata(self, **changes: str | None) -> "Stored":
        changed = {**self.metadata, **{name.replace("_", "-"): value for name, value in changes.items()}}
        assert changed != self.metadata
        return replace(self, metadata={name: value for name, value in changed.items() if value is not None})

    def with_key(self, value: bytes) -> "Stored":
        return self.with_metadata(sse_proxy_key=base64.urlsafe_b64encode(value).rstrip(b"=").decode())


def flipped(data: bytes, position: int, bit: int = 1) -> bytes:
    changed = bytearray(data)
    changed[position] ^= bit
    return bytes(changed)


class Attacker:
    """Has the store's own credentials."""

    def __init__(self, endpoint: Endpoint, bucket: str) -> None:
        self.client = endpoint.store.client()
        self.bucket = bucket

    def read(self, key: str) -> Stored:
        got = self.client.get_object(Bucket=self.bucket, Key=key)
        return Stored(got["Body"].read(), got["Metadata"])

    def write(self, key: str, stored: Stored) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=stored.body, Metadata=stored.metadata)


def check_refused(answer: Answer) -> None:
    assert (answer.status, answer.code, answer.message) == (500, "InternalError", DAMAGED), answer.body[:500]
    assert answer.complete


def check_cut(answer: Answer, data: bytes, whole_segments: int) -> None:
    """The answer began, holds nothing but what was verified, and was cut within the body."""
    assert answer.status == 200
    assert not answer.complete
    verified = data[: 65_480 + 65_520 * (whole_segments - 1)]
    assert verified.startswith(answer.body)


# Every edit of a single object is one of these: from it and another one of the same size to what is written in its
# place, and how many segments of it are still right.
Edit = Callable[[Stored, Stored], Stored]

REFUSED: dict[str, Edit] = {
    "a bit of the stream's salt": lambda it, _: it.with_body(flipped(it.body, 5)),
    "the first bit": lambda it, _: it.with_body(flipped(it.body, 0)),
    "a bit of the nonce prefix": lambda it, _: it.with_body(flipped(it.body, 36)),
    "a bit of the first segment": lambda it, _: it.with_body(flipped(it.body, 1000)),
    "a bit of the first tag": lambda it, _: it.with_body(flipped(it.body, SEGMENT - 1, 128)),
    "cut by a byte": lambda it, _: it.with_body(it.body[:-1]),
    "cut to a segment": lambda it, _: it.with_body(it.body[:SEGMENT]),
    "cut to three segments": lambda it, _: it.with_body(it.body[: 3 * SEGMENT]),
    "cut to nothing": lambda it, _: it.with_body(b""),
    "cut at the front": lambda it, _: it.with_body(it.body[1:]),
    "without the first segment": lambda it, _: it.with_body(it.body[SEGMENT:]),
    "longer by a byte": lambda it, _: it.with_body(it.body + b"\0"),
    "longer by a segment": lambda it, _: it.with_body(it.body + it.body[SEGMENT : 2 * SEGMENT]),
    "twice": lambda it, _: it.with_body(it.body * 2),
    "the first two segments changed about": lambda it, _: it.with_body(
        it.body[SEGMENT : 2 * SEGMENT] + it.body[:SEGMENT] + it.body[2 * SEGMENT :]
    ),
    "another object's body": lambda it, other: it.with_body(other.body),
    "another object's metadata": lambda it, other: replace(it, metadata=other.metadata),
    "another object, whole": lambda it, other: other,
    "another object's first segment": lambda it, other: it.with_body(other.body[:SEGMENT] + it.body[SEGMENT:]),
    "another key's ARN": lambda it, other: it.with_metadata(sse_proxy_arn=other.metadata["sse-proxy-arn"]),
    "another object's keys": lambda it, other: it.with_metadata(sse_proxy_key=other.metadata["sse-proxy-key"]),
    "no ARN": lambda it, _: it.with_metadata(sse_proxy_arn=None),
    "no key": lambda it, _: it.with_metadata(sse_proxy_key=None),
    "no metadata": lambda it, _: replace(it, metadata={}),
    "an empty key": lambda it, _: it.with_metadata(sse_proxy_key=""),
    "a key that is not base64": lambda it, _: it.with_metadata(sse_proxy_key="%%%%"),
    "a later version": lambda it, _: it.with_key(b"\2" + it.key[1:]),
    "version 0": lambda it, _: it.with_key(b"\0" + it.key[1:]),
    "SSE-S3 instead of KMS": lambda it, _: it.with_key(it.key[:1] + b"\1" + it.key[2:]),
    "multipart instead of single": lambda it, _: it.with_key(it.key[:1] + bytes([it.key[1] + 4]) + it.key[2:]),
    "with a bucket key": lambda it, _: it.with_key(it.key[:1] + bytes([it.key[1] + 8]) + it.key[2:]),
    "a bit of the object's salt": lambda it, _: it.with_key(flipped(it.key, 2)),
    "a bit of the commitment": lambda it, _: it.with_key(flipped(it.key, 40)),
    "a bit of the wrapped key": lambda it, _: it.with_key(flipped(it.key, 120)),
    "a bit of the record": lambda it, _: it.with_key(flipped(it.key, len(it.key) - 1)),
    "a byte more in the key": lambda it, _: it.with_key(it.key + b"\0"),
    "another context": lambda it, _: it.with_metadata(
        sse_proxy_context=base64.b64encode(b'{"who":"mallory"}').decode()
    ),
    "no context": lambda it, _: it.with_metadata(sse_proxy_context=None),
    "a context that is not canonical": lambda it, _: it.with_metadata(
        sse_proxy_context=base64.b64encode(b'{ "who":"alice"}').decode()
    ),
    "one reserved name more": lambda it, _: it.with_metadata(sse_proxy_new="x"),
    "plaintext": lambda it, _: Stored(b"plaintext of the attacker", {}),
    "plaintext of the same size": lambda it, _: Stored(bytes(len(it.body)), {}),
    "plaintext with the envelope's metadata": lambda it, _: it.with_body(bytes(len(it.body))),
}

LONG = 3 * MIB  # 49 segments; more than what is verified before the head of an answer goes out


def segments(data: bytes, *wanted: slice | int) -> bytes:
    """Some of the segments of a stored body, in the order wanted."""
    all_of_them = [data[start : start + SEGMENT] for start in range(0, len(data), SEGMENT)]
    chosen = [all_of_them[each] if isinstance(each, slice) else [all_of_them[each]] for each in wanted]
    return b"".join(segment for each in chosen for segment in each)


# How many segments are still right, and the edit.
CUT: dict[str, tuple[int, Edit]] = {
    "a bit of a segment": (40, lambda it, _: it.with_body(flipped(it.body, 40 * SEGMENT + 5))),
    "a bit of a tag": (40, lambda it, _: it.with_body(flipped(it.body, 41 * SEGMENT - 1))),
    "two segments changed about": (
        40,
        lambda it, _: it.with_body(segments(it.body, slice(40), 41, 40, slice(42, None))),
    ),
    "a segment twice": (41, lambda it, _: it.with_body(segments(it.body, slice(41), 40, slice(42, None)))),
    "another object's end": (
        40,
        lambda it, other: it.with_body(segments(it.body, slice(40)) + segments(other.body, slice(40, None))),
    ),
    "the last segment": (48, lambda it, _: it.with_body(flipped(it.body, 48 * SEGMENT + 5))),
    "a bit of the footer": (49, lambda it, _: it.with_body(flipped(it.body, -100))),
    "the last bit": (49, lambda it, _: it.with_body(flipped(it.body, -1))),
    "another object's footer": (49, lambda it, other: it.with_body(it.body[:-128] + other.body[-128:])),
}


def two_objects(endpoint: Endpoint, size: int) -> tuple[Attacker, str, str]:
    """Of one size, under keys of their own, in one bucket."""
    client, bucket, prefix = s3(endpoint), shared_bucket(endpoint), new_key("victim")
    context = {"SSEKMSEncryptionContext": base64.b64encode(b'{"who":"alice"}').decode()}
    for number in (1, 2):
        own: dict[str, Any] = {**KMS, **context, "SSEKMSKeyId": new_kms_key(endpoint)}
        client.put_object(Bucket=bucket, Key=f"{prefix}/{number}", Body=body(size, number), **own)
    return Attacker(endpoint, bucket), f"{prefix}/1", f"{prefix}/2"


@pytest.mark.parametrize("edit", REFUSED.values(), ids=REFUSED)
def test_an_edit_that_is_refused(endpoint: Endpoint, edit: Edit) -> None:
    attacker, key, other = two_objects(endpoint, SIZE)
    attacker.write(key, edit(attacker.read(key), attacker.read(other)))
    path = f"/{attacker.bucket}/{key}"
    with Wire(endpoint) as wire:
        check_refused(wire.call("GET", path))
        check_refused(wire.call("GET", path, headers={"x-amz-checksum-mode": "ENABLED"}))
        for text in ("bytes=0-9", "bytes=-10", f"bytes={SIZE - 1}-", "bytes=70000-70009"):
            answer = wire.call("GET", path, headers={"Range": text})
            # A range is of what is still right, or refused.
            if answer.status == 206:
                first, last = map(int, answer.headers["Content-Range"].split()[1].partition("/")[0].split("-"))
                assert answer.body == body(SIZE, 1)[first : last + 1]
            else:
                assert (answer.status, answer.code) in {(500, "InternalError"), (416, "InvalidRange")}
        head = wire.call("HEAD", path, headers={"x-amz-checksum-mode": "ENABLED"})
        assert head.status in {200, 500}
        # Neither the listing nor the other object suffers; and the owner can put things right.
        assert set(keys_in(endpoint, attacker.bucket, key[:-2])) == {key, other}
        assert wire.call("GET", f"/{attacker.bucket}/{other}").body == body(SIZE, 2)
        assert wire.opened == 1
    s3(endpoint).put_object(Bucket=attacker.bucket, Key=key, Body=b"right again")
    assert s3(endpoint).get_object(Bucket=attacker.bucket, Key=key)["Body"].read() == b"right again"


@pytest.mark.parametrize(("right", "edit"), CUT.values(), ids=CUT)
def test_an_edit_that_is_seen_later(endpoint: Endpoint, right: int, edit: Edit) -> None:
    attacker, key, other = two_objects(endpoint, LONG)
    data = body(LONG, 1)
    attacker.write(key, edit(attacker.read(key), attacker.read(other)))
    path = f"/{attacker.bucket}/{key}"
    with Wire(endpoint) as wire:
        check_cut(wire.call("GET", path), data, right)
        # Ranges before the fault are served, ranges at it are refused.
        before = wire.call("GET", path, headers={"Range": "bytes=2000000-2000099"})
        assert (before.status, before.body) == (206, data[2_000_000:2_000_100])
        position = 65_480 + 65_520 * (right - 1)
        if position < LONG:
            check_refused(wire.call("GET", path, headers={"Range": f"bytes={position}-{position + 9}"}))
        assert set(keys_in(endpoint, attacker.bucket, key[:-2])) == {key, other}
    with pytest.raises(Exception, match=r"IncompleteRead|Connection broken|ended prematurely"):
        s3(endpoint).get_object(Bucket=attacker.bucket, Key=key)["Body"].read()


def test_an_object_that_was_put_right_is_served_again(endpoint: Endpoint) -> None:
    """What the proxy has learnt of a damaged object does not stick to the right one."""
    attacker, key, other = two_objects(endpoint, SIZE)
    right = attacker.read(key)
    etag = s3(endpoint).head_object(Bucket=attacker.bucket, Key=key)["ETag"]
    for edit in (REFUSED["twice"], REFUSED["another object, whole"], REFUSED["plaintext"], REFUSED["no context"]):
        attacker.write(key, edit(right, attacker.read(other)))
        keys_in(endpoint, attacker.bucket, key)
        with Wire(endpoint) as wire:
            assert wire.call("GET", f"/{attacker.bucket}/{key}").body != body(SIZE, 1)
        attacker.write(key, right)
        got = s3(endpoint).get_object(Bucket=attacker.bucket, Key=key)
        assert (got["Body"].read(), got["ETag"]) == (body(SIZE, 1), etag)
        listed = s3(endpoint).list_objects_v2(Bucket=attacker.bucket, Prefix=key)["Contents"][0]
        assert (listed["Size"], listed["ETag"]) == (SIZE, etag)


def test_sse_s3_objects_are_bound_to_their_place_too(endpoint: Endpoint) -> None:
    """There the proxy has the right to the key for everyone."""
    client, bucket, prefix = s3(endpoint), shared_bucket(endpoint), new_key("s3")
    other_bucket = new_bucket(endpoint)
    for size in (1000, 2 * MIB):
        key = f"{prefix}/{size}"
        client.put_object(Bucket=bucket, Key=key, Body=body(size))
        stored = Attacker(endpoint, bucket).read(key)
        Attacker(endpoint, bucket).write(f"{key}-moved", stored)
        Attacker(endpoint, other_bucket).write(key, stored)
        Attacker(endpoint, bucket).write(f"{key}-bare", replace(stored, metadata={}))
        with Wire(endpoint) as wire:
            for path in (f"/{bucket}/{key}-moved", f"/{other_bucket}/{key}", f"/{bucket}/{key}-bare"):
                check_refused(wire.call("GET", path))
                assert wire.call("HEAD", path).status == 500
        assert set(keys_in(endpoint, bucket, key)) == {key, f"{key}-moved", f"{key}-bare"}
    assert client.list_objects(Bucket=other_bucket)["IsTruncated"] is False


def test_bucket_keys_bind_objects_to_their_place(endpoint: Endpoint) -> None:
    """KMS knows the bucket only; the object's name is bound by the bucket key."""
    client, bucket, prefix = s3(endpoint), shared_bucket(endpoint), new_key("bucket-key")
    sse: dict[str, Any] = {**KMS, "BucketKeyEnabled": True}
    for name in ("a", "b"):
        client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=body(1000), **sse)
    attacker = Attacker(endpoint, bucket)
    attacker.write(f"{prefix}/b", attacker.read(f"{prefix}/a"))
    with Wire(endpoint) as wire:
        check_refused(wire.call("GET", f"/{bucket}/{prefix}/b"))
        assert wire.call("GET", f"/{bucket}/{prefix}/a").body == body(1000)


def test_listings_stay_whole(endpoint: Endpoint) -> None:
    """With damaged objects of every kind among right ones, in both listings, with the right ones' sizes exact."""
    client, bucket = s3(endpoint), new_bucket(endpoint)
    attacker = Attacker(endpoint, bucket)
    right = {}
    for number in range(6):
        sse: dict[str, Any] = KMS if number % 2 else {}
        put = client.put_object(Bucket=bucket, Key=f"right-{number}", Body=body(number * 40_000), **sse)
        right[f"right-{number}"] = (number * 40_000, put["ETag"])
    done, _ = upload(endpoint, bucket, "right-multipart", {1: b"one part"})
    right["right-multipart"] = (8, done["ETag"])
    stored, multipart = attacker.read("right-3"), attacker.read("right-multipart")
    odd = {
        "damaged-bare": Stored(b"bare", {}),
        "damaged-empty": Stored(b"", {}),
        "damaged-metadata": stored.with_metadata(sse_proxy_key="%%%"),
        "damaged-size": stored.with_body(b"x" * 30),
        "damaged-multipart": multipart.with_body(b"x" * 500),
        "damaged-moved": stored,
        "damaged-s3": attacker.read("right-2"),
    }
    for key, each in odd.items():
        attacker.write(key, each)
    for operation in (client.list_objects, client.list_objects_v2):
        entries = {entry["Key"]: (entry["Size"], entry["ETag"]) for entry in operation(Bucket=bucket)["Contents"]}
        assert set(entries) == set(right) | set(odd)
        assert {key: entries[key] for key in right} == right
    removed = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in odd]})
    assert len(removed["Deleted"]) == len(odd)
    assert keys_in(endpoint, bucket) == sorted(right)


# Multipart objects.

PARTS = {1: body(5 * MIB, 1), 2: body(5 * MIB, 2), 3: body(300_000, 3)}
WHOLE = b"".join(PARTS.values())
FRAMED = [32 + 40 + len(data) + 16 * (1 - (65_480 - len(data)) // 65_520) + 128 for data in PARTS.values()]


@pytest.fixture
def multipart(endpoint: Endpoint) -> tuple[Attacker, str]:
    bucket, key = shared_bucket(endpoint), new_key("multipart")
    upload(endpoint, bucket, key, PARTS, **KMS)
    attacker = Attacker(endpoint, bucket)
    assert len(attacker.read(key).body) == sum(FRAMED)
    return attacker, key


def cut_up(data: bytes) -> list[bytes]:
    edges = [0, FRAMED[0], FRAMED[0] + FRAMED[1], len(data)]
    return [data[first:last] for first, last in pairwise(edges)]


REARRANGED: dict[str, Callable[[list[bytes]], bytes]] = {
    "without the last part": lambda parts: b"".join(parts[:2]),
    "without the first part": lambda parts: b"".join(parts[1:]),
    "the first two changed about": lambda parts: parts[1] + parts[0] + parts[2],
    "the second twice": lambda parts: parts[1] + parts[1] + parts[2],
    "with a part more": lambda parts: b"".join([*parts, parts[2]]),
    "one byte short": lambda parts: b"".join(parts)[:-1],
    "one byte long": lambda parts: b"".join(parts) + b"\0",
    "nothing": lambda parts: b"",
}


@pytest.mark.parametrize("rearrange", REARRANGED.values(), ids=REARRANGED)
def test_parts_that_were_rearranged(
    endpoint: Endpoint, multipart: tuple[Attacker, str], rearrange: Callable[[list[bytes]], bytes]
) -> None:
    attacker, key = multipart
    stored = attacker.read(key)
    attacker.write(key, stored.with_body(rearrange(cut_up(stored.body))))
    path = f"/{attacker.bucket}/{key}"
    with Wire(endpoint) as wire:
        check_refused(wire.call("GET", path))
        wire.call("HEAD", path)
        assert keys_in(endpoint, attacker.bucket, key) == [key]
        # Nor once a listing and a HEAD have looked into it.
        check_refused(wire.call("GET", path))
        check_refused(wire.call("GET", path, headers={"Range": "bytes=0-9"}))


@pytest.mark.parametrize(
    ("position", "right"), [(0, 0), (20, 0), (40, 0), (1000, 0), (FRAMED[0] + 20, 81), (FRAMED[0] + 200, 81), (-1, 86)]
)
def test_a_bit_of_a_part(endpoint: Endpoint, multipart: tuple[Attacker, str], position: int, right: int) -> None:
    """Of its frame, its stream's header, a segment, its footer."""
    attacker, key = multipart
    stored = attacker.read(key)
    attacker.write(key, stored.with_body(flipped(stored.body, position)))
    with Wire(endpoint) as wire:
        answer = wire.call("GET", f"/{attacker.bucket}/{key}")
        if not right:
            check_refused(answer)
        else:
            assert (answer.status, answer.complete) == (200, False)
            assert WHOLE.startswith(answer.body)
            assert len(answer.body) <= (len(WHOLE) if position < 0 else len(PARTS[1]))
    with pytest.raises(Exception, match=r"IncompleteRead|Connection broken|ended prematurely|InternalError"):
        s3(endpoint).get_object(Bucket=attacker.bucket, Key=key)["Body"].read()


def test_a_part_twice(endpoint: Endpoint, multipart: tuple[Attacker, str]) -> None:
    """The first two have one size."""
    attacker, key = multipart
    stored = attacker.read(key)
    parts = cut_up(stored.body)
    attacker.write(key, stored.with_body(parts[0] + parts[0] + parts[2]))
    with Wire(endpoint) as wire:
        answer = wire.call("GET", f"/{attacker.bucket}/{key}")
        assert (answer.status, answer.complete) == (200, False)
        assert PARTS[1].startswith(answer.body)
        text = f"bytes={len(PARTS[1])}-{len(PARTS[1]) + 9}"
        check_refused(wire.call("GET", f"/{attacker.bucket}/{key}", headers={"Range": text}))


def test_parts_of_another_upload(endpoint: Endpoint, multipart: tuple[Attacker, str]) -> None:
    attacker, key = multipart
    stored = attacker.read(key)
    upload(endpoint, attacker.bucket, f"{key}2", PARTS, **KMS)
    other = attacker.read(f"{key}2")
    assert len(other.body) == len(stored.body)
    with Wire(endpoint) as wire:
        path = f"/{attacker.bucket}/{key}"
        for forged in (replace(stored, body=other.body), replace(stored, metadata=other.metadata), other):
            attacker.write(key, forged)
            check_refused(wire.call("GET", path))
        mine, theirs = cut_up(stored.body), cut_up(other.body)
        attacker.write(key, replace(stored, body=mine[0] + theirs[1] + mine[2]))
        answer = wire.call("GET", path)
        assert (answer.status, answer.complete) == (200, False)
        assert PARTS[1].startswith(answer.body)


@pytest.mark.parametrize("parts", [[1], [2], [1, 2]])
def test_an_upload_that_the_store_completes_with_other_parts(endpoint: Endpoint, parts: list[int]) -> None:
    """Behind the client's back, before the client completes it with all three: what is served is what the client was
    told, or nothing."""
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    beneath = endpoint.store.client()
    upload_id = client.create_multipart_upload(Bucket=bucket, Key=key, **KMS)["UploadId"]
    where = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
    rows = [
        {"PartNumber": number, "ETag": client.upload_part(**where, PartNumber=number, Body=data)["ETag"]}
        for number, data in PARTS.items()
    ]
    stored = {each["PartNumber"]: each["ETag"] for each in beneath.list_parts(**where)["Parts"]}
    chosen = [{"PartNumber": number, "ETag": stored[number]} for number in parts]
    beneath.complete_multipart_upload(**where, MultipartUpload={"Parts": chosen})
    told = True
    try:
        client.complete_multipart_upload(**where, MultipartUpload={"Parts": rows})
    except ClientError:
        told = False
    with Wire(endpoint) as wire:
        for _ in range(2):
            answer = wire.call("GET", f"/{bucket}/{key}")
            if told:
                check_refused(answer)
            else:
                # The client was told that it failed; what lies there is an object of parts that it did send.
                assert answer.status in {200, 500}
                assert answer.status == 500 or answer.body == b"".join(PARTS[number] for number in parts)
            wire.call("HEAD", f"/{bucket}/{key}")
            assert keys_in(endpoint, bucket, key) == [key]


def test_an_earlier_attempt_that_the_store_kept(endpoint: Endpoint, store_name: str) -> None:
    """SeaweedFS keeps every attempt until the upload ends, so it can put an earlier one in a later one's place."""
    if store_name != "seaweedfs":
        return
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    beneath = endpoint.store.client()
    upload_id = client.create_multipart_upload(Bucket=bucket, Key=key, **KMS)["UploadId"]
    where = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
    client.upload_part(**where, PartNumber=1, Body=body(1000, 1))
    early = beneath.list_parts(**where)["Parts"][0]["ETag"]
    late = client.upload_part(**where, PartNumber=1, Body=body(1000, 2))["ETag"]
    beneath.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": early}]})
    told = True
    try:
        client.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": late}]})
    except ClientError:
        told = False
    with Wire(endpoint) as wire:
        answer = wire.call("GET", f"/{bucket}/{key}")
    if told:
        check_refused(answer)
    else:
        assert answer.status == 500 or answer.body == body(1000, 1)


def test_plaintext_put_beside_the_proxy(endpoint: Endpoint) -> None:
    """In a bucket that is not marked as mixed it is never served, nor is its head."""
    bucket, key = shared_bucket(endpoint), new_key()
    attacker = Attacker(endpoint, bucket)
    attacker.write(key, Stored(b"not encrypted", {"mine": "1"}))
    with Wire(endpoint) as wire:
        check_refused(wire.call("GET", f"/{bucket}/{key}"))
        check_refused(wire.call("GET", f"/{bucket}/{key}", headers={"Range": "bytes=0-3"}))
        assert wire.call("HEAD", f"/{bucket}/{key}").status == 500
    assert keys_in(endpoint, bucket, key) == [key]
    with refused(500, "InternalError", DAMAGED):
        s3(endpoint).get_object(Bucket=bucket, Key=key)
