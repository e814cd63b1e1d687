"""Putting the objects of a bucket on record again, after the gateway's state was lost: the tables of parts of
multipart objects, and what listings have to know.

It runs beside the endpoint: each object is asked for by itself, and what is put on record is what its next reader
would have put there. One damaged object does not keep the others from it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from proxy.aws.errors import AwsError
from proxy.aws.message import Request
from proxy.envelope import header as envelope_header
from proxy.envelope import parts
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import Header, Mode
from proxy.kms.errors import KmsError
from proxy.s3.encryption.data_keys import data_key_of, service_origin
from proxy.s3.forwarding import stored_length
from proxy.s3.gateway import Gateway, Target
from proxy.s3.listings import version_pages, version_walk
from proxy.s3.listings.version_pages import Wanted
from proxy.s3.objects.records import records_of
from proxy.s3.objects.stored import StoredObject, describe, rebuild_table, unlock, version_query
from proxy.s3.state.ports import BucketRecord, ObjectRecord
from proxy.s3.upstream.port import UpstreamError

_AT_ONCE: Final = 8
_NOT_ITS_KEY: Final = ("InvalidCiphertextException", "IncorrectKeyException")
_PAGE: Final = 1000


class Outcome(Enum):
    """What has become of an object. The values are for people."""

    NOTHING_TO_DO = "nothing to do"
    RECORDED = "put on record"
    REBUILT = "table of parts rebuilt"
    LOCKED = "its key cannot be used now"
    GONE = "gone meanwhile"
    FAILED = "could not be read"
    DAMAGED = "DAMAGED"


@dataclass(frozen=True)
class Finding:
    """What there is to say of one object."""

    bucket: str
    key: str
    version_id: str
    """Empty where the store names none."""
    outcome: Outcome
    text: str = ""
    """What is wrong, or what could not be proved."""


UNPROVED: Final = "that no part is missing, and none an earlier attempt, cannot be proved"


async def reindex(gateway: Gateway, bucket: BucketRecord, prefix: str, tell: Callable[[Finding], None]) -> None:
    """Looks at every version of every object of the bucket whose key starts with ``prefix``, and tells what was found.

    Raises:
        AwsError, UpstreamError: the bucket can't be listed.
        StateUnavailable: the state can't be written.
    """
    at_work: set[asyncio.Task[Finding]] = set()
    async for key, version_id in _versions(gateway, bucket, prefix):
        at_work.add(asyncio.create_task(_look_at(gateway, bucket, key, version_id)))
        if len(at_work) == _AT_ONCE:
            done, at_work = await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                tell(task.result())
    for finding in await asyncio.gather(*at_work):
        tell(finding)


async def _versions(gateway: Gateway, bucket: BucketRecord, prefix: str) -> AsyncGenerator[tuple[str, str], None]:
    """The key and version id of everything under the prefix but delete markers; no id for what has but one version."""
    fetch = version_walk.fetch if gateway.settings.store.lists_by_folder else version_pages.fetch
    wanted = Wanted(prefix, "", "", "", _PAGE)
    while True:
        page = await fetch(gateway, Target(bucket.name), wanted)
        for item in page.items:
            version = item.version
            if version is not None and not version.marker:
                yield item.name, "" if item.version_id == "null" and version.latest else item.version_id
        if not page.truncated:
            return
        wanted = replace(wanted, key_marker=page.last.name, version_marker=page.last.version_id)


async def _look_at(gateway: Gateway, bucket: BucketRecord, key: str, version_id: str) -> Finding:
    try:
        outcome, text = await _indexed(gateway, bucket, key, version_id)
    except EnvelopeError as error:
        outcome, text = Outcome.DAMAGED, str(error)
    except KmsError as error:
        if error.code in _NOT_ITS_KEY:
            outcome, text = (
                Outcome.DAMAGED,
                "its wrapped key was damaged, or is another object's or of another place",
            )
        else:
            outcome, text = Outcome.LOCKED, f"{error.code}: {error.message}"
    except (AwsError, UpstreamError) as error:
        outcome, text = Outcome.FAILED, str(error)
    return Finding(bucket.name, key, version_id, outcome, text)


async def _indexed(gateway: Gateway, bucket: BucketRecord, key: str, version_id: str) -> tuple[Outcome, str]:
    target, query = Target(bucket.name, key), version_query(version_id)
    answer = await gateway.upstream.send(Request("HEAD", target.path, query))
    await answer.aclose()
    if answer.status in (404, 405):
        return Outcome.GONE, ""
    if answer.status != 200:
        raise UpstreamError(f"the store answers {answer.status}")
    records = await records_of(gateway, target)
    header = envelope_header.decode(answer.headers)
    records, spoilt = await _without_spoilt(gateway, bucket, target, header, records)
    size, named = stored_length(answer), bool(version_id)
    stored = await describe(gateway, bucket, key, answer.headers, size, records, named=named)
    on_record = stored.record is not None and bool(stored.record.parts)
    if stored.header is not None and stored.multipart and not on_record:
        return await _with_table(gateway, bucket, target, stored, stored.header, spoilt=spoilt)
    is_new = set(await records_of(gateway, target)) != set(records)
    return Outcome.RECORDED if is_new else Outcome.NOTHING_TO_DO, ""


async def _without_spoilt(
    gateway: Gateway, bucket: BucketRecord, target: Target, header: Header | None, records: list[ObjectRecord]
) -> tuple[list[ObjectRecord], bool]:
    """The key's records, without the table of parts on record for this object where that is not genuine: it can be
    made anew, and is dropped. A genuine one stays, and an object that it does not fit is damaged."""
    record = next((row for row in records if header is not None and row.object_id == header.object_id), None)
    if header is None or record is None or not record.parts or header.mode is Mode.CUSTOMER:
        return records, False
    data_key = await data_key_of(gateway, service_origin(bucket), target, header)
    try:
        parts.verify(record.parts, header, data_key)
    except EnvelopeError:
        await gateway.objects.forget([record])
        return [row for row in records if row is not record], True
    return records, False


async def _with_table(
    gateway: Gateway, bucket: BucketRecord, target: Target, stored: StoredObject, header: Header, *, spoilt: bool
) -> tuple[Outcome, str]:
    if header.mode is Mode.CUSTOMER:
        return Outcome.LOCKED, "it is under a key of a customer's; its table of parts is made at its next read"
    data_key = await data_key_of(gateway, service_origin(bucket), target, header)
    await rebuild_table(gateway, target, stored, unlock(stored, header, data_key))
    return Outcome.REBUILT, f"{'the one on record was not genuine; ' if spoilt else ''}{UNPROVED}"
