"""The condition keys of S3: which there are, and their values in a request.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

from proxy.aws import policy_keys
from proxy.aws.credentials import CallOrigin
from proxy.aws.message import parse_query
from proxy.aws.policy_conditions import Quantifier
from proxy.aws.policy_keys import Circumstances, optional
from proxy.aws.policy_patterns import Values
from proxy.aws.sigv4 import Verified
from proxy.s3.gateway import Call
from proxy.s3.state.ports import BucketRecord

PREFIX: Final = "s3:"
INVALID: Final = "Policy has an invalid condition key"

_MILLISECOND: Final = timedelta(milliseconds=1)
_DEFAULT_MAX_KEYS: Final = "1000"
_LISTING: Final = ("s3:ListBucket", "s3:ListBucketVersions")
_TAGGING: Final = "x-amz-tagging"
_REQUEST_TAG: Final = "s3:requestobjecttag/"
EXISTING_TAG: Final = "s3:existingobjecttag/"
ON_EXISTING: Final = frozenset(
    f"s3:{name}"
    for name in (
        "DeleteObjectTagging",
        "DeleteObjectVersionTagging",
        "GetObject",
        "GetObjectAcl",
        "GetObjectAttributes",
        "GetObjectTagging",
        "GetObjectVersion",
        "GetObjectVersionAcl",
        "GetObjectVersionAttributes",
        "GetObjectVersionTagging",
        "PutObjectAcl",
        "PutObjectTagging",
        "PutObjectVersionAcl",
        "PutObjectVersionTagging",
    )
)
"""Actions whose requests have the tags of the object in their context; others have none of them."""


class Subject:
    """What a decision of S3 is about."""

    def __init__(
        self, call: Call, action: str, clock: Callable[[], datetime], bucket: BucketRecord | None = None
    ) -> None:
        """``action`` is such as ``s3:PutObject``; ``bucket`` the one that the question is about, if not the call's."""
        self.call = call
        self.bucket = bucket or call.bucket
        self.action = action
        self.clock = clock

    def lookup(self, name: str) -> Values | None:
        """The values of a condition key, given in lower case. None: this service cannot tell, as of what only the body
        says, or of the tags of an object that is there as long as they have not been read."""
        value = _KEYS.get(name)
        if value is not None:
            return value(self)
        if name.startswith(policy_keys.PREFIX):
            return policy_keys.values(name, self._circumstances)
        if name.startswith(_REQUEST_TAG):
            return policy_keys.tag(_object_tags(self), name.removeprefix(_REQUEST_TAG))
        if name.startswith(EXISTING_TAG):
            tags = self.call.existing_tags
            return policy_keys.tag(tags, name.removeprefix(EXISTING_TAG)) if self.action in ON_EXISTING else ()
        if name.startswith(PREFIX):
            return () if name in _ABSENT else None
        # A key of another service is absent from requests to this one.
        return ()

    @cached_property
    def _circumstances(self) -> Circumstances:
        call = self.call
        headers, peer = call.request.headers, call.request.peer
        origin = CallOrigin(
            call.caller,
            self.bucket.region if self.bucket is not None else call.verified.scope.region,
            source_address=peer.address if peer else "",
            secure_transport=bool(peer and peer.secure),
        )
        return Circumstances(
            origin,
            self.clock,
            self.bucket.account if self.bucket is not None else None,
            user_agent=headers.get("User-Agent"),
            referer=headers.get("Referer"),
            headers_known=True,
        )


_Value = Callable[[Subject], Values | None]

_HEADERS: Final = (
    "if-match",
    "if-none-match",
    "x-amz-acl",
    "x-amz-copy-source",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-metadata-directive",
    "x-amz-object-ownership",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
)
"""Condition keys that are a header's name after ``s3:``."""

_LOCK_HEADERS: Final = {
    "s3:object-lock-legal-hold": "x-amz-object-lock-legal-hold",
    "s3:object-lock-mode": "x-amz-object-lock-mode",
    "s3:object-lock-retain-until-date": "x-amz-object-lock-retain-until-date",
}
_IN_BODY: Final = ("s3:PutObjectRetention", "s3:PutObjectLegalHold")
"""Actions whose requests say of locks what no header does."""


def _header(name: str) -> _Value:
    return lambda it: optional(it.call.request.headers.get(name))


def _lock(header: str) -> _Value:
    return lambda it: None if it.action in _IN_BODY else optional(it.call.request.headers.get(header))


def _listing_parameter(name: str, default: str | None = None) -> _Value:
    def value(it: Subject) -> Values:
        if it.action not in _LISTING or it.call.target.key:
            return ()
        given = it.call.request.parameter(name)
        return optional(default) if given is None else (given,)

    return value


def _object_tags(it: Subject) -> Mapping[str, str] | None:
    """The tags that the request gives an object; PutObjectTagging has them in its body."""
    if it.action in ("s3:PutObjectTagging", "s3:PutObjectVersionTagging"):
        return None
    return dict(parse_query(it.call.request.headers.get(_TAGGING, "")))


def _object_tag_keys(it: Subject) -> Values | None:
    tags = _object_tags(it)
    return None if tags is None else tuple(tags)


def _of_signature(value: Callable[[Verified], str]) -> _Value:
    """Absent from anonymous requests."""
    return lambda it: () if it.call.caller.anonymous else (value(it.call.verified),)


def _signature_age(it: Subject) -> Values:
    """Milliseconds since the request was signed."""
    if it.call.caller.anonymous:
        return ()
    signed = datetime.strptime(it.call.verified.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return (str((it.clock() - signed) // _MILLISECOND),)


def _tls_version(it: Subject) -> Values | None:
    """Such as ``1.3``; absent without TLS."""
    peer = it.call.request.peer
    if peer is None or not peer.secure:
        return None if peer is None else ()
    return (peer.tls_version.removeprefix("TLSv"),) if peer.tls_version else None


_KEYS: Final[Mapping[str, _Value]] = {
    **{f"s3:{name}": _header(name) for name in _HEADERS},
    **{key: _lock(header) for key, header in _LOCK_HEADERS.items()},
    "s3:authtype": _of_signature(
        lambda it: "POST" if it.posted else "REST-QUERY-STRING" if it.presigned else "REST-HEADER"
    ),
    "s3:delimiter": _listing_parameter("delimiter"),
    "s3:max-keys": _listing_parameter("max-keys", _DEFAULT_MAX_KEYS),
    "s3:prefix": _listing_parameter("prefix"),
    "s3:requestobjecttagkeys": _object_tag_keys,
    "s3:resourceaccount": lambda it: optional(it.bucket.account if it.bucket is not None else None),
    "s3:signatureage": _signature_age,
    "s3:signatureversion": _of_signature(lambda _: "AWS4-HMAC-SHA256"),
    "s3:tlsversion": _tls_version,
    "s3:versionid": lambda it: optional(it.call.request.parameter("versionId")),
    "s3:x-amz-content-sha256": _of_signature(lambda it: it.payload_hash),
}

_ABSENT: Final = frozenset(
    (
        "s3:accessgrantsinstancearn",
        "s3:accesspointnetworkorigin",
        "s3:accesspointtag",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
    )
)
"""Keys that no request here has: there are no access points and no access grants."""

_NOT_TOLD: Final = frozenset(
    (
        "s3:existingjoboperation",
        "s3:existingjobpriority",
        "s3:inventoryaccessibleoptionalfields",
        "s3:jobsuspendedcause",
        "s3:locationconstraint",
        "s3:object-lock-remaining-retention-days",
        "s3:objectcreationoperation",
        "s3:requestjoboperation",
        "s3:requestjobpriority",
    )
)
"""Keys that AWS has and this service cannot tell, beside those of the tags that a bucket has: with one of them, an
Allow never applies and a Deny always does."""

_TAGS: Final = (EXISTING_TAG, "s3:buckettag/", _REQUEST_TAG)


def fault(key: str, quantifier: Quantifier | None) -> str | None:  # noqa: ARG001 - a KeyCheck
    """What is wrong with naming a condition key, given in lower case, in a bucket policy; None for nothing."""
    if key.startswith(policy_keys.PREFIX):
        return None if policy_keys.fault(key, None) is None else INVALID
    if any(key.startswith(prefix) and key != prefix for prefix in _TAGS):
        return None
    return None if key in _KEYS or key in _ABSENT or key in _NOT_TOLD else INVALID
