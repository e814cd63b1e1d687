"""ACLs and who owns objects, of buckets whose ACLs are disabled: every bucket here is BucketOwnerEnforced, which is
AWS's default since 2023.

An ACL is always the owner's FULL_CONTROL. To ask for that very ACL (``private``, ``bucket-owner-full-control`` or the
same as grants) changes nothing and is answered with 200, where AWS refuses even some of that; whatever else is AWS's
AccessControlListNotSupported. Another rule of ownership than BucketOwnerEnforced would need ACLs: NotImplemented.
Nothing of it is sent to the store, which knows one owner only.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
"""

from typing import Any, Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.message import Response
from proxy.s3.access.accounts import canonical_id
from proxy.s3.bodies.documents import read_document
from proxy.s3.errors import acls_not_supported, malformed_xml, not_implemented
from proxy.s3.forwarding import passed, store_error, upstream_request
from proxy.s3.gateway import Call, Gateway
from proxy.s3.objects.headers import asks_for_owners_acl
from proxy.s3.operation import Level, operation

_MAX_DOCUMENT: Final = 64 * 1024
_ACL: Final = ("acl",)
_ACL_OF_VERSION: Final = ("acl", "versionId")
_OWNERSHIP: Final = ("ownershipControls",)
_ENFORCED: Final = "BucketOwnerEnforced"
_INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance"


@operation("GetBucketAcl", "GET", Level.BUCKET, "s3:GetBucketAcl", query=_ACL)
async def get_bucket_acl(gateway: Gateway, call: Call) -> Response:  # noqa: ARG001 - all buckets have the same
    """The owner's FULL_CONTROL."""
    return _acl_of(call)


@operation("PutBucketAcl", "PUT", Level.BUCKET, "s3:PutBucketAcl", query=_ACL)
async def put_bucket_acl(gateway: Gateway, call: Call) -> Response:
    """Takes the ACL that the bucket has."""
    await _check_acl(gateway, call)
    return Response(200)


async def read_object_acl(gateway: Gateway, call: Call) -> Response:
    """The bucket owner's FULL_CONTROL, of an object that is there."""
    return _acl_of(call, passed((await _head(gateway, call)).headers, ("x-amz-version-id",)))


async def write_object_acl(gateway: Gateway, call: Call) -> Response:
    """Takes the ACL that the object has."""
    await _check_acl(gateway, call)
    return Response(200, passed((await _head(gateway, call)).headers, ("x-amz-version-id",)))


OBJECT_ACLS: Final = (
    operation("GetObjectAcl", "GET", Level.OBJECT, "s3:GetObjectAcl", query=_ACL)(read_object_acl),
    operation("GetObjectAcl", "GET", Level.OBJECT, "s3:GetObjectVersionAcl", query=_ACL_OF_VERSION)(read_object_acl),
    operation("PutObjectAcl", "PUT", Level.OBJECT, "s3:PutObjectAcl", query=_ACL)(write_object_acl),
    operation("PutObjectAcl", "PUT", Level.OBJECT, "s3:PutObjectVersionAcl", query=_ACL_OF_VERSION)(write_object_acl),
)


@operation("GetBucketOwnershipControls", "GET", Level.BUCKET, "s3:GetBucketOwnershipControls", query=_OWNERSHIP)
async def get_ownership_controls(gateway: Gateway, call: Call) -> Response:  # noqa: ARG001 - all buckets have the same
    """BucketOwnerEnforced."""
    document = xml_codec.render("OwnershipControls", {"Rule": {"ObjectOwnership": _ENFORCED}})
    return Response(200, CIMultiDict({"Content-Type": "application/xml"}), document)


@operation("PutBucketOwnershipControls", "PUT", Level.BUCKET, "s3:PutBucketOwnershipControls", query=_OWNERSHIP)
async def put_ownership_controls(gateway: Gateway, call: Call) -> Response:
    """Takes BucketOwnerEnforced."""
    content = _parse(await read_document(gateway, call, _MAX_DOCUMENT), "OwnershipControls", "Rule")
    rules = content.get("Rule", [])
    if len(rules) != 1 or not isinstance(rules[0], dict) or set(rules[0]) != {"ObjectOwnership"}:
        raise malformed_xml()
    if rules[0]["ObjectOwnership"] != _ENFORCED:
        if rules[0]["ObjectOwnership"] not in ("BucketOwnerPreferred", "ObjectWriter"):
            raise malformed_xml()
        raise not_implemented()
    return Response(200)


async def _head(gateway: Gateway, call: Call) -> Response:
    request = upstream_request("HEAD", call.target, call.request, query_names=("versionId",))
    answer = await gateway.upstream.send(request)
    if answer.status != 200:
        raise await store_error(answer, call)
    await answer.aclose()
    return answer


def _acl_of(call: Call, headers: CIMultiDict[str] | None = None) -> Response:
    owner = canonical_id(call.record.account)
    grantee = f'<Grantee xmlns:xsi="{_INSTANCE}" xsi:type="CanonicalUser"><ID>{owner}</ID></Grantee>'
    document = (
        f'{xml_codec.DECLARATION}<AccessControlPolicy xmlns="{xml_codec.NAMESPACE}"><Owner><ID>{owner}</ID></Owner>'
        f"<AccessControlList><Grant>{grantee}<Permission>FULL_CONTROL</Permission></Grant></AccessControlList>"
        "</AccessControlPolicy>"
    )
    found = CIMultiDict(headers or {})
    found["Content-Type"] = "application/xml"
    return Response(200, found, document.encode())


async def _check_acl(gateway: Gateway, call: Call) -> None:
    """Raises AccessControlListNotSupported for another ACL than the owner's FULL_CONTROL."""
    document = await read_document(gateway, call, _MAX_DOCUMENT)
    if not asks_for_owners_acl(call.request.headers):
        raise acls_not_supported()
    if document and not _grants_owner_alone(_parse(document, "AccessControlPolicy", "Grant"), call.record.account):
        raise acls_not_supported()


def _grants_owner_alone(content: dict[str, Any], account: str) -> bool:
    grants = content.get("AccessControlList")
    listed = grants.get("Grant", []) if isinstance(grants, dict) else []
    return len(listed) == 1 and _is_owners(listed[0], account)


def _is_owners(grant: Any, account: str) -> bool:
    grantee = grant.get("Grantee") if isinstance(grant, dict) else None
    is_owner = isinstance(grantee, dict) and grantee.get("ID") == canonical_id(account)
    return is_owner and grant.get("Permission") == "FULL_CONTROL"


def _parse(document: bytes, root: str, *lists: str) -> dict[str, Any]:
    try:
        return dict(xml_codec.parse(document, root, lists=lists))
    except xml_codec.XmlError:
        raise malformed_xml() from None
