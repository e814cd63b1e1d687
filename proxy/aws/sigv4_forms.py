"""Requests that look like one whose signature was verified before: what was found out about that one counts for them.

A client sends the same header fields, and the same Authorization header but for its last 64 digits, over and over.
Whatever follows from these alone (that the credential is well-formed, that each header is there once that must be, and
is signed) is taken over; what the request says itself (its time, its body's hash, the values of what is signed, its
signature) is verified each time, as are the access key and its secret looked up. Anything that is not as it should be
is left to ``sigv4.verify``, which knows AWS's error for it.
"""

import hashlib
from datetime import datetime
from typing import Final

from proxy.aws import canonical
from proxy.aws.message import Request
from proxy.aws.sigv4_claim import Claim, Scope, has_query_authentication, parse_timestamp
from proxy.aws.sigv4_errors import SKEW
from proxy.values import value_class

_DIGITS: Final = 64
_MOST: Final = 1024
_LONGEST: Final = 4096
"""Characters of all that a form is known by: clients must not fill the memory with them."""


@value_class
class Form:
    """What requests of one form have in common. Only their claim's signature, time and token are the request's own."""

    claim: Claim
    scope: Scope
    scope_text: str
    names: tuple[str, ...]
    """The signed headers, in the order of SignedHeaders; each is there once."""


_Place = tuple[str, tuple[str, ...]]

_forms: dict[_Place, Form] = {}


def find(request: Request) -> Form | None:
    """The form of a request, if it is known. Asked only for requests with an Authorization header."""
    headers = request.headers
    return _forms.get((headers["Authorization"][:-_DIGITS], tuple([name for name, _ in headers.items()])))


def remember(request: Request, claim: Claim, scope: Scope) -> None:
    """Takes down the form of a request whose signature has been verified."""
    headers = request.headers
    authorization = headers.get("Authorization", "")
    if authorization[-_DIGITS:] != claim.signature or "x-amz-date" not in headers:
        return
    fields = tuple([name for name, _ in headers.items()])
    names = tuple(claim.signed_headers.split(";"))
    if (
        any(len(headers.getall(name, ())) != 1 for name in names)
        or sum(map(len, fields), len(authorization)) > _LONGEST
    ):
        return
    if len(_forms) >= _MOST:
        _forms.clear()
    _forms[authorization[:-_DIGITS], fields] = Form(claim, scope, str(scope), names)


def signed_at(request: Request, form: Form, now: datetime) -> str | None:
    """The time at which the request says it was signed, if that is as it should be."""
    timestamp = request.headers.get("x-amz-date", "")
    signed = parse_timestamp(timestamp)
    if signed is None or abs(now - signed) > SKEW or timestamp[:8] != form.scope.date:
        return None
    if request.query and has_query_authentication(request):
        return None
    return timestamp


def signature(request: Request, form: Form, timestamp: str, key: bytes, payload_hash: str) -> str | None:
    """The signature that the request has, if it is the right one."""
    headers = request.headers
    service = form.scope.service
    uri = canonical.s3_uri(request.path) if service == "s3" else canonical.normalized_uri(request.path)
    query = canonical.canonical_query(request.parameters) if request.query else ""
    block = "".join([f"{name.lower()}:{canonical.canonical_value(headers[name])}\n" for name in form.names])
    text = f"{request.method}\n{uri}\n{query}\n{block}\n{form.claim.signed_headers}\n{payload_hash}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    expected = canonical.signature(key, f"{canonical.ALGORITHM}\n{timestamp}\n{form.scope_text}\n{digest}")
    given = headers["Authorization"][-_DIGITS:]
    return expected if canonical.signatures_equal(expected, given) else None
