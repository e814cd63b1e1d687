"""The operations that carry no object bytes and no sizes, by name: they go to the store, rebuilt from their own lists.

A document is verified and parsed before it goes up; an answer's root element must be the one that the operation has.
Stores take a sub-resource that they do not know for none: a PUT of it is then CreateBucket or PutObject, a DELETE
deletes the bucket or the object, a GET is a listing. Therefore the table has only what stores commonly have, and no
DELETE of a sub-resource that either SeaweedFS or MinIO takes for DeleteBucket.

Source: the operations' pages in https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

from dataclasses import dataclass, replace
from typing import Final

from proxy.aws import xml_codec
from proxy.aws.message import Response
from proxy.s3.documents import read_document
from proxy.s3.errors import malformed_xml, not_implemented
from proxy.s3.forwarding import content_md5, expect, passed, upstream_request
from proxy.s3.gateway import Call, Gateway
from proxy.s3.operation import Level, Operation

_MAX_DOCUMENT: Final = 1024 * 1024
_VERSION: Final = ("x-amz-version-id",)


@dataclass(frozen=True)
class Forwarded:
    """One row of the table."""

    name: str
    method: str
    level: Level
    action: str
    sub_resource: str
    root: str = ""
    """The root element of a PUT's request and of a GET's answer."""
    status: int = 200
    """Of the answer, as AWS has it."""
    query_names: tuple[str, ...] = ()
    header_names: tuple[str, ...] = ()
    answer_header_names: tuple[str, ...] = ()

    def operation(self) -> Operation:
        return Operation(
            self.name, self.method, self.level, self.action, self._run, query=frozenset({self.sub_resource})
        )

    def versioned(self, action: str) -> Operation:
        """The same on one version of the object, which is another action."""
        row = self.operation()
        return replace(row, action=action, query=row.query | {"versionId"})

    async def _run(self, gateway: Gateway, call: Call) -> Response:
        if self.method == "PUT" and self.sub_resource in gateway.settings.store.sub_resources_read_as_create:
            raise not_implemented()
        body, headers = b"", {}
        if self.method == "PUT":
            body = await read_document(gateway, call, _MAX_DOCUMENT)
            _check_document(body, self.root)
            headers = {"Content-MD5": content_md5(body), "Content-Type": "application/xml"}
        request = upstream_request(
            self.method,
            call.target,
            call.request,
            query={self.sub_resource: ""},
            query_names=self.query_names,
            headers=headers,
            header_names=self.header_names,
            body=body,
        )
        answer = await gateway.upstream.send(request)
        content = await expect(answer, call.target, 200, 204)
        passed_on = passed(answer.headers, self.answer_header_names)
        if self.method != "GET":
            return Response(self.status, passed_on)
        if root_of(content) != self.root:
            raise not_implemented()
        passed_on["Content-Type"] = "application/xml"
        return Response(self.status, passed_on, content)


def _check_document(body: bytes, root: str) -> None:
    try:
        xml_codec.parse(body, root)
    except xml_codec.XmlError:
        raise malformed_xml() from None


def root_of(document: bytes) -> str | None:
    """The name of a document's root element, or None if it is no document."""
    names: list[str] = [""]

    def end(name: str, _: str) -> None:
        names[0] = name

    try:
        xml_codec.read_elements(document, end)
    except xml_codec.XmlError:
        return None
    return names[0]


def _bucket(name: str, method: str, action: str, sub_resource: str, root: str = "", **more: object) -> Forwarded:
    return replace(Forwarded(name, method, Level.BUCKET, action, sub_resource, root), **more)  # type: ignore[arg-type]


def _object(name: str, method: str, action: str, sub_resource: str, root: str = "", **more: object) -> Forwarded:
    row = Forwarded(
        name,
        method,
        Level.OBJECT,
        action,
        sub_resource,
        root,
        query_names=("versionId",),
        answer_header_names=_VERSION,
    )
    return replace(row, **more)  # type: ignore[arg-type]


_MINIMUM_SIZE: Final = ("x-amz-transition-default-minimum-object-size",)

_BUCKET_ROWS: Final = (
    _bucket("GetBucketVersioning", "GET", "s3:GetBucketVersioning", "versioning", "VersioningConfiguration"),
    _bucket(
        "PutBucketVersioning",
        "PUT",
        "s3:PutBucketVersioning",
        "versioning",
        "VersioningConfiguration",
        header_names=("x-amz-mfa",),
    ),
    _bucket("GetBucketTagging", "GET", "s3:GetBucketTagging", "tagging", "Tagging"),
    _bucket("PutBucketTagging", "PUT", "s3:PutBucketTagging", "tagging", "Tagging", status=204),
    _bucket("DeleteBucketTagging", "DELETE", "s3:PutBucketTagging", "tagging", status=204),
    _bucket("GetBucketCors", "GET", "s3:GetBucketCORS", "cors", "CORSConfiguration"),
    _bucket("PutBucketCors", "PUT", "s3:PutBucketCORS", "cors", "CORSConfiguration"),
    _bucket("DeleteBucketCors", "DELETE", "s3:PutBucketCORS", "cors", status=204),
    _bucket(
        "GetBucketLifecycleConfiguration",
        "GET",
        "s3:GetLifecycleConfiguration",
        "lifecycle",
        "LifecycleConfiguration",
        answer_header_names=_MINIMUM_SIZE,
    ),
    _bucket(
        "PutBucketLifecycleConfiguration",
        "PUT",
        "s3:PutLifecycleConfiguration",
        "lifecycle",
        "LifecycleConfiguration",
        header_names=_MINIMUM_SIZE,
        answer_header_names=_MINIMUM_SIZE,
    ),
    _bucket("DeleteBucketLifecycle", "DELETE", "s3:PutLifecycleConfiguration", "lifecycle", status=204),
    _bucket(
        "GetObjectLockConfiguration",
        "GET",
        "s3:GetBucketObjectLockConfiguration",
        "object-lock",
        "ObjectLockConfiguration",
    ),
    _bucket(
        "PutObjectLockConfiguration",
        "PUT",
        "s3:PutBucketObjectLockConfiguration",
        "object-lock",
        "ObjectLockConfiguration",
        header_names=("x-amz-bucket-object-lock-token",),
    ),
    _bucket(
        "GetBucketNotificationConfiguration",
        "GET",
        "s3:GetBucketNotification",
        "notification",
        "NotificationConfiguration",
    ),
    _bucket(
        "PutBucketNotificationConfiguration",
        "PUT",
        "s3:PutBucketNotification",
        "notification",
        "NotificationConfiguration",
        header_names=("x-amz-skip-destination-validation",),
    ),
    _bucket("GetBucketWebsite", "GET", "s3:GetBucketWebsite", "website", "WebsiteConfiguration"),
    _bucket("PutBucketWebsite", "PUT", "s3:PutBucketWebsite", "website", "WebsiteConfiguration"),
    _bucket("GetBucketLogging", "GET", "s3:GetBucketLogging", "logging", "BucketLoggingStatus"),
    _bucket("PutBucketLogging", "PUT", "s3:PutBucketLogging", "logging", "BucketLoggingStatus"),
    _bucket(
        "GetBucketRequestPayment",
        "GET",
        "s3:GetBucketRequestPayment",
        "requestPayment",
        "RequestPaymentConfiguration",
    ),
    _bucket(
        "PutBucketRequestPayment",
        "PUT",
        "s3:PutBucketRequestPayment",
        "requestPayment",
        "RequestPaymentConfiguration",
    ),
)

_GET_TAGGING: Final = _object("GetObjectTagging", "GET", "s3:GetObjectTagging", "tagging", "Tagging")
_PUT_TAGGING: Final = _object("PutObjectTagging", "PUT", "s3:PutObjectTagging", "tagging", "Tagging")
_DELETE_TAGGING: Final = _object("DeleteObjectTagging", "DELETE", "s3:DeleteObjectTagging", "tagging", status=204)

_OBJECT_ROWS: Final = (
    _GET_TAGGING,
    _PUT_TAGGING,
    _DELETE_TAGGING,
    _object("GetObjectLegalHold", "GET", "s3:GetObjectLegalHold", "legal-hold", "LegalHold"),
    _object("PutObjectLegalHold", "PUT", "s3:PutObjectLegalHold", "legal-hold", "LegalHold"),
    _object("GetObjectRetention", "GET", "s3:GetObjectRetention", "retention", "Retention"),
    _object(
        "PutObjectRetention",
        "PUT",
        "s3:PutObjectRetention",
        "retention",
        "Retention",
        header_names=("x-amz-bypass-governance-retention",),
    ),
)

FORWARDED: Final = (
    *(row.operation() for row in _BUCKET_ROWS + _OBJECT_ROWS),
    _GET_TAGGING.versioned("s3:GetObjectVersionTagging"),
    _PUT_TAGGING.versioned("s3:PutObjectVersionTagging"),
    _DELETE_TAGGING.versioned("s3:DeleteObjectVersionTagging"),
)
