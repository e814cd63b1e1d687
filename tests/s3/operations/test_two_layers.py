"""Objects under DSSE-KMS over a store in memory: sizes everywhere, one request for a range, both keys needed."""

import base64
from dataclasses import replace

import pytest

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.envelope import header as envelope_header
from proxy.envelope import ranges
from proxy.envelope.header import Mode
from proxy.kms.errors import KmsError
from proxy.s3.listings import object_listing
from proxy.s3.listings.object_listing import Entry, Page
from proxy.s3.objects.stored import resolve
from proxy.s3.operations.complete_multipart_upload import complete_multipart_upload
from proxy.s3.operations.get_object import get_object
from proxy.s3.operations.head_object import head_object
from proxy.s3.operations.multipart_uploads import create_multipart_upload
from proxy.s3.operations.put_object import put_object
from proxy.s3.operations.upload_part import upload_part
from proxy.s3.state.ports import EncryptionRule
from tests.fakes import FakeRandom
from tests.s3.object_store import World, make_world

DSSE = EncryptionRule("aws:kms:dsse")
MIB = 1024 * 1024
BIG = FakeRandom("plaintext")(3 * MIB + 17)


async def world_with(body: bytes) -> World:
    world = await make_world(rule=DSSE)
    put = await world.do(put_object, body=body)
    assert put.headers["x-amz-server-side-encryption"] == "aws:kms:dsse"
    assert put.headers["x-amz-server-side-encryption-aws-kms-key-id"].startswith("arn:aws:kms:eu-west-1:")
    assert "x-amz-server-side-encryption-bucket-key-enabled" not in put.headers
    world.store.sent.clear()
    return world


async def listed(world: World) -> Entry:
    stored = world.stored
    page = Page([Entry("k", "2026-11-23T06:00:00.000Z", stored.etag, len(stored.body), "STANDARD")], (), False)
    return (await object_listing.put_right(world.gateway, world.bucket, page, resolve)).entries[0]


@pytest.mark.parametrize("size", [0, 1, 65_480, 131_001, MIB, MIB + 1, len(BIG)])
async def test_sizes_and_bytes(size: int) -> None:
    world = await world_with(BIG[:size])
    assert len(world.stored.body) == ranges.stored_size(size, 2)
    for operation in (get_object, head_object):
        answer = await world.do(operation)
        assert answer.headers["Content-Length"] == str(size)
        assert answer.headers["x-amz-server-side-encryption"] == "aws:kms:dsse"
    assert (await world.do(get_object)).body == BIG[:size]
    assert (await listed(world)).size == size
    header = envelope_header.decode(world.stored.headers)
    assert header is not None
    assert (header.mode, header.layers) == (Mode.KMS_DSSE, 2)


@pytest.mark.parametrize("text", ["0-0", "0-", "-1", "65470-65490", "1000000-1070000", "3000000-", "-70000"])
async def test_a_range_is_one_request(text: str) -> None:
    world = await world_with(BIG)
    first, _, last = text.partition("-")
    expected = BIG[int(first) : int(last) + 1 if last else None] if first else BIG[-int(last) :]
    answer = await world.do(get_object, Range=f"bytes={text}")
    assert (answer.status, answer.body) == (206, expected)
    assert len(world.store.sent) == 1


async def test_a_lost_record_costs_a_request_once() -> None:
    world = await world_with(BIG)
    await world.gateway.objects.forget_bucket("b")
    for requests in (2, 1):
        world.store.sent.clear()
        answer = await world.do(get_object, Range="bytes=1000000-1000099")
        assert (answer.body, len(world.store.sent)) == (BIG[1_000_000:1_000_100], requests)
    assert (await listed(world)).size == len(BIG)


async def test_checksums_are_read_through_both_layers() -> None:
    for size, requests in ((1000, 1), (len(BIG), 2)):
        world = await world_with(BIG[:size])
        put = await world.do(put_object, body=BIG[:size])
        world.store.sent.clear()
        answer = await world.do(get_object, x_amz_checksum_mode="ENABLED")
        assert answer.headers["x-amz-checksum-crc64nvme"] == put.headers["x-amz-checksum-crc64nvme"]
        assert len(world.store.sent) == requests


async def test_an_object_in_parts() -> None:
    world = await make_world(rule=DSSE)
    begun = await world.do(create_multipart_upload, "uploads")
    assert begun.headers["x-amz-server-side-encryption"] == "aws:kms:dsse"
    assert isinstance(begun.body, bytes)
    upload_id = xml_codec.parse(begun.body, "InitiateMultipartUploadResult")["UploadId"]
    bodies = {1: BIG + BIG, 3: BIG[: MIB // 2]}
    rows = []
    for number, body in bodies.items():
        part = await world.do(upload_part, f"partNumber={number}&uploadId={upload_id}", body=body)
        assert part.headers["x-amz-server-side-encryption"] == "aws:kms:dsse"
        rows.append({"PartNumber": number, "ETag": part.headers["ETag"]})
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    await world.do(complete_multipart_upload, f"uploadId={upload_id}", body=document)
    whole = b"".join(bodies.values())
    for lost in (False, True):
        if lost:
            await world.gateway.objects.forget_bucket("b")
        assert (await world.do(get_object)).body == whole
        assert (await world.do(head_object)).headers["Content-Length"] == str(len(whole))
        world.store.sent.clear()
        first = len(bodies[1]) - 50
        piece = await world.do(get_object, Range=f"bytes={first}-{first + 99}")
        assert (piece.body, len(world.store.sent)) == (whole[first : first + 100], 1)
        world.store.sent.clear()
        second = await world.do(get_object, "partNumber=2")
        assert (second.body, len(world.store.sent)) == (bodies[3], 1)
        assert (await listed(world)).size == len(whole)


async def test_each_key_is_wrapped_under_a_key_of_its_own() -> None:
    world = await make_world(rule=DSSE)
    put = await world.do(put_object, body=b"data")
    arn = put.headers["x-amz-server-side-encryption-aws-kms-key-id"]
    header = envelope_header.decode(world.stored.headers)
    assert header is not None
    origin = world.call(get_object).origin
    context = {"aws:s3:arn": "arn:aws:s3:::b/k"}
    inner = await world.gateway.keys.decrypt(origin, arn, header.wrapped_key, context)
    assert len(inner) == 32
    # The outer key is none that a client can ask the key service for.
    assert header.outer_wrapped_key is not None
    with pytest.raises(KmsError):
        await world.gateway.keys.decrypt(origin, arn, header.outer_wrapped_key, context)


async def test_an_object_moved_in_the_store_does_not_open() -> None:
    world = await world_with(b"data")
    world.store.objects["/b/moved"] = world.stored
    with pytest.raises(KmsError, match="InvalidCiphertext"):
        await world.do(get_object, key="moved")


async def test_the_outer_blob_counts() -> None:
    world = await world_with(b"data")
    header = envelope_header.decode(world.stored.headers)
    assert header is not None
    assert header.outer_wrapped_key is not None
    damaged = replace(header, outer_wrapped_key=header.outer_wrapped_key[:-1] + b"?")
    world.stored.headers.update(envelope_header.encode(damaged))
    with pytest.raises(KmsError, match="InvalidCiphertext"):
        await world.do(get_object)


async def test_the_context_is_bound_to_both_keys() -> None:
    world = await make_world(rule=DSSE)
    context = base64.b64encode(b'{"a":"b"}').decode()
    sse = {"x-amz-server-side-encryption": "aws:kms:dsse", "x-amz-server-side-encryption-context": context}
    put = await world.do(put_object, body=b"data", **sse)
    assert put.headers["x-amz-server-side-encryption-context"] == context
    assert (await world.do(get_object)).body == b"data"
    with pytest.raises(AwsError, match="not supported"):
        await world.do(get_object, **sse)
