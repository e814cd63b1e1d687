from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from multidict import CIMultiDict

from proxy.aws.credentials import Caller, CallOrigin
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.kms.root_keys.file import LocalRootKey
from proxy.kms.stores.memory import MemoryKeyStore
from proxy.server import sts
from proxy.sts.principals import Principals
from proxy.sts.service import StsService
from proxy.sts.session_keys import SessionKeys


def now() -> datetime:
    return datetime.now(UTC)


MODEL = botocore.session.get_session().get_service_model("sts")
ORIGIN = CallOrigin(
    Caller("111122223333", "arn:aws:iam::111122223333:user/a&b", "AIDAEXAMPLE", "AKIAEXAMPLE"),
    "eu-west-1",
    request_id="request-id",
)
SERVICE = StsService(
    Principals(()), SessionKeys(MemoryKeyStore(), LocalRootKey(b"r" * 32, bytes), now, bytes), now, bytes, None
)
QUERY = "Action=GetCallerIdentity&Version=2011-06-15"


def parse(response: Response, operation: str = "GetCallerIdentity") -> dict[str, Any]:
    raw = {"status_code": response.status, "headers": dict(response.headers), "body": response.body}
    parsed: dict[str, Any] = create_parser("query").parse(raw, MODEL.operation_model(operation).output_shape)
    return parsed


async def test_get_caller_identity_as_botocore_asks_for_it() -> None:
    sent = create_serializer("query").serialize_to_request({}, MODEL.operation_model("GetCallerIdentity"))
    form = "&".join(f"{name}={value}" for name, value in sent["body"].items())
    request = Request("POST", "/", headers=CIMultiDict(sent["headers"]), body=form.encode())
    response = await sts.handle(SERVICE, request, ORIGIN)
    assert (response.status, response.headers["Content-Type"]) == (200, "text/xml")
    parsed = parse(response)
    metadata = parsed.pop("ResponseMetadata")
    assert parsed == {
        "UserId": "AIDAEXAMPLE",
        "Account": "111122223333",
        "Arn": "arn:aws:iam::111122223333:user/a&b",
    }
    assert metadata["RequestId"] == response.headers["x-amzn-RequestId"] == "request-id"


async def test_get_caller_identity_by_a_presigned_get() -> None:
    response = await sts.handle(SERVICE, Request("GET", "/", query=QUERY + "&X-Amz-Expires=60"), ORIGIN)
    assert parse(response)["Account"] == "111122223333"


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("", "MissingAction", "The request must contain the parameter Action"),
        (
            "Action=Nonsense&Version=2011-06-15",
            "InvalidAction",
            "Could not find operation Nonsense for version 2011-06-15",
        ),
        (
            "Action=GetCallerIdentity",
            "InvalidAction",
            "Could not find operation GetCallerIdentity for version NO_VERSION",
        ),
        (
            "Action=GetFederationToken&Version=2011-06-15",
            "InvalidAction",
            "Could not find operation GetFederationToken for version 2011-06-15",
        ),
        (
            "Action=%3Cb%3E%00%ff&Version=2011-06-15",
            "InvalidAction",
            "Could not find operation <b>?? for version 2011-06-15",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_errors_in_xml(method: str, query: str, code: str, message: str) -> None:
    request = Request("GET", "/", query=query) if method == "GET" else Request("POST", "/", body=query.encode())
    response = await sts.handle(SERVICE, request, ORIGIN)
    assert response.status == 400
    parsed = parse(response)
    assert (parsed["Error"]["Code"], parsed["Error"]["Message"], parsed["Error"]["Type"]) == (code, message, "Sender")
    assert parsed["ResponseMetadata"]["RequestId"] == "request-id"


async def test_other_methods_and_long_bodies() -> None:
    assert (await sts.handle(SERVICE, Request("PUT", "/", query=QUERY), ORIGIN)).status == 400
    response = await sts.handle(
        SERVICE, Request("POST", "/", body=QUERY.encode() + b"&x=" + b"y" * sts.MAX_BODY), ORIGIN
    )
    assert response.status == 413


def test_errors_from_before_are_rendered_the_same_way() -> None:
    response = sts.render_error(AwsError("SignatureDoesNotMatch", "<no>", 403), "id")
    parsed = parse(response)
    assert response.status == 403
    assert parsed["Error"] == {"Code": "SignatureDoesNotMatch", "Message": "<no>", "Type": "Sender"}
    assert b"<Type>Receiver</Type>" in bytes(sts.render_error(AwsError("InternalFailure", None, 500), "id").body)  # type: ignore[arg-type]
