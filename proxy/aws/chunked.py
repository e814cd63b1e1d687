"""The aws-chunked content coding: decoding, with the signatures of chunks and trailer.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and …/sigv4-streaming-trailers.html
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.stream import Buffer

STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
STREAMING_MODES = frozenset({STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER})


@dataclass(frozen=True)
class ChunkSigning:
    """What chunk signatures are computed from."""

    signing_key: bytes = field(repr=False)
    timestamp: str
    scope: str
    seed_signature: str


class ChunkedDecoder:
    """A Transform from an aws-chunked body to the payload."""

    def __init__(self, decoded_length: int, *, signing: ChunkSigning | None, trailer: bool) -> None:
        raise NotImplementedError

    @property
    def trailers(self) -> Mapping[str, str]:
        """The trailing headers by lower-case name, once ``finalize`` has returned."""
        raise NotImplementedError

    def update(self, data: Buffer) -> Buffer:
        raise NotImplementedError

    def finalize(self) -> Buffer:
        """Ends the body.

        Raises:
            AwsError: IncompleteBody and whatever else is wrong with it.
        """
        raise NotImplementedError
