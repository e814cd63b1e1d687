"""Multipart uploads over a store in memory: attempts, the table of parts, and what its loss costs."""

import base64
import re
from dataclasses import dataclass, replace

import pytest

from proxy.aws import checksums, xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.envelope import parts, ranges
from proxy.envelope.errors import EnvelopeError
from proxy.s3.operation import Operation
from proxy.s3.operations.complete_multipart_upload import complete_multipart_upload
from proxy.s3.operations.get_object import get_object
from proxy.s3.operations.head_object import head_object
from proxy.s3.operations.multipart_uploads import abort_multipart_upload, create_multipart_upload
from proxy.s3.operations.put_object import put_object
from proxy.s3.operations.upload_part import upload_part
from proxy.s3.operations.upload_part_copy import upload_part_copy
from proxy.s3.state.ports import EncryptionRule
from tests.fakes import FakeClock, FakeRandom
from tests.s3.object_store import ObjectStore, World, make_world

KMS = EncryptionRule("aws:kms")
MIB = 1024 * 1024
SEGMENT = ranges.SEGMENT_SIZE
PARTS = {1: FakeRandom("one")(5 * MIB), 4: FakeRandom("four")(5 * MIB + 3), 9: FakeRandom("nine")(100)}
WHOLE = b"".join(PARTS.values())


async def create(world: World, **headers: str) -> str:
    answer = await world.do(create_multipart_upload, "uploads", **headers)
    assert isinstance(answer.body, bytes)
    return str(xml_codec.parse(answer.body, "InitiateMultipartUploadResult")["UploadId"])


async def send(world: World, upload_id: str, number: int, body: bytes, **headers: str) -> str:
    answer = await world.do(upload_part, f"partNumber={number}&uploadId={upload_id}", body=body, **headers)
    return answer.headers["ETag"]


async def complete(world: World, upload_id: str, etags: dict[int, str], **headers: str) -> dict[str, str]:
    rows = [{"PartNumber": number, "ETag": etag} for number, etag in etags.items()]
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    answer = await world.do(complete_multipart_upload, f"uploadId={upload_id}", body=document, **headers)
    assert isinstance(answer.body, bytes)
    return dict(xml_codec.parse(answer.body, "CompleteMultipartUploadResult"))


async def uploaded(rule: EncryptionRule = KMS) -> World:
    world = await make_world(rule=rule)
    upload_id = await create(world)
    etags = {number: await send(world, upload_id, number, PARTS[number]) for number in (9, 1, 4)}
    await complete(world, upload_id, dict(sorted(etags.items())))
    world.store.sent.clear()
    return world


@pytest.mark.parametrize("rule", [KMS, EncryptionRule(), EncryptionRule("aws:kms", None, bucket_key_enabled=True)])
async def test_parts_in_any_order_make_the_object(rule: EncryptionRule) -> None:
    world = await uploaded(rule)
    answer = await world.do(get_object)
    assert answer.body == WHOLE
    assert answer.headers["ETag"] == world.stored.etag
    assert (await world.do(head_object)).headers["Content-Length"] == str(len(WHOLE))
    assert all(part[:1000] not in world.stored.body for part in PARTS.values())
    assert len(world.store.sent) == 2


@pytest.mark.parametrize(
    ("first", "last"),
    [(0, 0), (0, 100), (5 * MIB - 5, 5 * MIB + 5), (100, 10 * MIB + 50), (10 * MIB, len(WHOLE) - 1)],
)
async def test_a_range_across_parts_is_one_request(first: int, last: int) -> None:
    world = await uploaded()
    answer = await world.do(get_object, Range=f"bytes={first}-{last}")
    assert answer.body == WHOLE[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(WHOLE)}"
    assert len(world.store.sent) == 1


async def test_the_encryption_is_chosen_once_and_not_with_a_part() -> None:
    world = await make_world(rule=EncryptionRule())
    upload_id = await create(world)
    etag = await send(world, upload_id, 1, b"a part")
    asked = {"x_amz_server_side_encryption": "aws:kms"}
    for request in (
        lambda: send(world, upload_id, 1, b"another", **asked),
        lambda: world.do(upload_part_copy, f"partNumber=2&uploadId={upload_id}", x_amz_copy_source="b/k", **asked),
        lambda: complete(world, upload_id, {1: etag}, **asked),
    ):
        with pytest.raises(AwsError) as error:
            await request()
        assert (error.value.code, error.value.status) == ("InvalidArgument", 400)
        assert error.value.message == "x-amz-server-side-encryption header is not supported for this operation."
    await complete(world, upload_id, {1: etag})
    assert (await world.do(get_object)).body == b"a part"


async def test_a_part_sent_again_has_a_key_of_its_own_and_the_named_attempt_is_the_one() -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    first = await send(world, upload_id, 1, b"one attempt")
    second = await send(world, upload_id, 1, b"and another")
    known = await world.gateway.uploads.parts(upload_id)
    assert len({part.salt for part in known}) == 2
    assert first != second
    await complete(world, upload_id, {1: second})
    assert (await world.do(get_object)).body == b"and another"


@dataclass
class LyingStore(ObjectStore):
    """Once tells of a first part that is a segment shorter than it is, and of a second that is a segment longer; then
    gives what lies where the truth has it."""

    lies: bool = True

    def _read(self, path: str, request: Request) -> Response:
        body, first, second = self.objects[path].body, len(PARTS[1]), len(PARTS[4])
        border = ranges.part_stored_size(first)
        asked = request.headers.get("Range", "")
        if asked == "bytes=0-71" and self.lies:
            self.lies = False
            return self._forged(1, first - ranges.SEGMENT_PLAINTEXT, body)
        if asked == f"bytes={border - SEGMENT}-{border - SEGMENT + 71}":
            return self._forged(4, second + ranges.SEGMENT_PLAINTEXT, body[border:])
        start = border + ranges.FRAME_SIZE
        if asked == f"bytes={start}-{start + SEGMENT - 1}":
            moved = replace(request, headers={"Range": f"bytes={start + SEGMENT}-{start + 2 * SEGMENT - 1}"})
            answer = super()._read(path, moved)
            answer.headers["Content-Range"] = f"bytes {start}-{start + SEGMENT - 1}/{len(body)}"
            return answer
        return super()._read(path, request)

    def _forged(self, number: int, size: int, part: bytes) -> Response:
        salt = parts.parse_frame(part).salt
        frame = parts.make_frame(number, size, salt) + part[ranges.FRAME_SIZE : parts.PREAMBLE_SIZE]
        return Response(206, body=frame)


async def test_frames_that_lie_only_while_they_are_not_proved_move_no_range() -> None:
    world = await uploaded()
    await world.gateway.objects.forget_bucket("b")
    store = LyingStore(objects=world.store.objects)
    world = replace(world, gateway=replace(world.gateway, upstream=store, short_reads=store))
    first = len(PARTS[1])
    with pytest.raises(EnvelopeError):
        await world.do(get_object, Range=f"bytes={first}-{first + 9}")
    answer = await world.do(get_object, Range=f"bytes={first}-{first + 9}")
    assert answer.body == PARTS[4][:10]


async def test_a_lost_table_is_rebuilt_from_the_object() -> None:
    world = await uploaded()
    await world.gateway.objects.forget_bucket("b")
    assert (await world.do(head_object)).headers["Content-Length"] == str(len(WHOLE))
    assert (await world.do(get_object)).body == WHOLE
    world.store.sent.clear()
    assert (await world.do(get_object, Range="bytes=5242870-5242890")).body == WHOLE[5242870:5242891]
    assert len(world.store.sent) == 1


@pytest.mark.parametrize("read", [head_object, get_object])
async def test_who_asked_before_the_object_was_there_has_its_table_all_the_same(read: Operation) -> None:
    """A store may hold the answer back until then, and must not gain by it: a table that was made at the completion
    proves more than one that is read off the object, and is not replaced by that."""
    world = await uploaded()
    known = (await world.gateway.objects.find("b", ["k"]))["k"]
    await world.gateway.objects.forget_bucket("b")
    send = world.store.send

    async def held(request: Request) -> Response:
        await world.gateway.objects.put(known[0])
        return await send(request)

    world.store.send = held  # type: ignore[method-assign]
    answer = await world.do(read)
    assert answer.headers["Content-Length"] == str(len(WHOLE))
    assert len(world.store.sent) == 1
    assert (await world.gateway.objects.find("b", ["k"]))["k"] == known


async def test_a_range_finds_its_way_without_a_table() -> None:
    """The parts are read off the object once for their sizes, and once more with the key."""
    world = await uploaded()
    await world.gateway.objects.forget_bucket("b")
    assert (await world.do(get_object, Range="bytes=5242870-5242890")).body == WHOLE[5242870:5242891]
    assert len(world.store.sent) == 2 + len(PARTS) + len(PARTS) + 1
    await world.gateway.objects.forget_bucket("b")
    assert (await world.do(get_object, Range="bytes=-200")).body == WHOLE[-200:]


async def test_a_table_that_was_not_completed_counts() -> None:
    world = await uploaded()
    (record,) = (await world.gateway.objects.find("b", ["k"]))["k"]
    await world.gateway.objects.put(replace(record, upstream_etag=None, etag=None))
    assert (await world.do(get_object)).body == WHOLE
    assert (await world.gateway.objects.find("b", ["k"]))["k"] == [record]


async def test_an_altered_table_is_refused() -> None:
    world = await uploaded()
    (record,) = (await world.gateway.objects.find("b", ["k"]))["k"]
    for altered in (record.parts[:-1] + bytes([record.parts[-1] ^ 1]), record.parts[:-40]):
        await world.gateway.objects.put(replace(record, parts=altered))
        with pytest.raises(EnvelopeError):
            await world.do(get_object)


async def test_an_earlier_attempt_put_in_place_of_the_accepted_one_is_refused() -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    await send(world, upload_id, 1, b"first attempt")
    earlier = world.store.uploads[upload_id][1][1].body
    etag = await send(world, upload_id, 1, b"other attempt")
    await complete(world, upload_id, {1: etag})
    world.stored.body = earlier
    with pytest.raises(EnvelopeError):
        await world.do(get_object)


async def test_a_missing_or_moved_part_is_refused() -> None:
    world = await uploaded()
    whole = world.stored.body
    one, four = ranges.part_stored_size(len(PARTS[1])), ranges.part_stored_size(len(PARTS[4]))
    for body in (whole[one:], whole[:one] + whole[one + four :], whole[one : one + four] + whole[:one]):
        world.stored.body = body
        with pytest.raises(EnvelopeError):
            await world.do(get_object)


async def test_completing_again_after_a_lost_answer_is_the_same_success() -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    etag = await send(world, upload_id, 1, b"body")
    first = await complete(world, upload_id, {1: etag}, If_None_Match="*")
    assert await complete(world, upload_id, {1: etag}) == first
    # The condition held when it was first asked.
    assert await complete(world, upload_id, {1: etag}, If_None_Match="*") == first
    assert (await world.do(get_object)).body == b"body"
    (record,) = (await world.gateway.objects.find("b", ["k"]))["k"]
    assert record.upstream_etag == world.stored.etag


@pytest.mark.parametrize("headers", [{}, {"If_None_Match": "*"}])
async def test_completing_again_when_only_the_store_knows_that_it_is_done(headers: dict[str, str]) -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    etag = await send(world, upload_id, 1, b"body")
    upload = await world.gateway.uploads.get(upload_id)
    assert upload is not None
    first = await complete(world, upload_id, {1: etag}, **headers)
    # As if the process had ended before it could put its end on record.
    await world.gateway.uploads.create(upload)
    (record,) = (await world.gateway.objects.find("b", ["k"]))["k"]
    await world.gateway.objects.put(replace(record, upstream_etag=None, etag=None))
    assert await complete(world, upload_id, {1: etag}, **headers) == first
    assert (await world.gateway.objects.find("b", ["k"]))["k"] == [record]


async def test_completing_again_is_over_when_the_object_is_another_one_or_an_hour_has_gone() -> None:
    world = await make_world(rule=KMS)
    one = await create(world)
    etag = await send(world, one, 1, b"body")
    await complete(world, one, {1: etag})
    await world.do(put_object, body=b"another")
    with pytest.raises(AwsError, match="NoSuchUpload"):
        await complete(world, one, {1: etag})
    assert isinstance(world.gateway.clock, FakeClock)
    world.gateway.clock.advance(hours=2)
    two = await create(world)
    await complete(world, two, {1: await send(world, two, 1, b"body")})
    assert await world.gateway.uploads.get(one) is None
    assert await world.gateway.uploads.parts(one) == []


async def test_completing_again_with_other_parts_does_not_spoil_the_object() -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    etags = {1: await send(world, upload_id, 1, PARTS[1]), 2: await send(world, upload_id, 2, b"end")}
    await complete(world, upload_id, etags)
    with pytest.raises(AwsError, match="NoSuchUpload"):
        await complete(world, upload_id, {1: etags[1]})
    assert (await world.do(get_object)).body == PARTS[1] + b"end"


async def test_a_refused_condition_is_told_and_leaves_the_upload() -> None:
    world = await make_world(rule=KMS)
    await world.do(put_object, body=b"first")
    upload_id = await create(world)
    etag = await send(world, upload_id, 1, b"body")
    with pytest.raises(AwsError) as error:
        await complete(world, upload_id, {1: etag}, If_None_Match="*")
    assert (error.value.status, error.value.detail) == (412, {"Condition": "If-None-Match"})
    assert (await world.do(get_object)).body == b"first"
    await complete(world, upload_id, {1: etag})
    assert (await world.do(get_object)).body == b"body"


async def test_an_upload_that_ended_is_gone() -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    await complete(world, upload_id, {1: await send(world, upload_id, 1, b"body")})
    for query in (f"uploadId={upload_id}", "uploadId=unknown"):
        with pytest.raises(AwsError) as error:
            await world.do(upload_part, f"partNumber=1&{query}", body=b"late")
        with pytest.raises(AwsError, match="NoSuchUpload"):
            await world.do(abort_multipart_upload, query)
        assert (error.value.status, error.value.code) == (404, "NoSuchUpload")


async def test_an_upload_belongs_to_its_key() -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    with pytest.raises(AwsError, match="NoSuchUpload"):
        await world.do(upload_part, f"partNumber=1&uploadId={upload_id}", key="other", body=b"x")


@pytest.mark.parametrize("number", ["0", "10001", "-1", "a", "", "1" * 400])
async def test_part_numbers_are_from_1_to_10000(number: str) -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    with pytest.raises(AwsError) as error:
        await world.do(upload_part, f"partNumber={number}&uploadId={upload_id}", body=b"x")
    assert error.value.code == "InvalidArgument"
    assert error.value.message == "Part number must be an integer between 1 and 10000, inclusive"


async def test_what_the_client_names_must_have_been_acknowledged() -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    one = await send(world, upload_id, 1, PARTS[1])
    two = await send(world, upload_id, 2, b"end")
    stored = world.store.uploads[upload_id][1][1].etag
    cases: list[tuple[dict[int, str], str]] = [
        ({}, "MalformedXML"),
        ({1: '"0123"'}, "InvalidPart"),
        ({1: stored}, "InvalidPart"),
        ({3: one}, "InvalidPart"),
        ({2: two, 1: one}, "InvalidPartOrder"),
        ({0: one}, "PartNumber must be >= 1"),
        ({10_001: one}, "InvalidPart"),
    ]
    for etags, code in cases:
        with pytest.raises(AwsError, match=code):
            await complete(world, upload_id, etags)
    assert world.store.objects == {}
    await complete(world, upload_id, {1: one.strip('"'), 2: two})
    assert (await world.do(get_object)).body == PARTS[1] + b"end"


async def test_only_the_last_part_may_be_short_counted_in_plaintext() -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    etags = {1: await send(world, upload_id, 1, PARTS[1][:-1]), 2: await send(world, upload_id, 2, b"end")}
    with pytest.raises(AwsError) as error:
        await complete(world, upload_id, etags)
    assert (error.value.code, error.value.detail["ProposedSize"]) == ("EntityTooSmall", str(5 * MIB - 1))
    assert error.value.detail["MinSizeAllowed"] == str(5 * MIB)


@pytest.mark.parametrize(("algorithm", "kind"), [("CRC32", "COMPOSITE"), ("CRC32", "FULL_OBJECT"), (None, None)])
async def test_the_objects_checksum_is_made_of_its_parts(algorithm: str | None, kind: str | None) -> None:
    world = await make_world(rule=KMS)
    asked = {"x_amz_checksum_algorithm": algorithm, "x_amz_checksum_type": kind} if algorithm and kind else {}
    upload_id = await create(world, **asked)
    name = algorithm or "CRC64NVME"
    rows = []
    for number, body in PARTS.items():
        hasher = checksums.new(name)
        hasher.update(body)
        value = checksums.encode(hasher.digest())
        sent = {f"x_amz_checksum_{name.lower()}": value} if algorithm else {}
        etag = await send(world, upload_id, number, body, **sent)
        rows.append({"PartNumber": number, "ETag": etag, f"Checksum{name}": value})
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    answer = await world.do(complete_multipart_upload, f"uploadId={upload_id}", body=document)
    assert isinstance(answer.body, bytes)
    found = xml_codec.parse(answer.body, "CompleteMultipartUploadResult")
    hasher = checksums.new(name)
    if kind == "COMPOSITE":
        hasher.update(b"".join(base64.b64decode(row[f"Checksum{name}"]) for row in rows))
        expected = f"{checksums.encode(hasher.digest())}-3"
    else:
        hasher.update(WHOLE)
        expected = checksums.encode(hasher.digest())
    assert (found[f"Checksum{name}"], found["ChecksumType"]) == (expected, kind or "FULL_OBJECT")
    head = await world.do(head_object, x_amz_checksum_mode="ENABLED")
    assert head.headers[f"x-amz-checksum-{name.lower()}"] == expected
    assert head.headers["x-amz-checksum-type"] == (kind or "FULL_OBJECT")


async def test_a_part_must_have_the_uploads_kind_of_checksum() -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world, x_amz_checksum_algorithm="SHA256")
    text = "Checksum Type mismatch occurred, expected checksum Type: sha256, actual checksum Type: null"
    with pytest.raises(AwsError, match=re.escape(text)):
        await send(world, upload_id, 1, b"x")


@pytest.mark.parametrize(
    ("algorithm", "kind", "text"),
    [
        ("CRC64NVME", "COMPOSITE", "The COMPOSITE checksum type cannot be used with the crc64nvme checksum algorithm."),
        ("SHA256", "FULL_OBJECT", "The FULL_OBJECT checksum type cannot be used with the sha256 checksum algorithm."),
        ("CRC99", None, "Checksum algorithm provided is unsupported."),
        (None, "COMPOSITE", "can only be used with the x-amz-checksum-algorithm header"),
        ("CRC32", "HALF", "Value for x-amz-checksum-type header is invalid."),
    ],
)
async def test_impossible_checksum_settings_are_refused(algorithm: str | None, kind: str | None, text: str) -> None:
    world = await make_world(rule=KMS)
    asked = {"x_amz_checksum_algorithm": algorithm, "x_amz_checksum_type": kind}
    with pytest.raises(AwsError, match=re.escape(text)) as error:
        await create(world, **{name: value for name, value in asked.items() if value})
    assert (error.value.status, error.value.code) == (400, "InvalidRequest")
    assert world.store.uploads == {}


async def test_a_wrong_checksum_or_size_of_the_whole_leaves_the_upload_open() -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    etag = await send(world, upload_id, 1, b"body")
    with pytest.raises(AwsError, match="BadDigest"):
        await complete(world, upload_id, {1: etag}, x_amz_checksum_crc64nvme="AAAAAAAAAAA=")
    with pytest.raises(AwsError, match="x-amz-mp-object-size"):
        await complete(world, upload_id, {1: etag}, x_amz_mp_object_size="5")
    await complete(world, upload_id, {1: etag}, x_amz_mp_object_size="4")
    assert (await world.do(get_object)).body == b"body"
