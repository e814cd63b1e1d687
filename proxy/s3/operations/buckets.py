"""ListBuckets, CreateBucket, HeadBucket, DeleteBucket and GetBucketLocation.

Whose a bucket is, and in which Region, stands in its record; the store knows one account and one Region. A record is
made before the bucket and removed after it: a process that ends in between leaves a record without a bucket, which
the owner's next CreateBucket or DeleteBucket puts right. The other way round the bucket would be left to nobody.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html and its neighbours,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
"""

import base64
import binascii
import re
from datetime import datetime
from typing import Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.access.accounts import canonical_id
from proxy.s3.bodies.documents import read_document
from proxy.s3.errors import (
    invalid_argument,
    invalid_bucket_name,
    malformed_xml,
    not_adopted,
    not_implemented,
    service_unavailable,
)
from proxy.s3.forwarding import error_of, expect, read_answer, upstream_request
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.listings.object_listing import read_page
from proxy.s3.objects.headers import asks_for_owners_acl
from proxy.s3.operation import Level, operation
from proxy.s3.state.ports import BucketRecord, EncryptionRule
from proxy.s3.upstream.port import UpstreamError

_MOST_BUCKETS: Final = 10_000
_MAX_CONFIGURATION: Final = 64 * 1024
_DEFAULT_REGION: Final = "us-east-1"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-\d{1,2}")
_RESERVED_PREFIXES: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES: Final = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3", "-an")


@operation("ListBuckets", "GET", Level.SERVICE, "s3:ListAllMyBuckets")
async def list_buckets(gateway: Gateway, call: Call) -> Response:
    """The buckets of the caller's account, from the records."""
    parameter = call.request.parameter
    count = _max_buckets(parameter("max-buckets"))
    prefix, region, token = parameter("prefix"), parameter("bucket-region"), parameter("continuation-token")
    after = _decode_token(token) if token else ""
    matching = [
        bucket
        for bucket in await gateway.buckets.owned_by(call.caller.account)
        if bucket.name > after and bucket.name.startswith(prefix or "") and bucket.region == (region or bucket.region)
    ]
    shown = matching[:count]
    content = {
        "Owner": {"ID": canonical_id(call.caller.account)},
        "Buckets": {
            "Bucket": [
                {"Name": bucket.name, "CreationDate": _moment(bucket.created), "BucketRegion": bucket.region}
                for bucket in shown
            ]
        },
        "Prefix": prefix,
        "ContinuationToken": _encode_token(shown[-1].name) if len(matching) > len(shown) else None,
    }
    return _document(xml_codec.render("ListAllMyBucketsResult", content))


@operation("CreateBucket", "PUT", Level.BUCKET, "s3:CreateBucket", makes_bucket=True)
async def create_bucket(gateway: Gateway, call: Call) -> Response:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html"""
    name = call.target.bucket
    _check_name(name)
    _check_headers(call)
    region = _location(await read_document(gateway, call, _MAX_CONFIGURATION)) or call.verified.scope.region
    rule = EncryptionRule(blocks_customer_keys=gateway.settings.block_customer_keys)
    record = BucketRecord(name, call.caller.account, region, gateway.clock(), rule)
    found = await gateway.buckets.get(name)
    exists = await _exists_upstream(gateway, call.target)
    if found is None:
        if exists:
            raise not_adopted(name)
        if await gateway.buckets.replace(None, record):
            await _create_upstream(gateway, call, new=True)
            return _created(name)
        found = await gateway.buckets.get(name)
    if found is None or found.account != call.caller.account:
        raise _already_exists(name)
    if not exists and await _create_upstream(gateway, call, new=False):
        return _created(name)
    if found.region == _DEFAULT_REGION:
        # What AWS does there, and nowhere else, "for legacy compatibility".
        return _created(name)
    message = "Your previous request to create the named bucket succeeded and you already own it."
    raise AwsError("BucketAlreadyOwnedByYou", message, 409, detail={"BucketName": name})


@operation("HeadBucket", "HEAD", Level.BUCKET, "s3:ListBucket")
async def head_bucket(gateway: Gateway, call: Call) -> Response:
    """Whether the bucket is there, and its Region."""
    answer = await gateway.upstream.send(upstream_request("HEAD", call.target))
    await expect(answer, call.target, 200)
    headers = {
        "Content-Type": "application/xml",
        "x-amz-bucket-region": call.record.region,
        "x-amz-access-point-alias": "false",
    }
    return Response(200, CIMultiDict(headers))


@operation("GetBucketLocation", "GET", Level.BUCKET, "s3:GetBucketLocation", query=("location",))
async def get_bucket_location(gateway: Gateway, call: Call) -> Response:
    """The bucket's Region; AWS answers nothing for us-east-1."""
    answer = await gateway.upstream.send(upstream_request("HEAD", call.target))
    await expect(answer, call.target, 200)
    region = "" if call.record.region == _DEFAULT_REGION else call.record.region
    root = f'<LocationConstraint xmlns="{xml_codec.NAMESPACE}">{region}</LocationConstraint>'
    return _document(f"{xml_codec.DECLARATION}{root}".encode())


@operation("DeleteBucket", "DELETE", Level.BUCKET, "s3:DeleteBucket")
async def delete_bucket(gateway: Gateway, call: Call) -> Response:
    """Deletes an empty bucket, then what is on record of it. Answers 204, too, where the bucket was gone already: an
    earlier attempt was cut off before the record went."""
    if gateway.settings.store.deletes_filled_buckets:
        await _refuse_filled(gateway, call.target)
    answer = await gateway.upstream.send(upstream_request("DELETE", call.target))
    body = await read_answer(answer)
    if answer.status not in (200, 204, 404):
        raise error_of(answer.status, body, call.target)
    await gateway.objects.forget_bucket(call.target.bucket)
    await gateway.buckets.remove(call.target.bucket)
    return Response(204)


async def _refuse_filled(gateway: Gateway, target: Target) -> None:
    """Raises BucketNotEmpty where the store would delete the objects, their versions or delete markers, too."""
    listing = await gateway.upstream.send(upstream_request("GET", target, query={"max-keys": "1"}))
    body = await read_answer(listing)
    if listing.status == 404:
        return
    if listing.status != 200:
        raise error_of(listing.status, body, target)
    page = read_page(body)
    if page.entries or page.prefixes:
        raise _not_empty(target.bucket)
    versions = await gateway.upstream.send(upstream_request("GET", target, query={"versions": "", "max-keys": "1"}))
    body = await read_answer(versions)
    if versions.status == 200 and _has_versions(body):
        raise _not_empty(target.bucket)


def _has_versions(document: bytes) -> bool:
    names: set[str] = set()
    try:
        xml_codec.read_elements(document, lambda name, _: names.add(name))
    except xml_codec.XmlError as error:
        raise UpstreamError("the store's list of versions can't be read") from error
    return not names.isdisjoint({"Version", "DeleteMarker", "CommonPrefixes"})


async def _exists_upstream(gateway: Gateway, target: Target) -> bool:
    """Raises BucketAlreadyExists where the name is another account's at the store."""
    answer = await gateway.upstream.send(upstream_request("HEAD", target))
    await answer.aclose()
    if answer.status == 403:
        raise _already_exists(target.bucket)
    if answer.status not in (200, 404):
        raise service_unavailable()
    return answer.status == 200


async def _create_upstream(gateway: Gateway, call: Call, *, new: bool) -> bool:
    """Makes the bucket; False if another request of its owner has made it meanwhile.

    ``new``: this request has made the record, and takes it back where the store refuses. Where the outcome is unknown,
    the record stays, and so does the right to try again.
    """
    headers, body = CIMultiDict[str](), b""
    if gateway.settings.upstream_region != _DEFAULT_REGION:
        content = {"LocationConstraint": gateway.settings.upstream_region}
        body = xml_codec.render("CreateBucketConfiguration", content)
    if call.request.headers.get("x-amz-bucket-object-lock-enabled", "").lower() == "true":
        headers["x-amz-bucket-object-lock-enabled"] = "true"
    answer = await gateway.upstream.send(upstream_request("PUT", call.target, headers=headers, body=body))
    body = await read_answer(answer)
    if answer.status == 200:
        return True
    error = error_of(answer.status, body, call.target)
    if error.code == "BucketAlreadyOwnedByYou":
        return False
    if new and 400 <= answer.status < 500:
        await gateway.buckets.remove(call.target.bucket)
    raise error


def _check_name(name: str) -> None:
    """AWS's rules for names of general purpose buckets."""
    valid = (
        _NAME.fullmatch(name)
        and not _ADDRESS.fullmatch(name)
        and not name.startswith(_RESERVED_PREFIXES)
        and not name.endswith(_RESERVED_SUFFIXES)
    )
    if not valid:
        raise invalid_bucket_name(name)


def _check_headers(call: Call) -> None:
    """Refuses what would make the bucket something else than AWS's default: private, owned by its owner alone."""
    headers = call.request.headers
    if not asks_for_owners_acl(headers):
        message = "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"
        raise AwsError("InvalidBucketAclWithObjectOwnership", message, 400)
    if headers.get("x-amz-object-ownership", "BucketOwnerEnforced") != "BucketOwnerEnforced":
        raise not_implemented("x-amz-object-ownership")
    if headers.get("x-amz-bucket-namespace", "global") != "global":
        raise not_implemented("x-amz-bucket-namespace")


def _location(document: bytes) -> str | None:
    """The Region that a CreateBucketConfiguration names, if any."""
    if not document:
        return None
    try:
        content = xml_codec.parse(document, "CreateBucketConfiguration")
    except xml_codec.XmlError:
        raise malformed_xml() from None
    if content.get("Location") or content.get("Bucket") or content.get("Tags"):
        raise not_implemented()
    region = content.get("LocationConstraint")
    if region is None:
        return None
    if region == "EU":
        return "eu-west-1"
    if not isinstance(region, str) or not _REGION.fullmatch(region) or region == _DEFAULT_REGION:
        message = "The specified location-constraint is not valid"
        raise AwsError("InvalidLocationConstraint", message, 400, detail={"LocationConstraint": str(region)})
    return region


def _max_buckets(value: str | None) -> int:
    if not value:
        return _MOST_BUCKETS
    if not (value.isascii() and value.isdigit()) or not 1 <= int(value[:6]) <= _MOST_BUCKETS:
        message = f"Argument max-buckets must be an integer between 1 and {_MOST_BUCKETS}"
        raise invalid_argument(message, "max-buckets", value)
    return int(value)


def _encode_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _decode_token(token: str) -> str:
    try:
        return base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        message = "The continuation token provided is incorrect"
        raise invalid_argument(message, "continuation-token", token) from None


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _document(document: bytes) -> Response:
    return Response(200, CIMultiDict({"Content-Type": "application/xml"}), document)


def _created(name: str) -> Response:
    return Response(200, CIMultiDict({"Location": f"/{name}"}))


def _already_exists(name: str) -> AwsError:
    message = (
        "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
        "Please select a different name and try again."
    )
    return AwsError("BucketAlreadyExists", message, 409, detail={"BucketName": name})


def _not_empty(name: str) -> AwsError:
    message = "The bucket you tried to delete is not empty"
    return AwsError("BucketNotEmpty", message, 409, detail={"BucketName": name})
