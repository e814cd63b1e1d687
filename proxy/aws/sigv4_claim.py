"""Reading what a request says of its signature: the Authorization header or the parameters of a presigned URL."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final, NoReturn

from proxy.aws import sigv4_errors
from proxy.aws.canonical import ALGORITHM
from proxy.aws.errors import AwsError
from proxy.aws.message import Request
from proxy.aws.sigv4_errors import Credential, SignatureErrors
from proxy.values import value_class

MAX_EXPIRES: Final = 604_800
"""The longest life of a presigned URL: seven days, in seconds."""

_ERRORS: Mapping[str, tuple[SignatureErrors, SignatureErrors]] = {
    "s3": (sigv4_errors.S3_HEADER, sigv4_errors.S3_QUERY),
    "kms": (sigv4_errors.JSON, sigv4_errors.JSON),
    "sts": (sigv4_errors.QUERY, sigv4_errors.QUERY),
    "iam": (sigv4_errors.QUERY, sigv4_errors.QUERY),
}
"""The services that requests may be signed for, with their errors for the header and for the query form."""

_QUERY_COMPONENTS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
SECURITY_TOKEN = "X-Amz-Security-Token"  # noqa: S105
QUERY_AUTHENTICATION = frozenset(name.lower() for name in (*_QUERY_COMPONENTS, SECURITY_TOKEN))
_SIGV2_PARAMETERS = frozenset({"awsaccesskeyid", "signature"})
_TIMESTAMP_LENGTH = 16
_SHORT = 256
"""Characters of what is kept of a header, so that nobody can fill the memory with it."""
_TIMESTAMP = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")
_DATE = re.compile(r"[0-9]{8}")
_REGION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EXPIRES = re.compile(r"-?[0-9]{1,18}")
_CREDENTIAL_SERVICE = re.compile(r"Credential=[^/,]*/[^/,]*/[^/,]*/([^/,]*)/")


@value_class
class Scope:
    """A credential scope without its last element, ``aws4_request``."""

    date: str
    """``YYYYMMDD``."""
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


@value_class
class Claim:
    """What a request says of its signature, well-formed but not verified."""

    errors: SignatureErrors
    credential: Credential
    signed_headers: str
    signature: str
    timestamp: str
    signed: datetime
    expires: int | None
    """Seconds; None for the header form."""
    token: str | None


def is_anonymous(request: Request) -> bool:
    """Whether the request carries no authentication information of any kind, well-formed or not."""
    if "Authorization" in request.headers:
        return False
    if not request.query:
        return True
    names = {name.lower() for name, _ in request.parameters}
    return names.isdisjoint(QUERY_AUTHENTICATION) and not names >= _SIGV2_PARAMETERS


def has_query_authentication(request: Request) -> bool:
    """Whether a component of a signature stands in the query."""
    return any(name in _QUERY_COMPONENTS for name, _ in request.parameters)


def claimed_service(request: Request) -> str | None:
    """The service that the request says it is signed for, unverified: who reads the body before ``verify`` asks it."""
    authorization = request.headers.get("Authorization")
    if authorization is not None:
        begin, terminator, _ = authorization.partition("/aws4_request")
        if terminator and len(begin) <= _SHORT:
            service = _service_in(f"{begin}/")
            if service is not None:
                return service
        found = _CREDENTIAL_SERVICE.search(authorization)
        return found.group(1) if found else None
    credential = request.parameter("X-Amz-Credential")
    fields = credential.split("/") if credential else ()
    return fields[3] if len(fields) == 5 else None


@lru_cache(maxsize=1024)
def _service_in(begin: str) -> str | None:
    """The service in the beginning of an Authorization header, which for one access key is the same all day."""
    found = _CREDENTIAL_SERVICE.search(begin)
    return found.group(1) if found else None


def read_claim(request: Request) -> Claim:
    """What the request says of its signature. Raises AwsError: nothing, too much, or malformed."""
    return _header_claim(request) if "Authorization" in request.headers else _query_claim(request)


def _header_claim(request: Request) -> Claim:
    """Reads the Authorization header."""
    authorization = request.headers["Authorization"]
    mechanism, space, rest = authorization.strip().partition(" ")
    errors = _errors_for(claimed_service(request), request, presigned=False)
    if mechanism != ALGORITHM or not space:
        _refuse_mechanism(mechanism, bool(space), errors)
    if has_query_authentication(request):
        raise errors.ambiguous()
    components: dict[str, str] = {}
    for item in rest.split(","):
        name, equals, value = item.strip().partition("=")
        if not equals or name in components:
            raise errors.malformed_component(item.strip(), authorization)
        components[name] = value.strip()
    required = ("Credential", "SignedHeaders", "Signature")
    missing = [name for name in required if not components.get(name)]
    if missing:
        raise errors.missing_components(missing, authorization)
    credential = read_credential(components["Credential"], errors)
    if credential.service != claimed_service(request):
        # Something else in the header looks like a credential, too: who reads the body beforehand would be misled.
        raise errors.malformed_component("Credential", authorization)

    text = request.headers.get("x-amz-date")
    signed = parse_timestamp(text) if text is not None else _parse_date(request.headers.get("Date", ""))
    if signed is None:
        raise errors.missing_date()
    return Claim(
        errors,
        credential,
        components["SignedHeaders"],
        components["Signature"],
        sigv4_errors.basic_format(signed) if text is None else text,
        signed,
        None,
        request.headers.get(SECURITY_TOKEN),
    )


def _query_claim(request: Request) -> Claim:
    """Reads the parameters of a presigned URL."""
    errors = _errors_for(claimed_service(request), request, presigned=True)
    if is_anonymous(request):
        raise errors.unauthenticated()
    components: dict[str, str] = {}
    for name, value in request.parameters:
        if name.lower() in QUERY_AUTHENTICATION:
            if name in components:
                raise errors.duplicate(name)
            components[name] = value
    if not components:
        raise errors.unsupported_mechanism()
    missing = [name for name in _QUERY_COMPONENTS if not components.get(name)]
    if missing:
        raise errors.missing_components(missing, "")
    if components["X-Amz-Algorithm"] != ALGORITHM:
        raise errors.invalid_parameter(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    credential = read_credential(components["X-Amz-Credential"], errors)
    signed = parse_timestamp(components["X-Amz-Date"])
    if signed is None:
        raise errors.missing_date()
    return Claim(
        errors,
        credential,
        components["X-Amz-SignedHeaders"],
        components["X-Amz-Signature"],
        components["X-Amz-Date"],
        signed,
        _expires(components["X-Amz-Expires"], errors),
        components.get(SECURITY_TOKEN, request.headers.get(SECURITY_TOKEN)),
    )


def _errors_for(service: str | None, request: Request, *, presigned: bool) -> SignatureErrors:
    """The errors of a service; where it is unknown, of the one whose requests look like this one."""
    if service is None or service not in _ERRORS:
        service = "kms" if "X-Amz-Target" in request.headers else "s3"
    return _ERRORS[service][presigned]


def _refuse_mechanism(mechanism: str, complete: bool, errors: SignatureErrors) -> NoReturn:
    if not isinstance(errors, sigv4_errors.S3SignatureErrors) or mechanism == "AWS" or mechanism.startswith("AWS4-"):
        raise errors.unsupported_mechanism()
    if not complete:
        message = "Authorization header is invalid -- one and only one ' ' (space) required."
    else:
        message = "Unsupported Authorization Type"
    raise AwsError("InvalidArgument", message, detail={"ArgumentName": "Authorization"})


def read_credential(text: str, errors: SignatureErrors) -> Credential:
    """Reads ``AKID/date/region/service/aws4_request``. Raises AwsError: it is nothing of the kind."""
    fields = text.split("/")
    if len(fields) != 5:
        raise errors.malformed_credential(text)
    access_key_id, date, region, service, terminator = fields
    if not access_key_id or not _REGION.fullmatch(region):
        raise errors.malformed_credential(text)
    if not _DATE.fullmatch(date):
        raise errors.malformed_credential_date(date)
    if service not in _ERRORS:
        raise errors.wrong_service(service)
    if terminator != "aws4_request":
        raise errors.wrong_terminator(terminator)
    return Credential(access_key_id, date, region, service)


def _expires(text: str, errors: SignatureErrors) -> int:
    if not _EXPIRES.fullmatch(text):
        raise errors.invalid_parameter("X-Amz-Expires should be a number")
    seconds = int(text)
    if seconds < 0:
        raise errors.invalid_parameter("X-Amz-Expires must be non-negative")
    if seconds == 0:
        raise errors.invalid_parameter("X-Amz-Expires must be at least 1 second")
    if seconds > MAX_EXPIRES:
        raise errors.invalid_parameter(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than "
            f"{MAX_EXPIRES} seconds"
        )
    return seconds


@lru_cache(maxsize=256)
def parse_timestamp(text: str) -> datetime | None:
    """A moment in ISO 8601's basic format, ``YYYYMMDDTHHMMSSZ``; None for anything else. Many requests are signed in
    the same second."""
    if len(text) != _TIMESTAMP_LENGTH:
        return None
    found = _TIMESTAMP.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _parse_date(text: str) -> datetime | None:
    """A Date header: ISO 8601's basic format or RFC 9110's."""
    basic = parse_timestamp(text)
    if basic is not None:
        return basic
    try:
        parsed = parsedate_to_datetime(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
