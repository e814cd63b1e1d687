"""The operations that carry no object bytes and no sizes, by name: they go to the store, rebuilt from their own lists.

A document is verified and parsed before it goes up; an answer's root element must be the one that the operation has.
Stores take a sub-resource that they do not know for none: a PUT of it is then CreateBucket or PutObject, a DELETE
deletes the bucket or the object, a GET is a listing. Therefore what changes anything goes up only to a store whose
profile has it, and is 501 NotImplemented elsewhere; what reads may go to any, for the answer's root tells.

Source: the operations' pages in https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.bodies.documents import read_document
from proxy.s3.errors import malformed_xml, not_implemented
from proxy.s3.forwarding import content_md5, expect, passed, upstream_request
from proxy.s3.gateway import Call, Gateway
from proxy.s3.operation import Level, Operation

_MAX_DOCUMENT: Final = 1024 * 1024
_VERSION: Final = ("x-amz-version-id",)
_NO_LOCK: Final = (
    "NoSuchObjectLegalHold",
    "NoSuchObjectRetention",
    "NoSuchObjectLockConfiguration",
    "ObjectLockConfigurationNotFoundError",
)


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
    by_id: bool = False
    """Whether the bucket has several, told apart by ``id``."""

    def operation(self) -> Operation:
        query = {self.sub_resource, "id"} if self.by_id else {self.sub_resource}
        return Operation(self.name, self.method, self.level, self.action, self._run, query=frozenset(query))

    def versioned(self, action: str) -> Operation:
        """The same on one version of the object, which is another action."""
        row = self.operation()
        return replace(row, action=action, query=row.query | {"versionId"})

    async def _run(self, gateway: Gateway, call: Call) -> Response:
        if self.method != "GET" and self.name not in gateway.settings.store.changes:
            raise not_implemented()
        body, headers = b"", {}
        if self.method in ("PUT", "POST"):
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
        try:
            content = await expect(answer, call.target, 200, 202, 204)
        except AwsError as error:
            raise _as_on_aws(error, self.level) from None
        passed_on = passed(answer.headers, self.answer_header_names)
        named = call.request.parameter("versionId")
        if named and self.level is Level.OBJECT:
            # SeaweedFS and Ceph leave it out.
            passed_on["x-amz-version-id"] = named
        if self.method != "GET":
            return Response(answer.status if self.method == "POST" else self.status, passed_on)
        if root_of(content) != self.root:
            raise not_implemented()
        passed_on["Content-Type"] = "application/xml"
        return Response(self.status, passed_on, content)


def _as_on_aws(error: AwsError, level: Level) -> AwsError:
    """Stores have different names for a lock that an object does not have."""
    if level is not Level.OBJECT or error.code not in _NO_LOCK:
        return error
    message = "The specified object does not have a ObjectLock configuration"
    return AwsError("NoSuchObjectLockConfiguration", message, 404)


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


def _configurations(sub_resource: str, kind: str, root: str, listed: str) -> tuple[Forwarded, ...]:
    """Get, List, Put and Delete of a sub-resource of which a bucket has several."""
    name, read, write = f"Bucket{root}", f"s3:Get{kind}Configuration", f"s3:Put{kind}Configuration"
    one: dict[str, Any] = {"by_id": True, "query_names": ("id",)}
    return (
        _bucket(f"Get{name}", "GET", read, sub_resource, root, **one),
        _bucket(f"List{name}s", "GET", read, sub_resource, listed, query_names=("continuation-token",)),
        _bucket(f"Put{name}", "PUT", write, sub_resource, root, status=204, **one),
        _bucket(f"Delete{name}", "DELETE", write, sub_resource, status=204, **one),
    )


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
    _bucket("DeleteBucketWebsite", "DELETE", "s3:DeleteBucketWebsite", "website", status=204),
    _bucket("GetBucketReplication", "GET", "s3:GetReplicationConfiguration", "replication", "ReplicationConfiguration"),
    _bucket(
        "PutBucketReplication",
        "PUT",
        "s3:PutReplicationConfiguration",
        "replication",
        "ReplicationConfiguration",
        header_names=("x-amz-bucket-object-lock-token",),
    ),
    _bucket("DeleteBucketReplication", "DELETE", "s3:PutReplicationConfiguration", "replication", status=204),
    _bucket(
        "GetBucketAccelerateConfiguration",
        "GET",
        "s3:GetAccelerateConfiguration",
        "accelerate",
        "AccelerateConfiguration",
    ),
    _bucket(
        "PutBucketAccelerateConfiguration",
        "PUT",
        "s3:PutAccelerateConfiguration",
        "accelerate",
        "AccelerateConfiguration",
    ),
    *_configurations("analytics", "Analytics", "AnalyticsConfiguration", "ListBucketAnalyticsConfigurationResult"),
    *_configurations(
        "intelligent-tiering",
        "IntelligentTiering",
        "IntelligentTieringConfiguration",
        "ListBucketIntelligentTieringConfigurationsOutput",
    ),
    *_configurations("inventory", "Inventory", "InventoryConfiguration", "ListInventoryConfigurationsResult"),
    *_configurations("metrics", "Metrics", "MetricsConfiguration", "ListMetricsConfigurationsResult"),
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
    _object(
        "RestoreObject",
        "POST",
        "s3:RestoreObject",
        "restore",
        "RestoreRequest",
        answer_header_names=("x-amz-restore-output-path",),
    ),
)

FORWARDED: Final = (
    *(row.operation() for row in _BUCKET_ROWS + _OBJECT_ROWS),
    _GET_TAGGING.versioned("s3:GetObjectVersionTagging"),
    _PUT_TAGGING.versioned("s3:PutObjectVersionTagging"),
    _DELETE_TAGGING.versioned("s3:DeleteObjectVersionTagging"),
)
