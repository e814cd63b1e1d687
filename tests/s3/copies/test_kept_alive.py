"""Answers that begin before they are known."""

import asyncio
from typing import Any

import boto3
import pytest
from botocore.parsers import create_parser

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.kms.errors import KmsError
from proxy.s3.copies.kept_alive import LENGTH, kept_alive
from proxy.s3.errors import slow_down
from proxy.s3.gateway import Target
from proxy.s3.upstream.port import UpstreamError
from tests.s3.fakes import make_call

CALL = make_call("PUT", Target("b", "k"))
RESULT = xml_codec.render("CopyObjectResult", {"ETag": '"e"', "LastModified": "2026-11-23T06:00:00.000Z"})


async def after(seconds: float, outcome: bytes | Exception) -> Response:
    await asyncio.sleep(seconds)
    if isinstance(outcome, Exception):
        raise outcome
    return Response(200, body=outcome)


async def read(answer: Response) -> list[bytes]:
    assert not isinstance(answer.body, bytes)
    return [bytes(piece) async for piece in answer.body]


def as_botocore_has_it(document: bytes) -> Any:
    model = boto3.client("s3", region_name="us-east-1").meta.service_model.operation_model("CopyObject")
    answer = {"status_code": 200, "headers": {}, "body": document}
    return create_parser("rest-xml").parse(answer, model.output_shape)


async def test_a_quick_answer_is_as_it_is() -> None:
    assert (await kept_alive(CALL, after(0, RESULT), 1)).body == RESULT
    with pytest.raises(AwsError, match="SlowDown"):
        await kept_alive(CALL, after(0, slow_down()), 1)


async def test_a_late_answer_has_begun() -> None:
    known = asyncio.Event()

    async def work() -> Response:
        await known.wait()
        return Response(200, body=RESULT)

    answer = await kept_alive(CALL, work(), 0.01)
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(LENGTH))
    assert not isinstance(answer.body, bytes)
    pieces = [bytes(await anext(answer.body)) for _ in range(4)]
    assert pieces[0].startswith(b"<?xml")
    assert pieces[1:] == [b" "] * 3
    known.set()
    whole = b"".join([*pieces, *await read(answer)])
    assert len(whole) == LENGTH
    assert as_botocore_has_it(whole)["CopyObjectResult"]["ETag"] == '"e"'


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (slow_down(), "SlowDown"),
        (UpstreamError("at 10.0.0.1"), "ServiceUnavailable"),
        (KmsError("DisabledException", "It is disabled."), "KMS.DisabledException"),
        (TypeError("at 10.0.0.1"), "InternalError"),
    ],
)
async def test_a_late_error_stands_in_the_document(failure: Exception, code: str) -> None:
    answer = await kept_alive(CALL, after(0.3, failure), 0.01)
    whole = b"".join(await read(answer))
    assert len(whole) == LENGTH
    error = xml_codec.parse(whole, "Error")
    assert (error["Code"], error["RequestId"]) == (code, CALL.request_id)
    assert b"10.0.0.1" not in whole


@pytest.mark.parametrize("begun", [False, True])
async def test_who_goes_away_ends_the_work(begun: bool) -> None:
    ended = asyncio.Event()

    async def work() -> Response:
        try:
            await asyncio.sleep(5)
        finally:
            ended.set()
        return Response(200)

    if begun:
        answer = await kept_alive(CALL, work(), 0.01)
        await answer.aclose()
    else:
        waiting = asyncio.create_task(kept_alive(CALL, work(), 5))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert ended.is_set()
