"""PutObject, GetObject and HeadObject over a store in memory: what is sent up, how often, and what never comes back."""

import base64
import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.aws.errors import AwsError
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.ranges import FOOTER_THRESHOLD, stored_size
from proxy.s3.operations.get_object import get_object, get_object_version
from proxy.s3.operations.head_object import head_object, head_object_version
from proxy.s3.operations.put_object import put_object
from proxy.s3.state.ports import EncryptionRule
from tests.fakes import FakeRandom
from tests.s3.object_store import StoredObject, World, make_world

KMS = EncryptionRule("aws:kms")
BIG = FakeRandom("plaintext")(3 * 1024 * 1024 + 17)


def sha256(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


async def world_with(body: bytes, rule: EncryptionRule = KMS, **how: bool) -> World:
    world = await make_world(rule=rule, **how)
    assert (await world.do(put_object, body=body)).status == 200
    world.store.sent.clear()
    return world


@pytest.mark.parametrize("size", [0, 1, 65_479, 65_480, 65_481, 131_000, 131_001, 2**20, 2**20 + 1, len(BIG)])
@pytest.mark.parametrize("rule", [KMS, EncryptionRule()])
async def test_what_goes_in_comes_out_and_the_store_has_none_of_it(size: int, rule: EncryptionRule) -> None:
    body = BIG[:size]
    world = await world_with(body, rule)
    assert len(world.stored.body) == stored_size(size)
    assert size < 16 or body[:16] not in world.stored.body
    answer = await world.do(get_object)
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["Content-Length"] == str(size)
    assert len(world.store.sent) == 1


@pytest.mark.parametrize("size", [1, 65_480, 65_481, 200_000, len(BIG)])
@pytest.mark.parametrize("text", ["0-0", "0-", "-1", "-65520", "65470-65490", "65479-131001", "1000-2000"])
async def test_a_range_is_one_request_and_reads_little_more_than_it_gives(size: int, text: str) -> None:
    body = BIG[:size]
    world = await world_with(body)
    first, _, last = text.partition("-")
    expected = body[int(first) : int(last) + 1 if last else None] if first else body[-int(last) :]
    if not expected:
        with pytest.raises(AwsError) as error:
            await world.do(get_object, Range=f"bytes={text}")
        assert (error.value.code, error.value.detail["ActualObjectSize"]) == ("InvalidRange", str(size))
        return
    answer = await world.do(get_object, Range=f"bytes={text}")
    assert (answer.status, answer.body) == (206, expected)
    start = size - len(expected) if not first else int(first)
    assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/{size}"
    assert len(world.store.sent) == 1


@settings(max_examples=40)
@given(first=st.integers(0, len(BIG) - 1), length=st.integers(1, 300_000))
async def test_any_range_is_what_slicing_gives(first: int, length: int) -> None:
    world = await world_with(BIG)
    answer = await world.do(get_object, Range=f"bytes={first}-{first + length - 1}")
    assert answer.body == BIG[first : first + length]


async def test_checksums_known_beforehand_cost_no_request_and_those_of_a_footer_one() -> None:
    world = await world_with(BIG[:1000])
    answer = await world.do(get_object, x_amz_checksum_mode="ENABLED")
    assert (len(world.store.sent), answer.headers["x-amz-checksum-type"]) == (1, "FULL_OBJECT")
    assert "x-amz-checksum-crc64nvme" in answer.headers
    world = await world_with(BIG)
    plain = await world.do(get_object)
    assert "x-amz-checksum-crc64nvme" not in plain.headers
    answer = await world.do(get_object, x_amz_checksum_mode="ENABLED")
    assert "x-amz-checksum-crc64nvme" in answer.headers
    assert [request.headers.get("Range") for request in world.store.sent[1:]] == [
        None,
        f"bytes={len(world.stored.body) - 128}-{len(world.stored.body) - 1}",
    ]
    assert world.store.sent[-1].headers["If-Match"] == world.stored.etag


async def test_a_declared_checksum_comes_back_and_a_wrong_one_leaves_nothing() -> None:
    world = await make_world(rule=KMS)
    for body in (BIG[:1000], BIG):
        await world.do(put_object, body=body, x_amz_checksum_sha256=sha256(body))
        answer = await world.do(head_object, x_amz_checksum_mode="ENABLED")
        assert answer.headers["x-amz-checksum-sha256"] == sha256(body)
        with pytest.raises(AwsError, match="BadDigest"):
            await world.do(put_object, key="bad", body=body, x_amz_checksum_sha256=sha256(b"other"))
    assert list(world.store.objects) == ["/b/k"]


async def test_etags_are_one_value_everywhere() -> None:
    for rule, suffix in ((KMS, "-0"), (EncryptionRule(), "")):
        for body in (b"small", BIG):
            world = await make_world(rule=rule)
            shown = (await world.do(put_object, body=body)).headers["ETag"]
            md5 = hashlib.md5(body).hexdigest() if not suffix else world.stored.etag.strip('"')
            assert shown == f'"{md5}{suffix}"'
            assert (await world.do(get_object)).headers["ETag"] == shown
            assert (await world.do(head_object)).headers["ETag"] == shown
            assert (await world.do(get_object, If_None_Match=shown)).status == 304
            assert (await world.do(get_object, If_None_Match=shown)).headers["ETag"] == shown
            assert (await world.do(get_object, If_Match=shown)).status == 200
            with pytest.raises(AwsError, match="PreconditionFailed"):
                await world.do(get_object, If_Match=world.stored.etag if suffix else '"0123"')


async def test_a_304_shows_the_etag_that_a_200_shows() -> None:
    world = await make_world(rule=KMS)
    await world.do(put_object, key="folder/")
    shown = (await world.do(get_object, key="folder/")).headers["ETag"]
    for read in (get_object, head_object):
        assert (await world.do(read, key="folder/", If_None_Match=shown)).headers["ETag"] == shown
    mixed = await make_world(mixed=True, rule=KMS)
    mixed.store.objects["/b/plain"] = StoredObject(b"plain", {}, '"0123"')
    # Nothing tells a plaintext object that was never read from an encrypted one whose record is lost.
    answer = await mixed.do(get_object, key="plain", If_None_Match='"0123"')
    assert (answer.status, answer.headers.get("ETag")) == (304, None)


async def test_a_version_that_is_not_there_is_not_the_object() -> None:
    world = await world_with(b"body")
    for read in (get_object_version, head_object_version):
        with pytest.raises(AwsError, match="NoSuchVersion"):
            await world.do(read, "versionId=v1")
        # SeaweedFS does not name the version in a 304.
        assert (await world.do(read, "versionId=v1", If_None_Match="*")).status == 304
        with pytest.raises(AwsError, match="InvalidArgument"):
            await world.do(read, "versionId=")
        assert (await world.do(read, "versionId=null")).status == 200
        world.stored.version_id = "v1"
        assert (await world.do(read, "versionId=v1")).status == 200
        world.stored.version_id = None


async def test_a_304_of_a_folder_of_the_store_is_no_object() -> None:
    world = await make_world(rule=KMS)
    world.store.objects["/b/folder"] = StoredObject(b"", {}, '""')
    for read in (get_object, head_object):
        with pytest.raises(AwsError, match="NoSuchKey"):
            await world.do(read, key="folder", If_None_Match="*")


async def test_the_md5_of_an_sse_s3_object_survives_the_loss_of_its_record() -> None:
    for body in (b"small", BIG):
        world = await world_with(body, EncryptionRule())
        await world.gateway.objects.forget_bucket("b")
        answer = await world.do(head_object)
        assert answer.headers["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
        records = (await world.gateway.objects.find("b", ["k"]))["k"]
        assert [(row.etag, row.upstream_etag, row.size) for row in records] == [
            (answer.headers["ETag"], world.stored.etag, len(body))
        ]


async def test_an_upload_that_was_cut_between_store_and_record_is_put_right() -> None:
    world = await world_with(BIG, EncryptionRule())
    (record,) = (await world.gateway.objects.find("b", ["k"]))["k"]
    await world.gateway.objects.put(replace(record, upstream_etag=None, etag=None))
    assert (await world.do(head_object)).headers["ETag"] == f'"{hashlib.md5(BIG).hexdigest()}"'
    assert (await world.gateway.objects.find("b", ["k"]))["k"] == [record]


async def test_md5_etags_can_be_given_up() -> None:
    world = await world_with(b"body", EncryptionRule(), md5_etags=False)
    assert (await world.do(head_object)).headers["ETag"] == f'{world.stored.etag[:-1]}-0"'
    assert await world.gateway.objects.find("b", ["k"]) == {}


@pytest.mark.parametrize("position", [0, 45, 70_000, -1])
async def test_a_flipped_byte_is_never_served(position: int) -> None:
    world = await world_with(BIG)
    damaged = bytearray(world.stored.body)
    damaged[position] ^= 1
    world.stored.body = bytes(damaged)
    with pytest.raises(EnvelopeError):
        await world.do(get_object)


@pytest.mark.parametrize("change", [-1, -128, -70_000, 1, 65_536])
async def test_a_body_that_was_cut_or_grew_is_never_served(change: int) -> None:
    world = await world_with(BIG)
    stored = world.stored
    stored.body = stored.body[:change] if change < 0 else stored.body + bytes(change)
    with pytest.raises(EnvelopeError):
        await world.do(get_object)
    with pytest.raises(EnvelopeError):
        await world.do(get_object, Range="bytes=0-10")


async def test_an_object_without_an_envelope_is_never_served_outside_a_mixed_bucket() -> None:
    world = await world_with(b"body")
    world.stored.headers = {}
    for operation in (get_object, head_object):
        with pytest.raises(EnvelopeError, match="no envelope"):
            await world.do(operation)


async def test_a_mixed_bucket_serves_plaintext_exactly_and_tells_it_apart() -> None:
    world = await make_world(mixed=True, rule=KMS)
    await world.do(put_object, key="new", body=b"encrypted")
    world.store.objects["/b/k"] = type(world.store.objects["/b/new"])(b"plaintext from before", {})
    answer = await world.do(get_object)
    assert (answer.body, answer.headers["ETag"]) == (b"plaintext from before", world.stored.etag)
    assert "x-amz-server-side-encryption" not in answer.headers
    world.store.sent.clear()
    assert (await world.do(get_object, Range="bytes=10-13")).body == b"from"
    assert (await world.do(get_object, Range="bytes=-6")).body == b"before"
    assert len(world.store.sent) == 2
    assert (await world.do(get_object, key="new")).body == b"encrypted"


async def test_in_a_mixed_bucket_too_what_was_encrypted_does_not_become_plaintext() -> None:
    world = await make_world(mixed=True, rule=KMS)
    await world.do(put_object, body=b"encrypted")
    world.stored.headers, world.stored.body = {}, b"a store's lie"
    with pytest.raises(EnvelopeError, match="written encrypted"):
        await world.do(get_object)


async def test_an_object_moved_to_another_key_does_not_decrypt() -> None:
    world = await world_with(b"body")
    world.store.objects["/b/other"] = world.stored
    with pytest.raises(AwsError) as error:
        await world.do(get_object, key="other")
    assert error.value.code == "InvalidCiphertextException"


async def test_a_directory_marker_goes_up_bare_and_comes_back_empty() -> None:
    world = await make_world(rule=KMS)
    answer = await world.do(put_object, key="folder/")
    assert world.store.objects["/b/folder/"].body == b""
    assert answer.headers["ETag"] == '"d41d8cd98f00b204e9800998ecf8427e"'
    found = await world.do(head_object, key="folder/")
    assert (found.headers["Content-Length"], found.headers["ETag"]) == ("0", answer.headers["ETag"])
    await world.do(put_object, key="filled/", body=b"content")
    assert (await world.do(get_object, key="filled/")).body == b"content"


async def test_content_under_a_marker_is_refused_where_the_store_would_drop_it() -> None:
    world = await make_world(rule=KMS)
    settings = replace(world.gateway.settings, store=replace(world.gateway.settings.store, drops_marker_bodies=True))
    world.gateway = replace(world.gateway, settings=settings)
    with pytest.raises(AwsError, match="keeps no content"):
        await world.do(put_object, key="filled/", body=b"content")
    assert world.store.sent == []


async def test_every_put_has_a_key_and_a_salt_of_its_own() -> None:
    world = await world_with(b"same")
    first = world.stored
    await world.do(put_object, body=b"same")
    assert first.body != world.stored.body
    assert first.headers["x-amz-meta-sse-proxy-key"] != world.stored.headers["x-amz-meta-sse-proxy-key"]


async def test_a_short_body_above_the_memory_budget_is_told_to_slow_down() -> None:
    world = await make_world(rule=KMS)
    with world.gateway.memory.hold(64 * 1024 * 1024 - 100), pytest.raises(AwsError) as error:
        await world.do(put_object, body=bytes(51))
    assert (error.value.status, error.value.code) == (503, "SlowDown")
    assert FOOTER_THRESHOLD == 1024 * 1024
    assert (await world.do(put_object, body=bytes(51))).status == 200
