"""Objects as the store holds them: what an answer of the store says of one, with the plaintext's size and the ETag
that clients see.

Every reader of objects goes through ``describe``: GetObject, HeadObject, and listings for what they can't tell alone.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from proxy.aws.credentials import CallOrigin
from proxy.aws.message import Headers, Request
from proxy.envelope import header as envelope_header
from proxy.envelope import parts, ranges, v1
from proxy.envelope.digests import NO_DIGESTS, Digests
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import Header, Layout, Mode
from proxy.envelope.parts import PartsTable
from proxy.envelope.v1 import Unlocked
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.encryption.data_keys import data_key_of, service_origin
from proxy.s3.forwarding import stored_length
from proxy.s3.gateway import Gateway, Target
from proxy.s3.multipart.uploads import FULL_OBJECT, whole_checksum
from proxy.s3.objects import etag as etags
from proxy.s3.objects import part_walk
from proxy.s3.objects.records import is_about, records_of, version_id_of, with_version
from proxy.s3.objects.store_reads import read_stored
from proxy.s3.state.ports import BucketRecord, ObjectRecord
from proxy.values import value_class

logger = logging.getLogger(__name__)


@value_class
class StoredObject:
    """An object that is in the store now."""

    header: Header | None
    """None for a directory marker, and for a plaintext object of a mixed bucket."""
    upstream_etag: str
    stored_size: int
    size: int
    """Plaintext bytes."""
    etag: str
    """What clients see."""
    record: ObjectRecord | None
    version: str = ""
    """The query that names its version, where the store told one."""
    sizes: Sequence[int] = ()
    """Of the parts of a multipart object, in order; not authenticated yet."""

    @property
    def multipart(self) -> bool:
        return self.header is not None and self.header.layout is Layout.MULTIPART

    @property
    def layers(self) -> int:
        """How often it is encrypted."""
        return 1 if self.header is None else self.header.layers

    def is_told_of(self, headers: Headers) -> bool:
        """Whether an answer of the store is about this very object."""
        return headers.get("ETag") == self.upstream_etag and envelope_header.decode(headers) == self.header

    @property
    def is_plain_multipart(self) -> bool:
        """Whether it is a plaintext object that the store was sent in parts, which it alone knows."""
        return self.header is None and etags.is_multipart(self.upstream_etag)


async def describe(
    gateway: Gateway,
    bucket: BucketRecord,
    key: str,
    headers: Headers,
    stored_size: int,
    records: Sequence[ObjectRecord],
    *,
    named: bool = False,
) -> StoredObject:
    """What the store's answer to GET or HEAD says of an object; ``stored_size`` is that of the whole object. ``named``:
    a version was asked for by its id, which may be older than what the key's records are about.

    Raises:
        EnvelopeError: the object is damaged, or has no envelope where it must have one.
    """
    header = envelope_header.decode(headers)
    upstream_etag = headers.get("ETag", "")
    version = version_query(headers.get("x-amz-version-id"))
    if header is None:
        if named:
            records = [row for row in records if is_about(row, headers) or not row.object_id]
        return await _without_envelope(gateway, bucket, key, upstream_etag, stored_size, records)
    target = Target(bucket.name, key)
    # The size that a listing shows follows from the stored one with one layer only.
    needs_record = bucket.mixed or header.layers > 1 or (header.mode is Mode.S3 and gateway.settings.md5_etags)
    record = _of_object(records, header)
    if record is None and (needs_record or header.layout is Layout.MULTIPART):
        # It may have been put on record after ``records`` were read, and always was before the store could show it.
        record = _of_object(await records_of(gateway, target), header)
    if header.layout is Layout.MULTIPART:
        if record is not None and record.upstream_etag != upstream_etag:
            begun = record.upstream_etag is None and record.version_id is None
            version_id = version_id_of(headers) if begun else with_version(record, headers)
            record = replace(record, upstream_etag=upstream_etag, etag=upstream_etag, version_id=version_id)
            await gateway.objects.put(record)
        return await _multipart(gateway, target, header, headers, stored_size, record)
    try:
        size = ranges.plaintext_size(stored_size, header.layers)
    except ValueError as error:
        raise EnvelopeError(str(error)) from error
    if needs_record and (record is None or record.upstream_etag != upstream_etag):
        record = await _put_on_record(gateway, bucket, target, header, headers, size)
    elif not needs_record and record is not None and record.upstream_etag and not is_about(record, headers):
        # Another version has this one's object id, in another mode and so with another ETag.
        record = None
    shown = etags.to_client(upstream_etag, record)
    return StoredObject(header, upstream_etag, stored_size, size, shown, record, version)


def _of_object(records: Sequence[ObjectRecord], header: Header) -> ObjectRecord | None:
    return next((row for row in records if row.object_id == header.object_id), None)


async def _without_envelope(
    gateway: Gateway,
    bucket: BucketRecord,
    key: str,
    upstream_etag: str,
    stored_size: int,
    records: Sequence[ObjectRecord],
) -> StoredObject:
    marker = key.endswith("/") and stored_size == 0
    if not marker:
        if not bucket.mixed:
            raise EnvelopeError("the object has no envelope")
        if any(row.object_id and row.upstream_etag for row in records):
            raise EnvelopeError("the object was written encrypted and now lies there as plaintext")
        if not any(row.upstream_etag == upstream_etag for row in records):
            now = gateway.clock()
            record = ObjectRecord(bucket.name, key, b"", upstream_etag, stored_size, upstream_etag, b"", now)
            await gateway.objects.put(record)
    return StoredObject(None, upstream_etag, stored_size, stored_size, upstream_etag, None)


async def _multipart(
    gateway: Gateway,
    target: Target,
    header: Header,
    headers: Headers,
    stored_size: int,
    record: ObjectRecord | None,
) -> StoredObject:
    upstream_etag = headers.get("ETag", "")
    version = version_query(headers.get("x-amz-version-id"))
    if record is not None and record.parts:
        sizes = parts.decode(record.parts).sizes
        if sum(ranges.part_stored_size(size, header.layers) for size in sizes) != stored_size:
            raise EnvelopeError("the object in the store is longer or shorter than its parts")
        return StoredObject(header, upstream_etag, stored_size, sum(sizes), upstream_etag, record, version, sizes)
    walked = await part_walk.walk(gateway, target, upstream_etag, stored_size, version, header.layers)
    sizes = [part.size for part in walked]
    record = _record(gateway, target, header, headers, sum(sizes), upstream_etag)
    await gateway.objects.put(record)
    return StoredObject(header, upstream_etag, stored_size, sum(sizes), upstream_etag, record, version, sizes)


async def _put_on_record(
    gateway: Gateway, bucket: BucketRecord, target: Target, header: Header, headers: Headers, size: int
) -> ObjectRecord:
    """Records a single PUT whose record is missing: the process ended in between, or the state store was lost."""
    shown: str | None = None
    if header.mode is Mode.S3:
        data_key = await data_key_of(gateway, service_origin(bucket), target, header)
        unlocked = v1.unlock(header, data_key)
        md5 = unlocked.digests.md5
        if md5 is None and ranges.footer_range(size) is not None:
            version = version_query(headers.get("x-amz-version-id"))
            md5 = (await footer_of(gateway, target, unlocked, size, headers.get("ETag", ""), version)).md5
        shown = f'"{md5.hex()}"' if md5 is not None else None
    record = _record(gateway, target, header, headers, size, shown)
    await gateway.objects.put(record)
    return record


def _record(
    gateway: Gateway, target: Target, header: Header, headers: Headers, size: int, shown: str | None
) -> ObjectRecord:
    """A record of an object that the store has, without a table of parts."""
    return ObjectRecord(
        target.bucket,
        target.key,
        header.object_id,
        headers.get("ETag", ""),
        size,
        shown,
        b"",
        gateway.clock(),
        version_id_of(headers),
        header.layers,
    )


def unlock(stored: StoredObject, header: Header, data_key: bytes) -> Unlocked:
    """The object's envelope, opened. What the store says of the size must be what was sealed.

    Raises:
        EnvelopeError: the envelope is damaged or of another object, or the object was cut or grew.
    """
    unlocked = v1.unlock(header, data_key)
    if unlocked.plaintext_size not in (None, stored.size):
        raise EnvelopeError("the object in the store is longer or shorter than what was sealed")
    return unlocked


async def unlock_whole(
    gateway: Gateway,
    origin: CallOrigin,
    target: Target,
    stored: StoredObject,
    header: Header,
    customer_key: CustomerKey | None = None,
) -> tuple[Unlocked, PartsTable | None]:
    """The object's envelope, opened, and its authenticated table of parts, if it has any; ``customer_key`` is what the
    request brings.

    Raises:
        AwsError: the customer's key is missing, or another one, or the object is under none.
        KmsError: the key service refuses or fails.
        EnvelopeError: the object is damaged.
    """
    data_key = await data_key_of(gateway, origin, target, header, customer_key=customer_key)
    unlocked = unlock(stored, header, data_key)
    if not stored.multipart:
        return unlocked, None
    return unlocked, await table_of_parts(gateway, target, stored, unlocked)


async def footer_of(
    gateway: Gateway, target: Target, unlocked: Unlocked, size: int, upstream_etag: str, version: str
) -> Digests:
    """What is known of a single PUT's plaintext since its end only.

    Raises:
        EnvelopeError: the footer is damaged.
        UpstreamError: the object was replaced meanwhile.
    """
    wanted = ranges.footer_range(size, unlocked.header.layers)
    if wanted is None:
        return NO_DIGESTS
    return v1.open_footer(unlocked, await read_stored(gateway, target, wanted, upstream_etag, version))


def version_query(version_id: str | None) -> str:
    """The query that names a version of an object; nothing where the store told none."""
    return f"versionId={quote(version_id, safe='')}" if version_id else ""


async def table_of_parts(gateway: Gateway, target: Target, stored: StoredObject, unlocked: Unlocked) -> PartsTable:
    """The authenticated table of parts of a multipart object; rebuilt from the object where there is none on record.

    Raises:
        EnvelopeError: the table is not this object's.
    """
    if stored.record is not None and stored.record.parts:
        return parts.verify(stored.record.parts, unlocked.header, unlocked.data_key)
    logger.warning(
        "the table of parts of %s is rebuilt from the object: that no part is missing, and none an earlier attempt, "
        "cannot be proved",
        target.path,
    )
    return await rebuild_table(gateway, target, stored, unlocked)


async def rebuild_table(gateway: Gateway, target: Target, stored: StoredObject, unlocked: Unlocked) -> PartsTable:
    """The table of parts as its completion made it, from what the object's parts prove; it is put on record.

    Raises:
        EnvelopeError: a part is damaged or not this object's.
    """
    made = await part_walk.prove(gateway, target, unlocked, stored.upstream_etag, stored.stored_size, stored.version)
    if [part.size for part in made] != list(stored.sizes):
        # What a reader wants was planned by those: a store that tells the truth only here would move the range.
        raise EnvelopeError("the parts are not those that the store told of before")
    checksum_type = unlocked.checksum_type or FULL_OBJECT
    whole = whole_checksum(unlocked.checksum_algorithm, checksum_type, [(part.checksums, part.size) for part in made])
    table = PartsTable(unlocked.header.object_id, made, whole, checksum_type)
    encoded = parts.encode(table, unlocked.header, unlocked.data_key)
    if stored.record is not None:
        await gateway.objects.put(replace(stored.record, parts=encoded))
    return parts.verify(encoded, unlocked.header, unlocked.data_key)


async def resolve(gateway: Gateway, bucket: BucketRecord, key: str, version_id: str = "") -> ObjectRecord | None:
    """The completed record of an object that a listing cannot tell the size or ETag of, by asking the store.

    None where the object is gone, damaged, or needs no record.
    """
    target = Target(bucket.name, key)
    answer = await gateway.upstream.send(Request("HEAD", target.path, version_query(version_id)))
    await answer.aclose()
    if answer.status != 200:
        return None
    records = await records_of(gateway, target)
    try:
        size, named = stored_length(answer), bool(version_id)
        stored = await describe(gateway, bucket, key, answer.headers, size, records, named=named)
    except EnvelopeError as error:
        logger.error("%s does not verify: %s", target.path, error)
        return None
    now = gateway.clock()
    object_id = stored.header.object_id if stored.header else b""
    return stored.record or ObjectRecord(
        bucket.name, key, object_id, stored.upstream_etag, stored.size, stored.etag, b"", now
    )
