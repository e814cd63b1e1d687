"""UploadPartCopy over a store in memory."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.operations.complete_multipart_upload import complete_multipart_upload
from proxy.s3.operations.copy_object import copy_object
from proxy.s3.operations.get_object import get_object
from proxy.s3.operations.head_object import head_object
from proxy.s3.operations.multipart_uploads import create_multipart_upload
from proxy.s3.operations.put_object import put_object
from proxy.s3.operations.upload_part import upload_part
from proxy.s3.operations.upload_part_copy import upload_part_copy
from proxy.s3.state.ports import EncryptionRule
from tests.fakes import FakeRandom
from tests.s3.object_store import World, make_world

MIB = 1024 * 1024
BIG = FakeRandom("plaintext")(12 * MIB)


async def begun(body: bytes, rule: EncryptionRule | None = None, **sent: str) -> tuple[World, str]:
    """A world with an object under ``k`` and an upload under ``new``: its id."""
    world = await make_world(rule=rule or EncryptionRule("aws:kms"))
    await world.do(put_object, body=body)
    answer = await world.do(create_multipart_upload, "uploads", key="new", **sent)
    assert isinstance(answer.body, bytes)
    world.store.sent.clear()
    return world, str(xml_codec.parse(answer.body, "InitiateMultipartUploadResult")["UploadId"])


async def copy_part(world: World, upload_id: str, number: int, source: str = "b/k", **sent: str) -> Response:
    query = f"partNumber={number}&uploadId={upload_id}"
    return await world.do(upload_part_copy, query, key="new", x_amz_copy_source=source, **sent)


def result(answer: Response) -> Mapping[str, Any]:
    assert isinstance(answer.body, bytes)
    return xml_codec.parse(answer.body, "CopyPartResult")


async def complete(world: World, upload_id: str, parts: Mapping[int, Response], **sent: str) -> None:
    rows = [{"PartNumber": number, "ETag": result(answer)["ETag"]} for number, answer in parts.items()]
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    await world.do(complete_multipart_upload, f"uploadId={upload_id}", key="new", body=document, **sent)


async def refused(attempt: Any) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await attempt
    return caught.value


@pytest.mark.parametrize("rule", [EncryptionRule("aws:kms"), EncryptionRule()], ids=["key", "SSE-S3"])
async def test_ranges_of_an_object_make_another_one(rule: EncryptionRule) -> None:
    world, upload_id = await begun(BIG, rule)
    cut = 5 * MIB + 3
    parts = {
        2: await copy_part(world, upload_id, 2, x_amz_copy_source_range=f"bytes={MIB}-{MIB + cut - 1}"),
        3: await copy_part(world, upload_id, 3),
        9: await copy_part(world, upload_id, 9, x_amz_copy_source_range="bytes=0-0"),
    }
    reads = [request for request in world.store.sent if request.method == "GET"]
    assert len(reads) == len(parts)
    assert [request.method for request in world.store.sent] == ["GET", "PUT"] * 3
    await complete(world, upload_id, parts)
    assert (await world.do(get_object, key="new")).body == BIG[MIB : MIB + cut] + BIG + BIG[:1]
    if rule.algorithm == "AES256":
        assert result(parts[9])["ETag"] == f'"{hashlib.md5(BIG[:1]).hexdigest()}"'


async def test_a_range_reads_little_more_than_it_copies() -> None:
    world, upload_id = await begun(BIG)
    await copy_part(world, upload_id, 1, x_amz_copy_source_range="bytes=1000000-1099999")
    first, _, last = world.store.sent[0].headers["Range"].removeprefix("bytes=").partition("-")
    assert int(last) - int(first) < 100_000 + 2 * 65_536


async def test_the_parts_checksum_is_of_the_uploads_algorithm() -> None:
    world, upload_id = await begun(BIG, x_amz_checksum_algorithm="SHA256")
    answer = await copy_part(world, upload_id, 1, x_amz_copy_source_range="bytes=5-9")
    assert result(answer)["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(BIG[5:10]).digest()).decode()
    assert answer.headers["x-amz-server-side-encryption"] == "aws:kms"


async def test_a_multipart_source_across_its_parts() -> None:
    world, upload_id = await begun(BIG)
    await complete(world, upload_id, {1: await copy_part(world, upload_id, 1), 2: await copy_part(world, upload_id, 2)})
    answer = await world.do(create_multipart_upload, "uploads", key="new")
    assert isinstance(answer.body, bytes)
    second = str(xml_codec.parse(answer.body, "InitiateMultipartUploadResult")["UploadId"])
    extent = f"bytes={len(BIG) - 100}-{len(BIG) + 99}"
    world.store.sent.clear()
    part = await copy_part(world, second, 1, "b/new", x_amz_copy_source_range=extent)
    assert [request.method for request in world.store.sent] == ["GET", "PUT"]
    await complete(world, second, {1: part})
    assert (await world.do(get_object, key="new")).body == BIG[-100:] + BIG[:100]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("bytes=0-100", "InvalidArgument"),
        ("bytes=100-200", "InvalidRequest"),
        ("bytes=200-300", "InvalidRequest"),
        ("bytes=5-4", "InvalidArgument"),
        ("bytes=5-", "InvalidArgument"),
        ("bytes=-5", "InvalidArgument"),
        ("bytes=0-1,3-4", "InvalidArgument"),
        ("0-1", "InvalidArgument"),
        ("", "InvalidArgument"),
    ],
)
async def test_ranges_that_are_none(text: str, code: str) -> None:
    world, upload_id = await begun(BIG[:100])
    error = await refused(copy_part(world, upload_id, 1, x_amz_copy_source_range=text))
    assert (error.code, error.status) == (code, 400)
    assert await world.gateway.uploads.parts(upload_id) == []


async def test_conditions_on_the_source() -> None:
    world, upload_id = await begun(BIG[:100])
    etag = str((await world.do(head_object)).headers["ETag"])
    await copy_part(world, upload_id, 1, x_amz_copy_source_if_match=etag)
    for name, value in (("match", '"other-0"'), ("none_match", etag)):
        error = await refused(copy_part(world, upload_id, 1, **{f"x_amz_copy_source_if_{name}": value}))
        assert error.status == 412


async def test_sources_and_uploads_that_are_not_there() -> None:
    world, upload_id = await begun(BIG[:100])
    assert (await refused(copy_part(world, upload_id, 1, "b/none"))).code == "NoSuchKey"
    assert (await refused(copy_part(world, upload_id, 1, "b/k?versionId=abc"))).code == "NoSuchVersion"
    assert (await refused(copy_part(world, upload_id, 1, "b"))).code == "InvalidArgument"
    assert (await refused(copy_part(world, "none", 1))).code == "NoSuchUpload"
    assert (await refused(copy_part(world, upload_id, 10_001))).code == "InvalidArgument"


async def test_an_attempt_that_is_made_again_has_a_salt_of_its_own() -> None:
    world, upload_id = await begun(BIG[:100])
    first, second = await copy_part(world, upload_id, 1), await copy_part(world, upload_id, 1)
    salts = [part.salt for part in await world.gateway.uploads.parts(upload_id)]
    assert len(set(salts)) == 2
    assert result(first)["ETag"] != result(second)["ETag"]


async def test_a_customers_key_of_the_upload_and_of_the_source() -> None:
    def named(prefix: str, key: bytes) -> dict[str, str]:
        name = f"{prefix}server_side_encryption_customer_"
        md5 = base64.b64encode(hashlib.md5(key).digest()).decode()
        return {f"{name}algorithm": "AES256", f"{name}key": base64.b64encode(key).decode(), f"{name}key_MD5": md5}

    of_source, of_upload = b"s" * 32, b"u" * 32
    world = replace(await make_world(), secure=True)
    await world.do(put_object, body=BIG[:100], **named("x_amz_", of_source))
    answer = await world.do(create_multipart_upload, "uploads", key="new", **named("x_amz_", of_upload))
    assert isinstance(answer.body, bytes)
    upload_id = str(xml_codec.parse(answer.body, "InitiateMultipartUploadResult")["UploadId"])
    assert (await refused(copy_part(world, upload_id, 1))).code == "InvalidRequest"
    assert (await refused(copy_part(world, upload_id, 1, **named("x_amz_", of_upload)))).code == "InvalidRequest"
    both = named("x_amz_", of_upload) | named("x_amz_copy_source_", of_source)
    part = await copy_part(world, upload_id, 1, **both)
    await complete(world, upload_id, {1: part}, **named("x_amz_", of_upload))
    assert (await world.do(get_object, key="new", **named("x_amz_", of_upload))).body == BIG[:100]


async def test_a_copy_of_the_whole_and_then_of_parts_of_the_copy() -> None:
    world, upload_id = await begun(BIG[: 6 * MIB])
    await world.do(copy_object, key="copy", x_amz_copy_source="b/k")
    sent = await world.do(upload_part, f"partNumber=2&uploadId={upload_id}", key="new", body=b"the end")
    assert sent.status == 200
    part = await copy_part(world, upload_id, 1, "b/copy")
    rows = [{"PartNumber": 1, "ETag": result(part)["ETag"]}, {"PartNumber": 2, "ETag": sent.headers["ETag"]}]
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    await world.do(complete_multipart_upload, f"uploadId={upload_id}", key="new", body=document)
    assert (await world.do(get_object, key="new")).body == BIG[: 6 * MIB] + b"the end"
