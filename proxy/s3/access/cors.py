"""Cross-origin resource sharing: a bucket's rules, and what they say of a browser's request.

The rules are kept on record here, since not every store has them, and a store would see the proxy's requests, not the
browser's. Only requests that name an Origin cost anything.
Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html and recorded answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request, Response
from proxy.s3.errors import invalid_request, malformed_xml
from proxy.s3.gateway import Target
from proxy.s3.state.ports import BucketRecord

_ROOT: Final = "CORSConfiguration"
_METHODS: Final = ("GET", "PUT", "POST", "DELETE", "HEAD")
_MOST_RULES: Final = 100
_LONGEST_ID: Final = 255
_LISTS: Final = ("CORSRule", "AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader")
_MEMBERS: Final = frozenset({"ID", "MaxAgeSeconds", *_LISTS[1:]})
_VARY: Final = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
_ANY: Final = "*"


@dataclass(frozen=True)
class Rule:
    """One CORSRule. Origins and headers may have one ``*`` each, for any characters."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age: int | None = None
    id: str | None = None

    def allows(self, origin: str, method: str, headers: Sequence[str]) -> bool:
        """``headers`` are the names that the browser asks for."""
        return (
            method in self.methods
            and any(_matches(pattern, origin) for pattern in self.origins)
            and all(any(_matches(pattern.lower(), name) for pattern in self.headers) for name in headers)
        )


def parse(document: bytes) -> tuple[Rule, ...]:
    """The rules in a CORSConfiguration that a client gives.

    Raises:
        AwsError: MalformedXML, InvalidRequest.
    """
    try:
        content = xml_codec.parse(document, _ROOT, lists=_LISTS)
    except xml_codec.XmlError:
        raise malformed_xml() from None
    rules = content.get("CORSRule", [])
    if set(content) != {"CORSRule"} or not 1 <= len(rules) <= _MOST_RULES:
        raise malformed_xml()
    return tuple(map(_rule, rules))


def render(rules: Sequence[Rule]) -> bytes:
    """The rules as a CORSConfiguration."""
    members = [
        {
            "ID": rule.id,
            "AllowedMethod": list(rule.methods),
            "AllowedOrigin": list(rule.origins),
            "AllowedHeader": list(rule.headers),
            "MaxAgeSeconds": rule.max_age,
            "ExposeHeader": list(rule.exposed),
        }
        for rule in rules
    ]
    return xml_codec.render(_ROOT, {"CORSRule": members})


def answer_preflight(request: Request, target: Target, bucket: BucketRecord | None) -> Response:
    """The answer to an OPTIONS request, which nobody signs; ``bucket`` is the target's record, if there is one.

    Raises:
        AwsError: AccessForbidden: there is no rule for it; BadRequest: it is no preflight.
    """
    origin = request.headers.get("Origin")
    if not origin:
        raise AwsError("BadRequest", "Insufficient information. Origin request header needed.", 400)
    method = request.headers.get("Access-Control-Request-Method")
    if bucket is None:
        raise _forbidden("Bucket not found", method, "BUCKET")
    if bucket.cors is None:
        raise _forbidden("CORS is not enabled for this bucket.", method, "BUCKET")
    if method not in _METHODS:
        raise AwsError("BadRequest", f"Invalid Access-Control-Request-Method: {method or 'null'}", 400)
    headers = allowing_headers(request, bucket)
    if headers is None:
        message = (
            "This CORS request is not allowed. This is usually because the evalution of Origin, request method / "
            "Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's "
            "CORS spec."
        )
        raise _forbidden(message, method, "OBJECT" if target.key else "BUCKET")
    return Response(200, CIMultiDict(headers))


def allowing_headers(request: Request, bucket: BucketRecord) -> Mapping[str, str] | None:
    """The header fields that let a browser hand an answer to the page that asked; None where no rule does."""
    origin = request.headers.get("Origin")
    if not origin or bucket.cors is None:
        return None
    method = request.headers.get("Access-Control-Request-Method") or request.method
    asked = _asked_headers(request.headers)
    rule = next((rule for rule in _rules_of(bucket.cors) if rule.allows(origin, method, asked)), None)
    if rule is None:
        return None
    found = {"Access-Control-Allow-Origin": _ANY if _ANY in rule.origins else origin}
    if _ANY not in rule.origins:
        found["Access-Control-Allow-Credentials"] = "true"
    found["Access-Control-Allow-Methods"] = ", ".join(rule.methods)
    if asked:
        found["Access-Control-Allow-Headers"] = ", ".join(asked)
    if rule.exposed:
        found["Access-Control-Expose-Headers"] = ", ".join(rule.exposed)
    if rule.max_age is not None:
        found["Access-Control-Max-Age"] = str(rule.max_age)
    found["Vary"] = _VARY
    return found


@lru_cache(maxsize=256)
def _rules_of(document: bytes) -> tuple[Rule, ...]:
    return parse(document)


def _asked_headers(headers: Headers) -> list[str]:
    """The names in Access-Control-Request-Headers, in lower case."""
    names = headers.get("Access-Control-Request-Headers", "").lower().split(",")
    return [name.strip() for name in names if name.strip()]


def _matches(pattern: str, text: str) -> bool:
    start, wildcard, end = pattern.partition(_ANY)
    if not wildcard:
        return pattern == text
    return len(text) >= len(start) + len(end) and text.startswith(start) and text.endswith(end)


def _rule(node: Any) -> Rule:
    if not isinstance(node, dict) or not _MEMBERS.issuperset(node):
        raise malformed_xml()
    origins, methods = _texts(node, "AllowedOrigin"), _texts(node, "AllowedMethod")
    if not origins or not methods:
        raise malformed_xml()
    for method in methods:
        if method not in _METHODS:
            raise invalid_request(f"Found unsupported HTTP method in CORS config. Unsupported method is {method}")
    headers = _texts(node, "AllowedHeader")
    for element, values in (("AllowedOrigin", origins), ("AllowedHeader", headers)):
        for value in values:
            if value.count(_ANY) > 1:
                raise invalid_request(f'{element} "{value}" can not have more than one wildcard.')
    exposed = _texts(node, "ExposeHeader")
    for value in exposed:
        if _ANY in value:
            message = (
                f'ExposeHeader "{value}" contains wildcard. We currently do not support wildcard for ExposeHeader.'
            )
            raise invalid_request(message)
    return Rule(origins, methods, headers, exposed, _max_age(node.get("MaxAgeSeconds")), _id(node.get("ID")))


def _texts(node: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Values that can stand in a header."""
    values = node.get(name, [])
    if not all(isinstance(value, str) and value.isprintable() for value in values):
        raise malformed_xml()
    return tuple(values)


def _max_age(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str) or not (value.isascii() and value.isdigit()) or len(value) > 10:
        raise malformed_xml()
    return int(value)


def _id(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > _LONGEST_ID):
        raise malformed_xml()
    return value or None


def _forbidden(message: str, method: str | None, resource_type: str) -> AwsError:
    detail = {"Method": method or "OPTIONS", "ResourceType": resource_type}
    return AwsError("AccessForbidden", f"CORSResponse: {message}", 403, detail=detail)
