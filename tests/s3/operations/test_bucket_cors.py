"""PutBucketCors and its neighbours."""

from datetime import UTC, datetime

import pytest

from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.access import cors
from proxy.s3.access.cors import Rule
from proxy.s3.gateway import Gateway, Target
from proxy.s3.operation import Operation
from proxy.s3.operations.bucket_cors import delete_bucket_cors, get_bucket_cors, put_bucket_cors
from proxy.s3.state.ports import BucketRecord
from tests.s3.fakes import ACCOUNT, FakeUpstream, make_call, make_gateway

RECORD = BucketRecord("bucket", ACCOUNT, "eu-west-1", datetime(2026, 11, 23, 6, tzinfo=UTC))
RULES = (Rule(("https://app.example.com",), ("GET", "PUT"), ("*",), ("ETag",), 60, "one"),)


async def run(gateway: Gateway, operation: Operation, body: bytes = b"") -> Response:
    record = await gateway.buckets.get("bucket")
    return await operation.run(gateway, make_call(operation.method, Target("bucket"), "cors", body=body, record=record))


async def test_rules_are_kept_here_and_not_in_the_store() -> None:
    upstream = FakeUpstream()
    gateway = make_gateway(upstream)
    await gateway.buckets.put(RECORD)
    for _ in range(2):
        with pytest.raises(AwsError, match="NoSuchCORSConfiguration") as caught:
            await run(gateway, get_bucket_cors)
        assert caught.value.status == 404
        assert (await run(gateway, put_bucket_cors, cors.render(RULES))).status == 200
        answer = await run(gateway, get_bucket_cors)
        assert isinstance(answer.body, bytes)
        assert cors.parse(answer.body) == RULES
        assert (await run(gateway, delete_bucket_cors)).status == 204
    assert upstream.sent == []


async def test_malformed_rules_leave_those_that_are_there() -> None:
    gateway = make_gateway()
    await gateway.buckets.put(RECORD)
    await run(gateway, put_bucket_cors, cors.render(RULES))
    with pytest.raises(AwsError, match="MalformedXML"):
        await run(gateway, put_bucket_cors, b"<CORSConfiguration/>")
    found = await gateway.buckets.get("bucket")
    assert found is not None
    assert found.cors == cors.render(RULES)
