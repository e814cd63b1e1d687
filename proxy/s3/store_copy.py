"""A copy whose data stays in the store: its key is wrapped anew, and the store copies what lies there.

Sealed bytes know the object's id, and neither where it lies nor what wraps its key (FORMAT.md, "To re-wrap"). A
multipart object is copied along its own parts where the store would else make another kind of object of it, one whose
ETag tells nothing of parts.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request
from proxy.aws.xml_codec import Node, XmlError
from proxy.envelope import header as envelope_header
from proxy.envelope import parts as envelope_parts
from proxy.envelope import v1
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import Header
from proxy.envelope.parts import PartsTable
from proxy.envelope.ranges import part_stored_size
from proxy.envelope.v1 import Unlocked
from proxy.s3 import etag as etags
from proxy.s3 import preconditions
from proxy.s3.copy_source import COPY_SOURCE, LARGEST, RANGE, Source
from proxy.s3.data_keys import new_wrapping
from proxy.s3.forwarding import content_md5, error_of, etag_of, expect, parse_answer, render_query
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.object_headers import add_envelope
from proxy.s3.object_records import drop_refused, drop_removed, version_id_of, with_version
from proxy.s3.sse import Choice
from proxy.s3.state import ObjectRecord
from proxy.s3.store_reads import ObjectReplaced
from proxy.s3.upstream import UpstreamError

_PARTS_AT_ONCE: Final = 8
_SLOWEST: Final = 4 * 1024**2
"""Bytes per second that a store copies at least, when it works at all."""

_IF_MATCH: Final = f"{COPY_SOURCE}-if-match"
_LOCK: Final = "x-amz-object-lock-"


@dataclass(frozen=True)
class WrappedAnew:
    """A copy under its source's data key, and what clients see of it."""

    header: Header
    etag: str
    modified: str
    """ISO 8601."""
    answer: Headers
    """The head of the store's answer."""


@dataclass(frozen=True)
class StoreCopy:
    """An object that the store has made of another one."""

    upstream_etag: str
    modified: str | None
    """As the store gave it, ISO 8601; None if it did not."""
    answer: Headers
    """The head of its answer."""


class Way(Enum):
    """How a store copies an object by itself."""

    WHOLE = "whole"
    PARTS = "parts"
    """As a new upload, along the parts of a multipart object."""


def way_of_copy(gateway: Gateway, source: Source, *, promised: bool, conditional: bool = False) -> Way | None:
    """How the store can copy the source; None if it can't, for sealed bytes are a little more than 5 GiB where theirs
    are that. ``promised``: whether a whole copy would be what was asked for (``keeps_promises``). ``conditional``:
    whether what is there must meet a condition of the client's."""
    stored = source.stored
    if (
        promised
        and stored.stored_size <= LARGEST
        and (gateway.settings.store.copies_keep_parts or not stored.multipart)
    ):
        return Way.WHOLE
    if conditional and not gateway.settings.store.conditional_completions:
        return None
    if stored.multipart and max(map(part_stored_size, stored.sizes)) <= LARGEST:
        return Way.PARTS
    return None


async def keeps_promises(gateway: Gateway, call: Call, source: Source, headers: Headers, conditions: Headers) -> bool:
    """Whether the whole copy that the store makes is what was asked for: ``headers`` are those of the new object,
    ``conditions`` the client's on what is there.

    Some stores pass over conditions, or over locks and the bucket's default retention, and would say 200 for an
    object that is something else.
    """
    profile = gateway.settings.store
    if conditions and not profile.conditional_copies:
        return False
    if profile.copies_with_locks:
        return True
    if any(name.lower().startswith(_LOCK) for name in (*headers, *source.headers)):
        return False
    answer = await gateway.upstream.send(Request("GET", Target(call.target.bucket).path, "object-lock"))
    await answer.aclose()
    return answer.status == 404


async def copy_wrapped_anew(
    gateway: Gateway,
    call: Call,
    source: Source,
    unlocked: Unlocked,
    table: PartsTable | None,
    choice: Choice,
    headers: CIMultiDict[str],
    conditions: Headers,
    records: Sequence[ObjectRecord],
    *,
    way: Way,
    shown: str | None,
) -> WrappedAnew:
    """Makes the call's target of the source, under the source's data key.

    ``headers`` are all that the new object has but its envelope, tags too; ``conditions`` hold for what is there,
    whose ``records`` the key had. ``shown`` is the ETag that clients are to see; None: derived from the store's.

    Raises:
        AwsError: the store's refusal.
        KmsError: the key service refuses or fails.
        ObjectReplaced: the source is another one by now; nothing was written.
    """
    wrapping = await new_wrapping(gateway, call.origin, call.target, choice)
    header = v1.rewrap(unlocked.header, unlocked.data_key, wrapping, random=gateway.random)
    add_envelope(headers, envelope_header.encode(header), gateway.settings.store.metadata_limit)
    record = None
    if table is not None or shown is not None or call.record.mixed:
        record = _record(gateway, call, source, unlocked, table, shown)
    parts = table if way is Way.PARTS else None
    copied = await _on_record(gateway, call, source, headers, conditions, parts, record, records)
    etag = etags.to_client(copied.upstream_etag, record)
    modified = copied.modified or gateway.clock().strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return WrappedAnew(header, etag, modified, copied.answer)


def _record(
    gateway: Gateway, call: Call, source: Source, unlocked: Unlocked, table: PartsTable | None, shown: str | None
) -> ObjectRecord:
    """What must be on record of a copy before it is there. The source's table of parts is the copy's, too: it knows
    the object's id, and nothing of its place."""
    encoded = b""
    if table is not None:
        encoded = source.stored.record.parts if source.stored.record is not None else b""
        encoded = encoded or envelope_parts.encode(table, unlocked.header, unlocked.data_key)
    target, object_id = call.target, unlocked.header.object_id
    return ObjectRecord(target.bucket, target.key, object_id, None, source.stored.size, shown, encoded, gateway.clock())


async def _on_record(
    gateway: Gateway,
    call: Call,
    source: Source,
    headers: CIMultiDict[str],
    conditions: Headers,
    parts: PartsTable | None,
    record: ObjectRecord | None,
    records: Sequence[ObjectRecord],
) -> StoreCopy:
    """Has the store make the object, with ``record`` there before it can be seen; along ``parts`` if there are any."""
    previous = None
    if record is not None:
        previous = next((row for row in records if row.object_id == record.object_id), None)
        if previous is not None:
            record = replace(record, version_id=previous.version_id)
        await gateway.objects.put(record)
    try:
        copied = await _copy(gateway, call, source, headers, conditions, parts)
    except (AwsError, ObjectReplaced) as error:
        if record is not None and previous is not None:
            await gateway.objects.put(previous)
        elif isinstance(error, ObjectReplaced):
            await gateway.objects.forget([record] if record is not None else [])
        else:
            await drop_refused(gateway, record, error)
        raise
    if record is not None:
        answer = copied.answer
        version_id = version_id_of(answer) if previous is None else with_version(previous, answer)
        await gateway.objects.put(replace(record, upstream_etag=copied.upstream_etag, version_id=version_id))
    others = [row for row in records if record is None or row.object_id != record.object_id]
    await drop_removed(gateway, others, copied.answer)
    return copied


async def _copy(
    gateway: Gateway,
    call: Call,
    source: Source,
    headers: CIMultiDict[str],
    conditions: Headers,
    parts: PartsTable | None,
) -> StoreCopy:
    if parts is not None:
        return await _copy_parts(gateway, call, source, headers, conditions, parts)
    sent = CIMultiDict(headers)
    sent.update(conditions)
    sent.update(_source_headers(source))
    sent["x-amz-metadata-directive"] = "REPLACE"
    sent["x-amz-tagging-directive"] = "REPLACE"
    patience = _patience(source.stored.stored_size)
    answer = await gateway.upstream.send(Request("PUT", call.target.path, headers=sent, patience=patience))
    try:
        result = _result(await expect(answer, call.target, 200), "CopyObjectResult", call.target)
    except AwsError as error:
        if error.status in (404, 412):
            if (made := await _made_before(gateway, call, headers)) is not None:
                return made
            await _check_source(gateway, source)
        raise await preconditions.write_error(gateway, call, error) from None
    return StoreCopy(_etag(result), _text(result, "LastModified"), answer.headers)


def _patience(size: int) -> float:
    """Seconds that a store may take to copy so many bytes before it says anything."""
    return size / _SLOWEST


def _source_headers(source: Source) -> dict[str, str]:
    return {COPY_SOURCE: source.upstream_value, _IF_MATCH: source.stored.upstream_etag}


async def _check_source(gateway: Gateway, source: Source) -> None:
    """Raises ObjectReplaced unless the source is there still."""
    stored = source.stored
    answer = await gateway.upstream.send(Request("HEAD", source.call.target.path, stored.version))
    await answer.aclose()
    if answer.status != 200 or answer.headers.get("ETag") != stored.upstream_etag:
        raise ObjectReplaced("the source of a copy was replaced meanwhile")


async def _copy_parts(
    gateway: Gateway,
    call: Call,
    source: Source,
    headers: CIMultiDict[str],
    conditions: Headers,
    table: PartsTable,
) -> StoreCopy:
    target = call.target
    answer = await gateway.upstream.send(Request("POST", target.path, "uploads", headers))
    begun = parse_answer(await expect(answer, target, 200), "InitiateMultipartUploadResult")
    upload_id = _text(begun, "UploadId")
    if not upload_id:
        raise UpstreamError("the store's answer names no upload")
    try:
        rows = await _all_parts(gateway, target, source, table, upload_id)
        return await _complete(gateway, call, upload_id, rows, headers, conditions)
    except BaseException:
        await _abort(gateway, target, upload_id)
        raise


async def _all_parts(
    gateway: Gateway, target: Target, source: Source, table: PartsTable, upload_id: str
) -> list[dict[str, object]]:
    """The parts' numbers and ETags in the new upload."""
    rows: list[dict[str, object]] = []
    offset, count = 0, len(table.parts)
    for start in range(0, count, _PARTS_AT_ONCE):
        under_way = []
        for part in table.parts[start : start + _PARTS_AT_ONCE]:
            end = offset + part_stored_size(part.size)
            under_way.append(_copy_part(gateway, target, source, upload_id, part.number, (offset, end - 1)))
            offset = end
        # All of them end before a failure is told: none may come after the upload has been given up.
        outcomes = await asyncio.gather(*under_way, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            rows.append(outcome)
    return rows


async def _copy_part(
    gateway: Gateway, target: Target, source: Source, upload_id: str, number: int, extent: tuple[int, int]
) -> dict[str, object]:
    headers = CIMultiDict(_source_headers(source))
    headers[RANGE] = f"bytes={extent[0]}-{extent[1]}"
    query = render_query([("partNumber", str(number)), ("uploadId", upload_id)])
    patience = _patience(extent[1] - extent[0])
    answer = await gateway.upstream.send(Request("PUT", target.path, query, headers, patience=patience))
    try:
        result = _result(await expect(answer, target, 200), "CopyPartResult", target)
    except AwsError as error:
        if error.status == 412 or error.code in ("NoSuchKey", "NoSuchVersion"):
            raise ObjectReplaced("the source of a copy was replaced meanwhile") from error
        raise
    return {"PartNumber": number, "ETag": _etag(result)}


async def _complete(
    gateway: Gateway,
    call: Call,
    upload_id: str,
    rows: Sequence[dict[str, object]],
    headers: Headers,
    conditions: Headers,
) -> StoreCopy:
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    sent = CIMultiDict(conditions)
    sent["Content-Type"] = "application/xml"
    sent["Content-MD5"] = content_md5(document)
    query = render_query([("uploadId", upload_id)])
    answer = await gateway.upstream.send(Request("POST", call.target.path, query, sent, document))
    try:
        result = _result(await expect(answer, call.target, 200), "CompleteMultipartUploadResult", call.target)
    except AwsError as error:
        if error.status in (404, 412) and (made := await _made_before(gateway, call, headers)) is not None:
            return made
        raise await preconditions.write_error(gateway, call, error) from None
    return StoreCopy(_etag(result), None, answer.headers)


async def _made_before(gateway: Gateway, call: Call, headers: Headers) -> StoreCopy | None:
    """The object that is there, if it is this very copy: a request that is sent again, over a connection that turned
    out to be closed, may meet its own first success. No two copies have the same envelope: each is sealed afresh."""
    answer = await gateway.upstream.send(Request("HEAD", call.target.path))
    await answer.aclose()
    try:
        there = envelope_header.decode(answer.headers) if answer.status == 200 else None
    except EnvelopeError:
        return None
    if there is None or there != envelope_header.decode(headers):
        return None
    return StoreCopy(etag_of(answer.headers), None, answer.headers)


async def _abort(gateway: Gateway, target: Target, upload_id: str) -> None:
    """Gives up an upload; what can't be given up now costs room in the store and is never seen."""
    try:
        query = render_query([("uploadId", upload_id)])
        answer = await gateway.upstream.send(Request("DELETE", target.path, query))
        await answer.aclose()
    except UpstreamError:
        pass


def _result(body: bytes, root: str, target: Target) -> Node:
    """The content of the store's answer to a copy.

    Raises:
        AwsError: the document tells an error: a 200 may have been sent before the store knew of it.
    """
    try:
        return xml_codec.parse(body.lstrip(), root)
    except XmlError:
        raise error_of(500, body.lstrip(), target) from None


def _etag(result: Node) -> str:
    etag = (_text(result, "ETag") or "").strip('"')
    if not etag:
        raise UpstreamError("the store tells no ETag")
    return f'"{etag}"'


def _text(result: Node, name: str) -> str | None:
    found = result.get(name)
    return found if isinstance(found, str) else None
