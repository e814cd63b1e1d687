"""The store's list of parts: pages, and several attempts at a part."""

from typing import Any

import pytest

from proxy.aws import xml_codec
from proxy.aws.message import Response
from proxy.s3.gateway import Target
from proxy.s3.multipart.stored_parts import StoredParts
from proxy.s3.operations.list_parts import list_parts
from proxy.s3.upstream.port import UpstreamError
from tests.s3.fakes import FakeUpstream, make_gateway
from tests.s3.object_store import make_world
from tests.s3.operations.test_multipart import KMS, create, send


def page(*rows: tuple[int, str], truncated: bool = False) -> Response:
    parts = [{"PartNumber": number, "ETag": f'"{etag}"', "LastModified": f"at-{etag}"} for number, etag in rows]
    document = {"IsTruncated": truncated, "StorageClass": "COLD", "Part": parts}
    return Response(200, body=xml_codec.render("ListPartsResult", document))


async def listed(*answers: Response) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """What is listed, and the markers that the store was asked with."""
    store = FakeUpstream(answers=list(answers))
    parts = StoredParts(make_gateway(store), Target("b", "k"), "u")
    found = [(number, list(attempts)) async for number, attempts in parts.after(0, 3)]
    assert parts.storage_class == "COLD"
    return found, [request.parameter("part-number-marker") or "" for request in store.sent]


async def test_every_attempt_that_is_there_also_across_pages() -> None:
    found, markers = await listed(
        page((1, "a"), (2, "b"), (2, "c"), truncated=True),
        page((2, "b"), (2, "c"), (2, "d"), truncated=True),
        page((9, "e")),
    )
    assert found == [(1, ['"a"']), (2, ['"b"', '"c"', '"d"']), (9, ['"e"'])]
    assert markers == ["0", "1", "2"]


async def test_nothing() -> None:
    assert await listed(page()) == ([], ["0"])


async def test_a_list_that_does_not_go_on_or_cannot_be_read() -> None:
    with pytest.raises(UpstreamError, match="does not go on"):
        await listed(page(truncated=True))
    bad = {"Part": [{"PartNumber": "one", "ETag": "e"}]}
    with pytest.raises(UpstreamError, match="can't be read"):
        await listed(Response(200, body=xml_codec.render("ListPartsResult", bad)))


async def test_list_parts_shows_each_part_once_in_pages_of_its_own() -> None:
    world = await make_world(rule=KMS)
    upload_id = await create(world)
    etags = {number: await send(world, upload_id, number, bytes(number)) for number in (3, 1, 8, 5)}
    etags[3] = await send(world, upload_id, 3, b"again")

    async def shown(query: str) -> tuple[list[tuple[str, str, str]], str, str]:
        answer = await world.do(list_parts, f"uploadId={upload_id}{query}")
        assert isinstance(answer.body, bytes)
        found: dict[str, Any] = dict(xml_codec.parse(answer.body, "ListPartsResult", lists=["Part"]))
        rows = [(row["PartNumber"], row["Size"], row["ETag"]) for row in found.get("Part", [])]
        assert found["StorageClass"] == "STANDARD_IA"
        return rows, found["NextPartNumberMarker"], found["IsTruncated"]

    rows = [("1", "1", etags[1]), ("3", "5", etags[3]), ("5", "5", etags[5]), ("8", "8", etags[8])]
    assert await shown("") == (rows, "8", "false")
    assert await shown("&max-parts=2") == (rows[:2], "3", "true")
    assert await shown("&max-parts=2&part-number-marker=3") == (rows[2:], "8", "false")
    assert await shown("&part-number-marker=8") == ([], "8", "false")
    assert await shown("&max-parts=0&part-number-marker=3") == ([], "3", "false")
    assert await shown("&max-parts=5000") == (rows, "8", "false")
