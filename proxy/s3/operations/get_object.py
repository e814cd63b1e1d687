"""GetObject: the object or one range of it, decrypted as it streams.

What to ask of the store is planned before anything is known of the object but the key's records, so that a range
costs one upstream request. An answer that does not hold what is wanted (the object was replaced, or its record is
missing) is given up, and the store is asked once more with what that answer said.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request, Response
from proxy.envelope import parts, ranges, v1
from proxy.envelope.layers import AnyOpener
from proxy.envelope.parts import PartsTable
from proxy.envelope.ranges import PartsPlan, Window
from proxy.envelope.v1 import Unlocked
from proxy.s3.encryption import customer_keys, sse
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.errors import not_implemented
from proxy.s3.forwarding import store_error, stored_length
from proxy.s3.gateway import Call, Gateway
from proxy.s3.listings.delete_markers import named_marker
from proxy.s3.objects import preconditions
from proxy.s3.objects.byte_range import ByteRange, Wanted, WantedPart
from proxy.s3.objects.headers import pick
from proxy.s3.objects.records import check_version, of_version, records_of
from proxy.s3.objects.store_reads import ObjectReplaced, of_one_object
from proxy.s3.objects.stored import StoredObject, describe, unlock_whole
from proxy.s3.operation import Level, operation
from proxy.s3.operations.head_object import look_up
from proxy.s3.operations.object_answers import (
    check_key_first,
    checksums_of,
    extent_headers,
    extent_of,
    head_of,
    not_modified,
    upstream_query,
    wanted_of,
    wants_checksums,
)
from proxy.s3.state.ports import ObjectRecord
from proxy.s3.upstream.port import UpstreamError
from proxy.stream import Body, pump, started, transformed
from proxy.values import value_class

_ATTEMPTS: Final = 4
"""How often the store is asked at most; more than twice only while the object is being replaced."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-(-1|[0-9]{1,18})/([0-9]{1,18})")
"""MinIO says ``bytes 0--1/0`` of the last bytes of nothing."""


@dataclass(frozen=True)
class Ask:
    """What is asked of the store: a range of stored bytes, or all of them."""

    range: str | None = None
    part: int | None = None
    """A part of a plaintext object, which the store alone knows the parts of."""
    known: StoredObject | None = None
    """The object that an earlier answer told of: its parts, if they are not on record, are found out once."""


_ALL: Final = Ask()


@value_class
class Slice:
    """The plaintext bytes of an answer, inclusive, and how they are had from the stored bytes that came.

    Neither a window nor a plan: all that came is wanted.
    """

    first: int
    last: int
    window: Window | None = None
    plan: PartsPlan | None = None


T = TypeVar("T")

Use = Callable[[Gateway, Call, Response, StoredObject, Slice, Wanted | None], Awaitable[T]]
"""Makes something of an answer of the store, with the object that it tells of and how the wanted bytes are had from
what came. Where it raises, its caller closes the answer."""


async def read_object(gateway: Gateway, call: Call) -> Response:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html"""
    sse.refuse_choice(call.request.headers)
    query = upstream_query(call)
    wanted = wanted_of(call)
    customer_key = customer_keys.parse(call.request, gateway.settings)
    return await of_one_object(lambda: _get(gateway, call, query, wanted, customer_key))


get_object = operation("GetObject", "GET", Level.OBJECT, "s3:GetObject")(read_object)
get_object_version = operation("GetObject", "GET", Level.OBJECT, "s3:GetObjectVersion", query=("versionId",))(
    read_object
)


async def _get(
    gateway: Gateway, call: Call, query: str, wanted: Wanted | None, customer_key: CustomerKey | None
) -> Response:
    """The answer, of one and the same object.

    Raises:
        ObjectReplaced: there is another one by now.
    """
    records = await records_of(gateway, call.target)
    conditions = await preconditions.for_read(gateway, call, records)
    try:
        answer = await read(gateway, call, query, wanted, records, conditions, partial(_open, customer_key))
    except AwsError as error:
        if error.status == 412:
            await check_key_first(gateway, call, customer_key)
        raise
    if answer.status == 304:
        await check_key_first(gateway, call, customer_key, answer.headers.get("ETag"))
    return answer


async def read(
    gateway: Gateway,
    call: Call,
    query: str,
    wanted: Wanted | None,
    records: Sequence[ObjectRecord],
    conditions: Headers,
    use: Use[T],
) -> T | Response:
    """What ``use`` makes of the wanted bytes of the call's target; where that has nothing to say, the answer as the
    client is to have it (304, a part of a plaintext object).

    ``records`` are those of the key, ``conditions`` header fields that go up.

    Raises:
        AwsError: the store's refusal, such as NoSuchKey; InvalidRange.
        ObjectReplaced: there is another object by now.
    """
    ask = _ALL if wanted is None else _first_plan(wanted, _asked_for(call, records))
    if ask is None:
        ask = _next_plan(wanted, await look_up(gateway, call, query, records))
    for _ in range(_ATTEMPTS):
        headers = CIMultiDict(conditions)
        if ask.range is not None:
            headers["Range"] = ask.range
        asked = "&".join(filter(None, (query, f"partNumber={ask.part}"))) if ask.part is not None else query
        answer = await gateway.upstream.send(Request("GET", call.target.path, asked, headers))
        try:
            outcome = await _used(gateway, call, answer, wanted, ask, records, use)
        except BaseException:
            await answer.aclose()
            raise
        if not isinstance(outcome, Ask):
            return outcome
        await answer.aclose()
        ask = outcome
    raise ObjectReplaced("the store's answers do not fit what was asked for")


async def _used(
    gateway: Gateway,
    call: Call,
    answer: Response,
    wanted: Wanted | None,
    ask: Ask,
    records: Sequence[ObjectRecord],
    use: Use[T],
) -> T | Response | Ask:
    """What is made of the store's answer; or what to ask of the store next."""
    if answer.status == 304:
        await answer.aclose()
        return not_modified(call, answer, records)
    if answer.status == 416 and ask.range is not None:
        return _next_plan(wanted, await look_up(gateway, call, upstream_query(call), records))
    if answer.status not in (200, 206):
        raise await named_marker(gateway, call, await store_error(answer, call))
    check_version(call, answer.headers)
    start, end, stored_size = _extent(answer)
    stored = ask.known
    if stored is None or not stored.is_told_of(answer.headers):
        named = call.request.parameter("versionId") is not None
        stored = await describe(
            gateway, call.record, call.target.key, answer.headers, stored_size, records, named=named
        )
    if ask.part is not None and answer.status == 206 and stored.header is None:
        return Response(206, _plain_head(stored, answer), answer.body)
    piece = _slice(stored, wanted, start, end)
    if piece is not None:
        return await use(gateway, call, answer, stored, piece, wanted)
    if wanted is None:
        raise UpstreamError("the store gave a part of the object where the whole was asked for")
    if ask.part is not None and stored.is_plain_multipart:
        raise not_implemented(detail={"Query": "partNumber"})
    return _next_plan(wanted, stored)


def _next_plan(wanted: Wanted | None, stored: StoredObject) -> Ask:
    return replace(_exact_plan(wanted, stored), known=stored)


def _asked_for(call: Call, records: Sequence[ObjectRecord]) -> Sequence[ObjectRecord]:
    """The records that may be about the version that the request names."""
    named = call.request.parameter("versionId")
    return of_version(records, named) if named else records


def _first_plan(wanted: Wanted, records: Sequence[ObjectRecord]) -> Ask | None:
    """What to ask of the store, given the key's records; a single PUT needs none of them. None if the object has to be
    looked at first: where a part lies cannot be guessed."""
    completed = [row for row in records if row.upstream_etag]
    newest = max(completed, key=lambda row: row.written, default=None)
    sizes = parts.decode(newest.parts).sizes if newest is not None and newest.parts else ()
    layers = newest.layers if newest is not None else 1
    if isinstance(wanted, WantedPart):
        if wanted.number <= len(sizes):
            return _part_of(wanted, sizes, layers)
        return _ALL if wanted.number == 1 else None
    if newest is not None and not newest.object_id:
        return Ask(wanted.text)
    total = sum(sizes)
    if _within(wanted, total):
        plan = ranges.plan_parts(sizes, *wanted.resolve(total), layers)
        return Ask(f"bytes={plan.start}-{plan.end}")
    if newest is not None and layers > 1 and not sizes and _within(wanted, newest.size):
        return Ask(ranges.plan(*wanted.resolve(newest.size), size=newest.size, layers=layers).header)
    if wanted.first is None:
        return Ask(ranges.plan_suffix(max(wanted.suffix, 1)).header)
    return Ask(ranges.plan(wanted.first, wanted.last).header)


def _within(wanted: ByteRange, size: int) -> bool:
    return bool(size and (wanted.suffix or (wanted.first is not None and wanted.first < size)))


def _exact_plan(wanted: Wanted | None, stored: StoredObject) -> Ask:
    """What to ask of the store for an object that is known now."""
    if wanted is None:
        return _ALL
    if isinstance(wanted, WantedPart) and stored.is_plain_multipart:
        return Ask(part=wanted.number)
    first, last = extent_of(stored, wanted)
    if isinstance(wanted, WantedPart):
        return _part_of(wanted, stored.sizes, stored.layers) if stored.multipart else _ALL
    if stored.header is None:
        return Ask(f"bytes={first}-{last}")
    if stored.multipart:
        plan = ranges.plan_parts(stored.sizes, first, last, stored.layers)
        return Ask(f"bytes={plan.start}-{plan.end}")
    return Ask(ranges.plan(first, last, size=stored.size, layers=stored.layers).header)


def _part_of(wanted: WantedPart, sizes: Sequence[int], layers: int) -> Ask:
    plan = ranges.plan_part(sizes, wanted.index(len(sizes)), layers)
    return Ask(f"bytes={plan.start}-{plan.end}")


def _extent(answer: Response) -> tuple[int, int, int]:
    """The first and last stored byte of an answer, and the stored size of the whole object."""
    if answer.status == 206:
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None:
            raise UpstreamError("the store's Content-Range can't be read")
        return int(found[1]), int(found[2]), int(found[3])
    length = stored_length(answer)
    return 0, length - 1, length


def _slice(stored: StoredObject, wanted: Wanted | None, start: int, end: int) -> Slice | None:
    """How the wanted bytes are had from stored bytes ``start`` to ``end``; None if they can't."""
    if wanted is None:
        plan = ranges.plan_all_parts(stored.sizes, stored.layers) if stored.multipart else None
        return Slice(0, stored.size - 1, plan=plan)
    if isinstance(wanted, WantedPart) and stored.is_plain_multipart:
        return None
    first, last = extent_of(stored, wanted)
    if stored.multipart:
        if isinstance(wanted, WantedPart):
            plan = ranges.plan_part(stored.sizes, wanted.index(len(stored.sizes)), stored.layers)
        else:
            plan = ranges.plan_parts(stored.sizes, first, last, stored.layers)
        return Slice(first, last, plan=plan) if (start, end) == (plan.start, plan.end) else None
    if isinstance(wanted, WantedPart):
        return Slice(first, last) if (start, end) == (0, stored.stored_size - 1) else None
    if stored.header is None:
        return Slice(first, last) if (start, end) == (first, last) else None
    try:
        window = ranges.window(first, last, size=stored.size, start=start, end=end, layers=stored.layers)
        return Slice(first, last, window)
    except ValueError:
        return None


async def _open(
    customer_key: CustomerKey | None,
    gateway: Gateway,
    call: Call,
    answer: Response,
    stored: StoredObject,
    piece: Slice,
    wanted: Wanted | None,
) -> Response:
    """The answer to the client. Its first segment has been verified before it is returned."""
    customer_keys.check_presence(stored.header, customer_key)
    headers = head_of(stored, answer.headers, customer_key)
    status, extent = 200, {"Content-Length": str(stored.size)}
    if wanted is not None:
        status, extent = extent_headers(stored, wanted, piece.first, piece.last)
    headers.update(extent)
    if stored.header is None:
        return Response(status, headers, answer.body)
    unlocked, table = await unlock_whole(gateway, call.origin, call.target, stored, stored.header, customer_key)
    if wants_checksums(call, wanted):
        headers.update(await checksums_of(gateway, call, stored, unlocked, table, wanted))
    return Response(status, headers, await plaintext_of(answer.body, unlocked, table, piece))


def _plain_head(stored: StoredObject, answer: Response) -> CIMultiDict[str]:
    headers = head_of(stored, answer.headers)
    headers.update(pick(answer.headers, ("Content-Length", "Content-Range")))
    return headers


def _opener(unlocked: Unlocked, table: PartsTable | None, piece: Slice) -> AnyOpener:
    if table is not None and piece.plan is not None:
        return v1.open_parts(unlocked, table, piece.plan)
    if piece.window is not None:
        return v1.open_range(unlocked, piece.window)
    return v1.open_single(unlocked)


async def plaintext_of(body: Body, unlocked: Unlocked, table: PartsTable | None, piece: Slice) -> Body:
    """The plaintext of stored bytes: verified whole where it is one segment, else as far as its first."""
    if isinstance(body, bytes) and piece.window is None:
        whole = v1.open_short(unlocked, body)
        if whole is not None:
            return whole
    opener = _opener(unlocked, table, piece)
    if opener.length <= ranges.FIRST_PLAINTEXT:
        return await transformed(body, opener)
    return await started(pump(body, opener))
