"""Records as rows of the SQLite file, and back.

Keys are kept as UTF-8 bytes, moments as microseconds since 1970.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from proxy.s3.state.ports import (
    BucketRecord,
    EncryptionRule,
    ObjectRecord,
    PartRecord,
    PublicAccessBlock,
    UploadRecord,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

BUCKET_COLUMNS = (
    "name",
    "account",
    "region",
    "created",
    "algorithm",
    "key_id",
    "bucket_key_enabled",
    "mixed",
    "policy",
    "public_access_block",
    "cors",
    "blocks_customer_keys",
)
BUCKET = ", ".join(BUCKET_COLUMNS)
UPLOAD = (
    "upload_id, bucket, key, account, metadata, checksum_algorithm, checksum_type, created, completed, sealed_table_key"
)
PART = "upload_id, number, upstream_etag, etag, attempt, salt, size, checksums, modified"
OBJECT = "bucket, key, object_id, upstream_etag, size, etag, parts, written, version_id, layers"


@lru_cache(maxsize=1024)
def bucket_of(row: tuple[Any, ...]) -> BucketRecord:
    """The record in a row. Every request reads its bucket's, which is nearly always the same row."""
    name, account, region, created, algorithm, key_id, bucket_key, mixed, policy, block, cors, blocks_customer_keys = (
        row
    )
    rule = EncryptionRule(algorithm, key_id, bool(bucket_key), bool(blocks_customer_keys))
    return BucketRecord(name, account, region, _moment(created), rule, bool(mixed), policy, _access_block(block), cors)


def bucket_row(bucket: BucketRecord) -> tuple[Any, ...]:
    rule = bucket.encryption
    return (
        bucket.name,
        bucket.account,
        bucket.region,
        microseconds(bucket.created),
        rule.algorithm,
        rule.key_id,
        rule.bucket_key_enabled,
        bucket.mixed,
        bucket.policy,
        _access_block_bits(bucket.public_access_block),
        bucket.cors,
        rule.blocks_customer_keys,
    )


def _access_block(bits: int | None) -> PublicAccessBlock | None:
    if bits is None:
        return None
    return PublicAccessBlock(
        block_public_acls=bool(bits & 1),
        ignore_public_acls=bool(bits & 2),
        block_public_policy=bool(bits & 4),
        restrict_public_buckets=bool(bits & 8),
    )


def _access_block_bits(block: PublicAccessBlock | None) -> int | None:
    if block is None:
        return None
    flags = (
        block.block_public_acls,
        block.ignore_public_acls,
        block.block_public_policy,
        block.restrict_public_buckets,
    )
    return sum(1 << position for position, flag in enumerate(flags) if flag)


def upload_row(upload: UploadRecord) -> tuple[Any, ...]:
    return (
        upload.upload_id,
        upload.bucket,
        encode(upload.key),
        upload.account,
        json.dumps(dict(upload.metadata)),
        upload.checksum_algorithm,
        upload.checksum_type,
        microseconds(upload.created),
        None if upload.completed is None else microseconds(upload.completed),
        upload.sealed_table_key,
    )


def upload_of(row: Sequence[Any]) -> UploadRecord:
    upload_id, bucket, key, account, metadata, algorithm, kind, created, completed, sealed_table_key = row
    return UploadRecord(
        upload_id,
        bucket,
        _decode(key),
        account,
        json.loads(metadata),
        algorithm,
        kind,
        _moment(created),
        None if completed is None else _moment(completed),
        sealed_table_key,
    )


def part_row(part: PartRecord) -> tuple[Any, ...]:
    return (
        part.upload_id,
        part.number,
        part.upstream_etag,
        part.etag,
        part.attempt,
        part.salt,
        part.size,
        json.dumps(dict(part.checksums)),
        microseconds(part.modified),
    )


def part_of(row: Sequence[Any]) -> PartRecord:
    upload_id, number, upstream_etag, etag, attempt, salt, size, checksums, modified = row
    return PartRecord(
        upload_id, number, upstream_etag, etag, attempt, salt, size, json.loads(checksums), _moment(modified)
    )


def object_row(record: ObjectRecord) -> tuple[Any, ...]:
    return (
        record.bucket,
        encode(record.key),
        record.object_id,
        record.upstream_etag,
        record.size,
        record.etag,
        record.parts,
        microseconds(record.written),
        record.version_id,
        record.layers,
    )


def object_of(row: Sequence[Any]) -> ObjectRecord:
    bucket, key, object_id, upstream_etag, size, etag, parts, written, version_id, layers = row
    moment = _moment(written)
    return ObjectRecord(bucket, _decode(key), object_id, upstream_etag, size, etag, parts, moment, version_id, layers)


def microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(count: int) -> datetime:
    return _EPOCH + timedelta(microseconds=count)


def encode(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _decode(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")
