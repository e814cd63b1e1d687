from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote
from xml.etree import ElementTree

import pytest

from proxy.aws.errors import AwsError
from proxy.envelope.ranges import stored_size
from proxy.s3.access.accounts import canonical_id
from proxy.s3.gateway import Gateway, Target
from proxy.s3.operations.list_object_versions import list_object_versions_operation
from proxy.s3.state.ports import BucketRecord, ObjectRecord
from tests.s3.fakes import ACCOUNT, make_call, make_gateway
from tests.s3.version_stores import Kept, VersionStore

RECORD = BucketRecord("bucket", ACCOUNT, "eu-west-1", datetime(2026, 11, 23, 6, tzinfo=UTC))
PREFIX = "{http://s3.amazonaws.com/doc/2006-03-01/}"
ETAG = f'"{"a" * 32}"'


async def _nobody(gateway: Gateway, bucket: BucketRecord, key: str, version_id: str) -> ObjectRecord | None:
    raise AssertionError(key)


async def answered(
    gateway: Gateway, record: BucketRecord = RECORD, resolve: object = _nobody, **parameters: str
) -> bytes:
    query = "&".join(
        ["versions", *(f"{name.replace('_', '-')}={quote(value, safe='')}" for name, value in parameters.items())]
    )
    operation = list_object_versions_operation(resolve)  # type: ignore[arg-type]
    answer = await operation.run(gateway, make_call("GET", Target("bucket"), query, record=record))
    assert (answer.status, answer.headers["x-amz-bucket-region"]) == (200, "eu-west-1")
    assert isinstance(answer.body, bytes)
    return answer.body


def gateway_over(versions: dict[str, list[Kept]]) -> Gateway:
    return make_gateway(VersionStore(versions))  # type: ignore[arg-type] - it is an Upstream, all the same


async def test_versions_have_the_sizes_and_etags_of_the_plaintext_and_markers_have_none() -> None:
    kept = [Kept("3", marker=True), Kept("2", stored_size(5), ETAG), Kept("null", stored_size(0), f'"{"b" * 32}"')]
    root = ElementTree.fromstring(await answered(gateway_over({"k": kept})))
    rows = [child for child in root if child.tag in (f"{PREFIX}Version", f"{PREFIX}DeleteMarker")]
    shown = [{child.tag.removeprefix(PREFIX): child.text for child in row if not len(child)} for row in rows]
    common = {"Key": "k", "LastModified": "2026-11-23T06:59:00.000Z", "IsLatest": "true", "VersionId": "3"}
    assert common in shown
    shown.remove(common)
    assert [(row["VersionId"], row["Size"], row["ETag"]) for row in shown] == [
        ("2", "5", f'"{"a" * 32}-0"'),
        ("null", "0", f'"{"b" * 32}-0"'),
    ]
    assert {row["IsLatest"] for row in shown} == {"false"}
    assert {element.text for element in root.iter(f"{PREFIX}ID")} == {canonical_id(ACCOUNT)}


async def test_each_version_is_explained_by_its_own_record_with_one_look_up() -> None:
    gateway = gateway_over({"k": [Kept("2", 900, '"x-2"'), Kept("1", 70, ETAG)]})
    now = gateway.clock()
    for object_id, etag, size, shown in ((b"1" * 16, ETAG, 3, '"md5"'), (b"2" * 16, '"x-2"', 500, '"x-2"')):
        await gateway.objects.put(ObjectRecord("bucket", "k", object_id, etag, size, shown, b"", now, "v"))
    root = ElementTree.fromstring(await answered(gateway))
    assert [element.text for element in root.iter(f"{PREFIX}Size")] == ["500", "3"]
    assert [element.text for element in root.iter(f"{PREFIX}ETag")] == ['"x-2"', '"md5"']


async def test_what_no_record_explains_is_asked_for_by_its_version() -> None:
    asked: list[tuple[str, str]] = []

    async def resolve(gateway: Gateway, bucket: BucketRecord, key: str, version_id: str) -> ObjectRecord | None:
        asked.append((key, version_id))
        return None

    gateway = gateway_over({"k": [Kept("2", 900, '"x-2"'), Kept("1", stored_size(4), ETAG)]})
    body = await answered(gateway, resolve=resolve)
    assert asked == [("k", "2")]
    assert b"<Size>900</Size>" in body
    mixed = replace(RECORD, mixed=True)
    await answered(gateway, mixed, resolve)
    assert asked[1:] == [("k", "2"), ("k", "1")]


async def test_the_head_of_a_page() -> None:
    gateway = gateway_over({"a b": [Kept("2"), Kept("1")], "c/d": [Kept("1")]})
    root = ElementTree.fromstring(await answered(gateway, max_keys="1", encoding_type="url", prefix="a "))
    head = {child.tag.removeprefix(PREFIX): child.text for child in root if not len(child)}
    assert head == {
        "Name": "bucket",
        "Prefix": "a+",
        "KeyMarker": None,
        "VersionIdMarker": None,
        "NextKeyMarker": "a+b",
        "NextVersionIdMarker": "2",
        "MaxKeys": "1",
        "EncodingType": "url",
        "IsTruncated": "true",
    }


async def test_a_page_that_ends_with_a_common_prefix_goes_on_past_it() -> None:
    gateway = gateway_over({"c/d": [Kept("1")], "c/e": [Kept("1")], "f": [Kept("1")]})
    first = ElementTree.fromstring(await answered(gateway, max_keys="1", delimiter="/"))
    assert first.findtext(f"{PREFIX}NextKeyMarker") == "c/"
    assert first.find(f"{PREFIX}NextVersionIdMarker") is None
    second = ElementTree.fromstring(await answered(gateway, max_keys="1", delimiter="/", key_marker="c/"))
    assert [element.text for element in second.iter(f"{PREFIX}Key")] == ["f"]
    assert second.findtext(f"{PREFIX}IsTruncated") == "false"


async def test_nothing_is_asked_for_no_keys() -> None:
    gateway = gateway_over({"k": [Kept("1")]})
    assert b"<IsTruncated>false</IsTruncated>" in await answered(gateway, max_keys="0")
    assert gateway.upstream.sent == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "parameters", [{"version_id_marker": "1"}, {"max_keys": "x"}, {"encoding_type": "base64"}, {"max_keys": "-1"}]
)
async def test_parameters_that_are_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(AwsError) as refused:
        await answered(gateway_over({}), **parameters)
    assert (refused.value.code, refused.value.status) == ("InvalidArgument", 400)
