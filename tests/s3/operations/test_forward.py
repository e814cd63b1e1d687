import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.gateway import Gateway, Target
from proxy.s3.operation import Level, Operation
from proxy.s3.operations.forward import FORWARDED, Forwarded, root_of
from proxy.s3.operations.unimplemented import UNIMPLEMENTED
from proxy.s3.state.ports import BucketRecord
from proxy.s3.upstream.profiles import PROFILES, StoreProfile
from tests.s3.fakes import ACCOUNT, FakeUpstream, make_call, make_gateway, store_error

RECORD = BucketRecord("bucket", ACCOUNT, "eu-west-1", datetime(2026, 11, 23, 6, tzinfo=UTC))
ROWS = {row.name: row for row in reversed(FORWARDED)}
TAGGING = xml_codec.render("Tagging", {"TagSet": {"Tag": {"Key": "a", "Value": "b"}}})


def _row(operation: Operation) -> Forwarded:
    owner = operation.run.__self__  # type: ignore[attr-defined]
    assert isinstance(owner, Forwarded)
    return owner


async def _run(gateway: Gateway, operation: Operation, query: str = "", **more: Any) -> Response:
    target = Target("bucket", "k") if operation.level is Level.OBJECT else Target("bucket")
    (name,) = operation.query - {"versionId", "id"}
    call = make_call(operation.method, target, f"{name}&{query}", record=RECORD, **more)
    return await operation.run(gateway, call)


def _gateway(upstream: FakeUpstream | None = None) -> Gateway:
    """Over a store that has everything."""
    return make_gateway(upstream, changes=PROFILES["aws"].changes)


def _document(operation: Operation) -> bytes:
    return xml_codec.render(_row(operation).root, {}) if operation.method in ("PUT", "POST") else b""


def _sent(gateway: Gateway) -> Any:
    assert isinstance(gateway.upstream, FakeUpstream)
    return gateway.upstream.sent


@pytest.mark.parametrize("operation", [row for row in FORWARDED if row.method == "PUT"], ids=lambda row: row.name)
async def test_a_put_goes_up_whole_and_alone(operation: Operation) -> None:
    gateway, row = _gateway(), _row(operation)
    body = xml_codec.render(row.root, {})
    headers = {"x-amz-meta-evil": "1", "x-amz-acl": "public-read"}
    answer = await _run(gateway, operation, "x-id=a&x-amz-meta-b=c", body=body, headers=headers)
    assert answer.status == row.status
    (request,) = _sent(gateway)
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    assert dict(request.headers) == {"Content-MD5": md5, "Content-Type": "application/xml"}
    assert (request.query, request.body) == (row.sub_resource, body)


@pytest.mark.parametrize("operation", [row for row in FORWARDED if row.method == "PUT"], ids=lambda row: row.name)
@pytest.mark.parametrize("body", [b"", b"<x/>", b"not xml", b"<!DOCTYPE a><Tagging/>"])
async def test_a_document_of_another_kind_never_goes_up(operation: Operation, body: bytes) -> None:
    gateway = _gateway()
    with pytest.raises(AwsError, match="MalformedXML"):
        await _run(gateway, operation, body=body)
    assert _sent(gateway) == []


@pytest.mark.parametrize("operation", [row for row in FORWARDED if row.method == "GET"], ids=lambda row: row.name)
async def test_a_get_that_the_store_takes_for_something_else_is_not_passed_on(operation: Operation) -> None:
    listing = xml_codec.render("ListBucketResult", {"Contents": {"Key": "k", "Size": 99}})
    for body in (listing, b"the object's ciphertext", b""):
        gateway = _gateway(FakeUpstream(answers=[Response(200, body=body)]))
        with pytest.raises(AwsError) as caught:
            await _run(gateway, operation)
        assert caught.value.status == 501


@pytest.mark.parametrize("operation", [row for row in FORWARDED if row.method == "GET"], ids=lambda row: row.name)
async def test_a_get_passes_the_document_on_without_the_stores_headers(operation: Operation) -> None:
    row = _row(operation)
    document = xml_codec.render(row.root, {})
    headers = CIMultiDict({"Server": "MinIO", "x-amz-id-2": "store-1", "x-amz-request-id": "THEIRS"})
    gateway = _gateway(FakeUpstream(answers=[Response(200, headers, document)]))
    answer = await _run(gateway, operation)
    assert (answer.status, dict(answer.headers), answer.body) == (200, {"Content-Type": "application/xml"}, document)


@pytest.mark.parametrize("operation", [row for row in FORWARDED if row.method == "DELETE"], ids=lambda row: row.name)
async def test_a_delete_names_its_sub_resource(operation: Operation) -> None:
    gateway = _gateway()
    assert (await _run(gateway, operation)).status == 204
    assert _sent(gateway)[0].query == _row(operation).sub_resource


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
async def test_what_a_store_does_not_have_is_not_sent_to_it(profile: StoreProfile) -> None:
    """It would take the change of a sub-resource that it does not know for one of the bucket or object itself."""
    known = {name for each in PROFILES.values() for name in each.changes}
    changing = [row for row in FORWARDED if row.method != "GET"]
    assert known == {row.name for row in changing}
    for row in changing:
        gateway = make_gateway(FakeUpstream(answers=[Response(200)]), changes=profile.changes)
        body = _document(row)
        if row.name in profile.changes:
            await _run(gateway, row, body=body)
            assert len(_sent(gateway)) == 1
        else:
            with pytest.raises(AwsError) as caught:
                await _run(gateway, row, body=body)
            assert caught.value.status == 501
            assert _sent(gateway) == []


@pytest.mark.parametrize(
    "code", ["NoSuchObjectLegalHold", "NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"]
)
async def test_a_lock_that_an_object_does_not_have_is_named_as_on_aws(code: str) -> None:
    gateway = make_gateway(FakeUpstream(answers=[store_error(400, code)]))
    with pytest.raises(AwsError) as caught:
        await _run(gateway, ROWS["GetObjectRetention"])
    assert (caught.value.code, caught.value.status) == ("NoSuchObjectLockConfiguration", 404)


async def test_one_of_several_configurations_is_named_by_its_id() -> None:
    gateway = make_gateway(changes=PROFILES["aws"].changes)
    body = xml_codec.render("InventoryConfiguration", {"Id": "i"})
    await _run(gateway, ROWS["PutBucketInventoryConfiguration"], "id=i%2F1", body=body)
    assert _sent(gateway)[0].query == "inventory&id=i%2F1"


async def test_a_restoration_is_accepted() -> None:
    gateway = make_gateway(FakeUpstream(answers=[Response(202)]), changes=frozenset({"RestoreObject"}))
    body = xml_codec.render("RestoreRequest", {"Days": 1})
    assert (await _run(gateway, ROWS["RestoreObject"], body=body)).status == 202


async def test_a_version_and_its_headers_pass_in_both_directions() -> None:
    gateway = make_gateway(FakeUpstream(answers=[Response(200, CIMultiDict({"x-amz-version-id": "v/1"}))]))
    answer = await _run(gateway, ROWS["PutObjectTagging"], "versionId=v%2F1", body=TAGGING)
    assert dict(answer.headers) == {"x-amz-version-id": "v/1"}
    assert _sent(gateway)[0].query == "tagging&versionId=v%2F1"
    assert _sent(gateway)[0].path == "/bucket/k"


async def test_a_header_of_the_operations_own_goes_up() -> None:
    gateway = make_gateway()
    body = xml_codec.render("Retention", {"Mode": "GOVERNANCE"})
    headers = {"X-Amz-Bypass-Governance-Retention": "true"}
    await _run(gateway, ROWS["PutObjectRetention"], body=body, headers=headers)
    assert _sent(gateway)[0].headers["x-amz-bypass-governance-retention"] == "true"


async def test_a_wrong_digest_stops_the_document_here() -> None:
    gateway = make_gateway()
    headers = {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    with pytest.raises(AwsError, match="BadDigest"):
        await _run(gateway, ROWS["PutBucketTagging"], body=TAGGING, headers=headers)
    assert _sent(gateway) == []


async def test_the_stores_refusal_is_the_answer() -> None:
    gateway = make_gateway(FakeUpstream(answers=[store_error(404, "NoSuchTagSet")]))
    with pytest.raises(AwsError, match="NoSuchTagSet"):
        await _run(gateway, ROWS["GetBucketTagging"])


def test_the_root_is_the_last_to_end() -> None:
    assert root_of(TAGGING) == "Tagging"
    assert root_of(b"") is None


@pytest.mark.parametrize("operation", UNIMPLEMENTED, ids=lambda row: row.name)
async def test_what_is_not_implemented_says_so_and_reaches_nothing(operation: Operation) -> None:
    gateway = make_gateway()
    target = Target("bucket", "k") if operation.level is Level.OBJECT else Target("bucket")
    call = make_call(operation.method, target, body=b"x", record=RECORD)
    with pytest.raises(AwsError) as caught:
        await operation.run(gateway, call)
    own = {"SelectObjectContent": ("MethodNotAllowed", 405), "PostObject": ("PreconditionFailed", 412)}
    expected = own.get(operation.name, ("NotImplemented", 501))
    assert (caught.value.code, caught.value.status) == expected
    assert _sent(gateway) == []
