"""What the gateway remembers outside the bucket: whose a bucket is and how it encrypts, uploads that are under way,
and what a listing has to know of objects that the store's size and ETag do not tell.

Three ports, one per subject; ``sqlite`` implements them over one file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from proxy.values import value_class


@dataclass(frozen=True)
class EncryptionRule:
    """A bucket's default encryption, as PutBucketEncryption gave it."""

    algorithm: str = "AES256"
    key_id: str | None = None
    """KMSMasterKeyID exactly as it was configured."""
    bucket_key_enabled: bool = False
    blocks_customer_keys: bool = False
    """Whether new objects under SSE-C are refused: ``BlockedEncryptionTypes``."""


@dataclass(frozen=True)
class PublicAccessBlock:
    """What keeps a bucket from becoming public. A new bucket has all of it, as on AWS since 2023.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
    """

    block_public_acls: bool = True
    ignore_public_acls: bool = True
    block_public_policy: bool = True
    restrict_public_buckets: bool = True


NO_PUBLIC_ACCESS_BLOCK: Final = PublicAccessBlock(
    block_public_acls=False, ignore_public_acls=False, block_public_policy=False, restrict_public_buckets=False
)


@dataclass(frozen=True)
class BucketRecord:
    name: str
    account: str
    """The owner, twelve digits."""
    region: str
    created: datetime
    encryption: EncryptionRule = field(default_factory=EncryptionRule)
    mixed: bool = False
    """Whether plaintext objects from before the proxy may be in it. Set by an operator, never inferred."""
    policy: str | None = None
    """The bucket policy's document, found valid when it was put (``bucket_policy.parse``)."""
    public_access_block: PublicAccessBlock | None = field(default_factory=PublicAccessBlock)
    """None: it was deleted, and nothing is blocked."""
    cors: bytes | None = None
    """The CORS configuration as a document of this program (``cors.render``)."""


@dataclass(frozen=True)
class UploadRecord:
    """A multipart upload under way. S3 gives back no metadata of one, so all that UploadPart needs is here."""

    upload_id: str
    bucket: str
    key: str
    account: str
    metadata: Mapping[str, str]
    """The envelope's reserved metadata, as CreateMultipartUpload sent it upstream."""
    checksum_algorithm: str | None
    checksum_type: str | None
    created: datetime
    completed: datetime | None = None
    """When its object was made: a completion whose answer was lost is asked for again."""
    sealed_table_key: bytes = b""
    """Under SSE-C: the key of the MAC over the table of parts (``data_keys.seal_table_key``), since a completion may
    come without the customer's key."""


@dataclass(frozen=True)
class PartRecord:
    """One accepted attempt at a part. A part that is sent again adds a record; none is changed."""

    upload_id: str
    number: int
    upstream_etag: str
    """With its quotes."""
    etag: str
    """What the client was told, with its quotes."""
    attempt: bytes
    """Sixteen random bytes, also in the part's frame."""
    salt: bytes
    size: int
    """Plaintext bytes."""
    checksums: Mapping[str, str]
    """Algorithm name, as botocore spells it (``CRC64NVME``), to base64 value."""
    modified: datetime


@value_class
class ObjectRecord:
    """What a listing must know of an object that the store's size and ETag do not tell, by the object's random id.

    It is written before the store is asked to make the object visible, with ``upstream_etag`` None, and completed
    afterwards; a reader that meets an uncompleted record asks the store (HEAD) and completes it.
    """

    bucket: str
    key: str
    object_id: bytes
    """Sixteen random bytes, also in the object's metadata. For a plaintext object of a mixed bucket: empty."""
    upstream_etag: str | None
    """With its quotes."""
    size: int
    """Plaintext bytes."""
    etag: str | None
    """What clients see, with its quotes; None: derived from the upstream ETag as for any object of its kind."""
    parts: bytes
    """The authenticated table of parts of a multipart object (``envelope.parts``), else empty."""
    written: datetime
    version_id: str | None = None
    """None where the store names no version: the object has but one, or this is the one without an id. Several
    versions may have one object id; then their ids with spaces between them, ``null`` for none."""
    layers: int = 1
    """How often the object is encrypted, so that a range of it is asked for where it lies."""


class StateUnavailable(Exception):
    """The state could not be read or written (disk full, locked for too long, gone); a write may not have happened.

    It is all that the methods of the three ports raise.
    """


class BucketRegistry(Protocol):
    """Buckets by name. A change is durable when the call returns and is seen by the next call in any process."""

    async def get(self, name: str) -> BucketRecord | None: ...

    async def put(self, bucket: BucketRecord) -> None:
        """Writes or replaces the record, whatever is there."""
        ...

    async def replace(self, expected: BucketRecord | None, bucket: BucketRecord) -> bool:
        """Writes the record if ``expected`` is what is there now (None: nothing), and says whether it did."""
        ...

    async def remove(self, name: str) -> None: ...

    async def owned_by(self, account: str) -> list[BucketRecord]:
        """The account's buckets, by name."""
        ...


class UploadRegistry(Protocol):
    """Multipart uploads and their parts. Durable and seen everywhere when a call returns."""

    async def create(self, upload: UploadRecord) -> None: ...

    async def get(self, upload_id: str) -> UploadRecord | None: ...

    async def under_way(
        self, bucket: str, prefix: str, *, after_key: str = "", after_upload: str | None = None, limit: int
    ) -> list[UploadRecord]:
        """The bucket's first ``limit`` uploads that are not completed, of keys that start with ``prefix``: by key (as
        UTF-8 bytes), and those of one key by the time they were begun. They come after all those of ``after_key`` or,
        with ``after_upload``, after that one of its uploads; if it is not on record, all of that key's come."""
        ...

    async def add_part(self, part: PartRecord) -> bool:
        """Adds an attempt if its upload is under way still, and says whether it is."""
        ...

    async def parts(self, upload_id: str) -> list[PartRecord]:
        """Every attempt, by part number and then by time."""
        ...

    async def complete(self, upload_id: str, now: datetime, forget_before: datetime) -> None:
        """Notes that the upload, if it is there, is completed; forgets those that were before ``forget_before``."""
        ...

    async def remove(self, upload_id: str) -> None:
        """Forgets the upload and its parts; nothing happens if there is none."""
        ...


class ObjectIndex(Protocol):
    """Object records. Durable against the end of a process, not necessarily of the machine: what is lost is rebuilt
    from the object."""

    async def put(self, record: ObjectRecord) -> None:
        """Writes or replaces the record with this bucket, key and object id."""
        ...

    async def find(self, bucket: str, keys: Sequence[str]) -> dict[str, list[ObjectRecord]]:
        """All records of these keys (up to 1,000), in one query; keys without any are left out."""
        ...

    async def forget(self, records: Sequence[ObjectRecord]) -> None:
        """Removes records by their bucket, key and object id; nothing happens where there is none."""
        ...

    async def forget_bucket(self, bucket: str) -> None: ...
