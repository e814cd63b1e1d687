"""The STS endpoint: GetCallerIdentity, over the query protocol.

Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
"""

from typing import Final
from xml.sax.saxutils import escape

from multidict import CIMultiDict

from proxy.aws.credentials import CallOrigin
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response, parse_query
from proxy.stream import read_all

MAX_BODY: Final = 64 * 1024
"""Bytes of a request that are read at most."""

_VERSION: Final = "2011-06-15"
_NAMESPACE: Final = f"https://sts.amazonaws.com/doc/{_VERSION}/"
_ACTIONS: Final = frozenset(
    (
        "AssumeRole",
        "AssumeRoleWithSAML",
        "AssumeRoleWithWebIdentity",
        "AssumeRoot",
        "DecodeAuthorizationMessage",
        "GetAccessKeyInfo",
        "GetDelegatedAccessToken",
        "GetFederationToken",
        "GetSessionToken",
        "GetWebIdentityToken",
    )
)
"""What AWS's STS has beside GetCallerIdentity."""


async def handle(request: Request, origin: CallOrigin) -> Response:
    """Answers an authenticated request. Every error is an answer; only what the body's stream raises while it is read
    comes through."""
    try:
        parameters = await _parameters(request)
        body = _answer(parameters, origin)
    except AwsError as error:
        return render_error(error, origin.request_id)
    return Response(200, _headers(origin.request_id), body)


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


def _answer(parameters: dict[str, str], origin: CallOrigin) -> bytes:
    action, version = parameters.get("Action"), parameters.get("Version", "")
    if action is None:
        raise AwsError("MissingAction", "The request must contain the parameter Action", 400)
    if version != _VERSION or (action != "GetCallerIdentity" and action not in _ACTIONS):
        raise AwsError("InvalidAction", f"Could not find operation {action} for version {version or 'NO_VERSION'}", 400)
    if action != "GetCallerIdentity":
        raise AwsError("UnsupportedOperation", f"The operation {action} is not supported.", 400)
    caller = origin.caller
    return (
        f'<GetCallerIdentityResponse xmlns="{_NAMESPACE}"><GetCallerIdentityResult>'
        f"<Arn>{escape(caller.arn)}</Arn><UserId>{escape(caller.user_id)}</UserId>"
        f"<Account>{escape(caller.account)}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{escape(origin.request_id)}</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    ).encode()


def render_error(error: AwsError, request_id: str) -> Response:
    """An error in the form of STS."""
    kind = "Sender" if error.status < 500 else "Receiver"
    message = _xml_text(error.message or "")
    body = (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>{kind}</Type><Code>{escape(error.code)}</Code>'
        f"<Message>{message}</Message></Error><RequestId>{escape(request_id)}</RequestId></ErrorResponse>"
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
