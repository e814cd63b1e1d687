"""The aws-chunked content coding: decoding, with the signatures of chunks and trailer.

A body is a row of chunks, ``<size in hex>[;chunk-signature=<64 hex>]\\r\\n<data>\\r\\n``, ended by one of size 0, the
trailing headers if the mode has them, and an empty line. Each signature is over the one before it.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and …/sigv4-streaming-trailers.html
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from proxy.aws import canonical
from proxy.aws.errors import AwsError
from proxy.aws.sigv4_errors import printable, signature_does_not_match
from proxy.buffers import joined
from proxy.stream import Buffer

MIN_CHUNK: Final = 8192
"""Bytes that every chunk but the last must have."""

TRAILER_SIGNATURE: Final = "x-amz-trailer-signature"

_MAX_CHUNK_LINE = 256
_MAX_TRAILER_LINE = 1024
_MAX_TRAILERS = 8
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")


@dataclass(frozen=True)
class ChunkSigning:
    """What chunk signatures are computed from."""

    signing_key: bytes = field(repr=False)
    timestamp: str
    scope: str
    seed_signature: str


class _State(Enum):
    CHUNK_LINE = 1
    DATA = 2
    DATA_END = 3
    TRAILER = 4
    END = 5


class ChunkedDecoder:
    """A Transform from an aws-chunked body to the payload.

    Data of a chunk is handed out before the chunk's signature is known to be right: a consumer must not take what it
    got for good until ``finalize`` has returned. No more than ``decoded_length`` bytes are ever handed out, and what
    is held back is at most one line.

    Args:
        decoded_length: bytes of payload, from x-amz-decoded-content-length.
        signing: for the modes with signed chunks, else None.
        trailers: for the modes with a trailer, the names that the head announces, else None.
    """

    def __init__(
        self, decoded_length: int, *, signing: ChunkSigning | None = None, trailers: Sequence[str] | None = None
    ) -> None:
        self._decoded_length = decoded_length
        self._signing = signing
        self._previous = signing.seed_signature if signing else ""
        self._announced = None if trailers is None else {name.lower() for name in trailers}
        self._trailers: dict[str, str] = {}
        self._state = _State.CHUNK_LINE
        self._line = b""
        self._chunk = 0
        self._chunk_size = MIN_CHUNK
        self._chunk_left = 0
        self._chunk_signature = ""
        self._hash = hashlib.sha256()
        self._length = 0

    @property
    def trailers(self) -> Mapping[str, str]:
        """The trailing headers by lower-case name, once ``finalize`` has returned."""
        return self._trailers

    def update(self, data: Buffer) -> Buffer:
        """The payload in the next bytes of the body, mostly as a view of them. Raises as ``scatter``."""
        ready = self.scatter(data)
        if len(ready) == 1:
            return ready[0]
        return joined(ready) if ready else b""

    def scatter(self, data: Buffer) -> Sequence[Buffer]:
        """The payload in the next bytes of the body, as views of them.

        Raises:
            AwsError: IncompleteBody, InvalidChunkSizeError, MalformedTrailerError, SignatureDoesNotMatch.
        """
        view = memoryview(data)
        position = 0
        ready: list[memoryview] = []
        while position < len(view):
            if self._state is _State.DATA:
                piece = view[position : position + self._chunk_left]
                position += len(piece)
                ready.append(piece)
                self._take_data(piece)
            elif self._state is _State.END:
                raise _incomplete()
            else:
                line, position = self._take_line(view, position)
                if line is not None:
                    self._read_line(line)
        return ready

    def finalize(self) -> Buffer:
        """Ends the body. All output was handed out before.

        Raises:
            AwsError: IncompleteBody; the body ends early.
        """
        if self._state is not _State.END:
            raise _incomplete()
        return b""

    def _take_line(self, view: memoryview, position: int) -> tuple[bytes | None, int]:
        """The next line without its CRLF, or None if it is not whole yet; and the position after what was taken."""
        limit = _MAX_TRAILER_LINE if self._state is _State.TRAILER else _MAX_CHUNK_LINE
        held = len(self._line)
        window = self._line + bytes(view[position : position + limit - held])
        end = window.find(b"\r\n")
        if end >= 0:
            self._line = b""
            return window[:end], position + end + 2 - held
        if len(window) >= limit:
            raise _incomplete()
        self._line = window
        return None, len(view)

    def _read_line(self, line: bytes) -> None:
        if self._state is _State.CHUNK_LINE:
            self._begin_chunk(line)
        elif self._state is _State.DATA_END:
            if line:
                raise _incomplete()
            self._state = _State.CHUNK_LINE
        elif line:
            self._take_trailer(line)
        else:
            self._end_trailers()
            self._state = _State.END

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if not match or (match[2] is not None) is not (self._signing is not None):
            raise _incomplete()
        size = int(match[1], 16)
        self._chunk += 1
        if size and self._chunk_size < MIN_CHUNK:
            raise AwsError(
                "InvalidChunkSizeError",
                f"Only the last chunk is allowed to have a size less than {MIN_CHUNK} bytes",
                detail={"Chunk": str(self._chunk), "BadChunkSize": str(self._chunk_size)},
            )
        self._length += size
        if self._length > self._decoded_length or (not size and self._length < self._decoded_length):
            raise wrong_length(self._decoded_length, self._length)
        self._chunk_size = self._chunk_left = size
        if match[2] is not None:
            self._chunk_signature = match[2].decode("ascii")
        if size:
            self._state = _State.DATA
        else:
            self._end_chunk()
            self._state = _State.TRAILER

    def _take_data(self, piece: memoryview) -> None:
        if self._signing is not None:
            self._hash.update(piece)
        self._chunk_left -= len(piece)
        if not self._chunk_left:
            self._end_chunk()
            self._state = _State.DATA_END

    def _end_chunk(self) -> None:
        if self._signing is not None:
            self._verify("PAYLOAD", f"{canonical.EMPTY_SHA256}\n{self._hash.hexdigest()}", self._chunk_signature)
            self._hash = hashlib.sha256()

    def _take_trailer(self, line: bytes) -> None:
        """One trailing header. AWS's own example ends its value with a line feed of its own, before CRLF."""
        if self._announced is None:
            raise _incomplete()
        name, colon, value = line.removesuffix(b"\n").decode("latin-1").partition(":")
        name = name.strip().lower()
        if not colon or name in self._trailers or len(self._trailers) >= _MAX_TRAILERS:
            raise malformed_trailer()
        if name not in self._announced and not (self._signing is not None and name == TRAILER_SIGNATURE):
            raise malformed_trailer()
        self._trailers[name] = value.strip()

    def _end_trailers(self) -> None:
        if self._announced is None:
            return
        if self._signing is not None:
            provided = self._trailers.pop(TRAILER_SIGNATURE, None)
            if provided is None:
                raise _incomplete()
            block = "".join(f"{name}:{value}\n" for name, value in sorted(self._trailers.items()))
            self._verify("TRAILER", hashlib.sha256(block.encode("latin-1")).hexdigest(), provided)
        if self._trailers.keys() != self._announced:
            raise malformed_trailer()

    def _verify(self, subject: str, hashes: str, provided: str) -> None:
        """Verifies the signature of a chunk or of the trailer; it becomes part of what the next one signs."""
        signing = self._signing
        assert signing is not None  # noqa: S101
        text = f"{canonical.ALGORITHM}-{subject}\n{signing.timestamp}\n{signing.scope}\n{self._previous}\n{hashes}"
        self._previous = canonical.signature(signing.signing_key, text)
        if not canonical.signatures_equal(self._previous, provided):
            raise signature_does_not_match({"StringToSign": text, "SignatureProvided": printable(provided)})


def _incomplete() -> AwsError:
    return AwsError("IncompleteBody", "The request body terminated unexpectedly")


def malformed_trailer() -> AwsError:
    return AwsError(
        "MalformedTrailerError",
        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    )


def wrong_length(expected: int, provided: int) -> AwsError:
    """The body has another length than its head says."""
    return AwsError(
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
        detail={"NumberBytesExpected": str(expected), "NumberBytesProvided": str(provided)},
    )
