"""ACLs where they are disabled: what is read, and what may be set."""

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.access.accounts import canonical_id
from proxy.s3.gateway import Target
from proxy.s3.operations import access_control_lists as acls
from proxy.s3.operations.table import ROUTES
from proxy.s3.state.ports import BucketRecord
from tests.s3.fakes import ACCOUNT, OTHER_ACCOUNT, FakeUpstream, make_call, make_gateway

RECORD = BucketRecord("bucket", ACCOUNT, "eu-west-1", datetime(2026, 11, 23, 6, tzinfo=UTC))
BUCKET, OBJECT = Target("bucket"), Target("bucket", "k")
NOT_SUPPORTED = ("AccessControlListNotSupported", 400)


async def ask(
    method: str,
    target: Target,
    query: str,
    *answers: Response,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    account: str = ACCOUNT,
) -> Response:
    call = make_call(method, target, query, body=body, headers=headers, record=RECORD, account=account)
    upstream = FakeUpstream({"bucket": {}}, answers=list(answers))
    answer = await ROUTES.find(call.request, target).run(make_gateway(upstream), call)
    assert [request.method for request in upstream.sent] == ["HEAD"] * len(answers)
    return answer


async def refused(running: Awaitable[Response]) -> tuple[str, int]:
    with pytest.raises(AwsError) as caught:
        await running
    return caught.value.code, caught.value.status


def content(answer: Response) -> dict[str, Any]:
    assert isinstance(answer.body, bytes)
    return dict(xml_codec.parse(answer.body, "AccessControlPolicy"))


def acl(owner: str, permission: str = "FULL_CONTROL", count: int = 1) -> bytes:
    grant = {"Grantee": {"ID": canonical_id(owner)}, "Permission": permission}
    return xml_codec.render(
        "AccessControlPolicy", {"Owner": {"ID": canonical_id(owner)}, "AccessControlList": {"Grant": [grant] * count}}
    )


OWNERS = {"Grantee": {"ID": canonical_id(ACCOUNT)}, "Permission": "FULL_CONTROL"}


async def test_a_bucket_shows_its_owners_full_control() -> None:
    shown = content(await ask("GET", BUCKET, "acl"))
    assert shown == {"Owner": {"ID": canonical_id(ACCOUNT)}, "AccessControlList": {"Grant": OWNERS}}


async def test_an_object_is_its_buckets_owners_whoever_asks() -> None:
    answer = await ask("GET", OBJECT, "acl", Response(200), account=OTHER_ACCOUNT)
    assert content(answer)["AccessControlList"] == {"Grant": OWNERS}
    versioned = await ask(
        "GET", OBJECT, "acl&versionId=v", Response(200, type(answer.headers)({"x-amz-version-id": "v"}))
    )
    assert versioned.headers["x-amz-version-id"] == "v"


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_what_is_not_there_has_no_acl(method: str) -> None:
    assert await refused(ask(method, OBJECT, "acl", Response(404))) == ("NoSuchKey", 404)


@pytest.mark.parametrize(
    ("headers", "body", "taken"),
    [
        ({"x-amz-acl": "private"}, b"", True),
        ({"x-amz-acl": "bucket-owner-full-control"}, b"", True),
        ({}, acl(ACCOUNT), True),
        ({"x-amz-acl": "public-read"}, b"", False),
        ({"x-amz-acl": "authenticated-read"}, b"", False),
        ({"x-amz-grant-read": "uri=http://acs.amazonaws.com/groups/global/AllUsers"}, b"", False),
        ({"X-Amz-Grant-Full-Control": f"id={canonical_id(OTHER_ACCOUNT)}"}, b"", False),
        ({}, acl(OTHER_ACCOUNT), False),
        ({}, acl(ACCOUNT, "READ"), False),
        ({}, acl(ACCOUNT, count=2), False),
        ({}, xml_codec.render("AccessControlPolicy", {"AccessControlList": ""}), False),
    ],
)
async def test_only_the_acl_that_is_there_may_be_set(headers: dict[str, str], body: bytes, taken: bool) -> None:
    for target, answers in ((BUCKET, ()), (OBJECT, (Response(200),))):
        if taken:
            assert (await ask("PUT", target, "acl", *answers, headers=headers, body=body)).status == 200
        else:
            assert await refused(ask("PUT", target, "acl", headers=headers, body=body)) == NOT_SUPPORTED


async def test_a_malformed_acl() -> None:
    assert await refused(ask("PUT", BUCKET, "acl", body=b"<Other/>")) == ("MalformedXML", 400)


def ownership(*rules: Any) -> bytes:
    return xml_codec.render("OwnershipControls", {"Rule": list(rules)})


async def test_objects_are_the_bucket_owners() -> None:
    answer = await ask("GET", BUCKET, "ownershipControls")
    assert isinstance(answer.body, bytes)
    assert xml_codec.parse(answer.body, "OwnershipControls") == {"Rule": {"ObjectOwnership": "BucketOwnerEnforced"}}
    same = ownership({"ObjectOwnership": "BucketOwnerEnforced"})
    assert (await ask("PUT", BUCKET, "ownershipControls", body=same)).status == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (ownership({"ObjectOwnership": "ObjectWriter"}), "NotImplemented"),
        (ownership({"ObjectOwnership": "BucketOwnerPreferred"}), "NotImplemented"),
        (ownership({"ObjectOwnership": "Mine"}), "MalformedXML"),
        (ownership(), "MalformedXML"),
        (ownership({"ObjectOwnership": "BucketOwnerEnforced"}, {"ObjectOwnership": "ObjectWriter"}), "MalformedXML"),
        (b"", "MalformedXML"),
    ],
)
async def test_no_other_rule_of_ownership(body: bytes, code: str) -> None:
    assert (await refused(ask("PUT", BUCKET, "ownershipControls", body=body)))[0] == code


def test_both_levels_have_rows_of_their_own() -> None:
    actions = {row.action for row in acls.OBJECT_ACLS}
    assert actions == {"s3:GetObjectAcl", "s3:GetObjectVersionAcl", "s3:PutObjectAcl", "s3:PutObjectVersionAcl"}
