"""PutBucketPolicy and its neighbours, and PublicAccessBlock beside them."""

import json
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.gateway import Gateway, Target
from proxy.s3.operation import Operation
from proxy.s3.operations import bucket_policy
from proxy.s3.operations import public_access_block as block
from proxy.s3.state.ports import NO_PUBLIC_ACCESS_BLOCK, BucketRecord, PublicAccessBlock
from tests.s3.fakes import ACCOUNT, OTHER_ACCOUNT, FakeUpstream, make_call, make_gateway

RECORD = BucketRecord("bucket", ACCOUNT, "eu-west-1", datetime(2026, 11, 23, 6, tzinfo=UTC))
ARN = "arn:aws:s3:::bucket"


def document(principal: Any) -> bytes:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Resource": f"{ARN}/*"}
    return json.dumps({"Version": "2012-10-17", "Statement": statement}).encode()


NAMED, PUBLIC = document({"AWS": OTHER_ACCOUNT}), document("*")


@pytest.fixture
async def gateway() -> Gateway:
    made = make_gateway()
    await made.buckets.put(RECORD)
    return made


async def run(gateway: Gateway, operation: Operation, body: bytes = b"", account: str = ACCOUNT) -> Response:
    record = await gateway.buckets.get("bucket")
    query = "&".join(operation.query)
    call = make_call(operation.method, Target("bucket"), query, body=body, record=record, account=account)
    answer = await operation.run(gateway, call)
    assert isinstance(gateway.upstream, FakeUpstream)
    assert gateway.upstream.sent == [], "nothing of it is the store's to know"
    return answer


async def refused(running: Awaitable[Response]) -> tuple[str, int]:
    with pytest.raises(AwsError) as caught:
        await running
    return caught.value.code, caught.value.status


async def test_a_policy_comes_back_as_it_was_put(gateway: Gateway) -> None:
    assert await refused(run(gateway, bucket_policy.get_bucket_policy)) == ("NoSuchBucketPolicy", 404)
    assert (await run(gateway, bucket_policy.put_bucket_policy, NAMED)).status == 204
    answer = await run(gateway, bucket_policy.get_bucket_policy)
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "application/json", NAMED)
    for _ in range(2):
        assert (await run(gateway, bucket_policy.delete_bucket_policy)).status == 204
    assert await refused(run(gateway, bucket_policy.get_bucket_policy)) == ("NoSuchBucketPolicy", 404)
    assert await gateway.buckets.get("bucket") == RECORD


async def test_a_malformed_policy_leaves_the_one_that_is_there(gateway: Gateway) -> None:
    await run(gateway, bucket_policy.put_bucket_policy, NAMED)
    assert await refused(run(gateway, bucket_policy.put_bucket_policy, b"{}")) == ("MalformedPolicy", 400)
    assert await refused(run(gateway, bucket_policy.put_bucket_policy, NAMED + b" " * 21_000)) == (
        "PolicyTooLarge",
        400,
    )
    assert (await run(gateway, bucket_policy.get_bucket_policy)).body == NAMED


async def test_other_accounts_have_no_part_in_it(gateway: Gateway) -> None:
    for operation, body in (
        (bucket_policy.put_bucket_policy, NAMED),
        (bucket_policy.get_bucket_policy, b""),
        (bucket_policy.delete_bucket_policy, b""),
    ):
        assert await refused(run(gateway, operation, body, OTHER_ACCOUNT)) == ("MethodNotAllowed", 405)


async def test_public_policies_are_for_buckets_that_do_not_block_them(gateway: Gateway) -> None:
    with pytest.raises(AwsError) as caught:
        await run(gateway, bucket_policy.put_bucket_policy, PUBLIC)
    assert (caught.value.code, caught.value.status) == ("AccessDenied", 403)
    assert caught.value.message == (
        f"User: arn:aws:iam::{ACCOUNT}:user/tester is not authorized to perform: s3:PutBucketPolicy on resource: "
        f'"{ARN}" because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.'
    )
    for lifted in (None, NO_PUBLIC_ACCESS_BLOCK, PublicAccessBlock(block_public_policy=False)):
        await gateway.buckets.put(replace(RECORD, public_access_block=lifted))
        assert (await run(gateway, bucket_policy.put_bucket_policy, PUBLIC)).status == 204
    assert await status(gateway) == "true"
    await run(gateway, bucket_policy.put_bucket_policy, NAMED)
    assert await status(gateway) == "false"


async def status(gateway: Gateway) -> Any:
    answer = await run(gateway, bucket_policy.get_bucket_policy_status)
    assert isinstance(answer.body, bytes)
    return xml_codec.parse(answer.body, "PolicyStatus")["IsPublic"]


async def test_there_is_no_status_without_a_policy(gateway: Gateway) -> None:
    assert await refused(run(gateway, bucket_policy.get_bucket_policy_status)) == ("NoSuchBucketPolicy", 404)


async def test_a_policy_is_not_put_into_a_bucket_that_has_taken_the_name(gateway: Gateway) -> None:
    call = make_call("PUT", Target("bucket"), "policy", body=NAMED, record=RECORD)
    await gateway.buckets.put(replace(RECORD, account=OTHER_ACCOUNT))
    assert await refused(bucket_policy.put_bucket_policy.run(gateway, call)) == ("NoSuchBucket", 404)


async def shown(gateway: Gateway) -> dict[str, Any]:
    answer = await run(gateway, block.get_public_access_block)
    assert isinstance(answer.body, bytes)
    return dict(xml_codec.parse(answer.body, "PublicAccessBlockConfiguration"))


def configuration(**members: Any) -> bytes:
    return xml_codec.render("PublicAccessBlockConfiguration", members)


async def test_a_new_bucket_blocks_all_public_access(gateway: Gateway) -> None:
    names = {"BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"}
    assert await shown(gateway) == dict.fromkeys(names, "true")
    body = configuration(BlockPublicPolicy="TRUE", RestrictPublicBuckets=False)
    assert (await run(gateway, block.put_public_access_block, body)).status == 200
    assert await shown(gateway) == {**dict.fromkeys(names, "false"), "BlockPublicPolicy": "true"}
    assert (await run(gateway, block.delete_public_access_block)).status == 204
    nothing = ("NoSuchPublicAccessBlockConfiguration", 404)
    assert await refused(run(gateway, block.get_public_access_block)) == nothing


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<Other/>",
        configuration(BlockPublicPolicy="yes"),
        configuration(Another=True),
        configuration(BlockPublicAcls={"x": "y"}),
    ],
)
async def test_malformed_settings(gateway: Gateway, body: bytes) -> None:
    assert await refused(run(gateway, block.put_public_access_block, body)) == ("MalformedXML", 400)
    assert await gateway.buckets.get("bucket") == RECORD
