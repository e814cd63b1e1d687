"""How the body of an upload is framed, measured and verified, as its head says.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
"""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.aws.message import Request
from proxy.aws.sigv4 import Verified
from proxy.stream import Buffer


@dataclass(frozen=True)
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

    def verifier(self, *, want_md5: bool) -> "PayloadVerifier":
        """A fresh verifier of this body."""
        raise NotImplementedError


class PayloadVerifier:
    """A Transform from the body as it arrives to the verified payload."""

    @property
    def checksums(self) -> Mapping[str, str]:
        """The checksum to be stored: algorithm to base64; known when ``finalize`` has returned."""
        raise NotImplementedError

    @property
    def md5(self) -> bytes:
        """The payload's MD5, if it was wanted; known when ``finalize`` has returned."""
        raise NotImplementedError

    def update(self, data: Buffer) -> Buffer:
        raise NotImplementedError

    def finalize(self) -> Buffer:
        raise NotImplementedError


def plan(request: Request, verified: Verified | None, *, limit: int) -> Payload:
    """Reads from an upload's head how its body is to be verified; ``limit`` is the most plaintext bytes allowed.

    Raises AwsError: MissingContentLength, EntityTooLarge, InvalidDigest, InvalidRequest, InvalidArgument.
    """
    raise NotImplementedError


def stored_content_encoding(value: str | None) -> str | None:
    """The Content-Encoding to be stored: the client's without ``aws-chunked``; None if nothing is left."""
    raise NotImplementedError
