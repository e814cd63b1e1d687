"""The gateway's ports and settings in one value, and what an operation is told of the call it serves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import quote

from proxy.aws.credentials import Caller, CallOrigin
from proxy.aws.message import Request
from proxy.aws.policy_principals import PrincipalDirectory
from proxy.aws.sigv4 import Verified
from proxy.kms.provider import KeyProvider
from proxy.s3.bucket_keys import BucketKeys
from proxy.s3.memory import MemoryBudget
from proxy.s3.state.ports import BucketRecord, BucketRegistry, ObjectIndex, UploadRegistry
from proxy.s3.upstream.port import Upstream
from proxy.s3.upstream.profiles import StoreProfile
from proxy.values import value_class


@dataclass(frozen=True)
class Settings:
    """How the operator wants the gateway to behave."""

    store: StoreProfile = field(default_factory=StoreProfile)
    upstream_region: str = "us-east-1"
    domains: tuple[str, ...] = ()
    """Base domains of virtual-hosted-style requests."""
    any_region: bool = True
    """Whether a bucket is served to requests signed for another Region than its own."""
    kms_over_plain_http: bool = True
    """Whether SSE-KMS is served to clients without TLS."""
    sign_anonymous: bool = False
    """Whether the store is asked with the proxy's own credentials for whoever has not signed, so that the bucket
    policies kept here decide alone; else unsigned, so that the store must allow it, too."""
    md5_etags: bool = True
    """Whether objects under SSE-S3 have the MD5 of their plaintext as ETag, as on AWS."""
    customer_keys: bool = True
    """Whether SSE-C is served at all."""
    fresh_key_on_copy: bool = False
    """Whether a copy is sealed anew under a data key of its own, rather than its source's wrapped anew."""
    block_customer_keys: bool = True
    """Whether new buckets block SSE-C until PutBucketEncryption unblocks it, as on AWS since 2026-04."""


@dataclass(frozen=True)
class Gateway:
    """Everything that an operation may use. There is one per process."""

    keys: KeyProvider
    upstream: Upstream
    short_reads: Upstream
    """The same store over connections of its own, for what has to be read while another answer is held: requests that
    wait for each other's connections would otherwise bring everything to a stand."""
    buckets: BucketRegistry
    uploads: UploadRegistry
    objects: ObjectIndex
    clock: Callable[[], datetime]
    """The time now, aware, in UTC."""
    random: Callable[[int], bytes]
    """Cryptographically strong random bytes."""
    memory: MemoryBudget
    settings: Settings = field(default_factory=Settings)
    bucket_keys: BucketKeys = field(default_factory=BucketKeys)
    principals: PrincipalDirectory | None = None
    """Which principals a bucket policy may name. None: any."""

    def asking_for(self, caller: Caller) -> "Gateway":
        """The gateway with the store asked on a caller's behalf: with the caller's own credentials at the store where
        there are some, unsigned for whoever has not signed, and else with the proxy's own."""
        if caller.store is None and (not caller.anonymous or self.settings.sign_anonymous):
            return self
        upstream, short_reads = self.upstream.asking_as(caller.store), self.short_reads.asking_as(caller.store)
        return replace(self, upstream=upstream, short_reads=short_reads)


@value_class
class Target:
    """What a request names; ``""`` for what it does not. The key is decoded and never normalised."""

    bucket: str = ""
    key: str = ""

    @property
    def arn(self) -> str:
        """The object's or bucket's ARN."""
        if self.key:
            return f"arn:aws:s3:::{self.bucket}/{self.key}"
        return f"arn:aws:s3:::{self.bucket}" if self.bucket else "arn:aws:s3:::*"

    @property
    def path(self) -> str:
        """The canonical path of a path-style request for it."""
        if not self.bucket:
            return "/"
        encoded = quote(self.key, safe="/-_.~", errors="surrogateescape")
        return f"/{self.bucket}/{encoded}" if self.key else f"/{self.bucket}"


@value_class
class Call:
    """One authenticated and authorized S3 request."""

    request: Request
    """As received, except that ``x-amz-*`` query parameters of a presigned URL stand among its headers."""
    target: Target
    caller: Caller
    verified: Verified
    request_id: str
    bucket: BucketRecord | None
    """The record of the target's bucket; None only for operations on no bucket and for CreateBucket."""
    existing_tags: Mapping[str, str] | None = None
    """The tags that the target has, where a policy asked for them; None: they were not read."""

    @property
    def record(self) -> BucketRecord:
        """The bucket's record, for the operations that are only called with one."""
        assert self.bucket is not None  # noqa: S101 - the router loads it before it calls such an operation
        return self.bucket

    @property
    def origin(self) -> CallOrigin:
        """Who asks the key service: the caller, by way of S3, in the bucket's Region."""
        peer = self.request.peer
        region = self.record.region
        return CallOrigin(
            caller=self.caller,
            region=region,
            via_service=f"s3.{region}.amazonaws.com",
            source_address=peer.address if peer else "",
            user_agent=self.request.headers.get("User-Agent", ""),
            secure_transport=bool(peer and peer.secure),
            request_id=self.request_id,
        )
