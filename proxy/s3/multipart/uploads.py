"""Multipart uploads under way: found and checked for the operations on their parts."""

from collections.abc import Mapping, Sequence
from typing import Final

from proxy.aws import checksums
from proxy.aws.errors import AwsError
from proxy.envelope import header as envelope_header
from proxy.envelope import v1
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import Header, Mode
from proxy.envelope.keys import table_key
from proxy.envelope.v1 import Unlocked
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.encryption.data_keys import data_key_of, open_table_key
from proxy.s3.errors import invalid_argument, invalid_request, no_such_upload
from proxy.s3.forwarding import render_query
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.state.ports import UploadRecord

MAX_PART_NUMBER: Final = 10_000
COMPOSITE: Final = "COMPOSITE"
FULL_OBJECT: Final = "FULL_OBJECT"

_CRCS: Final = ("CRC32", "CRC32C", "CRC64NVME")
"""Algorithms whose values for parts can be combined into that of the whole."""


def upload_query(call: Call, part_number: int | None = None) -> str:
    """The query that names the upload, or a part of it, to the store."""
    items = [] if part_number is None else [("partNumber", str(part_number))]
    return render_query([*items, ("uploadId", upload_id(call))])


def upload_id(call: Call) -> str:
    """The request's ``uploadId``."""
    return call.request.parameter("uploadId") or ""


async def find_upload(gateway: Gateway, call: Call, *, completed: bool = False) -> UploadRecord:
    """The upload that the request names, under way or, with ``completed``, perhaps completed already.

    Raises:
        AwsError: NoSuchUpload, also for an upload of another key.
    """
    upload = await gateway.uploads.get(upload_id(call))
    if upload is None or not is_of(upload, call.target) or (upload.completed is not None and not completed):
        raise no_such_upload(upload_id(call))
    return upload


def is_of(upload: UploadRecord, target: Target) -> bool:
    """Whether it is an upload of this key."""
    return (upload.bucket, upload.key) == (target.bucket, target.key)


def header_of(upload: UploadRecord) -> Header:
    """The envelope's header of the object that the upload will make."""
    header = envelope_header.decode(upload.metadata)
    if header is None:
        raise EnvelopeError("the upload has no envelope on record")
    return header


async def unlock(
    gateway: Gateway, call: Call, upload: UploadRecord, customer_key: CustomerKey | None = None
) -> tuple[Unlocked, bytes]:
    """The upload's envelope, opened, and its data key. AWS, too, wants kms:Decrypt for every part.

    Raises:
        AwsError: InvalidRequest, where ``customer_key``, which the request brings, is not the upload's.
        KmsError: the key service refuses or fails.
    """
    header = header_of(upload)
    if (header.mode is Mode.CUSTOMER) != (customer_key is not None):
        raise invalid_request(
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate "
            "encryption parameters."
        )
    try:
        data_key = await data_key_of(gateway, call.origin, call.target, header, customer_key=customer_key)
    except AwsError as error:
        if customer_key is None or error.code != "AccessDenied":
            raise
        message = "The provided encryption parameters did not match the ones used originally."
        raise invalid_request(message) from None
    return v1.unlock(header, data_key), data_key


async def to_complete(
    gateway: Gateway, call: Call, upload: UploadRecord, customer_key: CustomerKey | None
) -> tuple[Header, bytes]:
    """The header of an upload that is to be completed, and the key of the MAC over its table of parts. Under SSE-C, AWS
    needs the customer's key only where the upload has a checksum algorithm.

    Raises:
        AwsError, KmsError: as ``unlock``.
    """
    header = header_of(upload)
    if header.mode is Mode.CUSTOMER and customer_key is None and upload.checksum_algorithm is None:
        return header, await open_table_key(gateway, call.origin, call.target, header, upload.sealed_table_key)
    _, data_key = await unlock(gateway, call, upload, customer_key)
    return header, table_key(data_key, header.salt)


def part_number(call: Call) -> int:
    """The request's ``partNumber``.

    Raises:
        AwsError: InvalidArgument.
    """
    text = call.request.parameter("partNumber") or ""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= MAX_PART_NUMBER:
        message = "Part number must be an integer between 1 and 10000, inclusive"
        raise invalid_argument(message, "partNumber", text)
    return int(text)


def checksum_settings(call: Call) -> tuple[str | None, str | None]:
    """The checksum algorithm and type that CreateMultipartUpload asks for; None where it asks for none.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html

    Raises:
        AwsError: InvalidRequest, for an unknown value or a combination that does not exist.
    """
    algorithm = call.request.headers.get("x-amz-checksum-algorithm")
    kind = call.request.headers.get("x-amz-checksum-type")
    if algorithm is None:
        if kind is not None:
            message = "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
            raise invalid_request(message)
        return None, None
    algorithm = algorithm.upper()
    if algorithm not in checksums.ALGORITHMS:
        raise invalid_request(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types"
        )
    if kind is None:
        kind = FULL_OBJECT if algorithm == "CRC64NVME" else COMPOSITE
    kind = kind.upper()
    if kind not in (COMPOSITE, FULL_OBJECT):
        raise invalid_request("Value for x-amz-checksum-type header is invalid.")
    impossible = algorithm == "CRC64NVME" if kind == COMPOSITE else algorithm not in _CRCS
    if impossible:
        message = f"The {kind} checksum type cannot be used with the {algorithm.lower()} checksum algorithm."
        raise invalid_request(message)
    return algorithm, kind


def whole_checksum(
    algorithm: str | None, checksum_type: str | None, parts: Sequence[tuple[Mapping[str, str], int]]
) -> Mapping[str, str]:
    """The checksum of the object that consists of parts with these checksums and plaintext sizes: algorithm to base64,
    without the ``-N`` of a composite one. Empty where the parts' checksums are of several algorithms.

    ``algorithm`` and ``checksum_type`` are those of the upload; None where it asked for none.
    """
    algorithm = algorithm or checksums.DEFAULT_ALGORITHM
    if not all(algorithm in values for values, _ in parts):
        return {}
    digests = [(checksums.decode(algorithm, values[algorithm]), size) for values, size in parts]
    if checksum_type == COMPOSITE:
        value = checksums.composite(algorithm, [digest for digest, _ in digests]).rpartition("-")[0]
    else:
        value = checksums.encode(checksums.combine(algorithm, digests))
    return {algorithm: value}
