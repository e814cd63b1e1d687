"""CopyObject over a store in memory: what stays in the store, what streams through, and what is refused."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from proxy.aws import xml_codec
from proxy.aws.credentials import ANONYMOUS
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.envelope import header as headers
from proxy.envelope.header import Header
from proxy.s3.copies import within_store
from proxy.s3.gateway import Target
from proxy.s3.operations.complete_multipart_upload import complete_multipart_upload
from proxy.s3.operations.copy_object import copy_object
from proxy.s3.operations.get_object import get_object
from proxy.s3.operations.head_object import head_object
from proxy.s3.operations.multipart_uploads import create_multipart_upload
from proxy.s3.operations.put_object import put_object
from proxy.s3.operations.upload_part import upload_part
from proxy.s3.state.ports import BucketRecord, EncryptionRule, ObjectRecord
from proxy.s3.upstream.port import UpstreamTimeout
from tests.fakes import FakeClock, FakeRandom
from tests.s3.fakes import ACCOUNT, OTHER_ACCOUNT, caller, make_call
from tests.s3.object_store import ObjectStore, StoredObject, World, make_world

S3, KMS, BUCKET_KEY = EncryptionRule(), EncryptionRule("aws:kms"), EncryptionRule("aws:kms", None, True)
MIB = 1024 * 1024
BIG = FakeRandom("plaintext")(6 * MIB)
CUSTOMER = b"k" * 32


def customer_key(prefix: str = "x_amz_") -> dict[str, str]:
    name = f"{prefix}server_side_encryption_customer_"
    return {
        f"{name}algorithm": "AES256",
        f"{name}key": base64.b64encode(CUSTOMER).decode(),
        f"{name}key_MD5": base64.b64encode(hashlib.md5(CUSTOMER).digest()).decode(),
    }


async def world_with(body: bytes, rule: EncryptionRule = KMS, *, mixed: bool = False, **sent: str) -> World:
    world = replace(await make_world(rule=rule, mixed=mixed), secure=True)
    await world.do(put_object, body=body, **sent)
    world.store.sent.clear()
    return world


async def upload(world: World, *bodies: bytes, **sent: str) -> None:
    """A multipart object under ``k``, its parts numbered 1, 3, 5 and so on."""
    created = xml_codec.parse(
        whole(await world.do(create_multipart_upload, "uploads", **sent)), "InitiateMultipartUploadResult"
    )
    upload_id = created["UploadId"]
    rows = []
    for number, body in enumerate(bodies):
        answer = await world.do(upload_part, f"partNumber={2 * number + 1}&uploadId={upload_id}", body=body)
        rows.append({"PartNumber": 2 * number + 1, "ETag": answer.headers["ETag"]})
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    await world.do(complete_multipart_upload, f"uploadId={upload_id}", body=document)
    world.store.sent.clear()


async def copy(world: World, to: str = "copy", source: str = "/b/k", **sent: str) -> Response:
    return await world.do(copy_object, key=to, x_amz_copy_source=source, **sent)


def with_profile(world: World, **quirks: Any) -> World:
    """The same world, whose store has these quirks."""
    settings = world.gateway.settings
    settings = replace(settings, store=replace(settings.store, **quirks))
    return replace(world, gateway=replace(world.gateway, settings=settings))


def whole(answer: Response) -> bytes:
    assert isinstance(answer.body, bytes)
    return answer.body


def result(answer: Response) -> Mapping[str, Any]:
    return xml_codec.parse(whole(answer), "CopyObjectResult")


def header_at(world: World, key: str = "copy") -> Header:
    found = headers.decode(world.store.objects[f"/b/{key}"].headers)
    assert found is not None
    return found


def sent(world: World) -> list[str]:
    """What the store was asked, without the bucket's name."""
    return [
        f"{request.method} {request.path[3:]}{'?' if request.query else ''}{request.query}"
        for request in world.store.sent
    ]


async def refused(attempt: Any) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await attempt
    return caught.value


@pytest.mark.parametrize("size", [0, 10, 70_000, MIB, MIB + 1, len(BIG)])
@pytest.mark.parametrize("target", [KMS, BUCKET_KEY], ids=["key", "bucket key"])
@pytest.mark.parametrize("source", [S3, KMS, BUCKET_KEY], ids=["SSE-S3", "key", "bucket key"])
async def test_the_data_stays_where_only_key_and_place_change(
    size: int, source: EncryptionRule, target: EncryptionRule
) -> None:
    world = await world_with(BIG[:size], source, x_amz_meta_a="b", Cache_Control="max-age=1")
    world = replace(world, bucket=replace(world.bucket, encryption=target))
    answer = await copy(world)
    assert sum(request.method == "PUT" for request in world.store.sent) == 1
    assert world.store.objects["/b/copy"].body == world.stored.body
    assert (header_at(world).salt, header_at(world).mode) == (header_at(world, "k").salt, "aws:kms")
    assert answer.headers["x-amz-server-side-encryption"] == "aws:kms"
    assert answer.headers.get("x-amz-server-side-encryption-bucket-key-enabled") == (
        "true" if target.bucket_key_enabled else None
    )
    got = await world.do(get_object, key="copy", x_amz_checksum_mode="ENABLED")
    assert got.body == BIG[:size]
    assert (got.headers["x-amz-meta-a"], got.headers["Cache-Control"]) == ("b", "max-age=1")
    assert (got.headers["ETag"], got.headers["x-amz-checksum-crc64nvme"]) == (
        result(answer)["ETag"],
        result(answer)["ChecksumCRC64NVME"],
    )
    assert result(answer)["ChecksumType"] == "FULL_OBJECT"


async def test_a_copy_can_be_copied_and_its_source_be_gone() -> None:
    world = await world_with(BIG[:100_000])
    await copy(world)
    del world.store.objects["/b/k"]
    await copy(world, "second", "b/copy")
    del world.store.objects["/b/copy"]
    assert (await world.do(get_object, key="second")).body == BIG[:100_000]


async def test_under_sse_s3_the_copy_of_a_kms_object_shows_the_md5_of_its_bytes() -> None:
    world = await world_with(BIG[:100])
    answer = await copy(world, x_amz_server_side_encryption="AES256")
    md5 = f'"{hashlib.md5(BIG[:100]).hexdigest()}"'
    assert result(answer)["ETag"] == md5
    assert header_at(world).salt != header_at(world, "k").salt
    again = await copy(world, "again", "/b/copy", x_amz_server_side_encryption="AES256")
    assert result(again)["ETag"] == md5
    assert header_at(world, "again").salt == header_at(world).salt
    assert (await world.do(head_object, key="again")).headers["ETag"] == md5


@pytest.mark.parametrize("to_customer", [True, False])
async def test_a_customers_key_on_either_side(to_customer: bool) -> None:
    world = await world_with(BIG[:70_000], **({} if to_customer else customer_key()))
    if to_customer:
        answer = await copy(world, **customer_key())
        assert answer.headers["x-amz-server-side-encryption-customer-algorithm"] == "AES256"
        assert "x-amz-server-side-encryption" not in answer.headers
        assert (await world.do(get_object, key="copy", **customer_key())).body == BIG[:70_000]
        assert (await refused(copy(world, "third", "/b/copy"))).code == "InvalidRequest"
        return
    assert (await refused(copy(world))).code == "InvalidRequest"
    await copy(world, **customer_key("x_amz_copy_source_"))
    assert (await world.do(get_object, key="copy")).body == BIG[:70_000]
    wrong = customer_key("x_amz_copy_source_")
    for name in wrong:
        wrong[name] = wrong[name].replace(base64.b64encode(CUSTOMER).decode(), base64.b64encode(b"w" * 32).decode())
    wrong["x_amz_copy_source_server_side_encryption_customer_key_MD5"] = base64.b64encode(
        hashlib.md5(b"w" * 32).digest()
    ).decode()
    assert (await refused(copy(world, **wrong))).code == "AccessDenied"


async def test_the_sources_context_is_not_carried_and_a_new_one_is_taken() -> None:
    pairs = base64.b64encode(b'{"a":"b"}').decode()
    asked = {"x_amz_server_side_encryption": "aws:kms", "x_amz_server_side_encryption_context": pairs}
    world = await world_with(b"body", **asked)
    assert header_at(world, "k").context == {"a": "b"}
    await copy(world)
    assert header_at(world).context == {}
    answer = await copy(world, "third", **asked)
    assert header_at(world, "third").context == {"a": "b"}
    assert answer.headers["x-amz-server-side-encryption-context"] == pairs
    assert (await world.do(get_object, key="third")).body == b"body"


async def test_a_fresh_data_key_for_each_copy_is_a_setting() -> None:
    world = await world_with(BIG[:100_000])
    settings = replace(world.gateway.settings, fresh_key_on_copy=True)
    world = replace(world, gateway=replace(world.gateway, settings=settings))
    await copy(world)
    assert header_at(world).salt != header_at(world, "k").salt
    assert world.store.objects["/b/copy"].body != world.stored.body
    assert sent(world) == ["HEAD k", "GET k", "PUT copy"]
    assert (await world.do(get_object, key="copy")).body == BIG[:100_000]


@pytest.mark.parametrize("keeps_parts", [True, False])
async def test_a_multipart_object_keeps_its_parts(keeps_parts: bool) -> None:
    world = await world_with(b"")
    world.store.keeps_parts = keeps_parts
    profile = replace(world.gateway.settings.store, copies_keep_parts=keeps_parts)
    world = replace(world, gateway=replace(world.gateway, settings=replace(world.gateway.settings, store=profile)))
    await upload(world, BIG, b"the end")
    answer = await copy(world)
    assert result(answer)["ETag"].endswith('-2"')
    assert sum("x-amz-copy-source-if-match" in request.headers for request in world.store.sent) == (
        1 if keeps_parts else 2
    )
    assert not world.store.uploads
    for wanted in ("bytes=0-99", "bytes=-9", f"bytes={len(BIG) - 3}-{len(BIG) + 2}"):
        of_source, of_copy = [await world.do(get_object, key=key, Range=wanted) for key in ("k", "copy")]
        assert of_copy.body == of_source.body
    world.store.sent.clear()
    part = await world.do(get_object, "partNumber=2", key="copy")
    assert (part.body, part.headers["x-amz-mp-parts-count"]) == (b"the end", "2")
    assert len(world.store.sent) == 1
    records = await world.gateway.objects.find("b", ["k", "copy"])
    assert records["copy"][0].parts == records["k"][0].parts


@pytest.mark.parametrize(
    ("by_store", "sent"), [(True, {"If_None_Match": "*"}), (False, {"If_None_Match": "*"}), (False, {})]
)
async def test_a_copy_that_is_sent_twice_does_not_refuse_itself(by_store: bool, sent: dict[str, str]) -> None:
    """The transport sends a request again where a connection turns out to be closed, though the store may have done
    it."""
    world = await world_with(b"")
    world = with_profile(world, copies_keep_parts=by_store, conditional_copies=by_store)
    world.store.keeps_parts = by_store
    await upload(world, BIG, b"the end")
    send = world.store.send

    async def twice(request: Request) -> Response:
        last = request.path.endswith("copy") and request.method == ("PUT" if by_store else "POST")
        if last and request.query != "uploads":
            assert (await send(request)).status == 200
        return await send(request)

    world.store.send = twice  # type: ignore[method-assign]
    answer = await copy(world, **sent)
    got = await world.do(get_object, key="copy")
    assert (got.body, got.headers["ETag"]) == (BIG + b"the end", result(answer)["ETag"])
    records = await world.gateway.objects.find("b", ["k", "copy"])
    assert records["copy"][0].parts == records["k"][0].parts
    world.store.send = send  # type: ignore[method-assign]
    if sent:
        assert (await refused(copy(world, **sent))).code == "PreconditionFailed"


async def test_conditions_that_a_store_would_pass_over_at_a_completion_are_those_of_a_put() -> None:
    world = with_profile(await world_with(b""), conditional_completions=False)
    await upload(world, BIG, b"the end")
    await copy(world, If_None_Match="*")
    assert [request.method for request in world.store.sent if request.path == "/b/copy"] == ["PUT"]
    assert (await refused(copy(world, If_None_Match="*"))).code == "PreconditionFailed"
    assert (await world.do(get_object, key="copy")).body == BIG + b"the end"


async def test_what_the_store_cannot_copy_whole_goes_along_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await world_with(b"")
    world.store.keeps_parts = True
    profile = replace(world.gateway.settings.store, copies_keep_parts=True)
    world = replace(world, gateway=replace(world.gateway, settings=replace(world.gateway.settings, store=profile)))
    await upload(world, BIG, BIG, b"the end")
    monkeypatch.setattr(within_store, "LARGEST", 2 * len(BIG))
    await copy(world)
    ranges = [request.headers.get("x-amz-copy-source-range") for request in world.store.sent]
    assert len(list(filter(None, ranges))) == 3
    assert (await world.do(get_object, key="copy")).body == BIG + BIG + b"the end"
    # A part that is too large leaves no way but to seal anew.
    monkeypatch.setattr(within_store, "LARGEST", len(BIG))
    await copy(world, "second")
    assert header_at(world, "second").salt != header_at(world).salt
    assert (await world.do(get_object, key="second")).body == BIG + BIG + b"the end"


async def test_without_the_table_of_parts_a_copy_is_made_all_the_same() -> None:
    world = await world_with(b"")
    await upload(world, BIG, b"the end")
    await world.gateway.objects.forget_bucket("b")
    await copy(world)
    assert (await world.do(get_object, key="copy")).body == BIG + b"the end"


async def test_an_upload_of_parts_is_given_up_when_the_store_fails_within() -> None:
    world = await world_with(b"")
    await upload(world, BIG, b"the end")
    world.store.objects["/b/copy"] = StoredObject(b"as it was", {})
    failing = FailingStore(lambda request: request.parameter("partNumber") == "3")
    failing.objects, failing.uploads = world.store.objects, world.store.uploads
    world = replace(world, store=failing, gateway=replace(world.gateway, upstream=failing))
    assert (await refused(copy(world))).code == "InternalError"
    assert not failing.uploads
    assert failing.objects["/b/copy"].body == b"as it was"
    assert all(row.upstream_etag is None for row in (await world.gateway.objects.find("b", ["copy"]))["copy"])


@dataclass
class FailingStore(ObjectStore):
    """A store that fails a request, after a 200 as S3 may, or makes another object of the source before it."""

    chosen: Callable[[Request], bool] = lambda _: False
    replace_with: list[StoredObject] = field(default_factory=list)

    def __init__(self, chosen: Callable[[Request], bool], *replace_with: StoredObject) -> None:
        super().__init__()
        self.chosen, self.replace_with = chosen, list(replace_with)

    async def send(self, request: Request) -> Response:
        if not self.chosen(request):
            return await super().send(request)
        if self.replace_with:
            self.objects["/b/k"] = self.replace_with.pop(0)
            return await super().send(request)
        if isinstance(request.body, bytes):
            document = xml_codec.render("Error", {"Code": "InternalError", "Message": "disk x"}, namespace=None)
            return Response(200, body=b"   \n" + document)
        return await super().send(request)


async def test_what_is_on_record_stays_where_the_end_of_a_copy_in_place_is_unknown() -> None:
    world = await world_with(b"body", S3)
    before = await world.gateway.objects.find("b", ["k"])
    send = world.store.send

    async def fails(request: Request) -> Response:
        if request.method == "PUT":
            raise UpstreamTimeout("no answer")
        return await send(request)

    world.store.send = fails  # type: ignore[method-assign]
    with pytest.raises(UpstreamTimeout):
        await copy(world, to="k", x_amz_metadata_directive="REPLACE")
    assert await world.gateway.objects.find("b", ["k"]) == before
    world.store.send = send  # type: ignore[method-assign]
    etag = before["k"][0].etag
    assert etag is not None
    await copy(world, to="k", x_amz_metadata_directive="REPLACE", If_Match=etag)


async def test_an_error_after_the_stores_200_is_an_error() -> None:
    world = await world_with(BIG[:100])
    failing = FailingStore(lambda request: "x-amz-copy-source" in request.headers)
    failing.objects = world.store.objects
    world = replace(world, store=failing, gateway=replace(world.gateway, upstream=failing))
    error = await refused(copy(world))
    assert (error.code, error.status, "disk" in str(error.message)) == ("InternalError", 500, False)


@pytest.mark.parametrize("streams", [False, True])
async def test_a_source_that_is_replaced_meanwhile_is_never_torn(streams: bool) -> None:
    world = await world_with(BIG[:100_000])
    first = world.stored
    await world.do(put_object, body=BIG[200_000:350_000])
    second = world.stored
    method = "GET" if streams else "PUT"
    racing = FailingStore(lambda request: request.method == method and bool(racing.replace_with), second)
    racing.objects = {"/b/k": first}
    settings = replace(world.gateway.settings, fresh_key_on_copy=streams)
    gateway = replace(world.gateway, upstream=racing, short_reads=racing, settings=settings)
    world = replace(world, store=racing, gateway=gateway)
    await copy(world)
    assert (await world.do(get_object, key="copy")).body == BIG[200_000:350_000]


async def test_plaintext_of_a_mixed_bucket_is_sealed() -> None:
    world = await world_with(b"", mixed=True)
    world.store.objects["/b/plain"] = StoredObject(b"plain bytes", {"Content-Type": "text/x", "x-amz-meta-a": "b"})
    await copy(world, source="/b/plain")
    assert b"plain" not in world.store.objects["/b/copy"].body
    got = await world.do(get_object, key="copy")
    assert (got.body, got.headers["x-amz-meta-a"], got.headers["Content-Type"]) == (b"plain bytes", "b", "text/x")
    assert got.headers["x-amz-server-side-encryption"] == "aws:kms"


async def test_metadata_and_tags_as_the_directives_say() -> None:
    world = await world_with(b"body", x_amz_meta_a="b", x_amz_tagging="t=1&u=a%20%26", Cache_Control="max-age=1")
    await copy(world, x_amz_meta_c="ignored", Cache_Control="ignored", x_amz_tagging="ignored=1")
    kept = world.store.objects["/b/copy"].headers
    assert (kept["x-amz-meta-a"], kept["Cache-Control"]) == ("b", "max-age=1")
    assert kept["x-amz-tagging"] == "t=1&u=a+%26"
    assert "x-amz-meta-c" not in kept
    directives = {"x_amz_metadata_directive": "REPLACE", "x_amz_tagging_directive": "REPLACE"}
    await copy(world, x_amz_meta_c="d", x_amz_tagging="v=2", **directives)
    kept = world.store.objects["/b/copy"].headers
    assert (kept["x-amz-meta-c"], kept["x-amz-tagging"]) == ("d", "v=2")
    assert not {"x-amz-meta-a", "Cache-Control"} & set(kept)
    await copy(world, **directives)
    assert "x-amz-tagging" not in world.store.objects["/b/copy"].headers
    reserved = {"x_amz_meta_sse_proxy_key": "AAAA"}
    assert (await refused(copy(world, **directives, **reserved))).code == "InvalidArgument"
    assert (await refused(copy(world, x_amz_metadata_directive="MERGE"))).message == "Unknown metadata directive."


async def test_an_object_is_not_copied_to_itself_without_a_change() -> None:
    world = await world_with(b"body", S3)
    error = await refused(copy(world, "k"))
    assert error.code == "InvalidRequest"
    assert (error.message or "").startswith("This copy request is illegal because it is trying to copy an object to")
    before = world.stored.body
    await copy(world, "k", x_amz_metadata_directive="REPLACE", x_amz_meta_new="1")
    assert world.stored.body == before
    assert world.stored.headers["x-amz-meta-new"] == "1"
    await copy(world, "k", x_amz_server_side_encryption="aws:kms")
    got = await world.do(get_object)
    assert (got.body, got.headers["x-amz-server-side-encryption"]) == (b"body", "aws:kms")
    records = await world.gateway.objects.find("b", ["k"])
    assert not records or len(records["k"]) == 1


async def test_a_multipart_object_copied_to_itself_keeps_its_record() -> None:
    world = await world_with(b"")
    await upload(world, BIG, b"the end")
    (before,) = (await world.gateway.objects.find("b", ["k"]))["k"]
    await copy(world, "k", x_amz_metadata_directive="REPLACE", x_amz_meta_new="1")
    (after,) = (await world.gateway.objects.find("b", ["k"]))["k"]
    assert (after.parts, after.object_id) == (before.parts, before.object_id)
    assert after.upstream_etag == world.stored.etag
    assert (await world.do(get_object)).body == BIG + b"the end"


async def test_a_key_whose_versions_would_share_an_id_is_sealed_anew() -> None:
    world = await world_with(BIG[:100], S3)
    object_id = header_at(world, "k").object_id
    await world.gateway.objects.put(
        ObjectRecord("b", "copy", object_id, '"e"', 100, '"m"', b"", FakeClock()(), version_id="older")
    )
    await copy(world)
    assert header_at(world).object_id != object_id


@pytest.mark.parametrize(("asked", "stays"), [("CRC64NVME", True), ("SHA256", False), ("sha1", False), (None, True)])
async def test_checksums_are_carried_or_computed(asked: str | None, stays: bool) -> None:
    world = await world_with(BIG[:100_000])
    answer = await copy(world, **({"x_amz_checksum_algorithm": asked} if asked else {}))
    assert (header_at(world).salt == header_at(world, "k").salt) is stays
    name = f"Checksum{(asked or 'CRC64NVME').upper()}"
    assert name in result(answer)
    if asked == "SHA256":
        assert result(answer)[name] == base64.b64encode(hashlib.sha256(BIG[:100_000]).digest()).decode()
    assert (await refused(copy(world, x_amz_checksum_algorithm="CRC16"))).code == "InvalidRequest"


async def test_a_streamed_copy_keeps_the_algorithm_of_its_source() -> None:
    digest = base64.b64encode(hashlib.sha256(b"body").digest()).decode()
    world = await world_with(b"body", x_amz_checksum_sha256=digest)
    answer = await copy(world, x_amz_server_side_encryption="AES256")
    assert result(answer)["ChecksumSHA256"] == digest


CONDITIONS = [
    ("match", None, True),
    ("match", "earlier unmodified", True),
    ("other", None, False),
    ("other", "later unmodified", False),
    (None, "earlier unmodified", False),
    (None, "later unmodified", True),
    ("none-match", None, False),
    ("none-match", "earlier modified", False),
    ("none-other", None, True),
    ("none-other", "same modified", True),
    (None, "same modified", False),
    (None, "earlier modified", True),
    (None, "future modified", True),
    (None, "no date modified", True),
]


@pytest.mark.parametrize(("tag", "date", "holds"), CONDITIONS)
async def test_conditions_on_the_source(tag: str | None, date: str | None, holds: bool) -> None:
    world = await world_with(b"body")
    world.gateway.clock.advance(hours=1)  # type: ignore[attr-defined]
    etag = str((await world.do(head_object)).headers["ETag"])
    asked = {}
    if tag:
        name = "x_amz_copy_source_if_none_match" if tag.startswith("none") else "x_amz_copy_source_if_match"
        asked[name] = '"other-0"' if tag.endswith("other") else etag
    if date:
        moment, _, kind = date.rpartition(" ")
        dates = {"earlier": 5, "same": 6, "later": 6.5, "future": 9}
        hour = dates.get(moment)
        stamp = f"Mon, 23 Nov 2026 {int(hour):02}:{30 if hour % 1 else 0:02}:00 GMT" if hour else moment
        asked[f"x_amz_copy_source_if_{kind}_since"] = stamp
    if holds:
        await copy(world, **asked)
        return
    error = await refused(copy(world, **asked))
    assert (error.code, error.status) == ("PreconditionFailed", 412)
    assert error.detail["Condition"].startswith("x-amz-copy-source-If-")


async def test_conditions_on_the_target_are_never_lost() -> None:
    world = await world_with(b"body")
    await copy(world, If_None_Match="*")
    error = await refused(copy(world, If_None_Match="*"))
    assert (error.code, error.detail["Condition"]) == ("PreconditionFailed", "If-None-Match")
    # This store passes over conditions on CopyObject, so those copies have been PUTs.
    assert not any("x-amz-copy-source" in request.headers for request in world.store.sent)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("", "InvalidArgument"),
        ("b", "InvalidArgument"),
        ("b/", "InvalidArgument"),
        ("/", "InvalidArgument"),
        ("arn:aws:s3:eu-west-1:111122223333:accesspoint/a/object/k", "InvalidArgument"),
        ("b/k?versionId=", "InvalidArgument"),
        ("b/%FF", "InvalidArgument"),
        ("b/" + "k" * 1025, "InvalidArgument"),
        ("b/nothing", "NoSuchKey"),
        ("b/k?versionId=abc", "NoSuchVersion"),
    ],
)
async def test_sources_that_are_none(source: str, code: str) -> None:
    world = await world_with(b"body")
    assert (await refused(copy(world, source=source))).code == code
    assert "/b/copy" not in world.store.objects


@pytest.mark.parametrize("source", ["b/a%20b%2Bc/%C3%A9%25", "/b/a+b%2Bc/%C3%A9%25", "b%2Fa%20b%2Bc%2F%C3%A9%25"])
async def test_sources_are_percent_encoded(source: str) -> None:
    world = await world_with(b"")
    await world.do(put_object, key="a b+c/é%", body=b"body")
    await copy(world, source=source)
    assert (await world.do(get_object, key="copy")).body == b"body"


async def other_bucket(world: World, account: str) -> None:
    other = BucketRecord("other", account, "eu-west-1", FakeClock()(), KMS)
    await world.gateway.buckets.put(other)
    call = make_call("PUT", Target("other", "k"), body=b"of another bucket", record=other, account=account)
    await put_object.run(world.gateway, call)


async def test_a_bucket_of_the_same_account_is_read() -> None:
    world = await world_with(b"")
    await other_bucket(world, ACCOUNT)
    assert (
        await refused(copy(world, source="other/k", x_amz_source_expected_bucket_owner=OTHER_ACCOUNT))
    ).status == 403
    await copy(world, source="other/k", x_amz_source_expected_bucket_owner=ACCOUNT)
    assert (await world.do(get_object, key="copy")).body == b"of another bucket"


async def test_another_accounts_bucket_is_not_read_without_its_policy() -> None:
    world = await world_with(b"")
    await other_bucket(world, OTHER_ACCOUNT)
    assert (await refused(copy(world, source="other/k"))).code == "AccessDenied"


async def test_a_copy_into_another_account_has_a_data_key_of_its_own() -> None:
    """Whoever has the source's key must not be able to open what is another's."""
    world = await world_with(b"")
    await other_bucket(world, OTHER_ACCOUNT)
    other = await world.gateway.buckets.get("other")
    assert other is not None
    statement = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "s3:*", "Resource": "arn:aws:s3:::other/*"}
    allowed = replace(other, policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    # The service's own key is the one that needs no policy of a key besides.
    theirs = replace(other, encryption=S3)
    call = make_call("PUT", Target("other", "k"), body=b"theirs", record=theirs, account=OTHER_ACCOUNT)
    await put_object.run(world.gateway, call)
    await world.gateway.buckets.put(allowed)
    await copy(world, source="other/k")
    source = headers.decode(world.store.objects["/other/k"].headers)
    assert source is not None
    assert header_at(world).salt != source.salt
    assert (await world.do(get_object, key="copy")).body == b"theirs"


def policy(*actions: str, resource: str = "*") -> tuple[Mapping[str, Any], ...]:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    return ({"Version": "2012-10-17", "Statement": [statement]},)


@pytest.mark.parametrize(
    ("allowed", "code"),
    [
        (("s3:GetObject", "s3:ListBucket", "s3:GetObjectTagging", "s3:PutObjectTagging", "kms:*"), None),
        (("s3:ListBucket", "kms:*"), "AccessDenied"),
        (("s3:GetObject", "s3:ListBucket", "kms:*"), "AccessDenied"),
        (("s3:GetObject", "s3:GetObjectTagging", "kms:*"), "AccessDenied"),
    ],
)
async def test_what_the_caller_must_be_allowed(allowed: tuple[str, ...], code: str | None) -> None:
    world = await world_with(b"body", x_amz_tagging="a=b")
    who = caller(policies=policy(*allowed))
    call = make_call("PUT", Target("b", "copy"), headers={"x-amz-copy-source": "b/k"}, record=world.bucket, secure=True)
    call = replace(call, caller=who)
    if code is None:
        assert (await copy_object.run(world.gateway, call)).status == 200
    else:
        assert (await refused(copy_object.run(world.gateway, call))).code == code


async def test_who_may_not_list_the_sources_bucket_learns_nothing_of_it() -> None:
    world = await world_with(b"body")
    who = caller(policies=policy("s3:GetObject", "s3:PutObject"))
    call = make_call("PUT", Target("b", "c"), headers={"x-amz-copy-source": "b/none"}, record=world.bucket, secure=True)
    assert (await refused(copy_object.run(world.gateway, replace(call, caller=who)))).code == "AccessDenied"


async def test_a_source_above_5_gib_is_refused() -> None:
    world = await world_with(b"", mixed=True)
    large = HugeObject()
    world.store.objects["/b/large"] = large
    error = await refused(copy(world, source="b/large"))
    assert error.code == "InvalidRequest"
    assert error.message == (
        "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120"
    )


class HugeObject(StoredObject):
    """A plaintext object of more than 5 GiB, to be looked at only."""

    def __init__(self) -> None:
        class Huge(bytes):
            def __len__(self) -> int:
                return 5 * 1024**3 + 1

        super().__init__(Huge(), {}, '"huge"')


async def test_who_has_not_signed_copies_nothing() -> None:
    world = await world_with(b"body")
    call = make_call("PUT", Target("b", "c"), headers={"x-amz-copy-source": "b/k"}, record=world.bucket)
    error = await refused(copy_object.run(world.gateway, replace(call, caller=ANONYMOUS)))
    assert (error.code, error.message) == (
        "AccessDenied",
        "Anonymous users cannot copy objects. Please authenticate.",
    )


async def test_a_body_is_refused() -> None:
    world = await world_with(b"body")
    error = await refused(world.do(copy_object, key="copy", body=b"x", x_amz_copy_source="b/k"))
    assert error.message == "You can only specify a copy source header for copy requests."


async def test_the_answer_tells_when_the_copy_was_made() -> None:
    world = await world_with(b"body")
    assert result(await copy(world))["LastModified"] == "2026-11-23T06:00:01.5Z"
    world.gateway.clock.now += timedelta(minutes=2)  # type: ignore[attr-defined]
    streamed = await copy(world, x_amz_server_side_encryption="AES256")
    assert result(streamed)["LastModified"] == "2026-11-23T06:02:00.000Z"
