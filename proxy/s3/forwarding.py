"""What goes to the store and what comes back: requests built from an operation's own lists of names, answers and
errors passed on without the store's own names.

Nothing that a client sends goes up unless the operation that serves it names it: stores have parameters and headers
of their own (MinIO takes ``?x-amz-meta-foo=bar`` for metadata and shows internals for ``?metadata=true``).
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote

from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request, Response
from proxy.aws.xml_codec import Node, XmlError, parse, read_elements
from proxy.s3.errors import (
    access_denied,
    internal_error,
    invalid_argument,
    method_not_allowed,
    no_such_bucket,
    no_such_key,
    no_such_version,
    not_implemented,
    object_locked,
    precondition_failed,
    service_unavailable,
    slow_down,
)
from proxy.s3.gateway import Call, Target
from proxy.s3.upstream.port import UpstreamError
from proxy.stream import read_all

MAX_ANSWER: Final = 16 * 1024 * 1024
"""Bytes of an answer that is read whole. The longest, 1,000 long keys percent-encoded, has 4 MB."""

_OURS: Final = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "RequestTimeTooSkewed",
        "AuthorizationHeaderMalformed",
        "AuthorizationQueryParametersError",
        "ExpiredToken",
        "InvalidToken",
        "InvalidSecurity",
        "PermanentRedirect",
        "TemporaryRedirect",
        "Redirect",
    }
)
"""Errors about the proxy's own credentials and configuration, which a client must not take for its own."""

_SERVER_ERRORS: Final = {
    error.code: error.message for error in (internal_error(), not_implemented(), service_unavailable(), slow_down())
}

_DETAIL: Final = ("Key", "BucketName", "UploadId", "VersionId", "ArgumentName", "ArgumentValue", "Condition", "Header")
"""Members of the store's error documents that are passed on."""

_LONGEST_LENGTH: Final = 18
"""Decimal digits of Content-Length."""
_CONDITIONS: Final = ("If-Match", "If-Unmodified-Since", "If-None-Match", "If-Modified-Since")
_STORE_WORDS = re.compile(r"minio|seaweedfs|https?://", re.IGNORECASE)


def upstream_request(
    method: str,
    target: Target,
    received: Request | None = None,
    *,
    query: Mapping[str, str] | None = None,
    query_names: Iterable[str] = (),
    headers: Mapping[str, str] | None = None,
    header_names: Iterable[str] = (),
    body: bytes = b"",
) -> Request:
    """A request to the store: ``query`` and ``headers`` as given, and of the received request the parameters and
    headers named, where they are there. A sub-resource is a parameter with the value ``""``.

    Raises:
        AwsError: InvalidArgument for an empty version id, which stores take for none.
    """
    items = list((query or {}).items())
    sent: CIMultiDict[str] = CIMultiDict(headers or {})
    if received is not None:
        items += [(name, value) for name in query_names if (value := received.parameter(name))]
        if "versionId" in query_names and received.parameter("versionId") == "":
            raise invalid_argument("Version id cannot be the empty string", "versionId", "")
        for name in header_names:
            if name in received.headers:
                sent[name] = received.headers[name]
    return Request(method, target.path, render_query(items), sent, body)


def render_query(items: Iterable[tuple[str, str]]) -> str:
    """A query string; a parameter without a value has no ``=``, as some stores want it for sub-resources."""
    return "&".join(f"{_encode(name)}={_encode(value)}" if value else _encode(name) for name, value in items)


def _encode(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")


def content_md5(body: bytes) -> str:
    """The Content-MD5 of a document, which stores ask for."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


async def read_answer(answer: Response) -> bytes:
    """The body of an answer that is not an object.

    Raises:
        UpstreamError: it is longer than any such answer, or breaks off.
    """
    try:
        return await read_all(answer.body, MAX_ANSWER)
    except ValueError:
        await answer.aclose()
        raise UpstreamError("the store's answer is too long") from None


def parse_answer(body: bytes, root: str, *, lists: Iterable[str] = ()) -> Node:
    """The content of a document of the store.

    Raises:
        UpstreamError: it is none with this root.
    """
    try:
        return parse(body, root, lists=lists)
    except XmlError as error:
        raise UpstreamError("the store's answer can't be read") from error


async def expect(answer: Response, target: Target, *statuses: int) -> bytes:
    """The body of an answer with one of these statuses.

    Raises:
        AwsError: the store answered something else: its error, as the client may see it.
    """
    body = await read_answer(answer)
    if answer.status in statuses:
        return body
    raise error_of(answer.status, body, target)


async def store_error(answer: Response, call: Call) -> AwsError:
    """The error in an answer that is none of those that the operation knows, as the client may see it."""
    error = error_of(answer.status, await read_answer(answer), call.target)
    if error.status == 412:
        return condition_error(call)
    version_id = call.request.parameter("versionId")
    if error.code == "NoSuchKey" and version_id:
        error = no_such_version(call.target.key, version_id)
    headers = passed(answer.headers, ("x-amz-delete-marker", "x-amz-version-id", "Allow"))
    return AwsError(error.code, error.message, error.status, detail=error.detail, headers=headers)


def condition_error(call: Call) -> AwsError:
    """PreconditionFailed, naming the condition that did not hold."""
    return precondition_failed(next((name for name in _CONDITIONS if name in call.request.headers), ""))


def etag_of(answer: Headers) -> str:
    """The ETag, with its quotes, that the store has given what it took.

    Raises:
        UpstreamError: it tells none.
    """
    etag = answer.get("ETag", "").strip('"')
    if not etag:
        raise UpstreamError("the store tells no ETag")
    return f'"{etag}"'


def stored_length(answer: Response) -> int:
    """The length of a stored object, from the head of an answer to GET or HEAD.

    Raises:
        UpstreamError: it can't be read.
    """
    length = answer.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit() and len(length) <= _LONGEST_LENGTH):
        raise UpstreamError("the store does not tell the object's length")
    return int(length)


def passed(headers: Headers, names: Iterable[str]) -> CIMultiDict[str]:
    """The headers of an answer of the store that an operation passes on."""
    return CIMultiDict((name, headers[name]) for name in names if name in headers)


def error_of(status: int, body: bytes, target: Target) -> AwsError:
    """The store's error as the client may see it: its code and message, without its names, ids and hosts."""
    document = _error_document(body) if body else None
    if document is None:
        return _error_without_document(status, target)
    code = document.get("Code", "")
    if status < 400 or code in _OURS or not code.isalnum():
        return service_unavailable() if status != 403 else internal_error()
    code = code.removeprefix("XMinio")
    if is_locked(document.get("Message", "")):
        return object_locked()
    if status >= 500:
        # What went wrong inside the store, with whatever paths and addresses, is not the client's to know.
        return AwsError(code, _SERVER_ERRORS.get(code), status)
    detail = {name: text for name in _DETAIL if (text := document.get(name))}
    return AwsError(code, _message(document), status, detail=detail)


def is_locked(message: str) -> bool:
    """Whether a store's words say that an object is locked: MinIO has an error of its own for that."""
    return "WORM protected" in message


def _message(document: Mapping[str, str]) -> str | None:
    text = document.get("Message")
    return None if text is None or _STORE_WORDS.search(text) else text


def _error_document(body: bytes) -> Mapping[str, str] | None:
    """The members of an error document by name, or None if the body is none."""
    members: dict[str, str] = {}
    try:
        read_elements(body, members.setdefault)
    except XmlError:
        return None
    return members if "Error" in members else None


def _error_without_document(status: int, target: Target) -> AwsError:
    """Answers to HEAD have no body; nor have those of a proxy in between, perhaps, or another one."""
    match status:
        case 403:
            return access_denied()
        case 404:
            return no_such_key(target.key) if target.key else no_such_bucket(target.bucket)
        case 405:
            return method_not_allowed()
        case 412:
            return precondition_failed("")
        case 501:
            return AwsError("NotImplemented", "The store does not implement this.", 501)
        case _ if 400 <= status < 500:
            return AwsError("InvalidRequest", "The store refused the request.", status)
        case _:
            return service_unavailable()
