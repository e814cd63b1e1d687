"""Where a store and the proxy before it differ for a good reason: the store deviates from AWS and the proxy does not.

Each row says of which store, which operations and which difference it speaks, and why. A difference that no row
explains fails the differential test.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote_plus

from tests.e2e.differential.asks import Ask, Sides
from tests.e2e.differential.comparing import Difference

ANY = frozenset({"seaweedfs", "minio"})
SEAWEEDFS = frozenset({"seaweedfs"})
MINIO = frozenset({"minio"})


@dataclass(frozen=True)
class Deviation:
    stores: frozenset[str]
    operations: str
    """Names, separated by spaces; ``*`` for all."""
    what: str
    """As in ``Difference.what``, with ``*`` for any text."""
    why: str
    applies: Callable[[Ask, Any, Any], bool] = lambda ask, direct, proxy: True
    """Of the request and of what the store and the proxy say."""

    def explains(self, sides: Sides, ask: Ask, found: Difference) -> bool:
        named = self.operations == "*" or ask.operation in self.operations.split()
        return (
            sides.store in self.stores
            and named
            and fnmatchcase(found.what, self.what)
            and self.applies(ask, found.direct, found.proxy)
        )


def _both(one: tuple[int, str | None], other: tuple[int, str | None]) -> Callable[[Ask, Any, Any], bool]:
    return lambda ask, direct, proxy: (direct, proxy) == (one, other)


def _is_no_range(ask: Ask) -> bool:
    """Whether the request's Range is malformed, has several ranges, or ends before it begins."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", str(ask.headers["Range"])) if "Range" in ask.headers else None
    if found is None:
        return True
    first, last = found.groups()
    return not (first or last) or bool(first and last and int(last) < int(first))


def _names_list(ask: Ask) -> bool:
    return any(isinstance(value, tuple) for name, value in ask.headers.items() if name.lower().endswith("-match"))


def _not_encoded(ask: Ask, direct: Any, proxy: Any) -> bool:
    return [unquote_plus(text) for text in proxy] == direct


def _store_has_none(ask: Ask, direct: Any, proxy: Any) -> bool:
    return not direct and bool(proxy)


_NO_UPLOAD = (404, "NoSuchUpload")

DEVIATIONS = (
    Deviation(
        ANY,
        "PutObject UploadPart",
        "header x-amz-checksum-*",
        "AWS tells a checksum of every object, CRC64NVME where the client named none; the stores only what was named, "
        "and SeaweedFS none of a marker.",
        _store_has_none,
    ),
    Deviation(
        ANY,
        "PutObject UploadPart",
        "code",
        "A Content-MD5 that is none is InvalidDigest on AWS.",
        lambda ask, direct, proxy: (direct, proxy) == ("BadDigest", "InvalidDigest"),
    ),
    Deviation(
        MINIO,
        "PutObject UploadPart",
        "code",
        "AWS calls a checksum that does not match BadDigest.",
        lambda ask, direct, proxy: (direct, proxy) == ("XAmzContentChecksumMismatch", "BadDigest"),
    ),
    Deviation(
        SEAWEEDFS,
        "PutObject",
        "status",
        "It takes a marker, a key that ends in a slash, whatever its digest.",
        lambda ask, direct, proxy: (ask.key or "").endswith("/") and (direct[0], proxy[0]) == (200, 400),
    ),
    Deviation(
        SEAWEEDFS,
        "PutObject",
        "status",
        "AWS answers If-Match on a key without an object with 404 NoSuchKey.",
        _both((412, "PreconditionFailed"), (404, "NoSuchKey")),
    ),
    Deviation(
        SEAWEEDFS,
        "GetObject HeadObject",
        "header content-type",
        "AWS's default is binary/octet-stream; it guesses.",
        lambda ask, direct, proxy: proxy == "binary/octet-stream",
    ),
    Deviation(SEAWEEDFS, "GetObject HeadObject", "header x-amz-tagging-*", "A header that AWS does not have."),
    Deviation(
        ANY,
        "GetObject HeadObject",
        "status",
        "AWS ignores a Range that is none, as RFC 9110 has it; the stores answer it with 416, MinIO even where there "
        "is no object.",
        lambda ask, direct, proxy: direct[0] == 416 and _is_no_range(ask),
    ),
    Deviation(
        SEAWEEDFS,
        "HeadObject",
        "status",
        "It does not look at the Range of every HEAD.",
        lambda ask, direct, proxy: direct[0] == 200 and proxy[0] in {206, 416},
    ),
    Deviation(
        MINIO,
        "GetObject HeadObject",
        "status",
        "If-Match and If-None-Match may name several ETags; it takes the list for one.",
        lambda ask, direct, proxy: _names_list(ask),
    ),
    Deviation(
        MINIO,
        "ListObjects",
        "status",
        "It takes no marker that does not begin with the prefix.",
        lambda ask, direct, proxy: (direct[0], proxy[0]) == (501, 200),
    ),
    Deviation(
        SEAWEEDFS,
        "ListObjects ListObjectsV2",
        "element /ListBucketResult/Prefix",
        "encoding-type=url encodes the prefix, too.",
        _not_encoded,
    ),
    Deviation(
        ANY,
        "ListParts",
        "element /ListPartsResult/MaxParts",
        "AWS's greatest and default is 1,000.",
        lambda ask, direct, proxy: proxy == ["1000"],
    ),
    Deviation(
        SEAWEEDFS,
        "ListParts",
        "element /ListPartsResult/NextPartNumberMarker",
        "AWS tells the last part's number on the last page as well.",
        _store_has_none,
    ),
    Deviation(
        SEAWEEDFS,
        "CompleteMultipartUpload",
        "status",
        "An upload without parts is there nevertheless; the fault is in the request.",
        lambda ask, direct, proxy: direct == _NO_UPLOAD and proxy[0] == 400,
    ),
    Deviation(
        MINIO,
        "CompleteMultipartUpload",
        "code",
        "A completion without parts is MalformedXML on AWS.",
        lambda ask, direct, proxy: (direct, proxy) == ("InvalidRequest", "MalformedXML"),
    ),
    Deviation(
        ANY,
        "AbortMultipartUpload",
        "status",
        "AWS knows no upload that has been ended.",
        _both((204, None), _NO_UPLOAD),
    ),
    Deviation(
        ANY,
        "ListParts CompleteMultipartUpload",
        "element */Checksum*",
        "AWS tells a checksum of every part and object, CRC64NVME where the client named none.",
        _store_has_none,
    ),
    Deviation(
        SEAWEEDFS,
        "GetObject HeadObject",
        "header accept-ranges",
        "It tells it of all but markers.",
        lambda ask, direct, proxy: (ask.key or "").endswith("/") and _store_has_none(ask, direct, proxy),
    ),
    Deviation(
        MINIO,
        "CompleteMultipartUpload",
        "header etag",
        "AWS has the ETag in the document only.",
        lambda ask, direct, proxy: proxy is None,
    ),
    Deviation(
        MINIO,
        "ListParts",
        "element /ListPartsResult/NextPartNumberMarker",
        "AWS tells the last part's number on the last page as well.",
        lambda ask, direct, proxy: direct == ["0"],
    ),
    Deviation(
        MINIO,
        "GetObject HeadObject",
        "status",
        "It asks whether a Range can be had before it looks at If-Match and If-None-Match.",
        lambda ask, direct, proxy: direct[0] == 416 and proxy[0] in {304, 412},
    ),
    Deviation(
        SEAWEEDFS,
        "ListParts",
        "element /ListPartsResult/Part/*",
        "Of a part that was sent again it lists any attempt, where max-parts cuts them short.",
        lambda ask, direct, proxy: ask.parameter("max-parts") is not None,
    ),
    Deviation(
        MINIO,
        "GetObject HeadObject",
        "status",
        "It answers the last 0 bytes with 416 even where there is no object.",
        lambda ask, direct, proxy: (direct[0], proxy[0], ask.headers.get("Range")) == (416, 404, "bytes=-0"),
    ),
    Deviation(
        ANY,
        "CopyObject UploadPartCopy",
        "header etag",
        "AWS has the ETag in the document only.",
        lambda ask, direct, proxy: not proxy,
    ),
    Deviation(
        MINIO,
        "CopyObject",
        "header x-amz-checksum-*",
        "AWS has the checksum in the document only.",
        lambda ask, direct, proxy: not proxy,
    ),
    Deviation(
        ANY,
        "CopyObject UploadPartCopy",
        "element */Checksum*",
        "AWS tells a checksum of every object.",
        _store_has_none,
    ),
    Deviation(
        ANY,
        "CopyObject UploadPartCopy",
        "header x-amz-copy-source-version-id",
        "AWS tells which version was copied.",
        _store_has_none,
    ),
    Deviation(
        ANY,
        "CopyObject",
        "status",
        "Under SSE-KMS, a copy of an object to itself changes its encryption.",
        lambda ask, direct, proxy: (direct, proxy[0]) == ((400, "InvalidRequest"), 200),
    ),
    Deviation(
        ANY,
        "CopyObject UploadPartCopy",
        "status",
        "The conditions on a source may name several ETags; the stores take the list for one.",
        lambda ask, direct, proxy: _names_list(ask),
    ),
    Deviation(
        SEAWEEDFS,
        "CopyObject UploadPartCopy",
        "code",
        "AWS tells a version that is not there from a key.",
        lambda ask, direct, proxy: (direct, proxy) == ("NoSuchKey", "NoSuchVersion"),
    ),
    Deviation(
        ANY,
        "UploadPartCopy",
        "status",
        "AWS answers a range that is not in the source with 400.",
        lambda ask, direct, proxy: (direct, proxy[0]) == ((416, "InvalidRange"), 400),
    ),
    Deviation(
        SEAWEEDFS,
        "GetObject HeadObject",
        "header x-amz-mp-parts-count",
        "AWS tells it of multipart objects only.",
        lambda ask, direct, proxy: (direct, proxy) == ("1", None),
    ),
    Deviation(
        MINIO,
        "GetObjectAttributes",
        "element /GetObjectAttributesResponse/ObjectParts/*",
        "AWS tells the parts of multipart objects only.",
        lambda ask, direct, proxy: not proxy,
    ),
    Deviation(MINIO, "ListMultipartUploads", "element *", "It lists the uploads of a key, named in full, only."),
    Deviation(
        SEAWEEDFS,
        "ListMultipartUploads",
        "element *",
        "It knows no delimiter.",
        lambda ask, direct, proxy: ask.parameter("delimiter") is not None,
    ),
    Deviation(
        SEAWEEDFS,
        "ListMultipartUploads",
        "element */MaxUploads",
        "AWS's greatest and default is 1,000.",
        lambda ask, direct, proxy: proxy == ["1000"],
    ),
    Deviation(
        SEAWEEDFS,
        "ListMultipartUploads",
        "element */Next*",
        "AWS tells the last one on the last page as well.",
        _store_has_none,
    ),
    Deviation(
        SEAWEEDFS,
        "ListMultipartUploads",
        "element */Upload/StorageClass",
        "AWS tells it of every upload.",
        _store_has_none,
    ),
    Deviation(
        SEAWEEDFS,
        "ListMultipartUploads",
        "element */Prefix",
        "encoding-type=url encodes the prefix, too.",
        _not_encoded,
    ),
    Deviation(
        SEAWEEDFS,
        "ListObjectVersions",
        "element */EncodingType",
        "It does not encode.",
        _store_has_none,
    ),
    Deviation(SEAWEEDFS, "ListObjectVersions", "element *", "It does not encode.", _not_encoded),
    Deviation(
        SEAWEEDFS,
        "ListObjectVersions",
        "element *",
        "It groups wrongly by a delimiter that is not a slash.",
        lambda ask, direct, proxy: ask.parameter("delimiter") not in {None, "/"},
    ),
    Deviation(
        MINIO,
        "ListObjectVersions",
        "element */NextKeyMarker",
        "Its markers have names of its own in them.",
        lambda ask, direct, proxy: "minio_cache" in "".join(direct),
    ),
)


def explained(sides: Sides, ask: Ask, found: Difference) -> bool:
    return any(row.explains(sides, ask, found) for row in DEVIATIONS)
