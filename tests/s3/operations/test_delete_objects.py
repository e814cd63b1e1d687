import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.gateway import Gateway, Target
from proxy.s3.objects.etag import NEVER
from proxy.s3.operations.delete_objects import DELETE_OBJECT, delete_objects, parse_deletions
from proxy.s3.state.ports import BucketRecord, ObjectRecord
from proxy.s3.upstream.port import UpstreamError
from tests.s3.fakes import ACCOUNT, FakeUpstream, StoredThing, make_call, make_gateway, store_error

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
RECORD = BucketRecord("bucket", ACCOUNT, "eu-west-1", NOW)
STORED, MD5 = f'"{"a" * 32}"', f'"{"c" * 32}"'
OBJECT = ObjectRecord("bucket", "k", b"i" * 16, STORED, 5, MD5, b"", NOW - timedelta(hours=1))


async def _gateway(upstream: FakeUpstream | None = None, **profile: Any) -> Gateway:
    filled = upstream or FakeUpstream({"bucket": {"k": StoredThing(5, STORED), "l": StoredThing(5, STORED)}})
    gateway = make_gateway(filled, **profile)
    for key in ("k", "l"):
        await gateway.objects.put(replace(OBJECT, key=key))
    # Announced before the deletion, not there yet: another request's object, which may come to be after it.
    await gateway.objects.put(replace(OBJECT, object_id=b"j" * 16, upstream_etag=None, etag=None))
    return gateway


def _sent(gateway: Gateway) -> Any:
    assert isinstance(gateway.upstream, FakeUpstream)
    return gateway.upstream.sent


async def _known(gateway: Gateway) -> dict[str, int]:
    found = await gateway.objects.find("bucket", ["k", "l"])
    return {key: len(records) for key, records in found.items()}


async def _delete(gateway: Gateway, query: str = "", **headers: str) -> Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    call = make_call("DELETE", Target("bucket", "k"), query, headers=names, record=RECORD)
    return await DELETE_OBJECT.run(gateway, call)


async def _delete_many(
    gateway: Gateway, content: dict[str, Any], headers: dict[str, str] | None = None
) -> dict[str, Any]:
    body = xml_codec.render("Delete", content)
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    sent = {"Content-MD5": md5} if headers is None else headers
    call = make_call("POST", Target("bucket"), "delete", headers=sent, body=body, record=RECORD)
    answer = await delete_objects.run(gateway, call)
    assert isinstance(answer.body, bytes)
    return dict(xml_codec.parse(answer.body, "DeleteResult", lists=("Deleted", "Error")))


async def test_an_object_and_its_records_go() -> None:
    gateway = await _gateway()
    answer = await _delete(gateway, "x-id=DeleteObject&foo=bar", x_amz_meta_a="b", x_amz_mfa="serial 1")
    assert (answer.status, dict(answer.headers)) == (204, {})
    assert (_sent(gateway)[0].query, dict(_sent(gateway)[0].headers)) == ("", {"x-amz-mfa": "serial 1"})
    assert await _known(gateway) == {"k": 1, "l": 1}


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("versionId=v1", {}),
        ("versionId=v1", {"x-amz-version-id": "v1"}),
        ("", {"x-amz-version-id": "v2", "x-amz-delete-marker": "true"}),
    ],
)
async def test_where_versions_stay_their_records_do(query: str, headers: dict[str, str]) -> None:
    answers = [Response(204, CIMultiDict({**headers, "Server": "MinIO"}))]
    gateway = await _gateway(FakeUpstream(answers=answers))
    answer = await _delete(gateway, query)
    assert dict(answer.headers) == headers
    assert _sent(gateway)[0].query == query
    assert await _known(gateway) == {"k": 2, "l": 1}


@pytest.mark.parametrize("query", ["", "versionId=v1", "versionId=null"])
async def test_the_record_of_what_was_deleted_goes_and_no_other(query: str) -> None:
    gateway = make_gateway(FakeUpstream(answers=[Response(204)]))
    for object_id, version_id in ((b"n", None), (b"1", "v1"), (b"2", "v2")):
        record = replace(OBJECT, object_id=object_id, etag=f'"{object_id.hex()}"', version_id=version_id)
        await gateway.objects.put(record)
    await _delete(gateway, query)
    left = (await gateway.objects.find("bucket", ["k"]))["k"]
    assert {row.version_id for row in left} == ({None, "v2"} if query == "versionId=v1" else {"v1", "v2"})


NO_VERSIONS = Response(200, body=b"<VersioningConfiguration/>")
VERSIONS = Response(200, body=b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>")


async def test_a_version_that_cannot_be_there_is_not_named_to_a_store_that_would_delete_the_object() -> None:
    gateway = await _gateway(FakeUpstream(answers=[NO_VERSIONS]), takes_any_version_id=True)
    answer = await _delete(gateway, "versionId=v1")
    assert (answer.status, answer.headers["x-amz-version-id"]) == (204, "v1")
    assert [(request.method, request.path, request.query) for request in _sent(gateway)] == [
        ("GET", "/bucket", "versioning")
    ]
    assert await _known(gateway) == {"k": 2, "l": 1}
    rows = [{"Key": "k", "VersionId": "v1"}, {"Key": "l"}, {"Key": "k", "VersionId": "v2"}]
    done = Response(200, body=xml_codec.render("DeleteResult", {"Deleted": rows[1]}))
    gateway = await _gateway(FakeUpstream(answers=[NO_VERSIONS, done]), takes_any_version_id=True)
    result = await _delete_many(gateway, {"Object": rows})
    assert result["Deleted"] == [rows[0], rows[2], rows[1]]
    assert b"VersionId" not in _sent(gateway)[1].body


@pytest.mark.parametrize(("query", "asked"), [("versionId=v1", True), ("versionId=null", False), ("", False)])
async def test_a_version_that_may_be_there_is_deleted(query: str, asked: bool) -> None:
    answers = [VERSIONS, Response(204)] if asked else [Response(204)]
    gateway = await _gateway(FakeUpstream(answers=answers), takes_any_version_id=True)
    await _delete(gateway, query)
    assert [request.method for request in _sent(gateway)] == ["GET", "DELETE"] if asked else ["DELETE"]
    assert _sent(gateway)[-1].query == query


async def test_a_record_that_nobody_completes_does_not_stay_for_ever() -> None:
    gateway = make_gateway(FakeUpstream(answers=[Response(204)]))
    await gateway.objects.put(replace(OBJECT, upstream_etag=None, written=gateway.clock() - timedelta(days=8)))
    await _delete(gateway)
    assert await gateway.objects.find("bucket", ["k"]) == {}


async def test_an_empty_version_id_is_not_none() -> None:
    gateway = await _gateway()
    with pytest.raises(AwsError, match="InvalidArgument"):
        await _delete(gateway, "versionId=")
    assert _sent(gateway) == []


async def test_what_the_store_refuses_to_delete_stays_on_record() -> None:
    gateway = await _gateway(FakeUpstream(answers=[store_error(403, "AccessDenied")]))
    with pytest.raises(AwsError, match="AccessDenied"):
        await _delete(gateway)
    assert await _known(gateway) == {"k": 2, "l": 1}


@pytest.mark.parametrize(
    "headers",
    [{"If_Match": MD5}, {"If_Match": "*"}, {"x_amz_if_match_size": "5"}, {"x_amz_if_match_last_modified_time": "x"}],
)
async def test_a_condition_that_the_store_would_ignore_is_refused(headers: dict[str, str]) -> None:
    gateway = await _gateway()
    with pytest.raises(AwsError) as caught:
        await _delete(gateway, **headers)
    assert caught.value.status == 501
    assert _sent(gateway) == []


@pytest.mark.parametrize(("value", "goes_up"), [(MD5, STORED), (STORED, NEVER), ("*", "*"), ('"x-3"', '"x-3"')])
async def test_a_condition_goes_up_in_the_stores_words(value: str, goes_up: str) -> None:
    gateway = await _gateway(conditional_deletes=True)
    await _delete(gateway, If_Match=value)
    assert _sent(gateway)[0].headers["If-Match"] == goes_up


async def test_a_condition_that_is_none_is_refused() -> None:
    gateway = await _gateway(conditional_deletes=True)
    with pytest.raises(AwsError, match="InvalidArgument"):
        await _delete(gateway, If_Match='"unclosed')
    assert _sent(gateway) == []


async def test_many_objects_go_each_with_its_own_outcome() -> None:
    gateway = await _gateway()
    result = await _delete_many(gateway, {"Object": [{"Key": "k"}, {"Key": "l"}, {"Key": " never & "}]})
    assert [item["Key"] for item in result["Deleted"]] == ["k", "l", " never & "]
    assert "Error" not in result
    assert await _known(gateway) == {"k": 1}
    assert _sent(gateway)[0].query == "delete"


async def test_quiet_is_for_the_client_alone() -> None:
    gateway = await _gateway()
    assert await _delete_many(gateway, {"Object": [{"Key": "k"}, {"Key": "l"}], "Quiet": True}) == {}
    assert b"<Quiet>false</Quiet>" in _sent(gateway)[0].body
    assert await _known(gateway) == {"k": 1}


async def test_errors_are_reported_and_what_failed_or_has_versions_stays_on_record() -> None:
    content = {
        "Deleted": [{"Key": "k", "DeleteMarker": True, "DeleteMarkerVersionId": "m"}, {"Key": "l", "VersionId": "v"}],
        "Error": [{"Key": "n", "Code": "AccessDenied", "Message": "No.", "HostId": "store-1"}],
    }
    answers = [Response(200, body=xml_codec.render("DeleteResult", content))]
    gateway = await _gateway(FakeUpstream(answers=answers))
    result = await _delete_many(gateway, {"Object": [{"Key": "k"}, {"Key": "l", "VersionId": "v"}, {"Key": "n"}]})
    assert result["Deleted"][0] == {"Key": "k", "DeleteMarker": "true", "DeleteMarkerVersionId": "m"}
    assert result["Error"] == [{"Key": "n", "Code": "AccessDenied", "Message": "No."}]
    assert b"<VersionId>v</VersionId>" in _sent(gateway)[0].body
    assert await _known(gateway) == {"k": 2, "l": 1}


async def test_each_object_is_authorized_by_itself() -> None:
    gateway = await _gateway(FakeUpstream({"bucket": {key: StoredThing(5, STORED) for key in "klmn"}}))
    policy = {
        "Statement": [
            {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::bucket/*"},
            {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::bucket/k"},
        ]
    }
    objects = [{"Key": "k"}, {"Key": "l"}, {"Key": "m", "VersionId": "v"}]
    body = xml_codec.render("Delete", {"Object": objects, "Quiet": True})
    md5 = {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    call = make_call("POST", Target("bucket"), "delete", headers=md5, body=body, record=RECORD)
    for headers, left in ((md5, "kmn"), ({**md5, "x-amz-bypass-governance-retention": "true"}, "klmn")):
        gateway.upstream.buckets["bucket"]["l"] = StoredThing(5, STORED)  # type: ignore[attr-defined]
        call = make_call("POST", Target("bucket"), "delete", headers=headers, body=body, record=RECORD)
        answer = await delete_objects.run(gateway, replace(call, caller=replace(call.caller, policies=(policy,))))
        assert isinstance(answer.body, bytes)
        result = xml_codec.parse(answer.body, "DeleteResult", lists=("Deleted", "Error"))
        assert "".join(sorted(gateway.upstream.buckets["bucket"])) == left  # type: ignore[attr-defined]
        assert [row["Code"] for row in result["Error"]] == ["AccessDenied"] * len(result["Error"])
    assert {row["Key"] for row in result["Error"]} == {"k", "l", "m"}


async def test_conditions_of_many() -> None:
    content = {"Object": [{"Key": "k", "ETag": MD5}, {"Key": "l"}, {"Key": "k", "ETag": STORED}]}
    gateway = await _gateway()
    with pytest.raises(AwsError, match="NotImplemented"):
        await _delete_many(gateway, content)
    assert _sent(gateway) == []
    gateway = await _gateway(conditional_deletes=True)
    await _delete_many(gateway, content)
    sent = xml_codec.parse(_sent(gateway)[0].body, "Delete", lists=("Object",))["Object"]
    assert sent == [{"Key": "k", "ETag": STORED}, {"Key": "l"}, {"Key": "k", "ETag": NEVER}]


@pytest.mark.parametrize("headers", [{}, {"x-amz-sdk-checksum-algorithm": "CRC32"}])
async def test_a_document_without_a_digest_deletes_nothing(headers: dict[str, str]) -> None:
    gateway = await _gateway()
    with pytest.raises(AwsError, match="InvalidRequest"):
        await _delete_many(gateway, {"Object": [{"Key": "k"}]}, headers)
    assert _sent(gateway) == []


async def test_a_document_with_a_wrong_digest_deletes_nothing() -> None:
    gateway = await _gateway()
    with pytest.raises(AwsError, match="BadDigest"):
        await _delete_many(gateway, {"Object": [{"Key": "k"}]}, {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    assert _sent(gateway) == []


async def test_a_document_that_is_too_long_deletes_nothing() -> None:
    gateway = await _gateway()
    with pytest.raises(AwsError, match="MaxMessageLengthExceeded"):
        await _delete_many(gateway, {"Object": [{"Key": "k" * (2 * 1024 * 1024)}]})
    assert _sent(gateway) == []


def test_a_thousand_objects_are_taken() -> None:
    deletions, quiet = parse_deletions(xml_codec.render("Delete", {"Object": [{"Key": str(n)} for n in range(1000)]}))
    assert (len(deletions), deletions[999].key, quiet) == (1000, "999", False)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"Object": [{"Key": str(n)} for n in range(1001)]}, "MalformedXML"),
        ({}, "MalformedXML"),
        ({"Quiet": True}, "MalformedXML"),
        ({"Object": [{"VersionId": "v"}]}, "MalformedXML"),
        ({"Object": [{"Key": ""}]}, "MalformedXML"),
        ({"Object": [{"Key": ["a", "b"]}]}, "MalformedXML"),
        ({"Object": [{"Key": {"Key": "a"}}]}, "MalformedXML"),
        ({"Object": [{"Key": "a", "Unknown": "x"}]}, "MalformedXML"),
        ({"Object": ["a"]}, "MalformedXML"),
        ({"Object": [{"Key": "a"}], "Quiet": "maybe"}, "MalformedXML"),
        ({"Object": [{"Key": "a"}], "Quiet": ["true", "true"]}, "MalformedXML"),
        ({"Object": [{"Key": "a"}], "Unknown": "x"}, "MalformedXML"),
        ({"Object": [{"Key": "a", "Size": 5}]}, "NotImplemented"),
        ({"Object": [{"Key": "a", "LastModifiedTime": "x"}]}, "NotImplemented"),
    ],
)
def test_documents_that_are_refused(content: dict[str, Any], code: str) -> None:
    with pytest.raises(AwsError) as caught:
        parse_deletions(xml_codec.render("Delete", content))
    assert caught.value.code == code


async def test_an_answer_that_cannot_be_read_is_the_stores_fault() -> None:
    gateway = await _gateway(FakeUpstream(answers=[Response(200, body=b"<DeleteResult>")]))
    with pytest.raises(UpstreamError):
        await _delete_many(gateway, {"Object": [{"Key": "k"}]})
    assert await _known(gateway) == {"k": 2, "l": 1}
