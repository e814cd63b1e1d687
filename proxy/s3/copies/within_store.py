"""A copy whose data stays in the store: its key is wrapped anew, and the store copies what lies there.

Sealed bytes know the object's id, and neither where it lies nor what wraps its key (FORMAT.md, "To re-wrap"). A
multipart object is copied along its own parts where the store would else make another kind of object of it, one whose
ETag tells nothing of parts.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request
from proxy.envelope import header as envelope_header
from proxy.envelope import parts as envelope_parts
from proxy.envelope import v1
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import Header
from proxy.envelope.parts import PartsTable
from proxy.envelope.ranges import part_stored_size
from proxy.envelope.v1 import Unlocked
from proxy.s3.copies.copy_source import LARGEST, Source
from proxy.s3.copies.parts import copy_all_parts, etag_in, patience_for, result_of, source_headers, text_in, unchanged
from proxy.s3.encryption.data_keys import new_wrapping
from proxy.s3.encryption.sse import Choice
from proxy.s3.forwarding import content_md5, etag_of, expect, parse_answer, render_query, store_error
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.objects import etag as etags
from proxy.s3.objects import preconditions
from proxy.s3.objects.headers import add_envelope
from proxy.s3.objects.records import drop_refused, drop_removed, version_id_of, with_version
from proxy.s3.objects.store_reads import ObjectReplaced
from proxy.s3.state.ports import ObjectRecord
from proxy.s3.upstream.port import UpstreamError

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
    """How sealed bytes come to their new place."""

    WHOLE = "whole"
    """The store copies the object."""
    PARTS = "parts"
    """The store copies a multipart object along its parts, as a new upload."""
    THROUGH = "through"
    """They are read and put again, as they are."""


async def way_of_copy(
    gateway: Gateway, call: Call, source: Source, headers: Headers, conditions: Headers
) -> Way | None:
    """How the source comes to be the call's target, for ``headers`` and ``conditions`` as for ``copy_wrapped_anew``;
    None where there is no way: sealed bytes are a little more than 5 GiB where theirs are that.

    An object is never copied whole to itself: stores do that by giving what is there now other metadata, and what is
    there now may be another object than the one that was looked at.
    """
    stored, profile = source.stored, gateway.settings.store
    keeps_kind = profile.copies_keep_parts or not stored.multipart
    can_be_whole = source.call.target != call.target and keeps_kind and stored.stored_size <= LARGEST
    if can_be_whole and await _keeps_promises(gateway, call, source, headers, conditions):
        return Way.WHOLE
    if not stored.multipart:
        return Way.THROUGH
    if conditions and not profile.conditional_completions and _has_conditions(call):
        return None
    return Way.PARTS if max(map(part_stored_size, stored.sizes)) <= LARGEST else None


def is_ours(call: Call, error: AwsError) -> bool:
    """Whether a condition that did not hold is ``unchanged``, and none of the client's."""
    return error.status in (409, 412) and not _has_conditions(call)


def _has_conditions(call: Call) -> bool:
    """Whether the client has conditions of its own on what is there."""
    return any(name in call.request.headers for name in ("If-Match", "If-None-Match"))


async def _keeps_promises(gateway: Gateway, call: Call, source: Source, headers: Headers, conditions: Headers) -> bool:
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

    ``headers`` are all that the new object has but its envelope, tags too; ``conditions``, as the store has to see
    them, must hold for what is there, whose ``records`` the key had. ``shown`` is the ETag that clients are to see;
    None: derived from the store's.

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
    make = {
        Way.WHOLE: lambda: _copy_whole(gateway, call, source, headers, conditions),
        Way.PARTS: lambda: _copy_parts(gateway, call, source, headers, conditions, table),
        Way.THROUGH: lambda: _put_again(gateway, call, source, headers, conditions),
    }[way]
    copied = await _on_record(gateway, make, record, records)
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
    make: Callable[[], Awaitable[StoreCopy]],
    record: ObjectRecord | None,
    records: Sequence[ObjectRecord],
) -> StoreCopy:
    """Makes the object, with ``record`` there before it can be seen."""
    previous = None
    if record is not None:
        previous = next((row for row in records if row.object_id == record.object_id), None)
        if previous is not None:
            record = replace(record, version_id=previous.version_id)
        await gateway.objects.put(record)
    try:
        copied = await make()
    except Exception as error:
        if previous is not None:
            # Whether the copy was made or not, what is there has this object id.
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


async def _copy_whole(
    gateway: Gateway, call: Call, source: Source, headers: CIMultiDict[str], conditions: Headers
) -> StoreCopy:
    sent = CIMultiDict(headers)
    sent.update(conditions)
    sent.update(source_headers(source))
    sent["x-amz-metadata-directive"] = "REPLACE"
    sent["x-amz-tagging-directive"] = "REPLACE"
    patience = patience_for(source.stored.stored_size)
    answer = await gateway.upstream.send(Request("PUT", call.target.path, headers=sent, patience=patience))
    try:
        result = result_of(await expect(answer, call.target, 200), "CopyObjectResult", call.target)
    except AwsError as error:
        return await _after_refusal(gateway, call, source, headers, error)
    return StoreCopy(etag_in(result), text_in(result, "LastModified"), answer.headers)


async def _put_again(
    gateway: Gateway, call: Call, source: Source, headers: CIMultiDict[str], conditions: Headers
) -> StoreCopy:
    stored = source.stored
    read = Request("GET", source.call.target.path, stored.version, unchanged(source))
    answer = await gateway.upstream.send(read)
    if answer.status in (404, 412):
        await answer.aclose()
        raise ObjectReplaced("the source of a copy was replaced meanwhile")
    if answer.status != 200:
        raise await store_error(answer, source.call)
    sent = CIMultiDict(headers)
    sent.update(preconditions.on_put(gateway, conditions))
    sent["Content-Length"] = str(stored.stored_size)
    # The store's answer is held while it is put again: the two must not wait for each other's connections.
    written = await gateway.short_reads.send(Request("PUT", call.target.path, headers=sent, body=answer.body))
    try:
        await expect(written, call.target, 200)
    except AwsError as error:
        return await _after_refusal(gateway, call, source, headers, error)
    return StoreCopy(etag_of(written.headers), None, written.headers)


async def _after_refusal(gateway: Gateway, call: Call, source: Source, headers: Headers, error: AwsError) -> StoreCopy:
    """The copy, where the store refuses a request that was sent again after its first success.

    Raises:
        ObjectReplaced: the source is another one by now.
        AwsError: the refusal as the client has to see it.
    """
    if error.status in (404, 409, 412):
        if (made := await _made_before(gateway, call, headers)) is not None:
            return made
        await _check_source(gateway, source)
    if is_ours(call, error):
        raise ObjectReplaced("the object was replaced while it was copied to itself") from error
    raise await preconditions.write_error(gateway, call, error) from None


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
    table: PartsTable | None,
) -> StoreCopy:
    if table is None:
        raise ValueError("there are no parts")
    target = call.target
    answer = await gateway.upstream.send(Request("POST", target.path, "uploads", headers))
    begun = parse_answer(await expect(answer, target, 200), "InitiateMultipartUploadResult")
    upload_id = text_in(begun, "UploadId")
    if not upload_id:
        raise UpstreamError("the store's answer names no upload")
    try:
        rows = await copy_all_parts(gateway, target, source, table, upload_id)
        return await _complete(gateway, call, source, upload_id, rows, headers, conditions)
    except BaseException:
        await _abort(gateway, target, upload_id)
        raise


async def _complete(
    gateway: Gateway,
    call: Call,
    source: Source,
    upload_id: str,
    rows: Sequence[dict[str, object]],
    headers: Headers,
    conditions: Headers,
) -> StoreCopy:
    document = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    sent = CIMultiDict(conditions if gateway.settings.store.conditional_completions else ())
    sent["Content-Type"] = "application/xml"
    sent["Content-MD5"] = content_md5(document)
    query = render_query([("uploadId", upload_id)])
    answer = await gateway.upstream.send(Request("POST", call.target.path, query, sent, document))
    try:
        result = result_of(await expect(answer, call.target, 200), "CompleteMultipartUploadResult", call.target)
    except AwsError as error:
        return await _after_refusal(gateway, call, source, headers, error)
    return StoreCopy(etag_in(result), None, answer.headers)


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
