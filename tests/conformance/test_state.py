"""One suite for every implementation of the state ports."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy.s3.state.memory import MemoryState
from proxy.s3.state.ports import (
    NO_PUBLIC_ACCESS_BLOCK,
    BucketRecord,
    EncryptionRule,
    ObjectRecord,
    PartRecord,
    PublicAccessBlock,
    UploadRecord,
)
from proxy.s3.state.sqlite import SqliteState

State = MemoryState | SqliteState
NOW = datetime(2026, 11, 23, 6, 7, 8, 123456, tzinfo=UTC)
BUCKET = BucketRecord("one", "111122223333", "eu-west-1", NOW)
RULE = EncryptionRule("aws:kms", "alias/Mine", bucket_key_enabled=True, blocks_customer_keys=True)
UPLOAD = UploadRecord(
    "upload/1=",
    "one",
    "päth/\udcff key",
    "111122223333",
    {"x-amz-meta-a": "b"},
    "CRC32",
    "COMPOSITE",
    NOW,
    sealed_table_key=b"sealed",
)
PART = PartRecord("upload/1=", 1, '"u1"', '"c1"', b"a" * 16, b"s" * 32, 5, {"CRC32": "AAAAAA=="}, NOW)
OBJECT = ObjectRecord("one", "k", b"i" * 16, '"e"', 2**40, '"m"', b"table", NOW, "v1", layers=2)


@pytest.fixture(params=["memory", "sqlite", "sqlite-watched"])
async def state(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[State]:
    watch = request.param == "sqlite-watched"
    made: State = MemoryState() if request.param == "memory" else SqliteState(tmp_path / "state.db", watch=watch)
    yield made
    await made.aclose()


async def test_a_bucket_comes_back_as_it_was_put(state: State) -> None:
    assert await state.buckets.get("one") is None
    await state.buckets.put(BUCKET)
    assert await state.buckets.get("one") == BUCKET
    for changed in (
        replace(BUCKET, encryption=RULE, mixed=True),
        replace(BUCKET, policy='{"Id": "ä"}', public_access_block=None, cors=b"<x/>"),
        replace(BUCKET, public_access_block=PublicAccessBlock(block_public_acls=False, restrict_public_buckets=False)),
        replace(BUCKET, public_access_block=NO_PUBLIC_ACCESS_BLOCK),
    ):
        await state.buckets.put(changed)
        assert await state.buckets.get("one") == changed
    await state.buckets.remove("one")
    assert await state.buckets.get("one") is None
    await state.buckets.remove("one")


async def test_buckets_of_an_account_in_order_of_name(state: State) -> None:
    for name in ("b", "a-1", "a.1", "c"):
        await state.buckets.put(replace(BUCKET, name=name))
    await state.buckets.put(replace(BUCKET, name="theirs", account="444455556666"))
    assert [bucket.name for bucket in await state.buckets.owned_by("111122223333")] == ["a-1", "a.1", "b", "c"]
    assert await state.buckets.owned_by("999999999999") == []


async def test_replace_compares_with_what_is_there(state: State) -> None:
    other = replace(BUCKET, account="444455556666")
    assert not await state.buckets.replace(BUCKET, other)
    assert await state.buckets.replace(None, BUCKET)
    assert not await state.buckets.replace(None, other)
    assert not await state.buckets.replace(replace(BUCKET, mixed=True), other)
    assert await state.buckets.get("one") == BUCKET
    assert await state.buckets.replace(BUCKET, replace(BUCKET, encryption=RULE))
    assert await state.buckets.get("one") == replace(BUCKET, encryption=RULE)


async def test_of_many_that_make_one_bucket_one_succeeds(state: State) -> None:
    accounts = [f"{number:012d}" for number in range(8)]
    made = await asyncio.gather(*(state.buckets.replace(None, replace(BUCKET, account=one)) for one in accounts))
    assert sum(made) == 1
    record = await state.buckets.get("one")
    assert record is not None
    assert record.account == accounts[made.index(True)]


async def test_an_upload_comes_back_as_it_was_created(state: State) -> None:
    assert await state.uploads.get(UPLOAD.upload_id) is None
    await state.uploads.create(UPLOAD)
    assert await state.uploads.get(UPLOAD.upload_id) == UPLOAD
    bare = replace(UPLOAD, upload_id="2", metadata={}, checksum_algorithm=None, checksum_type=None)
    await state.uploads.create(bare)
    assert await state.uploads.get("2") == bare


async def test_every_attempt_at_a_part_is_kept_in_order(state: State) -> None:
    await state.uploads.create(UPLOAD)
    await state.uploads.create(replace(UPLOAD, upload_id="other"))
    later = replace(PART, attempt=b"b" * 16, modified=NOW + timedelta(seconds=1), upstream_etag='"u2"')
    tenth = replace(PART, number=10, modified=NOW - timedelta(seconds=1))
    for part in (tenth, later, PART, replace(PART, upload_id="other")):
        assert await state.uploads.add_part(part)
    assert await state.uploads.parts(UPLOAD.upload_id) == [PART, later, tenth]
    await state.uploads.remove(UPLOAD.upload_id)
    assert await state.uploads.parts(UPLOAD.upload_id) == []
    assert await state.uploads.get(UPLOAD.upload_id) is None
    assert len(await state.uploads.parts("other")) == 1
    await state.uploads.remove(UPLOAD.upload_id)


async def test_uploads_under_way_in_pages(state: State) -> None:
    def upload(key: str, number: int, *, bucket: str = "one", later: int = 0) -> UploadRecord:
        return replace(UPLOAD, bucket=bucket, key=key, upload_id=f"u{number}", created=NOW + timedelta(seconds=later))

    # By key in the order of UTF-8 bytes, and of one key in the order in which they were begun.
    ordered = [upload("a", 9), upload("a", 3, later=1), upload("a/\udcff", 4), upload("b", 5), upload("\uffff", 1)]
    ordered.append(upload("\U0001f600", 2))
    for each in (*reversed(ordered), upload("a", 7, bucket="two")):
        await state.uploads.create(each)
    assert await state.uploads.under_way("one", "", limit=10) == ordered
    assert await state.uploads.under_way("one", "", limit=2) == ordered[:2]
    assert await state.uploads.under_way("one", "a", limit=10) == ordered[:3]
    assert await state.uploads.under_way("one", "", after_key="a", limit=10) == ordered[2:]
    assert await state.uploads.under_way("one", "", after_key="a", after_upload="u9", limit=2) == ordered[1:3]
    assert await state.uploads.under_way("one", "", after_key="a", after_upload="u3", limit=10) == ordered[2:]
    assert await state.uploads.under_way("one", "", after_key="a", after_upload="gone", limit=10) == ordered
    assert await state.uploads.under_way("one", "b", after_key="a/", limit=10) == ordered[3:4]
    assert await state.uploads.under_way("none", "", limit=10) == []


async def test_a_completed_upload_is_remembered_for_a_while(state: State) -> None:
    await state.uploads.create(UPLOAD)
    await state.uploads.add_part(PART)
    other = replace(UPLOAD, upload_id="other")
    await state.uploads.create(other)
    await state.uploads.complete(UPLOAD.upload_id, NOW, NOW)
    assert await state.uploads.get(UPLOAD.upload_id) == replace(UPLOAD, completed=NOW)
    assert await state.uploads.parts(UPLOAD.upload_id) == [PART]
    assert await state.uploads.under_way("one", "", limit=10) == [other]
    await state.uploads.complete("never begun", NOW, NOW)
    assert await state.uploads.get("never begun") is None
    later = NOW + timedelta(seconds=1)
    await state.uploads.complete("other", later, later)
    assert await state.uploads.get(UPLOAD.upload_id) is None
    assert await state.uploads.parts(UPLOAD.upload_id) == []
    assert await state.uploads.get("other") == replace(other, completed=later)


async def test_a_part_of_an_upload_that_has_ended_is_not_added(state: State) -> None:
    assert not await state.uploads.add_part(PART)
    await state.uploads.create(UPLOAD)
    assert await state.uploads.add_part(PART)
    await state.uploads.complete(UPLOAD.upload_id, NOW, NOW)
    assert not await state.uploads.add_part(replace(PART, number=2))
    assert await state.uploads.parts(UPLOAD.upload_id) == [PART]
    await state.uploads.remove(UPLOAD.upload_id)
    assert not await state.uploads.add_part(PART)
    assert await state.uploads.parts(UPLOAD.upload_id) == []


async def test_parallel_parts_are_all_there(state: State) -> None:
    await state.uploads.create(UPLOAD)
    await asyncio.gather(*(state.uploads.add_part(replace(PART, number=number)) for number in range(1, 101)))
    assert [part.number for part in await state.uploads.parts(PART.upload_id)] == list(range(1, 101))


async def test_an_object_record_is_completed_in_place(state: State) -> None:
    pending = replace(OBJECT, upstream_etag=None, etag=None, parts=b"")
    await state.objects.put(pending)
    assert await state.objects.find("one", ["k"]) == {"k": [pending]}
    await state.objects.put(OBJECT)
    assert await state.objects.find("one", ["k"]) == {"k": [OBJECT]}


async def test_find_gives_all_records_of_the_keys_asked_for(state: State) -> None:
    second = replace(OBJECT, object_id=b"j" * 16)
    odd = replace(OBJECT, key="a\x00\udcff/é ", object_id=b"")
    for record in (OBJECT, second, odd, replace(OBJECT, bucket="two"), replace(OBJECT, key="K")):
        await state.objects.put(record)
    found = await state.objects.find("one", ["k", odd.key, "none"])
    assert set(found) == {"k", odd.key}
    assert sorted(record.object_id for record in found["k"]) == [b"i" * 16, b"j" * 16]
    assert found[odd.key] == [odd]
    assert await state.objects.find("one", []) == {}


async def test_find_takes_a_whole_listing_page(state: State) -> None:
    keys = [f"key-{number}" for number in range(1000)]
    await asyncio.gather(*(state.objects.put(replace(OBJECT, key=key)) for key in keys[::2]))
    assert set(await state.objects.find("one", keys)) == set(keys[::2])


async def test_forget_takes_the_records_it_is_given_and_no_other(state: State) -> None:
    second, third = replace(OBJECT, object_id=b"j" * 16), replace(OBJECT, object_id=b"")
    other = replace(OBJECT, key="other")
    for record in (OBJECT, second, third, other):
        await state.objects.put(record)
    await state.objects.forget([replace(second, upstream_etag="changed meanwhile")])
    found = await state.objects.find("one", ["k", "other"])
    assert {row.object_id for row in found["k"]} == {b"i" * 16, b""}
    await state.objects.forget([OBJECT, third, second, replace(OBJECT, bucket="none")])
    assert await state.objects.find("one", ["k", "other"]) == {"other": [other]}
    await state.objects.forget([])


async def test_forget_bucket(state: State) -> None:
    theirs = replace(OBJECT, bucket="two")
    for record in (OBJECT, replace(OBJECT, key="other"), theirs):
        await state.objects.put(record)
    await state.objects.forget_bucket("one")
    assert await state.objects.find("one", ["k", "other"]) == {}
    assert await state.objects.find("two", ["k"]) == {"k": [theirs]}
