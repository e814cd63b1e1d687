"""What each kind of store does differently from AWS, as far as the gateway must know: the one place of their quirks.

``seaweedfs``, ``minio`` and ``ceph`` were found by running them (SeaweedFS 4.48, MinIO of 2026-02-12, Ceph RGW 16.2).
``aws`` is AWS's documentation; it was not run. ``s3`` is any other store, of which nothing is taken for granted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_COMMON: Final = frozenset(
    {
        "PutBucketVersioning",
        "PutBucketTagging",
        "DeleteBucketTagging",
        "PutBucketLifecycleConfiguration",
        "DeleteBucketLifecycle",
        "PutObjectLockConfiguration",
        "PutObjectTagging",
        "DeleteObjectTagging",
        "PutObjectLegalHold",
        "PutObjectRetention",
    }
)
"""What stores with sub-resources at all are taken to have."""

_EVERYTHING: Final = _COMMON | {
    "PutBucketAccelerateConfiguration",
    "PutBucketAnalyticsConfiguration",
    "DeleteBucketAnalyticsConfiguration",
    "PutBucketIntelligentTieringConfiguration",
    "DeleteBucketIntelligentTieringConfiguration",
    "PutBucketInventoryConfiguration",
    "DeleteBucketInventoryConfiguration",
    "PutBucketLogging",
    "PutBucketMetricsConfiguration",
    "DeleteBucketMetricsConfiguration",
    "PutBucketNotificationConfiguration",
    "PutBucketReplication",
    "DeleteBucketReplication",
    "PutBucketRequestPayment",
    "PutBucketWebsite",
    "DeleteBucketWebsite",
    "RestoreObject",
}


@dataclass(frozen=True)
class StoreProfile:
    """The quirks of one kind of store."""

    name: str = "s3"
    drops_marker_bodies: bool = False
    """Answers 200 to a PUT of a key that ends in ``/`` and keeps neither its body nor its metadata."""
    deletes_filled_buckets: bool = False
    """Deletes a bucket that still has objects, where AWS answers BucketNotEmpty."""
    conditional_deletes: bool = False
    """Honours If-Match on DELETE and ETag in DeleteObjects; elsewhere such a request is refused, lest it delete."""
    conditional_copies: bool = False
    """Honours If-Match and If-None-Match on CopyObject; elsewhere such a copy is made otherwise, lest it overwrite."""
    copies_keep_parts: bool = False
    """Gives the copy of a multipart object the ETag of one; elsewhere it is copied part by part."""
    part_copies_keep_etags: bool = True
    """Gives what UploadPartCopy makes of an object's parts the ETag of the object."""
    copies_with_locks: bool = True
    """Gives a copy the object lock that the request or the bucket asks for, and not that of its source."""
    lists_by_folder: bool = False
    """Lists objects and versions folder by folder, not in the order of keys; see ``proxy.s3.listings``."""
    hides_delete_markers: bool = False
    """Says of a delete marker, asked for by its version, that there is no such version."""
    bare_write_conditions: bool = False
    """Understands the ETag in If-Match on PUT without its quotes only."""
    conditional_completions: bool = True
    """Honours If-Match and If-None-Match on CompleteMultipartUpload; elsewhere such a request is refused."""
    drops_redirects: bool = False
    """Answers 200 to ``x-amz-website-redirect-location`` and does not keep it."""
    drops_empty_metadata: bool = False
    """Does not keep metadata whose value is empty."""
    takes_any_version_id: bool = False
    """Takes every version id for the object's in a bucket that never kept versions, and deletes the object by it."""
    marker_suffix: str = ""
    """Stands behind the name that a listing goes on after. At a bare name MinIO begins by way of its cache, and leaves
    out keys beside folders whose names go on as theirs do (``a+b`` beside ``a/``), or says that there are no more; with
    this, which ends the markers that it makes itself, it does neither."""
    metadata_limit: int = 2048
    """Bytes of user metadata, names and values, that an object may have."""
    unfit_keys: re.Pattern[str] | None = None
    """Matches, anywhere in them, keys that the store would keep under another name or hide from listings."""
    changes: frozenset[str] = _COMMON
    """Which of the operations that change a sub-resource the store has. It must not be sent others: stores take a PUT
    of a sub-resource that they do not know for CreateBucket or PutObject, a DELETE for DeleteBucket or DeleteObject."""

    def fits(self, key: str) -> bool:
        """Whether the store keeps an object under exactly this key, as far as is known; it may still refuse it."""
        return self.unfit_keys is None or self.unfit_keys.search(key) is None


PROFILES: Final[Mapping[str, StoreProfile]] = {
    # Nobody knows what it, or a server in front of it, makes of dot segments: "b/../c/k" must never become "c/k".
    "s3": StoreProfile("s3", conditional_completions=False, unfit_keys=re.compile(r"(?:^|/)\.\.?(?:/|$)")),
    "aws": StoreProfile("aws", conditional_deletes=True, conditional_copies=True, changes=_EVERYTHING),
    "ceph": StoreProfile(
        "ceph",
        hides_delete_markers=True,
        bare_write_conditions=True,
        conditional_completions=False,
        # It takes more; so much was tried. An underscore in a name of metadata comes back as a hyphen.
        metadata_limit=6144,
        changes=_COMMON | {"PutBucketNotificationConfiguration", "DeleteBucketReplication", "PutBucketRequestPayment"},
    ),
    "minio": StoreProfile(
        "minio",
        marker_suffix="[minio_cache:v2,return:]",
        drops_redirects=True,
        # A key that ends in "/" is kept under its name with this suffix in place of the slash.
        unfit_keys=re.compile(r"^/|//|__XLDIR__(?:/|$)"),
        changes=_COMMON
        | {
            "PutBucketNotificationConfiguration",
            "PutBucketReplication",
            "DeleteBucketReplication",
            "RestoreObject",
        },
    ),
    "seaweedfs": StoreProfile(
        "seaweedfs",
        drops_marker_bodies=True,
        deletes_filled_buckets=True,
        conditional_deletes=True,
        conditional_copies=True,
        copies_keep_parts=True,
        part_copies_keep_etags=False,
        copies_with_locks=False,
        lists_by_folder=True,
        hides_delete_markers=True,
        drops_redirects=True,
        drops_empty_metadata=True,
        takes_any_version_id=True,
        metadata_limit=8192,
        # The folders .uploads and NAME.versions are the store's own: parts of uploads under way, and versions of NAME.
        unfit_keys=re.compile(r"^/|//|\\|(?:^|/)\.uploads(?:/|$)|\.versions/"),
    ),
}
"""The profiles by the names that the configuration has for them."""
