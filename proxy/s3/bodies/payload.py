"""How the body of an upload is framed, measured and verified, as its head says.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html and recorded answers.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final

from proxy.aws import checksums, sigv4
from proxy.aws.chunked import ChunkedDecoder, ChunkSigning, wrong_length
from proxy.aws.errors import AwsError
from proxy.aws.message import Request
from proxy.aws.sigv4 import Verified
from proxy.aws.sigv4_errors import printable
from proxy.stream import Buffer
from proxy.values import value_class

SDK_ALGORITHM: Final = "x-amz-sdk-checksum-algorithm"

_STREAMING = frozenset({sigv4.STREAMING_SIGNED, sigv4.STREAMING_SIGNED_TRAILER, sigv4.STREAMING_UNSIGNED_TRAILER})
_WITH_TRAILER = frozenset({sigv4.STREAMING_SIGNED_TRAILER, sigv4.STREAMING_UNSIGNED_TRAILER})
_NOT_VALUES = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"})
_DIGITS = re.compile(r"[0-9]{1,19}")


@value_class
class Payload:
    """A body that is about to be read."""

    length: int
    """Bytes of plaintext, after aws-chunked decoding."""
    declared: Mapping[str, str]
    """The checksums that stand in headers: algorithm to base64."""
    trailer: str | None
    """The algorithm whose value comes in the trailer."""
    algorithm: str
    """The algorithm of the checksum that is stored and answered: the client's, else CRC64NVME."""
    mode: str = sigv4.UNSIGNED_PAYLOAD
    """x-amz-content-sha256: 64 hexadecimal digits, UNSIGNED-PAYLOAD or a STREAMING- value."""
    content_md5: str | None = None
    """Content-MD5, valid base64 of 16 bytes."""
    signing: ChunkSigning | None = None
    """For the modes with signed chunks."""

    def verifier(self, *, want_md5: bool) -> "PayloadVerifier":
        """A fresh verifier of this body."""
        return PayloadVerifier(self, want_md5=want_md5)


class PayloadVerifier:
    """A Transform from the body as it arrives to the payload.

    The payload passes through as it comes; only ``finalize`` says whether it is the right one. Each digest is
    computed once, and only if something needs it.
    """

    def __init__(self, payload: Payload, *, want_md5: bool) -> None:
        self._payload = payload
        self._decoder: ChunkedDecoder | None = None
        needed = {payload.algorithm}
        if payload.mode in _STREAMING:
            trailers = None
            if payload.mode in _WITH_TRAILER:
                trailers = [checksums.header_name(payload.trailer)] if payload.trailer else []
            self._decoder = ChunkedDecoder(payload.length, signing=payload.signing, trailers=trailers)
        elif payload.mode != sigv4.UNSIGNED_PAYLOAD:
            needed.add("SHA256")
        if want_md5 or payload.content_md5 is not None:
            needed.add("MD5")
        self._hashers = {name: checksums.new(name) for name in needed}
        self._updates = [hasher.update for hasher in self._hashers.values()]
        self._digests: dict[str, bytes] = {}
        self._received = 0

    @property
    def checksums(self) -> Mapping[str, str]:
        """The checksum to be stored: algorithm to base64; known when ``finalize`` has returned."""
        algorithm = self._payload.algorithm
        return {algorithm: checksums.encode(self._digests[algorithm])}

    @property
    def md5(self) -> bytes:
        """The payload's MD5, if it was wanted; known when ``finalize`` has returned."""
        return self._digests["MD5"]

    def update(self, data: Buffer) -> Buffer:
        """Raises AwsError: the framing or a chunk's signature is wrong, or the body is longer than its head says."""
        payload = data if self._decoder is None else self._decoder.update(data)
        self._verify(payload)
        return payload

    def scatter(self, data: Buffer) -> Sequence[Buffer]:
        """As ``update``, but of several chunks the pieces as they came."""
        pieces = (data,) if self._decoder is None else self._decoder.scatter(data)
        for piece in pieces:
            self._verify(piece)
        return pieces

    def _verify(self, piece: Buffer) -> None:
        self._received += len(piece)
        if self._received > self._payload.length:
            raise wrong_length(self._payload.length, self._received)
        for update in self._updates:
            update(piece)

    def finalize(self) -> Buffer:
        """Verifies the whole. All output was handed out before.

        Raises:
            AwsError: IncompleteBody, MalformedTrailerError, XAmzContentSHA256Mismatch, BadDigest, InvalidRequest.
        """
        if self._decoder is not None:
            self._decoder.finalize()
        payload = self._payload
        if self._received != payload.length:
            raise wrong_length(payload.length, self._received)
        self._digests = {name: hasher.digest() for name, hasher in self._hashers.items()}
        if self._decoder is None and payload.mode != sigv4.UNSIGNED_PAYLOAD:
            self._check_signed_hash()
        if payload.content_md5 is not None:
            self._check_content_md5(payload.content_md5)
        for algorithm, value in payload.declared.items():
            self._check(algorithm, value)
        if self._decoder is not None and payload.trailer is not None:
            name = checksums.header_name(payload.trailer)
            value = self._decoder.trailers[name]
            if not _is_digest(payload.trailer, value):
                raise AwsError("InvalidRequest", f"Value for {name} trailing header is invalid.")
            self._check(payload.trailer, value)
        return b""

    def _check_signed_hash(self) -> None:
        computed = self._digests["SHA256"].hex()
        if not hmac.compare_digest(computed, self._payload.mode.lower()):
            raise AwsError(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
                detail={
                    "ClientComputedContentSHA256": self._payload.mode,
                    "S3ComputedContentSHA256": computed,
                },
            )

    def _check_content_md5(self, expected: str) -> None:
        computed = checksums.encode(self._digests["MD5"])
        if computed != expected:
            raise AwsError(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                detail={"ExpectedDigest": expected, "CalculatedDigest": computed},
            )

    def _check(self, algorithm: str, expected: str) -> None:
        if checksums.encode(self._digests[algorithm]) != expected:
            raise AwsError("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")


def plan(request: Request, verified: Verified | None, *, limit: int, checksum_of_body: bool = True) -> Payload:
    """Reads from a request's head how its body is to be verified.

    Args:
        request: for a presigned one, what ``sigv4.effective_headers`` made of it.
        verified: None for an anonymous request.
        limit: the most bytes of plaintext that are allowed.
        checksum_of_body: False for CompleteMultipartUpload, whose checksum headers speak of the object.

    Raises:
        AwsError: MissingContentLength, EntityTooLarge, InvalidDigest, InvalidRequest, InvalidArgument.
    """
    mode = _mode(request, verified)
    length = _length(request, "x-amz-decoded-content-length" if mode in _STREAMING else "Content-Length")
    if length > limit:
        raise AwsError(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            detail={"ProposedSize": str(length), "MaxSizeAllowed": str(limit)},
        )
    declared = _declared(request) if checksum_of_body else {}
    trailer = _trailer(request, mode)
    if declared and trailer:
        raise AwsError("InvalidRequest", "Expecting a single x-amz-checksum- header")
    algorithm = trailer or next(iter(declared), None)
    if checksum_of_body:
        _check_sdk_algorithm(request, algorithm)
    signing = None
    if verified is not None and mode in {sigv4.STREAMING_SIGNED, sigv4.STREAMING_SIGNED_TRAILER}:
        signing = ChunkSigning(verified.signing_key, verified.timestamp, str(verified.scope), verified.signature)
    return Payload(
        length=length,
        declared=declared,
        trailer=trailer,
        algorithm=algorithm or checksums.DEFAULT_ALGORITHM,
        mode=mode,
        content_md5=_content_md5(request),
        signing=signing,
    )


def stored_content_encoding(value: str | None) -> str | None:
    """The Content-Encoding to be stored: the client's without ``aws-chunked``; None if nothing is left."""
    if value is None:
        return None
    if "aws-chunked" not in value.lower():
        return value
    kept = [coding.strip() for coding in value.split(",")]
    return ",".join(coding for coding in kept if coding and coding.lower() != "aws-chunked") or None


def _mode(request: Request, verified: Verified | None) -> str:
    if verified is not None:
        return verified.payload_hash
    mode = request.headers.get("x-amz-content-sha256")
    if mode is None:
        return sigv4.UNSIGNED_PAYLOAD
    sigv4.check_payload_hash(mode)
    if mode in {sigv4.STREAMING_SIGNED, sigv4.STREAMING_SIGNED_TRAILER}:
        raise AwsError("InvalidRequest", "The value of x-amz-content-sha256 header is invalid.")
    return mode


def _length(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not _DIGITS.fullmatch(text):
        raise AwsError("MissingContentLength", "You must provide the Content-Length HTTP header.", 411)
    return int(text)


def _content_md5(request: Request) -> str | None:
    text = request.headers.get("Content-MD5")
    if text is None:
        return None
    if not _is_digest("MD5", text.strip()):
        message = "The Content-MD5 you specified was invalid."
        raise AwsError("InvalidDigest", message, detail={"Content-MD5": printable(text)})
    return text.strip()


def _declared(request: Request) -> Mapping[str, str]:
    """The checksum that stands in a header: none or one."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        lower = name.lower()
        if not lower.startswith(checksums.HEADER_PREFIX) or lower in _NOT_VALUES:
            continue
        algorithm = checksums.algorithm_of_header(lower)
        if algorithm is None:
            message = "The algorithm type you specified in x-amz-checksum- header is invalid."
            raise AwsError("InvalidRequest", message)
        if found:
            message = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
            raise AwsError("InvalidRequest", message)
        found[algorithm] = value.strip()
        if not _is_digest(algorithm, found[algorithm]):
            raise AwsError("InvalidRequest", f"Value for {lower} header is invalid.")
    return found


def _trailer(request: Request, mode: str) -> str | None:
    text = request.headers.get("x-amz-trailer")
    if text is None:
        return None
    algorithm = checksums.algorithm_of_header(text.strip())
    if algorithm is None or mode not in _WITH_TRAILER:
        raise AwsError("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    return algorithm


def _check_sdk_algorithm(request: Request, algorithm: str | None) -> None:
    """The algorithm that the SDK names must be the one of the checksum that it sends."""
    text = request.headers.get(SDK_ALGORITHM)
    if text is None:
        return
    if text.strip().upper() not in checksums.ALGORITHMS:
        raise AwsError("InvalidRequest", f"Value for {SDK_ALGORITHM} header is invalid.")
    if algorithm is None:
        raise AwsError(
            "InvalidRequest",
            f"{SDK_ALGORITHM} specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
        )
    if text.strip().upper() != algorithm:
        raise AwsError("InvalidRequest", f"Value for {SDK_ALGORITHM} header is invalid.")


def _is_digest(algorithm: str, text: str) -> bool:
    try:
        checksums.decode(algorithm, text)
    except ValueError:
        return False
    return True
