"""The life of an object's record: announced before the store is asked to make the object, completed afterwards, and
dropped when the object is gone.

A record is dropped only when its object can't be there any more, and no clock is asked for that: of two writers of a
key, the one that began first may be the one that the store took last.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request
from proxy.s3 import etag as etags
from proxy.s3.errors import no_such_version
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.state import ObjectRecord
from proxy.stream import BodyCutShort

SEVERAL: Final = "*"
"""In place of a version's id: the record is of several versions, whose object id is the same, since one is the other
with its key wrapped anew. It stays for as long as the bucket, for whether all of them are gone is not known."""

_ABANDONED: Final = timedelta(days=7)
"""After which a record that nobody completed is of an object that will never be: its process has ended."""


async def records_of(gateway: Gateway, target: Target) -> list[ObjectRecord]:
    """The records that a key has now."""
    return (await gateway.objects.find(target.bucket, [target.key])).get(target.key, [])


async def distinguished(gateway: Gateway, target: Target, records: list[ObjectRecord]) -> list[ObjectRecord]:
    """Those of a key's records among which no two show clients the same ETag, for a condition to be translated.

    Two versions of the same bytes do, and so may two writes at the same time; which of them is there, the store knows.
    """
    shown = [etags.to_client(row.upstream_etag, row) if row.upstream_etag else None for row in records]
    doubtful = {etag for etag, count in Counter(shown).items() if etag is not None and count > 1}
    if not doubtful:
        return records
    answer = await gateway.upstream.send(Request("HEAD", target.path))
    await answer.aclose()
    current = answer.headers.get("ETag") if answer.status == 200 else None
    return [
        row for row, etag in zip(records, shown, strict=True) if etag not in doubtful or row.upstream_etag == current
    ]


async def drop_refused(gateway: Gateway, announced: ObjectRecord | None, error: Exception) -> None:
    """Drops an announced record where the error says that the store has not made the object, and never will."""
    never_made = isinstance(error, BodyCutShort) or (isinstance(error, AwsError) and error.status < 500)
    if announced is not None and never_made:
        await gateway.objects.forget([announced])


async def drop_removed(
    gateway: Gateway, before: Sequence[ObjectRecord], answer: Headers, *, named: str | None = None
) -> None:
    """Drops the records of what a write or a deletion has removed: the version ``named``, or the one without an id.

    ``before`` are records that the key had before the store was asked, ``answer`` is the head of what it said of its
    success: with a version id in it, nothing was removed but what was named.
    """
    if named is not None:
        gone = of_version(before, named)
    else:
        gone = removed(before, gateway.clock()) if version_id_of(answer) is None else []
    if gone:
        await gateway.objects.forget(gone)


def removed(before: Sequence[ObjectRecord], now: datetime) -> list[ObjectRecord]:
    """Those of a key's records whose object is gone, since a write or a deletion that began after they were read has
    succeeded. A record that was not completed then stays: its object may come to be yet."""
    return [row for row in before if row.version_id is None and (row.upstream_etag or now - row.written > _ABANDONED)]


def of_version(before: Sequence[ObjectRecord], version_id: str) -> list[ObjectRecord]:
    """Those of a key's records that are about one version."""
    named = None if version_id == "null" else version_id
    return [row for row in before if row.version_id == named and row.upstream_etag]


def may_be_about(records: Sequence[ObjectRecord], version_id: str) -> list[ObjectRecord]:
    """Those of a key's records that tell of a version, be it of others as well."""
    return [*of_version(records, version_id), *(row for row in records if row.version_id == SEVERAL)]


def check_version(call: Call, answer: Headers) -> None:
    """Refuses what a store gives for a version that it does not have: SeaweedFS does in a bucket that never kept any.

    Raises:
        AwsError: NoSuchVersion.
    """
    named = call.request.parameter("versionId")
    if named is not None and named != (answer.get("x-amz-version-id") or "null"):
        raise no_such_version(call.target.key, named)


def version_id_of(answer: Headers) -> str | None:
    """The version that an answer of the store is about; None for the one without an id."""
    version_id = answer.get("x-amz-version-id")
    return None if version_id == "null" else version_id
