"""GetObjectAttributes over a store in memory."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.operations.get_object_attributes import get_object_attributes, get_object_version_attributes
from proxy.s3.operations.put_object import put_object
from tests.s3.fakes import caller
from tests.s3.object_store import StoredObject, World, make_world
from tests.s3.operations.test_customer_keys import MINE, OTHER, secure_world
from tests.s3.operations.test_multipart import KMS, PARTS, WHOLE, uploaded
from tests.s3.operations.test_part_numbers import with_checksums

ALL = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"


async def attributes(world: World, names: str = ALL, **headers: str) -> Mapping[str, Any]:
    answer = await world.do(get_object_attributes, "attributes", x_amz_object_attributes=names, **headers)
    assert isinstance(answer.body, bytes)
    assert answer.headers["Last-Modified"] == "Mon, 23 Nov 2026 06:00:00 GMT"
    return xml_codec.parse(answer.body, "GetObjectAttributesResponse", lists=["Part"])


@pytest.mark.parametrize("size", [0, 5, 2 * 1024 * 1024])
async def test_a_single_object(size: int) -> None:
    world = await make_world(rule=KMS)
    put = await world.do(put_object, body=bytes(size))
    assert await attributes(world) == {
        "ETag": put.headers["ETag"].strip('"'),
        "Checksum": {
            "ChecksumCRC64NVME": put.headers["x-amz-checksum-crc64nvme"],
            "ChecksumType": "FULL_OBJECT",
        },
        "StorageClass": "STANDARD",
        "ObjectSize": str(size),
    }
    assert await attributes(world, "ObjectSize") == {"ObjectSize": str(size)}
    assert list(await attributes(world, "StorageClass, ETag")) == ["ETag", "StorageClass"]


async def test_parts_without_checksums_of_their_own_are_only_counted() -> None:
    world = await uploaded()
    found = await attributes(world)
    assert found["ObjectParts"] == {"PartsCount": "3"}
    assert found["ObjectSize"] == str(len(WHOLE))
    assert found["Checksum"]["ChecksumType"] == "FULL_OBJECT"


async def test_parts_of_a_composite_checksum_in_pages() -> None:
    world, values = await with_checksums("COMPOSITE")
    parts = [
        {"PartNumber": str(position), "Size": str(len(body)), "ChecksumCRC32": value}
        for position, (body, value) in enumerate(zip(PARTS.values(), values, strict=True), 1)
    ]

    def expected(marker: int, following: int, limit: int, *, truncated: bool) -> dict[str, Any]:
        page = parts[marker : marker + limit]
        return {
            "PartsCount": "3",
            "PartNumberMarker": str(marker),
            "NextPartNumberMarker": str(following),
            "MaxParts": str(limit),
            "IsTruncated": str(truncated).lower(),
            **({"Part": page} if page else {}),
        }

    found = await attributes(world)
    assert found["ObjectParts"] == expected(0, 3, 1000, truncated=False)
    assert "-" not in found["Checksum"]["ChecksumCRC32"]
    assert found["Checksum"]["ChecksumType"] == "COMPOSITE"
    cases = [
        ("0", "2", expected(0, 2, 2, truncated=True)),
        ("2", "2", expected(2, 3, 2, truncated=False)),
        ("3", "2", expected(3, 0, 2, truncated=False)),
        ("0", "0", expected(0, 0, 0, truncated=False)),
        ("0", "5000", expected(0, 3, 1000, truncated=False)),
    ]
    for marker, limit, page in cases:
        found = await attributes(world, x_amz_part_number_marker=marker, x_amz_max_parts=limit)
        assert found["ObjectParts"] == page, (marker, limit)


@pytest.mark.parametrize(
    ("names", "code", "message"),
    [
        ("", "InvalidRequest", "The x-amz-object-attributes header specifying the attributes to be retrieved is"),
        (" , ", "InvalidRequest", "either missing or empty"),
        ("etag", "InvalidArgument", "Invalid attribute name specified."),
        ("ETag,Colour", "InvalidArgument", "Invalid attribute name specified."),
    ],
)
async def test_names(names: str, code: str, message: str) -> None:
    world = await uploaded()
    with pytest.raises(AwsError, match=message) as error:
        await attributes(world, names)
    assert (error.value.status, error.value.code) == (400, code)


async def test_a_header_for_each_name() -> None:
    world = await uploaded()
    call = world.call(get_object_attributes, "attributes")
    headers = CIMultiDict([("x-amz-object-attributes", "ETag"), ("X-Amz-Object-Attributes", "ObjectSize")])
    answer = await get_object_attributes.run(
        world.gateway, replace(call, request=replace(call.request, headers=headers))
    )
    assert isinstance(answer.body, bytes)
    assert set(xml_codec.parse(answer.body, "GetObjectAttributesResponse")) == {"ETag", "ObjectSize"}


@pytest.mark.parametrize(
    ("header", "value", "message"),
    [
        ("x_amz_max_parts", "-1", "Argument x-amz-max-parts must be an integer between 0 and 2147483647"),
        ("x_amz_max_parts", "two", "Provided x-amz-max-parts not an integer or within integer range"),
        ("x_amz_part_number_marker", "x", "Provided x-amz-part-number-marker not an integer or within integer range"),
    ],
)
async def test_pages_that_are_no_numbers(header: str, value: str, message: str) -> None:
    world = await uploaded()
    with pytest.raises(AwsError, match=message):
        await attributes(world, **{header: value})


async def test_both_permissions_are_needed() -> None:
    """The endpoint asks for that of reading the object."""
    assert get_object_attributes.action == "s3:GetObject"
    assert get_object_version_attributes.action == "s3:GetObjectVersion"
    world = await uploaded()
    for operation, query, action in (
        (get_object_attributes, "attributes", "s3:GetObjectAttributes"),
        (get_object_version_attributes, "attributes&versionId=v", "s3:GetObjectVersionAttributes"),
    ):
        statement = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion", "kms:*"], "Resource": "*"}
        who = caller(policies=({"Version": "2012-10-17", "Statement": [statement]},))
        with pytest.raises(AwsError, match=action):
            await operation.run(world.gateway, replace(world.call(operation, query), caller=who))


async def test_plaintext_objects() -> None:
    world = await make_world(mixed=True)
    world.store.objects["/b/k"] = StoredObject(b"plaintext", {}, '"0123"')
    assert await attributes(world) == {"ETag": "0123", "StorageClass": "STANDARD", "ObjectSize": "9"}
    world.store.objects["/b/k"] = StoredObject(b"plaintext", {}, '"0123-2"')
    assert (await attributes(world))["ObjectParts"] == {"PartsCount": "2"}


async def test_what_is_not_there() -> None:
    world = await make_world()
    headers = {"x_amz_object_attributes": "ETag"}
    with pytest.raises(AwsError, match="NoSuchKey"):
        await world.do(get_object_attributes, "attributes", **headers)
    with pytest.raises(AwsError, match="NoSuchVersion"):
        await world.do(get_object_version_attributes, "attributes&versionId=v", **headers)


async def test_a_delete_marker() -> None:
    world = await make_world()
    marker = {"x-amz-delete-marker": "true", "x-amz-version-id": "m"}

    async def send(_: object) -> Response:
        return Response(405, CIMultiDict({**marker, "Allow": "DELETE"}))

    world.store.send = send  # type: ignore[assignment, method-assign]
    with pytest.raises(AwsError, match="MethodNotAllowed") as error:
        await world.do(get_object_version_attributes, "attributes&versionId=m", x_amz_object_attributes="ETag")
    assert dict(error.value.headers) == {**marker, "Allow": "DELETE"}


async def test_an_object_under_a_customers_key() -> None:
    world = await secure_world()
    await world.do(put_object, body=b"body", **MINE)
    headers = {"x_amz_object_attributes": "ObjectSize", **MINE}
    answer = await world.do(get_object_attributes, "attributes", **headers)
    assert isinstance(answer.body, bytes)
    assert xml_codec.parse(answer.body, "GetObjectAttributesResponse") == {"ObjectSize": "4"}
    with pytest.raises(AwsError, match="The object was stored using a form of Server Side Encryption"):
        await world.do(get_object_attributes, "attributes", x_amz_object_attributes="ObjectSize")
    with pytest.raises(AwsError, match="AccessDenied"):
        await world.do(get_object_attributes, "attributes", **{**headers, **OTHER})
