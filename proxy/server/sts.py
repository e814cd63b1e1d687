"""The STS endpoint: the query protocol, with XML answers.

Source: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
"""

from collections.abc import Mapping
from typing import Any, Final
from xml.sax.saxutils import escape

from multidict import CIMultiDict

from proxy.aws.credentials import CallOrigin
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response, parse_query
from proxy.stream import read_all
from proxy.sts.service import VERSION, StsService

MAX_BODY: Final = 64 * 1024
"""Bytes of a request that are read at most."""

_NAMESPACE: Final = f"https://sts.amazonaws.com/doc/{VERSION}/"


async def handle(service: StsService, request: Request, origin: CallOrigin) -> Response:
    """Answers an authenticated request. Every error is an answer; only what the body's stream raises while it is read
    comes through."""
    try:
        name, result = await service.call(origin, await _parameters(request))
    except AwsError as error:
        return render_error(error, origin.request_id)
    body = (
        f'<{name}Response xmlns="{_NAMESPACE}"><{name}Result>{_members(result)}</{name}Result>'
        f"<ResponseMetadata><RequestId>{escape(origin.request_id)}</RequestId></ResponseMetadata></{name}Response>"
    ).encode()
    return Response(200, _headers(origin.request_id), body)


def _members(values: Mapping[str, Any]) -> str:
    return "".join(
        f"<{name}>{_members(value) if isinstance(value, Mapping) else escape(str(value))}</{name}>"
        for name, value in values.items()
    )


async def _parameters(request: Request) -> dict[str, str]:
    """The call's parameters, of the query (GET) or of the form (POST)."""
    if request.method == "GET":
        return dict(request.parameters)
    if request.method != "POST":
        raise AwsError("InvalidAction", "Only GET and POST are supported.", 400)
    try:
        body = await read_all(request.body, MAX_BODY)
    except ValueError:
        raise AwsError("RequestEntityTooLarge", "The request is too large.", 413) from None
    form = body.decode("utf-8", "surrogateescape").replace("+", "%20")
    return {**dict(request.parameters), **dict(parse_query(form))}


def render_error(error: AwsError, request_id: str) -> Response:
    """An error in the form of STS."""
    kind = "Sender" if error.status < 500 else "Receiver"
    message = "" if error.message is None else f"<Message>{_xml_text(error.message)}</Message>"
    body = (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>{kind}</Type><Code>{escape(error.code)}</Code>'
        f"{message}</Error><RequestId>{escape(request_id)}</RequestId></ErrorResponse>"
    ).encode()
    headers = _headers(request_id)
    headers.update(error.headers)
    return Response(error.status, headers, body)


def _xml_text(text: str) -> str:
    """Escaped, with what XML 1.0 cannot hold replaced: a client's own text may stand in a message."""
    allowed = (char if char >= " " and not "\ud800" <= char <= "\udfff" and char < "\ufffe" else "?" for char in text)
    return escape("".join(allowed))


def _headers(request_id: str) -> CIMultiDict[str]:
    return CIMultiDict({"x-amzn-RequestId": request_id, "Content-Type": "text/xml"})
