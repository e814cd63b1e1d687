"""CopyObject: between any two objects that the caller may read and write, however they are encrypted.

Where it can, the copy keeps the source's sealed bytes: its data key is wrapped anew for the new place and key, and the
store copies the data (``copies.within_store``). Else the source is opened and sealed again as it streams through.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from multidict import CIMultiDict

from proxy.aws import checksums, xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Response
from proxy.envelope.header import Header, Mode
from proxy.envelope.parts import PartsTable
from proxy.envelope.v1 import Unlocked
from proxy.s3.access.authorization import authorize
from proxy.s3.bodies.payload import Payload
from proxy.s3.copies import copy_source
from proxy.s3.copies.copy_source import LARGEST, Source
from proxy.s3.copies.kept_alive import kept_alive
from proxy.s3.copies.parts import unchanged
from proxy.s3.copies.within_store import Way, copy_wrapped_anew, is_ours, way_of_copy
from proxy.s3.encryption import customer_keys, sse
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.encryption.sse import Choice
from proxy.s3.errors import invalid_argument, invalid_request
from proxy.s3.gateway import Call, Gateway
from proxy.s3.listings.object_listing import milliseconds
from proxy.s3.objects import preconditions
from proxy.s3.objects.byte_range import Wanted
from proxy.s3.objects.headers import from_store, pick, to_store
from proxy.s3.objects.records import records_of
from proxy.s3.objects.store_reads import ObjectReplaced, of_one_object
from proxy.s3.objects.stored import StoredObject, unlock_whole
from proxy.s3.operation import Level, operation
from proxy.s3.operations.get_object import Slice, plaintext_of, read
from proxy.s3.operations.object_answers import checksum_headers, checksums_of
from proxy.s3.operations.put_object import refuse_lost_content, shows_md5, write_object
from proxy.s3.state.ports import ObjectRecord
from proxy.s3.upstream.port import UpstreamError
from proxy.stream import Body

_METADATA_DIRECTIVE: Final = "x-amz-metadata-directive"
_TAGGING_DIRECTIVE: Final = "x-amz-tagging-directive"
_ALGORITHM: Final = "x-amz-checksum-algorithm"
_REDIRECT: Final = "x-amz-website-redirect-location"

_OF_REQUEST: Final = (
    "x-amz-storage-class",
    _REDIRECT,
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
)
"""What a copy has from its request even where it keeps the metadata of its source."""

_NOT_COPIED: Final = re.compile(r"Last-Modified|x-amz-(?!meta-).*", re.IGNORECASE)
"""Fields of the source that its copy does not have from it."""

_WRAPPED_ANEW: Final = (Mode.S3, Mode.KMS, Mode.CUSTOMER)
"""Modes between which a data key can be wrapped anew: the sealed bytes are the same in all of them."""


@operation("CopyObject", "PUT", Level.OBJECT, "s3:PutObject", headers=["x-amz-copy-source"])
async def copy_object(gateway: Gateway, call: Call) -> Response:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html"""
    copy_source.check_request(call)
    for name in (_METADATA_DIRECTIVE, _TAGGING_DIRECTIVE):
        _check_directive(call.request.headers, name)
    customer_key = customer_keys.parse(call.request, gateway.settings, prefix=customer_keys.COPY_SOURCE_PREFIX)
    source = await copy_source.find(gateway, call)
    return await kept_alive(call, of_one_object(lambda: _copy(gateway, call, source, customer_key)))


async def _copy(gateway: Gateway, call: Call, source_call: Call, customer_key: CustomerKey | None) -> Response:
    """Raises ObjectReplaced: the source was replaced meanwhile, and nothing was written."""
    begun, asked = gateway.clock(), call.request.headers
    source = await copy_source.look_at(gateway, source_call, customer_key)
    stored = source.stored
    copy_source.check_conditions(asked, stored, source.headers.get("Last-Modified"), begun)
    if stored.size > LARGEST:
        raise copy_source.too_large()
    choice = sse.choose(call, gateway.settings)
    _refuse_no_change(call, source, choice)
    refuse_lost_content(gateway, call.target, stored.size)
    headers = await _new_headers(gateway, call, source)
    records = await records_of(gateway, call.target)
    conditions = await preconditions.for_write(gateway, call, records)
    if not conditions and source.call.target == call.target and source.call.request.parameter("versionId") is None:
        # What was put meanwhile is not replaced by what was there before.
        conditions = preconditions.on_put(gateway, unchanged(source))
    unlocked: Unlocked | None = None
    table: PartsTable | None = None
    sums: Mapping[str, str] = {}
    if stored.header is not None:
        unlocked, table = await unlock_whole(
            gateway, source_call.origin, source_call.target, stored, stored.header, customer_key
        )
        sums = await checksums_of(gateway, source_call, stored, unlocked, table)
    algorithm = _algorithm(asked, sums)
    way: Way | None = None
    if _can_wrap_anew(gateway, call, source, choice, records) and (
        _ALGORITHM not in asked or _has_checksum(sums, algorithm)
    ):
        way = await way_of_copy(gateway, call, source, headers, conditions)
    if unlocked is not None and way is not None:
        # A single PUT under SSE-S3 shows the MD5 of its bytes, as its source does.
        shown = stored.etag if table is None and shows_md5(gateway, choice.mode) else None
        made = await copy_wrapped_anew(
            gateway, call, source, unlocked, table, choice, headers, conditions, records, way=way, shown=shown
        )
        return _answer(source, made.header, choice, made.etag, made.modified, sums, made.answer)
    headers.update(conditions)
    return await _sealed_anew(gateway, call, source, choice, headers, records, begun, algorithm)


async def _sealed_anew(
    gateway: Gateway,
    call: Call,
    source: Source,
    choice: Choice,
    headers: CIMultiDict[str],
    records: Sequence[ObjectRecord],
    begun: datetime,
    algorithm: str,
) -> Response:
    """A copy under a data key of its own; the bytes stream through."""
    body = await open_source(gateway, source)
    plan = Payload(source.stored.size, {}, None, algorithm)
    # The store's answer is held while the copy goes up: they must not wait for each other's connections.
    writing = replace(gateway, upstream=gateway.short_reads)
    try:
        written = await write_object(writing, call, body, plan, choice, headers, records, begun)
    except AwsError as error:
        if is_ours(call, error):
            raise ObjectReplaced("the object was replaced while it was copied to itself") from error
        raise
    finally:
        if not isinstance(body, bytes):
            await body.aclose()
    modified = gateway.clock().strftime("%Y-%m-%dT%H:%M:%S.000Z")
    sums = checksum_headers(written.checksums, "FULL_OBJECT")
    return _answer(source, written.header, choice, written.etag, modified, sums, written.answer)


async def open_source(gateway: Gateway, source: Source) -> Body:
    """The plaintext of the object that ``source`` is about, and of no other.

    Raises:
        ObjectReplaced: there is another one by now.
    """
    call, stored = source.call, source.stored
    conditions = CIMultiDict({"If-Match": stored.upstream_etag})
    try:
        use = partial(plaintext, source.customer_key)
        body = await read(gateway, call, stored.version, None, source.records, conditions, use)
    except AwsError as error:
        if error.status in (404, 412):
            raise ObjectReplaced("the source of a copy was replaced meanwhile") from error
        raise
    if isinstance(body, Response):
        raise UpstreamError("the store did not give the source of a copy")
    return body


async def plaintext(
    customer_key: CustomerKey | None,
    gateway: Gateway,
    call: Call,
    answer: Response,
    stored: StoredObject,
    piece: Slice,
    wanted: Wanted | None,  # noqa: ARG001 - the form of a Use
) -> Body:
    """The bytes to be copied, out of the store's answer."""
    if stored.header is None:
        return answer.body
    unlocked, table = await unlock_whole(gateway, call.origin, call.target, stored, stored.header, customer_key)
    return await plaintext_of(answer.body, unlocked, table, piece)


def _check_directive(headers: Headers, name: str) -> None:
    value = headers.get(name, "COPY")
    if value not in ("COPY", "REPLACE"):
        kind = "metadata" if name == _METADATA_DIRECTIVE else "tagging"
        raise invalid_argument(f"Unknown {kind} directive.", name, value)


def _refuse_no_change(call: Call, source: Source, choice: Choice) -> None:
    """Refuses to copy an object to itself as it is."""
    asked, header = call.request.headers, source.stored.header
    changes = (
        source.call.target != call.target
        or source.call.request.parameter("versionId") is not None
        or "REPLACE" in (asked.get(_METADATA_DIRECTIVE), asked.get(_TAGGING_DIRECTIVE))
        or any(name in asked for name in ("x-amz-storage-class", _REDIRECT, sse.SSE, _ALGORITHM))
        or choice.customer_key is not None
        or choice.mode is not Mode.S3
        or header is None
        or header.mode is not choice.mode
    )
    if not changes:
        raise invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes."
        )


async def _new_headers(gateway: Gateway, call: Call, source: Source) -> CIMultiDict[str]:
    """The fields of the new object, without its envelope: as the directives say, the source's or the request's.

    Raises:
        AwsError: as ``to_store``; AccessDenied, for tags that the caller may not read or write.
    """
    asked = call.request.headers
    if asked.get(_METADATA_DIRECTIVE) == "REPLACE":
        headers = to_store(asked, gateway.settings.store)
    else:
        kept = CIMultiDict(
            (name, value) for name, value in from_store(source.headers).items() if not _NOT_COPIED.fullmatch(name)
        )
        kept.extend(pick(asked, (*_OF_REQUEST, "x-amz-acl")))
        kept.extend((name, value) for name, value in asked.items() if name.lower().startswith("x-amz-grant-"))
        headers = to_store(kept, gateway.settings.store)
    if asked.get(_TAGGING_DIRECTIVE) == "REPLACE":
        tags = asked.get("x-amz-tagging", "")
    else:
        tags = await copy_source.tags_of(gateway, source)
        if tags:
            authorize(call, "s3:PutObjectTagging", call.target, gateway.clock)
    headers.pop("x-amz-tagging", None)
    if tags:
        headers["x-amz-tagging"] = tags
    return headers


def _algorithm(headers: Headers, sums: Mapping[str, str]) -> str:
    """The algorithm of the checksum that the copy has, if it is sealed anew: the one asked for, else the source's.

    Raises:
        AwsError: InvalidRequest for one that is not known.
    """
    asked = headers.get(_ALGORITHM)
    if asked is None:
        return next(iter(values_of(sums)), checksums.DEFAULT_ALGORITHM)
    if asked.upper() not in checksums.ALGORITHMS:
        message = "Checksum algorithm provided is unsupported. Please try again with any of the valid types"
        raise invalid_request(message)
    return asked.upper()


def _has_checksum(sums: Mapping[str, str], algorithm: str) -> bool:
    """Whether the source has this checksum of its whole, as a copy that asks for it must."""
    return algorithm in values_of(sums) and sums.get("x-amz-checksum-type") == "FULL_OBJECT"


def values_of(sums: Mapping[str, str]) -> dict[str, str]:
    """The checksums among header fields: algorithm to value."""
    names = {algorithm: checksums.header_name(algorithm) for algorithm in checksums.ALGORITHMS}
    return {algorithm: sums[name] for algorithm, name in names.items() if name in sums}


def _can_wrap_anew(
    gateway: Gateway, call: Call, source: Source, choice: Choice, records: Sequence[ObjectRecord]
) -> bool:
    """Whether the copy may have the source's data key, and with it the source's object id."""
    stored = source.stored
    if gateway.settings.fresh_key_on_copy or stored.header is None or call.record.account != source.call.record.account:
        return False
    if stored.header.mode not in _WRAPPED_ANEW or choice.mode not in _WRAPPED_ANEW:
        return False
    if not stored.multipart and shows_md5(gateway, choice.mode):
        known = stored.header.mode is Mode.S3 and stored.record is not None and stored.record.etag is not None
        if not known:
            return False
    # What a single PUT shows depends on its mode, so no two versions of a key may share its record.
    return stored.multipart or not _has_versions_with(stored, source.call.target == call.target, records)


def _has_versions_with(stored: StoredObject, same_key: bool, records: Sequence[ObjectRecord]) -> bool:
    """Whether another version of the key would have the same object id: records are told apart by it."""
    if same_key and stored.version:
        return True
    header = stored.header
    return any(header is not None and row.object_id == header.object_id and row.version_id for row in records)


def _answer(
    source: Source,
    header: Header,
    choice: Choice,
    etag: str,
    modified: str,
    sums: Mapping[str, str],
    answer: Headers,
) -> Response:
    headers = pick(answer, ("x-amz-version-id", "x-amz-expiration"))
    headers["Content-Type"] = "application/xml"
    if source.version_id is not None:
        headers["x-amz-copy-source-version-id"] = source.version_id
    headers.update(sse.response_headers(header, choice.customer_key, with_context=True))
    members = {
        "ETag": etag,
        "LastModified": milliseconds(modified),
        **{f"Checksum{algorithm}": value for algorithm, value in values_of(sums).items()},
        "ChecksumType": sums.get("x-amz-checksum-type"),
    }
    return Response(200, headers, xml_codec.render("CopyObjectResult", members))
