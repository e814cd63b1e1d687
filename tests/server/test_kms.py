import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.parsers import create_parser
from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.server import kms as server
from tests.kms.harness import ADMIN, Kms, model, user

HEADERS = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.ListKeys"}


@pytest.fixture
async def kms() -> Kms:
    return await Kms().start()


async def send(kms: Kms, body: Any = b"{}", method: str = "POST", **headers: str | None) -> Response:
    given = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    kept = CIMultiDict({name: value for name, value in given.items() if value is not None})
    return await server.handle(kms.service, Request(method, "/", headers=kept, body=body), ADMIN)


def document(response: Response) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    found: dict[str, Any] = json.loads(response.body)
    return found


async def test_the_head_of_an_answer(kms: Kms) -> None:
    response = await send(kms)
    assert response.status == 200
    assert document(response) == {"Keys": [], "Truncated": False}
    assert dict(response.headers) == {
        "x-amzn-RequestId": ADMIN.request_id,
        "Cache-Control": "no-cache, no-store, must-revalidate, private",
        "Expires": "0",
        "Pragma": "no-cache",
        "Content-Type": "application/x-amz-json-1.1",
    }


async def test_an_operation_without_output_answers_nothing(kms: Kms) -> None:
    key = await kms.key()
    response = await send(kms, json.dumps({"KeyId": key}).encode(), X_Amz_Target="TrentService.DisableKey")
    assert (response.status, response.body) == (200, b"")


async def test_the_content_type_may_carry_a_charset(kms: Kms) -> None:
    assert (await send(kms, Content_Type="application/x-amz-json-1.1; charset=utf-8")).status == 200


@pytest.mark.parametrize(
    "head",
    [
        {"X_Amz_Target": None},
        {"X_Amz_Target": ""},
        {"X_Amz_Target": "ListKeys"},
        {"X_Amz_Target": "TrentService.listKeys"},
        {"X_Amz_Target": "TrentService.ListKeys.ListKeys"},
        {"X_Amz_Target": "DynamoDB_20120810.ListKeys"},
        {"X_Amz_Target": "TrentService.Nonsense"},
        {"Content_Type": None},
        {"Content_Type": "application/json"},
        {"method": "GET"},
        {"method": "PUT"},
    ],
)
async def test_what_is_no_operation(kms: Kms, head: dict[str, Any]) -> None:
    response = await send(kms, **head)
    assert (response.status, document(response)) == (400, {"__type": "UnknownOperationException"})


@pytest.mark.parametrize(
    ("operation", "body", "code", "member"),
    [
        ("Encrypt", b"{", "SerializationException", "Message"),
        ("Encrypt", b"{}", "ValidationException", "message"),
        ("DescribeKey", b'{"KeyId": "x"}', "NotFoundException", "message"),
        ("Decrypt", b'{"CiphertextBlob": "AAAA"}', "InvalidCiphertextException", None),
    ],
)
async def test_errors_in_json(kms: Kms, operation: str, body: bytes, code: str, member: str | None) -> None:
    response = await send(kms, body, X_Amz_Target=f"TrentService.{operation}")
    assert response.status == 400
    found = document(response)
    assert found.keys() == ({"__type", member} if member else {"__type"})
    assert found["__type"] == code
    assert response.headers["x-amzn-RequestId"] == ADMIN.request_id
    raw = {"status_code": 400, "headers": dict(response.headers), "body": response.body}
    parsed = create_parser("json").parse(raw, model(operation).output_shape)
    assert parsed["Error"]["Code"] == code
    assert parsed["Error"]["Message"] == (found[member] if member else "")


async def test_a_denial_has_a_message_with_a_capital(kms: Kms) -> None:
    request = Request("POST", "/", headers=CIMultiDict(HEADERS), body=b"{}")
    response = await server.handle(kms.service, request, user("nobody"))
    assert document(response).keys() == {"__type", "Message"}


class Pieces:
    """A body that comes piece by piece."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.pieces:
            raise StopAsyncIteration
        return self.pieces.pop(0)

    async def aclose(self) -> None:
        self.pieces.clear()


async def test_a_body_in_pieces_is_read_up_to_its_limit(kms: Kms) -> None:
    assert (await send(kms, Pieces(b"{", b'"Limit"', b": 1}"))).status == 200
    whole = b'{"x": "' + b"a" * (server.MAX_BODY - 9) + b'"}'
    assert len(whole) == server.MAX_BODY
    assert (await send(kms, whole)).status == 200
    too_long = Pieces(whole, b" ", b"never read")
    response = await send(kms, too_long)
    assert (response.status, document(response)["__type"]) == (413, "RequestEntityTooLargeException")
    assert too_long.pieces == [b"never read"]


async def test_a_fault_shows_no_traceback(kms: Kms, caplog: pytest.LogCaptureFixture) -> None:
    kms.service.repository.store.scan = None  # type: ignore[assignment,method-assign]
    with caplog.at_level(logging.ERROR):
        response = await send(kms)
    assert (response.status, document(response)["__type"]) == (500, "KMSInternalException")
    assert isinstance(response.body, bytes)
    assert b"NoneType" not in response.body
    assert caplog.records


def test_errors_from_before_are_rendered_the_same_way() -> None:
    error = AwsError("InvalidSignatureException", "no", 400, headers={"x-extra": "1"})
    response = server.render_error(error, "id")
    assert document(response) == {"__type": "InvalidSignatureException", "message": "no"}
    assert (response.headers["x-amzn-RequestId"], response.headers["x-extra"]) == ("id", "1")
