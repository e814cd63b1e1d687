from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.s3.gateway import Gateway, Settings, Target
from proxy.s3.operations import buckets
from proxy.s3.state.ports import BucketRecord, EncryptionRule, ObjectRecord
from proxy.s3.upstream.port import UpstreamTimeout
from tests.s3.fakes import ACCOUNT, OTHER_ACCOUNT, FakeUpstream, StoredThing, make_call, make_gateway, store_error

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
RECORD = BucketRecord("bucket", ACCOUNT, "eu-west-1", NOW, EncryptionRule(blocks_customer_keys=True))
TARGET = Target("bucket")


def _configuration(region: str) -> bytes:
    return xml_codec.render("CreateBucketConfiguration", {"LocationConstraint": region})


async def _create(gateway: Gateway, name: str = "bucket", **call: Any) -> Response:
    return await buckets.create_bucket.run(gateway, make_call("PUT", Target(name), **call))


async def _refused(work: Awaitable[Response]) -> tuple[str, int]:
    with pytest.raises(AwsError) as caught:
        await work
    return caught.value.code, caught.value.status


def _upstream(gateway: Gateway) -> FakeUpstream:
    assert isinstance(gateway.upstream, FakeUpstream)
    return gateway.upstream


async def test_a_bucket_is_made_in_the_store_and_on_record() -> None:
    gateway = make_gateway()
    answer = await _create(gateway, body=_configuration("eu-west-1"), region="ap-northeast-1")
    assert (answer.status, dict(answer.headers)) == (200, {"Location": "/bucket"})
    assert await gateway.buckets.get("bucket") == RECORD
    assert _upstream(gateway).buckets == {"bucket": {}}
    assert _upstream(gateway).sent[-1].body == b""


@pytest.mark.parametrize(
    ("body", "region"), [(b"", "ap-northeast-1"), (b"<CreateBucketConfiguration/>", "ap-northeast-1")]
)
async def test_without_a_location_the_region_is_that_of_the_credential_scope(body: bytes, region: str) -> None:
    gateway = make_gateway()
    await _create(gateway, body=body, region="ap-northeast-1")
    record = await gateway.buckets.get("bucket")
    assert record is not None
    assert record.region == region


async def test_the_store_is_told_its_own_region() -> None:
    gateway = replace(make_gateway(), settings=Settings(upstream_region="us-west-2"))
    await _create(gateway, body=_configuration("eu-west-1"))
    assert b"<LocationConstraint>us-west-2</LocationConstraint>" in bytes(_upstream(gateway).sent[-1].body)  # type: ignore[arg-type]


async def test_the_lock_flag_goes_up_and_nothing_else_does() -> None:
    gateway = make_gateway()
    headers = {"x-amz-bucket-object-lock-enabled": "True", "x-amz-acl": "private", "x-amz-meta-a": "b"}
    await _create(gateway, headers=headers)
    assert dict(_upstream(gateway).sent[-1].headers) == {"x-amz-bucket-object-lock-enabled": "true"}


@pytest.mark.parametrize(
    "name",
    [
        "ab",
        "a" * 64,
        "Upper",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "ab.",
        "a..b",
        "192.168.5.4",
        "xn--ab",
        "sthree-ab",
        "amzn-s3-demo-a",
        "ab-s3alias",
        "ab--ol-s3",
        "ab.mrap",
        "ab--x-s3",
        "ab--table-s3",
        "x-111122223333-us-west-2-an",
        "bücket",
        "a\nb",
    ],
)
async def test_names_that_aws_refuses(name: str) -> None:
    gateway = make_gateway()
    assert await _refused(_create(gateway, name)) == ("InvalidBucketName", 400)
    assert _upstream(gateway).sent == []


@pytest.mark.parametrize("name", ["abc", "a" * 63, "a.b-c", "a-.b", "1.2.3", "192.168.5.4.5", "0a0"])
async def test_names_that_aws_takes(name: str) -> None:
    assert (await _create(make_gateway(), name)).status == 200


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ({"body": _configuration("us-east-1")}, "InvalidLocationConstraint"),
        ({"body": _configuration("nowhere!")}, "InvalidLocationConstraint"),
        ({"body": b"<Other/>"}, "MalformedXML"),
        ({"body": b"<CreateBucketConfiguration>"}, "MalformedXML"),
        ({"body": b"<CreateBucketConfiguration><Tags><Tag/></Tags></CreateBucketConfiguration>"}, "NotImplemented"),
        ({"headers": {"x-amz-acl": "public-read"}}, "InvalidBucketAclWithObjectOwnership"),
        ({"headers": {"X-Amz-Grant-Read": "id=x"}}, "InvalidBucketAclWithObjectOwnership"),
        ({"headers": {"x-amz-object-ownership": "ObjectWriter"}}, "NotImplemented"),
        ({"headers": {"x-amz-bucket-namespace": "account-regional"}}, "NotImplemented"),
        ({"headers": {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, "body": _configuration("eu-west-1")}, "BadDigest"),
    ],
)
async def test_what_create_refuses_leaves_nothing(call: dict[str, Any], code: str) -> None:
    gateway = make_gateway()
    assert (await _refused(_create(gateway, **call)))[0] == code
    assert _upstream(gateway).sent == []
    assert await gateway.buckets.get("bucket") is None


async def test_eu_is_ireland() -> None:
    gateway = make_gateway()
    await _create(gateway, body=_configuration("EU"))
    record = await gateway.buckets.get("bucket")
    assert record is not None
    assert record.region == "eu-west-1"


async def test_a_bucket_that_is_there_already() -> None:
    gateway = make_gateway()
    await _create(gateway, body=_configuration("eu-west-1"))
    again = _create(gateway, body=_configuration("eu-west-1"))
    assert await _refused(again) == ("BucketAlreadyOwnedByYou", 409)
    assert await _refused(_create(gateway, account=OTHER_ACCOUNT)) == ("BucketAlreadyExists", 409)
    assert await gateway.buckets.get("bucket") == RECORD


async def test_in_us_east_1_the_owner_is_answered_200() -> None:
    gateway = make_gateway()
    for _ in range(2):
        assert (await _create(gateway)).status == 200
    assert await _refused(_create(gateway, account=OTHER_ACCOUNT)) == ("BucketAlreadyExists", 409)


async def test_a_bucket_that_nobody_adopted_gets_no_owner() -> None:
    gateway = make_gateway(FakeUpstream({"bucket": {"secret": StoredThing(5, '"e"')}}))
    assert await _refused(_create(gateway)) == ("ServiceUnavailable", 503)
    assert await gateway.buckets.get("bucket") is None
    assert [request.method for request in _upstream(gateway).sent] == ["HEAD"]


async def test_a_name_of_another_account_of_the_store() -> None:
    gateway = make_gateway(FakeUpstream(answers=[Response(403)]))
    assert await _refused(_create(gateway)) == ("BucketAlreadyExists", 409)
    assert await gateway.buckets.get("bucket") is None


async def test_a_record_without_a_bucket_is_put_right_by_its_owner_alone() -> None:
    gateway = make_gateway()
    await gateway.buckets.put(RECORD)
    assert await _refused(_create(gateway, account=OTHER_ACCOUNT)) == ("BucketAlreadyExists", 409)
    assert _upstream(gateway).buckets == {}
    assert (await _create(gateway, body=_configuration("eu-west-1"))).status == 200
    assert _upstream(gateway).buckets == {"bucket": {}}
    assert await gateway.buckets.get("bucket") == RECORD


async def test_when_the_store_refuses_the_record_goes() -> None:
    gateway = make_gateway(FakeUpstream(answers=[Response(404), store_error(400, "TooManyBuckets")]))
    assert await _refused(_create(gateway)) == ("TooManyBuckets", 400)
    assert await gateway.buckets.get("bucket") is None


async def test_when_the_outcome_is_unknown_the_record_stays() -> None:
    gateway = make_gateway(FakeUpstream(answers=[Response(404), store_error(500, "InternalError")]))
    assert await _refused(_create(gateway)) == ("InternalError", 500)
    assert await gateway.buckets.get("bucket") is not None

    class Silent(FakeUpstream):
        async def send(self, request: Request) -> Response:
            if request.method == "PUT":
                raise UpstreamTimeout("no answer")
            return await super().send(request)

    gateway = make_gateway(Silent())
    with pytest.raises(UpstreamTimeout):
        await _create(gateway)
    assert await gateway.buckets.get("bucket") is not None


async def test_head_and_location() -> None:
    gateway = make_gateway(FakeUpstream({"bucket": {}}))
    answer = await buckets.head_bucket.run(gateway, make_call("HEAD", TARGET, record=RECORD))
    assert (answer.status, answer.headers["x-amz-bucket-region"], answer.body) == (200, "eu-west-1", b"")
    for region, shown in (("eu-west-1", b">eu-west-1</LocationConstraint>"), ("us-east-1", b"></LocationConstraint>")):
        record = replace(RECORD, region=region)
        answer = await buckets.get_bucket_location.run(gateway, make_call("GET", TARGET, "location", record=record))
        assert shown in bytes(answer.body)  # type: ignore[arg-type]


@pytest.mark.parametrize("operation", [buckets.head_bucket, buckets.get_bucket_location])
async def test_a_bucket_gone_from_the_store_is_gone(operation: Any) -> None:
    call = make_call(operation.method, TARGET, record=RECORD)
    assert await _refused(operation.run(make_gateway(), call)) == ("NoSuchBucket", 404)


async def _filled() -> Gateway:
    gateway = make_gateway(FakeUpstream({"bucket": {}}))
    await gateway.buckets.put(RECORD)
    await gateway.objects.put(ObjectRecord("bucket", "k", b"i" * 16, '"e"', 5, None, b"", NOW))
    return gateway


async def _delete(gateway: Gateway) -> Response:
    return await buckets.delete_bucket.run(gateway, make_call("DELETE", TARGET, record=RECORD))


async def test_delete_takes_the_records_along() -> None:
    gateway = await _filled()
    assert (await _delete(gateway)).status == 204
    assert await gateway.buckets.get("bucket") is None
    assert await gateway.objects.find("bucket", ["k"]) == {}
    assert _upstream(gateway).buckets == {}


async def test_a_filled_bucket_and_its_records_stay() -> None:
    gateway = await _filled()
    _upstream(gateway).buckets["bucket"]["k"] = StoredThing(5, '"e"')
    assert await _refused(_delete(gateway)) == ("BucketNotEmpty", 409)
    assert await gateway.buckets.get("bucket") == RECORD
    assert await gateway.objects.find("bucket", ["k"]) != {}


_VERSION = xml_codec.render("ListVersionsResult", {"Version": {"Key": "k"}})
_MARKER = xml_codec.render("ListVersionsResult", {"DeleteMarker": {"Key": "k"}})
_EMPTY = xml_codec.render("ListBucketResult", {"IsTruncated": False})


@pytest.mark.parametrize("versions", [_VERSION, _MARKER])
async def test_versions_and_markers_fill_a_bucket_too(versions: bytes) -> None:
    answers = [Response(200, body=_EMPTY), Response(200, body=versions)]
    gateway = make_gateway(FakeUpstream({"bucket": {}}, answers=answers), deletes_filled_buckets=True)
    assert await _refused(_delete(gateway)) == ("BucketNotEmpty", 409)
    assert "DELETE" not in [request.method for request in _upstream(gateway).sent]


async def test_a_store_that_deletes_filled_buckets_is_not_asked_to() -> None:
    upstream = FakeUpstream({"bucket": {"k": StoredThing(5, '"e"')}})
    gateway = make_gateway(upstream, deletes_filled_buckets=True)
    assert await _refused(_delete(gateway)) == ("BucketNotEmpty", 409)
    assert [request.method for request in upstream.sent] == ["GET"]
    upstream.buckets["bucket"].clear()
    assert (await _delete(gateway)).status == 204


@pytest.mark.parametrize("deletes_filled", [False, True])
async def test_a_deletion_that_was_cut_off_is_finished(deletes_filled: bool) -> None:
    gateway = make_gateway(deletes_filled_buckets=deletes_filled)
    await gateway.buckets.put(RECORD)
    assert (await _delete(gateway)).status == 204
    assert await gateway.buckets.get("bucket") is None


async def test_when_the_store_fails_the_record_stays() -> None:
    gateway = make_gateway(FakeUpstream(answers=[store_error(503, "SlowDown")]))
    await gateway.buckets.put(RECORD)
    assert await _refused(_delete(gateway)) == ("SlowDown", 503)
    assert await gateway.buckets.get("bucket") == RECORD


@pytest.fixture
def listing() -> Callable[[str], Awaitable[dict[str, Any]]]:
    gateway = make_gateway()

    async def get(query: str) -> dict[str, Any]:
        for name, account, region in (
            ("a1", ACCOUNT, "eu-west-1"),
            ("a2", ACCOUNT, "us-east-1"),
            ("b1", ACCOUNT, "eu-west-1"),
            ("theirs", OTHER_ACCOUNT, "eu-west-1"),
        ):
            await gateway.buckets.put(replace(RECORD, name=name, account=account, region=region))
        answer = await buckets.list_buckets.run(gateway, make_call("GET", Target(), query))
        assert isinstance(answer.body, bytes)
        return dict(xml_codec.parse(answer.body, "ListAllMyBucketsResult", lists=("Bucket",)))

    return get


def _names(content: dict[str, Any]) -> list[str]:
    return [bucket["Name"] for bucket in (content["Buckets"] or {}).get("Bucket", [])]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["a1", "a2", "b1"]),
        ("prefix=a", ["a1", "a2"]),
        ("bucket-region=eu-west-1", ["a1", "b1"]),
        ("max-buckets=1", ["a1"]),
        ("prefix=zz", []),
    ],
)
async def test_an_account_lists_its_own(listing: Any, query: str, names: list[str]) -> None:
    assert _names(await listing(query)) == names


async def test_a_listing_is_continued(listing: Any) -> None:
    first = await listing("max-buckets=2")
    rest = await listing(f"max-buckets=2&continuation-token={first['ContinuationToken'].replace('=', '%3D')}")
    assert _names(first) + _names(rest) == ["a1", "a2", "b1"]
    assert "ContinuationToken" not in rest


async def test_each_bucket_has_its_moment_and_region_and_the_owner_no_account_number(listing: Any) -> None:
    content = await listing("max-buckets=1")
    shown = {"Name": "a1", "CreationDate": "2026-11-23T06:00:00.000Z", "BucketRegion": "eu-west-1"}
    assert content["Buckets"]["Bucket"] == [shown]
    assert len(content["Owner"]["ID"]) == 64
    assert ACCOUNT not in content["Owner"]["ID"]


@pytest.mark.parametrize(
    "query", ["max-buckets=0", "max-buckets=10001", "max-buckets=x", "max-buckets=-1", "continuation-token=!"]
)
async def test_bad_parameters_of_a_listing(listing: Any, query: str) -> None:
    with pytest.raises(AwsError, match="InvalidArgument"):
        await listing(query)


async def test_a_new_bucket_blocks_sse_c_unless_it_is_told_not_to() -> None:
    for blocks in (True, False):
        gateway = make_gateway()
        await _create(replace(gateway, settings=replace(gateway.settings, block_customer_keys=blocks)))
        record = await gateway.buckets.get("bucket")
        assert record is not None
        assert record.encryption == EncryptionRule(blocks_customer_keys=blocks)
