"""Policies that ask for the tags of an object that is there."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.access.object_tags import authorize_on_object
from proxy.s3.gateway import Gateway, Target
from proxy.s3.state.ports import BucketRecord
from tests.s3.fakes import ACCOUNT, FakeUpstream, caller, make_call, make_gateway, store_error

BUCKET = BucketRecord("bucket", ACCOUNT, "eu-west-1", datetime(2026, 11, 23, 6, tzinfo=UTC))
OPEN = {"StringEquals": {"s3:ExistingObjectTag/access": "open"}}


def tagging(**tags: str) -> Response:
    rows = [{"Key": key, "Value": value} for key, value in tags.items()]
    return Response(200, body=xml_codec.render("Tagging", {"TagSet": {"Tag": rows} if rows else ""}))


def statement(effect: str = "Allow", condition: dict[str, Any] | None = None) -> dict[str, Any]:
    made = {"Effect": effect, "Action": "s3:*", "Resource": "*"}
    return made if condition is None else {**made, "Condition": condition}


async def outcome(
    *statements: dict[str, Any],
    tags: Response | None = None,
    action: str = "s3:GetObject",
    query: str = "",
    of_bucket: dict[str, Any] | None = None,
) -> tuple[bool, list[str]]:
    """Whether it is allowed, and the queries that the store was asked."""
    upstream = FakeUpstream(answers=[tags] if tags is not None else [])
    gateway: Gateway = make_gateway(upstream)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [of_bucket]}) if of_bucket else None
    call = make_call("GET", Target("bucket", "k"), query, record=replace(BUCKET, policy=policy))
    call = replace(call, caller=caller(policies=({"Version": "2012-10-17", "Statement": list(statements)},)))
    try:
        await authorize_on_object(gateway, call, action)
    except AwsError as error:
        assert error.code == "AccessDenied"  # noqa: PT017
        return False, [request.query for request in upstream.sent]
    return True, [request.query for request in upstream.sent]


async def test_the_store_is_asked_only_where_it_matters() -> None:
    assert await outcome(statement()) == (True, [])
    assert await outcome(statement() | {"Action": "s3:PutObject"}) == (False, [])
    assert await outcome(statement(), statement("Allow", OPEN)) == (True, [])
    assert await outcome(statement("Allow", OPEN), action="s3:PutObject") == (False, [])


@pytest.mark.parametrize(
    ("tags", "allowed"),
    [
        (tagging(access="open", other="x"), True),
        (tagging(Access="open"), True),
        (tagging(access="closed"), False),
        (tagging(), False),
        (store_error(404, "NoSuchKey"), False),
        (store_error(403, "AccessDenied"), False),
    ],
)
async def test_an_allow_by_tag(tags: Response, allowed: bool) -> None:
    assert await outcome(statement("Allow", OPEN), tags=tags) == (allowed, ["tagging"])


@pytest.mark.parametrize(
    ("tags", "allowed"),
    [
        (tagging(access="open"), False),
        (tagging(access="closed"), True),
        (tagging(), True),
        (store_error(403, "AccessDenied"), False),
    ],
)
async def test_a_deny_by_tag_in_the_buckets_policy(tags: Response, allowed: bool) -> None:
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}
    found = await outcome(statement(), tags=tags, of_bucket={**deny, "Condition": OPEN})
    assert found == (allowed, ["tagging"])


async def test_of_the_version_that_is_asked_for() -> None:
    allow = statement("Allow", OPEN)
    found = await outcome(allow, tags=tagging(access="open"), action="s3:GetObjectVersion", query="versionId=v1")
    assert found == (True, ["tagging&versionId=v1"])
