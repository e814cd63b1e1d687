"""Which attempts at its parts an object is made of: those that the client's CompleteMultipartUpload names.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from proxy.aws import checksums, xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.xml_codec import XmlError
from proxy.s3.errors import invalid_argument, invalid_request, malformed_xml
from proxy.s3.multipart import uploads
from proxy.s3.state.ports import PartRecord, UploadRecord

MIN_PART: Final = 5 * 1024 * 1024
"""Plaintext bytes of every part but the last."""

_MAX_ELEMENTS: Final = 100_000


def named_parts(document: bytes) -> list[Mapping[str, Any]]:
    """The rows of the client's document: number, ETag (without quotes) and checksums by member name.

    Raises:
        AwsError: MalformedXML, InvalidArgument.
    """
    try:
        rows = xml_codec.parse(document, "CompleteMultipartUpload", lists=["Part"], max_elements=_MAX_ELEMENTS).get(
            "Part", []
        )
        found: list[Mapping[str, Any]] = [
            {**row, "PartNumber": int(row["PartNumber"]), "ETag": row["ETag"].strip().strip('"')} for row in rows
        ]
    except (XmlError, KeyError, TypeError, ValueError, AttributeError):
        raise malformed_xml() from None
    for row in found:
        if row["PartNumber"] < 1:
            raise invalid_argument("PartNumber must be >= 1", "PartNumber", str(row["PartNumber"]))
    return found


def choose(
    upload: UploadRecord,
    named: Sequence[Mapping[str, Any]],
    known: Sequence[PartRecord],
    stored: Mapping[int, frozenset[str]] | None = None,
) -> list[PartRecord]:
    """The acknowledged attempts that the client names, of ``known`` ones in the order in which they came.

    Attempts with the same bytes may show the same ETag. Of those the last counts or, with ``stored``, the one that the
    store has: the upstream ETags that it tells of, by part number.

    Raises:
        AwsError: MalformedXML, InvalidPartOrder, InvalidPart, InvalidRequest.
    """
    if not 0 < len(named) <= uploads.MAX_PART_NUMBER:
        raise malformed_xml()
    numbers = [row["PartNumber"] for row in named]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        message = (
            "The list of parts was not in ascending order. The parts list must be specified in order by part number."
        )
        raise AwsError("InvalidPartOrder", message, 400, detail={"UploadId": upload.upload_id})
    attempts: dict[tuple[int, str], list[PartRecord]] = defaultdict(list)
    for part in known:
        attempts[part.number, part.etag.strip('"')].append(part)
    found: list[PartRecord] = []
    for row in named:
        number = row["PartNumber"]
        fitting = [part for part in attempts[number, row["ETag"]] if _same_checksums(row, part)]
        if not fitting:
            raise _invalid_part(upload, row)
        _require_checksum(upload, row)
        there = [part for part in fitting if part.upstream_etag in stored.get(number, ())] if stored else []
        found.append((there or fitting)[-1])
    return found


def _invalid_part(upload: UploadRecord, row: Mapping[str, Any]) -> AwsError:
    message = (
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified "
        "entity tag may not match the part's entity tag."
    )
    detail = {"UploadId": upload.upload_id, "PartNumber": str(row["PartNumber"]), "ETag": row["ETag"]}
    return AwsError("InvalidPart", message, 400, detail=detail)


def _same_checksums(row: Mapping[str, Any], part: PartRecord) -> bool:
    return all(
        row.get(f"Checksum{algorithm}") in (None, part.checksums.get(algorithm)) for algorithm in checksums.ALGORITHMS
    )


def _require_checksum(upload: UploadRecord, row: Mapping[str, Any]) -> None:
    algorithm = upload.checksum_algorithm
    if algorithm is None or upload.checksum_type != uploads.COMPOSITE or f"Checksum{algorithm}" in row:
        return
    raise invalid_request(
        f"The upload was created using a {algorithm.lower()} checksum. The complete request must include the checksum "
        f"for each part. It was missing for part {row['PartNumber']} in the request."
    )


def check_sizes(chosen: Sequence[PartRecord], expected: str | None) -> None:
    """Holds the parts against the smallest size, and their sum against what the client expects.

    Raises:
        AwsError: EntityTooSmall, InvalidRequest.
    """
    for part in chosen[:-1]:
        if part.size < MIN_PART:
            detail = {
                "ProposedSize": str(part.size),
                "MinSizeAllowed": str(MIN_PART),
                "PartNumber": str(part.number),
                "ETag": part.etag.strip('"'),
            }
            message = "Your proposed upload is smaller than the minimum allowed size"
            raise AwsError("EntityTooSmall", message, 400, detail=detail)
    if expected is not None and expected != str(sum(part.size for part in chosen)):
        raise invalid_request("The provided 'x-amz-mp-object-size' header value does not match what was computed.")
