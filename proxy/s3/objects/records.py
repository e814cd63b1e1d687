"""The life of an object's record: announced before the store is asked to make the object, completed afterwards, and
dropped when the object is gone.

A record is dropped only when its object can't be there any more, and no clock is asked for that: of two writers of a
key, the one that began first may be the one that the store took last.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from proxy.aws.errors import AwsError
from proxy.aws.message import Headers, Request
from proxy.s3.errors import no_such_version
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.objects import etag as etags
from proxy.s3.state.ports import ObjectRecord
from proxy.stream import BodyCutShort

_NULL: Final = "null"
"""The version without an id."""

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
        await drop_versions(gateway, before, [named])
    elif version_id_of(answer) is None and (gone := removed(before, gateway.clock())):
        await gateway.objects.forget(gone)


async def drop_versions(gateway: Gateway, before: Sequence[ObjectRecord], named: Collection[str]) -> None:
    """Drops what a key's records ``before`` say of these versions, which are gone; a record that is of others, too,
    stays for those."""
    gone = []
    for row in before:
        known = versions_of(row)
        left = [version_id for version_id in known if version_id not in named]
        if row.upstream_etag and not left:
            gone.append(row)
        elif row.upstream_etag and left != known:
            await gateway.objects.put(replace(row, version_id=_joined(left)))
    if gone:
        await gateway.objects.forget(gone)


def removed(before: Sequence[ObjectRecord], now: datetime) -> list[ObjectRecord]:
    """Those of a key's records whose object is gone, since a write or a deletion that began after they were read has
    succeeded. A record that was not completed then stays: its object may come to be yet."""
    return [row for row in before if row.version_id is None and (row.upstream_etag or now - row.written > _ABANDONED)]


def of_version(before: Sequence[ObjectRecord], version_id: str) -> list[ObjectRecord]:
    """Those of a key's records that are about one version, be it about others as well."""
    return [row for row in before if row.upstream_etag and version_id in versions_of(row)]


def versions_of(record: ObjectRecord) -> list[str]:
    """The ids of the versions that a record is about. Several have one object id where one is the other with its key
    wrapped anew."""
    return (record.version_id or _NULL).split(" ")


def is_about(record: ObjectRecord, answer: Headers) -> bool:
    """Whether a record is about the version, too, which an answer of the store is about."""
    return answer.get("x-amz-version-id", _NULL) in versions_of(record)


def with_version(record: ObjectRecord, answer: Headers) -> str | None:
    """The ``version_id`` of a record that is about the version, too, which an answer of the store is about. Where that
    names none, the bucket keeps no versions, and there is but one object."""
    named = answer.get("x-amz-version-id")
    if named is None:
        return None
    known = versions_of(record)
    return _joined(known if named in known else [*known, named])


def _joined(version_ids: Sequence[str]) -> str | None:
    return None if list(version_ids) == [_NULL] else " ".join(version_ids)


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
