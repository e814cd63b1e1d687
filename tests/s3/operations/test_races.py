"""Requests for one key at the same time, cut off at their worst moments: what is on record must be true of the object
that the store holds in the end."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.s3.listings.object_listing import Entry, Page, put_right
from proxy.s3.objects.stored import resolve
from proxy.s3.operations.complete_multipart_upload import complete_multipart_upload
from proxy.s3.operations.delete_objects import DELETE_OBJECT
from proxy.s3.operations.get_object import get_object
from proxy.s3.operations.head_object import head_object
from proxy.s3.operations.multipart_uploads import abort_multipart_upload, create_multipart_upload
from proxy.s3.operations.put_object import put_object
from proxy.s3.operations.upload_part import upload_part
from proxy.s3.state.ports import EncryptionRule, ObjectRecord
from proxy.stream import BodyCutShort, Buffer
from tests.s3.object_store import ObjectStore, StoredObject, World, make_world

S3, KMS = EncryptionRule(), EncryptionRule("aws:kms")
MIB = 1024 * 1024


@dataclass
class Gate:
    """Holds one request at the store, before it is done or after."""

    chosen: Callable[[Request], bool]
    before: bool
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> None:
        self.reached.set()
        await self.opened.wait()


@dataclass
class GatedStore(ObjectStore):
    """``gates`` are used up in order, each by the first request that it chooses."""

    gates: list[Gate] = field(default_factory=list)

    async def send(self, request: Request) -> Response:
        gate = next((each for each in self.gates if each.chosen(request)), None)
        if gate is not None:
            self.gates.remove(gate)
            if gate.before:
                await gate.wait()
        answer = await self._answer(request)
        if gate is not None and not gate.before:
            await gate.wait()
        return answer

    async def _answer(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.objects.pop(request.path, None)
            return Response(204)
        return await super().send(request)

    def hold(self, method: str, *, before: bool = False) -> Gate:
        self.gates.append(Gate(lambda request: request.method == method, before))
        return self.gates[-1]


async def gated(rule: EncryptionRule, *, mixed: bool = False) -> tuple[World, GatedStore]:
    world = await make_world(rule=rule, mixed=mixed)
    store = GatedStore()
    start, ticks = world.gateway.clock(), itertools.count()
    gateway = replace(
        world.gateway, upstream=store, short_reads=store, clock=lambda: start + timedelta(seconds=next(ticks))
    )
    return replace(world, store=store, gateway=gateway), store


async def records(world: World) -> list[ObjectRecord]:
    return (await world.gateway.objects.find("b", ["k"])).get("k", [])


async def listed(world: World) -> Entry:
    stored = world.stored
    page = Page([Entry("k", "2026-11-23T06:00:00Z", stored.etag, len(stored.body), "STANDARD")], (), False)
    return (await put_right(world.gateway, world.bucket, page, resolve)).entries[0]


def md5(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


@pytest.mark.parametrize("second_ends_last", [True, False])
async def test_of_two_puts_the_one_that_the_store_took_last_is_listed_right(second_ends_last: bool) -> None:
    world, store = await gated(S3)
    held_before, held_after = store.hold("PUT", before=True), store.hold("PUT")
    first = asyncio.create_task(world.do(put_object, body=b"began first, came last"))
    await held_before.reached.wait()
    second = asyncio.create_task(world.do(put_object, body=b"began last, came first"))
    await held_after.reached.wait()
    if not second_ends_last:
        held_after.opened.set()
        await second
    held_before.opened.set()
    await first
    held_after.opened.set()
    await second
    assert (await world.do(get_object)).body == b"began first, came last"
    assert (await listed(world)).etag == md5(b"began first, came last")
    assert len(store.sent) == 3


async def test_a_deletion_takes_no_record_of_an_object_that_comes_after_it() -> None:
    world, store = await gated(S3)
    gate = store.hold("PUT", before=True)
    put = asyncio.create_task(world.do(put_object, body=b"body"))
    await gate.reached.wait()
    await world.do(DELETE_OBJECT)
    assert len(await records(world)) == 1
    gate.opened.set()
    await put
    assert (await listed(world)).etag == md5(b"body")


async def test_what_was_replaced_or_deleted_leaves_no_record() -> None:
    world, _ = await gated(S3)
    for body in (b"one", b"two"):
        await world.do(put_object, body=body)
        assert [row.etag for row in await records(world)] == [md5(body)]
    await world.do(put_object, body=b"three", x_amz_server_side_encryption="aws:kms")
    assert await records(world) == []
    await world.do(put_object, body=b"four")
    await world.do(DELETE_OBJECT)
    assert await records(world) == []


async def test_the_same_bytes_written_twice_at_once_can_be_asked_for_by_their_etag() -> None:
    world, store = await gated(S3)
    held_before, held_after = store.hold("PUT", before=True), store.hold("PUT")
    first = asyncio.create_task(world.do(put_object, body=b"same"))
    await held_before.reached.wait()
    second = asyncio.create_task(world.do(put_object, body=b"same"))
    await held_after.reached.wait()
    held_before.opened.set()
    held_after.opened.set()
    await asyncio.gather(first, second)
    assert (await world.do(get_object, If_Match=md5(b"same"))).body == b"same"
    assert (await world.do(head_object, If_None_Match=md5(b"same"))).status == 304


@pytest.mark.parametrize("rule", [S3, KMS])
async def test_a_put_that_is_refused_leaves_nothing_on_record(rule: EncryptionRule) -> None:
    world, store = await gated(rule, mixed=True)
    store.objects["/b/k"] = StoredObject(b"plaintext from before", {})
    with pytest.raises(AwsError, match="PreconditionFailed"):
        await world.do(put_object, body=b"body", If_None_Match="*")
    assert await records(world) == []
    assert (await world.do(get_object)).body == b"plaintext from before"


@pytest.mark.parametrize("rule", [S3, KMS])
@pytest.mark.parametrize("condition", ["If_None_Match", "If_Match"])
async def test_a_put_that_is_sent_twice_does_not_refuse_itself(rule: EncryptionRule, condition: str) -> None:
    """The transport sends a short body again where a connection turns out to be closed, though the store may have
    taken it."""
    world, store = await gated(rule)
    value = "*" if condition == "If_None_Match" else (await world.do(put_object, body=b"before")).headers["ETag"]
    send = store.send

    async def twice(request: Request) -> Response:
        if request.method != "PUT":
            return await send(request)
        assert (await send(request)).status == 200
        return await send(request)

    store.send = twice  # type: ignore[method-assign]
    put = await world.do(put_object, body=b"body", **{condition: value})
    got = await world.do(get_object)
    assert (got.body, got.headers["ETag"]) == (b"body", put.headers["ETag"])
    assert (await listed(world)).etag == put.headers["ETag"]
    store.send = send  # type: ignore[method-assign]
    with pytest.raises(AwsError, match="PreconditionFailed"):
        await world.do(put_object, body=b"body", **{condition: value})


@pytest.mark.parametrize("error", [BodyCutShort("gone"), AwsError("BadDigest", "wrong", 400)])
async def test_a_body_that_fails_leaves_nothing_on_record(error: Exception) -> None:
    world, _ = await gated(S3)

    async def failing() -> AsyncGenerator[Buffer, None]:
        yield bytes(MIB)
        raise error

    call = world.call(put_object, body=bytes(2 * MIB))
    call = replace(call, request=replace(call.request, body=failing()))
    with pytest.raises(type(error)):
        await put_object.run(world.gateway, call)
    assert await records(world) == []


async def test_a_put_whose_end_is_unknown_does_not_hide_the_plaintext_that_is_there() -> None:
    world, store = await gated(KMS, mixed=True)
    store.objects["/b/k"] = StoredObject(b"plaintext from before", {})
    gate = store.hold("PUT", before=True)
    put = asyncio.create_task(world.do(put_object, body=b"body"))
    await gate.reached.wait()
    put.cancel()
    await asyncio.wait([put])
    assert [row.upstream_etag for row in await records(world)] == [None]
    assert (await world.do(get_object)).body == b"plaintext from before"


async def test_two_completions_of_different_parts_at_once_do_not_spoil_the_object() -> None:
    world, store = await gated(KMS)
    answer = await world.do(create_multipart_upload, "uploads")
    assert isinstance(answer.body, bytes)
    upload_id = xml_codec.parse(answer.body, "InitiateMultipartUploadResult")["UploadId"]
    etags = []
    for number, body in ((1, bytes(5 * MIB)), (2, b"end")):
        sent = await world.do(upload_part, f"partNumber={number}&uploadId={upload_id}", body=body)
        etags.append(sent.headers["ETag"])

    def complete(count: int) -> "asyncio.Task[Response]":
        rows = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags[:count], 1)]
        document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
        return asyncio.create_task(world.do(complete_multipart_upload, f"uploadId={upload_id}", body=document))

    gate = store.hold("POST")
    first = complete(2)
    await gate.reached.wait()
    with pytest.raises(AwsError, match="NoSuchUpload"):
        await complete(1)
    # The same parts again: the object is theirs, whoever hears of it first.
    assert (await complete(2)).status == 200
    gate.opened.set()
    assert (await first).status == 200
    assert (await world.do(get_object)).body == bytes(5 * MIB) + b"end"
    assert [row.upstream_etag for row in await records(world)] == [world.stored.etag]


@pytest.mark.parametrize("count", [1, 4])
async def test_of_attempts_at_a_part_with_the_same_bytes_the_one_that_the_store_has_counts(count: int) -> None:
    """They show the same ETag, and the one that the store took first may be put on record last."""
    world, store = await gated(S3)
    answer = await world.do(create_multipart_upload, "uploads")
    assert isinstance(answer.body, bytes)
    upload_id = xml_codec.parse(answer.body, "InitiateMultipartUploadResult")["UploadId"]
    body, rows = bytes(5 * MIB), []
    for number in range(1, count + 1):
        query = f"partNumber={number}&uploadId={upload_id}"
        gate = store.hold("PUT")
        first = asyncio.create_task(world.do(upload_part, query, body=body))
        await gate.reached.wait()
        second = await world.do(upload_part, query, body=body)
        gate.opened.set()
        assert (await first).headers["ETag"] == second.headers["ETag"] == md5(body)
        rows.append({"PartNumber": number, "ETag": second.headers["ETag"]})
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    done = await world.do(complete_multipart_upload, f"uploadId={upload_id}", body=document)
    assert done.status == 200
    assert (await world.do(get_object)).body == body * count
    assert [row.upstream_etag for row in await records(world)] == [world.stored.etag]


async def test_a_part_that_was_on_its_way_when_its_upload_was_aborted_is_not_acknowledged() -> None:
    world, store = await gated(S3)
    answer = await world.do(create_multipart_upload, "uploads")
    assert isinstance(answer.body, bytes)
    upload_id = xml_codec.parse(answer.body, "InitiateMultipartUploadResult")["UploadId"]
    gate = store.hold("PUT")
    part = asyncio.create_task(world.do(upload_part, f"partNumber=1&uploadId={upload_id}", body=b"body"))
    await gate.reached.wait()
    assert (await world.do(abort_multipart_upload, f"uploadId={upload_id}")).status == 204
    gate.opened.set()
    with pytest.raises(AwsError, match="NoSuchUpload"):
        await part
    assert await world.gateway.uploads.parts(upload_id) == []


async def test_an_attempt_that_nobody_was_told_of_is_no_part() -> None:
    world, store = await gated(S3)
    answer = await world.do(create_multipart_upload, "uploads")
    assert isinstance(answer.body, bytes)
    upload_id = xml_codec.parse(answer.body, "InitiateMultipartUploadResult")["UploadId"]
    sent = await world.do(upload_part, f"partNumber=1&uploadId={upload_id}", body=b"body")
    store.uploads[upload_id][1][1] = StoredObject(b"of a process that has ended", {})
    rows = [{"PartNumber": 1, "ETag": sent.headers["ETag"]}]
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    with pytest.raises(AwsError, match="InvalidPart"):
        await world.do(complete_multipart_upload, f"uploadId={upload_id}", body=document)
    assert await records(world) == []
    assert await world.gateway.uploads.get(upload_id) is not None


async def test_a_failed_completion_leaves_nothing_on_record() -> None:
    world, store = await gated(KMS)
    answer = await world.do(create_multipart_upload, "uploads")
    assert isinstance(answer.body, bytes)
    upload_id = xml_codec.parse(answer.body, "InitiateMultipartUploadResult")["UploadId"]
    sent = await world.do(upload_part, f"partNumber=1&uploadId={upload_id}", body=b"body")
    del store.uploads[upload_id]
    rows = [{"PartNumber": 1, "ETag": sent.headers["ETag"]}]
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    with pytest.raises(AwsError, match="NoSuchUpload"):
        await world.do(complete_multipart_upload, f"uploadId={upload_id}", body=document)
    assert await records(world) == []


async def test_if_match_on_a_key_without_an_object_is_no_such_key() -> None:
    world, store = await gated(KMS)
    put = store._put
    store._put = lambda path, request, body: (  # type: ignore[method-assign]
        put(path, request, body) if "If-Match" not in request.headers else Response(412)
    )
    with pytest.raises(AwsError, match="NoSuchKey"):
        await world.do(put_object, body=b"body", If_Match='"0123-0"')
    await world.do(put_object, body=b"body")
    with pytest.raises(AwsError, match="PreconditionFailed"):
        await world.do(put_object, body=b"body", If_Match='"0123-0"')
