"""GetObject and HeadObject with ``partNumber``."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.aws import checksums, xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.envelope.errors import EnvelopeError
from proxy.s3.multipart import part_choice
from proxy.s3.operations.complete_multipart_upload import complete_multipart_upload
from proxy.s3.operations.get_object import get_object, get_object_version
from proxy.s3.operations.head_object import head_object
from proxy.s3.operations.put_object import put_object
from proxy.s3.state.ports import EncryptionRule
from tests.fakes import FakeRandom
from tests.s3.object_store import StoredObject, World, make_world
from tests.s3.operations.test_multipart import KMS, PARTS, WHOLE, complete, create, send, uploaded

SIZES = [len(part) for part in PARTS.values()]


def extent(answer: Response) -> tuple[int, str | None, str | None, str | None]:
    names = ("Content-Range", "Content-Length", "x-amz-mp-parts-count")
    values = [answer.headers.get(name) for name in names]
    return answer.status, values[0], values[1], values[2]


@pytest.mark.parametrize("rule", [KMS, EncryptionRule()])
async def test_parts_are_counted_as_they_lie_in_the_object(rule: EncryptionRule) -> None:
    """They were sent as 1, 4 and 9. Each is one request to the store."""
    world = await uploaded(rule)
    first = 0
    for position, part in enumerate(PARTS.values(), 1):
        world.store.sent.clear()
        got = await world.do(get_object, f"partNumber={position}")
        assert got.body == part
        told = f"bytes {first}-{first + len(part) - 1}/{len(WHOLE)}"
        assert extent(got) == (206, told, str(len(part)), "3")
        assert len(world.store.sent) == 1
        assert extent(await world.do(head_object, f"partNumber={position}")) == extent(got)
        assert got.headers["ETag"] == world.stored.etag
        first += len(part)
    assert extent(await world.do(get_object)) == (200, None, str(len(WHOLE)), None)


async def test_a_part_that_is_not_there() -> None:
    world = await uploaded()
    for operation in (get_object, head_object):
        for number in (4, 9, 10_000):
            with pytest.raises(AwsError) as error:
                await world.do(operation, f"partNumber={number}")
            assert (error.value.status, error.value.code) == (416, "InvalidPartNumber")
            assert error.value.detail == {"PartNumberRequested": str(number), "ActualPartCount": "3"}


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", ""])
async def test_what_is_no_part_number(number: str) -> None:
    world = await uploaded()
    for operation in (get_object, head_object):
        with pytest.raises(AwsError, match="Part number must be an integer between 1 and 10000, inclusive"):
            await world.do(operation, f"partNumber={number}")


async def test_a_part_and_a_range() -> None:
    world = await uploaded()
    for operation in (get_object, head_object):
        with pytest.raises(AwsError) as error:
            await world.do(operation, "partNumber=1", Range="bytes=0-1")
        assert (error.value.status, error.value.code) == (400, "InvalidRequest")
        assert error.value.message == "Cannot specify both Range header and partNumber query parameter"


@pytest.mark.parametrize("size", [0, 1, 70_000, 2 * 1024 * 1024])
async def test_an_object_that_is_no_multipart_object_has_one_part(size: int) -> None:
    world = await make_world(rule=KMS)
    await world.do(put_object, body=bytes(size))
    world.store.sent.clear()
    got = await world.do(get_object, "partNumber=1")
    assert got.body == bytes(size)
    expected = (206, f"bytes 0-{size - 1}/{size}") if size else (200, None)
    assert extent(got) == (*expected, str(size), None)
    assert len(world.store.sent) == 1
    assert extent(await world.do(head_object, "partNumber=1")) == extent(got)
    for operation in (get_object, head_object):
        with pytest.raises(AwsError) as error:
            await world.do(operation, "partNumber=2")
        assert error.value.detail == {"PartNumberRequested": "2", "ActualPartCount": "1"}


async def test_an_empty_part() -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    etags = {1: await send(world, upload_id, 1, PARTS[1]), 2: await send(world, upload_id, 2, b"")}
    await complete(world, upload_id, etags)
    for operation in (get_object, head_object):
        got = await world.do(operation, "partNumber=2")
        assert (extent(got), got.body) == ((200, None, "0", "2"), b"")


@pytest.mark.parametrize(("number", "requests"), [(1, {"GET"}), (2, {"HEAD", "GET"}), (3, {"HEAD", "GET"})])
async def test_without_a_table_of_parts(number: int, requests: set[str]) -> None:
    world = await uploaded()
    await world.gateway.objects.forget_bucket("b")
    assert (await world.do(get_object, f"partNumber={number}")).body == list(PARTS.values())[number - 1]
    assert {request.method for request in world.store.sent} == requests
    with pytest.raises(AwsError, match="InvalidPartNumber"):
        await world.do(get_object, "partNumber=4")


async def test_the_record_of_the_version_that_is_named_says_where_a_part_lies() -> None:
    world = await uploaded()
    (record,) = (await world.gateway.objects.find("b", ["k"]))["k"]
    await world.gateway.objects.put(replace(record, version_id="v1"))
    newer = replace(record, object_id=b"n" * 16, version_id="v2", upstream_etag='"n-1"', written=record.written.max)
    await world.gateway.objects.put(newer)
    world.stored.version_id = "v1"
    got = await world.do(get_object_version, "partNumber=2&versionId=v1")
    assert got.body == PARTS[4]
    assert len(world.store.sent) == 1


async def test_a_part_whose_footer_is_damaged_is_not_handed_out_whole() -> None:
    world = await uploaded()
    body = bytearray(world.stored.body)
    body[-1] ^= 1
    world.stored.body = bytes(body)
    assert (await world.do(get_object, "partNumber=2")).body == PARTS[4]
    with pytest.raises(EnvelopeError):
        await world.do(get_object, "partNumber=3")


@settings(max_examples=25)
@given(sizes=st.lists(st.sampled_from([0, 1, 65_480, 65_481, 131_001]), min_size=1, max_size=5), data=st.data())
async def test_parts_and_ranges_of_them_are_what_slicing_gives(sizes: list[int], data: st.DataObject) -> None:
    """Whatever their numbers were, with their table on record and without."""
    world = await make_world(rule=KMS)
    numbers = data.draw(st.lists(st.integers(1, 10_000), min_size=len(sizes), max_size=len(sizes), unique=True))
    upload_id = await create(world)
    parts = [FakeRandom(str(index))(size) for index, size in enumerate(sizes)]
    etags = {
        number: await send(world, upload_id, number, part) for number, part in zip(sorted(numbers), parts, strict=True)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part_choice, "MIN_PART", 0)
        await complete(world, upload_id, etags)
    whole = b"".join(parts)
    for lost in (False, True):
        if lost:
            await world.gateway.objects.forget_bucket("b")
        for position, part in enumerate(parts, 1):
            assert (await world.do(get_object, f"partNumber={position}")).body == part
        if whole:
            first = data.draw(st.integers(0, len(whole) - 1))
            last = data.draw(st.integers(first, len(whole) + 5))
            if lost:
                await world.gateway.objects.forget_bucket("b")
            got = await world.do(get_object, Range=f"bytes={first}-{last}")
            assert got.body == whole[first : last + 1]
            assert (await world.do(get_object, Range=f"bytes=-{last + 1}")).body == whole[-last - 1 :]
        assert (await world.do(get_object)).body == whole


async def with_checksums(kind: str) -> tuple[World, list[str]]:
    world = await make_world(rule=KMS)
    upload_id = await create(world, x_amz_checksum_algorithm="CRC32", x_amz_checksum_type=kind)
    rows = []
    for number, body in PARTS.items():
        hasher = checksums.new("CRC32")
        hasher.update(body)
        value = checksums.encode(hasher.digest())
        etag = await send(world, upload_id, number, body, x_amz_checksum_crc32=value)
        rows.append({"PartNumber": number, "ETag": etag, "ChecksumCRC32": value})
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    await world.do(complete_multipart_upload, f"uploadId={upload_id}", body=document)
    return world, [str(row["ChecksumCRC32"]) for row in rows]


async def test_a_composite_checksum_gives_each_part_its_own() -> None:
    world, values = await with_checksums("COMPOSITE")
    for position, value in enumerate(values, 1):
        for operation in (get_object, head_object):
            got = await world.do(operation, f"partNumber={position}", x_amz_checksum_mode="ENABLED")
            assert got.headers["x-amz-checksum-crc32"] == value
            assert got.headers["x-amz-checksum-type"] == "COMPOSITE"
    assert "x-amz-checksum-crc32" not in (await world.do(get_object, "partNumber=1")).headers


async def test_a_checksum_of_the_full_object_is_not_told_of_a_part() -> None:
    world, _ = await with_checksums("FULL_OBJECT")
    for operation in (get_object, head_object):
        got = await world.do(operation, "partNumber=1", x_amz_checksum_mode="ENABLED")
        assert not [name for name in got.headers if name.startswith("x-amz-checksum")]
    single = await make_world(rule=KMS)
    await single.do(put_object, body=b"body")
    got = await single.do(get_object, "partNumber=1", x_amz_checksum_mode="ENABLED")
    assert len(base64.b64decode(got.headers["x-amz-checksum-crc64nvme"])) == 8


async def test_a_plaintext_object_has_one_part_unless_the_store_says_more() -> None:
    world = await make_world(mixed=True)
    world.store.objects["/b/k"] = StoredObject(b"plaintext", {})
    got = await world.do(get_object, "partNumber=1")
    assert (got.body, extent(got)) == (b"plaintext", (206, "bytes 0-8/9", "9", None))
    with pytest.raises(AwsError, match="InvalidPartNumber"):
        await world.do(get_object, "partNumber=2")


async def test_the_parts_of_a_plaintext_object_are_the_stores() -> None:
    world = await make_world(mixed=True)
    parts = {1: b"one", 2: b"second"}
    world.store.objects["/b/k"] = StoredObject(b"onesecond", {}, '"0123-2"', parts)
    for number, body in parts.items():
        got = await world.do(get_object, f"partNumber={number}")
        assert (got.body, got.status, got.headers["x-amz-mp-parts-count"]) == (body, 206, "2")
        head = await world.do(head_object, f"partNumber={number}")
        assert extent(head) == extent(got)
    for operation in (get_object, head_object):
        with pytest.raises(AwsError) as error:
            await world.do(operation, "partNumber=3")
        assert error.value.status == 416
