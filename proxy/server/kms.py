"""The KMS endpoint: JSON 1.1 over POST, ``X-Amz-Target: TrentService.<Operation>``.

Source: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

import json
from typing import Final

from multidict import CIMultiDict

from proxy.aws.credentials import CallOrigin
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.kms.operations import OPERATIONS
from proxy.kms.service import KeyService
from proxy.stream import read_all

MAX_BODY: Final = 1024 * 1024
"""Bytes of a request that are read at most."""

CONTENT_TYPE: Final = "application/x-amz-json-1.1"

_CAPITAL_MESSAGE: Final = frozenset(
    ("AccessDeniedException", "SerializationException", "UnsupportedOperationException")
)
"""Errors whose text AWS calls ``Message``; it is ``message`` in all the others. SDKs read both."""


async def handle(service: KeyService, request: Request, origin: CallOrigin) -> Response:
    """Answers an authenticated request. ``origin.region`` is the Region of the verified credential scope, and
    ``origin.request_id`` becomes ``x-amzn-RequestId``. Every error is an answer; only what the body's stream raises
    while it is read comes through."""
    try:
        body = await _call(service, request, origin)
    except AwsError as error:
        return render_error(error, origin.request_id)
    return Response(200, _headers(origin.request_id), body)


async def _call(service: KeyService, request: Request, origin: CallOrigin) -> bytes:
    if request.method != "POST":
        raise AwsError("UnknownOperationException", None, 400)
    try:
        body = await read_all(request.body, MAX_BODY)
    except ValueError:
        raise AwsError("RequestEntityTooLargeException", "The request is too large.", 413) from None
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    target = request.headers.get("X-Amz-Target")
    if target is None or content_type != CONTENT_TYPE:
        raise AwsError("UnknownOperationException", None, 400)
    return await OPERATIONS.call(service, origin, target, body)


def render_error(error: AwsError, request_id: str) -> Response:
    """An error in the form of KMS, for what fails before ``handle`` (authentication) as well as inside it."""
    document = {"__type": error.code}
    if error.message is not None:
        document["Message" if error.code in _CAPITAL_MESSAGE else "message"] = error.message
    headers = _headers(request_id)
    headers.update(error.headers)
    return Response(error.status, headers, json.dumps(document).encode())


def _headers(request_id: str) -> CIMultiDict[str]:
    return CIMultiDict(
        {
            "x-amzn-RequestId": request_id,
            "Cache-Control": "no-cache, no-store, must-revalidate, private",
            "Expires": "0",
            "Pragma": "no-cache",
            "Content-Type": CONTENT_TYPE,
        }
    )
