"""ListMultipartUploads, and what becomes of uploads that one side alone knows of."""

from collections.abc import Mapping
from typing import Any

import pytest

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.s3.access.accounts import canonical_id
from proxy.s3.gateway import Target
from proxy.s3.operations.list_multipart_uploads import list_multipart_uploads
from proxy.s3.operations.multipart_uploads import abort_multipart_upload, create_multipart_upload
from proxy.s3.state.ports import StateUnavailable, UploadRecord
from tests.fakes import FakeClock
from tests.s3.fakes import ACCOUNT, make_call
from tests.s3.object_store import World, make_world

KEYS = ["b", "c d", "a/2", "b", "a/1"]


async def begun(world: World, keys: list[str] = KEYS, **headers: str) -> list[str]:
    ids = []
    assert isinstance(world.gateway.clock, FakeClock)
    for key in keys:
        answer = await world.do(create_multipart_upload, "uploads", key=key, **headers)
        assert isinstance(answer.body, bytes)
        ids.append(str(xml_codec.parse(answer.body, "InitiateMultipartUploadResult")["UploadId"]))
        world.gateway.clock.advance(seconds=1)
    return ids


async def listed(world: World, query: str = "") -> Mapping[str, Any]:
    call = make_call("GET", Target("b"), "&".join(filter(None, ("uploads", query))), record=world.bucket)
    answer = await list_multipart_uploads.run(world.gateway, call)
    assert isinstance(answer.body, bytes)
    return xml_codec.parse(answer.body, "ListMultipartUploadsResult", lists=["Upload", "CommonPrefixes"])


def ids_in(page: Mapping[str, Any]) -> list[str]:
    return [upload["UploadId"] for upload in page.get("Upload", [])]


def prefixes_in(page: Mapping[str, Any]) -> list[str]:
    return [each["Prefix"] for each in page.get("CommonPrefixes", [])]


async def test_what_is_told_of_an_upload() -> None:
    world = await make_world()
    (upload_id,) = await begun(world, ["k"], x_amz_checksum_algorithm="SHA256")
    user = {"ID": canonical_id(ACCOUNT), "DisplayName": None}
    assert (await listed(world)) == {
        "Bucket": "b",
        "KeyMarker": None,
        "UploadIdMarker": None,
        "NextKeyMarker": "k",
        "NextUploadIdMarker": upload_id,
        "Prefix": None,
        "MaxUploads": "1000",
        "IsTruncated": "false",
        "Upload": [
            {
                "Key": "k",
                "UploadId": upload_id,
                "Initiator": user,
                "Owner": user,
                "StorageClass": "STANDARD_IA",
                "Initiated": "2026-11-23T06:00:00.000Z",
                "ChecksumAlgorithm": "SHA256",
                "ChecksumType": "COMPOSITE",
            }
        ],
    }


async def test_by_key_and_then_by_the_time_of_the_start() -> None:
    world = await make_world()
    b1, cd, a2, b2, a1 = await begun(world)
    cases: list[tuple[str, list[str], list[str], tuple[str | None, str | None, str]]] = [
        ("", [a1, a2, b1, b2, cd], [], ("c d", cd, "false")),
        ("prefix=a/", [a1, a2], [], ("a/2", a2, "false")),
        ("delimiter=/", [b1, b2, cd], ["a/"], ("c d", cd, "false")),
        ("max-uploads=3", [a1, a2, b1], [], ("b", b1, "true")),
        (f"key-marker=b&upload-id-marker={b1}", [b2, cd], [], ("c d", cd, "false")),
        ("key-marker=b", [cd], [], ("c d", cd, "false")),
        ("key-marker=b&upload-id-marker=", [cd], [], ("c d", cd, "false")),
        (f"upload-id-marker={b1}", [a1, a2, b1, b2, cd], [], ("c d", cd, "false")),
        ("max-uploads=5000", [a1, a2, b1, b2, cd], [], ("c d", cd, "false")),
        ("max-uploads=0", [], [], (None, None, "false")),
        ("delimiter=/&max-uploads=1", [], ["a/"], ("a/", None, "true")),
        ("delimiter=/&max-uploads=1&key-marker=a/", [b1], [], ("b", b1, "true")),
        ("encoding-type=url&key-marker=b%20*", [cd], [], ("c+d", cd, "false")),
        ("encoding-type=url&prefix=c%20&delimiter=d", [], ["c+d"], ("c+d", None, "false")),
        ("prefix=none", [], [], (None, None, "false")),
    ]
    for query, ids, prefixes, end in cases:
        page = await listed(world, query)
        assert (ids_in(page), prefixes_in(page)) == (ids, prefixes), query
        assert (page["NextKeyMarker"], page["NextUploadIdMarker"], page["IsTruncated"]) == end, query


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("delimiter", ["", "/"])
async def test_pages_neither_skip_nor_repeat(size: int, delimiter: str) -> None:
    world = await make_world()
    keys = [f"{folder}{name}" for folder in ("", "a/", "b/", "b/c/") for name in "xyz" for _ in range(2)]
    ids = await begun(world, keys)
    query, uploads, prefixes = f"delimiter={delimiter}&max-uploads={size}", [], []
    page = await listed(world, query)
    while True:
        uploads += ids_in(page)
        prefixes += prefixes_in(page)
        if page["IsTruncated"] == "false":
            break
        following = f"key-marker={page['NextKeyMarker']}&upload-id-marker={page['NextUploadIdMarker'] or ''}"
        page = await listed(world, f"{query}&{following}")
    pairs = sorted(zip(keys, ids, strict=True), key=lambda pair: pair[0])
    assert uploads == [each for key, each in pairs if not delimiter or "/" not in key]
    assert prefixes == (["a/", "b/"] if delimiter else [])


async def test_many_under_one_prefix() -> None:
    world = await make_world()
    await begun(world, [f"many/{number}" for number in range(250)])
    (last,) = await begun(world, ["one"])
    page = await listed(world, "delimiter=/")
    assert (prefixes_in(page), ids_in(page)) == (["many/"], [last])


async def test_an_upload_that_the_store_has_no_more_is_left_out() -> None:
    world = await make_world()
    gone, there = await begun(world, ["a", "b"])
    del world.store.uploads[gone]
    page = await listed(world, "max-uploads=1")
    assert (ids_in(page), page["IsTruncated"]) == ([there], "false")
    # A completion whose answer was lost may be asked for again for a while.
    assert await world.gateway.uploads.get(gone) is not None
    assert isinstance(world.gateway.clock, FakeClock)
    world.gateway.clock.advance(days=8)
    assert ids_in(await listed(world)) == [there]
    assert await world.gateway.uploads.get(gone) is None


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("max-uploads=-1", "Argument max-uploads must be an integer between 0 and 2147483647"),
        ("max-uploads=x", "Provided max-uploads not an integer or within integer range"),
        ("encoding-type=base64", "Invalid Encoding Method specified in Request"),
    ],
)
async def test_parameters(query: str, message: str) -> None:
    with pytest.raises(AwsError, match=message):
        await listed(await make_world(), query)


async def test_an_upload_that_cannot_be_put_on_record_is_not_left_in_the_store() -> None:
    world = await make_world()

    async def fail(_: UploadRecord) -> None:
        raise StateUnavailable("disk full")

    world.gateway.uploads.create = fail  # type: ignore[method-assign]
    with pytest.raises(StateUnavailable):
        await world.do(create_multipart_upload, "uploads")
    assert world.store.uploads == {}


async def test_an_upload_whose_record_was_lost_can_be_aborted() -> None:
    world = await make_world()
    (upload_id,) = await begun(world, ["k"])
    with pytest.raises(AwsError, match="NoSuchUpload"):
        await world.do(abort_multipart_upload, f"uploadId={upload_id}", key="other")
    await world.gateway.uploads.remove(upload_id)
    assert (await world.do(abort_multipart_upload, f"uploadId={upload_id}")).status == 204
    assert world.store.uploads == {}
    for query in (f"uploadId={upload_id}", "uploadId="):
        with pytest.raises(AwsError, match="NoSuchUpload"):
            await world.do(abort_multipart_upload, query)
