"""DeleteObject and DeleteObjects.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html and API_DeleteObjects.html
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.access.authorization import authorize
from proxy.s3.bodies.documents import read_document
from proxy.s3.errors import (
    access_denied,
    invalid_argument,
    invalid_request,
    malformed_xml,
    not_implemented,
    object_locked,
    unfit_key,
)
from proxy.s3.forwarding import content_md5, expect, is_locked, parse_answer, passed, upstream_request
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.objects import etag as etags
from proxy.s3.objects.records import distinguished, drop_removed, drop_versions, records_of, removed
from proxy.s3.operation import Level, operation
from proxy.s3.state.ports import ObjectRecord
from proxy.s3.upstream.port import UpstreamError

_MOST_KEYS: Final = 1000
_MAX_DOCUMENT: Final = 2 * 1024 * 1024
_HEADERS: Final = ("x-amz-mfa", "x-amz-bypass-governance-retention")
_DIRECTORY_BUCKETS_ONLY: Final = ("x-amz-if-match-last-modified-time", "x-amz-if-match-size")
_MEMBERS: Final = frozenset({"Key", "VersionId", "ETag", "LastModifiedTime", "Size"})


@dataclass(frozen=True)
class Deletion:
    """One object of a DeleteObjects request."""

    key: str
    version_id: str | None = None
    etag: str | None = None


async def delete_object(gateway: Gateway, call: Call) -> Response:
    """Deletes an object, one version of it, or puts a delete marker in its place."""
    for name in _DIRECTORY_BUCKETS_ONLY:
        if name in call.request.headers:
            raise not_implemented(name)
    version_id = call.request.parameter("versionId")
    if await _is_not_there(gateway, call, version_id):
        return Response(204, CIMultiDict({"x-amz-version-id": version_id or ""}))
    headers: dict[str, str] = {}
    condition = call.request.headers.get("If-Match")
    if condition is not None:
        (headers["If-Match"],) = await _translated(gateway, call, [Deletion(call.target.key, etag=condition)])
    records = await records_of(gateway, call.target)
    request = upstream_request(
        "DELETE", call.target, call.request, headers=headers, query_names=("versionId",), header_names=_HEADERS
    )
    answer = await gateway.upstream.send(request)
    await expect(answer, call.target, 200, 204)
    await drop_removed(gateway, records, answer.headers, named=version_id)
    return Response(204, passed(answer.headers, ("x-amz-delete-marker", "x-amz-version-id")))


DELETE_OBJECT = operation("DeleteObject", "DELETE", Level.OBJECT, "s3:DeleteObject")(delete_object)
DELETE_OBJECT_VERSION = operation(
    "DeleteObject", "DELETE", Level.OBJECT, "s3:DeleteObjectVersion", query=("versionId",)
)(delete_object)


@operation("DeleteObjects", "POST", Level.BUCKET, "", query=("delete",))
async def delete_objects(gateway: Gateway, call: Call) -> Response:
    """Deletes up to 1,000 objects; each is authorized by itself and has its own outcome in the answer."""
    if call.caller.anonymous and call.record.policy is None:
        # Nothing could be allowed; nobody need read the document of whoever has not signed.
        raise access_denied()
    _require_digest(call)
    deletions, quiet = parse_deletions(await read_document(gateway, call, _MAX_DOCUMENT))
    allowed, failed = _authorized(gateway, call, deletions)
    for deletion in allowed:
        if not gateway.settings.store.fits(deletion.key):
            raise unfit_key(deletion.key)
    there, deleted = await _told_apart(gateway, call, allowed)
    if there:
        gone, refused = await _delete_upstream(gateway, call, there)
        deleted, failed = deleted + gone, failed + refused
    content = {"Deleted": [] if quiet else deleted, "Error": failed}
    document = xml_codec.render("DeleteResult", content)
    return Response(200, CIMultiDict({"Content-Type": "application/xml"}), document)


def _authorized(
    gateway: Gateway, call: Call, deletions: Sequence[Deletion]
) -> tuple[list[Deletion], list[dict[str, str]]]:
    """The deletions that the caller's policies allow, and an error for each of the others."""
    allowed: list[Deletion] = []
    refused: list[dict[str, str]] = []
    for deletion in deletions:
        action = "s3:DeleteObjectVersion" if deletion.version_id else "s3:DeleteObject"
        try:
            authorize(call, action, Target(call.target.bucket, deletion.key), gateway.clock)
        except AwsError as error:
            version = {"VersionId": deletion.version_id} if deletion.version_id else {}
            refused.append({"Key": deletion.key, **version, "Code": error.code, "Message": error.message or ""})
        else:
            allowed.append(deletion)
    return allowed, refused


async def _is_not_there(gateway: Gateway, call: Call, version_id: str | None) -> bool:
    """Whether a version can't be there, and must not be named to a store that would delete the object instead."""
    if version_id in (None, "null") or not gateway.settings.store.takes_any_version_id:
        return False
    request = upstream_request("GET", Target(call.target.bucket), query={"versioning": ""})
    answer = await gateway.upstream.send(request)
    document = parse_answer(await expect(answer, call.target, 200), "VersioningConfiguration")
    return not document.get("Status")


async def _told_apart(
    gateway: Gateway, call: Call, deletions: Sequence[Deletion]
) -> tuple[list[Deletion], list[dict[str, str]]]:
    """The deletions for the store, and the outcome of those of versions that can't be there: it is as if deleted."""
    named = next((row.version_id for row in deletions if row.version_id not in (None, "null")), None)
    if not await _is_not_there(gateway, call, named):
        return list(deletions), []
    absent = [row for row in deletions if row.version_id not in (None, "null")]
    told = [{"Key": row.key, "VersionId": row.version_id or ""} for row in absent]
    return [row for row in deletions if row not in absent], told


async def _delete_upstream(
    gateway: Gateway, call: Call, deletions: Sequence[Deletion]
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """What the store has deleted, and what not."""
    records = await gateway.objects.find(call.target.bucket, list({deletion.key for deletion in deletions}))
    body = _render(await _for_upstream(gateway, call, deletions))
    headers = {"Content-MD5": content_md5(body), "Content-Type": "application/xml"}
    request = upstream_request(
        "POST", call.target, call.request, query={"delete": ""}, headers=headers, header_names=_HEADERS, body=body
    )
    answer = await gateway.upstream.send(request)
    deleted, failed = _parse_result(await expect(answer, call.target, 200))
    named = {(deletion.key, deletion.version_id) for deletion in deletions if deletion.version_id}
    for item in deleted:
        marker = item.get("DeleteMarkerVersionId")
        if "VersionId" not in item and marker and (item.get("Key"), marker) in named:
            # SeaweedFS tells of a marker that was removed as of one that was made.
            item["VersionId"] = marker
    await _forget(gateway, deleted, records)
    return deleted, failed


def _require_digest(call: Call) -> None:
    """AWS deletes nothing on the word of a document that has no digest of its own."""
    for name in call.request.headers:
        lower = name.lower()
        if lower in ("content-md5", "x-amz-trailer") or lower.startswith("x-amz-checksum-"):
            return
    raise invalid_request("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")


def parse_deletions(document: bytes) -> tuple[list[Deletion], bool]:
    """The objects of a Delete document, in order, and whether only failures are to be reported.

    Raises:
        AwsError: MalformedXML; NotImplemented for conditions that only directory buckets have.
    """
    try:
        content = xml_codec.parse(document, "Delete", lists=("Object",))
    except xml_codec.XmlError:
        raise malformed_xml() from None
    objects = content.get("Object", [])
    if not 1 <= len(objects) <= _MOST_KEYS or not {"Object", "Quiet"}.issuperset(content):
        raise malformed_xml()
    quiet = content.get("Quiet") or "false"
    if not isinstance(quiet, str) or quiet.strip().lower() not in ("true", "false"):
        raise malformed_xml()
    return [_deletion(item) for item in objects], quiet.strip().lower() == "true"


def _deletion(item: Any) -> Deletion:
    if not isinstance(item, dict) or not _MEMBERS.issuperset(item) or not item.get("Key"):
        raise malformed_xml()
    if not all(isinstance(value, str | None) for value in item.values()):
        raise malformed_xml()
    if item.get("LastModifiedTime") or item.get("Size"):
        raise not_implemented()
    return Deletion(item["Key"], item.get("VersionId"), item.get("ETag"))


async def _for_upstream(gateway: Gateway, call: Call, deletions: Sequence[Deletion]) -> list[Deletion]:
    """The same deletions with the store's ETags in their conditions."""
    conditional = [deletion for deletion in deletions if deletion.etag]
    if not conditional:
        return list(deletions)
    translated = iter(await _translated(gateway, call, conditional))
    return [
        Deletion(deletion.key, deletion.version_id, next(translated)) if deletion.etag else deletion
        for deletion in deletions
    ]


async def _translated(gateway: Gateway, call: Call, conditional: Sequence[Deletion]) -> list[str]:
    """The store's form of each condition.

    Raises:
        AwsError: NotImplemented, for a store that would delete whatever the condition says.
    """
    if not gateway.settings.store.conditional_deletes:
        raise not_implemented("If-Match")
    keys = list({deletion.key for deletion in conditional})
    records = await gateway.objects.find(call.target.bucket, keys)
    found: list[str] = []
    for deletion in conditional:
        value = deletion.etag or ""
        try:
            own = await distinguished(gateway, Target(call.target.bucket, deletion.key), records.get(deletion.key, []))
            found.append(etags.to_upstream(value, own, key=deletion.key, mixed=call.record.mixed))
        except ValueError:
            raise invalid_argument("The If-Match header is not valid.", "If-Match", value) from None
    return found


def _render(deletions: Sequence[Deletion]) -> bytes:
    objects = [{"Key": deletion.key, "VersionId": deletion.version_id, "ETag": deletion.etag} for deletion in deletions]
    return xml_codec.render("Delete", {"Object": objects, "Quiet": False})


def _parse_result(document: bytes) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """What the store has deleted and what it has not."""
    deleted: list[dict[str, str]] = []
    failed: list[dict[str, str]] = []
    members: dict[str, str] = {}

    def end(name: str, text: str) -> None:
        if name == "Deleted":
            deleted.append(_only(members, ("Key", "VersionId", "DeleteMarker", "DeleteMarkerVersionId")))
            members.clear()
        elif name == "Error":
            failed.append(_failure(members))
            members.clear()
        else:
            members[name] = text

    try:
        xml_codec.read_elements(document, end)
    except xml_codec.XmlError as error:
        raise UpstreamError("the store's answer can't be read") from error
    return deleted, failed


def _failure(members: Mapping[str, str]) -> dict[str, str]:
    found = _only(members, ("Key", "VersionId", "Code", "Message"))
    if is_locked(found.get("Message", "")):
        locked = object_locked()
        found |= {"Code": locked.code, "Message": locked.message or ""}
    return found


def _only(members: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: members[name] for name in names if members.get(name)}


async def _forget(
    gateway: Gateway, deleted: Sequence[Mapping[str, str]], records: Mapping[str, Sequence[ObjectRecord]]
) -> None:
    """Drops the records of objects that are gone for good; versions that stay behind a delete marker keep theirs."""
    gone: list[ObjectRecord] = []
    named: dict[str, set[str]] = defaultdict(set)
    for item in deleted:
        before = records.get(item.get("Key", ""), ())
        if "VersionId" in item:
            named[item["Key"]].add(item["VersionId"])
        elif "DeleteMarker" not in item:
            gone += removed(before, gateway.clock())
    for key, version_ids in named.items():
        await drop_versions(gateway, records.get(key, ()), version_ids)
    if gone:
        await gateway.objects.forget(gone)
