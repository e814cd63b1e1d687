"""ListObjectVersions.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
"""

from multidict import CIMultiDict

from proxy.aws.message import Response
from proxy.s3.access.accounts import canonical_id
from proxy.s3.errors import invalid_argument
from proxy.s3.gateway import Call, Gateway
from proxy.s3.listings import version_pages, version_walk
from proxy.s3.listings.object_listing import Resolve, encode_key
from proxy.s3.listings.parameters import after_marker, max_keys, wants_url
from proxy.s3.listings.version_listing import VersionPage, put_right, render_versions
from proxy.s3.listings.version_pages import Wanted
from proxy.s3.operation import Level, Operation, operation


def list_object_versions_operation(resolve: Resolve) -> Operation:
    """ListObjectVersions; ``resolve`` finds out what a version is that the listing does not explain."""

    @operation("ListObjectVersions", "GET", Level.BUCKET, "s3:ListBucketVersions", query=("versions",))
    async def list_object_versions(gateway: Gateway, call: Call) -> Response:
        return await _list(gateway, call, resolve)

    return list_object_versions


async def _list(gateway: Gateway, call: Call, resolve: Resolve) -> Response:
    parameter = call.request.parameter
    url = wants_url(call.request)
    encode = encode_key if url else str
    prefix, delimiter = parameter("prefix") or "", parameter("delimiter") or ""
    key_marker, version_marker = parameter("key-marker") or "", parameter("version-id-marker") or ""
    if version_marker and not key_marker:
        message = "A version-id marker cannot be specified without a key marker."
        raise invalid_argument(message, "version-id-marker", version_marker)
    count = max_keys(call.request)
    wanted = Wanted(prefix, delimiter, after_marker(key_marker, prefix, delimiter), version_marker, count)
    page = VersionPage((), truncated=False)
    if wanted.count:
        fetch = version_walk.fetch if gateway.settings.store.lists_by_folder else version_pages.fetch
        page = await put_right(gateway, call.record, await fetch(gateway, call.target, wanted), resolve)
    following = page.last if page.truncated else None
    head = [
        ("Name", call.target.bucket),
        ("Prefix", encode(prefix)),
        ("KeyMarker", encode(key_marker)),
        ("VersionIdMarker", version_marker),
        ("NextKeyMarker", encode(following.name) if following else None),
        ("NextVersionIdMarker", following.version_id or None if following else None),
        ("MaxKeys", str(wanted.count)),
        ("Delimiter", encode(delimiter) if delimiter else None),
        ("EncodingType", "url" if url else None),
    ]
    document = render_versions(head, page, url=url, owner=canonical_id(call.record.account))
    headers = CIMultiDict({"Content-Type": "application/xml", "x-amz-bucket-region": call.record.region})
    return Response(200, headers, document)
