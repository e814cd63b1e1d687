"""What each service answers when a signature cannot be verified.

S3 has its own codes; services with the JSON protocol (KMS) end theirs in ``Exception`` and answer 400; those with the
query protocol (STS, IAM) have the same messages under bare codes. Sources: the "Common errors" page of each service's
API reference, https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and recorded answers.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol

from proxy.aws.errors import AwsError
from proxy.values import value_class

SKEW = timedelta(minutes=15)

_CREDENTIAL_FORM = '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request"'
_MISMATCH = "The request signature we calculated does not match the signature you provided. Check your "
_INVALID_TOKEN = "The security token included in the request is invalid."  # noqa: S105
_UNSUPPORTED = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."


def printable(text: str | bytes) -> str:
    """Text of a request for an error document: what is not UTF-8 becomes U+FFFD."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return raw.decode("utf-8", "replace")


def basic_format(moment: datetime) -> str:
    return _basic_format(moment.replace(microsecond=0))


@lru_cache(maxsize=16)
def _basic_format(second: datetime) -> str:
    return f"{second:%Y%m%dT%H%M%SZ}"


def extended_format(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@value_class
class Credential:
    """The credential of a signature, as claimed: ``AKID/date/region/service/terminator``."""

    access_key_id: str
    date: str
    region: str
    service: str


class SignatureErrors(Protocol):
    """The errors of one service, for one of the two places where a signature may stand."""

    def unauthenticated(self) -> AwsError: ...

    def unsupported_mechanism(self) -> AwsError: ...

    def ambiguous(self) -> AwsError:
        """There is authentication information in the header and in the query."""
        ...

    def missing_components(self, missing: Iterable[str], authorization: str) -> AwsError: ...

    def malformed_component(self, component: str, authorization: str) -> AwsError: ...

    def malformed_credential(self, credential: str) -> AwsError: ...

    def malformed_credential_date(self, date: str) -> AwsError: ...

    def wrong_terminator(self, terminator: str) -> AwsError: ...

    def wrong_service(self, service: str) -> AwsError: ...

    def missing_date(self) -> AwsError:
        """There is no date, or one that can't be read."""
        ...

    def date_mismatch(self, credential_date: str, timestamp: str) -> AwsError: ...

    def skewed(self, signed: datetime, now: datetime) -> AwsError: ...

    def invalid_parameter(self, message: str) -> AwsError:
        """A query parameter of the signature can't be used."""
        ...

    def expired(self, signed: datetime, expires: int, now: datetime) -> AwsError: ...

    def not_yet_valid(self, signed: datetime, now: datetime) -> AwsError: ...

    def duplicate(self, name: str) -> AwsError: ...

    def headers_not_signed(self, names: Iterable[str]) -> AwsError: ...

    def session_token(self) -> AwsError:
        """A session token is not valid for the access key."""
        ...

    def expired_token(self, token: str) -> AwsError: ...

    def unknown_access_key(self, access_key_id: str) -> AwsError: ...

    def mismatch(self, access_key_id: str, string_to_sign: str, request: bytes, provided: str) -> AwsError: ...


@dataclass(frozen=True)
class S3SignatureErrors:
    """S3's errors; ``presigned`` tells those of the query form from those of the header form."""

    presigned: bool

    def _malformed(self, message: str) -> AwsError:
        if self.presigned:
            return AwsError(
                "AuthorizationQueryParametersError", f"Error parsing the X-Amz-Credential parameter; {message}"
            )
        return AwsError("AuthorizationHeaderMalformed", f"The authorization header is malformed; {message}")

    def unauthenticated(self) -> AwsError:
        return AwsError("AccessDenied", "Access Denied", 403)

    def unsupported_mechanism(self) -> AwsError:
        return AwsError("InvalidRequest", _UNSUPPORTED)

    def ambiguous(self) -> AwsError:
        message = (
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
            "parameter or the Authorization header should be specified"
        )
        return AwsError("InvalidArgument", message, detail={"ArgumentName": "Authorization"})

    def missing_components(self, missing: Iterable[str], authorization: str) -> AwsError:  # noqa: ARG002
        if self.presigned:
            return AwsError(
                "AuthorizationQueryParametersError",
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
                "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            )
        return self._malformed(f"missing {next(iter(missing))}.")

    def malformed_component(self, component: str, authorization: str) -> AwsError:  # noqa: ARG002
        return self._malformed(f'the authorization component "{printable(component)}" is malformed.')

    def malformed_credential(self, credential: str) -> AwsError:  # noqa: ARG002
        return self._malformed(f"the Credential is mal-formed; expecting {_CREDENTIAL_FORM}.")

    def malformed_credential_date(self, date: str) -> AwsError:
        form = 'This date in the credential must be in the format "yyyyMMdd".'
        return self._malformed(f'incorrect date format "{printable(date)}". {form}')

    def wrong_terminator(self, terminator: str) -> AwsError:
        return self._malformed(f'incorrect terminal "{printable(terminator)}". This endpoint uses "aws4_request".')

    def wrong_service(self, service: str) -> AwsError:
        return self._malformed(f'incorrect service "{printable(service)}". This endpoint belongs to "s3".')

    def missing_date(self) -> AwsError:
        if self.presigned:
            return AwsError(
                "AuthorizationQueryParametersError",
                "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
            )
        return AwsError("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header", 403)

    def date_mismatch(self, credential_date: str, timestamp: str) -> AwsError:
        message = f'Invalid credential date "{credential_date}". This date is not the same as X-Amz-Date: '
        message += f'"{timestamp[:8]}".'
        return AwsError("AuthorizationQueryParametersError", message) if self.presigned else self._malformed(message)

    def skewed(self, signed: datetime, now: datetime) -> AwsError:
        return AwsError(
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            403,
            detail={
                "RequestTime": basic_format(signed),
                "ServerTime": extended_format(now),
                "MaxAllowedSkewMilliseconds": str(int(SKEW.total_seconds() * 1000)),
            },
        )

    def invalid_parameter(self, message: str) -> AwsError:
        return AwsError("AuthorizationQueryParametersError", message)

    def expired(self, signed: datetime, expires: int, now: datetime) -> AwsError:
        return AwsError(
            "AccessDenied",
            "Request has expired",
            403,
            detail={
                "X-Amz-Expires": str(expires),
                "Expires": extended_format(signed + timedelta(seconds=expires)),
                "ServerTime": extended_format(now),
            },
        )

    def not_yet_valid(self, signed: datetime, now: datetime) -> AwsError:  # noqa: ARG002
        return AwsError("AccessDenied", "Request is not yet valid", 403)

    def duplicate(self, name: str) -> AwsError:
        return AwsError("InvalidRequest", f"The header {name} must be given only once.")

    def headers_not_signed(self, names: Iterable[str]) -> AwsError:
        return AwsError(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            403,
            detail={"HeadersNotSigned": printable(", ".join(names))},
        )

    def session_token(self) -> AwsError:
        return AwsError("InvalidToken", "The provided token is malformed or otherwise invalid.")

    def expired_token(self, token: str) -> AwsError:
        return AwsError("ExpiredToken", "The provided token has expired.", detail={"Token-0": printable(token)})

    def unknown_access_key(self, access_key_id: str) -> AwsError:
        return AwsError(
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
            403,
            detail={"AWSAccessKeyId": printable(access_key_id)},
        )

    def mismatch(self, access_key_id: str, string_to_sign: str, request: bytes, provided: str) -> AwsError:
        return signature_does_not_match(
            {
                "AWSAccessKeyId": printable(access_key_id),
                "StringToSign": printable(string_to_sign),
                "SignatureProvided": printable(provided),
                "CanonicalRequest": printable(request),
            }
        )


def signature_does_not_match(detail: Mapping[str, str]) -> AwsError:
    """S3's SignatureDoesNotMatch, for a request, a chunk or a trailer."""
    return AwsError("SignatureDoesNotMatch", f"{_MISMATCH}key and signing method.", 403, detail=detail)


@dataclass(frozen=True)
class CommonSignatureErrors:
    """The errors that all services but S3 share. ``json`` tells the JSON protocol's codes from the query protocol's."""

    json: bool

    def _error(self, code: str, message: str) -> AwsError:
        return AwsError(f"{code}Exception", message) if self.json else AwsError(code, message, 403)

    def _incomplete(self, message: str) -> AwsError:
        return AwsError("IncompleteSignatureException" if self.json else "IncompleteSignature", message)

    def _invalid(self, message: str) -> AwsError:
        return self._error("InvalidSignature" if self.json else "SignatureDoesNotMatch", message)

    def unauthenticated(self) -> AwsError:
        message = "Missing Authentication Token" if self.json else "Request is missing Authentication Token"
        return self._error("MissingAuthenticationToken", message)

    def unsupported_mechanism(self) -> AwsError:
        return self._incomplete(_UNSUPPORTED)

    def ambiguous(self) -> AwsError:
        return self._incomplete("Authentication information stands in the Authorization header and in the query.")

    def missing_components(self, missing: Iterable[str], authorization: str) -> AwsError:
        if not authorization:
            return self._incomplete(" ".join(f"AWS query-string parameters must include '{n}'." for n in missing))
        sentences = " ".join(f"Authorization header requires '{name}' parameter." for name in missing)
        return self._incomplete(f"{sentences} {self._hashed(authorization)}")

    def malformed_component(self, component: str, authorization: str) -> AwsError:  # noqa: ARG002
        return self._incomplete(
            f"Invalid key=value pair (missing equal-sign) in Authorization header {self._hashed(authorization)}."
        )

    @staticmethod
    def _hashed(authorization: str) -> str:
        digest = hashlib.sha256(authorization.encode("utf-8", "surrogateescape")).digest()
        return f"(hashed with SHA-256 and encoded with Base64): '{base64.b64encode(digest).decode()}'"

    def malformed_credential(self, credential: str) -> AwsError:
        form = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got"
        return self._incomplete(f"{form} '{printable(credential)}'")

    def malformed_credential_date(self, date: str) -> AwsError:
        return self._invalid(f"Date in Credential scope must be in the format YYYYMMDD, got '{printable(date)}'.")

    def wrong_terminator(self, terminator: str) -> AwsError:
        return self._invalid(
            f"Credential should be scoped with a valid terminator: 'aws4_request', not '{printable(terminator)}'."
        )

    def wrong_service(self, service: str) -> AwsError:
        return self._invalid(f"Credential should be scoped to correct service, not '{printable(service)}'.")

    def missing_date(self) -> AwsError:
        return self._incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")

    def date_mismatch(self, credential_date: str, timestamp: str) -> AwsError:
        return self._invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{credential_date}' != '{timestamp[:8]}', from '{timestamp}'."
        )

    def skewed(self, signed: datetime, now: datetime) -> AwsError:
        if signed > now:
            return self.not_yet_valid(signed, now)
        bound = f"{basic_format(now - SKEW)} ({basic_format(now)} - 15 min.)"
        return self._invalid(f"Signature expired: {basic_format(signed)} is now earlier than {bound}")

    def invalid_parameter(self, message: str) -> AwsError:
        return self._incomplete(message)

    def expired(self, signed: datetime, expires: int, now: datetime) -> AwsError:
        end = signed + timedelta(seconds=expires)
        return self._invalid(f"Signature expired: {basic_format(end)} is now earlier than {basic_format(now)}")

    def not_yet_valid(self, signed: datetime, now: datetime) -> AwsError:
        bound = f"{basic_format(now + SKEW)} ({basic_format(now)} + 15 min.)"
        return self._invalid(f"Signature not yet current: {basic_format(signed)} is still later than {bound}")

    def duplicate(self, name: str) -> AwsError:
        message = f"The header {name} must be given only once."
        return AwsError("ValidationException" if self.json else "ValidationError", message)

    def headers_not_signed(self, names: Iterable[str]) -> AwsError:
        listed = ", ".join(f"'{printable(name)}'" for name in names)
        return self._invalid(f"{listed} must be a 'SignedHeader' in the AWS Authorization.")

    def session_token(self) -> AwsError:
        return self._error("UnrecognizedClient" if self.json else "InvalidClientTokenId", _INVALID_TOKEN)

    def expired_token(self, token: str) -> AwsError:  # noqa: ARG002
        return self._error("ExpiredToken", "The security token included in the request is expired")

    def unknown_access_key(self, access_key_id: str) -> AwsError:  # noqa: ARG002
        return self.session_token()

    def mismatch(self, access_key_id: str, string_to_sign: str, request: bytes, provided: str) -> AwsError:  # noqa: ARG002
        message = f"{_MISMATCH}AWS Secret Access Key and signing method. Consult the service documentation for details."
        return self._invalid(message)


S3_HEADER = S3SignatureErrors(presigned=False)
S3_QUERY = S3SignatureErrors(presigned=True)
JSON = CommonSignatureErrors(json=True)
QUERY = CommonSignatureErrors(json=False)
